"""Rows of ``bin_features`` for many bins of an archive at once, most of them in one call of compiled code.

Clean ADC files go through ``store.file_kernels``, which does not hold Python's lock; every other bin, and all of them
where kernels do not work, goes the way of ``days``, bin by bin. Both give the same rows, to the last bit.
"""

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import WIDTHS, cells_of, columns_named
from ifcb_flow_pipeline.bins.hdr import HeaderRead
from ifcb_flow_pipeline.bins.pid import Schema, parse_pid
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, bytes_needed
from ifcb_flow_pipeline.bins.text import MARGIN
from ifcb_flow_pipeline.days import IDENTITY, feature_row, files_row, read_bin, reference_row
from ifcb_flow_pipeline.fallback import with_kernels
from ifcb_flow_pipeline.features import full, geometry
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS, FeatureSettings, fits_kernels, status_of
from ifcb_flow_pipeline.features.file_quality import MIN_ROWS, SIGNALS, FileQuality
from ifcb_flow_pipeline.features.run import Run, blind_s_of
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS
from ifcb_flow_pipeline.kept import Kept
from ifcb_flow_pipeline.store.archive import Archive, BinRead, adc_source
from ifcb_flow_pipeline.store.clouds import CloudEntry
from ifcb_flow_pipeline.store.deadline import HungError, within
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

_KERNELS = "ifcb_flow_pipeline.store.file_kernels"

#: So many bytes a file has at most that goes through the kernels; the largest of usual files have some 5 MB.
_LARGEST = 8_000_000
#: So many bins are read together, that the columns of their triggers, some thousand lines each, stay in the processor's
#: caches, and that a disk answers for all within its deadline. Files that do not find room in so many lines are read by
#: themselves.
_BINS_AT_ONCE, _MOST_ROWS = 16, 400_000

#: The columns of ``bin_features`` that a row of the reference set has.
REFERENCE_COLUMNS = (*IDENTITY, "status", "reason", "n_rows", "n_images", "n_points", "bad_lines", *FEATURE_NAMES)
_REFERENCE_SCHEMA = pa.schema(map(BIN_FEATURES.schema.field, REFERENCE_COLUMNS))

_FLOATS = frozenset(each.name for each in BIN_FEATURES.schema if pa.types.is_floating(each.type))

#: Signals of which only is asked whether they are dead, besides those that features are made of.
_LOOKED_AT = tuple(name for name in SIGNALS if name not in STREAM_COLUMNS)
_FULL_COLUMNS = (*STREAM_COLUMNS, "start_byte")

#: The types of columns, in the order of ``scan.DTYPES``.
DTYPES = (np.float32, np.float64, np.int16, np.int32, np.int64)

_NAN = float("nan")


class _Rows:
    """Columns of a table that are filled row by row, or many rows of some columns at once."""

    def __init__(self, schema: pa.Schema, n: int) -> None:
        self.schema = schema
        self.columns: dict[str, Any] = {
            name: np.full(n, np.nan) if name in _FLOATS else [None] * n for name in schema.names
        }

    def put(self, i: int, row: Mapping[str, Any]) -> None:
        """Fill in what a row has of the columns."""
        for name, value in row.items():
            if name in self.columns:
                self.columns[name][i] = value

    def table(self) -> pa.Table:
        """All of it."""
        arrays = [pa.array(self.columns[each.name], each.type) for each in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)


def reference_table(archive: Archive, inventory: Sequence[Mapping[str, Any]], settings: FeatureSettings) -> pa.Table:
    """Rows of ``bin_features``, REFERENCE_COLUMNS only, for rows of ``raw_bins``, in their order. No header is read."""
    rows = _Rows(_REFERENCE_SCHEMA, len(inventory))
    done: set[int] = set()
    for schema in ("v1", "v2"):
        if some := _Some.of(archive, inventory, settings, schema):
            done |= with_kernels(_KERNELS, lambda kernels, some=some: _put_reference(kernels, some, rows)) or set()
    for i in sorted(set(range(len(inventory))) - done):
        row = inventory[i]
        entry, columns = entry_and_columns(read_bin(archive, {**row, "hdr_path": None}, BOX_COLUMNS))
        rows.put(i, _identity(row) | reference_row(entry, columns, settings))
    return rows.table()


def feature_table(archive: Archive, inventory: Sequence[Mapping[str, Any]], settings: FeatureSettings) -> pa.Table:
    """Rows of ``bin_features`` for rows of ``raw_bins``, in their order."""
    rows = _Rows(BIN_FEATURES.schema, len(inventory))
    done: set[int] = set()
    # A feature that has no kernel, and is not found as a file is read, wants the rows of its bin.
    if not full.WANT_ROWS and (some := _Some.of(archive, inventory, settings, "v2")):
        done = with_kernels(_KERNELS, lambda kernels: _put_all(kernels, some, rows)) or set()
    for i in sorted(set(range(len(inventory))) - done):
        row = inventory[i]
        entry, columns = entry_and_columns(read_bin(archive, row))
        rows.put(i, _identity(row) | feature_row(entry, columns, settings, row.get("roi_bytes")))
    return rows.table()


def entry_and_columns(read: BinRead | CloudEntry) -> tuple[CloudEntry, Mapping[str, NDArray] | None]:
    """How reading a bin went, and its columns; None where it has none to compute features of."""
    entry = read if isinstance(read, CloudEntry) else CloudEntry.of(read)
    return entry, read.adc.columns if isinstance(read, BinRead) and read.status == "ok" else None


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in IDENTITY}


@dataclass(frozen=True, slots=True)
class _Some:
    """Bins of one schema that kernels may take: their rows of the inventory, by their numbers there."""

    archive: Archive
    settings: FeatureSettings
    schema: Schema
    rows: Mapping[int, Mapping[str, Any]]

    @classmethod
    def of(
        cls, archive: Archive, inventory: Sequence[Mapping[str, Any]], settings: FeatureSettings, schema: Schema
    ) -> "_Some | None":
        """Those of an inventory; None where there are none, or where kernels do not do what is asked for."""
        usual = archive.reader == "native" and settings.triggers == "images"
        if not (usual and _on_this_system() and fits_kernels(settings.aspect_ratio)):
            return None
        rows = {i: row for i, row in enumerate(inventory) if row["status"] == "ok" and row["schema"] == schema}
        return cls(archive, settings, schema, rows) if rows else None

    def parts(self) -> Iterator["_Some"]:
        """So many of them as are read at once."""
        rows = list(self.rows.items())
        for first in range(0, len(rows), _BINS_AT_ONCE):
            yield replace(self, rows=dict(rows[first : first + _BINS_AT_ONCE]))

    def files(self, kernels: ModuleType) -> Any:
        """Their ADC files."""
        paths = [self.archive.path(row["adc_path"]).encode(errors="surrogateescape") for row in self.rows.values()]
        starts = np.cumsum([0, *(len(path) + 1 for path in paths[:-1])])
        return kernels.Files(np.frombuffer(b"".join(path + b"\0" for path in paths), np.uint8).copy(), starts)


def _on_this_system() -> bool:
    # The kernels call the functions of its C library in the way that these processors have on Linux.
    return sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


@dataclass(frozen=True)
class _Plan:
    """Which cells of a line are read, in which rows of the arrays the columns come to lie, and memory for both."""

    widths: tuple[int, ...]
    steps: NDArray[np.int64]
    slots: Mapping[str, int]
    n_arrays: Sequence[int]
    kept: Kept[Any] = field(default_factory=Kept)

    def cells(self, kernels: ModuleType) -> Any:
        """The cells for the kernels."""
        return kernels.Cells(np.array(self.widths), *self.steps)

    @contextmanager
    def room(self, kernels: ModuleType) -> Iterator[Any]:
        """Memory for the kernels, inside. What is not written to costs nothing."""
        room = self.kept.take()
        if room is None:
            n_rows = _LARGEST // min(self.widths) + 2
            columns = (np.empty((n, n_rows), dtype) for n, dtype in zip(self.n_arrays, DTYPES, strict=True))
            room = kernels.Room(np.zeros(_LARGEST + 2 * MARGIN + 1, np.uint8), *columns)
        yield room
        self.kept.give(room)


@cache
def _plan(schema: Schema, names: tuple[str, ...], looked_at: tuple[str, ...] = ()) -> _Plan:
    """The plan for these columns; of those that are ``looked_at`` is only asked whether they are dead."""
    from ifcb_flow_pipeline.bins import scan

    cells = cells_of(schema, columns_named((*names, *looked_at)))
    steps, places, n_arrays = scan.plan(tuple((position, dtype) for _, position, dtype in cells))
    positions = [position for name, position, _ in cells if name in looked_at]
    steps = steps.copy()
    steps[1, np.isin(steps[0], positions)] = scan.SAME
    slots = {name: slot for (name, _, _), (_, slot) in zip(cells, places, strict=True)}
    return _Plan(WIDTHS[schema], steps, slots, n_arrays)


def _put_reference(kernels: ModuleType, some: _Some, rows: _Rows) -> set[int]:
    """Fill in the rows of the bins that the kernels take; their numbers."""
    done: set[int] = set()
    for part in some.parts():
        try:
            done |= _put_reference_of(kernels, part, rows)
        except HungError:
            break  # each of the others has its time by itself
    return done


def _put_reference_of(kernels: ModuleType, some: _Some, rows: _Rows) -> set[int]:
    """The same for as many as are read at once. Raises HungError where the disk does not answer."""
    plan = _plan(some.schema, BOX_COLUMNS)
    values, info = np.full((len(some.rows), len(FEATURE_NAMES)), np.nan), np.zeros((len(some.rows), 3), np.int64)
    boxes = tuple(plan.slots[name] for name in BOX_COLUMNS)
    with plan.room(kernels) as room:
        files, aspect_ratio = some.files(kernels), float(some.settings.aspect_ratio)
        within(
            lambda _: kernels.reference_of_files(files, room, plan.cells(kernels), boxes, aspect_ratio, values, info)
        )
    done = set()
    for (i, row), reference, (state, *counts) in zip(some.rows.items(), values.tolist(), info.tolist(), strict=True):
        if state != kernels.LEFT:
            rows.put(i, _identity(row) | _outcome(row["reason"], *counts) | _named(reference))
            done.add(i)
    return done


def _outcome(reason: str, n_rows: int, n_images: int) -> dict[str, Any]:
    """What became of a bin whose file is clean. ``reason``: what there is to say of its files."""
    status, why = status_of(n_rows, n_images, "images")
    return {
        "status": status, "reason": "; ".join(filter(None, (why, reason))), "n_rows": n_rows, "n_images": n_images,
        "n_points": n_images, "bad_lines": 0,
    }  # fmt: skip


def _named(reference: Sequence[float]) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, reference, strict=True))


def _put_all(kernels: ModuleType, some: _Some, rows: _Rows) -> set[int]:
    """The same with all features."""
    done = set()
    for part in some.parts():
        headers = [_header(part, row) for row in part.rows.values()]
        try:
            found = _Found.of(kernels, part, headers)
        except HungError:
            break
        for k, (i, row) in enumerate(part.rows.items()):
            if found.is_done(k):
                rows.put(i, _identity(row) | found.row(k, row, headers[k]))
                done.add(i)
    return done


def _header(some: _Some, row: Mapping[str, Any]) -> HeaderRead:
    return HeaderRead() if row["hdr_path"] is None else some.archive.read_header(row["hdr_path"], some.schema)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the kernels found in some files: an entry per bin each; see ``file_kernels``."""

    states: list[list[int]]
    reference: list[list[float]]
    images: list[list[float]]
    triggers: list[list[float]]
    runs: list[Run | None]
    quality: list[FileQuality]
    bytes_needed: list[int]

    @classmethod
    def of(cls, kernels: ModuleType, some: _Some, headers: Sequence[HeaderRead]) -> "_Found":
        """Ask the kernels. Raises HungError where the disk does not answer."""
        plan, n = _plan(some.schema, _FULL_COLUMNS, _LOOKED_AT), len(some.rows)
        found = kernels.Found(
            np.full((n, len(FEATURE_NAMES)), np.nan), np.full((n, len(full.IMAGE_FEATURES)), np.nan),
            np.full((n, len(full.RUN_TIMES)), np.nan), np.zeros((n, 4), np.int64), np.zeros((n, 3), np.int64),
        )  # fmt: skip
        places = kernels.Places(**{name: plan.slots[name] for name in kernels.Places._fields})
        signals = np.array([plan.slots[name] for name in _LOOKED_AT])
        with plan.room(kernels) as room, _columns_of_triggers(kernels, n) as columns:
            arguments = (
                some.files(kernels), room, plan.cells(kernels), places, signals, float(some.settings.aspect_ratio),
                _of_headers(kernels, some, headers), found, columns,
            )  # fmt: skip
            within(lambda _: kernels.images_of_files(*arguments))
            runs = [
                _run(some, row, header.values, info[1], times) if info[0] != kernels.LEFT else None
                for row, header, info, times in zip(
                    some.rows.values(), headers, found.info.tolist(), found.run.tolist(), strict=True
                )
            ]
            triggers = np.full((n, len(full.TRIGGER_FEATURES)), np.nan)
            run_s = np.array([_NAN if run is None else float(run.run_time_s) for run in runs])
            kernels.triggers_of_files(columns, run_s, triggers)
            parts = [slice(*columns.starts[k : k + 2]) for k in range(n)]
            needed = [
                bytes_needed(columns.width_px[part], columns.height_px[part], FIRST_BYTE[some.schema]) for part in parts
            ]
        quality = [
            _quality(info[1], int(run[1]) if info[0] != kernels.LEFT else 0, counted)
            for info, run, counted in zip(found.info.tolist(), found.run.tolist(), found.quality.tolist(), strict=True)
        ]
        images = found.images.tolist()
        return cls(found.info.tolist(), found.reference.tolist(), images, triggers.tolist(), runs, quality, needed)

    def is_done(self, k: int) -> bool:
        """Whether the kernels took the file."""
        return self.runs[k] is not None

    def row(self, k: int, row: Mapping[str, Any], header: HeaderRead) -> dict[str, Any]:
        """The bin's row of ``bin_features`` but for its identity, as ``days.feature_row`` has it."""
        run, (_, *counts) = self.runs[k], self.states[k]
        assert run is not None  # noqa: S101 - is_done
        quality, roi_bytes = self.quality[k], row.get("roi_bytes")
        reason = "; ".join(filter(None, (row["reason"], header.problem)))
        entry = CloudEntry(
            row["pid"], "ok", reason, *counts, header=header.values, header_state=header.state,
            header_problem=header.problem, adc_source=adc_source(row["adc_path"]), quality=quality.known(),
        )  # fmt: skip
        return (
            _outcome(reason, *counts)
            | _named(self.reference[k])
            | files_row(entry)
            | {"roi_complete": None if roi_bytes is None else roi_bytes >= self.bytes_needed[k]}
            | {"has_roi": roi_bytes is not None}
            | full.compiled_features(self.triggers[k], self.images[k], run)
            | full.features_of_file(quality)
            | full.sources(run)
        )


def _run(some: _Some, row: Mapping[str, Any], header: Mapping[str, Any], n_rows: int, times: Sequence[float]) -> Run:
    known: dict[str, Any] = dict(zip(full.RUN_TIMES, times, strict=True))
    known |= {name: int(known[name]) for name in ("n_triggers", "n_images")}
    return Run(some.schema, header, n_rows=n_rows, v1_blind_s=blind_s_of(parse_pid(row["pid"])), **known)


def _quality(n_rows: int, n_images: int, counted: Sequence[int]) -> FileQuality:
    """As ``FileQuality.of``, from what the kernel counted in a clean file, in which no signal is without a number."""
    dead_bits, steps, still, gaps = counted
    looked_at = (*_LOOKED_AT, "peak_b")
    dead = [name for name in SIGNALS if dead_bits >> looked_at.index(name) & 1] if n_rows >= MIN_ROWS else []
    return FileQuality(
        " ".join(dead),
        len(dead) / len(SIGNALS) if n_rows >= MIN_ROWS else _NAN,
        still / steps if steps else _NAN,
        gaps / (n_images - 1) if n_images > 1 else _NAN,
    )


def _of_headers(kernels: ModuleType, some: _Some, headers: Sequence[HeaderRead]) -> Any:
    return kernels.Headers(
        np.array([some.settings.frame_px(row["instrument"], some.schema) for row in some.rows.values()], np.int64),
        np.array([int(header.values.get("blob_grow_y_px", -1)) for header in headers], np.int64),
        np.array([geometry.is_titled_bottom(header.values) for header in headers], np.bool_),
    )


@contextmanager
def _columns_of_triggers(kernels: ModuleType, n: int) -> Iterator[Any]:
    """Memory for the columns of the triggers of n bins, inside."""
    columns = _COLUMNS.take()
    if columns is None:
        types = (np.int32, np.float64, np.int16, np.int16, np.float32, np.float64)
        columns = [np.empty(_MOST_ROWS, each) for each in types]
    yield kernels.Runs(np.zeros(n + 1, np.int64), *columns)
    _COLUMNS.give(columns)


_COLUMNS: Kept[list[NDArray]] = Kept()
