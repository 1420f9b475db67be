"""The sample stream as the camera sees it: random draws of boxes and detector signals.

Here: what a healthy stream looks like in numbers, and the lattice on which the acquisition software
places its boxes. Not here: time, ADC columns, faults.

The v2 numbers were fitted to one healthy public bin, ``D20230810T113059_IFCB134``, the v1 numbers to the
short bin ``IFCB1_2009_216_075913``. The lattice follows the blob search of the acquisition software
(robertjolson/ifcb-acq, ``Analysis.cpp``): the frame is shrunk 8 times, blobs are grown by 20 px along
the flow and 1 px across it, and blobs within 16 px of a frame edge are extended to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.pid import Schema

FloatArray = NDArray[np.float64]

FRAME_PX: Mapping[Schema, tuple[int, int]] = {"v1": (1380, 1034), "v2": (1360, 1024)}
"""Width (along the flow) and height (across the flow) of the camera frame."""

EDGE_SNAP_PX = 16
MINIMUM_AREA_PX2 = 2000
TICK_US = 2.173913
"""The digitizer's time step, in which times of flight are counted."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """The grid of box corners and sizes: ``offset + pitch * k``, in px."""

    pitch: float
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class StreamShape:
    """Where a schema's instruments see the stream.

    ``bend`` are the coefficients (per px, 1, px) of the parabola x = a y² + b y + c of the core around
    its median. ``y_px`` is the lit range across the flow and ``y_beta`` the two parameters of the beta
    distribution within it. ``scatter_px`` is the core's half-width, ``size_factor`` scales widths and
    heights, the stray fractions are of ROIs left and right of the core, the others are of triggers.
    """

    bend: tuple[float, float, float]
    y_px: tuple[float, float]
    y_beta: tuple[float, float]
    scatter_px: float
    size_factor: tuple[float, float]
    stray_fractions: tuple[float, float]
    no_image_fraction: float
    two_roi_fraction: float
    lattice: Lattice


SHAPES: Mapping[Schema, StreamShape] = {
    "v1": StreamShape(
        bend=(0.0, -0.028, 12.0),
        y_px=(220.0, 980.0),
        y_beta=(2.0, 2.25),
        scatter_px=26.0,
        size_factor=(1.31, 1.07),
        stray_fractions=(0.02, 0.05),
        no_image_fraction=0.16,
        two_roi_fraction=0.02,
        lattice=Lattice(pitch=25 / 3, x=1.7, y=7.0, width=5.0, height=3.4),
    ),
    "v2": StreamShape(
        bend=(-8.67e-5, 0.0476, 2.6),
        y_px=(155.0, 961.0),
        y_beta=(2.07, 1.56),
        scatter_px=9.0,
        size_factor=(1.0, 1.0),
        stray_fractions=(0.010, 0.0035),
        no_image_fraction=0.082,
        two_roi_fraction=0.009,
        lattice=Lattice(pitch=8.0, x=4.0, y=7.0, width=0.0, height=2.0),
    ),
}

# Cumulative fraction -> value. The width and height knots lie between lattice points, so that rounding
# to the lattice reproduces the measured frequency of each size.
WIDTH_KNOTS = {
    1e-5: 56, 0.0002: 60, 0.0375: 68, 0.2547: 76, 0.5296: 84, 0.7076: 92, 0.7845: 100, 0.8245: 108,
    0.8493: 116, 0.8664: 124, 0.95: 184, 0.99: 278, 0.999: 386, 0.99999: 1056,
}  # fmt: skip
HEIGHT_KNOTS = {
    1e-5: 26, 0.004: 30, 0.302: 38, 0.7287: 46, 0.9: 54, 0.941: 62, 0.961: 70, 0.973: 78, 0.983: 86,
    0.9896: 94, 0.994: 102, 0.999: 140, 0.99999: 338,
}  # fmt: skip
MEDIAN_WIDTH_PX = 80.0
PEAK_A_KNOTS = {
    1e-5: 0.0124, 0.05: 0.0157, 0.25: 0.0172, 0.5: 0.0178, 0.75: 0.1726, 0.95: 0.6965, 0.99: 2.36,
    0.99999: 3.48,
}  # fmt: skip
PEAK_B_KNOTS = {
    1e-5: 0.00974, 0.11: 0.0098, 0.25: 0.074, 0.5: 0.173, 0.75: 0.28, 0.95: 0.602, 0.99: 1.83,
    0.999: 3.33, 0.99999: 3.50,
}  # fmt: skip
FLIGHT_US_KNOTS = {0.1: 52.2, 0.25: 54.3, 0.5: 58.7, 0.75: 62.5, 0.95: 73.9, 0.99: 87.0, 0.999: 113.0}

PEAK_FLOOR_V = 0.00975
"""The reading of a detector that saw nothing."""

# Correlations of the normal scores of width, height, peak A, peak B and time of flight.
_CORRELATION = (
    (1.00, 0.63, 0.56, 0.48, 0.52),
    (0.63, 1.00, 0.45, 0.52, 0.52),
    (0.56, 0.45, 1.00, 0.59, 0.57),
    (0.48, 0.52, 0.59, 1.00, 0.90),
    (0.52, 0.52, 0.57, 0.90, 1.00),
)
# Part of the scatter along the flow that goes with the time of flight: the bigger, the further left.
_FLIGHT_SHARE = 0.75
# Boxes wider than this grow to the left: their centres lie this many px left per px of width.
_WIDE_PX, _WIDE_SHIFT = 84.0, 0.32


@dataclass(frozen=True, slots=True)
class Boxes:
    """ROI boxes: left and top corner, width and height in px, four float arrays of shape (n,)."""

    x: FloatArray
    y: FloatArray
    width: FloatArray
    height: FloatArray

    @property
    def x_centre(self) -> FloatArray:
        """Centres along the flow, shape (n,), px."""
        return self.x + self.width / 2

    @property
    def y_centre(self) -> FloatArray:
        """Centres across the flow, shape (n,), px."""
        return self.y + self.height / 2


def boxes_around(x_centre: FloatArray, y_centre: FloatArray, width: FloatArray, height: FloatArray) -> Boxes:
    """Boxes of the given sizes around the given centres, all of shape (n,), px."""
    return Boxes(x_centre - width / 2, y_centre - height / 2, width, height)


def draw_scores(rng: np.random.Generator, n: int) -> FloatArray:
    """Correlated normal scores, shape (5, n): width, height, peak A, peak B, time of flight."""
    return np.linalg.cholesky(np.array(_CORRELATION)) @ rng.standard_normal((5, n))


def from_scores(scores: FloatArray, knots: Mapping[float, float]) -> FloatArray:
    """Values with the distribution of ``knots`` (cumulative fraction -> value) for normal scores (n,)."""
    normal = NormalDist()
    return np.interp(scores, [normal.inv_cdf(p) for p in knots], list(knots.values()))


def draw_boxes(rng: np.random.Generator, scores: FloatArray, schema: Schema, x0_px: float) -> Boxes:
    """Healthy boxes, not yet on the lattice, for ``scores`` of shape (5, n); ``x0_px`` is the median x."""
    shape, n = SHAPES[schema], scores.shape[1]
    width = from_scores(scores[0], WIDTH_KNOTS)
    height = from_scores(scores[1], HEIGHT_KNOTS)
    low, high = shape.y_px
    y = low + (high - low) * rng.beta(*shape.y_beta, n)
    scatter = -_FLIGHT_SHARE * scores[4] + np.sqrt(1 - _FLIGHT_SHARE**2) * rng.standard_t(6, n)
    x = x0_px + np.polyval(shape.bend, y) + 8 - _WIDE_SHIFT * np.maximum(width - _WIDE_PX, 0)
    x = _with_strays(rng, x + shape.scatter_px * scatter, shape, x0_px)
    return boxes_around(x, y, width * shape.size_factor[0], height * shape.size_factor[1])


def _with_strays(rng: np.random.Generator, x: FloatArray, shape: StreamShape, x0_px: float) -> FloatArray:
    left, right = shape.stray_fractions
    lot = rng.random(x.size)
    x = np.where(lot < left, rng.uniform(30, x0_px - 80, x.size), x)
    return np.where(lot > 1 - right, rng.uniform(x0_px + 60, 1330, x.size), x)


def snap_to_lattice(boxes: Boxes, schema: Schema) -> Boxes:
    """Return the boxes as the instrument reports them: whole px, on the lattice, within the frame."""
    lattice, (frame_width, frame_height) = SHAPES[schema].lattice, FRAME_PX[schema]
    width = _on_lattice(boxes.width, lattice.pitch, lattice.width, 7 * lattice.pitch, frame_width)
    height = _on_lattice(boxes.height, lattice.pitch, lattice.height, 3 * lattice.pitch, frame_height)
    # Boxes below the minimum area are dropped by the instrument; the least that is kept is one row more.
    height = np.where(width * height < MINIMUM_AREA_PX2, np.round(height + lattice.pitch), height)
    x = _on_lattice(boxes.x_centre - width / 2, lattice.pitch, lattice.x, 0, frame_width)
    y = _on_lattice(boxes.y_centre - height / 2, lattice.pitch, lattice.y, 0, frame_height)
    return Boxes(_against_edges(x, width, frame_width), _against_edges(y, height, frame_height), width, height)


def _on_lattice(values: FloatArray, pitch: float, offset: float, low: float, high: float) -> FloatArray:
    lowest, highest = np.ceil((low - offset) / pitch), np.floor((high - offset) / pitch)
    return np.round(offset + pitch * np.clip(np.round((values - offset) / pitch), lowest, highest))


def _against_edges(start: FloatArray, length: FloatArray, frame: int) -> FloatArray:
    start = np.where(start <= EDGE_SNAP_PX, 0, start)
    return np.where(start + length >= frame - EDGE_SNAP_PX, frame - length, start)
