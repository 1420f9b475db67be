"""The checks, each passing and failing."""

import json
from datetime import timedelta

import dagster as dg
import numpy as np
import pytest

from ifcb_flow_pipeline.defs.partitions import today
from ifcb_flow_pipeline.detection.trial.drift import severity_drift
from ifcb_flow_pipeline.store.daily import Provenance
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.defs.conftest import DAYS, N_A_DAY, Pipeline, settle

ALL_STEPS = ("raw_bins", "point_clouds", "bin_features", "bin_scores")


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def test_all_checks_of_a_healthy_run_pass(made: Pipeline) -> None:
    checks = outcomes(made.run("daily_flow", DAYS[0], DAYS[-1]))
    assert set(checks) == {
        "bins_are_readable",
        "nothing_is_left_out",
        "features_are_complete",
        "files_are_there",
        "image_scores_are_complete",
        "images_are_readable",
        "scores_are_complete",
        "severities_have_not_drifted",
        "bins_are_judged",
        "model_is_recent",
    }
    assert all(check.passed for check in checks.values())


def test_many_unreadable_bins_are_a_warning_that_names_them(pipeline: Pipeline) -> None:
    damaged = pipeline.add_bin(DAYS[0], 9)
    adc = next(path for path in pipeline.files(damaged) if path.suffix == ".adc")
    adc.write_bytes(b"no table\n" * 50)
    settle(adc)
    result = pipeline.run("daily_flow", DAYS[0], DAYS[0], *ALL_STEPS[:3])
    check = outcomes(result)["bins_are_readable"]
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert damaged in str(check.metadata["examples"].value)


def test_what_is_in_no_days_tables_is_a_warning_that_names_each_with_its_reason(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IFCB_START_DAY", DAYS[0].isoformat())
    misplaced, beads, lower = (made.add_bin(DAYS[0], hour) for hour in (3, 4, 5))
    early, future = made.add_bin(DAYS[0] - timedelta(days=9), 0), made.add_bin(today() + timedelta(days=9), 0)
    wrong = made.archive / "D2019"
    wrong.mkdir()
    for path in made.files(misplaced):
        path.rename(wrong / path.name)
    for path in made.files(beads):
        path.rename(path.with_name(f"{beads}_beads{path.suffix}"))
    for path in made.files(lower):
        path.rename(path.with_name(path.name.lower()))
    check = outcomes(made.run("daily_flow", DAYS[0], DAYS[0], *ALL_STEPS[:3]))["nothing_is_left_out"]
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    table = made.deployment.left_out.read()
    assert table is not None
    rows = {row["pid"]: row for row in table.to_pylist()}
    assert {pid: row["status"] for pid, row in rows.items()} == {
        misplaced: "misplaced", f"{beads}_beads": "misnamed", early: "outside", future: "outside"
    }  # fmt: skip
    for pid, reason in ((misplaced, "lies in D2019"), (f"{beads}_beads", f"rename to {beads}"),
                        (early, "IFCB_START_DAY"), (future, "is in the future")):  # fmt: skip
        assert reason in rows[pid]["reason"]
        assert f"{pid}  {rows[pid]['reason']}" in str(check.metadata["examples"].value)
    inventory = made.deployment.tables.read(RAW_BINS, DAYS[0])
    assert inventory is not None
    (read,) = [row for row in inventory.to_pylist() if row["pid"] == lower]
    assert read["status"] == "ok"
    assert f"the name is in another case: {lower.lower()}.adc" in read["reason"]


def test_what_is_put_right_is_left_out_no_longer(made: Pipeline) -> None:
    pid = made.add_bin(DAYS[0], 3)
    for path in made.files(pid):
        path.rename(path.with_name(f"{pid}_beads{path.suffix}"))
    assert not outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "raw_bins"))["nothing_is_left_out"].passed
    for path in made.archive.rglob("*_beads.*"):
        path.unlink()
    assert outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "raw_bins"))["nothing_is_left_out"].passed


def test_features_that_miss_a_bin_stop_the_run_before_it_scores(made: Pipeline, monkeypatch) -> None:
    tables = made.deployment.tables
    before = tables.path(BIN_SCORES, DAYS[0]).read_bytes()
    _lose_a_bin(monkeypatch, BIN_FEATURES)
    result = made.run("daily_flow", DAYS[0], DAYS[0])
    check = outcomes(result)["features_are_complete"]
    assert not result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert tables.path(BIN_SCORES, DAYS[0]).read_bytes() == before


def test_scores_that_miss_a_bin_are_an_error(made: Pipeline, monkeypatch) -> None:
    _lose_a_bin(monkeypatch, BIN_SCORES)
    check = outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores"))["scores_are_complete"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR


def test_files_that_are_gone_are_a_warning_that_names_the_instrument(made: Pipeline) -> None:
    for path in made.archive.rglob(f"D{DAYS[0]:%Y%m%d}*_IFCB134.*"):
        path.unlink()
    result = made.run("daily_flow", DAYS[0], DAYS[0])
    assert result.success
    check = outcomes(result)["files_are_there"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description == f"the files of {N_A_DAY // 2} of {N_A_DAY} bins are gone: is a disk missing?"
    assert check.metadata["gone_by_instrument"].value == {"IFCB134": N_A_DAY // 2}


def test_the_job_that_forgets_shows_what_it_would_remove_and_removes_only_when_told(made: Pipeline) -> None:
    [first, *_] = sorted(made.archive.rglob(f"D{DAYS[0]:%Y%m%d}*_IFCB134.adc"))
    for path in made.files(first.stem):
        path.unlink()
    assert made.run("daily_flow", DAYS[0], DAYS[0]).success
    for remove, n_left in ((False, N_A_DAY), (True, N_A_DAY - 1)):
        result = made.run("forget_gone_bins", forget_bins={"config": {"remove": remove}})
        assert result.success
        [output] = [event for event in result.all_events if event.is_successful_output]
        assert first.stem in str(output.event_specific_data.metadata["gone"].value)
        scores = made.deployment.tables.read(BIN_SCORES, DAYS[0])
        assert scores is not None
        assert scores.num_rows == n_left


def test_severities_above_those_of_healthy_bins_are_a_warning(made: Pipeline) -> None:
    for i in range(5):
        for hour in range(0, 24, 3):
            made.add_bin(DAYS[-1] + timedelta(days=1 + i), hour, fault="air", severity=1.0)
    first, last = DAYS[-1] + timedelta(days=1), DAYS[-1] + timedelta(days=5)
    check = outcomes(made.run("daily_flow", first, last))["severities_have_not_drifted"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert float(str(check.metadata["drift"].value)) > 0.3


def test_an_instrument_that_the_model_does_not_know_is_a_warning_that_names_it_and_the_remedy(made: Pipeline) -> None:
    for hour in (1, 2, 3):
        made.add_bin(DAYS[0], hour, "IFCB999")
    result = made.run("daily_flow", DAYS[0], DAYS[0])
    check = outcomes(result)["bins_are_judged"]
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert "no verdict: IFCB999: 3 of 3. Once 20 healthy bins" in str(check.description)
    assert "train a new model (job retrain)" in str(check.description)
    assert check.metadata["not_judged"].value == {"IFCB999": 3}
    metadata = made.metadata("bin_scores", DAYS[0])
    assert metadata["not_judged_bins"].value == 3
    assert "| not_judged | 3 |" in str(metadata["bins_by_verdict"].value)
    scores = made.deployment.tables.read(BIN_SCORES, DAYS[0])
    assert scores is not None
    assert scores["verdict"].to_pylist()[-3:] == ["not_judged"] * 3
    assert np.isnan(scores["severity"].to_numpy()[-3:]).all()
    assert metadata["worst_bin"].value == scores["pid"][0].as_py()


def test_bins_without_verdict_are_no_part_of_the_drift(made: Pipeline, monkeypatch) -> None:
    monkeypatch.setattr("ifcb_flow_pipeline.defs.checks.MIN_BINS_FOR_DRIFT", 1)
    before = outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores"))["severities_have_not_drifted"]
    made.add_bin(DAYS[0], 1, "IFCB999")
    after = outcomes(made.run("daily_flow", DAYS[0], DAYS[0]))["severities_have_not_drifted"]
    assert after.metadata["drift"].value == before.metadata["drift"].value


def test_a_few_bins_say_nothing_about_drift(made: Pipeline) -> None:
    check = outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores"))["severities_have_not_drifted"]
    assert check.passed
    assert "too few" in str(check.description)


def test_an_old_model_is_a_warning(made: Pipeline) -> None:
    models = made.deployment.models
    card = models.root / str(models.current_id()) / "card.json"
    content = json.loads(card.read_text())
    card.write_text(json.dumps(content | {"created": "2020-01-01T00:00:00+00:00"}))
    check = outcomes(made.run("daily_flow", DAYS[0], DAYS[0], "bin_scores"))["model_is_recent"]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN


def test_drift_is_how_far_severities_lie_above_those_of_healthy_bins() -> None:
    as_expected = -25.0 * np.log10(1.0 - (np.arange(1000) + 0.5) / 1000)
    assert severity_drift(as_expected) < 0.002
    assert severity_drift(np.zeros(100)) == 0.0
    # Nine of ten healthy bins are below 25, none of these.
    assert severity_drift(np.full(50, 25.0)) == pytest.approx(0.9)
    assert severity_drift(np.concatenate((as_expected, np.full(1000, 75.0)))) == pytest.approx(0.5, abs=0.01)


def _lose_a_bin(monkeypatch, table) -> None:
    from ifcb_flow_pipeline.store.daily import DailyTables

    write = DailyTables.write

    def write_less(self, to, day, rows, provenance: Provenance) -> None:
        write(self, to, day, rows.slice(1) if to is table else rows, provenance)

    monkeypatch.setattr(DailyTables, "write", write_less)
