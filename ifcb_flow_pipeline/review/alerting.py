"""Which alerts are due: a pure decision of what is so now, of what people were told before, and of the time.

A topic is one thing that can be wrong: the flow of an instrument, its silence, its unreadable bins, the pipeline, the
disk. Of each trouble people hear once that it began, once that it ended, and between that only if its cause changed or
if nobody acknowledged it. What was over before anybody could be told, as after a backfill, stands only in the daily
digest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta, tzinfo

from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.episodes import MAX_SILENT_INTERVALS, Episode
from ifcb_flow_pipeline.review.instruments import InstrumentState
from ifcb_flow_pipeline.store.alert_log import AlertLog, Audience, Kept, Kind, Message

#: A message fits into one of these bytes of UTF-8, title included: satellite links charge by the kilobyte.
MAX_BYTES = 1000

#: What has shown no sign of itself for longer is late data: it is no news.
LATE = timedelta(hours=24)

#: An instrument without a bin for so long was taken out of the water (``app.status`` has the same bound).
RETIRED = timedelta(days=30)

#: An irregular instrument is silent after so many times the interval that nine of ten of its own stay below.
_LONG_INTERVALS = 3

#: A cause is told anew at most so often: of a fault's first bins it changes back and forth.
_BETWEEN_CAUSES = timedelta(hours=6)

#: Unreadable bins in the last 24 h of an instrument's data from which a person should look (as in ``app.status``), and
#: the share below which that is over.
_UNREADABLE_SHARE, _READABLE_SHARE, _MIN_UNREADABLE = 0.05, 0.025, 3

#: A disk that had too little room has enough again when it has so many times as much.
_ROOM_AGAIN = 1.2

_DAY = timedelta(days=1)

PIPELINE, DISK, DIGEST = "pipeline", "disk", "digest"


@dataclass(frozen=True, slots=True)
class Rules:
    """When people are told what.

    ``bad_bins``: so many in an episode are a fault to tell. ``remind_after``: time between reminders of what nobody
    acknowledged; ``escalate_after``: after which the second list hears of it; ``stuck_after``: for which the same bin
    waits for its score before that is told. None of the first two: never. ``free_share``: of a disk, below which it is
    nearly full. ``quiet``: from when to when, in ``zone``, nothing is sent. ``digest``: when the daily digest is.
    """

    bad_bins: int = 2
    remind_after: timedelta | None = timedelta(hours=24)
    escalate_after: timedelta | None = None
    stuck_after: timedelta = timedelta(hours=6)
    free_share: float = 0.05
    quiet: tuple[time, time] | None = None
    digest: time | None = None
    zone: tzinfo = UTC

    def is_quiet(self, now: datetime) -> bool:
        """Whether nothing is to be sent at this time."""
        if self.quiet is None:
            return False
        first, last = self.quiet
        at = now.astimezone(self.zone).time()
        return first <= at < last if first <= last else at >= first or at < last

    def digest_due(self, last: datetime | None, now: datetime) -> bool:
        """Whether a digest is due; ``last``: when the last one was, None where there was none."""
        if self.digest is None:
            return False
        local = now.astimezone(self.zone)
        due = datetime.combine(local.date(), self.digest, self.zone)
        due = due if due <= local else due - _DAY
        return last is None or last < due


@dataclass(frozen=True, slots=True)
class Watched:
    """What is so now.

    ``episodes``: of the last month, by start. ``first_waiting``: the first bin without a score, None where there is
    none. ``disk``: free and total bytes of the disk of the data folder. ``unlisted``: of an instrument that seems
    silent, a newer bin that the archive has. ``review_url``: address of the review app, None where unknown.
    """

    instruments: Sequence[InstrumentState] = ()
    episodes: Sequence[Episode] = ()
    first_waiting: str | None = None
    disk: tuple[int, int] = (1, 1)
    unlisted: dict[str, str] = field(default_factory=dict)
    review_url: str | None = None


@dataclass(frozen=True, slots=True)
class Decided:
    """Messages to be sent, and what is to be remembered as noticed, by topic (see ``AlertLog``)."""

    messages: tuple[Message, ...] = ()
    noticed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thread:
    """What people were told of one trouble, from ``opened`` on; ``last``: the last message to the first list.

    ``escalated``, ``acknowledged``: whether the second list heard of it, and whether somebody takes care of it.
    """

    opened: Kept
    last: Kept
    cause: str
    escalated: bool
    acknowledged: bool

    @property
    def is_open(self) -> bool:
        """Whether people were not told yet that it ended."""
        return self.last.message.kind != "recovered"


def threads(log: AlertLog) -> dict[str, Thread]:
    """The latest trouble of each topic that people were told of."""
    found: dict[str, Thread] = {}
    for kept in log.messages:
        one, topic = kept.message, kept.message.topic
        if one.kind == "opened":
            found[topic] = Thread(kept, kept, one.cause, False, kept.id in log.acknowledged)
        elif topic in found:
            before = found[topic]
            acknowledged = before.acknowledged or kept.id in log.acknowledged
            if one.kind == "escalation":
                found[topic] = replace(before, escalated=True, acknowledged=acknowledged)
            else:
                found[topic] = replace(before, last=kept, cause=one.cause, acknowledged=acknowledged)
    return found


def silence_limit(one: InstrumentState) -> timedelta:
    """How long an instrument may be without a bin, by its own rhythm."""
    return timedelta(seconds=max(MAX_SILENT_INTERVALS * one.interval_s, _LONG_INTERVALS * one.long_interval_s))


def newly_silent(watched: Watched, now: datetime) -> list[InstrumentState]:
    """The instruments of which no bin is known for longer than usual, since less than LATE."""
    return [
        one
        for one in watched.instruments
        if timedelta() < now - one.last_start_time - silence_limit(one) <= LATE and now - one.last_start_time <= RETIRED
    ]


def decide(watched: Watched, log: AlertLog, rules: Rules, now: datetime) -> Decided:
    """The messages that are due at ``now`` (aware)."""
    noticed = _noticed(watched, log)
    if rules.is_quiet(now):
        return Decided((), noticed)
    found = {one.topic: one for one in _troubles(watched, log, rules, now)}
    told = threads(log)
    messages: list[Message] = []
    for topic in sorted({*found, *(topic for topic, thread in told.items() if thread.is_open)}):
        messages += _of_topic(watched, found.get(topic), told.get(topic), rules, now)
    last = max((kept.at for kept in log.messages if kept.message.kind == "digest"), default=None)
    if watched.instruments and rules.digest_due(last, now):
        messages.append(_digest(watched, told, rules, now))
    return Decided(tuple(messages), noticed)


# What is wrong


@dataclass(frozen=True, slots=True)
class _Trouble:
    """Something that is wrong now. ``is_news``: whether it is to be told where it has not been."""

    topic: str
    since: datetime
    until: datetime
    cause: str
    title: str
    body: str
    is_news: bool = True


def _troubles(watched: Watched, log: AlertLog, rules: Rules, now: datetime) -> Iterator[_Trouble]:
    # Only the last episode of an instrument can last.
    for episode in {one.instrument: one for one in watched.episodes}.values():
        if episode.state != "over":
            yield _fault(watched, episode, is_news=episode.n_bad >= rules.bad_bins and now - episode.end <= LATE)
    new = {one.instrument for one in newly_silent(watched, now)}
    for one in watched.instruments:
        silence = now - one.last_start_time
        if silence_limit(one) < silence <= RETIRED and one.instrument not in watched.unlisted:
            yield _silence(one, now, is_news=one.instrument in new)
        yield from _unreadable(one, now)
    yield from _stuck(log, watched, rules, now)
    free, total = watched.disk
    if free < rules.free_share * total * (_ROOM_AGAIN if _is_open(log, DISK) else 1):
        body = (
            f"The disk of the data folder has {_size(free)} left of {_size(total)}. When it is full, nothing is stored."
        )
        yield _Trouble(DISK, now, now, "", "Disk nearly full", f"{body} Make room, or move the data folder.")


def _fault(watched: Watched, episode: Episode, *, is_news: bool) -> _Trouble:
    cause = CAUSES.get(episode.cause, CAUSES["unknown"])
    body = (
        f"{episode.instrument}: {cause.title} since {_time(episode.start)}. {_bad_bins(episode)}, worst "
        f"{episode.worst_pid} (severity {episode.worst_severity:.0f} of 100). {cause.check}."
    )
    link = f" {watched.review_url}/bin?bin={episode.worst_pid}" if watched.review_url else ""
    title = f"{episode.instrument}: {cause.title}"
    return _Trouble(
        f"fault {episode.instrument}", episode.start, episode.end, episode.cause, title, body + link, is_news
    )


def _silence(one: InstrumentState, now: datetime, *, is_news: bool) -> _Trouble:
    body = (
        f"{one.instrument} has sent no bin for {_span(now - one.last_start_time)} (normally one every "
        f"{_span(timedelta(seconds=one.interval_s))}). Last bin: {one.last_pid}. Check that the instrument is running "
        "and that its files reach the archive."
    )
    return _Trouble(
        f"silence {one.instrument}", one.last_start_time, now, "", f"{one.instrument}: no data", body, is_news
    )


def _unreadable(one: InstrumentState, now: datetime) -> Iterator[_Trouble]:
    n_bins, n_unreadable = sum(one.bins.values()), one.bins.get("unreadable", 0)
    if one.last_scored is None or n_unreadable <= _READABLE_SHARE * n_bins:
        return
    many = n_unreadable >= _MIN_UNREADABLE and n_unreadable > _UNREADABLE_SHARE * n_bins
    body = (
        f"{n_unreadable} of the last {n_bins} bins of {one.instrument} (24 h up to {one.last_scored.pid}) cannot be "
        "read. Open one in the review app for the reason; transfer damaged files again; check the disk."
    )
    last = one.last_scored.start_time
    is_news = many and now - last <= LATE
    yield _Trouble(f"unreadable {one.instrument}", last, last, "", f"{one.instrument}: unreadable bins", body, is_news)


def _stuck(log: AlertLog, watched: Watched, rules: Rules, now: datetime) -> Iterator[_Trouble]:
    waiting, before = _waiting(watched), log.noticed.get(PIPELINE)
    if not waiting or before is None or before.detail != waiting or now - before.at < rules.stuck_after:
        return
    body = (
        f"{waiting} has waited for its verdict since {_time(before.at)}: nothing is judged. Look at the runs in the "
        "Dagster UI, and whether its daemon is running."
    )
    yield _Trouble(PIPELINE, before.at, now, "", "Pipeline stuck", body)


def _noticed(watched: Watched, log: AlertLog) -> dict[str, str]:
    waiting, before = _waiting(watched), log.noticed.get(PIPELINE)
    return {PIPELINE: waiting} if waiting != (before.detail if before else "") else {}


def _waiting(watched: Watched) -> str:
    """The first bin that waits for its score, or to be listed; empty where none does."""
    return min(filter(None, (watched.first_waiting, *watched.unlisted.values())), key=_by_time, default="")


def _by_time(pid: str) -> tuple[str, str]:
    # Names of the first generation begin with the instrument; it matters only that the choice is always the same.
    return (pid[1:] if pid.startswith("D") else pid, pid)


def _is_open(log: AlertLog, topic: str) -> bool:
    thread = threads(log).get(topic)
    return thread is not None and thread.is_open


# What is said of it


def _of_topic(
    watched: Watched, trouble: _Trouble | None, thread: Thread | None, rules: Rules, now: datetime
) -> list[Message]:
    if thread is None or not thread.is_open:
        return _opened(trouble, thread)
    ended = _ended_fault(watched, thread) if thread.opened.message.topic.startswith("fault ") else None
    if trouble is None or ended is not None:
        # A new trouble of the topic may have begun since.
        return [_recovered(watched, thread, ended), *(_opened(trouble, thread) if trouble else [])]
    return _still(trouble, thread, rules, now)


def _opened(trouble: _Trouble | None, before: Thread | None) -> list[Message]:
    if trouble is None or not trouble.is_news:
        return []
    if before is not None and trouble.until <= before.last.message.until:
        return []  # what people were told of before, judged anew
    return [_message(trouble, "opened", ("first",), trouble.title, trouble.body)]


def _still(trouble: _Trouble, thread: Thread, rules: Rules, now: datetime) -> list[Message]:
    since_last = now - thread.last.at
    if trouble.cause != thread.cause and since_last >= _BETWEEN_CAUSES:
        return [
            _message(
                trouble, "cause changed", ("first",), f"{trouble.title} (was {_cause(thread.cause)})", trouble.body
            )
        ]
    if thread.acknowledged:
        return []
    messages = []
    if rules.remind_after is not None and since_last >= rules.remind_after:
        body = f"{trouble.body} Nobody has acknowledged this: do so in the review app (Overview)."
        messages.append(_message(trouble, "reminder", ("first",), f"Reminder: {trouble.title}", body))
    if rules.escalate_after is not None and not thread.escalated and now - thread.opened.at >= rules.escalate_after:
        body = f"{trouble.body} Nobody has acknowledged this for {_span(now - thread.opened.at)}."
        messages.append(_message(trouble, "escalation", ("second",), f"Not acknowledged: {trouble.title}", body))
    return messages


def _recovered(watched: Watched, thread: Thread, ended: Episode | None) -> Message:
    first = thread.opened.message
    audience: tuple[Audience, ...] = ("first", "second") if thread.escalated else ("first",)
    since, until, word = first.since, thread.last.message.until, "Over"
    body = f"{first.title}: over. It began {_time(first.since)}."
    if ended is not None:
        since, until = ended.start, ended.end
        healthy = _healthy_since(watched, ended)
        word = "Recovered" if healthy else "No longer watched"
        after = "the bins since are fine" if healthy else "no bins since: nobody knows whether it is over"
        body = f"{first.title}: from {_time(ended.start)} to {_time(ended.end)}, {_bad_bins(ended).lower()}; {after}."
    elif first.topic.startswith("fault "):
        word, body = "Withdrawn", f"{first.title}: its bins are no longer judged bad, or no longer there."
    elif first.topic.startswith("silence ") and not _has_newer_bin(watched, first):
        word, body = "No longer watched", f"{first.title} for {_span(RETIRED)}: it counts as out of the water."
    message = Message(first.topic, "recovered", thread.cause, since, max(until, first.until), audience, "", "")
    return _worded(message, f"{word}: {first.title}", body)


def _ended_fault(watched: Watched, thread: Thread) -> Episode | None:
    """The episode that a thread is about, where it is over."""
    first, last = thread.opened.message, thread.last.message
    name = first.topic.removeprefix("fault ")
    own = [
        one for one in watched.episodes if one.instrument == name and one.start <= last.until and one.end >= first.since
    ]
    return own[-1] if own and own[-1].state == "over" else None


def _healthy_since(watched: Watched, episode: Episode) -> bool:
    scored = [one.last_scored for one in watched.instruments if one.instrument == episode.instrument]
    return any(last is not None and last.start_time > episode.end for last in scored)


def _has_newer_bin(watched: Watched, silence: Message) -> bool:
    name = silence.topic.removeprefix("silence ")
    last = [one.last_start_time for one in watched.instruments if one.instrument == name]
    return name in watched.unlisted or any(start > silence.since for start in last)


def _message(trouble: _Trouble, kind: Kind, audience: tuple[Audience, ...], title: str, body: str) -> Message:
    return _worded(
        Message(trouble.topic, kind, trouble.cause, trouble.since, trouble.until, audience, "", ""), title, body
    )


def _worded(message: Message, title: str, body: str) -> Message:
    left = MAX_BYTES - len(title.encode()) - 1
    return replace(message, title=title, body=cut(body, left))


def cut(text: str, n_bytes: int) -> str:
    """The text, or as many of its words as fit into so many bytes of UTF-8."""
    if len(text.encode()) <= n_bytes:
        return text
    short = text.encode()[: n_bytes - 4].decode(errors="ignore")
    return f"{short.rsplit(None, 1)[0]} ..."


# The daily digest


def _digest(watched: Watched, told: dict[str, Thread], rules: Rules, now: datetime) -> Message:
    active = [one for one in watched.instruments if now - one.last_start_time <= RETIRED]
    lines = [f"{len(active)} instruments in the water."] if len(active) != 1 else ["1 instrument in the water."]
    lines += sorted((_line(watched, one, now) for one in active), key=lambda line: line.endswith("OK."))
    untold = [one for one in watched.episodes if one.n_bad >= rules.bad_bins and one.state == "over"]
    untold = [one for one in untold if not _was_told(told.get(f"fault {one.instrument}"), one)]
    if recent := [one for one in untold if now - one.end <= LATE]:
        lines.insert(1, f"Over before a message was due: {'; '.join(_ended(one) for one in recent)}.")
    if late := len(untold) - len(recent):
        lines.append(f"Earlier faults of the past month: {late}. See Timeline in the review app.")
    message = Message(DIGEST, "digest", "", now, now, ("first",), "", "")
    return _worded(message, f"IFCB digest {now.astimezone(rules.zone):%Y-%m-%d}", "\n".join(lines))


def _line(watched: Watched, one: InstrumentState, now: datetime) -> str:
    silence = now - one.last_start_time
    running = [each for each in watched.episodes if each.instrument == one.instrument and each.state != "over"]
    if silence > silence_limit(one):
        return f"{one.instrument}: no data for {_span(silence)}."
    n_bins, n_bad = sum(one.bins.values()), one.bins.get("bad", 0)
    counted = f"{one.instrument}: {n_bad} of {n_bins} bins bad in 24 h"
    if running:
        return f"{counted}; {_cause(running[-1].cause)} since {_time(running[-1].start)}."
    return f"{counted}. OK."


def _was_told(thread: Thread | None, episode: Episode) -> bool:
    return (
        thread is not None and episode.start <= thread.last.message.until and episode.end >= thread.opened.message.since
    )


def _ended(episode: Episode) -> str:
    return f"{episode.instrument} {_cause(episode.cause)} {_time(episode.start)} to {episode.end:%H:%M}"


# Words


def _bad_bins(episode: Episode) -> str:
    return f"{episode.n_bad} of {episode.n_bins} bins bad"


def _cause(code: str) -> str:
    return CAUSES.get(code, CAUSES["unknown"]).title


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(length: timedelta) -> str:
    minutes = length.total_seconds() / 60
    if minutes < 90:
        return f"{max(1, round(minutes))} min"
    return f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{round(minutes / 60 / 24)} days"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB"
