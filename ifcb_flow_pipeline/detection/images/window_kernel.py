"""Laying the images of a bin into the camera frame, cell by cell, compiled.

Import this module only where a kernel is about to run: it loads numba.
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import kernel, part

#: Side of a cell, px: the lattice that most software puts boxes on.
CELL_PX = 8

#: Cells to each side whose mean a cell is compared with: dirt is smaller, uneven light larger.
_REACH = 3

#: Grey values that one image says of a cell at most: a soft particle here and there must not look like dirt, which is
#: there in every image.
_MOST = 4.0

#: Object pixels that make a cell a particle's: noise over faint dirt makes some.
_PARTICLE_PX = 5

#: A cell counts with at least so many background pixels of its 64, and is compared with at least so many cells.
_MIN_PX = 48
_MIN_CELLS = 5


@kernel
def add_images(
    buf: NDArray[np.uint8],
    start: NDArray[np.int64],
    height: NDArray[np.int64],
    width: NDArray[np.int64],
    x_px: NDArray[np.int64],
    y_px: NDArray[np.int64],
    background: NDArray[np.float64],
    object_from: NDArray[np.float64],
    dark_from: float,
    frame: NDArray[np.float64],
) -> None:
    """Add images to a map of the frame.

    The images lie in ``buf`` row by row, their upper left corners in the camera frame at ``x_px``, ``y_px``; grey
    values further than ``object_from`` from ``background`` are particles, those below it by ``dark_from`` are dark; the
    others are background. ``frame``: float64, (5, rows, columns): sum, sum of squares and number of images of the
    cell's background less that of the cells around it, number of images in which a quarter of it is dark, and
    number of images that show most of it. Cells beyond the frame are left out. All images must lie within ``buf``.
    """
    most = 1
    for i in range(start.size):
        most = max(most, (height[i] // CELL_PX + 2) * (width[i] // CELL_PX + 2))
    memory = np.empty(5 * most)
    for i in range(start.size):
        rows, columns = height[i] // CELL_PX + 2, width[i] // CELL_PX + 2
        cells = memory[: 5 * rows * columns]
        cells[:] = 0
        pixels = buf[start[i] : start[i] + height[i] * width[i]]
        into = cells.reshape(5, rows, columns)
        _fill(pixels, height[i], width[i], x_px[i] % CELL_PX, y_px[i] % CELL_PX, background[i], object_from[i],
              dark_from, into)  # fmt: skip
        _means(into)
        _lay(into, y_px[i] // CELL_PX, x_px[i] // CELL_PX, frame)


@part
def _fill(pixels, h, w, dx, dy, background, object_from, dark_from, cells):
    """Per cell: sum and number of background pixels, number of object pixels, of dark ones, of all."""
    for y in range(h):
        row = (y + dy) // CELL_PX
        for x in range(w):
            column = (x + dx) // CELL_PX
            d = pixels[y * w + x] - background
            if abs(d) <= object_from:
                cells[0, row, column] += d
                cells[1, row, column] += 1
            else:
                cells[2, row, column] += 1
            cells[3, row, column] += d < -dark_from
            cells[4, row, column] += 1


@part
def _means(cells):
    """Put the mean of each cell's background in place of its sum; NaN where a particle is in or beside the cell."""
    _, rows, columns = cells.shape
    for row in range(rows):
        for column in range(columns):
            objects = 0
            for r in range(max(row - 1, 0), min(row + 2, rows)):
                for c in range(max(column - 1, 0), min(column + 2, columns)):
                    objects += cells[2, r, c] >= _PARTICLE_PX
            clean = objects == 0 and cells[1, row, column] >= _MIN_PX
            cells[0, row, column] = cells[0, row, column] / cells[1, row, column] if clean else np.nan


@part
def _lay(cells, first_row, first_column, frame):
    _, rows, columns = cells.shape
    for row in range(rows):
        for column in range(columns):
            r, c = first_row + row, first_column + column
            if r < 0 or c < 0 or r >= frame.shape[1] or c >= frame.shape[2]:
                continue
            if cells[4, row, column] >= _MIN_PX:
                frame[3, r, c] += 4 * cells[3, row, column] > cells[4, row, column]
                frame[4, r, c] += 1
            away = cells[0, row, column] - _around(cells[0], row, column)
            if not np.isnan(away):
                away = min(max(away, -_MOST), _MOST)
                frame[0, r, c] += away
                frame[1, r, c] += away * away
                frame[2, r, c] += 1


@part
def _around(means, row, column):
    """Mean of the cells around one; NaN where few of them have one."""
    total = 0.0
    n = 0
    for r in range(max(row - _REACH, 0), min(row + _REACH + 1, means.shape[0])):
        for c in range(max(column - _REACH, 0), min(column + _REACH + 1, means.shape[1])):
            if (r != row or c != column) and not np.isnan(means[r, c]):
                total += means[r, c]
                n += 1
    return total / n if n >= _MIN_CELLS else np.nan
