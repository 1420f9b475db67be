"""What people met in the field, from the files to a row of bin_features: nothing is invented, nothing costs the bin."""

import math
from typing import Any

import pytest

from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.review.upload import UploadedBin
from ifcb_flow_pipeline.tried_bin import TriedBin

from .bins.field_cases import PID, FieldCase, field_cases

CASES = field_cases()

#: What a header says, and so what none says.
OF_THE_HEADER = {
    "run_time_ratio", "volume_ratio", "image_count_mismatch", "run_time_mismatch", "temperature_c", "humidity_pct",
    "header_adc_mismatch",
}  # fmt: skip


def row_of(case: FieldCase | str) -> dict[str, Any]:
    case = CASES[case] if isinstance(case, str) else case
    files = {"adc": case.adc} | ({} if case.hdr is None else {"hdr": case.hdr})
    return TriedBin.of(UploadedBin(PID, files), FeatureSettings()).features.to_pylist()[0]


USUAL = row_of("unchanged")


def assert_usual(row: dict[str, Any], *but: str, rel: float = 1e-9) -> None:
    for name in FULL_FEATURE_NAMES:
        if name not in but:
            assert row[name] == pytest.approx(USUAL[name], rel=rel, abs=rel, nan_ok=True), name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case_is_measured_and_its_damaged_lines_are_counted(case):
    row = row_of(case)
    assert row["status"] == "ok"
    assert row["bad_lines"] == case.n_damaged
    assert row["bad_line_fraction"] == pytest.approx(case.n_damaged / (row["n_rows"] + case.n_damaged))
    lost = {name for name in FULL_FEATURE_NAMES if math.isnan(row[name]) and not math.isnan(USUAL[name])}
    expected = {
        "no header": OF_THE_HEADER,
        "header of zero bytes": OF_THE_HEADER,
        "header cut in the middle": {"run_time_ratio", "volume_ratio"},
        "header without its first lines": OF_THE_HEADER - {"run_time_ratio", "volume_ratio"},
        "all signals zero": {"peak_median_v", "peak_floor_fraction", "peak_y_slope"},
        "time stands still": {
            "time_uniformity",
            "longest_gap_fraction",
            "rate_change",
            "time_backward_fraction",
            "blind_fraction",
            "longest_blind_s",
        },
    }
    assert lost == expected.get(case.name, set())


def test_a_healthy_bin_has_a_header_and_files_without_any_fault():
    assert USUAL["run_time_source"] == USUAL["inhibit_time_source"] == "header"
    assert (USUAL["header_state"], USUAL["header_problem"], USUAL["adc_source"]) == ("ok", "", "adc")
    assert USUAL["dead_signals"] == ""
    for name in ("header_adc_mismatch", "dead_signal_fraction", "time_still_fraction", "start_byte_gap_fraction"):
        assert USUAL[name] == 0


# Header and ADC file disagree


@pytest.mark.parametrize(
    ("case", "mismatch"), [("no run time in the header", 1.0), ("run time 7.5 times too long", 1 - 1 / 7.5)]
)
def test_a_wrong_run_time_in_the_header_is_told_and_that_of_the_adc_file_counts(case, mismatch):
    row = row_of(case)
    assert row["run_time_source"] == "adc"
    assert row["header_adc_mismatch"] == pytest.approx(mismatch, rel=0.01)
    assert abs(row["run_time_mismatch"]) == pytest.approx(mismatch, rel=0.01)
    for name in ("run_time_s", "run_time_ratio", "volume_ml", "volume_ratio", "inhibit_fraction", "trigger_rate_hz"):
        assert row[name] == pytest.approx(USUAL[name], rel=0.01), name


def test_a_blind_time_that_the_header_lacks_is_that_of_the_adc_file():
    row = row_of("no blind time in the header")
    assert (row["run_time_source"], row["inhibit_time_source"]) == ("header", "adc")
    assert row["header_adc_mismatch"] == pytest.approx(USUAL["inhibit_fraction"], rel=0.01)
    assert row["volume_ml"] == pytest.approx(USUAL["volume_ml"], rel=1e-3)


def test_garbage_in_the_last_row_changes_no_time():
    row = row_of("garbage in the last blind time")
    assert_usual(row)
    assert row["inhibit_time_source"] == "header"


def test_counters_that_were_not_set_back_before_the_run_change_no_volume():
    row = row_of("counters that were not set back")
    assert row["header_adc_mismatch"] == 0
    assert row["volume_ml"] == pytest.approx(USUAL["volume_ml"], rel=1e-3)


def test_a_cut_file_is_of_a_shorter_run_and_no_header_hides_that():
    row = row_of("first half only")
    assert row["run_time_source"] == "adc"
    assert row["run_time_ratio"] == pytest.approx(0.5, abs=0.1)
    assert row["image_count_mismatch"] == pytest.approx(-0.5, abs=0.05)


def test_a_run_that_a_clog_left_without_triggers_is_as_long_as_its_header_says():
    row = row_of("no triggers in the second half")
    assert (row["run_time_source"], row["header_adc_mismatch"]) == ("header", 0)
    assert row["run_time_s"] == USUAL["run_time_s"]
    assert row["longest_gap_fraction"] > 0.4


# Headers


@pytest.mark.parametrize(
    ("case", "state", "problem"),
    [
        ("header cut in the middle", "damaged", "its last line is cut off"),
        ("header of zero bytes", "missing", "the .hdr file is empty"),
        ("no header", "missing", ""),
    ],
)
def test_a_header_that_is_not_whole_is_named_and_tells_no_settings(case, state, problem):
    row = row_of(case)
    assert row["header_state"] == state
    assert problem in row["header_problem"]
    assert problem in row["reason"]
    assert row["configuration"] == row["settings"] == ""
    assert USUAL["configuration"] != ""


# Rows


@pytest.mark.parametrize(
    "case",
    [
        "byte order mark", "empty lines", "one more column than known", "numbers with a point",
        "NaN in a signal that no feature needs", "one infinite signal",
    ],
)  # fmt: skip
def test_what_no_feature_needs_costs_nothing(case):
    one_peak = ("peak_median_v", "peak_floor_fraction", "peak_y_slope") if case == "one infinite signal" else ()
    row = row_of(case)
    assert_usual(row, *one_peak)
    assert row["reason"] == ""
    for name in one_peak:
        assert row[name] == pytest.approx(USUAL[name], rel=0.05, abs=0.05), name


@pytest.mark.parametrize("case", ["last line cut", "several bad lines at the end", "a line of titles"])
def test_a_damaged_line_among_many_is_a_note_and_changes_hardly_a_number(case):
    row = row_of(case)
    assert f"{CASES[case].n_damaged} of " in row["reason"]
    assert row["core_x_px"] == pytest.approx(USUAL["core_x_px"], abs=0.5)
    assert row["volume_ml"] == pytest.approx(USUAL["volume_ml"], rel=0.01)


def test_dead_signals_are_counted_and_named():
    row = row_of("all signals zero")
    assert row["dead_signal_fraction"] == 1
    assert row["dead_signals"] == "pmt_a pmt_b pmt_c pmt_d peak_a peak_b peak_c peak_d"
    row = row_of("one dead signal")
    assert (row["dead_signal_fraction"], row["dead_signals"]) == (1 / 8, "pmt_c")


@pytest.mark.parametrize("case", ["last line cut", "several bad lines at the end"])
def test_images_on_damaged_lines_are_not_missed_twice(case):
    assert row_of(case)["image_count_mismatch"] == 0


def test_times_that_stand_still_and_lost_places_are_told():
    assert row_of("time stands still")["time_still_fraction"] == 1
    assert row_of("places in the .roi file lost")["start_byte_gap_fraction"] == 1


def test_whether_there_is_a_roi_file_is_told():
    assert USUAL["has_roi"] is False
    with_roi = UploadedBin(PID, {"adc": CASES["unchanged"].adc, "roi": b"123"})
    assert TriedBin.of(with_roi, FeatureSettings()).features["has_roi"].to_pylist() == [True]
