"""The first day that there is anything of: where the partitions begin unless IFCB_START_DAY says so.

What is processed, and what the last look at the archive found, is known without touching the archive, which may hang.
Only at the very first start, where there is neither, the archive is looked into: its oldest directories, by their name.
"""

import heapq
import itertools
import os
import re
from datetime import date, timedelta

from ifcb_flow_pipeline.bins.archive import EXTENSIONS, likely_day
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.ledger import first_known_day
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.survey import Budget, Surveyor
from ifcb_flow_pipeline.store.tables import RAW_BINS

#: An archive whose directories are not named by date is not looked through for longer.
_SECONDS = 3.0

_YEAR = re.compile(r"D?(20\d\d)", re.ASCII)


def first_day(settings: Settings, today: date) -> date:
    """The first day that has a table or bins in the archive, as far as is known; no earlier than the deployment's first
    day, which it is where nothing is known, and no later than ``today``.
    """
    surveyor = Surveyor.of(settings)
    known = [*_first_made(surveyor.tables), *_known(first_known_day(surveyor.ledger))]
    found = known or _known(oldest_day(settings.archive, Budget(_SECONDS)))
    return max(settings.start_day, min(*found, today)) if found else settings.start_day


def oldest_day(archive: Archive, budget: Budget) -> date | None:
    """The day of the oldest bin of an archive, by the names of its directories and files; None where there is none, or
    not enough time to tell.
    """
    order = itertools.count()
    pending = [(date.min, next(order), os.fspath(archive.root))]
    oldest = date.max
    # Directories whose names say nothing first: they may hold anything. Then the oldest ones, until a bin is older.
    while pending and pending[0][0] < oldest:
        if budget.left < 0:
            return None
        since, _, path = heapq.heappop(pending)
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        for entry in entries:
            stem, dot, extension = entry.name.rpartition(".")
            if dot and extension.lower() in EXTENSIONS:
                oldest = min(oldest, likely_day(stem) or date.max)
            elif entry.name not in archive.exclude and entry.is_dir(follow_symlinks=False):
                heapq.heappush(pending, (_since(entry.name) or since, next(order), entry.path))
    return oldest if oldest < date.max else None


def _since(name: str) -> date | None:
    """The earliest day of the bins of a directory, where its name says so."""
    if year := _YEAR.fullmatch(name):
        return date(int(year[1]), 1, 1)
    # Misplaced by a day is what bins around midnight are.
    day = likely_day(f"{name}T000000_IFCB1") or likely_day(f"{name}_000000")
    return day and day - timedelta(days=1)


def _first_made(tables: DailyTables) -> list[date]:
    years = sorted(path for path in (tables.root / RAW_BINS.name).glob("????") if any(path.glob("????-??-??.parquet")))
    return [min(date.fromisoformat(path.stem) for path in year.glob("????-??-??.parquet")) for year in years[:1]]


def _known(day: date | None) -> list[date]:
    return [] if day is None else [day]
