"""What is done for one UTC day, from the archive to the scores; each step reads the table before it.

Belongs here: the steps, with the disk but without Dagster. Does not belong here: how files look
(``bins``, ``store``), what numbers mean (``features``, ``detection``), when to run (``defs``).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ifcb_flow_pipeline.bins.archive import Listing, RawBin, extent, signatures
from ifcb_flow_pipeline.bins.pid import BinId, parse_pid
from ifcb_flow_pipeline.detection.flow.training import FlowModel, TrainingSettings, train_flow_model
from ifcb_flow_pipeline.detection.model_card import MIN_TRAINING_BINS, ModelError
from ifcb_flow_pipeline.detection.open_model import AnyModel, ForestChoice, train_forest
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet
from ifcb_flow_pipeline.detection.trial.instrument_forests import InstrumentForests
from ifcb_flow_pipeline.detection.verdict.joined import join_verdicts
from ifcb_flow_pipeline.detection.verdict.severity import VERDICT_COLUMNS
from ifcb_flow_pipeline.feature_rows import IDENTITY, FeatureRows, feature_row
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.features.full import STUCK_COLUMNS
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS
from ifcb_flow_pipeline.lasting import keep_verdicts, read_or_stored, with_gone_bins, with_stored_rows
from ifcb_flow_pipeline.many_bins import feature_table
from ifcb_flow_pipeline.reading import read_bins
from ifcb_flow_pipeline.store.archive import Archive, BinRead
from ifcb_flow_pipeline.store.claim import claim
from ifcb_flow_pipeline.store.clouds import CloudDay, CloudEntry, CloudTables, ReadCloud
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError, joined
from ifcb_flow_pipeline.store.file_batches import BINS_AT_ONCE
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.sample_times import SampleTimes
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: What features are made of: columns of the ADC file, and of the stored clouds.
CLOUD_COLUMNS = STREAM_COLUMNS

#: So many days before a day are looked at for what is usual at the time, and for what has been going on since: where
#: the core moved without a reason, that is an open question for two weeks (``detection.flow.baseline``).
HISTORY_DAYS = 15

#: What a model needs of the bins of these days; the texts of ``bin_features`` take longer to read than all features.
HISTORY_COLUMNS = (
    *IDENTITY, "sample_time", "status", "n_points", "configuration", *STUCK_COLUMNS, *(f.name for f in CATALOGUE),
)  # fmt: skip

#: What models are trained on: all but texts that are as long as all numbers together, and of which nothing is learnt.
TRAINING_COLUMNS = tuple(name for name in BIN_FEATURES.schema.names if name not in ("settings", "header_problem"))
#: What a model gives by positions alone; ``bin_scores`` has more.
FLOW_SCORES = pa.schema([BIN_SCORES.schema.field(name) for name in VERDICT_COLUMNS])

_MORE_BINS = (
    "widen the training window, or process more days; bins written less than IFCB_SETTLE_SECONDS ago come later"
)

_LIBRARIES = ("ifcb-flow-pipeline", "numpy", "scikit-learn", "scipy", "pandas", "pyarrow", "dagster")


class MissingInputError(StoreError):
    """A day's step finds the table before it missing; the message names it."""


@dataclass(frozen=True, slots=True)
class TrainingWindow:
    """Which bins a model is trained on.

    All limits are optional: days (both included), instruments (empty: all), pids (None: all).
    """

    first: date | None = None
    last: date | None = None
    instruments: frozenset[str] = frozenset()
    pids: tuple[str, ...] | None = None


def write_inventory(tables: DailyTables, archive: Archive, listing: Listing, day: date) -> pa.Table:
    """Write ``raw_bins``: every bin of the day that the listing has, and what state it is in; and those that were read
    before and whose files are gone.

    Raises ArchiveError where the tables are of another archive.
    """
    claim(tables, archive)
    now = archive.now()
    bins = listing.of_day(day)
    listed = [inventory_row(raw, archive, now) for raw in bins]
    rows = pa.Table.from_pylist(with_gone_bins(tables, day, listed, now), schema=RAW_BINS.schema)
    signed = signatures(bins, now, archive.settle)
    made_of = Provenance(signed.flow, extent=extent(bins, now, archive.settle), images=signed.images)
    tables.write(RAW_BINS, day, rows, made_of)
    return rows


def write_clouds(tables: DailyTables, archive: Archive, day: date, n_jobs: int = -1) -> list[CloudEntry]:
    """Write ``point_clouds``: all triggers of the bins of the inventory. Returns an entry per bin.

    A bin that was read before keeps its points where its files are gone or cannot be read now. ``n_jobs``: threads that
    read; -1: one per core.
    """
    # Takes a tenth of a second to load, which who judges a single bin is not to wait for.
    from joblib import Parallel, delayed

    inventory, made_of = _input(tables, RAW_BINS, day)
    clouds, rows = CloudTables(tables), inventory.to_pylist()
    parts = [rows[i : i + BINS_AT_ONCE] for i in range(0, len(rows), BINS_AT_ONCE)]
    # Threads read ahead while this one writes: neither the disk nor a core waits for the other. They are threads
    # whatever joblib is told elsewhere: nothing of this could be sent to processes.
    parallel = Parallel(n_jobs=n_jobs, require="sharedmem", return_as="generator")
    read = cast(
        "Iterable[list[BinRead | ReadCloud | CloudEntry]]",
        parallel(delayed(read_bins)(archive, part) for part in parts),
    )
    with clouds.stored(day) as stored:
        bins = (read_or_stored(each, stored) for part in read for each in part)
        return clouds.write(day, bins, replace(made_of, made_of={"reader": archive.reader}))


def write_features(
    tables: DailyTables,
    settings: FeatureSettings,
    day: date,
    sample_times: SampleTimes | None = None,
    archive: Archive | None = None,
) -> pa.Table:
    """Write ``bin_features``: one row per bin of the inventory, from the stored clouds, or from the ``archive`` where
    these are no longer kept.

    ``sample_times``: those that people corrected.

    Where another run lists the day meanwhile, they are of the clouds that are there, and so not up to date.
    """
    inventory, _ = _input(tables, RAW_BINS, day)
    bins = inventory.to_pylist()
    rows = FeatureRows(BIN_FEATURES.schema, len(bins))
    try:
        with CloudTables(tables).open(day) as clouds:
            _put_features(rows, bins, clouds, settings)
            n_unread = sum(entry.unread for entry in clouds.entries)
            n_unread += _put_dropped(rows, bins, clouds, settings, archive)
    except FileNotFoundError:
        raise MissingInputError(
            f"the point clouds of {day} are missing: process that day from its inventory on (job daily_flow)"
        ) from None
    for i, row in enumerate(bins):
        rows.put(i, {"sample_time": sample_times.of(row["pid"]) if sample_times else None})
    table = _with_stored_features(tables, settings, day, rows.table())
    tables.write(BIN_FEATURES, day, table, replace(clouds.provenance, made_of=asdict(settings), unread=n_unread))
    return table


def _put_features(
    rows: FeatureRows, bins: Sequence[Mapping[str, Any]], clouds: CloudDay, settings: FeatureSettings
) -> None:
    """Fill in the rows of all bins of an inventory, from their clouds."""
    left = {row["pid"]: i for i, row in enumerate(bins)}
    for entries, columns in clouds.batches(left):
        places = [left[entry.pid] for entry in entries]
        if rows.put_batch(places, [bins[i] for i in places], entries, columns, settings):
            for entry in entries:
                del left[entry.pid]
    with_cloud = any(entry.row_group is not None and entry.pid in left for entry in clouds.entries)
    for entry, columns in clouds.each(CLOUD_COLUMNS) if with_cloud else ((each, None) for each in clouds.entries):
        if entry.pid in left:
            i = left.pop(entry.pid)
            rows.put(i, _identity(bins[i]) | feature_row(entry, columns, settings, bins[i]["roi_bytes"]))
    for pid, i in left.items():
        # A bin that was listed or settled after the clouds were made is missing from them.
        late, row = bins[i]["status"] == "ok", bins[i]
        unread = CloudEntry(pid, "unsettled", "not read yet") if late else CloudEntry(pid, row["status"], row["reason"])
        rows.put(i, _identity(row) | feature_row(unread, None, settings, row["roi_bytes"]))


def _put_dropped(
    rows: FeatureRows,
    bins: Sequence[Mapping[str, Any]],
    clouds: CloudDay,
    settings: FeatureSettings,
    archive: Archive | None,
) -> int:
    """Fill in the rows of bins whose clouds are no longer kept, from their files; how many of these cannot be read
    now.
    """
    dropped = {entry.pid for entry in clouds.entries if entry.dropped}
    places = [i for i, row in enumerate(bins) if row["pid"] in dropped]
    found = [] if archive is None else feature_table(archive, [bins[i] for i in places], settings).to_pylist()
    read = {row["pid"]: row for row in found}
    lost = {pid: row["reason"] for pid, row in read.items() if row["status"] == "unreadable"}
    for i in places:
        pid = bins[i]["pid"]
        if pid in lost or pid not in read:
            # It could be read before: its features stay, as those of a bin whose files are gone.
            gone = CloudEntry(pid, "gone", lost.get(pid, ""))
            rows.put(i, _identity(bins[i]) | feature_row(gone, None, settings, bins[i]["roi_bytes"]))
        else:
            rows.put(i, read[pid])
    return len(lost)


def drop_old_clouds(tables: DailyTables, day: date, cloud_days: int | None, now: datetime) -> int:
    """Remove the clouds of a day that is older than ``cloud_days`` (None: none is), once features are made of them; of
    how many bins. Those whose files are gone keep theirs: nothing else is left of them.
    """
    if cloud_days is None or day >= now.date() - timedelta(days=cloud_days):
        return 0
    clouds, features = (tables.provenance(table, day) for table in (POINT_CLOUDS, BIN_FEATURES))
    if clouds is None or features is None or clouds.signature != features.signature or features.unread:
        return 0
    inventory = tables.read(RAW_BINS, day, ("pid", "status", "gone_since"))
    rows = [] if inventory is None else inventory.to_pylist()
    there = {row["pid"] for row in rows if row["status"] == "ok" and row["gone_since"] is None}
    return CloudTables(tables).drop(day, there)


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in IDENTITY}


def _with_stored_features(tables: DailyTables, settings: FeatureSettings, day: date, rows: pa.Table) -> pa.Table:
    stored = with_stored_rows(tables, BIN_FEATURES, day, rows)
    before = tables.provenance(BIN_FEATURES, day) if stored is not rows else None
    if before is not None and FeatureSettings(**before.made_of) != settings:
        raise StoreError(
            f"bin_features of {day} were made with {dict(before.made_of)}, and of some bins files and points are "
            "gone: the day is left as it is. Return to these settings, or remove the bins (`ifcb-flow gone --remove`)"
        )
    return stored


def write_scores(tables: DailyTables, model: AnyModel, day: date, history: pa.Table | None = None) -> pa.Table:
    """Write ``bin_scores``: one row per row of ``bin_features``, worst first; with what the images tell, where
    ``bin_image_scores`` has been made.

    ``history``: rows of ``bin_features`` of the days before, as ``history_of`` gives them. Raises ModelError, naming
    the remedy, where the model does not fit the features.
    """
    features, made_of = _input(tables, BIN_FEATURES, day)
    model.check_usable(FeatureSettings(**made_of.made_of))
    images, of_images = _images(tables, day)
    flow = score_table(with_roi_files(features, images), model, history)
    joined_rows = join_verdicts(flow, images).select(BIN_SCORES.schema.names).cast(BIN_SCORES.schema)
    scores = worst_first(with_stored_rows(tables, BIN_SCORES, day, joined_rows))
    keep_verdicts(tables, day, scores)
    signature = joined(made_of.signature, of_images and of_images.signature)
    unread = made_of.unread + (of_images.unread if of_images else 0)
    told = {"model_id": model.card.model_id} | ({"image_model_id": of_images.made_of["model_id"]} if of_images else {})
    tables.write(BIN_SCORES, day, scores, replace(made_of, signature=signature, made_of=told, unread=unread))
    return scores


def _images(tables: DailyTables, day: date) -> tuple[pa.Table | None, Provenance | None]:
    """What the images of a day's bins tell, and what that was made of; nothing where nobody has looked at them."""
    made_of = tables.provenance(BIN_IMAGE_SCORES, day)
    return (None, None) if made_of is None else (tables.read(BIN_IMAGE_SCORES, day), made_of)


def with_roi_files(features: pa.Table, images: pa.Table | None) -> pa.Table:
    """Rows of ``bin_features`` with ``has_roi`` and ``roi_complete`` as they were when the images were looked at: a
    .roi file may come long after the features were made.
    """
    if images is None:
        return features
    looked = {row["pid"]: row for row in images.select(["pid", "status", "roi_complete"]).to_pylist()}
    has_roi, complete = features["has_roi"].to_pylist(), features["roi_complete"].to_pylist()
    for at, pid in enumerate(features["pid"].to_pylist()):
        if pid in looked and features["status"][at].as_py() in ("ok", "too_few_points"):
            has_roi[at], complete[at] = looked[pid]["status"] != "no_roi", looked[pid]["roi_complete"]
    for name, values in (("has_roi", has_roi), ("roi_complete", complete)):
        place = features.column_names.index(name)
        features = features.set_column(place, name, pa.array(values, pa.bool_()))
    return features


@dataclass(slots=True)
class RecentDays:
    """The stored rows of the days before a day. Goes from day to day and reads each only once, or hardly more often
    where threads ask.

    ``columns``: those that are wanted (None: all).
    """

    tables: DailyTables
    table: Table
    columns: tuple[str, ...] | None = None
    _kept: dict[date, pa.Table | None] = field(default_factory=dict)

    def before(self, day: date) -> pa.Table:
        """The rows of the HISTORY_DAYS days before ``day``, of those that have been made by this version."""
        wanted = [day - timedelta(days=i) for i in range(HISTORY_DAYS, 0, -1)]
        # Several threads may be about different days: each goes on from what one of them left, whole.
        kept = self._kept
        kept = {each: kept[each] if each in kept else self._read(each) for each in wanted}
        self._kept = kept
        parts = [rows for rows in kept.values() if rows is not None]
        if parts:
            return pa.concat_tables(parts)
        schema = self.table.schema.remove_metadata()
        return (schema if self.columns is None else pa.schema(map(schema.field, self.columns))).empty_table()

    def _read(self, day: date) -> pa.Table | None:
        # A day of another version is to be made again: until then it is no history, but no obstacle either.
        if self.tables.provenance(self.table, day) is None:
            return None
        return self.tables.read(self.table, day, self.columns)


def history_of(tables: DailyTables) -> RecentDays:
    """The bins of the days before a day that tell models what is usual, and which faults are still going on."""
    return RecentDays(tables, BIN_FEATURES, HISTORY_COLUMNS)


def inventory_row(raw: RawBin, archive: Archive, now: datetime) -> dict[str, Any]:
    """A row of ``raw_bins``: the bin's files, and what state they are in at the time ``now``."""
    state = raw.state(now, archive.settle)
    return {
        "pid": raw.bin_id.pid,
        "instrument": raw.bin_id.instrument,
        "start_time": raw.bin_id.start_time,
        "schema": raw.bin_id.schema,
        "adc_path": _storable(raw.path("adc")),
        "hdr_path": _storable(raw.path("hdr")),
        "roi_path": _storable(raw.path("roi")),
        "adc_bytes": raw.size("adc"),
        "hdr_bytes": raw.size("hdr"),
        "roi_bytes": raw.size("roi") if raw.has_settled_images(now, archive.settle) else None,
        "modified": raw.modified,
        "copies": len(raw.copies),
        "complete": state.complete,
        "gone_since": None,
        "status": state.status,
        "reason": _storable(state.reason),
    }


def score_table(features: pa.Table, model: AnyModel, history: pa.Table | None = None) -> pa.Table:
    """Verdicts by positions alone (FLOW_SCORES) for rows of ``bin_features``: worst first, those not judged last.

    ``history``: rows of ``bin_features`` of the days before, see ``FlowModel.judge``.
    """
    return worst_first(model.judge(features, history)).cast(FLOW_SCORES)


def worst_first(scores: pa.Table) -> pa.Table:
    """Rows of ``bin_scores`` in their order."""
    # NaN stands last in either direction: bins that were not judged, behind those that are ok.
    return scores.sort_by([("severity", "descending"), ("anomaly_score", "ascending"), ("pid", "ascending")])


def feature_matrix(features: pa.Table, names: tuple[str, ...]) -> np.ndarray:
    """The named features of rows of ``bin_features``, shape (rows, names)."""
    return np.column_stack([features.column(name).to_numpy() for name in names]).astype(np.float64)


def train_forests(
    tables: DailyTables,
    window: TrainingWindow,
    choice: ForestChoice,
    settings: FeatureSettings,
    labels: Decisions,
    created: datetime,
) -> Model | InstrumentForests:
    """Grow the chosen forests on the stored features of a window, but for bins that people called bad.

    Raises ModelError, naming the remedy, where there is too little to train on, or where days of the window
    have features that were made with other settings.
    """
    features = without_context(window_features(tables, window, settings), labels)
    training = training_set(features, window, choice.feature_names, settings, labels)
    return train_forest(training, choice, created, library_versions())


def window_features(tables: DailyTables, window: TrainingWindow, settings: FeatureSettings) -> pa.Table:
    """The stored rows of ``bin_features`` of a window, TRAINING_COLUMNS, in order of pid.

    Raises ModelError, naming the remedy, where days of the window have features that were made with other settings.
    """

    def check(day: date, made_of: Provenance) -> None:
        if FeatureSettings(**made_of.made_of) != settings:
            raise ModelError(
                f"bin_features of {day} were made with {dict(made_of.made_of)}, this deployment has "
                f"{asdict(settings)}: process the days of the window again (job daily_flow)"
            )

    first, last = window.first or date.min, window.last or date.max
    features = chosen_rows(tables.read_range(BIN_FEATURES, first, last, TRAINING_COLUMNS, check), window)
    check_enough(features, window, _MORE_BINS)
    return features


def without_context(features: pa.Table, labels: Decisions) -> pa.Table:
    """The rows without those of bins of which people said that they are lab tests, maintenance or the like."""
    context = labels.context(features["pid"].to_pylist())
    return features.filter(~pc.field("pid").isin(pa.array(context, pa.string()))) if context else features


def unmatched(tables: DailyTables, window: TrainingWindow, labels: Decisions) -> list[str]:
    """The decisions about bins of a window that are about none of its stored bins, see ``Decisions.unmatched``."""
    first, last = window.first or date.min, window.last or date.max
    features = chosen_rows(tables.read_range(BIN_FEATURES, first, last, IDENTITY), window)
    inside = Decisions(
        {pid: label for pid, label in labels.own.items() if _in_window(parse_pid(pid), window)},
        [one for one in labels.ranges if first <= one.until.date() and one.first.date() <= last
         and (not window.instruments or one.instrument in window.instruments)],
    )  # fmt: skip
    return inside.unmatched(features["pid"].to_pylist())


def known_pids(tables: DailyTables, labels: Decisions) -> list[str]:
    """The bins of the inventories of the days that decisions are about."""
    singles = {parse_pid(pid).day for pid in labels.own}
    wanted = [
        day for day in tables.days(RAW_BINS)
        if day in singles or any(one.first.date() <= day <= one.until.date() for one in labels.ranges)
    ]  # fmt: skip
    parts = [part for day in wanted if (part := tables.read(RAW_BINS, day, ["pid"])) is not None]
    return [pid for part in parts for pid in part["pid"].to_pylist()]


def _in_window(bin_id: BinId, window: TrainingWindow) -> bool:
    return (
        (window.first or date.min) <= bin_id.day <= (window.last or date.max)
        and (not window.instruments or bin_id.instrument in window.instruments)
        and (window.pids is None or bin_id.pid in window.pids)
    )


def check_enough(features: pa.Table, window: TrainingWindow, remedy: str = "add bins") -> None:
    """Raise ModelError where rows of ``bin_features`` are too few to train on; ``remedy``: what may help."""
    known = set(features["instrument"].to_pylist())
    if unknown := sorted(window.instruments - known):
        raise ModelError(f"No bins of {', '.join(unknown)}: check the name")
    counts = Counter(features["status"].to_pylist())
    if counts["ok"] >= MIN_TRAINING_BINS:
        return
    others = ", ".join(f"{count} {status}" for status, count in counts.most_common() if status != "ok")
    unused = f" (not used: {others})" if others else ""
    raise ModelError(f"only {counts['ok']} bins with features, {MIN_TRAINING_BINS} needed{unused}: {remedy}")


def chosen_rows(features: pa.Table, window: TrainingWindow) -> pa.Table:
    """The rows of ``bin_features`` of a window's instruments and pids, in order of pid."""
    if window.instruments:
        features = features.filter(pc.field("instrument").isin(sorted(window.instruments)))
    if window.pids is not None:
        features = features.filter(pc.field("pid").isin(pa.array(window.pids, type=pa.string())))
    return features.sort_by("pid")


def train_flow(
    tables: DailyTables,
    window: TrainingWindow,
    settings: TrainingSettings,
    labels: Decisions,
    created: datetime,
) -> FlowModel:
    """Train a flow model on the stored features of a window, and on people's decisions about its bins.

    Raises ModelError, naming the remedy, where there is too little to train on, or where days of the window
    have features that were made with other settings.
    """
    features = without_context(window_features(tables, window, settings.feature_settings), labels)
    return train_flow_model(features, settings, labels, created, library_versions())


def training_set(
    features: pa.Table,
    window: TrainingWindow,
    feature_names: tuple[str, ...],
    settings: FeatureSettings,
    labels: Decisions | None = None,
) -> TrainingSet:
    """The rows of ``bin_features`` that a forest is trained on, and why the others are not, in order of pid.

    ``labels``: what people decided about bins, by pid; what they called bad is left out.
    """
    features = chosen_rows(features, window)
    excluded: dict[str, list[str]] = {}
    if window.pids is not None:
        missing = sorted(set(window.pids) - set(features["pid"].to_pylist()))
        if missing:
            excluded["not_found"] = missing
    for row in features.filter(pc.field("status") != "ok").select(["pid", "status"]).to_pylist():
        excluded.setdefault(row["status"], []).append(row["pid"])
    features = features.filter(pc.field("status") == "ok").sort_by("pid")
    called_bad = [pid for pid in features["pid"].to_pylist() if (labels or {}).get(pid) == "bad"]
    if called_bad:
        excluded["labelled_bad"] = called_bad
        features = features.filter(~pc.field("pid").isin(called_bad))
    return TrainingSet(
        pids=features["pid"].to_pylist(),
        instruments=features["instrument"].to_pylist(),
        days=[start.date() for start in features["start_time"].to_pylist()],
        matrix=feature_matrix(features, feature_names),
        feature_names=feature_names,
        feature_settings=settings,
        excluded=excluded,
    )


def status_counts(statuses: list[str]) -> dict[str, int]:
    """How many bins have each status, most frequent first."""
    return dict(Counter(statuses).most_common())


def library_versions() -> dict[str, str]:
    """The versions of this program and of the libraries that its numbers depend on."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _storable(text: str | None) -> str | None:
    # A name on disk that is no UTF-8 cannot be stored: it is escaped, and its bin is then told as unreadable.
    return text and text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _input(
    tables: DailyTables, table: Table, day: date, columns: tuple[str, ...] | None = None
) -> tuple[pa.Table, Provenance]:
    rows = tables.read(table, day, columns)
    made_of = tables.provenance(table, day)
    if rows is None or made_of is None:
        raise MissingInputError(
            f"{table.name} of {day} is missing: process that day from its inventory on (job daily_flow)"
        )
    return rows, made_of
