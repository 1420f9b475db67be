"""The charts: scores over time, and a point cloud in the camera frame. Colours hold in light and dark.

Blue and vermilion (Okabe and Ito) are told apart with any colour vision; the marks differ in shape too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#8C8C8C"

#: More marks than this and a browser takes seconds.
MAX_SCORE_MARKS = 3000

#: The selection of the score chart.
PICKED = "picked"

_MARGIN_PX = 30
_CLOUD_WIDTH = 460


def score_chart(rows: pd.DataFrame, chosen: str | None) -> alt.LayerChart:
    """One mark per scored bin over time, the threshold of each model as a rule, the chosen bin ringed.

    ``rows``: ranked rows of ``bin_scores``; those without score have no mark, and of more than
    MAX_SCORE_MARKS the most anomalous are drawn.
    """
    scored = rows.dropna(subset=["anomaly_score"]).head(MAX_SCORE_MARKS)
    start = pd.DatetimeIndex(scored["start_time"]).strftime("%Y-%m-%d %H:%M")
    marks = scored.assign(start=start).drop(columns=["is_anomaly", "status", "reason"])
    x = alt.X("start_time:T", title="start of the run (UTC)", scale=alt.Scale(type="utc"))
    y_scale = alt.Scale(domain=_score_range(scored), nice=False, zero=False)
    y = alt.Y(
        "anomaly_score:Q",
        title="anomaly score",
        scale=y_scale,
        axis=alt.Axis(format=".2f", tickCount=5),
    )
    bins = (
        alt.Chart(marks)
        .mark_point(filled=True, size=34, opacity=0.75)
        .encode(
            x=x,
            y=y,
            color=_two_colours("verdict", ("ok", "anomaly")),
            shape=_two_shapes("verdict", ("ok", "anomaly")),
            tooltip=[
                alt.Tooltip("pid:N", title="bin"),
                alt.Tooltip("start:N", title="start (UTC)"),
                alt.Tooltip("anomaly_score:Q", title="score", format=".3f"),
                alt.Tooltip("percentile:Q", title="percentile (%)", format=".1f"),
                alt.Tooltip("verdict:N"),
            ],
        )
        .add_params(alt.selection_point(name=PICKED, fields=["pid"], on="click"))
    )
    rules = (
        alt.Chart(thresholds(scored))
        .mark_rule(strokeDash=[5, 4], color=GREY, strokeWidth=1.5)
        .encode(x="first:T", x2="last:T", y=alt.Y("threshold:Q", scale=y_scale))
    )
    ringed = alt.Chart(marks.loc[marks["pid"].isin([chosen])])
    ring = ringed.mark_point(size=220, strokeWidth=2.5, color=GREY, opacity=1).encode(x=x, y=y)
    # Where marks are dense, the line leads to the ring.
    line = ringed.mark_rule(color=GREY, strokeWidth=1).encode(x=x)
    # Vega complains of a layer without marks.
    layers = [rules, line, ring, bins] if chosen in set(marks["pid"]) else [rules, bins]
    return alt.LayerChart(layer=layers).properties(height=250)


def thresholds(rows: pd.DataFrame) -> pd.DataFrame:
    """Each model's threshold, and the first and last start among the bins that it scored."""
    by_model = rows.groupby(["model_id", "threshold"], as_index=False)
    return by_model.agg(first=("start_time", "min"), last=("start_time", "max"))


def cloud_chart(cloud: Mapping[str, NDArray], frame_px: tuple[int, int]) -> alt.LayerChart:
    """The positions of a bin's images and of its triggers without image, y downwards, the frame drawn.

    ``cloud``: ``x_px``, ``y_px``, ``has_image`` of all triggers, each of shape (n,), at least one.
    """
    width, height = frame_px
    with_image = cloud["has_image"].astype(bool)
    kinds = [f"image ({with_image.sum():,})", f"trigger without image ({(~with_image).sum():,})"]
    points = pd.DataFrame({"x_px": cloud["x_px"], "y_px": cloud["y_px"], "kind": np.where(with_image, *kinds)})
    x_range = _padded(cloud["x_px"], width)
    y_range = _padded(cloud["y_px"], height)
    x_scale = alt.Scale(domain=x_range, nice=False)
    y_scale = alt.Scale(domain=y_range, nice=False, reverse=True)
    few = alt.Axis(tickCount=6)
    x = alt.X("x_px:Q", title="x (px), along the flow", axis=few, scale=x_scale)
    y = alt.Y("y_px:Q", title="y (px), across the flow", axis=few, scale=y_scale)
    frame = (
        alt.Chart(pd.DataFrame({"left": [0], "top": [0], "right": [width], "bottom": [height]}))
        .mark_rect(fillOpacity=0, stroke=GREY, strokeWidth=1.5)
        .encode(x="left:Q", x2="right:Q", y="top:Q", y2="bottom:Q")
    )
    # Triggers without image lie on one spot: a larger mark lets it be seen.
    marks = [
        alt.Chart(points.loc[points["kind"].isin([kind])])
        # Thousands of descriptions, one a mark, help no one.
        .mark_point(filled=True, opacity=0.9, size=size, aria=False)
        .encode(x=x, y=y, color=_two_colours("kind", kinds), shape=_two_shapes("kind", kinds))
        for kind, size in zip(kinds, (12, 60), strict=True)
    ]
    # One px of the frame is as wide as high.
    aspect = (y_range[1] - y_range[0]) / (x_range[1] - x_range[0])
    return alt.LayerChart(layer=[frame, *marks]).properties(
        width=_CLOUD_WIDTH,
        height=round(_CLOUD_WIDTH * aspect),
        # Width and height are those of the plot without its axes: else the aspect is lost.
        autosize=alt.AutoSizeParams(type="pad"),
    )


def picked_pid(event: Mapping[str, Any]) -> str | None:
    """The bin that was clicked in the score chart; None where the click met no mark."""
    picked = event.get("selection", {}).get(PICKED) or [{}]
    pid = picked[0].get("pid")
    return pid if isinstance(pid, str) else None


def picked_row(event: Mapping[str, Any], pids: list[str]) -> str | None:
    """The bin of the cell or row that was chosen in a table of these bins; None where none is.

    A cell counts first: the row that was marked before stays so while a cell is clicked.
    """
    selection = event.get("selection", {})
    rows = [row for row, _ in selection.get("cells") or []] + list(selection.get("rows") or [])
    return pids[rows[0]] if rows and 0 <= rows[0] < len(pids) else None


def _score_range(scored: pd.DataFrame) -> list[float]:
    # Not from zero: bins differ in the second digit. The thresholds are to be seen as well.
    values = scored[["anomaly_score", "threshold"]].to_numpy(dtype=float)
    low, high = (float(values.min()), float(values.max())) if values.size else (-1.0, 0.0)
    room = max(0.05 * (high - low), 0.01)
    return [low - room, high + room]


def _padded(values: NDArray, size: int) -> list[float]:
    # Some builds write positions outside the frame; they are shown where they are.
    low, high = min(0, int(values.min())), max(size, int(values.max()))
    return [low - _MARGIN_PX, high + _MARGIN_PX]


def _two_colours(field: str, names: Sequence[str]) -> alt.Color:
    return alt.Color(f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=[BLUE, VERMILION]),
                     legend=alt.Legend(orient="top"))  # fmt: skip


def _two_shapes(field: str, names: Sequence[str]) -> alt.Shape:
    return alt.Shape(f"{field}:N", title=None, scale=alt.Scale(domain=list(names), range=["circle", "diamond"]))
