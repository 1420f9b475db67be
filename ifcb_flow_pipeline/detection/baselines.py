"""What is usual for each instrument: the centre and the spread of every feature, and how they follow the season.

Each instrument is compared with its own history, in the configuration that its header states. Where the
history is short, its baseline leans on the fleet's. Everything is fitted with medians and quantiles, on the
bins that the caller has not rejected.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.rows import Rows
from ifcb_flow_pipeline.detection.rules import least_spreads
from ifcb_flow_pipeline.detection.traits import Trait

#: So many bins of its own weigh as much as the fleet does in an instrument's spread.
_SPREAD_PRIOR_BINS = 20.0

#: What moves when an instrument is serviced: relearnt for each deployment. A tilt or a wide core never is, unless the
#: header says that the settings are new.
_SET_FEATURES = ("core_x_px",)

#: Roles of what changes slowly with water and weather, and is compared with the days before, too.
_SLOW_ROLES = ("position", "trigger", "size", "signal", "environment", "velocity")

#: After a gap this long an instrument may have been taken out and put back: its core may lie elsewhere.
LONG_GAP_S = 6 * 3600.0

#: Deployments that start nearer to each other than this are the same.
_SAME_START_S = 1.0

#: The hours that are one block of bins, how many blocks before a bin's own tell what is usual at the time, and the
#: bins in them that count half.
_BLOCK_S = 4 * 3600.0
_LOCAL_BLOCKS = 12
_LOCAL_PRIOR_BINS = 12.0

#: What is usual in a deployment that training did not know is learnt from so many bins at its start; this many weigh
#: as much as what was usual before, fewer hardly anything: they may be just those that are faulty.
_START_BINS, _START_PRIOR_BINS = 20, 3.0

#: So many bins after a pause in which the core moved are told as being that.
_SETTLING_BINS = 5

#: Without a gap or new settings a deployment ends where the core jumps by so many spreads and so many bins stay there.
_STEP_Z, _STEP_BINS, _STEP_ENDS = 6.0, 15, 5

#: A core that moved this many spreads between two deployments is worth a word.
_MOVED_Z = 4.0

#: How far, in spreads, the blocks before may move what is usual: a fault that lasts must not become normal. What a
#: setting or a service moves may go as far as it likes, once most of the bins before agree.
_LOCAL_LIMIT = 4.0

#: An unknown instrument's bins may lie so much wider than those of the fleet's instruments.
_UNKNOWN_WIDENING = 1.5

#: Two quantiles whose distance tells a spread, a share of faulty bins on one side notwithstanding, and that distance
#: for a normal distribution in standard deviations.
_SIDES, _SIDES_SD = (0.15, 0.85), 2.0729

#: The median distance from the median of a normal distribution, in standard deviations.
_MAD_SD = 0.6745

#: Fewer bins have no spread worth naming; fewer of few or many points do not tell what sampling does.
_MIN_SPREAD_BINS, _MIN_SAMPLING_BINS = 5, 30

#: A value that this share of the bins have is a step in which a feature is told.
_STEP_SHARE = 0.02

#: Rows of blocks whose medians are taken at a time, and blocks that are set against those before them: bounds the
#: memory that a large table takes.
_ROWS_TOGETHER, _BLOCKS_TOGETHER = 65_536, 1024

_LEAST_SPREAD = {"plain": 1e-6, "log": 0.01, "logit": 1e-3}


@dataclass(frozen=True, slots=True)
class Deviations:
    """How far n bins lie from what is usual; arrays of shape (n, features).

    ``z``: in spreads, positive above the centre, NaN where unknown. ``centre``, ``spread``: on the feature's scale.
    """

    z: NDArray[np.float32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Baselines:
    """Centres and spreads of d features for m instruments and k deployments of them.

    A deployment is a time of an instrument without long gaps or lasting jumps, in one configuration.
    ``key_instrument`` (k,) and ``configurations``: of each deployment; ``key_start``, ``key_end`` (k,): of its first
    and last bin, s since 1970; ``key_centre`` (k, d) and ``key_bins`` (k,): of its bins. ``centre``, ``spread``
    (m, d): of each instrument over all configurations; ``points`` (m,): the usual number of points of its bins.
    ``fleet_centre``, ``fleet_spread``, ``fleet_range`` (d,): over instruments; the range is the spread between their
    centres.
    ``sampling`` (d,): share of the spread's square that goes with 1 / points. ``least`` (d,): no spread is smaller.
    """

    traits: tuple[Trait, ...]
    instruments: tuple[str, ...]
    configurations: tuple[str, ...]
    key_instrument: NDArray[np.int64]
    key_start: NDArray[np.float64]
    key_end: NDArray[np.float64]
    key_centre: NDArray[np.float32]
    key_bins: NDArray[np.int64]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    points: NDArray[np.float64]
    fleet_centre: NDArray[np.float32]
    fleet_spread: NDArray[np.float32]
    fleet_range: NDArray[np.float32]
    sampling: NDArray[np.float32]
    least: NDArray[np.float32]

    @classmethod
    def fit(cls, rows: Rows, keep: NDArray[np.bool_], traits: Sequence[Trait]) -> "Baselines":
        """Fit to the kept rows, of which there must be one at least; ``keep``: shape (n,)."""
        keep = keep & rows.full
        instruments = tuple(np.array(rows.instrument.names, dtype=object)[np.unique(rows.instrument.codes[keep])])
        of_instrument = np.where(keep, rows.instrument.numbers_in(instruments), -1)
        medians = np.array([_medians(rows.values[of_instrument == i]) for i in range(len(instruments))])
        least = np.maximum(_resolution(rows.values[keep], traits), _stated_least(traits))
        spreads = np.array([_spread(rows.values[of_instrument == i]) for i in range(len(instruments))])
        fleet_spread = np.maximum(_medians(spreads), least)
        deployments = _Deployments.of(rows, _set_columns(traits), {})
        kept = np.unique(deployments.codes[keep])
        key_instrument = rows.instrument.numbers_in(instruments)[deployments.first[kept]]
        key_bins = np.bincount(deployments.codes[keep], minlength=len(deployments.first))[kept]
        members = _members(np.where(keep, deployments.codes, -1), len(deployments.first))
        centres = [
            _towards(_medians(rows.values[members[one]]), medians[i], n, traits)
            for one, i, n in zip(kept, key_instrument, key_bins, strict=True)
        ]
        fitted = cls(
            traits=tuple(traits),
            instruments=instruments,
            configurations=tuple(deployments.configuration[one] for one in kept),
            key_instrument=key_instrument,
            key_start=deployments.start[kept],
            key_end=deployments.end[kept],
            key_centre=np.array(centres, dtype=np.float32),
            key_bins=key_bins,
            centre=medians.astype(np.float32),
            spread=np.maximum(spreads, least).astype(np.float32),
            points=np.array([np.median(rows.n_points[of_instrument == i]) for i in range(len(instruments))]),
            fleet_centre=_medians(medians),
            fleet_spread=fleet_spread.astype(np.float32),
            fleet_range=_range(medians, fleet_spread),
            sampling=np.zeros(len(traits), dtype=np.float32),
            least=least,
        )
        return fitted._with_local_spreads(rows, keep, of_instrument)

    def deviations(self, rows: Rows, which: NDArray | None = None, usual: "Usual | None" = None) -> Deviations:
        """How far rows (those in ``which``; all where None) lie from what ``usual`` says of all of them."""
        usual = usual or self.usual(rows)
        which = np.arange(len(rows)) if which is None else which
        deployment = usual.deployment[which]
        # Feature by feature: what is done with one of them is done with numbers that lie side by side.
        centre = np.take(usual.centre.T, deployment, axis=1) + usual.offsets(which)
        points = np.maximum(rows.n_points[which], 1.0)
        # Fewer points than usual scatter more; more of them do not scatter less than bins differ.
        thinner = (usual.points[deployment] / points).astype(np.float32)
        spread = np.take(usual.spread.T, deployment, axis=1)
        for column, sampling in enumerate(self.sampling):
            if sampling > 0:
                spread[column] *= np.sqrt(1.0 + sampling * (thinner - 1.0))
        spread = np.maximum(spread, self.least[:, None]).astype(np.float32)
        # On its scale, a share of n points cannot be known better than this, and where hardly any are expected one
        # point more is a larger step.
        root = np.sqrt(points)
        for column in np.flatnonzero(self._is_share()):
            expected = np.sin(np.clip(centre[column], 0.0, np.pi) / 2.0) ** 2
            expected = np.minimum(expected, 1.0 - expected) * points
            spread[column] = np.maximum(spread[column], (1.0 + 1.0 / (1.0 + expected)) / root)
        values = np.take(rows.values.T, which, axis=1)
        return Deviations(((values - centre) / spread).astype(np.float32).T, centre.T, spread.T)

    def _is_share(self) -> NDArray[np.bool_]:
        return np.array([trait.scale == "logit" and trait.noise == "mean" for trait in self.traits])

    def usual(self, rows: Rows) -> "Usual":
        """What is usual for each deployment among the rows, and in each of their hours."""
        known = {name: self.key_start[self.key_instrument == i] for i, name in enumerate(self.instruments)}
        deployments = _Deployments.of(rows, _set_columns(self.traits), known)
        instrument = rows.instrument.numbers_in(self.instruments)[deployments.first]
        centre = self._centres(rows, deployments, instrument)
        unknown = instrument < 0
        spread = np.where(unknown[:, None], self.fleet_spread * _UNKNOWN_WIDENING, self.spread[instrument])
        for one in np.flatnonzero(unknown):
            own = _spread(rows.values[rows.full & (rows.instrument.codes == deployments.instrument[one])])
            spread[one] = np.fmax(spread[one], own)
        points = np.where(unknown, np.median(self.points), self.points[instrument])
        codes = deployments.codes
        set_by = _set_columns(self.traits)
        slow = np.setdiff1d(_columns(self.traits, _SLOW_ROLES), set_by)
        offsets = (
            _Offsets.of(rows, codes, (codes, centre, spread), set_by, limited=False),
            _Offsets.of(rows, rows.instrument.codes, (codes, centre, spread), slow, limited=True),
        )
        moved = _moved(deployments, centre, spread, set_by)
        # Feature by feature, as they are taken from.
        centre, spread = np.asfortranarray(centre), np.asfortranarray(spread)
        settling = np.isin(codes, codes[moved]) & (deployments.place < _SETTLING_BINS)
        return Usual(codes, centre, spread, points, offsets, moved, settling)

    def _centres(self, rows: Rows, deployments: "_Deployments", instrument: NDArray[np.int64]) -> NDArray[np.float32]:
        """The centre of each deployment among the rows, shape (deployments, d)."""
        keys = [self._key_of(deployments, one, owner) for one, owner in enumerate(instrument)]
        members: list[NDArray[np.int64]] = []
        if None in keys:  # only those that training did not know need their own bins to be looked at
            members = _members(np.where(rows.full, deployments.codes, -1), len(keys))
        centres = [
            self.key_centre[key] if key is not None
            else self._learnt(rows, members[one], instrument[one], deployments.configuration[one])
            for one, key in enumerate(keys)
        ]  # fmt: skip
        return np.array(centres, dtype=np.float32).reshape(-1, len(self.traits))

    def _key_of(self, deployments: "_Deployments", one: int, instrument: int) -> int | None:
        """The known deployment that this one is (part of); None where training did not see it."""
        alike = np.array([name == deployments.configuration[one] for name in self.configurations], dtype=bool)
        keys = np.flatnonzero(alike & (self.key_instrument == instrument))
        if not deployments.is_first[one]:
            keys = keys[np.abs(self.key_start[keys] - deployments.start[one]) < _SAME_START_S]
            return int(keys[0]) if len(keys) else None
        # The rows may begin in the middle of it.
        keys = keys[
            (self.key_start[keys] <= deployments.end[one]) & (deployments.start[one] <= self.key_end[keys] + LONG_GAP_S)
        ]
        return int(keys[np.argmax(self.key_start[keys])]) if len(keys) else None

    def _learnt(self, rows: Rows, own: NDArray[np.int64], instrument: int, configuration: str) -> NDArray:
        """The centre of a deployment that training did not know, shape (d,), from its first bins among the rows."""
        if instrument < 0:
            noise = self.fleet_spread**2 / max(len(own), 0.1)
            weight = self.fleet_range**2 / (self.fleet_range**2 + noise)
            return _blend(_medians(rows.values[own]), self.fleet_centre, weight)
        keys = np.flatnonzero(self.key_instrument == instrument)
        usual = self.key_centre[keys[np.argmax(self.key_bins[keys])]]
        first = own[np.argsort(rows.time_s[own], kind="stable")[:_START_BINS]]
        own_centre = _medians(rows.values[first])
        # New settings may move everything; what happens in a pause moves the core.
        is_new = configuration not in [self.configurations[key] for key in keys]
        learnt = _towards(own_centre, usual, len(first), self.traits) if is_new else usual.copy()
        moves = _set_columns(self.traits)
        weight = np.array(len(first) ** 2 / (len(first) ** 2 + _START_PRIOR_BINS**2))
        learnt[moves] = _blend(own_centre[moves], usual[moves], weight)
        return learnt

    def _with_local_spreads(self, rows: Rows, keep: NDArray[np.bool_], of_instrument: NDArray) -> "Baselines":
        """The same centres; spreads and sampling shares of what the days before leave unexplained."""
        usual = self.usual(rows)
        kept = np.flatnonzero(keep)
        residual = self.deviations(rows, kept, usual)
        distance = residual.z * residual.spread
        owner, n_bins = of_instrument[kept], np.bincount(of_instrument[kept], minlength=len(self.instruments))
        own = np.array([_spread(distance[owner == i]) for i in range(len(self.instruments))])
        own = np.maximum(own, self.least)
        fleet = np.maximum(_medians(own), self.least)
        weight = (n_bins / (n_bins + _SPREAD_PRIOR_BINS))[:, None]
        spread = np.sqrt(_blend(own**2, np.broadcast_to(fleet**2, own.shape), weight))
        thinner = self.points[owner] / np.maximum(rows.n_points[kept], 1.0)
        sampling = _sampling_share(distance / spread[owner], thinner, self.traits)
        return replace(self, spread=spread.astype(np.float32), fleet_spread=fleet.astype(np.float32), sampling=sampling)


@dataclass(frozen=True, slots=True)
class Usual:
    """What is usual among n rows: of each row's deployment, and of its hours.

    ``deployment`` (n,): numbers into ``centre``, ``spread`` (deployments, d) and ``points`` (deployments,).
    ``moved`` (n,): the row is the first of a deployment whose core lies elsewhere than before; ``settling`` (n,): it is
    one of the first few of such a deployment.
    """

    deployment: NDArray[np.int64]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    points: NDArray[np.float64]
    hours: "tuple[_Offsets, ...]"
    moved: NDArray[np.bool_]
    settling: NDArray[np.bool_]

    def offsets(self, which: NDArray) -> NDArray[np.float32]:
        """How far the bins before lie from the centre, for these rows, shape (d, rows)."""
        found = np.zeros((self.centre.shape[1], len(which)), dtype=np.float32)
        for hours in self.hours:
            found[hours.columns] = np.take(hours.offset, hours.block[which], axis=1)
        return found


@dataclass(frozen=True, slots=True)
class _Offsets:
    """How far the blocks before each block of hours lie from the centre, in some columns: shape (columns, blocks).

    ``block`` (n,): each row's block of its deployment or instrument. Blocks begin at fixed times: bins that are
    judged one by one find the same before them as those of a whole archive.
    """

    columns: NDArray[np.int64]
    block: NDArray[np.int64]
    offset: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        rows: Rows,
        group: NDArray[np.int64],
        deployment: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]],
        columns: NDArray[np.int64],
        *,
        limited: bool,
    ) -> "_Offsets":
        """Those of the blocks of each group (n,); ``deployment``: of each row, and the centres and spreads of all.

        ``limited``: so that a fault that lasts does not become normal.
        """
        code, centre, spread = deployment
        time = np.floor_divide(rows.time_s, _BLOCK_S).astype(np.int64)
        time -= time.min(initial=0)
        length = int(time.max(initial=0)) + 1
        blocks, example, block = np.unique(group * length + time, return_index=True, return_inverse=True)
        medians, counts = _block_medians(rows, (block, len(blocks)), columns, centre[:, columns], code)
        n_before, offset = np.zeros(len(blocks)), np.zeros(medians.shape, dtype=np.float32)
        for first in range(0, len(blocks), _BLOCKS_TOGETHER):
            some = slice(first, first + _BLOCKS_TOGETHER)
            before = np.full((_LOCAL_BLOCKS, *medians[some].shape), np.nan, dtype=np.float32)
            for back in range(1, _LOCAL_BLOCKS + 1):
                wanted = blocks[some] - back
                place = np.searchsorted(blocks, wanted)
                there = (blocks[place] == wanted) & (blocks[some] % length >= back)
                before[back - 1, there] = medians[place[there]]
                n_before[some] += np.where(there, counts[place], 0)
            offset[some] = np.nan_to_num(_medians(before))
        offset = offset * (n_before / (n_before + _LOCAL_PRIOR_BINS))[:, None]
        if limited:
            limit = _LOCAL_LIMIT * spread[code[example]][:, columns]
            offset = np.clip(offset, -limit, limit)
        return cls(columns, block, np.ascontiguousarray(offset.T, dtype=np.float32))


def _moved(
    deployments: "_Deployments", centre: NDArray[np.float32], spread: NDArray[np.float32], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which rows are the first of a deployment whose core lies elsewhere than in the one before it, shape (n,)."""
    owner, start = deployments.instrument, deployments.start
    order = np.lexsort((start, owner))
    found = np.zeros(len(deployments.codes), dtype=bool)
    for before, after in pairwise(order.tolist()):
        step = np.abs(centre[after, columns] - centre[before, columns]) / spread[after, columns]
        if owner[after] == owner[before] and np.nanmax(step, initial=0.0) > _MOVED_Z:
            found[deployments.first[after]] = True
    return found


@dataclass(frozen=True, slots=True)
class _Deployments:
    """The deployments among n rows: ``codes`` (n,) of the rows, and their ``place`` (n,) in these; the rest of each.

    ``first``: its first row; ``start``, ``end``: of its first and last bin, s since 1970; ``is_first``: nothing before
    it is known of its instrument, it may have started earlier.
    """

    codes: NDArray[np.int64]
    place: NDArray[np.int64]
    instrument: NDArray[np.int64]
    configuration: list[str]
    first: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    is_first: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Rows, columns: NDArray[np.int64], known: Mapping[str, NDArray[np.float64]]) -> "_Deployments":
        """Those among the rows; ``columns``: where the place of the core is among their values.

        ``known``: starts of deployments of an instrument, s since 1970, that are starts whatever comes after them.
        """
        part = _parts(rows, columns, known)
        joined = (rows.instrument.codes * (part.max(initial=0) + 1) + part) * len(rows.configuration.names)
        _, codes = np.unique(joined + rows.configuration.codes, return_inverse=True)
        order = np.lexsort((rows.time_s, codes))
        bounds = np.searchsorted(codes[order], np.arange(codes.max(initial=-1) + 2))
        first, last = order[bounds[:-1]], order[bounds[1:] - 1]
        names = [rows.configuration.names[code] for code in rows.configuration.codes[first]]
        instrument = rows.instrument.codes[first]
        place = np.empty(len(codes), dtype=np.int64)
        place[order] = np.arange(len(codes)) - np.repeat(bounds[:-1], np.diff(bounds))
        return cls(codes, place, instrument, names, first, rows.time_s[first], rows.time_s[last], part[first] == 0)


def _parts(rows: Rows, columns: NDArray[np.int64], known: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    """How many long gaps and lasting jumps of the core come before each row in its instrument, shape (n,)."""
    order = np.lexsort((rows.time_s, rows.instrument.codes))
    codes, time_s = rows.instrument.codes[order], rows.time_s[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    begins = np.diff(time_s, prepend=-np.inf) > LONG_GAP_S
    for first, last in pairwise([*starts.tolist(), len(order)]):
        name = rows.instrument.names[codes[first]]
        begins[first:last] |= np.isin(np.round(time_s[first:last]), np.round(known.get(name, ())))
        full = first + np.flatnonzero(rows.full[order[first:last]])
        after_gaps = np.searchsorted(full, first + np.flatnonzero(begins[first:last]))
        for column in columns:
            values = rows.values[order[full], column]
            begins[full[[*_lasting_jumps(values), *_early_jumps(values, after_gaps)]]] = True
    begins[starts] = False
    many = np.cumsum(begins)
    parts = np.empty(len(rows), dtype=np.int64)
    parts[order] = many - np.repeat(many[starts], np.diff([*starts.tolist(), len(order)]))
    return parts


def _lasting_jumps(values: NDArray) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays: the first places after the jumps. A slope is no jump."""
    windows = len(values) - _STEP_BINS + 1
    if windows <= _STEP_BINS:
        return np.zeros(0, dtype=np.int64)
    view = np.lib.stride_tricks.sliding_window_view
    middle, end = np.median(view(values, _STEP_BINS), axis=1), np.median(view(values, _STEP_ENDS), axis=1)
    noise = _step_noise(values)
    place = np.arange(_STEP_BINS, windows)
    jump = np.abs(middle[place] - middle[place - _STEP_BINS])
    # Both levels hold from end to end of their windows: neither a slope does that, nor a fault that goes by.
    ends = np.stack([
        end[place - _STEP_BINS] - middle[place - _STEP_BINS],
        end[place - _STEP_ENDS] - middle[place - _STEP_BINS],
        end[place] - middle[place],
        end[place + _STEP_BINS - _STEP_ENDS] - middle[place],
    ])  # fmt: skip
    jumps = (jump > _STEP_Z * noise) & (np.abs(ends).max(axis=0) < jump / 3.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], jumps, [False])).astype(np.int8)))
    found = []
    for first, last in zip(place[edges[::2]], place[edges[1::2] - 1], strict=True):
        near = values[first - _STEP_BINS : last + _STEP_BINS]
        low, high = middle[first - _STEP_BINS], middle[last]
        # The place that leaves the least between each bin and the level of its side.
        nearer = np.cumsum(np.abs(near - low) - np.abs(near - high))
        found.append(first - _STEP_BINS + 1 + int(np.nanargmin(nearer)))
    return np.array(found, dtype=np.int64)


def _early_jumps(values: NDArray, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays within the first bins after these places: the first ones after it.

    Two services, or one and new settings, within some hours of each other.
    """
    if not (len(starts) and len(values)):
        return np.zeros(0, dtype=np.int64)
    noise = _step_noise(values)
    length = np.minimum(np.diff([*starts.tolist(), len(values)]), 2 * _STEP_BINS)
    near = values[np.minimum(starts[:, None] + np.arange(2 * _STEP_BINS), len(values) - 1)]
    jumps = np.zeros((len(starts), _STEP_BINS), dtype=values.dtype)
    for place in range(_STEP_ENDS, _STEP_BINS):
        long_enough = length >= place + _STEP_BINS
        jumps[long_enough, place] = _jumps_at(near[long_enough, : place + _STEP_BINS], place, noise)
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
    return float(np.nanmedian(np.abs(np.diff(values)))) / (_MAD_SD * np.sqrt(2.0)) if len(values) > 1 else np.inf


def _set_columns(traits: Sequence[Trait]) -> NDArray[np.int64]:
    return np.array([column for column, trait in enumerate(traits) if trait.name in _SET_FEATURES], dtype=np.int64)


def _columns(traits: Sequence[Trait], roles: Sequence[str]) -> NDArray[np.int64]:
    return np.array([column for column, trait in enumerate(traits) if trait.role in roles], dtype=np.int64)


def _block_medians(
    rows: Rows, blocks: tuple[NDArray, int], columns: NDArray, centre: NDArray, code: NDArray
) -> tuple[NDArray, NDArray]:
    """Medians over the full rows of each block of how far they lie from the centre, and how many rows those are."""
    block, n_blocks = blocks
    order = np.argsort(block, kind="stable")
    order = order[rows.full[order]]
    bounds = np.searchsorted(block[order], np.arange(n_blocks + 1))
    counts = np.diff(bounds)
    medians = np.full((n_blocks, len(columns)), np.nan, dtype=np.float32)
    for count in np.unique(counts[counts > 0]).tolist():  # blocks of as many rows at a time
        alike = np.flatnonzero(counts == count)
        together = max(_ROWS_TOGETHER // count, 1)
        for first in range(0, len(alike), together):
            some = alike[first : first + together]
            own = order[bounds[some] + np.arange(count)[:, None]]
            medians[some] = _medians(rows.values[own[:, :, None], columns] - centre[code[own]])
    return medians, counts


def _medians(values: NDArray) -> NDArray[np.float32]:
    """Medians over the first axis, NaN left out and where there is nothing else (faster than nanmedian)."""
    if not len(values):
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    ordered = np.sort(values, axis=0)  # NaN comes last
    count = np.isfinite(values).sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=0)[0]
    return np.where(count[0] > 0, (low + high) / 2, np.nan).astype(np.float32)


def _spread(values: NDArray) -> NDArray[np.float32]:
    """Robust standard deviations over the first axis: the larger of two, as steps make one of them nothing."""
    if len(values) < _MIN_SPREAD_BINS:
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without a number has no spread
        low, high = np.nanquantile(values, _SIDES, axis=0)
    return np.fmax((high - low) / _SIDES_SD, _medians(np.abs(values - _medians(values))) / _MAD_SD)


def _resolution(values: NDArray, traits: Sequence[Trait]) -> NDArray[np.float32]:
    """The least spread of each feature: half the step in which it is told, where it comes in steps."""
    least = np.array([_LEAST_SPREAD[trait.scale] for trait in traits], dtype=np.float32)
    for column in range(values.shape[1]):
        found, counts = np.unique(values[np.isfinite(values[:, column]), column], return_counts=True)
        # A value that hardly ever comes may be a fault's: it tells no step.
        found = found[counts >= max(3, _STEP_SHARE * len(values))]
        if len(found) >= 2:
            least[column] = max(least[column], 0.5 * float(np.median(np.diff(found))))
    return least


def _stated_least(traits: Sequence[Trait]) -> NDArray[np.float32]:
    """The spreads below which differences of a feature say nothing about an instrument, 0 where none is known."""
    stated = least_spreads()
    return np.array([stated.get(trait.name, 0.0) for trait in traits], dtype=np.float32)


def _members(codes: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """The rows of each code from 0 to n - 1; rows of other codes are in none."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n + 1))
    return [order[first:last] for first, last in pairwise(bounds)]


def _range(medians: NDArray, fleet_spread: NDArray) -> NDArray[np.float32]:
    """How far apart the instruments' centres lie; where they are too few to tell, far."""
    far = 5.0 * fleet_spread
    return (far if len(medians) < _MIN_SPREAD_BINS else np.fmax(_spread(medians), far / 2)).astype(np.float32)


def _towards(own: NDArray, instrument: NDArray, n_bins: int, traits: Sequence[Trait]) -> NDArray:
    """The centre of a deployment: its own, the nearer to the instrument's the fewer bins it has."""
    prior = np.array([1.0 if trait.role == "position" else _SPREAD_PRIOR_BINS for trait in traits])
    return _blend(own, instrument, n_bins / (n_bins + prior))


def _blend(own: NDArray, other: NDArray, weight: NDArray) -> NDArray:
    """``own`` with this weight and ``other`` with the rest; the one that is known where one is not."""
    mixed = weight * own + (1.0 - weight) * other
    return np.where(np.isfinite(own), np.where(np.isfinite(other), mixed, own), other)


def _sampling_share(z: NDArray, thinner: NDArray, traits: Sequence[Trait]) -> NDArray[np.float32]:
    """Which share of the features' variance goes with 1 / points, from bins with few and with many points.

    ``z``: shape (n, d), in spreads; ``thinner`` (n,): the usual number of points over the bin's.
    """
    share = np.array([0.5 if trait.noise == "mean" else 0.0 for trait in traits], dtype=np.float32)
    low, high = np.quantile(thinner, (1 / 3, 2 / 3))
    dense, sparse = thinner <= low, thinner >= high
    u, v = np.median(thinner[dense]), np.median(thinner[sparse])
    if v < 1.5 * u or min(dense.sum(), sparse.sum()) < _MIN_SAMPLING_BINS:
        return share  # all bins have about as many points: nothing to tell the two parts apart
    ratio = (_spread(z[sparse]) / np.maximum(_spread(z[dense]), 1e-3)) ** 2
    # The variance is 1 - s + s * thinner, of which the ratio is seen.
    found = (ratio - 1.0) / np.maximum((v - 1.0) - ratio * (u - 1.0), 1e-3)
    return np.where(share > 0, np.clip(np.nan_to_num(found, nan=0.5), 0.1, 1.0), 0.0).astype(np.float32)
