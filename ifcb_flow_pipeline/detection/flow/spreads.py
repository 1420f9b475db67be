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
MIN_SPREAD_BINS, _MIN_SAMPLING_BINS = 5, 30

#: A value that this share of the bins have is a step in which a feature is told.
_STEP_SHARE = 0.02

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
    """Robust standard deviations over the first axis: the larger of two, as steps make one of them nothing."""
    if len(values) < MIN_SPREAD_BINS:
        return np.full(values.shape[1:], np.nan, dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without a number has no spread
        low, high = np.nanquantile(values, _SIDES, axis=0)
    return np.fmax((high - low) / _SIDES_SD, column_medians(np.abs(values - column_medians(values))) / MAD_SD)


def resolution(values: NDArray, metadata: Sequence[FeatureMetadata]) -> NDArray[np.float32]:
    """The least spread of each feature: half the step in which it is told, where it comes in steps."""
    least = np.array([_LEAST_SPREAD[feature.scale] for feature in metadata], dtype=np.float32)
    for column in range(values.shape[1]):
        found, counts = np.unique(values[np.isfinite(values[:, column]), column], return_counts=True)
        # A value that hardly ever comes may be a fault's: it tells no step.
        found = found[counts >= max(3, _STEP_SHARE * len(values))]
        if len(found) >= 2:
            least[column] = max(least[column], 0.5 * float(np.median(np.diff(found))))
    return least


def stated_least(metadata: Sequence[FeatureMetadata]) -> NDArray[np.float32]:
    """The spreads below which differences of a feature say nothing about an instrument, 0 where none is known."""
    stated = least_spreads()
    return np.array([stated.get(feature.name, 0.0) for feature in metadata], dtype=np.float32)


def range_of_centres(medians: NDArray, fleet_spread: NDArray) -> NDArray[np.float32]:
    """How far apart the instruments' centres lie; where they are too few to tell, far."""
    far = 5.0 * fleet_spread
    return (far if len(medians) < MIN_SPREAD_BINS else np.fmax(robust_spread(medians), far / 2)).astype(np.float32)


def blend(own: NDArray, other: NDArray, weight: NDArray) -> NDArray:
    """``own`` with this weight and ``other`` with the rest; the one that is known where one is not."""
    mixed = weight * own + (1.0 - weight) * other
    return np.where(np.isfinite(own), np.where(np.isfinite(other), mixed, own), other)


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
