"""What old runs left behind goes, and Dagster still knows which days were made."""

import math
import os
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ifcb_flow_pipeline.defs.pruning import DAYS_OF_RECORDS, prune, superseded_runs
from ifcb_flow_pipeline.defs.sensors import dead_runs
from ifcb_flow_pipeline.store.survey import Budget
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, Pipeline

LATER = timedelta(days=DAYS_OF_RECORDS, hours=1)


@pytest.fixture
def recorded(pipeline: Pipeline):
    """The pipeline with records in SQLite files, as a deployment has them."""
    home = pipeline.deployment.settings.home / "dagster"
    home.mkdir(parents=True)
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        yield Pipeline(pipeline.deployment, instance)


def run_ids(instance: dg.DagsterInstance) -> list[str]:
    return [run.run_id for run in instance.get_runs()]


def test_of_old_runs_only_those_stay_that_made_a_table_of_a_day_last(recorded: Pipeline) -> None:
    home, instance = recorded.deployment.settings.home, recorded.instance
    both = recorded.run("daily_flow", DAYS[0], DAYS[1], "raw_bins").run_id
    first, again = (recorded.run("daily_flow", DAYS[0], DAYS[0], "raw_bins").run_id for _ in range(2))
    failed = recorded.run("daily_flow", DAYS[2], DAYS[2], "bin_features").run_id
    now = datetime.now(tz=UTC)
    assert prune(instance, home, now, Budget()) == 0
    assert superseded_runs(instance.get_run_records(), now + timedelta(hours=1)) == [first]
    assert prune(instance, home, now + LATER, Budget())
    # The range is the last that made its second day; what failed made nothing that another run has made since.
    assert set(run_ids(instance)) == {both, again, failed}
    assert instance.get_materialized_partitions(dg.AssetKey("raw_bins")) == {str(day) for day in DAYS[:2]}
    assert not list((home / "dagster/history/runs").glob(f"{first}*"))
    second = recorded.run("daily_flow", DAYS[1], DAYS[1], "raw_bins").run_id
    assert prune(instance, home, now + 2 * LATER, Budget())
    assert set(run_ids(instance)) == {second, again, failed}
    assert instance.get_materialized_partitions(dg.AssetKey("raw_bins")) == {str(day) for day in DAYS[:2]}


def test_old_logs_and_left_over_files_go_and_young_ones_stay(recorded: Pipeline) -> None:
    home = recorded.deployment.settings.home
    run = "0f0e7a2c-1111-2222-3333-444455556666"
    paths = [
        home / "dagster/history/runs" / f"{run}.db",
        home / "dagster/storage" / run / "compute_logs/a.err",
        home / "tables/bin_scores/2023/.2023-08-10.parquet.abc.tmp",
        home / "tables/.left_out.parquet.abc.tmp",
        home / "models/flow-1/.model.npz.abc.tmp",
    ]
    kept = [home / "dagster/history/runs/index.db", home / "tables/bin_scores/2023/2023-08-10.parquet"]
    for path in (*paths, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    os.utime(home / "dagster/storage" / run)
    now = datetime.now(tz=UTC)
    assert prune(recorded.instance, home, now, Budget()) == 0
    assert prune(recorded.instance, home, now + timedelta(days=2), Budget()) == 3
    assert prune(recorded.instance, home, now + LATER, Budget()) == 2
    assert not any(path.exists() for path in paths)
    assert all(path.exists() for path in kept)


def test_a_tick_that_has_no_time_for_all_old_runs_removes_some_and_the_next_goes_on(recorded: Pipeline) -> None:
    home, instance = recorded.deployment.settings.home, recorded.instance
    for _ in range(4):
        recorded.run("daily_flow", DAYS[0], DAYS[0], "raw_bins")
    now, seconds = datetime.now(tz=UTC) + LATER, iter([0.0, 1.0, 3.0])
    assert prune(instance, home, now, Budget(2.0, lambda: next(seconds))) is None
    assert len(run_ids(instance)) == 3
    assert prune(instance, home, now, Budget(math.inf)) is not None
    assert len(run_ids(instance)) == 1


def test_old_runs_are_looked_for_once_a_day(empty: Pipeline) -> None:
    def tick(cursor: str | None) -> tuple[str, str | None]:
        with dg.build_sensor_context(
            instance=empty.instance, cursor=cursor, resources={"deployment": empty.deployment}
        ) as context:
            result = dead_runs(context)
        assert isinstance(result, dg.SensorResult)
        return str(result.skip_reason), result.cursor

    told, today = tick(None)
    assert "0 old runs and files removed" in told
    assert tick(today)[0].startswith(told.split(";")[0])
    assert "removed" not in tick(today)[0]
    assert "removed" in tick("2023-09-01")[0]
