"""What a tick of the sensor costs over a large archive: the first look, a tick without news, one with 72 new bins.

The archive is of empty files, three instruments over twenty years; every tick is a process of its own (this module,
started as a program), with Dagster loaded. Its time is that of the decision; starting Python is not counted.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import peak_mb
from benchmarks.table import Row
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, footer, joined
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor

INSTRUMENTS = ("IFCB101", "IFCB102", "IFCB103")
FIRST_DAY = date(2003, 1, 1)
NEW_BINS = 72


@dataclass(frozen=True, slots=True)
class LaterArchive(Archive):
    """An archive that is looked at ``later`` from now: the directories that were just made are old then."""

    later: timedelta = timedelta()

    def now(self) -> datetime:
        """The pretended time."""
        return datetime.now(tz=UTC) + self.later


def measure(folder: Path, n_bins: int, n_days: int, layout: str = "days") -> list[Row]:
    """Make the archive (``days``: a directory a day; ``flat``: one for all) and take all measurements."""
    root, home = folder / "archive", folder / "home"
    for i in range(n_days):
        _add_bins(root, i, n_bins * i // n_days, n_bins * (i + 1) // n_days, layout)
    minutes = 10 * 24 * 60
    first = _ticks_until_complete(root, home, minutes)
    minutes += len(first)
    _write_tables(root, home, minutes)
    tables = _ticks_until_complete(root, home, minutes + 1)
    minutes += 2 + len(tables)
    what = "sensor" if layout == "days" else "sensor, one directory"
    rows = [_row(f"{what}: first look at {n_bins} bins", first), _row(f"{what}: {2 * n_days} new tables", tables)]
    rows.append(_row(f"{what}: tick without news", [_tick(root, home, minutes)]))
    _add_bins(root, n_days - 1, 10**6, 10**6 + NEW_BINS, layout)
    rows.append(_row(f"{what}: tick with {NEW_BINS} new bins", [_tick(root, home, minutes + 1)]))
    rows.append(_row(f"{what}: tick a day later", [_tick(root, home, minutes + 24 * 60)]))
    return rows


def _row(workload: str, ticks: list[dict[str, Any]]) -> Row:
    seconds = [tick["seconds"] for tick in ticks]
    peak = max(tick["megabytes"] for tick in ticks)
    return Row(workload, sum(seconds), note=f"{len(ticks)} ticks, longest {max(seconds):.2f} s, {peak:.0f} MB")


def _ticks_until_complete(root: Path, home: Path, minutes: int) -> list[dict[str, Any]]:
    ticks = [_tick(root, home, minutes)]
    while not ticks[-1]["complete"]:
        ticks.append(_tick(root, home, minutes + len(ticks)))
    return ticks


def _add_bins(root: Path, number: int, first: int, last: int, layout: str) -> None:
    day = FIRST_DAY + timedelta(days=number)
    folder = root / f"D{day:%Y}" / f"D{day:%Y%m%d}" if layout == "days" else root
    folder.mkdir(parents=True, exist_ok=True)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    for i in range(first, last):
        moment = start + timedelta(seconds=(i * 600 + first % 997) % 86_400 if last > 10**6 else (i - first) * 600)
        name = format_pid(INSTRUMENTS[i % 3], moment)
        for extension in ("adc", "hdr", "roi"):
            path = f"{folder}/{name}.{extension}"
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            os.utime(path, (moment.timestamp(), moment.timestamp()))


def _surveyor(root: Path, home: Path, minutes: int) -> Surveyor:
    archive = LaterArchive(root, later=timedelta(minutes=minutes))
    return Surveyor(archive, DailyTables(home / "tables"), home / "ledger.sqlite")


def _write_tables(root: Path, home: Path, minutes: int) -> None:
    from ifcb_flow_pipeline.defs.planning import LOOKED_AT

    surveyor = _surveyor(root, home, minutes)
    for day, entry in surveyor.survey((), Budget()).archive.items():
        both = joined(entry.signature, entry.images)
        for table, signature in zip(LOOKED_AT, (entry.signature, entry.images, both), strict=True):
            path = surveyor.tables.path(table, day)
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = pa.Table.from_pylist([], schema=table.schema)
            pq.write_table(rows.replace_schema_metadata(footer(table, Provenance(signature))), path)


def _tick(root: Path, home: Path, minutes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.sensing", str(root), str(home), str(minutes)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _one_tick(root: Path, home: Path, minutes: int) -> None:
    import ifcb_flow_pipeline.definitions  # noqa: F401 - a tick runs where it is loaded
    from ifcb_flow_pipeline.defs.planning import LOOKED_AT, day_states, plan
    from ifcb_flow_pipeline.defs.sensors import TICK_SECONDS

    started = time.perf_counter()
    found: Survey = _surveyor(root, home, minutes).survey(LOOKED_AT, Budget(TICK_SECONDS))
    if found.complete:
        plan(day_states(found), with_scores=True)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "megabytes": peak_mb(), "complete": found.complete}))


if __name__ == "__main__":
    _one_tick(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
