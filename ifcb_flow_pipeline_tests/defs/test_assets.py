"""The assets, materialized through Dagster over a small simulated archive."""

import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.bins.archive import EXTENSIONS
from ifcb_flow_pipeline.definitions import defs
from ifcb_flow_pipeline.detection.flow.training import FlowModel
from ifcb_flow_pipeline.detection.trial import instrument_forests
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, TABLES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, HOURS, N_A_DAY, Pipeline, settle

FEATURE_STEPS = ("raw_bins", "point_clouds", "bin_features")


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """The message that the UI shows for the first failed step, which was not tried again."""
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    [event, *_] = [event for event in result.all_events if event.is_step_failure]
    user = event.step_failure_data.user_failure_data
    assert user, "the failure is no foreseen one"
    return str(user.description)


def test_the_definitions_can_be_loaded() -> None:
    dg.Definitions.validate_loadable(defs)


def test_every_asset_has_a_description_kinds_group_and_code_version() -> None:
    specs = list(defs.resolve_all_asset_specs())
    external = {"archive", "decisions", "mirrored_archive"}
    made = {table.name for table in TABLES} | {"anomaly_model", "image_model"}
    assert {spec.key.to_user_string() for spec in specs} == made | external
    for spec in specs:
        assert spec.description
        assert spec.kinds
        assert spec.group_name == "ifcb_flow"
        assert spec.code_version or spec.key.to_user_string() in external


def test_a_range_of_days_is_one_run_that_makes_every_table_of_every_day(made: Pipeline) -> None:
    tables = made.deployment.tables
    for table in TABLES:
        assert tables.days(table) == DAYS
    for day in DAYS:
        for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES):
            rows = tables.read(table, day)
            assert rows is not None
            assert rows.num_rows == N_A_DAY
            assert set(rows["status"].to_pylist()) == {"ok"}
            assert set(rows["instrument"].to_pylist()) == {"IFCB134", "IFCB124"}


@pytest.mark.parametrize("step", ["write_inventory", "write_clouds", "write_features", "write_scores"])
def test_a_day_that_fails_stops_no_other_and_is_named(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    really = getattr(days, step)

    def failing(*arguments: object) -> object:
        if DAYS[1] in arguments:
            raise StoreError("it is broken")
        return really(*arguments)

    monkeypatch.setattr(days, step, failing)
    tables = made.deployment.tables
    for table in TABLES:
        for day in DAYS:
            tables.path(table, day).unlink()
    result = made.run("daily_flow", DAYS[0], DAYS[-1])
    assert not result.success
    assert failure_of(result) == f"1 of 3 days failed, the others were made: {DAYS[1]}: it is broken"
    for table in TABLES:
        written = [day for day in DAYS if tables.path(table, day).exists()]
        assert set(written) >= {DAYS[0], DAYS[2]}
        told = made.instance.get_materialized_partitions(dg.AssetKey(table.name))
        assert told == {day.isoformat() for day in written}
    assert made.metadata("bin_scores", DAYS[2])["dagster/row_count"].value == N_A_DAY


def test_what_may_pass_by_itself_is_tried_again_by_the_step_for_the_days_that_failed(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, tried = days.write_clouds, []

    def failing(*arguments: object) -> object:
        tried.append(arguments[-1])
        if tried.count(DAYS[1]) == 1 and arguments[-1] == DAYS[1]:
            raise OSError("the network disk does not answer")
        return really(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(days, "write_clouds", failing)
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0)  # half a minute
    assert made.run("daily_flow", DAYS[0], DAYS[-1], "raw_bins", "point_clouds").success
    assert sorted(tried) == sorted([*DAYS, DAYS[1]])


def test_damaged_features_are_made_again_where_they_are_needed(made: Pipeline) -> None:
    tables = made.deployment.tables
    before = tables.read_range(BIN_SCORES, DAYS[0], DAYS[-1])
    path = tables.path(BIN_FEATURES, DAYS[1])
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(StoreError, match="process that day again"):
        tables.read(BIN_FEATURES, DAYS[1])
    assert made.run("daily_flow", DAYS[1], DAYS[1], "bin_scores").success
    assert repr(tables.read_range(BIN_SCORES, DAYS[0], DAYS[-1]).to_pylist()) == repr(before.to_pylist())


def test_runs_over_the_same_day_wait_for_each_other(made: Pipeline) -> None:
    tables, order = made.deployment.tables, []

    def other() -> None:
        with tables.alone(DAYS[0]):
            order.append("second")

    with tables.alone(DAYS[0]):
        thread = threading.Thread(target=other)
        thread.start()
        with tables.alone(DAYS[1]):
            order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_a_run_that_finds_its_day_busy_for_too_long_says_so_and_makes_the_others(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = DailyTables.alone
    monkeypatch.setattr(DailyTables, "alone", lambda self, day: really(self, day, timedelta(0)))
    with really(made.deployment.tables, DAYS[0]):
        result = made.run("daily_flow", DAYS[0], DAYS[1], "bin_scores")
    assert failure_of(result).startswith(
        f"1 of 2 days failed, the others were made: {DAYS[0]}: {DAYS[0]} has been worked on"
    )
    assert made.run("daily_flow", DAYS[0], DAYS[1], "bin_scores").success


def test_a_single_day_can_be_run_alone(pipeline: Pipeline) -> None:
    assert pipeline.run("daily_flow", DAYS[1], DAYS[1], *FEATURE_STEPS).success
    assert pipeline.deployment.tables.days(BIN_FEATURES) == [DAYS[1]]


def test_running_again_gives_the_same_tables(made: Pipeline) -> None:
    tables = made.deployment.tables
    before = {table: tables.read_range(table, DAYS[0], DAYS[-1]).to_pandas() for table in TABLES}
    assert made.run("daily_flow", DAYS[0], DAYS[-1]).success
    for table, rows in before.items():
        pd.testing.assert_frame_equal(tables.read_range(table, DAYS[0], DAYS[-1]).to_pandas(), rows, check_exact=True)


def test_a_day_is_scored_alike_in_a_range_and_alone_in_any_order(made: Pipeline) -> None:
    tables = made.deployment.tables
    written = {day: tables.path(BIN_SCORES, day).read_bytes() for day in DAYS}
    for day in reversed(DAYS):
        tables.path(BIN_SCORES, day).unlink()
        assert made.run("daily_flow", day, day, "bin_scores").success
    assert {day: tables.path(BIN_SCORES, day).read_bytes() for day in DAYS} == written


def test_each_day_has_its_own_metadata(pipeline: Pipeline) -> None:
    pipeline.add_bin(DAYS[1], 9)
    pipeline.make_everything()
    assert [pipeline.metadata("raw_bins", day)["dagster/row_count"].value for day in DAYS] == [
        N_A_DAY,
        N_A_DAY + 1,
        N_A_DAY,
    ]
    clouds = pipeline.metadata("point_clouds", DAYS[0])
    assert int(str(clouds["dagster/row_count"].value)) > N_A_DAY * 30
    assert clouds["bins"].value == N_A_DAY
    features = pipeline.metadata("bin_features", DAYS[0])
    assert f"| ok | {N_A_DAY} |" in str(features["bins_by_status"].value)
    assert float(str(features["seconds"].value)) > 0
    scores = pipeline.metadata("bin_scores", DAYS[2])
    assert scores["dagster/row_count"].value == N_A_DAY
    assert {"running_episodes", "episodes"} <= set(scores)


def test_scores_come_with_pictures_small_ones_short_enough_to_be_shown_in_place(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    metadata = pipeline.metadata("bin_scores", DAYS[2])
    for name in ("severities", "worst_cloud"):
        text = str(metadata[name].value)
        assert text.startswith("![")
        assert "data:image/svg+xml," in text
        assert len(text) < 1000
        assert "data:image/png;base64," in str(metadata[f"{name}_large"].value)
    scores = pipeline.deployment.tables.read(BIN_SCORES, DAYS[2])
    assert scores is not None
    assert metadata["worst_bin"].value == scores["pid"][0].as_py()
    assert metadata["worst_severity"].value == round(max(scores["severity"].to_pylist()), 1)


def test_scores_and_models_link_to_their_page_of_the_review_app(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IFCB_REVIEW_URL", "http://127.0.0.1:8501")
    pipeline.make_everything()
    scores = pipeline.metadata("bin_scores", DAYS[0])
    period = f"from={DAYS[0]}T00:00&to={DAYS[0] + timedelta(days=1)}T00:00"
    assert scores["review_app"].value == f"http://127.0.0.1:8501/timeline?{period}"
    assert str(scores["worst_bin_page"].value).startswith("http://127.0.0.1:8501/bin?bin=D")
    assert pipeline.metadata("anomaly_model")["review_app"].value == "http://127.0.0.1:8501/models"


def test_in_a_long_run_only_the_last_day_gets_large_pictures_and_all_get_small_ones(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    large = [{name for name in pipeline.metadata("bin_scores", day) if name.endswith("_large")} for day in DAYS]
    assert large == [set(), set(), {"severities_large", "worst_cloud_large"}]
    assert all({"severities", "worst_cloud"} <= set(pipeline.metadata("bin_scores", day)) for day in DAYS)


def test_the_columns_of_a_table_are_described_in_the_ui() -> None:
    for table in TABLES:
        spec = next(spec for spec in defs.resolve_all_asset_specs() if spec.key.to_user_string() == table.name)
        schema = spec.metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == [column.name for column in table.columns]
        assert all(column.description for column in schema.columns)


def test_no_bin_is_lost_whatever_its_state(pipeline: Pipeline) -> None:
    day = DAYS[0]
    expected = dict.fromkeys((pid.stem for pid in pipeline.archive.rglob(f"D{day:%Y%m%d}T*.adc")), "ok")
    empty, garbage, few, hdr_only, growing = (pipeline.add_bin(day, hour) for hour in (1, 2, 3, 4, 5))
    write(pipeline, empty, b"")
    write(pipeline, garbage, b"this is no table\n" * 40)
    write(pipeline, few, pipeline.files(few)[0].read_bytes().split(b"\n", 20)[0] + b"\n")
    (pipeline.files(hdr_only)[0]).unlink()
    pipeline.files(growing)[0].touch()
    expected |= {empty: "empty", garbage: "unreadable", few: "too_few_points", hdr_only: "no_adc", growing: "unsettled"}
    pipeline.make_everything()
    for table in (BIN_FEATURES, BIN_SCORES):
        rows = pipeline.deployment.tables.read(table, day)
        assert rows is not None
        assert dict(zip(rows["pid"].to_pylist(), rows["status"].to_pylist(), strict=True)) == expected
        reasons = dict(zip(rows["pid"].to_pylist(), rows["reason"].to_pylist(), strict=True))
        assert all(reasons[pid] for pid, status in expected.items() if status != "ok")
    scores = pipeline.deployment.tables.read(BIN_SCORES, day)
    assert scores is not None
    verdicts = dict(zip(scores["pid"].to_pylist(), scores["verdict"].to_pylist(), strict=True))
    assert {pid for pid, verdict in verdicts.items() if verdict == "unreadable"} == {garbage, hdr_only, growing}
    assert {verdicts[empty], verdicts[few]} <= {"bad", "watch"}
    nan = np.isnan(scores["anomaly_score"].to_numpy()).tolist()
    assert nan == [verdict == "unreadable" for verdict in scores["verdict"].to_pylist()]
    assert np.all(np.diff(scores["severity"].to_numpy()) <= 0)


def test_the_model_in_use_is_the_last_one_trained_and_all_are_kept(made: Pipeline) -> None:
    first = made.deployment.models.current_id()
    assert made.run("retrain", anomaly_model={"config": {"random_seed": 7}}).success
    second = made.deployment.models.current_id()
    assert first != second
    assert set(made.deployment.models.ids()) == {first, second}
    card = made.deployment.models.card()
    assert card.forest_settings.random_seed == 7
    assert (card.feature_set, card.n_bins + len(card.excluded.get("rejected", []))) == ("full", 3 * N_A_DAY)
    assert card.first_day == DAYS[0].isoformat()
    assert card.versions["scikit-learn"]


def test_training_takes_window_instruments_ids_and_features_from_the_launchpad(made: Pipeline, tmp_path: Path) -> None:
    config = {"first_day": DAYS[0].isoformat(), "instruments": ["IFCB124"], "use": False}
    made.run("retrain", anomaly_model={"config": config})
    assert made.deployment.models.card(newest(made)).n_bins_by_instrument == {"IFCB124": 3 * len(HOURS)}

    pids = made.deployment.tables.read_range(BIN_FEATURES, DAYS[0], DAYS[-1])["pid"].to_pylist()[:11]
    (tmp_path / "ids.txt").write_text("\n".join([*pids, "D20230810T999999_IFCB134"]))
    chosen = {"pid_file": str(tmp_path / "ids.txt"), "features": "temporal: {t_y_var: false}", "use": False,
              "feature_set": "reference"}  # fmt: skip
    made.run("retrain", anomaly_model={"config": chosen | {"random_seed": 3}})
    card = made.deployment.models.card(newest(made))
    assert card.n_bins == 11
    assert "t_y_var" not in card.feature_names
    assert card.excluded == {"not_found": ["D20230810T999999_IFCB134"]}


@pytest.mark.parametrize("detector", ["mcif", "mcif-calibrated", "latent"])
def test_a_forest_for_each_instrument_is_chosen_in_the_launchpad_and_scores_the_next_days(
    made: Pipeline, detector: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 12)
    made.run("retrain", anomaly_model={"config": {"detector": detector, "n_estimators": 5, "use": False}})
    model = newest(made)
    card = made.deployment.models.card(model)
    assert (card.kind, card.feature_set, set(card.n_bins_by_instrument)) == (detector, "full", {"IFCB124", "IFCB134"})
    assert made.metadata("anomaly_model")["detector"].value == detector
    assert "planted air" in str(made.metadata("anomaly_model")["called_bad"].value)
    made.deployment.models.promote(model, "tests")
    assert made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores").success
    rows = made.deployment.tables.read(BIN_SCORES, DAYS[0])
    assert rows is not None
    assert set(rows["model_id"].to_pylist()) == {model}
    assert {"ok", "bad"} <= set(rows["verdict"].to_pylist())


def test_bins_of_an_instrument_without_a_forest_are_stored_as_not_judged(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instrument_forests, "MIN_INSTRUMENT_BINS", 12)
    made.run("retrain", anomaly_model={"config": {"detector": "mcif", "instruments": ["IFCB124"], "use": False}})
    made.deployment.models.promote(newest(made), "tests")
    assert made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores").success
    rows = made.deployment.tables.read(BIN_SCORES, DAYS[0])
    assert rows is not None
    other = rows.filter(pc.field("instrument") == "IFCB134")
    assert set(other["verdict"].to_pylist()) == {"not_judged"}
    assert other["severity"].is_null(nan_is_null=True).to_pylist() == [True] * other.num_rows


def newest(pipeline: Pipeline) -> str:
    """The id of the model last trained, in use or not."""
    return str(pipeline.metadata("anomaly_model")["model_id"].value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"first_day": "yesterday"}, "first_day is 'yesterday'"),
        ({"contamination": 0.7}, "contamination"),
        ({"max_samples": "many"}, "'many'"),
        ({"max_features": "auto"}, "max_features"),
        ({"features": "nonsense: {a: true}"}, "unknown feature family 'nonsense'"),
        ({"pid_file": "/no/such/file"}, "/no/such/file"),
        ({"instruments": ["IFCB999"]}, "No bins of IFCB999: check the name"),
        ({"instruments": ["IFCB999"], "feature_set": "full"}, "No bins of IFCB999: check the name"),
        ({"detector": "flow"}, "the detector flow judges by the feature set full"),
        ({"detector": "mcif"}, "no instrument has 50 bins"),
    ],
)
def test_a_wrong_training_setting_fails_at_once_and_is_named(pipeline: Pipeline, config, message) -> None:
    pipeline.run("daily_flow", DAYS[0], DAYS[-1], *FEATURE_STEPS)
    result = pipeline.run("retrain", anomaly_model={"config": {"feature_set": "reference"} | config})
    assert not result.success
    assert message in failure_of(result)


@pytest.mark.parametrize("config", [{"feature_set": "all"}, {"detector": "svm"}])
def test_where_there_are_choices_the_launchpad_knows_them(empty: Pipeline, config) -> None:
    with pytest.raises(dg.DagsterInvalidConfigError, match="not in enum type"):
        empty.run("retrain", anomaly_model={"config": config})


def test_scoring_without_a_model_says_what_to_do(pipeline: Pipeline) -> None:
    pipeline.run("daily_flow", DAYS[0], DAYS[-1], *FEATURE_STEPS)
    result = pipeline.run("daily_flow", DAYS[0], DAYS[-1], "bin_scores")
    assert failure_of(result) == "there is no model yet: start the job retrain first"


def test_scoring_refuses_a_model_of_other_features(made: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IFCB_TRIGGERS", "all")
    assert made.run("daily_flow", DAYS[0], DAYS[0], "bin_features").success
    text = failure_of(made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores"))
    assert "trained with triggers=images" in text
    assert "train a new model" in text


def test_a_step_without_the_one_before_says_which_is_missing(pipeline: Pipeline) -> None:
    text = failure_of(pipeline.run("daily_flow", DAYS[0], DAYS[0], "point_clouds"))
    assert text.startswith(f"raw_bins of {DAYS[0]} is missing")


def test_a_missing_archive_is_named(pipeline: Pipeline) -> None:
    pipeline.archive.rename(pipeline.archive.with_name("elsewhere"))
    text = failure_of(pipeline.run("daily_flow", DAYS[0], DAYS[0], "raw_bins"))
    assert str(pipeline.archive) in text
    assert "IFCB_DATA_DIR" in text


def test_a_late_bin_changes_its_day_and_no_other(made: Pipeline) -> None:
    tables = made.deployment.tables
    others = {day: tables.path(BIN_SCORES, day).read_bytes() for day in (DAYS[0], DAYS[2])}
    late = made.add_bin(DAYS[1], 3)
    assert made.run("daily_flow", DAYS[1], DAYS[1]).success
    scores = tables.read(BIN_SCORES, DAYS[1])
    assert scores is not None
    assert late in scores["pid"].to_pylist()
    assert all(tables.path(BIN_SCORES, day).read_bytes() == content for day, content in others.items())


def test_days_whose_clouds_were_deleted_can_still_be_scored(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    pipeline.deployment.tables.path(POINT_CLOUDS, DAYS[0]).unlink()
    assert pipeline.run("daily_flow", DAYS[0], DAYS[0], "bin_scores").success
    metadata = pipeline.metadata("bin_scores", DAYS[0])
    assert "severities" in metadata
    assert "worst_cloud" not in metadata


def test_a_day_without_bins_gives_empty_tables(made: Pipeline) -> None:
    day = DAYS[-1] + timedelta(days=5)
    assert made.run("daily_flow", day, day).success
    rows = made.deployment.tables.read(BIN_SCORES, day)
    assert rows is not None
    assert rows.num_rows == 0
    assert rows.schema.equals(BIN_SCORES.schema.remove_metadata(), check_metadata=False)


_KILLED_MID_WRITE = """
import os, signal, sys
from datetime import date
import pyarrow.parquet as pq
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.store import clouds

clouds._ROWS_A_GROUP = 1
written = 0
write = pq.ParquetWriter.write_table
def write_and_die(self, *args, **kwargs):
    global written
    write(self, *args, **kwargs)
    written += 1
    if written == 4:
        os.kill(os.getpid(), signal.SIGKILL)
pq.ParquetWriter.write_table = write_and_die
deployment = Deployment()
days.write_clouds(deployment.tables, deployment.settings.archive, date.fromisoformat(sys.argv[1]))
"""


@pytest.mark.parametrize("made_before", [False, True])
def test_a_run_killed_in_the_middle_of_writing_leaves_no_torn_table_and_the_next_completes_the_day(
    pipeline: Pipeline, made_before: bool
) -> None:
    day, tables = DAYS[0], pipeline.deployment.tables
    steps = FEATURE_STEPS if made_before else ("raw_bins",)
    assert pipeline.run("daily_flow", day, day, *steps).success
    before = tables.path(POINT_CLOUDS, day).read_bytes() if made_before else None

    killed = subprocess.run([sys.executable, "-c", _KILLED_MID_WRITE, day.isoformat()], check=False)

    assert killed.returncode == -signal.SIGKILL
    assert list(tables.path(POINT_CLOUDS, day).parent.glob(".*.tmp")), "it was killed before it began to write"
    if made_before:
        assert tables.path(POINT_CLOUDS, day).read_bytes() == before
    else:
        assert tables.days(POINT_CLOUDS) == []
        assert pipeline.deployment.clouds.entries(day) is None
    assert pipeline.run("daily_flow", day, day, *FEATURE_STEPS).success
    entries = pipeline.deployment.clouds.entries(day)
    assert entries is not None
    assert len(entries) == N_A_DAY
    rows = pq.ParquetFile(tables.path(POINT_CLOUDS, day)).metadata.num_rows
    assert rows == sum(entry.n_rows for entry in entries) > 0


def test_a_retry_of_a_killed_run_goes_on_where_it_stopped_and_another_run_starts_afresh(pipeline: Pipeline) -> None:
    tables = pipeline.deployment.tables
    first = pipeline.run("daily_flow", DAYS[0], DAYS[-1], *FEATURE_STEPS)
    tables.path(POINT_CLOUDS, DAYS[1]).unlink()
    written = {day: tables.path(POINT_CLOUDS, day).stat().st_mtime_ns for day in (DAYS[0], DAYS[2])}
    assert pipeline.run("daily_flow", DAYS[0], DAYS[-1], "point_clouds", retry_of=first.run_id).success
    assert tables.days(POINT_CLOUDS) == DAYS
    assert {day: tables.path(POINT_CLOUDS, day).stat().st_mtime_ns for day in written} == written
    assert pipeline.run("daily_flow", DAYS[0], DAYS[-1], "point_clouds").success
    assert all(tables.path(POINT_CLOUDS, day).stat().st_mtime_ns > at for day, at in written.items())


def test_a_retry_does_not_take_what_was_there_before_the_killed_run(pipeline: Pipeline) -> None:
    assert pipeline.run("daily_flow", DAYS[0], DAYS[0], *FEATURE_STEPS).success
    path = pipeline.deployment.tables.path(POINT_CLOUDS, DAYS[0])
    settle(path)
    killed = pipeline.run("daily_flow", DAYS[0], DAYS[0], "raw_bins")
    assert pipeline.run("daily_flow", DAYS[0], DAYS[0], "point_clouds", retry_of=killed.run_id).success
    assert path.stat().st_mtime > datetime.now(tz=UTC).timestamp() - 600


def test_a_retry_does_not_take_what_another_run_has_made_of_files_as_they_were(pipeline: Pipeline) -> None:
    day, tables = DAYS[0], pipeline.deployment.tables
    killed = pipeline.run("daily_flow", day, day, *FEATURE_STEPS)  # what it left is as old as its retry takes for done
    path = min(path for path in pipeline.deployment.settings.archive.root.rglob(f"*{day:%Y%m%d}*.adc"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert pipeline.run("daily_flow", day, day, "raw_bins").success
    assert pipeline.run("daily_flow", day, day, "point_clouds", "bin_features", retry_of=killed.run_id).success
    signatures = {
        table.name: tables.provenance(table, day).signature for table in (RAW_BINS, POINT_CLOUDS, BIN_FEATURES)
    }
    assert len(set(signatures.values())) == 1


def test_a_retry_looks_at_the_archive_again(pipeline: Pipeline) -> None:
    # What the killed run had listed may have changed since, and would count as made.
    day, tables = DAYS[0], pipeline.deployment.tables
    killed = pipeline.run("daily_flow", day, day, "raw_bins")
    before = tables.provenance(RAW_BINS, day)
    path = min(path for path in pipeline.deployment.settings.archive.root.rglob(f"*{day:%Y%m%d}*.adc"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert pipeline.run("daily_flow", day, day, "raw_bins", retry_of=killed.run_id).success
    after = tables.provenance(RAW_BINS, day)
    assert before is not None
    assert after is not None
    assert after.signature != before.signature


def test_the_model_file_holds_no_pickle(made: Pipeline) -> None:
    path = made.deployment.settings.home / "models" / str(made.deployment.models.current_id()) / "model.npz"
    with np.load(path, allow_pickle=False) as arrays:
        assert {arrays[name].dtype.kind for name in arrays.files} <= set("biuf")
    assert FlowModel.from_bytes(path.read_bytes()).card == made.deployment.models.card()


def write(pipeline: Pipeline, pid: str, adc: bytes) -> None:
    path = next(path for path in pipeline.files(pid) if path.suffix == f".{EXTENSIONS[0]}")
    path.write_bytes(adc)
    settle(path)
