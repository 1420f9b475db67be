"""What only the bins just before tell: a box that stays where it was, humidity that rises, heat.

These are features like the others, made here from the table because they need more than one bin.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names, optional_numbers, times
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata

#: Bins before a bin that are looked at, for boxes and for the air in the housing.
_BOX_BINS, _AIR_BINS = 5, 8

#: Two boxes this near to each other in all sides are the same: the lattice that cameras report has steps of 8 px.
_SAME_BOX_PX = 8.0

#: Below so many per cent the air in the housing is dry, whatever the sensor says: no water evaporates there. Sensors
#: read down to -8 % (field measurements, November 2026).
DRY_PCT = 20.0

_BOX = ("stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px")

#: The features of this module with what they mean.
LAG_FEATURES: Mapping[FeatureMetadata, str] = {
    FeatureMetadata("stuck_persistence", "fraction", "plain", "none", "stuck"): (
        "share of the five bins before whose most repeated box is at the same place"
    ),
    FeatureMetadata("humidity_rise_pct", "%", "plain", "none", "environment"): (
        "relative humidity above the median of the eight bins before"
    ),
    FeatureMetadata("temperature_rise_c", "°C", "plain", "none", "environment"): (
        "temperature above the median of the eight bins before"
    ),
}


def lag_values(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """The features of LAG_FEATURES for rows of ``bin_features``, shape (n,) each; NaN where there is nothing before."""
    instrument = Names.of(table, "instrument").codes
    order = np.lexsort((times(table), instrument))
    before = _Before(instrument[order])
    boxes = np.stack([optional_numbers(table, name)[order] for name in _BOX])
    found = {
        "stuck_persistence": _persistence(boxes, before),
        "humidity_rise_pct": _rise(np.maximum(optional_numbers(table, "humidity_pct")[order], DRY_PCT), before),
        "temperature_rise_c": _rise(optional_numbers(table, "temperature_c")[order], before),
    }
    back = np.argsort(order)
    return {name: values[back] for name, values in found.items()}


def below_zero_first(table: pa.Table) -> NDArray[np.bool_]:
    """Which rows of ``bin_features`` are the first of their instrument whose humidity sensor reads below zero, (n,)."""
    is_below = optional_numbers(table, "humidity_pct") < 0.0
    rows = np.flatnonzero(is_below)
    rows = rows[np.argsort(times(table)[rows], kind="stable")]
    _, first = np.unique(Names.of(table, "instrument").codes[rows], return_index=True)
    found = np.zeros(table.num_rows, dtype=bool)
    found[rows[first]] = True
    return found


class _Before:
    """Values of the rows before each row, of the same instrument; rows in order of instrument and time."""

    def __init__(self, instrument: NDArray[np.int64]) -> None:
        self._instrument = instrument

    def same(self, back: int) -> NDArray[np.bool_]:
        """Which rows, from row ``back`` on, have a row so many before them."""
        return self._instrument[back:] == self._instrument[: max(len(self._instrument) - back, 0)]

    def of(self, values: NDArray[np.float64], back: int) -> NDArray[np.float64]:
        """The values ``back`` rows before, NaN where there is none."""
        found = np.full(values.shape, np.nan)
        found[back:] = np.where(self.same(back), values[: max(len(values) - back, 0)], np.nan)
        return found


def _persistence(boxes: NDArray[np.float64], before: _Before) -> NDArray[np.float64]:
    """``boxes``: shape (4, n)."""
    n = boxes.shape[1]
    same = np.zeros(n)
    known = np.zeros(n)
    for back in range(1, min(_BOX_BINS, n) + 1):
        distance = np.abs(boxes[:, back:] - boxes[:, : n - back]).max(axis=0)
        distance[~before.same(back)] = np.nan
        same[back:] += distance <= _SAME_BOX_PX
        known[back:] += np.isfinite(distance)
    return np.where(known >= 3, same / np.maximum(known, 1), np.nan)


def _rise(values: NDArray[np.float64], before: _Before) -> NDArray[np.float64]:
    past = np.sort(np.stack([before.of(values, back) for back in range(1, _AIR_BINS + 1)]), axis=0)  # NaN comes last
    known = np.isfinite(past).sum(axis=0)
    median = np.take_along_axis(past, np.maximum((known - 1) // 2, 0)[None], axis=0)[0] if len(values) else values
    return np.where(known >= 3, values - median, np.nan)
