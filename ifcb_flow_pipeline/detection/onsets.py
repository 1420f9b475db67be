"""The first and the last bins of a fault: they go its way, but not far enough to be odd alone.

A fault that grows is found when it is plain. What direction that is, is known then, and the bins next to it are asked
for that direction only.
"""

from collections.abc import Iterator
from math import erfc, log10, sqrt

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.stretches import Series, Stretches, clipped

#: Bins next to a fault that may belong to it, and bins farther off that tell how far others go its way by chance.
_NEXT, _OTHERS, _LEAST_OTHERS = 8, 32, 12

#: A bin belongs to the fault where it goes so many standard deviations its way, and so do all that lie between them.
_LEAST_T, _MOST_T = 1.28, 3.0

#: Bins scatter by so much at least, in spreads; and a bin goes at least so much of the way of the fault's nearest one.
_LEAST_SCATTER, _LEAST_SHARE = 0.7, 0.4

#: What the surprise of all these bins together must exceed, for there are two sides to look at, and many faults; and
#: the most that it is then: that of a bin which is bad, but less so than what it is next to.
_COSTS, _MOST = 2.5, 2.5

#: Bins of the fault itself that the mean is taken over, too.
_OF_FAULT = 8


def onsets(
    series: Series, in_order: NDArray[np.bool_], is_fault: NDArray[np.bool_], way: NDArray[np.float32]
) -> Stretches:
    """For each bin next to a fault and of its kind, both as one stretch.

    ``in_order`` (n,): bins that may belong to a fault; ``is_fault`` (n,): those that are plainly faulty; ``way``
    (n, d): which way, feature by feature, these are.
    """
    n, d = series.z.shape
    surprise, place = np.zeros(n), np.full(n, -1)
    n_bins, z = [], []
    for first, last in _runs(series.deployment, is_fault):
        direction = way[first:last].mean(axis=0)
        for side in (-1, 1):
            own, together = _belonging(series, in_order, direction, first if side < 0 else last - 1, side)
            better = own[surprise[own] < together]
            if len(better):
                surprise[better], place[better] = together, len(n_bins)
                fault = np.arange(first, last)[-_OF_FAULT:] if side > 0 else np.arange(first, last)[:_OF_FAULT]
                whole = np.concatenate([own, fault])
                n_bins.append(len(whole))
                z.append(clipped(series.z[whole]).mean(axis=0) * sqrt(len(whole)))
    counts = np.array(n_bins, dtype=np.int64)
    spread = np.repeat(1.0 / np.sqrt(counts)[:, None], d, axis=1).astype(np.float32)
    means = np.array(z, dtype=np.float32).reshape(-1, d)
    return Stretches(surprise, place, counts, means, np.zeros_like(means), spread)


def _runs(deployment: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Where runs of chosen bins of one deployment begin, and the place behind their last."""
    codes = np.concatenate(([-1], np.where(chosen, deployment, -1), [-1]))
    edges = np.flatnonzero(np.diff(codes))
    for first, last in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if chosen[first]:
            yield first, last


def _belonging(
    series: Series, in_order: NDArray[np.bool_], direction: NDArray[np.float32], end: int, side: int
) -> tuple[NDArray[np.int64], float]:
    """The bins from one end of a fault on, to one side, that go its way, and how surprising they are together."""
    nobody = np.zeros(0, dtype=np.int64)
    near = end + side * np.arange(1, _NEXT + 1)
    near = near[(near >= 0) & (near < len(in_order))]
    near = near[series.deployment[near] == series.deployment[end]]
    nearby = np.arange(max(end - _NEXT - _OTHERS, 0), min(end + _NEXT + _OTHERS + 1, len(in_order)))
    nearby = nearby[in_order[nearby] & (series.deployment[nearby] == series.deployment[end])]
    others = nearby[np.abs(nearby - end) > _NEXT]
    if not len(near) or not in_order[near[0]] or len(others) < _LEAST_OTHERS:
        return nobody, 0.0
    usual = clipped(series.z[others]) @ direction
    middle = float(np.median(usual))
    scatter = float(np.median(np.abs(usual - middle))) / 0.6745
    far = clipped(series.z[near]) @ direction - middle
    t = far / max(scatter, _LEAST_SCATTER * float(np.linalg.norm(direction)))
    enough = _LEAST_SHARE * float(clipped(series.z[end]) @ direction - middle)
    belongs = np.logical_and.accumulate(in_order[near] & (t >= _LEAST_T) & (far >= enough))
    surprise = sum(-log10(0.5 * erfc(min(value, _MOST_T) / sqrt(2.0))) for value in t[belongs].tolist())
    return near[belongs], min(max(surprise - _COSTS, 0.0), _MOST)
