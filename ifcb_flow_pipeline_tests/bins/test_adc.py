"""ADC files: every dialect that real files have, every kind of damage, and an oracle for both."""

import math
from functools import reduce

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, MAX_DESCRIBED, WIDTHS, Adc, BadLine, has_image, parse_adc

from .reference import COLUMNS, read_reference

V1_LINE = b"1,.31,2.5,3.5,4.5,5.5,.6,.7,.8,202,673,96,45,1,-.275,\n"
V1_NO_IMAGE = b"2,1.31,2.5,3.5,4.5,5.5,.6,.7,.8,-11,-11,0,0,4321,-.275,\n"
V2_LINE = b"7,11.25,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,54.25,11.5,11.75,980,632,80,34,123456,0,0,0,0,12.5,0.5\n"
BOM = b"\xef\xbb\xbf"
V2_NO_IMAGE = b"8,12.25,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,-999,11.5,11.75,0,0,0,0,0,0,0,0,0,13.5,0.75\n"


def values_of(adc: Adc, row: int = 0) -> dict[str, float]:
    return {name: values[row].item() for name, values in adc.columns.items()}


def with_field(line: bytes, position: int, field: bytes) -> bytes:
    fields = line.rstrip(b"\n").split(b",")
    fields[position] = field
    return b",".join(fields) + b"\n"


def assert_equals_reference(data: bytes, schema: str) -> Adc:
    adc, reference = parse_adc(data, schema), read_reference(data, schema)
    for name, *_ in COLUMNS:
        expected = reference.column(name)
        assert adc.columns[name].dtype == expected.dtype
        assert adc.columns[name].tobytes() == expected.tobytes(), name
    assert adc.bad_lines == len(reference.bad_numbers)
    assert [line.number for line in adc.described] == reference.bad_numbers[:MAX_DESCRIBED]
    return adc


# Both schemas


def test_a_v1_line_gives_these_values():
    adc = parse_adc(V1_LINE, "v1")
    values = values_of(adc)
    absent = {"peak_a", "peak_b", "peak_c", "peak_d", "time_of_flight_us", "run_time_s", "inhibit_time_s"}
    assert {name for name, value in values.items() if math.isnan(value)} == absent
    assert {name: value for name, value in values.items() if name not in absent} == {
        "trigger": 1,
        "t_s": 0.31,
        "x_px": 202,
        "y_px": 673,
        "width_px": 96,
        "height_px": 45,
        "start_byte": 1,
        "pmt_a": 4.5,
        "pmt_b": 2.5,
        "pmt_c": 5.5,
        "pmt_d": 3.5,
    }
    assert (adc.schema, len(adc), adc.bad_lines, adc.described, adc.problem) == ("v1", 1, 0, (), "")


def test_a_v2_line_gives_these_values():
    adc = parse_adc(V2_LINE, "v2")
    assert values_of(adc) == {
        "trigger": 7,
        "t_s": 11.25,
        "x_px": 980,
        "y_px": 632,
        "width_px": 80,
        "height_px": 34,
        "start_byte": 123456,
        "pmt_a": 2.5,
        "pmt_b": 3.5,
        "pmt_c": 4.5,
        "pmt_d": 5.5,
        "peak_a": 6.5,
        "peak_b": 7.5,
        "peak_c": 8.5,
        "peak_d": 9.5,
        "time_of_flight_us": 54.25,
        "run_time_s": 12.5,
        "inhibit_time_s": 0.5,
    }
    assert (adc.schema, len(adc), adc.bad_lines, adc.described, adc.problem) == ("v2", 1, 0, (), "")


@pytest.mark.parametrize(("data", "schema"), [(V1_LINE + V1_NO_IMAGE, "v1"), (V2_LINE + V2_NO_IMAGE, "v2")])
def test_only_lines_with_width_and_height_above_zero_have_an_image(data, schema):
    adc = parse_adc(data, schema)
    assert adc.has_image.tolist() == [True, False]
    assert adc.columns["x_px"][1] == {"v1": -11, "v2": 0}[schema]


def test_a_width_without_a_height_is_no_image_and_neither_is_a_negative_one():
    sizes = {"width_px": np.array([5, 5, 0, -3, 1]), "height_px": np.array([0, -2, 5, -4, 1])}
    assert has_image(sizes).tolist() == [False, False, False, False, True]


def test_lines_stay_in_the_order_of_the_file_even_where_triggers_repeat():
    data = b"".join(with_field(V2_LINE, 0, b"%d" % n) for n in (3, 1, 1, 2))
    assert parse_adc(data, "v2").columns["trigger"].tolist() == [3, 1, 1, 2]


def test_every_column_has_a_name_of_its_own_a_meaning_and_a_place_in_v2():
    assert len({column.name for column in ADC_COLUMNS}) == len(ADC_COLUMNS)
    for schema in ("v1", "v2"):
        places = [column.index(schema) for column in ADC_COLUMNS if column.index(schema) is not None]
        assert len(set(places)) == len(places)
        assert max(places) < min(WIDTHS[schema])
    for column in ADC_COLUMNS:
        assert column.meaning
        assert column.v2 is not None


# Dialects of files that are whole


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (b".0607", 0.0607),
        (b"-.0607", -0.0607),
        (b"8.98E-02", 0.0898),
        (b"8.984375E-02", 0.08984375),
        (b"9.336713E+09", 9.336713e9),
        (b"1e3", 1000.0),
        (b"+2.5", 2.5),
        (b"5.", 5.0),
        (b"-0", -0.0),
        (b" 2.5", 2.5),
        (b"2.5\t", 2.5),
        (b"0.050664299999999995", 0.050664299999999995),
        (b"2.2250738585072011e-308", 2.2250738585072011e-308),
        (b"9007199254740993", 9007199254740992.0),
        (b"0.1000000000000000055511151231257827021181583404", 0.1),
    ],
)
def test_a_number_is_read_as_python_reads_it(field, value):
    adc = parse_adc(with_field(V2_LINE, 1, field), "v2")
    assert adc.problem == ""
    assert adc.columns["t_s"].tobytes() == np.array([value]).tobytes()


@pytest.mark.parametrize(("field", "value"), [(b"202.0", 202), (b"2.02E+02", 202), (b"-0", 0), (b"+5", 5)])
def test_a_whole_number_may_be_written_as_any_number(field, value):
    assert parse_adc(with_field(V1_LINE, 9, field), "v1").columns["x_px"].tolist() == [value]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b",\n", b",\r\n", b", \n", b" \n", b"\t\r\n", b""], ids=repr)
@pytest.mark.parametrize(("line", "schema"), [(V1_LINE.rstrip(b",\n"), "v1"), (V2_LINE.rstrip(b"\n"), "v2")])
def test_line_ends_and_trailing_commas_do_not_matter(line, schema, end):
    data = line + (end or b"\n") + line + end
    adc = parse_adc(data, schema)
    assert adc.problem == ""
    assert values_of(adc, 0) == pytest.approx(values_of(parse_adc(line, schema)), nan_ok=True, rel=0)
    assert len(adc) == 2


def test_lines_of_24_and_of_26_columns_may_follow_each_other():
    data = V2_LINE + V2_LINE.replace(b"\n", b",21.5,1500000\n") + V2_LINE
    adc = parse_adc(data, "v2")
    assert adc.problem == ""
    assert adc.columns["inhibit_time_s"].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("more", [b",24.5", b",24.5,1510000,1", b",x" * 22])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b",\n"])
def test_columns_that_newer_software_appends_to_all_lines_are_passed_over(more, end):
    wide = [line.replace(b"\n", more + end) for line in (V2_LINE, V2_NO_IMAGE, V2_LINE)]
    adc = assert_equals_reference(b"".join(wide), "v2")
    assert adc.problem == ""
    assert adc.columns["inhibit_time_s"].tolist() == [0.5, 0.75, 0.5]


def test_two_lines_without_a_newline_between_them_are_no_line_with_more_columns():
    glued = V2_LINE.rstrip(b"\n") + V2_LINE
    assert parse_adc(glued * 3, "v2").bad_lines == 3


def test_a_byte_order_mark_before_the_first_line_costs_nothing():
    adc = assert_equals_reference(BOM + V2_LINE + V2_NO_IMAGE, "v2")
    assert (adc.columns["trigger"].tolist(), adc.problem) == ([7, 8], "")
    assert parse_adc(BOM + b"x\n" + V2_LINE, "v2").described == (
        BadLine(1, "has 1 columns where a v2 ADC has 24 or 26"),
    )
    assert len(parse_adc(BOM, "v2")) == parse_adc(BOM, "v2").bad_lines == 0


def test_a_line_of_titles_is_counted_and_the_rows_below_are_read():
    adc = parse_adc(b"trigger,adc_time\r\n" + V2_LINE + V2_NO_IMAGE, "v2")
    assert (adc.columns["trigger"].tolist(), adc.bad_lines) == ([7, 8], 1)


@pytest.mark.parametrize(
    "field", [b"NaN", b"nan", b"-nan(ind)", b"inf", b"-Inf", b"Infinity", b"1.#QNAN", b"-1.#IND00", b" 1.#INF\t"]
)
@pytest.mark.parametrize(
    ("name", "position"), [("pmt_c", 4), ("peak_b", 7), ("time_of_flight_us", 10), ("run_time_s", 22)]
)
def test_a_signal_that_is_no_number_or_has_no_end_is_missing_in_its_row_and_costs_nothing_else(field, name, position):
    adc = assert_equals_reference(with_field(V2_LINE, position, field) + V2_NO_IMAGE, "v2")
    assert adc.problem == ""
    assert np.isnan(adc.columns[name]).tolist() == [True, False]
    usual = parse_adc(V2_LINE + V2_NO_IMAGE, "v2")
    for other in {column.name for column in ADC_COLUMNS} - {name}:
        assert adc.columns[other].tolist() == usual.columns[other].tolist()


@pytest.mark.parametrize("position", [1, 13, 17])
def test_a_row_without_a_time_or_a_place_is_unusable(position):
    assert parse_adc(with_field(V2_LINE, position, b"NaN") + V2_LINE, "v2").bad_lines == 1


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n\r\n", b" \t\r\n \n", b"   "])
@pytest.mark.parametrize("schema", ["v1", "v2"])
def test_a_file_of_nothing_has_no_rows_and_no_problem(data, schema):
    adc = parse_adc(data, schema)
    assert (len(adc), adc.bad_lines, adc.described, adc.problem) == (0, 0, (), "")
    assert adc.has_image.tolist() == []
    assert {name: values.dtype for name, values in adc.columns.items()} == {
        column.name: np.dtype(column.dtype) for column in ADC_COLUMNS
    }


def test_blank_lines_do_not_count_but_keep_their_number():
    adc = parse_adc(b"\n" + V2_LINE + b" \t\r\n\nx\n" + V2_LINE, "v2")
    assert len(adc) == 2
    assert [line.number for line in adc.described] == [5]


def test_columns_that_nobody_uses_may_hold_anything():
    assert parse_adc(with_field(V2_LINE, 18, b"junk"), "v2").problem == ""
    assert parse_adc(with_field(V1_LINE, 14, b"#"), "v1").problem == ""


# Damage


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"garbage\n", "has 1 columns where a v2 ADC has 24 or 26"),
        (V2_LINE.replace(b"\n", b",1\n"), "has 25 columns where a v2 ADC has 24 or 26"),
        (V2_LINE.replace(b"\n", b",\r,\n"), "has 25 columns where a v2 ADC has 24 or 26"),
        (V2_LINE.rpartition(b",")[0] + b"\n", "has 23 columns where a v2 ADC has 24 or 26"),
        (with_field(V2_LINE, 13, b"abc"), "has 'abc' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b""), "has '' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"  "), "has '  ' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"1 2"), "has '1 2' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"1\r"), r"has '1\r' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"1_0"), "has '1_0' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"0x10"), "has '0x10' for x_px, which is no finite number"),
        (with_field(V2_LINE, 13, b"\xff"), "has '\ufffd' for x_px, which is no finite number"),
        (with_field(V2_LINE, 1, b"nan"), "has 'nan' for t_s, which is no finite number"),
        (with_field(V2_LINE, 1, b"-inf"), "has '-inf' for t_s, which is no finite number"),
        (with_field(V2_LINE, 1, b"1e999"), "has '1e999' for t_s, which is no finite number"),
        (with_field(V2_LINE, 1, b"1" * 49), f"has '{'1' * 40}' for t_s, which is no finite number"),
        (with_field(V2_LINE, 13, b"1.5"), "has '1.5' for x_px, which is not a whole number that fits int16"),
        (with_field(V2_LINE, 13, b"40000"), "has '40000' for x_px, which is not a whole number that fits int16"),
        (with_field(V2_LINE, 0, b"3e9"), "has '3e9' for trigger, which is not a whole number that fits int32"),
        (with_field(V2_LINE, 17, b"1e17"), "has '1e17' for start_byte, which is not a whole number that fits int64"),
        (with_field(V2_LINE, 2, b"1e39"), "has '1e39' for pmt_a, which is not a number that fits float32"),
    ],
)
def test_an_unusable_line_is_left_out_and_described_and_costs_no_other(line, reason):
    adc = parse_adc(V2_LINE + line + V2_NO_IMAGE, "v2")
    assert adc.columns["trigger"].tolist() == [7, 8]
    assert adc.bad_lines == 1
    assert adc.described == (BadLine(2, reason),)
    assert adc.problem == f"1 of 3 ADC lines unusable: line 2 {reason}"


# A block of NULs is what a power cut leaves of a file; NumPy took them for the end of a number.
@pytest.mark.parametrize("field", [b"202\0", b"202\0\0\0\0", b"\x00202", b"2\x0002", b"\0"], ids=repr)
def test_nul_bytes_are_part_of_no_number(field):
    adc = parse_adc(with_field(V1_LINE, 9, field) + V1_LINE, "v1")
    assert (len(adc), adc.bad_lines) == (1, 1)
    assert "which is no finite number" in adc.described[0].reason


def test_nul_bytes_at_the_end_of_the_last_line_make_it_unusable():
    adc = parse_adc(V2_LINE + V2_LINE.rstrip(b"\n") + bytes(16), "v2")
    assert (len(adc), adc.bad_lines) == (1, 1)


def test_a_line_with_several_bad_fields_is_counted_once():
    line = with_field(with_field(V2_LINE, 0, b"?"), 13, b"?")
    adc = parse_adc(line + V2_LINE, "v2")
    assert (len(adc), adc.bad_lines, len(adc.described)) == (1, 1, 1)


def test_only_the_first_bad_lines_are_described_in_their_order_and_all_are_counted():
    bad = [b"x\n", with_field(V2_LINE, 23, b"?"), b"y\n", with_field(V2_LINE, 0, b"?")] * 3
    adc = parse_adc(V2_LINE + b"".join(bad), "v2")
    assert adc.bad_lines == 12
    assert [line.number for line in adc.described] == [2, 3, 4, 5, 6]
    assert adc.problem.startswith("12 of 13 ADC lines unusable: line 2 has 1 columns")
    assert adc.problem.endswith("; and 7 more")


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (len(V2_LINE) + 1, "is cut off after 1 of 24 or 26 columns"),
        (len(V2_LINE) + 30, "is cut off after 8 of 24 or 26 columns"),
    ],
)
def test_a_cut_last_line_is_told_from_a_short_one(cut, reason):
    adc = parse_adc((V2_LINE * 2)[:cut], "v2")
    assert len(adc) == 1
    assert adc.described == (BadLine(2, reason),)


def test_a_file_in_the_other_schema_has_no_usable_line():
    assert parse_adc(V1_LINE * 3, "v2").bad_lines == 3
    assert parse_adc(V2_LINE * 3, "v1").bad_lines == 3


def test_the_description_names_count_lines_and_rest():
    adc = Adc("v2", parse_adc(V2_LINE, "v2").columns, 3, (BadLine(4, "is odd"), BadLine(9, "is even")))
    assert adc.problem == "3 of 4 ADC lines unusable: line 4 is odd; line 9 is even; and 1 more"


# The oracle

number_formats = st.sampled_from(
    [
        repr,
        lambda value: f"{value:.16E}",
        lambda value: f"{value:+.17g}",
        lambda value: repr(value).replace("0.", ".", 1) if abs(value) < 1 else repr(value),
        lambda value: f" {value!r}\t",
    ]
)
whole_formats = st.sampled_from([str, "{:d}.0".format, "{:+d}".format, " {:d} ".format, "{:.16E}".format])


@st.composite
def written_files(draw: st.DrawFn, schema: str) -> tuple[dict[str, list], bytes]:
    """Rows of values, and the bytes of a file that states them in one of many dialects."""
    n_rows = draw(st.integers(0, 6))
    wide = st.lists(st.booleans(), min_size=n_rows, max_size=n_rows)
    n_columns = [15] * n_rows if schema == "v1" else [26 if more else 24 for more in draw(wide)]
    grid = [["0"] * width for width in n_columns]
    values: dict[str, list] = {}
    for name, dtype, v1, v2 in COLUMNS:
        position = v1 if schema == "v1" else v2
        if position is None:
            continue
        if np.issubdtype(dtype, np.integer):
            limit = min(np.iinfo(dtype).max, 2**53)
            numbers, formats = st.integers(-limit, limit), whole_formats
        else:
            numbers = st.floats(allow_nan=False, allow_infinity=False, width=32 if dtype is np.float32 else 64)
            formats = number_formats
        values[name] = draw(st.lists(numbers, min_size=n_rows, max_size=n_rows))
        write = draw(formats)
        for row, value in enumerate(values[name]):
            grid[row][position] = write(value)
    end = draw(st.sampled_from(["\n", "\r\n", ",\n", ",\r\n", " \n"]))
    blank = draw(st.sampled_from(["", "\n", " \t\r\n"]))
    text = "".join(",".join(row) + end + blank for row in grid)
    return values, (text if draw(st.booleans()) else text.rstrip("\r\n")).encode()


@pytest.mark.parametrize("schema", ["v1", "v2"])
@settings(max_examples=60)
@given(data=st.data())
def test_what_was_written_in_any_dialect_is_what_is_read(schema, data):
    values, text = data.draw(written_files(schema))
    adc = parse_adc(text, schema)
    assert adc.problem == ""
    for name, dtype, *_ in COLUMNS:
        if name in values:
            assert adc.columns[name].tobytes() == np.array(values[name], dtype=dtype).tobytes(), name
        else:
            assert np.isnan(adc.columns[name]).all()
    assert_equals_reference(text, schema)


LINES = {
    "v1": [V1_LINE, V1_NO_IMAGE, V1_LINE.replace(b",\n", b"\r\n"), b"\r\n"],
    "v2": [
        V2_LINE,
        V2_NO_IMAGE,
        V2_LINE.replace(b"\n", b",20.5,1.5e6\n"),
        V2_LINE.replace(b"\n", b",\r\n"),
        b"\n",
        V2_LINE.replace(b"\n", b",20.5,1.5e6,1\n"),
    ],
}
FRAGMENTS = st.one_of(
    st.binary(max_size=8),
    st.text(",.-+eE0123456789 \t\r\n", max_size=8).map(str.encode),
    st.sampled_from(
        [b"\0", b"\n", b"\r", b",", b"nan", b"-1.#IND00", b"inf", b"1e400", b"1_0", b'"', BOM, b"32768", b" " * 50]
    ),
)


def _mutate(data: bytes, change: tuple[float, int, bytes]) -> bytes:
    place, removed, inserted = change
    start = round(place * len(data))
    return data[:start] + inserted + data[start + removed :]


changes = st.tuples(st.floats(0, 1), st.sampled_from([0, 0, 1, 1, 3, 40]), FRAGMENTS)


@pytest.mark.parametrize("schema", ["v1", "v2"])
@settings(max_examples=150)
@given(data=st.data(), mutations=st.lists(changes, max_size=8))
def test_of_a_damaged_file_the_oracle_says_which_lines_are_usable_and_their_values(schema, data, mutations):
    lines = data.draw(st.lists(st.sampled_from(LINES[schema]), min_size=1, max_size=8))
    text = reduce(_mutate, mutations, b"".join(lines))
    adc = assert_equals_reference(text, schema)
    non_blank = sum(1 for line in text.removeprefix(BOM).split(b"\n") if line.strip(b" \t\r"))
    assert len(adc) + adc.bad_lines == non_blank
    assert len(adc.problem) > 0 or adc.bad_lines == 0


@settings(max_examples=150)
@given(data=st.one_of(st.binary(max_size=200), st.text(",.-eE0123456789\r\n", max_size=200).map(str.encode)))
@example(b"\0")
@example(b"," * 24)
@example(b",\n" * 24)
def test_no_bytes_at_all_make_the_reader_raise(data):
    for schema in ("v1", "v2"):
        assert_equals_reference(data, schema)


@settings(max_examples=100)
@given(fields=st.lists(FRAGMENTS.map(lambda part: part.translate(None, b",\n")), min_size=24, max_size=24))
def test_fields_of_anything_are_used_only_where_the_oracle_uses_them(fields):
    good = V2_LINE.rstrip(b"\n").split(b",")
    one_by_one = [b",".join([*good[:i], field, *good[i + 1 :]]) for i, field in enumerate(fields)]
    assert_equals_reference(b"\n".join(one_by_one), "v2")


@pytest.mark.parametrize(
    ("data", "schema"),
    [
        (V1_LINE + V1_NO_IMAGE + V1_LINE, "v1"),
        (V2_LINE + V2_NO_IMAGE.replace(b"\n", b"\r\n") + V2_LINE.replace(b"\n", b",20.5,1.5e6\n"), "v2"),
    ],
)
def test_a_file_cut_at_any_byte_loses_at_most_its_last_line(data, schema):
    whole = parse_adc(data, schema)
    for size in range(len(data) + 1):
        cut = assert_equals_reference(data[:size], schema)
        n_whole_lines = data[:size].count(b"\n")
        assert n_whole_lines <= len(cut) <= n_whole_lines + 1
        assert cut.bad_lines <= 1
        for name, values in whole.columns.items():
            np.testing.assert_array_equal(cut.columns[name][:n_whole_lines], values[:n_whole_lines])


def test_many_lines_are_read_as_the_oracle_reads_them():
    rng = np.random.default_rng(5)
    rows = rng.lognormal(0, 8, (500, 24))
    rows[:, [0, 13, 14, 15, 16, 17]] = rng.integers(0, 1300, (500, 6))
    text = "\n".join(",".join(f"{value:.{precision}g}" for value in row) for row in rows for precision in (6, 15))
    assert_equals_reference(text.encode(), "v2")


@pytest.mark.samples
def test_the_sample_bins_are_read_as_the_oracle_reads_them(samples):
    paths = sorted(samples.rglob("*.adc"))
    assert len(paths) >= 21
    for path in paths:
        adc = assert_equals_reference(path.read_bytes(), "v1" if path.name.startswith("I") else "v2")
        assert adc.problem == ""
