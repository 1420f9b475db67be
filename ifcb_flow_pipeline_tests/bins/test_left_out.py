"""What is left out of the tables, with the reason and the remedy."""

from datetime import UTC, date, datetime

import pytest

from ifcb_flow_pipeline.bins.left_out import misnamed, outside
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_name, pid_within
from ifcb_flow_pipeline_tests.bins.test_archive import V1, V2, files_of, only_bin

FIRST, LAST = date(2023, 8, 10), date(2023, 8, 12)


def test_files_of_one_name_are_one_row_that_names_the_bin_and_the_remedy():
    (found,) = misnamed([f"b/{V2}_beads.roi", f"a/{V2}_beads.adc"])
    assert (found.pid, found.instrument, found.path) == (f"{V2}_beads", "IFCB134", f"a/{V2}_beads.adc")
    assert found.start_time == datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC)
    assert found.reason == (
        f"{V2}_beads.adc and 1 more are not named as a bin: rename to {V2}, or move to a directory that is not read, "
        "such as beads or skip"
    )


def test_a_corrected_adc_file_without_its_bin_is_told_with_the_remedy():
    path = "../adcmod/D20230810/D20230810T113059_IFCB134.ADC.MOD"
    (one,) = misnamed([path])
    assert (one.pid, one.instrument, one.status, one.path) == ("D20230810T113059_IFCB134", "IFCB134", "no_bin", path)
    assert "no directory D20230810 of the archive has that one" in one.reason
    (nameless,) = misnamed(["../adcmod/D20230810/notes.adc.mod"])
    assert (nameless.pid, nameless.instrument, nameless.status) == ("notes", None, "no_bin")


def test_a_file_without_a_bin_in_its_name_says_which_name_it_needs():
    (found,) = misnamed(["old/notes.adc"])
    assert (found.pid, found.instrument, found.start_time, found.status) == ("notes", None, None, "misnamed")
    assert found.reason.startswith("notes.adc is not named as a bin: give it the name of its bin")


@pytest.mark.parametrize(
    ("pid", "reason"),
    [
        ("D20230809T235959_IFCB134", "2023-08-09 is before the first day 2023-08-10: set IFCB_START_DAY"),
        ("D20230810T000000_IFCB134", None),
        ("D20230812T235959_IFCB134", None),
        ("D20230813T000000_IFCB134", "2023-08-13 is in the future: correct the instrument's clock"),
    ],
)
def test_a_bin_is_outside_before_the_first_and_after_the_last_day(pid, reason):
    found = outside(only_bin(files_of(pid)), FIRST, LAST)
    assert found is None if reason is None else found is not None and found.reason.startswith(reason)


@pytest.mark.parametrize("pid", [V1, V2])
def test_names_are_read_in_any_case(pid):
    assert parse_name(pid.lower()) == parse_name(pid)
    found = pid_within(f"{pid.lower()}_beads")
    assert found is not None
    assert found.pid == pid


@pytest.mark.parametrize("text", ["notes", "d20230230t113059_ifcb134", "\u0131fcb5_2012_028_081515"])
def test_what_names_no_bin_in_any_case_is_refused(text):
    with pytest.raises(InvalidPidError):
        parse_name(text)
    assert pid_within(f"{text}_beads") is None
