"""The rows of ``bin_features`` as arrays: what a detector needs to know of bins besides their features."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names, numbers, times
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, scaled_values
from ifcb_flow_pipeline.detection.lag_features import DRY_PCT, LAG_FEATURES, below_zero_first, lag_values
from ifcb_flow_pipeline.detection.verdict.rules import READ

#: Values farther out than this say no more, and single precision has room for what is reckoned with them.
_FARTHEST = 1e20

#: Columns that are written into rows together: 64 bytes of each row, as much as a processor writes at a time.
_COLUMNS_TOGETHER = 16


@dataclass(frozen=True, slots=True)
class BinTable:
    """n bins; arrays of shape (n,) but ``values``, the scaled features of shape (n, features), NaN where unknown.

    ``time_s``: start in seconds since 1970; ``judged``: there is something to judge; ``full``: there are
    points enough for all features; ``n_points``: points that the features are of; ``below_zero``: the first bin of its
    instrument whose humidity sensor reads below zero.
    """

    instrument: Names
    configuration: Names
    time_s: NDArray[np.float64]
    judged: NDArray[np.bool_]
    full: NDArray[np.bool_]
    n_points: NDArray[np.float64]
    below_zero: NDArray[np.bool_]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table, metadata: Sequence[FeatureMetadata]) -> "BinTable":
        """The rows of a table with the columns of ``bin_features``. Raises KeyError, naming a missing feature."""
        values = np.empty((table.num_rows, len(metadata)), dtype=np.float32)
        recent = lag_values(table) if any(feature in LAG_FEATURES for feature in metadata) else {}
        for first in range(0, len(metadata), _COLUMNS_TOGETHER):
            some = slice(first, first + _COLUMNS_TOGETHER)
            columns = [_scaled(table, feature, recent) for feature in metadata[some]]
            values[:, some] = np.array(columns, dtype=np.float32).T
        status = Names.of(table, "status")
        return cls(
            instrument=Names.of(table, "instrument"),
            configuration=Names.of(table, "configuration"),
            time_s=times(table),
            judged=status.equal(*READ),
            full=status.equal("ok"),
            n_points=np.nan_to_num(numbers(table, "n_points")),
            below_zero=below_zero_first(table),
            values=values,
        )

    def take(self, rows: NDArray[np.int64]) -> "BinTable":
        """Some of the bins, in this order."""
        return BinTable(
            Names(self.instrument.names, self.instrument.codes[rows]),
            Names(self.configuration.names, self.configuration.codes[rows]),
            self.time_s[rows],
            self.judged[rows],
            self.full[rows],
            self.n_points[rows],
            self.below_zero[rows],
            self.values[rows],
        )

    def __len__(self) -> int:
        return len(self.time_s)


def rows_of_instruments(table: pa.Table) -> dict[str, NDArray[np.int64]]:
    """The rows of each instrument's bins, in the order of time, by its name; the names are sorted."""
    instrument, time_s = Names.of(table, "instrument"), times(table)
    order = np.lexsort((time_s, instrument.codes))
    begins = np.searchsorted(instrument.codes[order], np.arange(len(instrument.names) + 1))
    rows = {
        name: order[begin:end]
        for name, begin, end in zip(instrument.names, begins[:-1].tolist(), begins[1:].tolist(), strict=True)
    }
    return {name: rows[name] for name in sorted(rows) if len(rows[name])}


def taken(table: pa.Table, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a table, in this order; not copied where they follow one another."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return table.slice(int(rows[0]), len(rows))
    return table.take(pa.array(rows))


def _scaled(
    table: pa.Table, feature: FeatureMetadata, recent: Mapping[str, NDArray[np.float64]]
) -> NDArray[np.float64]:
    """The values of one feature on its scale; ``recent``: those of the lag features."""
    found = recent[feature.name] if feature.name in recent else numbers(table, feature.name)
    if feature.name == "humidity_pct":
        found = np.maximum(found, DRY_PCT)
    return np.clip(scaled_values(found, feature.scale), -_FARTHEST, _FARTHEST)
