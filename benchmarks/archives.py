"""Archives to measure on: simulated bins, the same few contents under many names where many are wanted."""

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin

FIRST_DAY = date(2023, 8, 10)

#: Different contents in an archive of one folder and in one of days; further bins are hard links to them.
_FLAT_CONTENTS, _CONTENTS = 300, 40


def flat_archive(folder: Path, n_bins: int, mean_triggers: int) -> list[Path]:
    """``n_bins`` bins of IFCB134 in one folder. Returns their .adc files."""
    start = datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC)
    pids = [format_pid("IFCB134", start + timedelta(minutes=24 * i)) for i in range(n_bins)]
    for pid in pids[:_FLAT_CONTENTS]:
        write_bin(simulate_bin(pid, mean_triggers=mean_triggers), folder)
    for i, pid in enumerate(pids[_FLAT_CONTENTS:]):
        link(folder / f"{pids[i % _FLAT_CONTENTS]}.adc", folder / f"{pid}.adc")
    return sorted(folder.rglob("*.adc"))


def daily_archive(folder: Path, n_days: int, bins_per_day: int, mean_triggers: int) -> None:
    """``n_days`` days of bins in day folders, from FIRST_DAY on."""
    originals = flat_archive(folder.parent / "originals", _CONTENTS, mean_triggers)
    number = 0
    for i in range(n_days):
        day = FIRST_DAY + timedelta(days=i)
        place = folder / f"D{day:%Y}" / f"D{day:%Y%m%d}"
        place.mkdir(parents=True)
        for k in range(bins_per_day):
            start = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=k * 86_400 // bins_per_day)
            original = originals[number % len(originals)]
            number += 1
            link(original, place / f"{format_pid('IFCB134', start)}.adc")


def link(original: Path, adc: Path) -> None:
    """Give a bin's files a second name."""
    for suffix in (".adc", ".hdr"):
        os.link(original.with_suffix(suffix), adc.with_suffix(suffix))
