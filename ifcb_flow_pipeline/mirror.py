"""A copy of an archive that lies elsewhere: of a dataset of the IFCB dashboard, or of a bucket of object storage.

What is fetched is kept in the archive's own layout, so that everything that follows reads files. A file appears whole
or not at all, the .adc last: no look finds half a bin. What is there already is left alone, so that a killed copy goes
on where it was. Nothing is ever deleted.
"""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ifcb_flow_pipeline.bins.archive import EXTENSIONS, FIRST_IFCB
from ifcb_flow_pipeline.bins.pid import BinId, InvalidPidError, parse_pid
from ifcb_flow_pipeline.dashboard import Answer, Dashboard, DashboardError
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.daily import replacing
from ifcb_flow_pipeline.store.private import private_folder
from ifcb_flow_pipeline.store.settings import dashboard_address

#: Seconds before a request is repeated that failed for a reason that may pass, each time.
_PAUSES = (1.0, 2.0, 4.0, 8.0)

#: Longer than this nobody waits because a server asks for it.
_LONGEST_PAUSE = 60.0

#: Answers that may be another the next time.
_PASSING = (429, 500, 502, 503, 504)

#: So many bins fail, and none succeeds, before the rest is left for another time.
_HOPELESS = 20

#: Days that each look lists, and how often it lists all there are: bins of long ago come, too.
_LATEST, _WHOLE_EVERY = timedelta(days=10), timedelta(hours=24)

#: A bin that was new when it was fetched is fetched once more after so long, as it may have grown.
_NEW, _SETTLED = timedelta(days=2), timedelta(hours=2)

#: The dashboard gives 500,000 rows at most, and a bin has a row for each of its tags.
_MANY_BINS, _SHORT = 150_000, timedelta(days=31)

_FIRST_DAY = FIRST_IFCB.date()

_STATE, _LOCK = ".ifcb-flow-mirror.json", ".ifcb-flow-mirror.lock"

#: The .adc last: with it, a bin is there.
_ORDER = ("roi", "hdr", "adc")


class MirrorError(FlowError):
    """A copy that cannot be made; the message names the source or the folder, and the remedy."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of the source. ``path``: where it belongs in the copy. ``size``, ``modified``: None where not known."""

    path: str
    size: int | None = None
    modified: datetime | None = None


@dataclass(slots=True)
class State:
    """What is remembered from run to run: when all was last listed, which files the source did not have then, and when
    bins were fetched that may still have grown.
    """

    whole: datetime | None = None
    absent: set[str] = field(default_factory=set)
    young: dict[str, datetime] = field(default_factory=dict)


class Source(Protocol):
    """Where bins are copied from."""

    @property
    def name(self) -> str:
        """The source for people, always the same."""
        ...

    def bins(self, state: State, now: datetime, *, images: bool) -> Mapping[str, tuple[RemoteFile, ...]]:
        """The files of the bins to look at, by pid, each bin's in the order in which they are to be fetched."""
        ...

    def fetch(self, file: RemoteFile) -> bytes | None:
        """A file, whole; None where the source does not have it. Raises FlowError."""
        ...


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What came of a copy: bins that were looked at, files that were fetched, that changed, and that the source does
    not have; and why bins failed, a line each.
    """

    n_bins: int
    n_fetched: int
    n_changed: int
    n_absent: int
    failures: tuple[str, ...]

    def __str__(self) -> str:
        said = f"{self.n_bins} bins listed, {self.n_fetched} files fetched, {self.n_changed} of them changed"
        return f"{said}, {self.n_absent} not there, {len(self.failures)} bins failed"


def mirror(source: Source, folder: Path, now: datetime, *, images: bool = False, n_jobs: int = 8) -> Mirrored:
    """Copy what the folder does not have yet. ``images``: .roi files, too. ``n_jobs``: bins at once.

    Raises MirrorError where the folder is a copy of something else or another process is at it, and DashboardError
    where the source cannot be listed.
    """
    private_folder(folder)
    with _alone(folder):
        state = _read_state(folder, source.name)
        found = source.bins(state, now, images=images)
        copy = _Copy(source, folder, state, now, _present(folder))
        with ThreadPoolExecutor(n_jobs) as threads:
            for _ in threads.map(copy.bin, found.items()):
                pass
        if copy.failures:
            state.whole = None  # bins of long ago may be among them: the next run lists all again
        state.young = {pid: at for pid, at in state.young.items() if now - at < _LATEST}
        _write_state(folder, source.name, state)
    if copy.is_hopeless:
        raise MirrorError(f"{source.name}: {len(copy.failures)} bins in a row failed, the first: {copy.failures[0]}")
    return Mirrored(len(found), copy.n_fetched, copy.n_changed, copy.n_absent, tuple(copy.failures))


@dataclass(slots=True)
class _Copy:
    """One run over the bins, by several threads."""

    source: Source
    folder: Path
    state: State
    now: datetime
    present: Mapping[str, tuple[int, int]]
    n_fetched: int = 0
    n_changed: int = 0
    n_absent: int = 0
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_hopeless(self) -> bool:
        """Whether the source seems to be down."""
        return self.n_fetched == 0 and len(self.failures) >= _HOPELESS

    def bin(self, one: tuple[str, tuple[RemoteFile, ...]]) -> None:
        """Fetch what is missing of a bin."""
        pid, files = one
        again = pid in self.state.young and self.now - self.state.young[pid] >= _SETTLED
        wanted = [file for file in files if again or self._is_missing(file)]
        if not wanted or self.is_hopeless:
            return
        try:
            n_new = sum(self._file(file) for file in wanted)
        except (FlowError, OSError) as error:
            with self._lock:
                self.failures.append(f"{pid}: {error}")
            return
        with self._lock:
            if again:
                del self.state.young[pid]
            elif n_new and self.now - parse_pid(pid).start_time <= _NEW:
                self.state.young[pid] = self.now

    def _is_missing(self, file: RemoteFile) -> bool:
        there = self.present.get(file.path)
        if there is None:
            return file.path not in self.state.absent
        size, seconds = there
        if file.size is not None and file.size != size:
            return True
        return file.modified is not None and int(file.modified.timestamp()) != seconds

    def _file(self, file: RemoteFile) -> bool:
        """Fetch a file and put it in its place, unless the same is there; whether it is new there."""
        content, path = self.source.fetch(file), self.folder / file.path
        with self._lock:
            self.n_fetched += content is not None
            self.n_absent += content is None
            if content is None:
                self.state.absent.add(file.path)
        if content is None:
            return False
        # A file that is written anew makes its whole day be read again.
        if file.path not in self.present or path.read_bytes() != content:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
                _set_time(temporary, file.modified)
            with self._lock:
                self.n_changed += file.path in self.present
            return True
        _set_time(path, file.modified)
        return False


@dataclass(frozen=True, slots=True)
class DashboardSource:
    """A dataset of an IFCB dashboard. ``first``: the first day whose bins are wanted. ``sleep``: how to wait."""

    dashboard: Dashboard
    dataset: str
    first: date = _FIRST_DAY
    sleep: Callable[[float], None] = time.sleep

    @property
    def name(self) -> str:
        """The dataset for people."""
        return f"{self.dashboard.url} {self.dataset}"

    def bins(self, state: State, now: datetime, *, images: bool) -> Mapping[str, tuple[RemoteFile, ...]]:
        """The bins of the last days; all there are where that was long ago, or where nothing is known yet."""
        if self.dataset not in (there := self.dashboard.datasets()):
            raise MirrorError(
                f"{self.dashboard.url} has no dataset {self.dataset}; it has {', '.join(there) or 'none'}"
            )
        tomorrow = now.date() + timedelta(days=1)
        if state.whole is None or now - state.whole >= _WHOLE_EVERY:
            state.absent.clear()
            pids = list(self._all(self.first, tomorrow))
            state.whole = now
        else:
            pids = list(self._listed(max(self.first, now.date() - _LATEST), tomorrow))
        extensions = [extension for extension in _ORDER if images or extension != "roi"]
        return {pid: tuple(RemoteFile(_path(bin_id, one)) for one in extensions) for pid, bin_id in _parsed(pids)}

    def fetch(self, file: RemoteFile) -> bytes | None:
        """The file from ``/data``; tries again where that may help."""
        path = f"/data/{PurePosixPath(file.path).name}"
        for pause in (*_PAUSES, None):
            try:
                answer = self.dashboard.read(path)
            except DashboardError:
                if pause is None:
                    raise
                self.sleep(pause)
                continue
            if answer.status == 404:
                return None
            if answer.status in _PASSING and pause is not None:
                self.sleep(max(pause, _asked_pause(answer)))
                continue
            # The page of a proxy that wants a login is 200, too.
            if answer.status != 200 or answer.headers.get_content_type() == "text/html":
                raise DashboardError(f"{path} is answered with {answer.status} {answer.headers.get_content_type()}")
            return answer.body
        raise AssertionError  # the last pause is None

    def _all(self, first: date, last: date) -> Iterator[str]:
        for year in range(first.year, last.year + 1):
            yield from self._listed(max(first, date(year, 1, 1)), min(last, date(year, 12, 31)))

    def _listed(self, first: date, last: date) -> Iterator[str]:
        found = self.dashboard.exported(self.dataset, first, last)
        if len(found) < _MANY_BINS or last - first <= _SHORT:
            yield from found
            return
        middle = first + (last - first) // 2
        yield from self._listed(first, middle)
        yield from self._listed(middle + timedelta(days=1), last)


class BucketSource:
    """The bins below an address of object storage such as ``s3://bucket/archive``, in the layout that they have there.

    Credentials and endpoint are those of the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL and so on). Raises
    MirrorError where the library for it is missing, or the address cannot be used.
    """

    def __init__(self, url: str, **options: Any) -> None:
        try:
            import obstore
            from obstore.store import from_url
        except ImportError as error:
            raise MirrorError("object storage needs obstore: pip install 'ifcb-flow-pipeline[s3]'") from error
        self.name = url
        self._obstore = obstore
        try:
            self._store = from_url(url, **options)
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise MirrorError(f"{url} cannot be used ({error})") from error

    def bins(self, state: State, now: datetime, *, images: bool) -> Mapping[str, tuple[RemoteFile, ...]]:  # noqa: ARG002
        """All bins there are: their files tell by size and time whether they changed."""
        extensions = [extension for extension in _ORDER if images or extension != "roi"]
        found: dict[str, list[RemoteFile]] = {}
        try:
            for page in self._obstore.list(self._store):
                for one in page:
                    path = PurePosixPath(one["path"])
                    if path.suffix[1:] in extensions and _is_safe(path):
                        file = RemoteFile(str(path), one["size"], one["last_modified"])
                        found.setdefault(path.stem, []).append(file)
        except self._obstore.exceptions.BaseError as error:
            raise MirrorError(f"{self.name} cannot be listed ({_first_line(error)})") from error
        order = {f".{extension}": number for number, extension in enumerate(_ORDER)}
        return {
            pid: tuple(sorted(found[pid], key=lambda file: order[PurePosixPath(file.path).suffix]))
            for pid, _ in _parsed(found)
        }

    def fetch(self, file: RemoteFile) -> bytes | None:
        """The object; obstore itself tries again where that may help."""
        try:
            return bytes(self._obstore.get(self._store, file.path).bytes())
        except FileNotFoundError:
            return None
        except self._obstore.exceptions.BaseError as error:
            raise MirrorError(f"{file.path}: {_first_line(error)}") from error


def source_of(text: str, first: date = _FIRST_DAY) -> Source:
    """The source that IFCB_MIRROR or the command line names: ``s3://BUCKET/PREFIX``, or ``https://DASHBOARD DATASET``.

    Raises FlowError where it is neither.
    """
    url, *names = text.split()
    if url.startswith("s3://") and not names:
        return BucketSource(url)
    if url.startswith("s3://") or len(names) != 1:
        raise MirrorError(
            f"{text!r} is no source: write s3://BUCKET/PREFIX, or the address of a dashboard and a dataset"
        )
    return DashboardSource(Dashboard(dashboard_address(url), reads_only=True), names[0], first)


def _path(bin_id: BinId, extension: str) -> str:
    """Where a file of a bin lies in archives: ``DYYYY/DYYYYMMDD`` for v2, ``YYYY/IFCBn_YYYY_DDD`` for v1."""
    day = bin_id.day
    if bin_id.schema == "v2":
        return f"D{day:%Y}/D{day:%Y%m%d}/{bin_id.pid}.{extension}"
    return f"{day:%Y}/{bin_id.instrument}_{day:%Y_%j}/{bin_id.pid}.{extension}"


def _parsed(pids: Iterable[str]) -> Iterator[tuple[str, BinId]]:
    for pid in pids:
        try:
            yield pid, parse_pid(pid)
        except InvalidPidError:
            continue  # no bin of an IFCB


def _is_safe(path: PurePosixPath) -> bool:
    """Whether a name of the source stays inside the folder."""
    return not path.is_absolute() and not any(part.startswith(".") for part in path.parts)


def _present(folder: Path) -> dict[str, tuple[int, int]]:
    """The bins' files in the folder by relative path: size, and time of change in whole seconds."""
    found = {}
    for directory, _, names in os.walk(folder):
        inside = Path(directory).relative_to(folder).as_posix()
        for name in names:
            if name[-3:] in EXTENSIONS and not name.startswith("."):
                stat = os.stat(os.path.join(directory, name))  # noqa: PTH116, PTH118 - a million times
                found[name if inside == "." else f"{inside}/{name}"] = (stat.st_size, int(stat.st_mtime))
    return found


def _set_time(path: Path, modified: datetime | None) -> None:
    if modified is not None:
        os.utime(path, (modified.timestamp(), modified.timestamp()))


def _asked_pause(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_PAUSE) if text.isdigit() else 0.0


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _read_state(folder: Path, name: str) -> State:
    path = folder / _STATE
    if not path.exists():
        return State()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        source, whole = content["source"], content["whole"]
        young = {pid: datetime.fromisoformat(at) for pid, at in content["young"].items()}
        state = State(datetime.fromisoformat(whole) if whole else None, set(content["absent"]), young)
    except (ValueError, KeyError, TypeError, AttributeError):
        return State()  # costs a whole listing
    if source != name:
        raise MirrorError(f"{folder} is a copy of {source}, not of {name}: name another folder")
    return state


def _write_state(folder: Path, name: str, state: State) -> None:
    young = {pid: at.isoformat() for pid, at in state.young.items()}
    whole = state.whole.astimezone(UTC).isoformat() if state.whole else None
    content = {"source": name, "whole": whole, "absent": sorted(state.absent), "young": young}
    with replacing(folder / _STATE) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MirrorError(f"another process is filling {folder}: wait until it has ended") from None
        yield
