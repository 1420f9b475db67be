"""Running the pipeline from a command, recorded like any other run: for the demo and for a first look."""

import os
from collections.abc import Callable, Mapping
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import dagster as dg
import yaml

from ifcb_flow_pipeline.defs.metadata import day_text
from ifcb_flow_pipeline.defs.partitions import days_of_tags, range_tags
from ifcb_flow_pipeline.defs.planning import Request, plan
from ifcb_flow_pipeline.defs.records import held_open
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.sensors import states_with_partition, steps_of, survey
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.database import VARIABLE, Database, DatabaseError
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.survey import Budget

#: Runs say on the console only what went wrong; everything else is in the UI.
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


#: So long, in seconds, the database may take to answer before it counts as gone.
_DATABASE_SECONDS = 10


class RunFailedError(FlowError):
    """A run did not succeed; the message is that of its first failed step."""


def prepare_dagster_home(settings: Settings) -> dict[str, str]:
    """Make Dagster's folder inside the data folder, with this project's settings unless it has its own.

    Returns what must be in the environment of all that uses it: so nothing is lost with a temporary folder, and all of
    it uses the same database. Raises DatabaseError where there is one that cannot be used.
    """
    folder = settings.home / "dagster"
    private_folder(folder)
    path = folder / "dagster.yaml"
    storage, before = _packaged("postgres.yaml"), path.read_text() if path.exists() else ""
    own = before.replace(storage, "") or _packaged("dagster.yaml")
    wanted = own
    if settings.database is not None:
        if "storage" in (yaml.safe_load(own) or {}):
            raise DatabaseError(f"{path} says where the records are, and so does {VARIABLE}: take one of them away")
        check_database(settings.database)
        wanted = own + storage
    if wanted != before:
        # Moved into place whole: another program may be reading it.
        with NamedTemporaryFile("w", dir=folder, prefix=".dagster.yaml.", delete=False) as file:
            file.write(wanted)
        Path(file.name).replace(path)
    return {"DAGSTER_HOME": str(folder)} | ({VARIABLE: settings.database.url} if settings.database else {})


def _packaged(name: str) -> str:
    return files("ifcb_flow_pipeline.defs").joinpath(name).read_text()


def check_database(database: Database) -> None:
    """See that the database answers. Raises DatabaseError, without a password, where it does not."""
    missing = [name for name in ("dagster_postgres", "psycopg2") if find_spec(name) is None]
    if missing:
        raise DatabaseError(
            f"{VARIABLE} needs {' and '.join(missing)}: install what PostgreSQL takes with "
            "pip install 'ifcb-flow-pipeline[postgres]'"
        )
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, DBAPIError
    from sqlalchemy.pool import NullPool

    try:
        patience = {"connect_timeout": _DATABASE_SECONDS}
        create_engine(database.url, poolclass=NullPool, connect_args=patience).connect().close()
    except (ArgumentError, DBAPIError) as error:
        said = str(getattr(error, "orig", None) or "it is no address that SQLAlchemy knows").strip()
        raise DatabaseError(
            f"the database {database} of {VARIABLE} cannot be used: {said}; is it running, is there a database and a "
            "user of these names, and has it the password?"
        ) from None


def bring_up_to_date(deployment: Deployment, echo: Callable[[str], object]) -> None:
    """Make the features of every day that lacks them, train a model where there is none, and score."""
    os.environ |= prepare_dagster_home(deployment.settings)
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
            instance=instance, tags=dict(tags), asset_selection=selection, run_config=QUIET, raise_on_error=False
        )
    if not result.success:
        failures = [event for event in result.all_events if event.is_step_failure]
        error = failures[0].step_failure_data.user_failure_data or failures[0].step_failure_data.error
        raise RunFailedError(
            f"the run of {job} failed: {getattr(error, 'description', None) or error.message}" if failures
            else f"the run of {job} failed; see it in the Dagster UI (ifcb-flow serve)"
        )  # fmt: skip
