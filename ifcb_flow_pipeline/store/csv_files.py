"""Tables as CSV files, for spreadsheets and other programs."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

#: Where a cell that begins so is a formula to a spreadsheet. Where numbers have decimal commas a semicolon separates
#: cells, also within quotes that begin after it.
_FORMULA = re.compile(r"((?:^|;)\"*)(?=[=+\-@\t])", re.MULTILINE)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def harmless(text: str) -> str:
    """The text with a mark wherever a spreadsheet would take what follows for a formula: on any line, after any
    semicolon.

    Carriage returns become line feeds: readers of CSV differ in whether one ends a row. Other control characters,
    which some pass over, are left out.
    """
    return _FORMULA.sub(r"\1'", _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))


def write_csv(table: pa.Table, path: Path) -> None:
    """Write a table as pandas would, without what takes longer to load than a bin to score.

    What is not known, NaN among it, is an empty cell; whole numbers of which some are not known have a ``.0``. Times
    are whole seconds, texts harmless in spreadsheets.
    """
    columns = [_cells(table.column(name), table.schema.field(name).type) for name in table.column_names]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(harmless, table.column_names))
        writer.writerows(zip(*columns, strict=True))


def _cells(column: pa.ChunkedArray, kind: pa.DataType) -> Iterable[Any]:
    # The writer has texts and numbers as Python does, and nothing for None.
    values = column.to_pylist()
    if pa.types.is_string(kind):
        return (value if value is None else harmless(value) for value in values)
    if pa.types.is_timestamp(kind):
        return (value if value is None else value.isoformat(" ", "seconds") for value in values)
    if pa.types.is_integer(kind) and column.null_count:
        return (value if value is None else float(value) for value in values)
    if pa.types.is_floating(kind):
        return (None if value is None or value != value else value for value in values)
    return values
