"""The archive on disk: every layout, links, what is left out, and the reading of one bin."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.bins.roi import RoiTable, read_images
from ifcb_flow_pipeline.features.images.extract import features_of_bin
from ifcb_flow_pipeline.store import archive as store_archive
from ifcb_flow_pipeline.store import deadline
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError

from .toys import DAY, PID, adc_text, put, put_bin

V1_PID = "IFCB5_2012_028_075913"


def pids(archive: Archive, first: date | None = None, last: date | None = None) -> list[str]:
    return [raw.bin_id.pid for raw in archive.scan(first, last).bins]


def names_that_cannot_be_listed(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError) -> None:
    """Let listing the directory of this name fail, as it would for a user without rights."""
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == name:
            raise error
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)


# Layouts


@pytest.mark.parametrize(
    "folder",
    ["", "D2023/D20230810", "2023/D20230810", "D20230810", "2023/D202308/D20230810", "IFCB134/2023", "a/b c/d"],
)
def test_a_bin_is_found_in_any_layout_with_all_its_files(tmp_path, folder):
    put_bin(tmp_path / folder)
    listing = Archive(tmp_path).scan()
    (raw,) = listing.bins
    assert raw.bin_id.pid == PID
    assert raw.directory == folder
    for extension in ("adc", "hdr", "roi"):
        path = raw.path(extension)
        assert path is not None
        assert (tmp_path / path).stat().st_size == raw.size(extension)
    assert listing.strays == ()
    assert pids(Archive(tmp_path), DAY, DAY) == [PID]


def test_both_schemas_lie_side_by_side_in_order_of_time(tmp_path):
    put_bin(tmp_path / "IFCB5_2012_028", V1_PID)
    put_bin(tmp_path / "D2023" / "D20230810")
    put_bin(tmp_path, "D20200101T000000_IFCB9")
    assert pids(Archive(tmp_path)) == [V1_PID, "D20200101T000000_IFCB9", PID]


def test_extensions_in_capitals_count(tmp_path):
    put(tmp_path / f"{PID}.ADC", adc_text(3))
    put(tmp_path / f"{PID}.HDR")
    (raw,) = Archive(tmp_path).scan().bins
    assert (raw.path("adc"), raw.path("hdr")) == (f"{PID}.ADC", f"{PID}.HDR")


def test_other_files_are_ignored_and_files_with_other_names_reported(tmp_path):
    put_bin(tmp_path)
    for name in ("notes.txt", f"{PID}.adc.part", f"{PID}.mat", "adc", "README"):
        put(tmp_path / name)
    put(tmp_path / "old" / "notes.adc")
    listing = Archive(tmp_path).scan()
    assert len(listing.bins) == 1
    assert listing.strays == ("old/notes.adc",)


def test_a_directory_named_as_a_file_is_a_directory(tmp_path):
    put_bin(tmp_path / "backup.adc")
    (raw,) = Archive(tmp_path).scan().bins
    assert raw.directory == "backup.adc"


def test_an_empty_archive_has_no_bins(tmp_path):
    assert Archive(tmp_path).scan().bins == ()


# What is left out


@pytest.mark.parametrize("name", ["beads", "Beads", "BAD", "skip", "temp", "Data_Temp", ".snapshot", ".Trash-0"])
@pytest.mark.parametrize("above", ["", "2023", "2023/D20230810"])
def test_side_trees_and_hidden_directories_hold_no_samples_at_any_depth(tmp_path, name, above):
    put_bin(tmp_path / above)
    for below in ("", "2023/D20230810"):
        put_bin(tmp_path / above / name / below, "D20230810T120000_IFCB134")
    assert pids(Archive(tmp_path)) == [PID]


def test_only_whole_names_of_directories_are_left_out(tmp_path):
    put_bin(tmp_path / "beads2" / "no_skip")
    assert pids(Archive(tmp_path)) == [PID]


def test_the_names_of_side_trees_can_be_set(tmp_path):
    put_bin(tmp_path / "beads")
    put_bin(tmp_path / "Culture", "D20230810T120000_IFCB134")
    assert pids(Archive(tmp_path, exclude=frozenset({"CULTURE"}))) == [PID]


def test_an_archive_below_a_hidden_or_excluded_directory_is_read(tmp_path):
    put_bin(tmp_path / ".data" / "temp")
    assert pids(Archive(tmp_path / ".data" / "temp")) == [PID]


# Links


def test_directories_and_files_behind_links_are_found(tmp_path):
    put_bin(tmp_path / "disk2" / "D20230811", "D20230811T000000_IFCB134")
    put(tmp_path / "elsewhere" / "data.bin", adc_text(3))
    root = tmp_path / "archive"
    root.mkdir()
    (root / "more").symlink_to(tmp_path / "disk2")
    (root / f"{PID}.adc").symlink_to(tmp_path / "elsewhere" / "data.bin")
    first, second = Archive(root).scan().bins
    assert (first.path("adc"), first.size("adc")) == (f"{PID}.adc", len(adc_text(3)))
    assert second.path("adc") == "more/D20230811/D20230811T000000_IFCB134.adc"


@pytest.mark.parametrize("target", [".", "..", "2023"])
def test_a_link_back_into_the_archive_ends_and_makes_no_copies(tmp_path, target):
    root = tmp_path / "archive"
    put_bin(root / "2023" / "D20230810")
    for folder in (root, root / "2023", root / "2023" / "D20230810"):
        (folder / "latest").symlink_to(folder / target, target_is_directory=True)
    (raw,) = Archive(root).scan().bins
    assert raw.directory == "2023/D20230810"
    assert raw.copies == ()
    assert Archive(root).scan(DAY, DAY) == Archive(root).scan()


def test_bins_are_listed_under_their_own_directory_however_many_links_lead_to_it(tmp_path):
    put_bin(tmp_path / "2023" / "D20230810")
    for i in range(20):
        (tmp_path / f"latest{i}").symlink_to(tmp_path / "2023")
    (raw,) = Archive(tmp_path).scan().bins
    assert (raw.directory, raw.copies) == ("2023/D20230810", ())


def test_two_links_to_each_other_end(tmp_path):
    put_bin(tmp_path / "disk1" / "D20230810")
    put_bin(tmp_path / "disk2" / "D20230811", "D20230811T000000_IFCB134")
    (tmp_path / "disk1" / "other").symlink_to(tmp_path / "disk2")
    (tmp_path / "disk2" / "other").symlink_to(tmp_path / "disk1")
    for root in (tmp_path / "disk1", tmp_path / "disk2", tmp_path):
        listing = Archive(root).scan()
        assert [raw.bin_id.pid for raw in listing.bins] == [PID, "D20230811T000000_IFCB134"]
        assert [raw.copies for raw in listing.bins] == [(), ()]


def test_of_links_to_the_same_directory_every_walk_takes_the_same(tmp_path, monkeypatch):
    root = tmp_path / "archive"
    put_bin(tmp_path / "disk2")
    root.mkdir()
    for name in ("b", "a", "c"):
        (root / name).symlink_to(tmp_path / "disk2")
    first = Archive(root).scan()
    entries = Archive._entries
    monkeypatch.setattr(Archive, "_entries", lambda *args: list(entries(*args))[::-1])
    assert Archive(root).scan() == first


def test_dead_links_and_links_to_themselves_are_passed_over(tmp_path):
    put_bin(tmp_path, extensions="adc")
    for name in ("folder", "D20230811T000000_IFCB134.adc"):
        (tmp_path / name).symlink_to(tmp_path / "gone" / name)
    for name in ("loop", "D20230812T000000_IFCB134.adc"):
        (tmp_path / name).symlink_to(tmp_path / name)
    assert pids(Archive(tmp_path)) == [PID]


# Ranges


DAYS = [date(2022, 12, 31), date(2023, 1, 1), date(2023, 7, 31), date(2023, 8, 9), date(2023, 8, 10), date(2024, 2, 29)]
FOLDERS = {
    "flat": lambda _: "",
    "by year": lambda day: f"{day:%Y}",
    "by day": lambda day: f"D{day:%Y}/D{day:%Y%m%d}",
    "by month": lambda day: f"data/D{day:%Y%m}/D{day:%Y%m%d}",
    "by the next day": lambda day: f"D{day + timedelta(days=1):%Y/D%Y%m%d}",
    "by the day before": lambda day: f"{day - timedelta(days=1):%Y/D%Y%m%d}",
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sets(st.tuples(st.sampled_from(DAYS), st.sampled_from(sorted(FOLDERS)), st.booleans()), max_size=8),
    st.one_of(st.none(), st.sampled_from(DAYS)),
    st.one_of(st.none(), st.sampled_from(DAYS)),
)
def test_listing_a_range_gives_what_listing_all_gives_for_its_days(tmp_path_factory, bins, first, last):
    root = tmp_path_factory.mktemp("archive")
    for day, layout, at_midnight in bins:
        time = "000000" if at_midnight else "235959"
        put_bin(root / FOLDERS[layout](day), f"D{day:%Y%m%d}T{time}_IFCB134", b"", extensions="adc")
        put_bin(root / FOLDERS[layout](day), f"IFCB5_{day:%Y_%j}_{time}", b"", extensions="adc hdr")
    everything = Archive(root).scan().bins
    assert len(everything) == len({(day, at_midnight) for day, _, at_midnight in bins}) * 2
    wanted = [raw for raw in everything if (first or date.min) <= raw.bin_id.day <= (last or date.max)]
    assert list(Archive(root).scan(first, last).bins) == wanted


def test_directories_of_other_days_are_not_even_listed(tmp_path, monkeypatch):
    put_bin(tmp_path / "D2023" / "D20230810")
    for folder in ("D2022", "2021", "D2023/D202301", "D2023/D20230101", "IFCB5_2012_028"):
        put_bin(tmp_path / folder, "D20230810T000000_IFCB1")
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(Path(path).name) or scandir(path))
    assert pids(Archive(tmp_path), DAY, DAY) == [PID]
    assert sorted(listed) == sorted([tmp_path.name, "D2023", "D20230810"])


@pytest.mark.parametrize("name", ["0001", "9999", "D99991231", "D00010101", "0810"])
def test_directories_named_by_numbers_that_are_no_ifcb_year_are_listed(tmp_path, name):
    put_bin(tmp_path / name)
    assert pids(Archive(tmp_path)) == pids(Archive(tmp_path), DAY, DAY) == [PID]


# Failures of the disk


def test_a_missing_root_is_named_with_the_variable_that_sets_it(tmp_path):
    with pytest.raises(ArchiveError, match=r"nowhere.*mounted.*IFCB_DATA_DIR"):
        Archive(tmp_path / "nowhere").scan()


def test_a_root_that_is_a_file_is_no_archive(tmp_path):
    with pytest.raises(ArchiveError, match="no directory"):
        Archive(put(tmp_path / "file")).scan()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_directory_that_cannot_be_listed_fails_the_listing_by_name(tmp_path, monkeypatch, error):
    put_bin(tmp_path / "2023" / "D20230810")
    names_that_cannot_be_listed(monkeypatch, "D20230810", error)
    with pytest.raises(ArchiveError, match=rf"2023.D20230810: {error.strerror}"):
        Archive(tmp_path).scan()


def test_a_directory_that_is_left_out_need_not_be_readable(tmp_path, monkeypatch):
    put_bin(tmp_path)
    put_bin(tmp_path / "bad")
    names_that_cannot_be_listed(monkeypatch, "bad", PermissionError(13, "Permission denied"))
    assert pids(Archive(tmp_path)) == [PID]


def test_a_directory_that_vanishes_after_its_parent_was_listed_is_passed_over(tmp_path, monkeypatch):
    put_bin(tmp_path)
    put_bin(tmp_path / "moving")
    names_that_cannot_be_listed(monkeypatch, "moving", FileNotFoundError(2, "No such file or directory"))
    assert pids(Archive(tmp_path)) == [PID]


def test_a_root_that_vanishes_while_it_is_listed_is_no_empty_archive(tmp_path, monkeypatch):
    put_bin(tmp_path / "archive")
    names_that_cannot_be_listed(monkeypatch, "archive", FileNotFoundError(2, "No such file or directory"))
    with pytest.raises(ArchiveError, match="disappeared"):
        Archive(tmp_path / "archive").scan()


def test_a_root_that_vanishes_before_it_is_listed_is_no_empty_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "is_dir", lambda _: True)
    with pytest.raises(ArchiveError, match="disappeared"):
        Archive(tmp_path / "gone").scan()


class Listed:
    """A directory's listing that runs something once it has been taken, before its files are looked at."""

    def __init__(self, entries, then) -> None:
        self.entries, self.then = entries, then

    def __enter__(self):
        found = list(self.entries.__enter__())
        self.then()
        return iter(found)

    def __exit__(self, *error) -> None:
        self.entries.__exit__(*error)


def test_a_file_that_vanishes_between_listing_and_looking_is_passed_over(tmp_path, monkeypatch):
    put_bin(tmp_path, extensions="adc")
    moving = put(tmp_path / "D20230810T120000_IFCB134.adc")
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: Listed(scandir(path), moving.unlink))
    assert pids(Archive(tmp_path)) == [PID]


@pytest.mark.parametrize("name", ["linked", f"{PID}.adc"])
def test_what_cannot_be_looked_at_fails_the_listing_by_name(tmp_path, monkeypatch, name):
    class Refusing:
        """An entry whose file no one may look at, as behind a link into another user's folder."""

        def __init__(self) -> None:
            self.name = self.path = name

        def is_symlink(self) -> bool:
            return True

        def is_dir(self) -> bool:
            if name == "linked":
                raise PermissionError(13, "Permission denied")
            return False

        def stat(self) -> os.stat_result:
            raise PermissionError(13, "Permission denied")

    class Entries:
        def __enter__(self):
            return iter([Refusing()])

        def __exit__(self, *error) -> None:
            pass

    monkeypatch.setattr(os, "scandir", lambda _: Entries())
    with pytest.raises(ArchiveError, match=f"{name}: Permission denied"):
        Archive(tmp_path).scan()


# Reading a bin


def read(root: Path, hdr: str | None = f"{PID}.hdr"):
    return Archive(root).read_bin(PID, f"{PID}.adc", hdr)


def test_a_good_bin_is_read_with_its_header(tmp_path):
    put_bin(tmp_path)
    found = read(tmp_path)
    assert (found.pid, found.status, found.reason, len(found.adc)) == (PID, "ok", "", 4)
    assert found.adc.columns["x_px"].tolist() == [10, 20, 0, 40]
    assert found.header["temperature_c"] == 21.5


def test_the_schema_of_a_bin_is_that_of_its_name(tmp_path):
    put(tmp_path / f"{V1_PID}.adc", b"1,2.5,0.1,0.2,0.3,0.4,0,0,0,100,200,30,40,1,0\n")
    found = Archive(tmp_path).read_bin(V1_PID, f"{V1_PID}.adc", None)
    assert (found.status, found.adc.schema, found.adc.columns["x_px"].tolist()) == ("ok", "v1", [100])
    assert np.isnan(found.adc.columns["run_time_s"]).all()


def test_a_corrected_adc_file_is_read_instead_of_the_raw_one_and_named(tmp_path):
    root = tmp_path / "data"
    put_bin(root / "2023" / "D20230810")
    put(tmp_path / "adcmod" / "D20230810" / f"{PID}.adc.mod", adc_text(3))
    put(tmp_path / "adcmod" / "D20230811" / f"{PID}.adc.mod", adc_text(2))
    put(tmp_path / "adcmod" / "D20230810" / "D20230810T235959_IFCB134.adc.mod", adc_text(2))
    listing = Archive(root).scan(date(2023, 8, 10), date(2023, 8, 10))
    (raw,) = listing.bins
    assert listing.strays == (
        "../adcmod/D20230810/D20230810T235959_IFCB134.adc.mod", f"../adcmod/D20230811/{PID}.adc.mod",
    )  # fmt: skip
    found = Archive(root).read_bin(PID, raw.path("adc"), raw.path("hdr"))
    assert (len(found.adc), found.adc_source, found.header["temperature_c"]) == (3, "adcmod", 21.5)
    assert Archive(root).read_bin(PID, f"2023/D20230810/{PID}.adc", None).adc_source == "adc"


def test_a_corrected_adc_file_is_that_of_the_bin_also_where_names_are_in_another_case_and_hidden_ones_are_none(
    tmp_path,
):
    root = tmp_path / "data"
    put(root / "D20230810" / f"{PID.lower()}.adc", adc_text(4))
    put(tmp_path / "adcmod" / "D20230810" / f"{PID}.ADC.MOD", adc_text(3))
    put(tmp_path / "adcmod" / "D20230810" / f"._{PID}.adc.mod", b"left behind")
    listing = Archive(root).scan()
    (raw,) = listing.bins
    found = Archive(root).read_bin(PID, raw.path("adc"), None)
    assert (len(found.adc), found.adc_source, listing.strays) == (3, "adcmod", ())


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \r\n"])
def test_a_file_without_lines_is_empty(tmp_path, content):
    put_bin(tmp_path, adc=content)
    found = read(tmp_path)
    assert (found.status, found.reason, len(found.adc)) == ("empty", "the .adc file has no lines", 0)
    assert found.header["temperature_c"] == 21.5


@pytest.mark.parametrize("content", [b"garbage\n", b"\x00\xff\n\xfe", adc_text(2) + b"a\nb\nc\n"])
def test_a_file_of_which_most_is_damaged_is_unreadable_and_says_which_lines(tmp_path, content):
    put_bin(tmp_path, adc=content)
    found = read(tmp_path)
    assert found.status == "unreadable"
    assert f"{found.adc.bad_lines} of " in found.reason
    assert "line 1 " in found.reason or "line 3 " in found.reason


def test_a_file_with_some_damaged_lines_is_read_and_says_which(tmp_path):
    put_bin(tmp_path, adc=adc_text(2) + b"cut,off\n" + adc_text(2, first=3))
    found = read(tmp_path)
    assert (found.status, len(found.adc), found.adc.bad_lines) == ("ok", 4, 1)
    assert "1 of 5 ADC lines unusable: line 3 has 2 columns" in found.reason


def test_half_of_the_lines_damaged_is_still_read(tmp_path):
    put_bin(tmp_path, adc=adc_text(2) + b"a\nb\n")
    assert read(tmp_path).status == "ok"


def test_a_file_that_is_gone_is_unreadable_with_the_reason(tmp_path):
    found = read(tmp_path)
    assert (found.status, len(found.adc), found.header) == ("unreadable", 0, {})
    assert found.reason == f"cannot read {PID}.adc: No such file or directory"


def test_a_directory_in_place_of_the_file_is_unreadable_with_the_reason(tmp_path):
    (tmp_path / f"{PID}.adc").mkdir()
    found = read(tmp_path)
    assert (found.status, found.reason) == ("unreadable", f"cannot read {PID}.adc: Is a directory")


def test_a_failing_disk_makes_a_bin_unreadable_with_the_reason(tmp_path, monkeypatch):
    put_bin(tmp_path)

    def failing(path, flags):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "open", failing)
    found = read(tmp_path)
    assert (found.status, found.reason) == ("unreadable", f"cannot read {PID}.adc: Input/output error")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in directories")
def test_a_pipe_in_place_of_the_file_is_unreadable_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / f"{PID}.adc")
    found = read(tmp_path)
    assert (found.status, found.reason) == ("unreadable", f"cannot read {PID}.adc: it is no regular file")


def test_a_short_file_after_a_long_one_has_nothing_of_it(tmp_path):
    put_bin(tmp_path, adc=adc_text(50))
    put(tmp_path / f"{V1_PID}.adc", b"1,2.5,0.1,0.2,0.3,0.4,0,0,0,100,200,30,40,1,0")
    archive = Archive(tmp_path)
    for _ in range(2):
        long, short = read(tmp_path), archive.read_bin(V1_PID, f"{V1_PID}.adc", None)
        assert (len(long.adc), len(short.adc)) == (50, 1)
        assert long.adc.columns["x_px"][:3].tolist() == [10, 20, 0]
        assert short.adc.columns["start_byte"].tolist() == [1]


def test_files_that_threads_read_at_the_same_time_do_not_mix(tmp_path):
    counts = {f"D20230810T00000{i}_IFCB134": 200 * (i + 1) for i in range(8)}
    for pid, n_rows in counts.items():
        put_bin(tmp_path, pid, adc=adc_text(n_rows), extensions="adc")
    archive, wanted = Archive(tmp_path), list(counts) * 20
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda pid: archive.read_bin(pid, f"{pid}.adc", None), wanted))
    assert [len(each.adc) for each in found] == [counts[pid] for pid in wanted]
    alone = {pid: archive.read_bin(pid, f"{pid}.adc", None).adc.columns for pid in counts}
    for pid, each in zip(wanted, found, strict=True):
        for name, values in alone[pid].items():
            np.testing.assert_array_equal(each.adc.columns[name], values)


def test_a_bin_without_header_is_read(tmp_path):
    put_bin(tmp_path, extensions="adc")
    found = read(tmp_path, hdr=None)
    assert (found.status, found.reason, found.header) == ("ok", "", {})


def test_a_header_that_cannot_be_read_costs_the_header_only(tmp_path):
    put_bin(tmp_path, extensions="adc")
    found = read(tmp_path)
    assert (found.status, found.header, len(found.adc)) == ("ok", {}, 4)
    assert found.reason == f"cannot read {PID}.hdr: No such file or directory"


def test_all_that_is_wrong_with_a_bin_is_told(tmp_path):
    put_bin(tmp_path, adc=adc_text(3) + b"half a li", extensions="adc")
    found = read(tmp_path)
    assert "line 4 is cut off" in found.reason
    assert f"; cannot read {PID}.hdr" in found.reason


def test_the_archive_knows_the_time_in_utc():
    before = datetime.now(tz=UTC)
    assert before <= Archive(Path()).now() <= datetime.now(tz=UTC)


def test_nothing_is_ever_written_to_the_archive(tmp_path):
    put_bin(tmp_path / "D20230810")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    archive = Archive(tmp_path)
    archive.scan()
    archive.read_bin(PID, f"D20230810/{PID}.adc", f"D20230810/{PID}.hdr")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("extension", ["adc", "hdr", "roi"])
@pytest.mark.parametrize("kind", ["pipe", "device", "directory", "huge"])
def test_what_is_no_usual_file_costs_its_bin_and_nothing_else(tmp_path, monkeypatch, extension, kind):
    monkeypatch.setitem(store_archive.LARGEST, extension, 100)
    path = tmp_path / f"a.{extension}"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"x" * 101)
    found = Archive(tmp_path)
    if extension == "adc":
        read = found.read_bin("D20230810T000000_IFCB134", path.name, None)
        assert read.status == "unreadable"
        assert not read.unread
        assert "cannot read a.adc" in read.reason
    elif extension == "hdr":
        header = found.read_header(path.name, "v2")
        assert (header.values, header.unread) == ({}, False)
        assert "cannot read a.hdr" in header.problem
    else:
        with pytest.raises(OSError, match=r"no regular file|more than any|Is a directory"):
            found.read_images(path.name, None, [0])


@pytest.fixture
def hanging(monkeypatch):
    """Opening a file, or listing a directory, whose name ends so hangs until the test is over."""
    answer, endings = threading.Event(), []
    monkeypatch.setattr(deadline, "PATIENCE", 1.0)

    def hanging_at_times(really):
        def called(path, *arguments):
            if str(path).endswith(tuple(endings)):
                answer.wait()
            return really(path, *arguments)

        return called

    for name in ("open", "scandir"):
        monkeypatch.setattr(os, name, hanging_at_times(getattr(os, name)))
    yield endings.append
    answer.set()


def test_a_file_that_hangs_costs_its_bin_and_is_to_be_read_again(tmp_path, hanging):
    put_bin(tmp_path)
    hanging(f"{PID}.adc")
    found = read(tmp_path)
    assert (found.status, found.unread) == ("unreadable", True)
    assert "did not answer within 1 s" in found.reason


def test_a_header_that_hangs_costs_the_header_only(tmp_path, hanging):
    put_bin(tmp_path)
    hanging(f"{PID}.hdr")
    found = read(tmp_path)
    assert (found.status, found.header_state, found.unread) == ("ok", "missing", True)


def test_a_directory_that_hangs_fails_the_listing_by_name(tmp_path, hanging):
    put_bin(tmp_path / "2023")
    hanging("2023")
    with pytest.raises(ArchiveError, match=r"2023: the disk did not answer .* is its server up"):
        Archive(tmp_path).scan()


#: Images of a .roi file: two, one that has no possible place, and one that the file does not hold.
ROI_TABLE = RoiTable(np.array([1, 5, 0, 20]), np.array([2, 3, 2, 4]), np.array([2, 2, 2, 4]), first_byte=1)


def roi_file(folder):
    (folder / "a.roi").write_bytes(bytes(range(30)))
    return Archive(folder)


def blocks_of(found):
    return list(found.image_blocks("a.roi", ROI_TABLE, np.arange(4)))


@pytest.mark.parametrize("at_once", [1, 2**24])
def test_the_images_that_are_asked_for_are_read_wherever_they_lie(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(store_archive, "_AT_ONCE", at_once)
    blocks = blocks_of(roi_file(tmp_path))
    images = {row: image.tolist() for block in blocks for row, image in read_all(block).images.items()}
    assert images == {0: [[1, 2], [3, 4]], 1: [[5, 6, 7], [8, 9, 10]]}
    features = [features_of_bin(block.content, block.table, block.rows) for block in blocks]
    status = [each for found in features for each in found.status.tolist()]
    assert status == ["too_small", "too_small", "impossible", "cut_off"]
    assert [row for found in features for row in found.row.tolist()] == [0, 1, 2, 3]


def read_all(block):
    return read_images(block.content.tobytes(), block.table)


def test_a_table_that_asks_for_the_same_bytes_again_and_again_does_not_fill_the_memory(tmp_path):
    side, n = 2048, 40
    (tmp_path / "a.roi").write_bytes(bytes(side * side))
    table = RoiTable(np.zeros(n, np.int64), np.full(n, side), np.full(n, side), first_byte=0)
    sizes = [block.content.nbytes for block in Archive(tmp_path).image_blocks("a.roi", table, np.arange(n))]
    assert sum(sizes) == n * side * side
    assert max(sizes) <= 2**24


@pytest.mark.parametrize("left", [0, 3, 12])
def test_a_roi_file_that_becomes_shorter_while_it_is_read_costs_the_images_that_it_loses(tmp_path, monkeypatch, left):
    found, filled = roi_file(tmp_path), store_archive._filled

    def cut_first(file, memory, start):
        os.truncate(tmp_path / "a.roi", left)
        return filled(file, memory, start)

    monkeypatch.setattr(store_archive, "_filled", cut_first)
    n_left = 2 if left == 12 else 0
    assert len(read_all(blocks_of(found)[0]).images) == n_left
    roi_file(tmp_path)
    read = found.read_images("a.roi", ROI_TABLE, range(4))
    assert (len(read.images), len(read.missing)) == (n_left, 4 - n_left)
    assert left == 12 or (
        "became shorter while it was read" in read.missing[0] and f"the .roi file has {left}" in read.missing[1]
    )
