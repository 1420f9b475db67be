"""What features measure, where it takes more than a look at a shared intermediate result.

Each function takes arrays of shape (n,), n >= 1, and returns one finite number. This is the plain, obvious
form of each definition: faster forms are held equal to it by tests.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ifcb_flow_pipeline.features.cloud import PointCloud

#: Added to both spreads, and to the second share of variance, so that a ratio always exists.
EPSILON = 1e-8

#: How near to the cloud's own extreme a point counts as at its edge, in px.
EDGE_TOLERANCE_PX = 3

#: Number of bars in the histogram whose evenness is measured.
HISTOGRAM_BARS = 10

#: Length of the rolling mean, in points.
ROLLING_POINTS = 10


def ratio_spread(cloud: PointCloud) -> float:
    """Interquartile range of y over that of x."""
    return float((_iqr(cloud.quartiles_y) + EPSILON) / (_iqr(cloud.quartiles_x) + EPSILON))


def core_fraction(cloud: PointCloud) -> float:
    """Share of points inside both interquartile ranges, bounds included."""
    (x1, _, x3), (y1, _, y3) = cloud.quartiles_x, cloud.quartiles_y
    inside = (cloud.x >= x1) & (cloud.x <= x3) & (cloud.y >= y1) & (cloud.y <= y3)
    return float(inside.mean())


def duplicate_fraction(cloud: PointCloud) -> float:
    """Share of points whose y occurs more than once."""
    counts = cloud.y_counts
    return float(counts[counts > 1].sum() / len(cloud.y_px))


def max_duplicate_fraction(cloud: PointCloud) -> float:
    """Share of points that have the most frequent y."""
    return float(cloud.y_counts.max() / len(cloud.y_px))


def histogram_variation(values: NDArray[np.float64]) -> float:
    """Population standard deviation over mean of the bars between the smallest and the largest value."""
    counts, _ = np.histogram(values, bins=HISTOGRAM_BARS)
    return float(counts.std() / counts.mean())


def low_edge_fraction(values: NDArray) -> float:
    """Share of values within the tolerance of the smallest."""
    # As Python numbers: in the int16 of files, the sum may not fit.
    return float(np.mean(values <= values.min().item() + EDGE_TOLERANCE_PX))


def high_edge_fraction(values: NDArray) -> float:
    """Share of values within the tolerance of the largest."""
    return float(np.mean(values >= values.max().item() - EDGE_TOLERANCE_PX))


def total_edge_fraction(cloud: PointCloud) -> float:
    """Sum of the four edge shares; a point in a corner counts twice."""
    return sum(side(values) for values in (cloud.x_px, cloud.y_px) for side in (low_edge_fraction, high_edge_fraction))


def eigen_ratio(cloud: PointCloud) -> float:
    """Share of variance along the first principal axis over that along the second."""
    return cloud.principal.first_share / (cloud.principal.second_share + EPSILON)


def rolling_mean_variance(values: NDArray[np.float64]) -> float:
    """Sample variance of the rolling mean, over complete windows; 0 where there are fewer than two."""
    if len(values) <= ROLLING_POINTS:
        return 0.0
    return float(sliding_window_view(values, ROLLING_POINTS).mean(axis=1).var(ddof=1))


def _iqr(quartiles: NDArray[np.float64]) -> float:
    return float(quartiles[2] - quartiles[0])
