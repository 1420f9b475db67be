"""The window of an instrument as its bins show it, week by week: where dirt settles, and whether a cleaning helped.

Belongs here: maps of bins put together and drawn. What a map is: ``detection.images.window_map``.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import Image, RoiTable
from ifcb_flow_pipeline.detection.images.window_map import MIN_TELLING, SHAPE, WindowMap, WindowScore, score_window
from ifcb_flow_pipeline.features.images.extract import features_of_bin

#: Side of a cell in the drawn picture, in px.
_CELL_PX = 3

#: A cell that is so many grey values darker or brighter than those around it is drawn black or white.
_RANGE = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class Week:
    """The window in the week that begins on ``monday``: the sum of the maps of ``n_bins``, with ``n_images``;
    ``score``: how unlike the weeks before it is, None for the first.
    """

    monday: date
    n_bins: int
    n_images: int
    window: WindowMap
    score: WindowScore | None


def map_of_images(images: Mapping[int, Image], x_px: NDArray[np.integer], y_px: NDArray[np.integer]) -> WindowMap:
    """The map of images of one bin, by row; ``x_px``, ``y_px``: corners of all rows of its .adc file."""
    rows = sorted(images)
    height, width = (np.array([images[row].shape[side] for row in rows], np.int64) for side in (0, 1))
    start = np.cumsum(height * width) - height * width
    content = b"".join(images[row].tobytes() for row in rows)
    table = RoiTable(start, width, height, 0)
    features = features_of_bin(content, table)
    return WindowMap.of_bin(content, table, x_px[rows], y_px[rows], features)


def weeks_of(maps: Sequence[tuple[date, WindowMap, int]]) -> list[Week]:
    """Maps of bins, each with its week's Monday and its number of images, put together by week, the earliest first."""
    found: list[Week] = []
    history = WindowMap.empty()
    for monday in sorted({monday for monday, _, _ in maps}):
        mine = [(window, n) for day, window, n in maps if day == monday]
        total = WindowMap.empty()
        for window, _ in mine:
            total += window
        score = score_window(total, history) if found else None
        found.append(Week(monday, len(mine), sum(n for _, n in mine), total, score))
        history += total
    return found


def picture(window: WindowMap) -> bytes:
    """A map as a PNG of the camera frame: dark where the background is darker than around it, mid-grey where it is
    even, clear where too few images tell.
    """
    from PIL import Image as Pillow

    sums, _, n, _, _ = window.cells
    deviation = sums / np.maximum(n, 1)
    pixels = np.zeros((*SHAPE, 2), dtype=np.uint8)
    pixels[..., 0] = np.clip(127.5 * (1 + deviation / _RANGE), 0, 255)
    pixels[..., 1] = np.where(n >= MIN_TELLING, 255, 0)
    drawn = io.BytesIO()
    Pillow.fromarray(np.repeat(np.repeat(pixels, _CELL_PX, axis=0), _CELL_PX, axis=1), "LA").save(drawn, format="png")
    return drawn.getvalue()
