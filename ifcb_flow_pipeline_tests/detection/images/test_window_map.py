"""Dirt on the window: seen in the frame of many images, in no single one."""

import numpy as np
import pytest

from ifcb_flow_pipeline.bins.roi import RoiTable
from ifcb_flow_pipeline.detection.images.window_map import SHAPE, WindowMap, score_window
from ifcb_flow_pipeline.features.images.extract import features_of_bin


def bin_of(seed, n=100, depth=0.0, radius=5, where=(640, 400)):
    """The map of a bin of boxes around one place, with a soft stain there."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(8, 16, n) * 8, rng.integers(6, 12, n) * 8
    x = (where[0] + rng.integers(-60, 60, n) - width // 2) // 8 * 8
    y = (where[1] + rng.integers(-50, 50, n) - height // 2) // 8 * 8
    parts = []
    for i in range(n):
        rows, columns = np.mgrid[y[i] : y[i] + height[i], x[i] : x[i] + width[i]]
        distance = np.hypot(rows - where[1], columns - where[0])
        grey = 180 + rng.normal(0, 2.2, rows.shape) - depth / (1 + np.exp((distance - radius) / 1.5))
        cell = rng.uniform(0.2, 0.8, 2) * rows.shape
        grey -= 60 * (np.hypot(rows - y[i] - cell[0], columns - x[i] - cell[1]) < 9)
        parts.append(np.clip(np.rint(grey), 0, 255).astype(np.uint8).tobytes())
    size = width * height
    table = RoiTable(np.cumsum(size) - size, width, height, 0)
    content = b"".join(parts)
    return WindowMap.of_bin(content, table, x, y, features_of_bin(content, table))


@pytest.fixture(scope="module")
def history():
    return sum((bin_of(seed) for seed in range(1, 9)), WindowMap.empty())


@pytest.fixture(scope="module")
def worst_clean(history):
    return max(score_window(bin_of(seed), history).z for seed in range(20, 30))


@pytest.mark.parametrize("depth", [8, 15, 25, 40])
def test_a_stain_of_any_depth_stands_out_where_it_is(history, worst_clean, depth):
    found = score_window(bin_of(40 + depth, depth=depth), history)
    assert found.z > worst_clean
    assert abs(found.x_px - 640) <= 16
    assert abs(found.y_px - 400) <= 16


def test_maps_are_of_the_frame_and_add_up():
    one, two = bin_of(1, n=10), bin_of(2, n=10)
    assert one.cells.shape == (5, *SHAPE)
    assert np.array_equal((one + two).cells, one.cells + two.cells)
    # Every image shows the whole cells of its box.
    assert one.cells[4].sum() > 10 * 6 * 8


def test_without_images_nothing_stands_out(history):
    found = score_window(WindowMap.empty(), history)
    assert found.z == 0
    assert found.kind == ""


def test_boxes_beyond_the_frame_are_left_out():
    assert bin_of(3, n=5, where=(3000, -500)).cells.sum() == 0
