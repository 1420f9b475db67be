"""Image files (.roi): the images of one bin, concatenated 8-bit grey pixels without any framing.

Only the ADC rows tell where an image starts and how large it is. Its ``start_byte`` is the offset from
the beginning of the file as it stands, in both schemas (joefutrelle/pyifcb ``ifcb/data/roi.py`` seeks to
it unchanged): v1 files open with one dummy byte, so their first image starts at 1, v2 files at 0. Pixels
are stored row by row, ``width_px`` to a row.

Nothing here can notice an offset that is wrong but possible; everything impossible is refused.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MAX_SIDE_PX: Final = 2048
"""Longest side of a believable image. Camera frames are 1360 x 1024 px (v2) and about 1381 x 1034 px (v1):
robertjolson/ifcb-acq ``config.h``, hsosik/ifcb-analysis."""

FIRST_BYTE: Final = {"v1": 1, "v2": 0}
"""Offset of the first image in the files of either schema."""


class RoiError(ValueError):
    """An image that cannot be read; the message names the row, the bytes needed and the bytes there."""


@dataclass(frozen=True, slots=True, eq=False)
class RoiTable:
    """Where the images of a bin are: one entry per ADC row, in row order.

    ``start_byte`` (int64) is the offset in the file as the ADC gives it, ``width_px`` and ``height_px``
    are whole numbers, 0 in rows without an image. ``first_byte`` is the offset before which no image may
    start: 1 in v1, 0 in v2 (`FIRST_BYTE`). Raises RoiError if the arrays do not fit together.
    """

    start_byte: NDArray[np.int64]
    width_px: NDArray[np.integer]
    height_px: NDArray[np.integer]
    first_byte: int

    def __post_init__(self) -> None:
        columns = {name: getattr(self, name) for name in ("start_byte", "width_px", "height_px")}
        for name, column in columns.items():
            if column.ndim != 1 or column.dtype.kind not in "iu":
                raise RoiError(f"{name} must be one column of whole numbers, not {column.ndim}-D {column.dtype}")
        if len({column.size for column in columns.values()}) > 1:
            sizes = ", ".join(f"{name} {column.size}" for name, column in columns.items())
            raise RoiError(f"the columns must have one entry per ADC row each, not {sizes}")

    def __len__(self) -> int:
        return self.start_byte.size

    def rows_with_image(self) -> NDArray[np.intp]:
        """Find the rows that have an image, ascending."""
        return np.flatnonzero((self.width_px != 0) & (self.height_px != 0))


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """The images of a bin by row, and for every image that could not be read the reason."""

    images: dict[int, Image]
    missing: dict[int, str]


def image_place(table: RoiTable, row: int, n_bytes: int) -> tuple[int, int, int]:
    """Where the image of one row is in a file of ``n_bytes``: its first byte, height and width in px.

    Raises RoiError where the row has no image, where offset or size are impossible, or where the file
    ends before the image does.
    """
    if not 0 <= row < len(table):
        raise RoiError(f"row {row}: the table has {len(table)} rows, counted from 0")
    # Python's integers, because products of damaged 64-bit numbers may overflow.
    start, width, height = int(table.start_byte[row]), int(table.width_px[row]), int(table.height_px[row])
    if width == 0 or height == 0:
        raise RoiError(f"row {row}: has no image ({width} x {height} px)")
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise RoiError(f"row {row}: no image can be {width} x {height} px (sides of 1 to {MAX_SIDE_PX} px)")
    if start < table.first_byte:
        raise RoiError(f"row {row}: starts at byte {start}, before the first image at byte {table.first_byte}")
    end = start + width * height
    if end > n_bytes:
        raise RoiError(
            f"row {row}: the image of {width} x {height} px needs {width * height} bytes from byte {start} "
            f"up to {end}, the .roi file has {n_bytes}"
        )
    return start, height, width


def read_image(roi: bytes | memoryview, table: RoiTable, row: int) -> Image:
    """Read the image of one row: uint8, (height_px, width_px), a read-only view of ``roi``.

    Raises RoiError as `image_place` does.
    """
    pixels = _pixels(roi)
    start, height, width = image_place(table, row, pixels.size)
    return pixels[start : start + width * height].reshape(height, width)


def read_images(roi: bytes | memoryview, table: RoiTable) -> Images:
    """Read all images of a bin, each as `read_image` does.

    One that cannot be read is in ``missing`` with its reason and does not hinder the others. Rows without
    an image are in neither.
    """
    images: dict[int, Image] = {}
    missing: dict[int, str] = {}
    for row in table.rows_with_image().tolist():
        try:
            images[row] = read_image(roi, table, row)
        except RoiError as error:
            missing[row] = str(error)
    return Images(images, missing)


def _pixels(roi: bytes | memoryview) -> Image:
    pixels = np.frombuffer(roi, dtype=np.uint8)
    pixels.setflags(write=False)
    return pixels


def bytes_needed(width_px: NDArray[np.integer], height_px: NDArray[np.integer], first_byte: int) -> int:
    """How long the file of a bin must be to hold its images, which follow each other without a gap.

    The sizes are those of all its ADC rows; ``first_byte`` as in `RoiTable`.
    """
    return first_byte + int(np.sum(width_px.astype(np.int64) * height_px))
