"""The look at an archive of any size: which days have which bins, and which tables were made of them.

A look stats every directory, and lists only those that changed; what the others hold stands in the ledger.
A file that grows does not change its directory, so directories are also listed again by and by: the sooner, the
more recently something in them was written (see ``due_ns``). What this guarantees, with a look a minute:

* A new, removed, renamed or moved file or directory is found by the next look. File systems whose clocks are
  coarse are allowed for: a directory that changed moments before a look is listed again by the next.
* No bin counts as settled by a look that did not stat its files.
* A file that grows after it was left alone for some time is found after a tenth of that time, at most after
  ``LONGEST_WAIT``; where very much is due at once, once its turn has come.

A directory is listed whole, in time and memory that grow with its files: for 60,000 bins in one directory some 3 s
and 60 MB, whenever a file is added or the directory is due. Larger archives want directories by day, month or year.

A look that runs out of time is not complete: nothing must be concluded from it, and the next one goes on.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256
from logging import Logger
from pathlib import Path
from typing import Any

from ifcb_flow_pipeline.bins.archive import FoundFile, list_bins, next_change, signatures
from ifcb_flow_pipeline.bins.left_out import LeftOut, misnamed, misplaced, outside
from ifcb_flow_pipeline.store.archive import Archive, Inside
from ifcb_flow_pipeline.store.claim import check_archive
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance, StoreError
from ifcb_flow_pipeline.store.ledger import DayEntry, Footer, Ledger, Visit, with_ledger
from ifcb_flow_pipeline.store.records import NETWORK_DISKS, file_system
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import RAW_BINS, Table

#: Where many directories are due again, a look spends this long on them; it is the price of finding growth.
RECHECK_SECONDS = 0.4

#: A directory is listed again after this part of the time for which nothing in it had been written ...
_PATIENCE = 10
#: ... but after this time at the latest. With a look a minute, every file is so looked at several times a day.
LONGEST_WAIT = timedelta(hours=6)

#: Time stamps of some file systems are this coarse: what changed just before a look may change again unseen.
_COARSE = timedelta(seconds=5)

#: The nightly look reads every table of features and scores once in so many days, for damages that nobody has met.
_CHECK_DAYS = 30

#: So many days, the latest, are looked into for the instruments whose bins vanished.
_DAYS_LOOKED_UP = 20

#: Work between two looks at the clock, and what is lost if the process is killed: files listed, days renewed.
_FILES_AT_ONCE = 20_000
_DAYS_AT_ONCE = 200


class Budget:
    """The time that a look may take."""

    def __init__(self, seconds: float = math.inf, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.ends = clock() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left; negative once it is spent."""
        return self.ends - self.clock()


@dataclass(frozen=True, slots=True)
class Vanished:
    """Bins of a day that the archive no longer has: how many (at least), and of which instruments. ``alone``: nothing
    of the day is new. ``together``: whether they are several, and all that an instrument or a directory had of the
    day. Instruments and ``together`` are looked up for the latest such days only.
    """

    n_bins: int
    alone: bool = True
    instruments: tuple[str, ...] = ()
    together: bool = False


@dataclass(frozen=True, slots=True)
class Survey:
    """What the archive has by day, and by table what each day's file was made of: None for a damaged file.

    ``left_out``: misplaced bins and misnamed files. Where it is not ``complete``, days may be missing or be of an
    earlier look. ``n_made``: how many bins of each day the first of the tables was made of. ``vanished``: of days with
    fewer bins than that. ``lost_mounts``: directories that lay on a disk of their own when bins were last complete, and
    that lie on another one now, or are gone; only where bins vanished.
    """

    archive: Mapping[date, DayEntry]
    made_of: Mapping[str, Mapping[date, str | None]]
    complete: bool
    left_out: tuple[LeftOut, ...] = ()
    n_made: Mapping[date, int] = field(default_factory=dict)
    vanished: Mapping[date, Vanished] = field(default_factory=dict)
    lost_mounts: tuple[str, ...] = ()

    @property
    def n_bins(self) -> int:
        """How many bins the archive has."""
        return sum(entry.n_bins for entry in self.archive.values())


def scratch_folder(settings: Settings) -> Path:
    """Where the ledger is: as IFCB_SCRATCH_DIR says, else in the data folder, else, where that is on a network disk, in
    the user's cache folder. SQLite needs a local disk.
    """
    if settings.scratch is not None:
        return settings.scratch
    if file_system(settings.home) not in NETWORK_DISKS:
        return settings.home / "sensor"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "ifcb-flow" / sha256(os.fsencode(settings.home)).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Surveyor:
    """Looks at an archive and at the tables made of it, with what the last looks found kept at ``ledger``."""

    archive: Archive
    tables: DailyTables
    ledger: Path

    @classmethod
    def of(cls, settings: Settings) -> "Surveyor":
        """The surveyor of a deployment."""
        return cls(settings.archive, DailyTables(settings.home / "tables"), scratch_folder(settings) / "ledger.sqlite")

    def survey(
        self, tables: Iterable[Table], budget: Budget, *, thorough: bool = False, log: Logger | None = None
    ) -> Survey:
        """Look at everything that may have changed. ``thorough``: at all that is due, however much it is.

        Raises ArchiveError where a directory cannot be read or the tables are of another archive, LedgerError where the
        ledger cannot be written.
        """
        self.archive.check_mounted()
        check_archive(self.tables, self.archive)
        wanted = tuple(tables)

        def work(ledger: Ledger) -> Survey:
            now = self.archive.now()
            footers = [footers_of(self.tables, table, ledger, now, budget) for table in wanted]
            if thorough:
                _check_some(self.tables, wanted, footers, now, budget)
            mounts: dict[str, int] = {}
            found = look(self.archive, ledger, now, budget, thorough=thorough, mounts=mounts)
            known = {
                table.name: {day: footer and footer.signature for day, footer in of_table.items()}
                for table, of_table in zip(wanted, footers, strict=True)
                if of_table is not None
            }
            entries = found or {}
            days = {day: entry for day, entry in entries.items() if entry.n_bins}
            left_out = tuple(one for entry in entries.values() for one in entry.left_out)
            if found is None or len(known) < len(wanted):
                return Survey(days, known, False, left_out)
            made = {day: footer for day, footer in ((footers or [None])[0] or {}).items() if footer}
            n_made = {day: footer.n_bins for day, footer in made.items()}
            vanished = vanished_of(self.tables, made, days, ledger)
            lost = lost_mounts(ledger, mounts, bins_vanished=bool(vanished))
            return Survey(days, known, True, left_out, n_made, vanished, lost)

        return with_ledger(self.ledger, self.archive, work, log)

    def outside(self, days: Sequence[date], first: date, last: date) -> Iterator[LeftOut]:
        """The bins of these days that are outside of the days from ``first`` to ``last``, as the last look found them.

        Raises LedgerError where the ledger cannot be read.
        """

        def work(ledger: Ledger, batch: Iterable[date]) -> list[LeftOut]:
            bins = (raw for day in batch for raw in list_bins(ledger.files(day)).bins)
            return [one for raw in bins if not raw.misplaced and (one := outside(raw, first, last))]

        for start in range(0, len(days), _DAYS_AT_ONCE):
            batch = days[start : start + _DAYS_AT_ONCE]
            yield from with_ledger(self.ledger, self.archive, lambda ledger, batch=batch: work(ledger, batch), None)


def look(
    archive: Archive,
    ledger: Ledger,
    now: datetime,
    budget: Budget,
    *,
    thorough: bool = False,
    mounts: dict[str, int] | None = None,
) -> dict[date, DayEntry] | None:
    """The days of the archive at the time ``now``; None where there was not enough time to look at everything.

    ``mounts`` gets the directories that lie on another disk than the one above, and the disk's number.
    """
    walk = _Walk(archive, ledger, _ns(now), budget, ledger.directories())
    for _ in archive.walk(walk.inside):
        pass
    walk.list_again(math.inf if thorough else RECHECK_SECONDS)
    walk.keep()
    if not walk.complete:
        return None
    if mounts is not None:
        mounts.update(walk.mounts())
    vanished = walk.known.keys() - walk.reached
    if vanished and ledger.holders().isdisjoint(walk.reached):
        # Nothing is left: perhaps the disk is missing. It would take long to learn all of it again.
        return {}
    ledger.forget(vanished, walk.now_ns)
    return ledger.days() if _renew(archive, ledger, now, budget) else None


def due_ns(visit: Visit, settle: timedelta) -> int:
    """When to list a directory again that has not changed since: at once where files may not have settled."""
    # The distance, not the age: with a clock that goes wrong, files of the future are written to, too.
    quiet = min(abs(visit.looked_ns - time_ns) for time_ns in (visit.newest_ns, visit.mtime_ns, visit.ctime_ns))
    if quiet < _whole_ns(settle + _COARSE):
        return visit.looked_ns
    return visit.looked_ns + min(quiet // _PATIENCE, _whole_ns(LONGEST_WAIT))


def signatures_of(
    tables: DailyTables, table: Table, ledger: Ledger, now: datetime, budget: Budget
) -> dict[date, str | None] | None:
    """What each day's file of a table was made of; None where there was not enough time to read them all."""
    found = footers_of(tables, table, ledger, now, budget)
    return None if found is None else {day: footer and footer.signature for day, footer in found.items()}


def footers_of(
    tables: DailyTables, table: Table, ledger: Ledger, now: datetime, budget: Budget
) -> dict[date, Footer | None] | None:
    """The footers of a table's files by day; None for a damaged file. No dictionary where there was not enough time."""
    made_by = f"{table.name} {table.version}"
    known, read, found = ledger.footers(made_by), {}, {}
    complete = True
    for day in tables.days(table):
        try:
            stat = tables.path(table, day).stat()
        except FileNotFoundError:
            continue
        footer = known.get(day)
        if not footer or (footer.mtime_ns, footer.ctime_ns, footer.size) != _state(stat):
            complete = complete and (not read or budget.left > 0)
            if not complete:
                break
            try:
                made_of = tables.provenance(table, day)
            except StoreError:
                found[day] = None  # a damaged file counts as not made, so that it is made again
                continue
            footer = _footer(stat, made_of)
            if _ns(now) - stat.st_mtime_ns > _whole_ns(_COARSE):
                read[day] = footer
        found[day] = footer
    ledger.note_footers(made_by, read)
    return found if complete else None


@dataclass(slots=True)
class _Walk:
    """One way through the tree of directories, listing those that may have changed and keeping what they hold."""

    archive: Archive
    ledger: Ledger
    now_ns: int
    budget: Budget
    known: Mapping[str, Visit]
    complete: bool = True
    reached: set[str] = field(default_factory=set)
    _devices: dict[str, int] = field(default_factory=dict)
    _unsettled: list[tuple[int, str, os.stat_result]] = field(default_factory=list)
    _due: list[tuple[int, str, os.stat_result]] = field(default_factory=list)
    _visits: dict[str, Visit] = field(default_factory=dict)
    _n_listed: int = 0
    _n_files: int = 0

    def inside(self, path: str, stat: os.stat_result) -> Inside:
        """What a directory holds, as known or as listed anew; where time is up, what is known of it."""
        self.reached.add(path)
        self._devices[path] = stat.st_dev
        known = self.known.get(path)
        if known and self._holds(known, stat):
            due = due_ns(known, self.archive.settle)
            if due <= self.now_ns:
                (self._unsettled if due == known.looked_ns else self._due).append((due, path, stat))
            return known.inside
        if self._time_is_up():
            self.complete = False
            return known.inside if known else Inside((), ())
        return self._list(path, stat)

    def list_again(self, seconds: float) -> None:
        """List directories that have not changed: all with files that may not have settled, the others as far as
        ``seconds`` go, the longest due first.
        """
        for _, path, stat in sorted(self._unsettled, key=lambda due: due[:2]):
            if not self.complete or self._time_is_up():
                self.complete = False
                return
            inside, known = self._list(path, stat), self.known[path].inside
            if (inside.directories, inside.links) != (known.directories, known.links):
                self.complete = False  # the next look enters what is new
        share = Budget(min(seconds, self.budget.left), self.budget.clock)
        for _, path, stat in sorted(self._due, key=lambda due: due[:2]) if self.complete else ():
            self._list(path, stat)
            if share.left <= 0:
                break

    def mounts(self) -> dict[str, int]:
        """The directories that lie on another disk than the one above them, and the disk's number."""
        found = {
            path: device
            for path, device in self._devices.items()
            if path and self._devices.get(os.path.dirname(path), device) != device  # noqa: PTH120 - as bytes are kept
        }
        root = self._devices.get("")
        if root is not None and root != self.archive.root.parent.stat().st_dev:
            found[""] = root
        return found

    def keep(self) -> None:
        """Write what was found to the ledger."""
        self.ledger.note_visits(self._visits, self.now_ns)
        self._visits.clear()
        self._n_files = 0

    def _time_is_up(self) -> bool:
        # One directory is always listed, so that even the slowest archive is known some day.
        return self._n_listed > 0 and self.budget.left <= 0

    def _holds(self, known: Visit, stat: os.stat_result) -> bool:
        # The time of change, too: it tells when a directory took the place of another of the same age.
        unchanged = (known.mtime_ns, known.ctime_ns) == (stat.st_mtime_ns, stat.st_ctime_ns)
        return unchanged and known.looked_ns <= self.now_ns

    def _list(self, path: str, stat: os.stat_result) -> Inside:
        inside = self.archive.inside(path)
        times = (abs(self.now_ns - file.mtime_ns) for file in inside.files)
        newest_ns = self.now_ns - min(times, default=self.now_ns)
        self._visits[path] = Visit(stat.st_mtime_ns, stat.st_ctime_ns, self.now_ns, newest_ns, inside)
        self._n_listed += 1
        self._n_files += len(inside.files)
        if self._n_files >= _FILES_AT_ONCE:
            self.keep()
        return inside


def _renew(archive: Archive, ledger: Ledger, now: datetime, budget: Budget) -> bool:
    """Make the entries of days anew whose bins changed; False where there was not enough time for all."""

    def entry_of(files: list[FoundFile]) -> DayEntry | None:
        listing = list_bins(files)
        bins = listing.bins
        left_out = (*(misplaced(raw) for raw in bins if raw.misplaced), *misnamed(listing.strays))
        if not bins and not left_out:
            return None
        until = next_change(bins, now, archive.settle)
        signed = signatures(bins, now, archive.settle)
        newest_ns = max((file.mtime_ns for raw in bins for file in raw.all_files), default=0)
        return DayEntry(signed.flow, len(bins), left_out, _ns(until) if until else None, newest_ns, signed.images)

    stale = ledger.stale_days(_ns(now))
    for first in range(0, len(stale), _DAYS_AT_ONCE):
        if first and budget.left <= 0:
            return False
        ledger.renew(stale[first : first + _DAYS_AT_ONCE], entry_of)
    return True


def _check_some(
    tables: DailyTables,
    wanted: Iterable[Table],
    footers: Iterable[dict[date, Footer | None] | None],
    now: datetime,
    budget: Budget,
) -> None:
    """Read the files whose turn it is today, each once in _CHECK_DAYS; a damaged one counts as not made."""
    for table, of_table in zip(wanted, footers, strict=True):
        for day in of_table or ():
            if (day.toordinal() - now.toordinal()) % _CHECK_DAYS or budget.left <= 0:
                continue
            try:
                tables.check(table, day)
            except StoreError:
                (of_table or {})[day] = None


def vanished_of(
    tables: DailyTables, made: Mapping[date, Footer], archive: Mapping[date, DayEntry], ledger: Ledger
) -> dict[date, Vanished]:
    """The days that have fewer bins than they were made of."""
    none = DayEntry("", 0, (), None)
    entries = {day: archive.get(day, none) for day in made}
    missing = {day: footer.n_bins - entries[day].n_bins for day, footer in made.items()}
    shrunk = [day for day, n in missing.items() if n > 0]
    looked_up = {day: _looked_up(tables, ledger, day) for day in shrunk[-_DAYS_LOOKED_UP:]}
    return {
        day: Vanished(missing[day], entries[day].newest_ns <= made[day].newest_ns, *looked_up.get(day, ((), False)))
        for day in shrunk
    }


def lost_mounts(ledger: Ledger, mounts: Mapping[str, int], *, bins_vanished: bool) -> tuple[str, ...]:
    """The directories that were mounts before and are no more, or are of another disk.

    Numbers of disks change when a machine starts anew, and data are moved from disk to disk: as long as no bins
    vanished, what is there now is what is remembered.
    """
    if not bins_vanished:
        ledger.note_mounts(mounts)
        return ()
    return tuple(sorted(path for path, device in ledger.mounts().items() if mounts.get(path) != device))


def _looked_up(tables: DailyTables, ledger: Ledger, day: date) -> tuple[tuple[str, ...], bool]:
    """The instruments of the bins that vanished of a day, and whether these are all of an instrument or directory."""
    there = {raw.bin_id.pid for raw in list_bins(ledger.files(day)).bins}
    try:
        rows = [row for row in tables.read_any(RAW_BINS, day) if row.get("gone_since") is None]
    except StoreError:
        return (), False
    lost = [row for row in rows if row["pid"] not in there]
    left = [row for row in rows if row["pid"] in there]
    together = any(
        n > 1 and group not in {of(row) for row in left}
        for of in (_instrument, _directory)
        for group, n in Counter(map(of, lost)).items()
    )
    return tuple(sorted({_instrument(row) for row in lost})), together


def _instrument(row: Mapping[str, Any]) -> str:
    return row["instrument"]


def _directory(row: Mapping[str, Any]) -> str:
    path = row.get("adc_path") or row.get("hdr_path") or row.get("roi_path") or ""
    return path.rpartition("/")[0]


def _footer(stat: os.stat_result, made_of: Provenance | None) -> Footer:
    if made_of is None:
        return Footer(*_state(stat), None)
    # Bins that are to be read again: such a day is made of nothing that the archive has.
    signature = made_of.signature + ("?" if made_of.unread else "")
    return Footer(*_state(stat), signature, made_of.extent.n_bins, made_of.extent.newest_ns)


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size


def _ns(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6) * 1000


def _whole_ns(span: timedelta) -> int:
    return round(span.total_seconds() * 1e9)
