"""The images of a simulated bin: particles on the instrument's background, as its camera takes them.

In the order of nature: the light that comes through the window, less what the particle takes away, blurred by
focus and motion, scaled by the flash, with the sensor's noise on top. Every image depends on the bin's generator and
its own number alone. Shares no code with what looks at images (``features/images``, ``detection/images``).
"""

from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ifcb_flow_pipeline.simulate import core
from ifcb_flow_pipeline.simulate.bins import SimulatedBin
from ifcb_flow_pipeline.simulate.optics import Optics, Stain, optics_of
from ifcb_flow_pipeline.simulate.particles import COMPACT, DRAWINGS_PER_KIND, KINDS, LONG, ROUND, drawings
from ifcb_flow_pipeline.simulate.scene import MARGIN_PX, Places, Subjects

FloatArray = NDArray[np.float64]

GREY_RANGE = (172, 206)
"""Mean background of instruments, grey levels; of the public images it is 147 to 209."""
LONG_ASPECT = 2.0
"""A particle that is this many times longer than high is drawn as a chain, a needle or the like."""
BUBBLE_PX, BUBBLE_ASPECT = 55, 1.5
"""The least height of a particle that may be a bubble, and how far from round."""


def roi_bytes(simulated: SimulatedBin, rng: np.random.Generator) -> bytes:
    """Return the ``.roi`` file: 8-bit images in the order of the rows, after one dummy byte in v1."""
    # Imported late: numba takes half a second to load, and most archives are simulated without images.
    from ifcb_flow_pipeline.simulate.exposure import expose

    lead = 1 if simulated.schema == "v1" else 0
    places = _places(simulated, lead)
    pixels = np.zeros(lead + int((places.width * places.height).sum()), np.uint8)
    lasting = np.random.default_rng([simulated.conditions.lasting_seed, crc32(b"optics")])
    optics = optics_of(simulated, lasting)
    subjects = _subjects(rng, places, optics)
    window = _window(simulated, optics)
    expose(pixels, places, subjects, drawings(), window, optics.motion_px, optics.noise_grey, optics.line_grey)
    return pixels.tobytes()


def _places(simulated: SimulatedBin, lead: int) -> Places:
    has_image = simulated.has_image
    x, y, width, height = (
        simulated.columns[name][has_image].astype(np.int64) for name in ("roi_x", "roi_y", "roi_width", "roi_height")
    )
    sizes = width * height
    return Places(lead + np.cumsum(sizes) - sizes, x, y, width, height)


def _subjects(rng: np.random.Generator, places: Places, optics: Optics) -> Subjects:
    n = places.start.size
    particle_width = np.maximum(places.width - 2 * MARGIN_PX[0], 4)
    particle_height = np.maximum(places.height - 2 * MARGIN_PX[1], 4)
    kind = _kinds(rng, particle_width / particle_height, particle_height, optics)
    is_round = np.isin(kind, [KINDS.index(name) for name in ROUND])
    return Subjects(
        drawing=kind * DRAWINGS_PER_KIND + rng.integers(0, DRAWINGS_PER_KIND, n),
        round=is_round.astype(np.int64),
        # Long ones that were turned any further would leave their box.
        turn=np.where(is_round, rng.uniform(-np.pi, np.pi, n), rng.normal(0, 0.08, n)),
        mirrored=rng.integers(0, 4, n),
        contrast=np.clip(rng.lognormal(-0.1, 0.25, n), 0.35, 1.15),
        blur_px=np.abs(optics.blur_px + np.abs(rng.normal(0, 1, n)) * optics.blur_scatter_px),
        light=rng.normal(1, 0.006, n),
        seed=rng.integers(1, 2**63, n, dtype=np.uint64),
    )


def _kinds(rng: np.random.Generator, aspect: FloatArray, height: FloatArray, optics: Optics) -> NDArray[np.int64]:
    """Numbers in ``KINDS`` of particles of these aspects (width by height) and heights (px), shape (n,)."""
    n = aspect.size
    of_compact, of_long = (np.array([KINDS.index(name) for name in names]) for names in (COMPACT, LONG))
    kind = np.where(aspect > LONG_ASPECT, rng.choice(of_long, n), rng.choice(of_compact, n))
    kind[rng.random(n) < optics.flake_share] = KINDS.index("flake")
    kind[rng.random(n) < optics.bead_share] = KINDS.index("bead")
    may_be_bubble = (height >= BUBBLE_PX) & (aspect < BUBBLE_ASPECT) & (aspect > 1 / BUBBLE_ASPECT)
    kind[may_be_bubble & (rng.random(n) < optics.bubble_share)] = KINDS.index("bubble")
    return kind


def _window(simulated: SimulatedBin, optics: Optics) -> NDArray[np.float32]:
    """The grey levels of the empty frame, shape (height, width)."""
    clean = _clean_window(simulated.instrument.name, simulated.schema)
    width = clean.shape[1]
    # The stream itself stays as bright as it was: what falls off is the light beside it.
    slope = 1 + optics.light_slope * (np.arange(width) - simulated.conditions.x0_px) / width
    window = clean * (optics.light * np.clip(slope, 0.05, None)).astype(np.float32)
    for stain in optics.stains:
        _lay(stain, window)
    return window


def _lay(stain: Stain, window: NDArray[np.float32]) -> None:
    height, width = window.shape
    across = np.arange(width) - stain.x
    down = np.arange(height)[:, None] - stain.y
    edge = np.clip((stain.radius_px - np.hypot(across, down)) / 3 + 0.5, 0, 1)
    window *= (1 - stain.depth * edge).astype(np.float32)


@lru_cache(maxsize=8)
def _clean_window(instrument: str, schema: core.Schema) -> NDArray[np.float32]:
    """The empty frame of an instrument in order: its mean grey, a slow unevenness, a fixed pattern of fine grains."""
    rng = np.random.default_rng(crc32(instrument.encode()))
    width, height = core.FRAME_PX[schema]
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slow = rng.normal(0, 0.012, 4) @ np.stack([x, y, x**2 - 1 / 3, x * y]).reshape(4, -1)
    grains = gaussian_filter(rng.standard_normal((height // 4, width // 4)), 1.5)
    fine = np.repeat(np.repeat(grains / grains.std(), 4, axis=0), 4, axis=1)[:height, :width]
    grey = rng.uniform(*GREY_RANGE)
    fixed = np.ones((height, width)) + slow.reshape(height, width)
    fixed[: fine.shape[0], : fine.shape[1]] += 0.003 * fine
    return (grey * fixed).astype(np.float32)
