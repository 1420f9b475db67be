"""The schedules: scoring every day, retraining on demand."""

from datetime import UTC, datetime, timedelta
from logging import getLogger

import dagster as dg

from ifcb_flow_pipeline.definitions import defs
from ifcb_flow_pipeline.defs import schedules
from ifcb_flow_pipeline.defs.partitions import days_of_tags, range_tags
from ifcb_flow_pipeline.defs.schedules import daily_scoring, scoring_requests, weekly_retraining
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, IMAGE_STEPS, Pipeline

AFTER_LAST_DAY = datetime(DAYS[-1].year, DAYS[-1].month, DAYS[-1].day, 0, 30, tzinfo=UTC) + timedelta(days=1)
ALL_STEPS = ["raw_bins", "point_clouds", "bin_features", *IMAGE_STEPS, "bin_scores"]


def requests(pipeline: Pipeline, at: datetime) -> list[dg.RunRequest]:
    return scoring_requests(pipeline.deployment, pipeline.instance, at, getLogger("test"))


def due(pipeline: Pipeline, at: datetime) -> list[tuple[list, list[str]]]:
    """Days and assets of the runs that the schedule asks for."""
    return [
        (days_of_tags(r.tags), [key.to_user_string() for key in r.asset_selection or []])
        for r in requests(pipeline, at)
    ]


def test_yesterday_is_scored_even_where_nothing_seems_to_have_changed(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    assert due(pipeline, AFTER_LAST_DAY) == [([DAYS[-1]], ALL_STEPS)]


def test_yesterday_is_made_even_where_it_has_no_bins(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    assert due(pipeline, AFTER_LAST_DAY + timedelta(days=3)) == [([DAYS[-1] + timedelta(days=3)], ALL_STEPS)]


def test_whatever_is_missing_is_asked_for_too(pipeline: Pipeline) -> None:
    assert pipeline.run("daily_flow", DAYS[0], DAYS[0], *ALL_STEPS[:-1]).success
    assert pipeline.run("daily_flow", DAYS[2], DAYS[2], *ALL_STEPS[:-1]).success
    assert pipeline.run("retrain").success
    later = AFTER_LAST_DAY + timedelta(days=30)
    asked = due(pipeline, later)
    assert ([DAYS[1]], ALL_STEPS) in asked
    assert ([DAYS[0]], ["bin_scores"]) in asked
    assert ([DAYS[2]], ["bin_scores"]) in asked
    assert ([later.date() - timedelta(days=1)], ALL_STEPS) in asked


def test_without_a_model_features_are_made_and_nothing_is_scored(pipeline: Pipeline) -> None:
    assert [assets for _, assets in due(pipeline, AFTER_LAST_DAY)] == [ALL_STEPS[:-1]]


def test_a_day_that_a_run_is_about_is_left_to_it(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    job = defs.resolve_job_def("daily_flow")
    pipeline.instance.create_run_for_job(job, tags=range_tags(DAYS[-1], DAYS[-1]))
    assert due(pipeline, AFTER_LAST_DAY) == []


def test_each_days_request_has_a_key_of_its_own(pipeline: Pipeline) -> None:
    keys = set()
    for at in (AFTER_LAST_DAY, AFTER_LAST_DAY + timedelta(days=1)):
        keys |= {request.run_key for request in requests(pipeline, at)}
    assert len(keys) == 2


def test_while_a_first_look_goes_on_only_yesterday_is_asked_for(pipeline: Pipeline, monkeypatch, caplog) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(schedules, "_LOOK_SECONDS", 0.0)
        assert due(pipeline, AFTER_LAST_DAY) == [([DAYS[-1]], ALL_STEPS[:-1])]
        assert "still looking" in caplog.text
    assert due(pipeline, AFTER_LAST_DAY) == [(DAYS, ALL_STEPS[:-1])]


def test_scoring_runs_by_itself_and_retraining_only_when_someone_turns_it_on() -> None:
    assert daily_scoring.default_status == dg.DefaultScheduleStatus.RUNNING
    assert weekly_retraining.default_status == dg.DefaultScheduleStatus.STOPPED
