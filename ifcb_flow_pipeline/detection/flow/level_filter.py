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

from ifcb_flow_pipeline.compiled import kernel

#: Deviations beyond this many standard deviations move the level no further: one odd bin is not a trend.
_MOST_Z = 3.0

#: A core that lies this many standard deviations from the place to which it jumped, and nearer to the one before, is
#: back there.
_BACK_Z = 4.0


@kernel
def follow(
    values: NDArray[np.float32],
    scatter: NDArray[np.float32],
    time_s: NDArray[np.float64],
    usable: NDArray[np.bool_],
    range_: NDArray[np.float32],
    memory_s: NDArray[np.float32],
    limit: NDArray[np.float32],
    anchored: NDArray[np.bool_],
    anchor: NDArray[np.float32],
    anchor_sd: NDArray[np.float32],
    is_jump: NDArray[np.bool_],
    core: int,
    first: tuple,
    reach: NDArray[np.float32],
    is_short: NDArray[np.bool_],
):
    """Deviations of n bins in the order of time from the level before each of them.

    ``values`` (n, d): less their centre, NaN where unknown; ``scatter`` (n, d): of a bin around the level;
    ``time_s`` (n,); ``usable`` (n,): bins that may teach the level. ``range_`` (d,): how far the level wanders,
    as a standard deviation; ``memory_s`` (d,): in which time it forgets where it was; ``limit`` (d,): how far it goes at most.
    ``anchored`` (n,): a new place of the core begins, its level is ``anchor`` (n,) within ``anchor_sd`` (n,);
    ``is_jump`` (n,): it moved there without a reason, so that a bin at the place before is as much in order;
    ``core``: the column of that level, -1 where there is none. ``first``: level (d,) and standard deviation (d,) before
    the first bin.
    ``reach`` (2, 2, d): how far below and above the level, in standard deviations, a bin may lie to be in order: in a
    history of days, and where it ``is_short`` (n,).

    Returns the levels and the standard deviations to judge by, both (n, d), which bins are in order, and which lie at a
    place to which the core jumped, both (n,).
    """
    n, d = values.shape
    level = first[0].copy()
    variance = first[1] * first[1]
    before, before_variance, has_before = np.float32(0.0), np.float32(0.0), False
    levels, spreads = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    in_order, jumped = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    at_jump = False
    followed = True
    for i in range(n):
        if core >= 0 and anchored[i]:
            before, before_variance, has_before = level[core], variance[core], is_jump[i]
            at_jump = is_jump[i]
            level[core] = anchor[i]
            variance[core] = anchor_sd[i] * anchor_sd[i]
        if i > 0 and followed:
            passed = np.float32(max(time_s[i] - time_s[i - 1], 0.0))
            for j in range(d):
                if range_[j] > 0.0:
                    keep = np.exp(-passed / memory_s[j])
                    if j != core:
                        level[j] *= keep
                    variance[j] = variance[j] * keep * keep + range_[j] * range_[j] * (np.float32(1.0) - keep * keep)
        if has_before and np.isfinite(values[i, core]):
            here = abs(values[i, core] - level[core])
            if abs(values[i, core] - before) < here and here > _BACK_Z * np.sqrt(
                variance[core] + scatter[i, core] ** 2
            ):
                level[core], before = before, level[core]
                variance[core], before_variance = before_variance, variance[core]
                at_jump = not at_jump
        jumped[i] = at_jump
        fits, short = usable[i], int(is_short[i])
        for j in range(d):
            levels[i, j] = level[j]
            spreads[i, j] = np.sqrt(variance[j] + scatter[i, j] * scatter[i, j])
            z = (values[i, j] - level[j]) / spreads[i, j]
            if z < -reach[short, 0, j] or z > reach[short, 1, j]:
                fits = False
        in_order[i] = fits
        # While a fault lasts the level is held: neither the bins nor their time change what was usual before.
        followed = fits or not usable[i]
        if fits:
            for j in range(d):
                if range_[j] > 0.0 and np.isfinite(values[i, j]):
                    z = (values[i, j] - level[j]) / spreads[i, j]
                    z = min(max(z, -np.float32(_MOST_Z)), np.float32(_MOST_Z))
                    gain = variance[j] / (spreads[i, j] * spreads[i, j])
                    level[j] += gain * z * spreads[i, j]
                    level[j] = min(max(level[j], -limit[j]), limit[j])
                    variance[j] *= np.float32(1.0) - gain
    return levels, spreads, in_order, jumped
