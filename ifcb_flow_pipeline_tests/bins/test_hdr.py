"""Headers of all dialects, each as a short literal, and the table of fields."""

import dataclasses
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.hdr import HEADER_FIELDS, Header, HeaderField, header_values, parse_hdr, read_hdr

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "ifcb-samples"

TITLE = "Imaging FlowCytobot Acquisition Software version 1.0; October 2005"
QUOTED = (
    f'"{TITLE}"\r\n"Someone"\r\n"Somewhere"\r\n"SyringeStatus =  127"\r\n'
    '"Temp Humidity BinarizeThresh PMT1hv(ssc) PMT2hv(chl) BlobSizeThresh"\r\n'
    '" 22.5"," 14.25"," 40"," .4"," .75"," 10"\r\n'
)
TABBED = (
    "softwareVersion: Imaging FlowCytobot Acquisition Software version 2.0, build 999; May 2010\n"
    "Analog firmware version 36\nsyringe number 7\nbinarizeThreshold: 8\t\nblobXgrowAmount: 20\t\n"
    "fill3newSheathState = using new SW for sheath: 0\t\nHumidityAlarmThreshold(%): 60.000000\t\n"
    "runType: NORMAL\nrunTime: 1231.5\t\nhumidity: -8.25\t\n"
)
SAMPLE_DATE = (
    "Imaging FlowCytobot Acquisition Software version 2.0; May 2010\nSample Date: 3 June 2010 12:30:05\n"
    "run time = 1198.6 s\t inhibit time = 30.1 s\n23.4 temperature,\t31.2 humidity\n"
)
MCLANE = (
    "SoftwareVersion: 2.3.0.0\nsampleType: Normal\ntriggerCount: 5178\nroiCount: 4802\nrunSampleFast: False\n"
    "cameraGain: 6\ngpsLatitude: 58.25\ngpsLongitude: -11.5\nGPSFeed: 1:16070\nFileComment:\n"
    "HKTRIGGERtoFlashlampDelayTime_x434ns_DAC_MCConly: 70\n"
)


def read(text: str) -> Header:
    return parse_hdr(text.encode())


# Dialects


def test_a_quoted_header_gives_its_table_and_its_title_as_the_software():
    header = read(QUOTED)
    assert header.to_dict() == {
        "software": TITLE,
        "temperature_c": 22.5,
        "humidity_pct": 14.25,
        "binarize_threshold": 40,
        "pmt_a_v": 0.4,
        "pmt_b_v": 0.75,
    }
    assert header.raw[0] == ("SyringeStatus", "127")
    assert header.raw[-1] == ("BlobSizeThresh", "10")
    assert header.other_lines == (TITLE, "Someone", "Somewhere")


def test_a_quoted_header_without_its_line_of_values_still_gives_the_software():
    header = read("\r\n".join(QUOTED.splitlines()[:-1]))
    assert header.to_dict() == {"software": TITLE}
    assert header.other_lines[-1].startswith("Temp Humidity")


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ("Temp Humidity Binarize_thresh", '"1","2","3"', {"binarize_threshold": 3}),
        ("Temp Humidity BinarizeThresh PMT1hv(ssc) PMT2hv(chl)", '"1","2","3"', {"binarize_threshold": 3}),
        ("Temp Humidity BinarizeThresh", '"1","2",""', {}),
    ],
)
def test_missing_columns_and_cells_shift_no_others(columns, values, expected):
    header = read(f'"{columns}"\n{values}\n')
    assert header.to_dict() == {"temperature_c": 1.0, "humidity_pct": 2.0} | expected


def test_two_column_names_alone_are_not_taken_for_a_humidity_called_temp():
    assert read('"Temp Humidity"\n') == Header(other_lines=("Temp Humidity",))


def test_a_line_of_column_names_before_an_ordinary_line_takes_nothing_from_it():
    assert read('"Temp Humidity"\nrunTime: 5\n').to_dict() == {"run_time_s": 5.0}


def test_a_tabbed_header_with_lines_without_colons_is_read():
    header = read(TABBED)
    assert header.to_dict() == {
        "software": "Imaging FlowCytobot Acquisition Software version 2.0, build 999; May 2010",
        "humidity_pct": -8.25,
        "run_time_s": 1231.5,
        "sample_type": "normal",
        "binarize_threshold": 8,
        "blob_grow_x_px": 20,
        "humidity_alarm_pct": 60.0,
    }
    assert header.other_lines == ("Analog firmware version 36", "syringe number 7")
    assert ("fill3newSheathState = using new SW for sheath", "0") in header.raw


@pytest.mark.parametrize("gap", ["\t ", "   ", " "])
def test_a_sample_date_header_gives_both_times_and_the_housekeeping(gap):
    header = read(SAMPLE_DATE.replace("\t ", gap))
    assert header.to_dict() == {
        "software": "Imaging FlowCytobot Acquisition Software version 2.0; May 2010",
        "temperature_c": 23.4,
        "humidity_pct": 31.2,
        "run_time_s": 1198.6,
        "inhibit_time_s": 30.1,
    }
    assert ("run time", "1198.6 s") in header.raw
    assert ("Sample Date", "3 June 2010 12:30:05") in header.raw


def test_a_mclane_header_is_read():
    header = read(MCLANE)
    assert header.to_dict() == {
        "software": "2.3.0.0",
        "trigger_count": 5178,
        "roi_count": 4802,
        "sample_type": "normal",
        "run_fast": False,
        "flash_delay": 70,
        "camera_gain": 6.0,
        "latitude": 58.25,
        "longitude": -11.5,
    }
    assert ("GPSFeed", "1:16070") in header.raw
    assert ("FileComment", "") in header.raw
    assert header.other_lines == ()


@pytest.mark.parametrize("text", [QUOTED, TABBED, SAMPLE_DATE, MCLANE])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\n\n"])
def test_line_ends_byte_order_marks_and_a_missing_final_line_end_change_nothing(text, line_end):
    lines = text.splitlines()
    assert parse_hdr(b"\xef\xbb\xbf" + line_end.join(lines).encode()) == read(text)


def test_a_version_under_its_own_key_wins_over_a_title_line_anywhere():
    assert read(f"SoftwareVersion: 2.0\n{TITLE}\n").software == "2.0"


# Values


def test_the_last_run_type_counts_and_a_bare_number_is_none():
    assert read("runType: 1\nfans: 0\nrunType: BEADS\n").sample_type == "beads"
    assert read("runType: BEADS\nrunType: 1\n").sample_type == "beads"
    assert read("runType: 1\n").sample_type is None


def test_repeated_keys_are_all_kept_and_the_last_readable_one_counts():
    header = read("humidity: 1\nhumidity: 2\nhumidity: broken\n")
    assert header.humidity_pct == 2.0
    assert header.raw == (("humidity", "1"), ("humidity", "2"), ("humidity", "broken"))


ALL_TYPES = (
    "SyringeSampleVolume: 5\naltSyringeSampleVolume: 0.1\nBeadsSampleVolume: 2.5\nsampleVolume2skip: 0\n"
    "altSampleVolume2skip: 0.8\nPMTAhighVoltage: 0.4\naltPMTAHighVoltage: 0.55\nPMTBhighVoltage: 0.6\n"
    "PMTtriggerSelection_DAQ_MCConly: 2\naltPMTtriggerSelection_DAQ_MCConly: 1\n"
)


@pytest.mark.parametrize(
    ("sample_type", "volume", "skip", "pmt_a", "trigger_selection"),
    [
        ("sampleType: Normal", 5.0, 0.0, 0.4, 2),
        ("sampleType: Alternative", 0.1, 0.8, 0.55, 1),
        ("runType: ALT", 0.1, 0.8, 0.55, 1),
        ("runType: BEADS", 2.5, 0.0, 0.4, 2),
        ("sampleType: Something new", 5.0, 0.0, 0.4, 2),
        ("", 5.0, 0.0, 0.4, 2),
    ],
)
@pytest.mark.parametrize("type_comes_first", [True, False])
def test_the_settings_of_the_sample_type_are_in_force(
    sample_type, volume, skip, pmt_a, trigger_selection, type_comes_first
):
    parts = [sample_type + "\n", ALL_TYPES]
    header = read("".join(parts if type_comes_first else parts[::-1]))
    assert header.sample_volume_ml == volume
    assert header.skip_volume_ml == skip
    assert header.pmt_a_v == pmt_a
    assert header.trigger_selection == trigger_selection
    assert header.pmt_b_v == 0.6, "no key of its own: the usual one holds"


def test_alt_and_alternative_are_one_sample_type():
    assert read("runType: ALT").sample_type == read("sampleType: Alternative").sample_type == "alternative"


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999", "1_000", "٣", "", "?", "0x10"])
def test_a_text_that_is_no_finite_number_counts_as_absent(text):
    header = read(f"temperature: {text}\nroiCount: {text}\n")
    assert header.temperature_c is None
    assert header.roi_count is None


@pytest.mark.parametrize(
    ("text", "count"), [("8", 8), ("8.000000", 8), ("8.5", None), ("9" * 400, None), ("1e300", None)]
)
def test_a_count_is_a_whole_number_of_believable_size(text, count):
    assert read(f"binarizeThreshold: {text}").binarize_threshold == count


@pytest.mark.parametrize(
    ("text", "flag"), [("True", True), ("false", False), ("0", False), ("1", True), ("2", None), ("", None)]
)
def test_flags_are_written_as_words_or_digits(text, flag):
    assert read(f"runSampleFast: {text}").run_fast is flag


# Damage


@pytest.mark.parametrize("data", [b"", b"\n\r\n \t\n", b"\xff\xfe\x00", b"::\n=\n==\n:\n", b'"\n""\n","\n'])
def test_an_empty_or_senseless_file_gives_an_empty_header(data):
    assert parse_hdr(data).is_empty
    assert parse_hdr(data).to_dict() == {}


def test_an_empty_file_equals_an_empty_header():
    assert parse_hdr(b"") == Header()


def test_undecodable_bytes_are_replaced_and_hinder_no_other_line():
    header = parse_hdr(b"FileComment: \xc5\xff\nrunTime: 7\n")
    assert header.run_time_s == 7.0
    assert header.raw[0] == ("FileComment", "\ufffd\ufffd")


def test_lines_of_several_equals_signs_are_kept_whole():
    assert read("formula = a=b").raw == (("formula", "a=b"),)
    assert read("= 1  x = 2").other_lines == ("= 1  x = 2",)


def test_a_line_that_is_only_partly_housekeeping_is_kept_whole():
    assert read("23.4 temperature, all well").other_lines == ("23.4 temperature, all well",)


def test_a_monstrous_line_is_kept_as_text_and_costs_no_time():
    lines = ["a" + filler * 300_000 + "=" for filler in (" ", "\t", "= ", "s ")] + ["temp humidity " * 99_999]
    before = time.perf_counter()
    header = read("\n".join([*lines, "runTime: 7"]))
    assert time.perf_counter() - before < 2
    assert header.to_dict() == {"run_time_s": 7.0}
    assert len(header.other_lines) == len(lines)


KEYS = st.sampled_from([key for entry in HEADER_FIELDS for key in entry.keys + entry.alternative_keys])
LINES = st.builds("{}{}{}".format, KEYS, st.sampled_from([": ", ":", " = ", " ", "\t"]), st.text(max_size=12))
FRAGMENTS = st.sampled_from([*QUOTED.splitlines(), *SAMPLE_DATE.splitlines(), "runType: ALT", '"Temp Humidity"'])


@given(st.binary(max_size=300) | st.lists(LINES | FRAGMENTS).map(lambda lines: "\n".join(lines).encode()))
def test_no_bytes_raise_and_the_result_is_fit_for_json(data):
    header = parse_hdr(data)
    assert json.loads(json.dumps(header.to_dict(), allow_nan=False)) == header.to_dict()
    assert all(isinstance(key, str) and key for key, _ in header.raw)
    assert list(header_values(data).items()) == list(header.to_dict().items())


@given(st.lists(LINES | FRAGMENTS), st.integers(0, 400))
def test_a_header_cut_anywhere_is_read_up_to_the_last_whole_line(lines, cut):
    data = "\n".join(lines).encode()[:cut]
    whole = data.rpartition(b"\n")[0]
    complete = parse_hdr(whole).raw
    assert parse_hdr(data).raw[: len(complete)] == complete


# The table

TYPES = {"text": str, "sample type": str, "number": float, "count": int, "flag": bool}
VALUES = {
    "text": st.text("abc XYZ;,.0123456789", min_size=1).map(str.strip).filter(bool),
    "sample type": st.sampled_from(["normal", "beads", "alternative", "cleaning run"]),
    "number": st.floats(allow_nan=False, allow_infinity=False),
    "count": st.integers(-(2**53), 2**53),
    "flag": st.booleans(),
}
UNIT_SUFFIXES = {"°C": "_c", "%": "_pct", "s": "_s", "mL": "_ml", "V": "_v", "px": "_px", "px2": "_px2"}


def test_the_table_and_the_fields_of_the_header_are_the_same_in_the_same_order():
    fields = [f for f in dataclasses.fields(Header) if f.name not in ("raw", "other_lines")]
    assert [f.name for f in fields] == [entry.name for entry in HEADER_FIELDS]
    assert [f.type for f in fields] == [TYPES[entry.kind] | None for entry in HEADER_FIELDS]
    assert all(f.default is None for f in fields)


def test_no_key_feeds_two_fields():
    keys = [key.lower() for entry in HEADER_FIELDS for keys in entry.keys_by_sample_type().values() for key in keys]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("entry", HEADER_FIELDS, ids=lambda entry: entry.name)
def test_every_entry_says_what_it_is_in_its_unit_and_where_it_comes_from(entry):
    assert entry.keys
    assert entry.meaning
    assert "/" in entry.source or "headers of" in entry.source
    if suffix := UNIT_SUFFIXES.get(entry.unit):
        assert entry.name.endswith(suffix)
    else:
        assert entry.unit in ("", "434 ns", "°N", "°E")


@given(st.data())
def test_every_key_of_the_table_is_read_in_any_case_as_what_the_table_says(data):
    entry: HeaderField = data.draw(st.sampled_from(HEADER_FIELDS))
    sample_type, keys = data.draw(st.sampled_from([(t, k) for t, k in entry.keys_by_sample_type().items() if k]))
    key = data.draw(st.sampled_from(keys))
    key = data.draw(st.sampled_from([key, key.lower(), key.upper(), key.swapcase()]))
    value = data.draw(VALUES[entry.kind])
    tail = data.draw(st.sampled_from(["", "\t", " ", f" {entry.unit}"]))
    header = read(f"{key}: {value}{tail}\n" + (f"sampleType: {sample_type}\n" if sample_type else ""))
    found = getattr(header, entry.name)
    assert found == value
    assert type(found) is TYPES[entry.kind]


# Real headers


def between(low: float, value: float | None, high: float) -> bool:
    return value is not None and low < value < high


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample bins beside the checkout")
def test_real_headers_of_every_software_are_read():
    headers = {path.stem: parse_hdr(path.read_bytes()) for path in sorted(SAMPLES.glob("archive/**/*.hdr"))}
    assert headers
    for pid, header in headers.items():
        assert header.software, pid
        assert not header.is_empty, pid
        if pid.startswith("D"):
            assert between(0, header.run_time_s, 1300), pid
            assert between(0, header.inhibit_time_s, header.run_time_s or 0), pid
            assert between(15, header.temperature_c, 40), pid
            assert header.sample_type == "normal", pid
            assert header.sample_volume_ml == 5.0, pid
            assert header.pmt_a_v, pid
            assert header.trigger_selection == 2, pid
        elif pid != "IFCB1_2006_157_181359":
            assert between(5, header.temperature_c, 40), pid
            assert header.binarize_threshold in (20, 30, 40), pid


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no sample bins beside the checkout")
def test_placeholders_of_zero_bytes_give_empty_headers():
    assert parse_hdr((SAMPLES / "odd/skip/IFCB5_2006_001_121212.hdr").read_bytes()).is_empty


# Whether a header is whole

WHOLE = b"SoftwareVersion: 2.3.0.0\nrunTime: 1200.5\ninhibitTime: 80.5\nSyringeSampleVolume: 5\n"
OLD = b'"Imaging FlowCytobot Acquisition Software version 1.0; October 2005"\r\n"SyringeStatus =  0"\r\n'


@pytest.mark.parametrize(
    ("data", "schema", "state", "problem"),
    [
        (WHOLE, "v2", "ok", ""),
        (WHOLE.replace(b"\n", b"\r\n"), "v2", "ok", ""),
        (b"temperature: 21.5\n", "v2", "ok", ""),
        (OLD, "v1", "ok", ""),
        (b"", "v2", "missing", "the .hdr file is empty"),
        (b" \r\n", "v1", "missing", "the .hdr file is empty"),
        (WHOLE[:-3], "v2", "damaged", "the .hdr file is damaged: its last line is cut off"),
        (OLD[:-9], "v1", "damaged", "the .hdr file is damaged: its last line is cut off"),
        (WHOLE + bytes(40), "v2", "damaged", "the .hdr file is damaged: it holds NUL bytes"),
        (b"\x89PNG\n", "v2", "damaged", "the .hdr file is damaged: nothing in it can be read"),
        (
            b"SoftwareVersion: 2.3.0.0\nrunTime: 1200.5\n",
            "v2",
            "damaged",
            "the .hdr file is damaged: it lacks inhibitTime and SyringeSampleVolume",
        ),
    ],
)
def test_a_header_says_whether_it_is_whole_and_if_not_why(data, schema, state, problem):
    found = read_hdr(data, schema)
    assert (found.state, found.problem) == (state, problem)
    assert found.values == header_values(data)
