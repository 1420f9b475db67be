"""The rows of ``bin_features`` as arrays: what a detector needs to know of bins besides their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names, numbers, times
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, scaled_values
from ifcb_flow_pipeline.detection.lag_features import DRY_PCT, LAG_FEATURES, lag_values
from ifcb_flow_pipeline.detection.verdict.rules import READ


@dataclass(frozen=True, slots=True)
class BinTable:
    """n bins; arrays of shape (n,) but ``values``, the scaled features of shape (n, features), NaN where unknown.

    ``time_s``: start in seconds since 1970; ``judged``: there is something to judge; ``full``: there are
    points enough for all features; ``n_points``: points that the features are of.
    """

    instrument: Names
    configuration: Names
    time_s: NDArray[np.float64]
    judged: NDArray[np.bool_]
    full: NDArray[np.bool_]
    n_points: NDArray[np.float64]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, table: pa.Table, metadata: Sequence[FeatureMetadata]) -> "BinTable":
        """The rows of a table with the columns of ``bin_features``. Raises KeyError, naming a missing feature."""
        values = np.empty((table.num_rows, len(metadata)), dtype=np.float32, order="F")
        recent = lag_values(table) if any(feature in LAG_FEATURES for feature in metadata) else {}
        for column, feature in enumerate(metadata):
            found = recent[feature.name] if feature.name in recent else numbers(table, feature.name)
            if feature.name == "humidity_pct":
                found = np.maximum(found, DRY_PCT)
            values[:, column] = scaled_values(found, feature.scale)
        status = Names.of(table, "status")
        return cls(
            instrument=Names.of(table, "instrument"),
            configuration=Names.of(table, "configuration"),
            time_s=times(table),
            judged=status.equal(*READ),
            full=status.equal("ok"),
            n_points=np.nan_to_num(numbers(table, "n_points")),
            values=values,
        )

    def of_instrument(self, name: str) -> tuple["BinTable", NDArray[np.int64]]:
        """The bins of one instrument in the order of time, and their rows in this table."""
        rows = np.flatnonzero(self.instrument.equal(name))
        rows = rows[np.argsort(self.time_s[rows], kind="stable")]
        return self.take(rows), rows

    def take(self, rows: NDArray[np.int64]) -> "BinTable":
        """Some of the bins, in this order."""
        return BinTable(
            Names(self.instrument.names, self.instrument.codes[rows]),
            Names(self.configuration.names, self.configuration.codes[rows]),
            self.time_s[rows],
            self.judged[rows],
            self.full[rows],
            self.n_points[rows],
            np.ascontiguousarray(self.values[rows]),  # bin by bin, as they are followed
        )

    def __len__(self) -> int:
        return len(self.time_s)
