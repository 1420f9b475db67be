"""What keeps coming back: the same box, the same corner, the same place off the core.

The place that is most frequent among some images is, by chance alone, more frequent there than it is in truth, and
the more so the fewer the images. So it is sought in one half of the images (every other one) and its share taken from
the other half, both ways round: more images of the same kind then leave the share as it is in expectation.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Two boxes are the same if none of their four numbers differs by more.
SAME_PX = 8

#: Side of a cell off the core.
CELL_PX = 32


class Box(NamedTuple):
    """A box in px: left and top edge, width and height."""

    x: float
    y: float
    width: float
    height: float


def repeat_share(*sides_px: NDArray[np.float64]) -> float:
    """Share of images that are within SAME_PX of the most frequent place in all the given sides; NaN below two.

    Each side has shape (images,).
    """
    points = np.column_stack(sides_px)
    halves = points[::2], points[1::2]
    if not len(halves[1]):
        return float("nan")
    shares = [_near(other, most_frequent(half)).mean() for half, other in (halves, halves[::-1])]
    return float(np.mean(shares))


def most_frequent(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most frequent place on a lattice of SAME_PX, of points of shape (n, sides), n >= 1: its points' lower median.

    Of several equally frequent ones that with the smallest numbers.
    """
    cells = np.floor(points / SAME_PX)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    members = points[which.ravel() == int(np.argmax(counts))]
    return np.quantile(members, 0.5, axis=0, method="lower")


def _near(points: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.bool_]:
    return (np.abs(points - place) <= SAME_PX).all(axis=1)


def hot_cell_share(x: NDArray[np.float64], y: NDArray[np.float64], counted: NDArray[np.bool_]) -> float:
    """Share of images that are counted and in that cell of CELL_PX which holds most of the counted ones.

    Arrays of shape (images,). NaN below two images.
    """
    cells = np.column_stack((x // CELL_PX, y // CELL_PX))
    shares = []
    for first in (0, 1):
        here, there = cells[first::2][counted[first::2]], cells[1 - first :: 2]
        if not len(there):
            return float("nan")
        if not len(here):
            shares.append(0.0)
            continue
        distinct, counts = np.unique(here, axis=0, return_counts=True)
        hottest = distinct[int(np.argmax(counts))]
        shares.append(np.mean((there == hottest).all(axis=1) & counted[1 - first :: 2]))
    return float(np.mean(shares))
