"""Bad bins in a row as episodes: since when something is wrong with an instrument, and whether it still is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: So many readable bins that are not bad do not end an episode: faults come and go before they stay.
MAX_GAP_BINS = 2

#: Without any bin of the instrument for longer than this, an episode ends. Instruments take a bin every 20 to 25
#: minutes; a service, or a power cut over a night and a day, leaves a fault as it was and the episode one. After more
#: than that the instrument was switched off or out of the water, and nobody knows whether it is still the same fault.
MAX_PAUSE = timedelta(days=2)

#: What episodes are found from, in the order of ``find_episodes``.
EPISODE_COLUMNS = ("pid", "instrument", "start_time", "verdict", "cause", "severity")


@dataclass(frozen=True, slots=True)
class Episode:
    """Bad bins of one instrument in a row, from its first bad bin to its last.

    ``start``, ``end``: start times (UTC) of these two bins. ``n_bins``: all bins from the first to the last, whatever
    their verdict; ``n_bad``: the bad ones. ``cause``: the suspected cause that has the largest sum of severities.
    ``ongoing``: not more than MAX_GAP_BINS readable bins of the instrument come after it, and no pause of more than
    MAX_PAUSE before any of its bins that does. It is told by the instrument's last bins, however long ago they are.
    """

    instrument: str
    cause: str
    first_pid: str
    last_pid: str
    start: datetime
    end: datetime
    n_bins: int
    n_bad: int
    worst_severity: float
    worst_pid: str
    ongoing: bool

    def line(self) -> str:
        """The episode in a line for people."""
        state = "still going on" if self.ongoing else f"until {self.end:%Y-%m-%d %H:%M}"
        return (
            f"{self.instrument}: {self.cause or 'unknown'} since {self.start:%Y-%m-%d %H:%M}, {state}: "
            f"{self.n_bad} of {self.n_bins} bins bad, worst {self.worst_pid} ({self.worst_severity:.0f})"
        )


def find_episodes(
    pids: Sequence[Any],
    instruments: Sequence[Any],
    start_times: Sequence[Any],
    verdicts: Sequence[Any],
    causes: Sequence[Any],
    severities: Sequence[Any],
) -> list[Episode]:
    """The episodes among n bins given in any order, by start; each argument is a list, an array or a table's column.

    Up to MAX_GAP_BINS bins that are not bad do not end an episode; a time of more than MAX_PAUSE between two bins of
    the instrument, whatever their verdicts, does. Unreadable bins neither begin nor end one: they count in its
    ``n_bins`` where they lie inside. Bins without instrument or start time (asked for, but not found) are left out.
    """
    bins = pa.table(
        {
            "pid": _column(pids, pa.string()),
            "instrument": _column(instruments, pa.string()),
            "start_time": _column(start_times, pa.timestamp("us", tz="UTC")),
            "verdict": _column(verdicts, pa.string()),
            "cause": _column(causes, pa.string()),
            "severity": _column(severities, pa.float64()),
        }
    )
    bins = bins.filter(pc.field("instrument").is_valid() & pc.field("start_time").is_valid())
    instrument = bins["instrument"].combine_chunks().dictionary_encode().indices.to_numpy()
    time = bins["start_time"].combine_chunks().cast(pa.int64()).to_numpy()
    order = np.lexsort((time, instrument))
    bad = _is(bins, "bad")[order]
    unreadable = _is(bins, "unreadable")[order]
    pauses = np.cumsum(np.diff(time[order], prepend=0) > MAX_PAUSE // timedelta(microseconds=1))
    return _episodes(bins, _Series(order, instrument[order], bad, ~bad & ~unreadable, pauses))


def episodes_of(scores: pa.Table) -> list[Episode]:
    """The episodes among rows of ``bin_scores``."""
    return find_episodes(*(scores.column(name) for name in EPISODE_COLUMNS))


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return (values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)).cast(kind)


def _is(bins: pa.Table, verdict: str) -> NDArray[np.bool_]:
    of_verdict = bins["verdict"].combine_chunks().dictionary_encode()
    which = of_verdict.dictionary.to_pylist()
    return of_verdict.indices.to_numpy() == (which.index(verdict) if verdict in which else -1)


@dataclass(frozen=True, slots=True)
class _Series:
    """n bins by instrument and time: their rows in a table (``order``), and arrays of shape (n,) in this order.

    ``pauses``: how many times of more than MAX_PAUSE without a bin of its instrument came before each bin.
    """

    order: NDArray[np.intp]
    instrument: NDArray[np.int32]
    bad: NDArray[np.bool_]
    healthy: NDArray[np.bool_]
    pauses: NDArray[np.int64]


def _episodes(bins: pa.Table, series: _Series) -> list[Episode]:
    at = np.flatnonzero(series.bad)
    if not at.size:
        return []
    instrument, pauses, healthy_so_far = series.instrument, series.pauses, np.cumsum(series.healthy)
    begins = np.ones(at.size, dtype=bool)
    begins[1:] = np.diff(healthy_so_far[at]) > MAX_GAP_BINS
    begins[1:] |= (np.diff(pauses[at]) != 0) | (np.diff(instrument[at]) != 0)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], at.size) - 1
    end_of_instrument = np.searchsorted(instrument, instrument[at[last]], side="right") - 1
    after = healthy_so_far[end_of_instrument] - healthy_so_far[at[last]]
    ongoing = (after <= MAX_GAP_BINS) & (pauses[end_of_instrument] == pauses[at[last]])
    rows = series.order[at]
    number = np.cumsum(begins) - 1
    severity = bins["severity"].to_numpy()[rows]
    # NaN would win or lose by chance: a bad bin always has a severity, and a caller's gap counts as none.
    severity = np.where(np.isnan(severity), 0.0, severity)
    worst = np.lexsort((at, -severity, number))[first]
    of_first, of_last = bins.take(rows[first]), bins.take(rows[last])
    columns = (
        of_first["instrument"].to_pylist(),
        _main_causes(bins["cause"].take(pa.array(rows)), number, severity),
        of_first["pid"].to_pylist(),
        of_last["pid"].to_pylist(),
        of_first["start_time"].to_pylist(),
        of_last["start_time"].to_pylist(),
        (at[last] - at[first] + 1).tolist(),
        (last - first + 1).tolist(),
        severity[worst].tolist(),
        bins["pid"].take(pa.array(rows[worst])).to_pylist(),
        ongoing.tolist(),
    )
    found = [Episode(*values) for values in zip(*columns, strict=True)]
    return sorted(found, key=lambda episode: (episode.start, episode.instrument))


def _main_causes(causes: pa.ChunkedArray, number: NDArray[np.intp], severity: NDArray[np.float64]) -> list[str]:
    """The cause with the largest sum of severities in each episode; of equal ones the first in the alphabet."""
    coded = causes.fill_null("").combine_chunks().dictionary_encode()
    names = np.array(coded.dictionary.to_pylist(), dtype=object)
    rank = np.argsort(np.argsort(names.astype(str)))
    pairs, inverse = np.unique(number * len(names) + rank[coded.indices.to_numpy()], return_inverse=True)
    weight = np.bincount(inverse, weights=severity)
    episode = pairs // len(names)
    best = np.lexsort((pairs, -weight, episode))
    best = best[np.flatnonzero(np.diff(episode[best], prepend=-1))]
    return names[np.argsort(rank)][pairs[best] % len(names)].tolist()
