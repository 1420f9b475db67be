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
from typing import BinaryIO

import dagster as dg

from ifcb_flow_pipeline.store.private import private_folder

#: A run that is starting, or has just started, may not have its lock yet.
_START = timedelta(seconds=60)

#: Runs that should have a process.
_RUNNING = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)

#: Locks that are held until the process of a run ends.
_HELD: list[BinaryIO] = []


@contextmanager
def alive(home: Path, run_id: str) -> Iterator[None]:
    """Inside, the run counts as alive."""
    path = _lock(home, run_id)
    private_folder(path.parent)
    file = _locked(path)
    if multiprocessing.parent_process() is not None:
        # A process of its own is alive until it ends: only afterwards its run is said to have ended.
        _HELD.append(file)
        _end_with_parent()
        yield
        return
    with file:
        try:
            yield
        finally:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)


def fail_dead_runs(instance: dg.DagsterInstance, home: Path, now: datetime) -> list[str]:
    """Report runs that are started, and whose process is gone, as failed; returns their ids."""
    dead, running = [], set()
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=list(_RUNNING))):
        run, lock = record.dagster_run, _lock(home, record.dagster_run.run_id)
        running.add(lock)
        if _is_alive(lock, now - record.update_timestamp.replace(tzinfo=UTC)):
            continue
        if run.status is dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message="Its process is gone.")
        else:
            instance.report_run_failed(run, message="Its process is gone: a power cut, or it was killed.")
        dead.append(run.run_id)
    # Listed after the runs: the lock of one that has started meanwhile is held.
    for lock in (home / "runs").glob("*.lock"):
        if (lock not in running or lock.stem in dead) and not _is_held(lock):
            lock.unlink(missing_ok=True)
    return dead


def _lock(home: Path, run_id: str) -> Path:
    return home / "runs" / f"{run_id}.lock"


def _locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("ab")
        # Shared: steps of one run may be processes of their own.
        fcntl.flock(file, fcntl.LOCK_SH)
        if path.exists():
            return file
        file.close()  # taken for a leftover before it was locked


def _is_alive(lock: Path, unchanged: timedelta) -> bool:
    """Whether a run has its process, given for how long its status has been what it is."""
    return _is_held(lock) if lock.exists() else unchanged < _START


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
