"""The catalogue's features for whole pixels, compiled: the same definitions, a great deal faster.

What a feature means is declared in the catalogue, and its functions are the reference that tests hold these
kernels to. Whole pixels take few distinct values, so that sorting is counting, and what has to be computed of
``x / aspect ratio`` is computed once per distinct value.

Counts, fractions, quartiles and what follows from them alone are equal to the reference to the last bit.
Means, moments, the principal axis and the rolling mean are equal to 1e-12 of their size (skewness and excess
kurtosis: of 1 where they are smaller), for their sums are added up in another order. Less can be had where double
precision does not define more: moments of a cloud whose spread is far smaller than its distance from zero, the
ratio to a second axis without length (1e-7), and the direction of a cloud that has hardly any.

Import this module only where a kernel is about to run: it loads numba.
"""

import math
from collections import namedtuple
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.features.catalogue import KERNEL_FEATURES
from ifcb_flow_pipeline.features.measures import EDGE_TOLERANCE_PX, EPSILON, HISTOGRAM_BARS, ROLLING_POINTS

#: More points might overflow the sums of whole numbers: squares of rolling sums take 40 bits each.
MAX_POINTS = 1_000_000

#: The features of one cloud. All are numbers.
CloudFeatures = namedtuple("CloudFeatures", KERNEL_FEATURES["cloud"])


class _Axis(NamedTuple):
    """One coordinate of a cloud of n points.

    Per distinct value, ascending, shape (distinct values,): ``pixels`` as the file states them, ``values``
    divided by the aspect ratio, ``counts`` of points, and how many points lie ``upto`` it. ``total`` is the
    sum of the pixels of all points.
    """

    pixels: NDArray[np.int64]
    values: NDArray[np.float64]
    counts: NDArray[np.int64]
    upto: NDArray[np.int64]
    total: int


class _Moments(NamedTuple):
    """Mean, population variance, skewness and excess kurtosis."""

    mean: float
    variance: float
    skewness: float
    kurtosis: float


class _Quartiles(NamedTuple):
    """25 %, 50 % and 75 % quantiles."""

    first: float
    median: float
    third: float


class _Points(NamedTuple):
    """The points that have an image, in file order, each of shape (images,)."""

    x_px: NDArray[np.int16]
    y_px: NDArray[np.int16]


@kernel
def points_with_image(
    x_px: NDArray[np.int16], y_px: NDArray[np.int16], width_px: NDArray[np.int16], height_px: NDArray[np.int16]
) -> _Points:
    """The positions of the rows whose width and height are above zero. All arrays have the same shape (n,)."""
    x, y = np.empty_like(x_px), np.empty_like(y_px)
    n = 0
    for i in range(len(x_px)):
        # Written always, counted where it has an image: a branch here could not be foreseen.
        x[n], y[n] = x_px[i], y_px[i]
        n += (width_px[i] > 0) & (height_px[i] > 0)
    return _Points(x[:n], y[:n])


@kernel
def cloud_features(
    x_px: NDArray[np.int16], y_px: NDArray[np.int16], n_rows: int, n_images: int, aspect_ratio: float
) -> CloudFeatures:
    """All features of a cloud as PointCloud describes it; 2 <= n <= MAX_POINTS points of shape (n,) each."""
    x, y = _axis(x_px, aspect_ratio), _axis(y_px, 1.0)
    moments_x, moments_y = _moments(x, aspect_ratio), _moments(y, 1.0)
    quartiles_x, quartiles_y = _quartiles(x), _quartiles(y)
    iqr_x, iqr_y = quartiles_x.third - quartiles_x.first, quartiles_y.third - quartiles_y.first
    covariance = _covariance(x_px, y_px, x.total, y.total) / aspect_ratio
    angle, eigen_ratio = _principal_axis(moments_x.variance, moments_y.variance, covariance)
    left, right, top, bottom = _low_edge(x), _high_edge(x), _low_edge(y), _high_edge(y)
    duplicates, largest = _duplicates(y.counts)
    n = len(x_px)
    return CloudFeatures(
        mean_x=moments_x.mean,
        mean_y=moments_y.mean,
        std_x=math.sqrt(moments_x.variance),
        std_y=math.sqrt(moments_y.variance),
        median_x=quartiles_x.median,
        median_y=quartiles_y.median,
        iqr_x=iqr_x,
        iqr_y=iqr_y,
        ratio_spread=(iqr_y + EPSILON) / (iqr_x + EPSILON),
        core_fraction=_points_inside(x_px, y_px, _core(x, quartiles_x), _core(y, quartiles_y)) / n,
        duplicate_fraction=duplicates / n,
        max_duplicate_fraction=largest / n,
        cv_x=_unevenness(_bars(x)),
        cv_y=_unevenness(_bars(y)),
        skew_x=moments_x.skewness,
        skew_y=moments_y.skewness,
        kurt_x=moments_x.kurtosis,
        kurt_y=moments_y.kurtosis,
        angle=angle,
        eigen_ratio=eigen_ratio,
        left_edge_fraction=left / n,
        right_edge_fraction=right / n,
        top_edge_fraction=top / n,
        bottom_edge_fraction=bottom / n,
        total_edge_fraction=left / n + right / n + top / n + bottom / n,
        t_y_var=_rolling_mean_variance(y_px, y.total),
        roi_trigger_fraction=n_images / n_rows,
    )


@part
def _axis(pixels, aspect_ratio):
    low, high, total = int(pixels[0]), int(pixels[0]), 0
    for i in range(len(pixels)):
        pixel = int(pixels[i])
        low, high = min(low, pixel), max(high, pixel)
        total += pixel
    counts = np.zeros(high - low + 1, np.int64)
    for i in range(len(pixels)):
        counts[pixels[i] - low] += 1
    distinct = np.flatnonzero(counts)
    counts = counts[distinct]
    distinct += low
    return _Axis(distinct, distinct / aspect_ratio, counts, np.cumsum(counts), total)


@part
def _moments(axis, aspect_ratio):
    values, counts, n = axis.values, axis.counts, axis.upto[-1]
    if len(values) == 1:
        return _Moments(values[0], 0.0, 0.0, 0.0)
    mean = axis.total / n / aspect_ratio
    variance = 0.0
    for i in range(len(values)):
        variance += counts[i] * (values[i] - mean) ** 2
    variance /= n
    deviation = math.sqrt(variance)
    third, fourth = 0.0, 0.0
    for i in range(len(values)):
        scaled = (values[i] - mean) / deviation
        cubed = counts[i] * scaled * scaled * scaled
        third += cubed
        fourth += cubed * scaled
    return _Moments(mean, variance, third / n, fourth / n - 3.0)


@part
def _quartiles(axis):
    return _Quartiles(_quantile(axis, 0.25), _quantile(axis, 0.5), _quantile(axis, 0.75))


@part
def _quantile(axis, fraction):
    # As np.quantile has it, to the last bit: it counts from the nearer of the two neighbours.
    rank = (axis.upto[-1] - 1) * fraction
    before = math.floor(rank)
    weight = rank - before
    low = axis.values[np.searchsorted(axis.upto, before, side="right")]
    high = axis.values[np.searchsorted(axis.upto, before + 1, side="right")]
    if weight >= 0.5:
        return high - (high - low) * (1.0 - weight)
    return low + (high - low) * weight


@part
def _core(axis, quartiles):
    """The lowest and the highest pixel within the quartiles, bounds included; the wrong way round if none is."""
    first = np.searchsorted(axis.values, quartiles.first, side="left")
    last = np.searchsorted(axis.values, quartiles.third, side="right") - 1
    return axis.pixels[first], axis.pixels[last]


@part
def _points_inside(x_px, y_px, bounds_x, bounds_y):
    (x_low, x_high), (y_low, y_high) = bounds_x, bounds_y
    inside = 0
    for i in range(len(x_px)):
        x, y = x_px[i], y_px[i]
        inside += (x >= x_low) & (x <= x_high) & (y >= y_low) & (y <= y_high)
    return inside


@part
def _duplicates(counts):
    """How many points share their value, and how many have the most frequent one."""
    shared, largest = 0, 0
    for count in counts:
        if count > 1:
            shared += count
        largest = max(largest, count)
    return shared, largest


@part
def _bars(axis):
    # As np.histogram has it, to the last bit: it too holds values against these very borders in the end.
    values = axis.values
    first, last = values[0], values[-1]
    if first == last:
        first, last = first - 0.5, last + 0.5
    borders = np.arange(HISTOGRAM_BARS + 1) * ((last - first) / HISTOGRAM_BARS) + first
    bars = np.empty(HISTOGRAM_BARS, np.int64)
    counted = 0
    for bar in range(HISTOGRAM_BARS - 1):
        smaller = np.searchsorted(values, borders[bar + 1], side="left")
        below = axis.upto[smaller - 1] if smaller > 0 else 0
        bars[bar] = below - counted
        counted = below
    bars[-1] = axis.upto[-1] - counted
    return bars


@part
def _unevenness(bars):
    mean = bars.sum() / len(bars)
    squares = (bars - mean) ** 2
    # NumPy adds eight numbers in pairs and the others after them; in another order the last bit differs.
    total = (squares[0] + squares[1]) + (squares[2] + squares[3])
    total += (squares[4] + squares[5]) + (squares[6] + squares[7])
    for square in squares[8:]:
        total += square
    return math.sqrt(total / len(bars)) / mean


@part
def _low_edge(axis):
    return axis.upto[np.searchsorted(axis.pixels, axis.pixels[0] + EDGE_TOLERANCE_PX, side="right") - 1]


@part
def _high_edge(axis):
    first = np.searchsorted(axis.pixels, axis.pixels[-1] - EDGE_TOLERANCE_PX, side="left")
    return axis.upto[-1] - axis.upto[first] + axis.counts[first]


@part
def _covariance(x_px, y_px, x_total, y_total):
    """The population covariance in px^2; its sums are whole numbers about a whole number, and exact."""
    n = len(x_px)
    x_middle, y_middle = x_total // n, y_total // n
    products = 0
    for i in range(n):
        products += (x_px[i] - x_middle) * (y_px[i] - y_middle)
    return (products - (x_total - n * x_middle) * (y_total - n * y_middle) / n) / n


@part
def _principal_axis(variance_x, variance_y, covariance):
    """Angle and ratio of the shares of variance, as PrincipalAxes defines them."""
    total = variance_x + variance_y
    if total <= 0:
        return 0.0, 0.5 / (0.5 + EPSILON)
    half_difference = (variance_x - variance_y) / 2
    radius = math.hypot(half_difference, covariance)
    largest = total / 2 + radius
    smallest = max((variance_x * variance_y - covariance * covariance) / largest, 0.0)
    angle = 0.5 * math.atan2(covariance, half_difference) if radius > 0 else 0.0
    if angle < -math.pi / 4:
        angle += math.pi
    return angle, (largest / total) / (smallest / total + EPSILON)


@part
def _rolling_mean_variance(y_px, y_total):
    """Sample variance of the rolling mean; the rolling sums are whole numbers, so are those of their squares."""
    windows = len(y_px) - ROLLING_POINTS + 1
    if windows < 2:
        return 0.0
    middle = y_total * ROLLING_POINTS // len(y_px)
    rolling = -middle
    for i in range(ROLLING_POINTS):
        rolling += y_px[i]
    total, squares = rolling, rolling * rolling
    for i in range(ROLLING_POINTS, len(y_px)):
        rolling += int(y_px[i]) - int(y_px[i - ROLLING_POINTS])
        total += rolling
        squares += rolling * rolling
    return (squares - float(total) * float(total) / windows) / (windows - 1) / ROLLING_POINTS**2
