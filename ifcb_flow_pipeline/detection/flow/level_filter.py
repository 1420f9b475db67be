"""The local baseline of an instrument, bin by bin: where its healthy bins lie at the time, and how well that is known.

A filter for a level that wanders (Kalman 1960; the level as an Ornstein-Uhlenbeck process): every feature has a level
that drifts around its centre, and a bin scatters around the level. What is known of the level loses its worth with
the time since the last bin, and a bin is judged by the scatter and that uncertainty together. So a short or an old
history widens what counts as usual by itself, and no bin is part of its own baseline. A bin that is plainly out of
order teaches nothing: a fault of ten days is no history.

Import this module only where the kernel is about to run: it loads numba.
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.fallback import kernel, part

#: Deviations beyond this many standard deviations move the level no further: one odd bin is not a trend.
_MOST_Z = 3.0

#: A core that lies this many standard deviations from the place to which it jumped, and nearer to the one before, is
#: back there.
_BACK_Z = 4.0

#: Where nothing was learnt of the water for so long, s, as beside a fault of days, its level may by and by lie so many
#: ranges from its centre: communities come and go, and the days of training saw few of them.
_SILENT_S, _FORGOTTEN_RANGES = 0.5 * 86_400.0, 3.0

#: Groups of features: those that a fault of the flow or the optics holds; those that follow the water, which go on with
#: time meanwhile; and those of the housing, which say nothing of the others.
FLOW, WATER, HOUSING = 0, 1, 2
_GROUPS = 3


@part
def _return_core(value, scatter, level, variance, core, other):
    """Where the core jumped and a bin lies where it was before, both places change their roles."""
    here = abs(value - level[core])
    is_away = here > _BACK_Z * np.sqrt(variance[core] + scatter * scatter)
    if other[2] > 0.0 and is_away and abs(value - other[0]) < here:
        level[core], other[0] = other[0], level[core]
        variance[core], other[1] = other[1], variance[core]
        other[3] = 1.0 - other[3]


@part
def _pass_time(level, variance, range_, memory_s, passed, core, group, held):
    """What is known of levels loses its worth with time; those of a group that is held stay as they are."""
    keep = np.float32(np.exp(-passed / memory_s))
    for j in range(len(level)):
        if range_[j] > 0.0 and not (held[group[j]] and group[j] != WATER):
            if j != core:
                level[j] *= keep
            variance[j] = variance[j] * keep * keep + range_[j] * range_[j] * (np.float32(1.0) - keep * keep)


@part
def _forget_water(variance, range_, memory_s, silent_s, group):
    """Of the water, from which nothing was learnt for so long, hardly more is known than how far it goes."""
    forgotten = np.float32(1.0 - np.exp(-max(silent_s - _SILENT_S, 0.0) / memory_s))
    if forgotten > 0.0:
        for j in range(len(variance)):
            if group[j] == WATER:
                farthest = np.float32(_FORGOTTEN_RANGES) * range_[j]
                variance[j] = max(variance[j], forgotten * farthest * farthest)


@part
def _judge(values, level, variance, scatter, reach, group, fits):
    """Turn a bin's values into deviations and its scatters into spreads; which groups of its features are in order."""
    fits[:] = True
    for j in range(len(level)):
        scatter[j] = np.sqrt(variance[j] + scatter[j] * scatter[j])
        values[j] = (values[j] - level[j]) / scatter[j]
        if values[j] < -reach[0, j] or values[j] > reach[1, j]:
            fits[group[j]] = False
    # What follows the water is measured by the images of the run: where the flow is not in order, nothing is.
    fits[WATER] = fits[FLOW] and fits[WATER]


@part
def _learn(residual, level, variance, spread, range_, limit, group, fits):
    """Move the levels of the groups that are in order towards a bin."""
    for j in range(len(level)):
        if range_[j] > 0.0 and fits[group[j]] and np.isfinite(residual[j]):
            most = np.float32(_MOST_Z) * spread[j]
            gain = variance[j] / (spread[j] * spread[j])
            level[j] += gain * min(max(residual[j], -most), most)
            level[j] = min(max(level[j], -limit[j]), limit[j])
            variance[j] *= np.float32(1.0) - gain


@kernel
def follow(
    values: NDArray[np.float32],
    scatter: NDArray[np.float32],
    time_s: NDArray[np.float64],
    usable: NDArray[np.bool_],
    range_: NDArray[np.float32],
    memory_s: float,
    limit: NDArray[np.float32],
    anchored: NDArray[np.bool_],
    anchor: NDArray[np.float32],
    anchor_sd: NDArray[np.float32],
    is_jump: NDArray[np.bool_],
    core: int,
    group: NDArray[np.int64],
    first: tuple,
    reach: NDArray[np.float32],
    is_short: NDArray[np.bool_],
):
    """Turn n bins, in the order of time, into deviations from the level before each of them, in place.

    ``values`` (n, d): less their centre, NaN where unknown, become deviations in spreads; ``scatter`` (n, d): of a bin
    around the level, become the spreads that they are judged by; both are C-contiguous.
    ``time_s`` (n,). ``usable`` (n,): bins that may teach the level. ``range_`` (d,): how far the level wanders,
    as a standard deviation; ``memory_s``: in which time it forgets where it was; ``limit`` (d,): how far it goes.
    ``anchored`` (n,): a new place of the core begins, its level is ``anchor`` (n,) within ``anchor_sd`` (n,);
    ``is_jump`` (n,): it moved there without a reason, so that a bin at the place before is as much in order;
    ``core``: the column of that level, -1 where there is none. ``group`` (d,): FLOW, WATER or HOUSING. ``first``: level
    and standard deviation before the first bin, (d,) each.
    ``reach`` (2, 2, d): how far below and above the level, in standard deviations, a bin may lie to be in order: in a
    history of days, and where it ``is_short`` (n,).

    Returns which bins are in order, and which lie at a place to which the core jumped, both (n,).
    """
    n, d = values.shape
    level, variance = first[0].copy(), first[1] * first[1]
    residual = np.empty(d, np.float32)
    in_order, jumped = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    # The place of the core before a jump, its variance, whether there is one, and whether the core is at the new place.
    other = np.zeros(4, np.float32)
    fits, held = np.ones(_GROUPS, np.bool_), np.zeros(_GROUPS, np.bool_)
    silent_s = 0.0
    for i in range(n):
        if core >= 0 and anchored[i]:
            other[0], other[1] = level[core], variance[core]
            other[2:] = 1.0 if is_jump[i] else 0.0
            level[core], variance[core] = anchor[i], anchor_sd[i] * anchor_sd[i]
        if i > 0:
            passed = max(time_s[i] - time_s[i - 1], 0.0)
            _pass_time(level, variance, range_, memory_s, passed, core, group, held)
            silent_s += passed
            _forget_water(variance, range_, memory_s, silent_s, group)
        if core >= 0:
            _return_core(values[i, core], scatter[i, core], level, variance, core, other)
        jumped[i] = other[3] > 0.0
        for j in range(d):
            residual[j] = values[i, j] - level[j]
        _judge(values[i], level, variance, scatter[i], reach[int(is_short[i])], group, fits)
        in_order[i] = usable[i] and fits[FLOW]
        # While a fault lasts its level is held: neither the bins nor their time change what was usual before.
        for g in range(_GROUPS):
            held[g] = usable[i] and not fits[g]
        if usable[i]:
            _learn(residual, level, variance, scatter[i], range_, limit, group, fits)
            silent_s *= not fits[WATER]
    return in_order, jumped


@kernel
def less_centres(
    values: NDArray[np.float32], centres: NDArray[np.float32], code: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Values (n, d) less the centre of their settings: ``centres`` (settings, d), whose numbers are ``code`` (n,)."""
    n, d = values.shape
    found = np.empty((n, d), np.float32)
    for i in range(n):
        for j in range(d):
            found[i, j] = values[i, j] - centres[code[i], j]
    return found


@kernel
def scatters(
    points: NDArray[np.float64],
    usual_points: float,
    scatter: NDArray[np.float32],
    sampling: NDArray[np.float32],
    least: NDArray[np.float32],
    least_share: NDArray[np.float32],
) -> NDArray[np.float32]:
    """How bins of so many ``points`` (n,), 1 or more, scatter around the level, shape (n, d).

    ``scatter`` (d,): of bins of the usual number; ``sampling`` (d,): the share of its square that goes with 1 / points;
    ``least`` (d,): no scatter is smaller. ``least_share`` (d,): of shares of points, the rarer kind; else NaN.
    """
    n, d = len(points), len(scatter)
    found = np.empty((n, d), np.float32)
    for i in range(n):
        # Fewer points than usual scatter more; more of them do not scatter less than bins differ.
        thinner = np.float32(usual_points / points[i]) - np.float32(1.0)
        for j in range(d):
            value = scatter[j]
            if sampling[j] > 0.0:
                value *= np.sqrt(max(np.float32(1.0) + sampling[j] * thinner, np.float32(0.1)))
            value = max(value, least[j])
            if not np.isnan(least_share[j]):
                expected = least_share[j] * points[i]
                value = max(value, np.float32((1.0 + 1.0 / (1.0 + expected)) / np.sqrt(points[i])))
            found[i, j] = value
    return found
