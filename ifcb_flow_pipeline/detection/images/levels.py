"""What is usual for an instrument, and image features as models take them.

Some features are a matter of the instrument: how bright its flash is, how noisy its camera. They mean something only
beside the instrument's own usual value, and enter a model as the logarithm of their ratio to it; NaN while nobody
knows what is usual. All others enter as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE, NAMES

#: Features that are compared with what is usual for the instrument.
RELATIVE: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if feature.instrument)

#: The columns of a model's rows: all features, those in RELATIVE as logarithms of ratios.
MODEL_COLUMNS: tuple[str, ...] = tuple(f"{name}_ratio" if name in RELATIVE else name for name in NAMES)

#: Fewer images tell nothing about an instrument.
MIN_IMAGES = 30

#: Added to both sides of a ratio: noise and bands may be zero.
_FLOOR = 0.05

_AT = [NAMES.index(name) for name in RELATIVE]


@dataclass(frozen=True, slots=True)
class Levels:
    """The usual value of each feature in RELATIVE for one instrument."""

    usual: Mapping[str, float]

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Levels | None":
        """The medians over n images of one instrument, most of them healthy; ``values``: shape (n, len(NAMES)).

        None where fewer than MIN_IMAGES have features.
        """
        measured = values[~np.isnan(values[:, 0])]
        if len(measured) < MIN_IMAGES:
            return None
        return cls(dict(zip(RELATIVE, np.median(measured[:, _AT], axis=0).tolist(), strict=True)))


def model_rows(values: NDArray[np.float64], levels: Levels | None = None) -> NDArray[np.float64]:
    """Rows for a model, shape (n, len(MODEL_COLUMNS)), of ``values`` (n, len(NAMES)) of one instrument."""
    rows = values.astype(np.float64)
    if levels is None:
        rows[:, _AT] = np.nan
        return rows
    usual = np.array([levels.usual[name] for name in RELATIVE])
    rows[:, _AT] = np.log((np.maximum(rows[:, _AT], 0) + _FLOOR) / (usual + _FLOOR))
    return rows
