"""The latest days of all instruments, read again only where a day's file was replaced."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import pyarrow as pa

from ifcb_flow_pipeline.detection.verdict.episodes import Episode, episodes_of
from ifcb_flow_pipeline.review.instruments import (
    LISTED_COLUMNS,
    SCORED_COLUMNS,
    InstrumentState,
    instrument_states,
)
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.overview import State, changed_ns, days_of_year
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS, Table

#: An instrument without a bin for so long was taken out of the water (``app.status`` has the same bound).
WINDOW = timedelta(days=31)

#: For so long it is not asked again whether an episode lasts though its instrument has fallen silent.
_FRESH = timedelta(minutes=10)

_COLUMNS = {RAW_BINS.name: LISTED_COLUMNS, BIN_SCORES.name: SCORED_COLUMNS}


@dataclass(frozen=True, slots=True)
class Recent:
    """The WINDOW up to the last day that has a table; ``first_day`` and ``last_day`` are None where there is none.

    ``episodes``: those of the window, by start; one that began before it begins with it. ``days_waiting``: days that
    list bins without scores. ``days_unreadable``: days with a table that cannot be read. ``first_waiting``: the first
    bin without a score, None where there is none.
    """

    first_day: date | None
    last_day: date | None
    instruments: tuple[InstrumentState, ...]
    episodes: tuple[Episode, ...]
    days_waiting: tuple[date, ...]
    days_unreadable: tuple[date, ...]
    first_waiting: str | None = None


class RecentBins:
    """The latest bins of ``tables``; may be asked by many threads."""

    def __init__(self, tables: DailyTables):
        self._tables = tables
        self._lock = threading.Lock()
        self._days: dict[tuple[str, date], tuple[State, pa.Table | None]] = {}
        self._waiting: dict[date, tuple[object, str]] = {}
        self._key: object = None
        self._found = Recent(None, None, (), (), (), ())

    def at(self, now: datetime) -> Recent:
        """The latest bins; ``now`` (aware) tells which episodes last, and is taken to be the same for ten minutes."""
        with self._lock:
            years = [changed_ns(self._tables, table) for table in (RAW_BINS, BIN_SCORES)]
            key = (years, now.timestamp() // _FRESH.total_seconds())
            if key != self._key:
                self._found = self._read(sorted({*years[0], *years[1]}), now)
                self._key = key
            return self._found

    def _read(self, years: list[int], now: datetime) -> Recent:
        # The window reaches into the year before.
        states = {
            (table.name, day): state
            for table in (RAW_BINS, BIN_SCORES)
            for year in years[-2:]
            for day, state in days_of_year(self._tables, table, year).items()
        }
        if not states:
            return Recent(None, None, (), (), (), ())
        last = max(day for _, day in states)
        first = last - WINDOW + timedelta(days=1)
        states = {key: state for key, state in states.items() if key[1] >= first}
        self._days = {key: self._day(key, state) for key, state in states.items()}
        listed, scored = self._rows(RAW_BINS), self._rows(BIN_SCORES)
        waiting = self._first_waiting(states)
        return Recent(
            first,
            last,
            instrument_states(listed, scored),
            tuple(episodes_of(scored, now)),
            tuple(waiting),
            tuple(sorted({day for (_, day), (_, rows) in self._days.items() if rows is None})),
            next(iter(waiting.values()), None),
        )

    def _day(self, key: tuple[str, date], state: State) -> tuple[State, pa.Table | None]:
        """The state of a day's file and its rows, None where it cannot be read."""
        known = self._days.get(key)
        if known is not None and known[0] == state:
            return known
        name, day = key
        try:
            return state, self._tables.read(RAW_BINS if name == RAW_BINS.name else BIN_SCORES, day, _COLUMNS[name])
        except StoreError:
            return state, None

    def _rows(self, table: Table) -> pa.Table:
        schema = table.schema.remove_metadata()
        empty = pa.Table.from_pylist([], schema=schema).select(list(_COLUMNS[table.name]))
        parts = [rows for (name, _), (_, rows) in self._days.items() if name == table.name and rows is not None]
        return pa.concat_tables([empty, *parts])

    def _first_waiting(self, states: Mapping[tuple[str, date], State]) -> dict[date, str]:
        """The days that list bins without scores, ascending, with the first such bin. Days whose files are as before
        are not compared again.
        """
        known, self._waiting = self._waiting, {}
        for day in sorted({day for name, day in states if name == RAW_BINS.name}):
            both = (states[RAW_BINS.name, day], states.get((BIN_SCORES.name, day)))
            if day in known and known[day][0] == both:
                self._waiting[day] = known[day]
            else:
                waiting = self._pids(RAW_BINS, day) - self._pids(BIN_SCORES, day)
                self._waiting[day] = (both, min(waiting, default=""))
        return {day: pid for day, (_, pid) in self._waiting.items() if pid}

    def _pids(self, table: Table, day: date) -> set[str]:
        _, rows = self._days.get((table.name, day), (None, None))
        return set() if rows is None else set(rows["pid"].to_pylist())
