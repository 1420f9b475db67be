"""The assets: raw bins -> point clouds -> features -> scores by day, and the model that scores.

Each writes its own file through the layer below, atomically, one day at a time; Dagster only knows that it
did. The model is linked by ``deps``: which bins it is trained on is configuration, not partitioning.
"""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.metadata import (
    comparison_metadata,
    day_text,
    episode_metadata,
    markdown_table,
    outcome_metadata,
    picture,
    review_page,
    thumbnail,
    verdict_metadata,
)
from ifcb_flow_pipeline.defs.partitions import today
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.steps import (
    RETRY,
    Results,
    Step,
    daily_asset,
    days_of_run,
    each_day,
    made_by,
    permanent_failures,
    recorded,
    rows_told,
)
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelCard, ModelError, parse_amount
from ifcb_flow_pipeline.detection.open_model import AnyModel, Detector, ForestChoice, detector_and_features
from ifcb_flow_pipeline.detection.verdict.episodes import EPISODE_COLUMNS, episodes_of
from ifcb_flow_pipeline.features.catalogue import FeatureSet
from ifcb_flow_pipeline.features.selection import select_features
from ifcb_flow_pipeline.promotion import label_summary, recent_features, try_challenger
from ifcb_flow_pipeline.store.daily import DamagedError
from ifcb_flow_pipeline.store.models import CURRENT
from ifcb_flow_pipeline.store.overview import renew_overviews
from ifcb_flow_pipeline.store.sample_times import SampleTimes
from ifcb_flow_pipeline.store.survey import Budget
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, JUDGED, POINT_CLOUDS, RAW_BINS
from ifcb_flow_pipeline.thumbnails import cloud_thumbnail, severity_thumbnail

#: A run looks for so long, at most, for bins that no day has; the look goes on from those of the sensor.
LEFT_OUT_SECONDS = 30.0


@daily_asset(RAW_BINS, deps=[lineage.archive], code_version="1")
def raw_bins(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """List the archive once for all days of the run, and write the inventory of each."""
    with permanent_failures():
        archive = deployment.settings.archive
        wanted = days_of_run(context)
        listing = archive.scan(wanted[0], wanted[-1])
        context.log.info(f"{len(listing.bins)} bins of {day_text(wanted)} in {archive.root}")
        made = each_day(
            context,
            deployment,
            RAW_BINS,
            lambda day: rows_told(days.write_inventory(deployment.tables, archive, listing, day)),
        )
        if not deployment.left_out.renew(deployment.settings, today(), Budget(LEFT_OUT_SECONDS), context.log):
            context.log.warning(
                "no time to look through all of the archive: what is left out is that of an earlier run"
            )
        yield from recorded(context, made)


@daily_asset(POINT_CLOUDS, deps=[raw_bins], code_version="1")
def point_clouds(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Read the ADC and HDR files of each day's inventory and write its clouds."""
    with permanent_failures():
        made = each_day(context, deployment, POINT_CLOUDS, _cloud_step(deployment))
        yield from recorded(context, made)


@daily_asset(BIN_FEATURES, deps=[point_clouds], code_version="1")
def bin_features(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Compute the features of each day's bins from the stored clouds."""
    with permanent_failures():
        made = each_day(context, deployment, BIN_FEATURES, _feature_step(deployment))
        yield from recorded(context, made)


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


@daily_asset(BIN_SCORES, deps=[_WITH_HISTORY, lineage.BIN_IMAGE_SCORES_KEY, anomaly_model], code_version="4")
def bin_scores(context: dg.AssetExecutionContext, config: ScoreConfig, deployment: Deployment) -> Results:
    """Judge each day's features with the model, in the light of the days before, and join what the images tell."""
    with permanent_failures():
        made = each_day(context, deployment, BIN_SCORES, _score_step(deployment, config.model_id, days_of_run(context)))
        # What is going on is told once, at the end, from all days.
        last = days_of_run(context)[-1]
        verdicts = days.RecentDays(deployment.tables, BIN_SCORES, EPISODE_COLUMNS).before(last + timedelta(days=1))
        running = episode_metadata(episodes_of(verdicts, datetime.now(tz=UTC)))
        made[last] = replace(made[last], metadata={**made[last].metadata, **running})
        renew_overviews(deployment.tables)
        yield from recorded(context, made)


def _cloud_step(deployment: Deployment) -> Step:
    def step(day: date) -> dict[str, Any]:
        entries = days.write_clouds(deployment.tables, deployment.settings.archive, day)
        found = outcome_metadata([entry.status for entry in entries], sum(entry.n_rows for entry in entries), 0.0)
        return found | {"images": sum(entry.n_images for entry in entries),
                        "unusable_adc_lines": sum(entry.bad_lines for entry in entries)}  # fmt: skip

    return step


def _feature_step(deployment: Deployment) -> Step:
    settings, tables, corrected = deployment.settings, deployment.tables, SampleTimes.read(deployment.settings.home)

    def step(day: date) -> dict[str, Any]:
        made = rows_told(days.write_features(tables, settings.features, day, corrected, settings.archive))
        # At once: the clouds of many years are not to be kept until the night.
        days.drop_old_clouds(tables, day, settings.cloud_days, settings.archive.now())
        return made

    return step


def _score_step(deployment: Deployment, model_id: str, wanted: list[date]) -> Step:
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
        found = rows_told(scores) | {"model_id": model.card.model_id} | verdict_metadata(scores)
        found |= review_page(deployment, f"timeline?from={day}T00:00&to={day + timedelta(days=1)}T00:00")
        # Large pictures, which take longer than scoring, are of the last day of a run only; all days have small ones.
        return found | _score_pictures(deployment, day, scores, large=day == wanted[-1])

    return step


made_by(POINT_CLOUDS, lambda deployment, _config, _days: _cloud_step(deployment))
made_by(BIN_FEATURES, lambda deployment, _config, _days: _feature_step(deployment))
made_by(
    BIN_SCORES,
    lambda deployment, config, wanted: _score_step(deployment, config.get("model_id", CURRENT), wanted),
)


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
