"""Detectors behind one interface: fit, score_samples, lower is more anomalous; and what classes are for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.tails import TailDetector
from ifcb_flow_pipeline.detection.trial.latent import LatentForest, LatentSpace
from ifcb_flow_pipeline.detection.trial.mcif import IsolationForest, MultiClassIsolationForest

D = 5
CLASSES = ("here", "there", "yonder")

DETECTORS: dict[str, Callable[[], Any]] = {
    "isolation forest": IsolationForest,
    "one forest per class": MultiClassIsolationForest,
    "forests of a latent space": LatentForest,
    "tails": lambda: TailDetector(tuple(FeatureMetadata(f"feature{i}", role=f"role{i}") for i in range(D))),
}


def clusters(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """So many rows of each class, whose centres lie apart, and their classes."""
    rng = np.random.default_rng(seed)
    centres = np.arange(len(CLASSES))[:, None] * np.array([6.0, -4.0, 0.0, 3.0, 0.0])
    rows = centres.repeat(n, axis=0) + rng.standard_normal((n * len(CLASSES), D))
    return rows, np.repeat(CLASSES, n)


def fitted(make: Callable[[], Any], rows: np.ndarray, classes: np.ndarray) -> Any:
    detector = make()
    with_classes = isinstance(detector, MultiClassIsolationForest | LatentForest)
    return detector.fit(rows, classes) if with_classes else detector.fit(rows)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_scores_what_is_far_from_all_lowest_and_rows_one_by_one(name: str):
    rows, classes = clusters(120)
    rows = rows - np.median(rows, axis=0)
    detector = fitted(DETECTORS[name], rows, classes)
    asked = np.vstack([rows[:50], np.full((1, D), 60.0), np.full((1, D), np.nan)])
    scores = detector.score_samples(asked)
    assert scores.shape == (52,)
    assert np.isfinite(scores).all()
    assert scores[:51].argmin() == 50
    assert detector.score_samples(asked[::-1])[::-1] == pytest.approx(scores)
    again = fitted(DETECTORS[name], rows, classes)
    assert again.score_samples(asked) == pytest.approx(scores)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    return float((np.sign(normal[:, None] - anomalous[None]) + 1).mean() / 2)


def test_a_row_in_the_place_of_another_class_is_found_only_by_its_own_forest():
    """Of an instrument whose core lies where that of another one is: astromcad's score of the best class is blind."""
    rows, classes = clusters(300)
    fresh, theirs = clusters(100, seed=1)
    swapped = np.roll(theirs, 100)
    forest = MultiClassIsolationForest().fit(rows, classes)
    assert auroc(forest.score_samples(fresh, theirs), forest.score_samples(fresh, swapped)) > 0.99
    assert auroc(forest.score_samples(fresh), forest.score_samples(fresh)) == 0.5
    best = MultiClassIsolationForest(reduce="best").fit(rows, classes)
    assert (best.score_samples(fresh, theirs) == best.score_samples(fresh, swapped)).all()


def test_scores_of_all_classes_are_given_in_their_order_and_mean_the_same():
    rows, classes = clusters(300)
    rows[:300] *= 0.1  # a class that is far narrower than the others
    forest = MultiClassIsolationForest().fit(rows, classes)
    discrete = forest.score_discrete(rows)
    assert forest.classes_ == CLASSES
    assert discrete.shape == (900, 3)
    for number, name in enumerate(CLASSES):
        own = discrete[classes == name, number]
        # -1: as rare as one in ten.
        assert np.mean(own < -1.0) == pytest.approx(0.1, abs=0.02)
    assert (discrete.argmax(axis=1) == np.repeat([0, 1, 2], 300)).mean() > 0.97


def test_a_class_that_is_too_small_for_a_forest_is_judged_by_that_over_all():
    rows, classes = clusters(150)
    classes = classes.copy()
    classes[:20] = "new"
    forest = MultiClassIsolationForest(min_class_size=100).fit(rows, classes)
    assert forest.small_classes_ == ("new",)
    assert forest.score_samples(rows[:5], ["new"] * 5) == pytest.approx(forest._score(-1, rows[:5]))
    none = MultiClassIsolationForest(min_class_size=1000).fit(rows, classes)
    assert none.classes_ == ()
    assert none.score_samples(rows[:5], ["here"] * 5) == pytest.approx(none._score(-1, rows[:5]))


def test_an_unknown_class_is_judged_by_the_one_that_fits_best():
    rows, classes = clusters(150)
    forest = MultiClassIsolationForest().fit(rows, classes)
    assert forest.score_samples(rows[:5], ["nowhere"] * 5) == pytest.approx(forest.score_discrete(rows[:5]).max(axis=1))


def test_scores_that_are_not_calibrated_are_those_of_the_forests():
    rows, classes = clusters(150)
    forest = MultiClassIsolationForest(calibrate=None).fit(rows, classes)
    assert ((forest.score_samples(rows) < 0) & (forest.score_samples(rows) > -1)).all()


def test_classes_lie_apart_in_the_latent_space():
    rows, classes = clusters(120)
    space = LatentSpace().fit(rows, classes).transform(rows)
    assert space.shape == (360, 12)
    assert (space >= 0).all()
    centres = np.array([space[classes == name].mean(axis=0) for name in CLASSES])
    nearest = np.linalg.norm(space[:, None] - centres[None], axis=2).argmin(axis=1)
    assert (nearest == np.repeat([0, 1, 2], 120)).mean() > 0.95


def test_without_two_classes_there_is_no_latent_space_and_the_rows_themselves_are_judged():
    rows, _ = clusters(120)
    one = ["here"] * len(rows)
    forest = LatentForest().fit(rows, one)
    assert not forest.is_latent_
    assert forest.score_samples(rows) == pytest.approx(MultiClassIsolationForest().fit(rows, one).score_samples(rows))


def test_forests_are_grown_as_those_of_scikit_learn_unless_told_otherwise():
    from sklearn.ensemble import IsolationForest as Theirs

    usual = Theirs()
    for ours in (IsolationForest(), MultiClassIsolationForest()):
        assert (ours.n_estimators, ours.max_features) == (usual.n_estimators, usual.max_features)
        assert ours.max_samples == 256  # scikit-learn's "auto"
