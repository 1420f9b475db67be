"""Bin identifiers (pids).

Two naming schemes exist: ``IFCB1_2009_216_075913`` (v1, instruments 1 to 6: year, day of year, time)
and ``D20230810T113059_IFCB134`` (v2, all later instruments). The time in the name is the start of the
run, UTC by convention.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

from ifcb_flow_pipeline.errors import FlowError

Schema = Literal["v1", "v2"]

_V2 = re.compile(r"D(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)_IFCB(\d+)", re.ASCII)
_V1 = re.compile(r"IFCB(\d+)_(\d{4})_(\d{3})_(\d{2})(\d{2})(\d{2})", re.ASCII)
_REMEDY = "expected DYYYYMMDDTHHMMSS_IFCBn or IFCBn_YYYY_DDD_HHMMSS"


class InvalidPidError(FlowError, ValueError):
    """A text that is no bin identifier; the message quotes it."""


@dataclass(frozen=True, slots=True)
class BinId:
    """A parsed bin identifier.

    ``pid`` is the identifier as written, ``instrument`` e.g. ``IFCB134``, ``start_time`` the start of
    the run (timezone-aware, UTC, whole seconds), ``schema`` the naming scheme, which also decides the
    ADC columns.
    """

    pid: str
    instrument: str
    start_time: datetime
    schema: Schema

    @property
    def day(self) -> date:
        """The UTC day in which the run started."""
        return self.start_time.date()


def parse_pid(text: str) -> BinId:
    """Parse a bin identifier.

    Raises InvalidPidError, quoting the text, where it follows neither scheme or names no real time.
    """
    if match := _V2.fullmatch(text):
        try:
            year, month, day, hour, minute, second = map(int, match.groups()[:6])
            start = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        except ValueError:
            raise InvalidPidError(f"{text!r} names no real date and time; {_REMEDY}") from None
        return BinId(text, f"IFCB{match[7]}", start, "v2")
    if match := _V1.fullmatch(text):
        number, year, day_of_year, hour, minute, second = match.groups()
        try:
            midnight = datetime(int(year), 1, 1, int(hour), int(minute), int(second), tzinfo=UTC)
            start = midnight + timedelta(days=int(day_of_year) - 1)
        except (ValueError, OverflowError):
            start = None
        if start is None or start.year != int(year):
            raise InvalidPidError(f"{text!r} names no real date and time; {_REMEDY}")
        return BinId(text, f"IFCB{number}", start, "v1")
    raise InvalidPidError(f"{text!r} is not a bin identifier; {_REMEDY}")


def parse_name(text: str) -> BinId:
    """Parse a bin identifier written in any case, as copies through other file systems may be.

    ``pid`` is the identifier as instruments write it. Raises InvalidPidError like ``parse_pid``.
    """
    try:
        return parse_pid(text)
    except InvalidPidError:
        # Outside of ASCII, other letters become those of an identifier, such as the dotless i.
        if not text.isascii() or text == text.upper():
            raise
        return parse_pid(text.upper())


def pid_within(text: str) -> BinId | None:
    """The bin that a text begins with, in any case, such as ``D20230810T113059_IFCB134_beads``; None without one."""
    if not text.isascii():
        return None
    match = _V2.match(text.upper()) or _V1.match(text.upper())
    try:
        return parse_pid(match[0]) if match else None
    except InvalidPidError:
        return None


def format_pid(instrument: str, start_time: datetime, schema: Schema = "v2") -> str:
    """The identifier of a run of ``instrument`` (``IFCB134``) that started at ``start_time`` (UTC)."""
    if schema == "v2":
        return f"D{start_time.year:04d}{start_time:%m%dT%H%M%S}_{instrument}"
    return f"{instrument}_{start_time.year:04d}_{start_time:%j_%H%M%S}"
