"""The healthy v2 bin against the real one that it was fitted to, D20230810T113059_IFCB134."""

import numpy as np
import pytest

from ifcb_flow_pipeline.simulate import simulate_bin
from ifcb_flow_pipeline.simulate.bins import COLUMNS, InstrumentProfile, healthy_bin

from .measures import V1_PID, V2_PID, Measures, measure

SEEDS = range(5)
REAL_TRIGGERS = 5178

# Statistic: (value of the real bin, how far each simulated bin may be from it).
REAL = {
    "n_triggers": (5178, 200),
    "rois_per_trigger": (0.927, 0.01),
    "x_median": (980, 4),
    "x_robust_sd": (17.8, 1.5),
    "x_sd": (61, 15),
    "off_core": (0.0285, 0.008),
    "tilt": (-0.052, 0.02),
    "y_median": (632, 16),
    "y_sd": (188, 8),
    "width_median": (80, 0),
    "width_99": (280, 32),
    "unique_xy": (0.263, 0.03),
    "most_repeated": (0.002, 0.0012),
    "edge_touching": (0.001, 0.0015),
    "ks_time": (0.0177, 0.015),
}


@pytest.fixture(scope="module")
def measured() -> list[Measures]:
    return [measure(simulate_bin(V2_PID, mean_triggers=REAL_TRIGGERS, seed=seed)) for seed in SEEDS]


@pytest.mark.parametrize("statistic", REAL)
def test_each_statistic_of_a_healthy_bin_is_near_the_real_one_for_every_seed(
    statistic: str, measured: list[Measures]
) -> None:
    real, tolerance = REAL[statistic]
    simulated = [getattr(measures, statistic) for measures in measured]
    assert simulated == pytest.approx([real] * len(simulated), abs=tolerance, rel=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_of_a_healthy_bin_lie_on_the_lattice_of_the_acquisition_software(seed: int) -> None:
    simulated = simulate_bin(V2_PID, mean_triggers=REAL_TRIGGERS, seed=seed)
    columns, imaged = simulated.columns, simulated.has_image
    for name, remainder in (("roi_x", 4), ("roi_y", 7), ("roi_width", 0), ("roi_height", 2)):
        assert np.mean(columns[name][imaged] % 8 == remainder) > 0.998


def test_sizes_and_signals_rise_together_as_in_the_real_bin() -> None:
    simulated = simulate_bin(V2_PID, mean_triggers=REAL_TRIGGERS, seed=1)
    columns = {name: values[simulated.has_image] for name, values in simulated.columns.items()}
    columns["x_centre"] = columns["roi_x"] + columns["roi_width"] / 2

    def spearman(first: str, second: str) -> float:
        ranks = [np.argsort(np.argsort(columns[name], kind="stable")) for name in (first, second)]
        return float(np.corrcoef(ranks)[0, 1])

    assert spearman("roi_width", "roi_height") == pytest.approx(0.61, abs=0.08)
    assert spearman("roi_width", "peak_b") == pytest.approx(0.46, abs=0.08)
    assert spearman("peak_b", "time_of_flight") == pytest.approx(0.89, abs=0.08)
    assert spearman("time_of_flight", "x_centre") == pytest.approx(-0.59, abs=0.15)


def test_a_run_starts_with_a_false_trigger_and_a_pause_of_seconds() -> None:
    simulated = simulate_bin(V2_PID, seed=3)
    first, second = simulated.time_s[:2]
    assert not simulated.has_image[0]
    assert first < 0.1
    assert 3 < second - first < 10
    assert simulated.columns["time_of_flight"][0] > 30_000


def test_triggers_keep_the_dead_time_and_counters_only_rise() -> None:
    simulated = simulate_bin(V2_PID, mean_triggers=REAL_TRIGGERS, seed=2)
    columns, instrument = simulated.columns, simulated.instrument
    steps_s = np.diff(np.unique(simulated.time_s))
    assert steps_s.min() >= instrument.dead_time_s - 1e-6
    assert np.all(np.diff(columns["inhibit_time"]) >= 0)
    assert np.diff(columns["inhibit_time"]).max() < 0.1
    lag_s = columns["run_time"] - columns["adc_time"]
    assert 0.02 <= lag_s.min() <= lag_s.max() <= 0.07


def test_rows_of_one_frame_share_trigger_time_and_signals() -> None:
    simulated = simulate_bin(V2_PID, mean_triggers=REAL_TRIGGERS, seed=2)
    columns = simulated.columns
    second_rows = np.flatnonzero(np.diff(columns["trigger"]) == 0) + 1
    assert second_rows.size / columns["trigger"][-1] == pytest.approx(0.009, abs=0.004)
    for name in ("adc_time", "peak_a", "pmt_b", "time_of_flight", "run_time", "inhibit_time"):
        np.testing.assert_array_equal(columns[name][second_rows], columns[name][second_rows - 1])


def test_rows_without_an_image_carry_the_mark_of_their_schema() -> None:
    for pid, corner in ((V2_PID, 0), (V1_PID, -11)):
        simulated = simulate_bin(pid, seed=4)
        blank = ~simulated.has_image
        assert blank.any()
        for name, value in (("roi_x", corner), ("roi_y", corner), ("roi_width", 0), ("roi_height", 0)):
            assert set(simulated.columns[name][blank].tolist()) == {value}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_v1_bin_has_its_core_at_the_left_and_more_frames_without_an_image(seed: int) -> None:
    measured = measure(simulate_bin(V1_PID, mean_triggers=3000, seed=seed))
    assert measured.x_median == pytest.approx(400, abs=6)
    assert measured.y_median == pytest.approx(575, abs=20)
    assert measured.width_median == pytest.approx(105, abs=9)
    assert measured.no_image == pytest.approx(0.16, abs=0.025)


@pytest.mark.parametrize("pid", [V1_PID, V2_PID])
def test_a_bin_has_exactly_the_columns_of_its_schema_in_order_and_of_one_length(pid: str) -> None:
    simulated = simulate_bin(pid)
    assert tuple(simulated.columns) == COLUMNS[simulated.schema]
    assert {values.shape for values in simulated.columns.values()} == {(simulated.n_rows,)}


def test_the_core_lies_where_the_instruments_profile_says() -> None:
    start = simulate_bin(V2_PID).start_time
    profile = InstrumentProfile("IFCB199", x0_px=700.0)
    simulated = healthy_bin(np.random.default_rng(0), profile, start)
    assert simulated.pid == "D20230810T113059_IFCB199"
    assert measure(simulated).x_median == pytest.approx(700, abs=6)


@pytest.mark.parametrize("pid", [V1_PID, V2_PID])
def test_boxes_stay_within_the_frame(pid: str) -> None:
    frame_width, frame_height = (1380, 1034) if pid == V1_PID else (1360, 1024)
    for fault in ("air", "focus_loss", "edge_clipping"):
        columns = simulate_bin(pid, fault=fault, severity=1.0).columns
        imaged = columns["roi_width"] > 0
        assert columns["roi_x"][imaged].min() >= 0
        assert columns["roi_y"][imaged].min() >= 0
        assert (columns["roi_x"] + columns["roi_width"]).max() <= frame_width
        assert (columns["roi_y"] + columns["roi_height"]).max() <= frame_height
