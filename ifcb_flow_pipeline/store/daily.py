"""The daily tables on disk: one Parquet file per table and UTC day, written whole or not at all.

Every file says in its footer what it was made of (see Provenance). A reader refuses a file that another
version of the table wrote, and names the remedy.
"""

import fcntl
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from ifcb_flow_pipeline.bins.archive import Extent
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.sums import RottenError, Sums, check_row_groups, checked_footer, fill, room
from ifcb_flow_pipeline.store.tables import Table

COMPRESSION = "zstd"

#: Beyond this level files get hardly smaller; a dictionary larger than this, bytes, is given up for plain values.
_PACKED_LEVEL, _LARGEST_DICTIONARY = 9, 2**24

_FOOTER = b"ifcb_flow"

#: Threads that read the files of many days, and how many files each reads before it hands them over: to wake another
#: thread for a single one takes longer than to read it.
_READERS, _FILES_AT_ONCE = 4, 64

#: Temporary files of a killed process are removed once they are this old; younger ones may be in use.
_LEFTOVER_AGE = timedelta(days=1)


#: A step of a day takes seconds, over a slow network disk minutes: who takes longer hangs.
LONGEST_STEP = timedelta(minutes=15)

#: Seconds between two looks at whether a day is free.
_LOOK_AGAIN = 0.1


class StoreError(FlowError):
    """A stored file that cannot be used; the message names the file and the remedy."""


class BusyError(StoreError):
    """A day that somebody else has been working on for very long."""


class DamagedError(StoreError):
    """A stored file whose content is not what was written."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a day's file was made of.

    ``signature``: of the archive's files of that day (see ``bins.archive.Signatures``), handed on from table to table:
    of the inventory and what is made of positions that of ``flow``, of what is made of images that of ``images``, of
    scores both (see ``joined``). ``images``: of an inventory, the latter. ``made_of``: what else its values depend on,
    such as settings or the model. ``extent``: of the same files. ``unread``: bins that could not be read, for a reason
    that may pass; the day is to be made again.
    """

    signature: str
    made_of: Mapping[str, Any] = field(default_factory=dict)
    extent: Extent = field(default_factory=Extent)
    unread: int = 0
    images: str = ""


def joined(flow: str, images: str | None) -> str:
    """The signature of what is made of features and of images with these signatures; None where there are none."""
    return flow if images is None else f"{flow} {images}"


@dataclass(frozen=True, slots=True)
class DailyTables:
    """The daily tables under ``root``."""

    root: Path

    def path(self, table: Table, day: date) -> Path:
        """Where the table's file of this day is, or would be."""
        return self.root / table.name / f"{day.year:04}" / f"{day.isoformat()}.parquet"

    def days(self, table: Table) -> list[date]:
        """The days that the table has, ascending."""
        return sorted(date.fromisoformat(path.stem) for path in (self.root / table.name).glob("*/????-??-??.parquet"))

    def write(self, table: Table, day: date, rows: pa.Table, provenance: Provenance) -> None:
        """Write a day's table, replacing what was there in one step."""
        typed = rows.cast(table.schema).replace_schema_metadata(footer(table, provenance))
        with replacing(self.path(table, day)) as temporary:
            with pq.ParquetWriter(temporary, typed.schema, **_encoding(table, typed.schema)) as writer:
                writer.write_table(typed, row_group_size=max(1, typed.num_rows))
                writer.add_key_value_metadata(room(1))
            fill(temporary)

    @contextmanager
    def alone(self, day: date, patience: timedelta = LONGEST_STEP) -> Iterator[None]:
        """Inside, nobody else does a step of this day who asks for the same: waits until they are done.

        Raises BusyError where they are not after ``patience``.
        """
        path = self.root / "locks" / f"{day.isoformat()}.lock"
        private_folder(path.parent)
        until = time.monotonic() + patience.total_seconds()
        # The system gives the lock back when its holder dies, however that may be.
        with path.open("ab") as file:
            while not _locked(file):
                if time.monotonic() >= until:
                    raise BusyError(
                        f"{day} has been worked on by another run for more than {patience}: end that run if it hangs; "
                        "this day is tried again by itself"
                    )
                time.sleep(_LOOK_AGAIN)
            yield

    def provenance(self, table: Table, day: date) -> Provenance | None:
        """What the day's file was made of; None where there is none, or one of another version.

        Raises StoreError for a file that cannot be read.
        """
        path = self.path(table, day)
        try:
            with open_any_version(table, path) as (_, content):
                pass
        except FileNotFoundError:
            return None
        if not table.reads(content["version"]):
            return None
        return provenance_of(content)

    def read(self, table: Table, day: date, columns: Sequence[str] | None = None) -> pa.Table | None:
        """A day's table, or some of its columns; None where the day has not been made.

        Raises StoreError for a file that cannot be read or that another version of the table wrote, KeyError
        for a column that the table does not have.
        """
        found = self.read_with_provenance(table, day, columns)
        return None if found is None else found[0]

    def read_with_provenance(
        self, table: Table, day: date, columns: Sequence[str] | None = None
    ) -> tuple[pa.Table, Provenance] | None:
        """The same, and what it was made of, from one look at the file. Raises as ``read``."""
        names = list(columns) if columns is not None else table.schema.names
        path = self.path(table, day)
        try:
            with open_any_version(table, path) as (opened, content):
                check_version(table, path, content)
                opened.check()
                # Without Arrow's threads, which take longer to be called than such a file to be read. A column that is
                # not there is passed over by read, and noticed by select.
                rows = opened.file.read(columns=None if columns is None else names, use_threads=False)
                return rows.select(names).replace_schema_metadata(), provenance_of(content)
        except FileNotFoundError:
            return None

    def read_any(self, table: Table, day: date) -> list[dict[str, Any]]:
        """The rows of a day's file of any version, with the columns that it has; none where there is no file.

        Raises StoreError for a file that cannot be read.
        """
        path = self.path(table, day)
        try:
            with open_any_version(table, path) as (opened, _):
                opened.check()
                return opened.file.read().to_pylist()
        except FileNotFoundError:
            return []

    def check(self, table: Table, day: date) -> None:
        """Read all of a day's file, where there is one. Raises DamagedError where it is not what was written."""
        with suppress(FileNotFoundError), open_any_version(table, self.path(table, day)) as (opened, _):
            opened.check()

    def read_range(
        self,
        table: Table,
        first: date,
        last: date,
        columns: Sequence[str] | None = None,
        check: Callable[[date, Provenance], object] = lambda _day, _made_of: None,
    ) -> pa.Table:
        """The rows of all days from ``first`` to ``last`` (both included) that have been made, in order of day.

        ``check`` is told of each day what it was made of, day by day.
        """
        days = [day for day in self.days(table) if first <= day <= last]
        chunks = [days[i : i + _FILES_AT_ONCE] for i in range(0, len(days), _FILES_AT_ONCE)]
        parts: list[pa.Table] = []
        # Half of the time a file takes passes outside Python's lock, and on a network disk more.
        with ThreadPoolExecutor(_READERS) as threads:
            for made_of, rows in threads.map(lambda chunk: self._read_chunk(table, chunk, columns), chunks):
                for day, one in made_of.items():
                    check(day, one)
                parts += rows
        if parts:
            return pa.concat_tables(parts)
        schema = table.schema.remove_metadata()
        empty = pa.Table.from_pylist([], schema=schema)
        return empty if columns is None else empty.select(list(columns))

    def _read_chunk(
        self, table: Table, days: Iterable[date], columns: Sequence[str] | None
    ) -> tuple[dict[date, Provenance], list[pa.Table]]:
        """What the files of these days were made of, where there are any, and their rows in one piece."""
        found = {day: each for day in days if (each := self.read_with_provenance(table, day, columns)) is not None}
        parts = [rows for rows, _ in found.values()]
        # A table of a day takes three times as much memory as its numbers do.
        rows = [pa.concat_tables(parts).combine_chunks()] if parts else []
        return {day: made_of for day, (_, made_of) in found.items()}, rows


@dataclass(frozen=True, slots=True)
class Opened:
    """A table's open file. What is read of its rows is to be checked before."""

    file: pq.ParquetFile
    source: pa.NativeFile
    sums: Sums | None

    def check(self, row_groups: Iterable[int] | None = None) -> None:
        """Raise RottenError where one of these row groups (None: all) is not what was written."""
        if self.sums is not None:
            wanted = range(self.file.metadata.num_row_groups) if row_groups is None else row_groups
            check_row_groups(self.source, self.file.metadata, self.sums, wanted)


@contextmanager
def open_parquet(table: Table, path: Path) -> Iterator[Opened]:
    """Open a table's file. Raises FileNotFoundError, or StoreError where it cannot be used."""
    with open_any_version(table, path) as (opened, content):
        check_version(table, path, content)
        yield opened


def check_version(table: Table, path: Path, content: Mapping[str, Any]) -> None:
    """Raise StoreError where this program does not use files of the version that the footer names."""
    if not table.reads(content["version"]):
        raise StoreError(
            f"{path} has version {content['version']} of {table.name}, this program has {table.version}: "
            f"process that day again (job daily_flow)"
        )


@contextmanager
def open_any_version(table: Table, path: Path) -> Iterator[tuple[Opened, dict[str, Any]]]:
    """Open a table's file whatever version of the table wrote it; the file and what its footer says.

    Raises FileNotFoundError, or DamagedError where it cannot be read.
    """
    try:
        with pa.OSFile(str(path)) as source:
            sums = checked_footer(source)
            file = _parquet(source)
            content = _read_footer(table, path, file)
            _check_that_sums_are_there(content, sums)
            yield Opened(file, source, sums), content
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError, RottenError) as error:
        raise DamagedError(f"{path} cannot be read ({error}); process that day again (job daily_flow)") from error


def _check_that_sums_are_there(content: Mapping[str, Any], sums: Sums | None) -> None:
    if content.get("sums") and sums is None:
        raise RottenError("its checksums are gone")


def _parquet(source: pa.NativeFile) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source)
    except (UnicodeError, KeyError, ValueError, TypeError) as error:  # a damaged footer of before there were checksums
        raise RottenError(repr(error)) from error


def _locked(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well.

    A reader sees the old file or the new one, whenever the writer dies.
    """
    private_folder(path.parent)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _encoding(table: Table, schema: pa.Schema) -> dict[str, Any]:
    """How tables are written: small ones of some dozen rows and a hundred columns, and those that are ``packed``.

    For columns of numbers, compression, a dictionary and statistics make such a file no smaller, and take three times
    as long to write and five times as long to read. Texts are compressed: they repeat each other.
    """
    if table.packed:
        # Rounded numbers repeat each other: a dictionary of all of a day's takes a quarter off the size.
        return {"compression": COMPRESSION, "compression_level": _PACKED_LEVEL, "use_dictionary": True,
                "dictionary_pagesize_limit": _LARGEST_DICTIONARY, "write_statistics": False}  # fmt: skip
    compression = {each.name: COMPRESSION if pa.types.is_string(each.type) else "none" for each in schema}
    return {"compression": compression, "use_dictionary": False, "write_statistics": False}


def footer(table: Table, provenance: Provenance) -> dict[bytes, bytes]:
    """The metadata entry that a table's file carries."""
    content = {"table": table.name, "version": table.version, "sums": True, **asdict(provenance)}
    return {_FOOTER: json.dumps(content).encode()}


def _read_footer(table: Table, path: Path, file: pq.ParquetFile) -> dict[str, Any]:
    try:
        content = json.loads((file.schema_arrow.metadata or {})[_FOOTER])
        name = content["table"]
    except (KeyError, ValueError, TypeError):
        raise StoreError(f"{path} was not written by this program; move it away") from None
    if name != table.name:
        raise StoreError(f"{path} holds {name}, not {table.name}; move it away")
    return content


def provenance_of(content: Mapping[str, Any]) -> Provenance:
    """What the footer of a file says that it was made of."""
    # Files of before these were kept have neither.
    extent = Extent(**content.get("extent", {}))
    return Provenance(
        content["signature"], content["made_of"], extent, content.get("unread", 0), content.get("images", "")
    )


def _flush_to_disk(path: Path) -> None:
    # Without this, a power cut can leave the new name with the content not yet written.
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove_leftovers(path: Path) -> None:
    oldest = time.time() - _LEFTOVER_AGE.total_seconds()
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(FileNotFoundError):  # its writer has finished meanwhile
            if leftover.stat().st_mtime < oldest:
                leftover.unlink()
