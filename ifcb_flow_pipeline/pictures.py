"""Pictures for people: a point cloud, a histogram of severities, two distributions side by side. PNG bytes.

Drawn without any display or global state, so that several threads can draw at once.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import Schema

#: Colours that people with any colour vision can tell apart (Okabe and Ito).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#999999"


def cloud_picture(columns: Mapping[str, NDArray], schema: Schema, title: str) -> bytes:
    """The positions of a bin's images in the camera frame, and of its triggers without image.

    ``columns``: ``x_px``, ``y_px``, ``width_px``, ``height_px``, each of shape (n,).
    """
    with_image = has_image(columns)
    x, y = columns["x_px"], columns["y_px"]
    figure = Figure(figsize=(4.8, 4.3), dpi=80, layout="constrained")
    axes = figure.subplots()
    width, height = FRAME_PX[schema]
    axes.add_patch(Rectangle((0, 0), width, height, facecolor="none", edgecolor=GREY, linewidth=1))
    axes.scatter(x[with_image], y[with_image], s=4, c=BLUE, alpha=0.6, linewidths=0, label="image")
    if not with_image.all():
        count = int((~with_image).sum())
        axes.scatter(x[~with_image], y[~with_image], s=12, c=ORANGE, marker="x", label=f"no image ({count})")
        figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False, markerscale=2)
    axes.set(xlim=(-40, width + 40), ylim=(max(height, int(y.max(initial=0))) + 40, -40))
    axes.set(xlabel="x (px), along the flow", ylabel="y (px), across the flow", aspect="equal")
    axes.set_title(title, fontsize=10)
    return _png(figure)


def severity_picture(severities: NDArray[np.float64], threshold: float, title: str) -> bytes:
    """How many bins have which severity, and from which on they are bad. ``severities``: shape (n,), NaN left out."""
    figure = Figure(figsize=(4.8, 2.6), dpi=80, layout="constrained")
    axes = figure.subplots()
    finite = severities[np.isfinite(severities)]
    # Bars are cut at the threshold, so that none mixes the two sides; one to spare at each end holds the
    # extremes against rounding.
    step = 2.5
    first, last = np.floor(-threshold / step) - 1, np.ceil((100.0 - threshold) / step) + 1
    edges = threshold + step * np.arange(first, last + 1)
    counts, _ = np.histogram(finite, bins=edges)
    colours = [BLUE if edge < threshold - step / 2 else ORANGE for edge in edges[:-1]]
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=colours)
    axes.axvline(threshold, color="black", linewidth=1, linestyle="--")
    axes.annotate("bad from here", (threshold, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                  textcoords="offset points", fontsize=8)  # fmt: skip
    axes.set(xlabel="severity (higher is worse)", ylabel="bins")
    axes.set_title(title, fontsize=10)
    return _png(figure)


def comparison_picture(names: Sequence[str], scores: Sequence[NDArray[np.float64]], title: str) -> bytes:
    """Distributions of scores side by side, with median, quartiles and number of bins.

    ``scores``: one array per name, each of shape (n,), NaN left out.
    """
    figure = Figure(figsize=(7, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    finite = [values[np.isfinite(values)] for values in scores]
    for position, (values, colour) in enumerate(zip(finite, (BLUE, ORANGE), strict=True)):
        if values.size > 1 and np.ptp(values) > 0:
            violin = axes.violinplot(values, positions=[position], widths=0.8, showextrema=False)
            for body in violin["bodies"]:  # type: ignore[union-attr]
                body.set(facecolor=colour, alpha=0.5)
        if values.size:
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
            axes.vlines(position, low, high, color="black", linewidth=3)
            axes.plot(position, middle, "o", color="white", markeredgecolor="black")
            axes.annotate(f"median {middle:.3f}", (position, middle), xytext=(10, 0), textcoords="offset points",
                          fontsize=9, va="center")  # fmt: skip
    axes.set_xticks(range(len(names)), [f"{name}\n{len(v)} bins" for name, v in zip(names, finite, strict=True)])
    axes.set(ylabel="anomaly score (lower is more anomalous)", title=title, xlim=(-0.6, len(names) - 0.4))
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
