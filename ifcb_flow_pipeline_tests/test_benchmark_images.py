"""The image benchmark: its faults are planted by code of its own, and its parts run on drawn images."""

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks import image_faults, image_window, images
from benchmarks.drawn_images import drawn_images
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS
from ifcb_flow_pipeline.detection.images.training import TrainingImage

pytestmark = pytest.mark.slow


def test_the_faults_are_those_of_the_training_planted_by_other_code():
    assert tuple(image_faults.FAULTS) == tuple(FAULTS)
    tree = ast.parse(Path(image_faults.__file__).read_text())
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.startswith("ifcb_flow_pipeline") for name in imported)


@pytest.mark.parametrize("kind", image_faults.FAULTS)
def test_every_fault_changes_an_image_of_any_size_at_any_severity(kind):
    rng = np.random.default_rng(0)
    for shape in ((40, 56), (90, 30)):
        image = rng.integers(120, 200, shape, np.uint8)
        for severity in range(3):
            faulty = image_faults.plant(image, kind, severity, rng)
            assert faulty.dtype == np.uint8
            assert faulty.shape != shape or (faulty != image).any()


def test_a_class_left_out_is_looked_for_with_every_detector():
    drawn = drawn_images(150, 0)
    data = images.split(drawn, 4, 0)
    lines = images.novelty(data, data.training.pids)
    assert len(lines) == 2 + 5
    assert all(0.5 < float(line.split("|")[2]) <= 1 for line in lines[2:])


def test_stains_are_painted_at_their_place_in_the_frame():
    image = np.full((40, 40), 180, np.uint8)
    each = TrainingImage("a_x100_y200_1", image, "a", "IFCB1")
    stained = image_window._stained(each, [(120, 210, 30, 5)], np.random.default_rng(0))
    assert stained[10, 20] < 160
    assert stained[30, 5] >= 179
