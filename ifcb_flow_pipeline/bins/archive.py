"""How an archive lays out bins: from file names, sizes and times to one entry per bin.

Every common layout is understood because none is required: a bin is where its files are. Directory names
that state a date (``2023``, ``D2023``, ``D202308``, ``D20230810``, ``IFCB5_2012_028``) are used for two
things only: to leave out what lies outside a wanted range, and to recognise misplaced copies.
"""

import calendar
import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Literal

from ifcb_flow_pipeline.bins.pid import BinId, InvalidPidError, parse_name, parse_pid

Extension = Literal["adc", "hdr", "roi"]
EXTENSIONS: tuple[Extension, ...] = ("adc", "hdr", "roi")
_EXTENSION_OF: Mapping[str, Extension] = {f".{extension}": extension for extension in EXTENSIONS}

#: Where corrected ADC files lie: ``<archive>/../adcmod/<directory of the bin>/<pid>.adc.mod`` (WHOIGit/ifcbkit,
#: ``fileset.py``). They are used instead of the raw .adc files, which stay untouched.
CORRECTIONS = "../adcmod"
CORRECTED_SUFFIX = ".adc.mod"

#: Directories whose bins are not samples, by the habit of instrument and dashboard software.
DEFAULT_EXCLUDED = frozenset({"beads", "skip", "bad", "temp", "data_temp"})

#: Days are cut in UTC, some archives sort by local time: a bin may lie this far from its directory's date.
DIRECTORY_SLACK = timedelta(days=1)

#: There was no IFCB before, and none writes bins of tomorrow: then the instrument's clock was wrong.
FIRST_IFCB = datetime(2005, 1, 1, tzinfo=UTC)
_CLOCK_SLACK = timedelta(days=1)

#: Directories and dates whose meaning is remembered: the bins of one directory are asked about together.
_REMEMBERED = 1024

# Years from 2000 on only: there was no IFCB before, and 0810 or 1305 is a day or a cruise.
_DATED = (
    (re.compile(r"D?(20\d\d)", re.ASCII), "%Y"),
    (re.compile(r"D(20\d{4})", re.ASCII), "%Y%m"),
    (re.compile(r"D(20\d{6})", re.ASCII), "%Y%m%d"),
    (re.compile(r"IFCB\d+_(20\d\d_\d{3})", re.ASCII), "%Y_%j"),
)


@dataclass(frozen=True, slots=True)
class FoundFile:
    """One file of a listing: its directory relative to the archive ("" for the top), name, size, mtime."""

    directory: str
    name: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class BinState:
    """What an entry is good for: ``ok``, ``unsettled``, ``no_adc`` or ``misplaced``, with the reason."""

    status: str
    reason: str = ""
    complete: bool = False


@dataclass(frozen=True, slots=True)
class RawBin:
    """One bin of an archive: the files of its best copy, and where other copies lie; the corrected ADC file, if any.

    ``unused``: names of files beside them that differ only in case.
    """

    bin_id: BinId
    directory: str
    files: Mapping[Extension, FoundFile]
    copies: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    correction: FoundFile | None = None

    @property
    def modified(self) -> datetime:
        """When the newest of its files was last written (UTC)."""
        return _newest(self.all_files)

    @property
    def misplaced(self) -> bool:
        """Whether a directory on its path states a date more than a day from its own."""
        return not all(_may_hold(span, self.bin_id.day) for span in _spans(self.directory))

    @property
    def all_files(self) -> list[FoundFile]:
        """Its files in the order of EXTENSIONS, and behind them the corrected ADC file, if any."""
        found = [self.files[extension] for extension in EXTENSIONS if extension in self.files]
        return found if self.correction is None else [*found, self.correction]

    @property
    def flow_files(self) -> list[FoundFile]:
        """The same without the .roi file, which may come much later."""
        return [found for found in self.all_files if found is not self.files.get("roi")]

    def file(self, extension: Extension) -> FoundFile | None:
        """The file to read, which of the ADC file is the corrected one, if any; None where it is absent."""
        return self.correction if extension == "adc" and self.correction else self.files.get(extension)

    def path(self, extension: Extension) -> str | None:
        """The path of the file to read, relative to the archive; None where it is absent."""
        found = self.file(extension)
        return posixpath.join(found.directory, found.name) if found else None

    def size(self, extension: Extension) -> int | None:
        """The size in bytes of the file to read; None where it is absent."""
        found = self.file(extension)
        return found.size if found else None

    def state(self, now: datetime, settle: timedelta) -> BinState:
        """Whether the bin can be used at the time ``now``, files counting as settled after ``settle``.

        A bin is complete when its .adc and .hdr are there and have settled; the .roi is not needed
        (telemetered bins have none), and may still be on its way. A settled bin without .hdr is usable but not
        complete.
        """
        if self.misplaced:
            return BinState("misplaced", f"lies in {self.directory}, which states another date: move it")
        if _may_grow(_newest(self.flow_files or self.all_files), now, settle):
            seconds = int(settle.total_seconds())
            return BinState("unsettled", f"written less than {seconds} s ago, perhaps still growing")
        notes = [*self._notes(now)]
        if "adc" not in self.files:
            return BinState("no_adc", "; ".join(["the .adc file is missing", *notes]))
        if "hdr" not in self.files:
            return BinState("ok", "; ".join(["the .hdr file is missing", *notes]))
        return BinState("ok", "; ".join(notes), complete=True)

    def has_settled_images(self, now: datetime, settle: timedelta) -> bool:
        """Whether it has a .roi file that has settled at the time ``now``."""
        roi = self.files.get("roi")
        return roi is not None and not _may_grow(_newest([roi]), now, settle)

    def _notes(self, now: datetime) -> Iterator[str]:
        if self.copies:
            yield f"{1 + len(self.copies)} copies, took {self.directory or 'the top directory'}"
        pid = self.bin_id.pid
        if others := [found.name for extension, found in self.files.items() if found.name != f"{pid}.{extension}"]:
            yield f"the name is in another case: {', '.join(sorted(others))}"
        if self.unused:
            yield f"not used, as the name differs only in case: {', '.join(self.unused)}"
        if not FIRST_IFCB <= self.bin_id.start_time <= now + _CLOCK_SLACK:
            yield f"the instrument's clock was wrong: {self.bin_id.day} is {_era(self.bin_id.start_time, now)}"


@dataclass(frozen=True, slots=True)
class Listing:
    """The bins of an archive or of a range of its days, in order of time; and files that are no bins'."""

    bins: tuple[RawBin, ...]
    strays: tuple[str, ...] = ()
    _by_day: dict[date, list[RawBin]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for raw in self.bins:
            self._by_day.setdefault(raw.bin_id.day, []).append(raw)

    @property
    def days(self) -> list[date]:
        """The days that have bins, ascending."""
        return sorted(self._by_day)

    def of_day(self, day: date) -> list[RawBin]:
        """The bins that started on this UTC day."""
        return self._by_day.get(day, [])


def list_bins(found: Iterable[FoundFile]) -> Listing:
    """Make bins of files. Files with other extensions are ignored; .adc, .hdr and .roi files that are not
    named as a bin, in any case, are reported as strays. A corrected ADC file (see CORRECTIONS) is that of the bin in a
    directory of the same name as its own, if this has a raw .adc file; else it is reported as a stray, too.

    Several copies of one bin: those in directories that fit its date come first; of them the largest .adc wins
    (a partial copy never beats a whole one), then a copy with .hdr, then the more dated directories, then
    the first by name.
    """
    by_stem, corrections = _by_name(found)
    by_pid: dict[str, tuple[BinId, _Files]] = {}
    strays = []
    for stem, files in by_stem.items():
        try:
            bin_id = parse_name(stem)
        except InvalidPidError:
            strays += [posixpath.join(found.directory, found.name) for found in files.all()]
            continue
        _, known = by_pid.setdefault(bin_id.pid, (bin_id, files))
        if known is not files:  # the name in two cases
            for entry in files.all():
                known.add(entry)
    bins = [files.best_copy(bin_id, corrections) for bin_id, files in by_pid.values()]
    bins.sort(key=lambda raw: (raw.bin_id.start_time, raw.bin_id.pid))
    used = {id(raw.correction) for raw in bins} if corrections else set()
    strays += [posixpath.join(each.directory, each.name) for each in corrections.values() if id(each) not in used]
    return Listing(tuple(bins), tuple(sorted(strays)))


@dataclass(slots=True)
class _Files:
    """The files of one bin, by directory and extension; ``alike``: smaller ones whose names differ only in case."""

    by_directory: dict[str, dict[Extension, FoundFile]] = field(default_factory=dict)
    alike: tuple[FoundFile, ...] = ()

    def add(self, found: FoundFile) -> None:
        extension = _EXTENSION_OF[found.name[-4:].lower()]
        files = self.by_directory.get(found.directory)
        if files is None:
            files = self.by_directory[found.directory] = {}
        other = files.setdefault(extension, found)
        if other is not found:
            # The larger one, for a partial copy never beats a whole one.
            files[extension], unused = sorted((found, other), key=lambda f: (f.size, f.name), reverse=True)
            self.alike += (unused,)

    def all(self) -> Iterator[FoundFile]:
        for files in self.by_directory.values():
            yield from files.values()
        yield from self.alike

    def best_copy(self, bin_id: BinId, corrections: Mapping[tuple[str, str], FoundFile]) -> RawBin:
        """The copy to use; ``corrections``: corrected ADC files by the name of their directory and by pid."""
        candidates = [RawBin(bin_id, directory, files) for directory, files in self.by_directory.items()]
        if len(candidates) == 1 and not self.alike and not corrections:
            return candidates[0]
        best = min(candidates, key=_preference)
        others = tuple(sorted(raw.directory for raw in candidates if raw is not best))
        unused = tuple(sorted(found.name for found in self.alike if found.directory == best.directory))
        correction = corrections.get((posixpath.basename(best.directory), bin_id.pid)) if "adc" in best.files else None
        return RawBin(bin_id, best.directory, best.files, others, unused, correction)


def _by_name(found: Iterable[FoundFile]) -> tuple[dict[str, _Files], dict[tuple[str, str], FoundFile]]:
    """The files of bins by name without extension; corrected ADC files by the name of their directory and by pid."""
    by_stem: dict[str, _Files] = {}
    corrections: dict[tuple[str, str], FoundFile] = {}
    for entry in found:
        if entry.name[-4:].lower() in _EXTENSION_OF:
            files = by_stem.get(entry.name[:-4])
            if files is None:
                files = by_stem[entry.name[:-4]] = _Files()
            files.add(entry)
        elif entry.name.lower().endswith(CORRECTED_SUFFIX):
            pid = entry.name[: -len(CORRECTED_SUFFIX)].upper()
            corrections[posixpath.basename(entry.directory), pid] = entry
    return by_stem, corrections


def _newest(files: Sequence[FoundFile]) -> datetime:
    """When the newest of these files was last written (UTC)."""
    newest = max(found.mtime_ns for found in files)
    return datetime.fromtimestamp(newest // 1_000_000_000, tz=UTC)


def _may_grow(written: datetime, now: datetime, settle: timedelta) -> bool:
    # A time stamp in the future (a wrong clock) must not keep a bin out for ever.
    return timedelta() <= now - written < settle


def _era(start: datetime, now: datetime) -> str:
    return "in the future" if start > now else "before the first IFCB"


@dataclass(frozen=True, slots=True)
class Signatures:
    """Short texts that change when a day's usable bins do: one appears, settles, grows or disappears.

    ``flow``: of all files but the .roi ones; ``images``: of all files. A day without bins has empty ones.
    """

    flow: str
    images: str


def signatures(bins: Iterable[RawBin], now: datetime, settle: timedelta) -> Signatures:
    """The signatures of a day's bins at the time ``now``."""
    flow, images = hashlib.sha256(), hashlib.sha256()
    count = 0
    for raw in sorted(bins, key=lambda raw: raw.bin_id.pid):
        if raw.state(now, settle).status in ("unsettled", "misplaced"):
            continue
        count += 1
        roi = raw.files.get("roi")
        for found in raw.all_files:
            # Names that are no UTF-8 come from the disk as surrogates.
            line = f"{found.directory}/{found.name}\t{found.size}\t{found.mtime_ns}\n".encode(errors="surrogateescape")
            if found is not roi:
                flow.update(line)
            if found is not roi or raw.has_settled_images(now, settle):
                images.update(line)
    return Signatures(flow.hexdigest()[:16], images.hexdigest()[:16]) if count else Signatures("", "")


@dataclass(frozen=True, slots=True)
class Extent:
    """How many usable bins a day has, and when the newest of their files was written, in nanoseconds since 1970."""

    n_bins: int = 0
    newest_ns: int = 0


def extent(bins: Iterable[RawBin], now: datetime, settle: timedelta) -> Extent:
    """The extent of the bins that the signatures are of."""
    usable = [raw for raw in bins if raw.state(now, settle).status not in ("unsettled", "misplaced")]
    return Extent(len(usable), max((file.mtime_ns for raw in usable for file in raw.all_files), default=0))


def next_change(bins: Iterable[RawBin], now: datetime, settle: timedelta) -> datetime | None:
    """When a signature changes by the passing of time alone; None where neither does.

    Files settle, and those with time stamps in the future count as unsettled once that time has come.
    """
    parts = (files for raw in bins for files in (raw.flow_files, [*filter(None, [raw.files.get("roi")])]) if files)
    newest = map(_newest, parts)
    times = (time if now < time else time + settle for time in newest)
    return min((time for time in times if time > now), default=None)


def likely_day(stem: str) -> date | None:
    """The day of the bin that a file of this name would belong to; None where the name is none of a bin.

    Quicker than parsing an identifier, and not as strict: the time of day is not looked at.
    """
    if not (stem.isascii() and stem.isprintable()):
        return None
    stem = stem.upper()
    date_part, separator, _ = stem.partition("T") if stem.startswith("D") else stem.rpartition("_")
    return _day_of(date_part) if separator else None


@lru_cache(maxsize=_REMEMBERED)
def _day_of(date_part: str) -> date | None:
    midnight = f"{date_part}T000000_IFCB1" if date_part.startswith("D") else f"{date_part}_000000"
    try:
        return parse_pid(midnight).day
    except InvalidPidError:
        return None


def dated_spans(directory: str) -> list[tuple[date, date]]:
    """First and last day that each dated directory on a path stands for."""
    return list(_spans(directory))


def may_hold(name: str, first: date, last: date) -> bool:
    """Whether a directory of this name can hold bins of the days ``first`` to ``last``."""
    span = _span(name)
    return span is None or (span[0] - DIRECTORY_SLACK <= last and first <= span[1] + DIRECTORY_SLACK)


@lru_cache(maxsize=_REMEMBERED)
def _spans(directory: str) -> tuple[tuple[date, date], ...]:
    spans = (_span(part) for part in PurePosixPath(directory).parts)
    return tuple(span for span in spans if span)


def _may_hold(span: tuple[date, date], day: date) -> bool:
    return span[0] - DIRECTORY_SLACK <= day <= span[1] + DIRECTORY_SLACK


def _span(name: str) -> tuple[date, date] | None:
    for pattern, form in _DATED:
        match = pattern.fullmatch(name)
        if not match:
            continue
        try:
            first = datetime.strptime(match[1], form).replace(tzinfo=UTC).date()
        except ValueError:
            return None
        if format(first, form) != match[1]:
            return None  # day 366 of a common year, which strptime takes for the next 1 January
        if form == "%Y":
            return first, first.replace(month=12, day=31)
        if form == "%Y%m":
            return first, first.replace(day=calendar.monthrange(first.year, first.month)[1])
        return first, first
    return None


def _preference(raw: RawBin) -> tuple[bool, int, bool, int, str]:
    size = raw.size("adc")
    # A misplaced copy comes last, whatever it holds: a listing of some days only does not look where it lies.
    return (
        raw.misplaced,
        1 if size is None else -size,
        "hdr" not in raw.files,
        -len(_spans(raw.directory)),
        raw.directory,
    )
