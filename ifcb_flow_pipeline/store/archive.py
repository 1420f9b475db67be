"""The archive on disk: walking it once, and reading the files of one bin."""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import Adc, parse_adc
from ifcb_flow_pipeline.bins.archive import (
    CORRECTED_SUFFIX,
    CORRECTIONS,
    DEFAULT_EXCLUDED,
    EXTENSIONS,
    FoundFile,
    Listing,
    likely_day,
    list_bins,
    may_hold,
)
from ifcb_flow_pipeline.bins.hdr import HeaderRead, read_hdr
from ifcb_flow_pipeline.bins.pid import Schema, parse_pid
from ifcb_flow_pipeline.bins.roi import MAX_SIDE_PX, Image, Images, RoiError, RoiTable, image_place
from ifcb_flow_pipeline.bins.text import Text
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.kept import Kept
from ifcb_flow_pipeline.store.deadline import Alive, HungError, within

_Seen = TypeVar("_Seen")

Reader = Literal["native", "pyifcb"]
READERS: tuple[Reader, ...] = ("native", "pyifcb")

#: Transfer tools write in bursts; a file untouched for this long is taken as whole.
DEFAULT_SETTLE = timedelta(seconds=120)

#: The memory that a longer file was read into, in bytes, is not kept for the next.
_LARGEST_KEPT = 2**24

#: The largest file of each kind that is read, in bytes: many times what any instrument has written. Larger ones are
#: no such file, and would fill the memory.
LARGEST: Mapping[str, int] = {"adc": 2**29, "hdr": 2**20, "roi": 2**34}

#: Bytes that are read between two signs of life.
_AT_ONCE = 2**24

#: Errors that say what a file is, and not how its disk is doing: trying again does not help.
_LASTING = frozenset({errno.EINVAL, errno.EISDIR, errno.ENXIO, errno.EFBIG, errno.ENAMETOOLONG, errno.ELOOP})

_SUFFIXES = tuple(f".{extension}" for extension in EXTENSIONS)

#: Ranges of days, first and last of each included.
Ranges = tuple[tuple[date, date], ...]

#: Open ends of a range of days, with room for a day's slack.
_FIRST_DAY, _LAST_DAY = date(1900, 1, 1), date(9000, 1, 1)


class ArchiveError(FlowError):
    """The archive cannot be listed; the message names the directory and the remedy."""


@dataclass(frozen=True, slots=True)
class BinRead:
    """What reading one bin gave: its ADC (without rows where unreadable or empty), its header's typed values
    (see ``bins.hdr``), and how it went.

    ``header_state``, ``header_problem``: whether the header is whole (see ``HeaderRead``), empty where nobody looked;
    ``adc_source``: ``adc``, or ``adcmod`` for a corrected file (see ``bins.archive``). ``unread``: a file of it could
    not be read now, for a reason that may pass; it is to be read again.
    """

    pid: str
    adc: Adc
    status: str
    reason: str
    header: Mapping[str, Any]
    header_state: str = ""
    header_problem: str = ""
    adc_source: str = "adc"
    unread: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ImageBlock:
    """Images of some ``rows`` of a bin: their bytes one after the other in ``content``, and where each is there.

    ``table`` has the rows of the bin's own: an image that the file does not hold is beyond the bytes there, and one
    before the first possible byte is before them.
    """

    content: NDArray[np.uint8]
    table: RoiTable
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Inside:
    """What one directory holds: names of directories and of links to such that are to be entered, and the
    files of bins.
    """

    directories: tuple[str, ...]
    links: tuple[str, ...]
    files: tuple[FoundFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Archive:
    """A directory tree of raw bins, only ever read, with the corrected ADC files that lie beside it (CORRECTIONS).

    ``exclude`` names directories (at any depth, any case) that hold no samples; hidden ones never do.
    """

    root: Path
    exclude: frozenset[str] = DEFAULT_EXCLUDED
    settle: timedelta = DEFAULT_SETTLE
    reader: Reader = "native"

    def scan(self, first: date | None = None, last: date | None = None) -> Listing:
        """List the bins in one walk; with ``first`` and ``last`` only those of these days (both included).

        Raises ArchiveError where a directory cannot be read: a partial listing would make bins look
        as if they had disappeared.
        """
        if first is None and last is None:
            return self._scan(None)
        return self._scan(((first or _FIRST_DAY, last or _LAST_DAY),))

    def scan_days(self, days: Iterable[date]) -> Listing:
        """The same for some days, wherever they lie: only directories that may hold bins of them are looked into."""
        return self._scan(_ranges(days))

    def _scan(self, wanted: Ranges | None) -> Listing:
        self.check_mounted()
        listing = list_bins(
            file for found in self.walk(lambda path, _: self.inside(path, wanted)) for file in found.files
        )
        if wanted is None:
            return listing
        return Listing(tuple(raw for raw in listing.bins if _among(raw.bin_id.day, wanted)), listing.strays)

    def check_mounted(self) -> None:
        """Raise ArchiveError where there is no archive."""
        if not _answer_of(self.root, lambda _: self.root.is_dir()):
            raise ArchiveError(f"no directory {self.root}: is the disk mounted? The archive is set by IFCB_DATA_DIR")

    def now(self) -> datetime:
        """The time that file ages are measured against (UTC)."""
        return datetime.now(tz=UTC)

    def read_bin(
        self, pid: str, adc_path: str, hdr_path: str | None, columns: Sequence[str] | None = None
    ) -> "BinRead":
        """Read a bin's ADC (all columns, or those named: see ``parse_adc``) and HDR, given by their paths relative
        to the root.

        Never raises on a bad bin: the status says ``ok``, ``empty`` or ``unreadable``, and the reason why.
        A header that cannot be read costs the header only, and is told in the reason.
        """
        schema = parse_pid(pid).schema
        try:
            adc = self._read_adc(adc_path, schema, columns)
        except OSError as error:
            reason = f"cannot read {adc_path}: {error.strerror or error}"
            return BinRead(pid, parse_adc(b"", schema), "unreadable", reason, {}, unread=may_pass(error))
        header = HeaderRead() if hdr_path is None else self.read_header(hdr_path, schema)
        return bin_read(pid, adc, header, adc_source(adc_path))

    def read_header(self, hdr_path: str, schema: Schema) -> HeaderRead:
        """What a header says (see ``bins.hdr``), given by its path relative to the root."""
        return self.read_headers([hdr_path], schema)[0]

    def read_headers(self, hdr_paths: Sequence[str | None], schema: Schema) -> list[HeaderRead]:
        """The same of many, asked for at once; of None that of a bin without header."""

        def read(alive: Alive) -> list[bytes | OSError]:
            found = []
            for path in known:
                alive()
                try:
                    found.append(_header(self.path(path)))
                except OSError as error:
                    found.append(error)
            return found

        known = [path for path in hdr_paths if path is not None]
        try:
            contents = within(read)
        except OSError as error:
            contents = [error] * len(known)
        headers = (_header_read(path, data, schema) for path, data in zip(known, contents, strict=True))
        return [HeaderRead() if path is None else next(headers) for path in hdr_paths]

    def read_images(self, roi_path: str, table: RoiTable, rows: Sequence[int]) -> Images:
        """The images of some rows, from a .roi file given by its path relative to the root; nothing else of it is read.

        Rows without an image that can be read are told in ``missing``. Raises OSError where the file cannot be opened.
        """
        return within(lambda alive: _images(self.path(roi_path), table, rows, alive))

    def image_blocks(self, roi_path: str, table: RoiTable, rows: NDArray[np.int64]) -> Iterator["ImageBlock"]:
        """The images of some rows, some at a time, from a .roi file given by its path relative to the root.

        Read, not mapped: a file that becomes shorter meanwhile costs the images that it loses, not the program. Raises
        OSError where the file cannot be read.
        """
        # Opened where it may hang; read in blocks, so that no table can ask for all of the memory.
        with within(lambda _: _open_regular(self.path(roi_path), LARGEST["roi"])) as file:
            for some in _blocks(table, rows):
                yield within(lambda alive, some=some: _image_block(file, table, some, alive))

    def _read_adc(self, adc_path: str, schema: Schema, columns: Sequence[str] | None) -> Adc:
        if self.reader == "pyifcb":
            from ifcb_flow_pipeline.store.pyifcb_reader import read_adc

            def read(_: Alive) -> Adc:
                with _regular(self.path(adc_path), LARGEST["adc"]):
                    return read_adc(self.root / adc_path, schema)

            return within(read)
        with _content(self.path(adc_path)) as text:
            return parse_adc(text, schema, columns)

    def walk(self, inside: Callable[[str, os.stat_result], Inside]) -> Iterator[Inside]:
        """Go through the tree of directories once: what ``inside`` says of each, given its relative path.

        A directory that several ways lead to is entered once, under its own name where it has one in the archive.
        """
        seen: set[tuple[int, int]] = set()
        pending, links = self._looked_at(["", CORRECTIONS]), []
        if not any(relative == "" for relative, _ in pending):
            raise ArchiveError(f"{self.root} disappeared while it was being listed")
        # Links last: a way back into the archive, or in a loop, leads to nothing that is new then.
        while pending or links:
            relative, status = pending.pop() if pending else links.pop()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            found = inside(relative, status)
            above = f"{relative}/" if relative else ""
            pending += self._looked_at([above + name for name in found.directories])
            links += self._looked_at([above + name for name in found.links])
            yield found

    def _looked_at(self, relatives: Sequence[str]) -> list[tuple[str, os.stat_result]]:
        """These directories and their states, but for those that have moved away since they were listed."""

        def look(alive: Alive) -> list[tuple[str, os.stat_result]]:
            found = []
            for relative in relatives:
                alive()
                path = self.path(relative)
                status = _look(path, lambda path=path: os.stat(path))  # noqa: PTH116 (see path)
                if status is not None and stat.S_ISDIR(status.st_mode):
                    found.append((relative, status))
            return found

        # All at once: asked one by one, they would cost more than the disk does.
        return _answer_of(self.root, look) if relatives else []

    def inside(self, relative: str, wanted: Ranges | None = None) -> Inside:
        """List one directory; with ``wanted`` only what can be, or hold, bins of these days."""
        return _answer_of(self.root / relative, lambda alive: self._inside(relative, wanted, alive))

    def _inside(self, relative: str, wanted: Ranges | None, alive: Alive) -> Inside:
        exclude = {name.lower() for name in self.exclude}
        suffixes = (CORRECTED_SUFFIX,) if relative.startswith(CORRECTIONS) else _SUFFIXES
        directories, links, files = [], [], []
        for entry in self._entries(relative):
            alive()
            if _look(entry.path, entry.is_dir):
                if _enter(entry.name, exclude, wanted):
                    (links if entry.is_symlink() else directories).append(entry.name)
            elif (
                _may_be_of_a_bin(entry.name, suffixes)
                and _of_days(entry.name, wanted)
                and (status := _look(entry.path, entry.stat))
            ):
                files.append(FoundFile(relative, entry.name, status.st_size, status.st_mtime_ns))
        # In order of name, so that every walk takes the same one of several links to the same directory.
        return Inside(tuple(sorted(directories)), tuple(sorted(links)), tuple(files))

    def _entries(self, relative: str) -> Iterator[os.DirEntry]:
        # One at a time: what an entry knows, its state above all, takes a thousand bytes.
        try:
            with os.scandir(self.path(relative)) as entries:
                yield from entries
        except FileNotFoundError:
            if relative == "":
                raise ArchiveError(f"{self.root} disappeared while it was being listed") from None
            # moved away since its parent was listed
        except OSError as error:
            raise ArchiveError(f"cannot list {self.root / relative}: {error.strerror}") from error

    def path(self, relative: str) -> str:
        """Where a file or directory of the archive is, given its path in it."""
        if relative.startswith(CORRECTIONS):
            # Beside the archive by its name, as ifcbkit has it, even where that is a link to elsewhere.
            return os.path.join(os.path.dirname(os.path.abspath(self.root)), relative.removeprefix("../"))  # noqa: PTH100, PTH118, PTH120
        return os.path.join(self.root, relative) if relative else str(self.root)  # noqa: PTH118 (pathlib takes longer than the disk)


def _header_read(hdr_path: str, data: bytes | OSError, schema: Schema) -> HeaderRead:
    if isinstance(data, bytes):
        return read_hdr(data, schema)
    problem = f"cannot read {hdr_path}: {data.strerror or data}"
    return HeaderRead({}, "missing", problem, unread=may_pass(data))


def adc_source(adc_path: str) -> str:
    """What kind of ADC file this is; see ``BinRead``."""
    return "adcmod" if adc_path.lower().endswith(CORRECTED_SUFFIX) else "adc"


def bin_read(pid: str, adc: Adc, header: HeaderRead, adc_source: str = "adc") -> BinRead:
    """A bin whose files were read, with the status that follows from them."""
    notes = [adc.problem, header.problem]
    if len(adc) == 0 and adc.bad_lines == 0:
        status, notes = "empty", ["the .adc file has no lines", *notes]
    else:
        # Most of a damaged file being lost, the shape of the rest says nothing about the flow.
        status = "unreadable" if adc.bad_lines > len(adc) else "ok"
    reason = "; ".join(filter(None, notes))
    return BinRead(pid, adc, status, reason, header.values, header.state, header.problem, adc_source, header.unread)


@contextmanager
def _content(path: str) -> Iterator[Text]:
    """The bytes of a file, inside. Raises OSError where it cannot be read."""
    text = _KEPT.take()
    if text is None:
        text = Text()
    # Where this hangs the memory is lost with it: it may be written to some day.
    within(lambda alive: _read(path, text, alive))
    try:
        yield text
    finally:
        if len(text.memory) <= _LARGEST_KEPT:
            _KEPT.give(text)


_KEPT: Kept[Text] = Kept()


def _read(path: str, text: Text, alive: Alive) -> None:
    with _regular(path, LARGEST["adc"]) as (file, size):
        room, n_read = text.room(size)[:size], 0
        # Up to what it was when it was opened: it may have become shorter, and may be growing.
        while n_read < size and (n := file.readinto(room[n_read : n_read + _AT_ONCE])):
            n_read += n
            alive()
    text.filled(n_read)


def _header(path: str) -> bytes:
    with _regular(path, LARGEST["hdr"]) as (file, size):
        return file.read(size)


def _images(path: str, table: RoiTable, rows: Sequence[int], alive: Alive) -> Images:
    images, missing = {}, {}
    with _open_regular(path, LARGEST["roi"]) as file:
        for row in rows:
            alive()
            try:
                images[row] = _image(file, table, row)
            except RoiError as error:
                missing[row] = str(error)
    return Images(images, missing)


def _image(file: io.FileIO, table: RoiTable, row: int) -> Image:
    start, height, width = image_place(table, row, os.fstat(file.fileno()).st_size)
    image = np.empty((height, width), np.uint8)
    if not _filled(file, image.reshape(-1).data, start):
        raise RoiError(f"row {row}: the .roi file became shorter while it was read")
    return image


def _blocks(table: RoiTable, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The rows in order, so many at a time that their images have some _AT_ONCE bytes."""
    before = np.cumsum(_areas(table, rows)) // _AT_ONCE
    yield from np.split(rows, np.flatnonzero(np.diff(before)) + 1) if rows.size else ()


def _areas(table: RoiTable, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes of each image; 0 where its size is impossible."""
    sides = np.stack([table.width_px[rows], table.height_px[rows]]).astype(np.int64)
    possible = ((sides > 0) & (sides <= MAX_SIDE_PX)).all(axis=0)
    return np.where(possible, sides, 0).prod(axis=0)


def _image_block(file: io.FileIO, table: RoiTable, rows: NDArray[np.int64], alive: Alive) -> "ImageBlock":
    areas, starts = _areas(table, rows), table.start_byte[rows]
    there = (starts >= table.first_byte) & (starts <= os.fstat(file.fileno()).st_size - areas)
    places = np.cumsum(np.where(there, areas, 0)) - np.where(there, areas, 0)
    content = np.empty(int(areas[there].sum()), np.uint8)
    memory = content.data
    # As before the bytes, or after them, as it was in the file.
    places[~there] = np.where(starts[~there] < table.first_byte, -1, content.size)
    for i in np.flatnonzero(there & (areas > 0)):
        alive()
        if not _filled(file, memory[places[i] : places[i] + areas[i]], int(starts[i])):
            places[i] = content.size
    start_byte = np.full(len(table), -1, np.int64)
    start_byte[rows] = places
    return ImageBlock(content, RoiTable(start_byte, table.width_px, table.height_px, first_byte=0), rows)


def _filled(file: io.FileIO, memory: memoryview, start: int) -> bool:
    """Fill the memory from this byte of a file on; whether the file has so much."""
    file.seek(start)
    n_read = 0
    while n_read < len(memory) and (n := file.readinto(memory[n_read:])):
        n_read += n
    return n_read == len(memory)


def _answer_of(path: str | Path, ask: Callable[[Alive], _Seen]) -> _Seen:
    try:
        return within(ask)
    except HungError as error:
        raise ArchiveError(f"cannot look at {path}: {error.strerror}; is its server up?") from error


@contextmanager
def _regular(path: str, largest: int) -> Iterator[tuple[io.FileIO, int]]:
    """A file, open, and its size in bytes. Raises OSError where it is no regular file, or larger than ``largest``."""
    with _open_regular(path, largest) as file:
        yield file, os.fstat(file.fileno()).st_size


def _open_regular(path: str, largest: int) -> io.FileIO:
    # Without waiting: opening a pipe would wait for somebody to write to it.
    file = io.FileIO(path, "rb", opener=_open_without_waiting)
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    if status.st_size > largest:
        file.close()
        raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than any such file has ({largest})")
    return file


def may_pass(error: OSError) -> bool:
    """Whether what a disk could not do now may be possible later."""
    return error.errno not in _LASTING


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _may_be_of_a_bin(name: str, suffixes: tuple[str, ...]) -> bool:
    # Hidden files are what transfers and Macs leave behind, whatever their extension.
    return name.lower().endswith(suffixes) and not name.startswith(".")


def _enter(name: str, exclude: set[str], wanted: Ranges | None) -> bool:
    if name.startswith(".") or name.lower() in exclude:
        return False
    return wanted is None or any(may_hold(name, first, last) for first, last in wanted)


def _of_days(name: str, wanted: Ranges | None) -> bool:
    """Whether a file can be one of a bin of these days; one that is named as no bin can."""
    day = None if wanted is None else likely_day(name.partition(".")[0])
    return wanted is None or day is None or _among(day, wanted)


def _among(day: date, ranges: Ranges) -> bool:
    return any(first <= day <= last for first, last in ranges)


def _ranges(days: Iterable[date]) -> Ranges:
    """The days as ranges, ascending."""
    found: list[tuple[date, date]] = []
    for day in sorted(set(days)):
        if found and day - found[-1][1] <= timedelta(days=1):
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return tuple(found)


def _look(path: str | Path, look: Callable[[], _Seen]) -> _Seen | None:
    """What ``look`` sees; None for what has moved away since it was listed, and for links to nowhere."""
    try:
        return look()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise ArchiveError(f"cannot look at {path}: {error.strerror}") from error
