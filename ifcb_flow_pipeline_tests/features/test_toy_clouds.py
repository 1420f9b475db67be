"""Clouds small enough to compute by hand, and clouds without any extent."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.cloud import Moments, PrincipalAxes

from .clouds import features_of


def test_five_points_by_hand():
    # Divided by the aspect ratio of 2, x is 0 1 2 3 4.
    values = features_of([0, 2, 4, 6, 8], [0, 0, 0, 10, 10], n_rows=8, aspect_ratio=2.0)
    assert values == pytest.approx(
        {
            "mean_x": 2.0,
            "mean_y": 4.0,
            "std_x": 1.4142135623730951,  # sqrt(2)
            "std_y": 4.898979485566356,  # sqrt(24)
            "median_x": 2.0,
            "median_y": 0.0,
            "iqr_x": 2.0,
            "iqr_y": 10.0,
            "ratio_spread": 4.99999998,  # (10 + 1e-8) / (2 + 1e-8)
            "core_fraction": 0.6,  # x 1 2 3
            "duplicate_fraction": 1.0,
            "max_duplicate_fraction": 0.6,
            "cv_x": 1.0,  # bars 1 0 1 0 0 1 0 1 0 1: mean 1/2, deviation 1/2
            "cv_y": 2.0493901531919194,  # bars 3 0 0 0 0 0 0 0 0 2: sqrt(1.3 - 0.25) / 0.5
            "skew_x": 0.0,
            "skew_y": 0.4082482904638631,  # (-3*64 + 2*216) / 5 / 24**1.5
            "kurt_x": -1.3,  # (16 + 1 + 0 + 1 + 16) / 5 / 4 - 3
            "kurt_y": -1.8333333333333333,  # (3*256 + 2*1296) / 5 / 576 - 3
            # Variances 2 and 24, covariance 6: the axis is half of the direction (2 - 24, 2 * 6).
            "angle": 1.3211231563194862,
            "eigen_ratio": 54.31494,  # (13 + sqrt(157)) / (13 - sqrt(157)) but for 1e-8
            "left_edge_fraction": 0.4,  # 0 and 2 px: edges are not divided
            "right_edge_fraction": 0.4,
            "top_edge_fraction": 0.6,
            "bottom_edge_fraction": 0.4,
            "total_edge_fraction": 1.8,
            "t_y_var": 0.0,
            "roi_trigger_fraction": 0.625,
        },
        rel=1e-6,
        abs=1e-15,
    )


def test_the_rolling_mean_is_of_ten_points_and_its_variance_that_of_a_sample():
    assert features_of(range(11), [0] * 10 + [10])["t_y_var"] == pytest.approx(0.5)  # means 0 and 1
    assert features_of(range(12), [0] * 10 + [10, 10])["t_y_var"] == pytest.approx(1.0)  # means 0, 1 and 2


def test_the_rolling_mean_of_one_window_or_none_has_no_variance():
    assert features_of(range(10), range(10))["t_y_var"] == 0
    assert features_of(range(3), range(3))["t_y_var"] == 0


def test_quantiles_are_interpolated_between_points():
    values = features_of([0, 10, 20, 30], [0, 0, 1, 5], aspect_ratio=1.0)
    assert (values["median_x"], values["iqr_x"]) == (15.0, 15.0)  # 7.5 and 22.5
    assert (values["median_y"], values["iqr_y"]) == (0.5, 2.0)  # 0 and 2


def test_the_core_includes_its_bounds_and_needs_both_coordinates():
    # Quartiles are 1 and 3 in both; (1, 1), (2, 2) and (3, 3) are inside.
    assert features_of([0, 1, 2, 3, 4], [0, 1, 2, 3, 4], aspect_ratio=1.0)["core_fraction"] == 0.6
    # The same quartiles, but only (2, 2) has both coordinates inside.
    assert features_of([0, 1, 2, 3, 4], [1, 0, 2, 4, 3], aspect_ratio=1.0)["core_fraction"] == 0.2


def test_duplicates_are_of_y_alone_and_count_every_point_of_a_repeated_y():
    values = features_of([1, 2, 3, 4, 5, 6, 6, 6], [7, 7, 7, 8, 8, 9, 10, 11])
    assert values["duplicate_fraction"] == 5 / 8
    assert values["max_duplicate_fraction"] == 3 / 8


def test_edges_reach_three_pixels_in_and_are_not_divided_by_the_aspect_ratio():
    values = features_of([100, 103, 104, 200, 196, 197], [0, 3, 4, 5, 6, 7], aspect_ratio=1.36)
    assert values["left_edge_fraction"] == 2 / 6
    assert values["right_edge_fraction"] == 2 / 6
    assert values["top_edge_fraction"] == 2 / 6
    assert values["bottom_edge_fraction"] == 4 / 6
    assert values["total_edge_fraction"] == pytest.approx(10 / 6)


@pytest.mark.parametrize("extreme", [32_767, 32_765, -32_767, -32_766])
def test_edges_near_the_limits_of_the_type_do_not_overflow(extreme):
    # 32767 + 3 wrapped around to a negative number, and no point was at the edge of its own cloud.
    positions = np.full(30, extreme, dtype=np.int16)
    values = features_of(positions, positions)
    assert values["total_edge_fraction"] == 4.0


def test_a_cloud_along_each_axis_has_the_angle_of_that_axis():
    line, none = list(range(40)), [5] * 40
    assert features_of(line, none)["angle"] == 0
    assert features_of(none, line)["angle"] == pytest.approx(math.pi / 2)
    assert features_of(line, line, aspect_ratio=1.0)["angle"] == pytest.approx(math.pi / 4)
    downhill = features_of(line, line[::-1], aspect_ratio=1.0)["angle"]
    assert downhill % math.pi == pytest.approx(3 * math.pi / 4)


def test_the_aspect_ratio_turns_the_axis():
    line = list(range(40))
    assert features_of(line, line, aspect_ratio=2.0)["angle"] == pytest.approx(math.atan(2))


# Clouds without extent


def assert_finite(values):
    assert [name for name, value in values.items() if not math.isfinite(value)] == []


@given(
    x=st.one_of(st.integers(-11, 1360), st.floats(-1000, 1000)),
    y=st.one_of(st.integers(-11, 1024), st.floats(-1000, 1000)),
    n=st.integers(30, 120),
)
def test_points_that_are_all_equal_give_finite_numbers(x, y, n):
    values = features_of([x] * n, [y] * n)
    assert_finite(values)
    exact = {
        "std_x": 0,
        "std_y": 0,
        "iqr_x": 0,
        "iqr_y": 0,
        "ratio_spread": 1,
        "core_fraction": 1,
        "duplicate_fraction": 1,
        "max_duplicate_fraction": 1,
        "skew_x": 0,
        "skew_y": 0,
        "kurt_x": 0,
        "kurt_y": 0,
        "angle": 0,
        "left_edge_fraction": 1,
        "total_edge_fraction": 4,
    }
    assert {name: values[name] for name in exact} == exact
    assert values["mean_y"] == values["median_y"] == y
    assert values["cv_x"] == pytest.approx(3)  # one bar of ten has all
    assert values["eigen_ratio"] == pytest.approx(1, rel=1e-7)
    assert values["t_y_var"] == pytest.approx(0, abs=1e-20)


@given(positions=st.lists(st.integers(-11, 1360), min_size=30, max_size=60), where=st.integers(-11, 1360))
@pytest.mark.parametrize("axis", ["x", "y"])
def test_points_on_a_line_along_an_axis_give_finite_numbers(positions, where, axis):
    fixed = [where] * len(positions)
    values = features_of(positions, fixed) if axis == "x" else features_of(fixed, positions)
    assert_finite(values)
    other = "y" if axis == "x" else "x"
    assert values[f"std_{other}"] == values[f"skew_{other}"] == values[f"kurt_{other}"] == 0
    assert values[f"cv_{other}"] == pytest.approx(3)
    if len(set(positions)) > 1:
        assert values["eigen_ratio"] == 1e8
        assert values["angle"] == pytest.approx(0 if axis == "x" else math.pi / 2)


@given(
    positions=st.lists(st.integers(0, 1360), min_size=30, max_size=60, unique=True),
    slope=st.sampled_from([-3, -1, 1, 3]),
)
def test_points_on_a_tilted_line_give_finite_numbers_and_its_direction(positions, slope):
    values = features_of(positions, [slope * x for x in positions], aspect_ratio=1.36)
    assert_finite(values)
    assert values["angle"] % math.pi == pytest.approx(math.atan(1.36 * slope) % math.pi)
    # Without rounding the second share is zero, and the ratio 1e8.
    assert values["eigen_ratio"] == pytest.approx(1e8, rel=1e-6)


def test_moments_of_equal_values_are_exactly_zero_whatever_their_mean_rounds_to():
    assert Moments.of(np.full(37, 0.1)) == Moments(0.1, 0.0, 0.0, 0.0)


def test_a_cloud_without_direction_has_angle_zero():
    assert PrincipalAxes.of(0.0, 0.0, 0.0) == PrincipalAxes(0.0, 0.5, 0.5)
    assert PrincipalAxes.of(4.0, 4.0, 0.0) == PrincipalAxes(0.0, 0.5, 0.5)


def test_the_second_axis_of_a_cloud_of_hardly_any_width_is_not_lost_in_rounding():
    # The difference of half the sum and the radius would be 0 here.
    assert PrincipalAxes.of(1e-13, 1e4, 0.0).second_share == pytest.approx(1e-17)


def test_shares_of_variance_are_never_negative_and_sum_to_one():
    axes = PrincipalAxes.of(1.0, 1.0, 1.0 + 1e-12)
    assert axes.second_share == 0.0
    axes = PrincipalAxes.of(2.0, 24.0, 6.0)
    assert axes.first_share + axes.second_share == pytest.approx(1.0)
