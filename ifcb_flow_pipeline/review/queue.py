"""Which bins wait for a decision, and in which order: episode by episode, the worst first.

A fault lasts for many bins, and who has understood one of them decides about the others in a glance. So bins are not
queued one by one but with those that share their fault.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa

from ifcb_flow_pipeline.detection.verdict.episodes import Episode, State, episodes_of

#: Columns of ``bin_scores`` that the queue is made of.
COLUMNS = ("pid", "instrument", "start_time", "verdict", "cause", "severity")


@dataclass(frozen=True, slots=True)
class Group:
    """Undecided bins of one instrument that are looked at together: those of an episode, or a single bin.

    ``pids``: the undecided ones, in order of time. ``worst_pid`` and ``worst_severity`` are of these, NaN where none of
    them was judged. ``start``,
    ``end``: of the episode, also where its first or last bin is decided. ``n_bad``, ``n_bins``: bad and all bins of
    the episode. ``state``: of the episode; ``over`` where there is none.
    """

    instrument: str
    cause: str
    start: datetime
    end: datetime
    n_bins: int
    n_bad: int
    state: State
    pids: tuple[str, ...]
    worst_pid: str
    worst_severity: float


def waiting(
    bins: pd.DataFrame, decided: Collection[str], verdicts: Collection[str], now: datetime | None = None
) -> list[Group]:
    """The undecided bins of ``bins`` that have one of these verdicts: worst group first, then the longest; bins that
    were not judged last.

    ``bins``: rows with COLUMNS, in any order; ``now``: see ``find_episodes``. Bins of an episode that are not bad but
    whose verdict is asked for are in the episode's group; those outside of all episodes are groups of one.
    """
    episodes = episodes_of(pa.Table.from_pandas(bins[list(COLUMNS)], preserve_index=False), now)
    rows = bins.loc[bins["verdict"].isin(list(verdicts)) & ~bins["pid"].isin(list(decided)), list(COLUMNS)]
    rows = rows.sort_values(["start_time", "pid"], ignore_index=True)
    number = _episode_numbers(rows, episodes)
    # Those outside of all episodes get a number each.
    number = np.where(number < 0, len(episodes) + np.arange(len(rows)), number)
    order = np.argsort(number, kind="stable")
    first = np.flatnonzero(np.diff(number[order], prepend=-1))
    undecided = _Undecided.of(rows)
    groups = [
        undecided.group(members.tolist(), episodes[number[members[0]]] if number[members[0]] < len(episodes) else None)
        for members in np.split(order, first[1:])
        if members.size
    ]
    # Severity ends at 100: of equally bad groups the longer one is no accident.
    return sorted(groups, key=lambda group: (_rank(group), -len(group.pids), group.start, group.instrument))


def neighbours(bins: pd.DataFrame, first_pid: str, last_pid: str) -> list[str]:
    """All bins from one to another of the same instrument (both included), in order of time, whatever their verdict.

    Given in the wrong order they are swapped; bins of two instruments, or ones that are not there, give nothing.
    """
    ends = bins.loc[bins["pid"].isin([first_pid, last_pid])]
    if ends.empty or ends["instrument"].nunique() != 1 or len(ends) != len({first_pid, last_pid}):
        return []
    between = bins["start_time"].between(ends["start_time"].min(), ends["start_time"].max())
    inside = bins.loc[between & (bins["instrument"] == ends["instrument"].iloc[0])]
    return inside.sort_values(["start_time", "pid"])["pid"].tolist()


def following(pids: Sequence[str], pid: str, step: int) -> str | None:
    """The bin ``step`` places after (or, negative, before) one in the queue; None beyond its ends."""
    place = pids.index(pid) + step if pid in pids else 0
    return pids[place] if 0 <= place < len(pids) else None


def _rank(group: Group) -> int:
    return 1 if math.isnan(group.worst_severity) else -round(group.worst_severity)


def _episode_numbers(rows: pd.DataFrame, episodes: Sequence[Episode]) -> np.ndarray:
    """The number of the episode in which each row lies, -1 for none; shape (rows,)."""
    number = np.full(len(rows), -1)
    instruments = rows["instrument"].to_numpy()
    times = rows["start_time"]
    for name in {episode.instrument for episode in episodes}:
        of_instrument = [i for i, episode in enumerate(episodes) if episode.instrument == name]
        at = np.flatnonzero(instruments == name)
        # Episodes of one instrument do not overlap, and come in order of time.
        starts = pd.DatetimeIndex([episodes[i].start for i in of_instrument])
        ends = pd.DatetimeIndex([episodes[i].end for i in of_instrument])
        candidate = starts.searchsorted(times.iloc[at], side="right") - 1
        inside = (candidate >= 0) & (times.iloc[at].to_numpy() <= ends[candidate].to_numpy())
        number[at[inside]] = np.array(of_instrument)[candidate[inside]]
    return number


@dataclass(frozen=True, slots=True)
class _Undecided:
    """Columns of the undecided bins as lists: thousands of groups are faster made of them than of a table."""

    pid: list[str]
    instrument: list[str]
    start: list[datetime]
    cause: list[str]
    severity: list[float]

    @classmethod
    def of(cls, rows: pd.DataFrame) -> "_Undecided":
        names = ("pid", "instrument", "start_time", "cause", "severity")
        columns = {name: pa.array(rows[name], from_pandas=True).to_pylist() for name in names}
        columns["severity"] = rows["severity"].astype(float).tolist()
        return cls(*columns.values())

    def group(self, rows: list[int], episode: Episode | None) -> Group:
        worst = max(rows, key=lambda row: -1.0 if math.isnan(self.severity[row]) else self.severity[row])
        if episode is None:
            about = (self.instrument[worst], self.cause[worst], self.start[worst], self.start[worst], 1, 0, "over")
        else:
            about = (episode.instrument, episode.cause, episode.start, episode.end, episode.n_bins, episode.n_bad,
                     episode.state)  # fmt: skip
        return Group(*about, tuple(self.pid[row] for row in rows), self.pid[worst], self.severity[worst])
