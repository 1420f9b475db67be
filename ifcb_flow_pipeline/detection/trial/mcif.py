"""Isolation forests as estimators: one for all bins, or one for each class of them.

After the multi-class isolation forest of astromcad (Gupta, Muthukrishna and Lochner 2025, RASTI 4, rzae054):
there the score is that of the class that an object fits best, as its class is not known. Where the class is
known - a bin's instrument - that would hide a bin that looks like another instrument's: its own class counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.detection.reference.model import rows_per_tree

#: Rows per tree, as ForestSettings has them.
Amount = int | float | Literal["auto"]

#: Standard deviations beyond which a forest cannot tell two rows apart anyway.
_FAR = 30.0


@dataclass(eq=False)
class IsolationForest:
    """An isolation forest over rows of shape (n, d); NaN counts as 0, the usual of standardised features.

    ``score_samples`` gives the score of the original paper, in (-1, 0): lower is more anomalous.
    """

    n_estimators: int = 100
    max_samples: Amount = 256
    random_state: int = 42
    max_features: int | float = 1.0
    forest_: Forest = field(init=False)

    def fit(self, matrix: NDArray) -> Self:
        """Grow the trees on at least one row."""
        from sklearn.ensemble import IsolationForest as Grower

        grower = Grower(
            n_estimators=self.n_estimators,
            max_samples=rows_per_tree(self.max_samples, len(matrix)),
            max_features=self.max_features,
            random_state=self.random_state,
        )
        self.forest_ = Forest.from_sklearn(grower.fit(filled(matrix)))
        return self

    def score_samples(self, matrix: NDArray) -> NDArray[np.float64]:
        """The score of each row, shape (n,): lower is more anomalous."""
        return self.forest_.score_samples(filled(matrix))


@dataclass(eq=False)
class MultiClassIsolationForest:
    """One isolation forest per class, with scores that mean the same in all of them.

    ``fit(X, y)`` takes rows (n, d) and their classes (n,). A class of fewer than ``min_class_size`` rows gets
    no forest: its rows are judged by the forest over all rows. ``calibrate``: "ecdf" makes each class's scores
    log10 of the share of its training rows that score as low (continued beyond them), None leaves them raw.
    ``reduce``: "own" judges a row by its class, and where that is not given or not known by the class that it
    fits best; "best" does so always.

    Learned: ``classes_``, the classes with a forest, in order; ``forests_`` and ``scales_``, one for each and
    at last those over all rows.
    """

    reduce: Literal["own", "best"] = "own"
    calibrate: Literal["ecdf"] | None = "ecdf"
    min_class_size: int = 100
    n_estimators: int = 100
    max_samples: Amount = 256
    random_state: int = 42
    max_features: int | float = 1.0
    classes_: tuple[str, ...] = field(init=False)
    small_classes_: tuple[str, ...] = field(init=False)
    forests_: list[IsolationForest] = field(init=False)
    scales_: list[RarityScale] = field(init=False)

    def fit(self, matrix: NDArray, y: Sequence[str]) -> Self:
        """Grow the forests on at least one row."""
        labels = np.asarray(y, dtype=object)
        sizes: Mapping[str, int] = {name: int((labels == name).sum()) for name in sorted(set(labels.tolist()))}
        self.classes_ = tuple(name for name, size in sizes.items() if size >= self.min_class_size)
        self.small_classes_ = tuple(name for name, size in sizes.items() if size < self.min_class_size)
        parts = [matrix[labels == name] for name in self.classes_]
        self.forests_ = [self._grown(part) for part in (*parts, matrix)]
        scores = [forest.score_samples(part) for forest, part in zip(self.forests_, (*parts, matrix), strict=True)]
        self.scales_ = [RarityScale().fit(-values) for values in scores]
        return self

    def score_discrete(self, matrix: NDArray) -> NDArray[np.float64]:
        """The score of each row in each of ``classes_``, shape (n, classes): lower is more anomalous."""
        found = [self._score(number, matrix) for number in range(len(self.classes_))]
        return np.column_stack(found) if found else np.zeros((len(matrix), 0))

    def score_samples(self, matrix: NDArray, y: Sequence[str] | None = None) -> NDArray[np.float64]:
        """The score of each row, shape (n,), by ``reduce``: lower is more anomalous.

        A row of a class that was too small for a forest is scored by that over all rows, as all are where no
        class was large enough.
        """
        discrete = self.score_discrete(matrix)
        if not self.classes_:
            return self._score(-1, matrix)
        best = discrete.max(axis=1)
        if self.reduce == "best" or y is None:
            return best
        place = {name: number for number, name in enumerate(self.classes_)}
        own = np.array([place.get(name, -1) for name in y])
        score = np.where(own >= 0, discrete[np.arange(len(matrix)), own], best)
        small = np.isin(np.asarray(y, dtype=object).astype(str), self.small_classes_)
        if small.any():
            score[small] = self._score(-1, matrix[small])
        return score

    def _grown(self, part: NDArray) -> IsolationForest:
        return IsolationForest(self.n_estimators, self.max_samples, self.random_state, self.max_features).fit(part)

    def _score(self, number: int, matrix: NDArray) -> NDArray[np.float64]:
        raw = self.forests_[number].score_samples(matrix)
        return raw if self.calibrate is None else -self.scales_[number].rarity(-raw)


def filled(matrix: NDArray) -> NDArray[np.float64]:
    """Rows as a forest takes them: finite, NaN as 0."""
    return np.clip(np.nan_to_num(np.asarray(matrix, dtype=np.float64)), -_FAR, _FAR)
