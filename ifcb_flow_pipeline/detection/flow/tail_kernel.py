"""The arithmetic of tails, bin by bin: compiled, so that no matrix of the size of an archive is passed over twice.

Powers are numpy's, between two kernels: its vectorised ones are faster than compiled loops. Import this module only
where a kernel is about to run: it loads numba.
"""

from math import exp, log, log1p

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.fallback import kernel, part

_LN_10 = log(10.0)
_LARGEST = np.finfo(np.float32).max


@kernel
def relative(
    z: NDArray[np.float32], width: NDArray[np.float32], power: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Deviations (n, d) in widths of the tail on their side, 0 where unknown, and its power; (n, d) each.

    ``width``, ``power`` (2, d): of the tails below and above.
    """
    n, d = z.shape
    distance, powers = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    for i in range(n):
        for j in range(d):
            value = z[i, j]
            is_below = value < 0.0
            size = abs(value) if value == value else np.float32(0.0)
            distance[i, j] = min(size, _LARGEST) / (width[0, j] if is_below else width[1, j])
            powers[i, j] = power[0, j] if is_below else power[1, j]
    return distance, powers


@kernel
def in_decades(exponent: NDArray[np.float32], most: float) -> None:
    """Turn exponents (n, d) of e into powers of 10, in place; beyond ``most`` these grow with their logarithm only."""
    n, d = exponent.shape
    far = np.float32(most * _LN_10)
    for i in range(n):
        farthest = np.float32(0.0)
        for j in range(d):
            farthest = max(farthest, exponent[i, j])
        if farthest < far:  # nearly always
            for j in range(d):
                exponent[i, j] = np.float64(exponent[i, j]) / _LN_10
        else:
            for j in range(d):
                rarity = np.float64(exponent[i, j]) / _LN_10
                exponent[i, j] = rarity if rarity <= most else most + log1p(rarity - most)


@part
def _counted(rarity, counts_from):
    # numpy's logaddexp(0, value), of which one term is 0.
    value = np.float64(rarity - counts_from) * _LN_10
    found = value + log1p(exp(-value)) if value > 0.0 else log1p(exp(value))
    return np.float32(found) / np.float32(_LN_10)


@kernel
def counted(groups: NDArray[np.float32], counts_from: float) -> NDArray[np.float32]:
    """What rarities of groups (n, groups) add to the score: max(rarity - counts_from, 0) without the corner."""
    n, g = groups.shape
    found = np.empty((n, g), np.float32)
    least = np.float32(counts_from)
    of_nothing = _counted(np.float32(0.0), least)
    for i in range(n):
        for j in range(g):
            found[i, j] = of_nothing if groups[i, j] == 0.0 else _counted(groups[i, j], least)
    return found


@kernel
def largest(
    rarities: NDArray[np.float32], factor: NDArray[np.float32], group: NDArray[np.int64], offset: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The largest of each group's rarities (n, d), of each so much counts; less the group's ``offset``, (n, groups).

    ``factor`` (n, d). ``group`` (d,): the number of each feature's group.
    """
    n, d = rarities.shape
    g = len(offset)
    found = np.zeros((n, g), np.float32)
    for i in range(n):
        for j in range(d):
            found[i, group[j]] = max(found[i, group[j]], rarities[i, j] * factor[i, j])
        for k in range(g):
            found[i, k] = max(found[i, k] - offset[k], np.float32(0.0))
    return found


@kernel
def contributions(
    rarities: NDArray[np.float32], group: NDArray[np.int64], offset: NDArray[np.float32], counts_from: float
) -> NDArray[np.float32]:
    """What each feature adds to the score: the largest of its group what the group does, the others nothing; (n, d)."""
    n, d = rarities.shape
    g = len(offset)
    added = np.zeros((n, d), np.float32)
    which = np.empty(g, np.int64)
    least = np.float32(counts_from)
    for i in range(n):
        which[:] = -1
        for j in range(d):
            k = group[j]
            if which[k] < 0 or rarities[i, j] > rarities[i, which[k]]:
                which[k] = j
        for k in range(g):
            added[i, which[k]] = _counted(max(rarities[i, which[k]] - offset[k], np.float32(0.0)), least)
    return added
