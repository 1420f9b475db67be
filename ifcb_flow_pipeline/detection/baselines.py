"""What is usual for each instrument: the centre and the spread of every feature, and how they follow the season.

Each instrument is compared with its own history, in the configuration that its header states. Where the
history is short, its baseline leans on the fleet's. Everything is fitted with medians and quantiles, on the
bins that the caller has not rejected.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.rows import Names, Rows
from ifcb_flow_pipeline.detection.traits import Trait

#: So many bins of its own weigh as much as the fleet does in an instrument's spread.
_SPREAD_PRIOR_BINS = 20.0

#: Roles that a setting of the instrument may move: relearnt for each configuration.
_SET_ROLES = ("position",)

#: Roles that change slowly with water and weather, and are compared with the days before.
_SLOW_ROLES = ("position", "trigger", "size", "signal", "environment", "velocity")

#: Days before a bin's own that tell what is usual at the time, and the bins in them that count half.
LOCAL_DAYS = 5
_LOCAL_PRIOR_BINS = 12.0

#: How far, in spreads, the days before may move what is usual: a fault that lasts must not become normal.
_LOCAL_LIMIT = 1.5

#: An unknown instrument's bins may lie so much wider than those of the fleet's instruments.
_UNKNOWN_WIDENING = 1.5

#: The distance between the 10 % and 90 % quantiles of a normal distribution, in standard deviations.
_DECILES_SD = 2.5631

#: The median distance from the median of a normal distribution, in standard deviations.
_MAD_SD = 0.6745

#: Fewer bins have no spread worth naming; fewer of few or many points do not tell what sampling does.
_MIN_SPREAD_BINS, _MIN_SAMPLING_BINS = 5, 30

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
    """Centres and spreads of d features for m instruments and k configurations of them.

    ``key_instrument`` (k,): the instrument of each of the ``configurations``; ``key_centre`` (k, d) and
    ``key_bins`` (k,): of its bins in that configuration. ``centre``, ``spread`` (m, d): of each instrument over
    all configurations; ``points`` (m,): the usual number of points of its bins. ``fleet_centre``,
    ``fleet_spread``, ``fleet_range`` (d,): over instruments; the range is the spread between their centres.
    ``sampling`` (d,): share of the spread's square that goes with 1 / points. ``least`` (d,): no spread is smaller.
    """

    traits: tuple[Trait, ...]
    instruments: tuple[str, ...]
    configurations: tuple[str, ...]
    key_instrument: NDArray[np.int64]
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
        least = _resolution(rows.values[keep], traits)
        spreads = np.array([_spread(rows.values[of_instrument == i]) for i in range(len(instruments))])
        fleet_spread = np.maximum(_medians(spreads), least)
        pairs = _Pairs.of(rows)
        kept_pairs = np.unique(pairs.codes[keep])
        key_instrument = rows.instrument.numbers_in(instruments)[pairs.example[kept_pairs]]
        key_bins = np.bincount(pairs.codes[keep], minlength=len(pairs.example))[kept_pairs]
        fitted = cls(
            traits=tuple(traits),
            instruments=instruments,
            configurations=tuple(pairs.configuration_names(kept_pairs)),
            key_instrument=key_instrument,
            key_centre=np.array(
                [
                    _towards(_medians(rows.values[keep & (pairs.codes == pair)]), medians[i], n, traits)
                    for pair, i, n in zip(kept_pairs, key_instrument, key_bins, strict=True)
                ],
                dtype=np.float32,
            ),
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
        centre = usual.centre[usual.pair[which]] + usual.offset[usual.block[which]]
        points = np.maximum(rows.n_points[which], 1.0)
        # Fewer points than usual scatter more; more of them do not scatter less than bins differ.
        thinner = (usual.points[usual.pair[which]] / points)[:, None].astype(np.float32)
        factor = np.sqrt(1.0 + self.sampling * (thinner - 1.0))
        spread = np.maximum(usual.spread[usual.pair[which]] * factor, self.least)
        return Deviations((rows.values[which] - centre) / spread, centre, spread)

    def usual(self, rows: Rows) -> "Usual":
        """What is usual for each instrument and configuration among the rows, and on each of their days."""
        pairs = _Pairs.of(rows)
        instrument = rows.instrument.numbers_in(self.instruments)[pairs.example]
        names = pairs.configuration_names(np.arange(len(pairs.example)))
        known = zip(self.key_instrument, self.configurations, strict=True)
        places = {pair: key for key, pair in enumerate(known)}
        keys = [places.get((i, name), -1) for i, name in zip(instrument, names, strict=True)]
        # Only pairs that training did not know need their own bins to be looked at.
        centre = np.array(
            [
                self.key_centre[key] if key >= 0 else self._learnt(rows, pairs.codes == pair, i, names[pair])
                for pair, (key, i) in enumerate(zip(keys, instrument, strict=True))
            ],
            dtype=np.float32,
        ).reshape(-1, len(self.traits))
        unknown = instrument < 0
        spread = np.where(unknown[:, None], self.fleet_spread * _UNKNOWN_WIDENING, self.spread[instrument])
        points = np.where(unknown, np.median(self.points), self.points[instrument])
        usual = Usual(pairs.codes, centre, spread, points, np.zeros(len(rows), dtype=np.int64), np.zeros((1, 1)))
        return usual.following_the_days(rows, self.traits)

    def _learnt(self, rows: Rows, own: NDArray[np.bool_], instrument: int, configuration: str) -> NDArray:
        """The centre of a pair that training did not know, shape (d,), from its bins among the rows."""
        found = rows.values[own & rows.full]
        if instrument < 0:
            noise = self.fleet_spread**2 / max(len(found), 0.1)
            weight = self.fleet_range**2 / (self.fleet_range**2 + noise)
            return _blend(_medians(found), self.fleet_centre, weight)
        keys = np.flatnonzero(self.key_instrument == instrument)
        usual = self.key_centre[keys[np.argmax(self.key_bins[keys])]]
        if not configuration or not len(found):
            return usual
        is_set = np.array([trait.role in _SET_ROLES for trait in self.traits])
        return _blend(_medians(found), usual, is_set.astype(np.float32))

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
    """What is usual among n rows: of each row's pair of instrument and configuration, and of its day.

    ``pair``, ``block`` (n,): numbers into ``centre``, ``spread``, ``points`` (one a pair) and into ``offset`` (one a
    pair and day: how far the days before it lie from the centre).
    """

    pair: NDArray[np.int64]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    points: NDArray[np.float64]
    block: NDArray[np.int64]
    offset: NDArray[np.float32]

    def following_the_days(self, rows: Rows, traits: Sequence[Trait]) -> "Usual":
        """The same with the offsets of each day: of the LOCAL_DAYS days before it, as far as they may move it."""
        day = rows.day - rows.day.min() if len(rows) else rows.day
        length = int(day.max()) + 1 if len(rows) else 1
        blocks, block = np.unique(self.pair * length + day, return_inverse=True)
        slow = np.array([trait.role in _SLOW_ROLES for trait in traits])
        medians, counts = _block_medians(rows, block, len(blocks), slow)
        pair_of, day_of = np.divmod(blocks, length)
        medians -= self.centre[pair_of][:, slow]
        before = np.full((LOCAL_DAYS, *medians.shape), np.nan, dtype=np.float32)
        n_before = np.zeros(len(blocks))
        for back in range(1, LOCAL_DAYS + 1):
            place = np.minimum(np.searchsorted(blocks, blocks - back), len(blocks) - 1)
            there = (blocks[place] == blocks - back) & (day_of >= back)
            before[back - 1, there] = medians[place[there]]
            n_before += np.where(there, counts[place], 0)
        weight = (n_before / (n_before + _LOCAL_PRIOR_BINS))[:, None]
        limit = _LOCAL_LIMIT * self.spread[pair_of][:, slow]
        offset = np.zeros((len(blocks), len(traits)), dtype=np.float32)
        offset[:, slow] = np.clip(np.nan_to_num(_medians(before)) * weight, -limit, limit)
        return replace(self, block=block, offset=offset)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of instrument and configuration among n rows: each row's, and a row of each."""

    codes: NDArray[np.int64]
    example: NDArray[np.int64]
    configuration: Names

    @classmethod
    def of(cls, rows: Rows) -> "_Pairs":
        joined = rows.instrument.codes * len(rows.configuration.names) + rows.configuration.codes
        _, example, codes = np.unique(joined, return_index=True, return_inverse=True)
        return cls(codes, example, rows.configuration)

    def configuration_names(self, pairs: NDArray[np.int64]) -> list[str]:
        return [self.configuration.names[code] for code in self.configuration.codes[self.example[pairs]]]


def _block_medians(rows: Rows, block: NDArray, n_blocks: int, slow: NDArray[np.bool_]) -> tuple[NDArray, NDArray]:
    """Medians of the slow features of the full rows of each block, and how many rows those are."""
    order = np.argsort(block, kind="stable")
    order = order[rows.full[order]]
    bounds = np.searchsorted(block[order], np.arange(n_blocks + 1))
    columns = np.flatnonzero(slow)
    medians = np.full((n_blocks, len(columns)), np.nan, dtype=np.float32)
    for number, (first, last) in enumerate(pairwise(bounds)):
        if last > first:
            medians[number] = _medians(rows.values[order[first:last, None], columns])
    return medians, np.diff(bounds)


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
        low, high = np.nanquantile(values, (0.1, 0.9), axis=0)
    return np.fmax((high - low) / _DECILES_SD, _medians(np.abs(values - _medians(values))) / _MAD_SD)


def _resolution(values: NDArray, traits: Sequence[Trait]) -> NDArray[np.float32]:
    """The least spread of each feature: half the step in which it is told, where it comes in steps."""
    least = np.array([_LEAST_SPREAD[trait.scale] for trait in traits], dtype=np.float32)
    for column in range(values.shape[1]):
        found = np.unique(values[np.isfinite(values[:, column]), column])
        if 2 <= len(found) < len(values) / 3:
            least[column] = max(least[column], 0.5 * float(np.median(np.diff(found))))
    return least


def _range(medians: NDArray, fleet_spread: NDArray) -> NDArray[np.float32]:
    """How far apart the instruments' centres lie; where they are too few to tell, far."""
    far = 5.0 * fleet_spread
    return (far if len(medians) < _MIN_SPREAD_BINS else np.fmax(_spread(medians), far / 2)).astype(np.float32)


def _towards(own: NDArray, instrument: NDArray, n_bins: int, traits: Sequence[Trait]) -> NDArray:
    """The centre of a configuration: its own, the nearer to the instrument's the fewer bins it has."""
    prior = np.array([1.0 if trait.role in _SET_ROLES else _SPREAD_PRIOR_BINS for trait in traits])
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
