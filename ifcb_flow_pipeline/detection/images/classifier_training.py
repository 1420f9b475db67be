"""Training a classifier of images: several ways are compared by bins held back, the best is calibrated and kept."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.boosted_trees import grown_by, votes_of
from ifcb_flow_pipeline.detection.images.classifier import (
    Basis,
    ClassModel,
    ImageClassifier,
    Linear,
    Mean,
    Scorer,
    Votes,
    joint_oddness,
    probabilities,
)
from ifcb_flow_pipeline.detection.images.classifier_card import ClassifierCard, ClassMetrics, Compared
from ifcb_flow_pipeline.detection.images.embedding import EmbeddingSpace
from ifcb_flow_pipeline.detection.images.oddness import Oddness, Scaler, Space
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.catalogue import NAMES

#: A class needs so many images, from so many bins: fewer cannot be held back in turn.
MIN_IMAGES: Final = 10
MIN_BINS: Final = 5

#: Share of the images of known classes that may be called unclassified.
UNKNOWN_SHARE: Final = 0.05

#: Parts of the bins that are held back in turn.
_FOLDS = 5

#: An instrument with fewer images says little about how a classifier does elsewhere.
_MIN_ELSEWHERE = 30

#: Steps of the probability that calibration is measured in.
_STEPS = 10

#: How far weights of logistic regression may go (C of scikit-learn), all copies of an image counting as one.
_FREEDOM = 0.8

_Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """n images of known classes: what they are and where from, and ``values`` of each basis, shape (n, copies, .),
    without NaN. The first copy is the image itself; others, mirrored say, teach a method that a class stays what it is.
    """

    values: Mapping[Basis, _Floats]
    names: NDArray[np.str_]
    pids: NDArray[np.str_]
    instruments: NDArray[np.str_]
    classes: NDArray[np.str_]

    def __getitem__(self, chosen: NDArray) -> "LabelledImages":
        parts = (self.names, self.pids, self.instruments, self.classes)
        values: dict[Basis, _Floats] = {basis: found[chosen] for basis, found in self.values.items()}
        return LabelledImages(values, *(part[chosen] for part in parts))


def train_classifier(
    images: LabelledImages,
    source: str,
    created: datetime,
    versions: Mapping[str, str],
    methods: Sequence[str] | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> ImageClassifier:
    """Compare methods on each basis there is, and keep the one of the lowest log-loss on bins held back.

    ``methods``: names in METHODS, all by default. ``progress`` is told what is tried. Deterministic.
    Raises ModelError where a class has too few images or bins, or there are fewer than two classes.
    """
    _check(images)
    models: dict[Basis, ClassModel] = {}
    compared: list[Compared] = []
    odd: dict[Basis, _Floats] = {}
    for basis in images.values:
        held = _held_back(images, basis, methods or tuple(METHODS), progress)
        odd[basis] = held.oddness
        threshold = float(np.quantile(joint_oddness(odd), 1 - UNKNOWN_SHARE))
        compared += _compared(images, basis, held)
        models[basis] = _kept(images, basis, held, threshold)
    digest = hashlib.sha256(b"".join(values.tobytes() for values in images.values.values())).hexdigest()[:8]
    card = ClassifierCard(
        model_id=f"classifier-{created:%Y%m%dT%H%M%SZ}-{digest}",
        created=created.isoformat(timespec="seconds"),
        source=source,
        feature_names=NAMES,
        classes=_counts(images.classes),
        instruments=_counts(images.instruments),
        chosen={basis: model.method for basis, model in models.items()},
        compared=tuple(compared),
        versions=dict(versions),
    )
    return ImageClassifier(card, models)


# Methods: rows, shape (n, copies, d), and numbers of the classes, (n,), to a scorer. Copies help logistic regression
# only: trees learn from them that images of one class are alike, which they are not.


def _boosting(rows: _Floats, codes: NDArray[np.intp]) -> Scorer:
    from sklearn.ensemble import HistGradientBoostingClassifier

    boosting: Any = HistGradientBoostingClassifier(
        max_iter=150, max_leaf_nodes=15, l2_regularization=2.0, random_state=0
    )
    boosting.set_params(early_stopping=False)
    return grown_by(boosting.fit(rows[:, 0], codes))


def _extra_trees(rows: _Floats, codes: NDArray[np.intp]) -> Scorer:
    from sklearn.ensemble import ExtraTreesClassifier

    return Votes(votes_of(ExtraTreesClassifier(100, min_samples_leaf=2, random_state=0).fit(rows[:, 0], codes)))


def _random_forest(rows: _Floats, codes: NDArray[np.intp]) -> Scorer:
    from sklearn.ensemble import RandomForestClassifier

    return Votes(votes_of(RandomForestClassifier(100, min_samples_leaf=2, random_state=0).fit(rows[:, 0], codes)))


def _logistic(rows: _Floats, codes: NDArray[np.intp]) -> Scorer:
    from sklearn.linear_model import LogisticRegression

    n_copies = rows.shape[1]
    found: Any = LogisticRegression(C=_FREEDOM / n_copies, max_iter=1000)
    found.fit(rows.reshape(-1, rows.shape[2]), np.repeat(codes, n_copies))
    weights, intercepts = found.coef_.T, found.intercept_
    if weights.shape[1] == 1:
        # With two classes, they are those of the second one.
        weights, intercepts = np.hstack([0 * weights, weights]), np.append(0.0, intercepts)
    return Linear(weights, intercepts)


def _both(rows: _Floats, codes: NDArray[np.intp]) -> Scorer:
    return Mean((_boosting(rows, codes), _logistic(rows, codes)))


METHODS: Final[Mapping[str, Callable[[_Floats, NDArray[np.intp]], Scorer]]] = {
    "boosting": _boosting,
    "extra_trees": _extra_trees,
    "random_forest": _random_forest,
    "logistic": _logistic,
    "boosting_and_logistic": _both,
}


def new_space(basis: Basis) -> Space:
    """An untaught space of a basis."""
    return Scaler() if basis == "features" else EmbeddingSpace()


# Measuring


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """Of each image by models that had not seen its bin: margins by method, shape (n, classes), and oddness, (n,)."""

    margins: Mapping[str, _Floats]
    oddness: _Floats
    codes: NDArray[np.intp]

    def metrics(self, method: str) -> ClassMetrics:
        return measured(probabilities(self.margins[method], self.temperature(method)), self.codes)

    def temperature(self, method: str) -> float:
        return temperature_of(self.margins[method], self.codes)

    def best(self) -> str:
        return min(self.margins, key=lambda method: self.metrics(method).log_loss)


def _held_back(
    images: LabelledImages, basis: Basis, methods: Sequence[str], progress: Callable[[str], object]
) -> _Held:
    names, codes = np.unique(images.classes, return_inverse=True)
    folds = _folds(images)
    margins = {method: np.empty((len(codes), len(names))) for method in methods}
    oddness = np.empty(len(codes))
    for fold in np.unique(folds):
        held = folds == fold
        progress(f"{basis}: bins held back, part {fold + 1} of {_FOLDS}")
        known = _known(images[~held], basis)
        new = images.values[basis][held, 0]
        oddness[held] = known.score(new)[0]
        for method in methods:
            scorer = _scorer(method, known.scaler, images[~held], basis, names)
            margins[method][held] = scorer.margins(known.scaler.transform(new))
    return _Held(margins, oddness, codes)


def measured(probability: _Floats, codes: NDArray[np.intp]) -> ClassMetrics:
    """How well n images are named: ``probability`` (n, classes), ``codes``: number of the true class (n,)."""
    from sklearn.metrics import f1_score

    called = probability.argmax(axis=1)
    true = probability[np.arange(len(codes)), codes]
    return ClassMetrics(
        n_images=len(codes),
        accuracy=round(float(np.mean(called == codes)), 4),
        macro_f1=round(float(f1_score(codes, called, average="macro")), 4),
        log_loss=round(float(-np.mean(np.log(np.maximum(true, 1e-9)))), 4),
        calibration_error=round(calibration_error(probability, codes), 4),
    )


def calibration_error(probability: _Floats, codes: NDArray[np.intp]) -> float:
    """Mean |probability of the class named - share named rightly|, over _STEPS steps of the probability."""
    sure = probability.max(axis=1)
    right = probability.argmax(axis=1) == codes
    step = np.minimum((sure * _STEPS).astype(int), _STEPS - 1)
    return float(sum(abs(np.sum((sure - right)[step == k])) for k in range(_STEPS)) / len(codes))


def temperature_of(margins: _Floats, codes: NDArray[np.intp]) -> float:
    """What margins, (n, classes), are divided by for the lowest log-loss (Guo et al. 2017)."""
    from scipy.optimize import minimize_scalar

    def loss(logarithm: float) -> float:
        true = probabilities(margins, float(np.exp(logarithm)))[np.arange(len(codes)), codes]
        return float(-np.mean(np.log(np.maximum(true, 1e-9))))

    found: Any = minimize_scalar(loss, bounds=(-2.5, 2.5), method="bounded")
    return float(np.exp(found.x))


def _compared(images: LabelledImages, basis: Basis, held: _Held) -> list[Compared]:
    n = len(np.unique(held.codes))
    found = []
    for method, margins in held.margins.items():
        confusion = np.zeros((n, n), int)
        np.add.at(confusion, (held.codes, margins.argmax(axis=1)), 1)
        other = elsewhere(images, basis, method, held.temperature(method))
        found.append(Compared(basis, method, held.metrics(method), other, tuple(map(tuple, confusion.tolist()))))
    return found


def elsewhere(images: LabelledImages, basis: Basis, method: str, temperature: float) -> dict[str, ClassMetrics]:
    """How well a classifier of the instrument with most images names those of each other one, in the classes that both
    have; empty where there is but one instrument.
    """
    instruments = _counts(images.instruments)
    home = max(instruments, key=lambda name: instruments[name])
    counts = _counts(images.classes[images.instruments == home])
    names = np.array([name for name, n in counts.items() if n >= MIN_IMAGES])
    others = [name for name, n in instruments.items() if name != home and n >= _MIN_ELSEWHERE]
    if len(names) < 2 or not others:
        return {}
    shared = images[np.isin(images.classes, names)]
    training = shared[shared.instruments == home]
    space = new_space(basis)
    space.fit(training.values[basis][:, 0])
    scorer = _scorer(method, space, training, basis, names)
    found = {}
    for name in others:
        mine = shared[shared.instruments == name]
        if len(mine.classes):
            margins = scorer.margins(space.transform(mine.values[basis][:, 0]))
            found[name] = measured(probabilities(margins, temperature), np.searchsorted(names, mine.classes))
    return found


# Fitting


def _kept(images: LabelledImages, basis: Basis, held: _Held, unknown_threshold: float) -> ClassModel:
    """The best method, fitted to all images; probabilities are those of bins held back."""
    method = held.best()
    known = _known(images, basis)
    scorer = _scorer(method, known.scaler, images, basis, np.unique(images.classes))
    return ClassModel(basis, method, scorer, held.temperature(method), known, unknown_threshold)


def _known(images: LabelledImages, basis: Basis) -> Oddness:
    return Oddness(new_space(basis), only_near=basis == "embedding").fit(
        images.values[basis][:, 0], images.classes.tolist(), images.names.tolist(), images.pids.tolist()
    )


def _scorer(method: str, space: Space, images: LabelledImages, basis: Basis, names: NDArray[np.str_]) -> Scorer:
    """A method taught the images, all copies of each; ``names``: of the classes, in order."""
    missing = np.setdiff1d(names, images.classes)
    if missing.size:
        raise ModelError(f"the images of the class {missing[0]} lie in too few bins to hold some back: add some")
    n_copies = images.values[basis].shape[1]
    rows = np.stack([space.transform(images.values[basis][:, copy]) for copy in range(n_copies)], axis=1)
    return METHODS[method](rows, np.searchsorted(names, images.classes))


def _folds(images: LabelledImages) -> NDArray[np.int64]:
    """A part for each image, the same for all of a bin, with all classes in each as far as bins allow."""
    from sklearn.model_selection import StratifiedGroupKFold

    parts = np.empty(len(images.pids), np.int64)
    splitter = StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    for number, (_, held) in enumerate(splitter.split(images.pids, images.classes, images.pids)):
        parts[held] = number
    return parts


def _check(images: LabelledImages) -> None:
    names = np.unique(images.classes)
    if len(names) < 2:
        raise ModelError(f"a classifier needs two classes at least, a folder for each, not {len(names)}")
    for name in names:
        mine = images.classes == name
        n_bins = len(np.unique(images.pids[mine]))
        if mine.sum() < MIN_IMAGES or n_bins < MIN_BINS:
            raise ModelError(
                f"the class {name} has {mine.sum()} images from {n_bins} bins; {MIN_IMAGES} from {MIN_BINS} are "
                "needed: add some, or take its folder out"
            )


def _counts(names: NDArray[np.str_]) -> dict[str, int]:
    different, counts = np.unique(names, return_counts=True)
    return dict(zip(different.tolist(), counts.tolist(), strict=True))
