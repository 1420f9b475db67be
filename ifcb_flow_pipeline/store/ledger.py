"""What the last looks at the archive and the tables found, kept so that the next need not look at everything.

One SQLite file that holds nothing that cannot be found again: where it is lost or damaged, or was made for other
settings, the next look starts from nothing. What is looked at, and when, is decided in ``store.survey``.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass
from datetime import date, datetime
from logging import Logger, getLogger
from pathlib import Path
from typing import TypeVar

from ifcb_flow_pipeline.bins.archive import FoundFile, likely_day
from ifcb_flow_pipeline.bins.left_out import LeftOut
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.archive import Archive, Inside
from ifcb_flow_pipeline.store.private import private_folder

_Result = TypeVar("_Result")

#: Rises when the tables below change; a ledger of another version is made anew.
_VERSION = 5

#: Stands for the day of files whose names state none.
UNDATED = date.min

#: Seconds to wait for another process that is writing. Nobody writes for longer than a moment.
_PATIENCE = 20.0

#: SQLite's codes for a file that is damaged, is no database, or has not our tables.
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_TABLES = """
CREATE TABLE made_for (settings TEXT);
CREATE TABLE directory (
    id INTEGER PRIMARY KEY, path BLOB UNIQUE, mtime_ns INTEGER, ctime_ns INTEGER, looked_ns INTEGER,
    newest_ns INTEGER, directories BLOB, links BLOB
);
CREATE TABLE holding (directory INTEGER, day TEXT, files BLOB, PRIMARY KEY (directory, day)) WITHOUT ROWID;
CREATE INDEX holding_by_day ON holding (day);
CREATE TABLE day (
    day TEXT PRIMARY KEY, signature TEXT, n_bins INTEGER, left_out TEXT, holds_until_ns INTEGER, newest_ns INTEGER,
    images TEXT, stale INTEGER
) WITHOUT ROWID;
CREATE INDEX stale_day ON day (stale);
CREATE TABLE footer (
    made_by TEXT, day TEXT, mtime_ns INTEGER, ctime_ns INTEGER, size INTEGER, signature TEXT, n_bins INTEGER,
    newest_ns INTEGER, PRIMARY KEY (made_by, day)
) WITHOUT ROWID;
CREATE TABLE mount (path BLOB PRIMARY KEY, device INTEGER) WITHOUT ROWID;
"""


class LedgerError(FlowError):
    """The ledger cannot be written; the message names it and the remedy."""


class _DamagedError(Exception):
    """What the ledger says makes no sense."""


@dataclass(frozen=True, slots=True)
class Visit:
    """What a directory was like when it was looked into.

    Times in nanoseconds since 1970: when it and its newest file were last changed, and when that was looked up.
    """

    mtime_ns: int
    ctime_ns: int
    looked_ns: int
    newest_ns: int
    inside: Inside


@dataclass(frozen=True, slots=True)
class DayEntry:
    """A day of the archive: the signature of its bins, until when that holds, how many there are.

    ``left_out``: its misplaced bins and misnamed files. ``newest_ns``: when the newest file of a bin was written.
    ``images``: the signature with the .roi files (see ``bins.archive.Signatures``). The day UNDATED has the files whose
    names state no day.
    """

    signature: str
    n_bins: int
    left_out: tuple[LeftOut, ...]
    holds_until_ns: int | None
    newest_ns: int = 0
    images: str = ""


@dataclass(frozen=True, slots=True)
class Footer:
    """What a day's table was made of, and which state of its file says so: signature and extent of the archive's
    files (see ``store.daily.Provenance``).
    """

    mtime_ns: int
    ctime_ns: int
    size: int
    signature: str | None
    n_bins: int = 0
    newest_ns: int = 0


def with_ledger(path: Path, archive: Archive, work: Callable[["Ledger"], _Result], log: Logger | None) -> _Result:
    """Do ``work`` with the ledger of this archive, from nothing where there is none or it is damaged.

    Raises LedgerError where it cannot be written.
    """
    made_for = json.dumps([os.fspath(archive.root), sorted(archive.exclude), archive.settle.total_seconds()])
    try:
        try:
            with _opened(path, made_for) as ledger:
                return work(ledger)
        except (sqlite3.DatabaseError, _DamagedError) as error:
            if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorcode & 0xFF not in _DAMAGED:
                raise
            (log or getLogger(__name__)).warning(
                f"{path} is damaged ({error}) and is made anew: the archive is looked through from the start"
            )
        _remove(path)
        with _opened(path, made_for) as ledger:
            return work(ledger)
    except sqlite3.DatabaseError as error:
        raise _unusable(path, error) from error


def first_known_day(path: Path) -> date | None:
    """The first day with bins by the ledger at ``path``; None where there is none, or it cannot be read now."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1.0)) as connection:
            (day,) = connection.execute("SELECT min(day) FROM day WHERE n_bins > 0").fetchone()
    except sqlite3.DatabaseError:
        return None
    return date.fromisoformat(day) if day else None


@dataclass(frozen=True, slots=True)
class Ledger:
    """The open ledger. Every method that writes does so whole or not at all, also beside other processes."""

    connection: sqlite3.Connection

    def directories(self) -> dict[str, Visit]:
        """Every known directory by its path in the archive, without its files."""
        rows = self.connection.execute(
            "SELECT path, mtime_ns, ctime_ns, looked_ns, newest_ns, directories, links FROM directory"
        )
        return {os.fsdecode(path): Visit(mtime_ns, ctime_ns, looked_ns, newest_ns, Inside(_names(inner), _names(links)))
                for path, mtime_ns, ctime_ns, looked_ns, newest_ns, inner, links in rows}  # fmt: skip

    def holders(self) -> set[str]:
        """The directories that have files of bins."""
        rows = self.connection.execute("SELECT path FROM directory WHERE id IN (SELECT directory FROM holding)")
        return {os.fsdecode(path) for (path,) in rows}

    def note_visits(self, visits: Mapping[str, Visit], now_ns: int) -> None:
        """Remember what directories held; the days for which that differs are stale from then on."""
        if not visits:
            return
        packed = {path: _packed(visit.inside.files) for path, visit in visits.items()}
        with self._writing():
            for path, visit in visits.items():
                self._note_visit(os.fsencode(path), visit, packed[path], now_ns)

    def forget(self, paths: Collection[str], before_ns: int) -> None:
        """Forget directories that are no more, unless another process looked into them after ``before_ns``."""
        if not paths:
            return
        with self._writing():
            for path in paths:
                found = self.connection.execute(
                    "SELECT id FROM directory WHERE path = ? AND looked_ns <= ?", (os.fsencode(path), before_ns)
                ).fetchone()
                if found:
                    self._change(found[0], {})
                    self.connection.execute("DELETE FROM directory WHERE id = ?", found)

    def stale_days(self, now_ns: int) -> list[date]:
        """The days whose entries do not hold (any more)."""
        rows = self.connection.execute("SELECT day FROM day WHERE stale OR holds_until_ns <= ? ORDER BY day", (now_ns,))
        return [date.fromisoformat(day) for (day,) in rows]

    def renew(self, days: Sequence[date], entry_of: Callable[[list[FoundFile]], DayEntry | None]) -> None:
        """Make the entries of days anew from the files that are known of them; None removes an entry."""
        with self._writing():
            for day in days:
                entry = entry_of(self.files(day))
                if entry is None:
                    self.connection.execute("DELETE FROM day WHERE day = ?", (day.isoformat(),))
                    continue
                self.connection.execute(
                    "INSERT OR REPLACE INTO day VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                    (day.isoformat(), entry.signature, entry.n_bins, _as_text(entry.left_out), entry.holds_until_ns,
                     entry.newest_ns, entry.images),
                )  # fmt: skip

    def days(self) -> dict[date, DayEntry]:
        """The entries of all days that have one, ascending."""
        rows = self.connection.execute(
            "SELECT day, signature, n_bins, left_out, holds_until_ns, newest_ns, images FROM day "
            "WHERE signature IS NOT NULL ORDER BY day"
        )
        return {
            date.fromisoformat(day): DayEntry(signature, n, _of_text(left_out), *when)
            for day, signature, n, left_out, *when in rows
        }

    def footers(self, made_by: str) -> dict[date, Footer]:
        """What is known of the files of a table; ``made_by`` is its name and version."""
        rows = self.connection.execute(
            "SELECT day, mtime_ns, ctime_ns, size, signature, n_bins, newest_ns FROM footer WHERE made_by = ?",
            (made_by,),
        )
        return {date.fromisoformat(day): Footer(*values) for day, *values in rows}

    def note_footers(self, made_by: str, footers: Mapping[date, Footer]) -> None:
        """Remember what files of a table were made of."""
        if not footers:
            return
        with self._writing():
            self.connection.executemany(
                "INSERT OR REPLACE INTO footer VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [(made_by, day.isoformat(), *astuple(f)) for day, f in footers.items()],
            )

    def mounts(self) -> dict[str, int]:
        """The directories that were last known to lie on another disk than the one above, and the disk's number."""
        return {os.fsdecode(path): device for path, device in self.connection.execute("SELECT path, device FROM mount")}

    def note_mounts(self, mounts: Mapping[str, int]) -> None:
        """Remember these as the only ones."""
        if mounts == self.mounts():
            return
        with self._writing():
            self.connection.execute("DELETE FROM mount")
            self.connection.executemany(
                "INSERT INTO mount VALUES (?, ?)", [(os.fsencode(path), device) for path, device in mounts.items()]
            )

    def _note_visit(self, path: bytes, visit: Visit, holdings: Mapping[str, bytes], now_ns: int) -> None:
        known = self.connection.execute("SELECT id, looked_ns FROM directory WHERE path = ?", (path,)).fetchone()
        # Another process may have looked later. One that looked in the future had a wrong clock.
        if known and visit.looked_ns < known[1] <= now_ns:
            return
        inside = visit.inside
        values = (visit.mtime_ns, visit.ctime_ns, visit.looked_ns, visit.newest_ns,
                  _joined(inside.directories), _joined(inside.links))  # fmt: skip
        (number,) = self.connection.execute(
            "INSERT OR REPLACE INTO directory VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (known[0] if known else None, path, *values),
        ).fetchone()
        self._change(number, holdings)

    def _change(self, number: int, holdings: Mapping[str, bytes]) -> None:
        known = dict(self.connection.execute("SELECT day, files FROM holding WHERE directory = ?", (number,)))
        gone = [day for day in known if day not in holdings]
        changed = {day: files for day, files in holdings.items() if known.get(day) != files}
        self.connection.executemany("DELETE FROM holding WHERE directory = ? AND day = ?", [(number, d) for d in gone])
        self.connection.executemany(
            "INSERT OR REPLACE INTO holding VALUES (?, ?, ?)", [(number, day, files) for day, files in changed.items()]
        )
        self.connection.executemany(
            "INSERT INTO day (day, stale) VALUES (?, 1) ON CONFLICT (day) DO UPDATE SET stale = 1",
            [(day,) for day in (*gone, *changed)],
        )

    def files(self, day: date) -> list[FoundFile]:
        """The files that are known of a day."""
        rows = self.connection.execute(
            "SELECT path, files FROM holding JOIN directory ON directory = id WHERE day = ?",
            (day.isoformat(),),
        )
        return [file for path, files in rows for file in _unpacked(os.fsdecode(path), files)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # IMMEDIATE: what is read in here is not changed by others before it is written.
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.rollback()
            raise
        self.connection.commit()


@contextmanager
def _opened(path: Path, made_for: str) -> Iterator[Ledger]:
    try:
        private_folder(path.parent)
    except OSError as error:
        raise _unusable(path, error) from error
    with closing(sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)) as connection:
        if _settings(connection) != made_for:
            _start_anew(connection, made_for)
        yield Ledger(connection)


def _settings(connection: sqlite3.Connection) -> str | None:
    if connection.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
        return None
    row = connection.execute("SELECT settings FROM made_for").fetchone()
    return row[0] if row else None


def _start_anew(connection: sqlite3.Connection, made_for: str) -> None:
    connection.execute("BEGIN IMMEDIATE")
    if _settings(connection) == made_for:
        connection.rollback()  # another process was faster
        return
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    for (name,) in tables:
        connection.execute(f'DROP TABLE "{name}"')
    for statement in filter(str.strip, _TABLES.split(";")):
        connection.execute(statement)
    connection.execute("INSERT INTO made_for VALUES (?)", (made_for,))
    connection.execute(f"PRAGMA user_version = {_VERSION}")
    connection.commit()


def _remove(path: Path) -> None:
    # The journal first: left behind, it would be rolled back into the next ledger.
    try:
        path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
    except OSError as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> LedgerError:
    return LedgerError(
        f"cannot use {path} ({error}): is the disk full or write-protected, or another process stuck? "
        f"The file can be removed; it is made anew"
    )


def _packed(files: Iterable[FoundFile]) -> dict[str, bytes]:
    """The files of bins by day, as compressed text; those whose names state no day under UNDATED."""
    lines: dict[date, list[str]] = {}
    for file in sorted(files, key=lambda file: file.name):
        day = likely_day(file.name[:-4]) or UNDATED
        # Who has no day is only ever shown.
        name = file.name if file.name.isprintable() else file.name.encode("unicode_escape").decode()
        lines.setdefault(day, []).append(f"{name}\t{file.size}\t{file.mtime_ns}")
    return {day.isoformat(): zlib.compress("\n".join(of_day).encode(), level=1) for day, of_day in lines.items()}


def _unpacked(directory: str, packed: bytes) -> Iterator[FoundFile]:
    try:
        for line in zlib.decompress(packed).decode().split("\n"):
            name, size, mtime_ns = line.split("\t")
            yield FoundFile(directory, name, int(size), int(mtime_ns))
    except (zlib.error, ValueError) as error:
        raise _DamagedError(f"the files of {directory}: {error}") from error


def _as_text(left_out: Iterable[LeftOut]) -> str:
    rows = [(*_cells(one), one.start_time and one.start_time.isoformat()) for one in left_out]
    return json.dumps(rows) if rows else ""


def _of_text(text: str) -> tuple[LeftOut, ...]:
    try:
        rows = json.loads(text) if text else []
        return tuple(
            LeftOut(pid, instrument, datetime.fromisoformat(start) if start else None, path, status, reason)
            for pid, instrument, path, status, reason, start in rows
        )
    except (ValueError, TypeError) as error:
        raise _DamagedError(f"what is left out: {error}") from error


def _cells(one: LeftOut) -> tuple[str, str | None, str, str, str]:
    return one.pid, one.instrument, one.path, one.status, one.reason


def _joined(names: Iterable[str]) -> bytes:
    return b"/".join(os.fsencode(name) for name in names)


def _names(joined: bytes) -> tuple[str, ...]:
    return tuple(os.fsdecode(name) for name in joined.split(b"/")) if joined else ()
