"""How features follow when a cloud is moved, enlarged, mirrored, shuffled or repeated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES

from .clouds import ALL, CONTINUOUS, clouds, features_of
from .comparing import assert_same_direction, assert_same_features

EDGES = {name for name in FEATURE_NAMES if name.endswith("edge_fraction")}
#: Free of bar edges and quantiles that rounding decides: these points lie on no lattice.
free_clouds = clouds(CONTINUOUS)


def assert_approx(actual, expected, names=FEATURE_NAMES):
    for name in names:
        assert actual[name] == pytest.approx(expected[name], rel=1e-7, abs=1e-7), name


def assert_mirrored(values, original):
    """The axis of the mirrored cloud is that of the original, mirrored, however it points."""
    assert math.sin(values["angle"] + original["angle"]) == pytest.approx(0, abs=1e-6)


@given(free_clouds, st.floats(-500, 500), st.floats(-500, 500))
def test_moving_a_cloud_moves_means_and_medians_and_nothing_else(cloud, dx, dy):
    x, y = cloud
    before, after = features_of(x, y), features_of(x + dx, y + dy)
    moved = {
        "mean_x": before["mean_x"] + dx / 1.36,
        "median_x": before["median_x"] + dx / 1.36,
        "mean_y": before["mean_y"] + dy,
        "median_y": before["median_y"] + dy,
    }
    assert_approx(after, before | moved)


@given(free_clouds, st.floats(0.25, 4))
def test_enlarging_a_cloud_enlarges_lengths_and_leaves_shapes(cloud, factor):
    x, y = cloud
    before, after = features_of(x, y), features_of(factor * x, factor * y)
    lengths = [f"{stem}_{axis}" for stem in ("mean", "std", "median", "iqr") for axis in "xy"]
    expected = before | {name: factor * before[name] for name in lengths}
    expected["t_y_var"] *= factor**2
    # Edges are three pixels wide at any scale.
    assert_approx(after, expected, set(FEATURE_NAMES) - EDGES)


@given(free_clouds, st.floats(0.5, 2))
def test_the_aspect_ratio_is_a_division_of_x_before_anything_but_edges(cloud, ratio):
    x, y = cloud
    stretched, divided = features_of(x * ratio, y, aspect_ratio=ratio), features_of(x, y, aspect_ratio=1.0)
    assert_approx(stretched, divided, set(FEATURE_NAMES) - EDGES)
    assert_approx(features_of(x, y, aspect_ratio=ratio), divided, EDGES)


@given(free_clouds)
def test_mirroring_x_swaps_left_and_right(cloud):
    x, y = cloud
    before, after = features_of(x, y), features_of(1360 - x, y)
    mirrored = {
        "mean_x": 1000 - before["mean_x"],
        "median_x": 1000 - before["median_x"],
        "skew_x": -before["skew_x"],
        "left_edge_fraction": before["right_edge_fraction"],
        "right_edge_fraction": before["left_edge_fraction"],
    }
    assert_approx(after, before | mirrored, set(FEATURE_NAMES) - {"angle"})
    assert_mirrored(after, before)


@given(free_clouds)
def test_mirroring_y_swaps_top_and_bottom(cloud):
    x, y = cloud
    before, after = features_of(x, y), features_of(x, 1024 - y)
    mirrored = {
        "mean_y": 1024 - before["mean_y"],
        "median_y": 1024 - before["median_y"],
        "skew_y": -before["skew_y"],
        "top_edge_fraction": before["bottom_edge_fraction"],
        "bottom_edge_fraction": before["top_edge_fraction"],
    }
    assert_approx(after, before | mirrored, set(FEATURE_NAMES) - {"angle"})
    assert_mirrored(after, before)


@given(clouds(), st.randoms(use_true_random=False))
def test_the_order_of_points_matters_to_the_rolling_mean_alone(cloud, random):
    x, y = cloud
    order = list(range(len(x)))
    random.shuffle(order)
    before, after = features_of(x, y), features_of(x[order], y[order])
    assert_same_features(after, before | {"t_y_var": after["t_y_var"]})


@given(clouds())
def test_reading_the_file_backwards_changes_nothing(cloud):
    x, y = cloud
    assert_same_features(features_of(x[::-1], y[::-1]), features_of(x, y))


def test_the_rolling_mean_tells_a_drift_from_scatter():
    x, y = ALL["stripe"](np.random.default_rng(0), 300)
    scattered, drifting = features_of(x, y), features_of(x, np.sort(y))
    assert drifting["t_y_var"] > 5 * scattered["t_y_var"]


@given(clouds())
def test_a_cloud_that_is_there_twice_keeps_all_that_counts_shares(cloud):
    x, y = cloud
    before, after = features_of(x, y), features_of(np.tile(x, 2), np.tile(y, 2))
    # Quartiles are interpolated between other ranks, and the windows over the seam are new.
    changed = {"iqr_x", "iqr_y", "ratio_spread", "core_fraction", "duplicate_fraction", "t_y_var"}
    assert_approx(after, before, set(FEATURE_NAMES) - changed - {"angle", "eigen_ratio"})
    assert after["eigen_ratio"] == pytest.approx(before["eigen_ratio"], rel=1e-6)
    assert_same_direction(after["angle"], before["angle"], before["eigen_ratio"])
    assert after["duplicate_fraction"] == 1.0


@given(clouds(), st.integers(0, 500))
def test_triggers_without_an_image_change_their_fraction_alone(cloud, n_without):
    x, y = cloud
    after = features_of(x, y, n_rows=len(x) + n_without, n_images=len(x))
    assert after == features_of(x, y) | {"roi_trigger_fraction": len(x) / (len(x) + n_without)}
