"""Bad bins in a row as episodes: since when something is wrong with an instrument, and whether it still is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES

#: So many readable bins that are not bad do not end an episode: faults come and go before they stay.
MAX_GAP_BINS = 2

#: Without any bin of the instrument for longer than this, an episode ends. Instruments take a bin every 20 to 25
#: minutes; a service, or a power cut over a night and a day, leaves a fault as it was and the episode one. After more
#: than that the instrument was switched off or out of the water, and nobody knows whether it is still the same fault.
MAX_PAUSE = timedelta(days=2)

#: After so many of an instrument's usual intervals without a bin, nobody knows whether its last fault still lasts: a
#: service takes a few of them, and telemetry delays some.
MAX_SILENT_INTERVALS = 10

#: The usual interval of an instrument of which there is only one bin: IFCBs take one every 20 to 25 minutes.
_ONE_BIN_INTERVAL = timedelta(minutes=25)

#: Verdicts that say nothing about a fault: such bins neither begin nor end an episode.
_NO_WORD = ("unreadable", "not_judged")

#: ``ongoing``: the instrument's last bins have not cleared it; ``over``: they have, or a pause ended it; ``unknown``:
#: they have not, but there has been no bin for longer than usual.
State = Literal["ongoing", "over", "unknown"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: What episodes are found from, in the order of ``find_episodes``.
EPISODE_COLUMNS = ("pid", "instrument", "start_time", "verdict", "cause", "severity")


@dataclass(frozen=True, slots=True)
class Episode:
    """Bad bins of one instrument in a row, from its first bad bin to its last.

    ``start``, ``end``: start times (UTC) of these two bins. ``n_bins``: all bins from the first to the last, whatever
    their verdict; ``n_bad``: the bad ones. ``cause``: the suspected cause that has the largest sum of severities.
    ``state``: ``over`` where more than MAX_GAP_BINS judged bins of the instrument come after it, or a pause of more
    than MAX_PAUSE; ``unknown`` where the instrument has had no bin for MAX_SILENT_INTERVALS of its usual intervals, and
    ``over`` after MAX_PAUSE of that; else ``ongoing``.
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
    state: State

    @property
    def ongoing(self) -> bool:
        """Whether it lasts."""
        return self.state == "ongoing"

    def line(self) -> str:
        """The episode in a line for people."""
        last = f"{self.end:%Y-%m-%d %H:%M}"
        state = {"ongoing": "ongoing", "over": f"until {last}", "unknown": f"last seen {last}, no bins since"}
        name = CAUSE_NAMES.get(self.cause, self.cause) or CAUSE_NAMES["unknown"]
        return (
            f"{self.instrument}: {name} since {self.start:%Y-%m-%d %H:%M}, {state[self.state]}: "
            f"{self.n_bad} of {self.n_bins} bins bad, worst {self.worst_pid} ({self.worst_severity:.0f})"
        )


def find_episodes(
    pids: Sequence[Any],
    instruments: Sequence[Any],
    start_times: Sequence[Any],
    verdicts: Sequence[Any],
    causes: Sequence[Any],
    severities: Sequence[Any],
    now: datetime | None = None,
) -> list[Episode]:
    """The episodes among n bins given in any order, by start; each argument is a list, an array or a table's column.

    Up to MAX_GAP_BINS bins that are not bad do not end an episode; a time of more than MAX_PAUSE between two bins of
    the instrument, whatever their verdicts, does. Bins that are unreadable or not judged neither begin nor end one:
    they count in its ``n_bins`` where they lie inside. Bins without instrument or start time (asked for, but not found)
    are left out.

    ``now``: an aware time, which tells episodes that last from those of an instrument that fell silent (the usual
    interval is the median of those between its bins); None: the state is that at each instrument's last bin.
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
    no_word = np.logical_or.reduce([_is(bins, verdict) for verdict in _NO_WORD])[order]
    return _episodes(bins, _Series(order, instrument[order], time[order], bad, ~bad & ~no_word), now)


def episodes_of(scores: pa.Table, now: datetime | None = None) -> list[Episode]:
    """The episodes among rows of ``bin_scores``; ``now`` as in ``find_episodes``."""
    return find_episodes(*(scores.column(name) for name in EPISODE_COLUMNS), now=now)


def _column(values: Any, kind: pa.DataType) -> pa.Array | pa.ChunkedArray:
    return (values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)).cast(kind)


def _is(bins: pa.Table, verdict: str) -> NDArray[np.bool_]:
    of_verdict = bins["verdict"].combine_chunks().dictionary_encode()
    which = of_verdict.dictionary.to_pylist()
    return of_verdict.indices.to_numpy() == (which.index(verdict) if verdict in which else -1)


@dataclass(frozen=True, slots=True)
class _Series:
    """n bins by instrument and time: their rows in a table (``order``), and arrays of shape (n,) in this order.

    ``time_us``: start, microseconds since 1970.
    """

    order: NDArray[np.intp]
    instrument: NDArray[np.int32]
    time_us: NDArray[np.int64]
    bad: NDArray[np.bool_]
    healthy: NDArray[np.bool_]

    def pauses(self) -> NDArray[np.int64]:
        """How many times of more than MAX_PAUSE without a bin of its instrument came before each bin, shape (n,)."""
        return np.cumsum(np.diff(self.time_us, prepend=0) > _us(MAX_PAUSE), dtype=np.int64)

    def silent(self, last: int, now: datetime | None) -> State:
        """The state of an episode that the bins up to the instrument's last, in row ``last``, have not ended."""
        if now is None:
            return "ongoing"
        first = int(np.searchsorted(self.instrument, self.instrument[last]))
        times = self.time_us[first : last + 1]
        usual = float(np.median(np.diff(times))) if len(times) > 1 else _us(_ONE_BIN_INTERVAL)
        silence, longest = _us(now - _EPOCH) - int(times[-1]), MAX_SILENT_INTERVALS * usual
        if silence <= longest:
            return "ongoing"
        return "unknown" if silence <= max(longest, _us(MAX_PAUSE)) else "over"


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def _episodes(bins: pa.Table, series: _Series, now: datetime | None) -> list[Episode]:
    at = np.flatnonzero(series.bad)
    if not at.size:
        return []
    instrument, pauses, healthy_so_far = series.instrument, series.pauses(), np.cumsum(series.healthy)
    begins = np.ones(at.size, dtype=bool)
    begins[1:] = np.diff(healthy_so_far[at]) > MAX_GAP_BINS
    begins[1:] |= (np.diff(pauses[at]) != 0) | (np.diff(instrument[at]) != 0)
    first = np.flatnonzero(begins)
    last = np.append(first[1:], at.size) - 1
    end_of_instrument = np.searchsorted(instrument, instrument[at[last]], side="right") - 1
    after = healthy_so_far[end_of_instrument] - healthy_so_far[at[last]]
    not_ended = (after <= MAX_GAP_BINS) & (pauses[end_of_instrument] == pauses[at[last]])
    states = ["over"] * len(last)
    for each in np.flatnonzero(not_ended).tolist():
        states[each] = series.silent(int(end_of_instrument[each]), now)
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
        states,
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
