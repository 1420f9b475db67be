"""People's decisions about bins: who decided what about which bin, when, and why.

Decisions are only ever added. The latest one about a bin that was not withdrawn counts; the others remain as its
history, so two people who decide about the same bin at the same moment lose nothing.
"""

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.store.records import RecordError, RecordFile

Decision = Literal["good", "bad", "unsure"]
Source = Literal["triage", "study", "import"]

#: What can be decided about a bin, and what follows from it.
DECISIONS: Mapping[Decision, str] = {
    "good": "the data can be used",
    "bad": "the data are not to be used",
    "unsure": "looked at, but undecided: somebody else should look",
}

#: Operators' words for what is wrong with a run, and what they mean by them.
TAGS: Mapping[str, str] = {
    "bubbles": "air in the flow cell",
    "clog": "the flow stopped or slowed during the run",
    "incomplete": "the run was aborted or ended early",
    "stuck_roi": "the same spot was imaged again and again: dirt or a scratch on the glass",
    "bad_alignment": "laser or camera out of place",
    "bad_focus": "images are blurred",
    "sheath_flow": "the core is too wide or has moved: weak sheath flow, pump or needle",
    "noise": "triggers without a particle: thresholds or electronics",
    "contaminated": "something that was not in the water",
    "soap": "detergent of a cleaning cycle in the sample",
    "flush": "a flush or cleaning run, no sample",
    "beads": "a bead run among the samples",
    "no_sample": "nothing was drawn in: valve, syringe or intake",
    "custom": "run with other triggers or another volume on purpose",
    "time_offset": "the clock of the instrument was wrong",
    "corrupted": "the files are damaged",
    "bloom": "so many cells that the run looks unusual; no fault",
    "questionable": "something is odd; the cause is not known",
}

MAX_NOTE = 2000
MAX_REVIEWER = 80

_TAG = re.compile(r"(?!\d+$)[a-z0-9_]{1,40}", re.ASCII)

_TABLES = {
    "label": "pid TEXT NOT NULL, decision TEXT NOT NULL, tags TEXT NOT NULL, note TEXT NOT NULL, "
    "reviewer TEXT NOT NULL, at TEXT NOT NULL, source TEXT NOT NULL",
    "withdrawal": "label INTEGER NOT NULL REFERENCES label (id), reviewer TEXT NOT NULL, at TEXT NOT NULL",
}

_STANDING = "id NOT IN (SELECT label FROM withdrawal)"
_COLUMNS = "pid, decision, tags, note, reviewer, at, source, id"


class LabelError(RecordError):
    """A decision that cannot be kept; the message names what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Label:
    """One person's decision about one bin.

    ``tags``: of lower-case letters, digits and underscores, not only digits, as the IFCB dashboard takes them; TAGS
    has the usual ones. ``at``: when it was made, with time zone. ``source``: where it was made. ``id``: its number in
    the store, None before it is kept. Raises LabelError, naming the value, for one that cannot be kept.
    """

    pid: str
    decision: Decision
    tags: tuple[str, ...]
    note: str
    reviewer: str
    at: datetime
    source: Source
    id: int | None = None

    def __post_init__(self) -> None:
        try:
            parse_pid(self.pid)
        except InvalidPidError as error:
            raise LabelError(str(error)) from error
        _check_choice("decision", self.decision, get_args(Decision))
        _check_choice("source", self.source, get_args(Source))
        for tag in self.tags:
            if not _TAG.fullmatch(tag):
                raise LabelError(f"the tag {tag!r} must be lower-case letters, digits and _, and not digits alone")
        _check_length("note", self.note, 0, MAX_NOTE)
        _check_length("reviewer's name", self.reviewer.strip(), 1, MAX_REVIEWER)
        if self.at.tzinfo is None:
            raise LabelError(f"the time {self.at} of a decision must have a time zone")


@dataclass(frozen=True, slots=True)
class LabelStore:
    """The decisions in the file ``path``. Where there is none, reading gives nothing; the first decision makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def add(self, labels: Sequence[Label]) -> list[int]:
        """Keep these decisions, all or none of them; returns their numbers."""
        if not labels:
            return []
        with self._file.adding() as connection:
            return [_insert(connection, label) for label in labels]

    def withdraw(self, ids: Sequence[int], reviewer: str, at: datetime) -> None:
        """Take decisions back: those before them count again. Raises LabelError for an unknown number."""
        with self._file.adding() as connection:
            for number in ids:
                if not connection.execute("SELECT 1 FROM label WHERE id = ?", (number,)).fetchone():
                    raise LabelError(f"{self.path} has no decision number {number}")
                connection.execute(
                    "INSERT INTO withdrawal (label, reviewer, at) VALUES (?, ?, ?)", (number, reviewer, at.isoformat())
                )

    def current(self) -> dict[str, Label]:
        """The decision that counts for each bin that has one: the latest kept that was not withdrawn."""
        query = f"SELECT {_COLUMNS} FROM label WHERE id IN (SELECT max(id) FROM label WHERE {_STANDING} GROUP BY pid)"  # noqa: S608 - constants
        return {label.pid: label for label in self._labels(query)}

    def history(self, pid: str) -> list[Label]:
        """All decisions about a bin that were not withdrawn, oldest first."""
        return self._labels(f"SELECT {_COLUMNS} FROM label WHERE {_STANDING} AND pid = ? ORDER BY id", pid)  # noqa: S608 - constants

    def latest_of(self, reviewer: str) -> list[Label]:
        """The decisions that a reviewer made last, at one moment, and that were not withdrawn; none where all were."""
        query = (
            f"SELECT {_COLUMNS} FROM label WHERE {_STANDING} AND reviewer = ?1 AND at = (SELECT at FROM label "  # noqa: S608 - constants
            f"WHERE {_STANDING} AND reviewer = ?1 ORDER BY id DESC LIMIT 1) ORDER BY id"
        )
        return self._labels(query, reviewer)

    def decisions(self) -> dict[str, Decision]:
        """What counts for each bin that has been decided about, by pid."""
        return {pid: label.decision for pid, label in self.current().items()}

    @property
    def _file(self) -> RecordFile:
        # The mark spells IFCL.
        return RecordFile(self.path, 0x4946434C, 1, _TABLES, "decisions")

    def _labels(self, query: str, *values: object) -> list[Label]:
        with self._file.reading() as connection:
            return [] if connection is None else [_label(row) for row in connection.execute(query, values)]


def _insert(connection: sqlite3.Connection, label: Label) -> int:
    values = (label.pid, label.decision, " ".join(label.tags), label.note, label.reviewer.strip(),
              label.at.isoformat(), label.source)  # fmt: skip
    (number,) = connection.execute(
        "INSERT INTO label (pid, decision, tags, note, reviewer, at, source) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        values,
    ).fetchone()
    return number


def _label(row: Iterable) -> Label:
    pid, decision, tags, note, reviewer, at, source, number = row
    return Label(pid, decision, tuple(tags.split()), note, reviewer, datetime.fromisoformat(at), source, number)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise LabelError(f"the {name} is {value!r}; it must be one of {', '.join(choices)}")


def _check_length(name: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise LabelError(f"the {name} must have {least} to {most} characters, not {len(text)}")
