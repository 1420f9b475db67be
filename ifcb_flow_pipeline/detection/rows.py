"""The rows of ``bin_features`` as arrays: what a detector needs to know of bins besides their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names, numbers, times
from ifcb_flow_pipeline.detection.recent import RECENT, recent_values
from ifcb_flow_pipeline.detection.rules import READ
from ifcb_flow_pipeline.detection.traits import Trait, scaled_values

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Rows:
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
    def of(cls, table: pa.Table, traits: Sequence[Trait]) -> "Rows":
        """The rows of a table with the columns of ``bin_features``. Raises KeyError, naming a missing feature."""
        values = np.empty((table.num_rows, len(traits)), dtype=np.float32, order="F")
        recent = recent_values(table) if any(trait in RECENT for trait in traits) else {}
        for column, trait in enumerate(traits):
            found = recent[trait.name] if trait.name in recent else numbers(table, trait.name)
            values[:, column] = scaled_values(found, trait.scale)
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

    @property
    def day(self) -> NDArray[np.int64]:
        """The number of each bin's UTC day."""
        return np.floor_divide(self.time_s, _DAY_S).astype(np.int64)

    def __len__(self) -> int:
        return len(self.time_s)
