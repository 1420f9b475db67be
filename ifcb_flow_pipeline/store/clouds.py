"""The point clouds on disk: one file a day, one row group a bin, so that one bin is read without the day.

The footer has one entry per bin of the day's inventory, also for those that gave no points.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.features.file_quality import FileQuality
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.daily import (
    COMPRESSION,
    DailyTables,
    Opened,
    Provenance,
    StoreError,
    footer,
    open_any_version,
    open_parquet,
    replacing,
)
from ifcb_flow_pipeline.store.sums import RottenError, fill, room
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

_BINS = b"ifcb_flow_bins"

#: Bins that are read together: each call takes as long as reading a bin's boxes.
_BINS_AT_ONCE = 64

_FLOATS = [column.name for column in ADC_COLUMNS if issubclass(column.dtype, np.floating)]

_BOX = ("x_px", "y_px", "width_px", "height_px")

#: How clouds are written. Measured on a bin of 5,226 lines, against Parquet's defaults: a quarter less disk (232 kB
#: instead of 311 kB; its .adc has 1,147 kB), a third of the time to write. Signals are noise in their low bytes, so
#: that their bytes compress apart; boxes lie on a lattice of few values, whose numbers are packed in few bits each.
#: Compressing these again would save 1 % of the disk and take half of the time to read them, which is done most.
_ENCODING: dict[str, Any] = {
    "compression": {name: "none" if name in _BOX else COMPRESSION for name in POINT_CLOUDS.schema.names},
    "compression_level": {name: 1 for name in POINT_CLOUDS.schema.names if name not in _BOX},
    "use_dictionary": ["pid", *_BOX],
    "column_encoding": dict.fromkeys(_FLOATS, "BYTE_STREAM_SPLIT")
    | dict.fromkeys(("trigger", "start_byte"), "DELTA_BINARY_PACKED"),
    "write_statistics": False,
}


@dataclass(frozen=True, slots=True)
class CloudEntry:
    """One bin of a day's clouds: how reading it went, and its row group (None where it has no points).

    ``header``: the typed values of its .hdr (see ``bins.hdr``). ``header_state``, ``header_problem``, ``adc_source``,
    ``unread``: see ``BinRead``. ``quality``: what FileQuality found in the rows.
    """

    pid: str
    status: str
    reason: str
    n_rows: int = 0
    n_images: int = 0
    bad_lines: int = 0
    row_group: int | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    header_state: str = ""
    header_problem: str = ""
    adc_source: str = ""
    quality: Mapping[str, Any] = field(default_factory=dict)
    unread: bool = False

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
            rows = self.opened.file.read_row_group(entry.row_group, use_threads=False)
        except (pa.ArrowException, OSError, RottenError):
            return None
        return StoredCloud(_with_quality(entry, rows), _with_all_columns(rows))


@dataclass(frozen=True, slots=True)
class CloudTables:
    """Reads and writes the point clouds of the daily tables."""

    tables: DailyTables

    def write(
        self, day: date, bins: Iterable[BinRead | StoredCloud | CloudEntry], provenance: Provenance
    ) -> list[CloudEntry]:
        """Write a day's clouds from bins as they are read; a CloudEntry stands for one that cannot be read.

        Holds one bin at a time. Returns the entries in the order given.
        """
        entries: list[CloudEntry] = []
        row_groups = 0
        path = self.tables.path(POINT_CLOUDS, day)
        with replacing(path) as temporary:
            schema = POINT_CLOUDS.schema.with_metadata(footer(POINT_CLOUDS, provenance))
            with pq.ParquetWriter(temporary, schema, **_ENCODING) as writer:
                for item in bins:
                    entry = _entry(item, row_groups)
                    entries.append(entry)
                    if not isinstance(item, CloudEntry) and entry.row_group is not None:
                        writer.write_table(_rows(item, schema) if isinstance(item, BinRead) else item.rows.cast(schema))
                        row_groups += 1
                told = json.dumps([entry.to_dict() for entry in entries]).encode()
                writer.add_key_value_metadata({_BINS: told} | room(row_groups))
            fill(temporary)
        return entries

    def entries(self, day: date) -> list[CloudEntry] | None:
        """The bins of a day's clouds; None where the day has not been made."""
        try:
            with open_parquet(POINT_CLOUDS, self.tables.path(POINT_CLOUDS, day)) as opened:
                return _entries(opened)
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

    def read_all(self, day: date, columns: Sequence[str]) -> Iterator[tuple[CloudEntry, dict[str, NDArray] | None]]:
        """Each bin of a day with these columns of its cloud (None where it has none), holding a few at a time.

        Raises FileNotFoundError where the day has not been made.
        """
        with open_parquet(POINT_CLOUDS, self.tables.path(POINT_CLOUDS, day)) as opened:
            entries = _entries(opened)
            for first in range(0, len(entries), _BINS_AT_ONCE):
                some = entries[first : first + _BINS_AT_ONCE]
                arrays = _arrays(opened, [entry.row_group for entry in some if entry.row_group is not None], columns)
                start = 0
                for entry in some:
                    if entry.row_group is None:
                        yield entry, None
                        continue
                    stop = start + opened.file.metadata.row_group(entry.row_group).num_rows
                    yield entry, {name: values[start:stop] for name, values in arrays.items()}
                    start = stop

    def read_one(self, day: date, pid: str, columns: Sequence[str]) -> tuple[CloudEntry, dict[str, NDArray] | None]:
        """One bin of a day, as ``read_all`` gives it, reading nothing of the others.

        Raises FileNotFoundError where the day has not been made, KeyError where it has no such bin.
        """
        with open_parquet(POINT_CLOUDS, self.tables.path(POINT_CLOUDS, day)) as opened:
            for entry in _entries(opened):
                if entry.pid == pid:
                    return entry, None if entry.row_group is None else _arrays(opened, [entry.row_group], columns)
        raise KeyError(f"no bin {pid} in the point clouds of {day}")


def _entry(item: BinRead | StoredCloud | CloudEntry, row_group: int) -> CloudEntry:
    if isinstance(item, StoredCloud):
        return replace(item.entry, row_group=row_group)
    return CloudEntry.of(item, row_group) if isinstance(item, BinRead) else replace(item, row_group=None)


def _rows(read: BinRead, schema: pa.Schema) -> pa.Table:
    arrays = [pa.DictionaryArray.from_arrays(np.zeros(len(read.adc), dtype=np.int32), [read.pid])]
    arrays += [pa.array(read.adc.columns[column.name]) for column in ADC_COLUMNS]
    return pa.Table.from_arrays([*arrays, pa.array(read.adc.has_image)], schema=schema)


def _with_quality(entry: CloudEntry, rows: pa.Table) -> CloudEntry:
    """The entry with what its rows show of the file; the first version did not look for that."""
    if entry.quality:
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


def _arrays(opened: Opened, row_groups: list[int], columns: Sequence[str]) -> dict[str, NDArray]:
    # Without Arrow's own threads: there is too little to do for them, and whole days are done in threads.
    opened.check(row_groups)
    rows = opened.file.read_row_groups(row_groups, columns=list(columns), use_threads=False)
    return {name: rows.column(name).to_numpy() for name in columns}
