"""The Python interface: FeatureExtractor, ModelTrainer, Inferencer, and the tables beneath them."""

import os
import subprocess
import sys
import time
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv
from sklearn.ensemble import IsolationForest

import ifcb_flow_pipeline
from ifcb_flow_pipeline import FeatureExtractor, Inferencer, ModelTrainer, api, cli, days
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.detection.trial import instrument_forests
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.selection import SelectionError
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.simulate.archive import bin_directory
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import read_model, write_model

PIDS = [f"D202308{10 + i % 2}T{i:02}0000_IFCB134" for i in range(14)]
HEADER_ONLY = "D20230811T200000_IFCB134"
TINY = "D20230811T210000_IFCB134"
UNKNOWN = "D20230812T000000_IFCB134"
EDGES = "{spatial_stats: {mean_x: false, std_y: false}, temporal: {t_y_var: false}}"


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """Fourteen healthy bins of two days, one of three triggers (two images), and a header without its bin."""
    root = tmp_path_factory.mktemp("archive")
    for i, pid in enumerate(PIDS):
        write_bin(simulate_bin(pid, mean_triggers=80, seed=i), bin_directory(root, pid))
    write_bin(simulate_bin(HEADER_ONLY, mean_triggers=60), bin_directory(root, HEADER_ONLY))
    (bin_directory(root, HEADER_ONLY) / f"{HEADER_ONLY}.adc").unlink()
    for path in write_bin(simulate_bin(TINY, mean_triggers=60), bin_directory(root, TINY)):
        if path.suffix == ".adc":
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
            os.utime(path, (0, 0))
    return root


@pytest.fixture(scope="session")
def features(archive):
    return FeatureExtractor().load_extract_parallel(None, archive)


@pytest.fixture(scope="session")
def model(features, tmp_path_factory):
    return ModelTrainer(tmp_path_factory.mktemp("model") / "m.npz").train_classifier(features)


def matrix_of(rows) -> np.ndarray:
    return np.array([row["features"] for row in rows if row["features"] is not None])


def assert_same_rows(actual, expected):
    """Equal to the last bit, also where features are None."""
    assert [row["pid"] for row in actual] == [row["pid"] for row in expected]
    for found, wanted in zip(actual, expected, strict=True):
        assert (found["status"], found["reason"]) == (wanted["status"], wanted["reason"])
        np.testing.assert_array_equal(found["features"], wanted["features"])


# The package


def test_the_package_offers_the_three_classes_and_nothing_by_accident():
    assert ifcb_flow_pipeline.FeatureExtractor is api.FeatureExtractor
    assert ifcb_flow_pipeline.ModelTrainer is api.ModelTrainer
    assert ifcb_flow_pipeline.Inferencer is api.Inferencer
    with pytest.raises(AttributeError, match=r"'ifcb_flow_pipeline' has no attribute 'FeatureExtracter'"):
        _ = ifcb_flow_pipeline.FeatureExtracter


def in_a_fresh_interpreter(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_package_loads_nothing_before_it_is_used():
    code = "import sys, ifcb_flow_pipeline; print(sorted({'numpy', 'sklearn', 'dagster'} & set(sys.modules)))"
    assert in_a_fresh_interpreter(code) == "[]\n"


def test_the_package_lists_what_it_offers():
    assert in_a_fresh_interpreter("import ifcb_flow_pipeline as p; print(set(p.__all__) <= set(dir(p)))") == "True\n"


# Features


def test_without_ids_all_bins_come_in_order_of_time_with_a_row_for_each_without_features(features):
    assert [row["pid"] for row in features] == sorted([*PIDS, HEADER_ONLY, TINY], key=lambda pid: pid[1:16])
    outcome = {row["pid"]: (row["status"], row["reason"]) for row in features if row["features"] is None}
    assert outcome == {
        HEADER_ONLY: ("no_adc", "the .adc file is missing"),
        TINY: ("too_few_points", "2 images, features need 30"),
    }
    assert matrix_of(features).shape == (14, len(FEATURE_NAMES))
    assert np.isfinite(matrix_of(features)).all()


def test_bins_come_in_the_order_asked_for_with_a_reason_for_each_that_is_not_there(archive, features):
    asked = [PIDS[5], UNKNOWN, PIDS[0], "scores.csv", PIDS[5]]
    rows = FeatureExtractor().load_extract_parallel(asked, archive)
    assert [row["pid"] for row in rows] == asked
    assert [row["status"] for row in rows] == ["ok", "not_found", "ok", "not_found", "ok"]
    assert rows[1]["reason"] == f"no such bin in {archive}"
    assert rows[3]["reason"].startswith("'scores.csv' is not a bin identifier; expected D")
    assert rows[1]["features"] is rows[3]["features"] is None
    known = {row["pid"]: row["features"] for row in features}
    for i in (0, 2, 4):
        np.testing.assert_array_equal(rows[i]["features"], known[asked[i]])


def test_the_bins_before_are_those_of_the_instrument_in_the_fifteen_days_up_to_the_day(tmp_path):
    for day, instrument in (
        ("01", "IFCB134"),
        ("02", "IFCB134"),
        ("17", "IFCB124"),
        ("17", "IFCB134"),
        ("18", "IFCB134"),
    ):
        (tmp_path / f"D202308{day}T060000_{instrument}.adc").touch()
    archive = Archive(tmp_path)
    asked = ["D20230817T060000_IFCB134", "no identifier"]
    assert api.bins_before(archive, asked) == ["D20230802T060000_IFCB134"]
    assert api.bins_before(archive, ["D20230818T235959_IFCB134"]) == [
        "D20230817T060000_IFCB134", "D20230818T060000_IFCB134"
    ]  # fmt: skip
    assert api.bins_before(archive, ["no identifier"]) == []


def test_for_some_bins_only_the_directories_of_their_days_are_looked_into(tmp_path, monkeypatch):
    pid = "D20230817T060000_IFCB134"
    for day in ("20200101", "20230802", "20230817", "20230901"):
        folder = tmp_path / f"D{day[:4]}" / f"D{day}"
        folder.mkdir(parents=True)
        (folder / f"D{day}T060000_IFCB134.adc").touch()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "D20230817T070000_IFCB134.adc").touch()
    looked = []
    inside = Archive.inside
    monkeypatch.setattr(Archive, "inside", lambda self, path, *some: looked.append(path) or inside(self, path, *some))
    archive = Archive(tmp_path, settle=timedelta())
    found = api.archive_features(archive, [pid, pid.lower(), "no identifier"], FeatureSettings())
    assert found["status"].to_pylist() == ["empty", "empty", "not_found"]
    assert sorted(looked) == ["", "D2023", "D2023/D20230817", "flat"]
    looked.clear()
    assert api.bins_before(archive, [pid]) == ["D20230802T060000_IFCB134", "D20230817T070000_IFCB134"]
    assert sorted(looked) == ["", "D2023", "D2023/D20230802", "D2023/D20230817", "flat"]


def test_a_bin_that_lies_where_nobody_would_look_for_it_is_found_all_the_same(tmp_path):
    (tmp_path / "D20200101").mkdir()
    (tmp_path / "D20200101" / "D20230817T060000_IFCB134.adc").touch()
    archive = Archive(tmp_path, settle=timedelta())
    found = api.archive_features(archive, ["D20230817T060000_IFCB134"], FeatureSettings())
    assert found["status"].to_pylist() == ["misplaced"]


def test_a_forest_for_each_instrument_is_trained_from_rows_and_gives_unknown_instruments_no_score(
    features, tmp_path, monkeypatch
):
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 14)
    trainer = ModelTrainer(tmp_path / "m.npz", detector="mcif-calibrated")
    trained = trainer.train_classifier(features)
    assert trained.card.kind == "mcif-calibrated"
    assert trained.card.n_bins_by_instrument == {"IFCB134": 14}
    assert trainer.load_model().card == trained.card
    foreign = features[0] | {"pid": "D20230810T000000_IFCB9"}
    scores = {row["pid"]: row for row in Inferencer(model_path=tmp_path / "m.npz").score([*features, foreign])}
    assert all(scores[pid]["anomaly_score"] < 0 for pid in PIDS)
    assert sum(row["is_anomaly"] for row in scores.values()) == 1
    for pid in (foreign["pid"], HEADER_ONLY, TINY):
        assert np.isnan(scores[pid]["anomaly_score"])
        assert not scores[pid]["is_anomaly"]


def test_the_flow_model_is_not_trained_from_rows_of_features_alone(features, tmp_path):
    with pytest.raises(ModelError, match="train it with 'ifcb-flow train'"):
        ModelTrainer(tmp_path / "m.npz", detector="flow").train_classifier(features)


def test_classes_for_the_reference_features_refuse_a_model_of_others_with_the_remedy(archive, tmp_path):
    settings = FeatureSettings()
    write_model(tmp_path / "m.npz", api.train_on(api.archive_features(Archive(archive), None, settings), settings))
    for load in (lambda path: Inferencer(model_path=path), lambda path: ModelTrainer(path).load_model()):
        with pytest.raises(ModelError, match=r"judges by the feature set full.*ifcb-flow score"):
            load(tmp_path / "m.npz")


def test_no_ids_at_all_give_no_rows(archive, tmp_path):
    assert FeatureExtractor().load_extract_parallel([], archive) == []
    assert FeatureExtractor().load_extract_parallel(None, tmp_path) == []


@settings(max_examples=25)
@given(
    asked=st.lists(st.sampled_from([*PIDS, HEADER_ONLY, TINY, UNKNOWN, ""]), max_size=20),
    chunk_size=st.integers(1, 25),
    n_jobs=st.sampled_from([1, 2, 3, -1]),
)
def test_rows_do_not_depend_on_how_the_work_is_divided(archive, features, asked, chunk_size, n_jobs):
    rows = FeatureExtractor().load_extract_parallel(asked, archive, chunk_size, n_jobs)
    known = {row["pid"]: row for row in features}
    assert [row["pid"] for row in rows] == asked
    there = [row for row in rows if row["pid"] in known]
    assert_same_rows(there, [known[row["pid"]] for row in there])
    assert {row["status"] for row in rows if row["pid"] not in known} <= {"not_found"}


def test_finished_bins_are_told_as_they_are_finished(archive):
    told = []
    work = api.Work(n_jobs=2, chunk_size=3, progress=told.append)
    table = api.archive_features(Archive(archive), PIDS[:8], FeatureSettings(), work)
    assert told == [3, 3, 2]
    assert table["pid"].to_pylist() == PIDS[:8]


def test_threads_share_the_work_evenly_however_few_bins_there_are():
    for n_jobs in (1, 2, 3):
        for n_bins in (0, 1, 30, 450, 900, 5000):
            size = api.Work(n_jobs=n_jobs).task_size(n_bins)
            # A thread more than the others have is one task; each may begin with 16 bins.
            assert size <= max(16, n_bins / (8 * n_jobs))
            assert size == 100 or n_bins < 100 * 8 * n_jobs
    assert api.Work(chunk_size=7).task_size(5000) == 7


def test_the_reference_set_alone_gives_the_same_rows_as_all_features_do(archive):
    asked = [*PIDS[:4], TINY, HEADER_ONLY, UNKNOWN]
    alone = api.archive_features(Archive(archive), asked, FeatureSettings(), feature_set="reference")
    of_all = api.archive_features(Archive(archive), asked, FeatureSettings())
    assert set(FEATURE_NAMES) < set(alone.column_names) < set(of_all.column_names)
    expected = of_all.select(alone.column_names)
    pd.testing.assert_frame_equal(alone.to_pandas(), expected.to_pandas(), check_exact=True)


def test_only_the_selected_features_are_given_in_the_order_of_the_catalogue(archive, features):
    extractor = FeatureExtractor(feature_config=EDGES)
    left_out = {"mean_x", "std_y", "t_y_var"}
    assert extractor.feature_names == tuple(name for name in FEATURE_NAMES if name not in left_out)
    rows = extractor.load_extract_parallel(PIDS, archive)
    columns = [i for i, name in enumerate(FEATURE_NAMES) if name not in left_out]
    everything = {row["pid"]: row["features"] for row in features}
    np.testing.assert_array_equal(matrix_of(rows), np.array([everything[pid] for pid in PIDS])[:, columns])


def test_a_selection_can_be_a_mapping_as_well_as_yaml():
    as_mapping = {"spatial_stats": {"mean_x": False, "std_y": False}, "temporal": {"t_y_var": False}}
    assert (
        FeatureExtractor(feature_config=as_mapping).feature_names
        == FeatureExtractor(feature_config=EDGES).feature_names
    )


def test_the_aspect_ratio_divides_x_and_nothing_of_y(archive):
    plain = FeatureExtractor(aspect_ratio=1.0).load_extract_parallel(PIDS, archive)
    scaled = FeatureExtractor(aspect_ratio=2.0).load_extract_parallel(PIDS, archive)
    at = FEATURE_NAMES.index
    np.testing.assert_allclose(matrix_of(scaled)[:, at("mean_x")], matrix_of(plain)[:, at("mean_x")] / 2, rtol=1e-12)
    np.testing.assert_array_equal(matrix_of(scaled)[:, at("mean_y")], matrix_of(plain)[:, at("mean_y")])


def test_the_default_aspect_ratio_is_that_of_the_replaced_tool(archive, features):
    assert_same_rows(FeatureExtractor(aspect_ratio=1.36).load_extract_parallel(None, archive), features)


def test_bins_written_a_moment_ago_are_read_as_the_command_line_reads_them(tmp_path):
    # The pipeline waits for files to settle; who names a directory wants what is there now.
    for path in write_bin(simulate_bin(PIDS[0], mean_triggers=80), tmp_path):
        os.utime(path, (time.time(), time.time()))
    assert [row["status"] for row in FeatureExtractor().load_extract_parallel(None, tmp_path)] == ["ok"]


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: FeatureExtractor(aspect_ratio=0.0), ValueError, "aspect ratio must be a positive number, not 0.0"),
        (lambda: FeatureExtractor(triggers="image"), ValueError, "triggers must be one of images, all"),
        (lambda: FeatureExtractor(feature_config="{edges: {}}"), SelectionError, "unknown feature family 'edges'"),
        (lambda: ModelTrainer(contamination=0.7), ModelError, "contamination must be above 0 and at most 0.5"),
        (lambda: ModelTrainer(max_samples="many"), ModelError, "'many' is neither auto, nor a count"),
        (lambda: ModelTrainer(max_features=1.5), ModelError, "max_features must be a count or a share"),
        (Inferencer, ModelError, "give either a model or a model_path"),
        (lambda: Inferencer(model_path="nowhere.npz"), ModelError, "cannot read the model nowhere.npz: No such file"),
        (lambda: ModelTrainer("nowhere.npz").load_model(), ModelError, "cannot read the model nowhere.npz"),
    ],
)
def test_a_wrong_setting_is_named_at_once(tmp_path, monkeypatch, make, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        make()


def test_both_a_model_and_a_path_are_too_much(model):
    with pytest.raises(ModelError, match="give either a model or a model_path"):
        Inferencer(model, "m.npz")


def test_a_directory_or_chunk_size_that_makes_no_sense_is_named(archive, tmp_path):
    with pytest.raises(ArchiveError, match=r"no directory .*nowhere"):
        FeatureExtractor().load_extract_parallel(None, tmp_path / "nowhere")
    for chunk_size in (0, -1):
        with pytest.raises(ValueError, match=f"chunk size must be at least 1, not {chunk_size}"):
            FeatureExtractor().load_extract_parallel(None, archive, chunk_size=chunk_size)


# Training and scoring


@pytest.mark.parametrize(
    "forest", [{}, {"max_samples": 256}, {"max_samples": 5}, {"max_samples": 0.5}, {"max_features": 0.4}], ids=str
)
def test_scores_are_those_of_scikit_learn_on_the_same_features(features, tmp_path, forest):
    trained = ModelTrainer(filepath=tmp_path / "m.npz", **forest).train_classifier(features)
    matrix = matrix_of(sorted(features, key=lambda row: row["pid"]))
    theirs = dict(forest, max_samples=min(forest.get("max_samples", 256), 14))
    expected = IsolationForest(contamination=0.02, random_state=42, **theirs).fit(matrix)
    found = Inferencer(model_path=tmp_path / "m.npz").score(features)
    scored = sorted((row for row in found if row["status"] == "ok"), key=lambda row: row["pid"])
    np.testing.assert_allclose(
        [row["anomaly_score"] for row in scored], expected.score_samples(matrix), rtol=0, atol=1e-12
    )
    assert [row["is_anomaly"] for row in scored] == (expected.predict(matrix) == -1).tolist()
    assert trained.card.threshold == pytest.approx(expected.offset_, abs=1e-12)


def test_a_model_does_not_depend_on_the_order_of_its_bins(features, model, tmp_path):
    turned = features[::-1]
    again = ModelTrainer(tmp_path / "m.npz").train_classifier(turned)
    assert again.card.training_pids_sha256 == model.card.training_pids_sha256
    np.testing.assert_array_equal(again.training_scores, model.training_scores)


def test_a_bin_given_twice_is_trained_on_once(archive, features, model, tmp_path):
    twice = FeatureExtractor().load_extract_parallel([*PIDS, *PIDS, HEADER_ONLY, HEADER_ONLY], archive)
    again = ModelTrainer(tmp_path / "m.npz").train_classifier(twice)
    assert again.card.n_bins == 14
    assert again.card.excluded == {"no_adc": [HEADER_ONLY]}
    np.testing.assert_array_equal(again.training_scores, model.training_scores)


def test_the_model_is_written_returned_and_read_again(features, tmp_path):
    trainer = ModelTrainer(filepath=str(tmp_path / "models" / "m.npz"), contamination=0.3)
    trained = trainer.train_classifier(features)
    assert trainer.load_model().card == trained.card
    assert trained.card.n_bins == 14
    assert trained.card.excluded == {"no_adc": [HEADER_ONLY], "too_few_points": [TINY]}
    assert (trained.card.first_day, trained.card.last_day) == ("2023-08-10", "2023-08-11")
    assert trained.card.n_bins_by_instrument == {"IFCB134": 14}
    given, read = Inferencer(trained), Inferencer(model_path=tmp_path / "models" / "m.npz")
    assert read.card == given.card
    assert repr(read.score(features)) == repr(given.score(features))
    assert sum(row["is_anomaly"] for row in given.score(features)) == 4


def test_too_few_bins_train_nothing_and_write_nothing(archive, tmp_path):
    few = FeatureExtractor().load_extract_parallel([*PIDS[:9], UNKNOWN], archive)
    with pytest.raises(ModelError, match=r"9 bins with features to train on, at least 10 are needed \(1 excluded\)"):
        ModelTrainer(tmp_path / "m.npz").train_classifier(few)
    assert list(tmp_path.iterdir()) == []


def test_scores_come_in_the_order_given_with_nan_and_the_reason_where_there_are_none(archive, model):
    asked = [PIDS[3], UNKNOWN, TINY, PIDS[1]]
    scores = Inferencer(model).score(FeatureExtractor().load_extract_parallel(asked, archive))
    assert [row["pid"] for row in scores] == asked
    assert [row["status"] for row in scores] == ["ok", "not_found", "too_few_points", "ok"]
    assert [bool(np.isnan(row["anomaly_score"])) for row in scores] == [False, True, True, False]
    assert [bool(np.isnan(row["percentile"])) for row in scores] == [False, True, True, False]
    assert scores[1]["reason"] == f"no such bin in {archive}"
    assert scores[1]["is_anomaly"] is scores[2]["is_anomaly"] is False
    assert -1 < scores[0]["anomaly_score"] < 0
    assert Inferencer(model).score([]) == []


def test_features_made_with_other_settings_are_refused(archive, model):
    for other in (FeatureExtractor(triggers="all"), FeatureExtractor(aspect_ratio=1.0)):
        with pytest.raises(ModelError, match=r"was trained with triggers=images, aspect ratio 1\.36"):
            Inferencer(model).score(other.load_extract_parallel(PIDS, archive))


def test_features_that_the_model_needs_and_that_were_not_extracted_are_named(archive, model):
    rows = FeatureExtractor(feature_config=EDGES).load_extract_parallel(PIDS, archive)
    with pytest.raises(ModelError, match="the model needs mean_x, std_y, t_y_var; extract these features too"):
        Inferencer(model).score(rows)


def test_a_model_of_some_features_scores_bins_that_have_more(archive, features, tmp_path):
    rows = FeatureExtractor(feature_config=EDGES).load_extract_parallel(None, archive)
    trained = ModelTrainer(tmp_path / "m.npz").train_classifier(rows)
    assert trained.card.feature_names == rows[0]["feature_names"]
    assert repr(Inferencer(trained).score(features)) == repr(Inferencer(trained).score(rows))


# Plain lists, as users of ifcb-flow-metric have them


def plain(rows):
    return [{"pid": row["pid"], "features": row["features"]} for row in rows]


def test_plain_lists_of_all_features_train_and_are_scored_alike(features, model, tmp_path):
    trained = ModelTrainer(tmp_path / "m.npz").train_classifier(plain(features))
    np.testing.assert_array_equal(trained.training_scores, model.training_scores)
    assert trained.card.feature_names == FEATURE_NAMES
    assert trained.card.excluded == {"no features": [HEADER_ONLY, TINY]}
    expected = [row["anomaly_score"] for row in Inferencer(model).score(features)]
    np.testing.assert_array_equal([row["anomaly_score"] for row in Inferencer(model).score(plain(features))], expected)


def test_plain_lists_of_some_features_need_their_names_for_training_and_for_scoring(archive, tmp_path):
    rows = FeatureExtractor(feature_config=EDGES).load_extract_parallel(None, archive)
    trainer = ModelTrainer(tmp_path / "m.npz")
    with pytest.raises(ModelError, match=r"features of lengths \[24\]: say which they are with feature_names"):
        trainer.train_classifier(plain(rows))
    trained = trainer.train_classifier(plain(rows), list(rows[0]["feature_names"]))
    assert trained.card.feature_names == rows[0]["feature_names"]
    with pytest.raises(ModelError, match="say which they are with feature_names"):
        Inferencer(trained).score(plain(rows))
    # The remedy that the message names was not there for scoring.
    named = Inferencer(trained).score(plain(rows), feature_names=rows[0]["feature_names"])
    expected = Inferencer(trained).score(rows)
    np.testing.assert_array_equal([r["anomaly_score"] for r in named], [r["anomaly_score"] for r in expected])


@pytest.mark.parametrize("names", [FEATURE_NAMES[:5], (*FEATURE_NAMES, "more")], ids=["too few", "too many"])
def test_names_that_are_not_as_many_as_the_features_are_refused(features, model, tmp_path, names):
    # NumPy's "cannot reshape array" named neither the bin nor the remedy.
    with pytest.raises(ModelError, match=rf"27 features.* {len(names)} names"):
        ModelTrainer(tmp_path / "m.npz").train_classifier(plain(features), names)
    with pytest.raises(ModelError, match=rf"27 features.* {len(names)} names"):
        Inferencer(model).score(plain(features), feature_names=names)


def test_names_that_are_not_those_of_the_results_are_refused(features, model, tmp_path):
    for names in (FEATURE_NAMES[::-1], FEATURE_NAMES[:5]):
        with pytest.raises(ModelError, match="not those of feature_names"):
            ModelTrainer(tmp_path / "m.npz").train_classifier(features, names)
        with pytest.raises(ModelError, match="not those of feature_names"):
            Inferencer(model).score(features, names)
    ModelTrainer(tmp_path / "m.npz").train_classifier(features, list(FEATURE_NAMES))


def test_bins_of_different_numbers_of_features_are_refused(features, tmp_path):
    rows = plain(features)
    rows[0]["features"] = rows[0]["features"][:-1]
    with pytest.raises(ModelError, match=r"features of lengths \[26, 27\]"):
        ModelTrainer(tmp_path / "m.npz").train_classifier(rows)


@pytest.mark.parametrize(
    "part", [lambda rows: rows[:], lambda rows: [row for row in rows if row["status"] == "ok"]], ids=["slice", "filter"]
)
def test_a_part_of_the_results_still_knows_how_it_was_made(archive, model, tmp_path, part):
    # A list comprehension lost the settings: the model's card then said images, and score used images.
    rows = FeatureExtractor(1.0, feature_config=EDGES, triggers="all").load_extract_parallel(None, archive)
    trained = ModelTrainer(tmp_path / "m.npz").train_classifier(part(rows))
    assert trained.card.feature_settings == FeatureSettings("all", 1.0)
    assert trained.card.feature_names == rows[0]["feature_names"]
    everything = FeatureExtractor(1.0, triggers="all").load_extract_parallel(None, archive)
    with pytest.raises(ModelError, match="these features have triggers=all"):
        Inferencer(model).score(part(everything))


def test_results_that_were_made_in_different_ways_do_not_mix(archive, features, tmp_path):
    mixed = [*features, *FeatureExtractor(triggers="all").load_extract_parallel(None, archive)]
    with pytest.raises(ModelError, match="made in different ways"):
        ModelTrainer(tmp_path / "m.npz").train_classifier(mixed)


# The same numbers by every way


def test_the_command_line_and_the_daily_tables_give_the_same_numbers(archive, features, tmp_path):
    tables = DailyTables(tmp_path / "tables")
    source = Archive(archive, settle=timedelta())
    listing = source.scan()
    trained = ModelTrainer(tmp_path / "m.npz").train_classifier(features)
    for day in listing.days:
        days.write_inventory(tables, source, listing, day)
        days.write_clouds(tables, source, day)
        days.write_features(tables, FeatureSettings(), day)
        days.write_scores(tables, trained, day)
    first, last = date(2023, 8, 10), date(2023, 8, 11)
    stored = tables.read_range(days.BIN_FEATURES, first, last)
    table = api.archive_features(Archive(archive), None, FeatureSettings())
    assert stored.num_rows == 16
    pd.testing.assert_frame_equal(stored.to_pandas(), table.to_pandas(), check_exact=True)
    np.testing.assert_array_equal(
        stored.select(FEATURE_NAMES).filter(np.array(stored["status"]) == "ok").to_pandas(), matrix_of(features)
    )

    output = tmp_path / "scores.csv"
    for arguments in (
        ["train", "--feature-set", "reference", "--model", "n.npz"],
        ["score", "--model", "m.npz", "--output", "scores.csv"],
    ):
        paths = [str(tmp_path / text) if "." in text else text for text in arguments]
        done = CliRunner().invoke(cli.main, [*paths, str(archive)])
        assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(read_model(tmp_path / "n.npz").training_scores, trained.training_scores)
    by_command = csv.read_csv(output).to_pandas().set_index("pid")
    by_table = tables.read_range(days.BIN_SCORES, first, last).to_pandas().set_index("pid")
    by_class = pd.DataFrame(Inferencer(trained).score(features)).set_index("pid")
    for column in ("anomaly_score", "percentile"):
        expected = by_class[column].sort_index()
        pd.testing.assert_series_equal(by_table[column].sort_index(), expected, check_exact=True)
        pd.testing.assert_series_equal(by_command[column].sort_index(), expected, check_exact=True)
    for column in ("verdict", "threshold", "model_id", "status"):
        pd.testing.assert_series_equal(
            by_command[column].sort_index(), by_table[column].sort_index(), check_dtype=False
        )
