"""One instrument's model: its baseline, and how rare its deviations are. Each instrument is judged by itself alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.baseline import Baseline, Deviations, wandering
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.fault_edges import fault_edges
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.flow.natural_variability import (
    Explanation,
    explain,
    harmless_sides,
    lost_share,
    water_sides,
)
from ifcb_flow_pipeline.detection.flow.neighbour_averages import (
    COSTS,
    ODD_ALONE,
    NeighbourDetector,
    NeighbourEvidence,
    Series,
)
from ifcb_flow_pipeline.detection.flow.tails import TailDetector

#: One healthy bin in so many has a feature so far out; such a bin teaches the level nothing. About one bin in a
#: hundred has any, of some 50 features, without being faulty.
_TEACHES_SHARE = 2e-4

#: The normal range of a feature, as findings state it, leaves out so many of healthy bins on each side.
_RANGE_SHARE = 0.02

#: What follows the water is worth a look at most: its rarity nears the second number from the first on, so that of two
#: such bins the rarer one still comes first.
_HELD_FROM, HELD_TO, _HELD_HALF_WAY = 1.75, 1.95, 5.0

#: A core that lies elsewhere, and nothing else, harms no image: it is as rare as one bin in 10 to this power at most.
_MOST_MOVED = 4.5

#: In a short history, what wanders, and strays, count as gross only beyond this rarity, some 12 of the spreads that are
#: widened for it: in 20 h, the tilts of two instruments drifted by .010, where it is 0.2; and three times as many
#: images at the frame's edge are nothing (field measurements, November 2026).
_BEYOND_WANDERING = 8.0

#: How much of the rarity of a bin alone is added to that of its neighbours: of them, the odder one is the worse.
_OF_ALONE = 0.01

#: Bins whose features are looked at together: they stay in the processor's cache; and how many before and after them
#: are looked at too, for neighbours.
_BINS_TOGETHER, _BINS_AROUND = 4096, 64


@dataclass(frozen=True, slots=True)
class Screening:
    """How rare n bins of one instrument are, as -log10 of the share of healthy bins that are as odd; shape (n,) each.

    ``alone``: by the bin itself, what follows the water held at HELD_TO; ``fault``: without what follows the water;
    ``gross``: by what wanders, and by strays, only as far as no drift of a day goes, where the history is short;
    ``neighbours``: together with the bins around.
    """

    alone: NDArray[np.float64]
    fault: NDArray[np.float64]
    gross: NDArray[np.float64]
    neighbours: NeighbourEvidence

    @classmethod
    def nothing(cls, n: int, d: int) -> "Screening":
        """That of n bins of an instrument without a model."""
        return cls(np.zeros(n), np.zeros(n), np.zeros(n), NeighbourEvidence.nothing(n, d))

    def of(self, which: NDArray[np.int64] | slice) -> "Screening":
        """Those of some of the bins."""
        return Screening(self.alone[which], self.fault[which], self.gross[which], self.neighbours.of(which))

    @property
    def by_neighbours(self) -> NDArray[np.bool_]:
        """Which bins are odder together with their neighbours than alone."""
        return self.neighbours.rarity > self.alone

    @property
    def rarity(self) -> NDArray[np.float64]:
        """How rare each bin is, alone or with its neighbours."""
        return np.where(self.by_neighbours, self.neighbours.rarity + _OF_ALONE * self.alone, self.alone)


@dataclass(frozen=True, slots=True)
class _Alone:
    """How rare n bins are by themselves, as in Screening: ``rarity``, ``fault``, ``gross`` (n,).

    ``rinsed``, ``lost`` (n,): see ``explain`` and ``lost_share``. ``odd`` (k,): the places of bins that are odd as
    faults are, ascending, and ``way`` (k, d): which way each of them is.
    """

    rarity: NDArray[np.float64]
    fault: NDArray[np.float64]
    gross: NDArray[np.float64]
    rinsed: NDArray[np.bool_]
    lost: NDArray[np.float32]
    odd: NDArray[np.int64]
    way: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence["_Alone"]) -> "_Alone":
        """Those of bins in several parts, one after the other."""
        begins = np.cumsum([0, *(len(part.rarity) for part in parts)])
        odd = np.concatenate([begin + part.odd for begin, part in zip(begins, parts, strict=False)])
        rarity, fault, gross, rinsed, lost, way = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("rarity", "fault", "gross", "rinsed", "lost", "way")
        )
        return cls(rarity, fault, gross, rinsed, lost, odd, way)

    def way_of(self, bins: NDArray[np.int64]) -> NDArray[np.float32]:
        """Which way bins are odd that are so as faults are, shape (len(bins), d)."""
        return self.way[np.searchsorted(self.odd, bins)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What speaks against k bins of one instrument, feature by feature.

    ``z``, ``centre``, ``spread`` (k, d): of the bin, or of the mean of ``n_bins`` (k,) neighbours; ``rarities`` and
    ``added`` (k, d): of each feature, and what it adds to the score; ``reach`` (2, k, d): how far below and above the
    centre, in spreads, healthy bins lie; ``explanation``: what water and work explain; ``sure`` (k,): what they do not
    explain is enough for bad.
    """

    z: NDArray[np.float32]
    centre: NDArray[np.float32]
    spread: NDArray[np.float32]
    n_bins: NDArray[np.int64]
    rarities: NDArray[np.float32]
    added: NDArray[np.float32]
    reach: NDArray[np.float32]
    explanation: Explanation
    sure: NDArray[np.bool_]

    @classmethod
    def nothing(cls, deviations: Deviations, screening: Screening, which: NDArray[np.int64]) -> "Evidence":  # noqa: ARG003 - as InstrumentModel.evidence
        """That of bins of an instrument without a model."""
        k, d = len(which), deviations.z.shape[1]
        no, zero = np.zeros(k, dtype=bool), np.zeros((k, d), dtype=np.float32)
        ones = np.ones(k, dtype=np.int64)
        return cls(zero, zero, zero, ones, zero, zero, np.stack([zero, zero]), Explanation(zero, zero, no, no, no), no)


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentModel:
    """Baseline, tails of deviations, the scale of scores, and what is known of neighbouring bins."""

    baseline: Baseline
    tails: TailDetector
    scale: RarityScale
    neighbours: NeighbourDetector

    @property
    def metadata(self) -> tuple[FeatureMetadata, ...]:
        """The features, in the order of all arrays."""
        return self.baseline.metadata

    def deviations(self, bins: BinTable) -> Deviations:
        """How far bins, in the order of time, lie from the local baseline before each of them."""
        return self.baseline.deviations(bins, self._teaching_reach())

    def screen(self, bins: BinTable, deviations: Deviations, ranker: LabelRanker) -> Screening:
        """How rare each bin is."""
        firsts = range(0, max(len(bins), 1), _BINS_TOGETHER)
        alone = _Alone.joined(
            [self._alone(deviations, slice(first, first + _BINS_TOGETHER), ranker) for first in firsts]
        )
        # Within hours all bins drift together: a short history does not tell which mean is odd.
        known = bins.full & ~deviations.is_short
        neighbours = NeighbourEvidence.joined([self._neighbours(first, known, deviations, alone) for first in firsts])
        return Screening(alone.rarity, alone.fault, alone.gross, neighbours)

    def _alone(self, deviations: Deviations, some: slice, ranker: LabelRanker) -> _Alone:
        """How rare some of the bins are by themselves."""
        z, is_short = deviations.z[some], deviations.is_short[some]
        lost = self._lost_share(deviations, some)
        explanation = explain(z, lost, deviations.after_gap[some], self.metadata)
        rarities = self.tails.rarities(z)
        groups = self.tails.groups_of(rarities, explanation.factor)
        held_back = rarities
        if self._core_column is not None:
            held_back = rarities.copy()
            held_back[:, self._core_column] = np.minimum(rarities[:, self._core_column], _MOST_MOVED)
        fault_groups = self.tails.groups_of(held_back, explanation.fault_factor)
        shift = ranker.shift(groups)
        whole = np.maximum(self.scale.rarity(self.tails.raw_score(groups)) + shift, 0.0)
        plain = np.maximum(self.scale.rarity(self.tails.raw_score(fault_groups)) + shift, 0.0)
        # Water of a kind that hardly any bin in training had moves everything a little.
        fault = np.where(explanation.water & (plain < _SURE), held(plain), plain)
        gross = np.zeros(len(z))
        if is_short.any():
            beyond = np.maximum(held_back - self._drifts, np.float32(0.0))
            gross_groups = self.tails.groups_of(beyond, explanation.fault_factor)
            gross = self.scale.rarity(self.tails.raw_score(gross_groups))
        odd = np.flatnonzero(fault >= ODD_ALONE)
        way = self.tails.ways(z[odd], rarities[odd], explanation.fault_factor[odd])
        return _Alone(np.maximum(fault, held(whole)), fault, gross, explanation.rinsed, lost, odd, way)

    def _neighbours(
        self, first: int, known: NDArray[np.bool_], deviations: Deviations, alone: _Alone
    ) -> NeighbourEvidence:
        """What the bins from ``first`` on are part of: bins in order alone whose mean is not, or the edge of a fault.

        Some of them lie beside bins before and after them.
        """
        around = slice(max(first - _BINS_AROUND, 0), first + _BINS_TOGETHER + _BINS_AROUND)
        series = Series.of(deviations.z[around], alone.lost[around], deviations.deployment[around])
        known = known[around]
        in_order = known & (alone.rarity[around] < ODD_ALONE)
        evidence = self.neighbours.look(series, in_order)
        is_fault = known & (alone.fault[around] >= ODD_ALONE) & ~alone.rinsed[around]
        if is_fault.any():
            way = alone.way_of(around.start + np.flatnonzero(is_fault))
            evidence = evidence.or_worse(fault_edges(series, in_order, is_fault, way))
        return evidence.of(np.arange(first, min(first + _BINS_TOGETHER, len(deviations.z))) - around.start)

    def evidence(self, deviations: Deviations, screening: Screening, which: NDArray[np.int64]) -> Evidence:
        """What speaks against some of the bins: alone, or with their neighbours where that is rarer."""
        z, centre, spread = deviations.z[which], deviations.centre(which), deviations.spread[which]
        neighbours = screening.neighbours.of(which)
        together = screening.by_neighbours[which]
        (rows,) = np.nonzero(together)
        its = neighbours.place[rows]
        gaps = deviations.after_gap[which] & ~together
        lost = lost_share(z, deviations.values[which], spread, self.metadata)
        lost[rows] = neighbours.lost[its]
        centre[rows] += neighbours.level[its] * spread[rows]
        spread[rows] *= neighbours.spread[its]
        z[rows] = neighbours.z[its]
        n_bins = np.ones(len(which), dtype=np.int64)
        n_bins[rows] = neighbours.n_bins[its]
        explanation = explain(z, lost, gaps, self.metadata)
        rarities, added, sure = np.empty_like(z), np.empty_like(z), np.zeros(len(which), dtype=bool)
        reach = np.empty((2, *z.shape), dtype=np.float32)
        for some, tails, scale, cost in (
            (~together, self.tails, self.scale, 0.0),
            (together, self.neighbours.tails, self.neighbours.scale, COSTS),
        ):
            rarities[some] = tails.rarities(z[some])
            added[some] = tails.contributions(rarities[some] * explanation.factor[some])
            reach[:, some] = tails.usual_reach(_RANGE_SHARE)[:, None]
            unexplained = tails.raw_score(
                tails.groups_of(rarities[some], (explanation.factor[some] >= 1.0).astype(np.float32))
            )
            sure[some] = scale.rarity(unexplained) - cost >= _SURE
        return Evidence(z, centre, spread, n_bins, rarities, added, reach, explanation, sure)

    @property
    def _drifts(self) -> NDArray[np.float32]:
        """How much of each feature's rarity a day's drift may explain where the history is short, shape (d,)."""
        strays = np.array([feature.role == "stray" for feature in self.metadata])
        return np.where(wandering(self.metadata) | strays, _BEYOND_WANDERING, 0.0).astype(np.float32)

    @property
    def _core_column(self) -> int | None:
        return next((i for i, feature in enumerate(self.metadata) if feature.name == "core_x_px"), None)

    def group_rarities(self, deviations: Deviations) -> NDArray[np.float32]:
        """The rarities of the groups of features of n bins, shape (n, groups)."""
        lost = self._lost_share(deviations, slice(None))
        counts = explain(deviations.z, lost, deviations.after_gap, self.metadata).factor
        return self.tails.groups_of(self.tails.rarities(deviations.z), counts)

    def _lost_share(self, deviations: Deviations, some: slice) -> NDArray[np.float32]:
        return lost_share(deviations.z[some], deviations.values[some], deviations.spread[some], self.metadata)

    def _teaching_reach(self) -> NDArray[np.float32]:
        """How far below and above its level, in spreads, a feature lies in a bin that teaches; shape (2, d).

        What follows the water, or is harmless, teaches wherever it lies.
        """
        free = water_sides(self.metadata) | harmless_sides(self.metadata)
        return np.where(free, np.inf, self.tails.usual_reach(_TEACHES_SHARE)).astype(np.float32)


#: Where what the water does not explain is that rare by itself, it is no affair of the water's.
_SURE = 3.0


def held(rarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rarities of bins that are worth a look and no more, shape (n,): below that of a bad bin, in the same order."""
    beyond = np.maximum(rarity - _HELD_FROM, 0.0)
    return np.where(beyond > 0, _HELD_FROM + (HELD_TO - _HELD_FROM) * beyond / (beyond + _HELD_HALF_WAY), rarity)
