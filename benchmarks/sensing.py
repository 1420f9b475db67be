"""What a tick of the sensor costs over a large archive: the first look, a tick without news, one with 72 new bins.

``python -m benchmarks.sensing 1000000``. The archive is of empty files, three instruments over twenty years, one
directory a day (``flat`` as second argument: one directory for all); every tick is a process of its own, with
Dagster loaded. Its time and memory are those of the decision; starting Python is not counted.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, footer
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES

INSTRUMENTS = ("IFCB101", "IFCB102", "IFCB103")
FIRST_DAY = date(2003, 1, 1)
N_DAYS = 7300
NEW_BINS = 72


@dataclass(frozen=True, slots=True)
class LaterArchive(Archive):
    """An archive that is looked at ``later`` from now: the directories that were just made are old then."""

    later: timedelta = timedelta()

    def now(self) -> datetime:
        """The pretended time."""
        return datetime.now(tz=UTC) + self.later


def main(n_bins: int = 1_000_000, layout: str = "days") -> None:
    """Make the archive, take all measurements and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root, home = Path(folder, "archive"), Path(folder, "home")
        started = time.perf_counter()
        for i in range(N_DAYS):
            _add_bins(root, i, n_bins * i // N_DAYS, n_bins * (i + 1) // N_DAYS, layout)
        print(f"{n_bins} bins in {N_DAYS} days, made in {time.perf_counter() - started:.0f} s")
        print(f"{'tick':34} {'seconds':>8} {'max MB':>7}")
        minutes = 10 * 24 * 60
        while not _tick(f"first look, at +{minutes} min", root, home, minutes):
            minutes += 1
        _write_tables(root, home, minutes)
        minutes += 1
        while not _tick("14,600 new tables", root, home, minutes):
            minutes += 1
        _tick("nothing new", root, home, minutes + 1)
        for i in range(2):
            _add_bins(root, N_DAYS - 1 - i, 10**6, 10**6 + NEW_BINS, layout)
            _tick(f"{NEW_BINS} new bins", root, home, minutes + 2 + i)
        for i in range(3):
            _tick("a day later, all directories due", root, home, minutes + 24 * 60 + i)
        print(f"ledger {(home / 'ledger.sqlite').stat().st_size / 1e6:.0f} MB")


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
    surveyor = _surveyor(root, home, minutes)
    for day, entry in surveyor.survey((), Budget()).archive.items():
        for table in (BIN_FEATURES, BIN_SCORES):
            path = surveyor.tables.path(table, day)
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = pa.Table.from_pylist([], schema=table.schema)
            pq.write_table(rows.replace_schema_metadata(footer(table, Provenance(entry.signature))), path)


def _tick(what: str, root: Path, home: Path, minutes: int) -> bool:
    command = [sys.executable, "-m", "benchmarks.sensing", "tick", str(root), str(home), str(minutes)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(f"{what:34} {found['seconds']:8.2f} {found['megabytes']:7.0f}  {found['outcome']}", flush=True)
    return found["complete"]


def _one_tick(root: Path, home: Path, minutes: int) -> None:
    from ifcb_flow_pipeline import definitions
    from ifcb_flow_pipeline.defs.planning import day_states, plan
    from ifcb_flow_pipeline.defs.sensors import TICK_SECONDS

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found: Survey = _surveyor(root, home, minutes).survey((BIN_FEATURES, BIN_SCORES), Budget(TICK_SECONDS))
    days = plan(day_states(found), with_scores=True).pending if found.complete else {}
    seconds = time.perf_counter() - started
    outcome = f"{found.n_bins} bins, {len(days)} days differ" if found.complete else "not complete"
    outcome += f" ({before / 1e3:.0f} MB before)"
    print(json.dumps({"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
                      "complete": found.complete, "outcome": outcome, "loaded": definitions.__name__}))  # fmt: skip


if __name__ == "__main__":
    if sys.argv[1:2] == ["tick"]:
        _one_tick(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000, *sys.argv[2:3])
