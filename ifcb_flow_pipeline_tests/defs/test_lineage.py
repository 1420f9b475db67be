"""Dagster is told what is true: what depends on what, and which version of it there is."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from ifcb_flow_pipeline import promotion
from ifcb_flow_pipeline.days import HISTORY_DAYS
from ifcb_flow_pipeline.definitions import defs
from ifcb_flow_pipeline.defs.assets import anomaly_model, bin_scores
from ifcb_flow_pipeline.defs.lineage import table_version
from ifcb_flow_pipeline.defs.partitions import DATA_VERSION_TAG
from ifcb_flow_pipeline.store.labels import Label
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS, TABLES
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, Pipeline
from ifcb_flow_pipeline_tests.defs.test_sensor import carry_out, days_asked_for, tick

MODEL = dg.AssetKey("anomaly_model")

#: Dagster's tag that says which version of an asset another was made of.
MADE_OF = "dagster/input_data_version/"


def tags(pipeline: Pipeline, asset: str, day) -> dict[str, str]:
    """The tags of the latest materialization."""
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[str(day)])
    [record] = pipeline.instance.fetch_materializations(wanted, limit=1).records
    assert record.asset_materialization
    return dict(record.asset_materialization.tags or {})


def model_version(pipeline: Pipeline) -> str | None:
    event = pipeline.instance.get_latest_materialization_event(MODEL)
    assert event
    assert event.asset_materialization
    return (event.asset_materialization.tags or {}).get(DATA_VERSION_TAG)


def events(result: dg.SensorResult, asset: str) -> list:
    found = [event for event in result.asset_events or [] if event.asset_key == dg.AssetKey(asset)]
    return [event for event in found if not isinstance(event, dg.AssetCheckEvaluation)]


def test_scores_of_a_day_depend_on_the_features_of_its_days_of_history() -> None:
    graph = defs.resolve_asset_graph()
    scores = graph.get(dg.AssetKey("bin_scores"))
    mapping = scores.partition_mappings[dg.AssetKey("bin_features")]
    assert mapping == dg.TimeWindowPartitionMapping(start_offset=-HISTORY_DAYS, end_offset=0)
    assert graph.get(dg.AssetKey("raw_bins")).parent_keys == {dg.AssetKey("archive")}
    assert graph.get(MODEL).parent_keys == {dg.AssetKey("bin_features"), dg.AssetKey("decisions")}


def test_every_day_is_recorded_under_the_version_of_the_files_that_it_was_made_of(pipeline: Pipeline) -> None:
    pipeline.make_everything()
    tables = pipeline.deployment.tables
    versions = {(table.name, day): table_version(tables.provenance(table, day)) for table in TABLES for day in DAYS}
    assert len(set(versions.values())) == len(versions)
    assert {key: tags(pipeline, *key)[DATA_VERSION_TAG] for key in versions} == versions
    for (name, day), version in versions.items():
        made_of = tables.provenance(BIN_SCORES, day)
        assert made_of
        # No bin has a .roi file: the signature with them is the one without.
        assert set(made_of.signature.split()) == {version.split()[0]}, f"{name} of {day}"
    # A day alone has the version that it has in a range.
    assert pipeline.run("daily_flow", DAYS[1], DAYS[1]).success
    assert {key: tags(pipeline, *key)[DATA_VERSION_TAG] for key in versions} == versions
    for day in DAYS:
        assert tags(pipeline, "bin_scores", day)[MADE_OF + "anomaly_model"] == pipeline.deployment.models.current_id()


def test_a_changed_day_has_another_version_and_the_others_keep_theirs(pipeline: Pipeline) -> None:
    assert pipeline.run("daily_flow", DAYS[0], DAYS[-1], "raw_bins").success
    before = [tags(pipeline, "raw_bins", day)[DATA_VERSION_TAG] for day in DAYS]
    pipeline.add_bin(DAYS[1], 3)
    assert pipeline.run("daily_flow", DAYS[0], DAYS[-1], "raw_bins").success
    after = [tags(pipeline, "raw_bins", day)[DATA_VERSION_TAG] for day in DAYS]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, False, True]


def test_the_sensor_reports_days_of_the_archive_that_are_new_or_changed(pipeline: Pipeline) -> None:
    first = tick(pipeline)
    assert [seen.partition for seen in events(first, "archive")] == [str(day) for day in DAYS]
    carry_out(pipeline, first)
    pipeline.add_bin(DAYS[1], 3)
    changed = tick(pipeline, first.cursor)
    [seen] = events(changed, "archive")
    assert days_asked_for(changed) == [DAYS[1]]
    assert seen.partition == str(DAYS[1])
    pipeline.instance.report_runless_asset_event(seen)
    carry_out(pipeline, changed)
    made_of = pipeline.deployment.tables.provenance(RAW_BINS, DAYS[1])
    assert made_of
    assert seen.tags[DATA_VERSION_TAG] == made_of.signature
    assert events(tick(pipeline, changed.cursor), "archive") == []


def test_the_model_in_use_is_reported_whenever_it_changes(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "PLANTED_BINS", 10)
    models = pipeline.deployment.models
    pipeline.make_everything()
    first = models.current_id()
    assert model_version(pipeline) == first
    assert events(tick(pipeline), "anomaly_model") == []
    # A model that is not put to use changes no scores.
    assert pipeline.run("retrain", anomaly_model={"config": {"random_seed": 7, "use": False}}).success
    second = models.newest_id()
    assert second != first
    assert model_version(pipeline) == first
    assert pipeline.run("promote_model", promote_kept_model={"config": {"model_id": second}}).success
    assert model_version(pipeline) == second
    assert pipeline.run("rollback_model").success
    assert model_version(pipeline) == first
    # By the command line or the review app, which know nothing of Dagster.
    assert second
    models.promote(second, "ann")
    [seen] = events(tick(pipeline), "anomaly_model")
    pipeline.instance.report_runless_asset_event(seen)
    assert model_version(pipeline) == second
    assert events(tick(pipeline), "anomaly_model") == []
    assert tags(pipeline, "bin_scores", DAYS[0])[MADE_OF + "anomaly_model"] == first, "the scores are out of date"


def test_decisions_are_reported_when_there_are_new_ones(pipeline: Pipeline) -> None:
    assert events(tick(pipeline), "decisions") == []
    pid, at = f"D{DAYS[0]:%Y%m%d}T060000_IFCB134", datetime(2023, 8, 20, tzinfo=UTC)
    for decision in ("bad", "good"):
        at += timedelta(hours=1)
        pipeline.deployment.labels.add([Label(pid, decision, (), "", "ann", at, "triage")])
        [seen] = events(tick(pipeline), "decisions")
        assert seen.metadata["bins"].value == 1
        pipeline.instance.report_runless_asset_event(seen)
        assert events(tick(pipeline), "decisions") == []


def test_the_champion_is_compared_once_and_the_check_is_about_the_model_of_the_run(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "PLANTED_BINS", 10)
    compared, really = [], promotion.compare_models

    def watched(*given):
        compared.append(given[1].card.model_id)
        return really(*given)

    monkeypatch.setattr(promotion, "compare_models", watched)
    result = made.run("retrain", anomaly_model={"config": {"random_seed": 7}})
    [check] = result.get_asset_check_evaluations()
    assert compared == [made.deployment.models.newest_id()]
    assert str(check.description).startswith(f"{compared[0]}: no worse than ")


def test_nothing_is_scored_in_the_run_that_trained_a_worse_model(made: Pipeline) -> None:
    before = made.deployment.tables.path(BIN_SCORES, DAYS[0]).stat().st_mtime_ns
    result = dg.materialize(
        [anomaly_model, bin_scores],
        instance=made.instance,
        partition_key=str(DAYS[0]),
        resources={"deployment": made.deployment},
        run_config={"ops": {"anomaly_model": {"config": {"feature_set": "reference", "contamination": 0.5}}}},
        raise_on_error=False,
    )
    assert not result.success
    assert made.deployment.tables.path(BIN_SCORES, DAYS[0]).stat().st_mtime_ns == before
