"""The look at a large archive: it finds what a walk over everything finds, without looking at everything."""

import itertools
import logging
import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from ifcb_flow_pipeline.bins.archive import signatures
from ifcb_flow_pipeline.store import survey as module
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError, Inside
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.ledger import LedgerError, Visit, with_ledger
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.survey import LONGEST_WAIT, Budget, Survey, Surveyor, due_ns
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES

from .toys import DAY, PID, adc_text, put, put_bin, score_rows

OTHER_PID = "D20230811T113059_IFCB134"
OTHER_DAY = date(2023, 8, 11)
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ArchiveAt(Archive):
    """An archive at a time that the test says."""

    at: datetime = datetime(2000, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


class Site:
    """An archive, its ledger, and a clock that starts days after everything was written."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "archive"
        self.root.mkdir()
        self.ledger = folder / "home" / "sensor" / "ledger.sqlite"
        self.tables = DailyTables(folder / "home" / "tables")
        self.at = datetime.now(tz=UTC) + timedelta(days=10)
        self.unique = itertools.count(1)

    @property
    def archive(self) -> ArchiveAt:
        return ArchiveAt(self.root, at=self.at)

    def put_bin(self, folder: str, pid: str = PID, **wanted: object) -> None:
        put_bin(self.root / folder, pid, **wanted)  # type: ignore[arg-type]
        self.changed(folder)

    def changed(self, *folders: str) -> None:
        """Give directories new times: the system's are so coarse that two quick changes may have the same."""
        for folder in folders:
            os.utime(self.root / folder, ns=(next(self.unique),) * 2)

    def grow(self, path: str, at: datetime | None = None) -> None:
        put(self.root / path, adc_text(9), (at or self.at).timestamp())

    def survey(self, budget: Budget | None = None, later: timedelta = MINUTE, *, thorough: bool = False) -> Survey:
        self.at += later
        surveyor = Surveyor(self.archive, self.tables, self.ledger)
        return surveyor.survey((), budget or Budget(), thorough=thorough)

    def look(self, later: timedelta = MINUTE) -> dict[date, str]:
        """The signatures that a look finds, the time being ``later``."""
        found = self.survey(later=later)
        assert found.complete
        return {day: entry.signature for day, entry in found.archive.items()}

    def walked(self) -> dict[date, str]:
        """The signatures that a walk over everything finds."""
        listing = self.archive.scan()
        return {day: signatures(listing.of_day(day), self.at, self.archive.settle).flow for day in listing.days}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the directories that are listed from here on."""
    names: list[str] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: names.append(Path(path).name) or scandir(path))
    return names


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so many seconds each time it is asked."""
    times = itertools.count(0.0, seconds)
    return lambda: next(times)


# What is found


@pytest.mark.parametrize("folder", ["", "D2023/D20230810", "IFCB134/2023", "a/b c/d", "D2019/D20190101"])
def test_signatures_are_those_of_a_walk_in_any_layout(site: Site, folder: str) -> None:
    site.put_bin(folder)
    site.put_bin(folder, "IFCB5_2012_028_075913", extensions="adc")
    assert site.look() == site.walked()
    assert site.look() == site.walked()


def test_an_archive_that_did_not_change_is_not_listed_again(site: Site, listed: list[str]) -> None:
    site.put_bin("D2023/D20230810")
    first = site.look()
    listed.clear()
    assert site.look() == first
    assert listed == []


def test_only_the_directory_of_a_new_bin_is_listed(site: Site, listed: list[str]) -> None:
    site.put_bin("D2023/D20230810")
    site.put_bin("D2023/D20230811", OTHER_PID)
    site.look()
    site.put_bin("D2023/D20230810", "D20230810T120000_IFCB134")
    listed.clear()
    assert site.look() == site.walked()
    assert set(listed[:1]) == {"D20230810"}


def test_bins_that_are_removed_or_whose_directory_vanishes_are_missed(site: Site) -> None:
    for folder, pid in (("D2023/D20230810", PID), ("D2023/D20230811", OTHER_PID)):
        site.put_bin(folder, pid)
    assert set(site.look()) == {DAY, OTHER_DAY}
    shutil.rmtree(site.root / "D2023" / "D20230811")
    site.changed("D2023")
    assert set(site.look()) == {DAY}
    (site.root / "D2023" / "D20230810" / f"{PID}.hdr").unlink()
    site.changed("D2023/D20230810")
    assert site.look() == site.walked()


def test_a_moved_directory_changes_its_days_and_is_lost_nowhere(site: Site) -> None:
    site.put_bin("D2023/D20230810")
    before = site.look()
    (site.root / "D2023").rename(site.root / "data")
    site.changed("")
    after = site.look()
    assert after == site.walked() != before


def test_a_directory_that_takes_the_place_of_another_of_the_same_age_is_noticed(site: Site) -> None:
    site.put_bin("2023")
    site.put_bin("other", adc=adc_text(7))
    for folder in ("2023", "other"):
        os.utime(site.root / folder, (1e9, 1e9))
    site.look()
    shutil.rmtree(site.root / "2023")
    (site.root / "other").rename(site.root / "2023")
    site.changed("")
    assert site.look() == site.walked()


def test_of_copies_in_several_directories_the_best_is_chosen_wherever_it_appears_or_vanishes(site: Site) -> None:
    site.put_bin("a")
    alone = site.look()
    site.put_bin("b", adc=adc_text(9))
    assert site.look() == site.walked() != alone
    site.put_bin("2019", adc=adc_text(99))  # misplaced: never chosen
    assert site.look() == site.walked()
    shutil.rmtree(site.root / "b")
    site.changed("")
    assert site.look() == site.walked() == alone


def test_misplaced_bins_are_counted_and_named(site: Site) -> None:
    site.put_bin("D2019/D20190101")
    found = site.survey()
    entry = found.archive[DAY]
    assert (entry.signature, entry.n_bins) == ("", 1)
    (left_out,) = found.left_out
    assert (left_out.pid, left_out.status, left_out.path) == (PID, "misplaced", "D2019/D20190101")
    assert "D2019/D20190101, which states another date: move it" in left_out.reason


def test_a_corrected_adc_file_beside_the_archive_changes_its_day_as_it_comes_and_goes(site: Site) -> None:
    site.put_bin("D2023/D20230810")
    raw = site.look()
    correction = site.root.parent / "adcmod" / "D20230810" / f"{PID}.adc.mod"
    put(correction, adc_text(3), (site.at - timedelta(days=2)).timestamp())
    corrected = site.look()
    assert corrected == site.walked()
    assert corrected[DAY] != raw[DAY]
    assert site.archive.scan().of_day(DAY)[0].path("adc") == f"../adcmod/D20230810/{PID}.adc.mod"
    correction.unlink()
    site.changed("../adcmod/D20230810")
    assert site.look() == site.walked() == raw


def test_directories_behind_links_are_entered_once_and_followed_when_the_link_changes(site: Site, tmp_path) -> None:
    site.put_bin("2023")
    put_bin(tmp_path / "disk2", OTHER_PID)
    put_bin(tmp_path / "disk3", "D20230812T000000_IFCB134")
    for name, target in (("more", tmp_path / "disk2"), ("again", tmp_path / "disk2"), ("loop", site.root)):
        (site.root / name).symlink_to(target)
    assert site.look() == site.walked()
    (site.root / "more").unlink()
    (site.root / "more").symlink_to(tmp_path / "disk3")
    site.changed("")
    assert site.look() == site.walked()
    assert len(site.walked()) == 3


def test_a_flat_archive_renews_only_the_days_that_changed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    days = [DAY + timedelta(days=i) for i in range(20)]
    for day in days:
        site.put_bin("", f"D{day:%Y%m%d}T000000_IFCB134")
    assert site.look() == site.walked()
    site.put_bin("", f"D{days[7]:%Y%m%d}T120000_IFCB134")
    signed = []
    monkeypatch.setattr(module, "signatures", lambda bins, *rest: signed.append(len(bins)) or signatures(bins, *rest))
    assert site.look() == site.walked()
    assert signed == [2]


def test_names_that_are_no_text_are_kept(site: Site) -> None:
    site.put_bin(os.fsdecode(b"caf\xe9/D2023"))
    first = site.look()
    assert site.look() == first == site.walked()


@pytest.mark.parametrize("name", ["notes", "D20230810T999999_IFCB1", "D20230810Ta\tb", "D20230810T\n", "D20230810Té"])
def test_files_that_are_no_bins_make_no_days(site: Site, name: str) -> None:
    put(site.root / f"{name}.adc")
    put(site.root / f"{name}.hdr")
    assert site.look() == {} == site.walked()
    site.put_bin("")
    assert site.look() == site.walked()


@pytest.mark.parametrize(
    "name", ["notes", "D20230810T999999_IFCB1", "D20230810Ta\tb", f"{PID}_beads", os.fsdecode(b"\xe9")]
)
def test_files_that_are_no_bins_are_listed_as_misnamed_until_they_are_renamed(site: Site, name: str) -> None:
    put(site.root / f"{name}.adc")
    put(site.root / f"{name}.hdr")
    (left_out,) = site.survey().left_out
    assert left_out.status == "misnamed"
    assert left_out.pid == (name if name.isprintable() else name.encode("unicode_escape").decode())
    assert left_out.instrument == ("IFCB134" if PID in name else None)
    assert site.survey().left_out == (left_out,)
    for extension in ("adc", "hdr"):
        (site.root / f"{name}.{extension}").rename(site.root / f"{PID}.{extension}")
    assert site.survey().left_out == ()
    assert site.look() == site.walked() != {}


def test_a_name_in_another_case_is_the_bin_that_it_names(site: Site) -> None:
    site.put_bin("", PID.lower())
    assert site.look() == site.walked()
    assert list(site.walked()) == [DAY]
    assert site.survey().left_out == ()


# Settling and growing


def test_a_bin_that_is_being_written_counts_once_it_has_settled_and_not_before(site: Site) -> None:
    site.put_bin("2023")
    site.look()
    site.grow(f"2023/{PID}.adc")
    site.changed("2023")
    assert site.look(MINUTE / 2) == {DAY: ""}
    site.grow(f"2023/{PID}.adc")  # in place: nothing but the file itself tells
    assert site.look(MINUTE * 1.9) == {DAY: ""} == site.walked()
    assert site.look(MINUTE) == site.walked() != {DAY: ""}


def test_a_bin_of_the_future_is_seen_as_a_walk_sees_it_at_any_time(site: Site) -> None:
    site.put_bin("2023")
    site.grow(f"2023/{PID}.adc", site.at + timedelta(hours=1))
    site.changed("2023")
    for later in (MINUTE, timedelta(minutes=59), MINUTE, MINUTE, MINUTE):
        assert site.look(later) == site.walked()


def test_growth_in_a_recent_directory_is_found_by_the_next_looks(site: Site) -> None:
    site.put_bin("2023")
    site.grow(f"2023/{PID}.adc", site.at - timedelta(minutes=10))
    before = site.look()
    put(site.root / "2023" / f"{PID}.adc", adc_text(12), (site.at - timedelta(minutes=5)).timestamp())
    assert site.look(MINUTE) == before
    assert site.look(MINUTE) == site.walked() != before


def test_growth_in_an_old_directory_is_found_within_hours(site: Site) -> None:
    site.put_bin("2019")
    site.put_bin("2023")
    before = site.look()
    site.grow(f"2023/{PID}.adc")
    assert site.look(LONGEST_WAIT - MINUTE) == before
    assert site.look(2 * MINUTE) == site.walked() != before


def test_where_much_is_due_each_look_takes_its_share_and_the_longest_due_come_first(
    site: Site, listed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [f"f{i}" for i in range(6)]
    for i, folder in enumerate(folders):
        site.put_bin(folder, f"D20230810T00000{i}_IFCB134")
    site.look()
    monkeypatch.setattr(module, "RECHECK_SECONDS", 1.0)
    site.at += LONGEST_WAIT
    shares = []
    for _ in range(4):
        listed.clear()
        assert site.survey(Budget(100, ticking(0.5))).complete
        shares.append(set(listed))
    assert all(0 < len(share) < 7 for share in shares)
    assert set.union(*shares) == {site.root.name, *folders}
    assert sum(map(len, shares)) == 7


def test_a_thorough_look_takes_all_that_is_due(site: Site, listed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(6):
        site.put_bin(f"f{i}", f"D20230810T00000{i}_IFCB134")
    site.look()
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.0)
    listed.clear()
    site.survey(later=LONGEST_WAIT, thorough=True)
    assert len(listed) == 7


def test_a_directory_that_changed_moments_ago_is_not_trusted_to_be_known(site: Site) -> None:
    # As on a file system with times of whole seconds: the second change leaves the same time as the first.
    site.at = datetime.now(tz=UTC)
    site.put_bin("2023")
    moment = site.at.timestamp() - 1
    os.utime(site.root / "2023", (moment, moment))
    site.look(timedelta())
    put_bin(site.root / "2023", OTHER_PID)
    os.utime(site.root / "2023", (moment, moment))
    assert set(site.look(timedelta(seconds=1))) == {DAY, OTHER_DAY}


@pytest.mark.parametrize(
    ("quiet", "wait"),
    [
        (timedelta(seconds=60), timedelta()),
        (timedelta(seconds=124), timedelta()),
        (timedelta(minutes=10), timedelta(minutes=1)),
        (timedelta(minutes=-10), timedelta(minutes=1)),
        (timedelta(days=1), timedelta(hours=2.4)),
        (timedelta(days=365), LONGEST_WAIT),
    ],
)
def test_the_longer_a_directory_was_left_alone_the_later_it_is_due(quiet: timedelta, wait: timedelta) -> None:
    looked = 10**18
    newest = looked - int(quiet.total_seconds() * 1e9)
    visit = Visit(0, 0, looked, newest, Inside((), ()))
    assert due_ns(visit, timedelta(seconds=120)) - looked == wait.total_seconds() * 1e9


# Anything at all, against a walk over everything


class Hands:
    """People and programs that change an archive in ways drawn by ``rng``."""

    folders = ("", "D2023", "D2023/D20230810", "D2023/D20230811", "2019", "copy", "copy/deep")
    pids = tuple(f"D202308{day}T{hour:02}0000_IFCB134" for day in (10, 11) for hour in (0, 12, 23))

    def __init__(self, site: Site, rng: random.Random) -> None:
        self.site, self.rng = site, rng

    def change(self) -> None:
        self.rng.choice([self.add, self.add, self.remove, self.remove_folder, self.move_folder, self.write])()

    def add(self) -> None:
        extensions = self.rng.choice(["adc", "hdr roi", "adc hdr roi"])
        self.site.put_bin(
            self.rng.choice(self.folders), self.rng.choice(self.pids), adc=self.text(), extensions=extensions
        )

    def remove(self) -> None:
        for path in self.one(lambda path: path.is_file()):
            path.unlink()
            self.site.changed(self.parent(path))

    def remove_folder(self) -> None:
        for path in self.one(lambda path: path.is_dir()):
            shutil.rmtree(path)
            self.site.changed(self.parent(path))

    def move_folder(self) -> None:
        for path in self.one(lambda path: path.is_dir()):
            path.rename(self.site.root / f"moved{next(self.site.unique)}")
            self.site.changed("", self.parent(path))

    def write(self) -> None:
        for path in self.one(lambda path: path.suffix == ".adc"):
            put(path, self.text(), self.site.at.timestamp())
            self.site.changed(self.parent(path))

    def text(self) -> bytes:
        return adc_text(self.rng.randint(1, 5))

    def parent(self, path: Path) -> str:
        return str(path.parent.relative_to(self.site.root))

    def one(self, fits: Callable[[Path], bool]) -> list[Path]:
        found = [path for path in sorted(self.site.root.rglob("*")) if fits(path)]
        return [self.rng.choice(found)] if found else []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_to_an_archive_a_look_finds_what_a_walk_finds(site: Site, seed: int) -> None:
    rng = random.Random(seed)
    hands = Hands(site, rng)
    for _ in range(40):
        for _ in range(rng.randint(0, 3)):
            hands.change()
        hurried = site.survey(Budget(rng.choice([0.0, 3.0, 100.0]), ticking(1.0)))
        if hurried.complete:
            assert {day: entry.signature for day, entry in hurried.archive.items()} == site.walked()
        assert site.look(MINUTE * rng.choice([0.1, 1, 3, 600])) == site.walked()


# Out of time


def test_a_look_out_of_time_is_not_complete_and_the_next_ones_go_on(site: Site, listed: list[str]) -> None:
    for i in range(5):
        site.put_bin(f"f{i}", f"D2023081{i}T000000_IFCB134")
    looks = [site.survey(Budget(0.0)) for _ in range(6)]
    assert [found.complete for found in looks] == [False] * 5 + [True]
    assert {d: e.signature for d, e in looks[-1].archive.items()} == site.walked()
    assert len(listed) - 6 == 6  # each directory once, but for the walk of the test itself


def test_days_are_renewed_over_several_looks(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DAYS_AT_ONCE", 2)
    for i in range(5):
        site.put_bin("", f"D2023081{i}T000000_IFCB134")
    looks = [site.survey(Budget(0.0)) for _ in range(3)]
    assert [found.complete for found in looks] == [False, False, True]
    assert len(looks[-1].archive) == 5


def test_bins_that_were_moved_are_not_taken_for_lost_while_time_is_short(site: Site) -> None:
    for i in range(4):
        site.put_bin(f"f{i}", f"D2023081{i}T000000_IFCB134")
    site.look()
    (site.root / "new").mkdir()
    for i in range(4):
        (site.root / f"f{i}").rename(site.root / "new" / f"g{i}")
    site.changed("", "new")
    looks = [site.survey(Budget(0.0)) for _ in range(6)]
    assert [found.complete for found in looks] == [False] * 5 + [True]
    assert len(looks[-1].archive) == 4


def test_a_killed_look_has_kept_what_it_had_found(site: Site, listed: list[str], monkeypatch) -> None:
    monkeypatch.setattr(module, "_FILES_AT_ONCE", 1)
    for i in range(5):
        site.put_bin(f"f{i}", f"D2023081{i}T000000_IFCB134")
    inside = Archive.inside

    def dying(archive: Archive, path: str, wanted: None = None) -> Inside:
        if path == "f1":
            raise KeyboardInterrupt
        return inside(archive, path, wanted)

    with monkeypatch.context() as patched:
        patched.setattr(Archive, "inside", dying)
        with pytest.raises(KeyboardInterrupt):
            site.survey()
    listed.clear()
    assert len(site.look()) == 5
    assert listed == ["f1", "f0"]


def test_directories_that_are_written_to_all_the_time_do_not_keep_others_waiting(site: Site) -> None:
    for i in range(5):
        site.put_bin(f"f{i}", f"D2023081{i}T000000_IFCB134")
        site.grow(f"f{i}/D2023081{i}T000000_IFCB134.roi", site.at + timedelta(minutes=i))
    looks = [site.survey(Budget(0.0)) for _ in range(6)]
    assert not any(found.complete for found in looks)  # they have not settled
    known = with_ledger(site.ledger, site.archive, lambda ledger: ledger.directories(), None)
    assert known.keys() == {"", *(f"f{i}" for i in range(5))}
    assert len(site.look()) == 5


def test_a_directory_that_a_coarse_clock_hid_is_entered_by_the_next_look(site: Site) -> None:
    site.at = datetime.now(tz=UTC)
    site.put_bin("2023")
    site.look(timedelta())
    known = with_ledger(site.ledger, site.archive, lambda ledger: ledger.directories()[""], None)
    put_bin(site.root / "new", OTHER_PID)
    stat = site.root.stat()
    # As if the directory had still had the same times when it was listed.
    same = replace(known, mtime_ns=stat.st_mtime_ns, ctime_ns=stat.st_ctime_ns)
    with_ledger(site.ledger, site.archive, lambda ledger: ledger.note_visits({"": same}, 0), None)
    assert not site.survey(later=timedelta()).complete
    assert set(site.look(timedelta())) == {DAY, OTHER_DAY}


# The archive is not there


def test_a_missing_archive_is_an_error(site: Site) -> None:
    site.root.rmdir()
    with pytest.raises(ArchiveError, match="mounted"):
        site.survey()


def test_an_archive_whose_disk_is_missing_has_no_bins_and_is_not_forgotten(site: Site, listed: list[str]) -> None:
    site.put_bin("D2023/D20230810")
    before = site.look()
    site.root.rename(site.root.with_name("unmounted"))
    site.root.mkdir()
    assert site.look() == {}
    site.root.rmdir()
    site.root.with_name("unmounted").rename(site.root)
    listed.clear()
    assert site.look() == before
    assert "D20230810" not in listed


def test_a_directory_that_cannot_be_read_fails_the_look_by_name(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put_bin("D2023/D20230810")
    scandir = os.scandir

    def refusing(path):
        if Path(path).name == "D20230810":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(ArchiveError, match="D20230810"):
        site.survey()


# The ledger


@pytest.mark.parametrize("damage", ["gone", "no database", "torn", "other tables", "files", "older version"])
def test_a_lost_or_damaged_ledger_costs_nothing_but_time(site: Site, damage: str, caplog) -> None:
    for i in range(5):
        site.put_bin(f"f{i}", f"D2023081{i}T000000_IFCB134")
    before = site.look()
    site.put_bin("late", PID)
    content = site.ledger.read_bytes()
    if damage == "gone":
        site.ledger.unlink()
    elif damage == "no database":
        site.ledger.write_bytes(b"something else" * 1000)
    elif damage == "torn":
        site.ledger.write_bytes(content[:5000] + bytes(len(content) - 5000))
    else:
        change = {
            "other tables": "DROP TABLE holding",
            "files": "UPDATE holding SET files = x'00'",
            "older version": "PRAGMA user_version = 0",
        }[damage]
        with sqlite3.connect(site.ledger) as connection:
            connection.execute(change)
            connection.execute("UPDATE day SET stale = 1")
        connection.close()
    with caplog.at_level(logging.WARNING):
        assert site.look() == site.walked() != before
    assert bool("made anew" in caplog.text) == (damage not in ("gone", "older version"))


def test_a_ledger_of_another_archive_or_other_settings_is_not_used(site: Site) -> None:
    site.put_bin("beads")
    site.put_bin("2023", OTHER_PID)
    assert set(site.look()) == {OTHER_DAY}
    everything = replace(site.archive, exclude=frozenset())
    assert set(Surveyor(everything, site.tables, site.ledger).survey((), Budget()).archive) == {DAY, OTHER_DAY}
    assert set(site.look()) == {OTHER_DAY}


def test_a_ledger_that_cannot_be_written_is_an_error_that_names_it(site: Site) -> None:
    site.ledger.parent.parent.mkdir()
    site.ledger.parent.write_text("a file")
    with pytest.raises(LedgerError, match=r"sensor.*disk full"):
        site.survey()


def test_a_ledger_that_another_process_holds_on_to_is_not_damaged(site: Site, monkeypatch) -> None:
    monkeypatch.setattr("ifcb_flow_pipeline.store.ledger._PATIENCE", 0.01)
    site.put_bin("2023")
    before = site.look()
    with sqlite3.connect(site.ledger, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert site.look() == before  # nothing to write
        site.put_bin("late", OTHER_PID)
        with pytest.raises(LedgerError, match="locked"):
            site.look()
    other.close()
    assert set(site.look()) == {DAY, OTHER_DAY}


def test_what_another_process_found_later_is_not_written_over(site: Site) -> None:
    site.put_bin("2023")
    site.look()
    known = with_ledger(site.ledger, site.archive, lambda ledger: ledger.directories(), None)
    older = replace(known["2023"], looked_ns=known["2023"].looked_ns - 1, inside=Inside((), ()))
    now_ns = known["2023"].looked_ns + 1
    with_ledger(site.ledger, site.archive, lambda ledger: ledger.note_visits({"2023": older}, now_ns), None)
    with_ledger(site.ledger, site.archive, lambda ledger: ledger.forget(["2023"], older.looked_ns), None)
    assert site.look() == site.walked()


def test_a_clock_that_is_set_back_is_recovered_from(site: Site) -> None:
    site.put_bin("2023")
    site.look()
    site.at -= timedelta(days=365)
    assert site.look() == site.walked()
    site.grow(f"2023/{PID}.adc")
    site.changed("2023")
    for _ in range(4):
        assert site.look() == site.walked()


# The tables


def made_of(site: Site, budget: Budget | None = None) -> Survey:
    site.at += MINUTE
    surveyor = Surveyor(site.archive, site.tables, site.ledger)
    return surveyor.survey((BIN_FEATURES, BIN_SCORES), budget or Budget())


def test_footers_are_read_once_and_again_when_their_file_changes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.tables.write(BIN_SCORES, DAY, score_rows(-0.4), Provenance("one"))
    site.tables.write(BIN_SCORES, OTHER_DAY, score_rows(-0.5), Provenance("two"))
    assert made_of(site).made_of == {"bin_features": {}, "bin_scores": {DAY: "one", OTHER_DAY: "two"}}
    read = []
    provenance = DailyTables.provenance
    monkeypatch.setattr(DailyTables, "provenance", lambda *args: read.append(args[2]) or provenance(*args))
    assert made_of(site).made_of["bin_scores"] == {DAY: "one", OTHER_DAY: "two"}
    assert read == []
    site.tables.write(BIN_SCORES, DAY, score_rows(-0.4), Provenance("new"))
    assert made_of(site).made_of["bin_scores"] == {DAY: "new", OTHER_DAY: "two"}
    assert read == [DAY]
    site.tables.path(BIN_SCORES, OTHER_DAY).unlink()
    assert made_of(site).made_of["bin_scores"] == {DAY: "new"}


def test_a_damaged_table_is_told_and_looked_at_again_each_time(site: Site) -> None:
    site.tables.write(BIN_SCORES, DAY, score_rows(-0.4), Provenance("one"))
    content = site.tables.path(BIN_SCORES, DAY).read_bytes()
    stat = site.tables.path(BIN_SCORES, DAY).stat()
    put(site.tables.path(BIN_SCORES, DAY), b"PAR1", stat.st_mtime)
    for _ in range(2):
        assert made_of(site).made_of["bin_scores"] == {DAY: None}
    put(site.tables.path(BIN_SCORES, DAY), content, stat.st_mtime)
    assert made_of(site).made_of["bin_scores"] == {DAY: "one"}


def test_many_new_tables_are_read_over_several_looks(site: Site) -> None:
    days = [DAY + timedelta(days=i) for i in range(4)]
    for day in days:
        site.tables.write(BIN_SCORES, day, score_rows(-0.4), Provenance("one"))
    looks = [made_of(site, Budget(0.0)) for _ in range(4)]
    assert [found.complete for found in looks] == [False] * 3 + [True]
    assert looks[-1].made_of["bin_scores"] == dict.fromkeys(days, "one")


def test_a_table_of_another_version_counts_as_not_made(site: Site) -> None:
    site.tables.write(replace(BIN_SCORES, version=99), DAY, score_rows(-0.4), Provenance("one"))
    assert made_of(site).made_of["bin_scores"] == {DAY: None}


def test_the_ledger_is_on_a_local_disk(tmp_path, monkeypatch):
    def of(**environment):
        return Surveyor.of(Settings.from_environment({"IFCB_FLOW_HOME": str(tmp_path / "home"), **environment})).ledger

    assert of() == tmp_path / "home" / "sensor" / "ledger.sqlite"
    assert of(IFCB_SCRATCH_DIR=str(tmp_path / "scratch")) == tmp_path / "scratch" / "ledger.sqlite"
    monkeypatch.setattr(module, "file_system", lambda _: "nfs4")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert of().is_relative_to(tmp_path / "cache" / "ifcb-flow")
    assert of() != of(IFCB_FLOW_HOME=str(tmp_path / "other")), "two deployments share no ledger"
    assert of(IFCB_SCRATCH_DIR=str(tmp_path / "scratch")) == tmp_path / "scratch" / "ledger.sqlite"
