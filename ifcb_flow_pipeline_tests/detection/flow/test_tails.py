"""Tails of features: how rare a value is, what each adds, and that faulty bins in training hardly widen them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.tails import TailDetector
from ifcb_flow_pipeline.detection.verdict.severity import rarities_of, severities

TRAITS = tuple(
    FeatureMetadata(f"feature{i}", role=role) for i, role in enumerate(("position", "position", "size", "time"))
)


def normal(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, len(TRAITS))).astype(np.float32)


DETECTOR = TailDetector(TRAITS).fit(normal(2000))


def test_the_tail_of_normal_numbers_is_that_of_a_normal_distribution():
    rarities = DETECTOR.rarities(np.array([[2.0, -3.0, 4.0, 0.0]], dtype=np.float32))[0]
    # -log10 of the share of one side beyond 2, 3 and 4 standard deviations: 1.3, 2.6, 4.2.
    assert rarities == pytest.approx([1.3, 2.6, 4.2, 0.0], rel=0.3, abs=0.1)


@given(st.integers(0, 3), st.floats(0, 50), st.floats(0, 50), st.sampled_from([-1.0, 1.0]))
def test_what_lies_farther_out_never_scores_higher(column: int, one: float, other: float, sign: float):
    z = np.zeros((2, len(TRAITS)), dtype=np.float32)
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
    contaminated = TailDetector(TRAITS).fit(z)
    faulty = np.array([[25.0, 0, 0, 0]], dtype=np.float32)
    assert contaminated.rarities(faulty)[0, 0] > 8
    assert contaminated.score_samples(faulty)[0] < np.quantile(contaminated.score_samples(z), share * 0.99)


def test_a_fault_in_an_eighth_of_few_bins_stands_out_in_its_group():
    z = normal(48)
    z[:6, 0] += 25
    few = TailDetector(TRAITS).fit(z)
    groups, _ = few.group_rarities(few.rarities(z))
    assert groups[:6, 0].min() > 4


def test_what_most_bins_have_none_of_is_rare_where_some_have_it():
    z = normal(200)
    z[:, 2] = 0.0
    z[:25, 2] = np.linspace(0.5, 1.5, 25)
    z[25:35, 2] = 5.0
    fitted = TailDetector(TRAITS).fit(z)
    assert fitted.rarities(z)[25:35, 2].min() > 3


def test_unknown_features_say_nothing():
    z = normal(5)
    z[:, 1:] = np.nan
    only = np.zeros_like(z)
    only[:, 0] = z[:, 0]
    assert DETECTOR.score_samples(z) == pytest.approx(DETECTOR.score_samples(only))


def test_on_the_scale_of_scores_one_in_a_hundred_is_two_and_it_has_no_end():
    raw_score = np.random.default_rng(0).exponential(1.0, 20_000)
    scale = RarityScale().fit(raw_score)
    rare = scale.rarity(np.quantile(raw_score, [0.9, 0.99, 0.999]))
    assert rare == pytest.approx([1.0, 2.0, 3.0], abs=0.15)
    assert (np.diff(scale.rarity(np.linspace(0, 500, 1000))) > 0).all()


@given(st.lists(st.floats(0, 300), min_size=2, max_size=20, unique=True))
def test_severities_keep_the_order_of_surprises_and_can_be_taken_back(rarities: list[float]):
    ordered = np.sort(np.array(rarities))
    found = severities(ordered)
    assert (np.diff(found) >= 0).all()
    assert ((found >= 0) & (found < 100)).all()
    assert rarities_of(found) == pytest.approx(ordered, rel=1e-6, abs=1e-6)


def test_severities_mean_what_the_table_of_scores_says():
    assert severities(np.array([0.0, 1.0, 2.0, 3.0, np.nan])).tolist() == [0, 25, 50, 75, 100]
