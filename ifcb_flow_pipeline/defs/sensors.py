"""The sensor that finds new, changed, late and vanished bins and asks for the days concerned.

It remembers, in its cursor, only the days that it has asked for and that are not up to date yet, and when. What is up
to date stands in the tables themselves, so that neither a restart nor a lost cursor loses or repeats a day.
How archives of any size are looked at within a tick is told in ``store.survey``.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from logging import Logger

import dagster as dg

from ifcb_flow_pipeline.days import drop_old_clouds
from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.assets import raw_bins
from ifcb_flow_pipeline.defs.checks import COMPLETENESS
from ifcb_flow_pipeline.defs.jobs import FEATURE_STEPS, IMAGE_STEPS, SCORE_STEPS, daily_flow
from ifcb_flow_pipeline.defs.liveness import fail_dead_runs
from ifcb_flow_pipeline.defs.partitions import FIRST_DAY, days_of_tags, range_tags, today
from ifcb_flow_pipeline.defs.planning import (
    LOOKED_AT,
    Asked,
    DayState,
    Plan,
    Request,
    day_states,
    missing_disk,
    plan,
    vanished_text,
)
from ifcb_flow_pipeline.defs.pruning import prune
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.store.archive import ArchiveError
from ifcb_flow_pipeline.store.daily import BusyError
from ifcb_flow_pipeline.store.left_out import days_outside
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

#: A tick of Dagster fails after 60 s, and goes on running beside the next one. A first look takes several ticks.
TICK_SECONDS = 12.0

#: So many days that changed are reported at once, at most, for people to see: each is a transaction.
_MOST_OBSERVED = 50

STILL_LOOKING = "still looking through the archive; continues at the next tick"

_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dg.sensor(
    job=daily_flow,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the archive every minute and processes the days with new, changed, late or vanished bins.",
)
def new_bins(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.SensorResult:
    """Compare the archive with the tables and ask for the days that differ."""
    found = survey(deployment, Budget(TICK_SECONDS), context.log)
    if not found.complete:
        # Bins that were moved could seem lost until all directories have been looked at.
        return dg.SensorResult(skip_reason=STILL_LOOKING, cursor=context.cursor)
    states = states_with_partition(found, deployment, context.log)
    with_scores = deployment.models.current_id() is not None
    busy, before = days_in_flight(context.instance), _Cursor.of(context.cursor)
    told, held_back = "", frozenset()
    if missing_disk(found):
        # Nothing would be lost. But all of it would be made again, and once more when the disk is back.
        told = vanished_text(found, str(deployment.settings.archive.root))
        held_back = frozenset(day for day, lost in found.vanished.items() if lost.alone)
        context.log.warning(told)
    decided = plan(
        states,
        with_scores=with_scores,
        in_flight=busy,
        asked=before.asked,
        held_back=held_back,
        now=datetime.now(tz=UTC).timestamp(),
    )
    return dg.SensorResult(
        run_requests=[run_request(request, with_scores, checks=_checks_of(request)) for request in decided.requests],
        skip_reason=None if decided.requests else told or _nothing_new(found, decided, busy),
        cursor=_Cursor(decided.pending, told).to_json(),
        asset_events=[
            *lineage.model_changed(context.instance, deployment.models.current_id()),
            *lineage.decisions_changed(context.instance, deployment.labels.decisions()),
            *_changed_days(states, decided),
            *_about_the_disk(found, told, before.told),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Cursor:
    """What the sensor remembers: the days that it asked for, and what it last said of a missing disk."""

    asked: Mapping[date, Asked]
    told: str

    @classmethod
    def of(cls, text: str | None) -> "_Cursor":
        content = json.loads(text or "{}")
        # Cursors of before had the days only, and first of all a text for each.
        days = content.get("asked", content if "told" not in content else {})
        asked = {
            date.fromisoformat(day): Asked(*asked) if isinstance(asked, list) else Asked(asked, 1, 0.0)
            for day, asked in days.items()
        }
        return cls(asked, content.get("told", ""))

    def to_json(self) -> str:
        asked = {day.isoformat(): astuple(asked) for day, asked in self.asked.items()}
        return json.dumps({"asked": asked, "told": self.told})


def _changed_days(states: Mapping[date, DayState], decided: Plan) -> list[dg.AssetObservation]:
    """The latest days that are asked for as the archive has other files of them than they were made of, if at all.

    Dagster notices a change only where it was told of the archive before the day was made.
    """
    changed = [
        day
        for day, asked in decided.pending.items()
        if asked.times == 1 and states[day].images != states[day].archive_images
    ]
    return [lineage.archive_changed(day, states[day].archive_images) for day in changed[-_MOST_OBSERVED:]]


def _about_the_disk(found: Survey, told: str, before: str) -> list[dg.AssetCheckEvaluation]:
    """What the check ``files_are_there`` is to say, where that is news."""
    if told == before:
        return []
    return [
        dg.AssetCheckEvaluation(
            asset_key=raw_bins.key,
            check_name="files_are_there",
            passed=not told,
            severity=dg.AssetCheckSeverity.WARN,
            description=told or "the bins that had vanished are back, or are marked as gone",
            metadata={"vanished_bins": sum(lost.n_bins for lost in found.vanished.values())},
        )
    ]


def _nothing_new(found: Survey, decided: Plan, busy: set[date]) -> str:
    waiting = [day for day in decided.pending if day not in busy]
    told = [f"{found.n_bins} bins, nothing new"]
    told += [f"{len(busy)} days are being processed"] if busy else []
    told += [f"{len(waiting)} days failed or could not be read completely and will be tried again"] if waiting else []
    return "; ".join(told)


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks runs whose process has died as failed, so that they are started again. Once a day, removes "
    "old runs, and old point clouds where IFCB_CLOUD_DAYS says so.",
)
def dead_runs(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.SensorResult:
    """Look at the runs that are started, and once a day at what old ones left; the cursor is the day of that."""
    home, now = deployment.settings.home, datetime.now(tz=UTC)
    dead = fail_dead_runs(context.instance, home, now)
    told = f"{len(dead)} runs whose process is gone: {', '.join(dead)}" if dead else "all runs are alive"
    if context.cursor == now.date().isoformat():
        return dg.SensorResult(skip_reason=told, cursor=context.cursor)
    budget = Budget(TICK_SECONDS)
    n_pruned = prune(context.instance, home, now, budget)
    if n_pruned is None or not _drop_old_clouds(deployment, now, budget):
        return dg.SensorResult(skip_reason=f"{told}; old runs are being removed, continued at the next tick")
    return dg.SensorResult(skip_reason=f"{told}; {n_pruned} old runs and files removed", cursor=now.date().isoformat())


def _drop_old_clouds(deployment: Deployment, now: datetime, budget: Budget) -> bool:
    """Remove the clouds that are no longer kept; whether there was enough time for all of them."""
    tables, cloud_days = deployment.tables, deployment.settings.cloud_days
    for day in tables.days(POINT_CLOUDS) if cloud_days is not None else ():
        if budget.left < 0:
            return False
        with suppress(BusyError), tables.alone(day, timedelta()):  # a run is at it: another night
            drop_old_clouds(tables, day, cloud_days, now)
    return True


def survey(deployment: Deployment, budget: Budget, log: Logger | None, *, thorough: bool = False) -> Survey:
    """Look at the archive and the tables, going on from the last look."""
    surveyor = Surveyor.of(deployment.settings)
    return surveyor.survey(LOOKED_AT, budget, thorough=thorough, log=log)


def states_with_partition(found: Survey, deployment: Deployment, log: Logger | None) -> dict[date, DayState]:
    """The states of the days that have a partition; says which bins have none.

    Raises ArchiveError where the archive is empty although bins of it are known: then the disk is more likely
    to be missing than all bins.
    """
    settings = deployment.settings
    states = day_states(found)
    if not found.n_bins and any(state.features for state in states.values()):
        raise ArchiveError(f"{settings.archive.root} has no bins, but had: is the disk mounted?")
    if found.left_out and log:
        first = found.left_out[0]
        log.warning(f"{len(found.left_out)} bins or files are not used, e.g. {first.pid}: {first.reason}")
    outside = days_outside(found, settings.start_day, today())
    if outside and log:
        log.warning(
            f"{len(outside)} days with bins have no partition, e.g. {outside[0]}: "
            f"set IFCB_START_DAY to an earlier day, or correct the instrument's clock"
        )
    first = max(settings.start_day, FIRST_DAY)
    earlier = [day for day in found.archive if settings.start_day <= day < first]
    if earlier and log:
        log.warning(
            f"{len(earlier)} days with bins, from {earlier[0]} on, are older than the first day known when the "
            "program started: restart it to process them"
        )
    return {day: state for day, state in states.items() if first <= day <= today()}


def days_in_flight(instance: dg.DagsterInstance) -> set[date]:
    """The days that a run is about which has not ended, whoever asked for it."""
    runs = instance.get_runs(filters=dg.RunsFilter(statuses=_UNFINISHED))
    return {day for run in runs for day in days_of_tags(run.tags)}


def run_request(
    request: Request,
    with_scores: bool,
    prefix: str = "",
    checks: Collection[dg.AssetCheckKey] | None = None,
) -> dg.RunRequest:
    """The run that a request asks for, with these checks of the tables that it makes: by default with all."""
    tags: Mapping[str, str] = range_tags(request.first, request.last)
    selection = [step.key for step in steps_of(request, with_scores)]
    wanted = None if checks is None else [key for key in checks if key.asset_key in selection]
    key = prefix + request.key
    return dg.RunRequest(run_key=key, asset_selection=selection, asset_check_keys=wanted, tags=tags)


def _checks_of(request: Request) -> list[dg.AssetCheckKey] | None:
    """Of one day, which is made again with each of its bins, only what has to be known at once; else everything."""
    if request.first != request.last:
        return None
    return [key for check in COMPLETENESS for key in check.check_keys]


def steps_of(request: Request, with_scores: bool) -> tuple[dg.AssetsDefinition, ...]:
    """The assets that a request asks for; scores only where there is a model."""
    if request.stage == "scores":
        return SCORE_STEPS[-1:]
    if request.stage == "images":
        return (raw_bins, *IMAGE_STEPS, *(SCORE_STEPS[-1:] if with_scores else ()))
    return SCORE_STEPS if with_scores else FEATURE_STEPS
