"""Features of images: of arrays, and of the bytes of a ``.roi`` file. Which images of a bin are looked at."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import MAX_SIDE_PX, Image, RoiTable
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.definitions import MIN_SIDE_PX

#: Images of a bin that are looked at unless someone asks for more: a fault of every tenth image shows in 100 to 200.
IMAGES_PER_BIN = 200

#: Digits that a stored value keeps: more are below what two images of one particle differ by.
STORED_DIGITS = 3


@dataclass(frozen=True, slots=True, eq=False)
class ImageFeatures:
    """Features of n images of a bin.

    ``row``: the ADC row of each, counted from 0, shape (n,). ``values``: shape (n, len(NAMES)), columns as in NAMES,
    NaN throughout where an image has none. ``status``: shape (n,), ``ok``, ``too_small`` (a side shorter than
    MIN_SIDE_PX), ``impossible`` (a side longer than MAX_SIDE_PX, or an offset before the first image) or
    ``cut_off`` (the file ends before the image does).
    """

    row: NDArray[np.int64]
    values: NDArray[np.float64]
    status: NDArray[np.str_]


def features_of_images(images: Sequence[Image]) -> NDArray[np.float64]:
    """Features of n images, each (height, width) uint8: shape (n, len(NAMES)), NaN where an image has none."""
    if not images:
        return np.empty((0, len(NAMES)))
    height = np.array([image.shape[0] for image in images], np.int64)
    width = np.array([image.shape[1] for image in images], np.int64)
    start = np.cumsum(height * width) - height * width
    return _compute(np.concatenate([image.ravel() for image in images]), start, height, width)


def features_of_bin(
    roi: bytes | memoryview | NDArray[np.uint8], table: RoiTable, rows: NDArray[np.int64] | None = None
) -> ImageFeatures:
    """Features of the images of some ADC rows (by default of all rows with an image), from the bytes of a .roi file.

    The bytes are not copied. Rows without an image must not be asked for.
    """
    chosen = table.rows_with_image() if rows is None else rows
    start, height, width = (
        column[chosen].astype(np.int64) for column in (table.start_byte, table.height_px, table.width_px)
    )
    pixels = np.frombuffer(roi, dtype=np.uint8)
    status = _status(pixels.size, start, height, width, table.first_byte)
    # The kernel leaves out a start before the bytes.
    start[status != "ok"] = -1
    return ImageFeatures(np.asarray(chosen, np.int64), _compute(pixels, start, height, width), status)


def sampled_rows(table: RoiTable, n: int = IMAGES_PER_BIN, pid: str = "") -> NDArray[np.int64]:
    """Which ADC rows of a bin are looked at: ``n`` of those with an image, spread evenly over the run; all where ``n``
    is 0 or they are no more. Ascending. The same bin (``pid``) always gives the same rows.
    """
    rows = table.rows_with_image()
    if n <= 0 or rows.size <= n:
        return rows.astype(np.int64)
    rng = np.random.default_rng(list(pid.encode()))
    # One from each of n stretches of equal length, at a random place: nothing that repeats over the run is met always.
    edges = np.linspace(0, rows.size, n + 1).astype(np.int64)
    places = edges[:-1] + (rng.random(n) * np.diff(edges)).astype(np.int64)
    return rows[places].astype(np.int64)


def rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values of STORED_DIGITS significant digits, as tables store them; models are trained on such."""
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
    scale = 10.0 ** (STORED_DIGITS - 1 - np.where(np.isfinite(exponent), exponent, 0))
    return (np.rint(values * scale) / scale).astype(np.float32)


def _compute(
    pixels: NDArray[np.uint8], start: NDArray[np.int64], height: NDArray[np.int64], width: NDArray[np.int64]
) -> NDArray[np.float64]:
    from ifcb_flow_pipeline.features.images.kernels import image_features

    return image_features(pixels, start, height, width)


def _status(
    n_bytes: int, start: NDArray[np.int64], height: NDArray[np.int64], width: NDArray[np.int64], first_byte: int
) -> NDArray[np.str_]:
    shorter, longer = np.minimum(height, width), np.maximum(height, width)
    impossible = (shorter < 1) | (longer > MAX_SIDE_PX) | (start < first_byte)
    # Products of damaged numbers may overflow; those are impossible anyway.
    area = np.where(impossible, 0, height) * np.where(impossible, 0, width)
    conditions = [impossible, start > n_bytes - area, shorter < MIN_SIDE_PX]
    return np.select(conditions, ["impossible", "cut_off", "too_small"], "ok")
