"""How daily assets are made: day by day, each recorded as it is written, whatever becomes of the others.

What is done for a day of a table is said in ``assets`` and ``image_assets``.
"""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

import dagster as dg
from joblib import Parallel, cpu_count, delayed

from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.metadata import column_schema, day_text, table_metadata
from ifcb_flow_pipeline.defs.partitions import DAILY, DATA_VERSION_TAG, RETRY_NUMBER_TAG, ROOT_RUN_ID_TAG
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError, joined
from ifcb_flow_pipeline.store.overview import renew_overviews
from ifcb_flow_pipeline.store.tables import (
    BIN_IMAGE_SCORES,
    BIN_SCORES,
    IMAGE_SCORES,
    IMAGE_TABLES,
    RAW_BINS,
    TABLES,
    WINDOW_MAPS,
    Table,
)

#: So many days are worked on at once, as far as there are cores: one is read while another is computed or written.
DAYS_AT_ONCE = 4

#: A run tells how far it is so often at most: every line in its log, and every day, is a transaction.
SECONDS_BETWEEN_REPORTS = 5.0

#: Tables in which a day's bins are history for the next day's.
ONE_AFTER_THE_OTHER = (WINDOW_MAPS, IMAGE_SCORES, BIN_IMAGE_SCORES)

#: For what may pass by itself, such as a network disk that does not answer. See permanent_failures.
RETRY = dg.RetryPolicy(max_retries=2, delay=30)

#: What is done for a day; returns what is told of it.
Step = Callable[[date], dict[str, Any]]

#: What a daily asset gives Dagster: no value, but what was made.
Results = Iterator[dg.MaterializeResult[Any]]


@dataclass(frozen=True, slots=True)
class Made:
    """What Dagster is told of a day of a table."""

    version: str
    metadata: Mapping[str, Any]


#: Makes the step of a table, for a deployment, with the configuration of its asset, for these days.
Maker = Callable[[Deployment, Mapping[str, Any], list[date]], Step]

_MAKERS: dict[str, Maker] = {}


def made_by(table: Table, maker: Maker) -> None:
    """Say how a table is made, for runs that have to go on by themselves: see ``each_day``."""
    _MAKERS[table.name] = maker


def daily_asset(table: Table, **settings: Any) -> Callable[[Callable[..., Results]], dg.AssetsDefinition]:
    """The decorator of an asset that is a daily table."""
    with warnings.catch_warnings():
        # Dagster calls this policy beta. What it does for us is tested: a range of days is one run.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.asset(
            partitions_def=DAILY,
            backfill_policy=dg.BackfillPolicy.single_run(),
            retry_policy=RETRY,
            group_name=lineage.GROUP,
            kinds={"python", "parquet"},
            description=table.meaning,
            metadata=column_schema(table),
            **settings,
        )


@contextmanager
def permanent_failures() -> Iterator[None]:
    """Turn what a retry cannot mend (settings, models, missing tables) into failures that are not retried."""
    try:
        yield
    except FlowError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def each_day(context: dg.AssetExecutionContext, deployment: Deployment, table: Table, step: Step) -> dict[date, Made]:
    """Do the step for every day of the run; what was made.

    Where days fail, the others are made all the same, up to the last table of the run, and then one error names the
    days: FlowError where trying again cannot help. Dagster would leave the later tables alone.
    """
    wanted = days_of_run(context)
    made, failed = _try_days(context, deployment, table, wanted, step)
    if not failed:
        return made
    if len(wanted) == 1:
        raise failed[wanted[0]]
    if left := [day for day in wanted if day not in failed]:
        failed |= _carry_on(context, deployment, table, left)
    others = ", the others were made" if len(failed) < len(wanted) else ""
    told = "; ".join(f"{day}: {error}" for day, error in sorted(failed.items()))
    text = f"{len(failed)} of {len(wanted)} days failed{others}: {told}"
    if all(isinstance(error, FlowError) for error in failed.values()):
        raise FlowError(text)
    raise RuntimeError(text) from next(error for error in failed.values() if not isinstance(error, FlowError))


def recorded(context: dg.AssetExecutionContext, made: Mapping[date, Made]) -> Results:
    """Have Dagster record the days of the run, each with its own version and metadata."""
    versions = [one.version for one in made.values()]
    if len(made) == 1:
        [(day, one)] = made.items()
        context.add_asset_metadata(one.metadata, partition_key=day.isoformat())
        yield dg.MaterializeResult(data_version=dg.DataVersion(one.version))
        return
    yield dg.MaterializeResult(data_version=lineage.range_version(versions))
    # Dagster has now recorded all days alike, under one version. The tags say of what they were made.
    first = dg.AssetRecordsFilter(context.asset_key, asset_partitions=[min(made).isoformat()])
    [record] = context.instance.fetch_materializations(first, limit=1).records
    tags = record.asset_materialization.tags if record.asset_materialization else {}
    for day, one in made.items():
        context.log_event(_materialization(context.asset_key, day, one, tags))


def _materialization(
    key: dg.AssetKey, day: date, made: Made, tags: Mapping[str, str] | None = None
) -> dg.AssetMaterialization:
    tags = {**(tags or {}), DATA_VERSION_TAG: made.version}
    return dg.AssetMaterialization(key, partition=day.isoformat(), metadata=made.metadata, tags=tags)


def _carry_on(
    context: dg.AssetExecutionContext, deployment: Deployment, table: Table, left: list[date]
) -> dict[date, Exception]:
    """Make the later tables that the run is about, of these days; which of them failed, and how."""
    selected = context.run.asset_selection  # nothing stands for everything
    run_config = cast("Mapping[str, Any]", context.run.run_config)
    failed: dict[date, Exception] = {}
    for later in TABLES[TABLES.index(table) + 1 :]:
        if selected and dg.AssetKey(later.name) not in selected:
            continue
        config = run_config.get("ops", {}).get(later.name, {}).get("config", {})
        todo = [day for day in left if day not in failed]
        failed |= _try_days(context, deployment, later, todo, _MAKERS[later.name](deployment, config, todo))[1]
        if later is BIN_SCORES:
            renew_overviews(deployment.tables)
    return failed


def _try_days(
    context: dg.AssetExecutionContext, deployment: Deployment, table: Table, wanted: list[date], step: Step
) -> tuple[dict[date, Made], dict[date, Exception]]:
    """Do a step for these days but those that are done, a few at once: what was made, and which failed and how.

    Days are recorded as materialized within seconds of being written, so that Dagster knows of them whatever comes
    next; the last ones of an asset's own table by the end of its step, unless days failed.
    """
    done = [day for day in wanted if day in _done_before(context, deployment, table)]
    made = {day: Made(_version(deployment.tables, table, day), {}) for day in done}
    failed: dict[date, Exception] = {}
    if done:
        context.log.info(f"{day_text(done)} done before the run was killed, {len(done)} of {len(wanted)}")
    at_once = 1 if table in ONE_AFTER_THE_OTHER else DAYS_AT_ONCE
    parallel = Parallel(n_jobs=min(at_once, cpu_count()), require="sharedmem", return_as="generator")
    todo = [day for day in wanted if day not in made]
    timed = parallel(delayed(_timed)(deployment.tables, table, step, day) for day in todo)
    results = cast("Iterable[Made | Exception]", timed)
    told, unrecorded = time.monotonic(), list[date]()
    for number, (day, outcome) in enumerate(zip(todo, results, strict=True), start=1 + len(done)):
        if isinstance(outcome, Exception):
            failed[day] = outcome
            context.log.error(f"{table.name} of {day} failed: {outcome}")
        else:
            made[day] = outcome
            unrecorded.append(day)
        if time.monotonic() - told > SECONDS_BETWEEN_REPORTS:
            told = time.monotonic()
            _record(context, table, made, unrecorded)
            context.log.info(f"{day} done, {number} of {len(wanted)}")
    if failed or context.asset_key != dg.AssetKey(table.name):
        _record(context, table, made, unrecorded)
    return made, failed


def _record(context: dg.AssetExecutionContext, table: Table, made: Mapping[date, Made], unrecorded: list[date]) -> None:
    for day in unrecorded:
        context.log_event(_materialization(dg.AssetKey(table.name), day, made[day]))
    unrecorded.clear()


def _timed(tables: DailyTables, table: Table, step: Step, day: date) -> Made | Exception:
    try:
        with tables.alone(day):
            started = time.perf_counter()
            metadata = step(day) | {"seconds": round(time.perf_counter() - started, 3)}
            return Made(_version(tables, table, day), metadata)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this day's, and told at the end
        return error


def _version(tables: DailyTables, table: Table, day: date) -> str:
    return lineage.table_version(tables.provenance(table, day))


def _done_before(context: dg.AssetExecutionContext, deployment: Deployment, table: Table) -> frozenset[date]:
    """The days that a killed run had written already, where this run is Dagster's retry of it, or that this run had
    when its step is tried again. None of the inventory, which only a look at the archive could tell to be up to date.
    """
    if table is RAW_BINS:
        return frozenset()
    tags = context.run.tags
    if RETRY_NUMBER_TAG in tags and ROOT_RUN_ID_TAG in tags:
        before = tags[ROOT_RUN_ID_TAG]
    elif context.retry_number:
        before = context.run.run_id
    else:
        return frozenset()
    killed = context.instance.get_run_record_by_id(before)
    if killed is None or killed.start_time is None:
        return frozenset()
    paths = {day: deployment.tables.path(table, day) for day in days_of_run(context)}
    later = (day for day, path in paths.items() if path.exists() and path.stat().st_mtime > killed.start_time)
    # Another run may have written it since, of files that have changed again.
    return frozenset(day for day in later if _is_up_to_date(deployment, table, day))


def _is_up_to_date(deployment: Deployment, table: Table, day: date) -> bool:
    """Whether a day's table is made of the files that its inventory lists; no where that cannot be told."""
    names = (RAW_BINS, table, BIN_IMAGE_SCORES)
    try:
        listed, made_of, images = (deployment.tables.provenance(name, day) for name in names)
    except StoreError:
        return False
    if listed is None or made_of is None:
        return False
    if table in IMAGE_TABLES:
        return made_of.signature == listed.images
    of_images = images and images.signature
    return made_of.signature == (joined(listed.signature, of_images) if table is BIN_SCORES else listed.signature)


def days_of_run(context: dg.AssetExecutionContext) -> list[date]:
    """The days that the run is about."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def rows_told(rows: Any) -> dict[str, Any]:
    """What is told of a day's rows that have a status."""
    return table_metadata(rows, 0.0)
