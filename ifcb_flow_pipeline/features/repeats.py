"""What keeps coming back: the same box, the same corner, the same place off the core.

The place that is most frequent among some images is, by chance alone, more frequent there than it is in truth, and
the more so the fewer the images. So it is sought in one half of the images (every other one) and its share taken from
the other half, both ways round: more images of the same kind then leave the share as it is in expectation.
"""

import numpy as np
from numpy.typing import NDArray

#: Two boxes are the same if none of their four numbers differs by more.
SAME_PX = 8

#: Side of a cell off the core.
CELL_PX = 32


def repeat_share(*sides_px: NDArray[np.float64]) -> float:
    """Share of images that are within SAME_PX of the most frequent place in all the given sides.

    Each side has shape (images,), images >= 2.
    """
    points = np.column_stack(sides_px)
    return float(np.mean([share for share, _ in _halves(points)]))


def repeated_place(*sides_px: NDArray[np.float64]) -> tuple[float, ...]:
    """The most frequent place, of the two that the halves have the one that is more frequent in the other half."""
    first, second = _halves(np.column_stack(sides_px))
    return tuple((second if second[0] > first[0] else first)[1].tolist())


def _halves(points: NDArray[np.float64]) -> list[tuple[float, NDArray[np.float64]]]:
    """The most frequent place of either half, and its share in the other one."""
    halves = points[::2], points[1::2]
    found = []
    for half, other in (halves, halves[::-1]):
        place = most_frequent(half)
        found.append((float((np.abs(other - place) <= SAME_PX).all(axis=1).mean()), place))
    return found


def most_frequent(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The most frequent place on a lattice of SAME_PX, of points of shape (n, sides), n >= 1: its points' lower median.

    Of several equally frequent ones that with the smallest numbers.
    """
    cells = np.floor(points / SAME_PX)
    _, which, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    members = points[which.ravel() == int(np.argmax(counts))]
    return np.quantile(members, 0.5, axis=0, method="lower")


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
        distinct, counts = np.unique(here, axis=0, return_counts=True)
        hottest = distinct[int(np.argmax(counts))]
        shares.append(np.mean((there == hottest).all(axis=1) & counted[1 - first :: 2]))
    return float(np.mean(shares))
