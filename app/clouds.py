"""A bin's points as small charts that say nothing of which bin it is: in the camera frame, and over the run."""

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.theme import BLUE, GREY, VERMILION

_WIDTH = 385
_MARGIN_PX = 30
_BINS_OF_RUN = 60


def cloud_chart(cloud: Mapping[str, NDArray], frame_px: tuple[int, int]) -> alt.LayerChart:
    """The positions of a bin's images and of its triggers without image, y downwards, the frame drawn.

    ``cloud``: ``x_px``, ``y_px``, ``has_image`` of all triggers, each of shape (n,), at least one.
    """
    width, height = frame_px
    with_image = np.asarray(cloud["has_image"], dtype=bool)
    kinds = [f"image ({with_image.sum():,})", f"trigger without image ({(~with_image).sum():,})"]
    points = pd.DataFrame({"x": cloud["x_px"], "y": cloud["y_px"], "kind": np.where(with_image, *kinds)})
    x_range, y_range = _padded(cloud["x_px"], width), _padded(cloud["y_px"], height)
    few = alt.Axis(tickCount=5)
    x = alt.X("x:Q", title="x (px), along the flow", axis=few, scale=alt.Scale(domain=x_range, nice=False))
    y_scale = alt.Scale(domain=y_range, nice=False, reverse=True)
    y = alt.Y("y:Q", title="y (px), across the flow", axis=few, scale=y_scale)
    frame = (
        alt.Chart(pd.DataFrame({"left": [0], "top": [0], "right": [width], "bottom": [height]}))
        .mark_rect(fillOpacity=0, stroke=GREY, strokeWidth=1.5)
        .encode(x="left:Q", x2="right:Q", y="top:Q", y2="bottom:Q")
    )
    scale = alt.Scale(domain=kinds, range=[BLUE, VERMILION])
    colour = alt.Color("kind:N", title=None, scale=scale, legend=alt.Legend(orient="top"))
    shape = alt.Shape("kind:N", title=None, scale=alt.Scale(domain=kinds, range=["circle", "diamond"]))
    # Triggers without image lie on one spot: a larger mark lets it be seen.
    marks = [
        alt.Chart(points.loc[points["kind"].isin([kind])])
        # Thousands of descriptions, one a mark, help no one.
        .mark_point(filled=True, opacity=0.8, size=size, aria=False)
        .encode(x=x, y=y, color=colour, shape=shape)
        for kind, size in zip(kinds, (10, 50), strict=True)
    ]
    # One px of the frame is as wide as high.
    aspect = (y_range[1] - y_range[0]) / (x_range[1] - x_range[0])
    return alt.LayerChart(layer=[frame, *marks]).properties(
        width=_WIDTH,
        height=round(_WIDTH * aspect),
        # Width and height are those of the plot without its axes: else the aspect is lost.
        autosize=alt.AutoSizeParams(type="pad"),
    )


def run_chart(cloud: Mapping[str, NDArray]) -> alt.Chart:
    """How many images came when during the run: a clog is a step, an aborted run ends early.

    ``cloud``: ``t_s``, ``has_image`` of all triggers, each of shape (n,), at least one.
    """
    times = np.asarray(cloud["t_s"], dtype=float)[np.asarray(cloud["has_image"], dtype=bool)]
    times = times[np.isfinite(times)]
    counts, edges = np.histogram(times, bins=_BINS_OF_RUN, range=(0.0, float(times.max(initial=1.0))))
    per_minute = counts / (np.diff(edges) / 60.0)
    frame = pd.DataFrame({"minute": edges / 60.0, "rate": np.append(per_minute, per_minute[-1])})
    return (
        alt.Chart(frame)
        .mark_area(interpolate="step-after", color=BLUE, opacity=0.7)
        .encode(
            x=alt.X("minute:Q", title="time in the run (min)", scale=alt.Scale(nice=False)),
            y=alt.Y("rate:Q", title="images per min", axis=alt.Axis(tickCount=3)),
        )
        .properties(width=_WIDTH, height=80, autosize=alt.AutoSizeParams(type="pad"))
    )


def _padded(values: NDArray, size: int) -> list[float]:
    # Some builds write positions outside the frame; they are shown where they are.
    low, high = min(0, int(np.min(values))), max(size, int(np.max(values)))
    return [low - _MARGIN_PX, high + _MARGIN_PX]
