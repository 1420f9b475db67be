"""The compiled part of drawing images: some ten thousand images a second."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.simulate.scene import MARGIN_PX, Places, Subjects

_MARGIN_X, _MARGIN_Y = MARGIN_PX
_LARGEST_BLUR_PX = 12.0
# The sum of four bytes has mean 510 and this standard deviation.
_BYTES_MEAN, _BYTES_SD = 510.0, 147.8


def expose(
    pixels: NDArray[np.uint8],
    places: Places,
    subjects: Subjects,
    drawings: NDArray[np.float32],
    window: NDArray[np.float32],
    motion_px: int,
    noise_grey: float,
    line_grey: float,
) -> None:
    """Write n images into ``pixels``, of ``drawings`` (m, height, width), the light that passes, on the empty frame."""
    _expose(pixels, places, subjects, drawings, window, motion_px, noise_grey, line_grey)


@kernel
def _expose(
    pixels: Any, places: Any, subjects: Any, drawings: Any, window: Any, motion_px: int, noise_grey: float,
    line_grey: float,
) -> None:  # fmt: skip
    for image in range(places.start.size):
        width, height = places.width[image], places.height[image]
        scene = np.empty((height, width), np.float32)
        _paint(scene, drawings[subjects.drawing[image]], subjects, image)
        _through(scene, window, places.x[image], places.y[image], subjects.light[image])
        scene = _soften(scene)
        if subjects.blur_px[image] > 0.5:
            scene = _defocus(scene, min(subjects.blur_px[image], _LARGEST_BLUR_PX))
        if motion_px > 1:
            scene = _smear(scene, motion_px)
        start = places.start[image]
        _read_out(scene, pixels[start : start + width * height], noise_grey, line_grey, subjects.seed[image])


@part
def _paint(scene: Any, drawing: Any, subjects: Any, image: int) -> None:
    """Lay the drawing into the image: stretched to the box but for its margins, turned, mirrored."""
    height, width = scene.shape
    rows, columns = drawing.shape
    half_width = max(width / 2 - _MARGIN_X, 2.0)
    half_height = max(height / 2 - _MARGIN_Y, 2.0)
    if subjects.round[image]:
        half_width = half_height = min(half_width, half_height)
    cosine, sine = np.cos(subjects.turn[image]), np.sin(subjects.turn[image])
    flip_x = -1.0 if subjects.mirrored[image] & 1 else 1.0
    flip_y = -1.0 if subjects.mirrored[image] & 2 else 1.0
    contrast = subjects.contrast[image]
    for i in range(height):
        down = (i + 0.5 - height / 2) / half_height
        for j in range(width):
            across = (j + 0.5 - width / 2) / half_width
            u = (flip_x * (cosine * across - sine * down) + 1) / 2 * (columns - 1)
            v = (flip_y * (sine * across + cosine * down) + 1) / 2 * (rows - 1)
            light = 1.0
            if 0 <= u < columns - 1 and 0 <= v < rows - 1:
                left, top = int(u), int(v)
                p, q = u - left, v - top
                light = (1 - q) * ((1 - p) * drawing[top, left] + p * drawing[top, left + 1]) + q * (
                    (1 - p) * drawing[top + 1, left] + p * drawing[top + 1, left + 1]
                )
            scene[i, j] = 1 + contrast * (light - 1)


@part
def _through(scene: Any, window: Any, x: int, y: int, light: float) -> None:
    """Multiply by the light that comes through the window at the image's place."""
    height, width = scene.shape
    for i in range(height):
        for j in range(width):
            scene[i, j] *= light * window[min(y + i, window.shape[0] - 1), min(x + j, window.shape[1] - 1)]


@part
def _soften(scene: Any) -> Any:
    """The resolution of the objective: a binomial of 3 x 3 px."""
    height, width = scene.shape
    across, result = np.empty_like(scene), np.empty_like(scene)
    for i in range(height):
        for j in range(width):
            left, right = scene[i, max(j - 1, 0)], scene[i, min(j + 1, width - 1)]
            across[i, j] = np.float32(0.25) * (left + right) + np.float32(0.5) * scene[i, j]
    for i in range(height):
        above, below = max(i - 1, 0), min(i + 1, height - 1)
        for j in range(width):
            result[i, j] = np.float32(0.25) * (across[above, j] + across[below, j]) + np.float32(0.5) * across[i, j]
    return result


@part
def _defocus(scene: Any, radius: float) -> Any:
    """Spread each point over a disc; what lies outside the image looks like its border."""
    height, width = scene.shape
    reach = int(np.ceil(radius))
    disc = np.empty((2 * reach + 1, 2 * reach + 1), np.float32)
    for di in range(-reach, reach + 1):
        for dj in range(-reach, reach + 1):
            disc[di + reach, dj + reach] = min(max(radius + 0.5 - np.sqrt(di * di + dj * dj), 0.0), 1.0)
    disc /= disc.sum()
    wide = _with_border(scene, reach)
    result = np.zeros_like(scene)
    for di in range(2 * reach + 1):
        for dj in range(2 * reach + 1):
            share = disc[di, dj]
            if share > 0:
                for i in range(height):
                    for j in range(width):
                        result[i, j] += share * wide[i + di, j + dj]
    return result


@part
def _with_border(scene: Any, reach: int) -> Any:
    height, width = scene.shape
    wide = np.empty((height + 2 * reach, width + 2 * reach), np.float32)
    for i in range(height + 2 * reach):
        for j in range(width + 2 * reach):
            wide[i, j] = scene[min(max(i - reach, 0), height - 1), min(max(j - reach, 0), width - 1)]
    return wide


@part
def _smear(scene: Any, motion_px: int) -> Any:
    """Average along the flow."""
    height, width = scene.shape
    result = np.empty_like(scene)
    first = -(motion_px // 2)
    for i in range(height):
        for j in range(width):
            total = 0.0
            for dj in range(first, first + motion_px):
                total += scene[i, min(max(j + dj, 0), width - 1)]
            result[i, j] = total / motion_px
    return result


@part
def _read_out(scene: Any, pixels: Any, noise_grey: float, line_grey: float, seed: np.uint64) -> None:
    """Add the noise of the sensor, brighten every second line, and round to whole grey levels."""
    height, width = scene.shape
    state = seed
    for i in range(height):
        line = line_grey if i & 1 else 0.0
        for j in range(width):
            state ^= state << np.uint64(13)
            state ^= state >> np.uint64(7)
            state ^= state << np.uint64(17)
            total = np.int64(0)
            for byte in range(4):
                total += np.int64((state >> np.uint64(8 * byte + 16)) & np.uint64(255))
            noise = (total - _BYTES_MEAN) / _BYTES_SD * noise_grey
            pixels[i * width + j] = np.uint8(min(max(scene[i, j] + line + noise + 0.5, 0.0), 255.0))
