"""Faults that no bin shows alone: windows of bins that differ, all in the same way, from those before and after.

A loss of focus, heat or a leak begins with bins that lie within what is usual, each of them. Their mean does not:
it scatters less than a bin, and the days' own ups and downs are in the bins around it, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.natural_variability import explain
from ifcb_flow_pipeline.detection.flow.tails import TailDetector

#: Bins in a window, and those before and those after it that it is set against.
LENGTHS, _AROUND = (4, 8), 8

#: A bin that is as surprising alone as a bad one, as -log10, is told by itself: it is in no window, and beside none.
ODD_ALONE = 2.0

#: A bin says no more than so many spreads; and no spread of means is smaller than this, in spreads of single bins.
_MOST_Z, _LEAST_SPREAD = 4.0, 0.4

#: A window lies as far from what is around as from the mean of both sides, but no more than so many times the nearer.
_ONE_SIDED = 1.5

#: Windows without any feature this many spreads out tell nothing.
_LEAST_Z = 2.8

#: A bin is part of a window where it goes at least so much of the window's way.
_PART = 0.6

#: Two quantiles of distances from zero that tell a spread, and what they are for a normal distribution.
_QUANTILES, _QUANTILES_SD = (0.683, 0.9), (1.0, 1.645)

#: So many windows of healthy bins are needed to know how they scatter.
_MIN_WINDOWS = 50

#: Rarer windows than this may be those of faults that no bin shows alone, in training too.
_RAREST = 0.05

#: What the rarity of a window must exceed: it is a second chance to be odd, in some window out of many.
COSTS = 1.5

#: Smaller rarities are none.
_LEAST = 0.5


#: What is known of windows, whatever bin is part of them.
_OF_WINDOWS = ("n_bins", "z", "level", "spread", "lost")


@dataclass(frozen=True, slots=True)
class NeighbourEvidence:
    """The most surprising window that each of n bins is part of.

    ``rarity`` (n,): how surprising that is, as -log10 of a tail probability; 0 where there is none. ``place`` (n,):
    the row of what follows, -1 where there is none. ``n_bins`` (k,): bins in the window; ``z`` (k, d): how far its
    mean lies from the bins around it, in spreads of such means; ``level``, ``spread`` (k, d): where these bins lie, and
    that spread, both in spreads of single bins; ``lost`` (k,): by how much more of the triggers are without an image.
    """

    rarity: NDArray[np.float64]
    place: NDArray[np.int64]
    n_bins: NDArray[np.int64]
    z: NDArray[np.float32]
    level: NDArray[np.float32]
    spread: NDArray[np.float32]
    lost: NDArray[np.float32]

    @classmethod
    def nothing(cls, n: int, d: int) -> "NeighbourEvidence":
        """That of n bins none of which is part of anything."""
        none = np.zeros((0, d), dtype=np.float32)
        return cls(np.zeros(n), np.full(n, -1), np.zeros(0, dtype=np.int64), none, none, none, none[:, 0])

    def of(self, rows: NDArray[np.int64] | slice) -> "NeighbourEvidence":
        """Those of some of the bins, in this order."""
        place = self.place[rows]
        kept = place[place >= 0]
        found = np.full(len(place), -1)
        found[place >= 0] = np.arange(len(kept))
        rest = (getattr(self, name)[kept] for name in _OF_WINDOWS)
        return NeighbourEvidence(self.rarity[rows], found, *rest)

    def or_worse(self, other: "NeighbourEvidence") -> "NeighbourEvidence":
        """The more surprising of two windows of each bin."""
        worse = other.rarity > self.rarity
        both = NeighbourEvidence.joined([self, other])
        return both.of(np.arange(len(worse)) + np.where(worse, len(worse), 0))

    @classmethod
    def joined(cls, parts: Sequence["NeighbourEvidence"]) -> "NeighbourEvidence":
        """Those of bins in several parts, one after the other."""
        before = np.cumsum([0, *(len(part.n_bins) for part in parts)])
        place = [np.where(part.place >= 0, part.place + n, -1) for part, n in zip(parts, before, strict=False)]
        rest = (np.concatenate([getattr(part, name) for part in parts]) for name in _OF_WINDOWS)
        return cls(np.concatenate([part.rarity for part in parts]), np.concatenate(place), *rest)


@dataclass(frozen=True, slots=True)
class Series:
    """n bins of one instrument in the order of time: what windows are looked for in.

    ``z`` (n, d): deviations from the local baseline, no larger than one bin may say, 0 where unknown; ``lost`` (n,):
    see ``lost_share``; ``deployment`` (n,): their numbers, ascending.
    """

    z: NDArray[np.float32]
    lost: NDArray[np.float32]
    deployment: NDArray[np.int64]

    @classmethod
    def of(cls, z: NDArray[np.float32], lost: NDArray[np.float32], deployment: NDArray[np.int64]) -> "Series":
        """Those of deviations as they are, NaN where unknown."""
        return cls(np.clip(np.where(np.isnan(z), np.float32(0.0), z), -_MOST_Z, _MOST_Z), lost, deployment)

    def only(self, which: NDArray[np.bool_]) -> "Series":
        """Those of the bins that are wanted."""
        return Series(self.z[which], self.lost[which], self.deployment[which])


@dataclass(frozen=True, slots=True)
class _Windows:
    """w windows of one length.

    ``first`` (w,): the place of their first bin; ``contrast`` (w, d): of their mean from the bins around, whose mean is
    ``level`` (w, d); ``lost`` (w,): so much larger is the share of triggers without an image than around.
    """

    length: int
    first: NDArray[np.int64]
    contrast: NDArray[np.float32]
    level: NDArray[np.float32]
    lost: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Found:
    """Windows with a deviating mean, w of them, and p bins of a sequence that are part of them.

    ``raw_score``, ``n_bins``, ``lost`` (w,); ``z``, ``level``, ``spread`` (w, d) as in NeighbourEvidence; ``bins``,
    ``window`` (p,): the place of each of these bins in the sequence, and the number of its window.
    """

    raw_score: NDArray[np.float64]
    n_bins: NDArray[np.int64]
    z: NDArray[np.float32]
    level: NDArray[np.float32]
    spread: NDArray[np.float32]
    lost: NDArray[np.float32]
    bins: NDArray[np.int64]
    window: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: Sequence["_Found"]) -> "_Found":
        before = np.cumsum([0, *(len(part.raw_score) for part in parts)])
        window = np.concatenate([part.window + n for part, n in zip(parts, before, strict=False)])
        raw_score, n_bins, z, level, spread, lost, bins = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("raw_score", "n_bins", "z", "level", "spread", "lost", "bins")
        )
        return cls(raw_score, n_bins, z, level, spread, lost, bins, window)


@dataclass(eq=False)
class NeighbourDetector:
    """How odd windows of bins are that are in order alone.

    ``metadata``: of the d features. Learned from healthy bins of one instrument: ``spread_`` (lengths, d), how far the
    means of windows lie from the bins around, in spreads of single bins; ``tails`` and ``scale``: of these means, and
    of the worst one that each bin is part of.
    """

    metadata: tuple[FeatureMetadata, ...] = ()
    spread_: NDArray[np.float32] = field(init=False)
    tails: TailDetector = field(init=False)
    scale: RarityScale = field(init=False)

    def __post_init__(self) -> None:
        self.tails, self.scale = TailDetector(self.metadata), RarityScale(_RAREST)

    def fit(self, series: Series) -> Self:
        """Learn from bins all of which are healthy."""
        found = _windows(series)
        self.spread_ = np.array([_spreads(windows.contrast) for windows in found], dtype=np.float32)
        z = np.concatenate([windows.contrast / spread for windows, spread in zip(found, self.spread_, strict=True)])
        lost = np.concatenate([windows.lost for windows in found])
        if len(z) < _MIN_WINDOWS:
            # How windows scatter is not known: none is odd.
            self.spread_[:], z = np.inf, np.zeros((1, len(self.metadata)), dtype=np.float32)
            lost = np.zeros(1, dtype=np.float32)
        self.tails.fit(z, self._factor(z, lost))
        raw_score, _, _ = self._worst(series)
        self.scale.fit(raw_score if len(raw_score) else np.zeros(1))
        return self

    def look(self, series: Series, in_order: NDArray[np.bool_]) -> NeighbourEvidence:
        """The most surprising window of each bin; ``in_order`` (n,): those that can be part of one."""
        worst, found, its = self._worst(series.only(in_order))
        rarity, window = np.zeros(len(in_order)), np.full(len(in_order), -1)
        rarity[in_order] = np.where(its >= 0, np.maximum(self.scale.rarity(worst) - COSTS, 0.0), 0.0)
        window[in_order] = its
        rarity[rarity < _LEAST] = 0.0
        kept = np.flatnonzero(rarity)
        place = np.full(len(rarity), -1)
        place[kept] = np.arange(len(kept))
        its = window[kept]
        n_bins, z, level, spread, lost = (getattr(found, name)[its] for name in _OF_WINDOWS)
        return NeighbourEvidence(rarity, place, n_bins, z, level, spread, lost)

    def _worst(self, sequence: Series) -> tuple[NDArray[np.float64], _Found, NDArray[np.int64]]:
        """How bad the worst window of each bin is, shape (n,), all windows, and which of them it is (-1: none)."""
        found = _Found.joined([
            self._found(spread, windows, sequence)
            for spread, windows in zip(self.spread_, _windows(sequence, self.spread_), strict=True)
        ])  # fmt: skip
        nothing = self.tails.raw_score(np.zeros((1, len(self.tails.groups)), dtype=np.float32))
        raw_score, window = np.full(len(sequence.z), nothing), np.full(len(sequence.z), -1)
        # The worst one of a bin is written last.
        order = np.argsort(found.raw_score[found.window], kind="stable")
        bins, its = found.bins[order], found.window[order]
        raw_score[bins], window[bins] = found.raw_score[its], its
        return raw_score, found, window

    def _found(self, spread: NDArray[np.float32], windows: _Windows, sequence: Series) -> _Found:
        """What windows of one length tell, and the bins that are part of them; ``spread`` (d,): of their means."""
        from ifcb_flow_pipeline.detection.flow.window_kernel import members

        z = np.divide(windows.contrast, spread, dtype=np.float32)
        factor = self._factor(z, windows.lost)
        rarities = self.tails.rarities(z)
        raw_score = self.tails.raw_score(self.tails.groups_of(rarities, factor))
        way = self.tails.ways(z, rarities, factor)
        enough = _PART * (windows.contrast * way).sum(axis=1)
        bins, its = members(sequence.z, windows.first, windows.length, windows.level, way, enough)
        n_bins = np.full(len(z), windows.length)
        return _Found(raw_score, n_bins, z, windows.level, np.broadcast_to(spread, z.shape), windows.lost, bins, its)

    def _factor(self, z: NDArray[np.float32], lost: NDArray[np.float32]) -> NDArray[np.float32]:
        """What counts of the means of windows: never what follows the water, which wanders for hours, too."""
        return explain(z, lost, np.zeros(len(z), dtype=bool), self.metadata).fault_factor


def _windows(sequence: Series, spreads: NDArray[np.float32] | None = None) -> list[_Windows]:
    """All windows of bins that follow one another in a deployment, with enough bins before and after; by length.

    ``spreads`` (lengths, d): of their means; where they are given, only windows that tell anything.
    """
    from ifcb_flow_pipeline.detection.flow.window_kernel import moving_means, odd_windows

    values = np.column_stack([sequence.z, sequence.lost])
    means = {n: moving_means(values, n) for n in {*LENGTHS, _AROUND}}
    d = sequence.z.shape[1]
    found = []
    for number, length in enumerate(LENGTHS):
        spread, least = (np.ones(d, np.float32), 0.0) if spreads is None else (spreads[number], _LEAST_Z)
        first, contrast, level = odd_windows(
            means[length],
            means[_AROUND],
            sequence.deployment,
            (length, _AROUND),
            _ONE_SIDED,
            spread,
            np.float32(least),
        )
        far, near = (np.ascontiguousarray(part[:, :-1]) for part in (contrast, level))
        found.append(_Windows(length, first, far, near, contrast[:, -1]))
    return found


def _spreads(contrast: NDArray[np.float32]) -> NDArray[np.float32]:
    """Robust standard deviations of contrasts (w, d) around zero, shape (d,)."""
    if not len(contrast):
        return np.full(contrast.shape[1], np.inf, dtype=np.float32)
    inner, outer = np.quantile(np.abs(contrast), _QUANTILES, axis=0)
    return np.maximum(np.sqrt(inner * outer / np.prod(_QUANTILES_SD)), _LEAST_SPREAD).astype(np.float32)
