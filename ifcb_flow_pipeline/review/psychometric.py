"""The psychometric curve of a study: how often people call bins bad, by the severity that the model gave them.

Where the curve rises, people and the model draw the line in different places, or people do not agree with each other.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.review.agreement import Rate, wilson
from ifcb_flow_pipeline.store.studies import Item, Rating

#: Ends of the steps of severity.
STEPS = (0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)

#: Fewer answers say nothing about where the line is.
MIN_ANSWERS = 20

#: What keeps a curve finite where answers are parted cleanly: a weak pull of its slope towards 0.
_PENALTY = 0.05


@dataclass(frozen=True, slots=True)
class Step:
    """Answers about bins of a severity from ``low`` to ``high``. ``bad``: the share that called them bad, of those that
    called them good or bad; ``mark``: the mean of the ratings from 0 to 100, NaN where there are none.
    """

    low: float
    high: float
    bad: Rate
    mark: float


@dataclass(frozen=True, slots=True, eq=False)
class Psychometric:
    """``steps``: those with answers, lowest first. ``line``: the severity from which more than half of the answers are
    bad, by a logistic curve; NaN where there are too few answers, or none of one kind. ``slope``: of the curve, in log
    odds for ten of severity; the steeper, the more clearly people see what the model sees.
    """

    steps: tuple[Step, ...]
    line: float
    slope: float

    def share(self, severity: NDArray[np.float64]) -> NDArray[np.float64]:
        """The curve: the share of bad answers at severities, NaN where there is none."""
        return 1 / (1 + np.exp(-self.slope * (severity - self.line) / 10))


def psychometric(items: Sequence[Item], ratings: Sequence[Rating]) -> Psychometric:
    """The curve of all blind answers; unsure ones count in none, but their ratings do."""
    severity = {item.id: item.severity for item in items if math.isfinite(item.severity)}
    blind = [one for one in ratings if one.round == "blind" and one.item in severity]
    steps = []
    for low, high in pairwise(STEPS):
        mine = [one for one in blind if low <= severity[one.item] < high or severity[one.item] == high == STEPS[-1]]
        decided = [one for one in mine if one.decision != "unsure"]
        marks = [one.mark for one in mine if one.mark is not None]
        if decided or marks:
            bad = wilson(sum(one.decision == "bad" for one in decided), len(decided))
            steps.append(Step(low, high, bad, float(np.mean(marks)) if marks else math.nan))
    decided = [one for one in blind if one.decision != "unsure"]
    line, slope = _logistic(
        np.array([severity[one.item] for one in decided]), np.array([one.decision == "bad" for one in decided])
    )
    return Psychometric(tuple(steps), line, slope)


def _logistic(severity: NDArray[np.float64], bad: NDArray[np.bool_]) -> tuple[float, float]:
    """Where a logistic curve crosses one half, and its slope for ten of severity."""
    if len(bad) < MIN_ANSWERS or bad.all() or not bad.any():
        return math.nan, math.nan
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1 / _PENALTY).fit(severity[:, None] / 10, bad)
    slope, at_zero = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    # A curve that falls has no line above which bins are bad.
    return (-10 * at_zero / slope, slope) if slope > 0 else (math.nan, slope)
