"""The schedules: scoring every day, and retraining (off until someone wants it)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from logging import Logger

import dagster as dg

from ifcb_flow_pipeline.defs.jobs import daily_flow, retrain
from ifcb_flow_pipeline.defs.partitions import FIRST_DAY, today
from ifcb_flow_pipeline.defs.planning import DayState, plan
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.sensors import STILL_LOOKING, days_in_flight, run_request, states_with_partition, survey
from ifcb_flow_pipeline.store.survey import Budget

#: Dagster gives up a schedule after 60 s. This look takes longer than the sensor's, which goes on from it.
_LOOK_SECONDS = 30.0


@dg.schedule(
    job=daily_flow,
    cron_schedule="30 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night at 00:30 UTC: scores yesterday and whatever is missing, including days whose last run "
    "failed.",
)
def daily_scoring(context: dg.ScheduleEvaluationContext, deployment: Deployment) -> list[dg.RunRequest]:
    """Ask for yesterday, whatever its state, and for all days that are not up to date."""
    scheduled = context.scheduled_execution_time or datetime.now(tz=UTC)
    return scoring_requests(deployment, context.instance, scheduled, context.log)


def scoring_requests(
    deployment: Deployment, instance: dg.DagsterInstance, scheduled: datetime, log: Logger
) -> list[dg.RunRequest]:
    """The runs that are due at the time ``scheduled``; only yesterday's as long as a first look goes on."""
    found = survey(deployment, Budget(_LOOK_SECONDS), log, thorough=True)
    if not found.complete:
        log.warning(STILL_LOOKING)
    states = states_with_partition(found, deployment, log) if found.complete else {}
    with_scores = deployment.models.current_id() is not None
    yesterday = min(scheduled.astimezone(UTC).date(), today()) - timedelta(days=1)
    if yesterday >= max(deployment.settings.start_day, FIRST_DAY):
        # Made anew even where nothing seems to have changed: a state unlike any says so.
        known = states.get(yesterday, DayState("", "", None, None, None))
        states[yesterday] = replace(known, features="anew", scores=None)
    decided = plan(states, with_scores=with_scores, in_flight=days_in_flight(instance))
    return [run_request(request, with_scores, f"{scheduled:%Y-%m-%d} ") for request in decided.requests]


weekly_retraining = dg.ScheduleDefinition(
    name="weekly_retraining",
    job=retrain,
    cron_schedule="0 2 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Trains a new model every Monday at 02:00 UTC. Off by default: people decide when to retrain.",
)
