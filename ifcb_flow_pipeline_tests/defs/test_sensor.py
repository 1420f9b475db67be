"""The sensor: what a look at the archive makes it ask for."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from ifcb_flow_pipeline.defs import planning, sensors
from ifcb_flow_pipeline.defs.partitions import days_of_tags, range_tags, today
from ifcb_flow_pipeline.defs.sensors import new_bins
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.daily import StoreError
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, IMAGE_STEPS, N_A_DAY, Pipeline, settle


def tick(pipeline: Pipeline, cursor: str | None = None) -> dg.SensorResult:
    # The deployment lives as long as what it is given to, hence the block.
    resources = {"deployment": pipeline.deployment}
    with dg.build_sensor_context(instance=pipeline.instance, cursor=cursor, resources=resources) as context:
        result = new_bins(context)
    assert isinstance(result, dg.SensorResult)
    return result


def days_asked_for(result: dg.SensorResult) -> list:
    return [day for request in result.run_requests or [] for day in days_of_tags(request.tags)]


def carry_out(pipeline: Pipeline, result: dg.SensorResult) -> None:
    for request in result.run_requests or []:
        days = days_of_tags(request.tags)
        assets = [key.to_user_string() for key in request.asset_selection or []]
        assert pipeline.run("daily_flow", days[0], days[-1], *assets).success


def test_a_first_look_asks_for_all_days_in_one_run_up_to_the_features_as_there_is_no_model(pipeline: Pipeline) -> None:
    result = tick(pipeline)
    [request] = result.run_requests or []
    assert days_asked_for(result) == DAYS
    assert [key.to_user_string() for key in request.asset_selection or []] == [
        "raw_bins",
        "point_clouds",
        "bin_features",
        *IMAGE_STEPS,
    ]


def test_what_was_carried_out_is_not_asked_for_again_even_without_a_cursor(pipeline: Pipeline) -> None:
    first = tick(pipeline)
    carry_out(pipeline, first)
    for cursor in (first.cursor, None):
        again = tick(pipeline, cursor)
        assert not again.run_requests
        assert again.skip_reason
        assert json.loads(again.cursor or "") == {"asked": {}, "told": ""}


def test_with_a_model_everything_that_lacks_scores_is_scored(pipeline: Pipeline) -> None:
    carry_out(pipeline, tick(pipeline))
    assert pipeline.run("retrain").success
    result = tick(pipeline)
    assert [[key.to_user_string() for key in r.asset_selection or []] for r in result.run_requests or []] == [
        ["bin_scores"]
    ]
    carry_out(pipeline, result)
    assert pipeline.deployment.tables.days(BIN_SCORES) == DAYS
    assert not tick(pipeline).run_requests


def test_one_day_is_checked_for_completeness_only_and_a_range_by_everything(made: Pipeline) -> None:
    # Dagster keeps each result for ever, and the day of today is made again with each of its bins.
    made.add_bin(DAYS[1], 20)
    [of_one_day] = tick(made).run_requests or []
    assert [key.to_user_string() for key in of_one_day.asset_check_keys or []] == [
        "bin_features:features_are_complete",
        "bin_image_scores:image_scores_are_complete",
        "bin_scores:scores_are_complete",
    ]
    made.add_bin(DAYS[2], 20)
    [of_two_days] = tick(made).run_requests or []
    assert of_two_days.asset_check_keys is None


def test_a_restart_between_the_request_and_its_run_repeats_the_same_run_key(pipeline: Pipeline) -> None:
    first, again = tick(pipeline), tick(pipeline)
    keys = [[request.run_key for request in result.run_requests or []] for result in (first, again)]
    assert keys[0] == keys[1]


def test_a_failed_day_is_not_asked_for_over_and_over(pipeline: Pipeline) -> None:
    first = tick(pipeline)
    again = tick(pipeline, first.cursor)
    assert not again.run_requests
    assert "3 days failed" in str(again.skip_reason)


def test_a_cursor_of_the_version_before_is_understood(pipeline: Pipeline) -> None:
    for cursor in ({DAYS[0].isoformat(): "abcd1234"}, {DAYS[0].isoformat(): ["abcd1234", 1, 0.0]}):
        assert days_asked_for(tick(pipeline, json.dumps(cursor))) == DAYS


def test_many_bins_that_vanish_are_reported_and_not_made_again_until_the_night(
    pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.make_everything()
    away = pipeline.archive.with_name("away")
    away.mkdir()
    for path in pipeline.archive.rglob("*_IFCB134.*"):
        path.rename(away / path.name)
    result = tick(pipeline)
    assert not result.run_requests
    assert "24 bins of IFCB134 vanished" in str(result.skip_reason)
    assert "is a disk missing?" in str(result.skip_reason)
    [said] = checks_of(result)
    assert (said.check_name, said.passed) == ("files_are_there", False)
    assert "24 bins of IFCB134 vanished" in str(said.description)
    assert checks_of(tick(pipeline, result.cursor)) == []
    # A new bin of the other instrument does not wait for the disk.
    pipeline.add_bin(DAYS[1], 22, "IFCB124")
    for path in pipeline.files(f"D{DAYS[1]:%Y%m%d}T220000_IFCB124"):
        os.utime(path, ((datetime.now(tz=UTC) - timedelta(minutes=10)).timestamp(),) * 2)
    result = tick(pipeline, result.cursor)
    assert days_asked_for(result) == [DAYS[1]]
    carry_out(pipeline, result)
    assert scored_bins(pipeline) == [N_A_DAY, N_A_DAY + 1, N_A_DAY]
    for path in away.iterdir():
        path.rename(pipeline.archive / path.name)
    back = tick(pipeline, result.cursor)
    assert days_asked_for(back) == DAYS
    assert [said.passed for said in checks_of(back)] == [True]


@pytest.mark.parametrize("how", ["all of an instrument", "all of a directory", "a mount"])
def test_few_bins_that_vanish_together_are_reported_too(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    directory = pipeline.archive / "ship"
    directory.mkdir()
    pids = [pipeline.add_bin(DAYS[1], hour, "IFCB7" if how == "all of an instrument" else "IFCB134") for hour in (1, 2)]
    for path in [path for pid in pids for path in pipeline.files(pid)]:
        path.rename((path.parent if how == "all of an instrument" else directory) / path.name)
    really, device = os.stat, 77

    def mounted(path: str, **given: object) -> os.stat_result:
        found = really(path, **given)  # type: ignore[arg-type]
        if Path(path) != directory:
            return found
        return os.stat_result((*found[:2], device, *found[3:10]), {"st_mtime_ns": found.st_mtime_ns,
                                                                   "st_ctime_ns": found.st_ctime_ns})  # fmt: skip

    if how == "a mount":
        monkeypatch.setattr(os, "stat", mounted)
    carry_out(pipeline, tick(pipeline))
    gone = pids if how != "a mount" else pids[:1]
    files = [path for pid in gone for path in pipeline.files(pid)]
    away = pipeline.archive.with_name("away")
    away.mkdir()
    for path in files:
        path.rename(away / path.name)
    # Of one bin alone this is said only where the disk is another one.
    assert ("is a disk missing?" in str(tick(pipeline).skip_reason)) == (how != "a mount")
    device = really(pipeline.archive).st_dev
    result = tick(pipeline)
    assert not result.run_requests
    assert "is a disk missing?" in str(result.skip_reason)
    assert (f"{directory} is no longer the disk that it was" in str(result.skip_reason)) == (how == "a mount")
    for path in files:
        (away / path.name).rename(path)
    assert "missing" not in str(tick(pipeline, result.cursor).skip_reason)


def checks_of(result: dg.SensorResult) -> list[dg.AssetCheckEvaluation]:
    return [event for event in result.asset_events or [] if isinstance(event, dg.AssetCheckEvaluation)]


def scored_bins(pipeline: Pipeline) -> list[int]:
    tables = pipeline.deployment.tables
    return [rows.num_rows for day in DAYS if (rows := tables.read(BIN_SCORES, day)) is not None]


def test_a_day_whose_run_failed_is_asked_for_again_after_five_minutes(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise StoreError("it is broken")

    first = tick(pipeline)
    [request] = first.run_requests or []
    with monkeypatch.context() as patched:
        patched.setattr("ifcb_flow_pipeline.days.write_clouds", broken)
        names = [key.to_user_string() for key in request.asset_selection or []]
        assert not pipeline.run("daily_flow", DAYS[0], DAYS[-1], *names).success
    assert not tick(pipeline, first.cursor).run_requests
    later = datetime.now(tz=UTC) + timedelta(minutes=5)
    monkeypatch.setattr(sensors, "datetime", type("Later", (), {"now": staticmethod(lambda **_: later)}))
    again = tick(pipeline, first.cursor)
    assert days_asked_for(again) == DAYS
    assert (again.run_requests or [])[0].run_key != request.run_key, "Dagster would take it for the same request"


def test_files_that_cannot_be_read_are_asked_for_again(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> int:
        raise FileNotFoundError(2, "No such file or directory")

    first = tick(pipeline)
    with monkeypatch.context() as broken:
        broken.setattr("ifcb_flow_pipeline.store.archive.os.open", missing)
        carry_out(pipeline, first)
    monkeypatch.setattr(planning, "wait", lambda _: 0.0)
    asked = tick(pipeline, first.cursor)
    assert days_asked_for(asked) == DAYS
    result = tick(pipeline, asked.cursor)
    assert days_asked_for(result) == DAYS
    carry_out(pipeline, result)
    assert not tick(pipeline, result.cursor).run_requests


@pytest.mark.parametrize("change", ["new", "late", "grown", "vanished", "header arrived"])
def test_a_changed_day_is_asked_for_and_no_other(pipeline: Pipeline, change: str) -> None:
    headerless = pipeline.add_bin(DAYS[1], 20)
    header = next(path for path in pipeline.files(headerless) if path.suffix == ".hdr")
    content = header.read_bytes()
    header.unlink()
    pipeline.make_everything()
    day = DAYS[1]
    if change == "new":
        day = DAYS[-1] + timedelta(days=1)
        pipeline.add_bin(day, 0)
    elif change == "late":
        pipeline.add_bin(day, 3)
    elif change == "grown":
        adc = next(path for path in pipeline.files(headerless) if path.suffix == ".adc")
        adc.write_bytes(adc.read_bytes() * 2)
        settle(adc)
    elif change == "vanished":
        for path in pipeline.files(headerless):
            path.unlink()
    else:
        header.write_bytes(content)
        settle(header)
    result = tick(pipeline)
    assert days_asked_for(result) == [day]
    carry_out(pipeline, result)
    assert not tick(pipeline, result.cursor).run_requests


def test_a_bin_that_is_still_being_written_is_waited_for(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    growing = pipeline.add_bin(DAYS[1], 3)
    for path in pipeline.files(growing):
        path.touch()
    assert not tick(pipeline).run_requests
    for path in pipeline.files(growing):
        settle(path)
    assert days_asked_for(tick(pipeline)) == [DAYS[1]]


def test_todays_bins_are_asked_for_today(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    pipeline.add_bin(today(), 0)
    assert days_asked_for(tick(pipeline)) == [today()]


def test_days_outside_the_partitions_do_not_break_the_tick(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline.add_bin(today() + timedelta(days=3), 0)
    monkeypatch.setenv("IFCB_START_DAY", DAYS[1].isoformat())
    assert days_asked_for(tick(pipeline)) == DAYS[1:]


def test_a_day_that_a_run_is_about_is_left_alone_until_the_run_has_ended(pipeline: Pipeline) -> None:
    run = pipeline.instance.create_run_for_job(_dummy_job(), tags=range_tags(DAYS[0], DAYS[1]))
    assert days_asked_for(tick(pipeline)) == [DAYS[2]]
    pipeline.instance.report_run_failed(run)
    assert days_asked_for(tick(pipeline)) == DAYS


def test_an_archive_that_lost_all_its_bins_is_taken_for_a_missing_disk(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    pipeline.archive.rename(pipeline.archive.with_name("unmounted"))
    pipeline.archive.mkdir()
    with pytest.raises(FlowError, match="is the disk mounted"):
        tick(pipeline)
    assert pipeline.deployment.tables.days(BIN_FEATURES) == DAYS


def test_a_missing_archive_is_an_error_that_names_it(pipeline: Pipeline) -> None:
    pipeline.archive.rename(pipeline.archive.with_name("unmounted"))
    with pytest.raises(FlowError, match="IFCB_DATA_DIR"):
        tick(pipeline)


def test_a_misplaced_bin_is_not_asked_for_over_and_over(pipeline: Pipeline) -> None:
    wrong = pipeline.archive / "D2019" / "D20190101"
    wrong.mkdir(parents=True)
    pid = pipeline.add_bin(DAYS[0], 3)
    for path in pipeline.files(pid):
        path.rename(wrong / path.name)
    carry_out(pipeline, tick(pipeline))
    assert not tick(pipeline).run_requests


def test_what_is_left_out_is_told_and_not_asked_for_over_and_over(
    pipeline: Pipeline, capfd: pytest.CaptureFixture[str]
) -> None:
    beads, lower = pipeline.add_bin(DAYS[0], 3), pipeline.add_bin(DAYS[0], 4)
    pipeline.add_bin(today() + timedelta(days=9), 0)
    for path in pipeline.files(beads):
        path.rename(path.with_name(f"{beads}_beads{path.suffix}"))
    for path in pipeline.files(lower):
        path.rename(path.with_name(path.name.lower()))
    result = tick(pipeline)
    assert days_asked_for(result) == DAYS
    carry_out(pipeline, result)
    again = tick(pipeline, result.cursor)
    assert not again.run_requests
    assert not tick(pipeline, again.cursor).run_requests
    assert {row["status"] for row in pipeline.deployment.left_out.read().to_pylist()} == {"misnamed", "outside"}
    assert f"1 bins or files are not used, e.g. {beads}_beads" in capfd.readouterr().err


def test_a_damaged_table_is_made_again(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    pipeline.deployment.tables.path(BIN_FEATURES, DAYS[1]).write_bytes(b"PAR1 torn")
    result = tick(pipeline)
    assert days_asked_for(result) == [DAYS[1]]
    carry_out(pipeline, result)
    assert not tick(pipeline, result.cursor).run_requests


def test_an_empty_archive_asks_for_nothing(empty: Pipeline) -> None:
    assert not tick(empty).run_requests


def test_the_cursor_holds_only_days_that_are_not_up_to_date(pipeline: Pipeline) -> None:
    first = tick(pipeline)
    assert set(json.loads(first.cursor or "")["asked"]) == {day.isoformat() for day in DAYS}
    carry_out(pipeline, first)
    pipeline.add_bin(DAYS[2], 21)
    assert set(json.loads(tick(pipeline, first.cursor).cursor or "")["asked"]) == {DAYS[2].isoformat()}


def test_a_clock_that_was_set_back_does_not_keep_a_bin_out(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    pid = pipeline.add_bin(DAYS[1], 3)
    tomorrow = (datetime.now(tz=UTC) + timedelta(days=1)).timestamp()
    for path in pipeline.files(pid):
        os.utime(path, (tomorrow, tomorrow))
    assert days_asked_for(tick(pipeline)) == [DAYS[1]]


def test_a_tick_that_ran_out_of_time_asks_for_nothing_and_forgets_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tick(pipeline)
    shutil.rmtree(pipeline.deployment.settings.home / "sensor")
    with monkeypatch.context() as patched:
        patched.setattr(sensors, "TICK_SECONDS", 0.0)
        hurried = tick(pipeline, first.cursor)
        assert not hurried.run_requests
        assert hurried.skip_reason == dg.SkipReason(sensors.STILL_LOOKING)
        assert hurried.cursor == first.cursor
    assert days_asked_for(tick(pipeline)) == DAYS


def test_a_damaged_ledger_is_said_and_repeats_no_day(pipeline: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    pipeline.make_everything()
    assert not tick(pipeline).run_requests
    ledger = pipeline.deployment.settings.home / "sensor" / "ledger.sqlite"
    ledger.write_bytes(b"torn" * 5000)
    late = pipeline.add_bin(DAYS[1], 3)
    assert days_asked_for(tick(pipeline)) == [DAYS[1]]
    for path in pipeline.files(late):
        path.unlink()
    assert not tick(pipeline).run_requests


def test_a_run_makes_a_day_of_the_files_that_the_sensor_saw(pipeline: Pipeline) -> None:
    copy = pipeline.archive / "copy"
    copy.mkdir()
    pid = pipeline.add_bin(DAYS[0], 3)
    for path in pipeline.files(pid):
        shutil.copy2(path, copy)
    carry_out(pipeline, tick(pipeline))
    assert not tick(pipeline).run_requests
    (copy / f"{pid}.adc").write_bytes(b"1,2,3\n" * 100_000)
    settle(copy / f"{pid}.adc")
    result = tick(pipeline)
    assert days_asked_for(result) == [DAYS[0]]
    carry_out(pipeline, result)
    assert not tick(pipeline).run_requests


def _dummy_job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def unfinished() -> None:
        nothing()

    return unfinished


def test_days_older_than_the_partitions_wait_for_a_restart_and_are_reported(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(sensors, "FIRST_DAY", DAYS[1])
    result = tick(pipeline)
    assert days_asked_for(result) == DAYS[1:]
    assert f"1 days with bins, from {DAYS[0]} on, are older" in capfd.readouterr().err
