"""Real bins of 2006 to 2025 through the assets, by backfill of their days."""

import csv
import math
from datetime import date
from pathlib import Path

import pytest

from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.defs.conftest import Pipeline

FEATURE_STEPS = ("raw_bins", "point_clouds", "bin_features")


@pytest.mark.samples
def test_all_real_bins_go_through_the_assets_with_the_values_of_the_reference(
    empty: Pipeline, monkeypatch: pytest.MonkeyPatch, samples: Path, samples_golden: Path
) -> None:
    monkeypatch.setenv("IFCB_DATA_DIR", str(samples / "archive"))
    days = empty.deployment.settings.archive.scan().days
    for first, last in ((day, day) for day in days):
        assert empty.run("daily_flow", first, last, *FEATURE_STEPS).success
    assert empty.run("retrain").success
    for day in days:
        assert empty.run("daily_flow", day, day, "bin_scores").success

    tables = empty.deployment.tables
    counts = {t.name: tables.read_range(t, date.min, date.max).num_rows for t in (RAW_BINS, BIN_FEATURES, BIN_SCORES)}
    assert counts == {"raw_bins": 25, "bin_features": 25, "bin_scores": 25}
    found = {row["pid"]: row for row in tables.read_range(BIN_FEATURES, date.min, date.max).to_pylist()}
    statuses = [row["status"] for row in found.values()]
    assert {status: statuses.count(status) for status in set(statuses)} == {"ok": 16, "too_few_points": 5, "no_adc": 4}
    with (samples_golden / "features_images_only.csv").open() as file:
        for expected in csv.DictReader(file):
            row = found[expected["pid"]]
            assert row["n_points"] == int(expected["n_points"])
            for name in FEATURE_NAMES:
                golden = float(expected[name] or "nan")
                assert row[name] == pytest.approx(golden, rel=1e-9, nan_ok=True)
    scores = {row["pid"]: row for row in tables.read_range(BIN_SCORES, date.min, date.max).to_pylist()}
    unscored = {pid for pid, row in scores.items() if math.isnan(row["anomaly_score"])}
    assert unscored == {pid for pid, row in scores.items() if row["verdict"] in ("unreadable", "not_judged")}
    assert all((scores[pid]["verdict"] == "unreadable") == (row["status"] == "no_adc") for pid, row in found.items())


@pytest.mark.samples
def test_the_odd_files_are_rows_with_reasons(empty: Pipeline, monkeypatch: pytest.MonkeyPatch, samples: Path) -> None:
    monkeypatch.setenv("IFCB_DATA_DIR", str(samples / "odd"))
    monkeypatch.setenv("IFCB_EXCLUDE", "")
    days = empty.deployment.settings.archive.scan().days
    for day in days:
        assert empty.run("daily_flow", day, day, *FEATURE_STEPS).success
    rows = empty.deployment.tables.read_range(BIN_FEATURES, date.min, date.max).to_pylist()
    assert {row["pid"]: row["status"] for row in rows} == {
        "IFCB5_2006_001_121212": "empty",
        "IFCB5_2012_028_081515": "too_few_points",
        "D20130101T101010_IFCB099": "empty",
        "D20150411T205456_IFCB012": "empty",
        "IFCB5_2017_001_033645": "empty",
    }
    assert all(row["reason"] for row in rows)
