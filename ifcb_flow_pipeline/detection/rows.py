"""The rows of ``bin_features`` as arrays: what a detector needs to know of bins besides their features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.traits import Trait, scaled_values

#: Statuses whose bins can be judged; the others hold nothing.
JUDGED = ("ok", "empty", "too_few_points")

_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Names:
    """n texts of which many are equal: the different ones, and each row's number among them, shape (n,)."""

    names: tuple[str, ...]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table, name: str) -> "Names":
        """A column of texts, empty where null or where the table has no such column."""
        if name not in table.column_names:
            return cls(("",), np.zeros(table.num_rows, dtype=np.int64))
        column = pc.fill_null(table.column(name).cast(pa.string()), "").combine_chunks().dictionary_encode()
        return cls(tuple(column.dictionary.to_pylist()), column.indices.to_numpy().astype(np.int64))

    def numbers_in(self, known: Sequence[str]) -> NDArray[np.int64]:
        """Each row's number among ``known``, -1 where it is not among them; shape (n,)."""
        place = {name: number for number, name in enumerate(known)}
        found = np.array([place.get(name, -1) for name in self.names], dtype=np.int64)
        return found[self.codes] if found.size else self.codes

    def equal(self, *texts: str) -> NDArray[np.bool_]:
        """Which rows have one of these texts, shape (n,)."""
        return self.numbers_in(texts) >= 0

    def to_list(self) -> list[str]:
        """The texts row by row."""
        return np.array(self.names, dtype=object)[self.codes].tolist() if self.names else []


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
        for column, trait in enumerate(traits):
            values[:, column] = scaled_values(numbers(table, trait.name), trait.scale)
        status = Names.of(table, "status")
        return cls(
            instrument=Names.of(table, "instrument"),
            configuration=Names.of(table, "configuration"),
            time_s=times(table),
            judged=status.equal(*JUDGED),
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


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where null or not finite. Raises KeyError where the table has none of the name."""
    values = table.column(name).cast(pa.float64()).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def optional_numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """As ``numbers``, but all NaN where the table has no such column."""
    return numbers(table, name) if name in table.column_names else np.full(table.num_rows, np.nan)


def times(table: pa.Table) -> NDArray[np.float64]:
    """Start times in seconds since 1970, shape (n,); a bin without one counts as the very first."""
    microseconds = pc.fill_null(table.column("start_time").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()), 0)
    return microseconds.to_numpy() / 1e6
