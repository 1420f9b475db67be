"""What is drawn of a bin: its images' places in the camera frame, the places usual for its instrument, and how the run
went. Pure functions of arrays; reading is in ``data``, drawing in ``charts``.
"""

import base64
import io
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image as Picture

from ifcb_flow_pipeline.features.stream import Stream

#: Side of a cell of a density: two steps of the lattice that boxes lie on.
CELL_PX = 16

#: NeighbourEvidence of time that a run is cut into.
N_STRETCHES = 60


def points(stream: Stream) -> pd.DataFrame:
    """One row an image, in file order: its number ``roi`` in the file, centre ``x`` and ``y`` in the frame, ``minute``
    of the run, ``area_px2`` and ``fluorescence_v``. The stream's columns must have ``pmt_b``.
    """
    return pd.DataFrame({
        "roi": np.flatnonzero(stream.has_image) + 1,
        "x": stream.x.astype(np.float32),
        "y": stream.y.astype(np.float32),
        "minute": (stream.of_images("t_s") / 60).astype(np.float32),
        "area_px2": (stream.width_px * stream.height_px).astype(np.float32),
        "fluorescence_v": stream.of_images("pmt_b").astype(np.float32),
    })  # fmt: skip


def density(streams: Iterable[Stream], frame_px: tuple[int, int]) -> NDArray[np.float64]:
    """Share of the images in each cell of the frame, rows from the top; shape (height, width) in cells."""
    columns, rows = (-(-size // CELL_PX) for size in frame_px)
    total = np.zeros((rows, columns))
    for stream in streams:
        counts, _, _ = np.histogram2d(
            stream.y, stream.x, bins=(np.arange(rows + 1) * CELL_PX, np.arange(columns + 1) * CELL_PX)
        )
        total += counts / max(1.0, counts.sum())
    return total / max(1.0, total.sum())


def density_address(shares: NDArray[np.float64], colour: tuple[int, int, int]) -> str:
    """A density as a picture with transparency, one pixel a cell, as a data address."""
    scale = np.quantile(shares[shares > 0], 0.9) if (shares > 0).any() else 1.0
    alpha = np.clip(np.sqrt(shares / scale), 0, 1) * 150
    pixels = np.zeros((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = colour, alpha
    return "data:image/png;base64," + base64.b64encode(_png(Picture.fromarray(pixels))).decode()


def course(stream: Stream) -> pd.DataFrame:
    """How the run went, in N_STRETCHES: ``minute`` of the middle, images and triggers without image per second, and
    median and middle 90 % of x (NaN in stretches without image).
    """
    run_s = stream.time_s.max(initial=1.0)
    edges = np.linspace(0, run_s, N_STRETCHES + 1)
    length_s = edges[1] - edges[0]
    empty, _ = np.histogram(stream.time_s[stream.images_of_trigger == 0], bins=edges)
    times = stream.of_images("t_s")
    images, _ = np.histogram(times, bins=edges)
    rows = []
    place = np.clip((times / length_s).astype(int), 0, N_STRETCHES - 1)
    for stretch in range(N_STRETCHES):
        x = stream.x[place == stretch]
        rows.append(np.quantile(x, (0.05, 0.5, 0.95)) if x.size else np.full(3, np.nan))
    low, middle, high = np.array(rows).T
    return pd.DataFrame({
        "minute": (edges[:-1] + length_s / 2) / 60,
        "images": images / length_s,
        "without_image": empty / length_s,
        "x_low": low,
        "x_median": middle,
        "x_high": high,
    })  # fmt: skip


def _png(picture: Picture.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png")
    return buffer.getvalue()
