"""Every feature, declared once: name, family, unit, meaning and function.

Names, families and numbers are those of ifcb-flow-metric (github.com/WHOIGit/ifcb-flow-metric; its 26
features of August 2025, and ``roi_trigger_fraction`` of its version 1.1.0), so that its feature
selections and its users' habits go on working.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ifcb_flow_pipeline.features import measures
from ifcb_flow_pipeline.features.cloud import PointCloud


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a point cloud.

    ``function`` takes a cloud of at least MIN_POINTS points and returns a finite number. x is divided by
    the aspect ratio before anything but edges; "px*" is the unit of the scaled x.
    """

    name: str
    family: str
    unit: str
    meaning: str
    function: Callable[[PointCloud], float]


CATALOGUE: tuple[Feature, ...] = (
    Feature("mean_x", "spatial_stats", "px*", "mean of x", lambda c: c.moments_x.mean),
    Feature("mean_y", "spatial_stats", "px", "mean of y", lambda c: c.moments_y.mean),
    Feature("std_x", "spatial_stats", "px*", "standard deviation of x", lambda c: np.sqrt(c.moments_x.variance)),
    Feature("std_y", "spatial_stats", "px", "standard deviation of y", lambda c: np.sqrt(c.moments_y.variance)),
    Feature("median_x", "spatial_stats", "px*", "median of x", lambda c: c.quartiles_x[1]),
    Feature("median_y", "spatial_stats", "px", "median of y", lambda c: c.quartiles_y[1]),
    Feature("iqr_x", "spatial_stats", "px*", "interquartile range of x", lambda c: c.quartiles_x[2] - c.quartiles_x[0]),
    Feature("iqr_y", "spatial_stats", "px", "interquartile range of y", lambda c: c.quartiles_y[2] - c.quartiles_y[0]),
    Feature("ratio_spread", "distribution_shape", "", "interquartile range of y over that of x", measures.ratio_spread),
    Feature(
        "core_fraction", "distribution_shape", "fraction", "points inside both interquartile ranges",
        measures.core_fraction,
    ),
    Feature(
        "duplicate_fraction", "clipping_detection", "fraction", "points whose y occurs more than once",
        measures.duplicate_fraction,
    ),
    Feature(
        "max_duplicate_fraction", "clipping_detection", "fraction", "points that have the most frequent y",
        measures.max_duplicate_fraction,
    ),
    Feature(
        "cv_x", "histogram_uniformity", "", "unevenness of x over ten bars between its extremes",
        lambda c: measures.histogram_variation(c.x),
    ),
    Feature(
        "cv_y", "histogram_uniformity", "", "unevenness of y over ten bars between its extremes",
        lambda c: measures.histogram_variation(c.y),
    ),
    Feature("skew_x", "statistical_moments", "", "skewness of x", lambda c: c.moments_x.skewness),
    Feature("skew_y", "statistical_moments", "", "skewness of y", lambda c: c.moments_y.skewness),
    Feature("kurt_x", "statistical_moments", "", "excess kurtosis of x", lambda c: c.moments_x.kurtosis),
    Feature("kurt_y", "statistical_moments", "", "excess kurtosis of y", lambda c: c.moments_y.kurtosis),
    Feature("angle", "pca_orientation", "rad", "direction of the first principal axis", lambda c: c.principal.angle),
    Feature(
        "eigen_ratio", "pca_orientation", "", "variance along the first principal axis over that along the second",
        measures.eigen_ratio,
    ),
    Feature(
        "left_edge_fraction", "edge_features", "fraction", "points within 3 px of the smallest x",
        lambda c: measures.low_edge_fraction(c.x_px),
    ),
    Feature(
        "right_edge_fraction", "edge_features", "fraction", "points within 3 px of the largest x",
        lambda c: measures.high_edge_fraction(c.x_px),
    ),
    Feature(
        "top_edge_fraction", "edge_features", "fraction", "points within 3 px of the smallest y",
        lambda c: measures.low_edge_fraction(c.y_px),
    ),
    Feature(
        "bottom_edge_fraction", "edge_features", "fraction", "points within 3 px of the largest y",
        lambda c: measures.high_edge_fraction(c.y_px),
    ),
    Feature("total_edge_fraction", "edge_features", "fraction", "sum of the four edges", measures.total_edge_fraction),
    Feature(
        "t_y_var", "temporal", "px^2", "variance of the rolling mean (10 points) of y in file order",
        lambda c: measures.rolling_mean_variance(c.y),
    ),
    Feature(
        "roi_trigger_fraction", "trigger_stats", "fraction", "ADC lines that have an image",
        lambda c: c.n_images / c.n_rows,
    ),
)  # fmt: skip

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)

#: A cloud of fewer points gets no features: their spread would say more about chance than about the flow.
MIN_POINTS = 30
