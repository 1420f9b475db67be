"""Small charts beside a decision: a bin's points in the camera frame and over the run, without a word of which bin it
is; and what is usual of a feature.

As in ``charts``, they are Vega-Lite specifications written as plain dictionaries.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.charts import Spec
from app.series import quantile_curve
from app.theme import BLUE, GREY, INSTRUMENT_COLOURS, VERMILION

_WIDTH = 385
_MARGIN_PX = 30
_BINS_OF_RUN = 60

#: Width and height are those of the plot without its axes: else the frame's aspect is lost.
_PADDED: Spec = {"autosize": {"type": "pad"}, "width": _WIDTH}


def cloud_chart(cloud: Mapping[str, NDArray], frame_px: tuple[int, int]) -> Spec:
    """The positions of a bin's images and of its triggers without image, y downwards, the frame drawn.

    ``cloud``: ``x_px``, ``y_px``, ``has_image`` of all triggers, each of shape (n,), at least one.
    """
    width, height = frame_px
    with_image = np.asarray(cloud["has_image"], dtype=bool)
    kinds = [f"image ({with_image.sum():,})", f"trigger without image ({(~with_image).sum():,})"]
    points = pd.DataFrame({"x": cloud["x_px"], "y": cloud["y_px"], "kind": np.where(with_image, *kinds)})
    x_range, y_range = _padded(cloud["x_px"], width), _padded(cloud["y_px"], height)
    x = _on("x", "x (px), along the flow", scale={"domain": x_range, "nice": False}, axis={"tickCount": 5})
    y = _on("y", "y (px), across the flow", scale={"domain": y_range, "nice": False, "reverse": True},
            axis={"tickCount": 5})  # fmt: skip
    looks = {
        channel: {"field": "kind", "type": "nominal", "title": None, "scale": {"domain": kinds, "range": values},
                  "legend": {"orient": "top"}}
        for channel, values in (("color", [BLUE, VERMILION]), ("shape", ["circle", "diamond"]))
    }  # fmt: skip
    frame = {
        "data": {"name": "frame"},
        "mark": {"type": "rect", "fillOpacity": 0, "stroke": GREY, "strokeWidth": 1.5},
        "encoding": {
            "x": x | {"field": "left"},
            "x2": {"field": "right"},
            "y": y | {"field": "top"},
            "y2": {"field": "bottom"},
        },
    }
    # Triggers without image lie on one spot: a larger mark lets it be seen. Thousands of descriptions help no one.
    marks = [
        {
            "data": {"name": name},
            "mark": {"type": "point", "filled": True, "opacity": 0.8, "size": size, "aria": False},
            "encoding": {"x": x, "y": y, **looks},
        }
        for name, size in (("images", 10), ("others", 50))
    ]
    # One px of the frame is as wide as high.
    aspect = (y_range[1] - y_range[0]) / (x_range[1] - x_range[0])
    tables = {
        "frame": pd.DataFrame({"left": [0], "top": [0], "right": [width], "bottom": [height]}),
        "images": points.loc[with_image],
        "others": points.loc[~with_image],
    }
    return {"layer": [frame, *marks], "datasets": tables, "height": round(_WIDTH * aspect), **_PADDED}


def run_chart(cloud: Mapping[str, NDArray]) -> Spec:
    """How many images came when during the run: a clog is a step, an aborted run ends early.

    ``cloud``: ``t_s``, ``has_image`` of all triggers, each of shape (n,), at least one.
    """
    times = np.asarray(cloud["t_s"], dtype=float)[np.asarray(cloud["has_image"], dtype=bool)]
    times = times[np.isfinite(times)]
    counts, edges = np.histogram(times, bins=_BINS_OF_RUN, range=(0.0, float(times.max(initial=1.0))))
    per_minute = counts / (np.diff(edges) / 60.0)
    return {
        "data": {"name": "run"},
        "datasets": {"run": pd.DataFrame({"minute": edges / 60.0, "rate": np.append(per_minute, per_minute[-1])})},
        "mark": {"type": "area", "interpolate": "step-after", "color": BLUE, "opacity": 0.7},
        "encoding": {
            "x": _on("minute", "time in the run (min)", scale={"nice": False}),
            "y": _on("rate", "images per min", axis={"tickCount": 3}),
        },
        "height": 80,
        **_PADDED,
    }


def usual_chart(values: Mapping[str, NDArray[np.floating]], title: str) -> Spec:
    """The distribution of a feature for each instrument, as curves that rise from 0 to 1.

    ``values``: by instrument, shape (n,), NaN left out. ``title``: of the feature, with its unit.
    """
    curves = pd.concat([quantile_curve(of).assign(instrument=name) for name, of in values.items()])
    colours = [INSTRUMENT_COLOURS[i % len(INSTRUMENT_COLOURS)] for i in range(len(values))]
    dashes = [[1, 0], [6, 3], [2, 2]]
    return {
        "data": {"name": "curves"},
        "datasets": {"curves": curves},
        "mark": {"type": "line", "interpolate": "step-after"},
        "encoding": {
            "x": _on("value", title, scale={"zero": False}),
            "y": _on("share", "share of the bins at or below", axis={"format": "%"}),
            "color": {"field": "instrument", "type": "nominal", "title": None, "legend": {"orient": "top"},
                      "scale": {"domain": list(values), "range": colours}},
            "strokeDash": {"field": "instrument", "type": "nominal", "title": None, "legend": {"orient": "top"},
                           "scale": {"domain": list(values),
                                     "range": [dashes[i % len(dashes)] for i in range(len(values))]}},
        },
        "height": 240,
    }  # fmt: skip


def _on(name: str, title: str, **options: Any) -> Spec:
    return {"field": name, "type": "quantitative", "title": title, **options}


def _padded(values: NDArray, size: int) -> list[int]:
    # Some builds write positions outside the frame; they are shown where they are.
    low, high = min(0, int(np.min(values))), max(size, int(np.max(values)))
    return [low - _MARGIN_PX, high + _MARGIN_PX]
