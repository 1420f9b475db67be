"""Corrected sample times: what is read, and what is refused by name."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifcb_flow_pipeline.store.sample_times import SampleTimes, SampleTimesError

PID = "D20240601T120000_IFCB134"
TIME = datetime(2024, 5, 31, 9, 30, tzinfo=UTC)


def read(home: Path, text: str) -> SampleTimes:
    (home / "sample_times.csv").write_text(text, encoding="utf-8")
    return SampleTimes.read(home)


@pytest.mark.parametrize(
    "stated", ["2024-05-31T09:30:00Z", "2024-05-31 09:30", "2024-05-31T11:30:00+02:00", " 2024-05-31T09:30:00 "]
)
def test_times_are_utc_unless_they_state_an_offset(tmp_path: Path, stated: str):
    found = read(tmp_path, f"note,pid,sample_time\nclock in 2006,{PID},{stated}\n")
    assert found.of(PID) == TIME
    assert found.of("D20240601T120001_IFCB134") is None


def test_without_a_file_identifiers_tell_the_time(tmp_path: Path):
    assert SampleTimes.read(tmp_path).of(PID) is None
    assert read(tmp_path, "pid,sample_time\n").of(PID) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bin,sample_time\n", "no column pid"),
        ("", "no column pid"),
        (f"pid,sample_time\n{PID},2024-05-31T09:30\nhello,2024-05-31T09:30\n", "line 3"),
        (f"pid,sample_time\n{PID},yesterday\n", "line 2: 'yesterday' is no time"),
        (f"pid,sample_time\n{PID}\n", "line 2: '' is no time"),
        (f"pid,sample_time\n{PID},2024-05-31T09:30\n{PID},2024-05-31T09:31\n", "line 3: .* two sample times"),
    ],
)
def test_what_says_nothing_is_refused_with_its_line(tmp_path: Path, text: str, said: str):
    with pytest.raises(SampleTimesError, match=said):
        read(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path):
    (tmp_path / "sample_times.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SampleTimesError, match="UTF-8"):
        SampleTimes.read(tmp_path)
