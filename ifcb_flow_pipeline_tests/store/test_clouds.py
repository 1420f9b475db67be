"""Point clouds on disk: some bins to a row group, an entry for every bin, and writers that die."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS
from ifcb_flow_pipeline.features.stream import SHOWN_COLUMNS, STREAM_COLUMNS
from ifcb_flow_pipeline.store import clouds as clouds_module
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.clouds import CloudEntry, CloudTables, _jumps, _rounded, _starts
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

from .toys import DAY, PID, PROVENANCE, adc_text, read_of

V1_PID = "IFCB5_2012_028_075913"
V1_ADC = b"1,2.5,0.1,0.2,0.3,0.4,0,0,0,100,200,30,40,1,0\n2,3.5,0.1,0.2,0.3,0.4,0,0,0,-11,-11,0,0,1,0\n"
NAMES = [column.name for column in ADC_COLUMNS if column.name in (*STREAM_COLUMNS, *SHOWN_COLUMNS)]
NEXT_PID = "D20230810T120000_IFCB134"


@pytest.fixture
def clouds(tmp_path: Path) -> CloudTables:
    return CloudTables(DailyTables(tmp_path))


def bins_of_all_kinds() -> list[BinRead | CloudEntry]:
    return [
        read_of(),
        CloudEntry("D20230810T113100_IFCB134", "no_adc", "the .adc file is missing"),
        read_of("D20230810T113200_IFCB134", b"", "empty", "the .adc file has no lines"),
        read_of(V1_PID, V1_ADC, reason="the .hdr file is missing"),
        read_of("D20230810T113300_IFCB134", adc_text(1) + b"a\nb\n", "unreadable", "2 of 3 ADC lines unusable"),
        read_of(NEXT_PID, adc_text(7) + b"cut", reason="1 of 8"),
    ]


# Round trip


def test_every_bin_has_an_entry_that_says_how_it_went(clouds):
    written = clouds.write(DAY, iter(bins_of_all_kinds()), PROVENANCE)
    assert clouds.entries(DAY) == written
    told = [(e.pid, e.status, e.n_rows, e.n_images, e.bad_lines, e.row_group, e.first_row) for e in written]
    assert told == [
        (PID, "ok", 4, 3, 0, 0, 0),
        ("D20230810T113100_IFCB134", "no_adc", 0, 0, 0, None, 0),
        ("D20230810T113200_IFCB134", "empty", 0, 0, 0, None, 0),
        (V1_PID, "ok", 2, 1, 0, 0, 4),
        ("D20230810T113300_IFCB134", "unreadable", 1, 1, 2, None, 0),
        (NEXT_PID, "ok", 7, 5, 1, 0, 6),
    ]
    assert [e.reason for e in written] == [
        "",
        "the .adc file is missing",
        "the .adc file has no lines",
        "the .hdr file is missing",
        "2 of 3 ADC lines unusable",
        "1 of 8",
    ]


@pytest.mark.parametrize("rows", [1, 5, 24_000])
def test_all_columns_of_a_bin_come_back_with_their_types_and_exact_values(clouds, monkeypatch, rows):
    monkeypatch.setattr(clouds_module, "_ROWS_A_GROUP", rows)
    monkeypatch.setattr(clouds_module, "_BINS_AT_ONCE", 2)
    bins = bins_of_all_kinds()
    clouds.write(DAY, bins, PROVENANCE)
    for read, (entry, columns) in zip(bins, clouds.read_all(DAY, [*NAMES, "has_image"]), strict=True):
        assert entry.pid == read.pid
        if entry.row_group is None:
            assert columns is None
            continue
        for name in NAMES:
            assert columns[name].dtype == read.adc.columns[name].dtype, name
            expected = read.adc.columns[name]
            if name == "start_byte":
                expected = np.where(read.adc.has_image, expected, 0)
            np.testing.assert_allclose(columns[name], expected, rtol=2.0**-8 if name == "pmt_b" else 0.0)
        assert columns["has_image"].tolist() == read.adc.has_image.tolist()


@given(arrays(np.int16, (2, 12), elements=st.integers(0, 3)), st.sets(st.integers(0, 11)), st.integers(0, 1))
def test_where_images_start_comes_back_whatever_is_lost_between_them(sizes, jumps, first):
    with_image = (sizes > 0).all(axis=0)
    columns = {"width_px": sizes[0], "height_px": sizes[1]}
    lost = np.cumsum([7 * (i in jumps) for i in range(12)])
    sizes_px = np.where(with_image, sizes[0].astype(np.int64) * sizes[1], 0)
    columns["start_byte"] = np.where(with_image, first + lost + np.cumsum(sizes_px) - sizes_px, 0)
    stored = _jumps(columns, with_image)
    assert len(stored) - stored.null_count <= 1 + len(jumps)
    np.testing.assert_array_equal(_starts(stored, columns), columns["start_byte"])


@given(arrays(np.float32, 20, elements=st.floats(width=32)))
def test_a_rounded_signal_is_the_nearest_number_of_eight_bits_and_what_is_no_number_stays(values):
    rounded = _rounded(values)
    np.testing.assert_array_equal(np.isfinite(rounded), np.isfinite(values))
    np.testing.assert_array_equal(rounded[~np.isfinite(values)], values[~np.isfinite(values)])
    usual = np.isfinite(values) & (np.abs(values) > 1e-30) & (np.abs(values) < 3e38)
    np.testing.assert_allclose(rounded[usual], values[usual], rtol=2.0**-8)
    assert not np.any(rounded[usual].view(np.uint32) & 0xFFFF)


def test_a_file_of_before_bins_shared_a_row_group_is_read_as_one_of_today(clouds, monkeypatch):
    clouds.write(DAY, bins_of_all_kinds(), PROVENANCE)
    today = list(clouds.read_all(DAY, NAMES))
    monkeypatch.setattr(clouds_module, "_ROWS_A_GROUP", 1)
    with monkeypatch.context() as before:
        before.setattr(clouds_module, "POINT_CLOUDS", replace(POINT_CLOUDS, version=2))
        to_dict = CloudEntry.to_dict
        before.setattr(CloudEntry, "to_dict", lambda e: {k: v for k, v in to_dict(e).items() if k != "first_row"})
        clouds.write(DAY, bins_of_all_kinds(), PROVENANCE)
    assert clouds.tables.provenance(POINT_CLOUDS, DAY) == PROVENANCE
    for (entry, columns), (_, now) in zip(clouds.read_all(DAY, NAMES), today, strict=True):
        assert columns is None if now is None else all(np.array_equal(columns[n], now[n], equal_nan=True) for n in now)
        alone = clouds.read_one(DAY, entry.pid, NAMES)[1]
        assert alone is None if now is None else all(np.array_equal(alone[n], now[n], equal_nan=True) for n in now)


def test_the_header_comes_back_with_its_types(clouds):
    clouds.write(DAY, [read_of()], PROVENANCE)
    (entry,) = clouds.entries(DAY)
    assert entry.header == {"temperature_c": 21.5, "sample_type": "beads", "count": 3, "on": True}
    assert [type(value) for value in entry.header.values()] == [float, str, int, bool]


def test_a_file_has_the_types_of_its_table_and_its_provenance(clouds):
    clouds.write(DAY, bins_of_all_kinds(), PROVENANCE)
    schema = pq.read_schema(clouds.tables.path(POINT_CLOUDS, DAY))
    assert schema.equals(POINT_CLOUDS.schema)
    assert schema.field("x_px").metadata[b"unit"] == b"px"
    assert clouds.tables.provenance(POINT_CLOUDS, DAY) == PROVENANCE


def test_the_day_can_be_read_as_a_table_with_the_pid_of_each_row(clouds):
    clouds.write(DAY, bins_of_all_kinds(), PROVENANCE)
    rows = clouds.tables.read(POINT_CLOUDS, DAY)
    assert rows["pid"].to_pylist() == [PID] * 4 + [V1_PID] * 2 + [NEXT_PID] * 7


def test_only_the_columns_asked_for_are_given(clouds):
    clouds.write(DAY, [read_of()], PROVENANCE)
    _, columns = clouds.read_one(DAY, PID, ("y_px", "x_px"))
    assert list(columns) == ["y_px", "x_px"]


def test_a_day_without_bins_has_a_file_without_entries(clouds):
    assert clouds.write(DAY, [], PROVENANCE) == []
    assert clouds.entries(DAY) == []
    assert list(clouds.read_all(DAY, NAMES)) == []


def test_a_day_of_which_nothing_can_be_read_has_its_entries(clouds):
    clouds.write(DAY, [CloudEntry(PID, "no_adc", "gone")], PROVENANCE)
    assert clouds.read_one(DAY, PID, NAMES) == (CloudEntry(PID, "no_adc", "gone"), None)


# Reading one


def test_one_bin_is_read_without_those_of_other_row_groups(clouds, monkeypatch):
    monkeypatch.setattr(clouds_module, "_ROWS_A_GROUP", 5)
    clouds.write(DAY, bins_of_all_kinds(), PROVENANCE)
    asked, read_row_groups = [], pq.ParquetFile.read_row_groups

    def noting(self, row_groups, columns=None, **options):
        asked.append((row_groups, columns))
        return read_row_groups(self, row_groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", noting)
    monkeypatch.delattr(pq.ParquetFile, "read")
    entry, columns = clouds.read_one(DAY, NEXT_PID, ["x_px"])
    assert (entry.pid, columns["x_px"].tolist()) == (NEXT_PID, [10, 20, 0, 40, 50, 0, 70])
    assert asked == [([1], ["x_px"])]


def test_a_bin_that_the_day_does_not_have_is_named_with_the_day(clouds):
    clouds.write(DAY, [read_of()], PROVENANCE)
    with pytest.raises(KeyError, match=f"{NEXT_PID}.*2023-08-10"):
        clouds.read_one(DAY, NEXT_PID, NAMES)


def test_a_day_that_was_not_made_has_no_clouds(clouds):
    assert clouds.entries(DAY) is None
    with pytest.raises(FileNotFoundError):
        clouds.read_one(DAY, PID, NAMES)
    with pytest.raises(FileNotFoundError):
        list(clouds.read_all(DAY, NAMES))


def test_a_file_that_is_no_table_is_refused_with_the_remedy(clouds):
    path = clouds.tables.path(POINT_CLOUDS, DAY)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    for use in (
        clouds.entries,
        lambda day: clouds.read_one(day, PID, NAMES),
        lambda day: list(clouds.read_all(day, [])),
    ):
        with pytest.raises(StoreError, match="process that day again"):
            use(DAY)


def test_a_bin_whose_rows_are_damaged_is_refused_with_the_remedy(clouds, monkeypatch):
    monkeypatch.setattr(clouds_module, "_ROWS_A_GROUP", 1)
    clouds.write(DAY, [read_of(), read_of(NEXT_PID, adc_text(300))], PROVENANCE)
    path = clouds.tables.path(POINT_CLOUDS, DAY)
    chunk = pq.read_metadata(path).row_group(1).column(POINT_CLOUDS.schema.names.index("x_px"))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"(?s)cannot be read.*process that day again"):
        clouds.read_one(DAY, NEXT_PID, ["x_px"])
    assert clouds.read_one(DAY, PID, ["x_px"])[1]["x_px"].tolist() == [10, 20, 0, 40]


# Writers that fail or die


def folder_of(clouds: CloudTables) -> Path:
    return clouds.tables.path(POINT_CLOUDS, DAY).parent


def test_one_bin_is_held_at_a_time(clouds):
    started, written = [], []

    def bins():
        for i in range(3):
            started.append(i)
            yield read_of(f"D20230810T00000{i}_IFCB134")
            written.append(i)
            assert started == written

    clouds.write(DAY, bins(), PROVENANCE)
    assert written == [0, 1, 2]


def test_a_reader_of_bins_that_fails_leaves_the_old_day_and_no_other_file(clouds):
    before = clouds.write(DAY, [read_of()], PROVENANCE)

    def bins():
        yield read_of(NEXT_PID)
        raise RuntimeError("disk gone")

    with pytest.raises(RuntimeError, match="disk gone"):
        clouds.write(DAY, bins(), Provenance("new"))
    assert clouds.entries(DAY) == before
    assert clouds.tables.provenance(POINT_CLOUDS, DAY) == PROVENANCE
    assert [path.name for path in folder_of(clouds).iterdir()] == ["2023-08-10.parquet"]


DIE_WHILE_WRITING = f"""
import os, signal, sys
from datetime import date
from pathlib import Path
from ifcb_flow_pipeline.bins.adc import parse_adc
from ifcb_flow_pipeline.store.archive import BinRead
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance

def bins():
    adc = parse_adc({adc_text(3)!r} * 1000, "v2")
    for i in range(3):
        yield BinRead(f"D20230810T00000{{i}}_IFCB134", adc, "ok", "", {{}})
    os.kill(os.getpid(), signal.SIGKILL)

CloudTables(DailyTables(Path(sys.argv[1]))).write(date(2023, 8, 10), bins(), Provenance("new"))
"""


def test_a_writer_killed_in_the_middle_leaves_the_old_day_and_the_next_one_completes(clouds):
    before = clouds.write(DAY, [read_of()], PROVENANCE)
    program = [sys.executable, "-c", DIE_WHILE_WRITING, str(clouds.tables.root)]
    killed = subprocess.run(program, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    (leftover,) = folder_of(clouds).glob(".*.tmp")
    assert leftover.stat().st_size > 0
    assert clouds.entries(DAY) == before
    assert clouds.read_one(DAY, PID, ["x_px"])[1]["x_px"].tolist() == [10, 20, 0, 40]
    assert clouds.tables.days(POINT_CLOUDS) == [DAY]

    clouds.write(DAY, [read_of(NEXT_PID)], Provenance("newer"))
    assert [entry.pid for entry in clouds.entries(DAY)] == [NEXT_PID]
    assert leftover.exists()

    os.utime(leftover, (0, 0))
    clouds.write(DAY + timedelta(days=1), [], PROVENANCE)
    assert leftover.exists()
    clouds.write(DAY, [], PROVENANCE)
    assert not leftover.exists()
