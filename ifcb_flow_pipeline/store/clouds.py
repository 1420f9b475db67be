"""The point clouds on disk: one file a day, some bins to a row group, so that one bin is read without the day.

The footer has one entry per bin of the day's inventory, also for those that gave no points. Files of version 3 have
more columns, those of version 2 a row group a bin besides; they are read as well.
"""

import json
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, has_image
from ifcb_flow_pipeline.features.batch import MOST_ROWS, BatchColumns
from ifcb_flow_pipeline.features.file_quality import FileQuality
from ifcb_flow_pipeline.features.stream import STREAM_COLUMNS
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.daily import (
    DailyTables,
    Opened,
    Provenance,
    StoreError,
    check_version,
    footer,
    open_any_version,
    provenance_of,
    replacing,
)
from ifcb_flow_pipeline.store.sums import RottenError, fill, room
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

_BINS = b"ifcb_flow_bins"

#: Bins that are read together: each call takes as long as reading a bin's boxes.
_BINS_AT_ONCE = 64

#: Bins are put together until they have so many rows. A row group takes half a millisecond to write, whatever it holds;
#: one of so many rows is read in some milliseconds.
_ROWS_A_GROUP = 24_000

#: How many of the 24 significant bits of ``pmt_b`` are kept, which is only shown: a step is a 256th of a value, and
#: noise takes no room.
_BITS_KEPT = 8

_BOX = ("x_px", "y_px", "width_px", "height_px")

#: Values that are few: boxes lie on a lattice, times of flight are steps of a clock. Their numbers are packed in few
#: bits each; to compress these again would save 1 % of the disk and take half of the time to read them, which is done
#: most.
_FEW_VALUES = (*_BOX, "time_of_flight_us")

#: Measurements are noise in their low bytes, so that their bytes compress apart. What zstd would save besides, 2 to 5
#: %, takes twice as long to write and to read.
_MEASUREMENTS = ("t_s", "peak_b", "pmt_b", "run_time_s", "inhibit_time_s")

_ENCODING: dict[str, Any] = {
    "compression": {name: "lz4" if name in _MEASUREMENTS else "none" for name in POINT_CLOUDS.schema.names},
    "use_dictionary": ["pid", *_FEW_VALUES],
    "column_encoding": dict.fromkeys(_MEASUREMENTS, "BYTE_STREAM_SPLIT")
    | dict.fromkeys(("trigger", "start_byte"), "DELTA_BINARY_PACKED"),
    "write_statistics": False,
}


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """One bin of a day's clouds: how reading it went, and where its points are: from ``first_row`` of ``row_group`` on,
    which is None where it has no points.

    ``header``: the typed values of its .hdr (see ``bins.hdr``). ``header_state``, ``header_problem``, ``adc_source``,
    ``unread``: see ``BinRead``. ``quality``: what FileQuality found in the rows. ``dropped``: its points were stored,
    and are left to its files by now.
    """

    pid: str
    status: str
    reason: str
    n_rows: int = 0
    n_images: int = 0
    bad_lines: int = 0
    row_group: int | None = None
    first_row: int = 0
    header: Mapping[str, Any] = field(default_factory=dict)
    header_state: str = ""
    header_problem: str = ""
    adc_source: str = ""
    quality: Mapping[str, Any] = field(default_factory=dict)
    unread: bool = False
    dropped: bool = False

    @property
    def file_quality(self) -> FileQuality:
        """What was found in the rows."""
        return FileQuality(**self.quality)

    @classmethod
    def of(cls, read: BinRead, row_group: int | None = None) -> "CloudEntry":
        """The entry of a bin that was read; only one whose status is ok has points."""
        return cls(
            pid=read.pid,
            status=read.status,
            reason=read.reason,
            n_rows=len(read.adc),
            n_images=int(np.count_nonzero(read.adc.has_image)),
            bad_lines=read.adc.bad_lines,
            row_group=row_group if read.status == "ok" else None,
            header=dict(read.header),
            header_state=read.header_state,
            header_problem=read.header_problem,
            adc_source=read.adc_source,
            quality=FileQuality.of(read.adc.columns).known(),
            unread=read.unread,
        )

    def to_dict(self) -> dict[str, Any]:
        """The fields by name. Unlike with ``asdict`` nothing is copied, which takes as long as reading a bin."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


_SAID = frozenset(each.name for each in fields(CloudEntry))


@dataclass(frozen=True, slots=True)
class ReadCloud:
    """A bin as it was read: how that went, and CLOUD_COLUMNS of its points."""

    entry: CloudEntry
    columns: Mapping[str, NDArray]


@dataclass(frozen=True, slots=True)
class StoredCloud:
    """A bin as it was stored before: its entry, and its points."""

    entry: CloudEntry
    rows: pa.Table


@dataclass(frozen=True, slots=True)
class StoredDay:
    """The clouds of a day as they are stored, by whatever version, to be written again as this version writes them.

    Nothing where ``opened`` is None.
    """

    opened: Opened | None
    by_pid: Mapping[str, CloudEntry]

    def cloud(self, pid: str) -> StoredCloud | None:
        """The bin with its points; None where it has none, or where they are damaged."""
        entry = self.by_pid.get(pid)
        if self.opened is None or entry is None or entry.row_group is None:
            return None
        try:
            self.opened.check([entry.row_group])
            group = self.opened.file.read_row_group(entry.row_group, use_threads=False)
            rows = group.slice(entry.first_row, entry.n_rows)
        except (pa.ArrowException, OSError, RottenError):
            return None
        return StoredCloud(_with_quality(entry, rows), _with_all_columns(rows))


@dataclass(frozen=True, slots=True)
class CloudDay:
    """The clouds of a day, open: what they were made of, and an entry per bin."""

    opened: Opened
    provenance: Provenance
    entries: Sequence[CloudEntry]

    def each(self, columns: Sequence[str]) -> Iterator[tuple[CloudEntry, dict[str, NDArray] | None]]:
        """Each bin with these columns of its cloud (None where it has none), holding a few at a time."""
        for some in _together(self.entries):
            clouds = _clouds(self.opened, some, columns)
            for entry in some:
                yield entry, None if entry.row_group is None else next(clouds)

    def batches(self, pids: Container[str]) -> Iterator[tuple[list[CloudEntry], BatchColumns]]:
        """Those of these bins that have a cloud, some at a time, with STREAM_COLUMNS of their clouds: in memory that is
        used again when the next are asked for. Bins that find no room are left out.
        """
        for some in _together(self.entries):
            entries, n_rows = [], 0
            for entry in some:
                if entry.row_group is not None and entry.pid in pids and n_rows + entry.n_rows <= MOST_ROWS:
                    entries.append(entry)
                    n_rows += entry.n_rows
            with BatchColumns.room(len(entries)) as columns:
                np.cumsum([entry.n_rows for entry in entries], out=columns.starts[1:])
                for i, cloud in enumerate(_clouds(self.opened, entries, STREAM_COLUMNS)):
                    part = columns.of_bin(i)
                    for name, values in cloud.items():
                        part[name][:] = values
                yield entries, columns


@dataclass(frozen=True, slots=True)
class CloudTables:
    """Reads and writes the point clouds of the daily tables."""

    tables: DailyTables

    def write(
        self, day: date, bins: Iterable[BinRead | ReadCloud | StoredCloud | CloudEntry], provenance: Provenance
    ) -> list[CloudEntry]:
        """Write a day's clouds from bins as they are read; a CloudEntry stands for one that cannot be read.

        Holds a row group at a time. Returns the entries in the order given.
        """
        entries: list[CloudEntry] = []
        path = self.tables.path(POINT_CLOUDS, day)
        with replacing(path) as temporary:
            schema = POINT_CLOUDS.schema.with_metadata(footer(POINT_CLOUDS, provenance))
            with pq.ParquetWriter(temporary, schema, **_ENCODING) as writer:
                groups = _RowGroups(writer)
                for item in bins:
                    entry = replace(_entry(item), row_group=None, first_row=0)
                    rows = _rows(item, schema)
                    if rows is not None:
                        entry = replace(entry, row_group=groups.n_written, first_row=groups.n_waiting)
                        groups.add(rows)
                    entries.append(entry)
                groups.write()
                told = json.dumps([entry.to_dict() for entry in entries]).encode()
                writer.add_key_value_metadata({_BINS: told} | room(groups.n_written))
            fill(temporary)
        return entries

    def entries(self, day: date) -> list[CloudEntry] | None:
        """The bins of a day's clouds; None where the day has not been made."""
        try:
            with self.open(day) as clouds:
                return list(clouds.entries)
        except FileNotFoundError:
            return None

    @contextmanager
    def stored(self, day: date) -> Iterator[StoredDay]:
        """The clouds of a day as they are stored, also while replaced; nothing where not made or damaged."""
        with ExitStack() as stack:
            try:
                opening = open_any_version(POINT_CLOUDS, self.tables.path(POINT_CLOUDS, day))
                opened, _ = opening.__enter__()
                # What fails while the new file is written, such as a full disk, is no damage of this one.
                stack.callback(opening.__exit__, None, None, None)
                by_pid = {entry.pid: entry for entry in _entries(opened)}
            except (FileNotFoundError, StoreError, RottenError):
                opened, by_pid = None, {}
            yield StoredDay(opened, by_pid)

    def drop(self, day: date, pids: Container[str]) -> int:
        """Remove the points of these bins, whose entries stay; how many had any."""
        made_of = self.tables.provenance(POINT_CLOUDS, day)
        if made_of is None:  # of another version: made again first
            return 0
        with self.stored(day) as stored:
            left = {pid for pid, entry in stored.by_pid.items() if entry.row_group is not None and pid in pids}
            if left:
                bins = (
                    replace(entry, dropped=True) if pid in left else stored.cloud(pid) or entry
                    for pid, entry in stored.by_pid.items()
                )
                self.write(day, bins, made_of)
        return len(left)

    @contextmanager
    def open(self, day: date) -> "Iterator[CloudDay]":
        """The clouds of a day. Raises FileNotFoundError where the day has not been made, StoreError where its file
        cannot be used.
        """
        path = self.tables.path(POINT_CLOUDS, day)
        with open_any_version(POINT_CLOUDS, path) as (opened, content):
            check_version(POINT_CLOUDS, path, content)
            yield CloudDay(opened, provenance_of(content), _entries(opened))

    def read_all(self, day: date, columns: Sequence[str]) -> Iterator[tuple[CloudEntry, dict[str, NDArray] | None]]:
        """Each bin of a day with these columns of its cloud (None where it has none), holding a few at a time.

        Raises as ``open``.
        """
        with self.open(day) as clouds:
            yield from clouds.each(columns)

    def read_one(self, day: date, pid: str, columns: Sequence[str]) -> tuple[CloudEntry, dict[str, NDArray] | None]:
        """One bin of a day, as ``read_all`` gives it, reading nothing of the others but those of its row group.

        Raises as ``open``, and KeyError where the day has no such bin.
        """
        with self.open(day) as clouds:
            for entry in clouds.entries:
                if entry.pid == pid:
                    return entry, next(_clouds(clouds.opened, [entry], columns), None)
        raise KeyError(f"no bin {pid} in the point clouds of {day}")


@dataclass(slots=True)
class _RowGroups:
    """Bins on their way into a file: how many row groups are written, and what waits for the next to be full."""

    writer: pq.ParquetWriter
    n_written: int = 0
    n_waiting: int = 0
    _waiting: list[pa.Table] = field(default_factory=list)

    def add(self, rows: pa.Table) -> None:
        """The rows of one more bin."""
        self._waiting.append(rows)
        self.n_waiting += rows.num_rows
        if self.n_waiting >= _ROWS_A_GROUP:
            self.write()

    def write(self) -> None:
        """Write what waits, if anything."""
        if self._waiting:
            rows = pa.concat_tables(self._waiting).unify_dictionaries()
            self.writer.write_table(rows, row_group_size=rows.num_rows)
            self._waiting, self.n_waiting, self.n_written = [], 0, self.n_written + 1


def _entry(item: BinRead | ReadCloud | StoredCloud | CloudEntry) -> CloudEntry:
    if isinstance(item, CloudEntry):
        return item
    return CloudEntry.of(item) if isinstance(item, BinRead) else item.entry


def _rows(item: BinRead | ReadCloud | StoredCloud | CloudEntry, schema: pa.Schema) -> pa.Table | None:
    """What is stored of a bin's points; None where it has none."""
    if isinstance(item, StoredCloud):
        return item.rows.cast(schema)
    if isinstance(item, CloudEntry) or (isinstance(item, BinRead) and item.status != "ok"):
        return None
    pid, columns = (item.pid, item.adc.columns) if isinstance(item, BinRead) else (item.entry.pid, item.columns)
    arrays = [pa.DictionaryArray.from_arrays(np.zeros(len(columns["trigger"]), np.int32), [pid])]
    with_image = has_image(columns)
    stored = {**columns, "pmt_b": _rounded(columns["pmt_b"]), "start_byte": _jumps(columns, with_image)}
    arrays += [pa.array(stored[name]) for name in schema.names[1:-1]]
    return pa.Table.from_arrays([*arrays, pa.array(with_image)], schema=schema)


def _jumps(columns: Mapping[str, NDArray], with_image: NDArray[np.bool_]) -> pa.Array:
    """Where images start that do not start where the one before ends, as the first; of all others, nothing."""
    rows = np.flatnonzero(with_image)
    starts, sizes = columns["start_byte"][rows], _sizes(columns, rows)
    is_due = np.ones(len(with_image), np.bool_)
    is_due[rows[1:]] = starts[1:] == starts[:-1] + sizes[:-1]
    is_due[rows[:1]] = False
    return pa.array(columns["start_byte"], mask=is_due)


def _starts(stored: pa.Array, columns: Mapping[str, NDArray]) -> NDArray[np.int64]:
    """The same the other way round: where each image starts; 0 in rows without one."""
    starts = np.zeros(len(stored), np.int64)
    rows = np.flatnonzero(has_image(columns))
    ends = np.cumsum(_sizes(columns, rows))
    before = ends - _sizes(columns, rows)
    known = np.flatnonzero(stored.is_valid().to_numpy(zero_copy_only=False)[rows])
    shifts = stored.fill_null(0).to_numpy()[rows[known]] - before[known]
    starts[rows] = before + shifts[np.searchsorted(known, np.arange(len(rows)), side="right") - 1]
    return starts


def _sizes(columns: Mapping[str, NDArray], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return columns["width_px"][rows].astype(np.int64) * columns["height_px"][rows]


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest numbers of _BITS_KEPT significant bits; what is not finite, or would not be, stays."""
    lost = np.uint32(24 - _BITS_KEPT)
    half = np.uint32(1 << (lost - np.uint32(1)))
    rounded = ((values.view(np.uint32) + half) >> lost << lost).view(np.float32)
    return np.where(np.isfinite(rounded), rounded, values)


def _with_quality(entry: CloudEntry, rows: pa.Table) -> CloudEntry:
    """The entry with what its rows show of the file; the first version did not look for that."""
    if entry.quality or "pmt_a" not in rows.column_names:
        return entry
    columns = {c.name: rows[c.name].to_numpy() for c in ADC_COLUMNS if c.name in rows.column_names}
    return replace(entry, quality=FileQuality.of(columns).known())


def _with_all_columns(rows: pa.Table) -> pa.Table:
    """Rows of any version with the columns of this one; what they have not is NaN.

    Raises StoreError for a column that has no NaN: these rows cannot be rows of this version.
    """
    if rows.column_names == POINT_CLOUDS.schema.names:
        return rows
    columns = []
    for field_ in POINT_CLOUDS.schema:
        if field_.name in rows.column_names:
            columns.append(rows[field_.name])
        elif pa.types.is_floating(field_.type):
            columns.append(pa.array(np.full(rows.num_rows, np.nan), field_.type))
        else:
            raise StoreError(f"stored points of another version have no {field_.name}: the day is left as it is")
    return pa.Table.from_arrays(columns, names=POINT_CLOUDS.schema.names)


def _entries(opened: Opened) -> list[CloudEntry]:
    try:
        told = json.loads(opened.file.metadata.metadata[_BINS])
        # Another version may have said more of a bin, or less.
        return [CloudEntry(**{name: value for name, value in one.items() if name in _SAID}) for one in told]
    except (KeyError, ValueError, TypeError) as error:  # of before there were checksums
        raise RottenError(f"its list of bins is damaged: {error!r}") from error


def _together(entries: Sequence[CloudEntry]) -> Iterator[list[CloudEntry]]:
    """The entries in parts of _BINS_AT_ONCE or some more, none of which ends within a row group."""
    some: list[CloudEntry] = []
    last: int | None = None
    for entry in entries:
        if len(some) >= _BINS_AT_ONCE and entry.row_group is not None and entry.row_group != last:
            yield some
            some = []
        some.append(entry)
        last = entry.row_group if entry.row_group is not None else last
    if some:
        yield some


def _clouds(opened: Opened, entries: Sequence[CloudEntry], columns: Sequence[str]) -> Iterator[dict[str, NDArray]]:
    """These columns of the clouds of those of the bins that have one, read at once."""
    row_groups = list(dict.fromkeys(entry.row_group for entry in entries if entry.row_group is not None))
    with_starts = "start_byte" in columns
    wanted = dict.fromkeys((*columns, "width_px", "height_px") if with_starts else columns)
    # Without Arrow's own threads: there is too little to do for them, and whole days are done in threads.
    opened.check(row_groups)
    rows = opened.file.read_row_groups(row_groups, columns=list(wanted), use_threads=False)
    arrays = {name: rows.column(name).to_numpy() for name in wanted if name != "start_byte"}
    lengths = [opened.file.metadata.row_group(number).num_rows for number in row_groups]
    starts = dict(zip(row_groups, np.cumsum([0, *lengths[:-1]]).tolist(), strict=True)) if row_groups else {}
    for entry in entries:
        if entry.row_group is not None:
            first = starts[entry.row_group] + entry.first_row
            cloud = {name: values[first : first + entry.n_rows] for name, values in arrays.items()}
            if with_starts:
                stored = rows["start_byte"].slice(first, entry.n_rows).combine_chunks()
                cloud["start_byte"] = _starts(stored, cloud)
            yield {name: cloud[name] for name in columns}
