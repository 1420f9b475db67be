"""Detectors of odd images that need no names of faults, side by side: on features, on embeddings, on latent numbers.

``oddness`` is the product's; these are compared with it. Each takes standardised rows, shape (n, d), and the class of
each, and gives a score of rows, (n,), higher is odder.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.oddness import ClassGaussians, ClassSpace, Neighbours
from ifcb_flow_pipeline.detection.trial.latent import LatentForest, LatentSpace
from ifcb_flow_pipeline.detection.trial.mcif import IsolationForest, MultiClassIsolationForest

_Rows = NDArray[np.float64]
Score = Callable[[_Rows], _Rows]

#: Trees of each forest.
_TREES = 200

#: A class with fewer images gets no forest of its own.
_MIN_CLASS = 30


def _forest(rows: _Rows, classes: Sequence[str]) -> Score:  # noqa: ARG001 - all take both
    grown = IsolationForest(n_estimators=_TREES).fit(rows)
    return lambda new: -grown.score_samples(new)


def _class_forests(rows: _Rows, classes: Sequence[str]) -> Score:
    grown = MultiClassIsolationForest("best", None, _MIN_CLASS, n_estimators=_TREES).fit(rows, classes)
    return lambda new: -grown.score_samples(new)


def _latent_forests(rows: _Rows, classes: Sequence[str]) -> Score:
    forests = MultiClassIsolationForest("best", None, _MIN_CLASS, n_estimators=_TREES)
    grown = LatentForest(LatentSpace(hidden=(64, 16)), forests).fit(rows, classes)
    return lambda new: -grown.score_samples(new)


def _pooled(rows: _Rows, classes: Sequence[str]) -> Score:
    return ClassGaussians().fit(rows, ["all"] * len(classes)).score


def _by_class(rows: _Rows, classes: Sequence[str]) -> Score:
    return ClassGaussians().fit(rows, classes).score


def _neighbours(rows: _Rows, classes: Sequence[str]) -> Score:  # noqa: ARG001
    return Neighbours().fit(rows).score


def _class_space(rows: _Rows, classes: Sequence[str]) -> Score:
    if len(set(classes)) < 2:
        return _neighbours(rows, classes)
    space = ClassSpace().fit(rows, classes)
    near = Neighbours().fit(space.transform(rows))
    return lambda new: near.score(space.transform(new))


#: Name to what is fitted.
LIGHT_DETECTORS: Final[Mapping[str, Callable[[_Rows, Sequence[str]], Score]]] = {
    "Isolation Forest": _forest,
    "MCIF": _class_forests,
    "MCIF in a classifier's latent space": _latent_forests,
    "Mahalanobis": _pooled,
    "class Mahalanobis": _by_class,
    "kNN 5": _neighbours,
    "LDA space + kNN 5": _class_space,
}
