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
from app.words import age, count
from ifcb_flow_pipeline.detection.model_card import ModelCard
from ifcb_flow_pipeline.detection.trial.drift import severity_drift
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.tables import JUDGED

DAY, WEEK = timedelta(days=1), timedelta(days=7)

#: An instrument writes a bin about every 20 minutes: with none for so long, it or the transfer has stopped.
STALE = timedelta(days=1)

#: Share of unreadable bins from which a person should look: some damage is normal in telemetry.
MAX_UNREADABLE_SHARE = 0.05

#: Largest distance of a week's severities from those of healthy bins, and how many bins it takes to tell.
MAX_SEVERITY_DRIFT, MIN_BINS_FOR_DRIFT = 0.3, 30

#: Instruments are serviced and seasons turn: a model older than this has not seen the present.
MAX_MODEL_AGE_DAYS = 400

#: Share of an instrument's readable bins without verdict from which a person should act (see ``defs/checks.py``).
MAX_NOT_JUDGED_SHARE = 0.2

#: The state of an instrument, worst first: a fault is running, its last bins cannot be read, bins of the last day were
#: bad or unusual, none of them was judged, nothing was.
State = Literal["bad", "unreadable", "watch", "not_judged", "ok"]

#: So many unreadable bins at the end are no accident.
_UNREADABLE_AT_THE_END = 3


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

    ``day`` and ``week`` end with its last bin. ``running``: its episodes that last. ``unknown``: those of which nobody
    knows, because no bin came since.
    """

    instrument: str
    state: State
    last_pid: str
    last_start: datetime
    day: Tally
    week: Tally
    running: tuple[Episode, ...]
    unknown: tuple[Episode, ...]
    model_id: str


#: Where a person acts on a check that failed: the bins that cannot be read, those that were not judged, the bad ones,
#: or the models.
Place = Literal["unreadable bins", "bins not judged", "bad bins", "models"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check: what was looked at, whether all is well, what was found, what to do if not, and on which page."""

    title: str
    passed: bool
    found: str
    remedy: str = ""
    place: Place | None = None


def instrument_status(scored: Scored, instrument: str, episodes: Sequence[Episode]) -> InstrumentStatus:
    """How an instrument that has scored bins is doing."""
    last = scored.of_instrument(instrument)[-1]
    last_start = scored.rows["start_time"].iloc[last].to_pydatetime()
    of_day, of_week = (
        scored.rows["verdict"].iloc[scored.since(instrument, last_start - span)].to_numpy() for span in (DAY, WEEK)
    )
    own = [episode for episode in episodes if episode.instrument == instrument]
    running, unknown = (tuple(one for one in own if one.state == state) for state in ("ongoing", "unknown"))
    return InstrumentStatus(
        instrument=instrument,
        state=_state(of_day, running),
        last_pid=str(scored.rows["pid"].iloc[last]),
        last_start=last_start,
        day=_tally(of_day),
        week=_tally(of_week),
        running=running,
        unknown=unknown,
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
                 "Open one of them for the reason; fetch damaged files again.", "unreadable bins")  # fmt: skip


def judged(statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether few of the readable bins of the last week were not judged."""
    many = [
        (one.instrument, one.week.n_not_judged, one.week.n_bins - one.week.n_unreadable)
        for one in statuses
        if one.week.n_not_judged > MAX_NOT_JUDGED_SHARE * (one.week.n_bins - one.week.n_unreadable)
    ]
    found = ", ".join(f"{name}: {n} of {n_readable} were not" for name, n, n_readable in many)
    return Check("Bins are judged", not many, found or "all but few of the last week were",
                 f"Once {MIN_BASELINE_BINS} healthy bins of an instrument have features, materialize anomaly_model on "
                 "days that hold them, then bin_scores of the days without verdicts, in the Dagster UI.",
                 "bins not judged")  # fmt: skip


def drift(scored: Scored, statuses: Sequence[InstrumentStatus]) -> Check:
    """Whether the last week's bins are about as severe as healthy ones, as most are where the model fits."""
    found = []
    for status in statuses:
        rows = scored.since(status.instrument, status.last_start - WEEK)
        judged = rows[scored.rows["verdict"].iloc[rows].isin(JUDGED).to_numpy()]
        severity = scored.rows["severity"].to_numpy(dtype=float)[judged]
        if len(severity) >= MIN_BINS_FOR_DRIFT and (distance := severity_drift(severity)) > MAX_SEVERITY_DRIFT:
            found.append(f"{status.instrument}: distance {distance:.2f} over {count(len(severity), 'bin')}")
    return Check("Severities are as expected of healthy bins", not found,
                 ", ".join(found) or f"of the last week, at most {MAX_SEVERITY_DRIFT} off",
                 "Look whether a fault lasts. If the bins are fine, the model is outdated: train a new one.",
                 "bad bins")  # fmt: skip


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
                 "Materialize anomaly_model in the Dagster UI, on days that include the latest season.",
                 "models")  # fmt: skip


def newest_model(card: ModelCard | None, newest: str | None) -> Check:
    """Whether the model that was trained last is the one in use. ``newest``: its id, None where there is none."""
    waits = card is not None and newest is not None and newest != card.model_id
    return Check("The newest model is in use", not waits, f"{newest} is not" if waits else "there is no newer one",
                 "Compare it with the model in use; promote it if it is better.", "models")  # fmt: skip


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


def _tally(verdicts: NDArray) -> Tally:
    return Tally(len(verdicts), *(int((verdicts == name).sum()) for name in ("bad", "unreadable", "not_judged")))


def _state(verdicts: NDArray, running: Sequence[Episode]) -> State:
    if running:
        return "bad"
    if len(verdicts) >= _UNREADABLE_AT_THE_END and (verdicts[-_UNREADABLE_AT_THE_END:] == "unreadable").all():
        return "unreadable"
    judged = verdicts[np.isin(verdicts, JUDGED)]
    if not judged.size:
        return "not_judged" if (verdicts == "not_judged").any() else "unreadable"
    # One healthy bin in thirty is unusual: of those not bad, only the last counts.
    return "watch" if judged[-1] == "watch" or (judged == "bad").any() else "ok"
