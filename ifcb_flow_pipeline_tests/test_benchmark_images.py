"""The image benchmark: its faults are planted by code of its own, and its parts run on drawn images."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import image_classes, image_faults, image_splits, image_window, images
from benchmarks.drawn_images import drawn_images
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS
from ifcb_flow_pipeline.detection.images.light_detectors import LIGHT_DETECTORS
from ifcb_flow_pipeline.detection.images.training import TrainingImage
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.image_classes import labelled_images


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


def test_recall_over_splits_is_at_one_percent_of_the_clean_test_images():
    """By a recogniser that takes the first feature for the probability of a fault."""
    model = SimpleNamespace(recogniser=SimpleNamespace(predict=lambda rows: 1 - rows[:, :1]), levels={})
    clean = np.zeros((1000, len(NAMES)))
    clean[:, 0] = np.linspace(0, 0.5, 1000)
    test = SimpleNamespace(clean=clean, instruments=np.repeat("IFCB1", 1000))
    faulty = np.zeros((4, 17, 3, len(NAMES)))
    # Slight faults lie below the threshold of .495, of the clear ones half, gross ones above it.
    faulty[..., 0] = [0.4, 0.49, 0.6]
    faulty[:2, :, 1, 0] = 0.5
    found = image_splits.recall(model, test, faulty, np.repeat("IFCB1", 4), False)
    assert found == pytest.approx([0, 0.5, 1])


def test_classes_are_measured_over_splits():
    drawn = labelled_images(drawn_images(150, 0), None)
    lines = image_classes.naming(drawn, 1, ("logistic",))
    assert lines[2].startswith("| features | ")
    assert sum("IFCB901" in line for line in lines) == 1
    lines = image_classes.unseen(drawn, 1)
    assert len(lines) == 2 + len(LIGHT_DETECTORS) + 1
    (line,) = image_classes.nearest(drawn)
    assert float(line.split(": ")[1]) > 0.9
