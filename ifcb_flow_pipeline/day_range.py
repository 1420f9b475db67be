"""A range of days without Dagster, on this machine or on the workers of a Dask cluster.

The unit is the day, whose truth is its file: what is written here is byte for byte what the assets write, with the same
functions and the same lock of the day. So a day may be made anywhere, twice, or after a worker died, and nobody has to
know; Dagster is told of the days afterwards (``store.made_elsewhere``).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from functools import partial
from typing import Literal

from ifcb_flow_pipeline import days, image_days
from ifcb_flow_pipeline.bins.archive import Listing, signatures
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.daily import DailyTables, DamagedError, StoreError, joined
from ifcb_flow_pipeline.store.image_models import ImageModelStore
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.sample_times import SampleTimes
from ifcb_flow_pipeline.store.settings import Settings
from ifcb_flow_pipeline.store.tables import (
    BIN_FEATURES,
    BIN_IMAGE_SCORES,
    BIN_SCORES,
    IMAGE_FEATURES,
    Table,
)

Step = Literal["features", "images", "scores"]

#: So many days are worked on at once on this machine: one is read while another is computed or written.
_DAYS_AT_ONCE = 4

#: Days are scored so many in one piece: each piece reads the days before its first once.
_SCORED_TOGETHER = 32

#: A task of a worker that died is given to others; one that ends so many workers is at fault itself.
_RETRIES = 2


class DaysError(FlowError):
    """Days that cannot be made as asked; the message says why and the remedy."""


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a step of a day: ``error`` is empty where it was made."""

    day: date
    step: Step
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """The features of one day: what a worker needs to know, and no more. ``n_threads``: that read; -1: one per core."""

    settings: Settings
    day: date
    listing: Listing
    n_threads: int


def shard_of(wanted: Sequence[date], number: int, of: int) -> list[date]:
    """The days of the shard ``number`` (from 0) of so many: a range, since ranges are listed and scored fastest.

    Raises DaysError for a number that is none of them.
    """
    if not 0 <= number < of:
        raise DaysError(f"shards of {of} are numbered from 0 to {of - 1}, not {number}: as in `--array=0-{of - 1}`")
    return list(wanted[len(wanted) * number // of : len(wanted) * (number + 1) // of])


def missing_features(settings: Settings, listing: Listing, wanted: Iterable[date]) -> list[date]:
    """The days whose features were not made of the files that the archive has now, with the settings in force."""
    tables, now, settle = DailyTables(settings.home / "tables"), settings.archive.now(), settings.archive.settle
    missing = []
    for day in wanted:
        made_of = _made_of(tables, BIN_FEATURES, day)
        listed = signatures(listing.of_day(day), now, settle)
        if made_of is None and not listed.flow:
            continue  # a day without bins that was never made lacks nothing
        of_images = _made_of(tables, IMAGE_FEATURES, day)
        wanted_of_images = (listed.images, {"per_bin": settings.images_per_bin})
        if made_of != (listed.flow, asdict(settings.features)) or of_images != wanted_of_images:
            missing.append(day)
    return missing


def missing_images(settings: Settings, wanted: Iterable[date]) -> list[date]:
    """The days whose images were not judged with the features they have now, by the image model in use."""
    tables, missing = DailyTables(settings.home / "tables"), []
    model_id = _image_models(settings).card().model_id
    for day in wanted:
        features, judged = _made_of(tables, IMAGE_FEATURES, day), _made_of(tables, BIN_IMAGE_SCORES, day)
        if features is not None and judged != (features[0], {"model_id": model_id}):
            missing.append(day)
    return missing


def missing_scores(settings: Settings, model_id: str, wanted: Iterable[date]) -> list[date]:
    """The days whose scores were not made of their features and images as they are, by this model."""
    tables, missing = DailyTables(settings.home / "tables"), []
    for day in wanted:
        features, scores = _made_of(tables, BIN_FEATURES, day), _made_of(tables, BIN_SCORES, day)
        images = _made_of(tables, BIN_IMAGE_SCORES, day)
        by = {"model_id": model_id} | ({"image_model_id": images[1].get("model_id")} if images else {})
        if features is not None and scores != (joined(features[0], images and images[0]), by):
            missing.append(day)
    return missing


def make_features(task: Task) -> Made:
    """Write a day's inventory, clouds and features, also of images. What fails is told, so that other days go on."""
    settings, day = task.settings, task.day
    tables = DailyTables(settings.home / "tables")

    def make() -> None:
        _check_files(settings, task.listing, day)
        with tables.alone(day):
            days.write_inventory(tables, settings.archive, task.listing, day)
            days.write_clouds(tables, settings.archive, day, task.n_threads)
            corrected = SampleTimes.read(settings.home)
            days.write_features(tables, settings.features, day, corrected, settings.archive)
            image_days.write_image_features(tables, settings.archive, settings.images_per_bin, day)

    return _timed(day, "features", make)


def make_images(settings: Settings, wanted: Sequence[date]) -> Iterator[Made]:
    """Judge the images of days, one after the other: each in the light of the days before as they were judged."""
    tables = DailyTables(settings.home / "tables")
    judge = image_days.DayJudge.of(tables, settings.archive, _image_models(settings).load())

    def make(day: date) -> None:
        with tables.alone(day):
            judge.write(day)

    for day in wanted:
        yield _timed(day, "images", lambda day=day: make(day))


def make_scores(settings: Settings, model_id: str, wanted: Sequence[date]) -> list[Made]:
    """Write the scores of days, each in the light of the features of the days before, which must be there.

    Raises ModelError where the model cannot be used.
    """
    tables, model = DailyTables(settings.home / "tables"), ModelStore(settings.home / "models").load(model_id)
    history = days.history_of(tables)

    def make(day: date) -> None:
        with tables.alone(day):
            try:
                days.write_scores(tables, model, day, history.before(day))
            except DamagedError:
                # What can be made of the stored points again is, at once.
                corrected = SampleTimes.read(settings.home)
                days.write_features(tables, settings.features, day, corrected, settings.archive)
                days.write_scores(tables, model, day, history.before(day))

    return [_timed(day, "scores", lambda day=day: make(day)) for day in wanted]


# Where the work is done


@dataclass(frozen=True, slots=True)
class Here:
    """The threads of this process."""

    def features(self, settings: Settings, listing: Listing, wanted: Sequence[date]) -> Iterator[Made]:
        """The features of days, in their order."""
        from joblib import Parallel, cpu_count, delayed

        parallel = Parallel(min(_DAYS_AT_ONCE, cpu_count()), require="sharedmem", return_as="generator")
        tasks = (Task(settings, day, _of_day(listing, day), -1) for day in wanted)
        yield from parallel(delayed(make_features)(task) for task in tasks)  # type: ignore[misc]

    def scores(self, settings: Settings, model_id: str, wanted: Sequence[date]) -> Iterator[Made]:
        """The scores of days, in their order."""
        for piece in _pieces(wanted):
            yield from make_scores(settings, model_id, piece)


class Cluster:
    """The workers of the Dask scheduler at ``address``, which see archive and data folder under the same names.

    A day of a worker that dies is made by another. Raises DaysError where the library is missing, or nobody answers.
    """

    def __init__(self, address: str, timeout: float = 30.0) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise DaysError("workers need Dask: pip install 'ifcb-flow-pipeline[cluster]'") from error
        try:
            self._client = Client(address, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise DaysError(f"no Dask scheduler answers at {address} ({error}): is the address right?") from error
        if not self._client.nthreads():
            self._client.close()
            raise DaysError(f"the Dask scheduler at {address} has no workers: start some")

    def features(self, settings: Settings, listing: Listing, wanted: Sequence[date]) -> Iterator[Made]:
        """The features of days, as they are made."""
        tasks = [Task(settings, day, _of_day(listing, day), 1) for day in wanted]
        futures = self._client.map(make_features, tasks, pure=False, retries=_RETRIES)
        yield from self._done(futures, [[task.day] for task in tasks], "features")

    def scores(self, settings: Settings, model_id: str, wanted: Sequence[date]) -> Iterator[Made]:
        """The scores of days, as they are made; the features of all of them must be there."""
        pieces = list(_pieces(wanted))
        one = partial(make_scores, settings, model_id)
        yield from self._done(self._client.map(one, pieces, pure=False, retries=_RETRIES), pieces, "scores")

    def close(self) -> None:
        """Leave the scheduler; its workers stay."""
        self._client.close()

    def _done(self, futures: list, of: list[list[date]], step: Step) -> Iterator[Made]:
        from distributed import as_completed

        days_of = dict(zip((future.key for future in futures), of, strict=True))
        with self._client.as_current():
            done = as_completed(futures)
        for future in done:
            error = future.exception()
            if error is not None:
                yield from (Made(day, step, 0.0, f"{type(error).__name__}: {error}") for day in days_of[future.key])
                continue
            result = future.result()
            yield from result if isinstance(result, list) else [result]


def _made_of(tables: DailyTables, table: Table, day: date) -> tuple[str, dict] | None:
    try:
        found = tables.provenance(table, day)
    except StoreError:  # it is made again
        return ("unusable", {})
    return None if found is None else (found.signature, dict(found.made_of))


def _image_models(settings: Settings) -> ImageModelStore:
    return ImageModelStore(settings.home / "image_models")


def _of_day(listing: Listing, day: date) -> Listing:
    return Listing(tuple(listing.of_day(day)))


def _check_files(settings: Settings, listing: Listing, day: date) -> None:
    """Raise DaysError where this machine does not see what the one that listed the archive saw."""
    settings.archive.check_mounted()
    if not (settings.home / "tables").is_dir():
        raise DaysError(f"there is no {settings.home}/tables here: the data folder must have this name on all machines")
    files = [file for raw in listing.of_day(day) for file in raw.all_files]
    if files and not any((settings.archive.root / file.directory / file.name).exists() for file in files):
        raise DaysError(f"none of the {len(files)} files of {day} is in {settings.archive.root} here: is it mounted?")


def _timed(day: date, step: Step, make: Callable[[], None]) -> Made:
    started = time.perf_counter()
    try:
        make()
    except (FlowError, OSError) as error:
        return Made(day, step, time.perf_counter() - started, str(error))
    return Made(day, step, time.perf_counter() - started)


def _pieces(wanted: Sequence[date]) -> Iterator[list[date]]:
    for start in range(0, len(wanted), _SCORED_TOGETHER):
        yield list(wanted[start : start + _SCORED_TOGETHER])


def days_between(first: date, last: date) -> list[date]:
    """The days from ``first`` to ``last``, both included. Raises DaysError where there are none."""
    if last < first:
        raise DaysError(f"{last} is before {first}")
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
