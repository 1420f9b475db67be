"""Champion and challenger: a new model against the one in use, on the same bins.

A challenger is worse where it finds less of what was planted, calls many more bins bad, or contradicts people more
often. Ranks and verdicts that merely differ are reported, and are for people to judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

#: A challenger may find this much less of the planted faults: as much differs by chance between equal models.
MAX_LOST_SHARE = 0.05

#: The same for a single kind of fault, of which there are fewer bins.
MAX_LOST_SHARE_OF_A_FAULT = 0.3

#: Fewer bins with a planted fault decide nothing.
MIN_PLANTED = 10

#: Share of the bins that the champion does not call bad which the challenger may: it may find what was missed, and
#: more than 6 % of an archive is rarely at fault.
MAX_NEW_ALARMS = 0.1

#: Fewer labelled bins of a kind decide nothing.
MIN_LABELS = 5


class Judge(Protocol):
    """A model, of which only its verdicts matter here."""

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:
        """BinTable of ``bin_scores`` in the order of ``features``."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """The same share, from 0 to 1, of ``n`` bins, for both models."""

    n: int
    champion: float
    challenger: float

    @property
    def lost(self) -> float:
        """By how much the challenger's share is smaller."""
        return self.champion - self.challenger


@dataclass(frozen=True, slots=True)
class ChangedVerdict:
    """A bin of which the models think differently; a severity is NaN where the model did not judge it."""

    pid: str
    champion: str
    challenger: str
    champion_severity: float
    challenger_severity: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two models make of the same bins.

    ``rank_agreement``: Spearman's correlation of their anomaly scores, NaN with fewer than three bins. ``changed``:
    the bins with different verdicts, largest difference in severity first. ``planted``: by fault, the share called
    bad. ``not_judged``: the share that has no verdict. ``alarms``: the share called bad of the bins that the champion
    judges and does not call bad and no person did, so that the champion's is 0. ``labelled_bad`` and
    ``labelled_good``: the shares called bad of the bins that people decided about. ``worse``: in words, why the
    challenger is worse; empty where it is not.
    """

    n_bins: int
    rank_agreement: float
    changed: tuple[ChangedVerdict, ...]
    planted: Mapping[str, Pair]
    not_judged: Pair
    alarms: Pair
    labelled_bad: Pair
    labelled_good: Pair
    worse: tuple[str, ...]


def compare_models(
    champion: Judge,
    challenger: Judge,
    features: pa.Table,
    planted: Mapping[str, pa.Table],
    labels: Mapping[str, str],
) -> Comparison:
    """Judge the rows of ``bin_features`` in ``features`` by both models.

    ``planted``: by fault, rows of ``bin_features`` of healthy bins into which it was planted. ``labels``: by pid,
    what people decided: good, bad or unsure.
    """
    verdicts = [model.judge(features) for model in (champion, challenger)]
    bad, not_judged = ([_called(scores, name) for scores in verdicts] for name in ("bad", "not_judged"))
    pids = features["pid"].to_pylist()
    decided = np.array([labels.get(pid, "") for pid in pids], dtype=object)
    found = {fault: _pair(*(_called(model.judge(rows), "bad") for model in (champion, challenger)))
             for fault, rows in planted.items()}  # fmt: skip
    quiet = ~bad[0] & ~not_judged[0] & (decided != "bad")
    comparison = {
        "n_bins": len(pids),
        "rank_agreement": _rank_agreement(*(_numbers(each, "anomaly_score") for each in verdicts)),
        "changed": _changed(pids, *verdicts),
        "planted": found,
        "not_judged": _pair(*not_judged),
        "alarms": _pair(*(of_model[quiet] for of_model in bad)),
        "labelled_bad": _pair(*(of_model[decided == "bad"] for of_model in bad)),
        "labelled_good": _pair(*(of_model[decided == "good"] for of_model in bad)),
    }
    return Comparison(**comparison, worse=_worse(**comparison))


def healthy_rows(features: pa.Table, scores: pa.Table, labels: Mapping[str, str], most: int) -> pa.Table:
    """BinTable of ``features`` to inject faults into: up to ``most``, evenly spread, with features, called ok in
    ``scores`` (in the same order) and bad by nobody.
    """
    ok = np.array([
        status == "ok" and verdict == "ok" and labels.get(pid) != "bad"
        for status, verdict, pid in zip(
            features["status"].to_pylist(), scores["verdict"].to_pylist(), features["pid"].to_pylist(), strict=True)
    ], dtype=bool)  # fmt: skip
    rows = np.flatnonzero(ok)
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int))] if rows.size else rows
    return features.take(pa.array(chosen, type=pa.int64()))


def _worse(
    planted: Mapping[str, Pair], alarms: Pair, labelled_bad: Pair, labelled_good: Pair, **_: Any
) -> tuple[str, ...]:
    reasons = []
    planted = {fault: pair for fault, pair in planted.items() if pair.n >= MIN_PLANTED}
    n = sum(pair.n for pair in planted.values())
    lost = sum(pair.lost * pair.n for pair in planted.values()) / max(n, 1)
    if lost > MAX_LOST_SHARE:
        reasons.append(f"finds {lost:.0%} fewer of the planted faults")
    reasons += [
        f"finds {pair.challenger:.0%} of planted {fault}, the active model {pair.champion:.0%}"
        for fault, pair in planted.items()
        if pair.lost > MAX_LOST_SHARE_OF_A_FAULT
    ]
    if alarms.challenger > MAX_NEW_ALARMS:
        reasons.append(f"calls {alarms.challenger:.0%} of the bins bad that the active model does not")
    if labelled_bad.n >= MIN_LABELS and labelled_bad.lost > MAX_LOST_SHARE:
        reasons.append(f"finds {labelled_bad.lost:.0%} fewer of the {labelled_bad.n} bins that people called bad")
    if labelled_good.n >= MIN_LABELS and -labelled_good.lost > MAX_LOST_SHARE:
        reasons.append(
            f"calls bad {-labelled_good.lost:.0%} more of the {labelled_good.n} bins that people called good"
        )
    return tuple(reasons)


def _numbers(scores: pa.Table, name: str) -> NDArray[np.float64]:
    # A table without rows has columns without a type.
    return scores[name].cast(pa.float64()).to_numpy()


def _called(scores: pa.Table, verdict: str) -> NDArray[np.bool_]:
    return np.array([each == verdict for each in scores["verdict"].to_pylist()], dtype=bool)


def _pair(champion: NDArray[np.bool_], challenger: NDArray[np.bool_]) -> Pair:
    n = len(champion)
    return Pair(n, float(champion.mean()), float(challenger.mean())) if n else Pair(0, 0.0, 0.0)


def _changed(pids: list[str], champion: pa.Table, challenger: pa.Table) -> tuple[ChangedVerdict, ...]:
    columns = (
        pids,
        champion["verdict"].to_pylist(),
        challenger["verdict"].to_pylist(),
        _numbers(champion, "severity").tolist(),
        _numbers(challenger, "severity").tolist(),
    )
    changed = [ChangedVerdict(*row) for row in zip(*columns, strict=True) if row[1] != row[2]]
    return tuple(sorted(changed, key=lambda c: (-_difference(c), c.pid)))


def _difference(changed: ChangedVerdict) -> float:
    # No verdict counts as no severity: a bad bin that the other model does not judge stands above an ok one.
    champion, challenger = np.nan_to_num([changed.champion_severity, changed.challenger_severity])
    return abs(float(champion - challenger))


def _rank_agreement(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    from scipy.stats import rankdata  # takes long to load

    both = np.isfinite(one) & np.isfinite(other)
    ranks = [rankdata(values[both]) for values in (one, other)]
    if both.sum() < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return float("nan")
    return float(np.corrcoef(*ranks)[0, 1])
