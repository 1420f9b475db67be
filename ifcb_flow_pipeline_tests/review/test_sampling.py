"""Samples of studies: their strata, repeats and order."""

import numpy as np
import pytest

from ifcb_flow_pipeline.review.sampling import REPEAT_SHARE, STRATA, draw, order_for

SEVERITY = np.linspace(0, 100, 1000)
THRESHOLD = np.full(1000, 50.0)


def test_a_sample_has_a_third_of_each_stratum_and_no_bin_twice():
    first = [item for item in draw(SEVERITY, THRESHOLD, 60, 1) if item.repeat_of is None]
    assert [sum(item.stratum == stratum for item in first) for stratum in STRATA] == [20, 20, 20]
    assert len({item.row for item in first}) == 60


def test_the_top_are_the_worst_and_the_near_ones_next_to_the_threshold():
    drawn = draw(SEVERITY, THRESHOLD, 60, 1)
    assert {item.row for item in drawn if item.stratum == "top"} == set(range(980, 1000))
    near = SEVERITY[[item.row for item in drawn if item.stratum == "near threshold"]]
    assert np.abs(near - 50).max() < 1.1


def test_at_least_a_tenth_comes_twice_with_the_stratum_of_the_first_showing():
    for n_bins in (10, 33, 60):
        drawn = draw(SEVERITY, THRESHOLD, n_bins, 1)
        repeats = [item for item in drawn if item.repeat_of is not None]
        assert len(repeats) >= REPEAT_SHARE * n_bins
        assert all(item.row == drawn[item.repeat_of].row for item in repeats)
        assert all(item.stratum == drawn[item.repeat_of].stratum for item in repeats)
        assert len({item.repeat_of for item in repeats}) == len(repeats)


def test_the_sample_stands_for_the_whole_population():
    assert sum(item.weight for item in draw(SEVERITY, THRESHOLD, 60, 1)) == pytest.approx(1000)


def test_the_same_seed_draws_the_same_and_another_another():
    assert draw(SEVERITY, THRESHOLD, 60, 1) == draw(SEVERITY, THRESHOLD, 60, 1)
    assert draw(SEVERITY, THRESHOLD, 60, 1) != draw(SEVERITY, THRESHOLD, 60, 2)


def test_a_small_population_is_taken_whole():
    drawn = draw(SEVERITY[:12], THRESHOLD[:12], 60, 1)
    assert {item.row for item in drawn} == set(range(12))


def test_too_few_bins_are_refused():
    with pytest.raises(ValueError, match="at least 10"):
        draw(SEVERITY[:9], THRESHOLD[:9], 60, 1)


def test_each_reviewer_has_an_order_of_their_own_that_stays():
    items = list(range(40))
    assert order_for("Ada", items) == order_for("Ada", items[::-1])
    assert sorted(order_for("Ada", items)) == items
    assert order_for("Ada", items) != order_for("Bo", items) != items
