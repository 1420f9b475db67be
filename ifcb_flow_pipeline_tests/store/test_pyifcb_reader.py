"""The reader that goes through pyifcb: the same values as the project's own, and errors that say what to do."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.adc import Adc, parse_adc
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.pyifcb_reader import PyifcbMissingError, PyifcbReadError, read_adc
from ifcb_flow_pipeline_tests.golden.regenerate import BINS, read_bin

V1, V2 = "IFCB5_2012_028_081515", "D20230810T113059_IFCB134"
V1_LINE = b"1,.31,2.5,3.5,4.5,5.5,.6,.7,.8,202,673,96,45,1,-.275,\n"
V2_LINE = b"7,11.25,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,54.25,11.5,11.75,980,632,80,34,123456,0,0,0,0,12.5,0.5\n"
V2_WIDE = V2_LINE.replace(b"\n", b",20.5,1500000\n")


@pytest.fixture
def pyifcb():
    """Skips where pyifcb is not installed."""
    return pytest.importorskip("ifcb.data.adc")


def write(folder: Path, pid: str, data: bytes) -> Path:
    path = folder / f"{pid}.adc"
    path.write_bytes(data)
    return path


def assert_same(actual: Adc, expected: Adc) -> None:
    assert (actual.schema, actual.bad_lines) == (expected.schema, expected.bad_lines)
    assert actual.columns.keys() == expected.columns.keys()
    for name, values in expected.columns.items():
        assert actual.columns[name].dtype == values.dtype, name
        if np.issubdtype(values.dtype, np.integer):
            np.testing.assert_array_equal(actual.columns[name], values, err_msg=name)
        else:
            # pandas, and so pyifcb, may be off by the last digits of a double.
            rtol = 16 * np.finfo(values.dtype).eps
            np.testing.assert_allclose(actual.columns[name], values, rtol=rtol, atol=0, err_msg=name)


def both(path: Path) -> tuple[Adc, Adc]:
    schema = parse_pid(path.stem).schema
    return read_adc(path, schema), parse_adc(path.read_bytes(), schema)


# Without pyifcb


def test_without_pyifcb_the_error_names_what_to_install_and_the_other_reader(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ifcb", None)
    monkeypatch.setitem(sys.modules, "ifcb.data.adc", None)
    with pytest.raises(PyifcbMissingError, match=r"pip install 'pyifcb @ git.*IFCB_READER=native"):
        read_adc(write(tmp_path, V2, V2_LINE), "v2")


def test_without_pyifcb_no_bin_is_called_unreadable(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ifcb", None)
    monkeypatch.setitem(sys.modules, "ifcb.data.adc", None)
    write(tmp_path, V2, V2_LINE)
    with pytest.raises(PyifcbMissingError):
        Archive(tmp_path, reader="pyifcb").read_bin(V2, f"{V2}.adc", None)


def test_a_missing_library_is_a_matter_for_people_and_a_bad_file_one_for_its_bin():
    assert issubclass(PyifcbMissingError, FlowError)
    assert issubclass(PyifcbMissingError, RuntimeError)
    assert not issubclass(PyifcbMissingError, OSError)
    assert issubclass(PyifcbReadError, OSError)


# With pyifcb


@pytest.mark.parametrize(
    ("pid", "data"),
    [
        (V1, V1_LINE * 3),
        (V1, (V1_LINE * 3).replace(b"\n", b"\r\n")),
        (V1, V1_LINE.replace(b",\n", b"\n") * 3),
        (V2, V2_LINE * 3),
        (V2, V2_LINE.replace(b"\n", b",\n") * 3),
        (V2, V2_WIDE * 3),
        (V2, V2_WIDE + V2_LINE),
        (V2, b"\n" + V2_LINE + b"\n\n" + V2_LINE.rstrip(b"\n")),
        (V2, V2_LINE.replace(b"11.25", b"8.98E-02")),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else f"{len(value)} bytes",
)
def test_whole_files_of_every_dialect_are_read_as_by_the_own_reader(pyifcb, tmp_path, pid, data):
    actual, expected = both(write(tmp_path, pid, data))
    assert len(actual) > 0
    assert_same(actual, expected)


@pytest.mark.parametrize("pid", [V1, V2])
@pytest.mark.parametrize("data", [b"", b"\n\n"])
def test_an_empty_file_has_no_rows(pyifcb, tmp_path, pid, data):
    actual, expected = both(write(tmp_path, pid, data))
    assert len(actual) == 0
    assert_same(actual, expected)


def test_the_stored_bins_are_read_as_by_the_own_reader(pyifcb, tmp_path):
    n_compared = 0
    for stored in sorted(BINS.glob("*.adc.gz")):
        pid, schema, data = read_bin(stored)
        path = write(tmp_path, pid, data)
        if parse_adc(data, schema).bad_lines > 1:
            with pytest.raises(PyifcbReadError):
                read_adc(path, schema)
            continue
        assert_same(*both(path))
        n_compared += 1
    assert n_compared >= 12


@pytest.mark.samples
def test_the_sample_bins_are_read_as_by_the_own_reader(pyifcb, samples):
    paths = sorted(samples.rglob("*.adc"))
    assert len(paths) >= 21
    for path in paths:
        assert_same(*both(path))


def test_a_cut_last_line_is_counted_and_described(pyifcb, tmp_path):
    actual, expected = both(write(tmp_path, V2, V2_LINE * 3 + V2_LINE[:60]))
    assert_same(actual, expected)
    assert len(actual) == 3
    assert actual.problem == "1 of 4 ADC lines unusable: line 4 has no usable number for y_px"


@pytest.mark.parametrize(
    "data",
    [
        V2_LINE + b"garbage\n" + V2_LINE,
        V2_LINE + V2_LINE.replace(b"980", b"9x0"),
        V2_LINE + b"\xff\xfe\x80\n",
        b"garbage\n" + V2_LINE,
        b"1,2,3\n",
    ],
)
def test_a_damaged_file_is_unreadable_with_a_reason(pyifcb, tmp_path, data):
    path = write(tmp_path, V2, data)
    with pytest.raises(PyifcbReadError, match=r"^pyifcb: "):
        read_adc(path, "v2")
    read = Archive(tmp_path, reader="pyifcb").read_bin(V2, path.name, None)
    assert (read.status, len(read.adc)) == ("unreadable", 0)
    assert read.reason.startswith(f"cannot read {path.name}: pyifcb: ")


@pytest.mark.parametrize("value", [b"40000", b"1.5", b"1e300", b"inf", b"nan", b""])
def test_a_position_that_is_no_whole_number_of_pixels_costs_its_line(pyifcb, tmp_path, value):
    actual, expected = both(write(tmp_path, V2, V2_LINE + V2_LINE.replace(b"980", value)))
    assert_same(actual, expected)
    assert (len(actual), actual.bad_lines) == (1, 1)


def test_a_file_that_is_not_there_is_an_error_of_the_disk(pyifcb, tmp_path):
    with pytest.raises(FileNotFoundError):
        read_adc(tmp_path / f"{V2}.adc", "v2")


@pytest.mark.parametrize("pid", ["D20230810T113059_IFCB1234", "IFCB12_2012_028_081515"])
def test_instruments_that_pyifcb_does_not_know_are_unreadable_with_a_reason(pyifcb, tmp_path, pid):
    with pytest.raises(PyifcbReadError, match="pyifcb: invalid"):
        read_adc(write(tmp_path, pid, V2_LINE), parse_pid(pid).schema)


def test_the_archive_reads_through_pyifcb_where_it_is_told_to(pyifcb, tmp_path):
    path = write(tmp_path, V2, V2_LINE)
    read = Archive(tmp_path, reader="pyifcb").read_bin(V2, path.name, None)
    assert read.status == "ok"
    assert_same(read.adc, parse_adc(V2_LINE, "v2"))
