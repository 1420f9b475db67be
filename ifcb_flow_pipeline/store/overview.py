"""All bins in few columns, for looks at years: of scores and of features one file a year beside the daily tables.

The daily tables are the truth. A year's file says of which daily files its rows are (their times of change and
sizes); a reader takes all other days from the daily tables. So a file that is absent, old or damaged costs time, and
never changes what is read: it can be deleted at any time.
"""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ifcb_flow_pipeline.bins.hdr import HEADER_FIELDS
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.run import SETTINGS
from ifcb_flow_pipeline.store.daily import COMPRESSION, DailyTables, StoreError, replacing
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, Table

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
        "second_cause": _WORD,
        "affected_fraction": pa.float32(),
        "baseline_bins": pa.float32(),
    }
)

#: The settings in a header that are numbers.
NUMERIC_SETTINGS: tuple[str, ...] = tuple(
    field.name for field in HEADER_FIELDS if field.name in SETTINGS and field.kind in ("number", "count", "flag")
)

#: The columns of ``bin_features`` that are kept, and the settings of its header as numbers, NaN where absent.
FEATURES_SCHEMA = pa.schema(
    {
        "pid": pa.string(),
        "start_time": BIN_FEATURES.schema.field("start_time").type,
        "sample_type": _WORD,
        **{name: pa.float32() for name in ("n_images", "n_rows", "bad_lines")},
        **{feature.name: pa.float32() for feature in CATALOGUE},
        **{name: pa.float32() for name in NUMERIC_SETTINGS},
    }
)

_FOOTER = b"ifcb_flow_overview"

#: What rows are put in order by.
_ORDER = ("start_time", "pid")

#: Small files are opened faster by several threads than by one.
_THREADS = 4

#: What tells that a day's file was replaced: time of change in ns and size in bytes.
State = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Year:
    """The bins of a year in order of time, and what is wrong with days that could not be read."""

    rows: pa.Table
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Overview(ABC):
    """The bins of all days of ``tables``, in few columns."""

    tables: DailyTables

    table: ClassVar[Table]
    schema: ClassVar[pa.Schema]
    #: Rises when the schema changes; files of another version are made anew.
    version: ClassVar[int]

    @abstractmethod
    def of_day(self, day: date, names: Sequence[str]) -> pa.Table:
        """These columns of the schema of a day. Raises StoreError where it cannot be read."""

    def changed_ns(self) -> dict[int, int]:
        """Each year that has a day, ascending, with a number that changes when one of its days is written."""
        return changed_ns(self.tables, self.table)

    def read(self, year: int, names: Sequence[str] | None = None) -> Year:
        """The bins of a year, with what orders them and the columns ``names`` (None: all); a day that cannot be read
        does not hide the others.
        """
        wanted = self.schema.names if names is None else [*dict.fromkeys((*_ORDER, *names))]
        rows, problems = self._read(year, days_of_year(self.tables, self.table, year), wanted)
        return Year(rows, tuple(problems.values()))

    def renew(self) -> None:
        """Bring the files of all years up to date with the daily tables."""
        for year in self.changed_ns():
            states = days_of_year(self.tables, self.table, year)
            if self._kept(year)[0] != states:
                rows, problems = self._read(year, states, self.schema.names)
                # A day that cannot be read is to be told by every reader.
                self._write(year, rows, {day: state for day, state in states.items() if day not in problems})

    def path(self, year: int) -> Path:
        """Where the year's file is, or would be."""
        return self.tables.root / f"{self.table.name}_overview" / f"{year:04}.parquet"

    def _read(self, year: int, states: Mapping[date, State], names: Sequence[str]) -> tuple[pa.Table, dict[date, str]]:
        """The rows of these days, and what is wrong with those that could not be read."""
        kept_states, kept = self._kept(year, names)
        known = [day for day, state in states.items() if kept_states.get(day) == state]
        others = sorted(states.keys() - set(known))
        parts = [self._empty(names), kept if len(known) == len(kept_states) else _of_days(kept, known)]
        problems = {}
        with ThreadPoolExecutor(_THREADS) as threads:
            for day, part in zip(others, threads.map(lambda day: self._read_day(day, names), others), strict=True):
                if isinstance(part, str):
                    problems[day] = part
                else:
                    parts.append(part)
        rows = pa.concat_tables(parts).unify_dictionaries()
        return (rows.sort_by([(name, "ascending") for name in _ORDER]) if others else rows), problems

    def _read_day(self, day: date, names: Sequence[str]) -> pa.Table | str:
        try:
            return self.of_day(day, names)
        except StoreError as error:
            return str(error)

    def _empty(self, names: Sequence[str]) -> pa.Table:
        return self._part(names).empty_table()

    def _part(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in names])

    def _kept(self, year: int, names: Sequence[str] = ()) -> tuple[dict[date, State], pa.Table]:
        """Of which daily files the year's file is, and these columns; nothing where it cannot be used."""
        nothing = self._empty(names)
        try:
            with pq.ParquetFile(self.path(year)) as file:
                content = json.loads((file.schema_arrow.metadata or {})[_FOOTER])
                if content["version"] != [self.version, self.table.version]:
                    return {}, nothing
                rows = nothing
                if names:
                    rows = file.read(list(names)).select(list(names)).replace_schema_metadata().cast(self._part(names))
        except (OSError, pa.ArrowException, KeyError, ValueError):
            return {}, nothing
        return {date.fromisoformat(day): (time_ns, size) for day, (time_ns, size) in content["days"].items()}, rows

    def _write(self, year: int, rows: pa.Table, states: Mapping[date, State]) -> None:
        days = {day.isoformat(): state for day, state in sorted(states.items())}
        content = {"version": [self.version, self.table.version], "days": days}
        metadata = {_FOOTER: json.dumps(content).encode()}
        with replacing(self.path(year)) as temporary:
            pq.write_table(rows.replace_schema_metadata(metadata), temporary, compression=COMPRESSION)


@dataclass(frozen=True, slots=True)
class ScoreOverview(Overview):
    """The scored bins of all days (OVERVIEW_SCHEMA)."""

    table = BIN_SCORES
    schema = OVERVIEW_SCHEMA
    version = 2

    def of_day(self, day: date, names: Sequence[str]) -> pa.Table:
        """See Overview."""
        rows = self.tables.read(BIN_SCORES, day, list(names))
        return self._empty(names) if rows is None else rows.select(list(names)).cast(self._part(names))


@dataclass(frozen=True, slots=True)
class FeatureOverview(Overview):
    """The features, settings and sample types of the bins of all days (FEATURES_SCHEMA)."""

    table = BIN_FEATURES
    schema = FEATURES_SCHEMA
    version = 1

    def of_day(self, day: date, names: Sequence[str]) -> pa.Table:
        """See Overview."""
        settings = [name for name in names if name in NUMERIC_SETTINGS]
        stored = [name for name in names if name not in NUMERIC_SETTINGS]
        rows = self.tables.read(BIN_FEATURES, day, [*stored, "settings"] if settings else stored)
        if rows is None:
            return self._empty(names)
        columns = {name: rows[name] for name in stored}
        columns |= {name: pa.array(setting(rows["settings"], name), from_pandas=True) for name in settings}
        return pa.table({name: columns[name] for name in names}).cast(self._part(names))


def changed_ns(tables: DailyTables, table: Table) -> dict[int, int]:
    """Each year that has a day of ``table``, ascending, with a number that changes when one of its days is written."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(tables.root / table.name) as folders:
        # Files are replaced by moving new ones into the folder, which changes the folder's time.
        found = {int(folder.name): folder.stat().st_mtime_ns for folder in folders if folder.name.isdigit()}
    return dict(sorted(found.items()))


def days_of_year(tables: DailyTables, table: Table, year: int) -> dict[date, State]:
    """The days of a year that ``table`` has a file of, and its state."""
    found = {}
    with suppress(FileNotFoundError), os.scandir(tables.root / table.name / f"{year:04}") as files:
        for file in files:
            if file.name.endswith(".parquet") and not file.name.startswith("."):
                stat = file.stat()
                found[date.fromisoformat(file.name.removesuffix(".parquet"))] = (stat.st_mtime_ns, stat.st_size)
    return found


def renew_overviews(tables: DailyTables) -> None:
    """Bring the files of all years, of scores and of features, up to date with the daily tables."""
    for overview in (ScoreOverview(tables), FeatureOverview(tables)):
        overview.renew()


def setting(texts: pa.ChunkedArray, name: str) -> np.ndarray:
    """A number among the settings of bins; ``texts``: the column ``settings`` of ``bin_features``. NaN where absent."""
    coded = texts.combine_chunks().dictionary_encode()
    # Thousands of bins share a few settings.
    stated = [json.loads(text or "{}").get(name) for text in coded.dictionary.to_pylist()]
    known = np.array([float(value) if isinstance(value, int | float) else np.nan for value in [*stated, None]])
    return known[coded.indices.fill_null(len(stated)).to_numpy()]


def _of_days(rows: pa.Table, days: Sequence[date]) -> pa.Table:
    return rows.filter(pc.field("start_time").cast(pa.date32()).isin(pa.array(days, pa.date32())))
