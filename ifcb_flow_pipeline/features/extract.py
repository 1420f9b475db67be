"""From the columns of one bin to its features, with a status that says why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.features.catalogue import CATALOGUE, MIN_POINTS
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO, PointCloud

Triggers = Literal["images", "all"]
TRIGGERS: tuple[Triggers, ...] = ("images", "all")


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """What features depend on besides the bin: which triggers are points, and the aspect ratio of x.

    ``triggers`` is ``images`` (those with an image) or ``all`` (also those without, at (0, 0) or
    (-11, -11), as ifcb-flow-metric had it until 2025). Raises ValueError for settings without meaning.
    """

    triggers: Triggers = "images"
    aspect_ratio: float = DEFAULT_ASPECT_RATIO

    def __post_init__(self) -> None:
        if self.triggers not in TRIGGERS:
            raise ValueError(f"triggers must be one of {', '.join(TRIGGERS)}, not {self.triggers!r}")
        if not (np.isfinite(self.aspect_ratio) and self.aspect_ratio > 0):
            raise ValueError(f"the aspect ratio must be a positive number, not {self.aspect_ratio!r}")


@dataclass(frozen=True, slots=True)
class BinFeatures:
    """The features of one bin: ``values`` has shape (number of features in the catalogue,).

    Where ``status`` is not ``ok`` (but ``empty`` or ``too_few_points``), all values are NaN and
    ``reason`` says why.
    """

    values: NDArray[np.float64]
    n_rows: int
    n_images: int
    n_points: int
    status: str = "ok"
    reason: str = ""


def extract_features(columns: Mapping[str, NDArray], settings: FeatureSettings) -> BinFeatures:
    """Compute all features of the catalogue from ``x_px``, ``y_px``, ``width_px`` and ``height_px``, each
    of shape (number of ADC lines,) in file order.
    """
    with_image = has_image(columns)
    n_rows, n_images = len(with_image), int(np.count_nonzero(with_image))
    x, y = columns["x_px"], columns["y_px"]
    if settings.triggers == "images":
        x, y = x[with_image], y[with_image]
    if len(x) < MIN_POINTS:
        what = "images" if settings.triggers == "images" else "triggers"
        status, reason = ("too_few_points", f"{len(x)} {what}, features need {MIN_POINTS}")
        if n_rows == 0:
            status, reason = "empty", "no triggers"
        return BinFeatures(np.full(len(CATALOGUE), np.nan), n_rows, n_images, len(x), status, reason)
    cloud = PointCloud(x, y, n_rows, n_images, settings.aspect_ratio)
    values = np.array([feature.function(cloud) for feature in CATALOGUE], dtype=np.float64)
    return BinFeatures(values, n_rows, n_images, len(x))
