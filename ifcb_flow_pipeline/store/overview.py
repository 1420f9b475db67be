"""All scored bins in few columns, for looks at years: one file a year beside the daily tables.

The daily tables are the truth. A year's file says of which daily files its rows are (their times of change and
sizes); a reader takes all other days from the daily tables. So a file that is absent, old or damaged costs time, and
never changes what is read: it can be deleted at any time.
"""

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ifcb_flow_pipeline.store.daily import COMPRESSION, DailyTables, StoreError, replacing
from ifcb_flow_pipeline.store.tables import BIN_SCORES

_WORD = pa.dictionary(pa.int32(), pa.string())

#: The columns of ``bin_scores`` that are kept, in types that take a tenth of the memory.
OVERVIEW_SCHEMA = pa.schema(
    {
        "pid": pa.string(),
        "instrument": _WORD,
        "start_time": BIN_SCORES.schema.field("start_time").type,
        "severity": pa.float32(),
        "verdict": _WORD,
        "cause": _WORD,
        "anomaly_score": pa.float32(),
        "threshold": pa.float32(),
        "config_changed": pa.bool_(),
        "model_id": _WORD,
        "status": _WORD,
    }
)

_FOLDER = "bin_scores_overview"
_FOOTER = b"ifcb_flow_overview"

#: Rises when OVERVIEW_SCHEMA changes; files of another version are made anew.
_VERSION = 1

#: Small files are opened faster by several threads than by one.
_THREADS = 4

#: What tells that a day's file was replaced: time of change in ns and size in bytes.
State = tuple[int, int]


@dataclass(frozen=True, slots=True)
class YearOfScores:
    """The scored bins of a year (OVERVIEW_SCHEMA) in order of time, and what is wrong with days that could not be
    read.
    """

    rows: pa.Table
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScoreOverview:
    """The scored bins of all days of ``tables``."""

    tables: DailyTables

    def changed_ns(self) -> dict[int, int]:
        """Each year that has scores, ascending, with a number that changes when one of its days is written."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.tables.root / BIN_SCORES.name) as folders:
            # Files are replaced by moving new ones into the folder, which changes the folder's time.
            found = {int(folder.name): folder.stat().st_mtime_ns for folder in folders if folder.name.isdigit()}
        return dict(sorted(found.items()))

    def read(self, year: int) -> YearOfScores:
        """The scored bins of a year; a day that cannot be read does not hide the others."""
        rows, problems = self._read(year, self._states(year))
        return YearOfScores(rows, tuple(problems.values()))

    def renew(self) -> None:
        """Bring the files of all years up to date with the daily tables."""
        for year in self.changed_ns():
            states = self._states(year)
            if self._kept(year)[0] != states:
                rows, problems = self._read(year, states)
                # A day that cannot be read is to be told by every reader.
                self._write(year, rows, {day: state for day, state in states.items() if day not in problems})

    def path(self, year: int) -> Path:
        """Where the year's file is, or would be."""
        return self.tables.root / _FOLDER / f"{year:04}.parquet"

    def _read(self, year: int, states: Mapping[date, State]) -> tuple[pa.Table, dict[date, str]]:
        """The rows of these days, and what is wrong with those that could not be read."""
        kept_states, kept = self._kept(year, with_rows=True)
        known = [day for day, state in states.items() if kept_states.get(day) == state]
        others = sorted(states.keys() - set(known))
        parts = [OVERVIEW_SCHEMA.empty_table(), kept if len(known) == len(kept_states) else _of_days(kept, known)]
        problems = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            for day, part in zip(others, threads.map(self._read_day, others), strict=True):
                if isinstance(part, str):
                    problems[day] = part
                else:
                    parts.append(part)
        rows = pa.concat_tables(parts).unify_dictionaries()
        return rows.sort_by([("start_time", "ascending"), ("pid", "ascending")]), problems

    def _read_day(self, day: date) -> pa.Table | str:
        try:
            rows = self.tables.read(BIN_SCORES, day, OVERVIEW_SCHEMA.names)
        except StoreError as error:
            return str(error)
        return OVERVIEW_SCHEMA.empty_table() if rows is None else rows.cast(OVERVIEW_SCHEMA)

    def _states(self, year: int) -> dict[date, State]:
        """The days of a year that have a file, and its state."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.tables.root / BIN_SCORES.name / f"{year:04}") as files:
            for file in files:
                if file.name.endswith(".parquet") and not file.name.startswith("."):
                    stat = file.stat()
                    found[date.fromisoformat(file.name.removesuffix(".parquet"))] = (stat.st_mtime_ns, stat.st_size)
        return found

    def _kept(self, year: int, *, with_rows: bool = False) -> tuple[dict[date, State], pa.Table]:
        """Of which daily files the year's file is, and its rows; nothing where it cannot be used."""
        nothing = OVERVIEW_SCHEMA.empty_table()
        try:
            with pq.ParquetFile(self.path(year)) as file:
                content = json.loads((file.schema_arrow.metadata or {})[_FOOTER])
                if content["version"] != [_VERSION, BIN_SCORES.version]:
                    return {}, nothing
                rows = file.read().replace_schema_metadata().cast(OVERVIEW_SCHEMA) if with_rows else nothing
        except (OSError, pa.ArrowException, KeyError, ValueError):
            return {}, nothing
        return {date.fromisoformat(day): (time_ns, size) for day, (time_ns, size) in content["days"].items()}, rows

    def _write(self, year: int, rows: pa.Table, states: Mapping[date, State]) -> None:
        days = {day.isoformat(): state for day, state in sorted(states.items())}
        content = {"version": [_VERSION, BIN_SCORES.version], "days": days}
        metadata = {_FOOTER: json.dumps(content).encode()}
        with replacing(self.path(year)) as temporary:
            pq.write_table(rows.replace_schema_metadata(metadata), temporary, compression=COMPRESSION)


def _of_days(rows: pa.Table, days: Sequence[date]) -> pa.Table:
    return rows.filter(pc.field("start_time").cast(pa.date32()).isin(pa.array(days, pa.date32())))
