"""Jobs that are started from the app: what is asked of Dagster, and what is said of its answers."""

import json
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app import data, runs
from app.runs import DagsterError, Progress
from ifcb_flow_pipeline_tests.app.reviewed import open_page, press, said


class _Dagster(HTTPServer):
    """Answers every question with ``answer``, and keeps what it was asked."""

    answer: dict[str, Any]
    asked: list[dict[str, Any]]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Dagster

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(json.loads(body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
        pass


@pytest.fixture
def dagster() -> Iterator[_Dagster]:
    server = _Dagster(("127.0.0.1", 0), _Handler)
    server.answer, server.asked = {}, []
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_scoring_asks_for_the_scores_of_the_days_and_nothing_else(dagster: _Dagster):
    dagster.answer = {"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}}}
    assert runs.launch(dagster.address, runs.scoring(date(2026, 3, 1), date(2026, 3, 2))) == "r1"
    params = dagster.asked[0]["variables"]["params"]
    assert params["selector"]["jobName"] == "daily_flow"
    assert params["selector"]["assetSelection"] == [{"path": ["bin_scores"]}]
    assert [tag["value"] for tag in params["executionMetadata"]["tags"]] == ["2026-03-01", "2026-03-02"]


def test_activating_a_model_says_who_wants_it(dagster: _Dagster):
    dagster.answer = {"data": {"launchRun": {"__typename": "LaunchRunSuccess", "run": {"runId": "r1"}}}}
    runs.launch(dagster.address, runs.activating("flow-1", "Ada"))
    config = json.loads(dagster.asked[0]["variables"]["params"]["runConfigData"])
    assert config["ops"]["promote_kept_model"]["config"] == {"model_id": "flow-1", "who": "Ada", "note": ""}


def test_a_job_that_dagster_refuses_is_an_error_with_its_reason(dagster: _Dagster):
    dagster.answer = {
        "data": {"launchRun": {"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no"}]}}
    }
    with pytest.raises(DagsterError, match="refuses the job retrain: no"):
        runs.launch(dagster.address, runs.training())


def test_a_dagster_that_does_not_answer_is_an_error_that_names_its_address():
    with pytest.raises(DagsterError, match=r"does not answer at http://127\.0\.0\.1:9"):
        runs.launch("http://127.0.0.1:9", runs.training())


def test_a_run_is_as_far_as_dagster_says(dagster: _Dagster):
    steps = [{"stepKey": "point_clouds", "status": "SUCCESS"}, {"stepKey": "bin_features", "status": "IN_PROGRESS"}]
    run = {"__typename": "Run", "status": "STARTED", "startTime": 1.0, "endTime": None, "stepStats": steps}
    dagster.answer = {"data": {"runOrError": run}}
    found = runs.progress(dagster.address, "r1")
    assert (found.state, found.steps) == ("running", ("point_clouds",))
    dagster.answer = {"data": {"runOrError": {"__typename": "RunNotFoundError"}}}
    with pytest.raises(DagsterError, match="does not know the run"):
        runs.progress(dagster.address, "r1")


def test_a_run_that_failed_says_why(dagster: _Dagster):
    run = {"__typename": "Run", "status": "FAILURE", "startTime": 1.0, "endTime": 2.0, "stepStats": []}
    failure = {"__typename": "ExecutionStepFailureEvent", "failureMetadata": {"description": "it is worse"},
               "error": None}  # fmt: skip
    dagster.answer = {"data": {"runOrError": run, "logsForRun": {"events": [failure]}}}
    assert runs.progress(dagster.address, "r1").why == "it is worse"


def test_without_an_address_of_dagster_no_job_can_be_started(store: Path, monkeypatch):
    monkeypatch.delenv("IFCB_DAGSTER_URL", raising=False)
    button = open_page("models").button(key="train")
    assert button.disabled
    assert "IFCB_DAGSTER_URL" in button.help


def test_a_job_is_started_with_a_press_and_its_end_is_told_on_every_page(store: Path, monkeypatch):
    monkeypatch.setenv("IFCB_DAGSTER_URL", "http://dagster")
    started = []
    monkeypatch.setattr(runs, "launch", lambda address, job: started.append((address, job.name)) or "r1")
    monkeypatch.setattr(runs, "progress", lambda *_: Progress("failed", (), None, "it is worse"))
    app = press(open_page("models"), "train")
    assert started == [("http://dagster", "retrain")]
    assert "**Train a new model** failed: it is worse" in said(app)
    app.switch_page("views/overview.py")
    assert "failed: it is worse" in said(app.run())
    assert "failed" not in said(press(app, "dismiss_run"))


def test_only_operators_start_jobs_where_some_are_named(store: Path, monkeypatch):
    monkeypatch.setenv("IFCB_DAGSTER_URL", "http://dagster")
    monkeypatch.setenv("IFCB_OPERATORS", "Bo, Cleo")
    assert open_page("models", "Ada").button(key="train").disabled
    assert not open_page("models", "Cleo").button(key="train").disabled
    assert data.stores().in_dagster("assets") == "http://dagster/assets"


def test_the_app_asks_dagster_at_one_address_and_shows_people_another(store: Path, monkeypatch):
    monkeypatch.setenv("IFCB_DAGSTER_URL", "https://dagster.example")
    monkeypatch.setenv("IFCB_DAGSTER_INTERNAL_URL", "http://webserver:3000")
    asked = []
    monkeypatch.setattr(runs, "launch", lambda address, _: asked.append(address) or "r1")
    monkeypatch.setattr(runs, "progress", lambda address, _: asked.append(address) or Progress("done", (), None))
    app = press(open_page("models"), "train")
    assert set(asked) == {"http://webserver:3000"}
    assert "https://dagster.example/runs/r1" in said(app)
    assert "webserver" not in said(app)
