"""What the pages read, through the store and cached by file: a file that was replaced is read again.

Belongs here: reading, choosing and ordering rows. Does not belong here: anything that draws.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.detection.episodes import Episode, episodes_of
from ifcb_flow_pipeline.detection.model import ModelCard
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Label, LabelStore
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.overview import ScoreOverview
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: What is read of a point cloud to draw it.
CLOUD_COLUMNS = (
    "trigger",
    "t_s",
    "x_px",
    "y_px",
    "width_px",
    "height_px",
    "start_byte",
    "pmt_b",
    "has_image",
)

#: Days of which a feature is read for a look at years: four hundred files take half a second.
MAX_FEATURE_DAYS = 400

_THREADS = 4

Stage = Literal["no tables", "no features", "no model", "no scores", "scores"]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the archive, the tables and the models of a deployment are."""

    home: Path
    archive: Archive

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Stores":
        """The stores that the IFCB_* variables name. Raises SettingsError for one without meaning."""
        settings = Settings.from_environment(environment)
        return cls(settings.home, settings.archive)

    @property
    def tables(self) -> DailyTables:
        """The daily tables."""
        return DailyTables(self.home / "tables")

    @property
    def models(self) -> ModelStore:
        """The trained models."""
        return ModelStore(self.home / "models")

    @property
    def stage(self) -> Stage:
        """How far the pipeline has come."""
        if ScoreOverview(self.tables).changed_ns():
            return "scores"
        if self.tables.days(BIN_FEATURES):
            return "no scores" if self.models.current_id() else "no model"
        return "no features" if self.tables.days(RAW_BINS) else "no tables"


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """All scored bins, and what is wrong with the days that could not be read.

    ``rows`` has the columns of ``store.overview.OVERVIEW_SCHEMA`` in order of ``start_time`` and ``pid``, words as
    categories; its index counts from 0. ``micros``: its start times in microseconds since 1970, int64 of shape (n,).
    It is shared by all sessions: never change it.
    """

    rows: pd.DataFrame
    micros: NDArray[np.int64]
    problems: tuple[str, ...]
    by_pid: pd.Index

    def of(self, pid: str) -> int | None:
        """The row number of a bin; None where it has no score."""
        found = self.find([pid])[0]
        return None if found < 0 else int(found)

    def find(self, pids: Sequence[str]) -> NDArray[np.intp]:
        """The row numbers of bins, -1 for those without score."""
        return self.by_pid.get_indexer(pd.Index(pids, dtype=self.by_pid.dtype))

    @property
    def instruments(self) -> list[str]:
        """The instruments that have scored bins, in alphabetical order."""
        return sorted(self.rows["instrument"].cat.categories)


@dataclass(frozen=True, slots=True)
class BinRecord:
    """What is stored about one bin.

    ``inventory``, ``features``, ``score``: its rows of the tables of these names, None where it has none. ``entry``:
    how reading it went, None where the day's point clouds lack it. ``cloud``: CLOUD_COLUMNS of all triggers, None
    where it has no points.
    """

    pid: str
    day: date
    inventory: Mapping[str, Any] | None
    features: Mapping[str, Any] | None
    score: Mapping[str, Any] | None
    entry: CloudEntry | None
    cloud: Mapping[str, NDArray] | None

    @property
    def known(self) -> bool:
        """Whether any table has the bin."""
        return any(found is not None for found in (self.inventory, self.features, self.score, self.entry))

    @property
    def outcome(self) -> tuple[str, str]:
        """Status and reason as far as the bin came."""
        if self.score is None and self.features is None and self.entry is not None:
            return self.entry.status, self.entry.reason
        row = self.score or self.features or self.inventory
        return (row["status"], row["reason"]) if row is not None else ("", "")


def stores() -> Stores:
    """The stores of this deployment. Raises SettingsError for a setting without meaning."""
    return Stores.of(os.environ)


def read_scored(stores: Stores) -> Scored:
    """All scored bins. Only years in which a day was written since the last look are read again."""
    return _all_years(stores.home, tuple(ScoreOverview(stores.tables).changed_ns().items()))


def read_episodes(stores: Stores) -> list[Episode]:
    """The episodes among all scored bins, by start."""
    return _all_episodes(stores.home, tuple(ScoreOverview(stores.tables).changed_ns().items()))


def read_decisions(stores: Stores) -> Mapping[str, Label]:
    """The decision that counts for each bin that has one. Raises RecordError where they cannot be read."""
    return LabelStore(stores.home / "labels.sqlite").current()


def read_feature(stores: Stores, scored: Scored, rows: NDArray[np.intp], name: str) -> tuple[NDArray[np.float64], int]:
    """A feature of scored bins, NaN where it is not known, and of how many days it was read: of more than
    MAX_FEATURE_DAYS, evenly chosen ones. Raises StoreError for a file that cannot be used.
    """
    days = scored.rows["start_time"].iloc[rows].dt.normalize().drop_duplicates()
    step = max(1, -(-len(days) // MAX_FEATURE_DAYS))
    states = tuple((day, _changed(stores, BIN_FEATURES, day)) for day in days.iloc[::step].dt.date)
    found = _feature_of_days(stores.home, name, tuple((day, changed) for day, changed in states if changed is not None))
    values = np.full(len(rows), np.nan)
    known = pd.Index(scored.rows["pid"].iloc[rows]).get_indexer(found.index)
    values[known[known >= 0]] = found.to_numpy()[known >= 0]
    return values, len(states)


def read_bin(stores: Stores, pid: str) -> BinRecord:
    """All that is stored about a bin. Raises InvalidPidError, or StoreError for a file that cannot be used."""
    day = parse_pid(pid).day
    inventory, features, score = (row_of(stores, table, pid) for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES))
    entry, cloud = read_cloud(stores, pid)
    return BinRecord(pid, day, inventory, features, score, entry, cloud)


def row_of(stores: Stores, table: Table, pid: str) -> Mapping[str, Any] | None:
    """The row of a bin in a daily table; None where it has none. Raises as ``read_bin``."""
    rows = rows_of_day(stores, table, parse_pid(pid).day)
    found = [] if rows is None else rows.filter(pc.field("pid") == pid).to_pylist()
    return found[0] if found else None


def rows_of_day(stores: Stores, table: Table, day: date) -> pa.Table | None:
    """A day of a table, None where it has not been made. Raises StoreError for a file that cannot be used."""
    changed = _changed(stores, table, day)
    return None if changed is None else _cached_day(stores.home, table.name, day, changed)


def read_cloud(stores: Stores, pid: str) -> tuple[CloudEntry | None, Mapping[str, NDArray] | None]:
    """How reading a bin went, and its cloud (CLOUD_COLUMNS); None each where there is none. Raises as ``read_bin``."""
    day = parse_pid(pid).day
    changed = _changed(stores, POINT_CLOUDS, day)
    try:
        return (None, None) if changed is None else _cached_cloud(stores.home, day, pid, changed)
    except (FileNotFoundError, KeyError):
        return None, None


def model_in_use(stores: Stores) -> ModelCard | None:
    """The card of the model in use, None where there is none. Raises ModelError where its card is missing."""
    return stores.models.card() if stores.models.current_id() else None


def created(card: ModelCard) -> datetime:
    """When the model was trained."""
    return datetime.fromisoformat(card.created)


def day_of(pid: str | None) -> date | None:
    """The day of a bin; None where the text, of an address perhaps, names no bin."""
    try:
        return parse_pid(pid or "").day
    except InvalidPidError:
        return None


def _changed(stores: Stores, table: Table, day: date) -> int | None:
    try:
        return stores.tables.path(table, day).stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _arrow_strings(type_: pa.DataType) -> Any:
    # Half a million identifiers as Python objects take 40 MB more, and a second more.
    return pd.StringDtype("pyarrow") if type_ == pa.string() else None


# Older versions of a year that is being written are let go as new ones come.
@st.cache_resource(max_entries=64, show_spinner=False)
def _year(home: Path, year: int, changed_ns: int) -> tuple[pa.Table, tuple[str, ...]]:  # noqa: ARG001 - part of the key
    found = ScoreOverview(DailyTables(home / "tables")).read(year)
    return found.rows, found.problems


@st.cache_resource(max_entries=2, show_spinner="Reading scores ...")
def _all_years(home: Path, years: tuple[tuple[int, int], ...]) -> Scored:
    parts = [_year(home, year, changed_ns) for year, changed_ns in years]
    table = pa.concat_tables([part for part, _ in parts]).unify_dictionaries()
    rows = table.to_pandas(types_mapper=_arrow_strings)
    micros = table["start_time"].cast(pa.int64()).to_numpy()
    problems = tuple(problem for _, found in parts for problem in found)
    return Scored(rows, micros, problems, pd.Index(rows["pid"]))


@st.cache_resource(max_entries=2, show_spinner=False)
def _all_episodes(home: Path, years: tuple[tuple[int, int], ...]) -> list[Episode]:
    parts = [_year(home, year, changed_ns)[0] for year, changed_ns in years]
    return episodes_of(pa.concat_tables(parts).unify_dictionaries())


@st.cache_data(max_entries=12, show_spinner="Reading a feature ...")
def _feature_of_days(home: Path, name: str, days: tuple[tuple[date, int], ...]) -> pd.Series:
    tables = DailyTables(home / "tables")
    with ThreadPoolExecutor(_THREADS) as threads:
        parts = list(threads.map(lambda day: tables.read(BIN_FEATURES, day[0], ["pid", name]), days))
    found = [part for part in parts if part is not None]
    if not found:
        return pd.Series(dtype=float, index=pd.Index([], dtype="str"))
    rows = pa.concat_tables(found).to_pandas(types_mapper=_arrow_strings)
    return pd.Series(rows[name].to_numpy(dtype=float), index=pd.Index(rows["pid"]))


@st.cache_resource(max_entries=120, show_spinner=False)
def _cached_day(home: Path, name: str, day: date, changed_ns: int) -> pa.Table | None:  # noqa: ARG001 - part of the key
    table = next(table for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES) if table.name == name)
    return DailyTables(home / "tables").read(table, day)


@st.cache_resource(max_entries=48, show_spinner=False)
def _cached_cloud(
    home: Path,
    day: date,
    pid: str,
    changed_ns: int,  # noqa: ARG001 - part of the key
) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    return CloudTables(DailyTables(home / "tables")).read_one(day, pid, CLOUD_COLUMNS)
