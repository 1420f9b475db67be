"""Which bins are drawn over time and how: all of them as points where they are few, else as an envelope.

An envelope never hides a bad bin: its upper edge is the worst of each cell, and the worst bins are points.
Pure functions of arrays; nothing here draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.data import Scored
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.labels import Label

#: Up to so many bins each is a point; more of them take the browser longer than a second.
MAX_POINTS = 2000

#: Points that are drawn upon an envelope.
MAX_WORST = 1000

#: Episodes and decisions that are drawn in a window.
MAX_EPISODES, MAX_DECIDED = 500, 500

#: Cells that a window is cut into for an envelope: about three pixels each.
N_CELLS = 300

#: What stands for a bin that nobody has decided about.
UNDECIDED = "undecided"

#: The quantiles of a cell that an envelope shows.
_SHARES: Mapping[str, float] = {"low": 0.0, "q05": 0.05, "median": 0.5, "q95": 0.95, "high": 1.0}

#: What is bad is drawn before what could not be read, whose severity is always 100, and that before the rest.
_WEIGHT: Mapping[str, float] = {"not_judged": -1.0, "ok": -1.0, "watch": 0.0, "unreadable": 100.0, "bad": 300.0}

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, both ends included (UTC)."""

    first: datetime
    last: datetime

    @property
    def micros(self) -> tuple[int, int]:
        """Both ends in microseconds since 1970."""
        return (self.first - _EPOCH) // _MICROSECOND, (self.last - _EPOCH) // _MICROSECOND

    @property
    def span(self) -> timedelta:
        """How long it is."""
        return self.last - self.first

    def moved(self, share: float) -> "Window":
        """The window later by this share of its length (earlier where negative)."""
        return Window(self.first + share * self.span, self.last + share * self.span)

    def widened(self, factor: float) -> "Window":
        """The window with the same middle and ``factor`` times the length."""
        more = self.span * (factor - 1) / 2
        return Window(self.first - more, self.last + more)

    def within(self, other: "Window") -> "Window":
        """The part of it that lies in another window; all of that where none does."""
        first, last = max(self.first, other.first), min(self.last, other.last)
        return Window(first, last) if first < last else other


@dataclass(frozen=True, slots=True)
class Filter:
    """Which bins are wanted; an empty choice is every one. ``decisions`` may hold UNDECIDED."""

    instruments: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """What is drawn of one measure in a window.

    ``points``: the bins that are marks, with ``value`` and the columns of ``Scored.rows``. ``envelope``: None where
    every bin is a point, else per instrument and cell ``start``, ``low``, ``q05``, ``median``, ``q95``, ``high``,
    ``n_bins`` and ``segment``, which changes where cells are empty; the last row of a segment ends it.
    ``n_bins``: the bins with a value in the window. ``n_left_out``: bins to look at that are no points.
    """

    points: pd.DataFrame
    envelope: pd.DataFrame | None
    n_bins: int
    n_left_out: int


def whole(scored: Scored) -> Window:
    """The window that holds every bin. ``scored`` must have one."""
    first, last = (_EPOCH + int(scored.micros[at]) * _MICROSECOND for at in (0, -1))
    return Window(first, last + timedelta(minutes=1))


def select(scored: Scored, window: Window, wanted: Filter, decisions: Mapping[str, Label]) -> NDArray[np.intp]:
    """The row numbers of the wanted bins of a window, ascending."""
    first, last = window.micros
    start = int(np.searchsorted(scored.micros, first))
    stop = int(np.searchsorted(scored.micros, last, side="right"))
    rows = scored.rows.iloc[start:stop]
    keep = np.ones(len(rows), dtype=bool)
    for column, names in (
        ("instrument", wanted.instruments),
        ("verdict", wanted.verdicts),
        ("cause", wanted.causes),
        ("status", wanted.statuses),
    ):
        if names:
            keep &= rows[column].isin(names).to_numpy()
    if wanted.decisions:
        keep &= np.isin(decisions_of(scored, decisions)[start:stop], wanted.decisions)
    return start + np.flatnonzero(keep)


def decisions_of(scored: Scored, decisions: Mapping[str, Label]) -> NDArray[np.str_]:
    """What was decided about each scored bin, or UNDECIDED."""
    found = np.full(len(scored.rows), UNDECIDED, dtype="U9")
    at = scored.find(list(decisions))
    known = at >= 0
    found[at[known]] = np.array([label.decision for label in decisions.values()], dtype="U9")[known]
    return found


def track(
    scored: Scored,
    rows: NDArray[np.intp],
    values: NDArray[np.floating],
    window: Window,
    *,
    of_verdicts: bool = False,
) -> Track:
    """What to draw of a measure. ``rows``: from ``select``; ``values``: the measure of each, NaN where it has none.

    A bin without value is a point at the edge of nothing: it is left out, and counted neither. With ``of_verdicts`` the
    measure comes from the verdict, and bins that were not judged are points without a value: all where every bin is a
    point, else one of each cell.
    """
    finite = np.isfinite(values)
    if of_verdicts:
        unjudged = rows[~finite & scored.rows["verdict"].iloc[rows].eq("not_judged").to_numpy()]
        found = track(scored, rows[finite], values[finite], window)
        return _with_unjudged(scored, found, unjudged, window) if len(unjudged) else found
    rows, values = rows[finite], values[finite]
    if len(rows) <= MAX_POINTS:
        return Track(_points(scored, rows, values), None, len(rows), 0)
    micros = scored.micros[rows]
    instrument = scored.rows["instrument"].cat.codes.to_numpy()[rows]
    cell = _cells(micros, window)
    chosen, n_left_out = _worst(scored, rows, instrument, cell)
    frame = _envelope(instrument, cell, values, window)
    frame["instrument"] = pd.Categorical.from_codes(frame["instrument"], scored.rows["instrument"].cat.categories)
    return Track(_points(scored, rows[chosen], values[chosen]), frame, len(rows), n_left_out)


def quantile_curve(values: NDArray[np.floating], n_steps: int = 200) -> pd.DataFrame:
    """The distribution of finite values: ``share`` (0 to 1) of them that are at most ``value``, in ``n_steps``."""
    finite = np.sort(values[np.isfinite(values)])
    if not finite.size:
        return pd.DataFrame({"value": [], "share": []})
    share = np.linspace(0, 1, min(n_steps, max(2, finite.size)))
    return pd.DataFrame({"value": np.quantile(finite, share), "share": share})


def episodes_in(episodes: Sequence[Episode], window: Window) -> list[Episode]:
    """The episodes that overlap a window: of more than MAX_EPISODES the longest, in bad bins."""
    found = [episode for episode in episodes if episode.start <= window.last and episode.end >= window.first]
    return sorted(found, key=lambda episode: -episode.n_bad)[:MAX_EPISODES]


def decided_in(
    scored: Scored, rows: NDArray[np.intp], decisions: Mapping[str, Label]
) -> list[tuple[str, datetime, Label]]:
    """Instrument, start and decision of the decided bins among these rows: of more than MAX_DECIDED the latest."""
    labels = list(decisions.values())
    at = scored.find([label.pid for label in labels])
    inside = np.isin(at, rows)
    found = sorted(zip(at[inside].tolist(), np.flatnonzero(inside).tolist(), strict=True))[-MAX_DECIDED:]
    table = scored.rows.iloc[[row for row, _ in found]]
    places = zip(table["instrument"].astype(str), table["start_time"], found, strict=True)
    return [(instrument, start.to_pydatetime(), labels[number]) for instrument, start, (_, number) in places]


def thresholds(scored: Scored, rows: NDArray[np.intp]) -> pd.DataFrame:
    """From when to when each instrument had which threshold: ``instrument``, ``first``, ``last``, ``value``."""
    found = []
    instruments = scored.rows["instrument"].cat
    codes = instruments.codes.to_numpy()[rows]
    values = scored.rows["threshold"].to_numpy()
    for code in np.unique(codes):
        own = rows[codes == code]
        for first, last in _runs(values[own]):
            found.append((instruments.categories[code], own[first], own[last], float(values[own[first]])))
    starts = scored.rows["start_time"]
    frame = pd.DataFrame(found, columns=["instrument", "first", "last", "value"])
    return frame.assign(**{name: starts.iloc[frame[name].astype(int)].array for name in ("first", "last")})


def model_changes(scored: Scored, rows: NDArray[np.intp]) -> pd.DataFrame:
    """The models that take over within these rows: ``start`` of their first bin and ``model_id``."""
    codes = scored.rows["model_id"].cat.codes.to_numpy()[rows]
    _, first = np.unique(codes, return_index=True)
    later = rows[np.sort(first)[1:]]
    return pd.DataFrame(
        {"start": scored.rows["start_time"].iloc[later], "model_id": scored.rows["model_id"].iloc[later].astype(str)}
    )


def _with_unjudged(scored: Scored, found: Track, rows: NDArray[np.intp], window: Window) -> Track:
    """The track with bins that were not judged as points; they add no envelope."""
    n_bins = found.n_bins + len(rows)
    if found.envelope is not None or len(rows) > MAX_POINTS:
        instrument = scored.rows["instrument"].cat.codes.to_numpy()[rows].astype(np.int64)
        rows = rows[np.unique(instrument * N_CELLS + _cells(scored.micros[rows], window), return_index=True)[1]]
    points = pd.concat([found.points, _points(scored, rows, np.full(len(rows), np.nan))])
    return Track(points, found.envelope, n_bins, found.n_left_out)


def _points(scored: Scored, rows: NDArray[np.intp], values: NDArray[np.floating]) -> pd.DataFrame:
    return scored.rows.iloc[rows].assign(value=values)


def _cells(micros: NDArray[np.int64], window: Window) -> NDArray[np.int64]:
    first, last = window.micros
    return np.minimum((micros - first) * N_CELLS // max(1, last - first), N_CELLS - 1)


def _worst(
    scored: Scored, rows: NDArray[np.intp], instrument: NDArray[np.integer], cell: NDArray[np.int64]
) -> tuple[NDArray[np.intp], int]:
    """Positions of the bins that are points, and how many others are not ok: the worst of each cell come first, so
    that no cell hides one, then the worst of all.
    """
    verdicts = scored.rows["verdict"].cat
    weights = np.array([_WEIGHT.get(name, 0.0) for name in verdicts.categories])
    weight = weights[verdicts.codes.to_numpy()[rows]]
    to_look_at = np.flatnonzero(weight >= 0)
    severity = scored.rows["severity"].to_numpy()[rows[to_look_at]]
    rank = weight[to_look_at] + severity
    by_rank = to_look_at[np.argsort(-rank, kind="stable")]
    place = instrument[by_rank].astype(np.int64) * N_CELLS + cell[by_rank]
    _, first_of_place = np.unique(place, return_index=True)
    ahead = np.zeros(len(by_rank), dtype=bool)
    ahead[first_of_place] = True
    ordered = np.concatenate((by_rank[ahead], by_rank[~ahead]))[:MAX_WORST]
    return np.sort(ordered), len(to_look_at) - len(ordered)


def _envelope(
    instrument: NDArray[np.integer], cell: NDArray[np.int64], values: NDArray[np.floating], window: Window
) -> pd.DataFrame:
    place = instrument.astype(np.int64) * N_CELLS + cell
    # By value, then by place: sixteen bits are sorted in a tenth of the time of sixty-four.
    order = np.argsort(values)
    small = np.uint16 if place.max() < 2**16 else np.int64
    order = order[np.argsort(place[order].astype(small), kind="stable")]
    place, values = place[order], values[order]
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    counts = np.diff(np.append(starts, len(place)))
    of = {name: values[starts + np.round(share * (counts - 1)).astype(int)] for name, share in _SHARES.items()}
    place = place[starts]
    apart = (np.diff(place, prepend=-2) != 1) | (np.diff(place // N_CELLS, prepend=-1) != 0)
    segment = np.cumsum(apart)
    frame = pd.DataFrame(
        {"instrument": place // N_CELLS, "cell": place % N_CELLS, "segment": segment, "n_bins": counts} | of
    )
    # Steps hold until the next one begins: each segment is closed where its last cell ends.
    ends = frame.groupby("segment", as_index=False).tail(1)
    frame = pd.concat([frame, ends.assign(cell=ends["cell"] + 1)]).sort_values(["segment", "cell"], ignore_index=True)
    frame["start"] = window.first + frame.pop("cell") * (window.span / N_CELLS)
    return frame


def _runs(values: NDArray) -> list[tuple[int, int]]:
    """First and last position of each run of equal values, NaN left out."""
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    ends = np.append(starts[1:], len(values)) - 1
    return [
        (first, last) for first, last in zip(starts.tolist(), ends.tolist(), strict=True) if np.isfinite(values[first])
    ]
