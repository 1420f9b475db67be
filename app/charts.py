"""The charts, as Vega-Lite specifications. Colours hold in light and dark; whatever has a colour has a shape or a
place of its own as well.

Belongs here: how prepared values are drawn. Does not belong here: which are drawn (``series``), reading (``data``).
They are written as plain dictionaries: checking them with Altair takes half a second a chart, which a click would
wait for. Their tables are part of them for the same reason: the browser takes half a second to read the cells of an
Arrow table of some thousand rows one by one.
"""

import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.series import Track, Window, quantile_curve
from app.theme import BLUE, GREEN, GREY, GROUP_COLOURS, LOOKS, ORANGE, PURPLE, VERMILION, cause_name, verdict_name
from app.words import Finding, two_digits
from ifcb_flow_pipeline.detection.trial.partial_bins import PartialScore
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.review.psychometric import Psychometric
from ifcb_flow_pipeline.store.labels import Label

#: A Vega-Lite specification, its tables among it.
Spec = dict[str, Any]

#: The selections of charts of bins over time.
PICKED, BRUSHED, EPISODE = "picked", "brushed", "episode"

#: The selection of charts of images.
IMAGE = "image"

#: How an image on a sheet is framed: with a fault, odd, labelled by a person, chosen, or none of these.
SHEET_LOOKS = {"fault": VERMILION, "odd": ORANGE, "labelled": GREEN, "chosen": BLUE, "plain": "transparent"}

#: Room for the captions of a sheet and for its scale bar, and the size of the captions.
SHEET_CAPTION_PX, _BAR_PX, _CAPTION_PX = 16, 24, 10

#: Of so many marks the one next to a click is found.
_MOST_NEAREST = 3000

#: Height of a lane on the value axis, in parts of the height that values take. The rest holds, from below, episodes,
#: the instrument's name and the decisions of the lane above.
_LANE, _EPISODES, _NAME, _DECIDED = 1.6, 1.17, 1.4, -0.12

#: Where the words "new model" hang, below the top of the highest lane.
_NAME_DROP = 0.12

#: Room at the left that the name of the instrument takes.
_INSTRUMENT_PX = 50

#: About how wide the lanes are on a tablet, the size of the names of episodes, and about how wide a letter is.
_LANES_PX, _NAME_PX, _LETTER_PX = 560, 11, 5.8

#: Height of one lane, and what legend and axis take besides.
_LANE_PX, _BESIDES_PX = 112, 135

#: A brush over less than this share of a window is taken for a click.
_NARROWEST = 0.005

#: What is told of each of many marks, under the pointer and to those who cannot see. It is put together beforehand: the
#: browser would take longer for that than for drawing.
_TIP: Spec = {"tooltip": {"field": "tip", "type": "nominal"}}
_SAID: Spec = {"description": {"field": "said", "type": "nominal"}}

#: What is told of marks and also says how they are drawn, or which was clicked on.
_KEPT = ("pid", "verdict", "decision")

#: The other end of a mark in time. Without its type, Vega-Lite takes the domain of its scale for plain numbers.
_END: Spec = {"type": "temporal"}

#: How times are written on axes, by what they are the beginning of.
_TIMES: Spec = {"year": "%Y", "quarter": "%b %Y", "month": "%b %Y", "week": "%d %b", "date": "%d %b", "day": "%d %b",
                "hours": "%H:%M", "minutes": "%H:%M", "seconds": "%H:%M:%S", "milliseconds": "%H:%M:%S"}  # fmt: skip

#: Widths of a cloud on its own page and beside a decision, without axes and the distribution beside it.
CLOUD_PX, SMALL_CLOUD_PX = 430, 345

#: A run of fewer minutes is told in seconds.
_SHORT_MIN = 2.0

#: Height of each part of the course of a run.
_STRIP_PX = 80

#: Height of the distribution above a cloud, and the room around the frame.
_MARGIN_PX, _ROOM_PX = 44, 20

#: Area of all marks of a cloud together: few marks are larger, so that they are seen.
_INK_PX = 12_000

#: From first to last, from small to large: each is seen on white and on black.
_WARMING = [BLUE, "#7A6FB0", PURPLE, ORANGE]

#: Many marks are drawn as pixels and without a description of each: as elements of the page they would cost ten times
#: as long.
_ON_CANVAS: Spec = {"usermeta": {"embedOptions": {"renderer": "canvas"}}, "config": {"aria": False}}

#: Up to so many bins each mark is an element of the page.
_MOST_ELEMENTS = 300

#: Lines of groups are told apart without their colours.
_DASHES = ([1, 0], [6, 3], [2, 2])

#: Bars of the distributions above and beside a cloud.
_N_BARS = 60

#: How high bins without severity stand in a strip, and what a bar has at least, so that it is seen and met.
_NO_SEVERITY, _LEAST_BAR = 22.0, 9.0

#: How many widths of its normal range a value is drawn outside of it.
_FAR = 3.0

#: From here on numbers are written without decimals.
_LARGE = 1000

_TIME = "%Y-%m-%d %H:%M"

#: What is said of the end of an episode that is not known to be over.
_UNTIL: Mapping[str, str] = {"ongoing": "ongoing", "unknown": "not known, no bins since", "over": ""}

_VERDICT_NAMES = {code: look.name for code, look in LOOKS.items()}
_VERDICT_LEGEND: Spec = {"orient": "top", "title": None, "symbolOpacity": 1,
                         "labelExpr": f"({_VERDICT_NAMES})[datum.label]"}  # fmt: skip

_DECISION_LOOKS: Mapping[str, tuple[str, str]] = {
    "good": ("circle", GREEN),
    "bad": ("cross", VERMILION),
    "unsure": ("triangle-up", PURPLE),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """What is drawn over time: its name with unit, the range of values drawn, and how numbers are written."""

    title: str
    low: float
    high: float
    number: str = ".0f"
    ticks: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, title: str, values: NDArray[np.floating]) -> "Measure":
        """A measure whose range holds all finite values."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.04
        return cls(title, low - room, high + room, ",.0f" if max(abs(low), abs(high)) >= _LARGE else ".3~g")

    @property
    def marked(self) -> tuple[float, ...]:
        """The values that the axis names: round ones, as few as there are room for but two at least."""
        if self.ticks:
            return self.ticks
        power = 10.0 ** math.floor(math.log10(self.high - self.low))
        round_values = (_multiples(factor * power, self.low, self.high) for factor in (5, 2, 1, 0.5))
        return next(values for values in round_values if len(values) > 1)


SEVERITY = Measure("severity", 0.0, 100.0, ticks=(0.0, 50.0, 100.0))


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What is drawn over time besides bins.

    ``thresholds``: ``instrument``, ``first``, ``last``, ``value``. ``models``: ``start``, ``model_id``. ``decided``:
    instrument, start and decision of bins. ``chosen``: the bin that is ringed, if it is among the points.
    """

    episodes: Sequence[Episode] = ()
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)
    decided: Sequence[tuple[str, datetime, Label]] = ()
    chosen: str | None = None


def lanes(track: Track, measure: Measure, window: Window, instruments: Sequence[str], marks: Marks) -> Spec:
    """A lane per instrument over the window: envelope or all bins, thresholds, episodes, model changes, decisions.

    Each bin that is a mark has its verdict's colour and shape; a click on one and a brush over time are the
    selections PICKED and BRUSHED.
    """
    as_pixels = len(track.points) > _MOST_ELEMENTS
    draw = _Lanes(measure, window, tuple(instruments), as_pixels)
    episodes = draw.episodes(marks.episodes)
    layers = [
        draw.names(),
        draw.envelope(track.envelope),
        draw.models(marks.models),
        draw.model_names(marks.models),
        draw.thresholds(marks.thresholds),
        episodes,
        draw.episode_names(episodes),
        draw.decided(marks.decided),
        draw.ring(track.points.loc[track.points["pid"].eq(marks.chosen or "")]),
        draw.bins(track.points),
    ]
    # Verdicts and decisions each have colours and shapes of their own.
    resolve = {"scale": dict.fromkeys(("color", "shape"), "independent")}
    spec = _layered(layers) | {"height": _BESIDES_PX + _LANE_PX * max(1, len(instruments)), "resolve": resolve}
    return spec | _ON_CANVAS if as_pixels else spec


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Layers of ``lanes``: values are moved to the lane of their instrument, the first on top. ``as_pixels``: marks are
    no elements of the page, so that nobody could be told their descriptions.
    """

    measure: Measure
    window: Window
    instruments: tuple[str, ...]
    as_pixels: bool

    def names(self) -> Spec:
        rows = pd.DataFrame({
            "start": [self.window.first] * len(self.instruments),
            "at": [self._lane(name) + _NAME for name in self.instruments],
            "instrument": list(self.instruments),
        })  # fmt: skip
        mark = {
            "type": "text",
            "align": "left",
            "baseline": "middle",
            "dx": 4,
            "fontWeight": "bold",
            "color": GREY,
            "dy": -2,
        }
        return _layer(rows, mark, x=self._x(), y=self._y(), text={"field": "instrument"})

    def envelope(self, rows: pd.DataFrame | None) -> Spec | None:
        if rows is None:
            return None
        names = ("low", "q05", "median", "q95", "high")
        moved = {name: self._of(rows["instrument"], rows[name]) for name in names}
        rows = pd.DataFrame({"start": rows["start"], "segment": rows["segment"]} | moved)
        step = {"interpolate": "step-after", "color": BLUE}
        bands: list[Spec] = [
            {
                "mark": {"type": "area", "opacity": opacity, **step},
                "encoding": {"y": self._y(low), "y2": {"field": high}},
            }
            for low, high, opacity in (("low", "high", 0.18), ("q05", "q95", 0.35))
        ]
        middle = {"mark": {"type": "line", "strokeWidth": 1.5, **step}, "encoding": {"y": self._y("median")}}
        encoding = {"x": self._x(), "detail": {"field": "segment"}}
        return {"data": {"values": _values(rows)}, "encoding": encoding, "layer": [*bands, middle]}

    def models(self, rows: pd.DataFrame) -> Spec | None:
        if rows.empty:
            return None
        rows = rows.assign(when=_written(rows["start"]))
        return _layer(rows, _rule([2, 3]), x=self._x(), tooltip=_tips({"model_id": "new model", "when": "from (UTC)"}))

    def model_names(self, rows: pd.DataFrame) -> Spec | None:
        if rows.empty:
            return None
        top = max(1, len(self.instruments)) * _LANE - _NAME_DROP
        named = pd.DataFrame({"start": rows["start"], "at": top, "named": "new model"})
        mark = {"type": "text", "align": "right", "baseline": "top", "dx": -3, "fontSize": 10, "color": GREY}
        return _layer(named, mark, x=self._x(), y=self._y(), text={"field": "named"})

    def thresholds(self, rows: pd.DataFrame) -> Spec | None:
        if rows.empty:
            return None
        rows = rows.assign(at=self._of(rows["instrument"], rows["value"]), start=rows["first"])
        tip = [{"field": "value", "type": "quantitative", "title": "threshold", "format": ".0f"}]
        return _layer(rows, _rule([5, 4]), x=self._x(), x2=_END | {"field": "last"}, y=self._y(), tooltip=tip)

    def episodes(self, episodes: Sequence[Episode]) -> Spec | None:
        shown = [episode for episode in episodes if episode.instrument in self.instruments]
        if not shown:
            return None
        ends = [(max(one.start, self.window.first), min(one.end, self.window.last)) for one in shown]
        names = [cause_name(episode.cause) or cause_name("unknown") for episode in shown]
        rows = pd.DataFrame({
            "start": _times(first for first, _ in ends),
            "end": _times(last for _, last in ends),
            "at": [self._lane(episode.instrument) + _EPISODES for episode in shown],
            "pid": [episode.worst_pid for episode in shown],
            "cause": names,
            "named": self._fitting(shown, names),
            "since": [f"{episode.start:{_TIME}}" for episode in shown],
            "until": [_UNTIL[episode.state] or f"{episode.end:{_TIME}}" for episode in shown],
            "n_bad": [episode.n_bad for episode in shown],
        })  # fmt: skip
        mark = {"type": "rule", "color": VERMILION, "strokeWidth": 10, "strokeCap": "square", "cursor": "pointer"}
        titles = {"cause": "episode", "since": "from (UTC)", "until": "until (UTC)", "n_bad": "bad bins"}
        bars = self._told(rows, titles, mark, x=self._x(), x2=_END | {"field": "end"}, y=self._y())
        return bars | {"params": [{"name": EPISODE, "select": {"type": "point", "fields": ["pid"], "on": "click"}}]}

    def episode_names(self, episodes: Spec | None) -> Spec | None:
        """The causes, above the bars."""
        if episodes is None:
            return None
        text = {"type": "text", "align": "left", "baseline": "bottom", "dx": -3, "dy": -7, "fontSize": _NAME_PX,
                "color": VERMILION}  # fmt: skip
        values = [{name: row[name] for name in ("start", "at", "named")} for row in episodes["data"]["values"]]
        encoding = {"x": self._x(), "y": self._y(), "text": {"field": "named"}}
        return {"data": {"values": [row for row in values if row["named"]]}, "mark": text, "encoding": encoding}

    def _fitting(self, episodes: Sequence[Episode], names: Sequence[str]) -> list[str]:
        """The name of each episode of two or more bad bins; none where it would run into another one's or the
        instrument's.
        """
        free_from: dict[str, datetime] = {}
        fitting = dict.fromkeys(range(len(episodes)), "")
        # From the last to the first: each name has room up to the name behind it.
        for number in sorted(fitting, key=lambda i: episodes[i].start, reverse=True):
            one, name = episodes[number], names[number]
            start = max(one.start, self.window.first)
            ends = start + len(name) * _LETTER_PX / _LANES_PX * self.window.span
            is_clear = (start - self.window.first) / self.window.span * _LANES_PX > _INSTRUMENT_PX
            if one.n_bad > 1 and is_clear and ends <= free_from.get(one.instrument, self.window.last):
                fitting[number], free_from[one.instrument] = name, start
        return list(fitting.values())

    def decided(self, decided: Sequence[tuple[str, datetime, Label]]) -> Spec | None:
        shown = [found for found in decided if found[0] in self.instruments]
        if not shown:
            return None
        rows = pd.DataFrame({
            "start": _times(start for _, start, _ in shown),
            "at": [self._lane(instrument) + _DECIDED for instrument, _, _ in shown],
            "decision": [label.decision for _, _, label in shown],
            "pid": [label.pid for _, _, label in shown],
            "reviewer": [label.reviewer for _, _, label in shown],
        })  # fmt: skip
        return self._told(
            rows,
            {"pid": "bin", "decision": "decided", "reviewer": "by"},
            {"type": "point", "size": 40, "strokeWidth": 2},
            x=self._x(),
            y=self._y(),
            **_looks("decision", _DECISION_LOOKS, legend=None),
        )

    def ring(self, points: pd.DataFrame) -> Spec | None:
        if points.empty:
            return None
        rows = pd.DataFrame({"start": points["start_time"], "at": self._of(points["instrument"], points["value"])})
        mark = {"type": "point", "size": 220, "strokeWidth": 2.5, "color": GREY, "opacity": 1}
        return _layer(rows, mark, x=self._x(), y=self._y())

    def bins(self, points: pd.DataFrame) -> Spec:
        points = points.sort_values("severity", na_position="first")
        number = self.measure.number.replace("~", "")
        rows = pd.DataFrame({
            "pid": points["pid"].to_numpy(dtype=object),
            "start": points["start_time"],
            "when": _written(points["start_time"]),
            "at": self._of(points["instrument"], points["value"]),
            "value": [format(value, number) if math.isfinite(value) else "none" for value in points["value"]],
            "verdict": points["verdict"].astype(object),
            "called": [verdict_name(verdict) for verdict in points["verdict"]],
            "suspected": [cause_name(cause) for cause in points["cause"]],
        })  # fmt: skip
        titles = {"pid": "bin", "when": "start (UTC)", "called": "verdict", "suspected": "suspected cause",
                  "value": self.measure.title}  # fmt: skip
        layer = self._told(
            rows,
            titles,
            {"type": "point", "filled": True, "size": 30, "opacity": 0.85},
            x=self._x(),
            y=self._y(),
            **verdict_marks(),
        )
        picked = {"name": PICKED, "select": {"type": "point", "fields": ["pid"], "on": "click"}}
        brushed = {"name": BRUSHED, "select": {"type": "interval", "encodings": ["x"]}}
        return layer | {"params": [picked, brushed]}

    def _told(self, rows: pd.DataFrame, titles: Mapping[str, str], mark: Spec, **encoding: Any) -> Spec:
        """A layer that tells of each mark the columns of ``titles``, put together: see _TIP and _SAID."""
        cells = zip(*(_cells(rows[name]) for name in titles), strict=True)
        tips = [dict(zip(titles.values(), row, strict=True)) for row in cells]
        drawn = rows.drop(columns=[name for name in titles if name not in _KEPT]).assign(tip=tips)
        if self.as_pixels:
            return _layer(drawn, mark, **encoding, **_TIP)
        said = ["; ".join(f"{title}: {cell}" for title, cell in tip.items()) for tip in tips]
        return _layer(drawn.assign(said=said), mark, **encoding, **_TIP, **_SAID)

    def _lane(self, instrument: str) -> float:
        return _LANE * (len(self.instruments) - 1 - self.instruments.index(instrument))

    def _of(self, instruments: Iterable[str], values: Iterable[float]) -> NDArray[np.floating]:
        share = (np.asarray(values, dtype=float) - self.measure.low) / (self.measure.high - self.measure.low)
        # What has no value stands on the floor of its lane.
        share = np.nan_to_num(share)
        return np.array([self._lane(name) for name in instruments], dtype=float) + np.clip(share, 0.0, 1.0)

    def _x(self) -> Spec:
        domain = [_moment(self.window.first), _moment(self.window.last)]
        scale = {"type": "utc", "domain": domain, "nice": False, "clamp": True}
        return _on(
            "start",
            f"start of the run (UTC), {self.window.first:%Y-%m-%d} to {self.window.last:%Y-%m-%d}",
            "temporal",
            scale=scale,
            axis={"tickCount": 8, "grid": False, "format": _TIMES},
        )

    def _y(self, name: str = "at") -> Spec:
        low, high = self.measure.low, self.measure.high
        shares = [(value - low) / (high - low) for value in self.measure.marked]
        values = [lane * _LANE + share for lane in range(len(self.instruments)) for share in shares]
        # Values at the bottom of a lane are a little less than that as often as not.
        share = f"(datum.value + {_LANE / 10}) % {_LANE} - {_LANE / 10}"
        label = f"format({low} + ({share}) * {high - low}, '{self.measure.number}')"
        scale = {"domain": [-0.2, max(1, len(self.instruments)) * _LANE - 0.1], "nice": False, "zero": False}
        return _on(
            name, self.measure.title, scale=scale, axis={"values": values, "labelExpr": label, "gridOpacity": 0.4}
        )


def strip(
    rows: pd.DataFrame, window: Window, rhythm: timedelta, chosen: str | None = None, width_px: int = 900
) -> Spec:
    """The bins of one instrument over a day or so as bars as high as their severity: unreadable ones and those without
    verdict as grey blocks. ``rows``: columns of ``Scored.rows``; ``chosen``: the bin that is marked; ``width_px``:
    about how wide it is drawn. A click is the selection PICKED.
    """
    severity = rows["severity"].where(~rows["verdict"].isin(["unreadable", "not_judged"]), _NO_SEVERITY)
    width = max(2.0, min(14.0, 0.75 * width_px * (rhythm / max(window.span, rhythm))))
    tips = [
        {
            "bin": pid,
            "start (UTC)": when,
            "verdict": verdict_name(verdict),
            "severity": number,
            "suspected cause": cause,
        }
        for pid, when, verdict, number, cause in zip(
            rows["pid"],
            _written(rows["start_time"]),
            rows["verdict"],
            [f"{value:.0f}" if math.isfinite(value) else "none" for value in rows["severity"]],
            [cause_name(cause) or "none" for cause in rows["cause"]],
            strict=True,
        )
    ]
    drawn = pd.DataFrame({
        "pid": rows["pid"].to_numpy(dtype=object),
        "start": rows["start_time"],
        "top": severity.clip(lower=_LEAST_BAR),
        "verdict": rows["verdict"].astype(object),
        "tip": tips,
        "said": ["; ".join(f"{title}: {cell}" for title, cell in tip.items()) for tip in tips],
    })  # fmt: skip
    colours = {name: look.colour for name, look in LOOKS.items()}
    x = _on("start", None, "temporal", axis={"tickCount": 6, "grid": False, "format": _TIMES, "domain": False},
            scale={"type": "utc", "domain": [_moment(window.first), _moment(window.last)], "nice": False})  # fmt: skip
    y = _on("top", None, scale={"domain": [0, 100]}, axis={"values": [50], "labels": False, "ticks": False,
                                                          "gridOpacity": 0.5, "domain": False})  # fmt: skip
    colour = _on("verdict", None, "nominal", legend=None,
                 scale={"domain": list(colours), "range": list(colours.values())})  # fmt: skip
    layer = _layer(drawn, {"type": "bar", "width": width, "cursor": "pointer"}, x=x, y=y, color=colour, **_TIP, **_SAID)
    picked = {"name": PICKED, "select": {"type": "point", "fields": ["pid"], "on": "click"}}
    marked = drawn.loc[drawn["pid"].eq(chosen or ""), ["start", "top"]]
    mark = {"type": "text", "text": "▼", "fontSize": 13, "dy": -8, "baseline": "bottom", "color": GREY}
    layers = [layer | {"params": [picked]}, _layer(marked, mark, x=x, y=y) if len(marked) else None]
    return _layered(layers) | {"height": 84, "config": {"view": {"stroke": None}}}


def distributions(groups: Mapping[str, NDArray[np.floating]], title: str) -> Spec:
    """The distributions of named groups of values as curves that rise from 0 to 1, and the median of each.

    Each group has a finite value; other values are left out.
    """
    curves = pd.concat([quantile_curve(values).assign(group=name) for name, values in groups.items()])
    middles = pd.DataFrame({"group": list(groups), "value": [np.nanmedian(values) for values in groups.values()]})
    names = list(groups)
    colours = [GROUP_COLOURS[number % len(GROUP_COLOURS)] for number in range(len(names))]
    dashes = [_DASHES[number % len(_DASHES)] for number in range(len(names))]
    legend = {"orient": "top", "columns": 2, "labelLimit": 260}
    group = {
        "color": _on("group", None, "nominal", scale={"domain": names, "range": colours}, legend=legend),
        "strokeDash": _on("group", None, "nominal", scale={"domain": names, "range": dashes}, legend=legend),
    }
    x = _on("value", title, scale={"zero": False})
    share = _on("share", "share of the bins at or below", axis={"format": "%"})
    tips = [*_tips({"group": "of"}), {"field": "value", "type": "quantitative", "title": "median", "format": ".4~g"}]
    return _layered([
        _layer(curves, {"type": "line", "interpolate": "step-after"}, x=x, y=share, **group),
        _layer(middles, {"type": "rule", "opacity": 0.7}, x=x, tooltip=tips, **group),
    ]) | {"height": 240}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """One side of a scatter: what it shows, and its value of each bin; moments for the start of the run."""

    title: str
    values: Any
    is_time: bool = False


def scatter(rows: pd.DataFrame, x: Axis, y: Axis, density: pd.DataFrame | None) -> Spec:
    """Bins as marks of their verdict over two columns. ``rows``: columns of ``Scored.rows`` of the bins that are marks,
    ``x`` and ``y`` their values. ``density``: ``x``, ``x2``, ``y``, ``y2`` and ``n`` of cells that hold all bins, where
    these are too many to be marks. A click is the selection PICKED, a rectangle BRUSHED.
    """
    called = [verdict_name(verdict) for verdict in rows["verdict"]]
    drawn = pd.DataFrame({
        "pid": rows["pid"].to_numpy(dtype=object),
        "x": x.values,
        "y": y.values,
        "verdict": rows["verdict"].astype(object),
        "said": [f"bin: {pid}; verdict: {verdict}" for pid, verdict in zip(rows["pid"], called, strict=True)],
    })  # fmt: skip
    across, up = (_side(axis, name) for axis, name in ((x, "x"), (y, "y")))
    tips = [*_tips({"pid": "bin"}), _tip("x", x), _tip("y", y)]
    marks = _layer(drawn, {"type": "point", "filled": True, "size": 26, "opacity": 0.8, "cursor": "pointer"},
                   x=across, y=up, **verdict_marks(), tooltip=tips, **_SAID)  # fmt: skip
    picked = {"name": PICKED, "select": {"type": "point", "fields": ["pid"], "on": "click"}}
    brushed = {"name": BRUSHED, "select": {"type": "interval", "encodings": ["x", "y"]}}
    layers = [marks | {"params": [picked, brushed]}]
    if density is not None:
        colour = _on("n", "bins", scale={"type": "log", "range": ["#9ecae8", BLUE]}, legend=None)
        cells = _layer(density, {"type": "rect", "tooltip": None}, x=across, x2={"field": "x2"}, y=up,
                       y2={"field": "y2"}, color=colour)  # fmt: skip
        # The marks have a colour and a shape each, and one legend for both.
        layers = [cells, _layered(layers) | {"resolve": {"scale": {"color": "shared", "shape": "shared"}}}]
    spec = _layered(layers) | {"height": 330}
    if density is not None:
        spec["resolve"] = {"scale": {"color": "independent"}}
    return spec | _ON_CANVAS if len(rows) > _MOST_ELEMENTS or density is not None else spec


def brushed_ranges(event: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """From where to where a rectangle reaches in a scatter, by axis; times in milliseconds since 1970."""
    found = event.get("selection", {}).get(BRUSHED) or {}
    return {name: (min(ends), max(ends)) for name, ends in found.items() if len(ends) == 2 and ends[0] != ends[1]}


def _tip(field_name: str, axis: Axis) -> Spec:
    if axis.is_time:
        return {"field": field_name, "type": "temporal", "title": axis.title, "format": _TIME,
                "timeUnit": "utcyearmonthdatehoursminutes"}  # fmt: skip
    return {"field": field_name, "type": "quantitative", "title": axis.title, "format": ".3~g"}


def _side(axis: Axis, field_name: str) -> Spec:
    if axis.is_time:
        return _on(field_name, axis.title, "temporal", scale={"type": "utc", "nice": False},
                   axis={"format": _TIMES, "tickCount": 8, "grid": False})  # fmt: skip
    return _on(field_name, axis.title, scale={"zero": False, "padding": 6}, axis={"tickCount": 8})


#: By what the images of a cloud can be coloured: the column, the words of the legend, and the kind of its scale.
COLOURINGS: Mapping[str, tuple[str, str, str]] = {
    "time": ("minute", "minute of the run", "linear"),
    "size": ("area_px2", "area (px²)", "log"),
    "fluorescence": ("fluorescence_v", "chlorophyll fluorescence (V)", "symlog"),
}


def cloud(
    images: pd.DataFrame,
    typical: str | None,
    frame_px: tuple[int, int],
    colouring: str = "time",
    width_px: int = CLOUD_PX,
    chosen: int | None = None,
) -> Spec:
    """Where in the camera frame a bin's images lie, y downwards, one px as wide as high, over the typical cloud.

    ``images``: see ``clouds.points``. ``typical``: address of a picture of the whole frame, None to leave it out.
    ``chosen``: number of the image that has a ring. How x and y are distributed stands above and beside, in the same
    view: of a chart of several views Streamlit reports no click. A click is the selection IMAGE.
    """
    x, y = (_axis(images, name, size) for name, size in zip(("x", "y"), frame_px, strict=True))
    domains = x["scale"]["domain"], y["scale"]["domain"]
    above, beside, unit = _margins(images, domains, width_px)
    room = (_MARGIN_PX + 4) * unit
    x |= {"title": "x (px), along the flow", "scale": {**x["scale"], "domain": [domains[0][0], domains[0][1] + room]}}
    y |= {"title": "y (px), across the flow",
          "scale": {**y["scale"], "domain": [domains[1][0] - room, domains[1][1]], "reverse": True}}  # fmt: skip
    frame = pd.DataFrame({"x": [0], "y": [0], "x2": [frame_px[0]], "y2": [frame_px[1]], "typical": [typical or ""]})
    corners = {"x": x, "y": y, "x2": {"field": "x2"}, "y2": {"field": "y2"}}
    column, title, kind = COLOURINGS[colouring]
    if column == "minute" and images["minute"].to_numpy().max(initial=0.0) < _SHORT_MIN:
        images, title = images.assign(minute=60 * images["minute"]), "second of the run"
    size = float(np.clip(_INK_PX / max(1, len(images)), 9, 40))
    colour = _on(
        column,
        title,
        scale={"type": kind, "range": _WARMING},
        legend={"orient": "top", "gradientLength": 200, "titleOrient": "left", "offset": 2},
    )
    # The nearest mark is what was meant; among very many, to find it would hold the pointer up.
    picked = {"type": "point", "fields": ["roi"], "on": "click", "nearest": len(images) <= _MOST_NEAREST}
    mark = {"type": "point", "filled": True, "size": size, "opacity": 0.8, "cursor": "pointer"}
    ring = images.loc[images["roi"].eq(chosen or 0), ["x", "y"]]
    layers = [
        _layer(frame, {"type": "image", "aspect": False}, **corners, url={"field": "typical"}) if typical else None,
        _layer(frame, {"type": "rect", "fillOpacity": 0, "stroke": GREY, "strokeWidth": 1.5}, **corners),
        *(_layer(bars, {"type": "rect", "color": GREY}, **corners) for bars in (above, beside)),
        _layer(images.filter(items=["x", "y", "roi", column]), mark, x=x, y=y, color=colour)
        | {"params": [{"name": IMAGE, "select": picked}]},
        _layer(ring, {"type": "point", "size": 260, "stroke": VERMILION, "strokeWidth": 3, "tooltip": None}, x=x, y=y)
        if len(ring) else None,
    ]  # fmt: skip
    down = domains[1][1] - domains[1][0] + room
    size_px = {"width": width_px + _MARGIN_PX + 4, "height": round(down / unit), "autosize": "pad"}
    return _layered(layers) | size_px | _ON_CANVAS


def _margins(
    images: pd.DataFrame, domains: tuple[Sequence[float], Sequence[float]], width_px: int
) -> tuple[pd.DataFrame, pd.DataFrame, float]:
    """How the images are distributed over the two sides of the frame, as rectangles above it and to its right, and how
    many px of the frame one of the screen is.
    """
    (left, right), (top, bottom) = domains
    unit = (right - left) / width_px
    across, across_edges = np.histogram(images["x"], bins=_N_BARS, range=(left, right))
    down, down_edges = np.histogram(images["y"], bins=_N_BARS, range=(top, bottom))
    high, long = (_MARGIN_PX * unit * counts / max(1, counts.max()) for counts in (across, down))
    above = pd.DataFrame({"x": across_edges[:-1], "x2": across_edges[1:], "y": top - high, "y2": top})
    beside = pd.DataFrame({"x": right, "x2": right + long, "y": down_edges[:-1], "y2": down_edges[1:]})
    return above, beside, unit


def sheet(address: str, size: tuple[int, int], cells: pd.DataFrame, bar: tuple[str, float]) -> Spec:
    """Many images on one picture, each in its cell with a caption below. A click is the selection IMAGE.

    ``address``: of the picture, ``size`` px large. ``cells``: ``x``, ``y``, ``x2``, ``y2`` in px from the top left,
    ``roi``, ``caption``, ``look`` (one of SHEET_LOOKS) and ``tip``, what is told of each by title. ``bar``: how long
    the scale bar is, in words and in px.
    """
    width, height = size
    total = height + _BAR_PX
    x, y = (_on(name, None, scale={"domain": [0, side], "nice": False, "reverse": name == "y"}, axis=None)
            for name, side in (("x", width), ("y", total)))  # fmt: skip
    corners = {"x": x, "y": y, "x2": {"field": "x2"}, "y2": {"field": "y2"}}
    picture = pd.DataFrame({"x": [0], "y": [0], "x2": [width], "y2": [height], "url": [address]})
    looks = list(SHEET_LOOKS)
    stroke = _on("look", None, "nominal", legend=None,
                 scale={"domain": looks, "range": [SHEET_LOOKS[name] for name in looks]})  # fmt: skip
    said = ["; ".join(f"{title}: {cell}" for title, cell in tip.items()) for tip in cells["tip"]]
    boxes = cells[["x", "y", "x2", "y2", "roi", "look", "tip"]].assign(said=said)
    box = {"type": "rect", "fill": "transparent", "strokeWidth": 2.5, "cursor": "pointer"}
    picked = {"name": IMAGE, "select": {"type": "point", "fields": ["roi"], "on": "click"}}
    texts = pd.DataFrame({"x": (cells["x"] + cells["x2"]) / 2, "y": cells["y2"], "caption": cells["caption"]})
    text = {"type": "text", "baseline": "top", "dy": 3, "fontSize": _CAPTION_PX, "color": _WORDS, "tooltip": None}
    words, length = bar
    rule = pd.DataFrame({"x": [6], "x2": [6 + length], "y": [height + 10], "words": [words]})
    layers = [
        _layer(picture, {"type": "image", "aspect": False, "tooltip": None}, **corners, url={"field": "url"}),
        _layer(texts, text, x=x, y=y, text={"field": "caption"}),
        _layer(rule, {"type": "rule", "strokeWidth": 4, "color": _WORDS}, x=x, x2={"field": "x2"}, y=y),
        _layer(rule, {"type": "text", "align": "left", "dx": length + 6, "fontSize": 12, "color": _WORDS}, x=x, y=y,
               text={"field": "words"}),
        _layer(boxes, box, **corners, stroke=stroke, **_TIP, **_SAID) | {"params": [picked]},
    ]  # fmt: skip
    config = {"view": {"stroke": None}}
    return _layered(layers) | {"width": width, "height": total, "autosize": "pad", "padding": 0, "config": config}


def picked_image(event: Mapping[str, Any]) -> int | None:
    """The number of the image that was clicked in a cloud or on a sheet; None where the click met none."""
    picked = event.get("selection", {}).get(IMAGE) or [{}]
    roi = picked[0].get("roi")
    return int(roi) if isinstance(roi, int | float) else None


def course(rows: pd.DataFrame, width_px: int = CLOUD_PX) -> Spec:
    """How a run went (see ``clouds.course``): images and triggers without image per second, and x of the images."""
    title = "minute of the run"
    if rows["minute"].to_numpy().max(initial=0.0) < _SHORT_MIN:
        rows, title = rows.assign(minute=60 * rows["minute"]), "second of the run"
    minute = _on("minute", title, scale={"nice": False})
    rates = rows.melt("minute", ["images", "without_image"], "what", "rate").replace({"without_image": "without image"})
    looks = {"images": BLUE, "without image": VERMILION}
    colour = _on(
        "what", None, "nominal", scale={"domain": list(looks), "range": list(looks.values())}, legend={"orient": "top"}
    )
    dash = _on("what", None, "nominal", scale={"domain": list(looks), "range": [[1, 0], [5, 3]]})
    step = {"interpolate": "step"}
    rate = _layer(rates, {"type": "line", **step}, x={**minute, "axis": None}, y=_on("rate", "per second"),
                  color=colour, strokeDash=dash)  # fmt: skip
    position = {"x": minute, "y": _on("x_low", "x (px)", scale={"zero": False})}
    band = _layer(rows, {"type": "area", "color": BLUE, "opacity": 0.3, **step}, **position, y2={"field": "x_high"})
    line = {"type": "line", "color": BLUE, "point": {"color": BLUE, "size": 10}, **step}
    middle = _layer(rows, line, x=minute, y=_on("x_median", "x (px)"))
    return _stacked([_layered([rate]), _layered([band, middle])], width_px)


def accumulated(scores: Sequence[PartialScore], threshold: float) -> Spec:
    """The severity of a bin as it accumulated, and the one from which it is bad; parts that had to wait for more
    triggers are left out.
    """
    rows = pd.DataFrame([asdict(score) for score in scores if math.isfinite(score.severity)])
    x = _on("n_triggers", "triggers so far", scale={"zero": True, "nice": False})
    y = _on("severity", "severity so far", scale={"domain": [0, 100]}, axis={"values": [0, 25, 50, 75, 100]})
    line = _layer(rows, {"type": "line", "color": GREY}, x=x, y=y)
    limit = _layer(pd.DataFrame({"severity": [threshold]}), _rule([5, 4]), y=y)
    tips = [*_tips({"verdict": "verdict", "reasons": "why"}), *(
        {"field": name, "type": "quantitative", "title": title, "format": ",.0f"}
        for name, title in (("n_triggers", "triggers"), ("severity", "severity"))
    )]  # fmt: skip
    marks = _layer(rows, {"type": "point", "filled": True, "size": 60, "opacity": 1}, x=x, y=y, **verdict_marks(),
                   tooltip=tips)  # fmt: skip
    return _layered([line, limit, marks]) | {"height": 220}


def psychometric(found: Psychometric, threshold: float) -> Spec:
    """The share of bad answers by the severity of the model, with the fitted curve, the mean ratings, and the severity
    from which the model calls bins bad.
    """
    rows = pd.DataFrame({
        "severity": [(step.low + step.high) / 2 for step in found.steps],
        "bad": [100 * step.bad.value for step in found.steps],
        "low": [100 * step.bad.low for step in found.steps],
        "high": [100 * step.bad.high for step in found.steps],
        "mark": [step.mark for step in found.steps],
        "answers": [step.bad.n for step in found.steps],
    })  # fmt: skip
    x = _on("severity", "severity by the model", scale={"domain": [0, 100]})
    y = _on("bad", "bad answers (%), rating", scale={"domain": [0, 100]})
    names = {"severity": "severity", "bad": "bad answers (%)", "answers": "answers"}
    tips = [{"field": name, "type": "quantitative", "title": names[name], "format": ".0f"} for name in names]
    severities = np.linspace(0, 100, 101)
    curve = pd.DataFrame({"severity": severities, "bad": 100 * found.share(severities)})
    marks = rows.loc[rows["mark"].notna(), ["severity", "mark"]]
    known = rows.loc[rows["bad"].notna()]
    layers = [
        _layer(pd.DataFrame({"severity": [threshold]}), _rule([5, 4]), x=x),
        _layer(curve, {"type": "line", "color": BLUE}, x=x, y=y) if math.isfinite(found.line) else None,
        _layer(known, {"type": "rule", "color": BLUE}, x=x, y={**y, "field": "low"}, y2={"field": "high"}),
        _layer(known, {"type": "point", "filled": True, "size": 70, "color": BLUE, "opacity": 1}, x=x, y=y,
               tooltip=tips),
        _layer(marks, {"type": "point", "shape": "triangle-up", "filled": True, "size": 70, "color": ORANGE,
                       "opacity": 1}, x=x, y={**y, "field": "mark"}) if len(marks) else None,
    ]  # fmt: skip
    return _layered(layers) | {"width": 460, "height": 220}


#: Width and height of the picture of a value on its range, and the grey of its words, read on white and on black.
_REASON_PX, _WORDS = (420, 30), "#7d7d7d"


def reason(found: Finding) -> str:
    """A finding as HTML: its sentence, and below it the value on the instrument's normal range where there is one."""
    if not found.has_range:
        return f"<b>{escape(found.text)}</b>"
    said = f"{found.what}: {found.written}, normally {found.normal}"
    return on_range(found.text, said, (found.value, found.low, found.high), found.unit)


def on_range(text: str, said: str, values: tuple[float, float, float], unit: str = "") -> str:
    """A sentence as HTML, and below it a value on its normal range. ``said``: the same for those who cannot see it;
    ``values``: the value, and where the range begins and ends.
    """
    picture = b64encode(_range_picture(*values, unit).encode()).decode()
    return f'<b>{escape(text)}</b><img alt="{escape(said)}" src="data:image/svg+xml;base64,{picture}">'


def _range_picture(value: float, low: float, high: float, unit: str) -> str:
    """A value on its normal range as SVG; one far off stands at the edge."""
    width, height = _REASON_PX
    span = high - low or max(abs(high), 1e-9)
    share = float(np.clip((value - low) / span, -_FAR, 1 + _FAR))
    start, end, at = (width * (0.04 + 0.92 * (place + _FAR) / (1 + 2 * _FAR)) for place in (0.0, 1.0, share))
    words = f'font-family="sans-serif" font-size="11" fill="{_WORDS}" text-anchor="middle"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<path d="M0 8H{width}" stroke="{GREY}"/>'
        f'<rect x="{start:.0f}" y="3" width="{end - start:.0f}" height="10" rx="2" fill="{BLUE}" fill-opacity=".55"/>'
        f'<text x="{start:.0f}" y="26" {words}>{two_digits(low)}</text>'
        f'<text x="{end:.0f}" y="26" {words}>{two_digits(high)} {escape(unit)}</text>'
        f'<path d="M{at:.0f} 1l7 7-7 7-7-7z" fill="{VERMILION}"/></svg>'
    )


def verdict_marks(legend: Spec | None = None) -> Spec:
    """Colour and shape of marks by their field ``verdict``, with one legend for both."""
    looks = {name: (look.shape, look.colour) for name, look in LOOKS.items()}
    return _looks("verdict", looks, legend=legend or _VERDICT_LEGEND)


def selections(spec: Spec) -> list[str]:
    """The names of the selections that a chart has."""
    own = [param["name"] for param in spec.get("params", ())]
    return own + [name for view in spec.get("layer", ()) for name in selections(view)]


def picked_pid(event: Mapping[str, Any]) -> str | None:
    """The bin that was clicked in a chart, or the worst of the episode; None where the click met neither."""
    for name in (PICKED, EPISODE):
        picked = event.get("selection", {}).get(name) or [{}]
        pid = picked[0].get("pid")
        if isinstance(pid, str):
            return pid
    return None


def brushed_window(event: Mapping[str, Any], window: Window) -> Window | None:
    """The window that was brushed over in a chart of ``window``; None where it is too narrow to be meant."""
    span = event.get("selection", {}).get(BRUSHED, {}).get("start")
    if not span:
        return None
    first, last = (datetime.fromtimestamp(milliseconds / 1000, UTC) for milliseconds in sorted(span))
    return Window(first, last) if last - first >= window.span * _NARROWEST else None


def _axis(images: pd.DataFrame, name: str, size: int) -> Spec:
    # Some builds write positions outside the frame; they are shown where they are.
    values = images[name].to_numpy()
    low, high = min(0.0, float(values.min())), max(float(size), float(values.max()))
    domain = [low - _ROOM_PX, high + _ROOM_PX]
    axis = {"values": _multiples(200, low, high), "grid": False, "domain": False}
    return {"field": name, "type": "quantitative", "scale": {"domain": domain, "nice": False}, "axis": axis}


def _layered(layers: Iterable[Spec | None]) -> Spec:
    """The layers that there are, in one view."""
    return {"layer": [layer for layer in layers if layer is not None]}


def _stacked(views: Sequence[Spec], width_px: int) -> Spec:
    """Views above each other with the same x."""
    return {
        "vconcat": [view | {"height": _STRIP_PX, "width": width_px} for view in views],
        "resolve": {"scale": {"x": "shared"}},
    }


def _layer(rows: pd.DataFrame, mark: Spec, **encoding: Any) -> Spec:
    return {"data": {"values": _values(rows)}, "mark": mark, "encoding": encoding}


def _values(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as JSON has it: times in milliseconds since 1970, nothing for NaN."""
    # As a list: to go through a pandas index takes longer than all else.
    names = rows.columns.to_list()
    cells = [_cells(rows[name]) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def _cells(column: Any) -> list[Any]:
    if column.dtype.kind == "M":
        return pd.DatetimeIndex(column).as_unit("ms").asi8.tolist()
    if column.dtype.kind == "f":
        return _numbers(column.to_numpy(dtype=float))
    return column.tolist()


def _multiples(step: float, low: float, high: float) -> tuple[float, ...]:
    return tuple(number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1))


def _numbers(values: NDArray[np.float64]) -> list[float | None]:
    """Seven digits of the largest of them: more than are seen only make the text longer."""
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max(initial=0.0))
    if largest > 0:
        values = np.round(values, 6 - math.floor(math.log10(largest)))
    return [number if known else None for number, known in zip(values.tolist(), finite.tolist(), strict=True)]


def _on(field_name: str, title: str | None, kind: str = "quantitative", **options: Any) -> Spec:
    return {"field": field_name, "type": kind, "title": title, **options}


def _tips(titles: Mapping[str, str]) -> list[Spec]:
    return [{"field": name, "type": "nominal", "title": title} for name, title in titles.items()]


def _rule(dash: list[int]) -> Spec:
    return {"type": "rule", "strokeDash": dash, "color": GREY, "strokeWidth": 1.5}


def _looks(name: str, looks: Mapping[str, tuple[str, str]], legend: Spec | None) -> Spec:
    """Shape and colour of marks by the field ``name``; ``looks``: both of each of its values."""
    shapes, colours = zip(*looks.values(), strict=True)
    return {
        channel: _on(name, None, "nominal", scale={"domain": list(looks), "range": list(values)}, legend=legend)
        for channel, values in (("shape", shapes), ("color", colours))
    }


def _moment(moment: datetime) -> Spec:
    """An end of a scale of time. As a number it would be lost: the browser's interpreter of Vega cannot read it."""
    return {"utc": True, "year": moment.year, "month": moment.month, "date": moment.day, "hours": moment.hour,
            "minutes": moment.minute, "seconds": moment.second}  # fmt: skip


def _times(moments: Iterable[datetime]) -> pd.DatetimeIndex:
    # Several libraries' UTC in one column would make it one of texts.
    return pd.DatetimeIndex([moment.astimezone(UTC) for moment in moments])


def _written(times: Iterable[Any]) -> list[str]:
    return pd.DatetimeIndex(times).strftime(_TIME).to_list()
