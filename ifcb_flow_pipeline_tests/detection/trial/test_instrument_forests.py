"""A forest for each instrument as a model: its scores, whom it judges, its card, and its file."""

import dataclasses
import io
import json
from datetime import date, timedelta
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ForestSettings, ModelError
from ifcb_flow_pipeline.detection.open_model import (
    DETECTORS,
    ForestChoice,
    detector_and_features,
    model_from_bytes,
    train_forest,
)
from ifcb_flow_pipeline.detection.reference.model import TrainingSet
from ifcb_flow_pipeline.detection.trial.comparison import compare_models
from ifcb_flow_pipeline.detection.trial.instrument_forests import (
    InstrumentForests,
    Kind,
    train_instrument_forests,
)
from ifcb_flow_pipeline.detection.verdict.severity import VERDICT_COLUMNS
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

from ..fleet import columns, table
from ..toys import CREATED, small_model

#: As documented. They are not imported: a threshold that moved would move its own test.
MIN_INSTRUMENT_BINS = 50


KINDS = get_args(Kind)
SETTINGS = ForestSettings(contamination=0.1, n_estimators=20)
NAMES = tuple(name for name in FULL_FEATURE_NAMES if name in columns(1))


def rows(n: int = 80, **changes: Any) -> pa.Table:
    """So many bins of each of two instruments whose cores lie apart."""
    return table(columns(n, **changes))


def training_of(features: pa.Table, **changes: Any) -> TrainingSet:
    values: dict[str, Any] = {
        "pids": features["pid"].to_pylist(),
        "instruments": features["instrument"].to_pylist(),
        "days": [start.date() for start in features["start_time"].to_pylist()],
        "matrix": np.column_stack([features[name].to_numpy() for name in NAMES]),
        "feature_names": NAMES,
        "feature_settings": FeatureSettings(),
    }
    return TrainingSet(**(values | changes))


def trained(kind: Kind, features: pa.Table | None = None, settings: ForestSettings = SETTINGS) -> InstrumentForests:
    return train_instrument_forests(kind, training_of(rows() if features is None else features), settings, CREATED, {})


MODELS: dict[str, InstrumentForests] = {kind: trained(kind) for kind in KINDS}


def with_column(features: pa.Table, name: str, values: Any) -> pa.Table:
    return features.set_column(features.column_names.index(name), name, pa.array(values, features[name].type))


def arrays_of(model: InstrumentForests) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(model.to_bytes())) as archive:
        return {name: archive[name] for name in archive.files}


def file_of(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


# Scores


def scaled_by_hand(matrix: np.ndarray) -> np.ndarray:
    centre = np.nanmedian(matrix, axis=0)
    spread = 1.4826 * np.nanmedian(np.abs(matrix - centre), axis=0)
    plain = np.nanstd(matrix, axis=0)
    spread = np.where(spread > 1e-9, spread, np.where(plain > 1e-9, plain, 1.0))
    return np.clip(np.nan_to_num((matrix - centre) / spread), -30, 30)


@pytest.mark.parametrize("kind", ["mcif", "mcif-calibrated"])
def test_an_instruments_scores_are_those_of_scikit_learns_forest_on_its_own_bins(kind: Kind):
    features = rows()
    training = training_of(features)
    found = MODELS[kind].judge(features)
    scaled = scaled_by_hand(training.matrix)
    for name in ("IFCB134", "IFCB9"):
        own = np.array(training.instruments) == name
        theirs = IsolationForest(n_estimators=20, random_state=42).fit(scaled[own]).score_samples(scaled[own])
        score = found["anomaly_score"].to_numpy()[own]
        if kind == "mcif":
            np.testing.assert_allclose(score, theirs, atol=1e-9)
        else:
            assert (np.argsort(score, kind="stable") == np.argsort(theirs, kind="stable")).all()
            # As rare as one in ten, on the scale of any instrument.
            assert np.mean(score <= -1.0) == pytest.approx(0.1, abs=0.03)


def test_scores_in_the_latent_space_are_those_of_scikit_learns_forest_in_it():
    model = MODELS["latent"]
    training = training_of(rows())
    assert model.latent is not None
    space = model.latent.transform(scaled_by_hand(training.matrix))
    own = np.array(training.instruments) == "IFCB9"
    theirs = IsolationForest(n_estimators=20, random_state=42).fit(space[own]).score_samples(space[own])
    np.testing.assert_allclose(model.score(training.matrix, training.instruments).anomaly_score[own], theirs, atol=1e-9)


def test_the_settings_of_forests_are_those_of_scikit_learn():
    settings = ForestSettings(n_estimators=7, max_samples=0.5, max_features=0.7, random_seed=5)
    training = training_of(rows())
    found = trained("mcif", settings=settings).score(training.matrix, training.instruments).anomaly_score
    scaled, own = scaled_by_hand(training.matrix), np.array(training.instruments) == "IFCB9"
    theirs = IsolationForest(n_estimators=7, max_samples=0.5, max_features=0.7, random_state=5).fit(scaled[own])
    np.testing.assert_allclose(found[own], theirs.score_samples(scaled[own]), atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_of_each_instrument_the_wanted_share_of_the_training_bins_is_bad_and_severity_is_how_rare_a_score_is(kind):
    features = rows()
    verdicts = MODELS[kind].judge(features)
    assert tuple(verdicts.column_names) == VERDICT_COLUMNS
    names = np.array(features["instrument"].to_pylist())
    for name in ("IFCB134", "IFCB9"):
        own = names == name
        score, severity = (verdicts[column].to_numpy()[own] for column in ("anomaly_score", "severity"))
        bad = np.array(verdicts["verdict"].to_pylist())[own] == "bad"
        assert bad.sum() == 8
        assert (severity[bad] >= 25.0 - 1e-9).all()
        assert (severity[~bad] < 25.0).all()
        # The 4th of 80: as rare as one in 20.
        fourth = np.argsort(score)[3]
        assert severity[fourth] == pytest.approx(25.0 * np.log10(20), abs=0.01)
    assert set(verdicts["threshold"].to_pylist()) == {25.0}


def test_what_is_usual_elsewhere_is_unusual_on_the_instrument_on_which_it_is_not():
    names = ("core_x_px", "core_tilt", "dead_time_s", "n_triggers")
    features = rows()
    matrix = np.column_stack([features[name].to_numpy() for name in names])
    training = training_of(features, feature_names=names, matrix=matrix)
    model = train_instrument_forests("mcif", training, SETTINGS, CREATED, {})
    other = {"IFCB134": "IFCB9", "IFCB9": "IFCB134"}
    own = model.score(matrix, training.instruments)
    swapped = model.score(matrix, [other[name] for name in training.instruments])
    assert own.is_anomaly.mean() == 0.1
    assert swapped.is_anomaly.mean() > 0.9


def test_a_feature_that_a_bin_does_not_have_counts_as_usual():
    features = rows()
    without = with_column(features, "humidity_pct", [None] * features.num_rows)
    verdicts = trained("mcif", without).judge(without)
    assert "unreadable" not in verdicts["verdict"].to_pylist()
    assert np.isfinite(verdicts["severity"].to_numpy()).all()


# Who is judged


@pytest.mark.parametrize("kind", KINDS)
def test_a_bin_of_an_instrument_that_training_has_not_seen_is_not_judged(kind: Kind):
    features = rows(10, seed=2)
    unseen = with_column(features, "instrument", ["IFCB999"] * 10 + ["IFCB9"] * 10)
    verdicts = MODELS[kind].judge(unseen)
    assert verdicts["verdict"].to_pylist()[:10] == ["not_judged"] * 10
    assert np.isnan(verdicts["severity"].to_numpy()[:10]).all()
    assert np.isnan(verdicts["anomaly_score"].to_numpy()[:10]).all()
    assert "not_judged" not in verdicts["verdict"].to_pylist()[10:]


def test_an_instrument_with_too_few_bins_has_no_forest_and_the_card_says_so():
    features = rows()
    few = MIN_INSTRUMENT_BINS - 1
    model = trained("mcif", features.slice(0, 80 + few))
    assert list(model.forests) == ["IFCB134"]
    assert model.card.note == f"IFCB9 has only {few} bins, below {MIN_INSTRUMENT_BINS}: it is not judged"
    assert model.card.excluded == {"few_bins": features["pid"].to_pylist()[80 : 80 + few]}
    assert model.card.n_bins_by_instrument == {"IFCB134": 80}
    assert set(model.judge(features)["verdict"].to_pylist()[80:]) == {"not_judged"}


@pytest.mark.parametrize("instrument", ["IFCB9", "IFCB999"])
def test_a_bin_without_features_is_unreadable_whatever_else_is_known_of_it(instrument: str):
    features = rows(1)
    features = with_column(features, "status", ["no_adc", "ok"])
    features = with_column(features, "instrument", [instrument, "IFCB9"])
    verdicts = MODELS["mcif"].judge(features)
    assert verdicts["verdict"].to_pylist()[0] == "unreadable"
    assert verdicts["severity"].to_pylist()[0] == 100.0
    assert verdicts["verdict"].to_pylist()[1] != "unreadable"


def test_a_table_without_rows_is_judged_as_one_without_rows():
    assert MODELS["latent"].judge(rows(1).slice(0, 0)).num_rows == 0


# Training


@pytest.mark.parametrize("kind", KINDS)
def test_the_card_says_which_detector_it_is_and_what_it_was_trained_on(kind: Kind):
    card = MODELS[kind].card
    assert card.kind == kind
    assert card.model_id.startswith(f"{kind}-20230810T113059Z-")
    assert (card.feature_set, card.n_bins, card.n_bins_by_instrument) == ("full", 160, {"IFCB134": 80, "IFCB9": 80})
    assert (card.threshold, card.note, card.forest_settings) == (25.0, "", SETTINGS)
    assert date.fromisoformat(str(card.last_day)) - date.fromisoformat(str(card.first_day)) < timedelta(days=5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bins_and_settings_give_the_same_model_to_the_byte(kind: Kind):
    assert trained(kind).to_bytes() == MODELS[kind].to_bytes()
    other = trained(kind, settings=dataclasses.replace(SETTINGS, random_seed=7))
    assert other.card.model_id != MODELS[kind].card.model_id


def test_without_an_instrument_of_enough_bins_there_is_no_model():
    with pytest.raises(ModelError, match=r"no instrument has 50 bins .* the most is 49: widen the training window"):
        trained("mcif", rows(49))
    with pytest.raises(ModelError, match="the most is 0"):
        trained("mcif", rows(1).slice(0, 0))


def test_a_latent_space_needs_two_instruments():
    with pytest.raises(ModelError, match="two with 50 bins are needed, there is only IFCB134; train the detector mcif"):
        trained("latent", rows().slice(0, 100))


def test_features_that_were_made_in_another_way_are_refused():
    with pytest.raises(ModelError, match="train a new model"):
        MODELS["mcif"].check_usable(FeatureSettings(triggers="all"))
    with pytest.raises(ModelError, match="core_tilt; compute the features again"):
        MODELS["mcif"].judge(rows(1).drop_columns(["core_tilt"]))


# Which detector


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (("", ""), ("flow", "full")),
        (("", "reference"), ("forest", "reference")),
        (("", "full"), ("flow", "full")),
        (("forest", ""), ("forest", "reference")),
        (("mcif", ""), ("mcif", "full")),
        (("latent", "reference"), ("latent", "reference")),
    ],
)
def test_detector_and_features_go_together(asked, meant):
    assert detector_and_features(*asked) == meant


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("svm", ""), "there is no detector 'svm'; there are: flow, forest, mcif, mcif-calibrated, latent"),
        (("mcif", "half"), "there is no feature set 'half'; there are: full, reference"),
        (("forest", "full"), "the detector forest judges by the feature set reference, not 'full'"),
        (("flow", "reference"), "the detector flow judges by the feature set full, not 'reference'"),
    ],
)
def test_a_detector_that_there_is_not_or_that_does_not_take_the_features_is_refused(asked, said):
    with pytest.raises(ModelError, match=said):
        detector_and_features(*asked)


@pytest.mark.parametrize("detector", [name for name in DETECTORS if name != "flow"])
def test_every_forest_is_trained_by_its_name(detector):
    choice = ForestChoice(detector, NAMES, SETTINGS)
    assert train_forest(training_of(rows()), choice, CREATED, {}).card.kind == detector


def test_the_flow_model_is_no_forest():
    with pytest.raises(ModelError, match="ifcb-flow train"):
        train_forest(training_of(rows()), ForestChoice("flow", NAMES, SETTINGS), CREATED, {})


def test_two_kinds_are_compared_like_any_two_models():
    features = rows(30, seed=3)
    comparison = compare_models(MODELS["mcif"], MODELS["latent"], features, {}, {})
    assert comparison.n_bins == 60
    assert -1.0 <= comparison.rank_agreement <= 1.0
    calibrated = compare_models(MODELS["mcif"], MODELS["mcif-calibrated"], features, {}, {})
    # Calibration puts instruments on one scale, and changes no verdict.
    assert calibrated.changed == ()


# The file


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_survives_its_file(kind: Kind):
    model = model_from_bytes(MODELS[kind].to_bytes())
    assert isinstance(model, InstrumentForests)
    assert model.card == MODELS[kind].card
    assert model.to_bytes() == MODELS[kind].to_bytes()
    features = rows(20, seed=4)
    found, expected = model.judge(features), MODELS[kind].judge(features)
    for column in ("anomaly_score", "percentile", "severity", "verdict", "model_id"):
        assert found[column].equals(expected[column]), column


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_any_one_of_its_arrays_is_refused(kind: Kind):
    whole = arrays_of(MODELS[kind])
    for name in whole:
        arrays = {each: values for each, values in whole.items() if each != name}
        with pytest.raises(ModelError):
            InstrumentForests.from_bytes(file_of(arrays))


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_an_array_of_another_shape_or_of_no_numbers_is_refused(kind: Kind):
    whole = arrays_of(MODELS[kind])
    named = [name for name in whole if name not in ("card", "instruments", "format_version")]
    for name in named:
        for wrong in (whole[name].astype(str), np.full((2, 3, 5), 0.25)):
            with pytest.raises(ModelError):
                InstrumentForests.from_bytes(file_of(whole | {name: wrong}))


@pytest.mark.parametrize(
    "name", ["scaling.centre", "scaling.spread", "latent.0.weights", "latent.1.biases", "0.training_scores"]
)
def test_a_file_with_what_is_no_finite_number_is_refused(name: str):
    whole = arrays_of(MODELS["latent"])
    with pytest.raises(ModelError, match="damaged"):
        InstrumentForests.from_bytes(file_of(whole | {name: np.full_like(whole[name], np.nan)}))


def as_text(value: object) -> np.ndarray:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    "changed",
    [
        {"instruments": as_text([])},
        {"instruments": as_text(["IFCB134", "IFCB9", "IFCB1"])},
        {"instruments": as_text(None)},
        {"scaling.spread": np.zeros(len(NAMES))},
        {"card": np.frombuffer(small_model().card.to_json().encode(), dtype=np.uint8)},
        {"card": np.frombuffer(MODELS["latent"].card.to_json().encode(), dtype=np.uint8)},
        {"card": np.frombuffer(b"\xff", dtype=np.uint8)},
        {"format_version": np.array(FORMAT_VERSION + 1)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_file_whose_parts_do_not_go_together_is_refused(changed: dict[str, np.ndarray]):
    with pytest.raises(ModelError):
        model_from_bytes(file_of(arrays_of(MODELS["mcif"]) | changed))


def test_a_file_holds_no_objects():
    assert all(array.dtype.kind in "fiu" for kind in KINDS for array in arrays_of(MODELS[kind]).values())
