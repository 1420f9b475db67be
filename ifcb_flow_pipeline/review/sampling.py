"""Which bins a blind study shows, and in which order each reviewer sees them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Stratum = Literal["top", "near threshold", "random"]
STRATA: tuple[Stratum, ...] = ("top", "near threshold", "random")

#: At least this share of the items is shown a second time, unannounced.
REPEAT_SHARE = 0.1

#: Fewer bins say nothing about agreement.
MIN_BINS = 10


@dataclass(frozen=True, slots=True)
class Drawn:
    """A bin of the sample. ``row``: its row of the population. ``weight``: bins of the population that it stands for.

    ``repeat_of``: the place in the sample of the first showing; None for a first showing.
    """

    row: int
    stratum: Stratum
    weight: float
    repeat_of: int | None = None


def draw(severity: ArrayLike, threshold: ArrayLike, n_bins: int, seed: int) -> list[Drawn]:
    """Draw bins for a study: a third each of the worst, of those next to the threshold, and of all others at random.

    ``severity``, ``threshold``: of the population, shape (n,), without NaN; at least MIN_BINS. Fewer bins than asked
    for are all taken. A tenth of them, rounded up, come twice. The same values and seed give the same sample.
    """
    severities, thresholds = np.asarray(severity, dtype=float), np.asarray(threshold, dtype=float)
    if len(severities) < MIN_BINS or n_bins < MIN_BINS:
        raise ValueError(f"a study needs at least {MIN_BINS} bins")
    rng = np.random.default_rng(seed)
    n_bins = min(n_bins, len(severities))
    # Equal severities are ordered by chance: bins of one day are no better known than others.
    shuffled = rng.permutation(len(severities))
    top = shuffled[np.argsort(-severities[shuffled], kind="stable")][: n_bins // 3]
    rest = np.setdiff1d(shuffled, top, assume_unique=True)
    rest = rest[np.argsort(np.abs(severities - thresholds)[rest], kind="stable")]
    near = rest[: n_bins // 3]
    others = rest[n_bins // 3 :]
    random = rng.choice(others, n_bins - len(top) - len(near), replace=False)
    drawn = [*_of(top, "top", 1.0), *_of(near, "near threshold", 1.0)]
    drawn += _of(random, "random", len(others) / max(len(random), 1))
    again = rng.choice(len(drawn), int(np.ceil(REPEAT_SHARE * len(drawn))), replace=False)
    return drawn + [Drawn(drawn[i].row, drawn[i].stratum, 0.0, int(i)) for i in np.sort(again)]


def order_for(reviewer: str, items: Sequence[int]) -> list[int]:
    """The items in the order in which this reviewer sees them: the same every time, another for everyone else."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{reviewer}\0{item}".encode()).digest())


def _of(rows: NDArray[np.intp], stratum: Stratum, weight: float) -> list[Drawn]:
    return [Drawn(int(row), stratum, weight) for row in rows]
