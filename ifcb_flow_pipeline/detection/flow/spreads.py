"""Centres and spreads of features over bins: medians, robust standard deviations, and the least that counts."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.verdict.rules import least_spreads

#: Two quantiles whose distance tells a spread, a share of faulty bins on one side notwithstanding, and that distance
#: for a normal distribution in standard deviations.
_SIDES, _SIDES_SD = (0.15, 0.85), 2.0729

#: The median distance from the median of a normal distribution, in standard deviations.
MAD_SD = 0.6745

#: Fewer bins have no spread worth naming; fewer of few or many points do not tell what sampling does.
_MIN_SPREAD_BINS, _MIN_SAMPLING_BINS = 5, 30

#: A value that this share of the bins have is a step in which a feature is reported.
_STEP_SHARE = 0.02

#: No spread is smaller than this, on the feature's scale: rounding, and a per cent of a positive number.
_LEAST_SPREAD = {"plain": 1e-6, "log": 0.01, "logit": 1e-3}


def column_medians(values: NDArray) -> NDArray[np.float32]:
    """Medians over the first axis, NaN left out and where there is nothing else (faster than nanmedian)."""
    if not len(values):
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    ordered = np.sort(values, axis=0)  # NaN comes last
    count = np.isfinite(values).sum(axis=0)[None]
    low = np.take_along_axis(ordered, np.maximum((count - 1) // 2, 0), axis=0)[0]
    high = np.take_along_axis(ordered, np.minimum(count // 2, len(values) - 1), axis=0)[0]
    return np.where(count[0] > 0, (low + high) / 2, np.nan).astype(np.float32)


def robust_spread(values: NDArray) -> NDArray[np.float32]:
    """Robust standard deviations over the first axis: the larger of two, as steps make one of them nothing.

    NaN where there are fewer than _MIN_SPREAD_BINS bins, or none with a number.
    """
    if len(values) < _MIN_SPREAD_BINS:
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without a number has no spread
        low, high = np.nanquantile(values, _SIDES, axis=0)
    by_sides = (high - low) / _SIDES_SD
    return np.fmax(by_sides, column_medians(np.abs(values - column_medians(values))) / MAD_SD).astype(np.float32)


def least_spread(values: NDArray, metadata: Sequence[FeatureMetadata]) -> NDArray[np.float32]:
    """The spread of each feature below which differences say nothing, shape (d,).

    Half the step in which it is reported, where it comes in steps; and what ``rules.yaml`` states of it.
    ``values`` (n, d): of healthy bins.
    """
    stated = least_spreads()
    least = np.array([_LEAST_SPREAD[feature.scale] for feature in metadata], dtype=np.float32)
    for column, feature in enumerate(metadata):
        found, counts = np.unique(values[np.isfinite(values[:, column]), column], return_counts=True)
        # A value that hardly ever comes may be a fault's: it tells no step.
        found = found[counts >= max(3, _STEP_SHARE * len(values))]
        step = 0.5 * float(np.median(np.diff(found))) if len(found) >= 2 else 0.0
        least[column] = max(least[column], step, stated.get(feature.name, 0.0))
    return least


def sampling_share(z: NDArray, thinner: NDArray, metadata: Sequence[FeatureMetadata]) -> NDArray[np.float32]:
    """Which share of the features' variance goes with 1 / points, from bins with few and with many points.

    ``z``: shape (n, d), in spreads; ``thinner`` (n,): the usual number of points over the bin's.
    """
    share = np.array([0.5 if feature.noise == "mean" else 0.0 for feature in metadata], dtype=np.float32)
    low, high = np.quantile(thinner, (1 / 3, 2 / 3))
    dense, sparse = thinner <= low, thinner >= high
    u, v = np.median(thinner[dense]), np.median(thinner[sparse])
    if v < 1.5 * u or min(dense.sum(), sparse.sum()) < _MIN_SAMPLING_BINS:
        return share  # all bins have about as many points: nothing to tell the two parts apart
    ratio = (robust_spread(z[sparse]) / np.maximum(robust_spread(z[dense]), 1e-3)) ** 2
    # The variance is 1 - s + s * thinner, of which the ratio is seen.
    found = (ratio - 1.0) / np.maximum((v - 1.0) - ratio * (u - 1.0), 1e-3)
    return np.where(share > 0, np.clip(np.nan_to_num(found, nan=0.5), 0.1, 1.0), 0.0).astype(np.float32)
