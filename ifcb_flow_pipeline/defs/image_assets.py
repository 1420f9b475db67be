"""The assets of images by day: features of sampled images -> maps of windows -> scores of images -> scores of bins."""

import json
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow.compute as pc
from pydantic import Field

from ifcb_flow_pipeline import days, image_days
from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.assets import day_of, point_clouds, raw_bins
from ifcb_flow_pipeline.defs.metadata import (
    markdown_rows,
    outcome_metadata,
    thumbnail,
    verdict_metadata,
)
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.steps import (
    RETRY,
    Results,
    Step,
    daily_asset,
    each_day,
    made_by,
    permanent_failures,
    recorded,
    rows_told,
)
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM
from ifcb_flow_pipeline.image_promotion import train_on_archive
from ifcb_flow_pipeline.store.image_tables import map_of
from ifcb_flow_pipeline.store.tables import BIN_IMAGE_SCORES, IMAGE_FEATURES, IMAGE_SCORES, WINDOW_MAPS
from ifcb_flow_pipeline.thumbnails import severity_thumbnail, window_thumbnail

#: Statuses of single images: their bin was looked at.
_OF_IMAGES = ("ok", "too_small", "impossible", "cut_off")

#: A cell of the window that is darker than around it by so many grey values is shown dark, or dark in this share of
#: images; where so many images tell.
_DARKER_GREY, _DARK_SHARE, _TELLING = 3.0, 0.5, 10


@daily_asset(IMAGE_FEATURES, deps=[raw_bins, point_clouds], code_version="1")
def image_features(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Compute the features of a sample of each bin's images, from its .roi file."""
    with permanent_failures():
        made = each_day(context, deployment, IMAGE_FEATURES, _feature_step(deployment))
        yield from recorded(context, made)


class TrainImagesConfig(dg.Config):
    """What an image model is trained on."""

    first_day: str = Field("", description="First UTC day to train on, such as 2023-08-01. Empty: the first there is.")
    last_day: str = Field("", description="Last UTC day to train on, included. Empty: the last there is.")
    images_per_bin: int = Field(20, description="Images of each bin that is in order. 0: all.")
    use: bool = Field(
        True, description="Put it to use for what is scored from now on, unless it is worse than the model in use."
    )


@dg.asset(
    deps=[image_features],
    retry_policy=RETRY,
    group_name=lineage.GROUP,
    kinds={"python", "scikitlearn"},
    code_version="1",
    description="A model of faults and oddness of images, trained on the archive's own images of bins in order. Until "
    "one is in use, the model that comes with the package is.",
)
def image_model(
    context: dg.AssetExecutionContext, config: TrainImagesConfig, deployment: Deployment
) -> dg.MaterializeResult:
    """Train an image model, keep it under its own id, compare it with the one in use, and put it to use."""
    with permanent_failures():
        models = deployment.image_models
        trained = train_on_archive(
            deployment.tables,
            deployment.settings.archive,
            models.load(),
            (day_of("first_day", config.first_day) or date.min, day_of("last_day", config.last_day) or date.max),
            config.images_per_bin,
            datetime.now(tz=UTC),
        )
        card, trial = trained.model.card, trained.trial
        models.save(trained.model)
        context.log.info(f"trained {card.model_id} on {sum(card.n_images.values())} images")
        if config.use and trial.passed:
            models.promote(card.model_id, f"run {context.run.run_id}", trial.text)
        current = models.card().model_id
    return dg.MaterializeResult(
        metadata={
            "model_id": card.model_id,
            "challenger": trial.text,
            "in_use": card.model_id == current,
            "images_by_instrument": dg.MetadataValue.md(
                markdown_rows(("instrument", "images"), [*card.n_images.items()])
            ),
            "card": dg.MetadataValue.json(json.loads(card.to_json())),
        },
        data_version=dg.DataVersion(current),
    )


#: Windows, scores of images and scores of bins are told in the light of the days before.
_WITH_HISTORY = dg.TimeWindowPartitionMapping(start_offset=-days.HISTORY_DAYS, end_offset=0)


@daily_asset(WINDOW_MAPS, deps=[image_features, raw_bins], code_version="1")
def window_maps(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Lay the images of each day's bins into the camera frame, and compare it with the deployment's frame before."""
    with permanent_failures():
        made = each_day(context, deployment, WINDOW_MAPS, _window_step(deployment))
        yield from recorded(context, made)


@daily_asset(
    IMAGE_SCORES,
    deps=[dg.AssetDep(image_features, partition_mapping=_WITH_HISTORY), image_model],
    code_version="1",
)
def image_scores(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Judge each image with the image model, beside what is usual for its instrument."""
    with permanent_failures():
        made = each_day(context, deployment, IMAGE_SCORES, _score_step(deployment))
        yield from recorded(context, made)


@daily_asset(BIN_IMAGE_SCORES, deps=[window_maps, image_scores], code_version="1")
def bin_image_scores(context: dg.AssetExecutionContext, deployment: Deployment) -> Results:
    """Judge each bin by its images, in the light of the instrument's bins before."""
    with permanent_failures():
        made = each_day(context, deployment, BIN_IMAGE_SCORES, _bin_step(deployment))
        yield from recorded(context, made)


def _feature_step(deployment: Deployment) -> Step:
    tables, settings = deployment.tables, deployment.settings

    def step(day: date) -> dict[str, Any]:
        rows = image_days.write_image_features(tables, settings.archive, settings.images_per_bin, day)
        bins = rows.group_by("pid", use_threads=False).aggregate([("status", "first")])
        statuses = ["ok" if status in _OF_IMAGES else status for status in bins["status_first"].to_pylist()]
        counts = days.status_counts(rows.filter(pc.field("row").is_valid())["status"].to_pylist())
        told = dg.MetadataValue.md(markdown_rows(("images", "number"), list(counts.items())))
        return outcome_metadata(statuses, rows.num_rows, 0.0) | {
            "images": sum(counts.values()),
            "images_by_status": told,
        }

    return step


def _window_step(deployment: Deployment) -> Step:
    tables, archive = deployment.tables, deployment.settings.archive
    history = days.RecentDays(tables, WINDOW_MAPS)

    def step(day: date) -> dict[str, Any]:
        rows = image_days.write_window_maps(tables, archive, day, history.before(day)).to_pylist()
        scored = [
            (z, row["instrument"], pid, f"{x_px}, {y_px}")
            for row in rows
            for pid, z, x_px, y_px in zip(row["pids"], row["z"], row["worst_x_px"], row["worst_y_px"], strict=True)
            if z == z
        ]
        worst = [(f"{z:.1f}", *told) for z, *told in sorted(scored, reverse=True)[:10]]
        found = {"dagster/row_count": len(rows), "bins": sum(len(row["pids"]) for row in rows)}
        found |= {"windows": dg.MetadataValue.md(markdown_rows(("z", "instrument", "bin", "x, y (px)"), worst))}
        return found | {
            f"window_of_{name}": _window_picture([row for row in rows if row["instrument"] == name], name)
            for name in sorted({row["instrument"] for row in rows})
        }

    return step


def _score_step(deployment: Deployment) -> Step:
    tables, model = deployment.tables, deployment.image_models.load()
    history = image_days.ImageHistory.of(tables)

    def step(day: date) -> dict[str, Any]:
        rows = image_days.write_image_scores(tables, model, day, history)
        counts = days.status_counts(rows["fault"].to_pylist())
        found = {"dagster/row_count": rows.num_rows, "model_id": model.card.model_id}
        found |= {"images_by_fault": dg.MetadataValue.md(markdown_rows(("fault", "images"), list(counts.items())))}
        if rows.num_rows:
            percent = 100.0 * rows["fault_probability"].to_numpy().astype(np.float64)
            drawn = severity_thumbnail(percent, 100.0 * model.card.known_threshold)
            found["fault_probabilities"] = thumbnail(drawn, f"fault probabilities of the images of {day}, percent")
        return found

    return step


def _bin_step(deployment: Deployment) -> Step:
    tables, model = deployment.tables, deployment.image_models.load()
    history = days.RecentDays(tables, BIN_IMAGE_SCORES, image_days.BIN_HISTORY_COLUMNS)

    def step(day: date) -> dict[str, Any]:
        rows = image_days.write_bin_image_scores(tables, model, day, history.before(day))
        found = rows_told(rows) | {"model_id": model.card.model_id} | verdict_metadata(rows)
        worst = rows.filter(pc.field("verdict").isin(["bad", "watch"])).sort_by([("severity", "descending")])
        told = [(row["pid"], f"{row['severity']:.0f}", row["reasons"]) for row in worst.slice(0, 10).to_pylist()]
        found |= {"worst_bins": dg.MetadataValue.md(markdown_rows(("bin", "severity", "reasons"), told))}
        severities = rows["severity"].to_numpy()
        if np.isfinite(severities).any():
            drawn = severity_thumbnail(severities, BAD_FROM)
            found["severities"] = thumbnail(drawn, f"severities of {day} by images alone")
        return found

    return step


def _window_picture(rows: list[dict[str, Any]], name: str) -> dg.MarkdownMetadataValue:
    cells = sum((map_of(row).cells for row in rows), np.zeros(1))
    telling = cells[2] >= _TELLING
    darker = telling & (cells[0] < -_DARKER_GREY * cells[2]) | (cells[4] >= _TELLING) & (
        cells[3] > _DARK_SHARE * cells[4]
    )
    return thumbnail(window_thumbnail(cells[4] > 0, darker), f"window of {name}")


made_by(IMAGE_FEATURES, lambda deployment, _config, _days: _feature_step(deployment))
made_by(WINDOW_MAPS, lambda deployment, _config, _days: _window_step(deployment))
made_by(IMAGE_SCORES, lambda deployment, _config, _days: _score_step(deployment))
made_by(BIN_IMAGE_SCORES, lambda deployment, _config, _days: _bin_step(deployment))
