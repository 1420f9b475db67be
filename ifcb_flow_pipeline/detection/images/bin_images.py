"""A bin by its images: numbers that are judged like any other feature of its instrument."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.model import ImageScores
from ifcb_flow_pipeline.features.images.catalogue import NAMES

#: Fewer images say too little of a bin.
MIN_IMAGES = 10

#: Particles with less contrast show no edges that a focus could be judged by, grey values.
_MIN_CONTRAST = 25.0

#: Features in which particles of one kind, such as beads, are alike.
_ALIKE = ("log_area", "log_aspect", "sd", "p05", "contrast", "major", "minor", "obj_frac", "solidity", "pyr12",
          "ring_eta", "tenengrad")  # fmt: skip


@dataclass(frozen=True, slots=True)
class BinImages:
    """What the images of a bin say of it; NaN where too few do.

    ``n_images``: images looked at that have features; ``fault_probability``: mean over the images of the probability of
    any fault, ``probability`` of each; higher is worse. ``focus``: median sharpness of edges for their contrast, among
    particles with enough of it, ``fine_detail``: median ``pyr12`` of the same; higher is sharper. ``background``,
    ``noise``: median grey values. ``odd_fraction``, ``flagged_fraction``, ``touching_fraction``: shares of images that
    are odd, have a fault, touch the border of their box. ``spread``: how different the images are; bins of beads have
    the lowest.
    """

    n_images: int
    fault_probability: float
    probability: dict[str, float]
    focus: float
    fine_detail: float
    background: float
    noise: float
    odd_fraction: float
    flagged_fraction: float
    touching_fraction: float
    spread: float

    @property
    def worst(self) -> str:
        """The fault of the highest mean probability; empty where too few images say anything."""
        return (
            "" if np.isnan(self.fault_probability) else max(self.probability, key=lambda kind: self.probability[kind])
        )


def summarise(values: NDArray[np.float64], scores: ImageScores, scale: NDArray[np.float64]) -> BinImages:
    """The numbers of a bin, from the features (n, len(NAMES)) and scores of its images.

    ``scale``: the robust spread of each feature over the training images, shape (len(NAMES),).
    """
    ok = ~np.isnan(values[:, 0])
    n = int(ok.sum())
    if n < MIN_IMAGES:
        nan = float("nan")
        return BinImages(n, nan, dict.fromkeys(scores.kinds, nan), *[nan] * 8)
    measured = values[ok]
    probability = scores.probability[ok].mean(axis=0)
    return BinImages(
        n_images=n,
        fault_probability=float(scores.fault_probability[ok].mean()),
        probability=dict(zip(scores.kinds, probability.tolist(), strict=True)),
        focus=focus_index(measured),
        fine_detail=focus_index(measured, "pyr12"),
        background=float(np.median(measured[:, NAMES.index("background")])),
        noise=float(np.median(measured[:, NAMES.index("noise")])),
        odd_fraction=float(scores.odd[ok].mean()),
        flagged_fraction=float(scores.flagged[ok].mean()),
        touching_fraction=float(np.mean(measured[:, NAMES.index("touch")] > 0.01)),
        spread=alikeness(measured, scale),
    )


def focus_index(values: NDArray[np.float64], feature: str = "grad_p99_norm") -> float:
    """Median of a feature over images with enough contrast; NaN where fewer than MIN_IMAGES have.

    Compare it with the instrument's own history only: large soft cells have a low one, too.
    """
    sharp = values[values[:, NAMES.index("contrast")] > _MIN_CONTRAST, NAMES.index(feature)]
    return float(np.median(sharp)) if sharp.size >= MIN_IMAGES else float("nan")


def alikeness(values: NDArray[np.float64], scale: NDArray[np.float64]) -> float:
    """Median, over features that tell particles apart, of their robust spread in the bin over that in training."""
    at = [NAMES.index(name) for name in _ALIKE]
    columns = values[:, at]
    spread = 1.4826 * np.median(np.abs(columns - np.median(columns, axis=0)), axis=0)
    return float(np.median(spread / np.maximum(scale[at], 1e-6)))
