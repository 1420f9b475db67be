"""Identifiers: what they say, and what is none."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.pid import InvalidPidError, format_pid, parse_pid


def test_a_v2_identifier_states_day_time_and_instrument():
    bin_id = parse_pid("D20230810T113059_IFCB134")
    assert bin_id.pid == "D20230810T113059_IFCB134"
    assert bin_id.instrument == "IFCB134"
    assert bin_id.start_time == datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC)
    assert bin_id.start_time.tzinfo is UTC
    assert bin_id.day == date(2023, 8, 10)
    assert bin_id.schema == "v2"


def test_a_v1_identifier_counts_the_days_of_the_year():
    bin_id = parse_pid("IFCB1_2009_216_075913")
    assert bin_id.instrument == "IFCB1"
    assert bin_id.start_time == datetime(2009, 8, 4, 7, 59, 13, tzinfo=UTC)
    assert bin_id.day == date(2009, 8, 4)
    assert bin_id.schema == "v1"


@pytest.mark.parametrize(
    ("text", "instrument"),
    [
        ("D20230810T113059_IFCB7", "IFCB7"),
        ("D20130526T095207_IFCB013", "IFCB013"),
        ("D20230810T113059_IFCB1234", "IFCB1234"),
        ("IFCB12_2009_216_075913", "IFCB12"),
        ("IFCB010_2009_216_075913", "IFCB010"),
    ],
)
def test_the_instrument_may_have_any_number_of_digits_and_stays_as_written(text, instrument):
    assert parse_pid(text).instrument == instrument


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("IFCB1_2009_001_000000", date(2009, 1, 1)),
        ("IFCB1_2009_365_235959", date(2009, 12, 31)),
        ("IFCB1_2012_060_000000", date(2012, 2, 29)),
        ("IFCB1_2012_366_235959", date(2012, 12, 31)),
        ("D20240229T000000_IFCB134", date(2024, 2, 29)),
        ("D99991231T235959_IFCB134", date(9999, 12, 31)),
    ],
)
def test_the_edges_of_the_calendar_are_read(text, day):
    assert parse_pid(text).day == day


@pytest.mark.parametrize(
    "text",
    [
        "D20230229T000000_IFCB134",
        "D20231301T000000_IFCB134",
        "D20230800T000000_IFCB134",
        "D20230810T240000_IFCB134",
        "D20230810T116059_IFCB134",
        "D20230810T113060_IFCB134",
        "D20230810T113061_IFCB134",
        "D00000101T000000_IFCB134",
        "IFCB1_2009_000_000000",
        "IFCB1_2009_366_000000",
        "IFCB1_2012_367_000000",
        "IFCB1_2009_999_000000",
        "IFCB1_2009_216_240000",
        "IFCB1_2009_216_076000",
        "IFCB1_2009_216_075960",
        "IFCB1_0000_001_000000",
        "IFCB1_0001_000_000000",
        "IFCB1_9999_366_000000",
    ],
)
def test_a_time_that_never_was_is_refused_with_the_text_and_the_remedy(text):
    with pytest.raises(InvalidPidError, match="names no real date and time") as caught:
        parse_pid(text)
    assert repr(text) in str(caught.value)
    assert "expected DYYYYMMDDTHHMMSS_IFCBn" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "D20230810T113059_IFCB",
        "D20230810T113059",
        "D20230810T11305_IFCB134",
        "D20230810T1130590_IFCB134",
        "D20230810_113059_IFCB134",
        "d20230810t113059_ifcb134",
        "D20230810T113059_IFCB134\n",
        "\nD20230810T113059_IFCB134",
        " D20230810T113059_IFCB134",
        "D20230810T113059_IFCB134 ",
        "D20230810T113059_IFCB134\0",
        "D20230810T113059_IFCB134.adc",
        "D20230810T113059_IFCB134_00001",
        "../D20230810T113059_IFCB134",
        "D20230810T113059_IFCB134/..",
        "D20230810T113059_IFCB134/../../etc/passwd",
        "D2023081\u0661T113059_IFCB134",
        "D20230810T113059_IFCB13\uff14",
        "D20230810T113059_IFCB-13",
        "IFCB1_2009_216_075913\n",
        "IFCB1_2009_216_075913,",
        "IFCB_2009_216_075913",
        "IFCB1_2009_21_075913",
        "IFCB1_2009_0216_075913",
        "IFCB1_2009_216_07591",
        "IFCB1_2009_216_07591\u0663",
        "XIFCB1_2009_216_075913",
    ],
)
def test_what_follows_neither_scheme_is_refused_with_the_text_and_the_remedy(text):
    with pytest.raises(InvalidPidError, match="is not a bin identifier") as caught:
        parse_pid(text)
    assert repr(text) in str(caught.value)
    assert "expected DYYYYMMDDTHHMMSS_IFCBn" in str(caught.value)


def test_the_error_is_a_value_error():
    assert issubclass(InvalidPidError, ValueError)


@given(
    start=st.datetimes(timezones=st.just(UTC)).map(lambda time: time.replace(microsecond=0)),
    number=st.from_regex(r"[0-9]{1,5}", fullmatch=True),
    schema=st.sampled_from(["v1", "v2"]),
)
# Years before 1000 lost their leading zeros.
@example(start=datetime(999, 1, 1, tzinfo=UTC), number="1", schema="v2")
@example(start=datetime(999, 1, 1, tzinfo=UTC), number="1", schema="v1")
def test_a_formatted_identifier_reads_back(start, number, schema):
    text = format_pid(f"IFCB{number}", start, schema)
    bin_id = parse_pid(text)
    assert (bin_id.pid, bin_id.instrument, bin_id.start_time, bin_id.schema) == (
        text,
        f"IFCB{number}",
        start,
        schema,
    )


@given(st.from_regex(r"D20\d{6}T[0-2]\d[0-5]\d[0-5]\d_IFCB\d{1,4}|IFCB\d{1,3}_20\d\d_[0-3]\d\d_\d{6}", fullmatch=True))
def test_a_text_is_refused_or_is_what_its_values_format_to(text):
    try:
        bin_id = parse_pid(text)
    except InvalidPidError:
        return
    assert text.isascii()
    assert format_pid(bin_id.instrument, bin_id.start_time, bin_id.schema) == text


@given(st.one_of(st.text(), st.text("DTIFCB_0123456789\n", max_size=30)))
def test_no_text_does_anything_but_parse_or_be_quoted_in_the_error(text):
    try:
        parse_pid(text)
    except InvalidPidError as error:
        message = str(error)
    else:
        return
    assert repr(text) in message


@given(year=st.integers(1, 9999), day_of_year=st.integers(0, 999))
def test_a_day_of_the_year_is_read_exactly_where_the_year_has_it(year, day_of_year):
    text = f"IFCB5_{year:04d}_{day_of_year:03d}_120000"
    length = date(year, 12, 31).timetuple().tm_yday
    if 1 <= day_of_year <= length:
        assert parse_pid(text).day == date(year, 1, 1) + timedelta(days=day_of_year - 1)
    else:
        with pytest.raises(InvalidPidError):
            parse_pid(text)


def test_v2_is_the_scheme_of_a_new_identifier():
    start = datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC)
    assert format_pid("IFCB134", start) == "D20230810T113059_IFCB134"
    assert format_pid("IFCB1", start, "v1") == "IFCB1_2023_222_113059"
