"""The latent space of a classifier: what a small network looks at to tell classes apart, as plain arrays.

In it, classes that a forest would mix lie apart (Gupta, Muthukrishna and Lochner 2025). scikit-learn trains the
network; we keep its weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.trial.mcif import MultiClassIsolationForest, filled


@dataclass(eq=False)
class LatentSpace:
    """The activations of the last hidden layer of a network that was taught to tell classes apart.

    Learned: ``weights_`` and ``biases_`` of each hidden layer; the activation is that of rectified units.
    """

    hidden: tuple[int, ...] = (32, 12)
    max_iter: int = 200
    random_state: int = 42
    weights_: list[NDArray[np.float64]] = field(init=False)
    biases_: list[NDArray[np.float64]] = field(init=False)

    def fit(self, matrix: NDArray, y: Sequence[str]) -> Self:
        """Teach the network; ``y``: at least two classes."""
        import warnings

        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        network = MLPClassifier(
            hidden_layer_sizes=self.hidden, max_iter=self.max_iter, random_state=self.random_state, early_stopping=False
        )
        with warnings.catch_warnings():
            # The network need not be at its best: its forests judge, not its answer.
            warnings.simplefilter("ignore", ConvergenceWarning)
            network.fit(filled(matrix), np.asarray(y, dtype=str))
        self.weights_ = list(network.coefs_[:-1])
        self.biases_ = list(network.intercepts_[:-1])
        return self

    def transform(self, matrix: NDArray) -> NDArray[np.float64]:
        """The activations of rows (n, d), shape (n, last of ``hidden``), 0 or more."""
        values = filled(matrix)
        for weights, biases in zip(self.weights_, self.biases_, strict=True):
            values = np.maximum(values @ weights + biases, 0.0)
        return values


@dataclass(eq=False)
class LatentForest:
    """A multi-class isolation forest on the latent space; without two classes, on the rows themselves."""

    latent: LatentSpace = field(default_factory=LatentSpace)
    forest: MultiClassIsolationForest = field(default_factory=MultiClassIsolationForest)
    is_latent_: bool = field(init=False)

    def fit(self, matrix: NDArray, y: Sequence[str]) -> Self:
        """Teach the network and grow the forests."""
        self.is_latent_ = len(set(y)) > 1
        if self.is_latent_:
            self.latent.fit(matrix, y)
        self.forest.fit(self._space(matrix), y)
        return self

    def score_samples(self, matrix: NDArray, y: Sequence[str] | None = None) -> NDArray[np.float64]:
        """The score of each row, shape (n,): lower is more anomalous."""
        return self.forest.score_samples(self._space(matrix), y)

    def _space(self, matrix: NDArray) -> NDArray:
        return self.latent.transform(matrix) if self.is_latent_ else matrix
