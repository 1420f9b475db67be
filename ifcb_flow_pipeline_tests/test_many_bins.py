"""Many bins in one call of compiled code have the rows that they have one by one, whatever their files hold."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline import fallback, many_bins
from ifcb_flow_pipeline.api import Work, archive_features
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.features import batch, full
from ifcb_flow_pipeline.features.catalogue import FeatureSet
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.kept import Kept
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store import file_batches, file_kernels
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.deadline import HungError

NOON = datetime(2023, 8, 10, 12, tzinfo=UTC)
SETS: tuple[FeatureSet, ...] = ("reference", "full")


def pid_of(number: int, instrument: str = "IFCB134") -> str:
    return format_pid(instrument, NOON + timedelta(minutes=number))


def bin_in(folder: Path, number: int, n: int = 150, instrument: str = "IFCB134") -> Path:
    """A small bin; its .adc file."""
    pid = pid_of(number, instrument)
    write_bin(simulate_bin(pid, mean_triggers=n, seed=number), folder)
    return folder / f"{pid}.adc"


def table(folder: Path, feature_set: FeatureSet, settings: FeatureSettings | None = None, reader: str = "") -> pa.Table:
    archive = Archive(folder, settle=timedelta())
    return archive_features(archive, None, settings or FeatureSettings(), Work(1, 1000), feature_set)


def both_ways(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: FeatureSettings | None = None
) -> dict[FeatureSet, tuple[pa.Table, pa.Table]]:
    """The tables of each feature set: many bins at once, and one by one."""
    at_once = {each: table(folder, each, settings) for each in SETS}
    with monkeypatch.context() as patched:
        patched.setattr(many_bins.Batch, "of", lambda *_: iter(()))
        return {each: (at_once[each], table(folder, each, settings)) for each in SETS}


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    """Equal to the last bit, NaN and the sign of zero included."""
    assert found.schema == expected.schema
    for name in found.column_names:
        ours, theirs = found[name].combine_chunks(), expected[name].combine_chunks()
        if pa.types.is_floating(ours.type):
            ours, theirs = (each.to_numpy(zero_copy_only=False).view(np.int64) for each in (ours, theirs))
            assert ours.tolist() == theirs.tolist(), name
        else:
            assert ours.to_pylist() == theirs.to_pylist(), name


def taken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Which bins do not go the way of one by one."""
    slow = []
    read_bin = many_bins.read_bin
    with monkeypatch.context() as patched:
        patched.setattr(
            many_bins, "read_bin", lambda archive, row, *some: slow.append(row["pid"]) or read_bin(archive, row, *some)
        )
        return set(table(folder, "full")["pid"].to_pylist()) - set(slow)


def cells(adc: Path, column: int, text: str | None = None, rows: slice = slice(None)) -> None:
    """Write the same into a column of some rows, or by default what its first row has."""
    lines = [line.split(",") for line in adc.read_text().splitlines()]
    for line in lines[rows]:
        line[column] = lines[0][column] if text is None else text
    adc.write_text("".join(",".join(line) + "\n" for line in lines))


@pytest.fixture
def odd(tmp_path) -> Path:
    """Bins of which each has something that is rare."""
    folder = tmp_path / "archive"
    number = iter(range(100))

    def new(n: int = 150) -> Path:
        return bin_in(folder, next(number), n)

    new()
    new().with_suffix(".hdr").unlink()
    (hdr := new().with_suffix(".hdr")).write_bytes(hdr.read_bytes()[:300])
    new(25), new(3)
    new().write_bytes(b"")
    (adc := new()).write_bytes(adc.read_bytes()[:-1])
    (adc := new()).write_bytes(adc.read_bytes()[:-40])
    (adc := new()).write_bytes(adc.read_bytes().replace(b"\n", b"\r\n"))
    (adc := new()).write_bytes(b"\xef\xbb\xbf" + adc.read_bytes())
    (adc := new()).write_bytes(adc.read_bytes().replace(b"\n", b",\n"))
    (adc := new()).write_bytes(adc.read_bytes().replace(b"\n", b",0,0,0\n"))
    (adc := new()).write_bytes(adc.read_bytes().replace(b"\n", b"\n\n", 3))
    for column in (2, 6, 7, 9):
        cells(new(), column)  # a dead signal
    cells(adc := new(), 7)
    cells(adc, 7, "0.99", slice(140, 141))
    cells(new(), 1, rows=slice(40, 90))  # the clock stands still
    cells(new(), 17, "7", rows=slice(50, 60))  # images that lie elsewhere
    cells(new(), 22, "0")
    cells(new(), 3, "nan", slice(5, 6))
    cells(new(), 3, "-0.0")
    cells(new(), 14, "1.5", slice(5, 6))
    cells(new(), 15, "99999", slice(5, 6))
    (roi := new().with_suffix(".roi")).write_bytes(b"\0" * 1000)
    roi.with_suffix(".adc").with_suffix(".roi").touch()
    new().with_suffix(".roi").write_bytes(b"\0" * 10_000_000)
    bin_in(folder, 90, instrument="IFCB008")
    write_bin(simulate_bin("IFCB5_2012_028_000001", mean_triggers=150), folder)
    write_bin(simulate_bin("IFCB1_2006_158_000036", mean_triggers=20), folder)
    (folder / f"{pid_of(91)}.adc").mkdir()
    (folder / f"{pid_of(92)}.adc").symlink_to(folder / f"{pid_of(0)}.adc")
    os.mkfifo(folder / f"{pid_of(93)}.adc")
    (folder / "notes.adc").write_text("no bin")
    (tmp_path / "adcmod" / "archive").mkdir(parents=True)
    return folder


@pytest.mark.parametrize("settings", [FeatureSettings(), FeatureSettings(aspect_ratio=1.1, frames="IFCB134=1360x1840"),
                                      FeatureSettings("all"), FeatureSettings(aspect_ratio=1e6)])  # fmt: skip
def test_rare_files_have_the_same_rows_at_once_and_one_by_one(odd, monkeypatch, settings):
    for found, expected in both_ways(odd, monkeypatch, settings).values():
        assert_same(found, expected)


def test_clean_files_are_taken_and_all_others_are_left_to_the_careful_way(odd, monkeypatch):
    assert pid_of(0) in taken(odd, monkeypatch)
    assert not {pid_of(5), pid_of(7), pid_of(9), pid_of(93)} & taken(odd, monkeypatch)
    dead = {row["pid"]: row["dead_signals"] for row in table(odd, "full").to_pylist() if row["dead_signals"]}
    assert set(dead.values()) >= {"pmt_a", "peak_a", "peak_b", "peak_d", "pmt_b"}
    assert set(dead) <= taken(odd, monkeypatch)


def test_damage_of_any_kind_gives_the_same_rows_at_once_and_one_by_one(tmp_path, monkeypatch):
    """Bytes that are changed, lost or added anywhere, as the fuzz run of the scanner has them."""
    rng = np.random.default_rng(20260829)
    for number in range(160):
        adc = bin_in(tmp_path, number, 40)
        content = bytearray(adc.read_bytes())
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(len(content)))
            what = rng.integers(4)
            if what == 0:
                content[at] = rng.choice(np.frombuffer(b"0123456789.,-+eE \n\r\tnaif\0\xff", np.uint8))
            elif what == 1:
                del content[at : at + int(rng.integers(1, 30))]
            elif what == 2:
                content[at:at] = content[at : at + int(rng.integers(1, 300))]
            else:
                content[at:at] = rng.choice(
                    np.frombuffer(b"0123456789.,\n", np.uint8), int(rng.integers(1, 9))
                ).tobytes()
        adc.write_bytes(bytes(content))
    for found, expected in both_ways(tmp_path, monkeypatch).values():
        assert_same(found, expected)


def test_files_that_find_no_room_are_read_one_by_one(tmp_path, monkeypatch):
    for number in range(5):
        bin_in(tmp_path, number)
    monkeypatch.setattr(batch, "MOST_ROWS", 350)
    monkeypatch.setattr(batch, "_MEMORY", Kept())
    assert len(taken(tmp_path, monkeypatch)) == 2
    for found, expected in both_ways(tmp_path, monkeypatch).values():
        assert_same(found, expected)


@pytest.mark.parametrize("name", ["reference_of_files", "columns_of_files"])
def test_where_the_disk_does_not_answer_each_bin_has_its_time_by_itself(tmp_path, monkeypatch, name):
    for number in range(3):
        bin_in(tmp_path, number)
    expected = {each: table(tmp_path, each) for each in SETS}

    def hang(*_):
        raise HungError(60.0)

    monkeypatch.setattr(file_kernels, name, hang)
    for each in SETS:
        assert_same(table(tmp_path, each), expected[each])
    assert not fallback.failed()


def test_a_file_that_is_too_large_is_read_by_itself(tmp_path, monkeypatch):
    sizes = [bin_in(tmp_path, number, n).stat().st_size for number, n in enumerate((60, 300))]
    monkeypatch.setattr(file_batches, "_LARGEST", sum(sizes) // 2)
    file_batches._plan.cache_clear()
    try:
        assert taken(tmp_path, monkeypatch) == {pid_of(0)}
    finally:
        file_batches._plan.cache_clear()


def test_a_feature_that_wants_the_rows_has_bins_read_one_by_one(tmp_path, monkeypatch):
    bin_in(tmp_path, 0)
    monkeypatch.setattr(full, "WANT_ROWS", True)
    assert not taken(tmp_path, monkeypatch)


def test_in_threads_each_has_memory_of_its_own(tmp_path, monkeypatch):
    for number in range(80):
        bin_in(tmp_path, number, 60)
    archive = Archive(tmp_path, settle=timedelta())
    for each in SETS:
        one = archive_features(archive, None, FeatureSettings(), Work(1), each)
        assert_same(archive_features(archive, None, FeatureSettings(), Work(4, 5), each), one)


def test_where_the_system_is_another_or_the_reader_too_all_go_one_by_one(tmp_path, monkeypatch):
    bin_in(tmp_path, 0)
    assert taken(tmp_path, monkeypatch)
    monkeypatch.setattr(file_batches.platform, "machine", lambda: "arm64")
    assert not taken(tmp_path, monkeypatch)
