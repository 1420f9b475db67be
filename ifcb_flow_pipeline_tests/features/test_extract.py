"""From columns to features: which lines are points, and what a bin without features says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, MIN_POINTS
from ifcb_flow_pipeline.features.extract import TRIGGERS, FeatureSettings, extract_features

from .clouds import clouds
from .comparing import assert_equal_to_reference

IMAGES, ALL = FeatureSettings("images"), FeatureSettings("all")


def columns_of(x, y, *, n_without: int = 0, without_px: int = 0) -> dict[str, np.ndarray]:
    """The columns of an ADC whose first lines have no image."""
    n = len(x)
    return {
        "x_px": np.concatenate([np.full(n_without, without_px), x]).astype(np.int16),
        "y_px": np.concatenate([np.full(n_without, without_px), y]).astype(np.int16),
        "width_px": np.concatenate([np.zeros(n_without), np.full(n, 80)]).astype(np.int16),
        "height_px": np.concatenate([np.zeros(n_without), np.full(n, 34)]).astype(np.int16),
    }


def by_name(features) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, features.values.tolist(), strict=True))


def test_the_settings_of_a_new_installation():
    assert FeatureSettings() == FeatureSettings(triggers="images", aspect_ratio=1.36)
    assert TRIGGERS == ("images", "all")


@pytest.mark.parametrize("triggers", ["image", "ALL", "", None])
def test_unknown_triggers_are_refused_with_the_known_ones(triggers):
    with pytest.raises(ValueError, match="triggers must be one of images, all, not"):
        FeatureSettings(triggers)


@pytest.mark.parametrize("ratio", [0, -1.36, float("nan"), float("inf")])
def test_an_aspect_ratio_that_is_no_positive_number_is_refused(ratio):
    with pytest.raises(ValueError, match="aspect ratio must be a positive number"):
        FeatureSettings(aspect_ratio=ratio)


@settings(max_examples=50)
@given(cloud=clouds(), n_without=st.integers(0, 50), without_px=st.sampled_from([0, -11]))
def test_with_images_alone_the_other_triggers_count_but_are_no_points(cloud, n_without, without_px):
    x, y = (values.astype(np.int16) for values in cloud)
    features = extract_features(columns_of(x, y, n_without=n_without, without_px=without_px), IMAGES)
    assert_equal_to_reference(by_name(features), (x, y), n_rows=len(x) + n_without, n_images=len(x))
    assert (features.n_rows, features.n_images, features.n_points) == (len(x) + n_without, len(x), len(x))
    assert (features.status, features.reason) == ("ok", "")


@settings(max_examples=50)
@given(cloud=clouds(), n_without=st.integers(0, 50), without_px=st.sampled_from([0, -11]))
def test_with_all_triggers_those_without_an_image_are_points_where_the_file_has_them(cloud, n_without, without_px):
    x, y = (values.astype(np.int16) for values in cloud)
    columns = columns_of(x, y, n_without=n_without, without_px=without_px)
    features = extract_features(columns, ALL)
    n_rows = len(x) + n_without
    assert_equal_to_reference(by_name(features), (columns["x_px"], columns["y_px"]), n_images=len(x))
    assert (features.n_rows, features.n_images, features.n_points) == (n_rows, len(x), n_rows)
    assert (features.status, features.reason) == ("ok", "")


def test_the_aspect_ratio_of_the_settings_is_used():
    columns = columns_of(range(40), range(40))
    features = extract_features(columns, FeatureSettings(aspect_ratio=2.0))
    assert by_name(features)["mean_x"] == 9.75
    assert_equal_to_reference(by_name(features), (range(40), range(40)), aspect_ratio=2.0)


def test_a_bin_of_as_many_points_as_needed_has_features_and_one_point_less_has_none():
    assert MIN_POINTS == 30
    enough = extract_features(columns_of(range(30), range(30)), IMAGES)
    assert enough.status == "ok"
    assert np.isfinite(enough.values).all()
    few = extract_features(columns_of(range(29), range(29)), IMAGES)
    assert (few.status, few.reason) == ("too_few_points", "29 images, features need 30")
    assert (few.n_rows, few.n_images, few.n_points) == (29, 29, 29)
    assert few.values.shape == (len(FEATURE_NAMES),)
    assert np.isnan(few.values).all()


def test_images_may_be_too_few_where_triggers_are_enough():
    columns = columns_of(range(19), range(19), n_without=99)
    few = extract_features(columns, IMAGES)
    assert (few.status, few.reason) == ("too_few_points", "19 images, features need 30")
    assert (few.n_rows, few.n_images, few.n_points) == (118, 19, 19)
    enough = extract_features(columns, ALL)
    assert (enough.status, enough.n_points) == ("ok", 118)
    assert np.isfinite(enough.values).all()


def test_a_bin_without_any_image_has_features_of_all_triggers_only():
    columns = columns_of([], [], n_without=100)
    none = extract_features(columns, IMAGES)
    assert (none.status, none.reason, none.n_rows) == ("too_few_points", "0 images, features need 30", 100)
    values = by_name(extract_features(columns, ALL))
    assert values["roi_trigger_fraction"] == 0
    assert values["max_duplicate_fraction"] == 1


@pytest.mark.parametrize("settings", [IMAGES, ALL])
def test_a_bin_without_triggers_is_empty(settings):
    features = extract_features(columns_of([], []), settings)
    assert (features.status, features.reason) == ("empty", "no triggers")
    assert (features.n_rows, features.n_images, features.n_points) == (0, 0, 0)
    assert np.isnan(features.values).all()


def test_too_few_triggers_are_told_as_triggers():
    assert extract_features(columns_of(range(5), range(5)), ALL).reason == "5 triggers, features need 30"
