"""Runs whose process is gone are known to be gone.

A run holds a lock on a file of its own as long as its process lives; the system gives the lock back however the process
ends. So whoever gets the lock of a run that Dagster calls started knows that it is dead: after a power cut, or when its
daemon or code server was killed. Dagster then starts it again (``run_retries``).
"""

import fcntl
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

#: A run that has just started may not have its lock yet.
_START = timedelta(seconds=60)


@contextmanager
def alive(home: Path, run_id: str) -> Iterator[None]:
    """Inside, the run counts as alive."""
    path = _lock(home, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        # Shared: steps of one run may be processes of their own.
        fcntl.flock(file, fcntl.LOCK_SH)
        _end_with_parent()
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)


def fail_dead_runs(instance: dg.DagsterInstance, home: Path, now: datetime) -> list[str]:
    """Report runs that are started, and whose process is gone, as failed; returns their ids."""
    statuses = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    dead = []
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=statuses)):
        run, began = record.dagster_run, datetime.fromtimestamp(record.start_time or 0, tz=UTC)
        if now - began < _START or _is_held(_lock(home, run.run_id)):
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="Its process is gone.")
        else:
            instance.report_run_failed(run, message="Its process is gone: a power cut, or it was killed.")
        _lock(home, run.run_id).unlink(missing_ok=True)
        dead.append(run.run_id)
    return dead


def _lock(home: Path, run_id: str) -> Path:
    return home / "runs" / f"{run_id}.lock"


def _is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _end_with_parent() -> None:
    """Let a run that a code server started end when that is killed, so that no run goes on that nobody watches."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
