"""Drawn particles: two kinds of cells on a noisy background, enough to train and to judge."""

import numpy as np
from scipy import ndimage

from ifcb_flow_pipeline.detection.images.training import TrainingImage


def round_cell(rng, height=56, width=64, background=180.0):
    """A dark disc with a rim."""
    y, x = np.mgrid[:height, :width]
    radius = rng.uniform(8, 14)
    r = np.hypot(y - height / 2, x - width / 2)
    grey = background * (1 - 0.33 / (1 + np.exp((r - radius) / 0.7)) - 0.22 * np.exp(-(((r - radius) / 1.5) ** 2)))
    return _recorded(grey, rng, background)


def rod(rng, height=48, width=110, background=180.0):
    """A long cell with dark spots, slightly turned."""
    y, x = np.mgrid[:height, :width]
    angle = rng.uniform(-0.2, 0.2)
    along = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
    across = -(x - width / 2) * np.sin(angle) + (y - height / 2) * np.cos(angle)
    inside = (np.abs(along) < 36) & (np.abs(across) < rng.uniform(4, 7))
    spots = ndimage.gaussian_filter(rng.random((height, width)) < 0.05, 1.0)
    return _recorded(background * (1 - inside * (0.28 + 2.2 * spots)), rng, background)


def _recorded(grey, rng, background):
    soft = ndimage.gaussian_filter(grey, 0.6)
    return np.clip(np.rint(soft + rng.normal(0, background / 80, soft.shape)), 0, 255).astype(np.uint8)


def clean_images(n, seed=0, instrument="IFCB900", background=180.0):
    """``n`` images of either kind by turns, six to a bin."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        kind = ("round", "rod")[i % 2]
        draw = {"round": round_cell, "rod": rod}[kind]
        pid = f"D20240101T{i // 6:06d}_{instrument}"
        image = draw(rng, background=background * rng.uniform(0.98, 1.02))
        found.append(TrainingImage(f"{pid}_{i % 6 + 1:05d}", image, pid, instrument, kind))
    return found
