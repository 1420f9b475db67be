"""The values of the second simulator: an instrument, the water of a run, and a run as rows."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME = (1360, 1024)
"""The camera frame of all instruments since 2010, px along and across the flow."""


@dataclass(frozen=True, slots=True)
class Rig:
    """An instrument: its acquisition program, and where and how it sees the stream (px, s, µs, mL)."""

    name: str
    software: str
    core_x: float
    slope: float
    bow: float
    core_sd: float
    y_low: float
    y_high: float
    blank: float
    double: float
    strays: float
    busy_s: float
    flight_us: float
    magnification: float
    length_s: float
    volume_ml: float
    grow: tuple[int, int]
    flash_delay: int


@dataclass(frozen=True, slots=True)
class Water:
    """What differs from run to run: expected triggers, share of chains and of frames without an image, and so on."""

    triggers: float
    core_x: float
    chains: float
    size: float
    blank: float
    temperature: float
    humidity: float
    flash_delay: int
    threshold: float


@dataclass(slots=True)
class Run:
    """A run as rows: centres ``x``, ``y`` and sizes (px, 0 without an image), all of shape (n_rows,)."""

    rig: Rig
    trigger: NDArray[np.int64]
    time: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    peak_a: NDArray[np.float64]
    peak_b: NDArray[np.float64]
    flight: NDArray[np.float64]
    busy: NDArray[np.float64]
    length_s: float
    settings: Mapping[str, Any]
    damage: tuple[str, float] = ("", 0.0)

    @property
    def n(self) -> int:
        """How many rows."""
        return len(self.time)

    def rows(self, chosen: NDArray) -> "Run":
        """The run of some rows (mask or numbers in the order of time), its triggers counted anew."""
        arrays = {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name in _ROW_NAMES}
        is_next = np.diff(arrays["trigger"], prepend=-1) != 0
        arrays["trigger"] = np.cumsum(is_next) - 1
        return replace(self, **arrays)

    def blanked(self, lost: NDArray[np.bool_]) -> "Run":
        """The run whose ``lost`` rows have no image."""
        return replace(self, width=np.where(lost, 0.0, self.width), height=np.where(lost, 0.0, self.height))

    def header(self, **values: Any) -> "Run":
        """The run with other header values."""
        return replace(self, settings={**self.settings, **values})


_ROW_NAMES = ("trigger", "time", "x", "y", "width", "height", "peak_a", "peak_b", "flight", "busy")
