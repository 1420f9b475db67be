"""Light signals and time of flight: how bright particles are, and how fast they pass.

Source of columns: the acquisition software (github.com/robertjolson/ifcb-acq). Time of flight is -999 where it was not
measured, and single values may be absurdly large.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A peak up to this is the noise of the instrument: the converter's lowest steps are about 0.010 V.
FLOOR_V = 0.012

#: Below this a logarithm says nothing.
_SMALLEST_V = 1e-3

#: IQR over standard deviation of a normal distribution.
IQR_SIGMA = 1.349


def trigger_peak(header: Mapping[str, Any]) -> str:
    """The column of the signal that triggers: photomultiplier A or B; B (fluorescence), as most have, if unknown."""
    return "peak_a" if header.get("trigger_selection") == 1 else "peak_b"


def measured(flight_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times of flight that were measured."""
    return flight_us[flight_us > 0]


def relative_spread(values: NDArray[np.float64]) -> float:
    """Robust standard deviation over median, of positive values of shape (n,), n >= 1."""
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float((high - low) / IQR_SIGMA / median)


def slope_over_y(peak_v: NDArray[np.float64], y: NDArray[np.float64], frame_height_px: int) -> float:
    """Change of the log of the peak from the top of the frame to its bottom; NaN where y does not vary.

    From the medians of the upper and of the lower third of the images. Arrays of shape (images,), images >= 3.
    """
    first, last = np.quantile(y, (1 / 3, 2 / 3))
    upper, lower = y <= first, y >= last
    distance = float(np.median(y[lower]) - np.median(y[upper]))
    if distance <= 0:
        return float("nan")
    brightness = np.log(np.maximum(peak_v, _SMALLEST_V))
    return float((np.median(brightness[lower]) - np.median(brightness[upper])) / distance * frame_height_px)
