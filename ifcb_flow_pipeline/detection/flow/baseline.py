"""The baseline of one instrument: where its healthy bins lie, how they scatter, and how far that wanders with time.

An instrument is compared with itself alone. What other instruments do changes nothing here: their bins say little of
its optics, and nothing of its water.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.deployments import LONG_GAP_S, MOVED_Z, Places, Starts, find_starts, settings_new
from ifcb_flow_pipeline.detection.flow.natural_variability import after_gaps, pauses, water_sides
from ifcb_flow_pipeline.detection.flow.spreads import column_medians, least_spread, robust_spread, sampling_share

#: What moves when an instrument is serviced, and is learnt for each deployment. A tilt or a wide core never is.
_CORE = "core_x_px"

#: What tells that a bin is out of focus: lost images, and small ones that grow more than sizes vary.
_FOCUS = ("no_image_fraction", "area_p10_px2", "size_spread")

#: Roles of what wanders slowly with water, weather and wear: their level is followed.
_WANDERING = ("position", "trigger", "size", "signal", "environment", "velocity")

#: So does the height of the frame that the core takes up: its lower end fell by 48 px in 20 h on a healthy instrument
#: (field measurements, November 2026).
_WANDERING_TOO = ("cross_low_px", "cross_high_px", "cross_range_px")

#: A history is short until it spans so many days: levels drift within a day by more than the morning shows.
SHORT_S = 2.0 * 86_400.0

#: In which time a level forgets where it was: water and weather change within days (OOI IFCB206, domain notes).
_MEMORY_S = 2.0 * 86_400.0

#: A history of fewer days does not show how far levels wander. It is taken to be at least so many scatters then, less
#: the longer the history is: on two instruments the scatter of half a day was two to five times too small for the
#: next half day (field measurements, November 2026). Features of faults wander less.
_LONG_HISTORY_S, _WANDERS, _WANDERS_LITTLE = 3.0 * 86_400.0, 3.0, 1.0

#: However steady a level was in training, it may wander by so many scatters: optics and pumps wear.
_LEAST_RANGE = 1.0

#: A level stays within so many scatters, or ranges, of the centre: what wears on for weeks is a fault at last.
_MOST_SCATTERS, _MOST_RANGES = 4.0, 3.0

#: So many bins of its settings weigh as much as those of all settings of the instrument, in a centre.
_PRIOR_BINS = 5.0

#: Bins that tell the centre of settings that training did not know; this many weigh as much as what was usual before,
#: fewer hardly anything. Only what settings change is learnt from them.
_START_BINS, _START_PRIOR_BINS = 20, 3.0
_SET_BY = ("signal", "trigger", "size", "velocity")

#: So many bins after new settings, or at a new place, are reported as being that.
_SETTLING_BINS = 5

#: A place to which the core jumped stays an open question for so long: two weeks, in which someone looks at it.
_OPEN_S = 14 * 86_400.0

#: Rounds in which scatter and range are told apart: the levels follow from both. Two changed them by 8 % at most on
#: simulated archives, the third by 2 %.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Deviations:
    """How far n bins of one instrument lie from their local baseline; arrays of shape (n, d) unless said.

    ``z``: in spreads, positive above, NaN where unknown. ``spread``: of the local baseline, ``values``: of the bins,
    both on the features' scales. ``in_order`` (n,): bins that taught the baseline.
    ``changed`` (n,): the first bin of new settings, or of a new place of the core that a gap explains; ``moved`` (n,):
    the core jumped here without a reason, and nobody confirmed it yet; ``settling`` (n,): among the first few of such
    a new place or new settings; ``after_gap`` (n,): the run began later than usual;
    ``is_short`` (n,): the history spans less than SHORT_S. ``deployment`` (n,): its number.
    ``baseline_bins``, ``baseline_days`` (n,): on how many healthy bins, over how many days, the baseline rests.
    """

    z: NDArray[np.float32]
    spread: NDArray[np.float32]
    values: NDArray[np.float32]
    in_order: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    settling: NDArray[np.bool_]
    moved: NDArray[np.bool_]
    after_gap: NDArray[np.bool_]
    is_short: NDArray[np.bool_]
    deployment: NDArray[np.int64]
    baseline_bins: NDArray[np.int64]
    baseline_days: NDArray[np.float64]

    def centre(self, which: NDArray[np.int64] | slice = slice(None)) -> NDArray[np.float32]:
        """The centre of the local baseline of some of the bins, on the features' scales."""
        return (self.values[which] - self.z[which] * self.spread[which]).astype(np.float32)

    @classmethod
    def unknown(cls, n: int, d: int) -> "Deviations":
        """Those of n bins of an instrument of which nothing is known."""
        nan, no = np.full((n, d), np.nan, dtype=np.float32), np.zeros(n, dtype=bool)
        return cls(nan, nan, nan, no, no, no, no, no, no, np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n))

    def of(self, which: NDArray[np.int64] | slice) -> "Deviations":
        """Those of some of the bins; those of a slice are not copied."""
        return Deviations(*(getattr(self, name)[which] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Baseline:
    """What training knows of one instrument: d features, c configurations, k deployments.

    ``centre`` (c, d) and ``config_bins`` (c,): of each of ``configurations``; ``scatter``, ``range_`` (d,): of bins
    around their level, and of the level around the centre, as standard deviations. ``sampling`` (d,): share of the
    scatter's square that goes with 1 / points; ``points`` (): the usual number of points. ``least`` (d,): no scatter is
    smaller. ``level``, ``level_sd`` (d,): where the level is at ``last_s`` () and how well that is known.
    ``places``: its deployments. ``first_s``, ``last_s`` (), s since 1970, and ``n_bins`` (): of the healthy bins.
    """

    metadata: tuple[FeatureMetadata, ...]
    configurations: tuple[str, ...]
    centre: NDArray[np.float32]
    config_bins: NDArray[np.int64]
    scatter: NDArray[np.float32]
    range_: NDArray[np.float32]
    sampling: NDArray[np.float32]
    points: NDArray[np.float64]
    least: NDArray[np.float32]
    level: NDArray[np.float32]
    level_sd: NDArray[np.float32]
    places: Places
    first_s: NDArray[np.float64]
    last_s: NDArray[np.float64]
    n_bins: NDArray[np.int64]

    @classmethod
    def fit(cls, bins: BinTable, keep: NDArray[np.bool_], metadata: Sequence[FeatureMetadata]) -> "Baseline":
        """Fit to the kept bins, of which there must be one at least; bins of one instrument in the order of time."""
        values = bins.values[keep]
        instrument = column_medians(values)
        names = [bins.configuration.names[code] for code in np.unique(bins.configuration.codes[keep])]
        codes = bins.configuration.numbers_in(names)
        centres, counts = [], []
        for code in range(len(names)):
            own = bins.values[keep & (codes == code)]
            weight = len(own) / (len(own) + _PRIOR_BINS) if len(names) > 1 else 1.0
            centres.append(_blend(column_medians(own), instrument, weight))
            counts.append(len(own))
        least = least_spread(values, metadata)
        times = bins.time_s[keep]
        residual = bins.values - np.nan_to_num(np.array(centres, dtype=np.float32)[codes])
        total = np.fmax(robust_spread(residual[keep]), least)
        d = len(metadata)
        fitted = cls(
            metadata=tuple(metadata),
            configurations=tuple(names),
            centre=np.array(centres, dtype=np.float32),
            config_bins=np.array(counts, dtype=np.int64),
            scatter=np.fmax(np.minimum(_step_scatter(residual[keep]), total), least),
            range_=np.zeros(d, dtype=np.float32),
            sampling=np.zeros(d, dtype=np.float32),
            points=np.array(np.median(bins.n_points[keep])),
            least=least,
            level=np.zeros(d, dtype=np.float32),
            level_sd=np.zeros(d, dtype=np.float32),
            places=Places.unmoved(times[:1]),
            first_s=np.array(times[0]),
            last_s=np.array(times[-1]),
            n_bins=np.array(len(times)),
        )
        core = fitted._core_column()
        if core >= 0:
            # A service moves the core: that is no wandering. Places are counted from the first one.
            first = keep & (fitted._starts(bins, known=None).deployment == 0)
            off = column_medians(residual[first, core : core + 1])[0] if first.any() else 0.0
            if abs(off) > MOVED_Z * fitted.scatter[core]:
                fitted.centre[:, core] += off
                residual[:, core] -= off
            starts = fitted._starts(bins, known=None)
            place = starts.core[np.maximum.accumulate(np.where(starts.begins, np.arange(len(bins)), 0))]
            own = (residual[:, core] - np.where(starts.deployment > 0, place, 0.0))[keep, None]
            total[core] = np.fmax(robust_spread(own)[0], least[core])
        for _ in range(_ROUNDS):
            fitted = fitted._refined(bins, keep, total)
        return fitted

    def _refined(self, bins: BinTable, keep: NDArray[np.bool_], total: NDArray[np.float32]) -> "Baseline":
        """The same centres; scatter, range, sampling, level and places as the bins' deviations show them."""
        fitted = replace(self, range_=self._ranges(total))
        starts = fitted._starts(bins, known=None)
        z, spreads, _, _ = fitted._follow(bins, keep, starts, reach=None)
        # What is left beside the uncertainty of the level is the scatter of bins.
        ratio = robust_spread(z[keep])
        scatter = np.fmax(fitted.scatter * np.nan_to_num(ratio, nan=1.0), fitted.least).astype(np.float32)
        thinner = float(fitted.points) / np.maximum(bins.n_points[keep], 1.0)
        last = np.flatnonzero(keep)[-1]
        return replace(
            fitted,
            scatter=scatter,
            sampling=sampling_share(z[keep], thinner, self.metadata),
            level=(fitted._centred(bins.take(np.array([last])))[0] - z[last] * spreads[last]).astype(np.float32),
            level_sd=np.sqrt(np.maximum(spreads[last] ** 2 - fitted.scatter**2, 0.0)).astype(np.float32),
            places=_places(bins, starts),
        )

    def _ranges(self, total: NDArray[np.float32]) -> NDArray[np.float32]:
        """How far each level wanders, shape (d,): as seen, and as short histories cannot show."""
        young = 1.0 - min(float(self.last_s - self.first_s) / _LONG_HISTORY_S, 1.0)
        wanders = wandering(self.metadata)
        seen = np.where(wanders, np.sqrt(np.maximum(total**2 - self.scatter**2, 0.0)), 0.0)
        unseen = np.where(wanders, _WANDERS, _WANDERS_LITTLE) * young * self.scatter
        at_least = np.where(wanders, _LEAST_RANGE, 0.0) * self.scatter
        return np.maximum(np.maximum(seen, unseen), at_least).astype(np.float32)

    def is_short(self, time_s: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the history of bins that start then spans less than SHORT_S, shape (n,)."""
        return np.maximum(time_s, self.last_s) - self.first_s < SHORT_S

    @property
    def mostly_with_header(self) -> bool:
        """Most of the bins in training stated their settings."""
        stated = [n for name, n in zip(self.configurations, self.config_bins.tolist(), strict=True) if name]
        return 2 * sum(stated) > int(self.config_bins.sum())

    def deviations(self, bins: BinTable, reach: NDArray[np.float32]) -> Deviations:
        """How far bins of the instrument, in the order of time, lie from the local baseline before each of them.

        ``reach`` (2, d): how far below and above, in spreads, a bin lies that still teaches. Until the history spans
        days, whatever wanders teaches wherever it lies: nobody knows yet how far it goes.
        """
        starts = self._starts(bins, self.places)
        at_first = np.where(wandering(self.metadata), np.float32(np.inf), reach)
        z, spread, in_order, jumped = self._follow(bins, bins.full, starts, np.stack([reach, at_first]))
        known = np.array([name in self.configurations for name in bins.configuration.names], dtype=bool)
        new = settings_new(self._stated(bins), known)
        return Deviations(
            z=z,
            spread=spread,
            values=bins.values,
            in_order=in_order,
            changed=new | _first_elsewhere(starts, self._core_scatter()),
            settling=_settling(starts, new, self._core_scatter()),
            moved=jumped & ~self._settled(bins, starts),
            after_gap=after_gaps(bins.time_s),
            is_short=self.is_short(bins.time_s),
            deployment=starts.deployment,
            baseline_bins=self._baseline_bins(bins, in_order),
            baseline_days=self._baseline_days(bins, in_order),
        )

    def _follow(
        self, bins: BinTable, usable: NDArray[np.bool_], starts: Starts, reach: NDArray[np.float32] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """Deviations and spreads (n, d), bins in order and bins at a place that was jumped to (n,): see ``follow``."""
        from ifcb_flow_pipeline.detection.flow.level_filter import FLOW, HOUSING, WATER, follow

        d, taught_by_all = len(self.metadata), reach is None
        if reach is None:
            reach = np.full((2, 2, d), np.inf, dtype=np.float32)
        limit = np.maximum(_MOST_SCATTERS * self.scatter, _MOST_RANGES * self.range_)
        core = self._core_column()
        if core >= 0:
            limit[core] = np.inf  # a service may move the core as far as it likes
        z, spread = self._centred(bins), self._scatters(bins)
        focus = (-1, -1, -1) if taught_by_all else self._focus_columns()
        in_order, jumped = follow(
            z,
            spread,
            bins.values,
            bins.time_s,
            pauses(bins.time_s),
            usable,
            self.range_,
            _MEMORY_S,
            limit.astype(np.float32),
            starts.begins,
            starts.core,
            starts.sd,
            starts.is_jump,
            core,
            np.where(
                _is_housing(self.metadata), HOUSING, np.where(water_sides(self.metadata).all(axis=0), WATER, FLOW)
            ),
            focus,
            self._first_level(bins),
            reach,
            self.is_short(bins.time_s),
        )
        return z, spread, in_order, jumped

    def _first_level(self, bins: BinTable) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The level before the first of some bins and its standard deviation, shape (d,) each."""
        level, sd = np.zeros_like(self.level), np.hypot(self.range_, self.scatter / np.sqrt(float(self.n_bins)))
        passed = float(bins.time_s[0] - self.last_s) if len(bins) else 0.0
        if passed > 0:
            kept = np.exp(-passed / _MEMORY_S)
            level = self.level * kept
            sd = np.sqrt((self.level_sd * kept) ** 2 + self.range_**2 * (1.0 - kept**2))
        core = self._core_column()
        place = self.places.at(bins.time_s[0]) if len(bins) else -1
        if core >= 0 and place >= 0:
            level[core] = self.places.core[place]
        return level.astype(np.float32), sd.astype(np.float32)

    def _starts(self, bins: BinTable, known: Places | None) -> Starts:
        core = self._core_column()
        names = np.array([name in self.configurations for name in bins.configuration.names], dtype=bool)
        new = settings_new(self._stated(bins), names if known is not None else np.zeros_like(names))
        values = np.full(len(bins), np.nan, dtype=np.float32)
        if core >= 0:
            values = bins.values[:, core] - self._centres(bins)[bins.configuration.codes, core]
        continues = known is None or not len(bins) or bins.time_s[0] <= self.last_s + LONG_GAP_S
        return find_starts(
            values, bins.time_s, new, known or Places.unmoved(bins.time_s[:1]), self._core_scatter(), continues
        )

    def _core_column(self) -> int:
        return self._column(_CORE)

    def _column(self, name: str) -> int:
        """The column of a feature, -1 where there is none."""
        return next((column for column, feature in enumerate(self.metadata) if feature.name == name), -1)

    def _focus_columns(self) -> tuple[int, ...]:
        """The columns of _FOCUS, -1 for all of them where one is missing."""
        columns = tuple(self._column(name) for name in _FOCUS)
        return columns if min(columns) >= 0 else (-1, -1, -1)

    def _core_scatter(self) -> float:
        core = self._core_column()
        return float(self.scatter[core]) if core >= 0 else 1.0

    def _stated(self, bins: BinTable) -> NDArray[np.int64]:
        """A number for the settings of each bin, -1 where it states none; shape (n,)."""
        stated = np.array([bool(name) for name in bins.configuration.names], dtype=bool)
        return np.where(stated[bins.configuration.codes], bins.configuration.codes, -1)

    def _centred(self, bins: BinTable) -> NDArray[np.float32]:
        """The bins' values less the centre of their settings, shape (n, d)."""
        from ifcb_flow_pipeline.detection.flow.level_filter import less_centres

        return less_centres(bins.values, self._centres(bins), bins.configuration.codes)

    def _centres(self, bins: BinTable) -> NDArray[np.float32]:
        """The centre of each of the bins' settings, shape (settings, d)."""
        centres = np.empty((len(bins.configuration.names), len(self.metadata)), dtype=np.float32)
        usual = self.centre[int(np.argmax(self.config_bins))]
        for code, name in enumerate(bins.configuration.names):
            if name in self.configurations:
                centres[code] = self.centre[self.configurations.index(name)]
            else:
                centres[code] = self._new_centre(bins, bins.full & (bins.configuration.codes == code), usual)
        return centres

    def _new_centre(self, bins: BinTable, own: NDArray[np.bool_], usual: NDArray[np.float32]) -> NDArray[np.float32]:
        """The centre of settings that training did not know, shape (d,), from their first bins."""
        first = np.flatnonzero(own)[:_START_BINS]
        movable = np.array([feature.role in _SET_BY for feature in self.metadata], dtype=bool)
        weight = len(first) ** 2 / (len(first) ** 2 + _START_PRIOR_BINS**2)
        learnt = _blend(column_medians(bins.values[first]), usual, weight)
        return np.where(movable, learnt, usual)

    def _scatters(self, bins: BinTable) -> NDArray[np.float32]:
        """How bins with as many points scatter around the level, shape (n, d)."""
        from ifcb_flow_pipeline.detection.flow.level_filter import scatters

        # On its scale, a share of n points cannot be known better than this, and where hardly any are expected one
        # point more is a larger step.
        centre = self.centre[int(np.argmax(self.config_bins))]
        share = np.sin(np.clip(np.nan_to_num(centre), 0.0, np.pi) / 2.0) ** 2
        is_share = np.array([f.scale == "logit" and f.noise == "mean" for f in self.metadata], dtype=bool)
        least_share = np.where(is_share, np.minimum(share, 1.0 - share), np.nan)
        points = np.maximum(bins.n_points, 1.0)
        return scatters(points, float(self.points), self.scatter, self.sampling, self.least, least_share)

    def _settled(self, bins: BinTable, starts: Starts) -> NDArray[np.bool_]:
        """Which bins come so long after their deployment began that its place is the usual one, shape (n,)."""
        first = np.maximum.accumulate(np.where(starts.begins, np.arange(len(bins)), 0))
        return bins.time_s - bins.time_s[first] > _OPEN_S

    def _baseline_bins(self, bins: BinTable, in_order: NDArray[np.bool_]) -> NDArray[np.int64]:
        later = in_order & (bins.time_s > self.last_s)
        before = np.cumsum(later) - later
        in_training = (bins.time_s >= self.first_s) & (bins.time_s <= self.last_s)
        return np.maximum(int(self.n_bins) + before - in_training, 0)

    def _baseline_days(self, bins: BinTable, in_order: NDArray[np.bool_]) -> NDArray[np.float64]:
        later = np.where(in_order & (bins.time_s > self.last_s), bins.time_s, float(self.last_s))
        latest = np.maximum.accumulate(np.concatenate(([float(self.last_s)], later)))[:-1]
        return (latest - float(self.first_s)) / 86_400.0


@lru_cache(maxsize=8)
def wandering(metadata: tuple[FeatureMetadata, ...]) -> NDArray[np.bool_]:
    """Which features wander with water, weather and wear, shape (d,)."""
    return np.array([f.role in _WANDERING or f.name in _WANDERING_TOO for f in metadata], dtype=bool)


def _is_housing(metadata: Sequence[FeatureMetadata]) -> NDArray[np.bool_]:
    return np.array([feature.role == "environment" for feature in metadata], dtype=bool)


def _step_scatter(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scatter from bin to bin, shape (d,): what slow changes do not explain. NaN with too few bins."""
    steps = np.diff(values, axis=0)
    spread = robust_spread(np.concatenate([steps, -steps])) if len(steps) else np.full(values.shape[1:], np.nan)
    return (spread / np.sqrt(2.0)).astype(np.float32)


def _places(bins: BinTable, starts: Starts) -> Places:
    first = np.concatenate(([0], np.flatnonzero(starts.begins)))
    core, sd = np.where(starts.begins, starts.core, 0.0)[first], np.where(starts.begins, starts.sd, 0.0)[first]
    return Places(
        bins.time_s[first], core.astype(np.float32), sd.astype(np.float32), (starts.is_jump & starts.begins)[first]
    )


def _first_elsewhere(starts: Starts, scatter: float) -> NDArray[np.bool_]:
    """The first bins of explained deployments whose core lies elsewhere than before, shape (n,)."""
    found = np.zeros(len(starts.begins), dtype=bool)
    before = 0.0
    for at in np.flatnonzero(starts.begins).tolist():
        found[at] = not starts.is_jump[at] and abs(float(starts.core[at]) - before) > MOVED_Z * scatter
        before = float(starts.core[at])
    return found


def _settling(starts: Starts, new: NDArray[np.bool_], scatter: float) -> NDArray[np.bool_]:
    """The first few bins of new settings or of another place of the core, shape (n,)."""
    n = len(new)
    first = np.flatnonzero(new | _first_elsewhere(starts, scatter))
    since = np.arange(n) - np.maximum.accumulate(np.where(np.isin(np.arange(n), first), np.arange(n), -n))
    return since < _SETTLING_BINS


def _blend(own: NDArray, other: NDArray, weight: float) -> NDArray[np.float32]:
    """``own`` with this weight and ``other`` with the rest; the one that is known where one is not."""
    mixed = weight * own + (1.0 - weight) * other
    return np.where(np.isfinite(own), np.where(np.isfinite(other), mixed, own), other).astype(np.float32)
