"""How good a ranking of bins is, with confidence intervals, and what verdicts and causes are worth.

Everything takes the bins of one archive at a time: scores of archives with models of their own do not compare.
Badness is higher for worse bins; -inf stands for no score, which finds nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.schedule import ASIDE, FAULT, PLAIN, Truth

BANDS = (("mild", 0.0, 0.4), ("medium", 0.4, 0.7), ("gross", 0.7, 1.01))
REPEATS = 300

Badness = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval; ``n`` is the number of bins or episodes that it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})" if self.n else "-"


@dataclass(frozen=True, slots=True, eq=False)
class Truths:
    """The truth about the bins of an archive as arrays of shape (n,), in the order of the scores."""

    pid: NDArray
    instrument: NDArray
    name: NDArray
    severity: NDArray[np.float64]
    kind: NDArray
    episode: NDArray[np.int64]
    place: NDArray[np.int64]

    @classmethod
    def of(cls, truths: Sequence[Truth]) -> "Truths":
        """The arrays of these truths."""
        slots = [truth.slot for truth in truths]
        return cls(
            pid=np.array([truth.pid for truth in truths]),
            instrument=np.array([truth.instrument for truth in truths]),
            name=np.array([slot.name for slot in slots]),
            severity=np.array([slot.severity for slot in slots]),
            kind=np.array([slot.kind for slot in slots]),
            episode=np.array([slot.episode for slot in slots]),
            place=np.array([slot.place for slot in slots]),
        )

    def of_rows(self, rows: NDArray) -> "Truths":
        """The truths of some rows (mask or numbers)."""
        return Truths(*(getattr(self, name)[rows] for name in self.__slots__))

    @property
    def is_fault(self) -> NDArray[np.bool_]:
        """Faulty bins, shape (n,)."""
        return self.kind == FAULT

    @property
    def is_healthy(self) -> NDArray[np.bool_]:
        """Bins without a fault, unusual ones included, calibration beads not, shape (n,)."""
        return (self.kind != FAULT) & (self.kind != ASIDE)


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """What a detector made of one archive: badness and truths of the same n bins."""

    badness: Badness
    truths: Truths


def ranking_metrics(rankings: Sequence[Ranking]) -> dict[str, Estimate]:
    """AUROC, average precision, and recall at 1 % and 0.1 % false alarms, over all archives.

    The archives' AUROC and average precision are averaged by their numbers of faults. Intervals: bootstrap of
    episodes (the bins of one resemble each other) and of healthy bins.
    """
    rng = np.random.default_rng(0)
    sums = np.zeros((len(_NAMES), REPEATS + 1))
    n_faults = np.zeros(REPEATS + 1)
    for ranking in rankings:
        weights = _weights(rng, ranking.truths)
        faults = (weights * ranking.truths.is_fault).sum(axis=1)
        sums += _weighted_metrics(ranking, weights) * faults
        n_faults += faults
    values = sums / np.maximum(n_faults, 1)
    return {name: _estimate(row, int(n_faults[0])) for name, row in zip(_NAMES, values, strict=True)}


def _estimate(row: NDArray[np.float64], n: int) -> Estimate:
    low, high = np.quantile(row[1:], (0.025, 0.975)).tolist()
    return Estimate(float(row[0]), low, high, n)


_NAMES = ("auroc", "average_precision", "recall_1", "recall_01", "recall_1_plain")


def _weights(rng: np.random.Generator, truths: Truths) -> NDArray[np.float64]:
    """How often each bin is drawn, shape (REPEATS + 1, n): once each in the first row, then bootstrapped."""
    n = len(truths.kind)
    weights = np.ones((REPEATS + 1, n))
    for group, members in ((truths.is_fault, truths.episode), (~truths.is_fault, np.arange(n))):
        clusters, cluster_of = np.unique(members[group], return_inverse=True)
        if len(clusters):
            shares = np.full(len(clusters), 1 / len(clusters))
            weights[1:, group] = rng.multinomial(len(clusters), shares, REPEATS)[:, cluster_of]
    return weights


def _weighted_metrics(ranking: Ranking, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The metrics of ``_NAMES`` for each row of weights (m, n), shape (5, m)."""
    order = np.argsort(-ranking.badness, kind="stable")
    sorted_badness = ranking.badness[order]
    # Bins of the same badness are found together.
    starts = np.flatnonzero(np.append(True, sorted_badness[1:] != sorted_badness[:-1]))
    has_score = np.isfinite(sorted_badness[starts]) | (sorted_badness[starts] > 0)

    def found(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        counts = np.add.reduceat((weights * chosen)[:, order], starts, axis=1)
        return np.cumsum(counts, axis=1)

    truths = ranking.truths
    hits, alarms, plain = found(truths.is_fault), found(truths.is_healthy), found(truths.kind == PLAIN)
    recall = hits / np.maximum(hits[:, -1:], 1e-9)
    before = np.pad(recall, ((0, 0), (1, 0)))[:, :-1]
    precision = hits / np.maximum(hits + alarms, 1e-9)
    false_rate = alarms / np.maximum(alarms[:, -1:], 1e-9)
    false_before = np.pad(false_rate, ((0, 0), (1, 0)))[:, :-1]
    plain_rate = plain / np.maximum(plain[:, -1:], 1e-9)

    def recall_at(rate: NDArray[np.float64], allowed: float) -> NDArray[np.float64]:
        return np.max(np.where((rate <= allowed) & has_score, recall, 0), axis=1)

    return np.stack(
        [
            ((false_rate - false_before) * (recall + before) / 2).sum(axis=1),
            ((recall - before) * precision).sum(axis=1),
            recall_at(false_rate, 0.01),
            recall_at(false_rate, 0.001),
            recall_at(plain_rate, 0.01),
        ]
    )


def found_faults(ranking: Ranking, allowed: float = 0.01) -> NDArray[np.bool_]:
    """Bins above the threshold that lets the share ``allowed`` of the healthy bins pass as bad, shape (n,)."""
    healthy = np.sort(ranking.badness[ranking.truths.is_healthy])[::-1]
    if not len(healthy):
        return ranking.badness > -np.inf
    threshold = healthy[min(int(allowed * len(healthy)), len(healthy) - 1)]
    return ranking.badness > threshold


def share(hits: NDArray[np.bool_]) -> Estimate:
    """The share of hits with Wilson's interval."""
    n, z = len(hits), 1.96
    if not n:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    p = float(np.mean(hits))
    middle, spread = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Estimate(p, float((middle - spread) / (1 + z * z / n)), float((middle + spread) / (1 + z * z / n)), n)


def recall_by_fault(rankings: Sequence[Ranking]) -> dict[str, dict[str, Estimate]]:
    """Share of each fault found at 1 % false alarms, over all severities and per band."""
    found = np.concatenate([found_faults(ranking) for ranking in rankings])
    name = np.concatenate([ranking.truths.name for ranking in rankings])
    severity = np.concatenate([ranking.truths.severity for ranking in rankings])
    is_fault = np.concatenate([ranking.truths.is_fault for ranking in rankings])
    rows = {}
    for fault in ["all", *np.unique(name[is_fault]).tolist()]:
        chosen = is_fault & ((name == fault) | (fault == "all"))
        rows[fault] = {"all": share(found[chosen])}
        for band, low, high in BANDS:
            rows[fault][band] = share(found[chosen & (severity >= low) & (severity < high)])
    return rows


def onsets(truths: Truths, first_of_episode: NDArray[np.int64], least: int = 3) -> tuple[list[int], int]:
    """By how many bins the onsets of true episodes (``least`` bins or more) were missed, and how many were not found.

    ``first_of_episode``: shape (n,), for each bin in an episode that was found, the number of its first bin, else -1.
    """
    errors, missed = [], 0
    for episode in np.unique(truths.episode[truths.is_fault]).tolist():
        rows = np.flatnonzero(truths.is_fault & (truths.episode == episode))
        if len(rows) < least:
            continue
        firsts = first_of_episode[rows]
        if (firsts < 0).all():
            missed += 1
            continue
        errors.append(int(firsts[firsts >= 0][0] - rows[0]))
    return errors, missed
