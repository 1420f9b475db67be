"""The charts. Colours hold in light and dark; whatever has a colour has a shape or a place of its own as well.

Belongs here: how prepared values are drawn. Does not belong here: which are drawn (``series``), reading (``data``).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.series import Track, Window, quantile_curve
from app.theme import BLUE, GREEN, GREY, LOOKS, ORANGE, PURPLE, VERMILION, cause_name
from ifcb_flow_pipeline.detection.episodes import Episode
from ifcb_flow_pipeline.store.labels import Label

#: The selections of the lanes.
PICKED, BRUSHED = "picked", "brushed"

#: Height of a lane on the value axis, in parts of the height that values take. The rest holds, from below, episodes,
#: the instrument's name and the decisions of the lane above.
_LANE, _EPISODES, _NAME, _DECIDED = 1.5, 1.09, 1.25, -0.12

#: Height of one lane, and of a chart of one.
_LANE_PX, _ONE_LANE_PX = 125, 250

#: A brush over less than this share of a window is taken for a click.
_NARROWEST = 0.005

_TIME = "%Y-%m-%d %H:%M"

_DECISION_SHAPES: Mapping[str, tuple[str, str]] = {
    "good": ("circle", GREEN),
    "bad": ("cross", VERMILION),
    "unsure": ("triangle-up", PURPLE),
}


@dataclass(frozen=True, slots=True)
class Measure:
    """What the lanes show: its name with unit, the range of values drawn, and how numbers are written."""

    title: str
    low: float
    high: float
    number: str = ".0f"
    ticks: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, title: str, values: np.ndarray, number: str = ".3~g") -> "Measure":
        """A measure whose range holds all finite values."""
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        room = 0.04 * (high - low) or max(abs(high), 1.0) * 0.04
        return cls(title, low - room, high + room, number)

    @property
    def marked(self) -> tuple[float, ...]:
        """The values that the axis names."""
        return self.ticks or tuple(np.linspace(self.low, self.high, 3))


SEVERITY = Measure("severity", 0.0, 100.0, ticks=(0.0, 50.0, 100.0))


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """What the lanes show besides bins. ``thresholds``: instrument, first, last, value. ``models``: start, model_id."""

    episodes: Sequence[Episode] = ()
    thresholds: pd.DataFrame = field(default_factory=pd.DataFrame)
    models: pd.DataFrame = field(default_factory=pd.DataFrame)
    decided: Sequence[tuple[str, datetime, Label]] = ()


def lanes(track: Track, measure: Measure, window: Window, instruments: Sequence[str], marks: Marks) -> alt.LayerChart:
    """A lane per instrument over the window: envelope or all bins, thresholds, episodes, model changes, decisions.

    Each bin that is a mark has its verdict's colour and shape; a click on one and a brush over time are the
    selections PICKED and BRUSHED.
    """
    draw = _Lanes(measure, window, tuple(instruments))
    layers = [
        draw.names(),
        *([] if track.envelope is None else draw.envelope(track.envelope)),
        *draw.models(marks.models),
        *draw.thresholds(marks.thresholds),
        *draw.episodes(marks.episodes),
        *draw.decided(marks.decided),
        draw.bins(track.points),
    ]
    height = _ONE_LANE_PX if len(instruments) == 1 else _LANE_PX * max(1, len(instruments))
    return alt.LayerChart(layer=layers).properties(height=height, width="container")


@dataclass(frozen=True, slots=True)
class _Lanes:
    """Layers of ``lanes``: values are moved to the lane of their instrument, the first on top."""

    measure: Measure
    window: Window
    instruments: tuple[str, ...]

    def names(self) -> alt.Chart:
        frame = pd.DataFrame({
            "start": [self.window.first] * len(self.instruments),
            "at": [self._lane(name) + _NAME for name in self.instruments],
            "instrument": list(self.instruments),
        })  # fmt: skip
        words = alt.Chart(frame).mark_text(align="left", baseline="middle", dx=4, fontWeight="bold", color=GREY)
        return words.encode(x=self._x(), y=self._y(), text="instrument:N")

    def envelope(self, frame: pd.DataFrame) -> list[alt.Chart]:
        moved = {name: self._of(frame["instrument"], frame[name]) for name in ("low", "q05", "median", "q95", "high")}
        frame = pd.DataFrame({"start": frame["start"], "segment": frame["segment"]} | moved)
        base = alt.Chart(frame).encode(x=self._x(), detail="segment:N")
        y = self._y("low")
        return [
            base.mark_area(interpolate="step-after", color=BLUE, opacity=0.18).encode(y=y, y2="high:Q"),
            base.mark_area(interpolate="step-after", color=BLUE, opacity=0.35).encode(y=self._y("q05"), y2="q95:Q"),
            base.mark_line(interpolate="step-after", color=BLUE, strokeWidth=1.5).encode(y=self._y("median")),
        ]

    def models(self, frame: pd.DataFrame) -> list[alt.Chart]:
        if frame.empty:
            return []
        frame = frame.assign(when=_written(frame["start"]))
        rule = alt.Chart(frame).mark_rule(color=GREY, strokeDash=[2, 3], strokeWidth=1.5)
        return [rule.encode(x=self._x(), tooltip=[alt.Tooltip("model_id:N", title="new model"),
                                                  alt.Tooltip("when:N", title="from (UTC)")])]  # fmt: skip

    def thresholds(self, frame: pd.DataFrame) -> list[alt.Chart]:
        if frame.empty:
            return []
        frame = frame.assign(at=self._of(frame["instrument"], frame["value"]), start=frame["first"])
        rule = alt.Chart(frame).mark_rule(strokeDash=[5, 4], color=GREY, strokeWidth=1.5)
        return [rule.encode(x=self._x(), x2="last:T", y=self._y(),
                            tooltip=[alt.Tooltip("value:Q", title="threshold", format=".0f")])]  # fmt: skip

    def episodes(self, episodes: Sequence[Episode]) -> list[alt.Chart]:
        shown = [episode for episode in episodes if episode.instrument in self.instruments]
        if not shown:
            return []
        frame = pd.DataFrame({
            "start": [max(episode.start, self.window.first) for episode in shown],
            "end": [min(episode.end, self.window.last) for episode in shown],
            "at": [self._lane(episode.instrument) + _EPISODES for episode in shown],
            "pid": [episode.worst_pid for episode in shown],
            "cause": [cause_name(episode.cause) for episode in shown],
            "since": [f"{episode.start:{_TIME}}" for episode in shown],
            "until": ["still running" if episode.ongoing else f"{episode.end:{_TIME}}" for episode in shown],
            "n_bad": [episode.n_bad for episode in shown],
        })  # fmt: skip
        bar = alt.Chart(frame).mark_rule(color=VERMILION, strokeWidth=5, strokeCap="square", opacity=0.75)
        names = {"cause": "episode", "since": "from (UTC)", "until": "until (UTC)", "n_bad": "bad bins"}
        tooltip = [alt.Tooltip(name, title=title) for name, title in names.items()]
        return [bar.encode(x=self._x(), x2="end:T", y=self._y(), tooltip=tooltip)]

    def decided(self, decided: Sequence[tuple[str, datetime, Label]]) -> list[alt.Chart]:
        shown = [found for found in decided if found[0] in self.instruments]
        if not shown:
            return []
        frame = pd.DataFrame({
            "start": [start for _, start, _ in shown],
            "at": [self._lane(instrument) + _DECIDED for instrument, _, _ in shown],
            "decision": [label.decision for _, _, label in shown],
            "pid": [label.pid for _, _, label in shown],
            "reviewer": [label.reviewer for _, _, label in shown],
        })  # fmt: skip
        names = list(_DECISION_SHAPES)
        shapes, colours = zip(*_DECISION_SHAPES.values(), strict=True)
        return [
            alt.Chart(frame)
            .mark_point(filled=False, size=40, strokeWidth=2)
            .encode(
                x=self._x(),
                y=self._y(),
                shape=alt.Shape("decision:N", scale=alt.Scale(domain=names, range=list(shapes)), legend=None),
                color=alt.Color("decision:N", scale=alt.Scale(domain=names, range=list(colours)), legend=None),
                tooltip=["pid:N", "decision:N", "reviewer:N"],
            )
        ]

    def bins(self, points: pd.DataFrame) -> alt.Chart:
        frame = pd.DataFrame({
            "pid": points["pid"].astype(str),
            "start": points["start_time"],
            "when": _written(points["start_time"]),
            "at": self._of(points["instrument"], points["value"]),
            "value": points["value"],
            "severity": points["severity"],
            "verdict": points["verdict"].astype(str),
            "suspected": points["cause"].astype(str).map(cause_name),
        })  # fmt: skip
        return (
            alt.Chart(frame)
            .mark_point(filled=True, size=30, opacity=0.8)
            .encode(
                x=self._x(),
                y=self._y(),
                **verdict_marks(),
                order=alt.Order("severity:Q"),
                tooltip=[
                    alt.Tooltip("pid:N", title="bin"),
                    alt.Tooltip("when:N", title="start (UTC)"),
                    alt.Tooltip("verdict:N"),
                    alt.Tooltip("suspected:N", title="suspected cause"),
                    alt.Tooltip("value:Q", title=self.measure.title, format=self.measure.number),
                ],
            )
            .add_params(
                alt.selection_point(name=PICKED, fields=["pid"], on="click"),
                alt.selection_interval(name=BRUSHED, encodings=["x"]),
            )
        )

    def _lane(self, instrument: str) -> float:
        return _LANE * (len(self.instruments) - 1 - self.instruments.index(instrument))

    def _at(self, values: Iterable[float], lane: NDArray[np.floating]) -> NDArray[np.floating]:
        share = (np.asarray(values, dtype=float) - self.measure.low) / (self.measure.high - self.measure.low)
        return lane + np.clip(share, 0.0, 1.0)

    def _of(self, instruments: Iterable[str], values: Iterable[float]) -> NDArray[np.floating]:
        return self._at(values, np.array([self._lane(name) for name in instruments], dtype=float))

    def _x(self) -> alt.X:
        domain = [self.window.first.isoformat(), self.window.last.isoformat()]
        scale = alt.Scale(type="utc", domain=domain, nice=False, clamp=True)
        return alt.X("start:T", title="start of the run (UTC)", scale=scale, axis=alt.Axis(tickCount=8, grid=False))

    def _y(self, name: str = "at") -> alt.Y:
        low, high = self.measure.low, self.measure.high
        shares = [(value - low) / (high - low) for value in self.measure.marked]
        values = [lane * _LANE + share for lane in range(len(self.instruments)) for share in shares]
        label = f"format({low} + (datum.value % {_LANE}) * {high - low}, '{self.measure.number}')"
        axis = alt.Axis(values=values, labelExpr=label, grid=True, gridOpacity=0.4)
        top = max(1, len(self.instruments)) * _LANE
        return alt.Y(f"{name}:Q", title=self.measure.title, axis=axis,
                     scale=alt.Scale(domain=[-0.2, top - 0.1], nice=False, zero=False))  # fmt: skip


def verdict_marks() -> dict[str, Any]:
    """Colour and shape of marks by their field ``verdict``, with one legend for both."""
    names = list(LOOKS)
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1)
    return {
        "color": alt.Color("verdict:N", legend=legend, title=None,
                           scale=alt.Scale(domain=names, range=[look.colour for look in LOOKS.values()])),
        "shape": alt.Shape("verdict:N", legend=legend, title=None,
                           scale=alt.Scale(domain=names, range=[look.shape for look in LOOKS.values()])),
    }  # fmt: skip


def picked_pid(event: Mapping[str, Any]) -> str | None:
    """The bin that was clicked in a chart; None where the click met no mark."""
    picked = event.get("selection", {}).get(PICKED) or [{}]
    pid = picked[0].get("pid")
    return pid if isinstance(pid, str) else None


def brushed_window(event: Mapping[str, Any], window: Window) -> Window | None:
    """The window that was brushed over in a chart of ``window``; None where it is too narrow to be meant."""
    span = event.get("selection", {}).get(BRUSHED, {}).get("start")
    if not span:
        return None
    first, last = (datetime.fromtimestamp(milliseconds / 1000, UTC) for milliseconds in sorted(span))
    return Window(first, last) if last - first >= window.span * _NARROWEST else None


def distributions(groups: Mapping[str, NDArray[np.floating]], title: str) -> alt.LayerChart:
    """The distributions of named groups of values as curves that rise from 0 to 1, and the median of each."""
    curves = pd.concat([quantile_curve(values).assign(group=name) for name, values in groups.items()])
    middles = pd.DataFrame({"group": list(groups), "value": [np.nanmedian(values) for values in groups.values()]})
    names = list(groups)
    colour = alt.Color(
        "group:N", scale=alt.Scale(domain=names, range=[BLUE, ORANGE]), legend=alt.Legend(orient="top", title=None)
    )
    dash = alt.StrokeDash("group:N", scale=alt.Scale(domain=names, range=[[1, 0], [6, 3]]), legend=None)
    x = alt.X("value:Q", title=title)
    curve = (
        alt.Chart(curves)
        .mark_line(interpolate="step-after")
        .encode(
            x=x,
            y=alt.Y("share:Q", title="share of the bins at or below", axis=alt.Axis(format="%")),
            color=colour,
            strokeDash=dash,
        )
    )
    middle = (
        alt.Chart(middles)
        .mark_rule(opacity=0.7)
        .encode(
            x=x,
            color=colour,
            strokeDash=dash,
            tooltip=[alt.Tooltip("group:N"), alt.Tooltip("value:Q", title="median", format=".1f")],
        )
    )
    return alt.LayerChart(layer=[curve, middle]).properties(height=240)


def _written(times: Iterable[Any]) -> list[str]:
    return pd.DatetimeIndex(times).strftime(_TIME).to_list()
