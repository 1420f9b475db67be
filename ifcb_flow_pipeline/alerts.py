"""Alerts: looks at what is so, keeps the messages that are due, and delivers them. The decision is ``review.alerting``.

A message is kept before it is sent, and is sent until its service says that it took it: at least once, and not again
after a restart, but for the one delivery that the restart interrupted.
"""

import fcntl
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ifcb_flow_pipeline.alert_settings import AlertSettings, AlertSettingsError, Channel
from ifcb_flow_pipeline.recent import RecentBins
from ifcb_flow_pipeline.review.alerting import Thread, Watched, decide, newly_silent, threads
from ifcb_flow_pipeline.store.alert_log import ALERTS_FILE, AlertStore
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import Settings

#: Deliveries in one look, at most: a service that answers slowly must not hold up Dagster, which waits for a minute.
_MOST_DELIVERIES = 20

#: Sends a text with its title to an address; whether the service took it.
Send = Callable[[Channel, str, str], bool]


@dataclass(frozen=True, slots=True)
class Look:
    """What came of a look: messages decided on, deliveries made, and the names of channels that took nothing."""

    n_decided: int = 0
    n_delivered: int = 0
    failed: tuple[str, ...] = ()
    busy: bool = False

    def __str__(self) -> str:
        if self.busy:
            return "another process is looking"
        said = f"{self.n_decided} new messages, {self.n_delivered} delivered"
        return f"{said}; not delivered, to be tried again: {', '.join(self.failed)}" if self.failed else said


def alert_store(settings: Settings) -> AlertStore:
    """Where the alerts of a deployment are kept."""
    return AlertStore(settings.home / ALERTS_FILE)


def look(settings: Settings, alerts: AlertSettings, send: Send, now: datetime) -> Look:
    """Look at what is so at ``now`` (aware), and send what is due (see ``send_due``)."""
    return send_due(settings.home, watched(settings, now), alerts, send, now)


def send_due(home: Path, found: Watched, alerts: AlertSettings, send: Send, now: datetime) -> Look:
    """Decide which messages are due, keep them in the data folder ``home``, and deliver what has not been delivered.

    Raises RecordError where the messages cannot be kept: then nothing is sent.
    """
    store = AlertStore(home / ALERTS_FILE)
    # Two that looked at once would send everything twice. The system frees the lock when its holder dies.
    with _alone(home) as free:
        if not free:
            return Look(busy=True)
        decided = decide(found, store.log(), alerts.rules, now)
        addressed = [
            (message, [one.id for one in alerts.channels if one.audience in message.audience])
            for message in decided.messages
        ]
        store.add(addressed, decided.noticed, now)
        if alerts.rules.is_quiet(now):
            return Look(len(decided.messages))
        n_delivered, failed = _deliver(store, alerts, send)
        return Look(len(decided.messages), n_delivered, failed)


def open_alerts(store: AlertStore) -> list[Thread]:
    """What people were told of and what has not ended, oldest first."""
    found = [thread for thread in threads(store.log()).values() if thread.is_open]
    return sorted(found, key=lambda thread: thread.opened.id)


def watched(settings: Settings, now: datetime) -> Watched:
    """What is so now, by the stored tables; the archive is asked where an instrument seems to have fallen silent."""
    recent = RecentBins(DailyTables(settings.home / "tables")).at(now)
    free = shutil.disk_usage(_existing(settings.home))
    found = Watched(recent.instruments, recent.episodes, disk=(free.free, free.total), review_url=settings.review_url)
    # Without a model nothing is judged, and nobody waits for it.
    waiting = recent.first_waiting if ModelStore(settings.home / "models").current_id() is not None else None
    unlisted = _unlisted(settings.archive, found, now)
    return Watched(found.instruments, found.episodes, waiting, found.disk, unlisted, found.review_url)


def sender() -> Send:
    """How addresses are sent to. Raises AlertSettingsError where the library for that is missing."""
    try:
        import apprise  # pyright: ignore[reportMissingImports] - an extra
    except ImportError as error:
        raise AlertSettingsError("alerts need the library apprise: pip install 'ifcb-flow-pipeline[alerts]'") from error
    # Its lines on failures may hold parts of an address.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)

    def send(channel: Channel, title: str, body: str) -> bool:
        service = apprise.Apprise()
        if not service.add(channel.url):
            raise AlertSettingsError(
                f"{channel.name} is no address that can be sent to: see https://github.com/caronc/apprise/wiki"
            )
        return bool(service.notify(body=body, title=title))

    return send


def _deliver(store: AlertStore, alerts: AlertSettings, send: Send) -> tuple[int, tuple[str, ...]]:
    channels = {one.id: one for one in alerts.channels}
    failed: dict[str, str] = {}
    n_delivered = 0
    for kept, number in store.undelivered():
        channel = channels.get(number)
        # After a failure a channel waits for the next look: messages arrive in their order.
        if channel is None or number in failed:
            continue
        if n_delivered + len(failed) >= _MOST_DELIVERIES:
            break
        if send(channel, kept.message.title, kept.message.body):
            store.delivered(kept.id, number, datetime.now(tz=UTC))
            n_delivered += 1
        else:
            failed[number] = channel.name
    return n_delivered, tuple(failed.values())


def _unlisted(archive: Archive, found: Watched, now: datetime) -> dict[str, str]:
    """The first newer bin in the archive, by instrument, of those that seem to have fallen silent: where there is one,
    it is the pipeline that stands still.
    """
    silent = {one.instrument: one.last_start_time for one in newly_silent(found, now)}
    if not silent:
        return {}
    try:
        bins = archive.scan(min(silent.values()).date(), now.date()).bins
    except ArchiveError:
        return {}  # nothing arrives where there is no archive: they are silent
    unlisted: dict[str, str] = {}
    for raw in sorted(bins, key=lambda one: one.bin_id.start_time):
        name = raw.bin_id.instrument
        if name in silent and silent[name] < raw.bin_id.start_time <= now:
            unlisted.setdefault(name, raw.bin_id.pid)
    return unlisted


def _existing(folder: Path) -> Path:
    return folder if folder.exists() else _existing(folder.parent)


@contextmanager
def _alone(home: Path) -> Iterator[bool]:
    path = home / "locks" / "alerts.lock"
    private_folder(path.parent)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
