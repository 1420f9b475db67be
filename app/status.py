"""How each instrument and the pipeline are doing, from the stored tables alone: what the overview says.

Pure functions of what was read; the checks of the pipeline itself (``defs/checks.py``) look at the same limits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.data import Scored
from app.words import age, count
from ifcb_flow_pipeline.detection.episodes import Episode
from ifcb_flow_pipeline.detection.model import ModelCard

DAY, WEEK = timedelta(days=1), timedelta(days=7)

#: An instrument writes a bin about every 20 minutes: with none for so long, it or the transfer has stopped.
STALE = timedelta(days=1)

#: Share of unreadable bins from which a person should look: some damage is normal in telemetry.
MAX_UNREADABLE_SHARE = 0.05

#: Instruments are serviced and seasons turn: a model older than this has not seen the present.
MAX_MODEL_AGE_DAYS = 400

#: The state of an instrument, worst first: a fault is running, its last bins cannot be read, something was unusual
#: within a day, nothing was.
State = Literal["bad", "unreadable", "watch", "ok"]

#: So many unreadable bins at the end are no accident.
_UNREADABLE_AT_THE_END = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """Bins of a span of time: all, bad ones, unreadable ones."""

    n_bins: int
    n_bad: int
    n_unreadable: int


@dataclass(frozen=True, slots=True)
class InstrumentStatus:
    """How an instrument is doing.

    ``day`` and ``week`` end with its last bin. ``running``: its episodes that have not ended.
    """

    instrument: str
    state: State
    last_pid: str
    last_start: datetime
    day: Tally
    week: Tally
    running: tuple[Episode, ...]
    model_id: str


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, whether all is well, what was found, and what to do if not."""

    title: str
    passed: bool
    found: str
    remedy: str = ""


def instrument_status(scored: Scored, instrument: str, episodes: Sequence[Episode]) -> InstrumentStatus:
    """How an instrument that has scored bins is doing."""
    rows = scored.of_instrument(instrument)
    last = rows[-1]
    verdicts = scored.rows["verdict"].to_numpy()
    tallies = []
    for span in (DAY, WEEK):
        begin = scored.micros[last] - span // timedelta(microseconds=1)
        of_span = verdicts[rows[np.searchsorted(scored.micros[rows], begin) :]]
        tallies.append(Tally(len(of_span), int((of_span == "bad").sum()), int((of_span == "unreadable").sum())))
    running = tuple(episode for episode in episodes if episode.ongoing and episode.instrument == instrument)
    lately = scored.micros[rows] >= scored.micros[last] - DAY // timedelta(microseconds=1)
    return InstrumentStatus(
        instrument=instrument,
        state=_state(verdicts[rows[lately]], running),
        last_pid=str(scored.rows["pid"].iloc[last]),
        last_start=scored.rows["start_time"].iloc[last].to_pydatetime(),
        day=tallies[0],
        week=tallies[1],
        running=running,
        model_id=str(scored.rows["model_id"].iloc[last]),
    )


def freshness(statuses: Sequence[InstrumentStatus], now: datetime) -> Check:
    """Whether every instrument has recent bins."""
    stale = [status for status in statuses if now - status.last_start > STALE]
    found = ", ".join(f"{status.instrument}: last bin {age(status.last_start, now)}" for status in stale)
    return Check("New bins arrive", not stale, found or "every instrument has bins of the last day",
                 "Look whether the instrument runs, and whether its files reach the archive.")  # fmt: skip


def readability(statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether few bins of the last week are unreadable."""
    bad = [status for status in statuses if status.week.n_unreadable > MAX_UNREADABLE_SHARE * status.week.n_bins]
    found = ", ".join(f"{status.instrument}: {status.week.n_unreadable} of {status.week.n_bins}" for status in bad)
    return Check("Bins can be read", not bad, found or "fewer than one in twenty of the last week cannot",
                 "Open one of them for the reason; fetch damaged files again.")  # fmt: skip


def completeness(missing: Mapping[str, int]) -> Check:
    """Whether the bins of the latest days are scored. ``missing``: how many are not, by day."""
    n_missing = sum(missing.values())
    found = f"{count(n_missing, 'bin')} of {', '.join(missing)}" if missing else "all bins of the latest days have"
    return Check("Every bin has a score", not missing, found + (" have none" if missing else " one"),
                 "Materialize bin_features and bin_scores of these days in the Dagster UI.")  # fmt: skip


def model_age(card: ModelCard | None, now: datetime) -> Check:
    """Whether the model in use is recent."""
    if card is None:
        return Check("The model is recent", False, "no model is in use", "Materialize anomaly_model in the Dagster UI.")
    created = datetime.fromisoformat(card.created)
    old = now - created > timedelta(days=MAX_MODEL_AGE_DAYS)
    return Check("The model is recent", not old, f"trained {age(created, now)}",
                 "Materialize anomaly_model in the Dagster UI, on days that include the latest season.")  # fmt: skip


def one_model(statuses: Sequence[InstrumentStatus], card: ModelCard | None) -> Check:
    """Whether the latest bins were judged by the model in use."""
    others = [status.instrument for status in statuses if card is not None and status.model_id != card.model_id]
    found = f"the last bins of {', '.join(others)} were judged by another model" if others else "judges the latest bins"
    return Check("The model in use", not others, found,
                 "Materialize bin_scores of the latest days in the Dagster UI.")  # fmt: skip


def damage(problems: Sequence[str]) -> Check:
    """Whether all stored days can be read."""
    found = f"{count(len(problems), 'day')} cannot be read, the first: {problems[0]}" if problems else "all can be read"
    return Check("Stored days", not problems, found, "Materialize bin_scores of these days again.")


def utc_now() -> datetime:
    """The time now."""
    return datetime.now(tz=UTC)


def _state(verdicts: NDArray, running: Sequence[Episode]) -> State:
    if running:
        return "bad"
    if len(verdicts) >= _UNREADABLE_AT_THE_END and (verdicts[-_UNREADABLE_AT_THE_END:] == "unreadable").all():
        return "unreadable"
    return "watch" if verdicts[-1] == "watch" or (verdicts == "bad").any() else "ok"
