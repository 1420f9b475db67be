"""Days that are made without Dagster: the same bytes, and Dagster asks for nothing and records them."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import date, timedelta

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from joblib import parallel_config

from ifcb_flow_pipeline import day_range, days
from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.day_range import Cluster, DaysError, Task, make_features, shard_of
from ifcb_flow_pipeline.defs.elsewhere import days_made_elsewhere
from ifcb_flow_pipeline.defs.lineage import table_version
from ifcb_flow_pipeline.defs.partitions import DATA_VERSION_TAG
from ifcb_flow_pipeline.store.made_elsewhere import Note, Notes, unrecorded
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS, TABLES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, Pipeline, settle
from ifcb_flow_pipeline_tests.defs.test_sensor import tick

RANGE = (f"{DAYS[0]}", f"{DAYS[-1]}")


def files(pipeline: Pipeline) -> dict[str, bytes]:
    root = pipeline.deployment.tables.root
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for table in TABLES
        for path in (root / table.name).rglob("*.parquet")
    }


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["days", *arguments])


def done(*arguments: str) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


def told(**made: int) -> list[str]:
    return [f"{step}: {n} days made, 0 failed" for step, n in made.items()]


@pytest.fixture
def by_dagster(made: Pipeline) -> dict[str, bytes]:
    """What Dagster made, taken away again."""
    found = files(made)
    assert len(found) == len(TABLES) * len(DAYS)
    for table in TABLES:
        shutil.rmtree(made.deployment.tables.root / table.name)
    return found


def test_a_range_is_byte_for_byte_what_the_pipeline_makes_and_nothing_is_asked_for(made, by_dagster):
    assert done(*RANGE) == told(features=3, images=3, scores=3)
    assert files(made) == by_dagster
    assert not tick(made).run_requests
    assert done(*RANGE) == told(features=0, images=0, scores=0)


def test_shards_and_then_scores_are_the_same(made, by_dagster):
    for number in range(2):
        done(*RANGE, "--steps", "features", "--shard", f"{number}/2")
    done(*RANGE, "--steps", "images")
    for number in range(2):
        done(*RANGE, "--steps", "scores", "--shard", f"{number}/2")
    assert files(made) == by_dagster


def test_only_what_is_missing_or_out_of_date_is_made(made):
    before = files(made)
    made.deployment.tables.path(BIN_SCORES, DAYS[0]).unlink()
    assert done(*RANGE) == told(features=0, images=0, scores=1)
    made.add_bin(DAYS[1], 20)
    assert done(*RANGE) == told(features=1, images=1, scores=1)
    assert {name for name, content in files(made).items() if before[name] != content} == {
        f"{table.name}/2023/{DAYS[1]}.parquet" for table in TABLES
    }
    assert done(*RANGE, "--steps", "features", "--again") == ["features: 3 days made, 0 failed"]


def test_other_settings_make_features_anew(made, monkeypatch):
    monkeypatch.setenv("IFCB_ASPECT_RATIO", "1.5")
    assert done(*RANGE, "--steps", "features") == ["features: 3 days made, 0 failed"]


def test_a_damaged_table_is_made_again(made):
    made.deployment.tables.path(BIN_FEATURES, DAYS[1]).write_bytes(b"nonsense")
    assert done(*RANGE)[0] == "features: 1 days made, 0 failed"


def test_without_a_model_there_are_features_only_and_scores_are_refused(pipeline):
    assert done(*RANGE) == [*told(features=3, images=3), "no model is in use: no scores"]
    assert "train and promote one" in run(*RANGE, "--steps", "scores").output


def test_a_day_that_fails_is_named_and_hides_no_other(pipeline, monkeypatch):
    write = days.write_clouds

    def failing(tables: object, archive: object, day: date, *more: int) -> object:
        if day == DAYS[1]:
            raise OSError("the disk is gone")
        return write(tables, archive, day, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(days, "write_clouds", failing)
    result = run(*RANGE, "--steps", "features")
    assert result.exit_code == 1
    assert result.stdout == "features: 2 days made, 1 failed\n"
    assert f"{DAYS[1]} features: the disk is gone" in result.stderr


def test_days_before_and_after_the_archive_cost_nothing(pipeline):
    assert done("2023-01-01", "2023-12-31", "--steps", "features") == ["features: 3 days made, 0 failed"]
    assert pipeline.deployment.tables.days(RAW_BINS) == DAYS


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("2023-08-12", "2023-08-10"), "2023-08-10 is before 2023-08-12"),
     ((*RANGE, "--shard", "0/2"), "--shard needs --steps features or scores"),
     ((*RANGE, "--steps", "features", "--shard", "2/2"), "numbered from 0 to 1, not 2: as in `--array=0-1`"),
     ((*RANGE, "--steps", "features", "--shard", "1:2"), "1:2 is no shard such as 0/10"),
     ((*RANGE, "--dask", "tcp://127.0.0.1:1"), "no Dask scheduler answers at tcp://127.0.0.1:1")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_line(pipeline, monkeypatch, arguments, said):
    if "--dask" in arguments:
        pytest.importorskip("distributed")
        monkeypatch.setattr(day_range.Cluster.__init__, "__defaults__", (0.2,))
    result = run(*arguments)
    assert result.exit_code != 0
    assert said in result.output


def test_shards_are_ranges_that_together_are_all_days():
    wanted = [DAYS[0] + timedelta(days=n) for n in range(10)]
    parts = [shard_of(wanted, number, 3) for number in range(3)]
    assert [day for part in parts for day in part] == wanted
    assert [len(part) for part in parts] == [3, 3, 4]
    assert [day for number in range(25) for day in shard_of(wanted, number, 25)] == wanted


def test_a_machine_that_does_not_see_the_files_says_so_and_writes_nothing(pipeline):
    settings = pipeline.deployment.settings
    listing = settings.archive.scan()
    task = Task(settings, DAYS[0], listing, 1)
    assert "/tables here" in make_features(task).error
    (settings.home / "tables").mkdir(parents=True)
    for path in settings.archive.root.rglob("*.*"):
        path.unlink()
    assert "is it mounted?" in make_features(task).error
    shutil.rmtree(settings.archive.root)
    assert "is the disk mounted?" in make_features(task).error
    assert files(pipeline) == {}


# Dask


#: What each worker runs first: one of them ends in the middle of a day, once.
DYING = f"""
import os
from ifcb_flow_pipeline import days

def dying(tables, settings, day, *more, write=days.write_features):
    flag = tables.root.parent / "died"
    if f"{{day}}" == "{DAYS[1]}" and not flag.exists():
        flag.touch()
        os._exit(1)
    return write(tables, settings, day, *more)

# This is run for the worker and for who watches it.
if days.write_features.__name__ != "dying":
    days.write_features = dying
"""


#: A program of its own: what starts workers must be able to start them again.
TWO_WORKERS = """
import os, sys
from distributed import LocalCluster
from ifcb_flow_pipeline.day_range import Cluster, make_images
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings

if __name__ == "__main__":
    settings = Settings.from_environment(os.environ)
    listing = settings.archive.scan()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, preload=sys.argv[1]) as workers:
        cluster = Cluster(workers.scheduler_address)
        made = list(cluster.features(settings, listing, listing.days))
        made += make_images(settings, listing.days)
        made += cluster.scores(settings, ModelStore(settings.home / "models").current_id(), listing.days)
        cluster.close()
    print([one.error for one in made])
"""


def test_workers_of_a_cluster_make_the_same_and_go_on_where_one_dies(made, by_dagster, tmp_path):
    pytest.importorskip("distributed")
    (tmp_path / "dying.py").write_text(DYING)
    (tmp_path / "workers.py").write_text(TWO_WORKERS)
    program = [sys.executable, f"{tmp_path / 'workers.py'}", f"{tmp_path / 'dying.py'}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == f"{[''] * 9}\n", done.stderr
    assert (made.deployment.settings.home / "died").exists()
    assert files(made) == by_dagster
    assert not tick(made).run_requests


def test_a_scheduler_without_workers_is_named_instead_of_waited_for():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as cluster,
        pytest.raises(DaysError, match="has no workers"),
    ):
        Cluster(cluster.scheduler_address)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DaysError, match=r"ifcb-flow-pipeline\[cluster\]"):
        Cluster("tcp://localhost:1")


def test_the_assets_use_threads_whatever_joblib_is_told(pipeline):
    """They wrote nothing and hung: joblib sent them to processes, where they cannot go."""
    with parallel_config("loky", n_jobs=2):
        assert pipeline.run("daily_flow", DAYS[0], DAYS[-1], "raw_bins", "point_clouds", "bin_features").success
    assert pipeline.deployment.tables.days(BIN_FEATURES) == DAYS


# Dagster's records


def look(pipeline: Pipeline, cursor: str | None = None) -> dg.SensorResult:
    with dg.build_sensor_context(
        instance=pipeline.instance, cursor=cursor, resources={"deployment": pipeline.deployment}
    ) as context:
        return days_made_elsewhere(context)  # type: ignore[return-value]


def test_days_that_were_made_elsewhere_are_recorded_once_with_their_versions(made, by_dagster):
    done(*RANGE)
    first = look(made)
    events = [(event.asset_key.to_user_string(), event.partition) for event in first.asset_events]
    assert sorted(events) == sorted((table.name, f"{day}") for table in TABLES for day in DAYS)
    version = table_version(made.deployment.tables.provenance(BIN_SCORES, DAYS[0]))
    of_scores = {one.partition: one for one in first.asset_events if one.asset_key == dg.AssetKey("bin_scores")}
    assert of_scores[f"{DAYS[0]}"].tags[DATA_VERSION_TAG] == version
    assert look(made, first.cursor).asset_events == []


def test_notes_are_recorded_in_parts_and_a_line_that_is_being_written_later(tmp_path):
    notes = Notes(tmp_path)
    for day in DAYS:
        notes.add(["raw_bins", "bin_features"], day)
    (path,) = tmp_path.rglob("*.jsonl")
    with path.open("a") as file:
        file.write('{"table": "raw')
    first, cursor = unrecorded(tmp_path, {}, 4)
    rest, cursor = unrecorded(tmp_path, cursor, 4)
    assert [*first, *rest] == [Note(table, day) for day in DAYS for table in ("raw_bins", "bin_features")]
    assert unrecorded(tmp_path, cursor, 4)[0] == []


def test_notes_that_are_recorded_are_removed_after_a_day(made, by_dagster):
    done(*RANGE)
    first = look(made)
    (path, *_) = paths = sorted((made.deployment.settings.home / "made_elsewhere").iterdir())
    look(made, first.cursor)
    assert path.exists()
    for each in paths:
        settle(each)
        os.utime(each, (time.time() - 2 * 86400,) * 2)
    look(made, "{}")
    assert path.exists()
    assert json.loads(look(made, first.cursor).cursor or "") == {}
    assert not path.exists()


def test_dagster_is_told_of_nothing_that_has_no_partition(pipeline):
    Notes(pipeline.deployment.settings.home).add(["raw_bins"], date(1999, 1, 1))
    assert look(pipeline).asset_events == []
