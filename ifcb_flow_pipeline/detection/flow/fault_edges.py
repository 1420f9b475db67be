"""The first and the last bins of a fault: they go its way, but not far enough to be odd alone.

A fault that grows is found when it is plain. Which way it goes is known then, and the bins next to it are asked for
that way only.
"""

from math import erfc, log10, sqrt

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.neighbour_averages import NeighbourEvidence, Series

#: Bins next to a fault that may belong to it, and bins farther off that tell how far others go its way by chance.
_NEXT, _OTHERS, _LEAST_OTHERS = 8, 32, 12

#: A bin belongs to the fault where it goes so many standard deviations its way, and so do all that lie between them;
#: more than so many say no more.
_LEAST_T, _MOST_T = 1.28, 3.0

#: Bins scatter by so much at least, in spreads; and a bin goes at least so much of the way of the fault's nearest one.
_LEAST_SCATTER, _LEAST_SHARE = 0.7, 0.4

#: What the rarity of all these bins together must exceed, for there are two sides to look at, and many faults; and
#: the most that it is then: that of a bin which is bad, but less so than what it is next to.
_COSTS, _MOST = 2.5, 2.5

#: Bins of the fault itself that the mean is taken over, too.
_OF_FAULT = 8


def fault_edges(
    series: Series, in_order: NDArray[np.bool_], is_fault: NDArray[np.bool_], way: NDArray[np.float32]
) -> NeighbourEvidence:
    """For each bin next to a fault and of its kind, both as one window.

    ``in_order`` (n,): bins that may belong to a fault; ``is_fault`` (n,): those that are plainly faulty, of which there
    is one at least; ``way`` (faults, d): which way each of these is odd.
    """
    n, d = series.z.shape
    rarity, place = np.zeros(n), np.full(n, -1)
    n_bins, means, means_lost = [], [], []
    first, last = _runs(series.deployment, is_fault)
    begin = np.searchsorted(np.flatnonzero(is_fault), first)
    direction = way[begin]
    for run in np.flatnonzero(last - first > 1).tolist():
        direction[run] = way[begin[run] : begin[run] + last[run] - first[run]].mean(axis=0)
    for side, ends in ((-1, first), (1, last - 1)):
        for run in np.flatnonzero(_may_go_on(series, in_order, direction, (ends, side))).tolist():
            own, together = _belonging(series, in_order, direction[run], (int(ends[run]), side))
            better = own[rarity[own] < together]
            if len(better):
                rarity[better], place[better] = together, len(n_bins)
                fault = np.arange(first[run], last[run])
                whole = np.concatenate([own, fault[-_OF_FAULT:] if side > 0 else fault[:_OF_FAULT]])
                n_bins.append(len(whole))
                means.append(series.z[whole].mean(axis=0))
                means_lost.append(series.lost[whole].mean())
    counts = np.array(n_bins, dtype=np.int64)
    spread = np.repeat(1.0 / np.sqrt(counts)[:, None], d, axis=1).astype(np.float32)
    z = np.array(means, dtype=np.float32).reshape(-1, d) / spread
    lost = np.array(means_lost, dtype=np.float32)
    return NeighbourEvidence(rarity, place, counts, z, np.zeros_like(z), spread, lost)


def _runs(deployment: NDArray[np.int64], chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where runs of chosen bins of one deployment begin, and the places behind their last ones."""
    codes = np.concatenate(([-1], np.where(chosen, deployment, -1), [-1]))
    edges = np.flatnonzero(np.diff(codes))
    is_run = np.append(chosen, False)[edges[:-1]]
    return edges[:-1][is_run], edges[1:][is_run]


def _may_go_on(
    series: Series,
    in_order: NDArray[np.bool_],
    direction: NDArray[np.float32],
    ends: tuple[NDArray[np.int64], int],
) -> NDArray[np.bool_]:
    """At which ends of faults, to one side, the next bin goes far enough the fault's way; shape (ends,).

    ``direction``: of each fault, shape (ends, d). Most faults end where they seem to; this says so quickly.
    """
    end, side = ends
    following = np.clip(end + side, 0, len(series.z) - 1)
    is_next = (following != end) & in_order[following] & (series.deployment[following] == series.deployment[end])
    far = (series.z[following] * direction).sum(axis=1)
    least = _LEAST_T * _LEAST_SCATTER * np.linalg.norm(direction, axis=1)
    return is_next & (far >= least) & (far >= _LEAST_SHARE * (series.z[end] * direction).sum(axis=1))


def _belonging(
    series: Series,
    in_order: NDArray[np.bool_],
    direction: NDArray[np.float32],
    ends: tuple[int, int],
) -> tuple[NDArray[np.int64], float]:
    """The bins from one end of a fault on, to one side, that go its way, and how surprising they are together."""
    end, side = ends
    begin = max(end - _NEXT - _OTHERS, 0)
    nearby = begin + np.flatnonzero(series.deployment[begin : end + _NEXT + _OTHERS + 1] == series.deployment[end])
    others = nearby[in_order[nearby] & (np.abs(nearby - end) > _NEXT)]
    if len(others) < _LEAST_OTHERS:
        return others[:0], 0.0
    near = nearby[(side * (nearby - end) > 0) & (np.abs(nearby - end) <= _NEXT)][::side]
    usual = series.z[others] @ direction
    # What all of them do is no sign of the fault; neither is what lies on its side of them, but not of what is usual.
    middle = max(_median(usual), 0.0)
    scatter = _median(np.abs(usual - middle)) / 0.6745
    far = series.z[near] @ direction - middle
    t = far / max(scatter, _LEAST_SCATTER * float(np.linalg.norm(direction)))
    enough = _LEAST_SHARE * float(series.z[end] @ direction - middle)
    belongs = np.logical_and.accumulate(in_order[near] & (t >= _LEAST_T) & (far >= enough))
    rarity = sum(-log10(0.5 * erfc(min(value, _MOST_T) / sqrt(2.0))) for value in t[belongs].tolist())
    return near[belongs], min(max(rarity - _COSTS, 0.0), _MOST)


def _median(values: NDArray[np.float32]) -> float:
    """Of a few values, in a fifth of the time that numpy takes."""
    ordered = np.sort(values)
    n = len(values)
    return float((ordered[(n - 1) // 2] + ordered[n // 2]) / np.float32(2.0))
