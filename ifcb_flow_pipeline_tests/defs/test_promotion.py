"""Champion and challenger through Dagster: a worse model stays a challenger; promotion and rollback are one action."""

import re
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest

from ifcb_flow_pipeline import days, promotion
from ifcb_flow_pipeline.store.labels import Label, RangeLabel
from ifcb_flow_pipeline.store.tables import BIN_SCORES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, HOURS, N_A_DAY, Pipeline

#: A forest that calls half of its training bins bad.
WORSE = {"feature_set": "reference", "contamination": 0.5}


@pytest.fixture(autouse=True)
def _few_planted_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "PLANTED_BINS", 10)


def train(pipeline: Pipeline, **config: object) -> tuple[str, dg.ExecuteInProcessResult]:
    """Train a model; its id, and the run."""
    result = pipeline.run("retrain", anomaly_model={"config": config})
    newest = pipeline.deployment.models.newest_id()
    assert newest
    return newest, result


def check_of(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    [check] = [c for c in result.get_asset_check_evaluations() if c.check_name == "challenger_is_no_worse"]
    return check


def scored_by(pipeline: Pipeline) -> set[str]:
    return set(pipeline.deployment.tables.read_range(BIN_SCORES, DAYS[0], DAYS[-1])["model_id"].to_pylist())


def test_the_first_model_comes_into_use_by_itself(made: Pipeline) -> None:
    [change] = made.deployment.models.history()
    assert (change.action, change.previous) == ("promote", None)
    assert change.who.startswith("run ")
    assert change.note == "no model is active yet: this is the first"


def test_a_challenger_that_is_no_worse_comes_into_use_by_the_run_that_trained_it(made: Pipeline) -> None:
    first = made.deployment.models.current_id()
    second, result = train(made, random_seed=7)
    assert result.success
    assert check_of(result).passed
    assert made.deployment.models.current_id() == second != first
    metadata = made.metadata("anomaly_model")
    assert metadata["in_use"].value is True
    assert str(metadata["challenger"].value) == f"no worse than {first} on {3 * N_A_DAY} bins"
    assert "planted air" in str(metadata["called_bad"].value)


def test_a_worse_challenger_is_kept_but_stays_out_of_use_and_the_run_stops_before_it_scores(made: Pipeline) -> None:
    champion = made.deployment.models.current_id()
    challenger, result = train(made, **WORSE)
    assert not result.success
    check = check_of(result)
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert f"worse than {champion}: it " in str(check.description)
    assert re.search(r"it calls [3-9]\d% of the bins bad that the active model does not", str(check.description))
    assert int(str(check.metadata["changed_verdicts"].value)) >= 8
    assert made.deployment.models.current_id() == champion
    assert {champion, challenger} == set(made.deployment.models.ids())
    assert made.metadata("anomaly_model")["in_use"].value is False


def test_a_model_that_is_not_to_be_used_stays_out_of_use_however_good_it_is(made: Pipeline) -> None:
    champion = made.deployment.models.current_id()
    second, result = train(made, random_seed=7, use=False)
    assert result.success
    assert made.deployment.models.current_id() == champion != second


def test_promotion_rescoring_and_rollback_each_are_one_run(made: Pipeline) -> None:
    champion = made.deployment.models.current_id()
    second, _ = train(made, random_seed=7, use=False)
    config = {"model_id": second, "who": "ann", "note": "new pump"}
    assert made.run("promote_model", promote_kept_model={"config": config}).success
    assert made.deployment.models.current_id() == second
    assert scored_by(made) == {champion}
    assert made.run("daily_flow", DAYS[0], DAYS[-1], "bin_scores").success
    assert scored_by(made) == {second}

    result = made.run("rollback_model", return_to_previous_model={"config": {"who": "bob"}})
    assert result.success
    assert made.deployment.models.current_id() == champion
    assert made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores").success
    assert scored_by(made) == {champion, second}
    changes = [(c.action, c.model_id, c.who) for c in made.deployment.models.history()][1:]
    assert changes == [("promote", second, "ann"), ("rollback", champion, "bob")]


def test_a_worse_model_is_promoted_only_on_purpose(made: Pipeline) -> None:
    worse, _ = train(made, **WORSE)
    config = {"model_id": worse}
    refused = made.run("promote_model", promote_kept_model={"config": config})
    assert not refused.success
    [failure] = [event for event in refused.all_events if event.is_step_failure]
    assert "to activate it anyway, set even-if-worse" in str(failure.step_failure_data.user_failure_data.description)
    assert made.deployment.models.current_id() != worse
    assert made.run("promote_model", promote_kept_model={"config": config | {"even_if_worse": True}}).success
    assert made.deployment.models.current_id() == worse


@pytest.mark.parametrize(
    ("job", "config"),
    [
        ("promote_model", {"promote_kept_model": {"config": {"model_id": "nonesuch"}}}),
        ("rollback_model", {}),
    ],
)
def test_what_cannot_be_promoted_or_returned_to_fails_and_changes_nothing(made: Pipeline, job, config) -> None:
    before = made.deployment.models.history()
    assert not made.run(job, **config).success
    assert made.deployment.models.history() == before


def test_bins_that_people_called_bad_teach_neither_kind_of_model(made: Pipeline) -> None:
    rows = made.deployment.tables.read(BIN_SCORES, DAYS[0])
    assert rows is not None
    pid = rows["pid"][0].as_py()
    at = datetime(2023, 8, 11, tzinfo=UTC)
    made.deployment.labels.add([Label(pid, "bad", ("bubbles",), "", "ann", at, "triage")])
    for feature_set in ("full", "reference"):
        newest, _ = train(made, feature_set=feature_set, use=False)
        assert made.deployment.models.card(newest).excluded["labelled_bad"] == [pid]
        card = made.deployment.models.card(newest)
        assert card.n_bins + len(card.excluded.get("rejected", [])) == 3 * N_A_DAY - 1
        agreement = str(made.metadata("anomaly_model")["people_agree"].value)
        assert ("0 good and 1 bad bins: precision " in agreement) == (feature_set == "full")


def test_bins_of_a_range_teach_as_if_each_was_decided_about_and_context_teaches_nothing(made: Pipeline) -> None:
    at, noon = datetime(2023, 8, 20, tzinfo=UTC), datetime(2023, 8, 10, 12, tzinfo=UTC)
    bad = RangeLabel("IFCB134", noon, noon + timedelta(hours=7), "bad", (), "intake closed", "ann", at)
    test = RangeLabel("IFCB124", noon, noon + timedelta(hours=1), "bad", ("context",), "lab test", "ann", at)
    lost = RangeLabel("IFCB999", noon, noon + timedelta(hours=1), "bad", (), "", "ann", at)
    made.deployment.labels.add([], [bad, test, lost])
    for feature_set in ("full", "reference"):
        newest, _ = train(made, feature_set=feature_set, use=False)
        card = made.deployment.models.card(newest)
        assert card.excluded["labelled_bad"] == [f"D20230810T{hour}0000_IFCB134" for hour in HOURS if 12 <= hour < 19]
        assert card.n_bins + card.n_excluded == len(DAYS) * N_A_DAY - 1
    labels = made.deployment.labels.decisions()
    assert days.unmatched(made.deployment.tables, days.TrainingWindow(), labels) == [lost.name]
    assert days.unmatched(made.deployment.tables, days.TrainingWindow(last=date(2023, 8, 1)), labels) == []


def test_where_features_are_made_in_another_way_the_old_model_is_no_rival(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IFCB_TRIGGERS", "all")
    assert made.run("daily_flow", DAYS[0], DAYS[-1], "bin_features").success
    newest, result = train(made, **WORSE)
    assert result.success
    assert made.deployment.models.current_id() == newest


def test_bins_without_stored_clouds_are_compared_without_planted_faults(made: Pipeline) -> None:
    for path in (made.deployment.tables.root / "point_clouds").rglob("*.parquet"):
        path.unlink()
    _, result = train(made, random_seed=7)
    assert result.success
    assert "planted" not in str(made.metadata("anomaly_model")["called_bad"].value)
