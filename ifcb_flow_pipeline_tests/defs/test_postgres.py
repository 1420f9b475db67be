"""Dagster's records in a real PostgreSQL, which the tests start for themselves."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from pwd import getpwall
from tempfile import TemporaryDirectory

import dagster as dg
import pytest

from ifcb_flow_pipeline.defs.launch import prepare_dagster_home
from ifcb_flow_pipeline.defs.pruning import DAYS_OF_RECORDS, prune
from ifcb_flow_pipeline.defs.sensors import dead_runs, new_bins
from ifcb_flow_pipeline.store.database import DatabaseError
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.survey import Budget
from ifcb_flow_pipeline.store.tables import BIN_FEATURES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, Pipeline

WORD = "a-secret-word"


def program(name: str) -> str | None:
    """A program of PostgreSQL, on the path or where Debian keeps it; None where it is not installed."""
    places = [str(path.parent) for path in Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    return shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"]]))


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a database of a server of this module's own, without its password."""
    pytest.importorskip("dagster_postgres")
    initdb, postgres, runuser = program("initdb"), program("postgres"), shutil.which("runuser")
    if not (initdb and postgres):
        pytest.skip("no PostgreSQL on this machine")
    as_root = os.getuid() == 0  # which PostgreSQL refuses to be
    if as_root and (runuser is None or "postgres" not in {user.pw_name for user in getpwall()}):
        pytest.skip("no other user to run PostgreSQL as")
    user = [str(runuser), "-u", "postgres", "--"] if as_root else []
    # Its user cannot get into the folders of other tests.
    with TemporaryDirectory() as name:
        folder = Path(name)
        if as_root:
            shutil.chown(folder, "postgres")
        with served(folder, [*user, initdb], [*user, postgres]) as port:
            yield f"postgresql://dagster@127.0.0.1:{port}/postgres"


@contextmanager
def served(folder: Path, initdb: list[str], postgres: list[str]) -> Iterator[int]:
    """A server with data of its own in this folder, inside; its port."""
    (folder / "password").write_text(WORD)
    (folder / "password").chmod(0o644)
    data = folder / "data"
    make = ["--auth", "scram-sha-256", "--username", "dagster", "--pwfile", folder / "password", "--no-sync"]
    subprocess.run([*initdb, "--pgdata", data, *make], check=True, capture_output=True, cwd="/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
    given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen([*postgres, "-D", data, *given], stdout=log, stderr=log, cwd="/") as server,
    ):
        try:
            asked = [program("pg_isready") or "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-t", "30"]
            while subprocess.run(asked, capture_output=True, check=False).returncode:
                assert server.poll() is None, (folder / "log").read_text()
            yield port
        finally:
            server.terminate()


@pytest.fixture
def settings(address: str, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of the pipeline, with its records in the database; the password is in a file."""
    host = address.partition("@")[2].partition("/")[0]
    (tmp_path / "pgpass").touch(mode=0o600)
    (tmp_path / "pgpass").write_text(f"{host}:*:dagster:{WORD}\n")
    monkeypatch.setenv("IFCB_DAGSTER_DB", f"{address}?passfile={tmp_path / 'pgpass'}")
    return pipeline.deployment.settings


@pytest.fixture
def recorded(settings: Settings, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    for name, value in prepare_dagster_home(settings).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield Pipeline(pipeline.deployment, instance)
        for run in instance.get_runs():
            instance.delete_run(run.run_id)


def test_runs_sensor_and_pruning_do_with_postgresql_what_they_do_with_sqlite(recorded: Pipeline) -> None:
    instance, home = recorded.instance, recorded.deployment.settings.home
    resources = {"deployment": recorded.deployment}
    with dg.build_sensor_context(instance=instance, resources=resources) as context:
        asked = new_bins(context)
    assert isinstance(asked, dg.SensorResult)
    [request] = asked.run_requests or []
    assets = [key.to_user_string() for key in request.asset_selection or []]
    first = recorded.run("daily_flow", DAYS[0], DAYS[-1], *assets)
    assert first.success
    assert recorded.deployment.tables.days(BIN_FEATURES) == DAYS
    assert instance.get_materialized_partitions(dg.AssetKey("bin_features")) == {str(day) for day in DAYS}
    metadata = recorded.metadata("bin_features", DAYS[1])
    assert metadata["bins"].value == len(list(recorded.archive.rglob(f"*{DAYS[1]:%Y%m%d}*.adc")))
    with dg.build_sensor_context(instance=instance, cursor=asked.cursor, resources=resources) as context:
        assert not new_bins(context).run_requests
    again = recorded.run("daily_flow", DAYS[0], DAYS[-1], *assets)
    assert prune(instance, home, datetime.now(tz=UTC) + timedelta(days=DAYS_OF_RECORDS, hours=1), Budget())
    assert [run.run_id for run in instance.get_runs()] == [again.run_id]
    assert instance.get_materialized_partitions(dg.AssetKey("bin_features")) == {str(day) for day in DAYS}
    # Nothing of it went into SQLite files.
    assert not list((home / "dagster").rglob("*.db"))


def test_a_run_whose_process_is_gone_is_reported_as_failed(recorded: Pipeline) -> None:
    run = recorded.run("daily_flow", DAYS[0], DAYS[0], "raw_bins").dagster_run
    started = recorded.instance.create_run_for_job(
        recorded_job(), status=dg.DagsterRunStatus.STARTED, tags=dict(run.tags)
    )
    lock = recorded.deployment.settings.home / "runs" / f"{started.run_id}.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    with dg.build_sensor_context(instance=recorded.instance, resources={"deployment": recorded.deployment}) as context:
        dead_runs(context)
    found = recorded.instance.get_run_by_id(started.run_id)
    assert found is not None
    assert found.status is dg.DagsterRunStatus.FAILURE


def recorded_job() -> dg.JobDefinition:
    from ifcb_flow_pipeline.definitions import defs

    return defs.resolve_job_def("daily_flow")


def test_a_database_that_cannot_be_used_is_told_with_the_remedy_and_without_the_password(
    address: str, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = address.replace("dagster@", "dagster:another-secret@")
    monkeypatch.setenv("IFCB_DAGSTER_DB", wrong)
    with pytest.raises(DatabaseError, match=r"postgresql://dagster@127.* authentication failed.*password\?") as refused:
        prepare_dagster_home(pipeline.deployment.settings)
    assert "another-secret" not in str(refused.value)


def test_without_the_setting_the_records_are_sqlite_files_again(
    settings: Settings, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings.home / "dagster" / "dagster.yaml"
    prepare_dagster_home(settings)
    assert "postgres_url" in path.read_text()
    assert WORD not in path.read_text()
    monkeypatch.delenv("IFCB_DAGSTER_DB")
    prepare_dagster_home(pipeline.deployment.settings)
    assert "storage" not in path.read_text()


def test_a_storage_of_ones_own_and_the_setting_exclude_each_other(settings: Settings) -> None:
    path = settings.home / "dagster" / "dagster.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("storage: {sqlite: {base_dir: /somewhere}}\n")
    with pytest.raises(DatabaseError, match="take one of them away"):
        prepare_dagster_home(settings)
