"""From the columns of one bin to its features, with a status that says why there are none."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX, parse_frames
from ifcb_flow_pipeline.bins.pid import Schema
from ifcb_flow_pipeline.fallback import with_kernels
from ifcb_flow_pipeline.features.catalogue import MIN_POINTS, REFERENCE
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO, PointCloud

Triggers = Literal["images", "all"]
TRIGGERS: tuple[Triggers, ...] = ("images", "all")

#: The compiled kernels, which load numba.
_KERNELS = "ifcb_flow_pipeline.features.kernels"

#: Within these, distinct pixels stay distinct and finite after the division by the aspect ratio.
MIN_ASPECT_RATIO, MAX_ASPECT_RATIO = 1e-3, 1e3

#: What is read of an ADC file for the reference set of features.
BOX_COLUMNS = ("x_px", "y_px", "width_px", "height_px")


@dataclass(frozen=True, slots=True)
class FeatureSettings:
    """What features depend on besides the bin: which triggers are points, the aspect ratio of x, and frames.

    ``triggers`` is ``images`` (those with an image) or ``all`` (also those without, at (0, 0) or
    (-11, -11), as ifcb-flow-metric had it until 2025). Both matter to the reference set only. ``frames``: instruments
    whose camera frame is not that of their family, such as ``IFCB160=1360x1840``, separated by spaces; matters to the
    others. Raises ValueError for settings without meaning.
    """

    triggers: Triggers = "images"
    aspect_ratio: float = DEFAULT_ASPECT_RATIO
    frames: str = ""

    def __post_init__(self) -> None:
        if self.triggers not in TRIGGERS:
            raise ValueError(f"triggers must be one of {', '.join(TRIGGERS)}, not {self.triggers!r}")
        if not (np.isfinite(self.aspect_ratio) and self.aspect_ratio > 0):
            raise ValueError(f"the aspect ratio must be a positive number, not {self.aspect_ratio!r}")
        parse_frames(self.frames)

    def frame_px(self, instrument: str, schema: Schema) -> tuple[int, int]:
        """Width and height of an instrument's camera frame."""
        return parse_frames(self.frames).get(instrument, FRAME_PX[schema])


@dataclass(frozen=True, slots=True)
class BinFeatures:
    """The reference features of one bin: ``values`` has shape (number of reference features,).

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
    """Compute all features of the reference set from ``x_px``, ``y_px``, ``width_px`` and ``height_px``, each
    of shape (number of ADC lines,) in file order.

    Columns of int16, as files are read, go through compiled kernels, without Python's lock: threads gain from
    it. Any others go through the functions of the catalogue. The two are equal as the kernels' module says.
    """
    cloud = _cloud(columns, settings)
    n_points = len(cloud.x_px)
    status, reason = status_of(cloud.n_rows, n_points, settings.triggers)
    if status != "ok":
        return BinFeatures(np.full(len(REFERENCE), np.nan), cloud.n_rows, cloud.n_images, n_points, status, reason)
    return BinFeatures(_values(cloud), cloud.n_rows, cloud.n_images, n_points)


def status_of(n_rows: int, n_points: int, triggers: Triggers) -> tuple[str, str]:
    """Whether a cloud has enough points for features: its status and, where it has not, the reason."""
    if n_points >= MIN_POINTS:
        return "ok", ""
    if n_rows == 0:
        return "empty", "no triggers"
    return (
        "too_few_points",
        f"{n_points} {triggers if triggers == 'images' else 'triggers'}, features need {MIN_POINTS}",
    )


def fits_kernels(aspect_ratio: float) -> bool:
    """Whether the kernels take such an aspect ratio."""
    return MIN_ASPECT_RATIO <= aspect_ratio <= MAX_ASPECT_RATIO


def _cloud(columns: Mapping[str, NDArray], settings: FeatureSettings) -> PointCloud:
    x, y, width, height = (columns[name] for name in BOX_COLUMNS)
    if settings.triggers == "images" and _fit_kernels(x, y, width, height):
        boxes = [*map(_plain, (x, y, width, height))]
        points = with_kernels(_KERNELS, lambda kernels: kernels.points_with_image(*boxes))
        if points is not None:
            return PointCloud(points.x_px, points.y_px, len(x), len(points.x_px), settings.aspect_ratio)
    with_image = has_image(columns)
    n_rows, n_images = len(with_image), int(np.count_nonzero(with_image))
    if settings.triggers == "images":
        x, y = x[with_image], y[with_image]
    return PointCloud(x, y, n_rows, n_images, settings.aspect_ratio)


def _values(cloud: PointCloud) -> NDArray[np.float64]:
    """The features in the order of the catalogue, shape (number of reference features,)."""
    known = _from_kernels(cloud) if _fit_kernels(cloud.x_px, cloud.y_px) else {}
    values = [known[f.name] if f.name in known else f.function(cloud) for f in REFERENCE]
    return np.array(values, dtype=np.float64)


def _from_kernels(cloud: PointCloud) -> Mapping[str, float]:
    """The features that the kernels know, by name; none where they do not take such a cloud."""
    return with_kernels(_KERNELS, lambda kernels: _computed(kernels, cloud)) or {}


def _computed(kernels: ModuleType, cloud: PointCloud) -> Mapping[str, float]:
    if not fits_kernels(cloud.aspect_ratio):
        return {}
    if len(cloud.x_px) > kernels.MAX_POINTS:
        return {}
    x, y = _plain(cloud.x_px), _plain(cloud.y_px)
    found = kernels.cloud_features(x, y, cloud.n_rows, cloud.n_images, float(cloud.aspect_ratio))
    return dict(zip(found._fields, found, strict=True))


def _fit_kernels(*columns: NDArray) -> bool:
    """Whether kernels, which check nothing themselves, may be given these columns."""
    shape = columns[0].shape
    return len(shape) == 1 and all(column.dtype == np.int16 and column.shape == shape for column in columns)


def _plain(column: NDArray[np.int16]) -> NDArray[np.int16]:
    # A kernel is compiled anew for memory that is read-only or not in one piece: a copy is cheaper.
    return column if column.flags.behaved and column.flags.c_contiguous else column.copy()
