"""Faults planted into the clouds of healthy bins, to see which of two models finds them.

They are crude on purpose, one plain change each: a model in use must see these whatever else it sees. They say nothing
of how often a real fault is found; ``benchmarks/`` measures that on simulated runs of an instrument.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import Schema

Columns = Mapping[str, NDArray]

#: Positions lie on a lattice of so many px; what is planted must, or the lattice alone would give it away.
_LATTICE_PX = 8


def inject(fault: str, columns: Columns, schema: Schema, seed: int) -> dict[str, NDArray]:
    """A bin's columns with a fault planted into them; ``columns`` are as read, each of shape (lines,).

    ``fault``: a key of INJECTED, the code of the cause that a model should suspect. The same seed plants the same.
    """
    return INJECTED[fault](dict(columns), schema, np.random.default_rng(seed))


def _air(columns: dict[str, NDArray], schema: Schema, random: np.random.Generator) -> dict[str, NDArray]:
    """Half of the images lie anywhere in the frame, and are twice as large."""
    chosen = has_image(columns) & (random.random(len(columns["x_px"])) < 0.5)
    width, height = (np.where(chosen, 2 * columns[name], columns[name]) for name in ("width_px", "height_px"))
    frame = FRAME_PX[schema]
    width, height = np.minimum(width, frame[0]), np.minimum(height, frame[1])
    x = np.minimum(_on_lattice(random.random(len(width)) * (frame[0] - width), columns["x_px"]), frame[0] - width)
    y = np.minimum(_on_lattice(random.random(len(height)) * (frame[1] - height), columns["y_px"]), frame[1] - height)
    return _with(
        columns,
        x_px=np.where(chosen, x, columns["x_px"]),
        y_px=np.where(chosen, y, columns["y_px"]),
        width_px=width,
        height_px=height,
    )


def _sheath_flow(columns: dict[str, NDArray], schema: Schema, _: np.random.Generator) -> dict[str, NDArray]:
    """The core is six times as wide along the flow."""
    centre = _median_of_images(columns, "x_px")
    return _moved(columns, "x_px", 5.0 * (columns["x_px"] - centre), FRAME_PX[schema][0])


def _alignment(columns: dict[str, NDArray], schema: Schema, _: np.random.Generator) -> dict[str, NDArray]:
    """The camera is rotated: x rises by 0.3 px for each px of y."""
    centre = _median_of_images(columns, "y_px")
    return _moved(columns, "x_px", 0.3 * (columns["y_px"] - centre), FRAME_PX[schema][0])


def _laser(columns: dict[str, NDArray], schema: Schema, _: np.random.Generator) -> dict[str, NDArray]:
    """The core lies 120 px to the left."""
    return _moved(columns, "x_px", np.full(len(columns["x_px"]), -120.0), FRAME_PX[schema][0])


def _stain(columns: dict[str, NDArray], schema: Schema, random: np.random.Generator) -> dict[str, NDArray]:
    """Four images in ten are of one and the same box off the core."""
    chosen = has_image(columns) & (random.random(len(columns["x_px"])) < 0.4)
    if not chosen.any():
        return columns
    one = int(np.flatnonzero(chosen)[0])
    frame = FRAME_PX[schema][0]
    away = -240 if columns["x_px"][one] > frame // 2 else 240
    box = {name: columns[name][one] for name in ("x_px", "y_px", "width_px", "height_px")} | {
        "x_px": columns["x_px"][one] + away
    }
    return _with(columns, **{name: np.where(chosen, value, columns[name]) for name, value in box.items()})


def _clog(columns: dict[str, NDArray], _: Schema, random: np.random.Generator) -> dict[str, NDArray]:
    """From four tenths of the run on, one trigger in ten is left."""
    n = len(columns["x_px"])
    kept = (np.arange(n) < 0.4 * n) | (random.random(n) < 0.1)
    kept[-1:] = True  # the run lasts as long as it did
    fewer = {name: values[kept] for name, values in columns.items()}
    # The instrument counts on: a gap in the numbers would be another fault.
    return _with(fewer, trigger=np.unique(fewer["trigger"], return_inverse=True)[1] + 1)


def _electronics(columns: dict[str, NDArray], _: Schema, random: np.random.Generator) -> dict[str, NDArray]:
    """Six triggers in ten have no image."""
    lost = random.random(len(columns["x_px"])) < 0.6
    empty = dict.fromkeys(("x_px", "y_px", "width_px", "height_px"), 0)
    return _with(columns, **{name: np.where(lost, value, columns[name]) for name, value in empty.items()})


#: The faults that can be planted, by the code of their cause.
INJECTED: Mapping[str, Callable[[dict[str, NDArray], Schema, np.random.Generator], dict[str, NDArray]]] = {
    "air": _air,
    "sheath_flow": _sheath_flow,
    "alignment": _alignment,
    "laser": _laser,
    "stain": _stain,
    "clog": _clog,
    "electronics": _electronics,
}


def _moved(columns: dict[str, NDArray], name: str, by: NDArray[np.float64], limit: int) -> dict[str, NDArray]:
    moved = columns[name] + _LATTICE_PX * np.rint(by / _LATTICE_PX)
    inside = np.clip(moved, 0, limit - columns["width_px"])
    return _with(columns, **{name: np.where(has_image(columns), inside, columns[name])})


def _on_lattice(values: NDArray[np.float64], like: NDArray) -> NDArray:
    return _LATTICE_PX * (values // _LATTICE_PX) + np.mod(like, _LATTICE_PX)


def _median_of_images(columns: Columns, name: str) -> float:
    values = columns[name][has_image(columns)]
    return float(np.median(values)) if values.size else 0.0


def _with(columns: dict[str, NDArray], **changed: NDArray) -> dict[str, NDArray]:
    return columns | {name: np.asarray(values).astype(columns[name].dtype) for name, values in changed.items()}
