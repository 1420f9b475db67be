"""A slow and obvious reader of ADC files: the oracle of the fast one.

It shares no code and no column table with the package. Positions follow the acquisition software's list
of columns.
"""

import math
from dataclasses import dataclass

import numpy as np

#: Name, type, position in a v1 line, position in a v2 line.
COLUMNS = (
    ("trigger", np.int32, 0, 0),
    ("t_s", np.float64, 1, 1),
    ("x_px", np.int16, 9, 13),
    ("y_px", np.int16, 10, 14),
    ("width_px", np.int16, 11, 15),
    ("height_px", np.int16, 12, 16),
    ("start_byte", np.int64, 13, 17),
    ("pmt_a", np.float32, 4, 2),
    ("pmt_b", np.float32, 2, 3),
    ("pmt_c", np.float32, 5, 4),
    ("pmt_d", np.float32, 3, 5),
    ("peak_a", np.float32, None, 6),
    ("peak_b", np.float32, None, 7),
    ("peak_c", np.float32, None, 8),
    ("peak_d", np.float32, None, 9),
    ("time_of_flight_us", np.float32, None, 10),
    ("run_time_s", np.float64, None, 22),
    ("inhibit_time_s", np.float64, None, 23),
)
WIDTHS = {"v1": (15,), "v2": (24, 26)}
MOST = {"v1": 15, "v2": 46}
NOT_FINITE = ("nan", "nan(ind)", "inf", "infinity", "1.#ind", "1.#qnan", "1.#snan", "1.#inf")
LARGEST = {np.int16: 2**15 - 1, np.int32: 2**31 - 1, np.int64: 2**53, np.float32: float(np.finfo(np.float32).max)}
BLANK = b" \t\r"


@dataclass(frozen=True)
class ReferenceAdc:
    """The usable rows as dicts of Python numbers, and the numbers of the unusable lines."""

    rows: list[dict]
    bad_numbers: list[int]

    def column(self, name: str) -> np.ndarray:
        dtype = {column[0]: column[1] for column in COLUMNS}[name]
        return np.array([row[name] for row in self.rows], dtype=dtype)


def read_reference(data: bytes, schema: str) -> ReferenceAdc:
    rows, bad_numbers = [], []
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    lengths = [len(_fields(line)) for line in lines if line.strip(BLANK)]
    usual = max(sorted(set(lengths)), key=lengths.count, default=0)
    widths = (*WIDTHS[schema], usual) if min(WIDTHS[schema]) <= usual <= MOST[schema] else WIDTHS[schema]
    for number, line in enumerate(lines, start=1):
        if not line.strip(BLANK):
            continue
        row = _row(line, schema, widths)
        if row is None:
            bad_numbers.append(number)
        else:
            rows.append(row)
    return ReferenceAdc(rows, bad_numbers)


def _fields(line: bytes) -> list[bytes]:
    line = line.rstrip(BLANK)
    return line.removesuffix(b",").split(b",")


def _row(line: bytes, schema: str, widths: tuple[int, ...]) -> dict | None:
    fields = _fields(line)
    if len(fields) not in widths:
        return None
    row = {}
    for name, dtype, v1, v2 in COLUMNS:
        position = v1 if schema == "v1" else v2
        value = float("nan") if position is None else _number(fields[position], dtype)
        if value is None and _may_be_missing(name, dtype) and _says_not_finite(fields[position]):
            value = float("nan")
        row[name] = value
    return None if None in row.values() else row


def _number(field: bytes, dtype: type) -> float | None:
    # float() also takes infinities, NaN, underscores and other digits than ASCII's.
    if len(field) > 48 or not all(byte in b"0123456789+-.eE \t" for byte in field):
        return None
    try:
        value = float(field)
    except ValueError:
        return None
    if not math.isfinite(value) or abs(value) > LARGEST.get(dtype, math.inf):
        return None
    if np.issubdtype(dtype, np.integer) and not value.is_integer():
        return None
    return value


def _may_be_missing(name: str, dtype: type) -> bool:
    return np.issubdtype(dtype, np.floating) and name != "t_s"


def _says_not_finite(field: bytes) -> bool:
    text = field.strip(BLANK).decode("latin-1").lower() if len(field) <= 48 else ""
    if text[:1] in ("+", "-"):
        text = text[1:]
    if text.startswith("1.#"):
        text = text.rstrip("0")
    return text in NOT_FINITE
