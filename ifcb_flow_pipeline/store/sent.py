"""What was sent to IFCB dashboards: only ever added to, like the decisions that it follows from.

A dashboard does not tell who skipped a bin. This record is the only way to know which skips are ours, so that the
skips of others are never lifted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from ifcb_flow_pipeline.store.records import RecordFile

#: The dashboard's words for whether a bin is skipped; an empty cell leaves the bin as it is.
SkipWord = Literal["skip", "noskip", ""]

#: The name of the file in the data folder, beside the decisions.
SENT_FILE = "handed_over.sqlite"

_TABLES = {
    "sent": "pid TEXT NOT NULL, dashboard TEXT NOT NULL, label INTEGER, skip TEXT NOT NULL, tags TEXT NOT NULL, "
    "comment TEXT NOT NULL, at TEXT NOT NULL",
    "read_back": "sent INTEGER NOT NULL REFERENCES sent (id), at TEXT NOT NULL",
}


@dataclass(frozen=True, slots=True)
class Row:
    """What a dashboard is to be told about a bin.

    ``label``: number of the decision about this bin; None where it is about a range, or was withdrawn.
    """

    pid: str
    label: int | None
    skip: SkipWord
    tags: tuple[str, ...]
    comment: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A row that was sent. ``at``: when, with time zone. ``confirmed``: whether it was seen on the dashboard since."""

    id: int
    row: Row
    at: datetime
    confirmed: bool


@dataclass(frozen=True, slots=True)
class SentStore:
    """The rows sent, in the file ``path``. Where there is none, reading gives nothing; the first row makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def add(self, dashboard: str, rows: Sequence[Row], at: datetime) -> list[int]:
        """Keep that these rows are being sent to this address, all or none of them; returns their numbers."""
        with self._file.adding() as connection:
            return [
                connection.execute(
                    "INSERT INTO sent (pid, dashboard, label, skip, tags, comment, at) VALUES (?, ?, ?, ?, ?, ?, ?) "
                    "RETURNING id",
                    (row.pid, dashboard, row.label, row.skip, " ".join(row.tags), row.comment, at.isoformat()),
                ).fetchone()[0]
                for row in rows
            ]

    def confirm(self, ids: Sequence[int], at: datetime) -> None:
        """Keep that these rows were seen on the dashboard."""
        if not ids:
            return
        with self._file.adding() as connection:
            for number in ids:
                connection.execute("INSERT INTO read_back (sent, at) VALUES (?, ?)", (number, at.isoformat()))

    def rows(self, dashboard: str) -> list[Sent]:
        """All rows that were sent to this address, oldest first."""
        with self._file.reading() as connection:
            if connection is None:
                return []
            found = connection.execute(
                "SELECT id, pid, label, skip, tags, comment, at, id IN (SELECT sent FROM read_back) "
                "FROM sent WHERE dashboard = ? ORDER BY id",
                (dashboard,),
            )
            return [_sent(row) for row in found]

    @property
    def _file(self) -> RecordFile:
        # The mark spells IFCH.
        return RecordFile(self.path, 0x49464348, 1, _TABLES, "rows sent to dashboards")


def _sent(values: Iterable) -> Sent:
    number, pid, label, skip, tags, comment, at, confirmed = values
    row = Row(pid, label, skip, tuple(tags.split()), comment)
    return Sent(number, row, datetime.fromisoformat(at), bool(confirmed))
