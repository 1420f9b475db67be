"""How much of a bin is not to be used: severity says how rare a bin is, this says how much of it is lost."""

from collections.abc import Mapping, Sequence

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
}

#: Causes that take nothing from the images: they concern the instrument, the water or its settings.
_HARMLESS = ("leak", "overheating", "config_change", "moved", "bloom", "community", "post_clean", "beads")

#: Of these features as much is usual, wherever the instrument is not known better.
_USUAL: Mapping[str, float] = {"no_image_fraction": 0.1, "stray_fraction": 0.05, "edge_touch_fraction": 0.01}


def affected(features: pa.Table, causes: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """The share of each bin, 0 to 1, that its likeliest cause takes away, shape (n,); 1 where that cannot be told.

    ``features``: rows of ``bin_features``; ``causes``: of each of them, likeliest first.
    """
    found = np.ones(len(causes))
    first = np.array([each[0] if each else "" for each in causes], dtype=object)
    for cause in set(first.tolist()):
        rows = first == cause
        if cause in _HARMLESS:
            found[rows] = 0.0
        elif cause == "incomplete_run":
            found[rows] = np.nan_to_num(1.0 - optional_numbers(features, "run_time_ratio")[rows], nan=1.0)
        elif cause in _TOLD_BY:
            values = [_lost(features, name)[rows] for name in _TOLD_BY[cause]]
            lost = np.nanmax(np.stack([np.where(np.isnan(each), -1.0, each) for each in values]), axis=0)
            found[rows] = np.where(lost < 0.0, 1.0, lost)
    return np.clip(found, 0.0, 1.0)


def _lost(features: pa.Table, name: str) -> NDArray[np.float64]:
    return np.where(
        np.isnan(values := optional_numbers(features, name)), np.nan, np.maximum(values - _USUAL.get(name, 0.0), 0.0)
    )
