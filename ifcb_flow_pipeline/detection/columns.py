"""Columns of tables as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


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


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column as floats, NaN where null or not finite. Raises KeyError where the table has none of the name.

    Not to be written to: it may be the table's own memory.
    """
    values = table.column(name).cast(pa.float64()).to_numpy()
    is_finite = np.isfinite(values)
    return values if is_finite.all() else np.where(is_finite, values, np.nan)


def optional_numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """As ``numbers``, but all NaN where the table has no such column."""
    return numbers(table, name) if name in table.column_names else np.full(table.num_rows, np.nan)


def times(table: pa.Table) -> NDArray[np.float64]:
    """When bins began, in seconds since 1970, shape (n,): as people corrected it, or else by their identifiers.

    A bin without a time counts as the very first.
    """
    microseconds = _microseconds(table, "start_time")
    if "sample_time" in table.column_names:
        microseconds = pc.call_function("coalesce", [_microseconds(table, "sample_time"), microseconds])
    return pc.fill_null(microseconds, 0).to_numpy() / 1e6


def _microseconds(table: pa.Table, name: str) -> pa.ChunkedArray:
    return table.column(name).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
