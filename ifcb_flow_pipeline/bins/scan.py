"""The fast reader of clean ADC files: one pass of compiled code over the bytes, straight into the columns.

It reads only what it can read exactly, and gives up on a file at the first thing that it does not know: the
careful reader of ``adc`` then says what it is. So there is nothing here that repairs or describes.

Bytes are taken eight at a time, as one 64-bit word whose lowest byte is the first in the file, or 64 at a time.
Only ``adc`` imports this module, when it first reads a file, because numba takes long to load. All kernels of
the reader are in this file: the cache of machine code notices changes of no other.
"""

import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import inlined, kernel

#: The types of columns, by the number under which a plan names them.
DTYPES = (np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64))
_FLOAT32, _FLOAT64, _INT16, _INT32, _INT64 = range(len(DTYPES))

#: Blocks are read up to so many bytes before and behind a cell.
_MARGIN = 64

#: Largest value of each type; of whole numbers 2**53 as well, as the careful reader reads them as float64.
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
_LARGEST_WHOLE = np.array([0, 0, 2**15 - 1, 2**31 - 1, 2**53], dtype=np.uint64)

#: Every number of 19 digits fits 64 bits.
_MAX_DIGITS = 19
#: So many digits are looked at, leading zeros included; a cell without exponent may have a point besides.
_MAX_WRITTEN = 24
#: In the place of a power: this is not surely a number.
_NO_NUMBER = 10_000

#: More than any line has.
_MAX_SEPARATORS = 64

#: Powers of ten in the table. Within them no number is too large for float64, nor so small as to lose bits.
_MAX_POWER = 64

#: Whole numbers up to 2**53 and powers of ten up to 10**22 are exact in float64, so that their product or
#: quotient is rounded once only, as it should be.
_EXACT_WHOLE = np.uint64(2**53)
_EXACT_POWER = 22
_EXACT_POWERS = np.array([10.0**power for power in range(_EXACT_POWER + 1)])

#: At 16 + n: a word whose last n bytes are all ones, for n from -16 to 25, one more than digits are looked at.
_LAST_BYTES = np.array([(2**64 - 1) & ~(2**64 - 1 >> min(max(8 * n, 0), 64)) for n in range(-16, 26)], dtype=np.uint64)

_NEWLINE, _RETURN, _TAB, _SPACE, _COMMA, _MINUS, _PLUS, _POINT, _ZERO, _NINE, _E, _SMALL_E = b"\n\r\t ,-+.09Ee"

_ALL = np.uint64(2**64 - 1)
_ZEROS = np.uint64(0x0101010101010101 * _ZERO)
_EVERY_2ND, _EVERY_4TH = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_LOWER_HALF = np.uint64(0xFFFFFFFF)
_TEN, _HUNDRED, _THOUSAND, _TEN_THOUSAND, _TEN_TO_8 = (np.uint64(10**power) for power in (1, 2, 3, 4, 8))
_U0, _U1, _U8, _U16, _U32 = (np.uint64(number) for number in (0, 1, 8, 16, 32))

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


def scan(data: bytes, widths: tuple[int, ...], wanted: list[tuple[int, np.dtype]]) -> tuple[int, list[NDArray]] | None:
    """The number of lines and their wanted columns, in the order wanted; None for a file that is not clean enough.

    ``wanted`` has positions in a line and types. A result is exactly what the careful reader gives.
    """
    plan, n_arrays = _plan(wanted)
    n_rows = _n_newlines(np.frombuffer(data, np.uint8)) + 1
    arrays = [np.empty((n, n_rows), dtype) for n, dtype in zip(n_arrays, DTYPES, strict=True)]
    n_fields = np.array(widths, dtype=np.int64)
    row = 0
    for piece, start, stop in _pieces(data):
        row = _scan(piece, start, stop, row, n_fields, plan, *arrays)
        if row < 0:
            return None
    placed = {position: arrays[kind][slot, :row] for position, kind, slot in plan.tolist()}
    return row, [placed[position] for position, _ in wanted]


def _pieces(data: bytes) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """The text in pieces of whole lines, each with its start and stop in an array that has a margin around it.

    Only the first and the last lines have to be copied for that.
    """
    first = data.find(b"\n", _MARGIN) + 1
    last = data.rfind(b"\n", 0, max(len(data) - _MARGIN, 0)) + 1
    if not 0 < first <= last:
        first = last = 0
    around = bytes(_MARGIN)
    for start, stop in ((0, first), (first, last), (last, len(data))):
        if start == first < stop <= last:
            yield np.frombuffer(data, np.uint8), start, stop
        elif start < stop:
            end = b"" if data[stop - 1] == _NEWLINE else b"\n"
            text = np.frombuffer(around + data[start:stop] + end + around, np.uint8)
            yield text, _MARGIN, len(text) - _MARGIN


def _plan(wanted: list[tuple[int, np.dtype]]) -> tuple[NDArray[np.int64], list[int]]:
    """Per wanted column, in the order of a line: position, type and row of that type's array; the arrays' rows."""
    n_arrays = [0] * len(DTYPES)
    steps = []
    for position, dtype in sorted(wanted, key=lambda column: column[0]):
        kind = DTYPES.index(dtype)
        steps.append((position, kind, n_arrays[kind]))
        n_arrays[kind] += 1
    return np.array(steps, dtype=np.int64).reshape(-1, 3), n_arrays


# Instructions that numba has no name for

#: Kernels pass one argument fewer than these functions take.
_instruction = cast("Callable[[Callable[..., Any]], Any]", intrinsic)


@_instruction
def _address(typing: Any, text: Any) -> Any:  # noqa: ARG001 - numba's signature
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
def _other_than_digits(typing: Any, at: Any) -> Any:  # noqa: ARG001
    """Which of the 32 bytes from there on are no digits, as bits."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        block = _load(builder, arguments[0], ir.VectorType(ir.IntType(8), 32))
        zero, ten = (ir.Constant(block.type, [number] * 32) for number in (_ZERO, 10))
        other = builder.icmp_unsigned(">=", builder.sub(block, zero), ten)
        return builder.zext(_as_bits(builder, other), ir.IntType(64))

    return types.uint64(types.int64), build


def _load(builder: Any, at: Any, kind: Any) -> Any:
    """The bytes from that address on as a value of a wider type, wherever they lie."""
    value = builder.load(builder.inttoptr(at, kind.as_pointer()))
    value.align = 1
    return value


def _repeated(builder: Any, byte: Any, kind: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), byte, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count))


def _as_bits(builder: Any, truths: Any) -> Any:
    """A vector of truths as a whole number, the first as its lowest bit."""
    if sys.byteorder != "little":
        raise NotImplementedError("the fast ADC reader needs a little-endian machine")
    return builder.bitcast(truths, ir.IntType(truths.type.count))


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
def _scan(text, at, stop, row, n_fields, plan, float32, float64, int16, int32, int64):  # noqa: C901
    """Read the lines from ``at`` to ``stop`` into the arrays from ``row`` on; the next row, or -1.

    All arrays are written to here: a kernel that is given one counts its users, which takes longer than a number.
    """
    at += _address(text)
    stop += _address(text)
    ends = np.empty(_MAX_SEPARATORS + 64, dtype=np.int64)
    while at < stop:
        n = _separators(at, ends)
        if not _has_width(at, ends, n, n_fields):
            return -1
        for i in range(len(plan)):
            position, kind, slot = plan[i, 0], plan[i, 1], plan[i, 2]
            start = ends[position - 1] + 1 if position > 0 else at
            minus, digits, power = _number(start, ends[position])
            if power == _NO_NUMBER:
                return -1
            if kind >= _INT16:
                if power != 0 or digits > _LARGEST_WHOLE[kind]:
                    return -1
                whole = -np.int64(digits) if minus else np.int64(digits)
                if kind == _INT16:
                    int16[slot, row] = whole
                elif kind == _INT32:
                    int32[slot, row] = whole
                else:
                    int64[slot, row] = whole
            else:
                value = _float(digits, power)
                if value < 0 or (kind == _FLOAT32 and value > _LARGEST_FLOAT32):
                    return -1
                value = -value if minus else value
                if kind == _FLOAT32:
                    float32[slot, row] = value
                else:
                    float64[slot, row] = value
        at = ends[_MAX_SEPARATORS] + 1
        row += 1
    return row


@kernel
def _n_newlines(text):
    """How many lines end; bytes.count() takes far longer."""
    n = 0
    for byte in text:
        n += byte == _NEWLINE
    return n


@inlined
def _separators(at, ends):
    """Where the line's cells end: at commas, and the last at the line's end, without its CR. How many there are,
    or 0 where that is too many. The newline itself is noted behind them all.
    """
    n = 0
    while n < _MAX_SEPARATORS:
        commas, newlines = _equal(at, np.uint8(_COMMA)), _equal(at, np.uint8(_NEWLINE))
        commas &= newlines - _U1 & ~newlines if newlines != _U0 else _ALL
        while commas != _U0:
            ends[n] = at + _lowest_bit(commas)
            commas &= commas - _U1
            n += 1
        if newlines != _U0:
            newline = at + _lowest_bit(newlines)
            break
        at += 64
    else:
        return 0
    ends[_MAX_SEPARATORS] = newline
    ends[n] = newline - (_byte(newline - 1) == _RETURN)
    return n + 1


@inlined
def _has_width(start, ends, n, n_fields):
    """Whether the line has as many cells as it should; a blank last one, after a trailing comma, is none."""
    if n == 0:
        return False
    last = ends[_MAX_SEPARATORS] - 1
    while last >= start and (_byte(last) == _SPACE or _byte(last) == _RETURN or _byte(last) == _TAB):
        last -= 1
    if last < start:
        return False
    n -= _byte(last) == _COMMA
    fits = False
    for wanted in n_fields:
        fits |= n == wanted
    return fits


# Numbers


@inlined
def _number(start, end):
    """The cell as sign, digits and power of ten; the power is _NO_NUMBER where it is not surely a number."""
    minus = _byte(start) == _MINUS
    start += minus
    length = end - start
    if length <= 0 or length > _MAX_WRITTEN + 1:
        return minus, _U0, _NO_NUMBER
    others = _other_than_digits(start) & ((_U1 << np.uint64(length)) - _U1)
    if others == _U0:
        digits, fits = _digits(end, length, length)
        return minus, digits, 0 if fits else _NO_NUMBER
    first = _lowest_bit(others)
    if others & (others - _U1) == _U0 and _byte(start + first) == _POINT and length > 1:
        n_decimals = length - 1 - first
        digits, fits = _digits(end, length - 1, n_decimals)
        return minus, digits, -n_decimals if fits else _NO_NUMBER
    digits, power = _odd_number(start, end)
    return minus, digits, power


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
    behind, inside = _LAST_BYTES[n_decimals + 16], _LAST_BYTES[n + 16]
    word = (_word(end - 8) & behind) | (_word(end - 9) & ~behind)
    word = (word ^ _ZEROS) & inside
    # Digits, pairs and fours are joined, all at once.
    word = (word * _TEN + (word >> _U8)) & _EVERY_2ND
    word = (word * _HUNDRED + (word >> _U16)) & _EVERY_4TH
    return (word * _TEN_THOUSAND + (word >> _U32)) & _LOWER_HALF


@kernel
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
            return np.float64(digits) / _EXACT_POWERS[-power]
        return np.float64(digits) * _EXACT_POWERS[power]
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
