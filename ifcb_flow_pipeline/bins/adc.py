"""The ADC file: one line per trigger (more where one camera frame held several images), no header.

Sources for columns and units: the acquisition software (github.com/robertjolson/ifcb-acq) and pyifcb
(github.com/joefutrelle/pyifcb, ``ifcb/data/adc.py``).

The reader is careful: it accepts what real files contain (trailing commas, CRLF, numbers without a leading
zero, exponents, a byte order mark, 24, 26 or more columns) and drops nothing silently. A line that it cannot use is
counted and described; the others are read. A signal that is NaN or infinite costs this signal in this row, and
nothing else.

There are two readers with one result. Clean files, nearly all, are read by the compiled one in ``scan``. Where
that gives up, at anything out of the ordinary, the one here reads the whole file again: it is fifteen times slower,
and knows what is wrong.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import Schema
from ifcb_flow_pipeline.bins.text import Text
from ifcb_flow_pipeline.fallback import with_kernels

#: Columns of one ADC line. 26 are written by instruments with acoustic focusing.
WIDTHS: Mapping[Schema, tuple[int, ...]] = {"v1": (15,), "v2": (24, 26)}

#: Newer software appends columns, which are passed over: up to so many, if most lines of the file have as many. A line
#: that has more than the others is damaged: two lines without a newline between them have at least 47.
MOST_COLUMNS: Mapping[Schema, int] = {"v1": 15, "v2": 46}

#: How many unusable lines are described; all are counted.
MAX_DESCRIBED = 5

#: No number in an ADC file is longer; 17 significant digits with sign and exponent take 24 bytes.
_MAX_NUMBER_BYTES = 48

#: What C and C++ libraries, Microsoft's among them, write for a number that is none or has no end.
_NOT_FINITE = re.compile(rb"[+-]?(nan(\(ind\))?|inf(inity)?|1\.#(ind|qnan|snan|inf)0*)", re.IGNORECASE)

#: A line's number of columns is looked for in so many bytes; lines have some 250.
_LONGEST_LINE = 4096

_BLANK = b" \t\r"
_NEWLINE, _RETURN, _COMMA = b"\n\r,"
_SPACES = np.isin(np.arange(256), list(_BLANK))
_NUMERIC = np.isin(np.arange(256), list(b"0123456789+-.eE \t"))


@dataclass(frozen=True, slots=True)
class AdcColumn:
    """One column as we keep it: where it stands in each schema (None: absent, read as NaN) and what it is."""

    name: str
    dtype: type[np.generic]
    v1: int | None
    v2: int | None
    unit: str
    meaning: str

    def index(self, schema: Schema) -> int | None:
        """The 0-based position in a line of this schema."""
        return self.v1 if schema == "v1" else self.v2

    @property
    def may_be_missing(self) -> bool:
        """Whether a row can do without it, NaN standing for it: all measurements but the time of the row."""
        return issubclass(self.dtype, np.floating) and self.name != "t_s"


ADC_COLUMNS: tuple[AdcColumn, ...] = (
    AdcColumn("trigger", np.int32, 0, 0, "", "trigger counter, 1-based; shared by the images of one frame"),
    AdcColumn("t_s", np.float64, 1, 1, "s", "time since run start (v1: end of processing, v2: ADC time)"),
    AdcColumn("x_px", np.int16, 9, 13, "px", "left edge of the image in the camera frame, along the flow"),
    AdcColumn("y_px", np.int16, 10, 14, "px", "top or (2010-2016 builds) bottom edge, across the flow"),
    AdcColumn("width_px", np.int16, 11, 15, "px", "image width; 0 where the trigger gave no image"),
    AdcColumn("height_px", np.int16, 12, 16, "px", "image height; 0 where the trigger gave no image"),
    AdcColumn("start_byte", np.int64, 13, 17, "byte", "offset of the image in the .roi file (v1: 1-based)"),
    AdcColumn("pmt_a", np.float32, 4, 2, "V", "integrated scatter (v1: low gain)"),
    AdcColumn("pmt_b", np.float32, 2, 3, "V", "integrated chlorophyll fluorescence (v1: low gain)"),
    AdcColumn("pmt_c", np.float32, 5, 4, "V", "third integrated signal (v1: scatter, high gain)"),
    AdcColumn("pmt_d", np.float32, 3, 5, "V", "fourth integrated signal (v1: fluorescence, high gain)"),
    AdcColumn("peak_a", np.float32, None, 6, "V", "peak scatter"),
    AdcColumn("peak_b", np.float32, None, 7, "V", "peak chlorophyll fluorescence"),
    AdcColumn("peak_c", np.float32, None, 8, "V", "third peak signal"),
    AdcColumn("peak_d", np.float32, None, 9, "V", "fourth peak signal"),
    AdcColumn("time_of_flight_us", np.float32, None, 10, "us", "time in the laser beam; -999: not measured"),
    AdcColumn("run_time_s", np.float64, None, 22, "s", "run time at this trigger, cumulative"),
    AdcColumn("inhibit_time_s", np.float64, None, 23, "s", "time not looking until this trigger, cumulative"),
)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be used: its 1-based number in the file, and why."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Adc:
    """The usable lines of an ADC file, as one array per column of ADC_COLUMNS that was wanted, in file order.

    ``bad_lines`` counts the lines left out and ``described`` says why, for the first few of them.
    """

    schema: Schema
    columns: Mapping[str, NDArray]
    bad_lines: int = 0
    described: tuple[BadLine, ...] = ()

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def has_image(self) -> NDArray[np.bool_]:
        """Which lines have an image: width and height above zero, in both schemas."""
        return has_image(self.columns)

    @property
    def problem(self) -> str:
        """What was left out, in one sentence for people; empty where nothing was."""
        if not self.bad_lines:
            return ""
        lines = "; ".join(f"line {line.number} {line.reason}" for line in self.described)
        more = f"; and {self.bad_lines - len(self.described)} more" if self.bad_lines > len(self.described) else ""
        return f"{self.bad_lines} of {self.bad_lines + len(self)} ADC lines unusable: {lines}{more}"


def has_image(columns: Mapping[str, NDArray]) -> NDArray[np.bool_]:
    """Which rows of ``width_px`` and ``height_px`` are those of an image (v1 writes x=y=-11 for the others)."""
    return (columns["width_px"] > 0) & (columns["height_px"] > 0)


def parse_adc(data: bytes | Text, schema: Schema, columns: Sequence[str] | None = None) -> Adc:
    """Read the bytes of an ADC file of the given schema: all columns, or those named, in the order of ADC_COLUMNS.

    Never raises on content: what is unusable is counted and described in the result. An empty file gives
    no rows. Lines of white space alone do not count.

    A line is usable if it has the right number of columns (see WIDTHS and MOST_COLUMNS) and all of ADC_COLUMNS hold
    good values, whichever are wanted: all who read a file mean the same lines. A signal that is written as NaN or as
    infinite is NaN, and its line usable. Raises ValueError for a name that no column has, and for no name.
    """
    wanted = columns_named(columns)
    text = data if isinstance(data, Text) else Text(data)
    adc = _read_clean(text, schema, wanted)
    return _read_carefully(text, schema, wanted) if adc is None else adc


def columns_named(names: Sequence[str] | None) -> tuple[AdcColumn, ...]:
    """The columns of these names (None: all), in the order of ADC_COLUMNS. Raises ValueError for a name of none."""
    return ADC_COLUMNS if names is None else _named(names if isinstance(names, str) else tuple(names))


@lru_cache
def _named(names: str | tuple[str, ...]) -> tuple[AdcColumn, ...]:
    known = [column.name for column in ADC_COLUMNS]
    unknown = [name for name in names if name not in known]
    if unknown or not names or isinstance(names, str):
        raise ValueError(f"ADC columns wanted: {names!r}; give some of {', '.join(known)}")
    return tuple(column for column in ADC_COLUMNS if column.name in names)


def _read_clean(text: Text, schema: Schema, wanted: tuple[AdcColumn, ...]) -> Adc | None:
    """What the careful reader would give, or None if the file is not clean."""
    cells = cells_of(schema, wanted)
    widths, columns = _widths_by_first_line(text, schema), tuple((index, dtype) for _, index, dtype in cells)
    # Loads numba, which nobody should wait for who reads no file.
    found = with_kernels("ifcb_flow_pipeline.bins.scan", lambda kernels: kernels.scan(text, widths, columns))
    if found is None:
        return None
    n_rows, arrays = found
    by_name = {name: values for (name, *_), values in zip(cells, arrays, strict=True)}
    return Adc(
        schema,
        {
            column.name: by_name[column.name]
            if column.index(schema) is not None
            else np.full(n_rows, np.nan, column.dtype)
            for column in wanted
        },
    )


def _widths_by_first_line(text: Text, schema: Schema) -> tuple[int, ...]:
    """How many columns the lines of a clean file may have, its first line being one of them."""
    head = text.data[:_LONGEST_LINE].tobytes()
    line = head.partition(b"\n")[0].rstrip(_BLANK)
    width = line.count(b",") + (not line.endswith(b","))
    known = WIDTHS[schema]
    return known if width in known or not min(known) <= width <= MOST_COLUMNS[schema] else (width,)


def _widths_by_all_lines(n_fields: NDArray, schema: Schema) -> tuple[int, ...]:
    """How many columns the lines of a file may have, whose lines have so many."""
    known = WIDTHS[schema]
    usual = int(np.bincount(n_fields).argmax()) if len(n_fields) else 0
    return known if usual in known or not min(known) <= usual <= MOST_COLUMNS[schema] else (*known, usual)


@lru_cache
def cells_of(schema: Schema, wanted: tuple[AdcColumn, ...]) -> list[tuple[str, int, np.dtype]]:
    """Name, position in a line and type of the columns to read: the wanted ones that the schema has, and all whole
    numbers, to see that they are some; of other cells the scanner sees by itself whether they are good.
    """
    return [
        (column.name, index, np.dtype(column.dtype))
        for column in ADC_COLUMNS
        if (index := column.index(schema)) is not None and (column in wanted or issubclass(column.dtype, np.integer))
    ]


def _read_carefully(file: Text, schema: Schema, wanted: tuple[AdcColumn, ...]) -> Adc:
    """Read all that can be read, and describe the rest."""
    text = file.data
    lines = _Lines.of(text)
    fits = np.isin(lines.n_fields, _widths_by_all_lines(lines.n_fields, schema))
    problems = {int(i): _width_problem(lines, int(i), schema) for i in np.flatnonzero(~fits)[:MAX_DESCRIBED]}
    usable = fits.copy()

    columns: dict[str, NDArray] = {}
    kept = np.flatnonzero(fits)
    for column in ADC_COLUMNS:
        index = column.index(schema)
        if index is None:
            values = np.full(len(kept), np.nan, dtype=column.dtype)
        else:
            start, stop = lines.field(kept, index)
            values, good = _numbers(text, start, stop)
            if column.may_be_missing:
                good |= _not_finite(text, start, stop, ~good)
            values, in_range = _cast(values, column.dtype)
            bad = np.flatnonzero(~(good & in_range))
            usable[kept[bad]] = False
            for i in bad[:MAX_DESCRIBED]:
                problems.setdefault(int(kept[i]), _value_problem(column, text[start[i] : stop[i]], bool(good[i])))
        if column in wanted:
            columns[column.name] = values

    mask = usable[kept]
    described = [BadLine(int(lines.number[i]), problems[i]) for i in sorted(problems)[:MAX_DESCRIBED]]
    return Adc(
        schema,
        columns if mask.all() else {name: values[mask] for name, values in columns.items()},
        bad_lines=int(np.count_nonzero(~usable)),
        described=tuple(described),
    )


@dataclass(frozen=True, slots=True)
class _Lines:
    """Where the lines that hold anything start and stop in the text, and where their commas are."""

    number: NDArray  # 1-based line number in the file
    start: NDArray
    stop: NDArray  # without the line end
    comma: NDArray  # positions of all commas of the text
    first_comma: NDArray  # per line: index into ``comma``
    n_fields: NDArray  # without an empty last field, which a trailing comma makes
    ends_file: NDArray  # whether the line lacks its newline

    @classmethod
    def of(cls, text: NDArray[np.uint8]) -> "_Lines":
        newline = np.flatnonzero(text == _NEWLINE)
        start = np.concatenate(([0], newline + 1))
        stop = np.concatenate((newline, [text.size]))
        # A line of spaces (CR counts as one) holds nothing; runs of others are found by the last non-space.
        filled = np.flatnonzero(~_SPACES[text] & (text != _NEWLINE))
        last_filled = np.searchsorted(filled, stop) - 1
        holds = last_filled >= np.searchsorted(filled, start)
        number = np.flatnonzero(holds)
        start, stop = start[number], filled[last_filled[number]] + 1

        comma = np.flatnonzero(text == _COMMA)
        first = np.searchsorted(comma, start)
        n_commas = np.searchsorted(comma, stop) - first
        trailing = text[stop - 1] == _COMMA if text.size else np.zeros(0, bool)
        return cls(number + 1, start, stop, comma, first, n_commas + 1 - trailing, number == newline.size)

    def field(self, line: NDArray, index: int) -> tuple[NDArray, NDArray]:
        """Start and stop of the field ``index`` of these lines, all of which have it."""
        before = self.first_comma[line] + index
        start = self.start[line] if index == 0 else self.comma[before - 1] + 1
        stop = self.stop[line].copy()
        inner = before < self.comma.size
        stop[inner] = np.minimum(stop[inner], self.comma[before[inner]])
        return start, stop


def _numbers(text: NDArray[np.uint8], start: NDArray, stop: NDArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The fields as numbers, and which of them are finite numbers (the others are NaN)."""
    length = stop - start
    good = (length > 0) & (length <= _MAX_NUMBER_BYTES)
    width = int(length[good].max(initial=1))
    offset = np.arange(width)
    inside = offset < np.where(good, length, 0)[:, None]
    # Clipping keeps the positions past a short last field inside the text; ``inside`` blanks them anyway.
    cells = text[np.minimum(start[:, None] + offset, text.size - 1)]
    good &= (_NUMERIC[cells] | ~inside).all(axis=1)
    cells = np.where(inside, cells, 0).astype(np.uint8)
    # Of what is left, NumPy's conversion takes exactly what Python's float() takes.
    cells[~good] = 0
    cells[~good, 0] = ord("0")
    fields = cells.view(f"S{width}")[:, 0]
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, which is not good
            values = fields.astype(np.float64)
    except ValueError:
        values = np.array([_float_or_nan(field) for field in fields])
    good &= np.isfinite(values)
    return np.where(good, values, np.nan), good


def _not_finite(text: NDArray[np.uint8], start: NDArray, stop: NDArray, among: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which of these fields say, of those ``among`` which to look, that there is no number or none that ends."""
    found = np.zeros(len(start), dtype=bool)
    for i in np.flatnonzero(among & (stop - start <= _MAX_NUMBER_BYTES)).tolist():
        found[i] = _NOT_FINITE.fullmatch(text[start[i] : stop[i]].tobytes().strip(_BLANK)) is not None
    return found


def _float_or_nan(field: bytes) -> float:
    try:
        return float(field)
    except ValueError:
        return float("nan")


def _cast(values: NDArray[np.float64], dtype: type[np.generic]) -> tuple[NDArray, NDArray[np.bool_]]:
    """The values in the column's type, and which of them that type can hold (bad ones become 0 or NaN)."""
    if issubclass(dtype, np.floating):
        fits = ~(np.abs(values) > np.finfo(np.dtype(dtype)).max)
        return np.where(fits, values, np.nan).astype(dtype), fits
    largest = 2 ** (8 * np.dtype(dtype).itemsize - 1) - 1
    # Whole numbers are signed. 2**53: the largest offset that a float holds exactly, far beyond any .roi file.
    fits = (np.floor(values) == values) & (np.abs(values) <= min(largest, 2**53))
    return np.where(fits, values, 0).astype(dtype), fits


def _width_problem(lines: _Lines, i: int, schema: Schema) -> str:
    expected = " or ".join(map(str, WIDTHS[schema]))
    count = int(lines.n_fields[i])
    if lines.ends_file[i] and count < min(WIDTHS[schema]):
        return f"is cut off after {count} of {expected} columns"
    return f"has {count} columns where a {schema} ADC has {expected}"


def _value_problem(column: AdcColumn, cell: NDArray[np.uint8], is_number: bool) -> str:
    quoted = repr(cell.tobytes()[:40].decode("utf-8", "replace"))
    if not is_number:
        return f"has {quoted} for {column.name}, which is no finite number"
    kind = "a number" if issubclass(column.dtype, np.floating) else "a whole number"
    return f"has {quoted} for {column.name}, which is not {kind} that fits {column.dtype.__name__}"
