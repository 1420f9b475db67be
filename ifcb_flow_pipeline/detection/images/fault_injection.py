"""Faults planted into clean images, to train a recogniser of faults for which nobody has labelled real images.

Every kind comes in varieties, for real faults do, too: lenses blur by discs and by bell curves, dirt is soft or hard.
Steps that average lower the noise of the sensor, which the fault of a real instrument does not: it is put back. A
recogniser that is trained without that learns to look at noise.
"""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal
from scipy.special import expit

from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.features.images.definitions import MAD_TO_SD

Grey = NDArray[np.float64]

#: Severities from barely visible to gross lie between 0 and 1; these are the thirds.
SEVERITIES: Final[Mapping[str, tuple[float, float]]] = {
    "slight": (0.0, 1 / 3),
    "clear": (1 / 3, 2 / 3),
    "gross": (2 / 3, 1.0),
}

#: Luminance quantisation of JPEG (ITU-T T.81, table K.1).
_JPEG: Final = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61], [12, 12, 14, 19, 26, 58, 60, 55], [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62], [18, 22, 37, 56, 68, 109, 103, 77], [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101], [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip


def plant(image: Image, kind: str, severity: float, rng: np.random.Generator) -> Image:
    """A copy of a clean image with a fault of a kind in FAULTS: uint8, of the same shape (``cut``: smaller).

    ``severity``: from 0, barely visible, to 1, gross. Varieties are drawn from ``rng``.
    """
    grey = FAULTS[kind](image.astype(np.float64), severity, rng)
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def background_of(grey: Grey) -> float:
    """Median of the ring of 2 px along the border."""
    return float(np.median(_ring(grey)))


def noise_of(grey: Grey) -> float:
    """Standard deviation of the sensor's noise in grey values, from neighbours along the border."""
    along = [np.diff(side, axis=1).ravel() for side in (grey[:2], grey[-2:], grey[:, :2].T, grey[:, -2:].T)]
    steps = np.abs(np.concatenate(along))
    return MAD_TO_SD * float(np.median(steps)) / np.sqrt(2)


def _ring(grey: Grey) -> Grey:
    return np.concatenate([grey[:2].ravel(), grey[-2:].ravel(), grey[2:-2, :2].ravel(), grey[2:-2, -2:].ravel()])


def _between(low: float, high: float, severity: float) -> float:
    """A value as far between two positive ones as the severity is, on a logarithmic scale."""
    return float(low * (high / low) ** severity)


def _renoised(smooth: Grey, original: Grey, kept: float, rng: np.random.Generator) -> Grey:
    """With as much noise as the original had; ``kept``: the share of its noise that averaging left."""
    missing = noise_of(original) * np.sqrt(max(1 - kept**2, 0)) * rng.uniform(0.8, 1.1)
    return smooth + rng.normal(0, 1, smooth.shape) * missing


def _defocus(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    radius = _between(1.2, 8, severity)
    if rng.random() < 0.7:
        kernel = disc(radius)
        smooth = _convolved(grey, kernel)
        kept = float(np.sqrt(np.sum(kernel**2)))
    else:
        smooth = ndimage.gaussian_filter(grey, radius / 2, mode="nearest")
        kept = min(1 / (np.sqrt(np.pi) * radius), 1)
    return _renoised(smooth, grey, kept, rng)


def disc(radius: float) -> Grey:
    """A disc whose edge pixels count in part, of sum 1."""
    side = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-side : side + 1, -side : side + 1]
    kernel = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    return kernel / kernel.sum()


def _convolved(grey: Grey, kernel: Grey) -> Grey:
    margin = kernel.shape[0] // 2
    padded = np.pad(grey, margin, mode="edge")
    return signal.oaconvolve(padded, kernel, mode="valid")


def _motion(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    length = _between(4, 20, severity)
    taps = np.clip((length + 1) / 2 - np.abs(np.arange(-12, 13)), 0, 1)
    # The flash fades in and out.
    taps = ndimage.gaussian_filter1d(taps, rng.uniform(0.2, 1.0), mode="constant")
    taps /= taps.sum()
    smooth = ndimage.correlate1d(grey, taps, axis=1, mode="nearest")
    return _renoised(smooth, grey, float(np.sqrt(np.sum(taps**2))), rng)


def _dim(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    return grey * (1 - _between(0.06, 0.5, severity)) + _dither(grey, rng)


def _bright(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    return grey * (1 + _between(0.05, 0.4, severity)) + _dither(grey, rng)


def _dither(grey: Grey, rng: np.random.Generator) -> Grey:
    """Half a grey value: a factor alone leaves gaps in the histogram, which no flash does."""
    return rng.uniform(-0.5, 0.5, grey.shape)


def _contrast(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    factor = 1 - _between(0.2, 0.85, severity)
    background = background_of(grey)
    weak = background + (grey - background) * factor
    return _renoised(weak, grey, factor, rng) if rng.random() < 0.7 else weak


def _saturate(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    background = background_of(grey)
    level = background + (255 - background) * (0.5 + 0.65 * severity)
    return level + (grey - background) * _between(1.1, 2.8, severity) * rng.uniform(0.9, 1.1)


def _bubble(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    height, width = grey.shape
    radius = max(_between(0.15, 0.5, severity) * min(height, width), 3)
    distance = np.hypot(*_from(grey, rng)) / radius
    thickness = rng.uniform(0.08, 0.25)
    ring = np.exp(-(((distance - 1) / thickness) ** 2)) * rng.uniform(60, 140)
    core = np.exp(-((distance / rng.uniform(0.2, 0.5)) ** 2)) * rng.uniform(15, 70)
    inside = rng.uniform(0, 40) * expit((1 - distance) / 0.05)
    return grey - ring + core - inside


def _from(grey: Grey, rng: np.random.Generator) -> tuple[Grey, Grey]:
    """Distances along y and x from a random place, px."""
    height, width = grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return y - rng.uniform(0, height), x - rng.uniform(0, width)


def _noise(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    added = rng.normal(0, _between(1.7, 14, severity), grey.shape)
    return grey + (ndimage.gaussian_filter(added, 0.5) * 1.6 if rng.random() < 0.2 else added)


def _cut(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    kept = _between(0.8, 0.3, severity)
    axis = int(rng.integers(2))
    length = max(round(grey.shape[axis] * kept), min(8, grey.shape[axis]))
    first = 0 if rng.random() < 0.5 else grey.shape[axis] - length
    return np.take(grey, np.arange(first, first + length), axis=axis)


def _ghost(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    shift = round(_between(2.6, 18, severity)) * (1 if rng.random() < 0.5 else -1)
    moved = ndimage.shift(grey, (0, shift), order=0, mode="nearest")
    share = rng.uniform(0.5, 0.75)
    double = share * grey + (1 - share) * moved
    return _renoised(double, grey, float(np.hypot(share, 1 - share)), rng) if rng.random() < 0.6 else double


def _vignette(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    amplitude = _between(0.05, 0.35, severity) * (1 if rng.random() < 0.5 else -1)
    height, width = grey.shape
    across, down = np.linspace(-1, 1, width)[None, :], np.linspace(-1, 1, height)[:, None]
    kind = rng.random()
    if kind < 0.6:
        gain = 1 + amplitude * across
    elif kind < 0.8:
        gain = 1 + amplitude * down
    else:
        angle = rng.uniform(0, 2 * np.pi)
        gain = 1 + amplitude * (np.cos(angle) * across + np.sin(angle) * down)
    return grey * gain + _dither(grey, rng)


def _lines(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    step = _between(1.8, 14, severity)
    height, width = grey.shape
    kind = rng.random()
    if kind < 0.7:
        return grey + step * (np.arange(height) % 2 == int(rng.integers(2)))[:, None]
    if kind < 0.85:
        return grey + rng.normal(0, step * 0.7, height)[:, None]
    return grey + step * (np.arange(width) % 2)[None, :]


def _jpeg(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    quality = _between(65, 7, severity) * rng.uniform(0.9, 1.1)
    scale = 50 / quality if quality < 50 else 2 - quality / 50
    table = np.maximum(np.floor(_JPEG * scale + 0.5), 1)
    height, width = grey.shape
    padded = np.pad(grey, ((0, -height % 8), (0, -width % 8)), mode="edge") - 128
    blocks = padded.reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8).swapaxes(1, 2)
    coefficients = np.rint(np.asarray(fft.dctn(blocks, axes=(2, 3), norm="ortho")) / table) * table
    restored = np.asarray(fft.idctn(coefficients, axes=(2, 3), norm="ortho"))
    return restored.swapaxes(1, 2).reshape(padded.shape)[:height, :width] + 128


def _empty(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    background = background_of(grey)
    left = max(0.18 * (1 - 1.3 * severity), 0)
    noise = rng.normal(0, max(noise_of(grey), 0.3), grey.shape)
    uneven = ndimage.gaussian_filter(rng.normal(0, 1, grey.shape), max(min(grey.shape) / 6, 2))
    uneven *= rng.uniform(0.5, 1.5) / max(uneven.std(), 1e-9)
    return background + (grey - background) * left + noise + uneven


def _occlude(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    height, width = grey.shape
    share = _between(0.09, 0.55, severity)
    ratio = np.exp(rng.uniform(-0.7, 0.7))
    rows = int(np.clip(round(height * np.sqrt(share) * ratio), 2, height))
    columns = int(np.clip(round(share * height * width / rows), 2, width))
    y, x = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
    covered = np.zeros(grey.shape)
    covered[y : y + rows, x : x + columns] = 1
    if rng.random() < 0.3:
        covered = ndimage.gaussian_filter(covered, rng.uniform(0.5, 1.5))
    dark = rng.uniform(5, 90) + rng.normal(0, noise_of(grey) * rng.uniform(0.3, 1), grey.shape)
    return grey * (1 - covered) + dark * covered


def _dust(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    radius = _between(2.2, 11, severity)
    distance = np.hypot(*_from(grey, rng))
    softness = radius * rng.uniform(0.1, 0.5)
    return grey - _between(20, 70, severity) * expit((radius - distance) / max(softness, 0.4))


def _scratch(grey: Grey, severity: float, rng: np.random.Generator) -> Grey:
    y, x = _from(grey, rng)
    angle = rng.uniform(0.1, np.pi / 2 - 0.1) * (1 if rng.random() < 0.5 else -1)
    distance = np.abs(x * np.sin(angle) + y * np.cos(angle))
    depth, half = _between(10, 60, severity), _between(0.8, 3.5, severity)
    if rng.random() < 0.5:
        return grey - depth * np.exp(-((distance / (1.2 * half)) ** 2))
    return grey - depth * expit((half - distance) / rng.uniform(0.2, 0.8))


#: How each kind is planted: grey values (height, width), severity, generator -> grey values, not yet rounded.
FAULTS: Final[Mapping[str, Callable[[Grey, float, np.random.Generator], Grey]]] = {
    "defocus": _defocus,
    "motion_blur": _motion,
    "dim": _dim,
    "bright": _bright,
    "low_contrast": _contrast,
    "saturation": _saturate,
    "bubble": _bubble,
    "noise": _noise,
    "lines": _lines,
    "compression": _jpeg,
    "vignette": _vignette,
    "cut": _cut,
    "empty": _empty,
    "occluded": _occlude,
    "ghost": _ghost,
    "scratch": _scratch,
    "dust": _dust,
}
