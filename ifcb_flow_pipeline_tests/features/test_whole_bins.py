"""The features of the full set, of bins small or plain enough to know them by hand; and what a bin does not tell."""

import math

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.features.catalogue import FULL_ONLY
from ifcb_flow_pipeline.features.full import description, full_features, header_features
from ifcb_flow_pipeline.features.run import Run, blind_s_of
from ifcb_flow_pipeline.features.stream import MIN_IMAGES

from .streams import COMPUTED, HEADER, feature, rows_of, simulated, stream_of, with_columns

RNG = np.random.default_rng(4)
N = 300
EVEN_Y = 135 + 8 * (np.arange(N) * 37 % 95)


def off(x_px, y_px=EVEN_Y, **columns):
    return stream_of(x_px=np.asarray(x_px), y_px=y_px, **columns)


# Position and spread


def test_a_straight_core_lies_where_its_centres_lie_without_tilt_bend_or_width():
    values = full_features(off(np.full(N, 940)))
    assert values["core_x_px"] == 980  # 940 and half of a width of 80
    for name in ("core_tilt", "core_bend_px", "core_width_px", "stray_fraction", "core_asymmetry"):
        assert values[name] == 0, name


def test_a_tilted_core_has_its_slope_and_no_width():
    values = full_features(off(940 + 0.25 * (EVEN_Y - 511)))
    assert values["core_tilt"] == pytest.approx(0.25, abs=0.003)
    assert values["core_width_px"] < 1
    assert values["stray_fraction"] == 0


def test_a_bent_core_has_left_its_tangent_half_a_frame_away():
    centre = EVEN_Y + 21
    middle = np.median(centre)
    values = full_features(off(940 + 50 * ((centre - middle) / 512) ** 2))
    assert values["core_bend_px"] == pytest.approx(50, abs=3)
    assert values["core_tilt"] == pytest.approx(0, abs=0.01)
    assert values["core_width_px"] < 2


def test_the_width_of_the_core_is_a_standard_deviation_that_strays_do_not_move():
    x = 940 + RNG.normal(0, 12, N)
    clean, dirty = full_features(off(x)), full_features(off(np.where(np.arange(N) % 25 == 0, 100, x)))
    assert clean["core_width_px"] == pytest.approx(12, rel=0.25)
    assert dirty["core_width_px"] == pytest.approx(clean["core_width_px"], rel=0.15)
    assert dirty["stray_left_fraction"] == dirty["stray_fraction"] == 12 / N
    assert dirty["stray_right_fraction"] == 0


def test_wide_images_beside_the_core_neither_move_nor_leave_it():
    wide = np.arange(N) % 4 == 0
    # Their leading edge triggers the camera: the left edge is farther left.
    stream = off(np.where(wide, 740, 940), width_px=np.where(wide, 280, 80))
    values = full_features(stream)
    assert values["core_x_px"] == 980
    assert values["stray_fraction"] == 0


def test_a_cut_core_has_less_range_across_the_flow():
    whole, cut = full_features(off(np.full(N, 940))), full_features(off(np.full(N, 940), 135 + EVEN_Y // 2))
    assert whole["cross_range_px"] == pytest.approx(0.9 * 95 * 8, rel=0.02)
    assert cut["cross_range_px"] == pytest.approx(whole["cross_range_px"] / 2, rel=0.02)
    assert cut["cross_high_px"] - cut["cross_low_px"] == pytest.approx(cut["cross_range_px"])


# The two dialects of y, and no lattice


#: Without a header a margin of 2 is the same lattice for both: only the frame or the software's title would tell.
@pytest.mark.parametrize(("margin", "header"), [(1, True), (1, False), (2, True), (3, True), (3, False), (5, True)])
def test_the_bottom_edge_as_y_gives_the_same_features_as_the_top_edge(margin, header):
    top = 8 * (np.arange(N) * 37 % 95 + 17) - margin
    height = 8 * (3 + np.arange(N) % 3) + 2 * margin
    stated = {**HEADER, "blob_grow_y_px": margin} if header else {}
    x = 940 + 8 * (np.arange(N) % 3)
    upper = full_features(stream_of(x_px=x, y_px=top, height_px=height, header=stated))
    lower = full_features(stream_of(x_px=x, y_px=top + height, height_px=height, header=stated))
    assert lower == pytest.approx(upper, nan_ok=True)


def test_without_a_lattice_the_frame_tells_which_edge_y_is():
    y = RNG.integers(500, 1000, N)
    height = RNG.integers(30, 60, N)
    y[: N // 8], height[: N // 8] = 1010, 44  # as top edges they would leave the frame
    values = full_features(off(np.full(N, 941), y, height_px=height, header={}))
    assert values["stuck_y_px"] < 1010 - 30
    assert values["out_of_frame_fraction"] == 0
    assert values["lattice_fraction"] < 0.5


def test_off_the_lattice_the_core_is_where_it_was():
    on, beside = 940 + 8 * (RNG.normal(0, 3, N)).round(), RNG.normal(0, 2, N)
    first, second = full_features(off(on)), full_features(off(on + beside, EVEN_Y + RNG.integers(-4, 4, N)))
    assert second["core_x_px"] == pytest.approx(first["core_x_px"], abs=4)
    assert second["core_width_px"] == pytest.approx(first["core_width_px"], rel=0.3)


# Strays, edges and stuck boxes


def test_strays_all_over_the_frame_are_even_and_strays_at_one_place_are_not():
    stray = np.arange(N) % 10 == 0
    x, y = RNG.uniform(0, 1280, N), RNG.uniform(0, 980, N)
    air = off(np.where(stray, x, 940), np.where(stray, y, EVEN_Y))
    assert feature(air, "stray_spread") == pytest.approx(1, abs=0.25)
    assert feature(air, "repeat_fraction") < 0.05
    # Every other image is looked for, so that one in 31 is in both halves.
    spot = np.arange(N) % 31 == 0
    stain = full_features(off(np.where(spot, 300, 940), np.where(spot, 503, EVEN_Y)))
    assert stain["stray_spread"] == 0
    assert stain["hot_cell_fraction"] == stain["stray_fraction"] == pytest.approx(10 / N)


@pytest.mark.parametrize("every", [20, 8, 4])
def test_a_stain_that_holds_most_images_of_its_band_moves_no_core(every):
    # One box in twenty, at one place, once bent the line by 600 px, and three images in four became strays.
    stream = simulated(1500)
    spot = np.arange(stream.n_rows) % every == 0
    place = {"x_px": 300, "y_px": 503, "width_px": 80, "height_px": 42}
    boxes = {name: np.where(spot, number, stream.columns[name]) for name, number in place.items()}
    clean, stained = full_features(stream), full_features(with_columns(stream, **boxes))
    assert stained["core_x_px"] == pytest.approx(clean["core_x_px"], abs=8)
    assert stained["core_tilt"] == pytest.approx(clean["core_tilt"], abs=0.03)
    assert stained["core_bend_px"] == pytest.approx(clean["core_bend_px"], abs=8)
    assert stained["stray_fraction"] == pytest.approx(1 / every, abs=0.05)


def test_a_stuck_box_is_found_with_its_place_though_it_flickers_by_a_lattice_step():
    stuck = np.arange(N) % 2 == 0
    stuck[1::2] |= np.arange(N // 2) % 2 == 0
    flicker = 8 * RNG.integers(0, 2, N)
    x = np.where(stuck, 500 + flicker, 8 * RNG.integers(60, 150, N) + 4)
    values = full_features(off(x, np.where(stuck, 303, EVEN_Y)))
    assert values["repeat_fraction"] == pytest.approx(0.75, abs=0.05)
    assert (values["stuck_y_px"], values["stuck_width_px"], values["stuck_height_px"]) == (303, 80, 42)
    assert values["stuck_x_px"] in (500, 508)


def test_a_stain_that_merges_with_particles_repeats_a_corner_but_no_box():
    width = 80 + 8 * (np.arange(N) * 7 % 60)
    values = full_features(off(np.full(N, 500), np.full(N, 303), width_px=width, height_px=42 + 8 * (np.arange(N) % 9)))
    assert values["repeat_anchor_fraction"] == 1
    assert values["repeat_fraction"] < 0.2


def test_touching_the_frame_is_told_from_reaching_beyond_it():
    x = np.full(N, 600)
    x[:30] = 0
    x[30:60] = 1360 - 80
    assert feature(off(x), "edge_touch_fraction") == 60 / N
    x[:30] = -40
    values = full_features(off(x))
    assert values["edge_touch_fraction"] == 30 / N
    assert values["out_of_frame_fraction"] == 30 / N


# Triggers and time


def test_triggers_are_counted_and_not_lines():
    trigger = np.array([1, 1, 1, 2, 3, 3, 5])
    stream = stream_of(trigger=trigger, width_px=np.array([80, 80, 80, 0, 80, 80, 80]))
    values = full_features(stream)
    assert values["n_triggers"] == 4
    assert values["no_image_fraction"] == 1 / 4
    assert values["multi_image_fraction"] == 2 / 4
    assert values["images_per_trigger"] == 6 / 4
    assert values["trigger_gap_fraction"] == 1 / 5
    assert values["trigger_rate_hz"] == 4 / 1200


def test_a_clog_half_way_is_uneven_has_a_gap_and_a_change_of_rate():
    t = np.linspace(1, 600, N)
    values = full_features(off(np.full(N, 940), t_s=t, run_time_s=t))
    assert values["longest_gap_fraction"] == pytest.approx(0.5, abs=0.03)
    assert values["time_uniformity"] == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    assert values["rate_change"] < -3
    steady = full_features(off(np.full(N, 940)))
    assert abs(steady["rate_change"]) < 0.1
    assert steady["longest_gap_fraction"] < 0.01


def test_a_core_that_moves_during_the_run_drifts_by_as_much():
    x = np.where(np.arange(N) < N // 2, 940, 972) + RNG.normal(0, 8, N)
    assert feature(off(x), "drift_x_px") == pytest.approx(32, abs=4)
    assert abs(feature(off(940 + RNG.normal(0, 8, N)), "drift_x_px")) < 4


def test_a_run_over_midnight_has_the_times_of_one_that_is_not():
    t = np.linspace(1, 1199, N)
    over = np.where(t > 700, t - 86_400, t)
    expected, found = (full_features(off(np.full(N, 940), t_s=times, run_time_s=t)) for times in (t, over))
    names = ("time_uniformity", "longest_gap_fraction", "rate_change", "time_backward_fraction")
    assert [found[name] for name in names] == pytest.approx([expected[name] for name in names])


def test_steps_back_in_time_are_counted():
    t = np.arange(N) * 4.0
    t[100] = 0
    assert feature(off(np.full(N, 940), t_s=t), "time_backward_fraction") == 1 / (N - 1)


# Run


def test_time_and_volume_are_those_that_the_settings_promise():
    header = {"run_time_s": 1198.0, "inhibit_time_s": 238.0, "sample_volume_ml": 5.0, "roi_count": 400}
    values = full_features(off(np.full(N, 940), header=header, inhibit_time_s=np.linspace(0.1, 238, N)))
    assert values["run_time_ratio"] == 1
    assert values["volume_ml"] == pytest.approx(4)
    assert values["volume_ratio"] == pytest.approx(0.8)
    assert values["inhibit_fraction"] == pytest.approx(238 / 1198)
    assert values["image_count_mismatch"] == -0.25


def test_a_fast_run_is_as_long_as_its_factor_says():
    header = {"run_time_s": 598.0 / 2, "run_fast": True, "run_fast_factor": 2.0, "sample_volume_ml": 2.5}
    t = np.linspace(1, 298, N)
    stream = off(np.full(N, 940), header=header, t_s=t, run_time_s=t + 0.045, inhibit_time_s=0.1 * t)
    assert feature(stream, "run_time_ratio") == 1


def test_without_a_header_the_adc_file_tells_time_and_volume_and_nothing_promises_any():
    values = full_features(off(np.full(N, 940), header={}))
    assert values["run_time_s"] == pytest.approx(1198.045)
    assert values["dead_time_s"] == pytest.approx(0.083)
    assert values["volume_ml"] == pytest.approx((1198.045 - 0.083 * N) / 240)
    for name in ("run_time_ratio", "volume_ratio", "temperature_c", "humidity_pct", "image_count_mismatch"):
        assert math.isnan(values[name]), name


@pytest.mark.parametrize(
    ("pid", "blind_s"),
    [
        ("IFCB5_2015_151_235959", 0.073),
        ("IFCB5_2015_152_000000", 0.050),
        ("IFCB1_2016_010_000000", 0.073),
    ],
)
def test_an_instrument_that_writes_no_blind_time_is_blind_for_its_least_time_after_each_trigger(pid, blind_s):
    assert blind_s_of(parse_pid(pid)) == blind_s
    # 17,000 triggers of 0.073 s each are longer than a run.
    run = Run("v1", n_triggers=17_000, due_s=1200.0, v1_blind_s=blind_s)
    assert run.volume_ml == pytest.approx((1200 - 17_000 * blind_s) * 40 * 5 / 48_000)


def test_blind_times_that_nothing_explains_do_not_count():
    t = np.linspace(1, 1199, N)
    inhibit = np.linspace(0.1, 240, N)
    usual = full_features(off(np.full(N, 940), header={}, t_s=t, run_time_s=t, inhibit_time_s=inhibit))
    for row, garbage in ((-1, 1100.0), (-1, 0.0), (-1, -5.0), (N // 2, 24.0), (N // 2, 590.0), (-1, math.nan)):
        changed = inhibit.copy()
        changed[row] = garbage
        found = full_features(off(np.full(N, 940), header={}, t_s=t, run_time_s=t, inhibit_time_s=changed))
        assert found["volume_ml"] == pytest.approx(usual["volume_ml"], rel=2e-3), (row, garbage)


def test_a_missing_peak_is_missing_in_its_row_only():
    peak = np.where(np.arange(N) % 10 == 3, np.nan, RNG.uniform(0.1, 0.5, N))
    values = full_features(off(np.full(N, 940), peak_b=peak))
    assert values["peak_median_v"] == pytest.approx(np.nanmedian(peak.astype(np.float32)))
    assert values["peak_floor_fraction"] == 0
    assert not math.isnan(values["peak_y_slope"])


def test_a_header_alone_tells_what_it_says():
    values = header_features({"run_time_s": 600.0, "sample_volume_ml": 5.0, "humidity_pct": 12.0})
    assert values["run_time_ratio"] == pytest.approx(600 / 1198)
    assert values["humidity_pct"] == 12


# What a bin does not tell

#: What is known of a bin however few images it has.
OF_TRIGGERS = {
    "no_image_fraction", "multi_image_fraction", "images_per_trigger", "trigger_rate_hz", "dead_time_s",
    "time_backward_fraction", "peak_floor_fraction", "trigger_gap_fraction",
}  # fmt: skip


@pytest.mark.parametrize("instrument", ["IFCB134", "IFCB1"])
@pytest.mark.parametrize("n", [0, 1, 29])
def test_of_few_images_only_counts_times_and_the_run_are_known(n, instrument):
    values = full_features(rows_of(simulated(200, instrument=instrument), slice(0, n)))
    known = {feature.name for feature in FULL_ONLY if feature.role in ("run", "environment")} | OF_TRIGGERS
    known |= {"bad_line_fraction", "header_adc_mismatch"}
    assert {name for name in COMPUTED if not math.isnan(values[name])} <= known
    assert values["n_triggers"] <= n


def test_thirty_images_are_enough_for_their_shape():
    stream = stream_of(x_px=940 + 8 * (np.arange(MIN_IMAGES) % 3))
    values = full_features(stream)
    roles = ("position", "spread", "stuck", "size", "bubbles", "signal", "velocity")
    shape = [one.name for one in FULL_ONLY if one.role in roles]
    assert [name for name in shape if math.isnan(values[name])] == []


def test_an_old_instrument_has_no_signals_no_flight_no_blind_times_and_no_lattice():
    values = full_features(simulated(300, instrument="IFCB1"))
    for name in ("peak_median_v", "peak_floor_fraction", "peak_y_slope", "flight_time_us", "flight_spread",
                 "dead_time_s", "lattice_fraction", "run_time_mismatch"):  # fmt: skip
        assert math.isnan(values[name]), name
    assert math.isfinite(values["core_x_px"])
    assert math.isfinite(values["volume_ml"])


@pytest.mark.parametrize("run_time_s", [0.0, -999.0, 5000.0, math.nan])
def test_where_neither_header_nor_column_has_the_run_time_it_is_when_the_next_trigger_was_due(run_time_s):
    t = 2.0 + 1.5 * np.arange(N)
    values = full_features(off(np.full(N, 940), header={}, t_s=t, run_time_s=np.full(N, run_time_s)))
    assert values["run_time_s"] == pytest.approx(2.0 + 1.5 * N)
    assert values["trigger_rate_hz"] == pytest.approx(N / (2.0 + 1.5 * N))
    for name in ("run_time_ratio", "volume_ml", "volume_ratio", "run_time_mismatch"):
        assert math.isnan(values[name]), name


@pytest.mark.parametrize("number", [0.0, -999.0, 0.25])
@pytest.mark.parametrize(
    ("column", "names"),
    [
        ("peak_b", {"peak_median_v", "peak_floor_fraction", "peak_y_slope"}),
        ("time_of_flight_us", {"flight_time_us", "flight_spread"}),
        ("inhibit_time_s", {"dead_time_s", "volume_ml", "volume_ratio", "inhibit_fraction"}),
        ("run_time_s", {"run_time_mismatch", "volume_ml", "volume_ratio", "inhibit_fraction"}),
        (
            "t_s",
            {
                "time_uniformity",
                "longest_gap_fraction",
                "rate_change",
                "time_backward_fraction",
                "blind_fraction",
                "longest_blind_s",
            },
        ),
    ],
)
def test_a_column_that_is_the_same_in_every_row_was_not_measured(column, names, number):
    stream = off(np.full(N, 940))
    before, after = full_features(stream), full_features(with_columns(stream, **{column: np.full(N, number)}))
    for name in names:
        assert not math.isnan(before[name]), name
        assert math.isnan(after[name]), name
    untouched = set(COMPUTED) - names - {"volume_ml", "volume_ratio", "inhibit_fraction"}
    for name in untouched:
        assert after[name] == pytest.approx(before[name], nan_ok=True), name


@pytest.mark.parametrize("name", ["peak_b", "inhibit_time_s"])
def test_numbers_of_any_size_do_no_harm(name):
    huge = np.where(np.arange(N) % 2 == 0, 3e38, -3e38)
    values = full_features(with_columns(off(np.full(N, 940)), **{name: huge}))
    assert values["core_x_px"] == 980


def test_the_configuration_is_that_of_the_settings_in_force_and_of_nothing_else():
    usual = description({"sample_volume_ml": 5.0, "flash_delay": 70, "temperature_c": 20.0, "sample_type": "normal"})
    assert usual["settings"] == '{"flash_delay": 70, "sample_volume_ml": 5.0}'
    assert usual["sample_type"] == "normal"
    warmer = description({"sample_volume_ml": 5.0, "flash_delay": 70, "temperature_c": 30.0, "run_fast_factor": 2.0})
    assert warmer["configuration"] == usual["configuration"] != ""
    fast = description({"sample_volume_ml": 5.0, "flash_delay": 70, "run_fast": True, "run_fast_factor": 2.0})
    assert fast["configuration"] != usual["configuration"]
    assert description({}) == {"configuration": "", "settings": "", "sample_type": ""}
