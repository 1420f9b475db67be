"""Judged images of a bin: their orders, which are chosen, which are alike, and what healthy bins change."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.images.fault_injection import plant
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import features_of_images
from ifcb_flow_pipeline.judged_images import ORDERS, Baseline, JudgedImages
from ifcb_flow_pipeline_tests.detection.images.conftest import model, planted  # noqa: F401 (fixtures)
from ifcb_flow_pipeline_tests.detection.images.particles import clean_images

TINY = np.full((2, 2), 200, np.uint8)


@pytest.fixture(scope="module")
def judged(model):  # noqa: F811
    """Thirty clean images in odd rows; of them one out of focus, and one too small to have features."""
    images = {2 * i + 1: each.image for i, each in enumerate(clean_images(30, seed=77))}
    images[7] = plant(images[7], "defocus", 1.0, np.random.default_rng(2))
    images[9] = TINY
    return JudgedImages.of(images, model, Baseline())


def test_each_order_has_every_image_once_and_those_without_features_last(judged):
    for order in ORDERS:
        places = judged.order(order)
        assert sorted(places.tolist()) == list(range(30))
        if order in ("oddness", "fault", "class"):
            assert judged.row[places[-1]] == 9
    assert judged.row[judged.order("time")].tolist() == sorted(judged.row.tolist())
    assert judged.area_px[judged.order("size")].tolist() == sorted(judged.area_px.tolist(), reverse=True)
    probability = judged.scores.fault_probability[judged.order("fault")][:-1]
    assert (np.diff(probability) <= 0).all()


def test_the_planted_fault_is_first_named_and_explained(judged):
    place = judged.order("fault")[0]
    assert judged.row[place] == 7
    assert judged.likeliest(place) == "defocus"
    reasons = judged.reasons(place)
    assert 1 <= len(reasons) <= 3
    assert reasons[0].contribution >= reasons[-1].contribution > 0
    assert reasons[0].name
    assert judged.place_of(7) == place
    assert judged.place_of(8) is None
    assert judged.place_of(999) is None


def test_images_are_chosen_by_fault_and_class(judged):
    places = judged.order("time")
    (faulty,) = judged.row[judged.of_kind(places, ["defocus"], [])]
    assert faulty == 7
    assert judged.counts["defocus"] == 1
    assert judged.n_flagged == sum(n for kind, n in judged.counts.items() if kind != "clean")
    assert sum(judged.counts.values()) == 29
    for name in judged.classes:
        chosen = judged.of_kind(places, [], [name])
        assert set(judged.scores.class_name[chosen]) == {name}


def test_an_image_is_most_like_itself_and_one_without_features_like_none(judged):
    assert judged.similar_to(judged.values[3], 4)[0] == 3
    assert judged.place_of(9) not in judged.similar_to(judged.values[3], 40)
    assert judged.likeliest(judged.place_of(9)) == ""
    assert judged.reasons(judged.place_of(9)) == []


def test_what_healthy_images_of_the_instrument_are_like_counts_before_the_training(model):  # noqa: F811
    # An instrument whose images are all as the recogniser knows faults: only what is worse than its own is flagged.
    rng = np.random.default_rng(4)
    blurred = [plant(each.image, "defocus", 0.7, rng) for each in clean_images(120, seed=5)]
    alone = JudgedImages.of(dict(enumerate(blurred[:60])), model, Baseline())
    healthy = features_of_images(blurred[60:])
    own = JudgedImages.of(dict(enumerate(blurred[:60])), model, Baseline.of(healthy, model, "IFCB900"))
    assert alone.n_flagged > 30
    assert own.n_flagged < 12


def test_without_healthy_images_the_training_counts(model):  # noqa: F811
    none = np.empty((0, len(NAMES)))
    assert Baseline.of(none, model, "IFCB000") == Baseline()
    known = next(iter(model.levels))
    assert Baseline.of(none, model, known).levels == model.levels[known]
