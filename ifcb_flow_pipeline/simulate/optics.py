"""What the camera does to the picture: light, focus, dirt on the window, noise; and how faults change it.

``optics_of`` is the one table of what each planted fault does to the images of its bin. A defocus of
1.5 px can hardly be seen, one of 6 px leaves a shadow; dirt 8 grey levels deep shows only where many images overlap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ifcb_flow_pipeline.simulate import core
from ifcb_flow_pipeline.simulate.bins import SimulatedBin


@dataclass(frozen=True, slots=True)
class Stain:
    """Dirt on the window: a soft dark spot that stays where it is in the frame, px; ``depth`` of the light is lost."""

    x: float
    y: float
    radius_px: float
    depth: float


@dataclass(frozen=True, slots=True)
class Optics:
    """How the images of a bin are taken.

    ``light`` scales all grey values; ``light_slope`` is how much it changes from one side of the frame to the other,
    along the flow, relative to its value in the stream. ``blur_px`` is the radius of the disc that a point becomes;
    ``blur_scatter_px`` adds to it from particle to particle. ``motion_px`` is the way of a particle while the flash is
    on, ``noise_grey`` the standard deviation of the sensor's noise, ``line_grey`` how much brighter every second line
    is. The shares are of images: of air bubbles among large round boxes, of beads, and of flakes among all.
    """

    light: float = 1.0
    light_slope: float = 0.0
    blur_px: float = 0.0
    blur_scatter_px: float = 0.0
    motion_px: int = 1
    noise_grey: float = 1.8
    line_grey: float = 0.0
    stains: tuple[Stain, ...] = ()
    bubble_share: float = 0.0
    bead_share: float = 0.0
    flake_share: float = 0.1


def _between(severity: float, at_0: float, at_1: float) -> float:
    return at_0 + severity * (at_1 - at_0)


def _dirty(rng: np.random.Generator, simulated: SimulatedBin, severity: float) -> tuple[Stain, ...]:
    """Stains in the path of the stream, where images show them."""
    _, frame_height = core.FRAME_PX[simulated.schema]
    n_stains = int(rng.integers(2, 5))
    return tuple(
        Stain(
            x=simulated.conditions.x0_px + rng.normal(0, 12),
            y=rng.uniform(0.3, 0.8) * frame_height,
            radius_px=rng.uniform(4, 9),
            depth=_between(severity, 8, 50) / 190 * rng.uniform(0.8, 1.2),
        )
        for _ in range(n_stains)
    )


OpticsChange: TypeAlias = Callable[[np.random.Generator, SimulatedBin, Optics, float], Optics]

_CHANGES: Mapping[str, OpticsChange] = {
    "air": lambda _rng, _bin, optics, _severity: replace(optics, bubble_share=0.95),
    "bead_run": lambda _rng, _bin, optics, severity: replace(optics, bead_share=_between(severity, 0.6, 1.0)),
    "detritus": lambda _rng, _bin, optics, severity: replace(optics, flake_share=_between(severity, 0.15, 0.55)),
    "out_of_focus": lambda _rng, _bin, optics, severity: replace(optics, blur_px=_between(severity, 1.0, 5.0)),
    "focus_loss": lambda _rng, _bin, optics, severity: replace(optics, blur_scatter_px=_between(severity, 0.5, 4.0)),
    "edge_clipping": lambda _rng, _bin, optics, severity: replace(optics, line_grey=_between(severity, 1, 10)),
    "dim_flash": lambda _rng, _bin, optics, severity: replace(optics, light=_between(severity, 0.95, 0.55)),
    "uneven_light": lambda rng, _bin, optics, severity: replace(
        optics, light_slope=_between(severity, 0.2, 2.4) * rng.choice((-1, 1))
    ),
    "motion_blur": lambda _rng, _bin, optics, severity: replace(optics, motion_px=round(_between(severity, 3, 17))),
    "dirty_window": lambda rng, simulated, optics, severity: replace(optics, stains=_dirty(rng, simulated, severity)),
    "camera_noise": lambda _rng, _bin, optics, severity: replace(optics, noise_grey=_between(severity, 3, 12)),
}


def optics_of(simulated: SimulatedBin, lasting: np.random.Generator) -> Optics:
    """How the bin's images are taken; ``lasting`` gives the same numbers to all bins of an episode."""
    optics = Optics()
    for fault in simulated.faults:
        change = _CHANGES.get(fault.name)
        if change is not None:
            optics = change(lasting, simulated, optics, fault.severity)
    return optics
