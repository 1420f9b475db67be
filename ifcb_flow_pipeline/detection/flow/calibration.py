"""What a score means: how rare it is among healthy bins."""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

#: Shares of healthy bins with a higher score at which the scale is held to what was seen.
_SHARES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)

#: Beyond what was seen a power of ten more costs as much score as it did before, within these limits.
_SLOPES = (0.2, 2.0)

#: By so many standard errors of a share the scale is on the safe side.
_SAFE_SDS = 0.5

#: So many bins must be rarer than a share for it to be read off.
_ENOUGH = 3


@dataclass(eq=False)
class RarityScale:
    """-log10 of the share of healthy bins with a score as bad or worse.

    ``fit(raw_score)`` takes scores of healthy bins, shape (n,), HIGHER is worse. ``rarest``: the smallest share that is
    held to what was seen; what is rarer may not be of healthy bins alone. Learned: ``raw_score_`` and
    ``rarity_`` (k,), ascending, between which is interpolated, and ``slope_`` (), with which it goes on.
    """

    rarest: float = 0.01
    raw_score_: NDArray[np.float64] = field(init=False)
    rarity_: NDArray[np.float64] = field(init=False)
    slope_: NDArray[np.float64] = field(init=False)

    def fit(self, raw_score: NDArray[np.float64]) -> Self:
        """Learn the scale from at least one score."""
        shares = np.array([share for share in _SHARES if share >= self._least_share(len(raw_score))])
        # Few bins know a rare share badly: the scale is held to one that is surely not rarer.
        uncertain = _SAFE_SDS * np.sqrt(shares * (1.0 - shares) / len(raw_score))
        at = np.quantile(raw_score, 1.0 - (shares - uncertain))
        # Equal quantiles would make the scale ambiguous.
        self.raw_score_ = np.asarray(np.maximum.accumulate(at) + 1e-9 * np.arange(len(at)), dtype=np.float64)
        self.rarity_ = -np.log10(shares)
        first = max(len(at) - 4, 0)
        rise, run = np.ptp(self.rarity_[first:]), np.ptp(self.raw_score_[first:])
        self.slope_ = np.array(np.clip(rise / max(run, 1e-9), *_SLOPES))
        return self

    def _least_share(self, n: int) -> float:
        return min(max(self.rarest, _ENOUGH / n), 0.3)

    def rarity(self, raw_score: NDArray[np.float64]) -> NDArray[np.float64]:
        """-log10 of the share that is as bad or worse: 0 or more, rising with the score, without an upper end."""
        within = np.interp(raw_score, self.raw_score_, self.rarity_)
        beyond = np.maximum(raw_score - self.raw_score_[-1], 0.0) * self.slope_
        below = np.exp(np.minimum(raw_score - self.raw_score_[0], 0.0))
        return (within + beyond) * below
