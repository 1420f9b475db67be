"""What the detectors know of a feature: the scale on which it is roughly normal, its noise, and its role.

All of it is the catalogue's; a model keeps its own copy, so that it goes on meaning the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features import catalogue

#: Below this, a positive number has no logarithm worth having.
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class FeatureMetadata:
    """One feature as the detectors see it; the fields are those of the catalogue."""

    name: str
    unit: str = ""
    scale: str = "plain"
    noise: str = "none"
    role: str = "reference"


def metadata_of(names: Sequence[str]) -> tuple[FeatureMetadata, ...]:
    """The metadata of these features of the catalogue, in this order. Raises KeyError for an unknown one."""
    known = {feature.name: feature for feature in catalogue.CATALOGUE}
    return tuple(_trait(known[name]) for name in names)


def _trait(feature: catalogue.Feature) -> FeatureMetadata:
    # What tells of damage is a share of n lines or boxes, and as uncertain as any other share; so are boxes off the
    # core, and those beyond the frame.
    if feature.role == "quality" or (feature.role == "stray" and feature.scale == "logit"):
        return FeatureMetadata(feature.name, feature.unit, "logit", "mean", feature.role)
    return FeatureMetadata(feature.name, feature.unit, feature.scale, feature.noise, feature.role)


def scaled_values(values: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Values of one feature on a scale: ``plain``, ``log`` or ``logit``; NaN stays NaN.

    A fraction ("logit") is taken to twice the arcsine of its root, in rad: near nothing and near all, where
    a logit runs away, its sampling noise is the same 1 / sqrt(n) as everywhere (Anscombe 1948).
    """
    if scale == "log":
        return np.log(np.maximum(values, _TINY))
    if scale == "logit":
        return 2.0 * np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0)))
    return values


def plain_values(values: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """The inverse of ``scaled_values``."""
    if scale == "log":
        found = np.exp(values)
        return np.where(found > 2.0 * _TINY, found, 0.0)
    if scale == "logit":
        return np.sin(np.clip(values, 0.0, np.pi) / 2.0) ** 2
    return values
