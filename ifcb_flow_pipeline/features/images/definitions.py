"""The constants that the definitions of the image features share."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

BACKGROUND_LEVEL: Final = 200
"""Grey value that the background of every image is brought to by one factor, before anything else is computed."""

MIN_BACKGROUND: Final = 30
"""A border darker than this counts as this: what is almost black is not blown up."""

MIN_SIDE_PX: Final = 5
"""Images with a shorter side have no features: their border is all there is."""

MAD_TO_SD: Final = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

NEAR_SDS: Final = 3.0
NEAR_SHARE: Final = 0.03
"""A pixel is background within so many standard deviations of the border, at least within this share of its median."""

OBJECT_SDS: Final = 4.0
OBJECT_SHARE: Final = 0.04
"""A pixel is an object's beyond so many standard deviations of the border, and beyond this share of its median."""

MIN_BLOB_PX: Final = 12
"""Smaller groups of object pixels count as noise where blobs are counted."""

MIN_SHAPE_PX: Final = 6
"""A smaller blob has no shape: all that describes it is 0."""

MIN_LINE_PX: Final = 8
"""A row or column with fewer background pixels has no background mean."""

FLANK_PX: Final = 8
"""A dip along the border is one beside what lies so far before and after it: further than any scratch is wide."""

QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

GREY_CLASSES: Final = 16
"""Grey values of the co-occurrence matrix, each 16 wide at the common background; the last takes what is above."""

RINGS: Final = 16
"""Rings of equal area around a blob's centre, out to its furthest pixel."""

LAGS: Final = 20
"""Longest shift of the gradient against itself, px: the longest motion blur that is told from a soft image."""

SHORTEST_LAG: Final = 3
"""Shorter shifts lie within the gradient's own kernel."""

MAX_CORRELATION: Final = 5.0
"""Correlations relative to that at a shift of 1 px are cut off at this, for that may be almost nothing."""


def _pattern_classes() -> NDArray[np.uint8]:
    """Class of each of the 256 local binary patterns, shape (256,): bits set where at most two changes go round, else
    9 (Ojala et al. 2002, uniform and rotation-invariant).
    """
    codes = np.arange(256)
    bits = codes[:, None] >> np.arange(8) & 1
    changes = np.sum(bits != np.roll(bits, 1, axis=1), axis=1)
    return np.where(changes <= 2, bits.sum(axis=1), 9).astype(np.uint8)


PATTERN_CLASS: Final = _pattern_classes()
