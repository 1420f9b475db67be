"""Running the pipeline from a command, recorded like any other run: for the demo and for a first look."""

import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg

from ifcb_flow_pipeline.defs.metadata import day_text
from ifcb_flow_pipeline.defs.partitions import days_of_tags, range_tags
from ifcb_flow_pipeline.defs.planning import Request, plan
from ifcb_flow_pipeline.defs.records import held_open
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.sensors import states_with_partition, steps_of, survey
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.survey import Budget

#: Runs say on the console only what went wrong; everything else is in the UI.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RunFailedError(FlowError):
    """A run did not succeed; the message is that of its first failed step."""


def prepare_dagster_home(home: Path) -> Path:
    """Make Dagster's folder inside the data folder, with this project's settings unless it has its own.

    Returns its path, which must become DAGSTER_HOME: so nothing is lost with a temporary folder.
    """
    folder = home / "dagster"
    private_folder(folder)
    if not (folder / "dagster.yaml").exists():
        packaged = files("ifcb_flow_pipeline.defs").joinpath("dagster.yaml").read_text()
        (folder / "dagster.yaml").write_text(packaged)
    return folder


def bring_up_to_date(deployment: Deployment, echo: Callable[[str], object]) -> None:
    """Make the features of every day that lacks them, train a model where there is none, and score."""
    os.environ["DAGSTER_HOME"] = str(prepare_dagster_home(deployment.settings.home))
    with dg.DagsterInstance.get() as instance:
        _run_requests(instance, deployment, echo, with_scores=False)
        if deployment.models.current_id() is None:
            run_job(instance, "retrain", {}, None)
            card = deployment.models.card()
            echo(f"Model {card.model_id}: trained on {card.n_bins} bins, {card.n_excluded} excluded")
        _run_requests(instance, deployment, echo, with_scores=True)


def _run_requests(
    instance: dg.DagsterInstance, deployment: Deployment, echo: Callable[[str], object], *, with_scores: bool
) -> None:
    found = survey(deployment, Budget(), None)
    while not found.complete:  # directories appeared meanwhile
        found = survey(deployment, Budget(), None)
    states = states_with_partition(found, deployment, None)
    for request in plan(states, with_scores=with_scores).requests:
        tags = range_tags(request.first, request.last)
        echo(f"{_what(request)} of {day_text(days_of_tags(tags))} ...")
        run_job(instance, "daily_flow", tags, [step.key for step in steps_of(request, with_scores)])


def _what(request: Request) -> str:
    return {"all": "Raw bins, point clouds, features and images", "images": "Images", "scores": "Scores"}[request.stage]


def run_job(
    instance: dg.DagsterInstance, job: str, tags: Mapping[str, str], selection: list[dg.AssetKey] | None
) -> None:
    """Run a job in this process. Raises RunFailedError."""
    from ifcb_flow_pipeline.definitions import defs

    with held_open():
        result: Any = defs.resolve_job_def(job).execute_in_process(
            instance=instance, tags=dict(tags), asset_selection=selection, run_config=_QUIET, raise_on_error=False
        )
    if not result.success:
        failures = [event for event in result.all_events if event.is_step_failure]
        error = failures[0].step_failure_data.user_failure_data or failures[0].step_failure_data.error
        raise RunFailedError(
            f"the run of {job} failed: {getattr(error, 'description', None) or error.message}" if failures
            else f"the run of {job} failed; see it in the Dagster UI (ifcb-flow serve)"
        )  # fmt: skip
