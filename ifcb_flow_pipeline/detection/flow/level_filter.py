"""The local baseline of an instrument, bin by bin: where its healthy bins lie at the time, and how well that is known.

A filter for a level that wanders (Kalman 1960; the level as an Ornstein-Uhlenbeck process): every feature has a level
that drifts around its centre, and a bin scatters around the level. What is known of the level loses its worth with
the time since the last bin, and a bin is judged by the scatter and that uncertainty together. So a short or an old
history widens what counts as usual by itself, and no bin is part of its own baseline. A bin that is plainly out of
order teaches nothing: a fault of ten days is no history, and while it lasts it is measured by what was usual as it
began. After a pause, in which it may have been repaired, all the time since then counts.

Import this module only where the kernel is about to run: it loads numba.
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.natural_variability import ALL_GROW, BLURRED_LOST, BLURRED_LOST_Z, BLURRED_Z
from ifcb_flow_pipeline.fallback import kernel, part

#: Deviations beyond this many standard deviations move the level no further: one odd bin is not a trend.
_MOST_Z = 3.0

#: A core that lies this many standard deviations from the place to which it jumped, and nearer to the one before, is
#: back there.
_BACK_Z = 4.0

#: Where nothing was learnt of the water for so long, s, as beside a fault of days, its level may by and by lie so many
#: ranges from its centre: communities come and go, and the days of training saw few of them.
_SILENT_S, _FORGOTTEN_RANGES = 0.5 * 86_400.0, 3.0

#: Where most of so many bins before a pause were not in order and the first ones after it are, somebody repaired it.
_RECENT_BINS = 5

#: Groups of features: those that a fault of the flow or the optics holds; those that follow the water, which go on with
#: time meanwhile; and those of the housing, which say nothing of the others.
FLOW, WATER, HOUSING = 0, 1, 2
_GROUPS = 3


@part
def _return_core(values, scatter, level, variance, core, other):
    """Where the core jumped and a bin lies where it was before, both places change their roles."""
    if core < 0 or other[2] == 0.0:
        return
    here = abs(values[core] - level[core])
    is_away = here > _BACK_Z * np.sqrt(variance[core] + scatter[core] * scatter[core])
    if is_away and abs(values[core] - other[0]) < here:
        level[core], other[0] = other[0], level[core]
        variance[core], other[1] = other[1], variance[core]
        other[3] = 1.0 - other[3]


@part
def _pass_time(level, variance, range_, memory_s, passed, core, group):
    """What is known of levels loses its worth with the time that passed, s, for each group."""
    for g in range(_GROUPS):
        if passed[g] > 0.0:
            keep = np.float32(np.exp(-passed[g] / memory_s))
            for j in range(len(level)):
                if range_[j] > 0.0 and group[j] == g:
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
def _in_order(residual, spread, seen, reach, group, focus, fits):
    """Which groups of a bin's features are in order."""
    fits[:] = True
    for j in range(len(residual)):
        z = residual[j] / spread[j]
        if z < -reach[0, j] or z > reach[1, j]:
            fits[group[j]] = False
    if focus[0] >= 0 and _is_blurred(residual, spread, seen, focus):
        fits[FLOW] = False
    # What follows the water is measured by the images of the run: where the flow is not in order, nothing is.
    fits[WATER] = fits[FLOW] and fits[WATER]


@part
def _is_blurred(residual, spread, seen, focus):
    """Whether a bin looks out of focus: all boxes grow, and more triggers are without an image (``explain``)."""
    lost, small, variety = focus
    growth = residual[small] / spread[small]
    more = np.sin(seen[lost] / 2.0) ** 2 - np.sin((seen[lost] - residual[lost]) / 2.0) ** 2
    all_grow = growth > BLURRED_Z and not growth <= ALL_GROW * residual[variety] / spread[variety]
    return all_grow and residual[lost] > BLURRED_LOST_Z * spread[lost] and more > BLURRED_LOST


@part
def _measure(values, level, variance, scatter, residual, spread):
    """How far a bin lies from the levels, and the spread that it is judged by."""
    for j in range(len(level)):
        residual[j] = values[j] - level[j]
        spread[j] = np.sqrt(variance[j] + scatter[j] * scatter[j])


@part
def _write(residual, spread, values, scatter):
    """Put a bin's deviations and spreads where its values and scatters were."""
    for j in range(len(residual)):
        scatter[j] = spread[j]
        values[j] = residual[j] / spread[j]


@part
def _hold(fits, held, waited):
    """While a fault lasts, neither the bins nor their time change what was usual before."""
    for g in range(_GROUPS):
        held[g] = not fits[FLOW if g == WATER else g]
        waited[g] *= held[g]


@part
def _anchor(anchor, sd, is_jump, core, level, variance, other):
    """A new place of the core begins; the one before is remembered where it jumped."""
    other[0], other[1] = level[core], variance[core]
    other[2:] = 1.0 if is_jump else 0.0
    level[core], variance[core] = anchor, sd * sd


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


@part
def _waited(waited, passed, since, held, is_pause):
    """How much time each group's levels are to age by: none while a fault lasts, all of it after a pause.

    What follows the water waits for a bin that is in order: it shows whether the fault outlasted the pause.
    """
    for g in range(_GROUPS):
        waited[g] += since
        passed[g] = 0.0
        if not held[g] or (is_pause and g != WATER):
            passed[g], waited[g] = waited[g], 0.0


@part
def _was_faulty(recent):
    """Whether most of the last bins were not in order."""
    n = 0
    for bit in range(_RECENT_BINS):
        n += (recent >> bit) & 1
    return 2 * n > _RECENT_BINS


@kernel
def follow(
    values: NDArray[np.float32],
    scatter: NDArray[np.float32],
    seen: NDArray[np.float32],
    time_s: NDArray[np.float64],
    pause: NDArray[np.bool_],
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
    focus: tuple,
    first: tuple,
    reach: NDArray[np.float32],
    is_short: NDArray[np.bool_],
):
    """Turn n bins, in the order of time, into deviations from the level before each of them, in place.

    ``values`` (n, d): less their centre, NaN where unknown, become deviations in spreads; ``scatter`` (n, d): of a bin
    around the level, become the spreads that they are judged by; both are C-contiguous. ``seen`` (n, d): the values as
    they are. ``time_s`` (n,); ``pause`` (n,): before these bins somebody may have worked on the instrument.
    ``usable`` (n,): bins that may teach the level. ``range_`` (d,): how far the level wanders,
    as a standard deviation; ``memory_s``: in which time it forgets where it was; ``limit`` (d,): how far it goes.
    ``anchored`` (n,): a new place of the core begins, its level is ``anchor`` (n,) within ``anchor_sd`` (n,);
    ``is_jump`` (n,): it moved there without a reason, so that a bin at the place before is as much in order;
    ``core``: the column of that level, -1 where there is none. ``group`` (d,): FLOW, WATER or HOUSING. ``focus``:
    the columns of the share of triggers without an image, of the small boxes' size and of the sizes' spread, by which a
    bin is out of focus; the first is -1 where none is. ``first``: level and standard deviation before the first bin,
    (d,) each.
    ``reach`` (2, 2, d): how far below and above the level, in standard deviations, a bin may lie to be in order: in a
    history of days, and where it ``is_short`` (n,).

    Returns which bins are in order, and which lie at a place to which the core jumped, both (n,).
    """
    n, d = values.shape
    level, variance = first[0].copy(), first[1] * first[1]
    residual, spread = np.empty(d, np.float32), np.empty(d, np.float32)
    in_order, jumped = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    # The place of the core before a jump, its variance, whether there is one, and whether the core is at the new place.
    other = np.zeros(4, np.float32)
    fits, held = np.ones(_GROUPS, np.bool_), np.zeros(_GROUPS, np.bool_)
    waited, passed = np.zeros(_GROUPS), np.zeros(_GROUPS)
    silent_s, recent, repaired = 0.0, 0, False
    for i in range(n):
        if core >= 0 and anchored[i]:
            _anchor(anchor[i], anchor_sd[i], is_jump[i], core, level, variance, other)
        if i > 0:
            since = max(time_s[i] - time_s[i - 1], 0.0)
            silent_s += since
            _waited(waited, passed, since, held, pause[i])
            _pass_time(level, variance, range_, memory_s, passed, core, group)
            if not held[WATER]:
                _forget_water(variance, range_, memory_s, silent_s, group)
            repaired = repaired or (pause[i] and _was_faulty(recent))
        _return_core(values[i], scatter[i], level, variance, core, other)
        _measure(values[i], level, variance, scatter[i], residual, spread)
        _in_order(residual, spread, seen[i], reach[int(is_short[i])], group, focus, fits)
        if fits[FLOW] and waited[WATER] > 0.0:
            # The fault is over: the water went on meanwhile.
            passed[:] = 0.0
            passed[WATER], waited[WATER] = waited[WATER], 0.0
            _pass_time(level, variance, range_, memory_s, passed, core, group)
            _forget_water(variance, range_, memory_s, silent_s, group)
            _measure(values[i], level, variance, scatter[i], residual, spread)
            _in_order(residual, spread, seen[i], reach[int(is_short[i])], group, focus, fits)
        _write(residual, spread, values[i], scatter[i])
        in_order[i] = usable[i] and fits[FLOW]
        recent = (2 * recent + (not in_order[i])) % (1 << _RECENT_BINS)
        if usable[i]:
            _hold(fits, held, waited)
            _learn(residual, level, variance, spread, range_, limit, group, fits)
            silent_s *= not fits[WATER]
        if repaired and in_order[i]:
            # Whoever repaired the instrument saw where its core lies.
            other[2:], repaired = 0.0, False
        jumped[i] = other[3] > 0.0
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
