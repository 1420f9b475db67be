"""What the pages read, through the store and cached by file: a file that was replaced is read again.

Belongs here: reading, choosing and ordering rows. Does not belong here: anything that draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.detection.model import ModelCard
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: How many of the latest days with scores are shown at first.
DEFAULT_DAYS = 14

CLOUD_COLUMNS = ("x_px", "y_px", "has_image")

Stage = Literal["no tables", "no features", "no model", "no scores", "scores"]
Verdict = Literal["all", "anomaly", "unscored"]
VERDICTS: tuple[Verdict, ...] = ("all", "anomaly", "unscored")


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the tables, clouds and models of a deployment are."""

    home: Path

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Stores":
        """The stores that the IFCB_* variables name. Raises SettingsError for one without meaning."""
        return cls(Settings.from_environment(environment).home)

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
        if scored_days(self):
            return "scores"
        if self.tables.days(BIN_FEATURES):
            return "no scores" if self.models.current_id() else "no model"
        return "no features" if self.tables.days(RAW_BINS) else "no tables"


@dataclass(frozen=True, slots=True)
class PeriodScores:
    """The rows of ``bin_scores`` of a period, and what is wrong with the days that could not be read."""

    rows: pd.DataFrame
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BinRecord:
    """What is stored about one bin.

    ``score``: its row of ``bin_scores``, None where it has none. ``entry``: how reading it went, None where
    the day's point clouds lack it. ``cloud``: CLOUD_COLUMNS of all triggers, None where it has no points.
    """

    pid: str
    day: date
    score: Mapping[str, Any] | None
    entry: CloudEntry | None
    cloud: Mapping[str, NDArray] | None

    @property
    def outcome(self) -> tuple[str, str]:
        """Status and reason as far as the bin came: those of its score include those of its reading."""
        if self.score is not None:
            return self.score["status"], self.score["reason"]
        return (self.entry.status, self.entry.reason) if self.entry is not None else ("", "")


def scored_days(stores: Stores) -> list[date]:
    """The days that have scores, ascending."""
    return stores.tables.days(BIN_SCORES)


def default_period(days: Sequence[date], wanted: date | None = None) -> tuple[date, date]:
    """First and last of the latest DEFAULT_DAYS days with scores.

    ``days``: all that have scores, ascending, at least one. ``wanted``: a day that the period has to
    reach back to; where it lies further back, the period ends with it.
    """
    first, last = _latest(days)
    if wanted is not None and wanted < first and wanted in days:
        return _latest([day for day in days if day <= wanted])
    return first, last


def read_scores(stores: Stores, first: date, last: date) -> PeriodScores:
    """The scores of all days from ``first`` to ``last`` (both included); a bad day does not hide the others."""
    parts, problems = [], []
    for day in scored_days(stores):
        if first <= day <= last:
            try:
                part = _scores_of_day(stores, day)
            except StoreError as error:
                problems.append(str(error))
            else:
                parts += [] if part is None else [part]
    schema = BIN_SCORES.schema.remove_metadata()
    table = pa.concat_tables(parts) if parts else schema.empty_table()
    return PeriodScores(table.to_pandas(), tuple(problems))


def ranked(rows: pd.DataFrame, instrument: str | None) -> pd.DataFrame:
    """The rows of one instrument (None: of all), most anomalous first, with ``rank`` from 1.

    Bins without score come last, by pid, and have no rank.
    """
    if instrument is not None:
        rows = rows.loc[rows["instrument"].isin([instrument])]
    ordered = rows.sort_values(["anomaly_score", "pid"], ignore_index=True, na_position="last")
    rank = pd.Series(range(1, len(ordered) + 1), dtype="Int64")
    ordered.insert(0, "rank", rank.where(ordered["anomaly_score"].notna()))
    return ordered


def of_verdict(rows: pd.DataFrame, verdict: Verdict) -> pd.DataFrame:
    """The rows with this verdict, in their order."""
    return rows if verdict == "all" else rows.loc[rows["verdict"].isin([verdict])].reset_index(drop=True)


def read_bin(stores: Stores, pid: str) -> BinRecord:
    """All that is stored about a bin. Raises InvalidPidError, or StoreError for a file that cannot be used."""
    day = parse_pid(pid).day
    scores = _scores_of_day(stores, day)
    found = [] if scores is None else scores.filter(pc.field("pid") == pid).to_pylist()
    try:
        entry, cloud = _cached_cloud(stores.home, day, pid, _changed(stores, POINT_CLOUDS, day))
    except (FileNotFoundError, KeyError):
        entry, cloud = None, None
    return BinRecord(pid, day, found[0] if found else None, entry, cloud)


def model_in_use(stores: Stores) -> ModelCard | None:
    """The card of the model in use, None where there is none. Raises ModelError where its card is missing."""
    return stores.models.card() if stores.models.current_id() else None


def created(card: ModelCard) -> datetime:
    """When the model was trained."""
    return datetime.fromisoformat(card.created)


def _latest(days: Sequence[date]) -> tuple[date, date]:
    return days[-DEFAULT_DAYS:][0], days[-1]


def _changed(stores: Stores, table: Table, day: date) -> int:
    return stores.tables.path(table, day).stat().st_mtime_ns


def _scores_of_day(stores: Stores, day: date) -> pa.Table | None:
    try:
        return _cached_scores(stores.home, day, _changed(stores, BIN_SCORES, day))
    except FileNotFoundError:
        return None


# A year of days takes some 20 MB.
@st.cache_data(max_entries=400, show_spinner=False)
def _cached_scores(home: Path, day: date, changed_ns: int) -> pa.Table | None:  # noqa: ARG001 - part of the key
    return Stores(home).tables.read(BIN_SCORES, day)


@st.cache_data(max_entries=32, show_spinner=False)
def _cached_cloud(
    home: Path,
    day: date,
    pid: str,
    changed_ns: int,  # noqa: ARG001 - part of the key
) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    return CloudTables(Stores(home).tables).read_one(day, pid, CLOUD_COLUMNS)
