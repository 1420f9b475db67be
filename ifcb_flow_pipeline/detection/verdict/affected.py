"""How much of a bin is not to be used: severity says how rare a bin is, this says how much of it is lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import optional_numbers

#: What tells the lost share of the run or of the images, by cause: the largest of these features of ``bin_features``.
#: A cause that is not listed and is a fault affects the whole bin: its images may be there, but none is where, or as
#: sharp, as it should be.
_TOLD_BY: Mapping[str, tuple[str, ...]] = {
    "air": ("bubble_fraction", "stray_fraction", "blind_fraction"),
    "clog": ("longest_gap_fraction", "blind_fraction"),
    "stain": ("repeat_fraction", "repeat_anchor_fraction", "hot_cell_fraction"),
    "electronics": ("blind_fraction", "no_image_fraction", "edge_touch_fraction"),
    "laser": ("no_image_fraction",),
    "corrupt": ("bad_line_fraction",),
    "incomplete_run": ("run_time_shortfall",),
}

#: Causes that take nothing from the images: they concern the instrument, the water or its settings.
_HARMLESS = ("leak", "overheating", "config_change", "moved", "bloom", "community", "post_clean", "beads")

#: Of these features as much is usual, wherever the instrument is not known better.
_USUAL: Mapping[str, float] = {"no_image_fraction": 0.1, "stray_fraction": 0.05, "edge_touch_fraction": 0.01}


@dataclass(frozen=True, slots=True)
class Losses:
    """What tells how much of n bins is lost: a feature's value less what is usual, shape (n,), by its name."""

    values: Mapping[str, NDArray[np.float64]]

    @classmethod
    def of(cls, features: pa.Table) -> "Losses":
        """Those of rows of ``bin_features``; NaN where unknown."""
        names = dict.fromkeys(name for told_by in _TOLD_BY.values() for name in told_by)
        values = {name: optional_numbers(features, name) - _USUAL.get(name, 0.0) for name in names}
        return cls(values | {"run_time_shortfall": 1.0 - optional_numbers(features, "run_time_ratio")})

    def at(self, rows: NDArray[np.int64]) -> "Losses":
        """Those of some of the bins."""
        return Losses({name: values[rows] for name, values in self.values.items()})


def affected(losses: Losses, causes: Sequence[str]) -> NDArray[np.float64]:
    """The share of each bin, 0 to 1, that its likeliest cause takes away, shape (n,); 1 where that cannot be told."""
    found, each = np.ones(len(causes)), np.array(causes, dtype=object)
    for cause in set(causes):
        rows = each == cause
        if cause in _HARMLESS:
            found[rows] = 0.0
        elif cause in _TOLD_BY:
            lost = np.stack([losses.values[name][rows] for name in _TOLD_BY[cause]])
            known = np.isfinite(lost).any(axis=0)
            found[rows] = np.where(known, np.nan_to_num(lost, nan=0.0).max(axis=0), 1.0)
    return np.clip(found, 0.0, 1.0)
