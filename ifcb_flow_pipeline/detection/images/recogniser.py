"""A recogniser of named faults of images: boosted trees trained on clean images and on planted faults."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.boosted_trees import BoostedTrees, grown_by

#: What an image without a fault is called; the first class of every recogniser.
CLEAN = "clean"


#: Share of images with a fault that probabilities are meant for. In training most images have one; without the change
#: of prior (Saerens et al. 2002) the mean probability over a bin is that of its clean images' variety.
FAULT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class GrowthSettings:
    """How trees are grown. ``clean_weight``: what a clean image counts beside a planted one; ``penalty``: on squared
    leaf values, without which the trees of rare faults run away.
    """

    rounds: int = 100
    leaves: int = 15
    learning_rate: float = 0.1
    min_images_per_leaf: int = 20
    penalty: float = 2.0
    clean_weight: float = 2.0
    random_seed: int = 0


class FaultRecogniser:
    """Probability of each named fault of an image.

    ``fit(rows, names)``: rows as ``levels.model_rows`` gives them, shape (n, len(MODEL_COLUMNS)), names of the faults,
    CLEAN for images without one. ``predict(rows)``: shape (n, len(kinds_)), each row summing to 1; the first column is
    CLEAN. Learned: ``kinds_``, ``trees_``.
    """

    def __init__(self, settings: GrowthSettings | None = None) -> None:
        self.settings = settings

    def fit(self, rows: NDArray[np.float64], names: Sequence[str]) -> "FaultRecogniser":
        """Grow the trees. Deterministic."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        settings = self.settings or GrowthSettings()
        self.kinds_ = (CLEAN, *(name for name in dict.fromkeys(names) if name != CLEAN))
        number = {name: i for i, name in enumerate(self.kinds_)}
        classes = np.array([number[name] for name in names])
        boosting: Any = HistGradientBoostingClassifier(
            learning_rate=settings.learning_rate,
            max_iter=settings.rounds,
            max_leaf_nodes=settings.leaves,
            min_samples_leaf=settings.min_images_per_leaf,
            l2_regularization=settings.penalty,
            random_state=settings.random_seed,
        )
        boosting.set_params(early_stopping=False)
        weight = np.where(classes == 0, settings.clean_weight, 1.0)
        boosting.fit(rows, classes, sample_weight=weight)
        trained_share = weight[classes != 0].sum() / weight.sum()
        self.trees_ = with_prior(grown_by(boosting), float(trained_share))
        return self

    @classmethod
    def of(cls, kinds: Sequence[str], trees: BoostedTrees) -> "FaultRecogniser":
        """A recogniser that was trained before."""
        found = cls()
        found.kinds_, found.trees_ = tuple(kinds), trees
        return found

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each of ``kinds_``, shape (n, len(kinds_)); NaN where an image has no features."""
        return np.where(np.isnan(rows[:, :1]), np.nan, self.trees_.probabilities(rows))

    def contributions(self, rows: NDArray[np.float64], kind: str) -> NDArray[np.float64]:
        """What each of MODEL_COLUMNS adds to the log odds of a fault against a clean image, shape
        (n, len(MODEL_COLUMNS) + 1); the last column is what an average image has. A row sums to its log odds.
        """
        return self.trees_.contributions(rows, self.kinds_.index(kind), self.kinds_.index(CLEAN))


def with_prior(trees: BoostedTrees, trained_share: float) -> BoostedTrees:
    """Trees whose probabilities are meant for images of which FAULT_SHARE have a fault, of trees that were grown where
    ``trained_share`` had one. The order of images by the probability of a fault stays, and so do the faults' names.
    """
    baseline = trees.baseline.copy()
    baseline[0] += np.log((1 - FAULT_SHARE) / FAULT_SHARE * trained_share / (1 - trained_share))
    return replace(trees, baseline=baseline)
