"""What the rows of an ADC file show of the file itself: signals that are dead, times that stand still, lost places.

All columns are needed for that, so it is found once, as the file is read, and goes with the bin from there on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image

#: The channels of the photomultipliers.
SIGNALS = ("pmt_a", "pmt_b", "pmt_c", "pmt_d", "peak_a", "peak_b", "peak_c", "peak_d")

#: Among fewer rows, a signal may be the same by chance: at the noise floor there are few steps.
MIN_ROWS = 20

_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class FileQuality:
    """What was found; the fields named as features are these features, NaN where the file does not tell.

    ``dead_signals``: names of the channels that have one and the same number in all rows, separated by spaces. A
    channel without any number is not recorded, and so not dead.
    """

    dead_signals: str = ""
    dead_signal_fraction: float = _NAN
    time_still_fraction: float = _NAN
    start_byte_gap_fraction: float = _NAN

    @classmethod
    def of(cls, columns: Mapping[str, NDArray]) -> "FileQuality":
        """From the columns of an ADC file (see ``bins.adc``); what needs one that is not among them stays unknown."""
        known = {name: columns[name][~np.isnan(columns[name])] for name in SIGNALS if name in columns}
        recorded = {name: values for name, values in known.items() if len(values) >= MIN_ROWS}
        dead = [name for name, values in recorded.items() if (values == values[0]).all()]
        return cls(
            " ".join(dead),
            len(dead) / len(recorded) if recorded else _NAN,
            _time_still_fraction(columns) if {"trigger", "t_s"} <= columns.keys() else _NAN,
            _start_byte_gap_fraction(columns) if "start_byte" in columns else _NAN,
        )

    def known(self) -> dict[str, Any]:
        """The fields that say something, by name; fit for JSON."""
        values = ((name, getattr(self, name)) for name in self.__dataclass_fields__)
        return {name: value for name, value in values if value != "" and not _is_nan(value)}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _time_still_fraction(columns: Mapping[str, NDArray]) -> float:
    """Triggers at the very time of the trigger before, of all but the first."""
    is_new = np.flatnonzero(np.diff(columns["trigger"]) != 0)
    if not len(is_new):
        return _NAN
    times = columns["t_s"]
    return float(np.mean(times[is_new + 1] == times[is_new]))


def _start_byte_gap_fraction(columns: Mapping[str, NDArray]) -> float:
    """Images that do not start in the .roi file where the image before ends, of all but the first."""
    rows = np.flatnonzero(has_image(columns))
    if len(rows) < 2:
        return _NAN
    start, width, height = (columns[name][rows].astype(np.int64) for name in ("start_byte", "width_px", "height_px"))
    return float(np.mean(start[1:] != (start + width * height)[:-1]))
