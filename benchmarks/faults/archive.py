"""What becomes of raw files: they are lost, unreadable, late, grown; their disk is gone or does not answer."""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from unittest import mock

from benchmarks.faults.outcome import Outcome, wait_for
from benchmarks.faults.site import LAST_DAY, Site
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.defs.planning import missing_disk
from ifcb_flow_pipeline.store import deadline
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError

#: Errors of a disk that pass by themselves.
PASSING = (errno.ENOENT, errno.ESTALE, errno.EIO, errno.EACCES, errno.EMFILE, errno.ETIMEDOUT)


def losses(site: Site) -> list[Outcome]:
    """Files that are gone: no row may change, the sensor asks for the disk, and all is as it was once they are back."""
    newest = sorted(site.archive.root.rglob("*.adc"))[-1]
    one_day = newest.parent.relative_to(site.archive.root)
    kinds: dict[str, Callable[[Path], bool]] = {
        "an instrument's files are gone": lambda path: path.stem.endswith("IFCB134"),
        "a day's directory is gone": lambda path: path.parent.relative_to(site.archive.root) == one_day,
        "all but one bin are gone": lambda path: path.stem != newest.stem,
        "all headers are gone": lambda path: path.suffix == ".hdr",
    }
    return [Outcome(fault, 1, _survives_loss(site, chosen)) for fault, chosen in kinds.items()]


def _survives_loss(site: Site, chosen: Callable[[Path], bool]) -> bool:
    before = site.features()
    with _away(site, chosen):
        whole_bins = any(path.suffix == ".adc" for path in _kept_away(site))
        asked = missing_disk(site.look()) or not whole_bins
        site.make()
        kept = site.features() == before
    if site.up_to_date():
        return False  # that files are back is to be noticed
    site.make()
    return asked and kept and site.features() == before and site.up_to_date()


@contextmanager
def _away(site: Site, chosen: Callable[[Path], bool]) -> Iterator[None]:
    moved = {}
    for path in sorted(site.archive.root.rglob("*.*")):
        if path.is_file() and chosen(path):
            target = site.home / "away" / path.relative_to(site.archive.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            moved[path] = path.rename(target)
    yield
    for path, target in moved.items():
        target.rename(path)


def _kept_away(site: Site) -> list[Path]:
    return [path for path in (site.home / "away").rglob("*.*") if path.is_file()]


def other_archive(site: Site) -> Outcome:
    """The same data folder on another archive, which is refused."""
    before, other = site.features(), replace(site, archive=Archive(site.home / "other", settle=timedelta()))
    other.archive.root.mkdir()
    n_refused = 0
    for act in (other.look, lambda: days.write_inventory(site.tables, other.archive, other.archive.scan(), LAST_DAY)):
        try:
            act()
        except ArchiveError:
            n_refused += 1
    return Outcome("another archive", 2, n_refused if site.features() == before else 0)


def passing_errors(site: Site) -> list[Outcome]:
    """Errors while files are read, which pass: nothing is lost, the day is asked for again, and healed."""
    before, survived = site.features(), 0
    for code in PASSING:
        with mock.patch("ifcb_flow_pipeline.store.archive.os.open", side_effect=OSError(code, "not now")):
            site.make()
        kept, asked_again = site.features() == before, not site.up_to_date()
        site.make()
        survived += kept and asked_again and site.features() == before and site.up_to_date()
    return [Outcome("read errors that pass", len(PASSING), survived)]


def hung_disk(site: Site) -> Outcome:
    """A disk that stops answering while files are read: the days end all the same, are asked for again, and healed."""
    before, answer, really = site.features(), threading.Event(), os.open

    def hanging(path: str, *arguments: int) -> int:
        if str(path).startswith(str(site.archive.root)):
            answer.wait()
        return really(path, *arguments)

    with mock.patch("ifcb_flow_pipeline.store.archive.os.open", hanging), mock.patch.object(deadline, "PATIENCE", 1.0):
        site.make()
        kept = site.features() == before
        answer.set()
    if not wait_for(lambda: _answers(site), 60.0):
        return Outcome("a disk that does not answer", 1, 0)
    asked_again = not site.up_to_date()
    site.make()
    healed = site.features() == before and site.up_to_date()
    return Outcome("a disk that does not answer", 1, kept and asked_again and healed)


def _answers(site: Site) -> bool:
    try:
        site.archive.check_mounted()
    except ArchiveError:
        return False
    return True


def odd_files(site: Site) -> Outcome:
    """A pipe, an endless file, and one of 2 GB in place of a header: each costs its header and nothing else."""
    kinds: list[Callable[[Path], object]] = [
        os.mkfifo,
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.open("wb").truncate(2 * 10**9),  # takes no room on the disk
    ]
    before, survived = site.features(), 0
    header = min(site.archive.root.rglob("*.hdr"))
    good = header.read_bytes()
    for put in kinds:
        header.unlink()
        put(header)
        site.make()
        found = site.features()
        others = {pid: row for pid, row in found.items() if pid != header.stem}
        survived += others.items() <= before.items() and len(found) == len(before)
    header.unlink()
    header.write_bytes(good)
    site.make()
    return Outcome("pipes and endless files", len(kinds), survived if site.features() == before else 0)


def changes(site: Site) -> list[Outcome]:
    """Bins that come late, grow or vanish one by one: each is asked for, and made as it is now."""
    return [
        Outcome("a bin that comes late", 1, _comes_late(site)),
        Outcome("a bin that grows", 1, _grows(site)),
        Outcome("a bin that vanishes", 1, _vanishes(site)),
    ]


def _comes_late(site: Site) -> bool:
    before = site.features()
    pid = min(site.archive.root.rglob("*.adc")).stem
    with _away(site, lambda path: path.stem == pid):
        for table in (site.home / "tables").glob("*/*/*.parquet"):
            table.unlink()
        site.make()
        first = site.features()
    asked = not site.up_to_date()
    site.make()
    return set(before) - set(first) == {pid} and asked and site.features() == before


def _grows(site: Site) -> bool:
    before = site.features()
    path = min(site.archive.root.rglob("*.adc"))
    whole, times = path.read_bytes(), (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))
    moment = time.time() - 1000
    os.utime(path, (moment, moment))
    asked = not site.up_to_date()
    site.make()
    smaller = site.features()
    path.write_bytes(whole)
    os.utime(path, ns=times)
    asked = asked and not site.up_to_date()
    site.make()
    changed = {pid for pid in before if smaller.get(pid) != before[pid]}
    return asked and changed == {path.stem} and site.features() == before


def _vanishes(site: Site) -> bool:
    before = site.features()
    pid = min(site.archive.root.rglob("*.adc")).stem
    with _away(site, lambda path: path.stem == pid):
        asked = not site.up_to_date()
        site.make()
        kept = site.features() == before and site.up_to_date()
    site.make()
    return asked and kept and site.features() == before
