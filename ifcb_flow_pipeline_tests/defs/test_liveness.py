"""Runs whose process is gone are reported as failed."""

import multiprocessing
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from ifcb_flow_pipeline.defs import liveness
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, Pipeline

LATER = timedelta(minutes=2)

HOLDER = """
import sys
from pathlib import Path
from ifcb_flow_pipeline.defs.liveness import alive
with alive(Path(sys.argv[1]), sys.argv[2]):
    print("alive", flush=True)
    sys.stdin.read()
"""


@dg.job
def _job() -> None:
    pass


@pytest.fixture
def instance(tmp_path: Path):
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield instance


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    run = instance.create_run_for_job(_job)
    event = dg.DagsterEvent("PIPELINE_START", _job.name)
    instance.report_dagster_event(event, run.run_id)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status


def test_a_run_is_failed_once_its_process_was_killed_and_not_before(instance, tmp_path: Path) -> None:
    run, now = started(instance), datetime.now(tz=UTC)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), run.run_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "alive\n"
        assert liveness.fail_dead_runs(instance, tmp_path, now + LATER) == []
        process.kill()
        process.wait()
        assert liveness.fail_dead_runs(instance, tmp_path, now + LATER) == [run.run_id]
    assert status(instance, run) is dg.DagsterRunStatus.FAILURE
    assert liveness.fail_dead_runs(instance, tmp_path, now + LATER) == []


def test_a_killed_run_is_known_at_once_and_its_lock_goes(instance, tmp_path: Path) -> None:
    run, now = started(instance), datetime.now(tz=UTC)
    command = [sys.executable, "-c", HOLDER, str(tmp_path), run.run_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "alive\n"
        process.kill()
        process.wait()
    assert liveness.fail_dead_runs(instance, tmp_path, now) == [run.run_id]
    assert not list((tmp_path / "runs").iterdir())


def test_a_run_whose_process_died_before_it_started_is_failed(instance, tmp_path: Path) -> None:
    run = instance.create_run_for_job(_job)
    instance.report_dagster_event(dg.DagsterEvent("PIPELINE_STARTING", _job.name), run.run_id)
    assert liveness.fail_dead_runs(instance, tmp_path, datetime.now(tz=UTC)) == []
    assert liveness.fail_dead_runs(instance, tmp_path, datetime.now(tz=UTC) + LATER) == [run.run_id]


def in_a_process_of_its_own(home: Path, run_id: str, inside: Connection) -> None:
    with liveness.alive(home, run_id):
        pass
    inside.send("over")
    inside.recv()


def test_the_process_of_a_run_is_alive_until_it_ends_and_not_only_until_its_steps_do(
    instance, tmp_path: Path, monkeypatch
) -> None:
    # A test of the review app leaves its page behind as the main program, which the new process would run first.
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    run, later = started(instance), datetime.now(tz=UTC) + LATER
    context = multiprocessing.get_context("spawn")
    outside, inside = context.Pipe()
    process = context.Process(target=in_a_process_of_its_own, args=(tmp_path, run.run_id, inside))
    process.start()
    inside.close()  # only the process holds it: where that dies, nobody waits for its word
    assert outside.recv() == "over"
    # Dagster writes that the run has ended only now.
    assert liveness.fail_dead_runs(instance, tmp_path, later) == []
    instance.report_run_canceled(run)
    assert liveness.fail_dead_runs(instance, tmp_path, later) == []
    assert list((tmp_path / "runs").iterdir())
    outside.send("end")
    process.join()
    assert liveness.fail_dead_runs(instance, tmp_path, later) == []
    assert not list((tmp_path / "runs").iterdir())


def test_a_run_that_has_just_started_may_not_have_said_that_it_is_alive(instance, tmp_path: Path) -> None:
    run = started(instance)
    assert liveness.fail_dead_runs(instance, tmp_path, datetime.now(tz=UTC)) == []
    assert liveness.fail_dead_runs(instance, tmp_path, datetime.now(tz=UTC) + LATER) == [run.run_id]


def test_a_run_is_alive_as_long_as_one_of_its_processes_is(instance, tmp_path: Path) -> None:
    run, later = started(instance), datetime.now(tz=UTC) + LATER
    with liveness.alive(tmp_path, run.run_id):
        with liveness.alive(tmp_path, run.run_id):
            pass
        assert liveness.fail_dead_runs(instance, tmp_path, later) == []
    assert not list((tmp_path / "runs").iterdir())


def test_the_runs_of_the_pipeline_say_that_they_are_alive_and_leave_nothing(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, home = [], pipeline.deployment.settings.home
    really = liveness.alive

    def watched(*arguments):
        held.append(arguments)
        return really(*arguments)

    monkeypatch.setattr("ifcb_flow_pipeline.defs.resources.alive", watched)
    result = pipeline.run("daily_flow", DAYS[0], DAYS[0], "raw_bins")
    assert held == [(home, result.run_id)]
    assert not list((home / "runs").iterdir())
