"""Classifiers: methods as arrays, calibration, images of no known class, the file, and what is refused."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from ifcb_flow_pipeline.detection.images import classifier_file
from ifcb_flow_pipeline.detection.images.boosted_trees import grown_by, votes_of
from ifcb_flow_pipeline.detection.images.classifier import UNCLASSIFIED, ImageClassifier, probabilities
from ifcb_flow_pipeline.detection.images.classifier_training import (
    METHODS,
    LabelledImages,
    calibration_error,
    measured,
    temperature_of,
    train_classifier,
)
from ifcb_flow_pipeline.detection.images.embedding import N_NUMBERS
from ifcb_flow_pipeline.detection.images.oddness import Scaler
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.extract import features_of_images
from ifcb_flow_pipeline.image_classes import labelled_images

from .conftest import CREATED
from .particles import clean_images, rod, round_cell


class Numbers:
    """Stands in for the ready network: the features of an image, moved into N_NUMBERS numbers."""

    def embed(self, images):
        features = np.nan_to_num(features_of_images(images))
        mixed = np.tanh(features / 50) @ np.random.default_rng(0).normal(0, 1, (features.shape[1], N_NUMBERS))
        return np.where(np.isnan(features_of_images(images)[:, :1]), np.nan, mixed)


@pytest.fixture(scope="module")
def images():
    """Labelled drawn images of two instruments."""
    drawn = [*clean_images(90, seed=1), *clean_images(36, seed=2, instrument="IFCB901", background=160)]
    return labelled_images(drawn, Numbers())


@pytest.fixture(scope="module")
def classifier(images):
    return train_classifier(images, "drawn", CREATED, {}, ("logistic", "extra_trees"))


def rows_and_codes(n_classes):
    rng = np.random.default_rng(n_classes)
    codes = rng.integers(n_classes, size=200)
    return rng.normal(0, 1, (200, 5)) + codes[:, None], codes


@pytest.mark.parametrize("n_classes", [2, 4])
def test_boosted_trees_of_any_number_of_classes_say_what_scikit_learn_says(n_classes):
    rows, codes = rows_and_codes(n_classes)
    boosting = HistGradientBoostingClassifier(max_iter=8, random_state=0).fit(rows, codes)
    assert grown_by(boosting).probabilities(rows) == pytest.approx(boosting.predict_proba(rows), abs=1e-6)


def test_a_forests_votes_are_those_of_scikit_learn():
    rows, codes = rows_and_codes(3)
    forest = ExtraTreesClassifier(7, random_state=0).fit(rows.astype(np.float32), codes)
    assert votes_of(forest).margins(rows.astype(np.float32)) == pytest.approx(forest.predict_proba(rows), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_tells_the_drawn_classes_apart(images, method):
    features = images.values["features"]
    scaler = Scaler().fit(features[:, 0])
    rows = np.stack([scaler.transform(features[:, copy]) for copy in range(features.shape[1])], axis=1)
    names, codes = np.unique(images.classes, return_inverse=True)
    taught = np.arange(len(codes)) % 4 < 2
    margins = METHODS[method](rows[taught], codes[taught]).margins(rows[~taught, 0])
    assert margins.shape == (62, len(names))
    assert np.mean(margins.argmax(axis=1) == codes[~taught]) > 0.95


def test_the_card_has_both_bases_and_the_other_instrument(classifier):
    assert set(classifier.models) == {"features", "embedding"}
    assert len(classifier.card.compared) == 4
    for each in classifier.card.compared:
        assert each.elsewhere["IFCB901"].n_images == 36
        assert sum(map(sum, each.confusion)) == each.held_back.n_images == 126
        best = [one for one in classifier.card.compared if one.basis == each.basis]
        chosen = min(best, key=lambda one: one.held_back.log_loss)
        assert classifier.card.chosen[each.basis] == chosen.method


def test_new_images_are_named_and_strange_ones_are_unclassified(classifier):
    rng = np.random.default_rng(9)
    y, x = np.mgrid[:80, :80]
    star = 180 - 90 * (np.abs(np.sin(4 * np.arctan2(y - 40, x - 40))) > 0.7) * (np.hypot(y - 40, x - 40) < 30)
    strange = np.clip(star + rng.normal(0, 2.2, star.shape), 0, 255).astype(np.uint8)
    cells = [draw(rng) for draw in (round_cell, rod) * 10]
    scores = classifier.judge({"features": features_of_images([strange, np.zeros((3, 3), np.uint8), *cells])})
    assert scores.basis == "features"
    assert scores.name[:2].tolist() == [UNCLASSIFIED, ""]
    assert scores.best[0] in ("round", "rod")
    assert scores.best[2:].tolist() == ["round", "rod"] * 10
    assert np.mean(scores.name[2:] == UNCLASSIFIED) <= 0.3
    assert np.isnan(scores.probability[1]).all()
    assert scores.probability[[0, *range(2, 22)]].sum(axis=1) == pytest.approx(1)


def test_the_network_is_used_where_it_is_there(images, classifier):
    values = {basis: found[:20, 0] for basis, found in images.values.items()}
    both, features = classifier.judge(values), classifier.judge({"features": values["features"]})
    assert (both.basis, features.basis) == ("embedding", "features")
    # What is unknown is told by both.
    parts = [classifier.models[basis].oddness.score(values[basis])[0] for basis in values]
    assert both.oddness == pytest.approx(parts[0] + 2 * parts[1])
    assert features.oddness == pytest.approx(parts[0])
    for found in (classifier.nearest(values), classifier.nearest({"features": values["features"]})):
        assert [len(known) for known in found] == [5] * 20
        right = [known[0].class_name == name for known, name in zip(found, images.classes[:20], strict=True)]
        assert np.mean(right) >= 0.9


def test_a_temperature_undoes_too_much_certainty():
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1.5, (4000, 3))
    odds = probabilities(margins, 1.0)
    codes = (rng.random(4000)[:, None] > odds.cumsum(axis=1)).sum(axis=1)
    assert temperature_of(4 * margins, codes) == pytest.approx(4, rel=0.1)
    assert calibration_error(odds, codes) < 0.03 < calibration_error(probabilities(4 * margins, 1.0), codes)


def test_calibration_error_and_accuracy_of_a_case_by_hand():
    probability = np.array([[0.85, 0.15], [0.85, 0.15], [0.45, 0.55], [0.45, 0.55]])
    found = measured(probability, np.array([0, 1, 1, 1]))
    assert found.accuracy == 0.75
    # Half of those of .85 are right, and all of those of .55: (2 |.85 - .5| + 2 |.55 - 1|) / 4.
    assert found.calibration_error == pytest.approx(0.4)


@pytest.mark.parametrize("method", METHODS)
def test_a_classifier_is_the_same_after_it_was_written(images, classifier, method):
    codes = np.unique(images.classes, return_inverse=True)[1]
    models = {}
    for basis, model in classifier.models.items():
        rows = model.oddness.scaler.transform(images.values[basis][:40, 0])[:, None]
        models[basis] = replace(model, scorer=METHODS[method](rows, codes[:40]))
    found = ImageClassifier(classifier.card, models)
    again = classifier_file.from_bytes(classifier_file.to_bytes(found))
    assert again.card == found.card
    values = {basis: numbers[:, 0] for basis, numbers in images.values.items()}
    for used in (values, {"features": values["features"]}):
        one, other = (each.judge(used) for each in (found, again))
        assert other.probability == pytest.approx(one.probability, abs=1e-6)
        assert other.oddness == pytest.approx(one.oddness, abs=1e-9)
        assert other.name.tolist() == one.name.tolist()


def damaged(data, name, change):
    with np.load(io.BytesIO(data)) as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays[name] = change(arrays[name])
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def as_text(change):
    return lambda array: np.frombuffer(json.dumps(change(json.loads(array.tobytes()))).encode(), np.uint8)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.known", lambda a: a[:-1]),
        ("features.known", lambda a: a * np.float16(np.nan)),
        ("embedding.directions", lambda a: a[:-1]),
        ("card", as_text(lambda card: {**card, "kind": "images"})),
        ("card", as_text(lambda card: {**card, "feature_names": ["mean"]})),
        ("parts", as_text(lambda _: {})),
        ("parts", as_text(lambda parts: {"features": {**parts["features"], "temperature": 0}})),
    ],
)
def test_a_damaged_classifier_is_refused_with_a_remedy(classifier, name, change):
    with pytest.raises(ModelError, match="classify train"):
        classifier_file.from_bytes(damaged(classifier_file.to_bytes(classifier), name, change))


def test_too_few_images_or_classes_are_refused_by_name(images):
    few = (images.classes == "rod") | (np.cumsum(images.classes == "round") <= 9)
    with pytest.raises(ModelError, match="class round has 9 images"):
        train_classifier(images[few], "", CREATED, {})
    with pytest.raises(ModelError, match="two classes"):
        train_classifier(images[images.classes == "rod"], "", CREATED, {})
    with pytest.raises(ModelError, match="folders of classes"):
        labelled_images([], None)


def test_images_of_a_bin_are_held_back_together(images):
    """A classifier that knows bins by heart must not look good."""
    rng = np.random.default_rng(0)
    number = np.unique(images.pids, return_inverse=True)[1]
    values = rng.normal(0, 1, (len(number), images.values["features"].shape[2])) * 0.01
    values += np.random.default_rng(1).normal(0, 1, (number.max() + 1, values.shape[1]))[number]
    names = np.array(["a", "b"])[np.random.default_rng(2).integers(2, size=number.max() + 1)][number]
    by_heart = LabelledImages({"features": values[:, None]}, images.names, images.pids, images.instruments, names)
    (found,) = train_classifier(by_heart, "", CREATED, {}, ("logistic",)).card.compared
    assert found.held_back.accuracy < 0.8
