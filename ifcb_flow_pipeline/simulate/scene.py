"""What stands before the camera: where a bin's images go in its file, and what each of them shows."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MARGIN_PX = (20, 1)
"""The acquisition grows each blob by this much on each side before it cuts the image out (``blobXgrowAmount``)."""


class Places(NamedTuple):
    """Where n images go: byte offsets in the file and boxes in the frame (px), int64 arrays of shape (n,)."""

    start: NDArray[np.int64]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    width: NDArray[np.int64]
    height: NDArray[np.int64]


class Subjects(NamedTuple):
    """What n images show, arrays of shape (n,).

    The drawing, whether it is as wide as high (1) or fills its box (0), its turn (radians), how it is mirrored (bit 0
    along the flow, bit 1 across it), how much of its contrast is there, the radius of its blur (px), the background
    relative to the mean, and the seed of its noise.
    """

    drawing: NDArray[np.int64]
    round: NDArray[np.int64]
    turn: FloatArray
    mirrored: NDArray[np.int64]
    contrast: FloatArray
    blur_px: FloatArray
    light: FloatArray
    seed: NDArray[np.uint64]
