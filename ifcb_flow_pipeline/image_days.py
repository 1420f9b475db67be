"""What is done with the images of one UTC day, from the ``.roi`` files to what they say of each bin.

Beside ``days``, and in the same manner: each step reads the tables before it. Does not belong here: what a feature or a
score is (``features.images``, ``detection.images``), when to run (``defs``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ifcb_flow_pipeline.archive_images import MIN_BINS, features_of_file, reasons_of
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, RoiTable, bytes_needed
from ifcb_flow_pipeline.days import IDENTITY, MissingInputError, RecentDays
from ifcb_flow_pipeline.detection.flow.deployments import LONG_GAP_S
from ifcb_flow_pipeline.detection.images.bin_images import summarise
from ifcb_flow_pipeline.detection.images.bin_judgement import HISTORY_NUMBERS, JUDGED_COLUMNS, judge_bins
from ifcb_flow_pipeline.detection.images.kinds import KINDS
from ifcb_flow_pipeline.detection.images.levels import RELATIVE, SDS_OF_RANGE, Levels
from ifcb_flow_pipeline.detection.images.model import ImageModel, ImageScores
from ifcb_flow_pipeline.detection.images.model_card import FALSE_ALARMS
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN
from ifcb_flow_pipeline.detection.images.window_map import SHAPE, WindowMap, score_window
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import ImageFeatures, rounded, sampled_rows
from ifcb_flow_pipeline.store.archive import Archive, may_pass
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError
from ifcb_flow_pipeline.store.image_tables import map_columns, map_of
from ifcb_flow_pipeline.store.tables import (
    BIN_IMAGE_SCORES,
    IMAGE_FEATURES,
    IMAGE_SCORES,
    POINT_CLOUDS,
    RAW_BINS,
    WINDOW_MAPS,
    Table,
)

#: What must be known of an image to find it in its file, and in the camera frame.
_FRAME_COLUMNS = ("x_px", "y_px", "width_px", "height_px")
BOX_COLUMNS = (*_FRAME_COLUMNS, "start_byte")

#: What is usual for an instrument is told by its latest bins, so many at most.
_LEVEL_BINS = 50

#: From so many bins of the days before on, the bins of the day itself are not asked what is usual.
_ENOUGH_BINS = 20

#: A map of fewer bins does not tell what is usual of the window; and beyond this many standard deviations a bin's
#: window is no example for later ones.
_MIN_MAP_BINS, _DIRTY_Z = 5, 12.0

#: Dirt that is too faint for one bin is looked for in the sum of so many.
_RUN = 8

#: A probability below this is stored as none.
_NEXT_TO_NOTHING = 0.003

#: Images of a bin whose reasons are kept: those of all would take longer than everything else where a day is faulty.
_EXPLAINED = 5


def write_image_features(tables: DailyTables, archive: Archive, per_bin: int, day: date) -> pa.Table:
    """Write ``image_features``: ``per_bin`` images of each bin of the inventory (0: all), and a row without an image
    for each bin that has none. What cannot be read (any more) keeps the rows that it has.
    """
    inventory, listed = _input(tables, RAW_BINS, day)
    clouds = tables.provenance(POINT_CLOUDS, day)
    if clouds is None:
        raise MissingInputError(f"point_clouds of {day} are missing: materialize them first")
    bins = {row["pid"]: row for row in inventory.to_pylist()}
    parts: dict[str, pa.Table] = {}
    kept, n_unread = _Kept(tables, day), 0
    for entry, columns in CloudTables(tables).read_all(day, BOX_COLUMNS):
        if entry.pid in bins:
            read = _read_images(archive, bins[entry.pid], entry, columns, per_bin)
            n_unread += read.unread
            parts[entry.pid] = (kept.rows(entry.pid) if read.lost else None) or read.rows
    for pid, row in bins.items():
        if pid not in parts:  # listed or settled after the clouds were made
            parts[pid] = _no_image(pid, row["instrument"], row["status"], row["reason"])
    rows = pa.concat_tables([IMAGE_FEATURES.schema.empty_table(), *(parts[pid] for pid in bins)])
    # Clouds of other files than the inventory has are not what these images belong to.
    is_same = clouds.signature in (listed.signature, listed.images)
    made_of = Provenance(listed.images if is_same else "", {"per_bin": per_bin}, listed.extent, n_unread)
    tables.write(IMAGE_FEATURES, day, rows, made_of)
    return rows


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """What became of a bin's images. ``lost``: the file is gone, or cannot be read now; ``unread``: that may pass."""

    rows: pa.Table
    lost: bool = False
    unread: bool = False


class _Kept:
    """The stored rows of a day, read when they are first asked for."""

    def __init__(self, tables: DailyTables, day: date) -> None:
        self._tables, self._day = tables, day
        self._rows: pa.Table | None = None

    def rows(self, pid: str) -> pa.Table | None:
        """Those of a bin that have images."""
        rows = self._stored() if self._rows is None else self._rows
        self._rows = rows
        found = rows.filter((pc.field("pid") == pid) & pc.field("row").is_valid())
        return found if found.num_rows else None

    def _stored(self) -> pa.Table:
        rows = None
        try:
            if self._tables.provenance(IMAGE_FEATURES, self._day) is not None:
                rows = self._tables.read(IMAGE_FEATURES, self._day)
        except StoreError:  # a damaged file has nothing to keep
            rows = None
        return IMAGE_FEATURES.schema.empty_table() if rows is None else rows


def _read_images(
    archive: Archive, row: Mapping[str, Any], entry: CloudEntry, columns: Mapping[str, NDArray] | None, per_bin: int
) -> _Read:
    """Features of the sampled images of a bin of the inventory. Never raises on a bad bin."""
    pid, gone = row["pid"], row["gone_since"] is not None

    def without(status: str, reason: str, *, lost: bool = False, unread: bool = False) -> _Read:
        return _Read(_no_image(pid, row["instrument"], status, reason), lost, unread)

    if columns is None:
        return without(
            "no_images" if entry.status == "empty" else entry.status, entry.reason, lost=entry.unread or gone
        )
    if row["roi_path"] is None:
        return without("no_roi", "there is no .roi file")
    if row["roi_bytes"] is None:
        return without("roi_unsettled", "the .roi file was written moments ago, perhaps still growing")
    first_byte = FIRST_BYTE[parse_pid(pid).schema]
    table = RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], first_byte)
    rows = sampled_rows(table, per_bin, pid)
    if not rows.size:
        return without("no_images", "no trigger gave an image")
    try:
        found = features_of_file(archive, row["roi_path"], table, rows)
    except OSError as error:
        reason = f"cannot read {row['roi_path']}: {error.strerror or error}"
        return without("gone" if gone else "roi_unreadable", reason, lost=True, unread=not gone and may_pass(error))
    is_complete = row["roi_bytes"] >= bytes_needed(columns["width_px"], columns["height_px"], first_byte)
    values = rounded(found.values)
    return _Read(
        pa.table({
            "pid": _repeated(pid, len(rows)),
            "instrument": _repeated(row["instrument"], len(rows)),
            "row": rows.astype(np.int32),
            **{name: columns[name][rows] for name in _FRAME_COLUMNS},
            "status": found.status,
            "reason": _repeated("", len(rows)),
            "roi_complete": pa.repeat(pa.scalar(is_complete), len(rows)),
            **{name: values[:, at] for at, name in enumerate(NAMES)},
        }).cast(IMAGE_FEATURES.schema)
    )  # fmt: skip


def _no_image(pid: str, instrument: str, status: str, reason: str) -> pa.Table:
    row = dict.fromkeys(IMAGE_FEATURES.schema.names)
    row |= {"pid": pid, "instrument": instrument, "status": status, "reason": reason}
    return pa.Table.from_pylist([row], schema=IMAGE_FEATURES.schema)


def write_window_maps(tables: DailyTables, archive: Archive, day: date, history: pa.Table) -> pa.Table:
    """Write ``window_maps``: the day's maps of each instrument's window; ``history``: those of the days before."""
    images, made_of = _input(tables, IMAGE_FEATURES, day, ("pid", "instrument", "row", "status", "background"))
    images = images.filter(pc.field("status") == "ok")
    seen, stored = _windows_of(tables, archive, day, dict(_by_bin(images))), _stored_maps(tables, day)
    rows: list[dict[str, Any]] = []
    for instrument, own in _by_instrument(images):
        window = _Window.before(history.filter(pc.field("instrument") == instrument))
        before = [row for row in stored if row["instrument"] == instrument]
        unseen = set(own["pid"].to_pylist()) - seen.keys()
        if any(pid in unseen for row in before for pid in row["pids"]):
            # Of bins that cannot be read any more nothing but the sums is left.
            window.take(before)
        for pid in sorted(own["pid"].unique().to_pylist(), key=lambda pid: parse_pid(pid).start_time):
            if pid in seen:
                window.add(pid, seen[pid])
        rows += window.rows(instrument)
    table = pa.Table.from_pylist(rows, schema=WINDOW_MAPS.schema)
    tables.write(WINDOW_MAPS, day, table, replace(made_of, made_of={"cells": SHAPE}))
    return table


def _windows_of(
    tables: DailyTables, archive: Archive, day: date, images: Mapping[str, pa.Table]
) -> dict[str, WindowMap]:
    """The window as each bin shows it, of those that can be read; ``images``: those with features, by bin."""
    paths, found = _paths(tables, day), {}
    for entry, columns in CloudTables(tables).read_all(day, BOX_COLUMNS):
        if columns is None or entry.pid not in images or entry.pid not in paths:
            continue
        window = _window_of(archive, paths[entry.pid], columns, images[entry.pid])
        if window is not None:
            found[entry.pid] = window
    return found


@dataclass(slots=True)
class _Map:
    """A row of ``window_maps`` in the making."""

    last_start: datetime
    cells: WindowMap
    bins: list[tuple[str, float, int, int, str]]


class _Window:
    """The window of one instrument through a day: what is usual of it, and the day's maps."""

    def __init__(self) -> None:
        self.deployment: datetime | None = None
        self.last: datetime | None = None
        self.usual, self.n_bins = WindowMap.empty(), 0
        #: The last bins of the deployment that are in order, which are no part of ``usual`` yet.
        self.recent: list[WindowMap] = []
        self.maps: dict[tuple[datetime, bool], _Map] = {}

    @classmethod
    def before(cls, history: pa.Table) -> "_Window":
        """As the maps of the days before left it."""
        window = cls()
        rows = sorted(history.to_pylist(), key=lambda row: row["last_start"])
        if rows:
            window.deployment, window.last = rows[-1]["deployment_start"], rows[-1]["last_start"]
        for row in rows:
            if row["in_order"] and row["deployment_start"] == window.deployment:
                window.usual, window.n_bins = window.usual + map_of(row), window.n_bins + len(row["pids"])
        return window

    def take(self, stored: Sequence[Mapping[str, Any]]) -> None:
        """Go on from maps of the day that were made before."""
        for row in sorted(stored, key=lambda row: row["last_start"]):
            bins = zip(row["pids"], row["z"], row["worst_x_px"], row["worst_y_px"], row["kinds"], strict=True)
            self.maps[row["deployment_start"], row["in_order"]] = _Map(row["last_start"], map_of(row), list(bins))
            if row["deployment_start"] != self.deployment:
                self._begin(row["deployment_start"])
            self.last = row["last_start"]
            if row["in_order"]:
                self.usual, self.n_bins = self.usual + map_of(row), self.n_bins + len(row["pids"])

    def add(self, pid: str, window: WindowMap) -> None:
        """The next bin in time; nothing where it is known."""
        if any(pid == each[0] for known in self.maps.values() for each in known.bins):
            return
        start = parse_pid(pid).start_time
        deployment = self.deployment
        if deployment is None or self.last is None or (start - self.last).total_seconds() > LONG_GAP_S:
            deployment = self._begin(start)
        self.last = start if self.last is None else max(start, self.last)
        kind, x_px, y_px, z = self._score(window)
        in_order = not z >= _DIRTY_Z
        if in_order:
            self.recent.append(window)
        if len(self.recent) >= _RUN:
            self.usual, self.n_bins = self.usual + self.recent.pop(0), self.n_bins + 1
        into = self.maps.setdefault((deployment, in_order), _Map(start, WindowMap.empty(), []))
        into.cells, into.last_start = into.cells + window, max(start, into.last_start)
        into.bins.append((pid, z, x_px, y_px, kind))

    def _begin(self, deployment: datetime) -> datetime:
        self.deployment, self.usual, self.n_bins, self.recent = deployment, WindowMap.empty(), 0, []
        return deployment

    def _score(self, window: WindowMap) -> tuple[str, int, int, float]:
        """Kind and place of the worst cell of a bin, and how far it is from the usual; or of the last _RUN bins
        together, which show what is too faint for one.
        """
        if self.n_bins < _MIN_MAP_BINS:
            return "", 0, 0, float("nan")
        score = score_window(window, self.usual)
        if len(self.recent) == _RUN - 1:
            together = score_window(sum(self.recent, window), self.usual)
            score = max(score, together, key=lambda each: each.z)
        return score.kind, score.x_px, score.y_px, score.z

    def rows(self, instrument: str) -> Iterator[dict[str, Any]]:
        """The day's rows of ``window_maps``."""
        for (deployment, in_order), found in sorted(self.maps.items()):
            pids, z, x_px, y_px, kinds = map(list, zip(*found.bins, strict=True))
            yield {
                "instrument": instrument, "deployment_start": deployment, "in_order": in_order,
                "last_start": found.last_start, "pids": pids, "z": z, "worst_x_px": x_px, "worst_y_px": y_px,
                "kinds": kinds, **map_columns(found.cells),
            }  # fmt: skip


def _window_of(archive: Archive, path: str, columns: Mapping[str, NDArray], images: pa.Table) -> WindowMap | None:
    """The window as the images of one bin show it; None where they cannot be read (any more)."""
    table = RoiTable(columns["start_byte"], columns["width_px"], columns["height_px"], 0)
    rows = images["row"].to_numpy().astype(np.int64)
    background = dict(zip(rows.tolist(), images["background"].to_numpy().tolist(), strict=True))
    found = WindowMap.empty()
    try:
        for block in archive.image_blocks(path, table, rows):
            values = np.zeros((len(block.rows), len(NAMES)))
            values[:, NAMES.index("background")] = [background[row] for row in block.rows.tolist()]
            ends = block.table.start_byte[block.rows] + table.width_px[block.rows] * table.height_px[block.rows]
            features = ImageFeatures(block.rows, values, np.where(ends <= len(block.content), "ok", ""))
            found += WindowMap.of_bin(block.content, block.table, columns["x_px"], columns["y_px"], features)
    except OSError:
        return None
    return found


def write_image_scores(tables: DailyTables, model: ImageModel, day: date, history: "ImageHistory") -> pa.Table:
    """Write ``image_scores``: what the model says of each image with features."""
    images, made_of = _input(tables, IMAGE_FEATURES, day)
    images = images.filter(pc.field("status") == "ok")
    parts, levels = [IMAGE_SCORES.schema.empty_table()], dict[str, Levels | None]()
    for instrument, own in _by_instrument(images):
        values = np.column_stack([own[name].to_numpy() for name in NAMES]).astype(np.float64)
        levels[instrument] = history.levels(day, instrument, own["pid"], values, model)
        scores = model.judge(values, levels[instrument])
        parts.append(_score_rows(own, values, scores, model, levels[instrument]))
    rows = pa.concat_tables(parts)
    told = {name: known and asdict(known) for name, known in levels.items()}
    tables.write(IMAGE_SCORES, day, rows, replace(made_of, made_of={"model_id": model.card.model_id, "levels": told}))
    return rows


def _score_rows(
    own: pa.Table, values: NDArray[np.float64], scores: ImageScores, model: ImageModel, levels: Levels | None
) -> pa.Table:
    probability = {
        f"p_{kind}": _three_digits(scores.probability[:, scores.kinds.index(kind)]) if kind in scores.kinds else 0.0
        for kind in KINDS
    }
    reasons = np.full(len(values), "", dtype=object)
    chosen = _likeliest(own["pid"].to_numpy(zero_copy_only=False).astype(str), scores)
    reasons[chosen] = reasons_of(values[chosen], _some(scores, chosen), model, levels)
    return pa.table({
        "pid": own["pid"], "instrument": own["instrument"], "row": own["row"],
        "fault_probability": _three_digits(scores.fault_probability),
        "fault": scores.kind,
        "oddness": rounded(scores.oddness),
        "odd": scores.odd,
        "class_name": scores.class_name,
        "reasons": pa.array(reasons, pa.string()),
        **{name: np.broadcast_to(column, len(values)) for name, column in probability.items()},
    }).cast(IMAGE_SCORES.schema)  # fmt: skip


def _three_digits(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    # Next to nothing is nothing: most images have most faults so improbably, and it would be most of the table.
    return np.where(probability < _NEXT_TO_NOTHING, 0.0, np.round(probability, 3))


def _likeliest(pids: NDArray, scores: ImageScores) -> NDArray[np.int64]:
    """Of each bin the flagged images that are likeliest to have a fault, _EXPLAINED at most."""
    flagged = np.flatnonzero(scores.flagged)
    flagged = flagged[np.lexsort((-scores.fault_probability[flagged], pids[flagged]))]
    _, first, count = np.unique(pids[flagged], return_index=True, return_counts=True)
    rank = np.arange(len(flagged)) - np.repeat(first, count)
    return np.sort(flagged[rank < _EXPLAINED])


def _some(scores: ImageScores, rows: NDArray[np.int64]) -> ImageScores:
    arrays = {name: getattr(scores, name)[rows] for name in ImageScores.__slots__ if name != "kinds"}
    return ImageScores(scores.kinds, **arrays)


@dataclass(frozen=True, slots=True)
class ImageHistory:
    """What the days before a day tell of the light and noise of instruments; goes from day to day."""

    features: RecentDays
    scores: RecentDays

    @classmethod
    def of(cls, tables: DailyTables) -> "ImageHistory":
        """From the stored tables."""
        return cls(
            RecentDays(tables, IMAGE_FEATURES, ("pid", "instrument", "status", *RELATIVE)),
            RecentDays(tables, IMAGE_SCORES, ("pid", "instrument", "fault_probability")),
        )

    def levels(
        self, day: date, instrument: str, pids: pa.ChunkedArray, values: NDArray[np.float64], model: ImageModel
    ) -> Levels | None:
        """What is usual for an instrument on a day, of which it has images of ``pids`` with ``values``.

        By its bins of the days before where they are enough, else by these and the day's own where they are MIN_BINS,
        else by the model's training; None where that has not seen it.
        """
        wanted = (pc.field("instrument") == instrument) & (pc.field("status") == "ok")
        before = _latest_bins(self.features.before(day).filter(wanted), _LEVEL_BINS)
        n_bins = len(before["pid"].unique())
        known = np.zeros((before.num_rows, len(NAMES)))
        for name in RELATIVE:
            known[:, NAMES.index(name)] = before[name].to_numpy()
        if n_bins < _ENOUGH_BINS:
            known, n_bins = np.concatenate([known, values]), n_bins + len(pids.unique())
        levels = model.levels_of(instrument, known if n_bins >= MIN_BINS else None)
        scored = self.scores.before(day).filter(pc.field("instrument") == instrument)
        scored = _latest_bins(scored, _LEVEL_BINS)
        if levels is None or len(scored["pid"].unique()) < _ENOUGH_BINS:
            return levels
        # Of most bins, so that some faulty ones do not move it.
        limits = [np.quantile(own["fault_probability"].to_numpy(), 1 - FALSE_ALARMS) for _, own in _by_bin(scored)]
        return replace(levels, limit=float(np.median(limits)))


def _latest_bins(rows: pa.Table, most: int) -> pa.Table:
    # Of one instrument, and so in order of time.
    pids = sorted(rows["pid"].unique().to_pylist())[-most:]
    return rows.filter(pc.field("pid").isin(pa.array(pids, pa.string())))


def write_bin_image_scores(tables: DailyTables, model: ImageModel, day: date, history: pa.Table) -> pa.Table:
    """Write ``bin_image_scores``: a row for each bin of the inventory; ``history``: those of the days before."""
    images, made_of = _input(tables, IMAGE_FEATURES, day)
    scores, scored_of = _input(tables, IMAGE_SCORES, day)
    inventory, _ = _input(tables, RAW_BINS, day, IDENTITY)
    windows = _window_scores(tables, day)
    of_images, of_scores = dict(_by_bin(images)), dict(_by_bin(scores))
    rows = []
    for listed in inventory.to_pylist():
        own = of_images.get(listed["pid"])
        if own is None:  # listed after its images were looked at
            own = _no_image(listed["pid"], listed["instrument"], "no_roi", "its images have not been looked at yet")
        known = bool(scored_of.made_of["levels"].get(listed["instrument"]))
        numbers = _bin_numbers(own, of_scores.get(listed["pid"]), model)
        rows.append(listed | numbers | windows.get(listed["pid"], _NO_WINDOW) | {"levels_known": known})
    table = judge_bins(_typed(rows), history).select(BIN_IMAGE_SCORES.schema.names).cast(BIN_IMAGE_SCORES.schema)
    tables.write(BIN_IMAGE_SCORES, day, table, replace(made_of, made_of={"model_id": model.card.model_id}))
    return table


#: What is known of the bins of the days before.
BIN_HISTORY_COLUMNS = ("pid", "instrument", "start_time", "verdict", "status", *HISTORY_NUMBERS)

_NO_WINDOW = {"window_z": float("nan"), "window_x_px": float("nan"), "window_y_px": float("nan"), "window_kind": ""}


@dataclass(frozen=True, slots=True)
class DayJudge:
    """All that is said of a day's images once their features are there: windows, images, bins.

    For days one after the other: each is judged in the light of the days before as they were judged.
    """

    tables: DailyTables
    archive: Archive
    model: ImageModel
    windows: RecentDays
    images: ImageHistory
    bins: RecentDays

    @classmethod
    def of(cls, tables: DailyTables, archive: Archive, model: ImageModel) -> "DayJudge":
        """With what the tables hold of the days before."""
        bins = RecentDays(tables, BIN_IMAGE_SCORES, BIN_HISTORY_COLUMNS)
        return cls(tables, archive, model, RecentDays(tables, WINDOW_MAPS), ImageHistory.of(tables), bins)

    def write(self, day: date) -> None:
        """Write ``window_maps``, ``image_scores`` and ``bin_image_scores`` of a day."""
        write_window_maps(self.tables, self.archive, day, self.windows.before(day))
        write_image_scores(self.tables, self.model, day, self.images)
        write_bin_image_scores(self.tables, self.model, day, self.bins.before(day))


def _bin_numbers(images: pa.Table, scores: pa.Table | None, model: ImageModel) -> dict[str, Any]:
    """What the images of one bin say of it, and how far they came."""
    first = images.slice(0, 1).to_pylist()[0]
    told = {"status": first["status"], "reason": first["reason"], "roi_complete": first["roi_complete"]}
    if first["row"] is not None:
        told |= {"status": "ok", "reason": ""}
    values = np.column_stack([images[name].to_numpy() for name in NAMES]).astype(np.float64)
    values = values[~np.isnan(values[:, 0])]
    found = summarise(values, _as_scores(scores), (model.usual[:, 1] - model.usual[:, 0]) / SDS_OF_RANGE)
    if told["status"] == "ok" and np.isnan(found.fault_probability):
        n_lost = images.num_rows - found.n_images
        told |= {"status": "too_few_images", "reason": f"{n_lost} of {images.num_rows} images cannot be measured"}
    classes = {} if scores is None else _shares(scores["class_name"])
    return told | {
        "n_images": found.n_images,
        "image_model_id": model.card.model_id,
        **{name: getattr(found, name) for name in ("fault_probability", "flagged_fraction", "odd_fraction",
                                                   "touching_fraction", "focus", "background", "spread")},
        "fine_detail": found.fine_detail,
        "noise": found.noise,
        **{f"p_{kind}": found.probability.get(kind, float("nan")) for kind in KINDS},
        "class_shares": json.dumps(classes),
    }  # fmt: skip


def _as_scores(scores: pa.Table | None) -> ImageScores:
    """Stored scores as the model gave them, row by row for the images that have features."""
    rows = IMAGE_SCORES.schema.empty_table() if scores is None else scores
    fault = rows["fault"].to_numpy(zero_copy_only=False)
    return ImageScores(
        kinds=KINDS,
        probability=np.column_stack([rows[f"p_{kind}"].to_numpy() for kind in KINDS]).astype(np.float64),
        fault_probability=rows["fault_probability"].to_numpy().astype(np.float64),
        flagged=fault != CLEAN,
        kind=fault.astype(str),
        oddness=rows["oddness"].to_numpy().astype(np.float64),
        odd=rows["odd"].to_numpy(zero_copy_only=False).astype(bool),
        class_name=rows["class_name"].to_numpy(zero_copy_only=False).astype(str),
    )


def _shares(classes: pa.ChunkedArray) -> dict[str, float]:
    counts = {each["values"]: each["counts"] for each in classes.value_counts().to_pylist() if each["values"]}
    return {name: round(n / len(classes), 4) for name, n in sorted(counts.items(), key=lambda each: -each[1])}


def _window_scores(tables: DailyTables, day: date) -> dict[str, dict[str, Any]]:
    """How the window looked in each bin, by pid."""
    rows, _ = _input(tables, WINDOW_MAPS, day, ("pids", "z", "worst_x_px", "worst_y_px", "kinds"))
    found = {}
    for row in rows.to_pylist():
        for pid, z, x_px, y_px, kind in zip(*row.values(), strict=True):
            place = (float(x_px), float(y_px)) if kind else (float("nan"), float("nan"))
            found[pid] = {"window_z": z, "window_x_px": place[0], "window_y_px": place[1], "window_kind": kind}
    return found


def _typed(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows of ``bin_image_scores`` that are not judged yet."""
    names = [name for name in BIN_IMAGE_SCORES.schema.names if name not in JUDGED_COLUMNS]
    return pa.Table.from_pylist(list(rows), schema=pa.schema(map(BIN_IMAGE_SCORES.schema.field, names)))


def _stored_maps(tables: DailyTables, day: date) -> list[dict[str, Any]]:
    try:
        if tables.provenance(WINDOW_MAPS, day) is None:
            return []
        rows = tables.read(WINDOW_MAPS, day)
    except StoreError:  # a damaged file has nothing to keep
        return []
    return [] if rows is None else rows.to_pylist()


def _paths(tables: DailyTables, day: date) -> dict[str, str]:
    rows, _ = _input(tables, RAW_BINS, day, ("pid", "roi_path"))
    return {row["pid"]: row["roi_path"] for row in rows.to_pylist() if row["roi_path"] is not None}


def _by_instrument(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for instrument in sorted(rows["instrument"].unique().to_pylist()):
        yield instrument, rows.filter(pc.field("instrument") == instrument)


def _by_bin(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each bin, which follow one another."""
    pids = rows["pid"].to_numpy(zero_copy_only=False).astype(str)
    if not len(pids):
        return
    begins = [0, *(1 + np.flatnonzero(pids[1:] != pids[:-1])).tolist()]
    for begin, end in zip(begins, [*begins[1:], len(pids)], strict=True):
        yield str(pids[begin]), rows.slice(begin, end - begin)


def _repeated(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _input(
    tables: DailyTables, table: Table, day: date, columns: tuple[str, ...] | None = None
) -> tuple[pa.Table, Provenance]:
    found = tables.read_with_provenance(table, day, columns)
    if found is None:
        raise MissingInputError(f"{table.name} of {day} is missing: materialize it first")
    return found
