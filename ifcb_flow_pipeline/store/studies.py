"""Blind studies: which bins are shown, and what each reviewer said of them. Only ever added to, like decisions.

A study is fixed when it begins: its items, and what the model said of each at that time. Ratings are kept one by one,
so a study can be left and resumed at any moment, by any number of reviewers.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from ifcb_flow_pipeline.store.labels import MAX_NOTE, MAX_REVIEWER, Decision
from ifcb_flow_pipeline.store.records import RecordError, RecordFile

#: ``blind``: with everything hidden. ``again``: of a disputed bin, looked at again with everything shown.
Round = Literal["blind", "again"]

MAX_NAME = 100

#: The name under which the model stands among the reviewers of a study: nobody else may have it.
MODEL = "the model"

#: Longer pauses are no time of thinking.
MAX_SECONDS = 60.0

_TABLES = {
    "study": "name TEXT NOT NULL, seed INTEGER NOT NULL, creator TEXT NOT NULL, created TEXT NOT NULL",
    "item": "study INTEGER NOT NULL REFERENCES study (id), pid TEXT NOT NULL, stratum TEXT NOT NULL, "
    "weight REAL NOT NULL, verdict TEXT NOT NULL, severity REAL NOT NULL, cause TEXT NOT NULL, "
    "repeat_of INTEGER REFERENCES item (id)",
    "rating": "item INTEGER NOT NULL REFERENCES item (id), reviewer TEXT NOT NULL, round TEXT NOT NULL, "
    "decision TEXT NOT NULL, cause TEXT NOT NULL, note TEXT NOT NULL, seconds REAL NOT NULL, at TEXT NOT NULL",
    # How bad the reviewer finds the bin, 0 to 100, of the ratings that say so.
    "mark": "rating INTEGER NOT NULL REFERENCES rating (id), mark INTEGER NOT NULL",
    "withdrawal": "rating INTEGER NOT NULL REFERENCES rating (id), reviewer TEXT NOT NULL, at TEXT NOT NULL",
}

_STANDING = "rating.id NOT IN (SELECT rating FROM withdrawal)"


class StudyError(RecordError):
    """A study or rating that cannot be kept; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Study:
    """A study. ``seed``: of the sample. ``created``: when, with time zone."""

    id: int
    name: str
    seed: int
    creator: str
    created: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """A showing of a bin. ``id``: its number, None before the study is kept.

    ``verdict``, ``severity`` and ``cause`` are what the model said when the study was made. ``weight``: bins that it
    stands for. ``repeat_of``: before the study is kept, the place of the first showing among the items; afterwards
    that item's number; None for a first showing.
    """

    pid: str
    stratum: str
    weight: float
    verdict: str
    severity: float
    cause: str
    repeat_of: int | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """What a reviewer said of an item: the decision, the suspected cause (empty: none named) and a note.

    ``seconds``: time to decide, at most MAX_SECONDS count. ``at``: when, with time zone. ``mark``: how bad the bin is,
    0 surely good, 100 surely bad, None if that was not said. ``id``: its number in the store, None before it is kept.
    Raises StudyError for one that cannot be kept.
    """

    item: int
    reviewer: str
    round: Round
    decision: Decision
    seconds: float
    at: datetime
    cause: str = ""
    note: str = ""
    id: int | None = None
    mark: int | None = None

    def __post_init__(self) -> None:
        if self.mark is not None and not 0 <= self.mark <= 100:
            raise StudyError(f"{self.mark} is no rating from 0, surely good, to 100, surely bad")
        if self.decision not in get_args(Decision) or self.round not in get_args(Round):
            raise StudyError(f"{self.decision!r} in round {self.round!r} is no rating")
        if self.reviewer.strip().lower() == MODEL:
            raise StudyError(f"nobody can rate as {self.reviewer!r}: give another name")
        if not 0 < len(self.reviewer.strip()) <= MAX_REVIEWER or len(self.note) > MAX_NOTE:
            raise StudyError(
                f"a rating needs a name of at most {MAX_REVIEWER} and a note of at most {MAX_NOTE} letters"
            )


@dataclass(frozen=True, slots=True)
class StudyStore:
    """The studies in the file ``path``. Where there is none, reading gives nothing; the first study makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def begin(self, name: str, seed: int, items: Sequence[Item], creator: str, created: datetime) -> int:
        """Keep a new study with its items; returns its number. Raises StudyError for a name without letters."""
        name = " ".join(name.split())
        if not 0 < len(name) <= MAX_NAME:
            raise StudyError(f"the name of a study must have 1 to {MAX_NAME} letters")
        with self._file.adding() as connection:
            values = (name, seed, creator, created.isoformat())
            study = _insert(connection, "study", "name, seed, creator, created", values)
            numbers: list[int] = []
            for item in items:
                repeat_of = None if item.repeat_of is None else numbers[item.repeat_of]
                columns = "study, pid, stratum, weight, verdict, severity, cause, repeat_of"
                values = (
                    study,
                    item.pid,
                    item.stratum,
                    item.weight,
                    item.verdict,
                    item.severity,
                    item.cause,
                    repeat_of,
                )
                numbers.append(_insert(connection, "item", columns, values))
        return study

    def studies(self) -> list[Study]:
        """All studies, newest first."""
        rows = self._rows("SELECT id, name, seed, creator, created FROM study ORDER BY id DESC")
        return [
            Study(number, name, seed, creator, datetime.fromisoformat(created))
            for number, name, seed, creator, created in rows
        ]

    def items(self, study: int) -> list[Item]:
        """The items of a study in the order of its sample; none where there is no such study."""
        columns = "pid, stratum, weight, verdict, severity, cause, repeat_of, id"
        return [Item(*row) for row in self._rows(f"SELECT {columns} FROM item WHERE study = ? ORDER BY id", study)]  # noqa: S608 - constants

    def rate(self, rating: Rating) -> int:
        """Keep a rating; returns its number. Raises RecordError where there is no such item."""
        columns = "item, reviewer, round, decision, cause, note, seconds, at"
        values = (rating.item, rating.reviewer.strip(), rating.round, rating.decision, rating.cause, rating.note,
                  min(rating.seconds, MAX_SECONDS), rating.at.isoformat())  # fmt: skip
        with self._file.adding() as connection:
            number = _insert(connection, "rating", columns, values)
            if rating.mark is not None:
                _insert(connection, "mark", "rating, mark", (number, rating.mark))
            return number

    def withdraw(self, rating: int, reviewer: str, at: datetime) -> None:
        """Take a rating back: the item is to be rated again, or the rating before counts."""
        with self._file.adding() as connection:
            _insert(connection, "withdrawal", "rating, reviewer, at", (rating, reviewer, at.isoformat()))

    def ratings(self, study: int) -> list[Rating]:
        """The ratings of a study that were not withdrawn, oldest first."""
        columns = "item, reviewer, round, decision, seconds, at, rating.cause, note, rating.id"
        with self._file.reading() as connection:
            if connection is None:
                return []
            rows = connection.execute(
                f"SELECT {columns} FROM rating JOIN item ON item.id = item WHERE study = ? AND {_STANDING} "  # noqa: S608 - constants
                "ORDER BY rating.id",
                (study,),
            ).fetchall()
            marks = dict(connection.execute("SELECT rating, mark FROM mark")) if _has_marks(connection) else {}
        return [_rating(row, marks.get(row[-1])) for row in rows]

    @property
    def _file(self) -> RecordFile:
        # The mark spells IFCS.
        return RecordFile(self.path, 0x49464353, 2, _TABLES, "studies", earlier=(1,))

    def _rows(self, query: str, *values: object) -> list[tuple]:
        with self._file.reading() as connection:
            return [] if connection is None else connection.execute(query, values).fetchall()


def _insert(connection: sqlite3.Connection, table: str, columns: str, values: Sequence[object]) -> int:
    places = ", ".join("?" * len(values))
    query = f"INSERT INTO {table} ({columns}) VALUES ({places}) RETURNING id"  # noqa: S608 - constants
    return connection.execute(query, values).fetchone()[0]


def _has_marks(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'mark'").fetchone() is not None


def _rating(row: Iterable, mark: int | None) -> Rating:
    item, reviewer, round_, decision, seconds, at, cause, note, number = row
    return Rating(item, reviewer, round_, decision, seconds, datetime.fromisoformat(at), cause, note, number, mark)
