"""How instruments are doing by their latest bins, as numbers for other programs."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

#: Bins are counted over the day, unreadable ones over the week, that end with the instrument's last scored bin.
DAY, WEEK = timedelta(days=1), timedelta(days=7)

#: What is read of ``raw_bins`` and of ``bin_scores``.
LISTED_COLUMNS = ("pid", "instrument", "start_time")
SCORED_COLUMNS = (*LISTED_COLUMNS, "severity", "verdict", "cause", "model_id")


@dataclass(frozen=True, slots=True)
class LastScored:
    """The last scored bin of an instrument; ``severity`` is NaN where it was not judged."""

    pid: str
    start_time: datetime
    severity: float
    verdict: str
    cause: str
    model_id: str


@dataclass(frozen=True, slots=True)
class InstrumentState:
    """How an instrument is doing.

    ``last_pid``, ``last_start_time``: its last bin, scored or not. ``last_scored``: None where no bin is. ``bins``: how
    many scored bins have which verdict, over the day that ends with the last of them; ``n_unreadable``: how many are
    unreadable over the week that does.
    """

    instrument: str
    last_pid: str
    last_start_time: datetime
    last_scored: LastScored | None
    bins: dict[str, int]
    n_unreadable: int


def instrument_states(listed: pa.Table, scored: pa.Table) -> tuple[InstrumentState, ...]:
    """The state of each instrument that has a bin among rows of ``raw_bins`` (LISTED_COLUMNS) or of ``bin_scores``
    (SCORED_COLUMNS), in the order of their names.
    """
    both = [rows.select(list(LISTED_COLUMNS)) for rows in (listed, scored)]
    last = {row["instrument"]: row for row in _last_of_each(pa.concat_tables(both))}
    last_scored = {row["instrument"]: row for row in _last_of_each(scored)}
    return tuple(
        InstrumentState(
            instrument=name,
            last_pid=row["pid"],
            last_start_time=row["start_time"],
            last_scored=_last_scored(last_scored[name]) if name in last_scored else None,
            **_counts(scored, last_scored.get(name)),
        )
        for name, row in sorted(last.items())
    )


def _last_of_each(rows: pa.Table) -> list[dict[str, Any]]:
    """The last bin of each instrument. Bins that were asked for but not found have none."""
    rows = rows.filter(pc.field("instrument").is_valid() & pc.field("start_time").is_valid())
    newest = rows.group_by("instrument").aggregate([("start_time", "max")])
    found = rows.join(newest, ["instrument", "start_time"], ["instrument", "start_time_max"], "left semi")
    return found.to_pylist()


def _last_scored(row: dict[str, Any]) -> LastScored:
    severity = float("nan") if row["severity"] is None else row["severity"]
    return LastScored(row["pid"], row["start_time"], severity, row["verdict"], row["cause"], row["model_id"])


def _counts(scored: pa.Table, last: dict[str, Any] | None) -> dict[str, Any]:
    if last is None:
        return {"bins": {}, "n_unreadable": 0}
    since = pa.scalar(last["start_time"] - WEEK, scored.schema.field("start_time").type)
    own = scored.filter((pc.field("instrument") == last["instrument"]) & (pc.field("start_time") > since))
    of_day = own.filter(pc.field("start_time") > pa.scalar(last["start_time"] - DAY, since.type))
    return {
        "bins": dict(sorted(Counter(of_day["verdict"].to_pylist()).items())),
        "n_unreadable": own["verdict"].to_pylist().count("unreadable"),
    }
