"""Runs whose process is gone are known to be gone, and what runs leave behind has a bound.

A run holds a lock on a file of its own as long as its process lives; the system gives the lock back however the process
ends. So whoever gets the lock of a run that Dagster calls started knows that it is dead: after a power cut, or when its
daemon or code server was killed. Dagster then starts it again (``run_retries``).
"""

import fcntl
import multiprocessing
import os
import shutil
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

#: Days for which the log of a run and its output are kept. Which days were materialized, and how, is kept for ever.
DAYS_OF_LOGS = 14

#: Temporary files of killed writers are removed once they are this old; younger ones may be in use.
_LEFTOVER_AGE = timedelta(days=1)


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


def prune(home: Path, now: datetime) -> int:
    """Remove logs and output of runs that ended long ago, and files that killed writers left; how many there were."""
    old = (now - timedelta(days=DAYS_OF_LOGS)).timestamp()
    # Dagster's files of one run each; what it knows of assets is in another.
    found = _older(home / "dagster" / "history" / "runs", "*-*-*-*-*.db*", old)
    found += _older(home / "dagster" / "storage", "*-*-*-*-*", old)
    found += _older(home / "tables", "*/*/.*.tmp", (now - _LEFTOVER_AGE).timestamp())
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)


def tick(instance: dg.DagsterInstance, home: Path, cursor: str | None, now: datetime) -> tuple[str, str]:
    """Fail dead runs, and once a day prune. Returns what was done, and the cursor."""
    dead = fail_dead_runs(instance, home, now)
    told = f"{len(dead)} runs whose process is gone: {', '.join(dead)}" if dead else "all runs are alive"
    day = now.date().isoformat()
    if cursor == day:
        return told, day
    return f"{told}; {prune(home, now)} old files removed", day


def _older(folder: Path, pattern: str, seconds: float) -> list[Path]:
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < seconds:
                found.append(path)
    return found


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
