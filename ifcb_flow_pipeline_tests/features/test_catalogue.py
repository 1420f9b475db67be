"""The catalogue as a whole: what it declares, and that an oracle computes the same numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ifcb_flow_pipeline.features.catalogue import (
    CATALOGUE,
    FEATURE_NAMES,
    FULL_FEATURE_NAMES,
    FULL_ONLY,
    REFERENCE,
    names_of,
)

from .clouds import ALL, CONTINUOUS, LATTICE, clouds, drawn_clouds, features_of
from .comparing import assert_same_direction, assert_same_features
from .oracle import oracle_features

#: Families and names are an interface: feature selections of ifcb-flow-metric are written in them.
FAMILIES = {
    "spatial_stats": "mean_x mean_y std_x std_y median_x median_y iqr_x iqr_y",
    "distribution_shape": "ratio_spread core_fraction",
    "clipping_detection": "duplicate_fraction max_duplicate_fraction",
    "histogram_uniformity": "cv_x cv_y",
    "statistical_moments": "skew_x skew_y kurt_x kurt_y",
    "pca_orientation": "angle eigen_ratio",
    "edge_features": "left_edge_fraction right_edge_fraction top_edge_fraction bottom_edge_fraction "
    "total_edge_fraction",
    "temporal": "t_y_var",
    "trigger_stats": "roi_trigger_fraction",
}
UNITS = {"", "px", "px*", "px^2", "rad", "fraction"}


# What it declares


def test_names_families_and_their_order_are_those_that_users_know():
    declared = [(feature.family, feature.name) for feature in REFERENCE]
    assert declared == [(family, name) for family, names in FAMILIES.items() for name in names.split()]


def test_names_are_unique_and_given_once_more_as_a_tuple():
    assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == 27
    assert tuple(feature.name for feature in REFERENCE) == FEATURE_NAMES
    assert len(set(FULL_FEATURE_NAMES)) == len(FULL_FEATURE_NAMES) == len(REFERENCE) + len(FULL_ONLY)


def test_a_set_of_features_names_its_own_and_the_full_one_contains_the_other():
    assert names_of("reference") == FEATURE_NAMES
    assert names_of("full") == FULL_FEATURE_NAMES == tuple(feature.name for feature in CATALOGUE)
    assert FULL_FEATURE_NAMES[: len(FEATURE_NAMES)] == FEATURE_NAMES


@pytest.mark.parametrize("feature", FULL_ONLY, ids=lambda feature: feature.name)
def test_a_feature_of_the_full_set_says_what_it_is_there_for(feature):
    assert feature.name.isidentifier()
    assert feature.unit in UNITS | {"px/px", "Hz", "s", "us", "V", "mL", "°C", "%"}
    assert len(feature.meaning) > 5
    assert len(feature.failure_mode) > 3
    assert feature.source
    assert feature.role != "reference"
    assert feature.family not in FAMILIES


@pytest.mark.parametrize("feature", REFERENCE, ids=lambda feature: feature.name)
def test_a_feature_has_a_meaning_a_unit_and_a_function_that_gives_a_finite_number(feature):
    assert feature.name.isidentifier()
    assert len(feature.meaning) > 5
    assert feature.unit in UNITS
    x, y = ALL["stripe"](np.random.default_rng(1), 200)
    assert math.isfinite(features_of(x, y)[feature.name])


def test_no_two_features_mean_the_same():
    assert len({feature.meaning for feature in CATALOGUE}) == len(CATALOGUE)


@given(clouds())
def test_fractions_lie_between_0_and_1_and_their_total_between_0_and_4(cloud):
    values = features_of(*cloud)
    for feature in REFERENCE:
        if feature.unit == "fraction":
            assert 0 <= values[feature.name] <= (4 if feature.name == "total_edge_fraction" else 1), feature.name


@given(clouds())
def test_functions_leave_the_cloud_as_it_was(cloud):
    x, y = cloud
    before = x.tobytes(), y.tobytes()
    features_of(x, y)
    assert (x.tobytes(), y.tobytes()) == before


# The oracle


@settings(max_examples=200)
@given(cloud=clouds(), aspect_ratio=st.sampled_from([1.36, 1.0, 4 / 3, 0.5]))
def test_of_every_kind_of_cloud_the_features_are_those_of_pandas_scipy_and_scikit_learn(cloud, aspect_ratio):
    x, y = cloud
    n_rows = 2 * len(x)
    actual = features_of(x, y, n_rows=n_rows, aspect_ratio=aspect_ratio)
    assert_same_features(actual, oracle_features(x, y, n_rows, len(x), aspect_ratio))


@settings(max_examples=60)
@given(drawn_clouds())
def test_of_any_points_the_features_are_those_of_pandas_scipy_and_scikit_learn(cloud):
    x, y = cloud
    assert_same_features(features_of(x, y), oracle_features(x, y, len(x), len(x)))


@pytest.mark.parametrize("kind", sorted(ALL))
def test_of_a_large_cloud_the_features_are_those_of_pandas_scipy_and_scikit_learn(kind):
    x, y = ALL[kind](np.random.default_rng(7), 6000)
    assert_same_features(features_of(x, y), oracle_features(x, y, len(x), len(x)))


@pytest.mark.parametrize("solver", ["auto", "full"])
def test_in_every_direction_the_angle_has_the_sign_of_scikit_learn(solver):
    rng = np.random.default_rng(3)
    angles = []
    for direction in np.linspace(-np.pi, np.pi, 181):
        along, across = rng.normal(0, 100, 40), rng.normal(0, 10, 40)
        x = along * np.cos(direction) - across * np.sin(direction)
        y = along * np.sin(direction) + across * np.cos(direction)
        first_axis = PCA(n_components=2, svd_solver=solver).fit(np.column_stack([x, y])).components_[0]
        values = features_of(x, y, aspect_ratio=1.0)
        expected = math.atan2(first_axis[1], first_axis[0])
        assert_same_direction(values["angle"], expected, values["eigen_ratio"])
        angles.append(values["angle"])
    assert min(angles) < -0.7
    assert max(angles) > 2.2


def test_the_comparison_itself_tells_a_flipped_axis_and_a_changed_digit():
    x, y = CONTINUOUS["tilted"](np.random.default_rng(0), 100)
    expected = oracle_features(x, y, 100, 100)
    for name, value in expected.items():
        if value == 0:
            continue
        changed = {**expected, name: value * (1 + 1e-8)}
        with pytest.raises(AssertionError):
            assert_same_features(changed, expected)
    with pytest.raises(AssertionError):
        assert_same_features({**expected, "angle": expected["angle"] - math.pi}, expected)


def test_the_kinds_of_clouds_are_those_that_files_can_and_cannot_state():
    assert set(LATTICE) | set(CONTINUOUS) == set(ALL)
    assert set(LATTICE).isdisjoint(CONTINUOUS)
