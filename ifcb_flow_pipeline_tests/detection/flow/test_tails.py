"""Tails of features: how rare a value is, what each adds, and that faulty bins in training hardly widen them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.tails import (
    TailDetector,
)

#: As documented. They are not imported: a threshold that moved would move its own test.
BULK = 0.8
COUNTS_FROM = 1.8
FEW = 20
LEAST_WIDTH = 0.87
POWERS = (0.7, 1.4)
PRIOR = (1.2, 0.87)
MOST = 12.0


METADATA = tuple(
    FeatureMetadata(f"feature{i}", role=role) for i, role in enumerate(("position", "position", "size", "time"))
)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, len(METADATA))).astype(np.float32)


DETECTOR = TailDetector(METADATA).fit(normal(2000))


def test_the_tail_of_normal_numbers_is_that_of_a_normal_distribution():
    rarities = DETECTOR.rarities(np.array([[2.0, -3.0, 4.0, 0.0]], dtype=np.float32))[0]
    # -log10 of the share of one side beyond 2, 3 and 4 standard deviations: 1.3, 2.6, 4.2.
    assert rarities == pytest.approx([1.3, 2.6, 4.2, 0.0], rel=0.3, abs=0.1)


@given(st.integers(0, 3), st.floats(0, 50), st.floats(0, 50), st.sampled_from([-1.0, 1.0]))
def test_what_lies_farther_out_never_scores_higher(column: int, one: float, other: float, sign: float):
    z = np.zeros((2, len(METADATA)), dtype=np.float32)
    z[:, column] = [sign * min(one, other), sign * max(one, other)]
    near, far = DETECTOR.score_samples(z)
    assert far <= near <= 0


def test_the_parts_of_a_score_sum_to_it_exactly():
    rarities = DETECTOR.rarities(normal(500, seed=1) * 3)
    assert -DETECTOR.contributions(rarities).sum(axis=1) == pytest.approx(
        DETECTOR.score_samples(normal(500, seed=1) * 3), abs=1e-5
    )


def test_a_plain_fault_in_one_feature_is_not_diluted_by_normal_ones():
    z = normal(1000, seed=2)
    z[0] = [0, 0, 8, 0]
    assert DETECTOR.score_samples(z).argmin() == 0


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_faulty_bins_in_the_training_set_hardly_widen_the_tails(share: float):
    z = normal(1000)
    z[: int(share * len(z)), 0] += 25
    contaminated = TailDetector(METADATA).fit(z)
    faulty = np.array([[25.0, 0, 0, 0]], dtype=np.float32)
    assert contaminated.rarities(faulty)[0, 0] > 8
    assert contaminated.score_samples(faulty)[0] < np.quantile(contaminated.score_samples(z), share * 0.99)


def test_a_fault_in_an_eighth_of_few_bins_stands_out_in_its_group():
    z = normal(48)
    z[:6, 0] += 25
    few = TailDetector(METADATA).fit(z)
    groups = few.groups_of(few.rarities(z), np.ones_like(z))
    assert groups[:6, 0].min() > 4


def test_what_most_bins_have_none_of_is_rare_where_some_have_it():
    z = normal(200)
    z[:, 2] = 0.0
    z[:25, 2] = np.linspace(0.5, 1.5, 25)
    z[25:35, 2] = 5.0
    fitted = TailDetector(METADATA).fit(z)
    assert fitted.rarities(z)[25:35, 2].min() > 3


def test_unknown_features_say_nothing():
    z = normal(5)
    z[:, 1:] = np.nan
    only = np.zeros_like(z)
    only[:, 0] = z[:, 0]
    assert DETECTOR.score_samples(z) == pytest.approx(DETECTOR.score_samples(only))


@pytest.mark.parametrize("power", [0.8, 1.0, 1.3])
@pytest.mark.parametrize("width", [1.0, 2.5])
def test_power_and_width_of_a_tail_are_the_simulated_ones(power: float, width: float):
    rng = np.random.default_rng(1)
    z = width * rng.exponential(1.0, (20_000, 1)) ** (1 / power) * rng.choice([-1, 1], (20_000, 1))
    fitted = TailDetector(METADATA[:1]).fit(z.astype(np.float32))
    assert fitted.power_ == pytest.approx(np.full((2, 1), power), rel=0.1)
    assert fitted.width_ == pytest.approx(np.full((2, 1), width), rel=0.1)
    beyond = fitted.usual_reach(0.01)
    assert [(z < -beyond[0]).mean() / (z < 0).mean(), (z > beyond[1]).mean() / (z > 0).mean()] == pytest.approx(
        [0.01, 0.01], rel=0.4
    )


def test_powers_stay_within_their_limits_and_widths_above_theirs():
    rng = np.random.default_rng(1)
    heavy = rng.exponential(1.0, 20_000) ** (1 / 0.4)
    light = rng.uniform(0, 0.2, 20_000)
    fitted = TailDetector(METADATA[:2]).fit(np.stack([heavy, light], axis=1).astype(np.float32))
    assert fitted.power_[1] == pytest.approx(list(POWERS), abs=0.01)
    assert fitted.width_[1, 1] == pytest.approx(LEAST_WIDTH)


def exponential(n: int, far: float = 1.0) -> np.ndarray:
    """The quantiles of an exponential distribution of width 2, those of the farthest 15 % so many times as far."""
    share = (np.arange(n) + 0.5) / n
    z = -2.0 * np.log1p(-share)
    z[share > 0.85] *= far
    return z[:, None].astype(np.float32)


def test_outer_bins_count_where_they_lie_at_most_1_4_times_as_far_as_expected():
    clean, near, far = (TailDetector(METADATA[:1]).fit(exponential(4000, times)) for times in (1.0, 1.25, 1.7))
    assert far.width_[1, 0] == pytest.approx(clean.width_[1, 0], rel=1e-3)
    assert far.power_[1, 0] == pytest.approx(clean.power_[1, 0], rel=1e-3)
    asked = np.array([[14.0]], np.float32)
    assert near.rarities(asked)[0, 0] < 0.9 * clean.rarities(asked)[0, 0]


def test_a_side_whose_bins_are_all_alike_has_the_lightest_tail():
    alike = TailDetector(METADATA[:1]).fit(np.full((4000, 1), 3.0, np.float32))
    assert alike.power_[1, 0] == pytest.approx(1.4, abs=0.01)


def test_each_side_has_its_own_tail():
    rng = np.random.default_rng(1)
    z = np.concatenate([-rng.exponential(1.0, 5000), rng.exponential(3.0, 5000)])[:, None].astype(np.float32)
    fitted = TailDetector(METADATA[:1]).fit(z)
    assert fitted.width_[1, 0] > 2 * fitted.width_[0, 0]
    below, above = fitted.rarities(np.array([[-6.0], [6.0]], np.float32))[:, 0]
    assert below > 2 * above


def test_a_side_of_few_bins_has_the_tail_that_one_expects():
    few = TailDetector(METADATA[:1]).fit(np.linspace(0.1, 9.0, FEW - 1)[:, None].astype(np.float32))
    assert few.power_[1, 0] == pytest.approx(PRIOR[0])
    assert few.width_[1, 0] == pytest.approx(PRIOR[1])
    enough = TailDetector(METADATA[:1]).fit(np.linspace(0.1, 9.0, FEW)[:, None].astype(np.float32))
    assert enough.width_[1, 0] > 1.2 * PRIOR[1]
    # The more bins, the more what they show counts.
    z = 3.0 * np.random.default_rng(0).exponential(1.0, (4000, 1)).astype(np.float32)
    widths = [float(TailDetector(METADATA[:1]).fit(z[:n]).width_[1, 0]) for n in (40, 200, 4000)]
    assert PRIOR[1] < widths[0] < widths[-1]
    assert widths[-1] == pytest.approx(3.0, rel=0.1)


def test_no_single_feature_outweighs_all():
    far = DETECTOR.rarities(np.array([[0, 0, 0, 20.0], [0, 0, 0, 2000.0]], np.float32))[:, 3]
    assert far[0] > MOST
    assert far[1] > far[0]
    assert far[1] < MOST + 10
    near = DETECTOR.rarities(np.linspace(0, 30, 3000, dtype=np.float32)[:, None].repeat(4, axis=1))
    assert (np.diff(near, axis=0) >= 0).all()
    assert np.diff(near, axis=0).max() < 0.2


def test_the_bulk_of_healthy_bins_is_no_rarer_in_a_group_than_in_one_feature():
    z = normal(4000, seed=8)
    groups = DETECTOR.groups_of(DETECTOR.rarities(z), np.ones_like(z))
    assert (np.quantile(groups, BULK, axis=0) <= -np.log10(1 - BULK) + 0.1).all()
    assert DETECTOR.offset_[0] > DETECTOR.offset_[1] >= 0  # of two features one is rare twice as often


@given(st.integers(0, 10_000))
def test_groups_are_the_rarest_of_their_features(seed: int):
    rng = np.random.default_rng(seed)
    z, factor = 4 * normal(30, seed), rng.random((30, len(METADATA))).astype(np.float32)
    rarities = DETECTOR.rarities(z) * factor
    largest = DETECTOR.groups_of(DETECTOR.rarities(z), factor)
    expected = np.stack([rarities[:, :2].max(axis=1), rarities[:, 2], rarities[:, 3]], axis=1)
    assert largest == pytest.approx(np.maximum(expected - DETECTOR.offset_, 0), abs=1e-6)
    added = DETECTOR.contributions(rarities)
    assert np.array_equal(added[:, :2].argmax(axis=1), rarities[:, :2].argmax(axis=1))
    assert ((added > 0).sum(axis=1) == 3).all()
    assert added.sum(axis=1) == pytest.approx(DETECTOR.raw_score(largest), rel=1e-6)
    assert DETECTOR.groups == ("position", "size", "time")


def test_ways_point_where_a_bin_is_odd_and_are_as_long_as_what_is_added():
    z = np.array([[-6.0, 1.0, 5.0, np.nan]], np.float32)
    ones = np.ones_like(z)
    rarities = DETECTOR.rarities(z)
    ways = DETECTOR.ways(z, rarities, ones)
    assert np.abs(ways) == pytest.approx(DETECTOR.contributions(rarities))
    assert ways[0, 0] < 0 < ways[0, 2]
    assert ways[0, 1] == 0.0
    assert DETECTOR.ways(z, rarities, ones * [[0, 1, 0, 1]])[0, 2] < 0.1


def test_what_is_hardly_rare_adds_hardly_anything():
    groups = np.array([[0, 0, 0], [COUNTS_FROM, 0, 0], [COUNTS_FROM + 2, 0, 0], [COUNTS_FROM + 3, 0, 0]], np.float32)
    found = DETECTOR.raw_score(groups)
    assert found[0] < 0.05
    assert found[1] - found[0] == pytest.approx(np.log10(2), abs=0.02)
    assert found[3] - found[2] == pytest.approx(1.0, abs=0.01)


def test_what_counts_less_teaches_less():
    z = 3 * normal(2000, seed=4)
    half = np.full_like(z, 0.5)
    assert (TailDetector(METADATA).fit(z, half).offset_ <= TailDetector(METADATA).fit(z).offset_).all()
