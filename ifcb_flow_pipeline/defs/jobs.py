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
    description="From the archive to the scores, for one day or a range of days.",
)

retrain = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.assets(anomaly_model),
    description="Train a new model on the stored features, and put it to use unless it is worse than the one in use.",
)


retrain_images = dg.define_asset_job(
    "retrain_images",
    selection=dg.AssetSelection.assets(image_model),
    description="Train a new image model on the archive's own images of bins in order, and put it to use unless it is "
    "worse than the one in use.",
)


class PromoteConfig(dg.Config):
    """Which model to put to use, and why."""

    model_id: str = Field(description="The id of a kept model, as the metadata of anomaly_model has it.")
    who: str = Field("", description="Who wants it. Empty: the run.")
    note: str = Field("", description="Why; kept in the history.")
    even_if_worse: bool = Field(False, description="Take it even where it is worse than the model in use.")


class RollbackConfig(dg.Config):
    """Why the model before is wanted again."""

    who: str = Field("", description="Who wants it. Empty: the run.")
    note: str = Field("", description="Why; kept in the history.")


@dg.op(description="Puts a kept model to use, unless it is worse than the one in use.")
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
    context.log.info(f"{config.model_id} is in use: {trial.text}")


@dg.op(description="Puts the model to use that was in use before the present one.")
def return_to_previous_model(context: dg.OpExecutionContext, config: RollbackConfig, deployment: Deployment) -> None:
    """Take back the latest promotion that still stands."""
    with permanent_failures():
        model_id = deployment.models.rollback(config.who or f"run {context.run.run_id}", config.note)
    context.log_event(model_in_use(model_id, {"changed_by": "rollback_model"}))
    context.log.info(f"{model_id} is in use again")


class ForgetConfig(dg.Config):
    """Which bins to remove, of those whose files are gone from the archive."""

    first_day: str = Field("", description="First UTC day, such as 2023-08-01. Empty: the first there is.")
    last_day: str = Field("", description="Last UTC day, included. Empty: the last there is.")
    instruments: list[str] = Field([], description="Only of these instruments, such as IFCB134. Empty: of all.")
    remove: bool = Field(False, description="Remove them, for good. Without it, the run only says which they are.")


@dg.op(description="Says which bins' files are gone, and removes their results where that is wanted.")
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


@dg.job(description="Put a kept model to use. What is scored from now on is scored by it; what is stored stays.")
def promote_model() -> None:
    """One action: the op that promotes."""
    promote_kept_model()


@dg.job(description="Return to the model that was in use before. What is stored stays as it was scored.")
def rollback_model() -> None:
    """One action: the op that rolls back."""
    return_to_previous_model()
