"""Which alerts were decided on and delivered, and which of them people acknowledged: only ever added to.

A message is kept before it is sent, and each of its deliveries as soon as it is made. So no restart loses a message,
and none sends one again but the delivery that it interrupted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from ifcb_flow_pipeline.store.records import RecordFile

#: The name of the file in the data folder, beside the decisions.
ALERTS_FILE = "alerts.sqlite"

#: What a message is for. ``opened`` begins a topic and ``recovered`` ends it; the digest is a topic of its own.
Kind = Literal["opened", "cause changed", "reminder", "escalation", "recovered", "digest"]

#: The people of the first list hear of everything, those of the second of what nobody acknowledged.
Audience = Literal["first", "second"]

_TABLES = {
    "message": "topic TEXT NOT NULL, kind TEXT NOT NULL, cause TEXT NOT NULL, since TEXT NOT NULL, "
    "until TEXT NOT NULL, audience TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, channels TEXT NOT NULL, "
    "at TEXT NOT NULL",
    "delivered": "message INTEGER NOT NULL REFERENCES message (id), channel TEXT NOT NULL, at TEXT NOT NULL",
    "acknowledged": "message INTEGER NOT NULL REFERENCES message (id), who TEXT NOT NULL, at TEXT NOT NULL",
    "noticed": "topic TEXT NOT NULL, detail TEXT NOT NULL, at TEXT NOT NULL",
}


@dataclass(frozen=True, slots=True)
class Message:
    """An alert in words.

    ``topic``: what it is about, such as ``fault IFCB134``. ``since``, ``until`` (aware): the first and the last sign of
    it that were known. ``audience``: who is to get it.
    """

    topic: str
    kind: Kind
    cause: str
    since: datetime
    until: datetime
    audience: tuple[Audience, ...]
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A message that was decided on at ``at``. ``channels``: those that it is to be delivered to."""

    id: int
    message: Message
    channels: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class Noticed:
    """What was last noticed of a topic, which is nothing where ``detail`` is empty, and when it was first so."""

    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class AlertLog:
    """All messages, oldest first; the ids of those that were acknowledged; what was noticed, by topic."""

    messages: tuple[Kept, ...] = ()
    acknowledged: frozenset[int] = frozenset()
    noticed: Mapping[str, Noticed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertStore:
    """The alerts, in the file ``path``. Where there is none, reading gives nothing; the first message makes it.

    All methods raise RecordError, naming file and remedy, where the file cannot be used.
    """

    path: Path

    def log(self) -> AlertLog:
        """Everything that decisions depend on."""
        with self._file.reading() as connection:
            if connection is None:
                return AlertLog()
            messages = tuple(_kept(row) for row in connection.execute(f"{_SELECT} ORDER BY id"))
            acknowledged = frozenset(number for (number,) in connection.execute("SELECT message FROM acknowledged"))
            noticed = {
                topic: Noticed(detail, datetime.fromisoformat(at))
                for topic, detail, at in connection.execute("SELECT topic, detail, at FROM noticed ORDER BY id")
            }
            return AlertLog(messages, acknowledged, noticed)

    def add(self, messages: Sequence[tuple[Message, Sequence[str]]], noticed: Mapping[str, str], at: datetime) -> None:
        """Keep messages, each with the channels that it is to go to, and what was noticed of topics: all or nothing."""
        if not messages and not noticed:
            return
        with self._file.adding() as connection:
            for one, channels in messages:
                values = (one.topic, one.kind, one.cause, one.since.isoformat(), one.until.isoformat(),
                          " ".join(one.audience), one.title, one.body, " ".join(channels), at.isoformat())  # fmt: skip
                connection.execute(
                    "INSERT INTO message (topic, kind, cause, since, until, audience, title, body, channels, at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    values,
                )
            for topic, detail in noticed.items():
                connection.execute(
                    "INSERT INTO noticed (topic, detail, at) VALUES (?, ?, ?)", (topic, detail, at.isoformat())
                )

    def undelivered(self) -> list[tuple[Kept, str]]:
        """Each message with each channel that it has not been delivered to, oldest first."""
        with self._file.reading() as connection:
            if connection is None:
                return []
            done = set(connection.execute("SELECT message, channel FROM delivered"))
            messages = [_kept(row) for row in connection.execute(f"{_SELECT} ORDER BY id")]
        return [(kept, channel) for kept in messages for channel in kept.channels if (kept.id, channel) not in done]

    def delivered(self, message: int, channel: str, at: datetime) -> None:
        """Keep that a message was delivered to a channel."""
        with self._file.adding() as connection:
            connection.execute(
                "INSERT INTO delivered (message, channel, at) VALUES (?, ?, ?)", (message, channel, at.isoformat())
            )

    def acknowledge(self, messages: Iterable[int], who: str, at: datetime) -> None:
        """Keep that somebody takes care of what these messages are about."""
        with self._file.adding() as connection:
            for number in messages:
                connection.execute(
                    "INSERT INTO acknowledged (message, who, at) VALUES (?, ?, ?)", (number, who, at.isoformat())
                )

    @property
    def _file(self) -> RecordFile:
        # The mark spells IFCA.
        return RecordFile(self.path, 0x49464341, 1, _TABLES, "alerts")


_SELECT = "SELECT id, topic, kind, cause, since, until, audience, title, body, channels, at FROM message"


def _kept(row: Sequence) -> Kept:
    number, topic, kind, cause, since, until, audience, title, body, channels, at = row
    first, last = datetime.fromisoformat(since), datetime.fromisoformat(until)
    message = Message(topic, kind, cause, first, last, tuple(audience.split()), title, body)
    return Kept(number, message, tuple(channels.split()), datetime.fromisoformat(at))
