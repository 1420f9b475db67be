"""How well people and the model agree about bins: rates with intervals, kappa, consensus. Pure arithmetic.

A judgement is ``good``, ``bad`` or ``unsure``. Bad is the positive: a true positive is a bad bin called bad. Unsure is
no judgement: it counts in no rate, and is counted on its own.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Of the standard normal distribution, for intervals of 95 %.
_Z = 1.959963984540054

#: Below this share of equal judgements people do not agree about a bin.
CLEAR_MAJORITY = 0.7

_BOOTSTRAP_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of ``n`` cases with its 95 % interval; all NaN where there are none."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Judgements against the truth: each a number of bins. ``unsure`` are in none of the others."""

    true_bad: float
    false_bad: float
    true_good: float
    false_good: float
    unsure: int = 0

    @classmethod
    def of(cls, judged: Mapping[str, str], truth: Mapping[str, str]) -> "Confusion":
        """Compare what is judged of each bin with what is true of it; bins that only one of them has are left out."""
        return cls.weighted(judged, truth, {})

    @classmethod
    def weighted(cls, judged: Mapping[str, str], truth: Mapping[str, str], weights: Mapping[str, float]) -> "Confusion":
        """The same with each bin counted as often as ``weights`` says (once where it says nothing)."""
        counts: dict[tuple[str, str], float] = defaultdict(float)
        unsure = 0
        for bin_, is_ in truth.items():
            if is_ in ("good", "bad") and bin_ in judged:
                unsure += judged[bin_] not in ("good", "bad")
                counts[judged[bin_], is_] += weights.get(bin_, 1.0)
        return cls(counts["bad", "bad"], counts["bad", "good"], counts["good", "good"], counts["good", "bad"], unsure)

    @property
    def accuracy(self) -> Rate:
        """Share of bins judged as they are."""
        right = self.true_bad + self.true_good
        return wilson(right, right + self.false_bad + self.false_good)

    @property
    def true_positive_rate(self) -> Rate:
        """Share of the bad bins that are called bad."""
        return wilson(self.true_bad, self.true_bad + self.false_good)

    @property
    def false_positive_rate(self) -> Rate:
        """Share of the good bins that are called bad."""
        return wilson(self.false_bad, self.false_bad + self.true_good)


@dataclass(frozen=True, slots=True)
class Kappa:
    """Agreement beyond chance: 1 is full, 0 what chance gives. With a 95 % interval over ``n`` bins.

    NaN where there are no bins, or where both give the same single answer throughout.
    """

    value: float
    low: float
    high: float
    n: int


def wilson(hits: float, n: float) -> Rate:
    """The share ``hits / n`` with Wilson's score interval (Wilson 1927, J. Am. Stat. Assoc. 22:209)."""
    if n <= 0:
        return Rate(math.nan, math.nan, math.nan, 0)
    share = hits / n
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    # At both ends the interval closes exactly; rounding must not leave a gap.
    low, high = (0.0 if hits == 0 else centre - half), (1.0 if hits == n else centre + half)
    return Rate(share, low, high, round(n))


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Cohen's kappa of two lists of judgements about the same bins (Cohen 1960, Educ. Psychol. Meas. 20:37)."""
    names = sorted({*first, *second})
    place = {name: i for i, name in enumerate(names)}
    pairs = np.array([[place[a], place[b]] for a, b in zip(first, second, strict=True)], dtype=int).reshape(-1, 2)
    return _kappa(pairs, len(names))


def kappa_between(first: Mapping[str, str], second: Mapping[str, str], seed: int = 0) -> Kappa:
    """Kappa over the bins that both judged good or bad; the interval by drawing bins again and again."""
    shared = sorted(bin_ for bin_ in first.keys() & second.keys() if {first[bin_], second[bin_]} <= {"good", "bad"})
    pairs = np.array([[first[b] == "bad", second[b] == "bad"] for b in shared], dtype=int).reshape(-1, 2)
    value = _kappa(pairs, 2)
    if math.isnan(value):
        return Kappa(value, math.nan, math.nan, len(shared))
    rng = np.random.default_rng(seed)
    draws = rng.integers(len(pairs), size=(_BOOTSTRAP_ROUNDS, len(pairs)))
    values = [_kappa(pairs[draw], 2) for draw in draws]
    # A draw of bins that all got one answer says nothing.
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Kappa(value, float(low), float(high), len(shared))


def consensus(judgements: Iterable[Mapping[str, str]], settled: Mapping[str, str] | None = None) -> dict[str, str]:
    """What most people say of each bin, good or bad; where as many say the one as the other, the bin is left out.

    ``judgements``: one mapping of bins a person. ``settled``: what was agreed on when people looked again; it counts
    instead of the votes, and a bin that stayed unsure has no consensus.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for person in judgements:
        for bin_, judgement in person.items():
            if judgement in ("good", "bad"):
                votes[bin_][judgement] += 1
    found = {
        bin_: "bad" if count["bad"] > count["good"] else "good"
        for bin_, count in votes.items()
        if count["bad"] != count["good"]
    }
    found |= settled or {}
    return {bin_: judgement for bin_, judgement in found.items() if judgement in ("good", "bad")}


def disputed(judgements: Sequence[Mapping[str, str]], model: Mapping[str, str]) -> list[str]:
    """The bins to look at again, the most ambiguous first: less than CLEAR_MAJORITY agree, someone is unsure, or the
    model differs.
    """
    agreed = consensus(judgements)
    found: list[tuple[float, str]] = []
    for bin_ in sorted(set().union(*judgements)) if judgements else []:
        votes = [person[bin_] for person in judgements if bin_ in person]
        share = max(Counter(votes).values()) / len(votes)
        if share < CLEAR_MAJORITY or "unsure" in votes or agreed.get(bin_) != model.get(bin_, agreed.get(bin_)):
            found.append((share, bin_))
    return [bin_ for _, bin_ in sorted(found)]


def krippendorff_alpha(judgements: Sequence[Mapping[str, str]]) -> Kappa:
    """Krippendorff's alpha for names, of any number of people who need not have judged the same bins (Krippendorff
    2011, Computing Krippendorff's alpha-reliability). ``unsure`` is no judgement; ``n``: bins that at least two judged.
    The interval by drawing bins again and again.
    """
    votes = [
        (sum(one[bin_] == "good" for one in those), sum(one[bin_] == "bad" for one in those))
        for bin_ in sorted(set().union(*judgements) if judgements else ())
        if len(those := [one for one in judgements if one.get(bin_) in ("good", "bad")]) > 1
    ]
    counts = np.array(votes, dtype=float).reshape(-1, 2)
    value = _alpha(counts)
    if math.isnan(value):
        return Kappa(value, math.nan, math.nan, len(counts))
    rng = np.random.default_rng(0)
    values = [_alpha(counts[rng.integers(len(counts), size=len(counts))]) for _ in range(_BOOTSTRAP_ROUNDS)]
    low, high = np.nanquantile(values, (0.025, 0.975))
    return Kappa(value, float(low), float(high), len(counts))


def fleiss_kappa(judgements: Sequence[Mapping[str, str]]) -> Kappa:
    """Fleiss' kappa over the bins that all people judged good or bad (Fleiss 1971, Psychol. Bull. 76:378), without
    interval: that of Krippendorff's alpha says as much.
    """
    shared = set.intersection(*(set(one) for one in judgements)) if judgements else set()
    shared = {bin_ for bin_ in shared if all(one[bin_] in ("good", "bad") for one in judgements)}
    n = len(judgements)
    if n < 2 or not shared:
        return Kappa(math.nan, math.nan, math.nan, len(shared))
    bad = np.array([sum(one[bin_] == "bad" for one in judgements) for bin_ in sorted(shared)], dtype=float)
    agreeing = (bad * (bad - 1) + (n - bad) * (n - bad - 1)) / (n * (n - 1))
    share = bad.sum() / (n * len(bad))
    expected = share**2 + (1 - share) ** 2
    value = math.nan if expected == 1.0 else float((agreeing.mean() - expected) / (1 - expected))
    return Kappa(value, math.nan, math.nan, len(shared))


def by_cause(judgements: Mapping[str, str], causes: Mapping[str, str]) -> dict[str, Counter[str]]:
    """How often each judgement was given to the bins of each suspected cause, most frequent cause first."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for bin_, judgement in judgements.items():
        found[causes.get(bin_, "")][judgement] += 1
    return dict(sorted(found.items(), key=lambda entry: -entry[1].total()))


def _alpha(counts: np.ndarray) -> float:
    """``counts``: how many said good and how many bad of each bin, at least two together; shape (n, 2)."""
    if not len(counts):
        return math.nan
    m = counts.sum(axis=1)
    # Pairs of unlike judgements, observed within bins and expected from all of them.
    observed = float((counts[:, 0] * counts[:, 1] / (m - 1)).sum())
    total, (good, bad) = m.sum(), counts.sum(axis=0)
    expected = float(good * bad / (total - 1))
    return math.nan if expected == 0 else 1.0 - observed / expected


def _kappa(pairs: np.ndarray, n_names: int) -> float:
    """``pairs``: codes from 0 of both judgements, shape (n, 2)."""
    if not len(pairs):
        return math.nan
    observed = float(np.mean(pairs[:, 0] == pairs[:, 1]))
    shares = [np.bincount(pairs[:, side], minlength=n_names) / len(pairs) for side in (0, 1)]
    expected = float(shares[0] @ shares[1])
    return math.nan if expected == 1.0 else (observed - expected) / (1.0 - expected)
