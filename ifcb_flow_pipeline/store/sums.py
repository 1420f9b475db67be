"""Checksums inside a Parquet file, of each row group and of the footer: a single bit that rots is noticed when read.

Parquet's own checksums cover neither the footer nor the headers of pages, where a damage changes values just as well.
So a file has an entry of metadata with room for a number of eight digits for the footer and one for each row group,
which are filled in once it is written. The footer's is of the footer with zeros in place of its own digits.
"""

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

KEY = b"ifcb_flow_sums"
_MARK = b"crc32:"
_DIGITS = 8

#: At the end of each file: the length of the footer, and Parquet's magic.
_TAIL = 8


class RottenError(ValueError):
    """A file whose content is not what was written."""


@dataclass(frozen=True, slots=True)
class Sums:
    """The checksums of a file's row groups, and where the footer starts, in bytes."""

    row_groups: tuple[int, ...]
    footer_start: int


def room(n_row_groups: int) -> dict[bytes, bytes]:
    """The entry of metadata in which the checksums find room; they are written by ``fill``."""
    return {KEY: _MARK + b"0" * _DIGITS * (1 + n_row_groups)}


def fill(path: Path) -> None:
    """Write the checksums of a file that has room for them."""
    with path.open("r+b") as file:
        content = memoryview(file.read())
        start = _footer_start(bytes(content[-_TAIL:]), len(content))
        metadata = pq.ParquetFile(pa.BufferReader(content)).metadata
        groups = [zlib.crc32(content[first:end]) for first, end in _ranges(metadata, start)]
        footer = bytearray(content[start:])
        place = footer.index(_MARK) + len(_MARK)
        digits = "".join(f"{value:08x}" for value in groups).encode()
        footer[place + _DIGITS : place + _DIGITS + len(digits)] = digits
        footer[place : place + _DIGITS] = f"{zlib.crc32(footer):08x}".encode()
        file.seek(start)
        file.write(footer)


def checked_footer(source: pa.NativeFile) -> Sums | None:
    """The checksums of a file; None for one without, of before there were any. Raises RottenError, OSError."""
    size = source.size()
    start = _footer_start(source.read_at(_TAIL, max(size - _TAIL, 0)), size)
    footer = bytearray(source.read_at(size - start, start))
    place = footer.find(_MARK)
    if place < 0:
        if KEY in footer:
            raise RottenError("its checksums are damaged")
        return None
    place += len(_MARK)
    written = bytes(footer[place : place + _DIGITS])
    footer[place : place + _DIGITS] = b"0" * _DIGITS
    if written != f"{zlib.crc32(footer):08x}".encode():
        raise RottenError("its footer is damaged")
    digits = bytes(footer[place + _DIGITS :])
    n = next((i for i in range(0, len(digits), _DIGITS) if not _is_number(digits[i : i + _DIGITS])), 0)
    return Sums(tuple(int(digits[i : i + _DIGITS], 16) for i in range(0, n, _DIGITS)), start)


def check_row_groups(source: pa.NativeFile, metadata: pq.FileMetaData, sums: Sums, wanted: Iterable[int]) -> None:
    """Raise RottenError where one of these row groups is not what was written."""
    ranges = _ranges(metadata, sums.footer_start)
    for number in wanted:
        first, end = ranges[number]
        if zlib.crc32(source.read_at(end - first, first)) != sums.row_groups[number]:
            raise RottenError(f"row group {number} is damaged")


def _ranges(metadata: pq.FileMetaData, footer_start: int) -> list[tuple[int, int]]:
    """Where the bytes of each row group are: all bytes of the file before the footer belong to one."""
    starts = []
    for number in range(metadata.num_row_groups):
        column = metadata.row_group(number).column(0)
        starts.append(column.dictionary_page_offset or column.data_page_offset)
    ends = [*starts[1:], footer_start]
    return list(zip([0, *starts[1:]], ends, strict=True)) if starts else []


def _footer_start(tail: bytes, size: int) -> int:
    if len(tail) < _TAIL or tail[4:] != b"PAR1":
        raise RottenError("it does not end as a Parquet file does")
    (length,) = struct.unpack("<I", tail[:4])
    if length > size - _TAIL:
        raise RottenError("its footer is damaged")
    return size - _TAIL - length


def _is_number(digits: bytes) -> bool:
    return len(digits) == _DIGITS and all(digit in b"0123456789abcdef" for digit in digits)
