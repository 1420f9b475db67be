"""What is usual for an instrument, and image features as models take them.

Some features are a matter of the instrument: how bright its flash is, how noisy its camera. They mean something only
beside the instrument's own usual value, and enter a model as their deviation from it, on a logarithmic scale and in
units of how much they vary between the instrument's healthy images; NaN while nobody knows what is usual. All others
enter as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features.images.catalogue import CATALOGUE, NAMES

#: Features that are compared with what is usual for the instrument.
RELATIVE: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE if feature.instrument)

#: The columns of a model's rows: all features, those in RELATIVE as deviations.
MODEL_COLUMNS: tuple[str, ...] = tuple(f"{name}_deviation" if name in RELATIVE else name for name in NAMES)

#: Fewer images tell nothing about an instrument.
MIN_IMAGES = 30

#: Added before a logarithm is taken: noise, bands and saturated pixels may be none.
_FLOOR = 0.05

#: The least that a logarithm varies between healthy images; less is the luck of few images.
_LEAST_SPREAD = 0.01

#: From the 5 % to the 95 % quantile of a normal distribution, in standard deviations.
SDS_OF_RANGE = 3.29

_AT = np.array([NAMES.index(name) for name in RELATIVE])


@dataclass(frozen=True, slots=True)
class Levels:
    """What is usual for one instrument. ``usual``: the value of each feature in RELATIVE; ``spread``: how much its
    logarithm varies between healthy images, as a standard deviation; ``limit``: the probability of a fault that one in
    a hundred of its healthy images exceeds, 0 where nobody has looked.
    """

    usual: Mapping[str, float]
    spread: Mapping[str, float]
    limit: float = 0.0

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Levels | None":
        """What is usual by n images of one instrument, most of them healthy; ``values``: shape (n, len(NAMES)).

        None where fewer than MIN_IMAGES have features.
        """
        measured = values[~np.isnan(values[:, 0])][:, _AT]
        if len(measured) < MIN_IMAGES:
            return None
        low, high = np.quantile(_logarithm(measured), [0.05, 0.95], axis=0)
        spread = np.maximum((high - low) / SDS_OF_RANGE, _LEAST_SPREAD)
        return cls(_named(np.median(measured, axis=0)), _named(spread))


def model_rows(values: NDArray[np.float64], levels: Levels | None = None) -> NDArray[np.float64]:
    """Rows for a model, shape (n, len(MODEL_COLUMNS)), of ``values`` (n, len(NAMES)) of one instrument."""
    rows = values.astype(np.float64)
    if levels is None:
        rows[:, _AT] = np.nan
        return rows
    usual, spread = (np.array([of[name] for name in RELATIVE]) for of in (levels.usual, levels.spread))
    rows[:, _AT] = (_logarithm(rows[:, _AT]) - _logarithm(usual)) / spread
    return rows


def _named(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(RELATIVE, values.tolist(), strict=True))


def _logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(np.maximum(values, 0) + _FLOOR)
