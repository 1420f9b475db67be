"""Drawn particles of three kinds, for running the image benchmark where there are no real images."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ifcb_flow_pipeline.detection.images.training_image import TrainingImage


def drawn_images(n: int, seed: int) -> list[TrainingImage]:
    """``n`` images of chains, discs and spined cells, of two instruments, ten to a bin."""
    rng = np.random.default_rng(seed)
    kinds = {"chain": _chain, "disc": _disc, "spines": _spines}
    found = []
    for i in range(n):
        name = tuple(kinds)[i % 3]
        instrument, background = (("IFCB900", 185), ("IFCB901", 165))[(i // 10) % 4 == 3]
        pid = f"D20240101T{i // 10:06d}_{instrument}"
        dark = ndimage.gaussian_filter(kinds[name](rng), rng.uniform(0.6, 0.9))
        grey = background * rng.uniform(0.98, 1.02) * (1 - dark) + rng.normal(0, 2.3, dark.shape)
        image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        found.append(TrainingImage(f"{pid}_{i % 10 + 1:05d}", image, pid, instrument, name))
    return found


def _grid(rng: np.random.Generator, low: int, high: int) -> tuple[NDArray, NDArray]:
    height, width = rng.integers(low, high, 2)
    y, x = np.mgrid[:height, :width].astype(float)
    return y - height / 2, x - width / 2


def _chain(rng: np.random.Generator) -> NDArray:
    y, x = _grid(rng, 70, 140)
    dark = np.zeros(y.shape)
    turn = rng.uniform(-0.4, 0.4)
    for place in np.arange(-30, 31, 15):
        away = np.hypot((x - place) / 6, (y - turn * place) / rng.uniform(7, 9))
        dark += 0.25 * (away < 1) + 0.3 * (np.abs(away - 1) < 0.12)
    return dark


def _disc(rng: np.random.Generator) -> NDArray:
    y, x = _grid(rng, 64, 110)
    r = np.hypot(y, x) / rng.uniform(15, 24)
    texture = ndimage.gaussian_filter(rng.normal(0, 1, r.shape), 1.5)
    return (0.3 + 0.25 * texture) * (r < 1) + 0.3 * (np.abs(r - 1) < 0.06)


def _spines(rng: np.random.Generator) -> NDArray:
    y, x = _grid(rng, 80, 140)
    r, angle = np.hypot(y, x), np.arctan2(y, x)
    spokes = np.cos(rng.integers(4, 8) * angle + rng.uniform(0, 6))
    return 0.5 * (r < 8) + 0.4 * ((spokes > 1 - 12 / np.maximum(r, 8) ** 2) & (r < 34))
