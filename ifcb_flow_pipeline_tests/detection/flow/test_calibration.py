"""What a score means: one in a hundred healthy bins is as rare as two powers of ten, seen or not."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM, severities

#: As documented. They are not imported: a threshold that moved would move its own test.
ENOUGH = 3
SHARES = (0.9, 0.7, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
SLOPES = (0.2, 2.0)


def drawn(n: int, seed: int = 0) -> np.ndarray:
    """Scores of healthy bins: one in ten is log(10) higher."""
    return np.random.default_rng([seed, 3]).exponential(1.0, n)


SCALE = RarityScale().fit(drawn(5000))

raw_scores = st.lists(st.floats(-50, 500, allow_subnormal=False), min_size=1, max_size=60)


def test_at_each_share_the_scale_is_held_to_what_was_seen_on_the_safe_side() -> None:
    raw_score = drawn(5000)
    assert SCALE.rarity_ == pytest.approx(-np.log10(SHARES))
    for number, share in enumerate(SHARES):
        seen = float((raw_score >= SCALE.raw_score_[number]).mean())
        standard_error = math.sqrt(share * (1.0 - share) / len(raw_score))
        assert share - 0.6 * standard_error - 2e-4 <= seen <= share - 0.4 * standard_error + 2e-4


def test_few_bins_leave_the_scale_on_the_safer_side() -> None:
    # The same distribution, known by few bins: what one in ten has is told as less rare than it is.
    few = np.array([1.0 - (i + 0.5) / 60 for i in range(60)])
    known = RarityScale().fit(-np.log(np.repeat(few, 50)))
    assert RarityScale().fit(-np.log(few)).rarity(np.array([np.log(10.0)])) < known.rarity(np.array([np.log(10.0)]))


def test_of_healthy_bins_that_the_scale_has_not_seen_one_in_a_hundred_is_bad() -> None:
    n = 20_000
    for seed in range(5):
        found = severities(RarityScale().fit(drawn(5000, seed)).rarity(drawn(n, seed + 100)))
        # The share among n bins, beyond a quantile that is known from 5000.
        error = np.sqrt(0.01 * 0.99 * (1 / n + 1 / 5000))
        assert (found >= BAD_FROM).mean() == pytest.approx(0.01, abs=4 * error)
        # So for every other share that the scale is held to.
        for share in SHARES:
            error = np.sqrt(share * (1 - share) * (1 / n + 1 / 5000))
            rarity = RarityScale().fit(drawn(5000, seed)).rarity(drawn(n, seed + 100))
            assert (rarity >= -np.log10(share)).mean() == pytest.approx(share, abs=4 * error)


@pytest.mark.parametrize("n", [20, 50, 100, 250])
def test_few_bins_tell_what_one_in_a_hundred_is_by_going_on_as_before(n: int) -> None:
    shares = [(RarityScale().fit(drawn(n, seed)).rarity(drawn(4000, 999)) >= 2.0).mean() for seed in range(200)]
    assert 0.004 < np.median(shares) < 0.02
    assert np.mean(shares) < 0.03


@pytest.mark.parametrize(
    ("n", "least"), [(1, 0.3), (9, 0.3), (10, 0.3), (15, 0.2), (30, 0.1), (59, 0.1), (60, 0.05), (100, 0.03),
                     (149, 0.03), (150, 0.02), (299, 0.02), (300, 0.01), (10_000, 0.01)],
)  # fmt: skip
def test_a_share_is_read_off_where_enough_bins_are_rarer(n: int, least: float) -> None:
    scale = RarityScale().fit(np.arange(n, dtype=float))
    assert scale.rarity_[-1] == pytest.approx(-np.log10(least))
    assert len(scale.rarity_) == len(scale.raw_score_) == SHARES.index(least) + 1
    assert n * least >= ENOUGH * 0.999 or least == 0.3


def test_what_is_rarer_than_it_is_held_to_is_extrapolated() -> None:
    held = RarityScale(0.05).fit(drawn(5000))
    assert held.rarity_[-1] == pytest.approx(-np.log10(0.05))
    assert held.rarity(np.quantile(drawn(5000), [0.99])) == pytest.approx([2.0], abs=0.15)


@pytest.mark.parametrize(("per_decade", "slope"), [(1.0, 1.0), (2.0, 0.5), (100.0, SLOPES[0]), (0.01, SLOPES[1])])
def test_beyond_what_was_seen_a_power_of_ten_costs_as_much_as_before_within_limits(
    per_decade: float, slope: float
) -> None:
    at = -per_decade * np.log10(np.array(SHARES))
    scale = RarityScale().fit(np.interp(np.linspace(0, 1, 10_001), 1 - np.array(SHARES), at))
    assert float(scale.slope_) == pytest.approx(slope, rel=0.02)
    last = scale.raw_score_[-1]
    assert scale.rarity(last + np.array([0.0, 1.0, 7.0])) == pytest.approx(2.0 + slope * np.array([0, 1, 7]), rel=0.02)


@pytest.mark.parametrize("n", [30, 100, 1000])
def test_the_scale_is_on_the_safe_side_by_half_a_standard_error_of_a_share(n: int) -> None:
    scale = RarityScale().fit(np.linspace(0.0, 1.0, n))
    share = 10.0**-scale.rarity_
    assert share.min() == pytest.approx(max(0.01, 3 / n)) or share.min() > 3 / n
    assert scale.raw_score_ == pytest.approx(1 - share + 0.5 * np.sqrt(share * (1 - share) / n), abs=1e-6)


def test_only_the_rarest_shares_tell_how_it_goes_on() -> None:
    quantiles = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 10.0, 10.5, 11.0, 11.5])
    scale = RarityScale().fit(np.interp(np.linspace(0, 1, 10_001), 1 - np.array(SHARES), quantiles))
    rise = np.log10(0.05) - np.log10(0.01)
    assert float(scale.slope_) == pytest.approx(rise / 1.5, rel=0.02)


def test_the_scale_has_no_seams() -> None:
    for at in SCALE.raw_score_:
        near = SCALE.rarity(at + np.array([-1e-7, 0.0, 1e-7]))
        assert np.ptp(near) < 1e-5
    # Nor a kink upwards where it begins to be extrapolated: it goes on as the last shares do.
    before, after = np.diff(SCALE.rarity(SCALE.raw_score_[-1] + np.array([-0.2, 0.0, 0.2])))
    assert after == pytest.approx(before, rel=0.3)


def test_below_what_was_seen_a_bin_is_less_and_less_rare_but_never_below_nothing() -> None:
    first = SCALE.raw_score_[0]
    found = SCALE.rarity(first - np.array([0.0, 1.0, 5.0, 100.0]))
    assert found == pytest.approx(-np.log10(SHARES[0]) * np.exp([0.0, -1.0, -5.0, -100.0]))
    assert (found >= 0).all()


@given(raw_scores, raw_scores)
@settings(max_examples=60)
def test_the_scale_rises_with_the_score(seen: list[float], asked: list[float]) -> None:
    found = RarityScale().fit(np.array(seen)).rarity(np.sort(asked))
    assert (np.diff(found) >= 0).all()
    assert (found >= 0).all()
    assert np.isfinite(found).all()


@given(raw_scores)
@settings(max_examples=60)
def test_learnt_points_rise_whatever_the_scores(seen: list[float]) -> None:
    scale = RarityScale().fit(np.array(seen))
    assert (np.diff(scale.raw_score_) >= 0).all()
    assert (np.diff(scale.rarity_) > 0).all()


def test_of_bins_that_are_all_alike_another_one_is_told_apart() -> None:
    scale = RarityScale().fit(np.full(200, 3.0))
    assert (np.diff(scale.raw_score_) > 0).all()
    assert scale.rarity(np.array([3.0]))[0] < 0.1
    alike, worse = scale.rarity(np.array([3.0 + 1e-6, 4.0]))
    assert worse == pytest.approx(alike + SLOPES[1], abs=1e-3)


def test_the_score_is_the_only_thing_that_counts() -> None:
    raw_score = drawn(500)
    order = np.random.default_rng(0).permutation(500)
    assert np.array_equal(SCALE.rarity(raw_score)[order], SCALE.rarity(raw_score[order]))
    shuffled = RarityScale().fit(raw_score[order])
    assert np.array_equal(shuffled.raw_score_, RarityScale().fit(raw_score).raw_score_)
