"""How a new image model comes into use: trained on the archive's own images, and compared with the model in use."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

import numpy as np
import pyarrow.compute as pc

from ifcb_flow_pipeline.days import library_versions
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.promotion import Trial
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.image_files import archive_images
from ifcb_flow_pipeline.store.tables import BIN_SCORES

#: By so much a challenger may find fewer planted faults, or flag more clean images, than the model in use.
_WORSE: Final = 0.02


@dataclass(frozen=True, slots=True)
class ImageTraining:
    """A new image model, and how it did beside the one in use."""

    model: ImageModel
    trial: Trial


def train_on_archive(
    tables: DailyTables,
    archive: Archive,
    champion: ImageModel,
    days: tuple[date, date],
    per_bin: int,
    created: datetime,
) -> ImageTraining:
    """Train on ``per_bin`` images of each bin of the ``days`` (first and last) that is in order, and compare the model
    with the ``champion``, which is in use. Raises ModelError where there are too few such images.
    """
    # Training loads what only it needs.
    from ifcb_flow_pipeline.detection.images.training import planted_features, train_image_model

    rows = tables.read_range(BIN_SCORES, *days, ("pid", "verdict", "image_verdict"))
    healthy = rows.filter((pc.field("verdict") == "ok") & (pc.field("image_verdict") != "bad"))["pid"].to_pylist()
    if not healthy:
        raise ModelError("no bin of these days is in order: an image model is trained on the images of such bins")
    planted = planted_features(archive_images(archive, per_bin, frozenset(healthy)))
    source = f"images of {len(healthy)} bins in order of this archive, {min(healthy)} to {max(healthy)}"
    model = train_image_model(planted, source, created, library_versions())
    return ImageTraining(model, _trial(champion, model, planted.clean, planted.faulty, planted.instruments))


def _trial(
    champion: ImageModel,
    challenger: ImageModel,
    clean: np.ndarray,
    faulty: np.ndarray,
    instruments: np.ndarray,
) -> Trial:
    """The model in use on the images that the challenger was trained on, which were held back in turn for its own
    figures: shares of planted faults that are found, and of clean images that are flagged.
    """
    found, flagged = [], []
    for name in np.unique(instruments):
        mine = instruments == name
        levels = champion.levels_of(str(name), clean[mine])
        copies = faulty[mine].reshape(-1, faulty.shape[-1])
        found.append(champion.judge(copies[~np.isnan(copies[:, 0])], levels).flagged)
        flagged.append(champion.judge(clean[mine], levels).flagged)
    recall, alarms = float(np.concatenate(found).mean()), float(np.concatenate(flagged).mean())
    own = float(challenger.card.metrics["planted_recall"])
    told = f"finds {own:.0%} of planted faults in the archive's images, the model in use {recall:.0%}"
    # A model that flags more finds more: what it flags of clean images counts as much.
    is_worse = own < recall - _WORSE and alarms < _WORSE
    return Trial(not is_worse, f"{'worse' if is_worse else 'no worse'} than {champion.card.model_id}: it {told}")
