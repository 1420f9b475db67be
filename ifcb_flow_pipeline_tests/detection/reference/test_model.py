"""Models: training, the card, what a score means, and the file that a model travels in."""

import dataclasses
import hashlib
import io
import json
import pickle
import zipfile
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.detection.model_card import (
    FORMAT_VERSION,
    MIN_TRAINING_BINS,
    ForestSettings,
    ModelCard,
    ModelError,
    parse_amount,
)
from ifcb_flow_pipeline.detection.reference.model import Model, train_model
from ifcb_flow_pipeline.features.extract import FeatureSettings

from ..toys import CREATED, NAMES, SMALL, normal_rows, small_model, training_of

MODEL = small_model()
BYTES = MODEL.to_bytes()


def assert_same(one: Model, other: Model) -> None:
    assert one.card == other.card
    assert one.training_scores.tobytes() == other.training_scores.tobytes()
    theirs = other.forest.to_arrays()
    for name, array in one.forest.to_arrays().items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            theirs[name].dtype,
            theirs[name].shape,
            theirs[name].tobytes(),
        ), name


def rewritten(**changes: object) -> bytes:
    """The file with some arrays replaced, or left out where the change is None."""
    with np.load(io.BytesIO(BYTES)) as archive:
        arrays: dict = {name: archive[name] for name in archive.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **{name: value for name, value in arrays.items() if value is not None})
    return buffer.getvalue()


def card_bytes(**changes: object) -> np.ndarray:
    text = json.dumps(json.loads(MODEL.card.to_json()) | changes)
    return np.frombuffer(text.encode(), dtype=np.uint8)


# Training


def test_the_same_bins_and_settings_give_the_same_model_to_the_byte():
    assert small_model().to_bytes() == BYTES


def test_another_seed_gives_another_forest_and_another_id():
    other = small_model(settings=dataclasses.replace(SMALL, random_seed=43))
    assert other.card.model_id != MODEL.card.model_id
    assert other.forest.to_arrays()["threshold"].tolist() != MODEL.forest.to_arrays()["threshold"].tolist()


def test_scores_and_threshold_are_those_of_scikit_learn_with_the_same_settings():
    matrix = normal_rows(60)
    training = training_of(matrix)
    chosen = ForestSettings(0.1, n_estimators=7, max_samples=0.5, max_features=0.7, random_seed=5)
    model = train_model(training, chosen, CREATED, {})
    theirs = IsolationForest(contamination=0.1, n_estimators=7, max_samples=0.5, max_features=0.7, random_state=5).fit(
        matrix
    )
    np.testing.assert_allclose(model.score(matrix).anomaly_score, theirs.score_samples(matrix), atol=1e-12)
    assert model.card.threshold == pytest.approx(theirs.offset_, abs=1e-12)


def test_the_card_says_where_the_model_comes_from():
    training = training_of(normal_rows(40), excluded={"empty": ["a", "b"], "no_adc": ("c",)})
    card = train_model(training, SMALL, CREATED, {"numpy": "1.2.3"}).card
    assert card.created == "2023-08-10T11:30:59+00:00"
    assert card.model_id.startswith("iforest-20230810T113059Z-")
    assert (card.first_day, card.last_day) == ("2023-01-01", "2023-02-09")
    assert card.n_bins == 40
    assert card.n_bins_by_instrument == {"IFCB134": 20, "IFCB9": 20}
    assert card.excluded == {"empty": ["a", "b"], "no_adc": ["c"]}
    assert card.n_excluded == 3
    assert card.feature_names == NAMES
    assert card.feature_settings == FeatureSettings()
    assert card.forest_settings == SMALL
    assert card.versions == {"numpy": "1.2.3"}
    assert card.training_pids_sha256 == hashlib.sha256("\n".join(training.pids).encode()).hexdigest()


def test_the_card_holds_the_days_of_the_window_whatever_the_order_of_the_bins():
    days = [date(2023, 5, 2), date(2022, 12, 31), date(2023, 5, 3)] * 4
    card = train_model(training_of(normal_rows(12), days=days), SMALL, CREATED, {}).card
    assert (card.first_day, card.last_day) == ("2022-12-31", "2023-05-03")


def test_the_card_holds_the_quantiles_of_the_training_scores():
    scores = MODEL.forest.score_samples(normal_rows(40))
    assert MODEL.training_scores.tolist() == sorted(scores)
    assert list(MODEL.card.score_quantiles) == ["0", "0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99", "1"]
    for share, value in MODEL.card.score_quantiles.items():
        assert value == pytest.approx(np.quantile(scores, float(share)), abs=1e-15)


@pytest.mark.parametrize("contamination", [0.02, 0.1, 0.25, 0.5])
def test_contamination_moves_the_threshold_to_that_share_of_the_training_bins_and_no_score(contamination):
    rows = normal_rows(200)
    model = train_model(training_of(rows), ForestSettings(contamination, n_estimators=50), CREATED, {})
    assert model.score(rows).is_anomaly.mean() == pytest.approx(contamination, abs=0.006)
    usual = train_model(training_of(rows), ForestSettings(0.03, n_estimators=50), CREATED, {})
    assert model.score(rows).anomaly_score.tolist() == usual.score(rows).anomaly_score.tolist()


@pytest.mark.parametrize("n", [0, 1, MIN_TRAINING_BINS - 1])
def test_too_few_bins_are_refused_with_the_number_excluded_and_the_remedy(n):
    training = training_of(normal_rows(n), excluded={"empty": ["a", "b"], "no_adc": ["c"]})
    with pytest.raises(ModelError, match=rf"^{n} bins .*{MIN_TRAINING_BINS}.*\(3 excluded\): widen"):
        train_model(training, SMALL, CREATED, {})


def test_just_enough_bins_train_a_model():
    assert small_model(MIN_TRAINING_BINS).card.n_bins == MIN_TRAINING_BINS


def test_asking_for_more_rows_per_tree_than_bins_takes_all_without_a_warning():
    every = small_model(30, dataclasses.replace(SMALL, max_samples=30))
    more = small_model(30, dataclasses.replace(SMALL, max_samples=31))
    assert more.training_scores.tolist() == every.training_scores.tolist()


def test_more_columns_per_tree_than_features_are_refused_by_name():
    with pytest.raises(ModelError, match=r"max_features is 4.* 3 features"):
        small_model(settings=dataclasses.replace(SMALL, max_features=4))


def test_a_share_of_the_bins_that_is_no_whole_bin_is_refused_by_name():
    with pytest.raises(ModelError, match=r"max_samples is 0\.01.* 40 bins"):
        small_model(settings=dataclasses.replace(SMALL, max_samples=0.01))


def test_a_share_of_the_features_that_is_no_whole_feature_takes_one():
    one = small_model(settings=dataclasses.replace(SMALL, max_features=1))
    share = small_model(settings=dataclasses.replace(SMALL, max_features=0.01))
    assert share.training_scores.tolist() == one.training_scores.tolist()


# What a score means


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_percentile_is_the_share_of_training_bins_with_a_higher_score(data):
    rows = normal_rows(25, seed=7)
    scores = MODEL.forest.score_samples(rows)
    # Scores of the rows themselves among the training scores: ties must not count as more normal.
    value = st.one_of(st.sampled_from(scores.tolist()), st.floats(-1, 0))
    training = np.sort(np.array(data.draw(st.lists(value, min_size=1, max_size=30))))
    found = dataclasses.replace(MODEL, training_scores=training).score(rows)
    for score, percentile in zip(scores, found.percentile, strict=True):
        higher = sum(1 for other in training if other > score)
        assert percentile == pytest.approx(100 * higher / len(training), abs=1e-12)


def test_of_the_training_bins_the_most_normal_has_percentile_0_and_the_odd_one_out_the_highest():
    rows = np.vstack([normal_rows(99), [[90.0, -90.0, 90.0]]])
    found = train_model(training_of(rows), ForestSettings(), CREATED, {}).score(rows)
    assert found.percentile[found.anomaly_score.argmax()] == 0.0
    assert found.percentile[99] == 99.0
    assert found.is_anomaly[99]


@settings(max_examples=50, deadline=None)
@given(st.floats(-1, 0))
def test_an_anomaly_is_a_score_below_the_threshold(threshold):
    card = dataclasses.replace(MODEL.card, threshold=threshold)
    found = dataclasses.replace(MODEL, card=card).score(normal_rows(20))
    assert found.is_anomaly.tolist() == [score < threshold for score in found.anomaly_score]


def test_a_score_on_the_threshold_is_no_anomaly():
    rows = normal_rows(20)
    on_it = float(MODEL.forest.score_samples(rows)[3])
    card = dataclasses.replace(MODEL.card, threshold=on_it)
    assert not dataclasses.replace(MODEL, card=card).score(rows).is_anomaly[3]


def test_bins_without_features_get_no_score_and_no_verdict_and_the_others_theirs():
    rows = normal_rows(6)
    expected = MODEL.score(rows)
    rows[1] = np.nan
    rows[4, 2] = np.nan
    found = MODEL.score(rows)
    for i in range(6):
        if i in (1, 4):
            assert np.isnan(found.anomaly_score[i])
            assert np.isnan(found.percentile[i])
            assert not found.is_anomaly[i]
        else:
            assert found.anomaly_score[i] == expected.anomaly_score[i]
            assert found.percentile[i] == expected.percentile[i]


def test_no_bins_give_no_scores():
    found = MODEL.score(np.zeros((0, 3)))
    assert found.anomaly_score.shape == found.percentile.shape == found.is_anomaly.shape == (0,)


def test_a_model_without_training_scores_knows_no_percentiles():
    found = dataclasses.replace(MODEL, training_scores=np.zeros(0)).score(normal_rows(5))
    assert np.isnan(found.percentile).all()
    assert np.isfinite(found.anomaly_score).all()


# Which features a model takes


def test_features_made_in_the_same_way_are_usable():
    MODEL.check_usable(FeatureSettings())


@pytest.mark.parametrize("other", [FeatureSettings("all"), FeatureSettings("images", 1.0)])
def test_features_made_in_another_way_are_refused_with_both_ways_named(other):
    with pytest.raises(ModelError) as refused:
        MODEL.check_usable(other)
    message = str(refused.value)
    assert MODEL.card.model_id in message
    for part in ("triggers=images", "1.36", f"triggers={other.triggers}", f"ratio {other.aspect_ratio}"):
        assert part in message
    assert "train a new model" in message


def test_a_model_that_needs_unknown_features_names_them():
    card = dataclasses.replace(MODEL.card, feature_names=("mean_x", "sparkle", "glitter"))
    with pytest.raises(ModelError, match="sparkle, glitter; train a new model"):
        dataclasses.replace(MODEL, card=card).check_usable(FeatureSettings())


# The file


def test_a_model_survives_its_file_bit_by_bit():
    assert_same(Model.from_bytes(BYTES), MODEL)
    assert Model.from_bytes(BYTES).to_bytes() == BYTES


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 0.5, exclude_min=True),
    st.integers(1, 4),
    st.one_of(st.just("auto"), st.integers(1, 99), st.floats(0.2, 1)),
    st.one_of(st.integers(1, 3), st.floats(0, 1, exclude_min=True)),
    st.dictionaries(st.text(), st.lists(st.text())),
    st.text(),
)
def test_every_model_survives_its_file(contamination, n_estimators, max_samples, max_features, excluded, note):
    chosen = ForestSettings(contamination, n_estimators, max_samples, max_features)
    model = small_model(20, chosen, excluded=excluded)
    model = dataclasses.replace(model, card=dataclasses.replace(model.card, note=note))
    assert_same(Model.from_bytes(model.to_bytes()), model)


def other_files() -> dict[str, bytes]:
    zipped, single = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("readme.txt", "no model")
    np.save(single, np.arange(3))
    return {
        "nothing": b"",
        "text": b"no model at all\n",
        "a pickle": pickle.dumps({"a": 1}),
        "a pickled forest": pickle.dumps(IsolationForest(n_estimators=1).fit(normal_rows(5))),
        "a zip": zipped.getvalue(),
        "one array": single.getvalue(),
        "no version": rewritten(format_version=None),
        "a version that is no number": rewritten(format_version=np.array("one")),
        "versions": rewritten(format_version=np.array([1, 2])),
    }


@pytest.mark.parametrize("kind", other_files())
def test_another_file_is_refused_with_the_remedy(kind):
    with pytest.raises(ModelError, match=r"convert-model.*or train a new model"):
        Model.from_bytes(other_files()[kind])


@pytest.mark.parametrize("name", ["card", "training_scores", "root", "threshold", "n_features"])
def test_a_file_without_one_of_its_parts_is_damaged(name):
    with pytest.raises(ModelError, match=f"damaged.*{name}.*train a new model"):
        Model.from_bytes(rewritten(**{name: None}))


@pytest.mark.parametrize(
    "changes",
    [
        {"root": np.array([10**6])},
        {"left": np.zeros(3, dtype=np.int32)},
        {"threshold": np.array(["a"])},
        {"training_scores": np.zeros((2, 2))},
        {"training_scores": np.array(["a"])},
        {"card": np.array([255, 254], dtype=np.uint8)},
        {"card": card_bytes(feature_names=["mean_x"])},
    ],
    ids=["root", "shape", "text", "scores", "text scores", "no text", "another number of features"],
)
def test_a_file_whose_parts_do_not_fit_is_damaged(changes):
    with pytest.raises(ModelError, match=r"damaged.*train a new model"):
        Model.from_bytes(rewritten(**changes))


class Canary:
    """Tells on whoever unpickles it."""

    sang = False

    def __reduce__(self):
        return (setattr, (Canary, "sang", True))


@pytest.mark.parametrize("name", ["root", "card", "training_scores", "format_version", "extra"])
def test_an_array_of_pickled_objects_is_refused_and_never_unpickled(name):
    with pytest.raises(ModelError):
        Model.from_bytes(rewritten(**{name: np.array([Canary()], dtype=object)}))
    assert not Canary.sang


def test_a_newer_format_is_refused_as_such_even_if_its_parts_have_other_names():
    newer = np.array(FORMAT_VERSION + 1)
    for data in (
        rewritten(format_version=newer),
        rewritten(format_version=newer, training_scores=None, card=None, root=None),
    ):
        with pytest.raises(ModelError, match=f"format {FORMAT_VERSION + 1}.*update"):
            Model.from_bytes(data)


def test_a_file_cut_off_anywhere_is_refused():
    for end in [*range(0, len(BYTES), 97), len(BYTES) - 1]:
        with pytest.raises(ModelError):
            Model.from_bytes(BYTES[:end])


def assert_refused_or_unharmed(data: bytes) -> None:
    try:
        model = Model.from_bytes(data)
    except ModelError:
        return
    # Some bytes of a zip archive mean nothing to a reader: dates, rights, places for notes.
    assert_same(model, MODEL)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(BYTES) - 1), st.integers(0, 255)), min_size=1, max_size=3))
def test_changed_bytes_are_refused_or_change_nothing(changes):
    data = bytearray(BYTES)
    for position, value in changes:
        data[position] = value
    assert_refused_or_unharmed(bytes(data))


@pytest.mark.parametrize("flip", [0x01, 0xFF])
def test_flipped_bytes_all_over_the_file_are_refused_or_change_nothing(flip):
    # The directory of the archive is at the end: encryption flags and unknown compressions are there.
    positions = [*range(0, len(BYTES), 13), *range(BYTES.index(b"PK\x01\x02"), len(BYTES), 3)]
    for position in positions:
        assert_refused_or_unharmed(BYTES[:position] + bytes([BYTES[position] ^ flip]) + BYTES[position + 1 :])


# The card


def test_a_card_survives_its_text():
    assert ModelCard.from_json(MODEL.card.to_json()) == MODEL.card


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        '{"model_id": "a"}',
        json.dumps(json.loads(MODEL.card.to_json()) | {"feature_names": None}),
        json.dumps(json.loads(MODEL.card.to_json()) | {"feature_settings": {"triggers": "none"}}),
        json.dumps(json.loads(MODEL.card.to_json()) | {"feature_settings": ["images"]}),
        json.dumps(json.loads(MODEL.card.to_json()) | {"forest_settings": {"contamination": 2}}),
        json.dumps(json.loads(MODEL.card.to_json()) | {"forest_settings": {"contamination": "much"}}),
        json.dumps(json.loads(MODEL.card.to_json()) | {"unknown": 1}),
    ],
)
def test_a_text_that_is_no_card_is_refused_with_the_remedy(text):
    with pytest.raises(ModelError, match=r"card cannot be read.*train the model anew"):
        ModelCard.from_json(text)


# Settings


def test_the_defaults_are_those_of_scikit_learn_but_for_contamination():
    defaults, theirs = ForestSettings(), IsolationForest()
    assert (defaults.n_estimators, defaults.max_samples, defaults.max_features) == (
        theirs.n_estimators,
        theirs.max_samples,
        theirs.max_features,
    )
    assert (defaults.contamination, defaults.random_seed) == (0.02, 42)


@pytest.mark.parametrize(
    "good",
    [
        {"contamination": 0.5},
        {"contamination": 1e-9},
        {"n_estimators": 1},
        {"max_samples": 1},
        {"max_samples": 1.0},
        {"max_samples": 1e-9},
        {"max_samples": "auto"},
        {"max_features": 1},
        {"max_features": 0.01},
        {"random_seed": 0},
        {"random_seed": 2**32 - 1},
    ],
)
def test_settings_at_the_ends_of_their_ranges_are_taken(good):
    assert dataclasses.asdict(ForestSettings(**good)).items() >= good.items()


@pytest.mark.parametrize(
    "bad",
    [
        *({"contamination": value} for value in (0, -0.1, 0.51, 1, float("nan"), float("inf"))),
        *({"n_estimators": value} for value in (0, -1, 1.5)),
        *({"max_samples": value} for value in (0, -1, 0.0, 1.5, float("nan"), True, "all", None)),
        *({"max_features": value} for value in (0, -1, 0.0, 1.5, float("nan"), True, "auto", None)),
        *({"random_seed": value} for value in (-1, 2**32, 0.5)),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused_by_name_and_value(bad):
    ((name, value),) = bad.items()
    with pytest.raises(ModelError, match=name) as refused:
        ForestSettings(**bad)
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(
    ("text", "amount"), [("auto", "auto"), ("256", 256), ("1", 1), ("0.5", 0.5), ("1.0", 1.0), ("1e-3", 0.001)]
)
def test_an_amount_is_auto_a_count_or_a_share(text, amount):
    parsed = parse_amount(text)
    assert parsed == amount
    assert type(parsed) is type(amount)


@pytest.mark.parametrize("text", ["", "all", "Auto", "1/2", "50%", "1,5", "0x10"])
def test_another_amount_is_refused_in_quotes(text):
    with pytest.raises(ModelError, match="neither auto, nor a count") as refused:
        parse_amount(text)
    assert repr(text) in str(refused.value)


def test_a_forest_gives_verdicts_in_the_table_of_all_models():
    import pyarrow as pa

    from ifcb_flow_pipeline.detection.verdict.severity import VERDICT_COLUMNS

    matrix = normal_rows(6, seed=3)
    matrix[5] = np.nan
    columns = {name: [name] * 6 for name in ("pid", "instrument", "status", "reason")} | {"start_time": [None] * 6}
    rows = pa.table(columns | {name: matrix[:, i] for i, name in enumerate(NAMES)})
    verdicts = MODEL.judge(rows, rows)
    assert verdicts.column_names == list(VERDICT_COLUMNS)
    assert verdicts["anomaly_score"].to_pylist()[:5] == MODEL.score(matrix).anomaly_score[:5].tolist()
    is_bad = MODEL.score(matrix).is_anomaly[:5]
    assert [verdict == "bad" for verdict in verdicts["verdict"].to_pylist()[:5]] == is_bad.tolist()
    assert verdicts["verdict"][5].as_py() == "unreadable"
    assert verdicts["severity"][5].as_py() == 100.0
    ranks = [
        np.argsort(verdicts[name].to_numpy()[:5] * sign) for name, sign in (("severity", -1), ("anomaly_score", 1))
    ]
    assert (ranks[0] == ranks[1]).all()
    assert verdicts["severity"].to_numpy()[:5].max() < 100.0
