"""What people have entered: SQLite files that several processes may read and add to at once.

Unlike everything else under the data folder, such a file cannot be computed again. So it is never made anew over
what is there, its rows are neither changed nor removed (the file itself refuses that), and every addition is on the
disk, whole, before it is reported as done. The write-ahead log that makes this possible needs a local disk.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.private import FILE_MODE, private_folder

#: Seconds to wait for another process that is writing. Nobody writes for longer than a moment.
_PATIENCE = 20.0

#: SQLite's codes for a disk that takes nothing.
_NO_WRITING = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)

#: Where there is room although the disks are full.
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of its own is made there

#: Kinds of file systems without the shared memory that the write-ahead log needs (https://sqlite.org/wal.html).
NETWORK_DISKS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "glusterfs", "fuse.glusterfs", "ceph"}
)

_NEVER = """
CREATE TRIGGER {table}_{event} BEFORE {event} ON {table} BEGIN SELECT RAISE(ABORT, 'rows are only added'); END
"""


class RecordError(FlowError):
    """A file of records that cannot be used, or an entry that cannot be kept; the message says the remedy."""


@dataclass(frozen=True, slots=True)
class RecordFile:
    """A file of records at ``path``; nothing is written before the first entry.

    ``mark``: number that tells this kind of file from other SQLite files. ``version``: rises when ``tables``, the
    names and columns of the tables, change. ``what``: what the file holds, for messages. ``earlier``: versions that
    lack nothing but some of the tables, which the next entry adds.
    """

    path: Path
    mark: int
    version: int
    tables: dict[str, str]
    what: str
    earlier: tuple[int, ...] = ()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """An open connection to read through, None where there is no file yet. Raises RecordError."""
        if not self.path.exists():
            yield None
            return
        with self._readable() as path, self._opened(path) as connection:
            yield connection if self._is_ours(connection) else None

    @contextmanager
    def _readable(self) -> Iterator[Path]:
        """A path under which the file can be read: where its disk is full or write-protected, that of a copy.

        Even to be read, the write-ahead log wants to write beside it.
        """
        try:
            with closing(sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None)) as connection:
                _identity(connection)
        except sqlite3.Error as error:
            if error.sqlite_errorcode & 0xFF not in _NO_WRITING:
                raise self._unusable(error) from error
        else:
            yield self.path
            return
        with TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
            for suffix in ("", "-wal"):
                with suppress(FileNotFoundError):
                    shutil.copyfile(f"{self.path}{suffix}", Path(folder) / f"{self.path.name}{suffix}")
            yield Path(folder) / self.path.name

    @contextmanager
    def adding(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that keeps all that the block adds, or nothing. Raises RecordError."""
        kind = file_system(self.path.parent)
        if kind in NETWORK_DISKS:
            raise RecordError(
                f"{self.path} is on a network disk ({kind}), where several processes would damage it: "
                "set IFCB_FLOW_HOME to a folder on a local disk"
            )
        with self._opened(self.path) as connection:
            if not self._is_ours(connection):
                # Kept in the file; other processes may be reading and writing from now on.
                connection.execute("PRAGMA journal_mode = WAL")
            # IMMEDIATE: what is read in here is not changed by others before it is written.
            connection.execute("BEGIN IMMEDIATE")
            try:
                if not self._is_ours(connection) or _identity(connection)[1] != self.version:
                    self._make(connection)
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def _opened(self, path: Path) -> Iterator[sqlite3.Connection]:
        try:
            private_folder(path.parent)
            if not path.exists():
                path.touch(mode=FILE_MODE)
            with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise self._unusable(error) from error

    def _is_ours(self, connection: sqlite3.Connection) -> bool:
        """Whether the tables are there; False for an empty file. Raises RecordError for any other file."""
        mark, version, n_tables = _identity(connection)
        if mark == self.mark and version in (self.version, *self.earlier):
            return True
        if mark == self.mark:
            raise RecordError(
                f"{self.path} has version {version} of {self.what}, this program knows {self.version}: use the "
                "program that wrote it, or a newer one"
            )
        if n_tables:
            raise RecordError(f"{self.path} is a database of another program, not {self.what}: move it away")
        return False

    def _make(self, connection: sqlite3.Connection) -> None:
        there = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for name, columns in self.tables.items():
            if name in there:
                continue
            connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY AUTOINCREMENT, {columns})")
            for event in ("UPDATE", "DELETE"):
                connection.execute(_NEVER.format(table=name, event=event))
        connection.execute(f"PRAGMA application_id = {self.mark}")
        connection.execute(f"PRAGMA user_version = {self.version}")

    def _unusable(self, error: Exception) -> RecordError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return RecordError(
                f"{self.path} is damaged or no file of {self.what} ({error}): move it away together with its -wal and "
                "-shm files and put a backup in its place; `sqlite3 FILE .recover` may save what is in it"
            )
        if code == sqlite3.SQLITE_BUSY:
            return RecordError(f"{self.path} is kept busy by another program: close it, then try again")
        return RecordError(
            f"cannot use {self.path} ({error}): is the disk full or write-protected, or the folder not a local disk?"
        )


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that a path is on, such as ``ext4``; empty where that cannot be told."""
    real, best, kind = os.path.realpath(path), "", ""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        _, mount, found, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        if (real == mount or real.startswith(f"{mount.rstrip('/')}/")) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def _identity(connection: sqlite3.Connection) -> tuple[int, int, int]:
    # In one transaction: another process may be making the file right now.
    inside = connection.in_transaction
    if not inside:
        connection.execute("BEGIN")
    try:
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (n_tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    finally:
        if not inside:
            connection.rollback()
    return mark, version, n_tables
