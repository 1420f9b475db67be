"""What keeps coming back: the same box, the same corner, the same place off the core.

The place that is most frequent among some images is, by chance alone, more frequent there than it is in truth, and
the more so the fewer the images. So it is sought in one half of the images (every other one) and its share taken from
the other half, both ways round: more images of the same kind then leave the share as it is in expectation.
"""

import numpy as np
from numpy.typing import NDArray

#: Two places are the same if they are in the same cell of so many px, or in neighbouring ones: on the lattice of boxes
#: that is if they are not farther apart.
SAME_PX = 8

#: Side of a cell off the core.
CELL_PX = 32


def repeat_share(*sides_px: NDArray[np.float64]) -> float:
    """Share of images that are, in all the given sides, at the most frequent place; each of shape (images,) >= 2."""
    return float(np.mean([share for share, _ in _halves(_cells(sides_px))]))


def repeated_place(*sides_px: NDArray[np.float64]) -> tuple[float, ...]:
    """The most frequent place, of the two that the halves have the one that is more frequent in the other half.

    Of the images in its cell, the lower median of each side.
    """
    cells = _cells(sides_px)
    first, second = _halves(cells)
    here = (cells == (second if second[0] > first[0] else first)[1]).all(axis=1)
    return tuple(float(np.quantile(side[here], 0.5, method="lower")) for side in sides_px)


def _cells(sides_px: tuple[NDArray[np.float64], ...]) -> NDArray[np.float64]:
    return np.floor(np.column_stack(sides_px) / SAME_PX)


def _halves(cells: NDArray[np.float64]) -> list[tuple[float, NDArray[np.float64]]]:
    """The most frequent cell of either half, and what share of the other half is there or next to it."""
    halves = cells[::2], cells[1::2]
    found = []
    for half, other in (halves, halves[::-1]):
        cell = most_frequent(half)
        found.append((float((np.abs(other - cell) <= 1).all(axis=1).mean()), cell))
    return found


def most_frequent(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most frequent of cells of shape (n, sides), n >= 1; of equally frequent ones that of smallest numbers."""
    distinct, counts = np.unique(cells, axis=0, return_counts=True)
    return distinct[int(np.argmax(counts))]


def hot_cell_share(x: NDArray[np.float64], y: NDArray[np.float64], counted: NDArray[np.bool_]) -> float:
    """Share of images that are counted and in that cell of CELL_PX which holds most of the counted ones.

    Arrays of shape (images,), images >= 2.
    """
    cells = np.column_stack((x // CELL_PX, y // CELL_PX))
    shares = []
    for first in (0, 1):
        here, there = cells[first::2][counted[first::2]], cells[1 - first :: 2]
        if not len(here):
            shares.append(0.0)
            continue
        hottest = most_frequent(here)
        shares.append(np.mean((there == hottest).all(axis=1) & counted[1 - first :: 2]))
    return float(np.mean(shares))
