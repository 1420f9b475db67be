"""The fast reader of clean ADC files: one pass of compiled code over the bytes, straight into the columns.

It reads only what it can read exactly, and gives up on a file at the first thing that it does not know: the
careful reader of ``adc`` then says what it is. So there is nothing here that repairs or describes.

Bytes are taken eight at a time, as one 64-bit word whose lowest byte is the first in the file, or 64 at a time.
Only ``adc`` imports this module, when it first reads a file, because numba takes long to load.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.text import Text
from ifcb_flow_pipeline.compiled import inlined, kernel, part
from ifcb_flow_pipeline.kept import Kept

#: The types of columns, by the number under which a plan names them.
DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64))
_FLOAT32, _FLOAT64, _INT16, _INT32, _INT64 = range(len(DTYPES))

#: In the place of a type: of a column of float32 only its first number is wanted, and whether all others are the same.
#: It is read as far as that is not known.
SAME = len(DTYPES)

#: Largest value of each type; of whole numbers 2**53 as well, as the careful reader reads them as float64.
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST_WHOLE = np.array([0, 0, 2**15 - 1, 2**31 - 1, 2**53], dtype=np.uint64)

#: Every number of 19 digits fits 64 bits.
_MAX_DIGITS = 19
#: So many digits are looked at, leading zeros included; a cell without exponent may have a point besides.
_MAX_WRITTEN = 24
#: In the place of a power: this is not surely a number.
_NO_NUMBER = 10_000

#: Any cell with more bytes is left to the careful reader.
_MAX_CELL = 64

#: Separators are looked for in so many bytes at once, which is far more than a line has and little enough that the
#: memory for their places is no fresh memory of the system's each time, for which threads wait for each other ...
_PIECE = 8192
#: ... with so many separators at most; 64 bytes of a usual file have no more than so many.
_MAX_SEPARATORS = 64
_USUAL = 12

#: No line has more columns. Memory for up to so many lines is kept for the next file.
_MOST_COLUMNS = 26
_MOST_ROWS_KEPT = 2**18

#: Powers of ten in the table. Within them no number is too large for float64, nor so small as to lose bits.
_MAX_POWER = 64

#: Whole numbers up to 2**53 and powers of ten up to 10**22 are exact in float64, so that their product or
#: quotient is rounded once only, as it should be.
_EXACT_WHOLE = np.uint64(2**53)
_EXACT_POWER = 22
_EXACT_POWERS = np.array([10.0**power for power in range(_EXACT_POWER + 1)])

#: At 16 + n: a word whose last n bytes are all ones, for n from -16 to 25, one more than digits are looked at.
_LAST_BYTES = np.array([(2**64 - 1) & ~(2**64 - 1 >> min(max(8 * n, 0), 64)) for n in range(-16, 26)], dtype=np.uint64)

#: At n: 16 bytes whose last n are all ones.
_LAST_OF_16 = np.array([0] * 16 + [255] * 16, dtype=np.uint8)

#: Up to so many digits are a whole number that float64 holds. Four numbers of so many are made at once.
_SHORT, _AT_ONCE = 15, 4
#: What numbers are divided by that have 0 to 15 digits behind a point, or no point at all; then the same for those with
#: a minus in front.
_NO_POINT = 16
_DIVISORS = np.array([sign * 10.0 ** (power % _NO_POINT) for sign in (1, -1) for power in range(_NO_POINT + 1)])

_NEWLINE, _RETURN, _TAB, _SPACE, _COMMA, _MINUS, _PLUS, _POINT, _ZERO, _NINE, _E, _SMALL_E = b"\n\r\t ,-+.09Ee"

_ALL = np.uint64(2**64 - 1)
_ZEROS = np.uint64(0x0101010101010101 * _ZERO)
_EVERY_2ND, _EVERY_4TH = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_UPPER_HALVES, _SIX_EACH = np.uint64(0xF0F0F0F0F0F0F0F0), np.uint64(0x0606060606060606)
_EVERY_16TH = np.uint64(0x0001000100010001)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_TEN, _HUNDRED, _THOUSAND, _TEN_THOUSAND, _TEN_TO_8 = (np.uint64(10**power) for power in (1, 2, 3, 4, 8))
_U0, _U1, _U8, _U15, _U16, _U32, _U63 = (np.uint64(number) for number in (0, 1, 8, 15, 16, 32, 63))

_MANTISSA_BITS = 53
_EXPONENT_BIAS = 1023


def _powers_of_ten() -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
    """Each power of ten as ``(high * 2**64 + low) * 2**shift``, rounded down to 128 bits with the highest set."""
    high, low, shifts = [], [], []
    for power in range(-_MAX_POWER, _MAX_POWER + 1):
        above, below = 10 ** max(power, 0), 10 ** max(-power, 0)
        shift = above.bit_length() - below.bit_length() - 127
        digits = (above << max(-shift, 0)) // (below << max(shift, 0))
        if digits.bit_length() < 128:
            shift -= 1
            digits = (above << max(-shift, 0)) // (below << max(shift, 0))
        high.append(digits >> 64)
        low.append(digits & (2**64 - 1))
        shifts.append(shift)
    return np.array(high, np.uint64), np.array(low, np.uint64), np.array(shifts, np.int64)


_POWER_HIGH, _POWER_LOW, _POWER_SHIFT = _powers_of_ten()
#: These powers fit 128 bits; the table has all others a little too small.
_LARGEST_WHOLE_POWER = 55


def scan(
    text: Text, widths: tuple[int, ...], wanted: tuple[tuple[int, np.dtype], ...]
) -> tuple[int, list[NDArray]] | None:
    """The number of lines and their wanted columns, in the order wanted; None for a file that is not clean enough.

    ``wanted`` has positions in a line and types. A result is exactly what the careful reader gives.
    """
    cells, places, n_arrays = plan(wanted)
    stop = text.end_last_line()
    # No line is shorter than its separators.
    with _arrays(len(text) // min(widths) + 1) as arrays:
        n_rows = scan_text(text.memory, text.start, stop, np.array(widths), *cells, *arrays)
        if n_rows < 0:
            return None
        kept = [array[:n, :n_rows].copy() if n else array for array, n in zip(arrays, n_arrays, strict=True)]
    return n_rows, [kept[kind][slot] for kind, slot in places]


@lru_cache
def plan(wanted: tuple[tuple[int, np.dtype], ...]) -> tuple[NDArray[np.int64], list[tuple[int, int]], list[int]]:
    """Which cells to read: their positions in a line, ascending, their types, and their rows in those types' arrays,
    shape (3, wanted); type and row of each in the order wanted; how many rows of the arrays are used.
    """
    n_arrays = [0] * len(DTYPES)
    places = {}
    for position, dtype in sorted(wanted, key=lambda column: column[0]):
        kind = DTYPES.index(dtype)
        places[position] = (kind, n_arrays[kind])
        n_arrays[kind] += 1
    steps = [(position, *place) for position, place in places.items()]
    cells = np.array(steps, dtype=np.int64).reshape(-1, 3).T.copy()
    return cells, [places[position] for position, _ in wanted], n_arrays


@contextmanager
def _arrays(n_rows: int) -> Iterator[list[NDArray]]:
    """Per type, an array of a row for every column that there may be, and of at least so many columns; for one file.

    What is not written to costs nothing.
    """
    arrays = _KEPT.take()
    if arrays is None or n_rows > arrays[0].shape[1]:
        arrays = [np.empty((_MOST_COLUMNS, n_rows), dtype) for dtype in DTYPES]
    yield arrays
    if arrays[0].shape[1] <= _MOST_ROWS_KEPT:
        _KEPT.give(arrays)


_KEPT: Kept[list[NDArray]] = Kept()


# Instructions that numba has no name for

#: Kernels pass one argument fewer than these functions take.
_instruction = cast("Callable[[Callable[..., Any]], Any]", intrinsic)


@_instruction
def address(typing: Any, text: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Where the text lies in memory. All reading goes by addresses."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(text), build


@_instruction
def _byte(typing: Any, at: Any) -> Any:  # noqa: ARG001
    """The byte at that address."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.zext(_load(builder, arguments[0], ir.IntType(8)), ir.IntType(64))

    return types.int64(types.int64), build


@_instruction
def _word(typing: Any, at: Any) -> Any:  # noqa: ARG001
    """The eight bytes of the text from there on."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        word = _load(builder, arguments[0], ir.IntType(64))
        return word if sys.byteorder == "little" else builder.bswap(word)

    return types.uint64(types.int64), build


@_instruction
def _equal(typing: Any, at: Any, byte: Any) -> Any:  # noqa: ARG001
    """Which of the 64 bytes from there on are that byte, as bits; the lowest is the first."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        block = _load(builder, arguments[0], ir.VectorType(ir.IntType(8), 64))
        same = builder.icmp_unsigned("==", block, _repeated(builder, arguments[1], block.type))
        return _as_bits(builder, same)

    return types.uint64(types.int64, types.uint8), build


@_instruction
def _digits_among(typing: Any, at: Any) -> Any:  # noqa: ARG001
    """Which of the 64 bytes from there on are digits, as bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        block = _load(builder, arguments[0], ir.VectorType(ir.IntType(8), 64))
        zero, ten = (ir.Constant(block.type, [number] * 64) for number in (_ZERO, 10))
        return _as_bits(builder, builder.icmp_unsigned("<", builder.sub(block, zero), ten))

    return types.uint64(types.int64), build


@_instruction
def _other_than_digits(typing: Any, at: Any) -> Any:  # noqa: ARG001
    """Which of the 32 bytes from there on are no digits, as bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        block = _load(builder, arguments[0], ir.VectorType(ir.IntType(8), 32))
        zero, ten = (ir.Constant(block.type, [number] * 32) for number in (_ZERO, 10))
        other = builder.icmp_unsigned(">=", builder.sub(block, zero), ten)
        return builder.zext(_as_bits(builder, other), ir.IntType(64))

    return types.uint64(types.int64), build


@_instruction
def _sixteen(typing: Any, end: Any, behind: Any, inside: Any) -> Any:  # noqa: ARG001
    """The number that at most 16 digits before ``end`` make, with a point before the last ones: those before the
    point are one byte further off. ``behind``, ``inside``: where masks of the digits behind the point and of all lie.
    """

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        joined = _in_eights(builder, _digits_before(builder, *arguments))
        high, low = (builder.extract_element(joined, ir.Constant(ir.IntType(32), place)) for place in (0, 1))
        return builder.add(builder.mul(high, ir.Constant(high.type, 10**8)), low)

    return types.uint64(types.int64, types.int64, types.int64), build


@_instruction
def _put_sixteen(typing: Any, at: Any, end: Any, behind: Any, inside: Any) -> Any:  # noqa: ARG001
    """Write the digits of such a number to that address, as 16 bytes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        _store_at(builder, arguments[0], _digits_before(builder, *arguments[1:]))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, types.int64), build


@_instruction
def _put_quotients(typing: Any, at: Any, digits: Any, divisors: Any) -> Any:  # noqa: ARG001
    """Write _AT_ONCE numbers to that address, from _SHORT digits each, as ``_put_sixteen`` has them, and divisors."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        at, digits, divisors = arguments
        floats = ir.VectorType(ir.DoubleType(), _AT_ONCE)
        joined = _in_eights(builder, _load(builder, digits, ir.VectorType(ir.IntType(8), 16 * _AT_ONCE)))
        # All of them fit 32 bits, from which the processor has an instruction to floats.
        halves = builder.bitcast(joined, ir.VectorType(ir.IntType(32), 4 * _AT_ONCE))
        high, low = (
            builder.sitofp(
                builder.shuffle_vector(
                    halves,
                    halves,
                    ir.Constant(ir.VectorType(ir.IntType(32), _AT_ONCE), [4 * i + place for i in range(_AT_ONCE)]),
                ),
                floats,
            )
            for place in (0, 2)
        )
        whole = builder.fadd(builder.fmul(high, ir.Constant(floats, [1e8] * _AT_ONCE)), low)
        _store_at(builder, at, builder.fdiv(whole, _load(builder, divisors, floats)))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64), build


@_instruction
def _points_before(typing: Any, end: Any) -> Any:  # noqa: ARG001
    """Which of the 16 bytes before ``end`` are points, as the highest bits; the highest is the last."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        bytes_ = ir.VectorType(ir.IntType(8), 16)
        block = _load(builder, builder.sub(arguments[0], ir.Constant(arguments[0].type, 16)), bytes_)
        points = _as_bits(builder, builder.icmp_unsigned("==", block, ir.Constant(bytes_, [_POINT] * 16)))
        return builder.shl(builder.zext(points, ir.IntType(64)), ir.Constant(ir.IntType(64), 48))

    return types.uint64(types.int64), build


def _digits_before(builder: Any, end: Any, behind: Any, inside: Any) -> Any:
    """16 bytes: the digits before ``end``, without a point among them, and zeros in front; see ``_sixteen``."""
    bytes_ = ir.VectorType(ir.IntType(8), 16)
    late, early = (_load(builder, builder.sub(end, ir.Constant(end.type, back)), bytes_) for back in (16, 17))
    mask = _load(builder, behind, bytes_)
    digits = builder.or_(builder.and_(late, mask), builder.and_(early, builder.not_(mask)))
    digits = builder.sub(digits, ir.Constant(bytes_, [_ZERO] * 16))
    return builder.and_(digits, _load(builder, inside, bytes_))


def _in_eights(builder: Any, joined: Any) -> Any:
    """The numbers that every eight digits make, one a byte."""
    n_bytes = joined.type.count
    # Digits, pairs and fours are joined; the first of two is the lower half of what is twice as wide.
    for bits, scale in ((8, 10), (16, 100), (32, 10_000)):
        wide = ir.VectorType(ir.IntType(2 * bits), 4 * n_bytes // bits)
        low, shift, scales = (ir.Constant(wide, [number] * wide.count) for number in ((1 << bits) - 1, bits, scale))
        pairs = builder.bitcast(joined, wide)
        joined = builder.add(builder.mul(builder.and_(pairs, low), scales), builder.lshr(pairs, shift))
    return joined


def _load(builder: Any, at: Any, kind: Any) -> Any:
    """The bytes from that address on as a value of a wider type, wherever they lie."""
    value = builder.load(builder.inttoptr(at, kind.as_pointer()))
    value.align = 1
    return value


def _store_at(builder: Any, at: Any, value: Any) -> None:
    """Write a value to that address, wherever it lies."""
    builder.store(value, builder.inttoptr(at, value.type.as_pointer()), align=1)


def _repeated(builder: Any, byte: Any, kind: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), byte, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count))


def _as_bits(builder: Any, truths: Any) -> Any:
    """A vector of truths as a whole number, the first as its lowest bit."""
    if sys.byteorder != "little":
        raise NotImplementedError("the fast ADC reader needs a little-endian machine")
    bits = builder.bitcast(truths, ir.IntType(truths.type.count))
    # LLVM is kept from seeing where a number comes from: it would do arithmetic on 64 truths instead, one by one.
    return builder.asm(ir.FunctionType(bits.type, [bits.type]), "", "=r,0", [bits], side_effect=False)


@_instruction
def _times(typing: Any, a: Any, b: Any) -> Any:  # noqa: ARG001
    """The upper 64 of the 128 bits of a product."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), build


@_instruction
def _lowest_bit(typing: Any, word: Any) -> Any:  # noqa: ARG001
    """The number of the lowest bit that is set; 64 where none is."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@_instruction
def _n_bits(typing: Any, word: Any) -> Any:  # noqa: ARG001
    """How many bits are set."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), build


@_instruction
def _leading_zeros(typing: Any, word: Any) -> Any:  # noqa: ARG001
    """How many of the highest bits are zero."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@_instruction
def _as_float(typing: Any, bits: Any) -> Any:  # noqa: ARG001
    """The float64 that has these bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), build


# Lines


@kernel
def scan_text(text, at, stop, n_fields, positions, kinds, slots, float32, float64, int16, int32, int64):  # noqa: C901
    """Read the lines from ``at`` to ``stop`` into the arrays; the number of lines, or -1. See ``plan`` for the cells
    that are read; the arrays have the shape (rows that a plan uses, at least as many as lines).

    The text goes through in pieces that stay in the nearest cache: first the separators of a piece, then its lines,
    then its numbers, column by column.
    """
    start = at + address(text)
    stop += address(text)
    ends = np.empty(_PIECE + 2 * _MAX_SEPARATORS, dtype=np.int64)
    separators, odd = np.empty(_PIECE // 64, dtype=np.uint64), np.empty(_PIECE // 64, dtype=np.uint64)
    # Of each line in a piece: where it starts, the number of its first separator, one of its numbers.
    most = len(ends) // n_fields[0] + 1
    starts, firsts = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.uint64)
    wholes, floats, room = np.empty(most, dtype=np.int64), np.empty(most + _AT_ONCE), _room(most + _AT_ONCE)
    block = line = start
    before, strange_before = (_U1, _U0, _U0, _U0), _U0
    n_ends, n_newlines, row = 0, 0, 0
    # A loop over the widths, which are one or two, would take longer than the rest of a line.
    usual, narrow, wide = n_fields[0], n_fields[0], n_fields[-1]
    while line < stop:
        n_blocks, any_odd, any_strange = min(_PIECE, stop - block + 63) // 64, _U0, _U0
        for i in range(n_blocks):
            separators[i], strange, long, newlines, before = _marks(block + 64 * i, stop, before)
            odd[i] = strange | long
            any_odd |= odd[i]
            any_strange |= strange
            n_newlines += _n_bits(newlines)
        if any_odd != _U0 and not _are_numbers(block, odd[:n_blocks], start):
            return -1
        for i in range(n_blocks):
            n_ends = _note(block + 64 * i, separators[i], ends, n_ends)
        block += 64 * n_blocks
        first, n_lines = 0, 0
        while True:
            n = _line(ends, first, n_ends, usual)
            if n == 0:
                break
            usual, newline = n, ends[first + n - 1]
            if not _has_width(line, newline, n, narrow, wide):
                return -1
            ends[first + n - 1] = newline - (_byte(newline - 1) == _RETURN)
            starts[n_lines], firsts[n_lines] = line, first
            first, line, n_lines = first + n, newline + 1, n_lines + 1
        for i in range(len(positions)):
            kind, slot = kinds[i], slots[i]
            if kind == SAME:
                if row > 0 and float32[slot, 1] == 0.0:
                    continue
                others = room.others[: _note_all(room.others, n_lines)]
                if not _decimals(starts, firsts, ends, others, positions[i], True, floats):
                    return -1
                _compare(floats, n_lines, float32, slot, row)
            elif kind >= _INT16:
                if not _whole_numbers(starts, firsts, ends, n_lines, positions[i], _LARGEST_WHOLE[kind], wholes):
                    return -1
                if kind == _INT16:
                    _store(wholes, n_lines, int16, slot, row)
                elif kind == _INT32:
                    _store(wholes, n_lines, int32, slot, row)
                else:
                    _store(wholes, n_lines, int64, slot, row)
            else:
                if any_strange | strange_before == _U0:
                    n_others = _short_decimals(starts, firsts, ends, n_lines, positions[i], room, floats)
                else:
                    n_others = _note_all(room.others, n_lines)
                others = room.others[:n_others]
                if not _decimals(starts, firsts, ends, others, positions[i], kind == _FLOAT32, floats):
                    return -1
                if kind == _FLOAT32:
                    _store(floats, n_lines, float32, slot, row)
                else:
                    _store(floats, n_lines, float64, slot, row)
        # A line may have begun in the piece before, but no earlier.
        strange_before = any_strange
        row += n_lines
        n_ends -= first
        if n_ends > _MAX_SEPARATORS:
            return -1
        for i in range(n_ends):
            ends[i] = ends[first + i]
    # Where a newline lay within what was taken for one line, there are fewer lines.
    return row if row == n_newlines else -1


@inlined
def _store(numbers, n, arrays, slot, row):
    """Put the first n numbers into a row of arrays of their type, from ``row`` on."""
    for k in range(n):
        arrays[slot, row + k] = numbers[k]


@inlined
def _compare(numbers, n, arrays, slot, row):
    """Note in a row of arrays the first number of a column, and behind it 1 as long as all others are the same."""
    if row == 0 and n > 0:
        arrays[slot, 0], arrays[slot, 1] = numbers[0], 1.0
    for k in range(n):
        if np.float32(numbers[k]) != arrays[slot, 0]:
            arrays[slot, 1] = 0.0


@inlined
def _marks(at, stop, before):
    """Which of the 64 bytes from ``at`` on are separators, which may belong to a cell that is no plain number, which to
    a long cell, and which are newlines, as bits; and what the next 64 have to know of those before them: whether a
    separator, a comma or a digit is the last of them, and whether its cell has a point.
    """
    commas, newlines = _equal(at, np.uint8(_COMMA)), _equal(at, np.uint8(_NEWLINE))
    points, minuses, digits = _equal(at, np.uint8(_POINT)), _equal(at, np.uint8(_MINUS)), _digits_among(at)
    inside = _ALL if stop - at >= 64 else (_U1 << np.uint64(stop - at)) - _U1
    separators = (commas | newlines) & inside
    separator_before, comma_before, digit_before, point_before = before

    # Digits with at most one point, and a minus in front, are a plain number. Whatever else there is, is strange.
    strange = ~(separators | digits | points | minuses)
    strange |= minuses & ~(separators << _U1 | separator_before)
    strange |= separators & ~(digits << _U1 | digit_before) & ~(newlines & (commas << _U1 | comma_before))
    # The addition carries a point on to the next point or separator; no point should be reached.
    marks = separators | points
    pointed = points << _U1 | point_before
    reached = pointed + ~marks
    strange |= points & reached
    # A cell of 31 bytes fills one of the four rows of 16.
    long = (separators - _EVERY_16TH) & ~separators & (_EVERY_16TH << _U15)
    after = (separators >> _U63, commas >> _U63, digits >> _U63, points >> _U63 | np.uint64(reached < pointed))
    return separators, strange & inside, long & inside, newlines & inside, after


@inlined
def _note(at, separators, ends, n):
    """Note where these separators are, of the 64 bytes from ``at`` on, behind the ``n`` that are known; how many are
    known then.
    """
    known = n + _n_bits(separators)
    # As many as there usually are without asking, for a loop that may end anywhere takes longer.
    for i in range(_USUAL):
        ends[np.uint64(n + i)] = at + _lowest_bit(separators)
        separators &= separators - _U1
    n += _USUAL
    while separators != _U0:
        ends[np.uint64(n)] = at + _lowest_bit(separators)
        separators &= separators - _U1
        n += 1
    return known


@part
def _are_numbers(at, odd, start):
    """Whether the cells in which these bytes are hold a number that fits all columns, or nothing at the end of a
    line; ``odd`` has them as bits for every 64 bytes from ``at`` on.
    """
    for i in range(len(odd)):  # noqa: SIM110 - no generators in compiled code
        if odd[i] != _U0 and not _are_numbers_among(at + 64 * i, odd[i], start):
            return False
    return True


@part
def _are_numbers_among(at, odd, start):  # noqa: C901 - calls cost more than branches
    """The same of 64 bytes."""
    while odd != _U0:
        first = last = at + _lowest_bit(odd)
        odd &= odd - _U1
        while first > start and _byte(first - 1) != _COMMA and _byte(first - 1) != _NEWLINE:
            first -= 1
        while _byte(last) != _COMMA and _byte(last) != _NEWLINE:
            last += 1
            if last - first > _MAX_CELL:
                return False
        ends_line = _byte(last) == _NEWLINE
        while ends_line and last > first and _is_space(_byte(last - 1)):
            last -= 1
        if ends_line and last == first:
            continue
        digits, power = _number(first + (_byte(first) == _MINUS), last)
        if power == _NO_NUMBER:
            return False
        if not 0 <= _float(digits, power) <= _LARGEST_FLOAT32:
            return False
    return True


@inlined
def _is_space(byte):
    return (byte == _SPACE) | (byte == _RETURN) | (byte == _TAB)


@inlined
def _line(ends, first, n_ends, usual):
    """How many separators the line has whose first is that one; 0 where its end is not known yet."""
    if first + usual <= n_ends and _byte(ends[np.uint64(first + usual - 1)]) == _NEWLINE:
        return usual
    for i in range(first, n_ends):
        if _byte(ends[i]) == _NEWLINE:
            return i + 1 - first
    return 0


@inlined
def _has_width(start, newline, n, narrow, wide):
    """Whether the line has as many cells as it should; a blank last one, after a trailing comma, is none."""
    last = newline - 1
    while last >= start and _is_space(_byte(last)):
        last -= 1
    if last < start:
        return False
    n -= _byte(last) == _COMMA
    return (n == narrow) | (n == wide)


# Numbers


@inlined
def _cell(starts, firsts, ends, k, position):
    """Where a cell of the k-th line starts, behind its sign, and ends; whether it has a minus."""
    at_end = firsts[np.uint64(k)] + np.uint64(position)
    start = starts[np.uint64(k)] if position == 0 else ends[at_end - _U1] + 1
    minus = _byte(start) == _MINUS
    return start + minus, ends[at_end], minus


@inlined
def _whole_numbers(starts, firsts, ends, n, position, largest, numbers):
    """Read a column of whole numbers of n lines; whether all are certain, and none is larger."""
    certain = True
    for k in range(n):
        start, end, minus = _cell(starts, firsts, ends, k, position)
        digits, power = _number(start, end)
        certain &= (power == 0) & (digits <= largest)
        numbers[np.uint64(k)] = -np.int64(digits) if minus else np.int64(digits)
    return certain


class _Room(NamedTuple):
    """Room for the digits of several numbers, 16 bytes each, what they are divided by, and lines to come back to."""

    digits: NDArray[np.uint8]
    divisors: NDArray[np.float64]
    others: NDArray[np.int64]


@inlined
def _room(n):
    return _Room(np.empty(16 * n, dtype=np.uint8), np.empty(n), np.empty(n, dtype=np.int64))


@inlined
def _short_decimals(starts, firsts, ends, n, position, room, numbers):
    """Read the short ones of a column of plain decimal numbers of n lines; how many others the room then notes.

    Rather than one number after the other, first all are reduced to digits, then all digits are joined: so the
    processor is at work on several at any time. Room and numbers take _AT_ONCE more.
    """
    masks, digits, n_others = address(_LAST_OF_16), address(room.digits), 0
    for k in range(n):
        start, end, minus = _cell(starts, firsts, ends, k, position)
        n_behind = _leading_zeros(_points_before(end))
        has_point = n_behind < end - start
        n_behind = n_behind if has_point else _NO_POINT
        n_digits = end - start - has_point
        if n_digits > _SHORT:
            room.others[np.uint64(n_others)] = k
            n_others += 1
            continue
        _put_sixteen(digits + 16 * k, end, masks + n_behind, masks + n_digits)
        room.divisors[np.uint64(k)] = _DIVISORS[np.uint64(n_behind + (_NO_POINT + 1) * minus)]
    for k in range(0, n, _AT_ONCE):
        _put_quotients(address(numbers) + 8 * k, digits + 16 * k, address(room.divisors) + 8 * k)
    return n_others


@inlined
def _note_all(others, n):
    for k in range(n):
        others[k] = k
    return n


@inlined
def _decimals(starts, firsts, ends, lines, position, narrow, numbers):
    """Read a column of decimal numbers of these lines; whether all are certain, and fit float32 if they are to."""
    certain = True
    largest = _LARGEST_FLOAT32 if narrow else math.inf
    for k in lines:
        start, end, minus = _cell(starts, firsts, ends, k, position)
        digits, power = _decimal(start, end)
        value = _float(digits, power) if power != _NO_NUMBER else -1.0
        certain &= (value >= 0) & (value <= largest)
        numbers[np.uint64(k)] = -value if minus else value
    return certain


@inlined
def _number(start, end):
    """The cell, without its sign, as digits and power of ten; _NO_NUMBER where it is not surely a number."""
    length = end - start
    if 0 < length <= 8:
        word = (_word(end - 8) ^ _ZEROS) & _LAST_BYTES[np.uint64(length + 16)]
        # Of the bytes that digits are next to, only those from : to ? pass for digits.
        if (word | (word + _SIX_EACH)) & _UPPER_HALVES == _U0:
            return _joined(word), 0
    return _decimal(start, end)


@inlined
def _decimal(start, end):
    """The same, quicker for a cell that has a point."""
    length = end - start
    if length <= 0 or length > _MAX_WRITTEN + 1:
        return _U0, _NO_NUMBER
    others = _other_than_digits(start) & ((_U1 << np.uint64(length)) - _U1)
    if others == _U0:
        digits, fits = _digits(end, length, length)
        return digits, 0 if fits else _NO_NUMBER
    n_before = _lowest_bit(others)
    if others & (others - _U1) != _U0 or _byte(start + n_before) != _POINT or length == 1:
        return _odd_number(start, end)
    n_decimals = length - 1 - n_before
    if length <= 17:
        masks = address(_LAST_OF_16)
        return _sixteen(end, masks + n_decimals, masks + length - 1), -n_decimals
    digits, fits = _digits(end, length - 1, n_decimals)
    return digits, -n_decimals if fits else _NO_NUMBER


@inlined
def _digits(end, n, n_decimals):
    """The n digits before ``end`` as a whole number, with a point before the last ones; whether it fits."""
    value = _U0
    if n > 16:
        value = _eight(end - 16, n - 16, n_decimals - 16)
        if value >= _THOUSAND or n > _MAX_WRITTEN:
            return _U0, False
    value = value * _TEN_TO_8 + _eight(end - 8, n - 8, n_decimals - 8)
    return value * _TEN_TO_8 + _eight(end, n, n_decimals), True


@inlined
def _eight(end, n, n_decimals):
    """The number that at most eight digits before ``end`` make; those before the point are one byte further off."""
    behind, inside = _LAST_BYTES[np.uint64(n_decimals + 16)], _LAST_BYTES[np.uint64(n + 16)]
    word = (_word(end - 8) & behind) | (_word(end - 9) & ~behind)
    return _joined((word ^ _ZEROS) & inside)


@inlined
def _joined(word):
    """The number that eight digits make, one a byte."""
    # Digits, pairs and fours are joined, all at once.
    word = (word * _TEN + (word >> _U8)) & _EVERY_2ND
    word = (word * _HUNDRED + (word >> _U16)) & _EVERY_4TH
    return (word * _TEN_THOUSAND + (word >> _U32)) & _LOWER_HALF


@part
def _odd_number(at, end):
    """A number with an exponent, byte by byte: digits and power."""
    digits, n_digits, n_decimals, point = _U0, 0, 0, False
    while at < end and (_ZERO <= _byte(at) <= _NINE or (_byte(at) == _POINT and not point)):
        if _byte(at) == _POINT:
            point = True
        else:
            digits = digits * _TEN + np.uint64(_byte(at) - _ZERO)
            n_digits += 1
            n_decimals += point
        at += 1
    if n_digits == 0 or n_digits > _MAX_DIGITS or at + 1 >= end or not (_byte(at) == _E or _byte(at) == _SMALL_E):
        return _U0, _NO_NUMBER
    at += 1
    minus = _byte(at) == _MINUS
    at += minus or _byte(at) == _PLUS
    power = 0
    if at >= end or end - at > 3:
        return _U0, _NO_NUMBER
    while at < end:
        if not _ZERO <= _byte(at) <= _NINE:
            return _U0, _NO_NUMBER
        power = 10 * power + (_byte(at) - _ZERO)
        at += 1
    return digits, (-power if minus else power) - n_decimals


@inlined
def _float(digits, power):
    """``digits * 10**power`` as the nearest float64; -1.0 where that is not certain."""
    if digits <= _EXACT_WHOLE and -_EXACT_POWER <= power <= _EXACT_POWER:
        if power < 0:
            return np.float64(np.int64(digits)) / _EXACT_POWERS[np.uint64(-power)]
        return np.float64(np.int64(digits)) * _EXACT_POWERS[np.uint64(power)]
    if digits == _U0:
        return 0.0
    if power < -_MAX_POWER or power > _MAX_POWER:
        return -1.0
    return _rounded_product(digits, power)


@inlined
def _rounded_product(digits, power):
    """``digits * 10**power`` by a product of 64 with 128 bits, rounded to 53; -1.0 where the table is too coarse.

    The table's power is less than one unit of its last place too small. So the product is less than 2**64 of
    its 192 bits' units too small: the true value is ``upper`` and ``middle``, or a little more.
    """
    zeros = _leading_zeros(digits)
    digits <<= np.uint64(zeros)
    high, low = _POWER_HIGH[power + _MAX_POWER], _POWER_LOW[power + _MAX_POWER]
    exact = 0 <= power <= _LARGEST_WHOLE_POWER
    carried = _times(digits, low)
    middle = digits * high + carried
    upper = _times(digits, high) + (_U1 if middle < carried else _U0)
    lower = digits * low

    short = np.int64(upper >> np.uint64(63)) ^ 1
    n_rest = np.uint64(64 - _MANTISSA_BITS - short)
    mantissa = upper >> n_rest
    rest = upper & ((_U1 << n_rest) - _U1)
    half = _U1 << (n_rest - _U1)
    if not exact and rest == half - _U1 and middle == _ALL:
        return -1.0
    # All of it is worked out every time: a branch that goes either way costs more.
    more = (middle | lower | (mantissa & _U1) | (_U0 if exact else _U1)) != _U0
    mantissa += np.uint64((rest > half) | ((rest == half) & more))
    # The mantissa's highest bit is implied; where rounding up made it 2**53, the exponent grows by itself.
    exponent = _POWER_SHIFT[power + _MAX_POWER] + 128 + 63 - zeros - short + _EXPONENT_BIAS
    return _as_float((np.uint64(exponent - 1) << np.uint64(_MANTISSA_BITS - 1)) + mantissa)
