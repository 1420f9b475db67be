"""What particles look like: drawings of cells, chains, needles, detritus, bubbles and beads.

Each drawing is the share of the light that passes, ``DRAWING_PX`` large, with the particle filling it from edge to
edge; ``images`` shrinks one to the box that it is to fill. Drawn after what the public images of IFCBs show: a dark
rim with a faint bright line beside it, grainy contents, spines that are fainter than the body.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Drawing = NDArray[np.float32]

DRAWING_PX = (96, 192)
"""Height and width of every drawing."""

DRAWINGS_PER_KIND = 12
_RIM = 0.045
"""Thickness of a cell's dark rim, in half-heights of the drawing."""
_HALO = 0.10
"""How much brighter than the background the line just outside a rim is: the light that the rim bends away."""


def _grid() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Coordinates of the pixels, x and y from -1 to 1."""
    height, width = DRAWING_PX
    return np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))


def _grain(rng: np.random.Generator, size_px: float) -> NDArray[np.float64]:
    """Smooth noise of mean 0 and deviation 1, with grains ``size_px`` high that are as wide in a square box."""
    smooth = gaussian_filter(rng.standard_normal(DRAWING_PX), (size_px, 2 * size_px))
    return (smooth - smooth.mean()) / smooth.std()


def _body(depth: NDArray[np.float64], inside: NDArray[np.float64], rim: float, rim_light: float) -> Drawing:
    """A body with light ``inside``; ``depth`` is the distance from its outline, positive within it."""
    soft = np.clip(depth / 0.03 + 0.5, 0, 1)
    light = 1 + (inside - 1) * soft
    light -= (1 - rim_light) * np.exp(-(((depth - rim) / rim) ** 2)) * soft
    light += _HALO * np.exp(-(((depth + 1.6 * rim) / rim) ** 2)) * _within_drawing()
    return light.astype(np.float32)


def _within_drawing() -> NDArray[np.float64]:
    """1, and near the drawing's border less and less: no halo ends in an edge."""
    x, y = _grid()
    return np.clip((1 - np.maximum(np.abs(x), np.abs(y))) / 0.08, 0, 1)


def _round_cell(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    power = rng.uniform(1.8, 2.8)
    narrow = 1 - rng.uniform(0, 0.35) * x
    radius = (np.abs(x) ** power + np.abs(y / np.maximum(narrow, 0.3)) ** power) ** (1 / power)
    darkness = rng.uniform(0.15, 0.5)
    grains = 0.10 * _grain(rng, 2.0) + 0.07 * _grain(rng, 6.0)
    return _body(0.93 - radius, 1 - darkness + grains, _RIM, rng.uniform(0.35, 0.6))


def _clear_cell(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    power = rng.uniform(2.5, 6)
    radius = (np.abs(x) ** power + np.abs(y) ** power) ** (1 / power)
    inside = np.full(DRAWING_PX, rng.uniform(0.82, 0.95))
    for _ in range(rng.integers(2, 9)):
        at_x, at_y = rng.uniform(-0.6, 0.6, 2)
        inside -= rng.uniform(0.2, 0.45) * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / rng.uniform(0.01, 0.05))
    return _body(0.93 - radius, inside + 0.02 * _grain(rng, 2.0), _RIM, rng.uniform(0.3, 0.5))


def _dark_cell(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    inside = rng.uniform(0.3, 0.6) + 0.06 * _grain(rng, 5.0)
    return _body(0.92 - np.hypot(x, y), inside, 2 * _RIM, 0.8)


def _chain(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    n_cells = int(rng.integers(2, 8))
    within = (x + 1) / 2 * n_cells
    from_centre = 2 * (within - np.floor(within)) - 1
    bend = rng.uniform(-0.25, 0.25) * (x**2 - 0.4)
    half_height = rng.uniform(0.35, 0.6)
    across = (y - bend) / half_height
    radius = (np.abs(from_centre * 0.98) ** 5 + np.abs(across) ** 5) ** 0.2
    inside = 0.78 - 0.3 * np.exp(-(from_centre**2 + across**2) / 0.15) + 0.05 * _grain(rng, 2.5)
    light = _body((0.9 - radius) * half_height, inside, _RIM, 0.45)
    return light * _spines(rng, bend, n_cells)


def _spines(rng: np.random.Generator, bend: NDArray[np.float64], n_cells: int) -> Drawing:
    """Fine lines from the joints of a chain outwards, as the share of light that passes."""
    x, y = _grid()
    light = np.ones(DRAWING_PX)
    for joint in np.linspace(-1, 1, n_cells + 1):
        for side in (-1, 1):
            lean = rng.uniform(-0.5, 0.5)
            off_line = (x - joint - lean * np.abs(y - bend)) * 2
            light -= 0.16 * np.exp(-((off_line / 0.03) ** 2)) * (side * (y - bend) > 0.3)
    return light.astype(np.float32)


def _needle(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    thickness = 0.75 * np.clip(1 - np.abs(x) ** rng.uniform(1.5, 4), 0, 1)
    tilt = rng.uniform(-0.3, 0.3) * x
    depth = thickness - np.abs(y - tilt)
    inside = 0.45 + 0.45 * np.exp(-((x / 0.08) ** 2)) + 0.08 * _grain(rng, 3.0)
    return _body(0.4 * depth, inside, _RIM, 0.75)


def _spined_cell(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    body = rng.uniform(0.3, 0.5)
    light = _body(body - np.hypot(x * 1.6, y), 0.6 + 0.1 * _grain(rng, 2.5), _RIM, 0.4)
    angle, radius = np.arctan2(y, x * 1.6), np.hypot(x * 1.6, y)
    for spine in rng.uniform(-np.pi, np.pi, rng.integers(3, 7)):
        off_line = np.abs(np.angle(np.exp(1j * (angle - spine)))) * radius
        light -= (0.3 * np.exp(-((off_line / 0.05) ** 2)) * (radius > 0.9 * body)).astype(np.float32)
    return light


def _flake(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    ragged = 0.62 + 0.16 * _grain(rng, 9.0) + 0.05 * _grain(rng, 3.0)
    depth = ragged - (x**2 + y**2) / 2 - 0.5 * np.maximum(np.maximum(np.abs(x), np.abs(y)) - 0.85, 0) * 8
    inside = rng.uniform(0.45, 0.8) + 0.12 * _grain(rng, 3.0) + 0.1 * _grain(rng, 8.0)
    return _body(0.5 * depth, inside, 0.6 * _RIM, 0.7)


def _bubble(rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    radius = np.hypot(x, y)
    ring = 0.9 * np.exp(-(((radius - 0.78) / rng.uniform(0.14, 0.2)) ** 2))
    core = 0.12 * np.exp(-((radius / 0.3) ** 2))
    return (1 + (core - ring) * np.clip((1 - radius) / 0.05, 0, 1)).astype(np.float32)


def _bead(_rng: np.random.Generator) -> Drawing:
    x, y = _grid()
    radius = np.hypot(x, y)
    light = 0.2 * np.exp(-((radius / 0.35) ** 2)) - 0.65 * np.exp(-(((radius - 0.7) / 0.22) ** 2))
    return (1 + light * np.clip((1 - radius) / 0.05, 0, 1)).astype(np.float32)


_KINDS: Mapping[str, Callable[[np.random.Generator], Drawing]] = {
    "round_cell": _round_cell,
    "clear_cell": _clear_cell,
    "dark_cell": _dark_cell,
    "spined_cell": _spined_cell,
    "chain": _chain,
    "needle": _needle,
    "flake": _flake,
    "bubble": _bubble,
    "bead": _bead,
}
KINDS = tuple(_KINDS)
COMPACT = ("round_cell", "clear_cell", "dark_cell", "spined_cell", "flake")
"""Kinds in boxes whose particle is about as high as it is wide."""
ROUND = ("bubble", "bead")
"""Kinds that are as wide as high in any box."""
LONG = ("chain", "needle", "chain", "flake")
"""Kinds in boxes of long particles; half of them are chains."""


@lru_cache(maxsize=2)
def drawings(seed: int = 0) -> Drawing:
    """All drawings, shape (len(KINDS) * DRAWINGS_PER_KIND, *DRAWING_PX), kind by kind in the order of ``KINDS``."""
    rng = np.random.default_rng(seed)
    return np.stack([np.clip(draw(rng), 0.02, 1.3) for draw in _KINDS.values() for _ in range(DRAWINGS_PER_KIND)])
