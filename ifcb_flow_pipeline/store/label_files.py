"""Decisions in CSV files, such as a lab keeps as its list of rejected bins.

Each line is about one bin (``pid``), or about all bins of an ``instrument`` on a ``day`` or from ``start`` to ``end``
(both included; days, or times in UTC where they state no zone). ``decision`` is good, bad or unsure; ``reason`` is the
lab's own text; ``context`` (yes or no) marks what is no fault of the instrument. Other columns are ignored.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_name
from ifcb_flow_pipeline.store.labels import CONTEXT, Decision, Decisions, Label, LabelError, LabelStore, RangeLabel

_DECISIONS: Mapping[str, Decision] = {"good": "good", "bad": "bad", "unsure": "unsure"}
_YES, _NO = ("yes", "true", "1", "context", "x"), ("", "no", "false", "0", "fault")


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The decisions of a file: about single bins, about ranges; and what is given as a pid but is none."""

    labels: tuple[Label, ...]
    ranges: tuple[RangeLabel, ...]
    no_bins: tuple[str, ...]

    @property
    def decisions(self) -> Decisions:
        """What counts: of several decisions about a bin or a time the last."""
        return Decisions({label.pid: label for label in self.labels}, self.ranges)


def read_label_file(path: Path, reviewer: str, at: datetime) -> LabelFile:
    """Read a CSV file of decisions, made by ``reviewer`` at the time ``at``.

    Raises LabelError, naming file and line, for what is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is no CSV file in UTF-8: {error}") from error
    labels: list[Label] = []
    ranges: list[RangeLabel] = []
    no_bins: list[str] = []
    for number, row in enumerate(rows, start=2):
        cells = {
            name: (value or "").strip()
            for name, value in row.items()
            if isinstance(name, str) and not isinstance(value, list)
        }
        try:
            one = _read(cells, reviewer, at)
        except InvalidPidError:
            no_bins.append(cells["pid"])
        except LabelError as error:
            raise LabelError(f"{path}, line {number}: {error}") from None
        else:
            (labels if isinstance(one, Label) else ranges).append(one)  # type: ignore[arg-type]
    return LabelFile(tuple(labels), tuple(ranges), tuple(no_bins))


def read_decisions(path: Path) -> tuple[Decisions, tuple[str, ...]]:
    """The decisions in a label store (a file .sqlite) or a CSV file, and what is given as a pid there but is none.

    Raises LabelError or RecordError, naming the file, for what is none.
    """
    if path.suffix == ".sqlite":
        return LabelStore(path).decisions(), ()
    found = read_label_file(path, path.name[:80], datetime.now(tz=UTC))
    return found.decisions, found.no_bins


def _read(cells: Mapping[str, str], reviewer: str, at: datetime) -> Label | RangeLabel:
    decision = _DECISIONS.get(cells.get("decision", "").lower())
    ranged = cells.get("instrument") and (cells.get("day") or cells.get("start"))
    if decision is None or not (cells.get("pid") or ranged):
        raise LabelError(
            "a pid and a decision (good, bad or unsure) are needed, or an instrument with a day, or with start and "
            "end, in place of the pid"
        )
    said = (decision, _tags(cells.get("context", "")), cells.get("reason", ""), reviewer, at)
    if cells.get("pid"):
        return Label(parse_name(cells["pid"]).pid, *said, "import")
    if cells.get("day"):
        first, until = _first(cells["day"]), _until(cells["day"])
    else:
        first, until = _first(cells["start"]), _until(cells.get("end", ""))
    instrument = cells["instrument"].upper()
    return RangeLabel(f"IFCB{instrument}" if instrument.isdigit() else instrument, first, until, *said)


def _tags(context: str) -> tuple[str, ...]:
    if context.lower() in _YES:
        return (CONTEXT,)
    if context.lower() in _NO:
        return ()
    raise LabelError(f"context is {context!r}; it must be yes or no")


def _first(text: str) -> datetime:
    day = _day(text)
    return datetime.combine(day, time(), UTC) if day else _time(text)


def _until(text: str) -> datetime:
    """Just after the last time that belongs to the range."""
    day = _day(text)
    return datetime.combine(day, time(), UTC) + timedelta(days=1) if day else _time(text) + timedelta(seconds=1)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise LabelError(f"{text!r} is no day or time such as 2023-08-10 or 2023-08-10T12:30") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
