"""What is usual for each instrument: the centre and the spread of every feature, and how they follow the season.

Each instrument is compared with its own history, in the configuration that its header states. Where the
history is short, its baseline leans on the fleet's. Everything is fitted with medians and quantiles, on the
bins that the caller has not rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.deployments import LONG_GAP_S, Deployments, core_moves, rows_by_code
from ifcb_flow_pipeline.detection.flow.local_baseline import HourlyOffsets, LocalBaseline
from ifcb_flow_pipeline.detection.flow.spreads import (
    blend,
    column_medians,
    range_of_centres,
    resolution,
    robust_spread,
    sampling_share,
    stated_least,
)

#: So many bins of its own weigh as much as the fleet does in an instrument's spread.
_SPREAD_PRIOR_BINS = 20.0

#: What moves when an instrument is serviced: relearnt for each deployment. A tilt or a wide core never is, unless the
#: header says that the settings are new.
_SET_FEATURES = ("core_x_px",)

#: Roles of what changes slowly with water and weather, and is compared with the days before, too.
_SLOW_ROLES = ("position", "trigger", "size", "signal", "environment", "velocity")

#: Deployments that start nearer to each other than this are the same.
_SAME_START_S = 1.0

#: What is usual in a deployment that training did not know is learnt from so many bins at its start; this many weigh
#: as much as what was usual before, fewer hardly anything: they may be just those that are faulty.
_START_BINS, _START_PRIOR_BINS = 20, 3.0

#: So many bins after a pause in which the core moved are told as being that.
_SETTLING_BINS = 5

#: An unknown instrument's bins may lie so much wider than those of the fleet's instruments.
_UNKNOWN_WIDENING = 1.5


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

    metadata: tuple[FeatureMetadata, ...]
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
    def fit(cls, rows: BinTable, keep: NDArray[np.bool_], metadata: Sequence[FeatureMetadata]) -> "Baselines":
        """Fit to the kept rows, of which there must be one at least; ``keep``: shape (n,)."""
        keep = keep & rows.full
        instruments = tuple(np.array(rows.instrument.names, dtype=object)[np.unique(rows.instrument.codes[keep])])
        of_instrument = np.where(keep, rows.instrument.numbers_in(instruments), -1)
        medians = np.array([column_medians(rows.values[of_instrument == i]) for i in range(len(instruments))])
        least = np.maximum(resolution(rows.values[keep], metadata), stated_least(metadata))
        spreads = np.array([robust_spread(rows.values[of_instrument == i]) for i in range(len(instruments))])
        fleet_spread = np.maximum(column_medians(spreads), least)
        deployments = Deployments.of(rows, _set_columns(metadata), {})
        kept = np.unique(deployments.codes[keep])
        key_instrument = rows.instrument.numbers_in(instruments)[deployments.first[kept]]
        key_bins = np.bincount(deployments.codes[keep], minlength=len(deployments.first))[kept]
        members = rows_by_code(np.where(keep, deployments.codes, -1), len(deployments.first))
        centres = [
            _towards(column_medians(rows.values[members[one]]), medians[i], n, metadata)
            for one, i, n in zip(kept, key_instrument, key_bins, strict=True)
        ]
        fitted = cls(
            metadata=tuple(metadata),
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
            fleet_centre=column_medians(medians),
            fleet_spread=fleet_spread.astype(np.float32),
            fleet_range=range_of_centres(medians, fleet_spread),
            sampling=np.zeros(len(metadata), dtype=np.float32),
            least=least,
        )
        return fitted._with_local_spreads(rows, keep, of_instrument)

    def deviations(
        self, rows: BinTable, which: NDArray | None = None, usual: "LocalBaseline | None" = None
    ) -> Deviations:
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
        return np.array([feature.scale == "logit" and feature.noise == "mean" for feature in self.metadata])

    def usual(self, rows: BinTable) -> "LocalBaseline":
        """What is usual for each deployment among the rows, and in each of their hours."""
        known = {name: self.key_start[self.key_instrument == i] for i, name in enumerate(self.instruments)}
        deployments = Deployments.of(rows, _set_columns(self.metadata), known)
        instrument = rows.instrument.numbers_in(self.instruments)[deployments.first]
        centre = self._centres(rows, deployments, instrument)
        unknown = instrument < 0
        spread = np.where(unknown[:, None], self.fleet_spread * _UNKNOWN_WIDENING, self.spread[instrument])
        for one in np.flatnonzero(unknown):
            own = robust_spread(rows.values[rows.full & (rows.instrument.codes == deployments.instrument[one])])
            spread[one] = np.fmax(spread[one], own)
        points = np.where(unknown, np.median(self.points), self.points[instrument])
        codes = deployments.codes
        set_by = _set_columns(self.metadata)
        slow = np.setdiff1d(_columns(self.metadata, _SLOW_ROLES), set_by)
        offsets = (
            HourlyOffsets.of(rows, codes, (codes, centre, spread), set_by, limited=False),
            HourlyOffsets.of(rows, rows.instrument.codes, (codes, centre, spread), slow, limited=True),
        )
        moved = core_moves(deployments, centre, spread, set_by)
        # Feature by feature, as they are taken from.
        centre, spread = np.asfortranarray(centre), np.asfortranarray(spread)
        settling = np.isin(codes, codes[moved]) & (deployments.place < _SETTLING_BINS)
        return LocalBaseline(codes, centre, spread, points, offsets, moved, settling)

    def _centres(
        self, rows: BinTable, deployments: "Deployments", instrument: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The centre of each deployment among the rows, shape (deployments, d)."""
        keys = [self._key_of(deployments, one, owner) for one, owner in enumerate(instrument)]
        members: list[NDArray[np.int64]] = []
        if None in keys:  # only those that training did not know need their own bins to be looked at
            members = rows_by_code(np.where(rows.full, deployments.codes, -1), len(keys))
        centres = [
            self.key_centre[key] if key is not None
            else self._learnt(rows, members[one], instrument[one], deployments.configuration[one])
            for one, key in enumerate(keys)
        ]  # fmt: skip
        return np.array(centres, dtype=np.float32).reshape(-1, len(self.metadata))

    def _key_of(self, deployments: "Deployments", one: int, instrument: int) -> int | None:
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

    def _learnt(self, rows: BinTable, own: NDArray[np.int64], instrument: int, configuration: str) -> NDArray:
        """The centre of a deployment that training did not know, shape (d,), from its first bins among the rows."""
        if instrument < 0:
            noise = self.fleet_spread**2 / max(len(own), 0.1)
            weight = self.fleet_range**2 / (self.fleet_range**2 + noise)
            return blend(column_medians(rows.values[own]), self.fleet_centre, weight)
        keys = np.flatnonzero(self.key_instrument == instrument)
        usual = self.key_centre[keys[np.argmax(self.key_bins[keys])]]
        first = own[np.argsort(rows.time_s[own], kind="stable")[:_START_BINS]]
        own_centre = column_medians(rows.values[first])
        # New settings may move everything; what happens in a pause moves the core.
        is_new = configuration not in [self.configurations[key] for key in keys]
        learnt = _towards(own_centre, usual, len(first), self.metadata) if is_new else usual.copy()
        moves = _set_columns(self.metadata)
        weight = np.array(len(first) ** 2 / (len(first) ** 2 + _START_PRIOR_BINS**2))
        learnt[moves] = blend(own_centre[moves], usual[moves], weight)
        return learnt

    def _with_local_spreads(self, rows: BinTable, keep: NDArray[np.bool_], of_instrument: NDArray) -> "Baselines":
        """The same centres; spreads and sampling shares of what the days before leave unexplained."""
        usual = self.usual(rows)
        kept = np.flatnonzero(keep)
        residual = self.deviations(rows, kept, usual)
        distance = residual.z * residual.spread
        owner, n_bins = of_instrument[kept], np.bincount(of_instrument[kept], minlength=len(self.instruments))
        own = np.array([robust_spread(distance[owner == i]) for i in range(len(self.instruments))])
        own = np.maximum(own, self.least)
        fleet = np.maximum(column_medians(own), self.least)
        weight = (n_bins / (n_bins + _SPREAD_PRIOR_BINS))[:, None]
        spread = np.sqrt(blend(own**2, np.broadcast_to(fleet**2, own.shape), weight))
        thinner = self.points[owner] / np.maximum(rows.n_points[kept], 1.0)
        sampling = sampling_share(distance / spread[owner], thinner, self.metadata)
        return replace(self, spread=spread.astype(np.float32), fleet_spread=fleet.astype(np.float32), sampling=sampling)


def _set_columns(metadata: Sequence[FeatureMetadata]) -> NDArray[np.int64]:
    return np.array(
        [column for column, feature in enumerate(metadata) if feature.name in _SET_FEATURES], dtype=np.int64
    )


def _columns(metadata: Sequence[FeatureMetadata], roles: Sequence[str]) -> NDArray[np.int64]:
    return np.array([column for column, feature in enumerate(metadata) if feature.role in roles], dtype=np.int64)


def _towards(own: NDArray, instrument: NDArray, n_bins: int, metadata: Sequence[FeatureMetadata]) -> NDArray:
    """The centre of a deployment: its own, the nearer to the instrument's the fewer bins it has."""
    prior = np.array([1.0 if feature.role == "position" else _SPREAD_PRIOR_BINS for feature in metadata])
    return blend(own, instrument, n_bins / (n_bins + prior))
