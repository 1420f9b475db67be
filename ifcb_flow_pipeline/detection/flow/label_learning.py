"""What people's decisions teach: a threshold for each instrument, how good the verdicts are, and the ranking.

All of it is measured by cross-validation or on bins that had no part in it where that is possible, and left
alone where there are too few decisions to learn from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM

#: So many good and so many bad decisions teach a threshold of an instrument, and a ranking of all.
MIN_FOR_THRESHOLD, MIN_FOR_RANKING = 10, 20

#: A learnt threshold stays within these severities: what is plainly rare stays bad, what is usual ok.
_LOWEST, _HIGHEST = 35.0, 85.0

#: How far, in powers of ten of a tail probability, the ranking may move a bin.
_MOST_SHIFT = 0.6


def learnt_thresholds(
    severity: NDArray[np.float64], is_bad: NDArray[np.bool_], instrument: NDArray[np.object_]
) -> dict[str, float]:
    """For each instrument with enough decisions of either kind, the severity that parts them best.

    Arrays of shape (n,), of labelled bins. Best: the fewest wrong of both kinds in shares, and of equal ones
    the nearest to BAD_FROM, half-way between two bins.
    """
    found = {}
    for name in sorted(set(instrument.tolist())):
        own = instrument == name
        good, bad = np.sort(severity[own & ~is_bad]), np.sort(severity[own & is_bad])
        if min(len(good), len(bad)) < MIN_FOR_THRESHOLD:
            continue
        steps = np.unique(np.concatenate((good, bad, [_LOWEST, BAD_FROM, _HIGHEST])))
        candidates = np.concatenate((steps, (steps[1:] + steps[:-1]) / 2))
        candidates = candidates[(candidates >= _LOWEST) & (candidates <= _HIGHEST)]
        missed = np.searchsorted(bad, candidates, side="left") / len(bad)
        alarms = 1.0 - np.searchsorted(good, candidates, side="left") / len(good)
        wrong = missed + alarms
        best = candidates[wrong <= wrong.min() + 1e-12]
        found[name] = float(best[np.argmin(np.abs(best - BAD_FROM))])
    return found


def label_metrics(called_bad: NDArray[np.bool_], is_bad: NDArray[np.bool_]) -> dict[str, Any]:
    """Precision and recall of verdicts against decisions, both of shape (n,); None where there is nothing to count."""
    hits = int((called_bad & is_bad).sum())
    n_called, n_bad = int(called_bad.sum()), int(is_bad.sum())
    return {
        "n_good": int((~is_bad).sum()),
        "n_bad": n_bad,
        "precision": hits / n_called if n_called else None,
        "recall": hits / n_bad if n_bad else None,
    }


@dataclass(eq=False)
class LabelRanker:
    """A logistic regression on the rarities of feature groups: which of them people call bad.

    ``fit(groups, is_bad)`` takes rarities of shape (n, groups), 0 or more, and decisions (n,). ``shift`` gives
    how far bins move, in powers of ten: at most _MOST_SHIFT, and not at all where nothing is surprising.

    Learned: ``weights_`` (groups,), ``bias_`` ().
    """

    penalty: float = 1.0
    weights_: NDArray[np.float64] = field(init=False)
    bias_: NDArray[np.float64] = field(init=False)

    @classmethod
    def untaught(cls, n_groups: int) -> Self:
        """One that moves no bin."""
        ranker = cls()
        ranker.weights_, ranker.bias_ = np.zeros(n_groups), np.array(0.0)
        return ranker

    def fit(self, groups: NDArray, is_bad: NDArray[np.bool_]) -> Self:
        """Learn from at least one good and one bad bin."""
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression(C=self.penalty, class_weight="balanced", max_iter=1000).fit(_capped(groups), is_bad)
        self.weights_, self.bias_ = fitted.coef_[0].astype(float), np.array(float(fitted.intercept_[0]))
        return self

    def shift(self, groups: NDArray) -> NDArray[np.float64]:
        """How far rows of rarities (n, groups) move, shape (n,): up where people tend to call them bad."""
        if not self.weights_.any():
            return np.zeros(len(groups))
        values = _capped(groups)
        leaning = np.tanh((values @ self.weights_ + self.bias_) / 2.0)
        # A bin in which nothing is unusual stays where it is.
        return _MOST_SHIFT * leaning * np.minimum(values.max(axis=1, initial=0.0), 1.0)


def held_out_shifts(
    groups: NDArray, is_bad: NDArray[np.bool_], random_seed: int, folds: int = 5
) -> NDArray[np.float64]:
    """What rankers that have not seen a bin move it by, shape (n,)."""
    order = np.random.default_rng(random_seed).permutation(len(is_bad))
    # Both kinds in turn, so that every fold has some of each.
    order = order[np.argsort(is_bad[order], kind="stable")]
    found = np.zeros(len(is_bad))
    for fold in range(folds):
        held = order[fold::folds]
        others = np.setdiff1d(order, held)
        found[held] = LabelRanker().fit(groups[others], is_bad[others]).shift(groups[held])
    return found


def decisions_of(pids: list[str], labels: Mapping[str, str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which bins people called good or bad, and which bad; ``unsure`` counts as neither. Shapes (n,)."""
    said = [labels.get(pid, "") for pid in pids]
    is_bad = np.array([word == "bad" for word in said], dtype=bool)
    return is_bad | np.array([word == "good" for word in said], dtype=bool), is_bad


def _capped(groups: NDArray) -> NDArray[np.float64]:
    return np.minimum(np.asarray(groups, dtype=np.float64), 4.0)
