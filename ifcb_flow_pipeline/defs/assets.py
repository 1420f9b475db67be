"""The assets: raw bins -> point clouds -> features -> scores by day, and the model that scores.

Each writes its own file through the layer below, atomically, one day at a time; Dagster only knows that it
did. The model is linked by ``deps``: which bins it is trained on is configuration, not partitioning.
"""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from joblib import Parallel, cpu_count, delayed
from pydantic import Field

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.metadata import (
    column_schema,
    comparison_metadata,
    day_text,
    episode_metadata,
    markdown_table,
    outcome_metadata,
    picture,
    review_page,
    table_metadata,
    thumbnail,
    verdict_metadata,
)
from ifcb_flow_pipeline.defs.partitions import DAILY, DATA_VERSION_TAG, RETRY_NUMBER_TAG, ROOT_RUN_ID_TAG, today
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelCard, ModelError, parse_amount
from ifcb_flow_pipeline.detection.open_model import AnyModel, Detector, ForestChoice, detector_and_features
from ifcb_flow_pipeline.detection.verdict.episodes import EPISODE_COLUMNS, episodes_of
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import FeatureSet
from ifcb_flow_pipeline.features.selection import select_features
from ifcb_flow_pipeline.promotion import label_summary, recent_features, try_challenger
from ifcb_flow_pipeline.store.daily import DailyTables, DamagedError, StoreError
from ifcb_flow_pipeline.store.models import CURRENT
from ifcb_flow_pipeline.store.overview import renew_overviews
from ifcb_flow_pipeline.store.sample_times import SampleTimes
from ifcb_flow_pipeline.store.survey import Budget
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, JUDGED, POINT_CLOUDS, RAW_BINS, Table
from ifcb_flow_pipeline.thumbnails import cloud_thumbnail, severity_thumbnail

#: So many days are worked on at once, as far as there are cores: one is read while another is computed or written.
DAYS_AT_ONCE = 4

#: A run tells how far it is so often at most: every line in its log, and every day, is a transaction.
SECONDS_BETWEEN_REPORTS = 5.0

#: A run looks for so long, at most, for bins that no day has; the look goes on from those of the sensor.
LEFT_OUT_SECONDS = 30.0

#: For what may pass by itself, such as a network disk that does not answer. See permanent_failures.
RETRY = dg.RetryPolicy(max_retries=2, delay=30)

#: What is done for a day; returns what is told of it.
_Step = Callable[[date], dict[str, Any]]

#: What a daily asset gives Dagster: no value, but what was made.
_Results = Iterator[dg.MaterializeResult[Any]]


@dataclass(frozen=True, slots=True)
class _Made:
    """What Dagster is told of a day of a table."""

    version: str
    metadata: Mapping[str, Any]


def _daily_asset(table: Table, **settings: Any) -> Callable[[Callable[..., _Results]], dg.AssetsDefinition]:
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


@_daily_asset(RAW_BINS, deps=[lineage.archive], code_version="1")
def raw_bins(context: dg.AssetExecutionContext, deployment: Deployment) -> _Results:
    """List the archive once for all days of the run, and write the inventory of each."""
    with permanent_failures():
        archive = deployment.settings.archive
        wanted = _days(context)
        listing = archive.scan(wanted[0], wanted[-1])
        context.log.info(f"{len(listing.bins)} bins of {day_text(wanted)} in {archive.root}")
        made = _each_day(
            context,
            deployment,
            RAW_BINS,
            lambda day: _table(days.write_inventory(deployment.tables, archive, listing, day)),
        )
        if not deployment.left_out.renew(deployment.settings, today(), Budget(LEFT_OUT_SECONDS), context.log):
            context.log.warning(
                "no time to look through all of the archive: what is left out is that of an earlier run"
            )
        yield from _recorded(context, made)


@_daily_asset(POINT_CLOUDS, deps=[raw_bins], code_version="1")
def point_clouds(context: dg.AssetExecutionContext, deployment: Deployment) -> _Results:
    """Read the ADC and HDR files of each day's inventory and write its clouds."""
    with permanent_failures():
        made = _each_day(context, deployment, POINT_CLOUDS, _cloud_step(deployment))
        yield from _recorded(context, made)


@_daily_asset(BIN_FEATURES, deps=[point_clouds], code_version="1")
def bin_features(context: dg.AssetExecutionContext, deployment: Deployment) -> _Results:
    """Compute the features of each day's bins from the stored clouds."""
    with permanent_failures():
        made = _each_day(context, deployment, BIN_FEATURES, _feature_step(deployment))
        yield from _recorded(context, made)


class TrainConfig(dg.Config):
    """What the model is trained on and how."""

    first_day: str = Field(
        "", description="First day (UTC) to train on, such as 2023-08-01. Empty: from the beginning."
    )
    last_day: str = Field("", description="Last day (UTC) to train on, included. Empty: to the end.")
    instruments: list[str] = Field([], description="Instruments to train on, such as IFCB134. Empty: all.")
    pids: list[str] = Field([], description="Train on these bins only. Empty: all bins of these days.")
    pid_file: str = Field("", description="Text file with one bin identifier a line; used like pids.")
    detector: Literal["auto", Detector] = Field(
        "auto",
        description="flow: each instrument against its own history, with causes and reasons. forest: that of "
        "ifcb-flow-metric. mcif, mcif-calibrated: an isolation forest for each instrument, its scores as they are or "
        "on one scale. latent: these in the latent space of a classifier. auto: flow, or forest for the feature set "
        "reference.",
    )
    feature_set: Literal["auto", FeatureSet] = Field(
        "auto",
        description="full: all features. reference: those of ifcb-flow-metric. auto: full, or reference for the "
        "detector forest. flow judges by the full set and forest by the reference; the others take either.",
    )
    features: str = Field(
        "",
        description="Forests only. Feature selection as YAML, family: {feature: true or false}; "
        "features that are not named are used if they are in the feature set.",
    )
    contamination: float = Field(
        0.02,
        description="Forests only. Share of the training bins that is called bad, up to 0.5. Does not change scores.",
    )
    n_estimators: int = Field(100, description="Forests only. Number of trees.")
    max_samples: str = Field(
        "auto", description="Forests only. Bins per tree: a count such as 256, a share such as 0.5, or auto."
    )
    max_features: str = Field(
        "1.0", description="Forests only. Features per tree: a count such as 10 or a share such as 1.0."
    )
    random_seed: int = Field(42, description="Random seed: the same seed and bins give the same model.")
    use: bool = Field(
        True,
        description="Activate it, so that new bins are scored by it, unless it is worse than the active model.",
    )

    def train(self, deployment: Deployment) -> AnyModel:
        """Train as configured. Raises ModelError for a setting that makes no sense."""
        tables, settings, labels = deployment.tables, deployment.settings.features, deployment.labels.decisions()
        created = datetime.now(tz=UTC)
        detector, feature_set = detector_and_features(_chosen(self.detector), _chosen(self.feature_set))
        if detector == "flow":
            flow = TrainingSettings(settings, feature_set, self.random_seed)
            return days.train_flow(tables, self.window(), flow, labels, created)
        choice = ForestChoice(detector, select_features(self.features or None, feature_set), self.forest_settings())
        return days.train_forests(tables, self.window(), choice, settings, labels, created)

    def forest_settings(self) -> ForestSettings:
        """The settings of forests. Raises ModelError for one that makes no sense."""
        max_features = parse_amount(self.max_features)
        if max_features == "auto":
            raise ModelError("max_features must be a count or a share up to 1.0, not auto")
        return ForestSettings(
            self.contamination,
            self.n_estimators,
            parse_amount(self.max_samples),
            max_features,
            self.random_seed,
        )

    def window(self) -> days.TrainingWindow:
        """The bins to train on. Raises ModelError for a day or file that makes no sense."""
        pids = list(self.pids)
        if self.pid_file:
            try:
                pids += Path(self.pid_file).read_text().split()
            except OSError as error:
                raise ModelError(f"cannot read pid_file {self.pid_file}: {error.strerror}") from error
        return days.TrainingWindow(
            first=day_of("first_day", self.first_day),
            last=day_of("last_day", self.last_day),
            instruments=frozenset(self.instruments),
            pids=tuple(pids) if pids else None,
        )


#: Fails, and stops the run before it scores, where the model of this run is worse: it has not been put to use.
_NO_WORSE = dg.AssetCheckSpec(
    "challenger_is_no_worse",
    asset=lineage.MODEL_KEY,
    blocking=True,
    description="The new model is no worse than the active one. If it is worse, it is kept as a candidate and not "
    "activated.",
)


@dg.asset(
    deps=[bin_features, lineage.decisions],
    check_specs=[_NO_WORSE],
    retry_policy=RETRY,
    group_name=lineage.GROUP,
    kinds={"python", "scikitlearn"},
    code_version="2",
    description="A model trained on stored features and people's decisions. Every model is kept, with a card that "
    "describes it, and is activated unless it is worse than the active one.",
)
def anomaly_model(
    context: dg.AssetExecutionContext, config: TrainConfig, deployment: Deployment
) -> dg.MaterializeResult:
    """Train a model, keep it under its own id, compare it with the one in use, and put it to use."""
    with permanent_failures():
        model = config.train(deployment)
        models, settings = deployment.models, deployment.settings.features
        models.save(model)
        context.log.info(f"trained {model.card.model_id} on {model.card.n_bins} bins")
        if lost := days.unmatched(deployment.tables, config.window(), deployment.labels.decisions()):
            context.log.warning(f"{len(lost)} decisions match no bin that was trained on, e.g. {lost[0]}")
        if model.card.note:
            context.log.warning(model.card.note)
        trial = try_challenger(models, deployment.tables, model, deployment.labels.decisions(), settings)
        if config.use and trial.passed:
            models.promote(model.card.model_id, f"run {context.run.run_id}", trial.text)
        recent = model.judge(recent_features(deployment.tables, settings))
    current = models.current_id()
    return dg.MaterializeResult(
        metadata=_card_metadata(model.card)
        | {"challenger": trial.text, "in_use": model.card.model_id == current}
        | comparison_metadata(trial.comparison)
        | verdict_metadata(recent)
        | review_page(deployment, "models")
        | _severity_pictures(recent, "severities", "the latest bins", large=True),
        # What scores depend on is the model in use, be it this one or not.
        data_version=dg.DataVersion(current or "none"),
        check_results=[
            dg.AssetCheckResult(
                passed=trial.passed,
                check_name=_NO_WORSE.name,
                severity=dg.AssetCheckSeverity.ERROR,
                description=f"{model.card.model_id}: {trial.text}",
                metadata=comparison_metadata(trial.comparison),
            )
        ],
    )


class ScoreConfig(dg.Config):
    """Which model scores."""

    model_id: str = Field(CURRENT, description="Id of the model that scores; current: the active one.")


#: A day is scored in the light of the days before it.
_WITH_HISTORY = dg.AssetDep(
    bin_features, partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-days.HISTORY_DAYS, end_offset=0)
)


@_daily_asset(BIN_SCORES, deps=[_WITH_HISTORY, anomaly_model], code_version="3")
def bin_scores(context: dg.AssetExecutionContext, config: ScoreConfig, deployment: Deployment) -> _Results:
    """Judge each day's features with the model, in the light of the days before."""
    with permanent_failures():
        made = _each_day(context, deployment, BIN_SCORES, _score_step(deployment, config.model_id, _days(context)))
        # What is going on is told once, at the end, from all days.
        last = _days(context)[-1]
        verdicts = days.RecentDays(deployment.tables, BIN_SCORES, EPISODE_COLUMNS).before(last + timedelta(days=1))
        running = episode_metadata(episodes_of(verdicts, datetime.now(tz=UTC)))
        made[last] = replace(made[last], metadata={**made[last].metadata, **running})
        renew_overviews(deployment.tables)
        yield from _recorded(context, made)


@contextmanager
def permanent_failures() -> Iterator[None]:
    """Turn what a retry cannot mend (settings, models, missing tables) into failures that are not retried."""
    try:
        yield
    except FlowError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error


def _cloud_step(deployment: Deployment) -> _Step:
    def step(day: date) -> dict[str, Any]:
        entries = days.write_clouds(deployment.tables, deployment.settings.archive, day)
        found = outcome_metadata([entry.status for entry in entries], sum(entry.n_rows for entry in entries), 0.0)
        return found | {"images": sum(entry.n_images for entry in entries),
                        "unusable_adc_lines": sum(entry.bad_lines for entry in entries)}  # fmt: skip

    return step


def _feature_step(deployment: Deployment) -> _Step:
    settings, tables, corrected = deployment.settings, deployment.tables, SampleTimes.read(deployment.settings.home)

    def step(day: date) -> dict[str, Any]:
        made = _table(days.write_features(tables, settings.features, day, corrected, settings.archive))
        # At once: the clouds of many years are not to be kept until the night.
        days.drop_old_clouds(tables, day, settings.cloud_days, settings.archive.now())
        return made

    return step


def _score_step(deployment: Deployment, model_id: str, wanted: list[date]) -> _Step:
    model = deployment.models.load(model_id)
    history = days.history_of(deployment.tables)

    def step(day: date) -> dict[str, Any]:
        try:
            scores = days.write_scores(deployment.tables, model, day, history.before(day))
        except DamagedError:
            # What can be made of the stored points again is, at once.
            settings, corrected = deployment.settings, SampleTimes.read(deployment.settings.home)
            days.write_features(deployment.tables, settings.features, day, corrected, settings.archive)
            scores = days.write_scores(deployment.tables, model, day, history.before(day))
        found = _table(scores) | {"model_id": model.card.model_id} | verdict_metadata(scores)
        found |= review_page(deployment, f"timeline?from={day}T00:00&to={day + timedelta(days=1)}T00:00")
        # Large pictures, which take longer than scoring, are of the last day of a run only; all days have small ones.
        return found | _score_pictures(deployment, day, scores, large=day == wanted[-1])

    return step


def _each_day(
    context: dg.AssetExecutionContext, deployment: Deployment, table: Table, step: _Step
) -> dict[date, _Made]:
    """Do the step for every day of the run; what was made.

    Where days fail, the others are made all the same, up to the last table of the run, and then one error names the
    days: FlowError where trying again cannot help. Dagster would leave the later tables alone.
    """
    wanted = _days(context)
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


def _recorded(context: dg.AssetExecutionContext, made: Mapping[date, _Made]) -> _Results:
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
    key: dg.AssetKey, day: date, made: _Made, tags: Mapping[str, str] | None = None
) -> dg.AssetMaterialization:
    tags = {**(tags or {}), DATA_VERSION_TAG: made.version}
    return dg.AssetMaterialization(key, partition=day.isoformat(), metadata=made.metadata, tags=tags)


def _carry_on(
    context: dg.AssetExecutionContext, deployment: Deployment, table: Table, left: list[date]
) -> dict[date, Exception]:
    """Make the later tables that the run is about, of these days; which of them failed, and how."""
    selected = context.run.asset_selection  # nothing stands for everything
    run_config = cast("Mapping[str, Any]", context.run.run_config)
    config = run_config.get("ops", {}).get(BIN_SCORES.name, {}).get("config", {})
    makers: dict[Table, Callable[[], _Step]] = {
        POINT_CLOUDS: lambda: _cloud_step(deployment),
        BIN_FEATURES: lambda: _feature_step(deployment),
        BIN_SCORES: lambda: _score_step(deployment, config.get("model_id", CURRENT), left),
    }
    order = (RAW_BINS, *makers)
    failed: dict[date, Exception] = {}
    for later in order[order.index(table) + 1 :]:
        if selected and dg.AssetKey(later.name) not in selected:
            continue
        todo = [day for day in left if day not in failed]
        failed |= _try_days(context, deployment, later, todo, makers[later]())[1]
        if later is BIN_SCORES:
            renew_overviews(deployment.tables)
    return failed


def _try_days(
    context: dg.AssetExecutionContext, deployment: Deployment, table: Table, wanted: list[date], step: _Step
) -> tuple[dict[date, _Made], dict[date, Exception]]:
    """Do a step for these days but those that are done, a few at once: what was made, and which failed and how.

    Days are recorded as materialized within seconds of being written, so that Dagster knows of them whatever comes
    next; the last ones of an asset's own table by the end of its step, unless days failed.
    """
    done = [day for day in wanted if day in _done_before(context, deployment, table)]
    made = {day: _Made(_version(deployment.tables, table, day), {}) for day in done}
    failed: dict[date, Exception] = {}
    if done:
        context.log.info(f"{day_text(done)} done before the run was killed, {len(done)} of {len(wanted)}")
    parallel = Parallel(n_jobs=min(DAYS_AT_ONCE, cpu_count()), require="sharedmem", return_as="generator")
    todo = [day for day in wanted if day not in made]
    timed = parallel(delayed(_timed)(deployment.tables, table, step, day) for day in todo)
    results = cast("Iterable[_Made | Exception]", timed)
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


def _record(
    context: dg.AssetExecutionContext, table: Table, made: Mapping[date, _Made], unrecorded: list[date]
) -> None:
    for day in unrecorded:
        context.log_event(_materialization(dg.AssetKey(table.name), day, made[day]))
    unrecorded.clear()


def _timed(tables: DailyTables, table: Table, step: _Step, day: date) -> _Made | Exception:
    try:
        with tables.alone(day):
            started = time.perf_counter()
            metadata = step(day) | {"seconds": round(time.perf_counter() - started, 3)}
            return _Made(_version(tables, table, day), metadata)
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
    paths = {day: deployment.tables.path(table, day) for day in _days(context)}
    later = (day for day, path in paths.items() if path.exists() and path.stat().st_mtime > killed.start_time)
    # Another run may have written it since, of files that have changed again.
    return frozenset(
        day for day in later if _signature(deployment, table, day) == _signature(deployment, RAW_BINS, day)
    )


def _signature(deployment: Deployment, table: Table, day: date) -> str | None:
    """Which files of the archive a day's table was made of; None where that cannot be told."""
    try:
        made_of = deployment.tables.provenance(table, day)
    except StoreError:
        return None
    return made_of and made_of.signature


def _days(context: dg.AssetExecutionContext) -> list[date]:
    return [date.fromisoformat(key) for key in context.partition_keys]


def _table(rows: Any) -> dict[str, Any]:
    return table_metadata(rows, 0.0)


def _chosen(choice: str) -> str:
    return "" if choice == "auto" else choice


def day_of(name: str, text: str) -> date | None:
    """The day of a setting; None where it is empty. Raises ModelError, naming the setting, where it is no day."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ModelError(f"{name} is {text!r}; it must be a day such as 2023-08-10") from None


def _card_metadata(card: ModelCard) -> dict[str, Any]:
    excluded = {reason: len(pids) for reason, pids in card.excluded.items()}
    return {
        "model_id": card.model_id,
        "detector": card.kind,
        "feature_set": card.feature_set,
        "training_window": f"{card.first_day} to {card.last_day}",
        "bins": card.n_bins,
        "bins_by_instrument": dg.MetadataValue.md(markdown_table(("instrument", "bins"), card.n_bins_by_instrument)),
        "excluded": dg.MetadataValue.md(markdown_table(("reason", "bins"), excluded)),
        "threshold": card.threshold,
        "people_agree": label_summary(card) or "not measured",
        "warning": card.note or "none",
        "card": dg.MetadataValue.json(_without_lists(card)),
    }


def _without_lists(card: ModelCard) -> dict[str, Any]:
    content = json.loads(card.to_json())
    return content | {"excluded": {reason: len(pids) for reason, pids in content["excluded"].items()}}


def _severity_pictures(scores: pa.Table, name: str, of: str, *, large: bool) -> dict[str, Any]:
    """A histogram of the severities of all bins that were judged; nothing where there are none."""
    severities = scores.filter(pc.field("verdict").isin(JUDGED))
    if not severities.num_rows:
        return {}
    # Thresholds may differ between instruments: the picture shows the usual one.
    threshold = float(np.median(severities["threshold"].to_numpy()))
    values = severities["severity"].to_numpy()
    found = {name: thumbnail(severity_thumbnail(values, threshold), f"severities of {of}")}
    if large:
        from ifcb_flow_pipeline.pictures import severity_picture  # drawing takes half a second to load

        drawn = severity_picture(values, threshold, f"Severities of {of}")
        found[f"{name}_large"] = picture(drawn, f"severities of {of}")
    return found


def _score_pictures(deployment: Deployment, day: date, scores: pa.Table, *, large: bool) -> dict[str, Any]:
    found = _severity_pictures(scores, "severities", f"{day}", large=large)
    judged = scores.filter(pc.field("verdict").isin(JUDGED)).slice(0, 1).to_pylist()
    if not judged:
        return found
    worst = judged[0]["pid"]
    schema = parse_pid(worst).schema
    try:
        _, columns = deployment.clouds.read_one(day, worst, ("x_px", "y_px", "width_px", "height_px"))
    except FileNotFoundError:
        columns = None  # the clouds are large: some delete old ones
    if deployment.settings.review_url:
        found["worst_bin_page"] = dg.MetadataValue.url(f"{deployment.settings.review_url}/bin?bin={worst}")
    found |= {
        "worst_bin": worst,
        "worst_severity": round(judged[0]["severity"], 1),
        "worst_reasons": judged[0]["reasons"],
    }
    if columns is None:
        return found
    found["worst_cloud"] = thumbnail(cloud_thumbnail(columns, schema), f"cloud of {worst}")
    if large:
        from ifcb_flow_pipeline.pictures import cloud_picture  # as above

        drawn = cloud_picture(columns, schema, f"{worst}, severity {judged[0]['severity']:.0f}")
        found["worst_cloud_large"] = picture(drawn, f"cloud of {worst}")
    return found
