"""Starting the pipeline's jobs from the app, and how far they are, through Dagster's own interface (GraphQL).

Belongs here: what is asked of Dagster, and the button that asks it. Where IFCB_DAGSTER_URL is not set, or Dagster does
not answer, the buttons say so. The people in IFCB_OPERATORS may start jobs; where it is empty, every reviewer may.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Literal

import streamlit as st

from app.data import Stores, utc_now
from app.reviewer import known_reviewer
from app.words import plain, sentence, span
from ifcb_flow_pipeline.errors import FlowError

_TIMEOUT_S = 10.0

#: Dagster's own name of the only repository of a code location, and ours of that.
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "ifcb_flow_pipeline"}

#: How often it is asked how far a run is.
_EVERY = timedelta(seconds=2)

_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message }
  ... on PipelineNotFoundError { message } ... on UnauthorizedError { message } } }"""

_ASK = """query ($run: ID!) { runOrError(runId: $run) { __typename ... on Run {
  status startTime endTime stepStats { stepKey status } } } }"""

_WHY = """query ($run: ID!) { logsForRun(runId: $run) { __typename ... on EventConnection { events {
  __typename ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } }
  ... on RunFailureEvent { message } } } } }"""

State = Literal["waiting", "running", "done", "failed"]

_STATES: Mapping[str, State] = {"SUCCESS": "done", "FAILURE": "failed", "CANCELED": "failed", "STARTED": "running",
                                "CANCELING": "running"}  # fmt: skip


class DagsterError(FlowError):
    """Dagster does not answer, or refuses what it is asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the pipeline: its name in Dagster, configuration and tags of the run, and the assets that it is about
    (empty: all of the job).
    """

    name: str
    config: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    assets: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. ``steps``: names of the steps that are done; ``why``: what failed, in words."""

    state: State
    steps: tuple[str, ...]
    started: datetime | None
    why: str = ""


def scoring(first: date, last: date) -> Job:
    """Scores days (both included) with the model in use."""
    return Job("daily_flow", tags=_days(first, last), assets=("bin_scores",))


def processing(first: date, last: date) -> Job:
    """Makes all tables of days (both included), from the archive on."""
    return Job("daily_flow", tags=_days(first, last))


def training() -> Job:
    """Trains a model, which is activated unless it is worse."""
    return Job("retrain")


def activating(model_id: str, who: str, note: str = "") -> Job:
    """Makes a kept model the active one, unless it is worse."""
    config = {"model_id": model_id, "who": who, "note": note}
    return Job("promote_model", {"ops": {"promote_kept_model": {"config": config}}})


def rolling_back(who: str, note: str = "") -> Job:
    """Makes the model active again that was so before."""
    return Job("rollback_model", {"ops": {"return_to_previous_model": {"config": {"who": who, "note": note}}}})


def launch(address: str, job: Job) -> str:
    """Start a run; returns its id. Raises DagsterError."""
    selector: dict[str, Any] = {**_REPOSITORY, "jobName": job.name}
    if job.assets:
        selector["assetSelection"] = [{"path": [name]} for name in job.assets]
    tags = [{"key": key, "value": value} for key, value in job.tags.items()]
    params = {"selector": selector, "runConfigData": json.dumps(job.config), "mode": "default",
              "executionMetadata": {"tags": tags}}  # fmt: skip
    answer = _ask(address, _LAUNCH, {"params": params})["launchRun"]
    if answer["__typename"] != "LaunchRunSuccess":
        errors = [answer.get("message", ""), *(error["message"] for error in answer.get("errors", ()))]
        raise DagsterError(
            f"Dagster refuses the job {job.name}: {'; '.join(filter(None, errors)) or answer['__typename']}"
        )
    return answer["run"]["runId"]


def progress(address: str, run_id: str) -> Progress:
    """How far a run is. Raises DagsterError."""
    answer = _ask(address, _ASK, {"run": run_id})["runOrError"]
    if answer["__typename"] != "Run":
        raise DagsterError("Dagster does not know the run any more")
    state = _STATES.get(answer["status"], "waiting")
    done = tuple(step["stepKey"] for step in answer["stepStats"] or () if step["status"] == "SUCCESS")
    started = datetime.fromtimestamp(answer["startTime"], utc_now().tzinfo) if answer["startTime"] else None
    return Progress(state, done, started, _why(address, run_id) if state == "failed" else "")


def button(stores: Stores, label: str, job: Job, key: str, icon: str = ":material/play_arrow:", **look: Any) -> None:
    """A button that starts a job; ``latest`` shows how far it is."""
    # People's browsers may know Dagster under another address than this program does.
    shown = stores.settings.dagster_url
    address = stores.settings.dagster_internal_url or shown
    allowed, why = _may_start(), "Only the people in IFCB_OPERATORS start jobs"
    if address is None:
        allowed, why = False, "Set IFCB_DAGSTER_URL to start jobs from here"

    def start() -> None:
        try:
            st.session_state[_RUN] = _Started(label, address or "", shown or "", launch(address or "", job))
        except DagsterError as error:
            st.session_state[_RUN] = error

    st.button(label, icon=icon, key=key, on_click=start, disabled=not allowed, help=None if allowed else why, **look)


def latest() -> None:
    """How far the job is that was started last in this session; nothing where none was, or it was dismissed."""
    found = st.session_state.get(_RUN)
    if isinstance(found, DagsterError):
        st.error(sentence(str(found)))
    elif found is not None:
        _followed(found)


#: Key of the session's state.
_RUN = "run_started"


@dataclass(slots=True)
class _Started:
    """A run of this session, and how it ended (None: not yet). ``address``: where Dagster is asked; ``shown``: where
    people look at it, empty where nobody knows.
    """

    label: str
    address: str
    shown: str
    run_id: str
    ended: Progress | None = None


@st.fragment(run_every=_EVERY)
def _followed(run: _Started) -> None:
    """How far a run is, asked again and again until it ends."""
    try:
        found = run.ended or progress(run.address, run.run_id)
    except DagsterError as error:
        st.warning(sentence(str(error)))
        return
    if found.state in ("done", "failed") and run.ended is None:
        run.ended = found
        st.rerun()  # what the page shows has changed
    link = f" ([see the run]({run.shown}/runs/{run.run_id}))" if run.shown else ""
    steps = f", done: {', '.join(name.replace('_', ' ') for name in found.steps)}" if found.steps else ""
    why = plain(found.why) or "Dagster does not say why"
    since = f" for {span(utc_now() - found.started)}" if found.started else ""
    said: Mapping[State, str] = {
        "waiting": f":material/schedule: **{plain(run.label)}** is waiting to start",
        "running": f":material/progress_activity: **{plain(run.label)}** has been running{since}{plain(steps)}",
        "done": f":green[:material/check_circle:] **{plain(run.label)}** has finished",
        "failed": f":red[:material/error:] **{plain(run.label)}** failed: {why}",
    }
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.markdown(f"{said[found.state]}{link}", width="stretch")
        if run.ended is not None and st.button("Dismiss", key="dismiss_run", type="tertiary"):
            del st.session_state[_RUN]
            st.rerun()


def _may_start() -> bool:
    operators = {" ".join(name.split()) for name in os.environ.get("IFCB_OPERATORS", "").split(",")} - {""}
    return not operators or known_reviewer() in operators


def _days(first: date, last: date) -> dict[str, str]:
    # Dagster's own names of these tags (see defs/partitions.py, which this app does not load).
    return {"dagster/asset_partition_range_start": f"{first}", "dagster/asset_partition_range_end": f"{last}"}


def _why(address: str, run_id: str) -> str:
    answer = _ask(address, _WHY, {"run": run_id})["logsForRun"]
    for event in answer.get("events", ()):
        told = (event.get("failureMetadata") or {}).get("description") or (event.get("error") or {}).get("message")
        if event["__typename"] == "ExecutionStepFailureEvent" and told:
            return told
    return next((event["message"] for event in answer.get("events", ()) if event.get("message")), "")


def _ask(address: str, question: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    body = json.dumps({"query": question, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"Content-Type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - an address of the settings
            found = json.load(answer)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        raise DagsterError(f"Dagster does not answer at {address}: {error}") from error
    if found.get("errors"):
        raise DagsterError(f"Dagster refuses: {found['errors'][0].get('message', 'no reason given')}")
    return found["data"]
