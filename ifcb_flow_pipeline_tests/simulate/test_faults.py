"""Every fault moves the statistic that describes it, over named seeds; and only faults that exist apply."""

from collections.abc import Callable

import numpy as np
import pytest

from ifcb_flow_pipeline.simulate import FAULTS, files_of, simulate_bin
from ifcb_flow_pipeline.simulate.faults import apply_fault

from .measures import (
    V1_PID,
    V2_PID,
    Measures,
    header_values,
    measure,
)

SEEDS = (11, 12, 13)
PLAIN = 0.8

# Fault -> what must hold between the faulty and the healthy bin of the same seed and pid.
MOVES: dict[str, Callable[[Measures, Measures], bool]] = {
    "air": lambda bad, good: (
        bad.off_core > 0.4
        and bad.edge_touching > 0.08
        and bad.rois_per_trigger < 0.85
        and bad.width_99 > 1.7 * good.width_99
    ),
    "focus_loss": lambda bad, good: bad.x_robust_sd > 6 * good.x_robust_sd and bad.y_sd > good.y_sd + 20,
    "flow_speed_shift": lambda bad, good: (
        abs(bad.x_median - good.x_median) > 100
        and bad.x_robust_sd < 1.3 * good.x_robust_sd
        and abs(bad.flight_median_us / good.flight_median_us - 1) > 0.15
        # Further left means faster, and faster means a shorter flight.
        and (bad.x_median < good.x_median) == (bad.flight_median_us < good.flight_median_us)
    ),
    "laser_misalignment": lambda bad, good: (
        bad.n_triggers < 0.4 * good.n_triggers
        and bad.no_image > 0.3
        and bad.peak_b_median < 0.6 * good.peak_b_median
        and bad.y_sd < 0.85 * good.y_sd
    ),
    "camera_tilt": lambda bad, good: abs(bad.tilt - good.tilt) > 0.2,
    "out_of_focus": lambda bad, good: (
        bad.width_median > 1.2 * good.width_median
        and bad.no_image > good.no_image + 0.1
        and abs(bad.x_median - good.x_median) < 15
    ),
    "stuck_roi": lambda bad, good: (
        1.3 < bad.rois_per_trigger < 2 and 0.1 < bad.most_repeated < 0.5 > 10 * good.most_repeated
    ),
    "clog": lambda bad, good: bad.ks_time > 0.2 and bad.n_triggers < 0.8 * good.n_triggers,
    "incomplete_run": lambda bad, good: bad.last_s < 1000 < good.last_s,
    "noise_trigger": lambda bad, good: (
        bad.n_triggers > 5 * good.n_triggers and bad.no_image > 0.4 and bad.peak_b_median < 0.011
    ),
    "edge_clipping": lambda bad, good: bad.edge_touching > 0.15 > 10 * good.edge_touching,
    "volume_error": lambda bad, good: bad.n_triggers < 0.5 * good.n_triggers and bad.last_s > 1150,
    "bloom": lambda bad, good: (
        bad.n_triggers > 2 * good.n_triggers
        and abs(bad.x_median - good.x_median) <= 8
        and bad.x_robust_sd < 1.3 * good.x_robust_sd
    ),
    "detritus": lambda bad, good: (
        bad.n_triggers > 1.7 * good.n_triggers
        and bad.width_99 > 1.2 * good.width_99
        and bad.x_robust_sd < 1.3 * good.x_robust_sd
    ),
    "bead_run": lambda bad, good: bad.width_median == 64 and bad.width_log_sd < 0.6 * good.width_log_sd,
    "post_clean": lambda bad, good: bad.n_triggers > 1.1 * good.n_triggers and bad.no_image > good.no_image + 0.1,
    "config_change": lambda bad, good: bad.x_median < good.x_median - 50,
    "leak": lambda bad, good: bad == good,
    "missing_hdr": lambda bad, good: bad == good,
}
# These have their own tests below: their files are no tables, or have no cloud.
DAMAGED_ADC = {"corrupt_adc", "truncated_adc"}
WITHOUT_CLOUD = {"empty_bin"}
# Their tests are in test_images: the cloud knows nothing of them.
IN_IMAGES_ONLY = {name for name, fault in FAULTS.items() if fault.in_images_only}


def test_every_entry_of_the_table_is_tested() -> None:
    assert set(MOVES) | DAMAGED_ADC | WITHOUT_CLOUD | IN_IMAGES_ONLY == set(FAULTS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", MOVES)
def test_a_plain_fault_moves_the_statistics_that_describe_it(name: str, seed: int) -> None:
    good = measure(simulate_bin(V2_PID, seed=seed, mean_triggers=1500))
    bad = measure(simulate_bin(V2_PID, fault=name, severity=PLAIN, seed=seed, mean_triggers=1500))
    assert MOVES[name](bad, good), f"healthy {good}\nfaulty {bad}"


# Statistic that grows with severity, for the faults whose mild form must stay inconspicuous.
DEPARTURES: dict[str, Callable[[Measures, Measures], float]] = {
    "air": lambda bad, _good: bad.off_core,
    "focus_loss": lambda bad, _good: bad.x_robust_sd,
    "flow_speed_shift": lambda bad, good: abs(bad.x_median - good.x_median),
    "camera_tilt": lambda bad, good: abs(bad.tilt - good.tilt),
    "out_of_focus": lambda bad, _good: bad.width_median,
    "stuck_roi": lambda bad, _good: bad.most_repeated,
    "edge_clipping": lambda bad, _good: bad.edge_touching,
    "laser_misalignment": lambda bad, _good: -bad.n_triggers,
    "volume_error": lambda bad, _good: -bad.n_triggers,
    "noise_trigger": lambda bad, _good: bad.n_triggers,
}


@pytest.mark.parametrize("name", DEPARTURES)
def test_a_fault_grows_with_its_severity(name: str) -> None:
    good = measure(simulate_bin(V2_PID, seed=21))
    grades = [measure(simulate_bin(V2_PID, fault=name, severity=severity, seed=21)) for severity in (0.05, 0.5, 1.0)]
    departures = [DEPARTURES[name](grade, good) for grade in grades]
    assert departures == sorted(departures)
    assert departures[0] < departures[1] < departures[2]


def test_a_leak_shows_in_the_humidity_of_the_header_alone() -> None:
    good, bad = (simulate_bin(V2_PID, fault=name, severity=PLAIN, seed=5) for name in (None, "leak"))
    assert files_of(bad).adc == files_of(good).adc
    humidity = [float(header_values(files_of(each).hdr)["humidity"]) for each in (good, bad)]
    assert humidity[1] > humidity[0] + 15


def test_a_config_change_states_the_new_flash_delay_in_the_header() -> None:
    key = "HKTRIGGERtoFlashlampDelayTime_x434ns_DAC_MCConly"
    good, bad = (
        header_values(files_of(simulate_bin(V2_PID, fault=name, severity=PLAIN)).hdr)
        for name in (None, "config_change")
    )
    assert (good[key], bad[key]) == ("70", "111")


def test_an_aborted_run_says_so_in_the_header() -> None:
    bad = simulate_bin(V2_PID, fault="incomplete_run", severity=PLAIN, seed=6)
    run_time_s = float(header_values(files_of(bad).hdr)["runTime"])
    assert run_time_s < 400
    assert bad.columns["run_time"][-1] <= run_time_s + 0.05


def test_a_volume_error_contradicts_the_volume_that_the_run_took_time_for() -> None:
    header = header_values(files_of(simulate_bin(V2_PID, fault="volume_error", severity=PLAIN)).hdr)
    look_s = float(header["runTime"]) - float(header["inhibitTime"])
    assert 0.25 * look_s / 60 > 1.05 * float(header["SyringeSampleVolume"])


@pytest.mark.parametrize("seed", SEEDS)
def test_an_empty_bin_has_a_handful_of_triggers_over_the_whole_run_and_hardly_an_image(seed: int) -> None:
    simulated = simulate_bin(V2_PID, fault="empty_bin", severity=PLAIN, seed=seed)
    assert simulated.header["triggerCount"] == 20
    assert simulated.header["runTime"] == pytest.approx(1200.85)
    assert simulated.time_s[-1] > 800
    assert simulated.has_image.mean() < 0.4


def test_the_emptiest_bin_has_empty_files_and_a_full_header() -> None:
    files = files_of(simulate_bin(V2_PID, fault="empty_bin", severity=1.0), with_images=True)
    header = header_values(files.hdr)
    assert (files.adc, files.roi) == (b"", b"")
    assert (header["triggerCount"], header["roiCount"], header["runTime"]) == ("0", "0", "1200.85")


def test_a_v1_bin_without_images_has_a_roi_file_of_one_byte() -> None:
    files = files_of(simulate_bin(V1_PID, fault="empty_bin", severity=1.0), with_images=True)
    assert files.roi == b"\0"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_corrupt_adc_keeps_its_line_count_and_loses_some_lines(seed: int) -> None:
    good, bad = (
        files_of(simulate_bin(V2_PID, fault=name, severity=PLAIN, seed=seed)).adc.split(b"\n")
        for name in (None, "corrupt_adc")
    )
    changed = [line for line, before in zip(bad, good, strict=True) if line != before]
    assert 0.1 < len(changed) / len(good) < 0.3
    assert any(line.count(b",") < 23 and line in before for line, before in zip(bad, good, strict=True))


@pytest.mark.parametrize("severity", [0.0, 0.05, 1.0])
def test_a_truncated_adc_ends_in_the_middle_of_a_line_of_the_true_file(severity: float) -> None:
    good = files_of(simulate_bin(V2_PID, seed=9)).adc
    bad = files_of(simulate_bin(V2_PID, fault="truncated_adc", severity=severity, seed=9)).adc
    assert good.startswith(bad)
    assert 0.55 < len(bad) / len(good) < 1
    assert 3 <= bad.split(b"\n")[-1].count(b",") < 23


def test_a_missing_header_is_no_file() -> None:
    assert files_of(simulate_bin(V2_PID, fault="missing_hdr")).hdr is None


def test_the_stuck_spot_stays_in_place_over_the_bins_of_an_instrument() -> None:
    spots = []
    for hour in (10, 11):
        simulated = simulate_bin(f"D20230810T{hour}3059_IFCB134", fault="stuck_roi", severity=PLAIN)
        boxes = np.stack([simulated.columns[f"roi_{name}"] for name in ("x", "y", "width", "height")])
        unique, counts = np.unique(boxes[:, simulated.has_image], axis=1, return_counts=True)
        spots.append(unique[:, counts.argmax()].tolist())
    assert spots[0] == spots[1]


def test_a_stuck_spot_adds_no_triggers() -> None:
    good, bad = (simulate_bin(V2_PID, fault=name, seed=8) for name in (None, "stuck_roi"))
    np.testing.assert_array_equal(np.unique(good.time_s), np.unique(bad.time_s))
    assert bad.header["triggerCount"] == good.header["triggerCount"]
    assert bad.columns["inhibit_time"][-1] == pytest.approx(good.columns["inhibit_time"][-1])


@pytest.mark.parametrize("pid", [V1_PID, V2_PID])
@pytest.mark.parametrize("mean_triggers", [0, 3])
@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.filterwarnings("error")
def test_every_fault_copes_with_a_nearly_empty_bin(name: str, mean_triggers: int, pid: str) -> None:
    for severity in (0.0, 1.0):
        simulated = simulate_bin(pid, fault=name, severity=severity, mean_triggers=mean_triggers)
        files = files_of(simulated, with_images=True)
        assert [applied.name for applied in simulated.faults] == [name]
        assert files.roi is not None
        assert len(files.roi) == (simulated.columns["roi_width"] * simulated.columns["roi_height"]).sum() + (
            pid == V1_PID
        )


@pytest.mark.parametrize("name", sorted(set(FAULTS) - DAMAGED_ADC))
def test_header_and_rows_agree_after_every_fault(name: str) -> None:
    simulated = simulate_bin(V2_PID, fault=name, severity=PLAIN, seed=3)
    columns = simulated.columns
    triggers = np.unique(columns["trigger"])
    assert simulated.header["triggerCount"] == triggers.size
    np.testing.assert_array_equal(triggers, np.arange(1, triggers.size + 1))
    assert simulated.header["roiCount"] == simulated.has_image.sum()
    assert np.all(np.diff(columns["adc_time"]) >= 0)
    sizes = (columns["roi_width"] * columns["roi_height"])[simulated.has_image]
    np.testing.assert_array_equal(columns["start_byte"][simulated.has_image], np.cumsum(sizes) - sizes)


def test_faults_add_up_in_the_order_in_which_they_are_applied() -> None:
    simulated = apply_fault(simulate_bin(V2_PID, fault="clog"), "missing_hdr", 1.0)
    assert [applied.name for applied in simulated.faults] == ["clog", "missing_hdr"]
    assert files_of(simulated).hdr is None
    assert measure(simulated).ks_time > 0.15


def test_an_unknown_fault_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'gremlins'.*air.*stuck_roi"):
        simulate_bin(V2_PID, fault="gremlins")


@pytest.mark.parametrize("severity", [-0.1, 1.1, float("nan")])
def test_a_severity_out_of_range_is_refused(severity: float) -> None:
    with pytest.raises(ValueError, match="not between 0 and 1"):
        simulate_bin(V2_PID, fault="air", severity=severity)


def test_every_entry_says_in_plain_words_what_it_means_and_what_causes_it() -> None:
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert len(fault.meaning.split()) >= 4
        assert len(fault.cause.split()) >= 2
        assert (fault.change_bin, fault.change_files, fault.in_images_only).count(None) == 1 + fault.in_images_only
    variation = {name for name, fault in FAULTS.items() if not fault.is_fault}
    assert variation == {"bloom", "detritus", "bead_run", "post_clean", "config_change"}
