"""Clouds for the tests, and the features of a cloud by name."""

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st

from ifcb_flow_pipeline.features.catalogue import REFERENCE
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO, PointCloud


def features_of(x_px, y_px, *, n_rows=None, n_images=None, aspect_ratio=DEFAULT_ASPECT_RATIO) -> dict[str, float]:
    """The features of a cloud in file order, all of its points being images unless told otherwise."""
    x_px, y_px = np.asarray(x_px), np.asarray(y_px)
    cloud = PointCloud(x_px, y_px, n_rows or len(x_px), len(x_px) if n_images is None else n_images, aspect_ratio)
    return {feature.name: float(feature.function(cloud)) for feature in REFERENCE}


def _stripe(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A healthy bin: narrow in x, broad in y, on the lattice of 8 px."""
    return 8 * rng.normal(120, 2, n).round() - 20, 8 * rng.normal(75, 23, n).round() + 1


def _integers(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(-11, 1361, n), rng.integers(-11, 1025, n)


def _ties(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 4, n) * 3, rng.integers(0, 3, n) * 8


def _zeros(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Most triggers without an image."""
    seen = rng.random(n) < 0.2
    x, y = _stripe(rng, n)
    return np.where(seen, x, 0), np.where(seen, y, 0)


def _floats(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.uniform(0, 1360, n), rng.gamma(2, 100, n)


def _tilted(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    along, across, angle = rng.normal(0, 150, n), rng.normal(0, 20, n), rng.uniform(-np.pi, np.pi)
    return 600 + along * np.cos(angle) - across * np.sin(angle), 500 + along * np.sin(angle) + across * np.cos(angle)


def _thin(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A line with a stray or two."""
    x, slope = rng.integers(0, 1000, n), rng.integers(-3, 4)
    y = slope * x + 3000
    y[: rng.integers(0, 3)] += 1
    return x, y


def _vertical(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, rng.integers(0, 1360)), rng.integers(0, 1024, n)


def _horizontal(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 1360, n), np.full(n, rng.integers(0, 1024))


def _point(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full(n, rng.integers(0, 1360)), np.full(n, rng.integers(0, 1024))


Maker = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
LATTICE: Mapping[str, Maker] = {
    "stripe": _stripe,
    "integers": _integers,
    "ties": _ties,
    "zeros": _zeros,
    "thin": _thin,
    "vertical": _vertical,
    "horizontal": _horizontal,
    "point": _point,
}
CONTINUOUS: Mapping[str, Maker] = {"floats": _floats, "tilted": _tilted}
ALL: Mapping[str, Maker] = {**LATTICE, **CONTINUOUS}


@st.composite
def clouds(draw: st.DrawFn, makers: Mapping[str, Maker] = ALL) -> tuple[np.ndarray, np.ndarray]:
    """Clouds of x and y in px, shape (n,), n >= 30; integers where the file could state them."""
    kind = draw(st.sampled_from(sorted(makers)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = makers[kind](rng, draw(st.integers(30, 120)))
    if kind in LATTICE:
        return x.astype(np.int16), y.astype(np.int16)
    return x, y


@st.composite
def drawn_clouds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Clouds whose every point Hypothesis chooses, so that it can shrink them."""
    pixels = st.integers(-11, draw(st.sampled_from([-8, 5, 1360, 32_767])))
    points = draw(st.lists(st.tuples(pixels, pixels), min_size=30, max_size=45))
    x, y = np.array(points, dtype=np.int16).T
    return x, y
