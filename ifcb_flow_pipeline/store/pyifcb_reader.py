"""Reading ADC files through pyifcb, WHOI's own library, instead of ``bins.adc``.

For those who want the very code that their other tools use. It reads a file as a whole or not at all: one
garbled line makes the bin unreadable, where ``bins.adc`` leaves out the line. A signal that is NaN costs its row, as
pyifcb gives no other sign of a line that is too short. Numbers may differ from those of ``bins.adc`` in their last
binary digit, because pandas rounds them so.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import ADC_COLUMNS, MAX_DESCRIBED, Adc, AdcColumn, BadLine, parse_adc
from ifcb_flow_pipeline.bins.pid import Schema
from ifcb_flow_pipeline.errors import FlowError

#: What pip installs: the library is on no package registry, so that no extra of this package may name it.
REQUIREMENT = "pyifcb @ git+https://github.com/joefutrelle/pyifcb@v1.3.1"


class PyifcbMissingError(FlowError, RuntimeError):
    """pyifcb is wanted but cannot be imported; the message says how to install it."""


class PyifcbReadError(OSError):
    """pyifcb cannot read this file; an OSError, so that the bin counts as unreadable with this reason."""


def read_adc(path: Path, schema: Schema) -> Adc:
    """Read an ADC file of the given schema, whose name must be that of a bin.

    Lines that pyifcb fills up because they are too short are counted and described as ``bins.adc`` does,
    by their number among the lines that hold anything. Raises OSError where the file cannot be opened,
    PyifcbReadError where pyifcb cannot parse it, PyifcbMissingError where there is no pyifcb.
    """
    table = _read_table(path)
    if table.empty:
        return parse_adc(b"", schema)
    columns: dict[str, NDArray] = {}
    reasons: dict[int, str] = {}
    for column in ADC_COLUMNS:
        columns[column.name], fits = _values(table, column, schema)
        for row in np.flatnonzero(~fits):
            reasons.setdefault(int(row), f"has no usable number for {column.name}")
    usable = ~np.isin(np.arange(len(table)), list(reasons))
    return Adc(
        schema,
        {name: values[usable] for name, values in columns.items()},
        bad_lines=len(reasons),
        described=tuple(BadLine(row + 1, reasons[row]) for row in sorted(reasons)[:MAX_DESCRIBED]),
    )


def _read_table(path: Path) -> pd.DataFrame:
    """The lines of the file as pyifcb gives them: columns numbered from 0."""
    try:
        # What ``ifcb.data.adc.AdcFile`` calls, without its cache, which keeps the last 128 files in memory.
        from ifcb.data.adc import parse_adc_file  # pyright: ignore[reportMissingImports] - installed by who wants it
    except ImportError as error:
        raise PyifcbMissingError(
            f"the reader pyifcb cannot be imported ({error}): pip install '{REQUIREMENT}', or set IFCB_READER=native"
        ) from error
    try:
        return parse_adc_file(str(path))
    except ValueError as error:  # pandas' parser errors, bytes that are no text, names that are no pid
        raise PyifcbReadError(f"pyifcb: {error}") from error


def _values(table: pd.DataFrame, column: AdcColumn, schema: Schema) -> tuple[NDArray, NDArray[np.bool_]]:
    """The values of one column in its type, and which of them that type can hold."""
    index = column.index(schema)
    if index is None:
        return np.full(len(table), np.nan, dtype=column.dtype), np.ones(len(table), dtype=bool)
    if index not in table.columns:
        raise PyifcbReadError(f"pyifcb: {len(table.columns)} columns, none for {column.name}")
    try:
        numbers = table[index].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise PyifcbReadError(f"pyifcb: {column.name}: {error}") from error
    with np.errstate(invalid="ignore", over="ignore"):
        values = numbers.astype(column.dtype)
    return values, np.isfinite(values) if issubclass(column.dtype, np.floating) else values == numbers
