"""Many bins of an archive read at once: their clean ADC files in one call of compiled code (``file_kernels``), which
does not hold Python's lock. All others, and all where kernels do not work, are left to ``Archive.read_bin``, bin by
bin.
"""

import platform
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import WIDTHS, cells_of, columns_named
from ifcb_flow_pipeline.bins.hdr import HeaderRead
from ifcb_flow_pipeline.bins.pid import Schema
from ifcb_flow_pipeline.bins.text import MARGIN
from ifcb_flow_pipeline.fallback import with_kernels
from ifcb_flow_pipeline.features.batch import BatchColumns
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS
from ifcb_flow_pipeline.features.file_quality import MIN_ROWS, SIGNALS, FileQuality
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS
from ifcb_flow_pipeline.kept import Kept
from ifcb_flow_pipeline.store.archive import Archive, adc_source
from ifcb_flow_pipeline.store.clouds import CloudEntry, ReadCloud
from ifcb_flow_pipeline.store.deadline import HungError, within

_KERNELS = "ifcb_flow_pipeline.store.file_kernels"

#: So many bytes a file has at most that goes through the kernels; the largest of usual files have some 5 MB.
_LARGEST = 8_000_000
#: So many bins are read together, that their columns, some thousand lines each, stay in the processor's caches, and
#: that a disk answers for all within its deadline. Files that do not find room are read by themselves.
BINS_AT_ONCE = 16

#: Signals that are read, and those that are read only where all columns are wanted that people are shown. Of the others
#: only is asked whether they are dead.
_READ = ("peak_b",)
_READ_TO_BE_SHOWN = (*_READ, "pmt_b")

#: The types of columns, in the order of ``scan.DTYPES``.
DTYPES = (np.float32, np.float64, np.int16, np.int32, np.int64)

_NAN = float("nan")

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Batch:
    """Bins of one schema that kernels may read: their rows of the inventory, by their numbers there."""

    archive: Archive
    schema: Schema
    rows: Mapping[int, Mapping[str, Any]]

    @classmethod
    def of(cls, archive: Archive, inventory: Sequence[Mapping[str, Any]], schema: Schema) -> "Iterator[Batch]":
        """Those of an inventory, so many at a time as are read at once; none where kernels do not read as is asked."""
        if archive.reader != "native" or not _on_this_system():
            return
        rows = [(i, row) for i, row in enumerate(inventory) if row["status"] == "ok" and row["schema"] == schema]
        rows = [(i, row) for i, row in rows if row.get("gone_since") is None]
        for first in range(0, len(rows), BINS_AT_ONCE):
            yield cls(archive, schema, dict(rows[first : first + BINS_AT_ONCE]))

    def reference_features(self, aspect_ratio: float) -> "tuple[NDArray[np.float64], NDArray[np.int64]] | None":
        """Reference features, shape (bins, features), NaN where there are too few points, and counts of rows, none
        where the kernels leave the file, and of images, shape (bins, 2). None where kernels do not work.

        Raises HungError where the disk does not answer.
        """

        def ask(kernels: ModuleType) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
            plan = _plan(self.schema, BOX_COLUMNS)
            values, info = np.full((len(self.rows), len(FEATURE_NAMES)), np.nan), self._info(2)
            boxes = tuple(plan.slots[name] for name in BOX_COLUMNS)
            with plan.room(kernels) as room:
                arguments = (self._files(kernels), room, plan.cells(kernels), boxes, float(aspect_ratio), values, info)
                within(lambda _: kernels.reference_of_files(*arguments))
            return values, info

        return _passing_hung(ask)

    @contextmanager
    def read(self, *, shown: bool) -> "Iterator[ManyRead | None]":
        """All that features are made of, and where it is to be ``shown`` what people see of a bin besides, in memory
        that is used again; None where kernels do not work.

        Raises HungError where the disk does not answer.
        """
        signals = _READ_TO_BE_SHOWN if shown else _READ
        with BatchColumns.room(len(self.rows)) as columns:
            yield _passing_hung(lambda kernels: self._read(kernels, columns, signals))

    def _read(self, kernels: ModuleType, columns: BatchColumns, whole: tuple[str, ...]) -> "ManyRead":
        looked_at = tuple(name for name in SIGNALS if name not in whole)
        plan = _plan(self.schema, (*STREAM_COLUMNS, "start_byte", *whole), looked_at)
        info, quality = self._info(2), self._info(4)
        places = kernels.Places(**{name: plan.slots[name] for name in kernels.Places._fields})
        signals = [np.array([plan.slots[name] for name in names]) for names in (looked_at, whole)]
        arrays = kernels.Columns(columns.starts, **columns.by_name)
        with plan.room(kernels) as room:
            arguments = (self._files(kernels), room, plan.cells(kernels), places, *signals, arrays, info, quality)
            within(lambda _: kernels.columns_of_files(*arguments))
        taken = np.flatnonzero(info[:, kernels.N_ROWS])
        # What is left has no rows, so that those that are taken still follow each other.
        columns = BatchColumns(columns.starts[[*taken, -1]], columns.by_name)
        items = [*self.rows.items()]
        rows = {items[k][0]: items[k][1] for k in taken.tolist()}
        headers = self.archive.read_headers([row["hdr_path"] for row in rows.values()], self.schema)
        counted = zip(rows.values(), headers, info[taken].tolist(), quality[taken].tolist(), strict=True)
        entries = [_entry(*each, (*looked_at, *whole)) for each in counted]
        return ManyRead(rows, entries, columns)

    def _info(self, n: int) -> NDArray[np.int64]:
        return np.zeros((len(self.rows), n), np.int64)

    def _files(self, kernels: ModuleType) -> Any:
        paths = [self.archive.path(row["adc_path"]).encode(errors="surrogateescape") for row in self.rows.values()]
        starts = np.cumsum([0, *(len(path) + 1 for path in paths[:-1])])
        return kernels.Files(np.frombuffer(b"".join(path + b"\0" for path in paths), np.uint8).copy(), starts)


@dataclass(frozen=True, slots=True)
class ManyRead:
    """The bins of a batch that the kernels took: their rows of the inventory, by their numbers there, how reading each
    went, and their columns.
    """

    rows: Mapping[int, Mapping[str, Any]]
    entries: Sequence[CloudEntry]
    columns: BatchColumns

    def clouds(self) -> dict[int, ReadCloud]:
        """Each with a copy of its columns, which is left to whoever asks."""
        copies = [{name: c.copy() for name, c in self.columns.of_bin(k).items()} for k in range(len(self.entries))]
        return dict(zip(self.rows, map(ReadCloud, self.entries, copies), strict=True))


def _entry(
    row: Mapping[str, Any],
    header: HeaderRead,
    counts: Sequence[int],
    counted: Sequence[int],
    signals: Sequence[str],
) -> CloudEntry:
    n_rows, n_images = counts
    return CloudEntry(
        row["pid"], "ok", "; ".join(filter(None, (row["reason"], header.problem))), n_rows, n_images,
        header=header.values, header_state=header.state, header_problem=header.problem,
        adc_source=adc_source(row["adc_path"]), quality=_quality(n_rows, n_images, counted, signals).known(),
        unread=header.unread,
    )  # fmt: skip


def _passing_hung(ask: Callable[[ModuleType], _Answer]) -> _Answer | None:
    """What kernels answer, None where they do not work; that a disk hangs is none of their faults."""

    def asked(kernels: ModuleType) -> _Answer | HungError:
        try:
            return ask(kernels)
        except HungError as error:
            return error

    found = with_kernels(_KERNELS, asked)
    if isinstance(found, HungError):
        raise found
    return found


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


def _quality(n_rows: int, n_images: int, counted: Sequence[int], signals: Sequence[str]) -> FileQuality:
    """As ``FileQuality.of``, from what the kernel counted in a clean file, in which no signal is without a number."""
    dead_bits, steps, still, gaps = counted
    dead = [name for name in SIGNALS if dead_bits >> signals.index(name) & 1] if n_rows >= MIN_ROWS else []
    return FileQuality(
        " ".join(dead),
        len(dead) / len(SIGNALS) if n_rows >= MIN_ROWS else _NAN,
        still / steps if steps else _NAN,
        gaps / (n_images - 1) if n_images > 1 else _NAN,
    )
