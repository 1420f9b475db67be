"""What runs leave behind has a bound: old runs, their logs, and temporary files of killed writers."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg

from ifcb_flow_pipeline.defs.jobs import SCORE_STEPS, daily_flow
from ifcb_flow_pipeline.defs.partitions import days_of_tags
from ifcb_flow_pipeline.store.survey import Budget

#: Days for which everything is kept of a run. Of older ones only the latest that made a table of a day stays, without
#: its output.
DAYS_OF_RECORDS = 10

#: Temporary files of killed writers are removed once they are this old; younger ones may be in use.
_LEFTOVER_AGE = timedelta(days=1)

#: Where files are written beside their places, and moved there.
_WRITTEN = ("tables", "tables/*", "tables/*/*", "models", "models/*")

#: Runs are read from the records so many at once.
_RUNS_AT_ONCE = 1000

#: A run's id, in names of files.
_RUN = "????????-????-????-????-????????????"

_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def prune(instance: dg.DagsterInstance, home: Path, now: datetime, budget: Budget) -> int | None:
    """Remove old runs that later ones stand for, old output, and files that killed writers left; how many there were.

    None where there was not enough time for all of it.
    """
    before = now - timedelta(days=DAYS_OF_RECORDS)
    records = _all_runs(instance)
    old = superseded_runs(records, before)
    for run_id in old:
        if budget.left < 0:
            return None
        instance.delete_run(run_id)
    folder, known = Path(instance.root_directory), {record.dagster_run.run_id for record in records}
    # Where Dagster keeps its records in SQLite, each run has a file, which it empties and leaves.
    found = [path for run_id in old for path in (folder / "history/runs").glob(f"{run_id}.db*")]
    found += [path for path in _older(folder / "history/runs", f"{_RUN}.db*", before) if path.name[:36] not in known]
    found += _older(folder / "storage", _RUN, before)
    for place in _WRITTEN:
        found += _older(home, f"{place}/.*.tmp", now - _LEFTOVER_AGE)
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(old) + len(found)


def superseded_runs(newest_first: Iterable[dg.RunRecord], before: datetime) -> list[str]:
    """The runs over days that ended before this time, and all of whose tables of days later runs have made again.

    With a run, Dagster forgets what it made: the latest that made a table of a day stays, however old it is.
    """
    made: set[tuple[dg.AssetKey, date]] = set()
    found = []
    for record in newest_first:
        run = record.dagster_run
        keys = run.asset_selection or ({step.key for step in SCORE_STEPS} if run.job_name == daily_flow.name else ())
        tables = {(key, day) for day in days_of_tags(run.tags) for key in keys}
        ended = record.end_time if run.status in _ENDED else None
        if tables and tables <= made and ended is not None and ended < before.timestamp():
            found.append(run.run_id)
        if run.status is dg.DagsterRunStatus.SUCCESS:
            made |= tables
    return found


def _all_runs(instance: dg.DagsterInstance) -> list[dg.RunRecord]:
    """All runs, newest first. One that starts meanwhile may be missing."""
    found: list[dg.RunRecord] = []
    cursor = None
    while records := instance.get_run_records(limit=_RUNS_AT_ONCE, cursor=cursor):
        found += records
        cursor = records[-1].dagster_run.run_id
    return found


def _older(folder: Path, pattern: str, before: datetime) -> list[Path]:
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before.timestamp():
                found.append(path)
    return found
