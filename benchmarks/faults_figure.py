"""What faults look like in the camera frame, for the documentation: ``python -m benchmarks.faults_figure FILE``."""

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.pictures import BLUE, GREY, ORANGE
from ifcb_flow_pipeline.simulate import simulate_bin

#: A bin of the simulator for each panel: what people call it, and its fault there.
_PANELS = (
    ("healthy", None),
    ("air bubbles", "air"),
    ("debris on the flow cell", "stuck_roi"),
    ("laser misaligned", "laser_misalignment"),
    ("sheath flow problem", "focus_loss"),
    ("camera or flow cell rotated", "camera_tilt"),
    ("out of focus", "out_of_focus"),
    ("electronics fault", "noise_trigger"),
)
_PID = "D20230810T120000_IFCB134"


def figure() -> Figure:
    """The panels, each with the images of one bin at their places."""
    drawn = Figure(figsize=(11, 5.2), dpi=90, layout="constrained")
    for axes, (title, fault) in zip(drawn.subplots(2, 4, sharex=True, sharey=True).flat, _PANELS, strict=True):
        _draw(axes, title, fault)
    drawn.supxlabel("x, along the flow", fontsize=9)
    drawn.supylabel("y, across the flow", fontsize=9)
    return drawn


def _draw(axes: Axes, title: str, fault: str | None) -> None:
    drawn = simulate_bin(_PID, fault=fault, severity=0.8, mean_triggers=1500)
    imaged = drawn.has_image
    width, height = FRAME_PX["v2"]
    axes.add_patch(Rectangle((0, 0), width, height, facecolor="none", edgecolor=GREY, linewidth=1))
    axes.scatter(drawn.columns["roi_x"][imaged], drawn.columns["roi_y"][imaged], s=3, c=BLUE, alpha=0.5, linewidths=0)
    without = int((~imaged).sum())
    axes.annotate(f"{without} triggers without image", (20, height - 20), fontsize=7, color=ORANGE if fault else GREY)
    axes.set(xlim=(-20, width + 20), ylim=(height + 20, -20), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=10)


if __name__ == "__main__":
    figure().savefig(Path(sys.argv[1]))
