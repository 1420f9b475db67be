"""The statistics of a bin that the simulator's tests look at, read back from its files with plain csv."""

import csv
from dataclasses import dataclass

import numpy as np

from ifcb_flow_pipeline.simulate import SimulatedBin, files_of
from ifcb_flow_pipeline.simulate.bins import COLUMNS, TIME_COLUMN
from ifcb_flow_pipeline.simulate.core import FRAME_PX

V2_PID = "D20230810T113059_IFCB134"
V1_PID = "IFCB1_2009_216_075913"


def adc_table(content: bytes, schema: str) -> dict[str, np.ndarray]:
    """Columns of an undamaged .adc file by name, float arrays of shape (n_rows,)."""
    rows = list(csv.reader(content.decode("ascii").splitlines()))
    width = len(COLUMNS[schema])
    values = np.array([[float(cell) for cell in row[:width]] for row in rows]).reshape(-1, width)
    return dict(zip(COLUMNS[schema], values.T, strict=True))


def header_values(content: bytes) -> dict[str, str]:
    """Read the values of a v2 header by key."""
    return dict(line.split(": ", 1) for line in content.decode("ascii").splitlines())


@dataclass(frozen=True)
class Measures:
    """Statistics of one bin; positions in px, the rest are fractions unless named otherwise."""

    n_triggers: int
    rois_per_trigger: float
    no_image: float
    x_median: float
    x_robust_sd: float
    x_sd: float
    off_core: float
    tilt: float
    y_median: float
    y_sd: float
    width_median: float
    width_99: float
    width_log_sd: float
    unique_xy: float
    most_repeated: float
    edge_touching: float
    ks_time: float
    last_s: float
    flight_median_us: float
    peak_b_median: float


def measure(simulated: SimulatedBin) -> Measures:
    """Measure the bin as its .adc file gives it."""
    table = adc_table(files_of(simulated).adc, simulated.schema)
    imaged = table["roi_width"] > 0
    x, y, width, height = (table[f"roi_{name}"][imaged] for name in ("x", "y", "width", "height"))
    x_centre, y_centre = x + width / 2, y + height / 2
    off_px = np.abs(x_centre - np.median(x_centre))
    time_s = np.unique(table[TIME_COLUMN[simulated.schema]])
    n_triggers = int(table["trigger"].max())
    frame_width, frame_height = FRAME_PX[simulated.schema]
    touches = (x <= 4) | (y <= 4) | (x + width >= frame_width - 4) | (y + height >= frame_height - 4)
    boxes = np.stack([x, y, width, height])
    return Measures(
        n_triggers=n_triggers,
        rois_per_trigger=imaged.sum() / n_triggers,
        no_image=float(np.mean(~imaged)),
        x_median=float(np.median(x_centre)),
        x_robust_sd=1.4826 * float(np.median(off_px)),
        x_sd=float(x_centre.std()),
        off_core=float(np.mean(off_px > 60)),
        tilt=float(np.polyfit(y_centre, x_centre, 1)[0]) if x.size > 9 else float("nan"),
        y_median=float(np.median(y_centre)),
        y_sd=float(y_centre.std()),
        width_median=float(np.median(width)),
        width_99=float(np.quantile(width, 0.99)),
        width_log_sd=float(np.log(width).std()),
        unique_xy=np.unique(boxes[:2], axis=1).shape[1] / x.size,
        most_repeated=np.unique(boxes, axis=1, return_counts=True)[1].max() / x.size,
        edge_touching=float(np.mean(touches)),
        ks_time=float(np.max(np.abs(time_s / 1200.85 - np.arange(time_s.size) / time_s.size))),
        last_s=float(time_s[-1]),
        flight_median_us=float(np.median(table.get("time_of_flight", np.zeros(1)))),
        peak_b_median=float(np.median(table.get("peak_b", np.zeros(1)))),
    )
