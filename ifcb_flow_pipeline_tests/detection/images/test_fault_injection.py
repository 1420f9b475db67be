"""Planted faults: every kind, at any severity, of any size of image."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS, SEVERITIES, background_of, noise_of, plant

from .particles import rod, round_cell


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("shape", [(8, 8), (8, 300), (61, 40)])
@pytest.mark.parametrize("severity", [0.0, 1.0])
def test_every_fault_can_be_planted_into_an_image_of_any_size(kind, shape, severity):
    image = np.random.default_rng(1).integers(150, 190, shape, np.uint8)
    faulty = plant(image, kind, severity, np.random.default_rng(2))
    assert faulty.dtype == np.uint8
    assert kind == "cut" or faulty.shape == shape
    # There is nothing to be cut from a side of 8 px.
    assert (kind == "cut" and min(shape) == 8) or not np.array_equal(faulty, image)


@pytest.mark.parametrize("kind", FAULTS)
def test_the_same_draws_plant_the_same_fault_and_leave_the_image_alone(kind):
    image = rod(np.random.default_rng(3))
    before = image.copy()
    first, second = (plant(image, kind, 0.5, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(image, before)


@pytest.mark.parametrize("kind", sorted(set(FAULTS) - {"cut", "dust", "scratch", "occluded", "bubble"}))
def test_a_gross_fault_changes_an_image_more_than_a_slight_one(kind):
    image = rod(np.random.default_rng(5)).astype(float)
    change = {0.1: 0.0, 0.9: 0.0}
    for severity in change:
        for seed in range(8):
            faulty = plant(image.astype(np.uint8), kind, severity, np.random.default_rng(seed)).astype(float)
            change[severity] += np.sqrt(np.mean((faulty - image) ** 2))
    assert change[0.9] > change[0.1]


@pytest.mark.parametrize("kind", ["defocus", "motion_blur"])
def test_blur_keeps_the_noise_of_the_sensor(kind):
    image = round_cell(np.random.default_rng(6), 120, 160)
    noise = [noise_of(plant(image, kind, 0.6, np.random.default_rng(seed)).astype(float)) for seed in range(10)]
    assert np.mean(noise) == pytest.approx(noise_of(image.astype(float)), rel=0.2)


def test_severities_cover_the_whole_range_without_a_gap():
    bounds = list(SEVERITIES.values())
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1
    assert [low for low, _ in bounds[1:]] == [high for _, high in bounds[:-1]]


def test_background_is_that_of_the_border_whatever_lies_within():
    image = np.full((40, 40), 180.0)
    image[5:35, 5:35] = 20
    assert background_of(image) == 180
