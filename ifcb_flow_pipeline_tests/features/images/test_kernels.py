"""The compiled image features: held equal to the slow definitions, whatever bytes an image has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import features_of_images

from .oracle import features

#: Of a value's size, of 1 where it is smaller.
TOLERANCE = 1e-9


def particle(seed, height=60, width=90, background=170):
    """A soft dark blob on a noisy background."""
    rng = np.random.default_rng(seed)
    blob = ndimage.gaussian_filter(rng.random((height, width)) < 0.02, rng.uniform(1, 4))
    grey = background - 120 * blob / max(blob.max(), 1e-9) + rng.normal(0, 2, blob.shape)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def assert_as_defined(*images):
    for image, row in zip(images, features_of_images(images), strict=True):
        expected = features(image)
        for name, value in zip(NAMES, row, strict=True):
            assert abs(value - expected[name]) <= TOLERANCE * max(1, abs(expected[name])), (name, image.shape)


sides = st.integers(5, 48)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), sides, sides, st.integers(20, 250))
def test_of_particles_the_kernel_gives_what_is_defined(seed, height, width, background):
    assert_as_defined(particle(seed, height, width, background))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), sides, sides, st.sampled_from([0.03, 0.3, 0.5, 0.7, 0.97]))
def test_of_tangled_blobs_with_holes_the_kernel_gives_what_is_defined(seed, height, width, share):
    rng = np.random.default_rng(seed)
    assert_as_defined(np.where(rng.random((height, width)) < share, 40, 200).astype(np.uint8))


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), sides, sides, st.integers(0, 255), st.integers(0, 255))
def test_of_any_bytes_the_kernel_gives_what_is_defined(seed, height, width, low, high):
    rng = np.random.default_rng(seed)
    assert_as_defined(rng.integers(min(low, high), max(low, high), (height, width), np.uint8, endpoint=True))


@pytest.mark.parametrize("grey", [0, 1, 29, 30, 31, 200, 255])
@pytest.mark.parametrize("shape", [(5, 5), (5, 6), (7, 40), (33, 5)])
def test_of_an_image_of_one_grey_value_all_is_finite_and_as_defined(grey, shape):
    assert_as_defined(np.full(shape, grey, np.uint8))


def test_nothing_overflows_in_the_largest_images_with_the_steepest_edges():
    stripes = np.tile(np.repeat(np.array([0, 255], np.uint8), 2), (2048, 512))
    halves = np.repeat(np.array([0, 255], np.uint8), 1024)[None, :].repeat(2048, axis=0)
    assert_as_defined(stripes, np.ascontiguousarray(stripes.T), np.ascontiguousarray(halves.T))


def test_of_two_blobs_of_the_same_area_the_first_is_described():
    image = np.full((30, 40), 200, np.uint8)
    image[20:22, 2:14] = 50
    image[3:9, 30:34] = 50
    assert_as_defined(image)
    assert features(image)["eccen"] < 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (4, 4), (4, 100), (0, 10), (2049, 6), (6, 2049)])
def test_an_image_with_a_side_too_short_or_too_long_has_no_features_and_hinders_no_other(shape):
    rows = features_of_images([particle(1), np.full(shape, 100, np.uint8), particle(2)])
    assert np.isnan(rows[1]).all()
    assert np.isfinite(rows[[0, 2]]).all()


def test_no_images_give_no_rows():
    assert features_of_images([]).shape == (0, len(NAMES))


def test_features_of_an_image_do_not_depend_on_the_images_before_it():
    images = [particle(seed, 20 + 7 * seed, 90 - 8 * seed) for seed in range(8)]
    together = features_of_images(images)
    alone = np.concatenate([features_of_images([image]) for image in reversed(images)])[::-1]
    assert np.array_equal(together, alone)


def test_twice_the_light_changes_only_the_background():
    image = np.clip(particle(3, background=100), 20, 127)
    dim, bright = features_of_images([image, (2 * image).astype(np.uint8)])
    same = [name not in ("background", "entropy") for name in NAMES]
    # Thresholds are whole grey values of the file, which differ a little.
    assert np.allclose(dim[same], bright[same], rtol=0.02, atol=0.02)
    assert bright[NAMES.index("background")] == 2 * dim[NAMES.index("background")]


def test_a_particle_turned_upside_down_keeps_what_has_no_direction():
    image = particle(4, 64, 64)
    rows = features_of_images([image, np.ascontiguousarray(image[::-1])])
    for name in ("mean", "sd", "entropy", "lap_var", "noise", "obj_frac", "n_blobs", "major", "minor", "holes"):
        assert np.isclose(*rows[:, NAMES.index(name)], rtol=1e-6), name
    slope = rows[:, NAMES.index("bg_grad_y")]
    assert np.isclose(slope[0], -slope[1])


def test_a_smeared_image_correlates_negatively_at_the_length_of_its_smear():
    image = particle(5, 80, 120)
    smeared = np.rint(ndimage.uniform_filter1d(image.astype(float), 9, axis=1)).astype(np.uint8)
    assert features_of_images([smeared])[0, NAMES.index("smear_lag")] == 9


def test_a_double_image_has_an_echo_at_its_shift():
    image = 150 + 60 * ndimage.gaussian_filter(np.random.default_rng(6).normal(0, 2, (80, 120)), 1)
    double = 0.6 * image + 0.4 * np.roll(image, 11, axis=1)
    rows = features_of_images([np.rint(each).astype(np.uint8) for each in (image, double)])
    assert rows[1, NAMES.index("echo_lag")] == 11
    assert rows[1, NAMES.index("echo_x")] > rows[0, NAMES.index("echo_x")]
