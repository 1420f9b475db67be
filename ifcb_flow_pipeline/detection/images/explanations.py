"""Why an image is called faulty: the features that speak most for the fault, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.levels import RELATIVE, Levels, model_rows
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE, NAMES

#: What is said of a feature; those that are missing are called by their meaning in the catalogue.
WORDS: Final[Mapping[str, str]] = {
    "log_area": "size of the box", "log_aspect": "shape of the box", "mean": "mean grey value",
    "sd": "spread of the grey values", "p01": "darkest grey values", "p05": "dark grey values",
    "p95": "bright grey values", "p99": "brightest grey values", "f_white": "share of saturated pixels",
    "background": "brightness of the background", "bg_sd": "unrest of the background",
    "bg_range": "range of the background", "bg_noise": "noise of the background",
    "bg_grad_x": "slope of the light along the flow", "bg_grad_y": "slope of the light across the flow",
    "border_dip": "dark line across the border", "border_dip2": "second dark line across the border",
    "lap_var": "fine detail and noise", "tenengrad": "strength of edges", "lap_norm": "fine detail for the contrast",
    "ten_norm": "edges for the contrast", "grad_p99": "strongest edges", "grad_p99_norm": "sharpness of edges",
    "pyr01": "detail at full over half resolution", "pyr12": "detail at half over quarter resolution",
    "pyr23": "detail at quarter over eighth resolution", "edge_x": "width of edges along the flow",
    "edge_y": "width of edges across the flow", "smear_x": "smear along the flow", "smear_lag": "length of the smear",
    "echo_x": "double edges along the flow", "echo_lag": "distance of double edges",
    "smear_y": "smear across the flow", "echo_y": "double edges across the flow",
    "anis": "edges along the flow over edges across it", "orient_c": "one direction of edges", "noise": "noise",
    "block_x": "steps every 8 px along the flow", "block_y": "steps every 8 px across the flow",
    "row_band": "steps between rows", "col_band": "steps between columns", "even_odd": "even against odd rows",
    "obj_frac": "share of the particle in the box", "touch": "share of the border that the particle touches",
    "contrast": "contrast of the particle", "bright_frac": "share of bright parts", "holes": "holes of the particle",
    "ring_eta": "rings around the centre", "rad_sym": "darkness of the centre", "border_runs": "parts at the border",
    "entropy": "variety of grey values", **{f"lbp{k}": f"fine texture, {k} of 8 neighbours brighter" for k in range(9)},
    "lbp9": "irregular fine texture", "glcm_con": "coarse texture", "glcm_hom": "evenness of neighbouring pixels",
}  # fmt: skip

_MEANING: Final = {feature.name: feature.meaning for feature in CATALOGUE}
_FAMILY: Final = {feature.name: feature.family for feature in CATALOGUE}

#: Reasons that are given.
REASONS: Final = 3


@dataclass(frozen=True, slots=True)
class Reason:
    """A feature that speaks for a fault. ``contribution``: what it adds to the log odds of the fault against a clean
    image; ``low``, ``high``: within which nine of ten clean images lie.
    """

    feature: str
    family: str
    contribution: float
    value: float
    low: float
    high: float

    @property
    def name(self) -> str:
        """What the feature is called."""
        return WORDS.get(self.feature, _MEANING[self.feature])

    @property
    def words(self) -> str:
        """For people: ``sharpness of edges 0.12, usual 0.31 to 0.68``."""
        return f"{self.name} {self.value:.3g}, usual {self.low:.3g} to {self.high:.3g}"


def explain(
    model: ImageModel, values: NDArray[np.float64], kind: str, levels: Levels | None = None, n: int = REASONS
) -> list[list[Reason]]:
    """The ``n`` features that speak most for a fault of each image, strongest first; fewer where fewer speak for it.

    ``values``: features, shape (images, len(NAMES)); ``levels``: as given to ``ImageModel.judge``. What is usual of
    features that are a matter of the instrument is taken from ``levels``, where there are any.
    """
    found = model.recogniser.contributions(model_rows(values, levels), kind)[:, : len(NAMES)]
    return [_reasons(model, row, shares, levels, n) for row, shares in zip(values, found, strict=True)]


def _reasons(
    model: ImageModel, values: NDArray[np.float64], shares: NDArray[np.float64], levels: Levels | None, n: int
) -> list[Reason]:
    strongest = [at for at in np.argsort(-shares, kind="stable")[:n] if shares[at] > 0]
    if np.isnan(values[0]):
        return []
    return [
        Reason(NAMES[at], _FAMILY[NAMES[at]], float(shares[at]), float(values[at]), *_usual(model, int(at), levels))
        for at in strongest
    ]


def _usual(model: ImageModel, at: int, levels: Levels | None) -> tuple[float, float]:
    low, high = model.usual[at]
    name = NAMES[at]
    if levels is not None and name in RELATIVE:
        # Nine of ten lie within 1.645 standard deviations.
        low, high = levels.usual[name] * np.exp(np.array([-1.645, 1.645]) * levels.spread[name])
    return float(low), float(high)


#: Features that are named where an image is odd.
_UNUSUAL: Final = 2


def usual_range(history: NDArray[np.float64]) -> NDArray[np.float64]:
    """Within which nine of ten images of an instrument lie: its 5 % and 95 % quantiles, shape (len(NAMES), 2), by the
    features of its healthy images, shape (n, len(NAMES)), NaN where one has none.
    """
    return np.nanquantile(history, [0.05, 0.95], axis=0).T


def unusual(
    model: ImageModel, values: NDArray[np.float64], usual: NDArray[np.float64] | None = None, n: int = _UNUSUAL
) -> list[list[Reason]]:
    """The ``n`` features of each image that lie furthest outside of what is usual, in units of its width, furthest
    first; of one family only one, and fewer where fewer lie outside. For images that are odd without a named fault.

    ``values``: features, shape (images, len(NAMES)); ``usual``: as ``usual_range`` gives it for the instrument, by
    default that of the model's training images. ``contribution`` of a reason is the distance.
    """
    ranges = model.usual if usual is None else usual
    low, high = ranges.T
    width = np.maximum(high - low, 1e-9)
    return [_outside(row, np.maximum(low - row, row - high) / width, ranges, n) for row in values]


def _outside(
    values: NDArray[np.float64], distance: NDArray[np.float64], ranges: NDArray[np.float64], n: int
) -> list[Reason]:
    found: dict[str, Reason] = {}
    if np.isnan(values[0]):
        return []
    for at in np.argsort(-distance, kind="stable"):
        name = NAMES[at]
        if distance[at] > 0 and _FAMILY[name] not in found and len(found) < n:
            low, high = ranges[at]
            found[_FAMILY[name]] = Reason(
                name, _FAMILY[name], float(distance[at]), float(values[at]), float(low), float(high)
            )
    return list(found.values())
