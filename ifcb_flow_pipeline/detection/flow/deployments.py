"""Deployments of one instrument: the times between which its core may have been put elsewhere.

A deployment begins after a long gap, with settings that the instrument did not have lately, or where the core jumps
and stays. The first two explain a new place; a jump without either is a fault until it has lasted, and then an open
question until somebody confirms a service.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.spreads import MAD_SD

#: After a gap this long an instrument may have been taken out and put back: its core may lie elsewhere.
LONG_GAP_S = 6 * 3600.0

#: Without a gap or new settings a deployment begins where the core jumps by so many spreads and so many bins stay.
_STEP_Z, STEP_BINS, _STEP_ENDS = 6.0, 15, 5

#: Bins at the start of a deployment that tell its place; this many weigh as much as the place before, fewer hardly
#: anything: they may be just those that are faulty.
_START_BINS, _START_PRIOR_BINS = 20, 3.0

#: How far the core may lie from where it was after a gap or new settings, px: services in domain notes move it by
#: 10 to 100 px.
_SERVICE_PX = 60.0

#: A core that moved this many spreads is somewhere else; one that comes back within as many is back.
MOVED_Z = 4.0

#: Settings come back where they were among so many bins before: alternating runs are no change.
_LAST_BINS = 50


@dataclass(frozen=True, slots=True)
class Places:
    """Where the core of an instrument was put: k deployments in the order of time.

    ``start_s`` (k,): first bin, s since 1970; ``core`` (k,): the place, less the centre of its settings, px;
    ``sd`` (k,): how well it is known; ``is_open`` (k,): it moved without a gap or a word, and nobody confirmed it.
    """

    start_s: NDArray[np.float64]
    core: NDArray[np.float32]
    sd: NDArray[np.float32]
    is_open: NDArray[np.bool_]

    @classmethod
    def unmoved(cls, start_s: NDArray[np.float64]) -> "Places":
        """One deployment, at the centre of its settings from a time on; ``start_s`` (1,), or (0,) without any bin."""
        centre = np.zeros(len(start_s), dtype=np.float32)
        return cls(start_s, centre, centre, np.zeros(len(start_s), dtype=bool))

    def at(self, time_s: float) -> int:
        """The number of the deployment at a time, -1 before the first."""
        return int(np.searchsorted(self.start_s, time_s, side="right")) - 1


@dataclass(frozen=True, slots=True)
class Starts:
    """Which of n bins begin a deployment, and what is known of it there; arrays of shape (n,).

    ``begins``: the new place holds from this bin on, ``core`` within ``sd``; ``is_jump``: at that bin a jump is
    accepted that began STEP_BINS before; ``deployment``: its number among those of the bins, from 0.
    """

    begins: NDArray[np.bool_]
    core: NDArray[np.float32]
    sd: NDArray[np.float32]
    is_jump: NDArray[np.bool_]
    deployment: NDArray[np.int64]


def find_starts(
    core: NDArray[np.float32],
    time_s: NDArray[np.float64],
    settings_changed: NDArray[np.bool_],
    known: Places,
    scatter: float,
    continues: bool,
) -> Starts:
    """The deployments among n bins of one instrument in the order of time.

    ``core`` (n,): the core's place less the centre of its settings, px, NaN where unknown; ``scatter``: of a bin
    around it, px. ``known``: deployments that training knew; their places are taken as they are. ``continues``: nothing
    lies between the first bin and these; else a service may.
    """
    n = len(time_s)
    full = np.flatnonzero(np.isfinite(core))
    explained = (np.diff(time_s, prepend=time_s[:1]) > LONG_GAP_S) | settings_changed
    explained[:1] |= not continues
    starts = np.flatnonzero(explained)
    jumps = full[_jumps(core[full], np.searchsorted(full, starts))] if len(full) else full
    is_known = np.isin(np.round(time_s), np.round(known.start_s[1:]))
    begins, is_jump = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    place, sd = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    first = np.unique(np.concatenate([starts, jumps, np.flatnonzero(is_known)]))
    first = first[(first > 0) | (not continues)]
    begun = known.at(float(time_s[0])) if n else -1
    held = [float(known.core[begun]) if begun >= 0 else 0.0]
    for at, end in zip(first.tolist(), np.append(first[1:], n).tolist()[: len(first)], strict=True):
        if is_known[at]:
            number = known.at(float(time_s[at]) + 1.0)
            begins[at], place[at], sd[at] = True, known.core[number], known.sd[number]
            is_jump[at] = bool(known.is_open[number])
            held.append(float(place[at]))
            continue
        own = core[at:end][np.isfinite(core[at:end])][:_START_BINS]
        if not len(own):
            continue
        middle = float(np.median(own))
        weight = len(own) ** 2 / (len(own) ** 2 + _START_PRIOR_BINS**2)
        back = min(abs(middle - other) for other in held[:-1]) <= MOVED_Z * scatter if held[:-1] else False
        if explained[at] or back:
            row, is_jump[at] = at, False
        elif at + STEP_BINS < end:
            # A jump counts when it has lasted; until then its bins are where they should not be.
            row = at + STEP_BINS
            is_jump[row] = True
        else:
            continue
        begins[row] = True
        place[row] = weight * middle + (1.0 - weight) * held[-1]
        sd[row] = np.hypot(scatter / np.sqrt(len(own)), (1.0 - weight) * _SERVICE_PX)
        held.append(float(place[row]))
    return Starts(begins, place, sd, is_jump, np.cumsum(begins))


def settings_new(configuration: NDArray[np.int64], known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which bins state settings that are new for the instrument, shape (n,), in the order of time.

    ``configuration`` (n,): a number for each settings, -1 where a bin states none; ``known``: shape (number of
    settings,), those that training saw. Settings are new where neither training nor the last _LAST_BINS bins had them.
    """
    found = np.zeros(len(configuration), dtype=bool)
    seen_any = bool(known.any())
    # Settings can be new only where bins with the same ones begin, or go on after many bins that state none.
    stated = np.flatnonzero(configuration >= 0)
    codes = configuration[stated]
    begins = np.flatnonzero((np.diff(codes, prepend=-1) != 0) | (np.diff(stated, prepend=0) > _LAST_BINS))
    last = np.where(known, 0, -(10**9))
    ends = np.append(begins[1:], len(codes))[: len(begins)]
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        code, at = codes[begin], stated[begin]
        found[at] = seen_any and not known[code] and at - last[code] > _LAST_BINS
        last[code] = stated[end - 1]
        seen_any = True
    return found


def _jumps(values: NDArray, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.unique(np.concatenate([_lasting_jumps(values), _early_jumps(values, starts)])).astype(np.int64)


def _lasting_jumps(values: NDArray) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays: the first places after the jumps. A slope is no jump."""
    windows = len(values) - STEP_BINS + 1
    if windows <= STEP_BINS:
        return np.zeros(0, dtype=np.int64)
    view = np.lib.stride_tricks.sliding_window_view
    middle, end = np.median(view(values, STEP_BINS), axis=1), np.median(view(values, _STEP_ENDS), axis=1)
    noise = _step_noise(values)
    place = np.arange(STEP_BINS, windows)
    jump = np.abs(middle[place] - middle[place - STEP_BINS])
    # Both levels hold from end to end of their windows: neither a slope does that, whose ends stray by a third of the
    # jump, nor a fault that goes by.
    ends = np.stack([
        end[place - STEP_BINS] - middle[place - STEP_BINS],
        end[place - _STEP_ENDS] - middle[place - STEP_BINS],
        end[place] - middle[place],
        end[place + STEP_BINS - _STEP_ENDS] - middle[place],
    ])  # fmt: skip
    jumps = (jump > _STEP_Z * noise) & (np.abs(ends).max(axis=0) < jump / 4.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], jumps, [False])).astype(np.int8)))
    found = []
    for first, last in zip(place[edges[::2]], place[edges[1::2] - 1], strict=True):
        near = values[first - STEP_BINS : last + STEP_BINS]
        low, high = middle[first - STEP_BINS], middle[last]
        # The place that leaves the least between each bin and the level of its side.
        nearer = np.cumsum(np.abs(near - low) - np.abs(near - high))
        found.append(first - STEP_BINS + 1 + int(np.nanargmin(nearer)))
    return np.array(found, dtype=np.int64)


def _early_jumps(values: NDArray, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays within the first bins after these places: the first ones after it.

    Two services, or one and new settings, within some hours of each other.
    """
    if not (len(starts) and len(values)):
        return np.zeros(0, dtype=np.int64)
    noise = _step_noise(values)
    length = np.minimum(np.diff([*starts.tolist(), len(values)]), 2 * STEP_BINS)
    near = values[np.minimum(starts[:, None] + np.arange(2 * STEP_BINS), len(values) - 1)]
    jumps = np.zeros((len(starts), STEP_BINS), dtype=values.dtype)
    for place in range(_STEP_ENDS, STEP_BINS):
        long_enough = length >= place + STEP_BINS
        jumps[long_enough, place] = _jumps_at(near[long_enough, : place + STEP_BINS], place, noise)
    best = jumps.argmax(axis=1)
    return (starts + best)[jumps.max(axis=1) > 0.0]


def _jumps_at(values: NDArray, place: int, noise: float) -> NDArray:
    """How much better two levels, up to a place and behind it, describe series than one; 0 where it is no jump.

    ``values``: shape (n, bins), a series in each row.
    """
    before, after = values[:, :place], values[:, place:]
    low, high = np.median(before, axis=1), np.median(after, axis=1)
    jump = np.abs(high - low)
    ends = ((before[:, -_STEP_ENDS:], low), (after[:, :_STEP_ENDS], high), (after[:, -_STEP_ENDS:], high))
    strays = np.max([np.abs(np.median(end, axis=1) - level) for end, level in ends], axis=0)
    parts = np.abs(before - low[:, None]).sum(axis=1) + np.abs(after - high[:, None]).sum(axis=1)
    whole = np.abs(values - np.median(values, axis=1)[:, None]).sum(axis=1)
    return np.where((jump > _STEP_Z * noise) & (strays <= jump / 3.0), (whole - parts) / values.shape[1], 0.0)


def _step_noise(values: NDArray) -> float:
    return float(np.nanmedian(np.abs(np.diff(values)))) / (MAD_SD * np.sqrt(2.0)) if len(values) > 1 else np.inf
