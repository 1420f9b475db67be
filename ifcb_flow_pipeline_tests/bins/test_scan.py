"""The fast reader: the same to the last bit as the careful one, wherever it does not give up.

Run as a program, this compares the two on random files for as many seconds as it is told (180 by default).
"""

import random
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins import adc
from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, Adc, parse_adc
from ifcb_flow_pipeline.bins.text import Text

V1_LINE = b"1,8.984375E-02,-.06622314453125,-1.32,-.0018310546875,-.32,-.7,0,1.95E-02,368,740,130,78,1,4.2147827,\n"
V2_LINE = (
    b"2,8.2736304,0.05432546,0.020889044,-0.005259514,6.854534E-05,1.198833,0.41482687,0.010540485,0.012834072,"
    b"54.347824,8.2736304,8.31716,940,439,72,42,123456,0,0,0,0,8.296356336805555,0.050884900000000004\n"
)
WIDE_LINE = V2_LINE.replace(b"\n", b",20.5,-1.5e6\n")
#: Without an exponent, there is nothing to look at twice.
PLAIN_LINE = V2_LINE.replace(b"6.854534E-05", b"0.00006854534").replace(b"8.296356336805555", b"8.29635634")
LINES = {"v1": [V1_LINE], "v2": [V2_LINE, WIDE_LINE]}
NAMES = [column.name for column in ADC_COLUMNS]
DTYPES = {column.name: column.dtype for column in ADC_COLUMNS}


def fast(data: bytes, schema: str, columns=None) -> Adc | None:
    return adc._read_clean(Text(data), schema, adc.columns_named(columns))


def careful(data: bytes, schema: str, columns=None) -> Adc:
    return adc._read_carefully(Text(data), schema, adc.columns_named(columns))


def assert_same(found: Adc, expected: Adc):
    assert list(found.columns) == list(expected.columns)
    for name, values in expected.columns.items():
        assert found.columns[name].dtype == values.dtype == DTYPES[name]
        assert found.columns[name].tobytes() == values.tobytes(), name
    assert (found.bad_lines, found.described, found.schema) == (expected.bad_lines, expected.described, expected.schema)


def is_fast(data: bytes, schema: str, columns=None) -> bool:
    """Whether the fast reader reads this; whichever does, the result is that of the careful one."""
    expected = careful(data, schema, columns)
    assert_same(parse_adc(data, schema, columns), expected)
    found = fast(data, schema, columns)
    if found is not None:
        assert_same(found, expected)
        assert found.bad_lines == 0
    return found is not None


def with_field(position: int, field: bytes, line: bytes = V2_LINE) -> bytes:
    fields = line.rstrip(b"\n").split(b",")
    fields[position] = field
    return b",".join(fields) + b"\n"


# Which files are read fast


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize(
    ("line", "schema"),
    [
        (V1_LINE, "v1"),
        (V1_LINE.replace(b",\n", b"\n"), "v1"),
        (V1_LINE.replace(b"\n", b"\r\n"), "v1"),
        (V1_LINE + V1_LINE.replace(b",\n", b" \t\r\n"), "v1"),
        (V2_LINE, "v2"),
        (V2_LINE.replace(b"\n", b"\r\n"), "v2"),
        (V2_LINE.replace(b"\n", b",\r\n"), "v2"),
        (V2_LINE.replace(b"\n", b", \n"), "v2"),
        (WIDE_LINE, "v2"),
        (WIDE_LINE.replace(b"\n", b",\n"), "v2"),
        (V2_LINE + WIDE_LINE, "v2"),
    ],
)
def test_clean_files_of_every_dialect_are_read_fast(line, schema, n, monkeypatch):
    expected = careful(line * n, schema)
    assert expected.bad_lines == 0

    def refuse(*arguments):
        raise AssertionError("read carefully")

    monkeypatch.setattr(adc, "_read_carefully", refuse)
    for data in (line * n, (line * n).rstrip(b"\n"), (line * n).rstrip(b"\r\n")):
        assert_same(parse_adc(data, schema), expected)


def test_an_empty_file_is_clean():
    assert is_fast(b"", "v1")
    assert is_fast(b"", "v2")


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b" \r\n",
        b"0," * 22 + b"0\n",
        b"0," * 46 + b"0\n",
        b"0," * 24 + b",\n",
        b"0," * 500 + b"0\n",
        b"0" * 500 + b"\n",
        V2_LINE.replace(b"\n", b"\r\r\n"),
        V2_LINE.replace(b"\n", b" \n"),
        V2_LINE.replace(b"\n", b"\0\n"),
        *(with_field(1, field) for field in (b"", b"-", b".", b"-.", b"--1", b"+1", b" 1", b"1 ", b"1\r", b"1.2.3")),
        *(with_field(1, field) for field in (b"nan", b"inf", b"1_0", b"0x1", b"1e", b"1e+", b"e1", b".e1", b"1e1.0")),
        *(
            with_field(1, field)
            for field in (b"1e65", b"1e-65", b"1e0001", b"1" * 20, b"1" + b"0" * 24, b"0." + b"0" * 24, b"0" * 49)
        ),
        *(with_field(2, field) for field in (b"1e39", b"-3.5e38", b"340282356779733661637539395458142568448")),
        *(with_field(13, field) for field in (b"32768", b"-32768", b"1.5", b"1.0", b"1e2", b"")),
        *(with_field(0, field) for field in (b"2147483648", b"-2147483648", b"99999999999999999999")),
        *(with_field(17, field) for field in (b"9007199254740993", b"18446744073709551617")),
    ],
)
def test_anything_else_is_left_to_the_careful_reader(line):
    for data in (line, V2_LINE + line + V2_LINE, V2_LINE * 10 + line + V2_LINE * 10, V2_LINE * 20 + line):
        assert not is_fast(data, "v2")


@pytest.mark.parametrize("n_more", [1, 2, 3, 22])
def test_lines_with_columns_that_nobody_knows_are_read_fast_where_all_lines_have_as_many(n_more):
    wide = V2_LINE.replace(b"\n", b",1.5" * n_more + b"\n")
    for data in (wide, wide * 60, b"\xef\xbb\xbf" + wide * 60, wide.replace(b"\n", b",\r\n") * 3):
        assert is_fast(data, "v2")
        assert len(parse_adc(data, "v2")) == data.count(b"\n")
    for data in (V2_LINE * 9 + wide, wide * 9 + V2_LINE):
        assert is_fast(data, "v2") == (n_more == 2)


@pytest.mark.parametrize("line", [V2_LINE, V1_LINE])
def test_a_byte_order_mark_is_passed_over_at_the_start_of_a_file_and_nowhere_else(line):
    schema = "v2" if line is V2_LINE else "v1"
    assert is_fast(b"\xef\xbb\xbf" + line * 3, schema)
    assert not is_fast(line + b"\xef\xbb\xbf" + line, schema)
    assert not is_fast(b"\xef\xbb\xbf" * 2 + line, schema)


@pytest.mark.parametrize("field", [b"NaN", b"-inf", b"1.#QNAN"])
def test_signals_that_are_no_numbers_are_left_to_the_careful_reader(field):
    data = V2_LINE * 20 + with_field(4, field) + V2_LINE * 20
    assert not is_fast(data, "v2")
    assert len(parse_adc(data, "v2")) == 41


@pytest.mark.parametrize("schema", ["v1", "v2"])
def test_every_file_of_a_few_lines_cut_anywhere_is_read_as_the_careful_reader_does(schema):
    data = b"".join(LINES[schema] * 3)
    for size in range(0, len(data) + 1, 3):
        is_fast(data[:size], schema)


# Columns


@settings(max_examples=60)
@given(names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=18), schema=st.sampled_from(["v1", "v2"]))
def test_some_columns_are_those_of_all_of_them(names, schema):
    data = b"".join(LINES[schema] * 20)
    assert is_fast(data, schema, names)
    found, every = parse_adc(data, schema, names), parse_adc(data, schema)
    assert list(found.columns) == [name for name in NAMES if name in names]
    assert len(found) == len(every)
    for name, values in found.columns.items():
        assert values.tobytes() == every.columns[name].tobytes()


def test_whichever_columns_are_wanted_the_same_lines_are_usable():
    data = V2_LINE + with_field(2, b"?") + with_field(13, b"?") + with_field(0, b"1.5") + V2_LINE[:30]
    every = parse_adc(data, "v2")
    assert every.bad_lines == 4
    found = parse_adc(data, "v2", ("x_px", "y_px"))
    assert found.columns["x_px"].tolist() == [940]
    assert (found.bad_lines, found.described) == (every.bad_lines, every.described)


@pytest.mark.parametrize("columns", [(), ("x",), ("x_px", "area"), "x_px"])
def test_a_column_that_is_not_known_and_no_column_at_all_are_refused(columns):
    with pytest.raises(ValueError, match=r"give some of trigger, t_s"):
        parse_adc(V2_LINE, "v2", columns)


# Numbers

plain_numbers = st.from_regex(rb"-?([0-9]{0,12}\.?[0-9]{0,13}|[1-9]0{15,26}\.?0{0,6}[1-9]?)", fullmatch=True)
any_numbers = st.from_regex(rb"-?[0-9]{1,2}\.?[0-9]{0,22}([eE][+-]?[0-9]{1,3})?", fullmatch=True)
long_numbers = st.tuples(
    st.sampled_from([b"", b"-", b"0.", b"-.", b"0.00", b"12.", b"1234567."]),
    st.integers(0, 10**19).map(lambda number: b"%d" % number),
    st.sampled_from([b"", b"0", b"E-05", b"e+09", b"e-60", b"E40"]),
).map(b"".join)


def halfway(mantissa: int, power: int, off: int) -> bytes:
    """A number of at most 19 digits at, or next to, the middle between two floats."""
    numerator = (2 * mantissa + 1) * 2 ** max(power, 0) * 10**40 // 2 ** max(-power, 0)
    digits = str(numerator)[:19]
    return f"{int(digits) + off}e{len(str(numerator)) - 40 - len(digits)}".encode()


halfway_numbers = st.builds(halfway, st.integers(2**52, 2**53 - 1), st.integers(-80, 60), st.integers(-1, 1))
floats = st.floats(allow_nan=False, allow_infinity=False)
written_floats = st.builds(
    lambda value, form: form.format(value).encode(),
    st.one_of(floats, st.floats(-1e4, 1e4), st.floats(-1, 1)),
    st.sampled_from(["{!r}", "{:.16e}", "{:.17g}", "{:.19g}", "{:.25g}", "{:.6f}", "{:.15G}"]),
)


@settings(max_examples=1500)
@given(text=st.one_of(plain_numbers, any_numbers, long_numbers, halfway_numbers, written_floats))
@example(b"9007199254740993")
@example(b"9007199254740992.5")
@example(b"9007199254740993.5")
@example(b"59604644775390625e-16")
@example(b"9223372036854776832")
@example(b"18446744073709551615")
@example(b"0.5000000000000001110")
@example(b"1e23")
@example(b"8.41e21")
@example(b"5e-324")
@example(b"2.2250738585072011e-308")
@example(b"1.7976931348623159e308")
@example(b"-0")
@example(b"-.0e9")
def test_a_decimal_number_is_the_float_that_python_makes_of_it(text):
    line = with_field(1, text)
    if is_fast(line, "v2", ("t_s",)):
        value = parse_adc(line, "v2", ("t_s",)).columns["t_s"]
        assert value.tobytes() == np.array([float(text)]).tobytes()
    # Of other types one for each text, for the careful reader takes most of the time.
    name, position = (("pmt_a", 2), ("start_byte", 17), ("x_px", 13), ("trigger", 0))[zlib.crc32(text) % 4]
    is_fast(with_field(position, text), "v2", (name,))


@pytest.mark.parametrize(("name", "position"), [("t_s", 1), ("peak_b", 7)])
def test_decimal_numbers_of_every_length_with_a_point_anywhere_are_read_together_as_they_are_alone(name, position):
    digits = "98765432109876543"
    texts = [
        f"{sign}{digits[-n:][:at]}{point}{digits[-n:][at:]}"
        for n in range(1, 18)
        for at in range(n)
        for point, sign in (("", ""), (".", ""), (".", "-"), ("", "-"))
    ]
    random.Random(3).shuffle(texts)
    # Short ones alone, and with long ones among them, for more than one piece of the text.
    for chosen in ([text for text in texts if len(text) < 13], texts):
        data = b"".join(with_field(position, text.encode(), PLAIN_LINE) for text in chosen)
        assert is_fast(data, "v2", (name,))
        expected = np.array([float(text) for text in chosen]).astype(DTYPES[name])
        assert parse_adc(data, "v2", (name,)).columns[name].tobytes() == expected.tobytes()


def test_a_number_with_an_exponent_is_read_wherever_its_line_crosses_from_one_piece_of_the_text_to_the_next():
    odd, piece = with_field(7, b"4.14827E-1", PLAIN_LINE), 8192
    size = len(PLAIN_LINE)
    assert len(odd) == size
    # So many lines that they cross at every place of a line that there is.
    lines = [odd if i * size // piece != (i + 1) * size // piece else PLAIN_LINE for i in range(piece)]
    assert is_fast(b"".join(lines), "v2", ("peak_b",))


@settings(max_examples=300)
@given(value=st.floats(1e-30, 1e30), negative=st.booleans())
def test_every_ordinary_float_as_software_writes_it_is_read_fast(value, negative):
    value = -value if negative else value
    for text in (repr(value), f"{value:.16E}", f"{value:.6E}"):
        assume(len(text) <= 25 or "e" in text.lower())
        line = with_field(1, text.encode())
        assert is_fast(line, "v2", ("t_s",))
        assert parse_adc(line, "v2").columns["t_s"].tolist() == [float(text)]


@settings(max_examples=200)
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_float32_column_is_the_float64_rounded_once_more(value):
    for text in (repr(value), f"{value:.9g}", str(np.float32(value))):
        is_fast(with_field(2, text.encode()), "v2", ("pmt_a",))


# Anything at all


PLAIN_FORMS = ["{:.6f}", "{:.5f}", "{:.0f}", "{:.9f}"]
ALL_FORMS = [*PLAIN_FORMS, "{!r}", "{:.8g}", "{:.7E}", "{:.17g}", "{:.16G}"]


def random_number(random_: random.Random, forms: list[str]) -> str:
    value = random_.choice([random_.uniform(0, 1), random_.uniform(-10, 1200), random_.lognormvariate(0, 9)])
    text = random_.choice(forms).format(value)
    return text[1:] if text.startswith("0.") and random_.random() < 0.3 else text


def random_file(random_: random.Random, schema: str) -> bytes:
    """A clean file as some software might have written it."""
    width = 15 if schema == "v1" else random_.choice([24, 24, 26, 25, 27])
    whole = {column.index(schema) for column in ADC_COLUMNS if issubclass(column.dtype, np.integer)}
    end, forms = random_.choice(["\n", "\r\n", ",\n", ",\r\n"]), random_.choice([PLAIN_FORMS, ALL_FORMS])
    rows = []
    for row in range(random_.choice([0, 1, 2, 5, 30])):
        cells = [
            str(random_.choice([0, row, random_.randrange(-11, 32767)]))
            if i in whole
            else random_number(random_, forms)
            for i in range(width)
        ]
        rows.append(",".join(cells) + end)
    text = "".join(rows)
    mark = b"" if random_.random() < 0.9 else b"\xef\xbb\xbf"
    return mark + (text if random_.random() < 0.7 else text.rstrip("\r\n")).encode()


def damaged(random_: random.Random, data: bytes) -> bytes:
    for _ in range(random_.choice([0, 1, 1, 2, 6])):
        at = random_.randrange(len(data) + 1)
        kind = random_.randrange(6)
        if kind == 5:
            word = random_.choice([b"nan", b"-inf", b"1.#IND", b",NaN,", b",Infinity,"])
            data = data[:at] + word + data[at:]
        elif kind == 0:
            data = data[:at] + bytes([random_.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[at + random_.choice([1, 1, 2, 30, 200]) :]
        elif kind == 2:
            data = (
                data[:at] + bytes(random_.choices(b"0123456789,.-+eE \t\r\n\0", k=random_.randrange(1, 9))) + data[at:]
            )
        elif kind == 3:
            data = data[:at]
        else:
            data = data[:at] + bytes([random_.choice(b"0123456789,.-+eE \t\r\n")]) + data[at + 1 :]
    return data


def compare_random_files(seed: int, n: int | None, seconds: float) -> tuple[int, int]:
    """Compare the readers on n files, or until the time is up; how many were compared, and read fast."""
    random_ = random.Random(seed)
    n_cases = n_fast = 0
    end = time.monotonic() + seconds
    while n_cases != n and time.monotonic() < end:
        schema = random_.choice(["v1", "v2"])
        kind = random_.randrange(20)
        data = random_.randbytes(random_.randrange(300)) if kind == 0 else random_file(random_, schema)
        data = damaged(random_, data) if kind < 14 else data
        columns = None if kind % 2 else random_.sample(NAMES, random_.randint(1, 6))
        n_fast += is_fast(data, schema, columns)
        n_cases += 1
    return n_cases, n_fast


def test_random_and_damaged_files_are_read_the_same_by_both():
    n_cases, n_fast = compare_random_files(seed=7, n=400, seconds=600)
    assert n_cases == 400
    assert 100 < n_fast < 350


@settings(max_examples=200)
@given(data=st.one_of(st.binary(max_size=400), st.text(",.-eE0123456789\r\n", max_size=400).map(str.encode)))
def test_any_bytes_are_read_the_same_by_both(data):
    for schema in ("v1", "v2"):
        is_fast(data, schema)


@settings(max_examples=200)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([b"0", b"7", b".5", b"", b" ", b"\r"]), min_size=13, max_size=28), max_size=5
    )
)
def test_lines_of_about_the_right_width_are_read_the_same_by_both(rows):
    data = b"\n".join(b",".join(row) for row in rows)
    for schema in ("v1", "v2"):
        is_fast(data, schema)
        is_fast(data, schema, ("x_px",))


@pytest.mark.samples
def test_the_sample_bins_are_read_fast(samples):
    paths = sorted(samples.rglob("*.adc"))
    assert len(paths) >= 21
    for path in paths:
        schema = "v1" if path.name.startswith("I") else "v2"
        assert is_fast(path.read_bytes(), schema), path.name
        assert is_fast(path.read_bytes(), schema, ("x_px", "y_px", "width_px", "height_px")), path.name


# The first use


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_numba_is_loaded_when_the_first_file_is_read_and_not_before():
    program = f"""
import sys
from ifcb_flow_pipeline.bins.adc import parse_adc
before = "numba" in sys.modules
parse_adc({V2_LINE!r}, "v2")
print(before, "numba" in sys.modules)
"""
    assert run(program) == "False True"


def test_threads_may_read_their_first_file_at_once():
    program = f"""
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from ifcb_flow_pipeline.bins.adc import parse_adc
barrier = Barrier(4)

def read(_):
    barrier.wait()
    return len(parse_adc({V2_LINE!r} * 100, "v2"))

with ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(read, range(4))))
"""
    assert run(program) == "400"


if __name__ == "__main__":
    seconds_ = float(sys.argv[1]) if len(sys.argv) > 1 else 180.0
    seed_ = time.time_ns()
    sys.stdout.write(f"seed {seed_}: {compare_random_files(seed_, None, seconds_)} files compared, and read fast\n")
