"""Quantiles of numbers that lie on a lattice.

Boxes lie on a lattice of 8 px and times of flight on one of 2.17 us. Their plain median jumps by a whole step, or stays
where it is, however the values shift; the middle quantile does not.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The robust standard deviation of a normal distribution: over its median absolute deviation, and the interquartile
#: range over it.
MAD_SIGMA = 1.4826
IQR_SIGMA = 1.349


def middle_quantiles(values: NDArray[np.float64], shares: Sequence[float]) -> tuple[float, ...]:
    """The quantiles of n >= 1 values, each distinct one standing in the middle of those equal to it.

    Between the middles of two neighbours it is interpolated; below the first and above the last one it stays.
    """
    distinct, counts = np.unique(values, return_counts=True)
    middles = (np.cumsum(counts) - counts / 2) / len(values)
    return tuple(np.interp(shares, middles, distinct).tolist())
