"""Every feature, declared once: name, family, unit, meaning, what it is for, and function.

There are two sets. ``reference``: names, families and numbers are those of ifcb-flow-metric
(github.com/WHOIGit/ifcb-flow-metric; its 26 features of August 2025, and ``roi_trigger_fraction`` of its version
1.1.0), so that its feature selections and its users' habits go on working. ``full``: these and what they do not see.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, Literal

import numpy as np

from ifcb_flow_pipeline.features import measures, wholebin

FeatureSet = Literal["reference", "full"]
FEATURE_SETS: tuple[FeatureSet, ...] = ("reference", "full")

Scale = Literal["plain", "log", "logit"]
Noise = Literal["none", "mean"]
Kernel = Literal["none", "cloud", "images", "triggers"]
Role = Literal[
    "reference", "position", "spread", "stray", "stuck", "trigger", "size", "time", "velocity", "signal", "run",
    "environment", "quality", "bubbles",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Feature:
    """One number about a bin.

    ``function`` takes, for the reference set, a PointCloud of at least MIN_POINTS points and returns a finite number;
    for the others a Stream, and returns NaN where the bin does not tell. In the reference set x is divided by the
    aspect ratio before anything but edges; "px*" is the unit of the scaled x.

    ``sets``: which sets it belongs to. ``failure_mode``: what it is there to find. ``source``: where the idea or the
    definition is from. ``scale``: under which transformation it is roughly normal between healthy bins. ``noise``:
    ``mean`` where its sampling error goes with one over the root of the number of points. ``role``: what kind of
    number it is. ``kernel``: which compiled kernel gives its value under this name, of those in ``kernels`` (cloud) and
    ``stream_kernels``; what none gives, ``function`` computes for every bin.
    """

    name: str
    family: str
    unit: str
    meaning: str
    function: Callable[[Any], float]
    sets: tuple[FeatureSet, ...] = ("reference", "full")
    failure_mode: str = ""
    source: str = "ifcb-flow-metric"
    scale: Scale = "plain"
    noise: Noise = "mean"
    role: Role = "reference"
    kernel: Kernel = "none"


#: What the families of the reference set are there to find; their source says it of none.
_FOUND_BY: dict[str, str] = {
    "spatial_stats": "core moved or widened: flow speed, sheath, laser, camera; strays as well",
    "distribution_shape": "core widened or narrowed on one side: focus lost, part of it not lit",
    "clipping_detection": "lines of the camera stuck; hardly moves, for boxes lie on a lattice of 8 px",
    "histogram_uniformity": "strays, which set the outermost bars: air",
    "statistical_moments": "strays: air, debris in the flow cell",
    "pca_orientation": "camera or flow cell rotated; cloud without a direction: air",
    "edge_features": "clipping at the outermost points of the cloud, which need not be the frame's",
    "temporal": "core drifts across the flow during the run",
    "trigger_stats": "laser misaligned, out of focus, noise (fewer); a stain in every frame (more)",
}

_REFERENCE: tuple[Feature, ...] = (
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

REFERENCE = tuple(replace(feature, failure_mode=_FOUND_BY[feature.family], kernel="cloud") for feature in _REFERENCE)


_FG = "IFCB field guide (github.com/mrun0205/IFCB_FieldGuide)"
_ACQ = "github.com/robertjolson/ifcb-acq"
_IRFCB = "iRfcb (github.com/EuropeanIFCBGroup/iRfcb)"
_OWN = "this project"


def _full(
    role: Role,
    name: str,
    unit: str,
    meaning: str,
    function: Callable[[Any], float],
    failure_mode: str,
    source: str = _OWN,
    scale: Scale = "plain",
    noise: Noise = "mean",
    kernel: Kernel = "none",
) -> Feature:
    family = _FAMILIES[role]
    return Feature(name, family, unit, meaning, function, ("full",), failure_mode, source, scale, noise, role, kernel)


#: Family, as selections of features name it, of each role.
_FAMILIES: dict[Role, str] = {
    "position": "core_position", "spread": "core_spread", "stray": "strays", "stuck": "stuck_boxes",
    "trigger": "triggers", "size": "sizes", "time": "time_structure", "velocity": "velocity", "signal": "signals",
    "run": "run", "environment": "environment", "quality": "data_quality",
    "bubbles": "bubbles",
}  # fmt: skip

FULL_ONLY: tuple[Feature, ...] = (
    _full(
        "position", "core_x_px", "px", "centre of the core along the flow, at the middle of its height",
        wholebin.core_x, "flow speed, sheath pump, laser or camera moved", _OWN, "plain", "mean", "images",
    ),
    _full(
        "position", "core_tilt", "px/px", "slope of the core: px along the flow per px across it",
        wholebin.core_tilt, "camera or flow cell rotated", _FG, "plain", "mean", "images",
    ),
    _full(
        "position", "core_bend_px", "px", "how far the core has left its tangent half a frame away",
        wholebin.core_bend, "deformed sheath flow, obstruction at the needle", _OWN, "plain", "mean", "images",
    ),
    _full(
        "spread", "core_width_px", "px", "robust standard deviation of centres about the line of the core",
        wholebin.core_width, "hydrodynamic focus lost, weak sheath", _FG, "log", "mean", "images",
    ),
    _full(
        "spread", "core_asymmetry", "", "how much farther the core reaches upstream than downstream; -1 to 1",
        wholebin.core_asymmetry, "obstruction on one side, changed flash delay", _OWN, "plain", "mean", "images",
    ),
    _full(
        "spread", "cross_low_px", "px", "5 % quantile of centres across the flow",
        wholebin.cross_low, "part of the core not lit, sheath off centre", _OWN, "plain", "mean", "images",
    ),
    _full(
        "spread", "cross_high_px", "px", "95 % quantile of centres across the flow",
        wholebin.cross_high, "part of the core not lit, sheath off centre", _OWN, "plain", "mean", "images",
    ),
    _full(
        "spread", "cross_range_px", "px", "distance of these two quantiles",
        wholebin.cross_range, "part of the core not lit; focus lost", _OWN, "log", "mean", "images",
    ),
    _full(
        "stray", "stray_fraction", "fraction", "images off the core by more than 60 px",
        wholebin.stray_fraction, "air, bubbles", _FG, "logit", "mean", "images",
    ),
    _full(
        "stray", "stray_left_fraction", "fraction", "images off the core, downstream (left)",
        wholebin.stray_left, "air, debris in the flow cell", _FG, "logit", "mean", "images",
    ),
    _full(
        "stray", "stray_right_fraction", "fraction", "images off the core, upstream (right)",
        wholebin.stray_right, "air, debris in the flow cell", _FG, "logit", "mean", "images",
    ),
    _full(
        "stray", "stray_spread", "", "how evenly these fill the frame: 1 evenly, 0 all at one place",
        wholebin.stray_spread, "air (evenly) or a stain (at one place)", _FG, "plain", "mean", "images",
    ),
    _full(
        "stray", "edge_touch_fraction", "fraction", "images that touch the edge of the frame",
        wholebin.edge_touch, "clipping, air, large bubbles", _ACQ, "logit", "mean", "images",
    ),
    _full(
        "stray", "full_width_fraction", "fraction", "images at least nine tenths as wide as the frame",
        wholebin.full_width, "lines dropped by the camera, bubbles", _OWN, "logit", "mean", "images",
    ),
    _full(
        "stray", "out_of_frame_fraction", "fraction", "images that reach beyond the frame",
        wholebin.out_of_frame, "another camera than expected, damaged file", _OWN, "logit", "none", "images",
    ),
    _full(
        "stuck", "repeat_fraction", "fraction", "images with the most frequent box, within 8 px",
        wholebin.repeat_fraction, "stain or debris on the flow cell, seen again and again", _FG, "logit", "mean",
        "images",
    ),
    _full(
        "stuck", "repeat_anchor_fraction", "fraction", "images with the most frequent corner of a box, within 8 px",
        wholebin.repeat_anchor, "stain that merges with passing particles", _FG, "logit", "mean", "images",
    ),
    _full(
        "stuck", "hot_cell_fraction", "fraction", "images in the fullest cell of 32 px off the core",
        wholebin.hot_cell, "stain, bubble that sits still", _FG, "logit", "mean", "images",
    ),
    _full(
        "trigger", "no_image_fraction", "fraction", "triggers without an image",
        wholebin.no_image, "laser misaligned, out of focus, noise", "Trautman, IFCB_QC_share.m", "logit", "mean",
        "triggers",
    ),
    _full(
        "trigger", "multi_image_fraction", "fraction", "triggers with more than one image",
        wholebin.multi_image, "stain seen in every frame, debris", _FG, "logit", "mean", "triggers",
    ),
    _full(
        "trigger", "images_per_trigger", "", "images per trigger",
        wholebin.images_per_trigger, "stain (more), misalignment (fewer)", "Trautman, IFCB_QC_share.m", "plain", "mean",
        "triggers",
    ),
    _full(
        "trigger", "trigger_rate_hz", "Hz", "triggers per second of the run",
        attrgetter("run.trigger_rate_hz"), "noise triggering, clog; also blooms", _OWN, "log", "mean",
    ),
    _full(
        "trigger", "no_image_burst", "", "correlation of being without an image between a trigger and the next",
        wholebin.no_image_burst, "noise triggering in bursts, air passing", _OWN, "plain", "mean", "triggers",
    ),
    _full(
        "trigger", "blind_fraction", "fraction", "part of the run in which triggers went on but no image came",
        wholebin.blind_fraction, "camera, flash or laser fails for a while", _OWN, "logit", "mean", "triggers",
    ),
    _full(
        "trigger", "longest_blind_s", "s", "longest time in which triggers went on but no image came",
        wholebin.longest_blind, "camera, flash or laser fails for a while", _OWN, "plain", "none", "triggers",
    ),
    _full(
        "size", "width_median_px", "px", "median width of images",
        wholebin.width_median, "out of focus, beads", _IRFCB, "log", "mean", "images",
    ),
    _full(
        "size", "width_p95_px", "px", "95 % quantile of the width",
        wholebin.width_p95, "bubbles, out of focus", _OWN, "log", "mean", "images",
    ),
    _full(
        "size", "height_median_px", "px", "median height",
        wholebin.height_median, "out of focus, beads", _OWN, "log", "mean", "images",
    ),
    _full(
        "size", "area_p10_px2", "px^2", "10 % quantile of the area of boxes",
        wholebin.area_p10, "out of focus: small ones are lost", _OWN, "log", "mean", "images",
    ),
    _full(
        "size", "area_median_px2", "px^2", "median area of boxes",
        wholebin.area_median, "out of focus, beads", _OWN, "log", "mean", "images",
    ),
    _full(
        "size", "large_fraction", "fraction", "images more than 300 px wide",
        wholebin.large_fraction, "bubbles", "kudelalab/PSD", "logit", "mean", "images",
    ),
    _full(
        "size", "size_spread", "", "robust standard deviation of the log of the area of boxes",
        wholebin.size_spread, "beads: all of one size", "kudelalab/PSD", "log", "mean", "images",
    ),
    _full(
        "bubbles", "bubble_fraction", "fraction",
        "images at least 150 px wide and high that are round, less those that are so by chance",
        wholebin.bubble_fraction, "bubbles", "kudelalab/PSD", "logit", "mean", "images",
    ),
    _full(
        "time", "time_uniformity", "", "distance of triggers from being even in time, less what chance gives",
        wholebin.time_uniformity, "clog, air passing, aborted run", _FG, "plain", "mean", "triggers",
    ),
    _full(
        "time", "longest_gap_fraction", "fraction", "longest part of the run without a trigger, less what chance gives",
        wholebin.longest_gap, "clog, acquisition halted", _FG, "plain", "mean", "triggers",
    ),
    _full(
        "time", "rate_change", "", "log of the trigger rate after over before the moment that parts the run best",
        wholebin.rate_change, "clog or surge part-way", _FG, "plain", "mean", "triggers",
    ),
    _full(
        "time", "drift_x_px", "px", "change of the core along the flow at the moment that parts the run best",
        wholebin.drift_x, "flow speed changes during the run", _OWN, "plain", "mean", "images",
    ),
    _full(
        "time", "drift_y_px", "px", "change of the core across the flow at the moment that parts the run best",
        wholebin.drift_y, "sheath moves during the run", _OWN, "plain", "mean", "images",
    ),
    _full(
        "time", "dead_time_s", "s", "median blind time per trigger",
        wholebin.dead_time, "acquisition computer too slow, damaged file", _ACQ, "plain", "none", "triggers",
    ),
    _full(
        "time", "time_backward_fraction", "fraction", "steps back in time between triggers",
        wholebin.time_backward, "clock jump, repeated block of rows", "pyifcb", "plain", "none", "triggers",
    ),
    _full(
        "velocity", "flight_time_us", "us", "median time of flight through the laser beam",
        wholebin.flight_time, "flow speed, sheath pump", _FG, "log", "mean", "images",
    ),
    _full(
        "velocity", "flight_spread", "", "robust relative spread of the time of flight",
        wholebin.flight_spread, "unsteady flow, focus lost", _OWN, "log", "mean", "images",
    ),
    _full(
        "signal", "peak_median_v", "V", "median peak of the fluorescence signal, of images",
        wholebin.peak_median, "laser misaligned or weak, photomultiplier", _OWN, "log", "mean", "images",
    ),
    _full(
        "signal", "peak_floor_fraction", "fraction", "triggers whose fluorescence peak is at the noise floor",
        wholebin.peak_floor, "noise triggering", _OWN, "logit", "mean", "triggers",
    ),
    _full(
        "signal", "peak_y_slope", "", "change of the log of that peak from the top of the frame to its bottom",
        wholebin.peak_y_slope, "laser lights part of the core", _OWN, "plain", "mean", "images",
    ),
    _full(
        "run", "run_time_s", "s", "length of the run",
        attrgetter("run.run_time_s"), "aborted run", _IRFCB, "plain", "none",
    ),
    _full(
        "run", "run_time_ratio", "", "length of the run over that which the settings promise",
        attrgetter("run.run_time_ratio"), "aborted run", _ACQ, "plain", "none",
    ),
    _full(
        "run", "volume_ml", "mL", "volume looked at",
        attrgetter("run.volume_ml"), "incomplete run, syringe failure", "pyifcb", "plain", "none",
    ),
    _full(
        "run", "volume_ratio", "", "volume looked at over that which the settings promise",
        attrgetter("run.volume_ratio"), "incomplete run, damaged times; small in blooms, too", _IRFCB, "plain", "none",
    ),
    _full(
        "run", "inhibit_fraction", "fraction", "part of the run in which the instrument was blind",
        attrgetter("run.inhibit_fraction"), "noise triggering, too slow a computer; also blooms", _OWN, "logit", "none",
    ),
    _full(
        "run", "image_count_mismatch", "",
        "images in the ADC file over those that the header counts, less 1; 0 where damaged lines may be the rest",
        attrgetter("run.image_count_mismatch"), "damaged or cut file", _IRFCB, "plain", "none",
    ),
    _full(
        "run", "run_time_mismatch", "",
        "by which part the run is longer (negative: shorter) in the ADC file than in the header, of the longer one",
        attrgetter("run.run_time_mismatch"), "damaged or cut file", _IRFCB, "plain", "none",
    ),
    _full(
        "run", "n_triggers", "", "triggers",
        attrgetter("run.n_triggers"), "empty bin, noise triggering; also blooms", _IRFCB, "log", "none",
    ),
    _full(
        "environment", "temperature_c", "°C", "temperature inside the housing",
        attrgetter("run.temperature_c"), "overheating", _FG, "plain", "none",
    ),
    _full(
        "environment", "humidity_pct", "%", "relative humidity inside the housing",
        attrgetter("run.humidity_pct"), "leak", _FG, "plain", "none",
    ),
    _full(
        "quality", "lattice_fraction", "fraction", "images whose box lies on the lattice of 8 px",
        wholebin.lattice, "damaged file, other software", _ACQ, "plain", "none", "images",
    ),
    _full(
        "quality", "bad_line_fraction", "fraction", "ADC lines that cannot be used",
        attrgetter("run.bad_line_fraction"), "damaged or cut file", _OWN, "plain", "none",
    ),
    _full(
        "quality", "trigger_gap_fraction", "fraction", "trigger numbers that are missing",
        wholebin.trigger_gaps, "lines lost while writing", _ACQ, "plain", "none", "triggers",
    ),
    # What header and files show of themselves
    _full(
        "quality", "header_adc_mismatch", "fraction",
        "part of the run by which the header is off, in run or blind time, where the ADC file contradicts it",
        attrgetter("run.header_adc_mismatch"), "header with wrong times: none, or some times too long", "pyifcb",
        "plain", "none",
    ),
    _full(
        "quality", "dead_signal_fraction", "fraction",
        "recorded signals (pmt_a to peak_d) that have the same number in all rows",
        attrgetter("quality.dead_signal_fraction"), "photomultiplier or its board is off", _OWN, "plain", "none",
    ),
    _full(
        "quality", "time_still_fraction", "fraction", "triggers at the very time of the trigger before",
        attrgetter("quality.time_still_fraction"), "clock that stands still, repeated rows", _OWN, "plain", "none",
    ),
    _full(
        "quality", "start_byte_gap_fraction", "fraction",
        "images that do not start in the .roi file where the image before ends",
        attrgetter("quality.start_byte_gap_fraction"), "lost or repeated rows, images of another run", _OWN,
        "plain", "none",
    ),
)  # fmt: skip

CATALOGUE: tuple[Feature, ...] = REFERENCE + FULL_ONLY

#: The features of the reference set, in the order of ifcb-flow-metric.
FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in REFERENCE)

#: All features: those of the set ``full``.
FULL_FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in CATALOGUE)


#: The features that each kernel gives, in the order of the catalogue.
KERNEL_FEATURES: dict[Kernel, tuple[str, ...]] = {
    kernel: tuple(feature.name for feature in CATALOGUE if feature.kernel == kernel)
    for kernel in ("cloud", "images", "triggers")
}


def names_of(feature_set: FeatureSet) -> tuple[str, ...]:
    """The names of the features of a set, in the order of the catalogue."""
    return tuple(feature.name for feature in CATALOGUE if feature_set in feature.sets)


#: A cloud of fewer points gets no features: their spread would say more about chance than about the flow.
MIN_POINTS = 30
