"""Which arrays the file of a flow model holds, and whether they fit each other."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.flow.baselines import Baselines
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.flow.neighbour_averages import LENGTHS, NeighbourDetector
from ifcb_flow_pipeline.detection.flow.tails import TailDetector

#: The arrays of each part of a model in a file, with the lengths of their axes: d features, m instruments, k
#: deployments, g groups of features, q points of a scale, l lengths of stretches, u = m + 1.
SHAPES: Mapping[type, Mapping[str, str]] = {
    Baselines: {"key_instrument": "k", "key_start": "k", "key_end": "k", "key_centre": "kd", "key_bins": "k",
                "centre": "md", "spread": "md", "points": "m", "fleet_centre": "d", "fleet_spread": "d",
                "fleet_range": "d", "sampling": "d", "least": "d"},
    TailDetector: {"power_": "2d", "width_": "2d", "offset_": "g"},
    RarityScale: {"raw_score_": "q", "rarity_": "q", "slope_": ""},
    LabelRanker: {"weights_": "g", "bias_": ""},
    NeighbourDetector: {"spread_": "lud"},
}  # fmt: skip


def part_arrays(part: type, prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays of one part of a model. Raises KeyError, ValueError where they are missing or no numbers."""
    found = {name: arrays[f"{prefix}.{name}"] for name in SHAPES[part]}
    for name, values in found.items():
        if values.dtype.kind not in "fi":
            raise ValueError(f"{prefix}.{name} holds {values.dtype}")
    return found


def check_shapes(parts: Sequence[Any]) -> None:
    """Raise ValueError where the arrays of a file do not fit each other; the first two are baselines and tails."""
    baselines, tails = parts[:2]
    lengths = {
        "d": len(baselines.metadata),
        "m": len(baselines.instruments),
        "u": len(baselines.instruments) + 1,
        "k": len(baselines.configurations),
        "g": len(tails.groups),
        "l": len(LENGTHS),
        "2": 2,
    }
    for part in parts:
        if isinstance(part, RarityScale):
            lengths["q"] = len(np.atleast_1d(part.raw_score_))
        for name, axes in SHAPES[type(part)].items():
            shape = tuple(lengths[axis] for axis in axes)
            if np.shape(getattr(part, name)) != shape:
                raise ValueError(f"{name} has shape {np.shape(getattr(part, name))} in place of {shape}")
    owners = baselines.key_instrument
    if owners.dtype.kind != "i" or (owners < 0).any() or (owners >= lengths["m"]).any() or not lengths["k"]:
        raise ValueError("a deployment is of no instrument")
