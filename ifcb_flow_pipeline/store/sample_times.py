"""Corrected sample times: a table that people keep, of bins whose instrument had a wrong clock.

``sample_times.csv`` in the folder of the deployment has the columns ``pid`` and ``sample_time`` (ISO 8601, UTC unless
it states an offset). It is read when ``bin_features`` are made; identifiers and days stay those of the file names.
"""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.errors import FlowError

FILE_NAME = "sample_times.csv"
_COLUMNS = ("pid", "sample_time")


class SampleTimesError(FlowError):
    """A table of corrections that cannot be used; the message names the file, the line and the remedy."""


@dataclass(frozen=True, slots=True)
class SampleTimes:
    """When samples were taken, by pid: of bins whose clock was wrong (UTC)."""

    corrected: Mapping[str, datetime] = field(default_factory=dict)

    def of(self, pid: str) -> datetime | None:
        """When the sample of a bin was taken; None where its identifier says so."""
        return self.corrected.get(pid)

    @classmethod
    def read(cls, home: Path) -> "SampleTimes":
        """Those of a deployment; none without a file. Raises SampleTimesError for a line that says nothing."""
        path = home / FILE_NAME
        try:
            text = path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError) as error:
            raise SampleTimesError(f"{path} cannot be read ({error}): save it as CSV in UTF-8") from error
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
            raise SampleTimesError(f"{path} has no column {missing[0]}: its first line has to be pid,sample_time")
        found: dict[str, datetime] = {}
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            pid, time = _parsed(row, where)
            if found.setdefault(pid, time) != time:
                raise SampleTimesError(f"{where}: {pid} has two sample times: remove one of them")
        return cls(found)


def _parsed(row: Mapping[str, str | None], where: str) -> tuple[str, datetime]:
    try:
        pid = parse_pid((row["pid"] or "").strip()).pid
    except InvalidPidError as error:
        raise SampleTimesError(f"{where}: {error}") from error
    stated = (row["sample_time"] or "").strip()
    try:
        time = datetime.fromisoformat(stated)
    except ValueError as error:
        raise SampleTimesError(f"{where}: {stated!r} is no time: write it as 2024-05-01T12:30:00Z") from error
    return pid, time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
