"""What an archive has that is in no day's tables, and why: nothing is left out without a word.

Four kinds: *misplaced* bins lie in a directory of another date, *misnamed* files have the extension of a bin's file
but not the name of a bin, corrected .adc files with *no bin* have no raw one that they correct, and bins *outside* have
a time that no day of the deployment stands for.
"""

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from ifcb_flow_pipeline.bins.archive import CORRECTED_SUFFIX, RawBin
from ifcb_flow_pipeline.bins.pid import BinId, pid_within

LeftOutStatus = Literal["misplaced", "misnamed", "no_bin", "outside"]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A bin that is not used, or files that may be one.

    ``pid``: its identifier; of misnamed files their name without extension. ``instrument``, ``start_time``: None
    where the name does not begin with an identifier. ``path``: where it lies in the archive. ``reason``: why it is
    left out and what to do about it.
    """

    pid: str
    instrument: str | None
    start_time: datetime | None
    path: str
    status: LeftOutStatus
    reason: str


def misplaced(raw: RawBin) -> LeftOut:
    """A bin that lies in a directory of another date."""
    reason = f"lies in {raw.directory}, which states another date: move it"
    return LeftOut(*_identity(raw), raw.directory, "misplaced", reason)


def outside(raw: RawBin, first: date, last: date) -> LeftOut | None:
    """A bin whose time is before the ``first`` or after the ``last`` day of the deployment; None for any other."""
    day = raw.bin_id.day
    if first <= day <= last:
        return None
    if day < first:
        why = f"{day} is before the first day {first}: set IFCB_START_DAY to an earlier day, or correct the clock"
    else:
        why = f"{day} is in the future: correct the instrument's clock and the names of the files"
    return LeftOut(*_identity(raw), raw.directory, "outside", why)


def misnamed(paths: Iterable[str]) -> list[LeftOut]:
    """Files that are no bin's (see ``Listing.strays``), those of one name together, in order of name."""
    by_stem: dict[str, list[str]] = {}
    for path in sorted(paths):
        by_stem.setdefault(posixpath.basename(path)[:-4], []).append(path)
    return [_misnamed(stem, of_stem) for stem, of_stem in sorted(by_stem.items())]


def _misnamed(stem: str, paths: list[str]) -> LeftOut:
    bin_id = pid_within(stem)
    if paths[0].lower().endswith(CORRECTED_SUFFIX):
        return _without_bin(bin_id, paths[0])
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    named = f"{posixpath.basename(paths[0])}{others} {'are' if others else 'is'} not named as a bin"
    if bin_id is None:
        reason = f"{named}: give it the name of its bin, such as D20230810T113059_IFCB134, or move it away"
        return LeftOut(stem or paths[0], None, None, paths[0], "misnamed", reason)
    reason = f"{named}: rename to {bin_id.pid}, or move to a directory that is not read, such as beads or skip"
    return LeftOut(stem, bin_id.instrument, bin_id.start_time, paths[0], "misnamed", reason)


def _without_bin(bin_id: BinId | None, path: str) -> LeftOut:
    """A corrected .adc file of which no raw one lies in a directory of the same name."""
    directory, name = posixpath.split(path)
    reason = (
        f"{name} corrects an .adc file, but no directory {posixpath.basename(directory)} of the archive has that one: "
        "put it beside the bin's directory of the same name, or remove it"
    )
    if bin_id is None:
        return LeftOut(name[: -len(CORRECTED_SUFFIX)], None, None, path, "no_bin", reason)
    return LeftOut(bin_id.pid, bin_id.instrument, bin_id.start_time, path, "no_bin", reason)


def _identity(raw: RawBin) -> tuple[str, str, datetime]:
    return raw.bin_id.pid, raw.bin_id.instrument, raw.bin_id.start_time
