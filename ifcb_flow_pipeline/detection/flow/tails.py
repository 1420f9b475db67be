"""How far into the tails of what is usual a bin lies, feature by feature.

A forest asks how easily a bin is set apart by all features together; a fault that is plain in one feature is
diluted by forty normal ones. Here every feature has a tail of its own, and the plainest one counts.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata

#: Shares of one side of a feature's distribution from whose quantiles its tail is continued. Beyond the last,
#: a training set may be faulty: what lies there is extrapolated, never copied.
_SHARES = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)

#: So many of these are of bins that are healthy even in a bad training set, and how much farther than they let
#: expect the next one may lie.
_SURELY_HEALTHY, _STRETCH = 3, 1.4

#: The power of a tail: 1 is that of an exponential distribution, 1.4 nearly that of a normal one seen from here.
_POWERS = (0.7, 1.4)

#: Power and width, in standard deviations, of a tail of which few bins are known: between that of an exponential
#: distribution and that of a normal one (1.4, 0.87). The bins on a side that tell more, and how many weigh as much.
_PRIOR, _FEW, _PRIOR_BINS = (1.2, 0.87), 20, 40

#: No tail is narrower than this, in spreads: a spread may be held up by what counts as a difference at all.
_LEAST_WIDTH = 0.87

#: Beyond one in 10 to this power a feature's rarity grows with its logarithm only: no single one outweighs all.
MOST = 12.0

#: A group counts from about one in 10 to this power on; what is less rare than that adds nearly nothing.
_COUNTS_FROM = 1.8


#: So many of the bins are healthy even in a bad training set: a group's usual rarity is read off there.
_BULK = 0.8


@dataclass(eq=False)
class TailDetector:
    """Two-sided tail probabilities of standardised features, combined over groups of related ones.

    ``fit(z)`` and ``score_samples(z)`` take deviations of shape (n, d), NaN where unknown; a score is 0 or
    lower, and lower is more anomalous. ``metadata`` say which group (role) each of the d features is in.

    Learned: ``power_``, ``width_`` (2, d), of the tails below and above; ``offset_`` (groups,), the
    rarity that the bulk of the training bins stays below, over that of one feature alone.
    """

    metadata: tuple[FeatureMetadata, ...] = ()
    power_: NDArray[np.float32] = field(init=False)
    width_: NDArray[np.float32] = field(init=False)
    offset_: NDArray[np.float32] = field(init=False)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups' names in the order of the columns of ``groups_of``."""
        return tuple(dict.fromkeys(feature.role for feature in self.metadata))

    def fit(self, z: NDArray[np.float32], factor: NDArray[np.float32] | None = None) -> Self:
        """Learn the tails of the features and of their groups; ``factor``: see ``groups_of``."""
        sides = [_fit_tail(sign * z[:, column]) for sign in (-1, 1) for column in range(z.shape[1])]
        powers, widths = np.array(sides, dtype=np.float32).T.reshape(2, 2, -1)
        self.power_, self.width_ = powers, widths
        self.offset_ = np.zeros(len(self.groups), dtype=np.float32)
        largest = self.groups_of(self.rarities(z), np.ones_like(z) if factor is None else factor)
        self.offset_ = np.maximum(np.quantile(largest, _BULK, axis=0) + np.log10(1.0 - _BULK), 0.0).astype(np.float32)
        return self

    def rarities(self, z: NDArray[np.float32]) -> NDArray[np.float32]:
        """-log10 of each feature's two-sided tail probability, 0 where unknown; shape (n, d)."""
        from ifcb_flow_pipeline.detection.flow.tail_kernel import in_decades, relative

        distance, power = relative(_plain(z), self.width_, self.power_)
        rarity = np.power(distance, power, out=power)
        in_decades(rarity, MOST)
        return rarity

    def usual_reach(self, share: float) -> NDArray[np.float32]:
        """How far below and above the centre, in spreads, this share of healthy bins lies, shape (2, d)."""
        return (self.width_ * np.log(1.0 / share) ** (1.0 / self.power_)).astype(np.float32)

    def contributions(self, rarities: NDArray[np.float32]) -> NDArray[np.float32]:
        """What each feature adds to the score, shape (n, d), 0 or more: minus their sum is the score.

        Of each group it is the rarest feature that does, less what so many features give by chance.
        """
        from ifcb_flow_pipeline.detection.flow.tail_kernel import contributions

        return contributions(_plain(rarities), self._group, self.offset_, _COUNTS_FROM)

    def ways(
        self, z: NDArray[np.float32], rarities: NDArray[np.float32], factor: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Which way rows are odd, shape (n, d): what each feature adds to the score, negative below its centre.

        ``rarities`` (n, d): those of deviations ``z``, of which ``factor`` counts.
        """
        return np.copysign(self.contributions(rarities * factor), np.nan_to_num(z))

    def groups_of(self, rarities: NDArray[np.float32], factor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The largest rarity of each group, less what so many features give by chance; shape (n, groups).

        Related features count once, and of each only ``factor`` (n, d).
        """
        from ifcb_flow_pipeline.detection.flow.tail_kernel import largest

        return largest(_plain(rarities), _plain(factor), self._group, self.offset_)

    def raw_score(self, groups: NDArray[np.float32]) -> NDArray[np.float64]:
        """How bad rows with these rarities of groups are, shape (n,): minus the score."""
        from ifcb_flow_pipeline.detection.flow.tail_kernel import counted

        # Like max(rarity - from, 0), but without the corner: bins without anything rare are still in order.
        return counted(_plain(groups), _COUNTS_FROM).sum(axis=1).astype(np.float64)

    def score_samples(self, z: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score of each row, shape (n,): minus the sum of its groups' rarities; lower is more anomalous."""
        return -self.raw_score(self.groups_of(self.rarities(z), np.ones_like(z)))

    @property
    def _group(self) -> NDArray[np.int64]:
        """The number of each feature's group, shape (d,)."""
        groups = self.groups
        return np.array([groups.index(feature.role) for feature in self.metadata], dtype=np.int64)


def _plain(values: NDArray) -> NDArray[np.float32]:
    """The same as the kernels want it."""
    return np.ascontiguousarray(values, dtype=np.float32)


def _fit_tail(distance: NDArray) -> tuple[float, float]:
    """Power and width of exp(-(distance / width) ** power), the share of one side that lies farther out.

    ``distance``: shape (n,), positive on the side that is fitted; NaN where unknown.
    """
    # What lies at the centre belongs to both sides: where hardly any bin has a box at the edge, those that have some
    # are few of that side, and not its bulk.
    at_centre = int((distance == 0).sum()) // 2
    side = np.concatenate((distance[distance > 0], np.zeros(at_centre)))
    if len(side) < _FEW:
        return _PRIOR
    at, shares = np.quantile(side, _SHARES), np.array(_SHARES)
    n = int((at[:_SURELY_HEALTHY] > 0).sum())
    x, y = np.log(at[at > 0]), np.log(-np.log1p(-shares[at > 0]))
    # Where most bins have none of it, the few quantiles that are left tell how wide the tail is, not its power.
    powers = _POWERS if n == _SURELY_HEALTHY else (_PRIOR[0], _PRIOR[0])
    power, width = _line(x[:n], y[:n], powers) if n >= 2 else _PRIOR
    # Farther quantiles count as far as they go on like the inner ones: a fault in some percent of the bins does not.
    while n < len(x) and x[n] <= np.log(width) + y[n] / power + np.log(_STRETCH):
        n += 1
        power, width = _line(x[:n], y[:n], powers)
    known = len(side) / (len(side) + _PRIOR_BINS)
    power = known * power + (1.0 - known) * _PRIOR[0]
    width = width**known * _PRIOR[1] ** (1.0 - known)
    return power, max(width, _LEAST_WIDTH)


def _line(x: NDArray, y: NDArray, powers: tuple[float, float]) -> tuple[float, float]:
    """Power, within ``powers``, and width of a tail from logarithms of distances and of -log of the shares beyond."""
    slope = np.polyfit(x, y, 1)[0] if np.ptp(x) > 0 else _POWERS[1]
    power = float(np.clip(slope, *powers))
    # The outer quantiles matter for the tail: none of them lies beyond the curve.
    return power, float(np.exp(np.max((x - y / power)[-4:])))
