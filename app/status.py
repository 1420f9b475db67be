"""How each instrument and the pipeline are doing, from the stored tables alone: what the overview says.

Pure functions of what was read; the checks of the pipeline itself (``defs/checks.py``) look at the same limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.data import Scored
from app.theme import cause_name
from app.words import age, count, span, times
from ifcb_flow_pipeline.detection.model_card import ModelCard
from ifcb_flow_pipeline.detection.trial.drift import severity_drift
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.detection.verdict.episodes import MAX_SILENT_INTERVALS, Episode
from ifcb_flow_pipeline.store.tables import JUDGED

DAY, WEEK = timedelta(days=1), timedelta(days=7)

#: The rhythm of an instrument is the median time between so many of its last bins; that of a single bin is the usual
#: one of IFCBs.
_RHYTHM_BINS, _USUAL_RHYTHM = 50, timedelta(minutes=25)

#: An instrument without a bin for so long was taken out of the water; nobody waits for it.
RETIRED = timedelta(days=30)

#: Share of unreadable bins from which a person should look: some damage is normal in telemetry.
MAX_UNREADABLE_SHARE = 0.05

#: Largest distance of a week's severities from those of healthy bins, and how many bins it takes to tell.
MAX_SEVERITY_DRIFT, MIN_BINS_FOR_DRIFT = 0.3, 30

#: Instruments are serviced and seasons turn: a model older than this has not seen the present.
MAX_MODEL_AGE_DAYS = 400

#: Share of an instrument's readable bins without verdict from which a person should act (see ``defs/checks.py``).
MAX_NOT_JUDGED_SHARE = 0.2

#: The state of an instrument by its last bins, worst first: a fault is ongoing, they cannot be read, the last is on
#: watch, none was judged, there were faults in the last 24 hours, there were none.
State = Literal["fault", "unreadable", "watch", "not_judged", "recent", "ok"]

STATES: Sequence[State] = ("fault", "unreadable", "watch", "not_judged", "recent", "ok")

#: So many unreadable bins at the end are no accident.
_UNREADABLE_AT_THE_END = 3

#: So many episodes of a day are named; the others are counted.
_NAMED = 2


@dataclass(frozen=True, slots=True)
class Tally:
    """Bins of a span of time: all, bad ones, unreadable ones, and readable ones that were not judged."""

    n_bins: int
    n_bad: int
    n_unreadable: int
    n_not_judged: int = 0


@dataclass(frozen=True, slots=True)
class InstrumentStatus:
    """How an instrument is doing.

    ``day`` and ``week`` end with its last bin. ``faults``: its episodes of that day, latest first, those of which
    nobody knows whether they are over included. ``rhythm``: the usual time between two bins. ``silence``: time since
    its last bin. ``verdict``, ``cause``: those of its last bin. ``worst_pid``: the worst bad bin of these episodes,
    None where there is none.
    """

    instrument: str
    state: State
    last_pid: str
    last_start: datetime
    verdict: str
    cause: str
    day: Tally
    week: Tally
    faults: tuple[Episode, ...]
    rhythm: timedelta
    silence: timedelta
    worst_pid: str | None
    model_id: str

    @property
    def is_silent(self) -> bool:
        """Whether no bin has come for much longer than usual."""
        return self.silence > MAX_SILENT_INTERVALS * self.rhythm

    @property
    def is_retired(self) -> bool:
        """Whether nobody waits for its next bin."""
        return self.silence > max(RETIRED, MAX_SILENT_INTERVALS * self.rhythm)


#: Where a person acts on a check that failed: the bins that cannot be read, those that were not judged, the bad ones,
#: the models, or the days that are to be scored.
Place = Literal["unreadable bins", "bins not judged", "bad bins", "models", "days to score"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what is so where all is well, what was found otherwise, what to do then, and where.

    ``days``: which are to be processed.
    """

    passed: bool
    found: str
    remedy: str = ""
    place: Place | None = None
    days: tuple[str, ...] = ()


def instrument_status(scored: Scored, instrument: str, episodes: Sequence[Episode], now: datetime) -> InstrumentStatus:
    """How an instrument that has scored bins is doing."""
    own = scored.of_instrument(instrument)
    last = own[-1]
    last_start = scored.rows["start_time"].iloc[last].to_pydatetime()
    of_day, of_week = (scored.since(instrument, last_start - span) for span in (DAY, WEEK))
    verdicts = scored.rows["verdict"]
    faults = [
        episode
        for episode in reversed(episodes)
        if episode.instrument == instrument and (episode.end >= last_start - DAY or episode.ongoing)
    ]
    return InstrumentStatus(
        instrument=instrument,
        state=_state(verdicts.iloc[of_day].to_numpy(), faults),
        last_pid=str(scored.rows["pid"].iloc[last]),
        last_start=last_start,
        verdict=str(verdicts.iloc[last]),
        cause=str(scored.rows["cause"].iloc[last]),
        day=_tally(verdicts.iloc[of_day].to_numpy()),
        week=_tally(verdicts.iloc[of_week].to_numpy()),
        faults=tuple(faults),
        rhythm=_rhythm(scored.micros[own[-_RHYTHM_BINS:]]),
        silence=now - last_start,
        worst_pid=max(faults, key=lambda one: one.worst_severity).worst_pid if faults else None,
        model_id=str(scored.rows["model_id"].iloc[last]),
    )


def headline(one: InstrumentStatus, now: datetime) -> str:
    """How an instrument is doing, in a sentence or two for people: what, since when, and how many bins."""
    ongoing = [episode for episode in one.faults if episode.state != "over"]
    parts = [_now(one, ongoing, now)]
    if one.is_silent:
        said = parts[0][:1].lower() + parts[0][1:] if not parts[0].startswith("OK") else parts[0]
        parts = [f"No data for {span(one.silence)} (normally a bin every {span(one.rhythm)})", f"Before that: {said}"]
    others = [_fault(episode, now) for episode in one.faults if episode not in ongoing]
    parts += others[:_NAMED]
    if len(others) > _NAMED:
        parts.append(f"{count(len(others) - _NAMED, 'more fault')} in 24 h")
    return ". ".join(parts) + "."


def _now(one: InstrumentStatus, ongoing: Sequence[Episode], now: datetime) -> str:
    if ongoing:
        return "; ".join(
            f"{'Fault now' if episode.ongoing and not one.is_silent else 'Fault, not known to be over'}: "
            f"{_cause(episode)}, since {times(episode.start, None, now)}, {count(episode.n_bad, 'bad bin')}"
            for episode in ongoing
        )
    said: Mapping[State, str] = {
        "fault": "Fault",
        "unreadable": "Latest bins unreadable",
        "watch": f"Latest bin on Watch: {cause_name(one.cause) or 'cause unknown'}",
        "not_judged": "No verdict: too little history",
        "recent": "OK" if one.is_silent else "OK now",
        "ok": "OK" if one.is_silent else "OK now",
    }
    return said[one.state]


def _fault(episode: Episode, now: datetime) -> str:
    cause = _cause(episode)
    bins = "1 bad bin" if episode.n_bad == 1 else count(episode.n_bad, "bad bin")
    return f"{cause[:1].upper()}{cause[1:]} {times(episode.start, episode.end, now)}, {bins}"


def _cause(episode: Episode) -> str:
    return cause_name(episode.cause) or "cause unknown"


def freshness(statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether every active instrument keeps its rhythm."""
    if not statuses:
        return Check(True, "No instrument is expected to send bins")
    silent = [one for one in statuses if one.is_silent]
    if not silent:
        latest = min(one.silence for one in statuses)
        return Check(True, f"All active instruments are sending bins; the latest is {span(latest)} old")
    found = ", ".join(f"{one.instrument} for {span(one.silence)}" for one in silent)
    return Check(False, f"No new bins from {found}",
                 "Check that the instrument is running and that its files reach the archive")  # fmt: skip


def readability(statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether few bins of the last week are unreadable."""
    bad = [one for one in statuses if one.week.n_unreadable > MAX_UNREADABLE_SHARE * one.week.n_bins]
    if not bad:
        return Check(True, f"Under {MAX_UNREADABLE_SHARE:.0%} of last week's bins are unreadable")
    found = ", ".join(f"{one.instrument}: {one.week.n_unreadable} of {one.week.n_bins}" for one in bad)
    return Check(False, f"Many of last week's bins are unreadable: {found}",
                 "Open one of them for the reason; transfer damaged files again", "unreadable bins")  # fmt: skip


def judged(statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether few of the readable bins of the last week were not judged."""
    many = [
        (one.instrument, one.week.n_not_judged, one.week.n_bins - one.week.n_unreadable)
        for one in statuses
        if one.week.n_not_judged > MAX_NOT_JUDGED_SHARE * (one.week.n_bins - one.week.n_unreadable)
    ]
    if not many:
        return Check(True, "Nearly all of last week's bins have a verdict")
    found = ", ".join(f"{name}: {n} of {n_readable}" for name, n, n_readable in many)
    return Check(False, f"Bins without a verdict in the last week of data: {found}",
                 f"Once an instrument has {MIN_BASELINE_BINS} healthy bins with features, retrain the model on days "
                 "that hold them, then score the days without verdicts", "bins not judged")  # fmt: skip


def drift(scored: Scored, statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether the last week's bins are about as severe as healthy ones, as most are where the model fits."""
    found = []
    for one in statuses:
        rows = scored.since(one.instrument, one.last_start - WEEK)
        judged = rows[scored.rows["verdict"].iloc[rows].isin(JUDGED).to_numpy()]
        severity = scored.rows["severity"].to_numpy(dtype=float)[judged]
        if len(severity) >= MIN_BINS_FOR_DRIFT and (distance := severity_drift(severity)) > MAX_SEVERITY_DRIFT:
            found.append(f"{one.instrument} (distance {distance:.2f} over {count(len(severity), 'bin')})")
    if not found:
        return Check(True, "No drift: last week's severities match healthy bins")
    return Check(False, f"Last week's severities do not match healthy bins: {', '.join(found)}",
                 "Check for an ongoing fault. If the bins are healthy, retrain the model", "bad bins")  # fmt: skip


def completeness(missing: Mapping[str, int]) -> Check:
    """Whether the bins of the latest days are scored. ``missing``: how many are not, by day."""
    if not missing:
        return Check(True, "All bins of the latest days are scored")
    found = f"{count(sum(missing.values()), 'bin')} of {', '.join(missing)} not scored yet"
    return Check(False, found, "Score these days", "days to score", tuple(missing))


def model_age(card: ModelCard | None, now: datetime) -> Check:
    """Whether the model in use is recent."""
    if card is None:
        return Check(False, "No model is active", "Train one", "models")
    created = datetime.fromisoformat(card.created)
    if now - created <= timedelta(days=MAX_MODEL_AGE_DAYS):
        return Check(True, f"The active model was trained {age(created, now)}")
    return Check(False, f"The active model is old: trained {age(created, now)}",
                 "Retrain it on days that include the latest season", "models")  # fmt: skip


def newest_model(card: ModelCard | None, newest: str | None) -> Check:
    """Whether the model that was trained last is the one in use. ``newest``: its id, None where there is none."""
    if card is None or newest is None or newest == card.model_id:
        return Check(True, "The newest model is active")
    return Check(False, f"A newer model is not active: {newest}",
                 "Compare it with the active model; activate it if it is better", "models")  # fmt: skip


def one_model(statuses: Sequence[InstrumentStatus], card: ModelCard | None) -> Check:
    """Whether the latest bins were scored with the model in use."""
    others = [one for one in statuses if card is not None and one.model_id != card.model_id]
    if not others:
        return Check(True, "The latest bins were scored with the active model")
    days = {(one.last_start - DAY * number).date().isoformat() for one in others for number in range(7)}
    found = f"The latest bins of {', '.join(one.instrument for one in others)} were scored with another model"
    return Check(False, found, "Score the latest days again", "days to score", tuple(sorted(days)))


def damage(problems: Sequence[str]) -> Check:
    """Whether all stored days can be read."""
    if not problems:
        return Check(True, "Stored results: all readable")
    return Check(False, f"{count(len(problems), 'stored day')} cannot be read, the first: {problems[0]}",
                 "Process these days again")  # fmt: skip


def _rhythm(micros: NDArray[np.int64]) -> timedelta:
    return timedelta(microseconds=float(np.median(np.diff(micros)))) if len(micros) > 1 else _USUAL_RHYTHM


def _tally(verdicts: NDArray) -> Tally:
    return Tally(len(verdicts), *(int((verdicts == name).sum()) for name in ("bad", "unreadable", "not_judged")))


def _state(verdicts: NDArray, faults: Sequence[Episode]) -> State:
    if any(fault.state != "over" for fault in faults):
        return "fault"
    if len(verdicts) >= _UNREADABLE_AT_THE_END and (verdicts[-_UNREADABLE_AT_THE_END:] == "unreadable").all():
        return "unreadable"
    judged = verdicts[np.isin(verdicts, JUDGED)]
    if not judged.size:
        return "not_judged" if (verdicts == "not_judged").any() else "unreadable"
    # One healthy bin in thirty is unusual: of those not bad, only the last counts.
    if judged[-1] == "watch":
        return "watch"
    return "recent" if faults or (judged == "bad").any() else "ok"
