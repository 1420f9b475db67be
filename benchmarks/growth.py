"""What a look at the archive costs against its size: first, without news, and with a day's new bins.

The listing is simulated, so that no files are needed and the disk is left out: three instruments, a directory a
day; a million bins are nineteen years. Each size is a process of its own (this module, started as a program).
"""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.memory import peak_mb
from benchmarks.table import Row
from ifcb_flow_pipeline.bins.archive import EXTENSIONS, FoundFile
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.store.archive import Archive, Inside, Ranges
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.survey import Budget, Surveyor

INSTRUMENTS = ("IFCB101", "IFCB102", "IFCB103")
FIRST_DAY = date(2003, 1, 1)
BINS_PER_DAY = 144
NEW_BINS = 72


@dataclass(frozen=True, slots=True)
class SimulatedArchive(Archive):
    """An archive of ``n_bins``, BINS_PER_DAY a day, and ``new_bins`` of the day after them."""

    n_bins: int = 0
    new_bins: int = 0

    def check_mounted(self) -> None:
        """It is always there."""

    def walk(self, inside: Callable[[str, os.stat_result], Inside]) -> Iterator[Inside]:
        """The top, and then each day's directory."""
        yield inside("", _status(self._days()[-1]))
        for number in self._days():
            yield inside(f"{_day(number):D%Y%m%d}", _status(number))

    def inside(self, relative: str, wanted: Ranges | None = None) -> Inside:  # noqa: ARG002 - as Archive has it
        """The directories of the top, or the files of a day."""
        if not relative:
            return Inside(tuple(f"{_day(number):D%Y%m%d}" for number in self._days()), ())
        number = (datetime.strptime(relative, "D%Y%m%d").replace(tzinfo=UTC).date() - FIRST_DAY).days
        midnight = datetime(_day(number).year, _day(number).month, _day(number).day, tzinfo=UTC)
        files = []
        for i in range(self._n_of(number)):
            start = midnight + timedelta(seconds=86_400 * i // self._n_of(number))
            pid, time_ns = format_pid(INSTRUMENTS[i % len(INSTRUMENTS)], start), int(start.timestamp()) * 10**9
            files += [FoundFile(relative, f"{pid}.{extension}", 1000, time_ns) for extension in EXTENSIONS]
        return Inside((), (), tuple(files))

    def _days(self) -> list[int]:
        return list(range(self._n_full_days() + (self.new_bins > 0)))

    def _n_full_days(self) -> int:
        return -(-self.n_bins // BINS_PER_DAY)

    def _n_of(self, number: int) -> int:
        return (
            self.new_bins if number == self._n_full_days() else min(BINS_PER_DAY, self.n_bins - number * BINS_PER_DAY)
        )


def measure(sizes: tuple[int, ...]) -> list[Row]:
    """A row for each size."""
    rows = []
    for n_bins in sizes:
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, "-m", "benchmarks.growth", home, str(n_bins)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        note = f"without news {found['again']:.3f} s, with {NEW_BINS} new {found['news']:.3f} s, {found['mb']:.0f} MB"
        rows.append(Row(f"simulated listing: first look at {n_bins} bins", found["first"], note=note))
    return rows


def _day(number: int) -> date:
    return FIRST_DAY + timedelta(days=number)


def _status(number: int) -> os.stat_result:
    """Of a directory that was last changed on that day; the top changes with its last."""
    changed = datetime(_day(number).year, _day(number).month, _day(number).day, tzinfo=UTC).timestamp()
    times = {"st_mtime_ns": int(changed) * 10**9, "st_ctime_ns": int(changed) * 10**9}
    return os.stat_result((stat.S_IFDIR, number + 1, 1, 1, 0, 0, 0, changed, changed, changed), times)


def _measure(home: Path, n_bins: int) -> dict[str, Any]:
    def look(new_bins: int) -> float:
        started = time.perf_counter()
        archive = SimulatedArchive(home, n_bins=n_bins, new_bins=new_bins)
        found = Surveyor(archive, DailyTables(home / "tables"), home / "ledger.sqlite").survey((), Budget())
        if found.n_bins != n_bins + new_bins:
            raise SystemExit(f"{found.n_bins} bins were found, not {n_bins + new_bins}")
        return time.perf_counter() - started

    return {"first": look(0), "again": look(0), "news": look(NEW_BINS), "mb": peak_mb()}


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]), int(sys.argv[2]))))
