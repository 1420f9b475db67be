"""Bins of one instrument with values of one's own making: what the baseline and its parts are tested with."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata

#: Two features that wander, the core's place and a size, and one that hardly does.
METADATA = (
    FeatureMetadata("core_x_px", "px", role="position"),
    FeatureMetadata("width_median_px", "px", role="size"),
    FeatureMetadata("core_tilt", "", role="tilt"),
)
CORE, SIZE, TILT = range(3)

CADENCE_S = 24 * 60.0
DAY_S = 86_400.0
START_S = 1.7e9


def bins_of(
    values: NDArray,
    configuration: Sequence[str] | None = None,
    time_s: NDArray | None = None,
    n_points: NDArray | float = 900.0,
) -> BinTable:
    """Bins with these values (n, d), every CADENCE_S unless said, of one configuration unless said."""
    n = len(values)
    names = tuple(dict.fromkeys(configuration)) if configuration is not None else ("a",)
    codes = np.array([names.index(name) for name in configuration or ["a"] * n], dtype=np.int64)
    every = np.ones(n, dtype=bool)
    return BinTable(
        instrument=Names(("IFCB1",), np.zeros(n, dtype=np.int64)),
        configuration=Names(names, codes),
        time_s=START_S + CADENCE_S * np.arange(n) if time_s is None else np.asarray(time_s, dtype=np.float64),
        judged=every,
        full=every.copy(),
        n_points=np.broadcast_to(np.asarray(n_points, dtype=np.float64), (n,)).copy(),
        below_zero=np.zeros(n, dtype=bool),
        values=np.asarray(values, dtype=np.float32),
    )


def wandering(n: int, seed: int, scatter: float, range_: float, memory_s: float) -> NDArray[np.float32]:
    """A level that wanders as an Ornstein-Uhlenbeck process with bins that scatter around it, shape (n,)."""
    rng = np.random.default_rng([seed, 7])
    keep = np.exp(-CADENCE_S / memory_s)
    level = np.empty(n)
    level[:1] = range_ * rng.standard_normal()
    for i in range(1, n):
        level[i] = keep * level[i - 1] + range_ * np.sqrt(1 - keep**2) * rng.standard_normal()
    return (level + scatter * rng.standard_normal(n)).astype(np.float32)


#: How bins scatter around 0: the core by more than what counts as a difference at all.
SCATTER = np.array([5.0, 1.0, 1.0], np.float32)


def noise(n: int, seed: int = 0) -> NDArray[np.float32]:
    """Healthy bins that scatter around 0, shape (n, d)."""
    return SCATTER * np.random.default_rng([seed, 5]).standard_normal((n, len(METADATA))).astype(np.float32)
