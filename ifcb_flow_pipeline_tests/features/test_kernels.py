"""Compiled kernels: held equal to the catalogue's functions, whatever whole pixels a cloud has."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ifcb_flow_pipeline.features import extract, kernels
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, REFERENCE
from ifcb_flow_pipeline.features.extract import TRIGGERS, FeatureSettings, extract_features

from .clouds import LATTICE, clouds, drawn_clouds, features_of
from .comparing import COUNTED, KERNEL_RELATIVE, assert_equal_to_reference

LOWEST, HIGHEST = -(2**15), 2**15 - 1

COMPILED = kernels.cloud_features

ratios = st.one_of(st.sampled_from([1.36, 1.0, 4 / 3, 0.5]), st.floats(1e-3, 1e3))


def kernel_features(x, y, *, aspect_ratio=1.36) -> dict[str, float]:
    """The features of a cloud of whole pixels, by the kernel alone."""
    x, y = np.array(x, dtype=np.int16), np.array(y, dtype=np.int16)
    return kernels.cloud_features(x, y, len(x), len(x), aspect_ratio)._asdict()


@st.composite
def extreme_clouds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Clouds up to the ends of what 16 bits hold, crowded or spread, at least 30 points."""
    pixels = st.one_of(
        st.sampled_from([LOWEST, LOWEST + 1, -1, 0, 1, HIGHEST - 1, HIGHEST]), st.integers(LOWEST, HIGHEST)
    )
    x = draw(st.lists(pixels, min_size=30, max_size=60))
    y = draw(st.lists(pixels, min_size=len(x), max_size=len(x)))
    return np.array(x, dtype=np.int16), np.array(y, dtype=np.int16)


# Equal to the reference


@settings(max_examples=300)
@given(clouds(LATTICE), ratios)
def test_of_every_kind_of_cloud_the_kernel_gives_what_the_catalogue_does(cloud, ratio):
    assert_equal_to_reference(kernel_features(*cloud, aspect_ratio=ratio), cloud, aspect_ratio=ratio)


@settings(max_examples=100)
@given(drawn_clouds(), ratios)
def test_of_any_points_the_kernel_gives_what_the_catalogue_does(cloud, ratio):
    assert_equal_to_reference(kernel_features(*cloud, aspect_ratio=ratio), cloud, aspect_ratio=ratio)


@settings(max_examples=100)
@example((np.repeat([LOWEST, HIGHEST], 20), np.tile([HIGHEST, LOWEST], 20)), 1.36)
@example((np.repeat([HIGHEST - 1, HIGHEST], [1, 59]), np.full(60, LOWEST)), 1.36)
@given(extreme_clouds(), ratios)
def test_at_the_ends_of_16_bits_nothing_overflows(cloud, ratio):
    assert_equal_to_reference(kernel_features(*cloud, aspect_ratio=ratio), cloud, aspect_ratio=ratio)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(30, 400), st.integers(1, 60), ratios)
def test_quartiles_and_bars_are_equal_wherever_borders_fall_on_values(seed, n, step, ratio):
    # Ten bars over a multiple of ten steps: every border lies on a pixel but for rounding.
    rng = np.random.default_rng(seed)
    x = step * np.concatenate([[0, 10 * (n % 9 + 1)], rng.integers(0, 10 * (n % 9 + 1), n - 2)])
    actual, expected = kernel_features(x, x, aspect_ratio=ratio), features_of(x, x, aspect_ratio=ratio)
    assert {name: actual[name] for name in COUNTED} == {name: expected[name] for name in COUNTED}


@pytest.mark.parametrize("kind", sorted(LATTICE))
@pytest.mark.parametrize("n", [30, 31, 32, 33, 6000])
def test_of_clouds_of_any_size_the_kernel_gives_what_the_catalogue_does(kind, n):
    x, y = LATTICE[kind](np.random.default_rng(7), n)
    cloud = x.astype(np.int16), y.astype(np.int16)
    assert_equal_to_reference(kernel_features(*cloud), cloud)


@pytest.mark.parametrize("low", [LOWEST, 0])
def test_of_a_hundred_thousand_points_of_all_pixels_no_sum_overflows(low):
    cloud = tuple(np.random.default_rng(2).integers(low, HIGHEST, (2, 100_000), dtype=np.int16, endpoint=True))
    assert_equal_to_reference(kernel_features(*cloud), cloud)


def test_in_the_largest_cloud_that_goes_through_the_kernel_the_largest_sums_fit():
    half = kernels.MAX_POINTS // 2
    x = np.repeat([LOWEST, HIGHEST], half)
    values = kernel_features(x, x, aspect_ratio=1.0)
    for axis in "xy":
        assert values[f"mean_{axis}"] == -0.5
        assert values[f"std_{axis}"] == 32767.5
        assert values[f"kurt_{axis}"] == pytest.approx(-2, rel=KERNEL_RELATIVE)
    assert values["angle"] == pytest.approx(np.pi / 4)
    expected = features_of(x, x, aspect_ratio=1.0)
    assert values["t_y_var"] == pytest.approx(expected["t_y_var"], rel=KERNEL_RELATIVE)


@given(clouds(LATTICE))
def test_moments_of_clouds_as_instruments_see_them_are_equal_to_twelve_digits(cloud):
    x, y = np.tile(cloud[0], 3), np.tile(cloud[1], 3)
    actual, expected = kernel_features(x, y), features_of(x, y)
    for name in ("mean_x", "mean_y", "std_x", "std_y"):
        assert actual[name] == pytest.approx(expected[name], rel=KERNEL_RELATIVE, abs=1e-12), name


# What goes through the kernels


def columns_of(x, y, dtype=np.int16) -> dict[str, np.ndarray]:
    sizes = dict.fromkeys(("width_px", "height_px"), np.full(len(x), 80, dtype))
    return {"x_px": np.array(x, dtype), "y_px": np.array(y, dtype), **sizes}


@pytest.fixture
def measured(monkeypatch):
    """The numbers of points of the clouds that the kernel was given."""
    seen, original = [], kernels.cloud_features
    monkeypatch.setattr(kernels, "cloud_features", lambda *args: seen.append(len(args[0])) or original(*args))
    return seen


def test_the_kernel_knows_all_features_of_the_catalogue_and_no_others():
    assert kernels.CloudFeatures._fields == FEATURE_NAMES


def test_a_feature_that_the_kernel_does_not_know_is_computed_by_its_function(monkeypatch, measured):
    new = replace(REFERENCE[0], name="n_points", function=lambda cloud: len(cloud.x_px))
    monkeypatch.setattr(extract, "REFERENCE", (new, *reversed(REFERENCE)))
    x, y = range(50), range(50)
    values = extract_features(columns_of(x, y), FeatureSettings()).values
    assert measured == [50]
    assert values[0] == 50
    assert_equal_to_reference(dict(zip(reversed(FEATURE_NAMES), values[1:].tolist(), strict=True)), (x, y))


def test_columns_as_files_have_them_go_through_the_kernels_however_they_lie_in_memory(measured):
    x, y = LATTICE["integers"](np.random.default_rng(1), 60)
    columns = columns_of(x, y)
    plain = extract_features(columns, FeatureSettings())
    read_only = {name: column.copy() for name, column in columns.items()}
    for column in read_only.values():
        column.setflags(write=False)
    strided = {name: np.repeat(column, 2)[::2] for name, column in columns.items()}
    for other in (read_only, strided):
        for triggers in TRIGGERS:
            again = extract_features(other, FeatureSettings(triggers))
            assert again.values.tolist() == plain.values.tolist()
    assert measured == [60] * 5
    # One compilation, which takes seconds, serves all of them.
    assert len(COMPILED.signatures) == len(kernels.points_with_image.signatures) == 1


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16, np.float32, np.float64, ">i2"])
def test_columns_of_other_numbers_go_through_the_catalogue(measured, dtype):
    x, y = np.arange(40) * 7, np.arange(40) % 11
    found = extract_features(columns_of(x, y, dtype), FeatureSettings())
    assert measured == []
    assert dict(zip(FEATURE_NAMES, found.values.tolist(), strict=True)) == features_of(x, y)


def test_where_one_column_alone_is_of_other_numbers_the_points_are_the_same(measured):
    columns = columns_of(range(40), range(40))
    wide = columns | {"width_px": columns["width_px"].astype(np.int64)}
    expected = extract_features(columns, FeatureSettings()).values.tolist()
    assert extract_features(wide, FeatureSettings()).values.tolist() == expected
    assert measured == [40, 40]


@pytest.mark.parametrize("ratio", [1e-5, 9e-4, 1001.0, 1e6])
def test_aspect_ratios_beyond_reason_go_through_the_catalogue(measured, ratio):
    found = extract_features(columns_of(range(40), range(40)), FeatureSettings(aspect_ratio=ratio))
    assert measured == []
    expected = features_of(range(40), range(40), aspect_ratio=ratio)
    assert dict(zip(FEATURE_NAMES, found.values.tolist(), strict=True)) == expected


def test_clouds_of_more_points_than_the_sums_hold_go_through_the_catalogue(monkeypatch, measured):
    monkeypatch.setattr(kernels, "MAX_POINTS", 39)
    extract_features(columns_of(range(40), range(40)), FeatureSettings())
    assert measured == []
    extract_features(columns_of(range(39), range(39)), FeatureSettings())
    assert measured == [39]


def test_columns_of_different_lengths_never_reach_a_kernel(measured):
    columns = columns_of(range(40), range(40))
    for name in columns:
        with pytest.raises((ValueError, IndexError)):
            extract_features(columns | {name: columns[name][:-1]}, FeatureSettings())
    assert measured == []


def test_features_leave_the_columns_as_they_were():
    columns = columns_of(*LATTICE["zeros"](np.random.default_rng(1), 60))
    before = {name: column.tobytes() for name, column in columns.items()}
    extract_features(columns, FeatureSettings())
    assert {name: column.tobytes() for name, column in columns.items()} == before


def test_importing_features_does_not_load_numba():
    code = (
        "import sys, ifcb_flow_pipeline.features.extract, ifcb_flow_pipeline.features.selection;"
        "print(sorted({'numba', 'llvmlite', 'ifcb_flow_pipeline.compiled'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
