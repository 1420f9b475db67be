"""People's decisions about bins: who decided what about which bin, when, and why.

Decisions are only ever added. The latest one about a bin that was not withdrawn counts; the others remain as its
history, so two people who decide about the same bin at the same moment lose nothing.

A decision may also be about all bins of an instrument in a range of time, those that arrive later included. It is kept
as a range and counts for the bins in it that nobody decided about one by one; of several ranges, the latest kept does.
"""

import re
import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
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
    "context": "a lab test, maintenance or cleaning: not to be used, but no fault; nothing is learnt from it",
}

#: The tag of decisions that say nothing about the instrument.
CONTEXT = "context"

MAX_NOTE = 2000
MAX_REVIEWER = 80

_INSTRUMENT = re.compile(r"IFCB\d+", re.ASCII)
_TAG = re.compile(r"(?!\d+$)[a-z0-9_]{1,40}", re.ASCII)

_TABLES = {
    "label": "pid TEXT NOT NULL, decision TEXT NOT NULL, tags TEXT NOT NULL, note TEXT NOT NULL, "
    "reviewer TEXT NOT NULL, at TEXT NOT NULL, source TEXT NOT NULL",
    "withdrawal": "label INTEGER NOT NULL REFERENCES label (id), reviewer TEXT NOT NULL, at TEXT NOT NULL",
    "range_label": "instrument TEXT NOT NULL, first TEXT NOT NULL, until TEXT NOT NULL, decision TEXT NOT NULL, "
    "tags TEXT NOT NULL, note TEXT NOT NULL, reviewer TEXT NOT NULL, at TEXT NOT NULL",
    "range_withdrawal": "label INTEGER NOT NULL REFERENCES range_label (id), reviewer TEXT NOT NULL, at TEXT NOT NULL",
    # What people say of single images: ``image_labels`` reads and writes these two.
    "image_label": "pid TEXT NOT NULL, roi INTEGER NOT NULL, kind TEXT NOT NULL, label TEXT NOT NULL, "
    "reviewer TEXT NOT NULL, at TEXT NOT NULL",
    "image_withdrawal": "label INTEGER NOT NULL REFERENCES image_label (id), reviewer TEXT NOT NULL, at TEXT NOT NULL",
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
        _check_choice("source", self.source, get_args(Source))
        _check_said(self)


@dataclass(frozen=True, slots=True)
class RangeLabel:
    """One person's decision about all bins of an instrument that start from ``first`` on and before ``until``.

    The other values are as of Label. Raises LabelError, naming the value, for one that cannot be kept.
    """

    instrument: str
    first: datetime
    until: datetime
    decision: Decision
    tags: tuple[str, ...]
    note: str
    reviewer: str
    at: datetime
    id: int | None = None

    def __post_init__(self) -> None:
        if not _INSTRUMENT.fullmatch(self.instrument):
            raise LabelError(f"the instrument is {self.instrument!r}; it must be such as IFCB134")
        if not self.first < self.until:
            raise LabelError(f"the range of {self.name} ends before it begins")
        _check_said(self)

    @property
    def name(self) -> str:
        """The range for people."""
        last = self.until - timedelta(seconds=1)
        return f"{self.instrument} from {self.first:%Y-%m-%dT%H:%M:%S} to {last:%Y-%m-%dT%H:%M:%S}"

    def about(self, pid: str) -> Label:
        """The decision as one about this bin."""
        return Label(pid, self.decision, self.tags, self.note, self.reviewer, self.at, "import")


class Decisions(Mapping[str, Decision]):
    """What counts for each bin, by pid: the decision about the bin itself, else that of the latest range it lies in.

    Any bin may be asked about, also one that came after the decision. Ranges have no end of bins: iteration and
    length are those of ``own``, the decisions about single bins.
    """

    def __init__(self, own: Mapping[str, Label] | None = None, ranges: Sequence[RangeLabel] = ()) -> None:
        self.own: Mapping[str, Label] = own or {}
        self.ranges = tuple(ranges)
        self._by_instrument = {
            name: _Winners.of([one for one in self.ranges if one.instrument == name])
            for name in {one.instrument for one in self.ranges}
        }

    def __getitem__(self, pid: str) -> Decision:
        label = self.label(pid)
        if label is None:
            raise KeyError(pid)
        return label.decision

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)

    def __bool__(self) -> bool:
        return bool(self.own or self.ranges)

    def label(self, pid: str) -> Label | None:
        """The decision that counts for a bin, with who made it and why; None where there is none."""
        if pid in self.own:
            return self.own[pid]
        found = self.range_of(pid)
        return found.about(pid) if found else None

    def range_of(self, pid: str) -> RangeLabel | None:
        """The latest kept range that a bin lies in; None where it lies in none, or is no bin."""
        if not self._by_instrument:
            return None
        try:
            bin_id = parse_pid(pid)
        except InvalidPidError:
            return None
        winners = self._by_instrument.get(bin_id.instrument)
        return winners.at(bin_id.start_time) if winners else None

    def resolved(self, pids: Iterable[str]) -> dict[str, Label]:
        """The decisions about single bins, and about those of these bins that lie in a range."""
        found = {pid: label for pid in pids if pid not in self.own and (label := self.label(pid))}
        return {**self.own, **found}

    def context(self, pids: Iterable[str]) -> list[str]:
        """The bins among these whose decision says nothing about the instrument."""
        return [pid for pid in pids if (label := self.label(pid)) and CONTEXT in label.tags]

    def unmatched(self, pids: Iterable[str]) -> list[str]:
        """The bins and ranges, as people know them, of the decisions that are about none of these bins."""
        known = set(pids)
        hit = {id(one) for pid in known for one in self._ranges_at(pid)} if self.ranges else set()
        singles = [pid for pid in self.own if pid not in known]
        return [*singles, *(one.name for one in self.ranges if id(one) not in hit)]

    def _ranges_at(self, pid: str) -> list[RangeLabel]:
        winner = self.range_of(pid)
        if winner is None:
            return []
        start = parse_pid(pid).start_time
        return [one for one in self.ranges if one.instrument == winner.instrument and one.first <= start < one.until]


@dataclass(frozen=True, slots=True)
class _Winners:
    """Which range counts when: ``ranges[i]`` from ``times[i]`` on, up to the next time."""

    times: list[datetime]
    ranges: list[RangeLabel | None]

    @classmethod
    def of(cls, ranges: Sequence[RangeLabel]) -> "_Winners":
        times = sorted({time for one in ranges for time in (one.first, one.until)})
        winners: list[RangeLabel | None] = [None] * len(times)
        for one in ranges:  # the latest kept comes last, and takes the place of others
            first, until = bisect_left(times, one.first), bisect_left(times, one.until)
            winners[first:until] = [one] * (until - first)
        return cls(times, winners)

    def at(self, start: datetime) -> RangeLabel | None:
        place = bisect_right(self.times, start) - 1
        return self.ranges[place] if place >= 0 else None


@dataclass(frozen=True, slots=True)
class LabelStore:
    """The decisions in the file ``path``. Where there is none, reading gives nothing; the first decision makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def add(self, labels: Sequence[Label], ranges: Sequence[RangeLabel] = ()) -> list[int]:
        """Keep these decisions, all or none of them; returns the numbers of those about single bins."""
        if not (labels or ranges):
            return []
        with self._file.adding() as connection:
            for one in ranges:
                _insert_range(connection, one)
            return [_insert(connection, label) for label in labels]

    def withdraw_range(self, number: int, reviewer: str, at: datetime) -> None:
        """Take a decision about a range back. Raises LabelError for an unknown number."""
        with self._file.adding() as connection:
            if not connection.execute("SELECT 1 FROM range_label WHERE id = ?", (number,)).fetchone():
                raise LabelError(f"{self.path} has no range number {number}")
            connection.execute(
                "INSERT INTO range_withdrawal (label, reviewer, at) VALUES (?, ?, ?)",
                (number, reviewer, at.isoformat()),
            )

    def ranges(self) -> list[RangeLabel]:
        """The decisions about ranges that were not withdrawn, oldest first."""
        with self._file.reading() as connection:
            if connection is None or not _has_ranges(connection):
                return []
            rows = connection.execute(
                "SELECT instrument, first, until, decision, tags, note, reviewer, at, id FROM range_label "
                "WHERE id NOT IN (SELECT label FROM range_withdrawal) ORDER BY id"
            )
            return [_range_label(row) for row in rows]

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
        """The decision that counts for each bin that has one of its own: the latest kept that was not withdrawn."""
        query = f"SELECT {_COLUMNS} FROM label WHERE id IN (SELECT max(id) FROM label WHERE {_STANDING} GROUP BY pid)"  # noqa: S608 - constants
        return {label.pid: label for label in self._labels(query)}

    def history(self, pid: str) -> list[Label]:
        """All decisions about a bin that were not withdrawn: that of a range it lies in, then its own, oldest first."""
        found = Decisions(ranges=self.ranges()).label(pid)
        own = self._labels(f"SELECT {_COLUMNS} FROM label WHERE {_STANDING} AND pid = ? ORDER BY id", pid)  # noqa: S608 - constants
        return [found, *own] if found else own

    def latest_of(self, reviewer: str) -> list[Label]:
        """The decisions that a reviewer made last, at one moment, and that were not withdrawn; none where all were."""
        query = (
            f"SELECT {_COLUMNS} FROM label WHERE {_STANDING} AND reviewer = ?1 AND at = (SELECT at FROM label "  # noqa: S608 - constants
            f"WHERE {_STANDING} AND reviewer = ?1 ORDER BY id DESC LIMIT 1) ORDER BY id"
        )
        return self._labels(query, reviewer)

    def decisions(self) -> Decisions:
        """What counts for each bin that has been decided about, by itself or within a range."""
        return Decisions(self.current(), self.ranges())

    @property
    def _file(self) -> RecordFile:
        return decision_file(self.path)

    def _labels(self, query: str, *values: object) -> list[Label]:
        with self._file.reading() as connection:
            return [] if connection is None else [_label(row) for row in connection.execute(query, values)]


def decision_file(path: Path) -> RecordFile:
    """The file of people's decisions about bins and of their labels of images."""
    # The mark spells IFCL.
    return RecordFile(path, 0x4946434C, 3, _TABLES, "decisions", earlier=(1, 2))


def _insert(connection: sqlite3.Connection, label: Label) -> int:
    values = (label.pid, label.decision, " ".join(label.tags), label.note, label.reviewer.strip(),
              label.at.isoformat(), label.source)  # fmt: skip
    (number,) = connection.execute(
        "INSERT INTO label (pid, decision, tags, note, reviewer, at, source) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        values,
    ).fetchone()
    return number


def _insert_range(connection: sqlite3.Connection, one: RangeLabel) -> None:
    connection.execute(
        "INSERT INTO range_label (instrument, first, until, decision, tags, note, reviewer, at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (one.instrument, one.first.isoformat(), one.until.isoformat(), one.decision, " ".join(one.tags), one.note,
         one.reviewer.strip(), one.at.isoformat()),
    )  # fmt: skip


def _has_ranges(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'range_label'").fetchone() is not None


def _range_label(row: Iterable) -> RangeLabel:
    instrument, first, until, decision, tags, note, reviewer, at, number = row
    first, until, at = map(datetime.fromisoformat, (first, until, at))
    return RangeLabel(instrument, first, until, decision, tuple(tags.split()), note, reviewer, at, number)


def _label(row: Iterable) -> Label:
    pid, decision, tags, note, reviewer, at, source, number = row
    return Label(pid, decision, tuple(tags.split()), note, reviewer, datetime.fromisoformat(at), source, number)


def _check_said(label: Label | RangeLabel) -> None:
    _check_choice("decision", label.decision, get_args(Decision))
    for tag in label.tags:
        if not _TAG.fullmatch(tag):
            raise LabelError(f"the tag {tag!r} must be lower-case letters, digits and _, and not digits alone")
    _check_length("note", label.note, 0, MAX_NOTE)
    _check_length("reviewer's name", label.reviewer.strip(), 1, MAX_REVIEWER)
    if label.at.tzinfo is None:
        raise LabelError(f"the time {label.at} of a decision must have a time zone")


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise LabelError(f"the {name} is {value!r}; it must be one of {', '.join(choices)}")


def _check_length(name: str, text: str, least: int, most: int) -> None:
    if not least <= len(text) <= most:
        raise LabelError(f"the {name} must have {least} to {most} characters, not {len(text)}")
