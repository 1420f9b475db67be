"""The demo: from an archive to the ranked list."""

import csv
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from ifcb_flow_pipeline import demo
from ifcb_flow_pipeline.defs.launch import prepare_dagster_home
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.simulate import ArchivePlan, Episode, InstrumentProfile
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_SCORES, TABLES

pytestmark = pytest.mark.slow

LAST_DAY = date(2024, 5, 14)


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo archive of one instrument and four days, with air in six of its bins."""

    def plan(last_day: date, *, with_images: bool, **_: float) -> ArchivePlan:
        return ArchivePlan(
            instruments=(InstrumentProfile("IFCB134"),),
            first_day=last_day - timedelta(days=3),
            n_days=4,
            mean_triggers=80,
            with_images=with_images,
            episodes=(Episode("air", "IFCB134", day=3, hour=6, n_bins=6, severity=1.0),),
        )

    monkeypatch.setattr(demo, "demo_plan", plan)


@pytest.fixture
def quiet_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("IFCB_DATA_DIR", "IFCB_START_DAY", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("IFCB_FLOW_HOME", str(tmp_path / "home"))
    # What the demo sets must be gone after the test.
    for name in ("IFCB_DATA_DIR", "IFCB_START_DAY", "DAGSTER_HOME"):
        monkeypatch.setenv(name, "")
    return tmp_path / "home"


@pytest.mark.usefixtures("small_plan")
def test_the_demo_ranks_the_planted_bins_first_and_can_be_run_again(quiet_environment: Path) -> None:
    said: list[str] = []
    settings = demo.prepare(os.environ, said.append)
    demo.run(settings, said.append)
    yesterday = datetime.now(tz=UTC).date() - timedelta(days=1)
    tables = DailyTables(quiet_environment / "tables")
    for table in TABLES:
        assert tables.days(table) == [yesterday - timedelta(days=back) for back in (3, 2, 1, 0)]
    ranked = [line for line in said if "_IFCB134 " in line]
    assert all("planted: air" in line for line in ranked[:6])
    assert "6 bins have a planted fault" in said[-1]
    assert "6 of the 6 first" in said[-1]

    model = ModelStore(quiet_environment / "models").current_id()
    written = tables.path(BIN_SCORES, yesterday).stat().st_mtime_ns
    again: list[str] = []
    demo.run(demo.prepare(os.environ, again.append), again.append)
    assert [line for line in again if "_IFCB134 " in line] == ranked
    assert ModelStore(quiet_environment / "models").current_id() == model
    assert tables.path(BIN_SCORES, yesterday).stat().st_mtime_ns == written

    with dg.DagsterInstance.from_config(str(quiet_environment / "dagster")) as instance:
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


@pytest.mark.usefixtures("small_plan")
def test_a_demo_stopped_while_it_simulates_starts_afresh(quiet_environment: Path) -> None:
    unfinished = quiet_environment / "archive.unfinished"
    unfinished.mkdir(parents=True)
    settings = demo.prepare(os.environ, lambda _: None)
    assert settings.archive.root == quiet_environment / "archive"
    with (quiet_environment / "planted.csv").open() as file:
        assert sum(row["is_fault"] == "true" for row in csv.DictReader(file)) == 6


def test_nothing_is_simulated_where_the_disk_has_no_room_for_it(
    quiet_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "DEMO_BYTES", 10**18)
    with pytest.raises(FlowError, match="name a folder on another one in IFCB_FLOW_HOME"):
        demo.prepare(os.environ, lambda _: None)
    assert not quiet_environment.exists()


def test_the_users_own_archive_is_left_as_it_is_and_nothing_is_simulated(tmp_path: Path) -> None:
    archive = tmp_path / "mine"
    archive.mkdir()
    (archive / f"D{LAST_DAY:%Y%m%d}T000000_IFCB134.adc").touch()
    environment = {"IFCB_DATA_DIR": str(archive), "IFCB_FLOW_HOME": str(tmp_path / "home")}
    settings = demo.prepare(environment, lambda _: None)
    assert settings.archive.root == archive
    assert settings.start_day == LAST_DAY
    assert [path.name for path in archive.iterdir()] == [f"D{LAST_DAY:%Y%m%d}T000000_IFCB134.adc"]
    assert not (tmp_path / "home").exists()


def test_an_archive_without_bins_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match="IFCB_DATA_DIR"):
        demo.prepare({"IFCB_DATA_DIR": str(tmp_path), "IFCB_FLOW_HOME": str(tmp_path / "home")}, lambda _: None)


@pytest.mark.parametrize(("n_old", "waits"), [(9, True), (10, False)])
def test_bins_that_may_still_grow_are_waited_for_where_too_few_others_are_there(
    tmp_path: Path, n_old: int, *, waits: bool
) -> None:
    for number in range(n_old + 2):
        path = tmp_path / f"D20240514T{number:02}0000_IFCB134.adc"
        path.touch()
        if number < n_old:
            os.utime(path, (0, 0))
    said: list[str] = []
    waited: list[float] = []
    demo.wait_for_young_bins(Archive(tmp_path), said.append, waited.append)
    assert said[0].startswith("2 bins were written less than 120 s ago and may still grow: ")
    assert "IFCB_SETTLE_SECONDS" in said[0]
    assert [100 < seconds <= 122 for seconds in waited] == [True] * waits
    if waits:
        with pytest.raises(FlowError, match="IFCB_SETTLE_SECONDS"):
            demo.wait_for_young_bins(Archive(tmp_path, settle=timedelta(hours=1)), said.append, waited.append)


def test_the_list_ranks_by_severity_and_shows_what_cannot_be_judged_and_what_goes_on() -> None:
    noon = datetime(2024, 5, 14, 12, tzinfo=UTC)
    scores = pa.table(
        {
            "pid": ["a", "b", "c", "d"],
            "instrument": ["IFCB1"] * 3 + ["IFCB9"],
            "start_time": [noon + timedelta(minutes=20 * i) for i in range(4)],
            "severity": [100.0, 10.0, 60.0, float("nan")],
            "anomaly_score": [float("nan"), -0.4, -2.4, float("nan")],
            "verdict": ["unreadable", "ok", "bad", "not_judged"],
            "cause": ["", "", "air", ""],
            "reasons": ["", "", "Many strays. Suspected cause: air bubbles.", ""],
            "status": ["no_adc", "ok", "ok", "ok"],
            "reason": ["the .adc file is missing", "", "", ""],
        }
    )
    lines = demo.ranked_list(scores, {}, noon + timedelta(hours=2))
    ranked = [line.split()[:5] for line in lines if line[:4].strip().isdigit()]
    assert ranked == [["1", "c", "60", "bad", "air"], ["2", "b", "10", "ok", "-"]]
    assert "      a  the .adc file is missing" in lines
    assert any(line.startswith("      IFCB1: air bubbles since 2024-05-14 12:40, ongoing") for line in lines)
    assert "1 bins of IFCB9 have no verdict: it has too little history" in lines
    assert "Ongoing:" not in demo.ranked_list(scores, {}, noon + timedelta(days=1))


def test_dagsters_settings_are_written_once_and_then_the_users(tmp_path: Path) -> None:
    settings = Settings.from_environment({"IFCB_FLOW_HOME": str(tmp_path)})
    environment = prepare_dagster_home(settings)
    assert list(environment) == ["DAGSTER_HOME"]
    folder = Path(environment["DAGSTER_HOME"])
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert prepare_dagster_home(settings) == environment
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"


def test_the_settings_that_we_give_dagster_are_valid_and_switch_telemetry_off(tmp_path: Path) -> None:
    settings = Settings.from_environment({"IFCB_FLOW_HOME": str(tmp_path)})
    with dg.DagsterInstance.from_config(prepare_dagster_home(settings)["DAGSTER_HOME"]) as instance:
        assert not instance.telemetry_enabled
        assert instance.run_monitoring_enabled
        assert instance.run_monitoring_max_runtime_seconds > 0
        assert instance.run_retries_enabled
        assert instance.storage_directory().startswith(str(tmp_path))
