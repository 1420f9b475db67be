"""How instruments are doing by their latest bins, as numbers for other programs."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Bins are counted over the day, unreadable ones over the week, that end with the instrument's last scored bin.
DAY, WEEK = timedelta(days=1), timedelta(days=7)

#: The rhythm of an instrument is that of so many of its last bins; that of a single bin is the usual one of IFCBs.
RHYTHM_BINS, USUAL_INTERVAL_S = 50, 25 * 60.0

_MICROSECOND = timedelta(microseconds=1)

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
    unreadable over the week that does. ``interval_s``, ``long_interval_s``: the median time between two of its
    last RHYTHM_BINS bins, and the time that nine of ten stay below; of an instrument of one bin, USUAL_INTERVAL_S.
    """

    instrument: str
    last_pid: str
    last_start_time: datetime
    last_scored: LastScored | None
    bins: dict[str, int]
    n_unreadable: int
    interval_s: float
    long_interval_s: float


def instrument_states(listed: pa.Table, scored: pa.Table) -> tuple[InstrumentState, ...]:
    """The state of each instrument that has a bin among rows of ``raw_bins`` (LISTED_COLUMNS) or of ``bin_scores``
    (SCORED_COLUMNS), in the order of their names.
    """
    known = _Lasts.of(pa.concat_tables([rows.select(list(LISTED_COLUMNS)) for rows in (listed, scored)]))
    last, intervals = known.rows(), known.intervals()
    lasts = _Lasts.of(scored)
    last_scored, bins, unreadable = lasts.rows(), lasts.verdicts_since(DAY), lasts.verdicts_since(WEEK)
    return tuple(
        InstrumentState(
            instrument=name,
            last_pid=row["pid"],
            last_start_time=row["start_time"],
            last_scored=_last_scored(last_scored[name]) if name in last_scored else None,
            bins=dict(sorted(bins[name].items())),
            n_unreadable=unreadable[name]["unreadable"],
            interval_s=intervals[name][0],
            long_interval_s=intervals[name][1],
        )
        for name, row in sorted(last.items())
    )


@dataclass(frozen=True, slots=True)
class _Lasts:
    """n rows with instrument and start time, and how long before the last of its instrument each starts: ``age_us``,
    microseconds, int64 of shape (n,).
    """

    table: pa.Table
    age_us: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> "_Lasts":
        # Bins that were asked for but not found have neither.
        if table["instrument"].null_count or table["start_time"].null_count:
            table = table.filter(pc.field("instrument").is_valid() & pc.field("start_time").is_valid())
        codes = table["instrument"].combine_chunks().dictionary_encode()
        time_us = table["start_time"].cast(pa.int64()).to_numpy()
        newest = np.full(len(codes.dictionary), np.iinfo(np.int64).min)
        np.maximum.at(newest, codes.indices.to_numpy(), time_us)
        return cls(table, newest[codes.indices.to_numpy()] - time_us)

    def rows(self) -> dict[str, dict[str, Any]]:
        """The last row of each instrument."""
        return {row["instrument"]: row for row in self.table.take(np.flatnonzero(self.age_us == 0)).to_pylist()}

    def intervals(self) -> dict[str, tuple[float, float]]:
        """The median time in s between an instrument's last bins, and the 90th percentile; bins may be there twice."""
        codes = self.table["instrument"].combine_chunks().dictionary_encode()
        names, of_instrument = codes.dictionary.to_pylist(), codes.indices.to_numpy()
        found = {}
        for code, name in enumerate(names):
            between_s = np.diff(np.unique(self.age_us[of_instrument == code])[:RHYTHM_BINS]) / 1e6
            middle, long = np.quantile(between_s, (0.5, 0.9)) if between_s.size else (USUAL_INTERVAL_S,) * 2
            found[name] = (float(middle), float(long))
        return found

    def verdicts_since(self, span: timedelta) -> defaultdict[str, Counter[str]]:
        """How many rows of each instrument have which verdict, over the span that ends with its last."""
        chosen = self.table.select(["instrument", "verdict"]).take(np.flatnonzero(self.age_us < span // _MICROSECOND))
        found: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for row in chosen.group_by(["instrument", "verdict"]).aggregate([([], "count_all")]).to_pylist():
            found[row["instrument"]][row["verdict"]] = row["count_all"]
        return found


def _last_scored(row: dict[str, Any]) -> LastScored:
    severity = float("nan") if row["severity"] is None else row["severity"]
    return LastScored(row["pid"], row["start_time"], severity, row["verdict"], row["cause"], row["model_id"])
