"""Light signals and time of flight: how bright particles are, and how fast they pass.

Source of columns: the acquisition software (github.com/robertjolson/ifcb-acq). Time of flight is -999 where it was not
measured, and single values may be absurdly large.
"""

import numpy as np
from numpy.typing import NDArray

#: A peak up to this is the noise of the instrument: the converter's lowest steps are about 0.010 V.
FLOOR_V = 0.012

#: Below this a logarithm says nothing.
SMALLEST_V = 1e-3

#: Step of the clock that times of flight are counted with, and the longest that is believed, in steps.
FLIGHT_STEP_US = 1e6 / 460_000
MAX_FLIGHT_STEPS = 1000


def flight_steps(flight_us: NDArray[np.float64]) -> NDArray[np.float64]:
    """The times of flight that were measured, in steps of the clock; shape (measured,)."""
    steps = np.rint(flight_us[flight_us > 0] / FLIGHT_STEP_US)
    return steps[(steps >= 1) & (steps <= MAX_FLIGHT_STEPS)]


def slope_over_y(peak_v: NDArray[np.float64], y: NDArray[np.float64], frame_height_px: int) -> float:
    """Change of the log of the peak from the top of the frame to its bottom.

    From the medians of the upper and of the lower third of the images. Arrays of shape (images,), images >= 3, without
    NaN. NaN where y does not vary.
    """
    first, last = np.quantile(y, (1 / 3, 2 / 3))
    upper, lower = y <= first, y >= last
    distance = float(np.median(y[lower]) - np.median(y[upper]))
    if distance <= 0:
        return float("nan")
    brightness = np.log(np.maximum(peak_v, SMALLEST_V))
    return float((np.median(brightness[lower]) - np.median(brightness[upper])) / distance * frame_height_px)
