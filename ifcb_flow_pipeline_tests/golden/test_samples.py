"""Real bins give the numbers of the tools that people use: ifcb-flow-metric and pyifcb."""

import csv
from pathlib import Path

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.adc import Adc, parse_adc
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings, extract_features
from ifcb_flow_pipeline_tests.features.comparing import assert_same_features

pytestmark = pytest.mark.samples

N_BINS = 21


@pytest.fixture(scope="module")
def sample_adcs(samples: Path) -> dict[str, Adc]:
    paths = sorted((samples / "archive").rglob("*.adc"))
    return {path.stem: parse_adc(path.read_bytes(), parse_pid(path.stem).schema) for path in paths}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N_BINS
    return rows


@pytest.mark.parametrize(
    ("triggers", "table", "names"),
    [
        ("all", "features_all_triggers.csv", FEATURE_NAMES[:-1]),
        ("images", "features_images_only.csv", FEATURE_NAMES),
    ],
)
def test_the_features_are_those_of_ifcb_flow_metric(sample_adcs, samples_golden, triggers, table, names):
    n_compared = 0
    for row in rows_of(samples_golden / table):
        assert list(row) == ["pid", "n_points", *names]
        features = extract_features(sample_adcs[row["pid"]].columns, FeatureSettings(triggers))
        assert features.n_points == int(row["n_points"]), row["pid"]
        actual = dict(zip(FEATURE_NAMES, features.values.tolist(), strict=True))
        if row["mean_x"] == "":
            assert (features.status, np.isnan(features.values).all()) == ("too_few_points", True), row["pid"]
            continue
        assert features.status == "ok", row["pid"]
        assert_same_features({name: actual[name] for name in names}, {name: float(row[name]) for name in names})
        n_compared += 1
    assert n_compared >= 15


def test_rows_images_and_sums_of_columns_are_those_of_pyifcb(sample_adcs, samples_golden):
    rows = rows_of(samples_golden / "adc_totals.csv")
    assert {row["pid"] for row in rows} == set(sample_adcs)
    for row in rows:
        adc = sample_adcs[row["pid"]]
        columns = adc.columns
        totals = {
            "rows": len(adc),
            "rows_with_image": int(adc.has_image.sum()),
            "sum_roi_x": int(columns["x_px"].sum()),
            "sum_roi_y": int(columns["y_px"].sum()),
            "sum_width": int(columns["width_px"].sum()),
            "sum_height": int(columns["height_px"].sum()),
            "last_trigger": int(columns["trigger"][-1]),
        }
        assert totals == {name: float(row[name]) for name in totals}, row["pid"]
        # The numbers that pandas reads for pyifcb may be off in their last digit; ours are not.
        assert columns["t_s"].sum() == pytest.approx(float(row["sum_time_s"]), rel=1e-15), row["pid"]


@pytest.mark.parametrize(("folder", "n_files"), [("odd/empty", 2), ("odd/invalid", 1), ("odd/skip", 1)])
def test_empty_sample_files_are_empty_bins(samples, folder, n_files):
    paths = sorted((samples / folder).glob("*.adc"))
    assert len(paths) == n_files
    for path in paths:
        adc = parse_adc(path.read_bytes(), parse_pid(path.stem).schema)
        assert (len(adc), adc.problem) == (0, "")
        assert extract_features(adc.columns, FeatureSettings()).status == "empty"
