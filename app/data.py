"""What the pages read, through the store and cached by file: a file that was replaced is read again.

Belongs here: reading, choosing and ordering rows. Does not belong here: anything that draws.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import streamlit as st
from numpy.typing import NDArray

from app import clouds
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.hdr import HEADER_FIELDS, HeaderField
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.days import history_of
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError
from ifcb_flow_pipeline.detection.open_model import AnyModel
from ifcb_flow_pipeline.detection.trial.partial_bins import PartialScore
from ifcb_flow_pipeline.detection.verdict.episodes import Episode, episodes_of
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.run import blind_s_of
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS, Stream
from ifcb_flow_pipeline.live import scores_of_parts
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Label, LabelStore, RangeLabel
from ifcb_flow_pipeline.store.left_out import LeftOutTable
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.overview import (
    FEATURES_SCHEMA,
    NUMERIC_SETTINGS,
    FeatureOverview,
    Overview,
    ScoreOverview,
)
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: What is read of a point cloud to draw it.
CLOUD_COLUMNS = (*STREAM_COLUMNS, "start_byte", "pmt_b")

#: Bins whose clouds together are the typical one of an instrument, and of how many of its last healthy ones they are.
TYPICAL_BINS, TYPICAL_OF = 12, 48

#: Days before and after a bin, and latest episodes of its instrument, among whose bins similar ones are sought.
SIMILAR_DAYS, SIMILAR_EPISODES = 7, 30

#: Days that are looked at for bins without score.
LATEST_DAYS = 7

#: The settings in a header that are numbers, by name.
HEADER_SETTINGS: Mapping[str, HeaderField] = {
    field.name: field for field in HEADER_FIELDS if field.name in NUMERIC_SETTINGS
}

_THREADS = 4

#: Years, each with a number that changes when one of its days is written.
_Years = tuple[tuple[int, int], ...]

#: So many minutes it is not asked again whether episodes last.
_FRESH_MINUTES = 10

Stage = Literal["no tables", "no features", "no model", "no scores", "scores"]


@dataclass(frozen=True, slots=True)
class Stores:
    """Where the archive, the tables and the models of a deployment are."""

    settings: Settings

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Stores":
        """The stores that the IFCB_* variables name. Raises SettingsError for one without meaning."""
        return cls(Settings.from_environment(environment))

    @property
    def home(self) -> Path:
        """The folder of all of them but the archive."""
        return self.settings.home

    @property
    def archive(self) -> Archive:
        """The raw bins."""
        return self.settings.archive

    @property
    def tables(self) -> DailyTables:
        """The daily tables."""
        return DailyTables(self.home / "tables")

    @property
    def models(self) -> ModelStore:
        """The trained models."""
        return ModelStore(self.home / "models")

    def in_dagster(self, path: str) -> str | None:
        """A page of Dagster; None where its address is not known (IFCB_DAGSTER_URL)."""
        return f"{self.settings.dagster_url}/{path}" if self.settings.dagster_url else None

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

    def of_instrument(self, name: str) -> NDArray[np.intp]:
        """The row numbers of an instrument's bins, in order of time."""
        return np.flatnonzero(self.rows["instrument"].eq(name).to_numpy())

    def since(self, name: str, start: datetime) -> NDArray[np.intp]:
        """The row numbers of an instrument's bins from a time on, in order of time."""
        own = self.of_instrument(name)
        return own[self.micros[own] >= round(start.timestamp() * 1_000_000)]

    @property
    def instruments(self) -> list[str]:
        """The instruments that have scored bins, by their number."""
        return sorted(self.rows["instrument"].cat.categories, key=by_number)


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
    def instrument(self) -> str:
        """The instrument, from the identifier."""
        return parse_pid(self.pid).instrument

    @property
    def outcome(self) -> tuple[str, str]:
        """Status and reason as far as the bin came."""
        if self.score is None and self.features is None and self.entry is not None:
            return self.entry.status, self.entry.reason
        row = self.score or self.features or self.inventory
        return (row["status"], row["reason"]) if row is not None else ("", "")


def by_number(instrument: str) -> tuple[int, str]:
    """What instruments are ordered by: IFCB5 comes before IFCB013 and IFCB102."""
    digits = "".join(filter(str.isdigit, instrument))
    return int(digits or 0), instrument


def stores() -> Stores:
    """The stores of this deployment. Raises SettingsError for a setting without meaning."""
    return Stores.of(os.environ)


def read_scored(stores: Stores) -> Scored:
    """All scored bins. Only years in which a day was written since the last look are read again."""
    return _all_years(stores.home, _years(ScoreOverview(stores.tables)))


def read_episodes(stores: Stores) -> list[Episode]:
    """The episodes among all scored bins, by start, and whether they last."""
    now = utc_now()
    # Whether an instrument has fallen silent changes within hours: they need not be found again at each click.
    now -= timedelta(minutes=now.minute % _FRESH_MINUTES, seconds=now.second, microseconds=now.microsecond)
    return _all_episodes(stores.home, _years(ScoreOverview(stores.tables)), now)


def read_decisions(stores: Stores) -> Mapping[str, Label]:
    """The decision that counts for each bin that has one, by itself or within a range. Raises RecordError where they
    cannot be read.
    """
    decisions = LabelStore(stores.home / "labels.sqlite").decisions()
    if not decisions.ranges:
        return decisions.own
    scored = read_scored(stores)
    return decisions.resolved(pid for one in decisions.ranges for pid in _pids_in(scored, one))


def _pids_in(scored: Scored, wanted: RangeLabel) -> list[str]:
    """The scored bins of an instrument in a range of time."""
    ends = [round(time.timestamp() * 1_000_000) for time in (wanted.first, wanted.until)]
    rows = scored.rows.iloc[slice(*np.searchsorted(scored.micros, ends))]
    return rows.loc[rows["instrument"] == wanted.instrument, "pid"].tolist()


def read_measure(stores: Stores, scored: Scored, name: str) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """A feature, a count or one of HEADER_SETTINGS of all scored bins, NaN where it is not known, and what is wrong
    with days that could not be read. It is shared by all sessions: never change it.
    """
    return _measure(
        stores.home, name, _years(FeatureOverview(stores.tables)), _years(ScoreOverview(stores.tables)), scored
    )


def read_sample_types(stores: Stores, scored: Scored) -> pd.Categorical:
    """The sample types of all scored bins, as headers have them; missing where they are not known."""
    return _sample_types(
        stores.home, _years(FeatureOverview(stores.tables)), _years(ScoreOverview(stores.tables)), scored
    )


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


def read_housing(stores: Stores, pid: str) -> tuple[float, float]:
    """Temperature (°C) and humidity (%) in the housing, NaN where they are not known. Raises as ``read_bin``."""
    row = row_of(stores, BIN_FEATURES, pid) or {}
    temperature, humidity = (row.get(name) for name in ("temperature_c", "humidity_pct"))
    return (np.nan if temperature is None else temperature, np.nan if humidity is None else humidity)


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


def changed_clouds(stores: Stores, day: date) -> int | None:
    """When the point clouds of a day were written last, in ns since 1970; None where there are none."""
    return _changed(stores, POINT_CLOUDS, day)


def stream_of(stores: Stores, pid: str, entry: CloudEntry, cloud: Mapping[str, NDArray]) -> Stream:
    """A bin's cloud as the features see it: in the frame of its instrument, with its header."""
    bin_id = parse_pid(pid)
    frame_px = stores.settings.features.frame_px(bin_id.instrument, bin_id.schema)
    return Stream(cloud, bin_id.schema, entry.header, frame_px, entry.bad_lines, blind_s_of(bin_id), entry.file_quality)


def neighbours(scored: Scored, pid: str) -> tuple[str | None, str | None]:
    """The bins of the same instrument before and after a bin, by time; the bin itself need not be scored."""
    own = scored.of_instrument(parse_pid(pid).instrument)
    start = int(parse_pid(pid).start_time.timestamp() * 1_000_000)
    before, after = own[scored.micros[own] < start], own[scored.micros[own] > start]
    pids = scored.rows["pid"]
    return (str(pids.iloc[before[-1]]) if len(before) else None, str(pids.iloc[after[0]]) if len(after) else None)


def read_typical(stores: Stores, scored: Scored, pid: str) -> NDArray[np.float64]:
    """The density of the clouds of healthy bins of the instrument before the day of a bin: shares of the frame's cells
    (see ``clouds.density``), zero throughout where there are none. Raises as ``read_bin``.
    """
    return _typical(stores.home, healthy_bins(scored, pid), stores)


def healthy_bins(scored: Scored, pid: str) -> tuple[str, ...]:
    """TYPICAL_BINS of the last healthy bins of an instrument before the day of a bin, else of its first ones; fewer
    where there are no more. The same for all bins of a day.
    """
    bin_id = parse_pid(pid)
    own = scored.of_instrument(bin_id.instrument)
    healthy = own[scored.rows["verdict"].iloc[own].eq("ok").to_numpy()]
    midnight = int(datetime.combine(bin_id.day, time(), UTC).timestamp() * 1_000_000)
    before = healthy[scored.micros[healthy] < midnight][-TYPICAL_OF:]
    chosen = before if len(before) else healthy[:TYPICAL_OF]
    chosen = chosen[:: max(1, len(chosen) // TYPICAL_BINS)][-TYPICAL_BINS:]
    return tuple(scored.rows["pid"].iloc[chosen])


def read_similar(stores: Stores, scored: Scored, record: BinRecord, n_wanted: int) -> pd.DataFrame:
    """The bins of the same instrument whose features are nearest to those of a bin: ``row`` in ``Scored.rows`` and
    ``distance``, in robust standard deviations of the bins that were compared. Empty where the bin has no features.
    """
    parts = [rows_of_day(stores, BIN_FEATURES, day) for day in _days_to_compare(stores, record)]
    found = [part.filter(pc.field("instrument") == record.instrument) for part in parts if part is not None]
    names = [feature.name for feature in CATALOGUE]
    if record.features is None or not found:
        return pd.DataFrame({"row": [], "distance": []})
    table = pa.concat_tables(found).to_pandas()
    own = np.array([record.features[name] for name in names], dtype=float)
    distance = distances(table[names].to_numpy(dtype=float), own)
    rows = scored.find(table["pid"].tolist())
    keep = np.flatnonzero((rows >= 0) & np.isfinite(distance) & (table["pid"] != record.pid).to_numpy())
    nearest = keep[np.argsort(distance[keep], kind="stable")[:n_wanted]]
    return pd.DataFrame({"row": rows[nearest], "distance": distance[nearest]})


def distances(features: NDArray[np.float64], own: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far rows of features, shape (n, k), are from one row, shape (k,): the root mean square over the features that
    both have, each divided by its robust standard deviation and counted as at most ten of these. NaN without any.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # features that no bin has
        middle = np.nanmedian(features, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(features - middle), axis=0)
        # A feature that hardly ever moves would outweigh all others.
        spread = np.where(spread > 0, spread, np.nan)
        return np.sqrt(np.nanmean(np.clip((features - own) / spread, -10, 10) ** 2, axis=1))


def read_accumulated(stores: Stores, record: BinRecord) -> Sequence[PartialScore] | None:
    """What the model in use says of a bin after each part of its run, shortest first; None where there is no model or
    no cloud. Raises ModelError where the model cannot be used, else as ``read_bin``.
    """
    model_id = stores.models.current_id()
    if model_id is None or record.entry is None or record.cloud is None:
        return None
    changed = _changed(stores, POINT_CLOUDS, record.day)
    return _accumulated(stores.home, record.pid, model_id, changed, stores, record.entry, record.cloud)


def unscored(stores: Stores, last: date) -> dict[str, int]:
    """How many bins of the inventory have no row of scores: of the LATEST_DAYS up to ``last`` and the day after, those
    days that have such bins. Raises StoreError for a file that cannot be used.
    """
    missing = {}
    for day in (last + timedelta(days=number) for number in range(1 - LATEST_DAYS, 2)):
        listed = rows_of_day(stores, RAW_BINS, day)
        scores = rows_of_day(stores, BIN_SCORES, day)
        pids = set() if listed is None else set(listed["pid"].to_pylist())
        n_missing = len(pids - (set() if scores is None else set(scores["pid"].to_pylist())))
        if n_missing:
            missing[day.isoformat()] = n_missing
    return missing


def left_out(stores: Stores, pid: str | None = None) -> list[dict[str, Any]]:
    """The rows of ``left_out``, or those of one bin; none where the archive has not been looked through yet. Raises
    StoreError for a damaged file.
    """
    table = LeftOutTable(stores.home)
    if not table.path.exists():
        return []
    rows = _left_out(stores.home, table.path.stat().st_mtime_ns)
    if rows is None:
        return []
    return (rows if pid is None else rows.filter(pc.field("pid") == pid)).to_pylist()


def model_in_use(stores: Stores) -> ModelCard | None:
    """The card of the model in use, None where there is none. Raises ModelError where its card is missing."""
    return stores.models.card() if stores.models.current_id() else None


def newest_model(stores: Stores) -> str | None:
    """The id of the model that was trained last, None where there is none or its card cannot be read."""
    try:
        return stores.models.newest_id()
    except ModelError:
        return None


def trained(stores: Stores) -> Mapping[str, datetime]:
    """When each kept model was trained, by its id; models whose cards cannot be read are left out."""
    found = {}
    for model_id in stores.models.ids():
        with suppress(ModelError):
            found[model_id] = created(stores.models.card(model_id))
    return found


def created(card: ModelCard) -> datetime:
    """When the model was trained."""
    return datetime.fromisoformat(card.created)


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(tz=UTC)


def start_of(pid: str) -> datetime:
    """When a bin's run started. Raises InvalidPidError."""
    return parse_pid(pid).start_time


def day_of(pid: str | None) -> date | None:
    """The day of a bin; None where the text, of an address perhaps, names no bin."""
    try:
        return parse_pid(pid or "").day
    except InvalidPidError:
        return None


def _years(overview: Overview) -> _Years:
    return tuple(overview.changed_ns().items())


def _states(stores: Stores) -> tuple[_Years, _Years]:
    """What features and scores are read anew by."""
    return _years(FeatureOverview(stores.tables)), _years(ScoreOverview(stores.tables))


def _days_to_compare(stores: Stores, record: BinRecord) -> list[date]:
    near = {record.day + timedelta(days=days) for days in range(-SIMILAR_DAYS, SIMILAR_DAYS + 1)}
    worst = [
        parse_pid(episode.worst_pid).day for episode in read_episodes(stores) if episode.instrument == record.instrument
    ]
    return sorted(near | set(worst[-SIMILAR_EPISODES:]))


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
def _all_episodes(home: Path, years: tuple[tuple[int, int], ...], now: datetime) -> list[Episode]:
    parts = [_year(home, year, changed_ns)[0] for year, changed_ns in years]
    return episodes_of(pa.concat_tables(parts).unify_dictionaries(), now)


@st.cache_resource(max_entries=64, show_spinner=False)
def _typical(home: Path, pids: tuple[str, ...], _stores: Stores) -> NDArray[np.float64]:  # noqa: ARG001 - part of the key
    reads = [(pid, *read_cloud(_stores, pid)) for pid in pids]
    streams = [
        stream_of(_stores, pid, entry, cloud) for pid, entry, cloud in reads if entry is not None and cloud is not None
    ]
    return clouds.density(streams, streams[0].frame_px if streams else FRAME_PX["v2"])


@st.cache_resource(max_entries=2, show_spinner=False)
def read_model(home: Path, model_id: str) -> AnyModel:
    """A kept model, which never changes under its id. Raises ModelError where there is none or it is damaged."""
    return ModelStore(home / "models").load(model_id)


@st.cache_resource(max_entries=64, show_spinner=False)
def _accumulated(
    home: Path,
    pid: str,
    model_id: str,
    changed_ns: int | None,  # noqa: ARG001 - part of the key
    _stores: Stores,
    _entry: CloudEntry,
    _cloud: Mapping[str, NDArray],
) -> Sequence[PartialScore]:
    model = read_model(home, model_id)
    model.check_usable(_stores.settings.features)
    history = history_of(_stores.tables).before(parse_pid(pid).day)
    return scores_of_parts(_entry, _cloud, model, history)


@st.cache_resource(max_entries=24, show_spinner="Reading a measurement ...")
def _measure(
    home: Path,
    name: str,
    features: _Years,
    scores: _Years,  # noqa: ARG001 - part of the key
    _scored: Scored,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    column, place, problems = _feature_column(home, name, features, _scored)
    values = column.to_numpy().astype(np.float32)
    if place is not None:
        found, values = values, np.full(len(_scored.rows), np.nan, dtype=np.float32)
        values[place[place >= 0]] = found[place >= 0]
    return values, problems


@st.cache_resource(max_entries=2, show_spinner=False)
def _sample_types(
    home: Path,
    features: _Years,
    scores: _Years,  # noqa: ARG001 - part of the key
    _scored: Scored,
) -> pd.Categorical:
    column, place, _ = _feature_column(home, "sample_type", features, _scored)
    coded = column.combine_chunks()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    if place is not None:
        found, codes = codes, np.full(len(_scored.rows), -1)
        codes[place[place >= 0]] = found[place >= 0]
    return pd.Categorical.from_codes(codes, [name or "" for name in coded.dictionary.to_pylist()])


def _feature_column(
    home: Path, name: str, years: _Years, scored: Scored
) -> tuple[pa.ChunkedArray, NDArray[np.intp] | None, tuple[str, ...]]:
    """A column of all bins with features, the row in ``scored`` of each (None: they are its rows, in order; -1: it has
    none), and what could not be read.
    """
    overview = FeatureOverview(DailyTables(home / "tables"))
    with ThreadPoolExecutor(_THREADS) as threads:
        parts = list(threads.map(lambda year: overview.read(year, [name]), [year for year, _ in years]))
    empty = pa.table({field.name: pa.array([], field.type) for field in FEATURES_SCHEMA})
    table = pa.concat_tables([empty.select(["start_time", "pid", name]), *(part.rows for part in parts)])
    table = table.unify_dictionaries()
    problems = tuple(problem for part in parts for problem in part.problems)
    return table[name], None if _same(table["pid"], scored) else scored.find(table["pid"].to_pylist()), problems


def _same(pids: pa.ChunkedArray, scored: Scored) -> bool:
    """Whether these are the scored bins, in the same order."""
    scored_pids = pa.chunked_array(pa.array(scored.rows["pid"], pa.string()))
    return pids.equals(scored_pids)


@st.cache_resource(max_entries=120, show_spinner=False)
def _cached_day(home: Path, name: str, day: date, changed_ns: int) -> pa.Table | None:  # noqa: ARG001 - part of the key
    table = next(table for table in (RAW_BINS, BIN_FEATURES, BIN_SCORES) if table.name == name)
    return DailyTables(home / "tables").read(table, day)


@st.cache_resource(max_entries=2, show_spinner=False)
def _left_out(home: Path, changed_ns: int) -> pa.Table | None:  # noqa: ARG001 - part of the key
    return LeftOutTable(home).read()


@st.cache_resource(max_entries=48, show_spinner=False)
def _cached_cloud(
    home: Path,
    day: date,
    pid: str,
    changed_ns: int,  # noqa: ARG001 - part of the key
) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    return CloudTables(DailyTables(home / "tables")).read_one(day, pid, CLOUD_COLUMNS)
