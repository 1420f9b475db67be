"""Centres and spreads: as numpy's where that is slow, as simulated where something is estimated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.spreads import (
    column_medians,
    least_spread,
    robust_spread,
    sampling_share,
)
from ifcb_flow_pipeline.detection.verdict.rules import least_spreads

#: As documented. They are not imported: a threshold that moved would move its own test.
LEAST_SPREAD = {"plain": 1e-06, "log": 0.01, "logit": 0.001}
MIN_SAMPLING_BINS = 30
MIN_SPREAD_BINS = 5
MAD_SD = 0.6745


def normal(n: int, d: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


@given(st.integers(0, 500), st.integers(1, 12))
def test_medians_are_those_of_the_numbers_that_are_known(seed: int, n: int) -> None:
    values = normal(n, seed=seed)
    values[np.random.default_rng(seed).random(values.shape) < 0.3] = np.nan
    expected = [np.median(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in values.T]
    assert column_medians(values) == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_no_rows_have_no_medians() -> None:
    assert np.isnan(column_medians(np.zeros((0, 3)))).all()


@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_spread_is_the_standard_deviation_of_normal_numbers(scale: float) -> None:
    assert robust_spread(scale * normal(20_000)) == pytest.approx(np.full(3, scale), rel=0.03)


def test_a_tenth_of_faulty_bins_on_one_side_hardly_widens_a_spread() -> None:
    values = normal(2000)
    values[:200] = 1000.0
    assert (robust_spread(values) < 1.35).all()


def test_the_larger_of_two_spreads_counts() -> None:
    # Three in five at one value: the median distance from the median is nothing.
    steps = np.repeat([[-3.0], [0.0], [3.0]], [20, 60, 20], axis=0)
    assert robust_spread(steps)[0] == pytest.approx(6.0 / 2.0729)
    # Two heaps far apart: the sides lie within them, and so does the distance from the median.
    heaps = np.concatenate([np.zeros(51), np.full(49, 4.0)])[:, None]
    assert robust_spread(heaps)[0] == pytest.approx(4.0 / 2.0729)
    # Nearly all of them within the sides' quantiles: the median distance is what is left.
    within = np.array([-2.0, -1.0, -1.0, 0.0, 1.0, 1.0, 2.0])[:, None]
    assert robust_spread(within)[0] == pytest.approx(1.0 / MAD_SD)


def test_few_bins_have_no_spread_and_unknown_columns_neither() -> None:
    assert np.isnan(robust_spread(normal(MIN_SPREAD_BINS - 1))).all()
    assert np.isfinite(robust_spread(normal(MIN_SPREAD_BINS))).all()
    values = normal(50)
    values[:, 1] = np.nan
    assert np.isnan(robust_spread(values)).tolist() == [False, True, False]


PLAIN = (FeatureMetadata("one"), FeatureMetadata("two", scale="log"), FeatureMetadata("three", scale="logit"))


def test_the_least_spread_is_that_of_the_scale_where_values_come_in_no_steps() -> None:
    expected = [LEAST_SPREAD[feature.scale] for feature in PLAIN]
    assert least_spread(normal(1000), PLAIN).tolist() == pytest.approx(expected)


def test_half_a_step_is_the_least_spread_of_what_comes_in_steps() -> None:
    values = normal(1000)
    values[:, 0] = np.round(values[:, 0] * 2) * 0.5
    assert least_spread(values, PLAIN)[0] == pytest.approx(0.25)


def test_values_that_hardly_ever_come_tell_no_step() -> None:
    values = normal(1000)
    values[:, 0] = 0.0
    values[:5, 0] = 100.0
    assert least_spread(values, PLAIN)[0] == pytest.approx(LEAST_SPREAD["plain"])
    values[:15, 0] = 100.0
    assert least_spread(values, PLAIN)[0] == pytest.approx(LEAST_SPREAD["plain"])
    values[:25, 0] = 100.0  # 2 % at least
    assert least_spread(values, PLAIN)[0] == pytest.approx(50.0)
    # Of few bins, three at least.
    assert least_spread(np.repeat([[0.0], [8.0]], [20, 2], axis=0), PLAIN[:1])[0] == pytest.approx(1e-6)
    assert least_spread(np.repeat([[0.0], [8.0]], [20, 3], axis=0), PLAIN[:1])[0] == pytest.approx(4.0)


def test_what_the_rules_state_is_the_least_spread_of_a_feature() -> None:
    name, stated = next(iter(least_spreads().items()))
    assert least_spread(normal(100, d=1), (FeatureMetadata(name),))[0] == pytest.approx(max(stated, 1e-6))


MEANS = (FeatureMetadata("mean", noise="mean"), FeatureMetadata("other"))


def thinned(n: int, share: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Deviations of n bins, a third of them with a quarter and a third with four times the usual points."""
    thinner = np.repeat([0.25, 1.0, 4.0], n // 3)
    z = normal(len(thinner), 2, seed)
    z[:, 0] *= np.sqrt(1 - share + share * thinner)
    return z, thinner


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_share_that_goes_with_the_points_is_the_simulated_one(share: float) -> None:
    z, thinner = thinned(60_000, share)
    assert sampling_share(z, thinner, MEANS) == pytest.approx([share, 0.0], abs=0.04)
    # The third in the middle, whatever its points, tells nothing.
    thinner[20_000:40_000] = np.linspace(0.26, 3.9, 20_000)
    assert sampling_share(z, thinner, MEANS) == pytest.approx([share, 0.0], abs=0.04)


def test_the_share_stays_within_its_limits() -> None:
    z, thinner = thinned(6000, 0.0)
    assert sampling_share(z, thinner, MEANS)[0] == pytest.approx(0.1, abs=0.02)
    z[:, 0] *= thinner
    assert sampling_share(z, thinner, MEANS)[0] == pytest.approx(1.0)


def test_bins_of_about_as_many_points_do_not_tell_the_share() -> None:
    z, thinner = thinned(6000, 0.9)
    assert sampling_share(z, thinner**0.1, MEANS).tolist() == [0.5, 0.0]
    assert sampling_share(z, thinner**0.14, MEANS).tolist() == [0.5, 0.0]
    # With half as many again in the sparse third it can be told.
    assert sampling_share(z, thinner**0.16, MEANS)[0] == 1.0


def test_a_feature_that_is_unknown_tells_no_share() -> None:
    z, thinner = thinned(6000, 0.9)
    z[thinner > 1.0, 0] = np.nan
    assert sampling_share(z, thinner, MEANS).tolist() == [0.5, 0.0]


def test_too_few_bins_do_not_tell_the_share() -> None:
    z, thinner = thinned(3 * (MIN_SAMPLING_BINS - 1), 0.9)
    assert sampling_share(z, thinner, MEANS).tolist() == [0.5, 0.0]
    z, thinner = thinned(3 * MIN_SAMPLING_BINS, 0.9)
    assert sampling_share(z, thinner, MEANS)[0] != 0.5
