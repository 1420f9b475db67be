"""Judging images by a model: faults, names, oddness, reasons; and the file that a model is kept in."""

import io
import json

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.images import model_file
from ifcb_flow_pipeline.detection.images.bin_images import MIN_IMAGES, summarise
from ifcb_flow_pipeline.detection.images.explanations import explain, unusual, usual_range
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS, plant
from ifcb_flow_pipeline.detection.images.levels import MODEL_COLUMNS, RELATIVE, Levels, model_rows
from ifcb_flow_pipeline.detection.images.training import planted_features, train_image_model
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import features_of_images

from .conftest import CREATED, SETTINGS
from .particles import clean_images, rod, round_cell


def features_with(kind, severity, n=40, seed=50):
    rng = np.random.default_rng(seed)
    images = [each.image for each in clean_images(n, seed)]
    return features_of_images([plant(image, kind, severity, rng) for image in images])


@pytest.fixture(scope="module")
def fresh():
    """Features of clean images that no model has seen."""
    return features_of_images([each.image for each in clean_images(60, seed=77)])


@pytest.fixture(scope="module")
def levels(model):
    return model.levels_of("IFCB900")


def test_clean_images_are_hardly_ever_flagged(model, fresh, levels):
    for usual in (levels, None):
        scores = model.judge(fresh, usual)
        assert scores.flagged.mean() <= 0.1
        assert np.allclose(scores.probability.sum(axis=1), scores.fault_probability)


@pytest.mark.parametrize("kind", sorted(set(FAULTS) - {"dust", "scratch", "cut"}))
def test_gross_faults_are_found_and_mostly_rightly_named(model, levels, kind):
    scores = model.judge(features_with(kind, 0.9), levels)
    assert scores.flagged.mean() >= 0.8
    assert np.mean(scores.kind[scores.flagged] == kind) >= 0.6


def test_a_dim_image_is_one_beside_what_is_usual_for_the_instrument(model, levels):
    dim = features_with("dim", 0.8)
    assert np.mean(model.judge(dim, levels).kind == "dim") > 0.9
    # Where all images are that dim, nothing is.
    assert np.mean(model.judge(dim, model.levels_by(dim)).flagged) <= 0.05


def test_another_instruments_brightness_is_no_fault(model):
    other = features_of_images([each.image for each in clean_images(60, seed=5, background=140.0)])
    assert model.levels_of("IFCB901") is None
    assert model.judge(other, model.levels_of("IFCB901", other)).flagged.mean() <= 0.05


def test_images_without_features_are_not_judged(model, fresh, levels):
    values = np.concatenate([fresh[:2], np.full((1, len(NAMES)), np.nan)])
    scores = model.judge(values, levels)
    assert np.isnan(scores.fault_probability[2])
    assert np.isnan(scores.oddness[2])
    assert not scores.flagged[2]
    assert not scores.odd[2]
    assert scores.kind[2] == scores.class_name[2] == ""
    assert model.nearest(values)[2] == []
    assert explain(model, values[2:], "dim", levels) == [[]]


def test_what_was_never_seen_is_odder_than_what_is_known(model, fresh):
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:80, :80]
    star = 180 - 90 * (np.abs(np.sin(4 * np.arctan2(y - 40, x - 40))) > 0.7) * (np.hypot(y - 40, x - 40) < 30)
    images = [np.clip(star + rng.normal(0, 2.2, star.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    odd = model.judge(features_of_images(images))
    assert odd.odd.all()
    assert (odd.class_name == "").all()
    known = model.judge(fresh)
    assert known.odd.mean() <= 0.1
    assert np.median(odd.oddness) > np.max(known.oddness[~known.odd])


def test_classes_and_nearest_images_are_those_of_the_same_kind(model):
    rng = np.random.default_rng(9)
    values = features_of_images([round_cell(rng), rod(rng)])
    scores = model.judge(values)
    assert scores.class_name.tolist() == ["round", "rod"]
    for kind, known in zip(("round", "rod"), model.nearest(values), strict=True):
        assert len(known) == 5
        assert {each.class_name for each in known} == {kind}
        assert [each.distance for each in known] == sorted(each.distance for each in known)


@pytest.mark.parametrize(
    ("kind", "features"),
    [
        ("dim", {"background"}),
        ("lines", {"even_odd", "row_band", "col_band"}),
        ("vignette", {"bg_grad_x", "bg_grad_y", "bg_range", "bg_sd", "p75", "p95", "row_band", "col_band"}),
        ("noise", {"noise", "bg_noise", "bg_sd", "lap_var", "lap_norm"}),
    ],
)
def test_the_reasons_of_a_fault_name_what_it_changes(model, levels, kind, features):
    values = features_with(kind, 0.9, n=10)
    found = explain(model, values, kind, levels)
    hits = [features & {reason.feature for reason in reasons} for reasons in found]
    assert sum(map(bool, hits)) >= 9
    assert all(len(reasons) <= 3 and "usual" in reasons[0].words for reasons in found)
    shares = model.recogniser.contributions(model_rows(values, levels), kind)
    assert shares.shape == (10, len(MODEL_COLUMNS) + 1)


def test_a_bin_is_summed_up_by_its_images(model, planted, levels):
    clean = features_of_images([each.image for each in clean_images(40, seed=21)])
    faulty = np.concatenate([clean, features_with("defocus", 0.8, n=12)])
    scale = planted.clean.std(axis=0)
    healthy = summarise(clean, model.judge(clean, levels), scale)
    blurred = summarise(faulty, model.judge(faulty, levels), scale)
    assert (healthy.n_images, blurred.n_images) == (40, 52)
    assert blurred.fault_probability > 10 * healthy.fault_probability
    assert blurred.worst == "defocus"
    assert blurred.focus < healthy.focus
    one_kind = clean[::2]
    assert summarise(one_kind, model.judge(one_kind, levels), scale).spread < healthy.spread


def test_too_few_images_say_nothing_of_a_bin(model, fresh, planted):
    few = fresh[: MIN_IMAGES - 1]
    found = summarise(few, model.judge(few), planted.clean.std(axis=0))
    assert np.isnan(found.fault_probability)
    assert found.worst == ""


def test_levels_need_enough_images(fresh):
    assert Levels.of(fresh[:29]) is None
    assert set(Levels.of(fresh).usual) == set(RELATIVE)
    rows = model_rows(fresh, Levels.of(fresh))
    at = NAMES.index("background")
    assert abs(np.median(rows[:, at])) < 1e-9


# Training


def test_training_twice_gives_the_same_model(model, planted):
    again = train_image_model(planted, "drawn cells", CREATED, {"numpy": "any"}, SETTINGS)
    assert again.card == model.card
    assert model_file.to_bytes(again) == model_file.to_bytes(model)


def test_thresholds_come_with_what_they_find(model):
    metrics = model.card.metrics
    assert 0 < model.card.known_threshold < 1
    assert metrics["planted_recall"] > 0.4
    assert set(metrics["recall_by_fault"]) == set(FAULTS)


def test_too_few_images_are_refused_with_the_number_that_is_needed():
    with pytest.raises(ModelError, match="200 clean images from 3 bins"):
        train_image_model(planted_features(clean_images(12)), "", CREATED, {})


# The file


def test_a_model_says_the_same_once_it_was_written_and_read(model, fresh, levels):
    again = model_file.from_bytes(model_file.to_bytes(model))
    assert again.card == model.card
    for name in ("probability", "fault_probability", "flagged", "kind", "oddness", "odd", "class_name"):
        assert np.array_equal(getattr(again.judge(fresh, levels), name), getattr(model.judge(fresh, levels), name))
    assert again.nearest(fresh) == model.nearest(fresh)
    mine, theirs = (explain(each, fresh[:3], "noise", levels) for each in (model, again))
    assert [[r.feature for r in found] for found in mine] == [[r.feature for r in found] for found in theirs]


def changed(model, **arrays):
    with np.load(io.BytesIO(model_file.to_bytes(model))) as archive:
        held = dict(archive) | arrays
    buffer = io.BytesIO()
    np.savez(buffer, **held)
    return buffer.getvalue()


def test_what_is_no_image_model_is_refused(model):
    card = json.loads(model.card.to_json())
    other = json.dumps(card | {"feature_names": card["feature_names"][:-1]})
    for data, match in (
        (b"nothing", "no model"),
        (changed(model, card=np.frombuffer(b"{}", np.uint8)), "no image model"),
        (changed(model, card=np.frombuffer(other.encode(), np.uint8)), "other image features"),
        (changed(model, known=np.zeros((2, 2))), "train a new one"),
        (changed(model, scales=np.full((2, 2), np.nan)), "train a new one"),
        (changed(model, usual=np.array([["a"]])), "train a new one"),
    ):
        with pytest.raises(ModelError, match=match):
            model_file.from_bytes(data)


def test_a_file_that_would_run_something_is_not_read(model):
    with pytest.raises(ModelError):
        model_file.from_bytes(changed(model, usual=np.array([print], dtype=object)))


def test_two_features_of_different_families_say_what_is_unusual(model, fresh):
    bright = fresh[:3].copy()
    bright[0, NAMES.index("touch")] = 0.9
    bright[1] = np.nan
    found = unusual(model, bright)
    assert found[0][0].feature == "touch"
    assert found[0][0].value == 0.9
    assert found[1] == []
    assert all(len({reason.family for reason in reasons}) == len(reasons) <= 2 for reasons in found)
    # An instrument at which particles touch the border all the time finds nothing in it.
    usual = usual_range(fresh)
    usual[NAMES.index("touch")] = 0, 1
    assert "touch" not in {reason.feature for reason in unusual(model, bright[:1], usual)[0]}
    assert all("usual" in reason.words for reasons in found for reason in reasons)


@pytest.mark.parametrize("kind", ["dim", "lines", "noise"])
def test_shap_says_the_same_of_the_recogniser(model, levels, kind):
    """Our exact contributions are those of SHAP's TreeExplainer: the sampled way agrees with them on average."""
    shap = pytest.importorskip("shap")
    rows = model_rows(features_with(kind, 0.9, n=6), levels)
    trees, at = model.recogniser.trees_, model.recogniser.kinds_.index(kind)
    ours = model.recogniser.contributions(rows, kind)[:, :-1].mean(axis=0)

    def margin(some):
        found = trees.margins(some)
        return found[:, at] - found[:, 0]

    background = model_rows(features_with("dim", 0.0, n=20), levels)
    explainer = shap.PermutationExplainer(margin, background)
    theirs = explainer(rows, max_evals=2 * rows.shape[1] + 1).values.mean(axis=0)
    top = set(np.argsort(-ours)[:5])
    assert len(top & set(np.argsort(-theirs)[:8])) >= 2


def test_lime_finds_a_feature_of_the_fault_among_its_top_ones(model, levels):
    """Continuous: with its default, discretised, LIME is blind to extremes."""
    lime = pytest.importorskip("lime.lime_tabular")
    clean = model_rows(features_with("dim", 0.0, n=60), levels)
    (row,) = model_rows(features_with("dim", 0.9, n=1), levels)
    explainer = lime.LimeTabularExplainer(clean, discretize_continuous=False, random_state=0)
    at = model.recogniser.kinds_.index("dim")
    found = explainer.explain_instance(row, model.recogniser.predict, labels=(at,), num_samples=500)
    top = [MODEL_COLUMNS[number] for number, _ in found.as_map()[at][:10]]
    assert {"background_deviation", "p95_deviation", "p99_deviation", "entropy_deviation"} & set(top)
