"""Naming the class of images, and saying of those of no known class that they are unknown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.boosted_trees import BoostedTrees
from ifcb_flow_pipeline.detection.images.classifier_card import ClassifierCard
from ifcb_flow_pipeline.detection.images.oddness import Known, Oddness, known_images

#: What an image of no known class is called, as the ecosystem's class tables have it.
UNCLASSIFIED: Final = "unclassified"

#: What images are told apart by: their features, or the numbers of the ready network.
Basis = Literal["features", "embedding"]
BASES: Final[tuple[Basis, ...]] = ("features", "embedding")

#: A share of votes of 0 has no logarithm.
_LEAST_SHARE = 1e-3
_LEAST_PROBABILITY = 1e-6


class Scorer(Protocol):
    """Rows, shape (n, d), to logarithms of the odds of each class but for a constant a row, shape (n, classes)."""

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]: ...  # noqa: D102 - said above


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Logistic regression: ``weights`` (d, classes), ``intercepts`` (classes,)."""

    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the odds of each class."""
        return rows @ self.weights + self.intercepts


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """A forest: the margins of its trees are shares of votes."""

    trees: BoostedTrees

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the odds of each class."""
        return np.log(np.maximum(self.trees.margins(rows), _LEAST_SHARE))


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The mean probability of several scorers."""

    scorers: tuple[Scorer, ...]

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the odds of each class."""
        mean = np.mean([probabilities(scorer.margins(rows), 1.0) for scorer in self.scorers], axis=0)
        return np.log(np.maximum(mean, _LEAST_PROBABILITY))


def probabilities(margins: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Probability of each class, shape (n, classes), each row summing to 1; a higher temperature makes them milder."""
    scaled = margins / temperature
    odds = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """What a classifier says of n images.

    ``probability``: of each of ``classes``, shape (n, classes), NaN where an image has no features. ``best``: the most
    probable class, empty there; ``name``: the same, but UNCLASSIFIED where the image is of no known class, by its
    ``oddness``, higher is odder. Shape (n,) each. ``basis``: what it goes by.
    """

    basis: Basis
    classes: tuple[str, ...]
    probability: NDArray[np.float64]
    best: NDArray[np.str_]
    name: NDArray[np.str_]
    oddness: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ClassModel:
    """A classifier that goes by one basis. ``method``: its kind, such as ``boosting``; ``temperature``: what margins
    are divided by for calibrated probabilities; ``oddness``: by this basis; ``unknown_threshold``: of the oddness by
    all bases up to this one, beyond which an image is of no known class.
    """

    basis: Basis
    method: str
    scorer: Scorer
    temperature: float
    oddness: Oddness
    unknown_threshold: float

    def probability(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each class, shape (n, classes), of images by their ``values``, shape (n, .), of the basis; NaN
        where an image has none.
        """
        rows = self.oddness.scaler.transform(values)
        whole: NDArray[np.bool_] = np.all(np.isfinite(rows), axis=1)
        found = np.full((len(rows), len(self.oddness.class_names)), np.nan)
        if whole.any():
            found[whole] = probabilities(self.scorer.margins(rows[whole]), self.temperature)
        return found


#: What the network's oddness counts beside that of the features, which is a sum of two.
_WEIGHT: Final[Mapping[Basis, float]] = {"features": 1.0, "embedding": 2.0}


def joint_oddness(by_basis: Mapping[Basis, NDArray[np.float64]]) -> NDArray[np.float64]:
    """The oddness of images, (n,), by what each basis says of it: strange to the network, or to the features."""
    return np.sum([_WEIGHT[basis] * found for basis, found in by_basis.items()], axis=0)


@dataclass(frozen=True, slots=True)
class ImageClassifier:
    """A classifier by the features, and, where it was trained with the ready network, one by its numbers."""

    card: ClassifierCard
    models: Mapping[Basis, ClassModel]

    def choose(self, has_network: bool) -> ClassModel:
        """The model by the network's numbers where there are both, else that by the features."""
        return self.models["embedding" if has_network and "embedding" in self.models else "features"]

    def judge(self, values: Mapping[Basis, NDArray[np.float64]]) -> ClassScores:
        """Judge images by their ``features``, shape (n, .), and by their ``embedding`` where it is given.

        Classes are told by the best basis there is, what is unknown by all of them.
        """
        model = self.choose("embedding" in values)
        used: list[Basis] = [basis for basis in BASES if basis in self.models and basis in values]
        found = model.probability(values[model.basis])
        classes = model.oddness.class_names
        whole = ~np.isnan(found[:, 0])
        best = np.where(whole, np.array(classes)[np.argmax(np.nan_to_num(found), axis=1)], "")
        oddness = joint_oddness({basis: self.models[basis].oddness.score(values[basis])[0] for basis in used})
        with np.errstate(invalid="ignore"):
            unknown = oddness > model.unknown_threshold
        return ClassScores(model.basis, classes, found, best, np.where(unknown, UNCLASSIFIED, best), oddness)

    def nearest(self, values: Mapping[Basis, NDArray[np.float64]]) -> list[list[Known]]:
        """The five known images that each image is most like, nearest first, by the best basis there is; none where an
        image has no features.
        """
        model = self.choose("embedding" in values)
        return known_images(model.oddness, values[model.basis])
