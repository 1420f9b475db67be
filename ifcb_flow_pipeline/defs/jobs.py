"""The jobs: what the sensor, the schedules and people start."""

from datetime import date

import dagster as dg
from pydantic import Field

from ifcb_flow_pipeline.defs.assets import (
    anomaly_model,
    bin_features,
    bin_scores,
    day_of,
    point_clouds,
    raw_bins,
)
from ifcb_flow_pipeline.defs.image_assets import (
    bin_image_scores,
    image_features,
    image_model,
    image_scores,
    window_maps,
)
from ifcb_flow_pipeline.defs.lineage import model_in_use
from ifcb_flow_pipeline.defs.metadata import markdown_rows
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.steps import permanent_failures
from ifcb_flow_pipeline.lasting import forget, gone_bins
from ifcb_flow_pipeline.promotion import promote

#: The assets of a day up to its features and to what its images tell, the latter alone, and all with scores.
IMAGE_STEPS = (image_features, window_maps, image_scores, bin_image_scores)
FEATURE_STEPS = (raw_bins, point_clouds, bin_features, *IMAGE_STEPS)
SCORE_STEPS = (*FEATURE_STEPS, bin_scores)

daily_flow = dg.define_asset_job(
    "daily_flow",
    selection=dg.AssetSelection.assets(*SCORE_STEPS),
    description="Process one day or a range of days, from the archive to the scores.",
)

retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(anomaly_model),
    description="Train a new model on the stored features, and activate it unless it is worse than the active one.",
)


retrain_images = dg.define_asset_job(
    "retrain_images",
    selection=dg.AssetSelection.assets(image_model),
    description="Train a new image model on the archive's own images of bins in order, and put it to use unless it is "
    "worse than the one in use.",
)


class PromoteConfig(dg.Config):
    """Which model to activate, and why."""

    model_id: str = Field(description="Id of the model, as shown by anomaly_model and on the app's page Models.")
    who: str = Field("", description="Who decided. Empty: the run.")
    note: str = Field("", description="Why; recorded in the history.")
    even_if_worse: bool = Field(False, description="Activate it even if it is worse than the active model.")


class RollbackConfig(dg.Config):
    """Why to return to the model before."""

    who: str = Field("", description="Who decided. Empty: the run.")
    note: str = Field("", description="Why; recorded in the history.")


@dg.op(description="Activates a model, unless it is worse than the active one.")
def promote_kept_model(context: dg.OpExecutionContext, config: PromoteConfig, deployment: Deployment) -> None:
    """Compare the model with the one in use, and take it."""
    with permanent_failures():
        trial = promote(
            deployment.models,
            deployment.tables,
            deployment.labels.decisions(),
            deployment.settings.features,
            config.model_id,
            who=config.who or f"run {context.run.run_id}",
            note=config.note,
            even_if_worse=config.even_if_worse,
        )
    context.log_event(model_in_use(config.model_id, {"changed_by": "promote_model", "challenger": trial.text}))
    context.log.info(f"{config.model_id} is active: {trial.text}")


@dg.op(description="Activates the model that was active before this one.")
def return_to_previous_model(context: dg.OpExecutionContext, config: RollbackConfig, deployment: Deployment) -> None:
    """Take back the latest promotion that still stands."""
    with permanent_failures():
        model_id = deployment.models.rollback(config.who or f"run {context.run.run_id}", config.note)
    context.log_event(model_in_use(model_id, {"changed_by": "rollback_model"}))
    context.log.info(f"{model_id} is active again")


class ForgetConfig(dg.Config):
    """Which bins to remove, of those whose files are gone from the archive."""

    first_day: str = Field("", description="First day (UTC), such as 2023-08-01. Empty: from the beginning.")
    last_day: str = Field("", description="Last day (UTC), included. Empty: to the end.")
    instruments: list[str] = Field([], description="Only these instruments, such as IFCB134. Empty: all.")
    remove: bool = Field(False, description="Remove their results for good. Otherwise the run only lists them.")


@dg.op(description="Lists the bins whose files are gone, and removes their results if told to.")
def forget_bins(context: dg.OpExecutionContext, config: ForgetConfig, deployment: Deployment) -> None:
    """Show the bins first; remove only what the configuration says."""
    with permanent_failures():
        first = day_of("first_day", config.first_day) or date.min
        last = day_of("last_day", config.last_day) or date.max
        found = [
            each
            for each in gone_bins(deployment.tables, first, last)
            if not config.instruments or each.instrument in config.instruments
        ]
        rows = [(each.pid, f"{each.since:%Y-%m-%d %H:%M}") for each in found]
        table = dg.MetadataValue.md(markdown_rows(("bin", "files gone since (UTC)"), rows))
        context.add_output_metadata({"bins": len(found), "gone": table})
        removed = forget(deployment.tables, found) if config.remove else 0
    context.log.info(f"{len(found)} bins whose files are gone; {removed} removed")


@dg.job(
    description="List the bins whose files are gone from the archive; with `remove`, remove their results for good."
)
def forget_gone_bins() -> None:
    """One action: the op that forgets."""
    forget_bins()


@dg.job(
    description="Activate a model. Bins are scored by it from now on; stored scores stay as they are until they are "
    "rescored."
)
def promote_model() -> None:
    """One action: the op that promotes."""
    promote_kept_model()


@dg.job(
    description="Roll back to the model that was active before. Stored scores stay as they are until they are rescored."
)
def rollback_model() -> None:
    """One action: the op that rolls back."""
    return_to_previous_model()
