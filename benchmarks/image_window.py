"""Dirt on the window, measured: real images in their places in the frame, stains painted over them."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import RoiTable
from ifcb_flow_pipeline.detection.images.training_image import TrainingImage
from ifcb_flow_pipeline.detection.images.window_map import WindowMap, WindowScore, score_window
from ifcb_flow_pipeline.features.images.extract import features_of_bin

_PLACE = re.compile(r"_x(\d+)_y(\d+)_")

#: Depth in grey values and radius in px of each stain.
STAINS = ((8, 5), (15, 5), (25, 5), (40, 5), (60, 9))


def window(
    training: Sequence[TrainingImage], test: Sequence[TrainingImage], seed: int = 0, draws: int = 12
) -> list[str]:
    """Share of stained bins that are worse than the worst of 100 clean ones, and that are found where they are."""
    rng = np.random.default_rng(seed)
    history = _map(training, [], rng)
    lines = ["| images looked at | " + " | ".join(f"{depth} deep, radius {radius}" for depth, radius in STAINS) + " |",
             "|---|" + "---|" * len(STAINS)]  # fmt: skip
    for n in (100, 200):
        clean = [score_window(_map(_drawn(test, n, rng), [], rng), history).z for _ in range(100)]
        threshold = np.quantile(clean, 0.99)
        cells = []
        for stain in STAINS:
            found, there = [], []
            for _ in range(draws):
                images = _drawn(test, n, rng)
                place = _busy_place(images, rng)
                score = score_window(_map(images, [(*place, *stain)], rng), history)
                found.append(score.z > threshold)
                there.append(_is_at(score, place))
            cells.append(f"{np.mean(found):.2f} (there {np.mean(there):.2f})")
        lines.append(f"| {n} | {' | '.join(cells)} |")
    return lines


def _is_at(score: WindowScore, place: tuple[int, int]) -> bool:
    return abs(score.x_px - place[0]) <= 20 and abs(score.y_px - place[1]) <= 20


def _drawn(images: Sequence[TrainingImage], n: int, rng: np.random.Generator) -> list[TrainingImage]:
    return [images[i] for i in rng.choice(len(images), n, replace=False)]


def _busy_place(images: Sequence[TrainingImage], rng: np.random.Generator) -> tuple[int, int]:
    """A place that a fifth of the images show."""
    corners = [_corner(each) for each in images]
    x, y = 0, 0
    for _ in range(500):
        at = int(rng.integers(len(images)))
        y, x = (int(corners[at][1 - axis] + rng.integers(images[at].image.shape[axis])) for axis in (0, 1))
        seen = sum(
            0 <= x - left < each.image.shape[1] and 0 <= y - top < each.image.shape[0]
            for (left, top), each in zip(corners, images, strict=True)
        )
        if 0.15 <= seen / len(images) <= 0.3:
            return x, y
    return x, y


def _corner(each: TrainingImage) -> tuple[int, int]:
    match = _PLACE.search(each.name)
    if match is None:
        raise ValueError(f"{each.name} does not say where in the frame it was")
    return int(match[1]), int(match[2])


def _map(
    images: Sequence[TrainingImage], stains: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> WindowMap:
    parts = [_stained(each, stains, rng) for each in images]
    height, width = (np.array([part.shape[axis] for part in parts]) for axis in (0, 1))
    x, y = np.array([_corner(each) for each in images]).T
    table = RoiTable(np.cumsum(height * width) - height * width, width, height, 0)
    content = np.concatenate([part.ravel() for part in parts]).tobytes()
    return WindowMap.of_bin(content, table, x, y, features_of_bin(content, table))


def _stained(
    each: TrainingImage, stains: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> NDArray[np.uint8]:
    if not stains:
        return each.image
    left, top = _corner(each)
    rows, columns = np.indices(each.image.shape)
    grey = each.image.astype(float)
    for x, y, depth, radius in stains:
        grey -= depth * np.clip((radius + 1 - np.hypot(rows + top - y, columns + left - x)) / 2, 0, 1)
    return np.clip(np.rint(grey + rng.uniform(-0.5, 0.5, grey.shape)), 0, 255).astype(np.uint8)
