"""Variants of one healthy bin, each a case that people met in the field (see the issues that are named).

Used by tests of whatever reads or judges bins: ``field_cases()`` gives them all.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from ifcb_flow_pipeline.simulate import files_of, simulate_bin

PID = "D20230801T120000_IFCB134"


@dataclass(frozen=True, slots=True)
class FieldCase:
    """The files of a bin, and what the case is; ``n_damaged``: ADC lines of it that cannot be used."""

    name: str
    adc: bytes
    hdr: bytes | None
    n_damaged: int = 0

    @property
    def lines(self) -> list[bytes]:
        """The lines of the ADC file that hold anything, without their ends."""
        return [line for line in self.adc.splitlines() if line.strip()]


@cache
def healthy() -> FieldCase:
    """The bin that all others are made of."""
    files = files_of(simulate_bin(PID, mean_triggers=700))
    return FieldCase("unchanged", files.adc, files.hdr)


def with_lines(name: str, lines: list[bytes], n_damaged: int = 0) -> FieldCase:
    """The bin with other ADC lines."""
    return replace(healthy(), name=name, adc=b"\r\n".join(lines) + b"\r\n", n_damaged=n_damaged)


def with_cell(line: bytes, column: int, value: bytes) -> bytes:
    """The line with another value in that column, counted from 0."""
    cells = line.split(b",")
    return b",".join([*cells[:column], value, *cells[column + 1 :]])


def with_keys(name: str, **changed: str | Callable[[str], str]) -> FieldCase:
    """The bin with other values under some keys of its header."""
    lines = (healthy().hdr or b"").decode().split("\n")
    for i, line in enumerate(lines):
        key, _, before = line.partition(":")
        if key in changed:
            value = changed[key]
            lines[i] = f"{key}: {value(before.strip()) if callable(value) else value}"
    return replace(healthy(), name=name, hdr="\n".join(lines).encode())


@cache
def field_cases() -> dict[str, FieldCase]:
    """All cases, by name; the first is the healthy bin itself."""
    usual = healthy()
    lines, hdr = usual.lines, usual.hdr or b""
    cases = [
        usual,
        # ifcbdb 207, pyifcb 51 and 70
        with_keys("no run time in the header", runTime="0"),
        with_keys("run time 7.5 times too long", runTime=lambda text: str(7.5 * float(text))),
        with_keys("no blind time in the header", inhibitTime="0"),
        replace(usual, name="header cut in the middle", hdr=hdr[: len(hdr) // 3]),
        replace(usual, name="header without its first lines", hdr=hdr[len(hdr) // 2 :]),
        replace(usual, name="header of zero bytes", hdr=b""),
        replace(usual, name="no header", hdr=None),
        # pyifcb 57 and 59
        replace(usual, name="last line cut", adc=usual.adc[:-40], n_damaged=1),
        with_lines("garbage in the last blind time", [*lines[:-1], with_cell(lines[-1], 23, b"1100.5")]),
        with_lines("several bad lines at the end", [*lines[:-3], bytes(200), *lines[-3:-1], b"12,,,,"], 2),
        with_lines("a line of titles", [b"trigger,adc_time", *lines], 1),
        replace(usual, name="byte order mark", adc=b"\xef\xbb\xbf" + usual.adc),
        with_lines("empty lines", [line for pair in zip(lines, [b""] * len(lines), strict=True) for line in pair]),
        # pyifcb's extra1 and extra2, and what newer software may append
        with_lines("one more column than known", [line + b",24.5,1510000,1" for line in lines]),
        with_lines("numbers with a point", [with_cell(line, 13, line.split(b",")[13] + b".0") for line in lines]),
        with_lines("NaN in a signal that no feature needs", [with_cell(line, 4, b"NaN") for line in lines]),
        with_lines("one infinite signal", [with_cell(lines[0], 7, b"inf"), *lines[1:]]),
        with_lines("all signals zero", [_without_signals(line) for line in lines]),
        with_lines("one dead signal", [with_cell(line, 4, b"0.5") for line in lines]),
        with_lines("time stands still", [with_cell(line, 1, b"12.5") for line in lines]),
        with_lines("places in the .roi file lost", [with_cell(line, 17, b"0") for line in lines]),
        with_lines("counters that were not set back", [_ahead(line, 500.0, 40.0) for line in lines]),
        with_lines("first half only", lines[: len(lines) // 2]),
        with_lines("no triggers in the second half", [line for line in lines if float(line.split(b",")[1]) < 600]),
    ]
    # The header of a run that a clog left without triggers says so.
    cells = [line.split(b",") for line in cases[-1].lines]
    n_images, blind_s = sum(int(row[15]) > 0 for row in cells), cells[-1][23].decode()
    cases[-1] = replace(cases[-1], hdr=with_keys("", roiCount=str(n_images), inhibitTime=blind_s).hdr)
    return {case.name: case for case in cases}


def _without_signals(line: bytes) -> bytes:
    for column in range(2, 10):
        line = with_cell(line, column, b"0")
    return line


def _ahead(line: bytes, run_s: float, blind_s: float) -> bytes:
    cells = line.split(b",")
    line = with_cell(line, 22, str(float(cells[22]) + run_s).encode())
    return with_cell(line, 23, str(float(cells[23]) + blind_s).encode())
