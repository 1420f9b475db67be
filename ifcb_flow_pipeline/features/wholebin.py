"""The features of the full set beyond the reference set, each as a function of a bin's stream.

Each takes a Stream and returns one number, NaN where the bin does not tell: the shape of the cloud needs MIN_IMAGES
images, the distribution in time MIN_TRIGGERS triggers, and what only a header says a header. This is the plain, obvious
form of each definition: faster forms are held equal to it by tests.
"""

# ruff: noqa: D103 - what each of them means is said once, in the catalogue

from collections.abc import Callable
from functools import wraps

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features import geometry, repeats, signals, timing
from ifcb_flow_pipeline.features.quantiles import IQR_SIGMA, middle_quantiles
from ifcb_flow_pipeline.features.stream import DAY_S, MIN_IMAGES, MIN_TRIGGERS, Stream

#: Images wider than this are large, and those that fill so much of the frame's width are as wide as it.
LARGE_PX = 300
FULL_WIDTH = 0.9

#: Bubbles are large and round: at least BUBBLE_PX wide and high, and, less the margin that boxes have along x beyond
#: the one along y, the longer side at most BUBBLE_ASPECT times the shorter. A disc looks the same every time, while
#: flakes, chains and colonies of that size have all shapes. Ovals, up to the cube of that ratio, span twice as much of
#: the logarithm, so that where shapes are any half as many of them are round by chance: the rest are bubbles. With this
#: margin the boxes of ten bins that their owners filed under bubbles (IFCB160 in kudelalab/PSD) are as often too wide
#: as too high; in nine of the ten 3.1 to 9.3 % of the boxes are bubbles, and none in six other public bins.
BUBBLE_PX = 150
BUBBLE_MARGIN_PX = 30
BUBBLE_ASPECT = 1.2
OVAL_ASPECT = BUBBLE_ASPECT**3

#: There are bubbles only where there are so many more round boxes than ovals that shapes of any kind would give as many
#: in one bin of 20 (a sign test: half of each are expected at most). Smaller bubbles come with the large ones, so that
#: boxes from this size on show it as well.
BUBBLE_EVIDENCE = 1.645
ROUND_PX = 100

#: Step in which the logarithm of an area is counted.
AREA_STEP = 0.01

_NAN = float("nan")
_Function = Callable[[Stream], float]


def _of_images(function: _Function) -> _Function:
    """Make a function give NaN where there are too few images."""

    @wraps(function)
    def checked(stream: Stream) -> float:
        return float(function(stream)) if stream.enough_images else _NAN

    return checked


def _of_triggers(least: int) -> Callable[[_Function], _Function]:
    """Make a function give NaN where there are fewer triggers."""

    def decorate(function: _Function) -> _Function:
        @wraps(function)
        def checked(stream: Stream) -> float:
            return float(function(stream)) if stream.n_triggers >= least else _NAN

        return checked

    return decorate


# Position and spread of the core


@_of_images
def core_x(stream: Stream) -> float:
    return stream.core.x_px


@_of_images
def core_tilt(stream: Stream) -> float:
    return stream.core.tilt


@_of_images
def core_bend(stream: Stream) -> float:
    return stream.core.bend_px


@_of_images
def core_width(stream: Stream) -> float:
    return stream.core.sigma_px


@_of_images
def core_asymmetry(stream: Stream) -> float:
    off = stream.off_core_px[stream.small & ~stream.is_stray]
    return geometry.asymmetry(off) if len(off) else 0.0


@_of_images
def cross_low(stream: Stream) -> float:
    return middle_quantiles(stream.y, [0.05])[0]


@_of_images
def cross_high(stream: Stream) -> float:
    return middle_quantiles(stream.y, [0.95])[0]


def cross_range(stream: Stream) -> float:
    return cross_high(stream) - cross_low(stream)


# Strays and edges


@_of_images
def stray_fraction(stream: Stream) -> float:
    return float(stream.is_stray.mean())


@_of_images
def stray_left(stream: Stream) -> float:
    return float(np.mean(stream.is_stray & (stream.off_core_px < 0)))


@_of_images
def stray_right(stream: Stream) -> float:
    return float(np.mean(stream.is_stray & (stream.off_core_px > 0)))


@_of_images
def stray_spread(stream: Stream) -> float:
    return geometry.spread_over_frame(stream.x[stream.is_stray], stream.y[stream.is_stray], stream.frame_px)


@_of_images
def edge_touch(stream: Stream) -> float:
    return float(geometry.touches_edge(*_edges(stream), stream.frame_px).mean())


@_of_images
def full_width(stream: Stream) -> float:
    return float(np.mean(stream.width_px >= FULL_WIDTH * stream.frame_px[0]))


@_of_images
def out_of_frame(stream: Stream) -> float:
    return float(geometry.leaves_frame(*_edges(stream), stream.frame_px).mean())


def _edges(stream: Stream) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Left, top, right and bottom edges of the images."""
    return stream.left_px, stream.top_px, stream.left_px + stream.width_px, stream.top_px + stream.height_px


# Stuck boxes


@_of_images
def repeat_fraction(stream: Stream) -> float:
    return repeats.repeat_share(stream.left_px, stream.top_px, stream.width_px, stream.height_px)


@_of_images
def repeat_anchor(stream: Stream) -> float:
    left, top, right, bottom = _edges(stream)
    return max(repeats.repeat_share(x, y) for x in (left, right) for y in (top, bottom))


@_of_images
def hot_cell(stream: Stream) -> float:
    return repeats.hot_cell_share(stream.x, stream.y, stream.is_stray)


# Triggers


@_of_triggers(1)
def no_image(stream: Stream) -> float:
    return float(np.mean(stream.images_of_trigger == 0))


@_of_triggers(1)
def multi_image(stream: Stream) -> float:
    return float(np.mean(stream.images_of_trigger > 1))


@_of_triggers(1)
def images_per_trigger(stream: Stream) -> float:
    return stream.n_images / stream.n_triggers


@_of_triggers(MIN_TRIGGERS)
def no_image_burst(stream: Stream) -> float:
    return timing.persistence(stream.images_of_trigger == 0)


def blind_fraction(stream: Stream) -> float:
    stretches = _blind_stretches(stream)
    return _NAN if stretches is None else min(float(stretches.sum() / np.ptp(stream.time_s)), 1.0)


def longest_blind(stream: Stream) -> float:
    stretches = _blind_stretches(stream)
    return _NAN if stretches is None else float(stretches.max(initial=0.0))


def _blind_stretches(stream: Stream) -> NDArray[np.float64] | None:
    """The blind stretches in s; None where there are too few triggers, no images at all or no times."""
    if stream.n_triggers < MIN_TRIGGERS or not stream.n_images or not np.ptp(stream.time_s) > 0:
        return None
    return timing.blind_stretches(stream.images_of_trigger == 0, stream.time_s)


# Sizes


@_of_images
def width_median(stream: Stream) -> float:
    return middle_quantiles(stream.width_px, [0.5])[0]


@_of_images
def width_p95(stream: Stream) -> float:
    return middle_quantiles(stream.width_px, [0.95])[0]


@_of_images
def height_median(stream: Stream) -> float:
    return middle_quantiles(stream.height_px, [0.5])[0]


@_of_images
def area_p10(stream: Stream) -> float:
    return float(np.exp(_log_areas(stream, 0.1)[0]))


@_of_images
def area_median(stream: Stream) -> float:
    return float(np.exp(_log_areas(stream, 0.5)[0]))


@_of_images
def large_fraction(stream: Stream) -> float:
    return float(np.mean(stream.width_px > LARGE_PX))


@_of_images
def size_spread(stream: Stream) -> float:
    low, high = _log_areas(stream, 0.25, 0.75)
    return (high - low) / IQR_SIGMA


def _log_areas(stream: Stream, *shares: float) -> tuple[float, ...]:
    """Quantiles of the log of the area of boxes, which is rounded to AREA_STEP."""
    steps = np.floor((np.log(stream.width_px) + np.log(stream.height_px)) / AREA_STEP)
    return tuple((step + 0.5) * AREA_STEP for step in middle_quantiles(steps, shares))


# Bubbles


@_of_images
def bubble_fraction(stream: Stream) -> float:
    n_round, n_oval = _round_and_oval(stream, BUBBLE_PX)
    shown = any(
        some_round - some_oval > BUBBLE_EVIDENCE * np.sqrt(some_round + some_oval)
        for some_round, some_oval in ((n_round, n_oval), _round_and_oval(stream, ROUND_PX))
    )
    return max(n_round - n_oval / 2, 0.0) / stream.n_images if shown else 0.0


def _round_and_oval(stream: Stream, least_px: int) -> tuple[int, int]:
    """How many boxes of at least this width and height are round, and how many are ovals."""
    is_large = np.minimum(stream.width_px, stream.height_px) >= least_px
    width, height = stream.width_px[is_large] - BUBBLE_MARGIN_PX, stream.height_px[is_large]
    shorter, longer = np.minimum(width, height), np.maximum(width, height)
    n_round, n_both = (int(np.count_nonzero(longer <= most * shorter)) for most in (BUBBLE_ASPECT, OVAL_ASPECT))
    return n_round, n_both - n_round


# Time


@_of_triggers(MIN_TRIGGERS)
def time_uniformity(stream: Stream) -> float:
    return timing.unevenness(stream.events.share) if len(stream.events.share) else _NAN


@_of_triggers(MIN_TRIGGERS)
def longest_gap(stream: Stream) -> float:
    return timing.longest_gap(stream.events.share) if len(stream.events.share) else _NAN


@_of_triggers(MIN_TRIGGERS)
def rate_change(stream: Stream) -> float:
    return timing.rate_change(stream.events.share) if len(stream.events.share) else _NAN


@_of_images
def drift_x(stream: Stream) -> float:
    return timing.drift(stream.off_core_px[stream.small], stream.core.sigma_px)


@_of_images
def drift_y(stream: Stream) -> float:
    y = stream.y[stream.small]
    low, high = np.quantile(y, (0.25, 0.75))
    return timing.drift(y, float(high - low) / IQR_SIGMA)


@_of_triggers(2)
def dead_time(stream: Stream) -> float:
    steps = np.diff(stream.stated("inhibit_time_s")[stream.first_rows])
    believable = steps[np.abs(steps) < DAY_S]
    return float(np.median(believable)) if len(believable) else _NAN


@_of_triggers(2)
def time_backward(stream: Stream) -> float:
    steps = np.diff(stream.time_s)
    return float(np.mean(steps < 0)) if steps.any() else _NAN


# Velocity and signals


@_of_images
def flight_time(stream: Stream) -> float:
    steps = signals.flight_steps(stream.stated("time_of_flight_us")[stream.has_image])
    return middle_quantiles(steps, [0.5])[0] * signals.FLIGHT_STEP_US if len(steps) else _NAN


@_of_images
def flight_spread(stream: Stream) -> float:
    steps = signals.flight_steps(stream.stated("time_of_flight_us")[stream.has_image])
    if not len(steps):
        return _NAN
    low, median, high = middle_quantiles(steps, [0.25, 0.5, 0.75])
    return (high - low) / IQR_SIGMA / median


@_of_images
def peak_median(stream: Stream) -> float:
    peak = _peaks_of_images(stream)
    known = ~np.isnan(peak)
    return float(np.median(peak[known])) if known.sum() >= MIN_IMAGES else _NAN


@_of_triggers(1)
def peak_floor(stream: Stream) -> float:
    peak = stream.stated("peak_b")[stream.first_rows]
    known = peak[~np.isnan(peak)]
    return float(np.mean(known <= signals.FLOOR_V)) if len(known) else _NAN


@_of_images
def peak_y_slope(stream: Stream) -> float:
    peak = _peaks_of_images(stream)
    known = ~np.isnan(peak)
    if known.sum() < MIN_IMAGES:
        return _NAN
    return signals.slope_over_y(peak[known], stream.y[known], stream.frame_px[1])


def _peaks_of_images(stream: Stream) -> np.ndarray:
    return stream.stated("peak_b")[stream.has_image]


# Quality


@_of_images
def lattice(stream: Stream) -> float:
    if stream.schema == "v1":
        return _NAN
    names = ("x_px", "y_px", "width_px", "height_px")
    return geometry.lattice_fraction(*(stream.of_images(name).astype(np.int64) for name in names))


@_of_triggers(2)
def trigger_gaps(stream: Stream) -> float:
    steps = np.diff(stream.columns["trigger"][stream.first_rows].astype(np.int64))
    missing = int(np.maximum(steps - 1, 0).sum())
    return missing / (missing + stream.n_triggers)
