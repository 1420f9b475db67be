"""Which days must be made (again): pure decisions, for the sensor, the schedule and the demo.

A day is up to date when its last table was made of the files that the archive has now (see
``bins.archive.Signatures``). What is not, is asked for in few runs over ranges of days.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from typing import Literal

from ifcb_flow_pipeline.store.daily import joined
from ifcb_flow_pipeline.store.ledger import DayEntry
from ifcb_flow_pipeline.store.survey import Survey
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES

#: What a table was made of that is there but damaged or of another version: of nothing that an archive has.
UNUSABLE = "unusable"

#: What a day lacks: everything from the inventory on, what is made of images, or only its scores.
Stage = Literal["all", "images", "scores"]

#: The tables whose state tells what a day lacks.
LOOKED_AT = (BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES)

#: Days in one run: a first look at twenty years becomes some twenty runs.
MAX_DAYS_PER_RUN = 366

#: Tries of the first day or so, at most an hour apart.
_TRIES_OF_A_DAY = 29

#: A run goes over days without bins where that saves a run; they cost next to nothing.
MAX_GAP_DAYS = 7


@dataclass(frozen=True, slots=True)
class DayState:
    """What the archive has for a day, and what its tables were made of; None for a table not made.

    The archive's signatures are empty where it has no bins of that day; ``archive_images``: with the .roi files.
    """

    archive: str
    archive_images: str
    features: str | None
    images: str | None
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
    pending: Mapping[date, "Asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """That a day was asked for: the change that it lacked, how often that was, and from when it may be asked for again
    (seconds since 1970).
    """

    change: str
    times: int
    again: float


def day_states(found: Survey) -> dict[date, DayState]:
    """The state of every day that the archive or the tables have."""
    features, images, scores = (found.made_of.get(table.name, {}) for table in LOOKED_AT)
    none = DayEntry("", 0, (), None)
    return {
        day: DayState(
            archive=found.archive.get(day, none).signature,
            archive_images=found.archive.get(day, none).images,
            features=_usable(features, day),
            images=_usable(images, day),
            scores=scores.get(day),
        )
        for day in sorted({*found.archive, *features, *images, *scores})
    }


def _usable(made_of: Mapping[date, str | None], day: date) -> str | None:
    return UNUSABLE if day in made_of and made_of[day] is None else made_of.get(day)


def plan(
    states: Mapping[date, DayState],
    *,
    with_scores: bool,
    in_flight: Iterable[date] = (),
    asked: Mapping[date, Asked] | None = None,
    held_back: Collection[date] = (),
    now: float = 0.0,
) -> Plan:
    """Decide what to run.

    ``with_scores``: there is a model to score with. ``in_flight``: days that a run is already about; they are
    looked at again when it has ended. ``asked``: the ``pending`` of the last plan: a day that was asked for
    and still is as it was then (its run failed, or could not read all of it) is asked for again by and by, ever more
    rarely: see ``wait``. ``held_back``: days that are not to be asked for now. ``now``: seconds since 1970.
    """
    busy, asked = set(in_flight), asked or {}
    pending: dict[date, Asked] = {}
    wanted: dict[Stage, dict[date, str]] = {"all": {}, "images": {}, "scores": {}}
    for day, state in sorted(states.items()):
        stage = _lacking(state, with_scores)
        if stage is None or day in held_back:
            continue
        change = sha256(f"{stage} {state}".encode()).hexdigest()[:8]
        if day in busy:
            # What it was asked for is remembered, so that it counts as asked should the run fail.
            if day in asked:
                pending[day] = asked[day]
            continue
        before = asked.get(day)
        if before and before.change == change and now < before.again:
            pending[day] = before
            continue
        times = before.times + 1 if before and before.change == change else 1
        pending[day] = Asked(change, times, now + wait(times))
        wanted[stage][day] = f"{change} {times}"
    requests = [request for stage, days in wanted.items() for request in _ranges(stage, days, set(states), busy)]
    return Plan(tuple(requests), pending)


def wait(times: int) -> float:
    """Seconds until a day is asked for again that was asked for so many times: from a minute, so that what a killed
    program left behind is made soon, to an hour, so that what passes by itself is mended within an hour; and after a
    day of trying, 6 hours.
    """
    minutes = 2 ** min(times - 1, 6)
    return 60.0 * min(minutes, 60) if times <= _TRIES_OF_A_DAY else 6 * 3600.0


def missing_disk(found: Survey) -> bool:
    """Whether bins have vanished in such a way that a disk is more likely to be missing than that somebody removed
    them: with a mount; all of a day; all that an instrument or a directory had of a day; more than 10 and 1 % of all.
    """
    lost = found.vanished
    n_vanished = sum(of_day.n_bins for of_day in lost.values())
    return (
        bool(found.lost_mounts)
        or any(of_day.together or of_day.n_bins == found.n_made[day] for day, of_day in lost.items())
        or (n_vanished > 10 and n_vanished > 0.01 * sum(found.n_made.values()))
    )


def vanished_text(found: Survey, root: str) -> str:
    """What to tell people about vanished bins."""
    days = sorted(found.vanished)
    instruments = sorted({name for lost in found.vanished.values() for name in lost.instruments})
    n_bins = sum(lost.n_bins for lost in found.vanished.values())
    of = f" of {', '.join(instruments)}" if instruments else ""
    mounts = ", ".join(f"{root}/{path}".rstrip("/") for path in found.lost_mounts)
    with_mounts = f" {mounts} is no longer the disk that it was." if mounts else ""
    return (
        f"{n_bins} bins{of} vanished from {root}, on {len(days)} days from {days[0]} to {days[-1]}: is a disk missing?"
        f"{with_mounts} Their results are kept. Unless they are back by then, the next nightly run marks them as gone"
    )


def _lacking(state: DayState, with_scores: bool) -> Stage | None:
    # A day without usable bins that was never made lacks nothing; one whose bins disappeared must be remade. Features
    # that were made before .roi files had a signature of their own have the one with them.
    if (state.features or "") not in (state.archive, state.archive_images):
        return "all"
    if (state.images or "") != state.archive_images:
        return "images"
    if with_scores and state.features is not None and state.scores != _wanted_scores(state.features, state.images):
        return "scores"
    return None


def _wanted_scores(features: str, images: str | None) -> str:
    """The signature of scores that are made of these tables."""
    # What could not be read for now is marked at the end.
    unread = "?" if "?" in features + (images or "") else ""
    return joined(features.rstrip("?"), images and images.rstrip("?")) + unread


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
    return not between if stage != "all" else not any(other in known or other in busy for other in between)


def _request(stage: Stage, group: Sequence[date], days: Mapping[date, str]) -> Request:
    key = sha256(" ".join(days[day] for day in group).encode()).hexdigest()[:12]
    return Request(stage, group[0], group[-1], f"{stage} {group[0]} {group[-1]} {key}")
