"""Which days must be made (again): pure decisions, for the sensor, the schedule and the demo.

A day is up to date when its last table was made of the files that the archive has now (see
``bins.archive.signature``). What is not, is asked for in few runs over ranges of days.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from typing import Literal

from ifcb_flow_pipeline.store.survey import Survey
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES

#: What a day lacks: everything from the inventory on, or only its scores.
Stage = Literal["all", "scores"]

#: Days in one run: a first look at twenty years becomes some twenty runs.
MAX_DAYS_PER_RUN = 366

#: A run goes over days without bins where that saves a run; they cost next to nothing.
MAX_GAP_DAYS = 7


@dataclass(frozen=True, slots=True)
class DayState:
    """What the archive has for a day, and what its tables were made of; None for a table not made.

    The archive's signature is empty where it has no bins of that day.
    """

    archive: str
    features: str | None
    scores: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """One run over the days ``first`` to ``last``. ``key`` changes when what it is about does."""

    stage: Stage
    first: date
    last: date
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs to ask for, and for each day that is not up to date what was decided about (see ``plan``)."""

    requests: tuple[Request, ...]
    pending: Mapping[date, str]


def day_states(found: Survey) -> dict[date, DayState]:
    """The state of every day that the archive or the tables have."""
    features, scores = (found.made_of.get(table.name, {}) for table in (BIN_FEATURES, BIN_SCORES))
    return {
        day: DayState(
            archive=found.archive[day].signature if day in found.archive else "",
            features=features.get(day),
            scores=scores.get(day),
        )
        for day in sorted({*found.archive, *features, *scores})
    }


def plan(
    states: Mapping[date, DayState],
    *,
    with_scores: bool,
    in_flight: Iterable[date] = (),
    asked: Mapping[date, str] | None = None,
) -> Plan:
    """Decide what to run.

    ``with_scores``: there is a model to score with. ``in_flight``: days that a run is already about; they are
    looked at again when it has ended. ``asked``: the ``pending`` of the last plan: a day that was asked for
    and still is as it was then is not asked for again (its run failed; the daily schedule tries once more).
    """
    busy, asked = set(in_flight), asked or {}
    pending: dict[date, str] = {}
    wanted: dict[Stage, dict[date, str]] = {"all": {}, "scores": {}}
    for day, state in sorted(states.items()):
        stage = _lacking(state, with_scores)
        if stage is None:
            continue
        change = sha256(f"{stage} {state}".encode()).hexdigest()[:8]
        if day in busy:
            # What it was asked for is remembered, so that it counts as asked should the run fail.
            if day in asked:
                pending[day] = asked[day]
            continue
        pending[day] = change
        if asked.get(day) != change:
            wanted[stage][day] = change
    requests = [request for stage, days in wanted.items() for request in _ranges(stage, days, set(states), busy)]
    return Plan(tuple(requests), pending)


def _lacking(state: DayState, with_scores: bool) -> Stage | None:
    # A day without usable bins that was never made lacks nothing; one whose bins disappeared must be remade.
    if (state.features or "") != state.archive:
        return "all"
    if with_scores and state.features is not None and state.scores != state.features:
        return "scores"
    return None


def _ranges(stage: Stage, days: Mapping[date, str], known: set[date], busy: set[date]) -> list[Request]:
    groups: list[list[date]] = []
    for day in days:
        if groups and _joins(groups[-1], day, stage, known, busy):
            groups[-1].append(day)
        else:
            groups.append([day])
    return [_request(stage, group, days) for group in groups]


def _joins(group: Sequence[date], day: date, stage: Stage, known: set[date], busy: set[date]) -> bool:
    between = [group[-1] + timedelta(days=i) for i in range(1, (day - group[-1]).days)]
    if len(between) > MAX_GAP_DAYS or (day - group[0]).days >= MAX_DAYS_PER_RUN:
        return False
    # Days in between would be run too: only those that have nothing may be, and for scores none can be.
    return not between if stage == "scores" else not any(other in known or other in busy for other in between)


def _request(stage: Stage, group: Sequence[date], days: Mapping[date, str]) -> Request:
    key = sha256(" ".join(days[day] for day in group).encode()).hexdigest()[:12]
    return Request(stage, group[0], group[-1], f"{stage} {group[0]} {group[-1]} {key}")
