"""The 17 faults of images once more, for measuring: other code than what the recogniser is trained with.

Severities are those of a table of stated parameters (docs/images.md): 0 slight, 1 clear, 2 gross. Nothing is imported
from the package.
"""

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy import signal

Pixels = NDArray[np.uint8]


class Planter:
    """One image and the draws that are made for it. Each method gives a copy with one fault, as grey values."""

    def __init__(self, image: Pixels, rng: np.random.Generator) -> None:
        self.image = np.asarray(image, float)
        self.rng = rng
        self.height, self.width = image.shape
        frame = np.pad(np.zeros((self.height - 4, self.width - 4), bool), 2, constant_values=True)
        self.bg = float(np.median(self.image[frame]))
        walk = np.concatenate([self.image[0], self.image[:, -1], self.image[-1, ::-1], self.image[::-1, 0]])
        self.sigma = 1.4826 * float(np.median(np.abs(np.diff(walk)))) / 2**0.5

    def with_noise(self, grey: NDArray, lost: float = 1.0) -> NDArray:
        """The sensor's noise put back, of which averaging took the share ``lost`` of the variance."""
        return grey + self.sigma * lost**0.5 * self.rng.standard_normal(grey.shape)

    def blurred(self, kernel: NDArray) -> NDArray:
        """Averaged with a kernel."""
        kernel = kernel / kernel.sum()
        half = [side // 2 for side in kernel.shape]
        padded = np.pad(
            self.image,
            [(half[0], half[0]), (half[1], half[1])],
            mode="symmetric" if min(self.image.shape) > max(half) else "edge",
        )
        return self.with_noise(signal.fftconvolve(padded, kernel, mode="valid"), 1 - float(np.sum(kernel**2)))

    def defocus(self, radius: float) -> NDArray:
        """Averaged over a disc."""
        side = np.arange(-int(radius) - 1, int(radius) + 2)
        # Pixels of the disc by 5 x 5 points each.
        fine = (side[:, None] + np.arange(-2, 3) / 5).ravel()
        inside = fine[:, None] ** 2 + fine[None, :] ** 2 <= radius**2
        return self.blurred(inside.reshape(side.size, 5, side.size, 5).mean(axis=(1, 3)))

    def motion(self, length: int) -> NDArray:
        """Averaged along x."""
        return self.blurred(np.ones((1, length)))

    def brightness(self, factor: float) -> NDArray:
        """Times a factor."""
        return self.image * factor

    def contrast(self, factor: float) -> NDArray:
        """Differences from the background times a factor."""
        weak = self.bg + factor * (self.image - self.bg)
        return weak if factor > 0.6 else self.with_noise(weak, 1 - factor**2)

    def saturate(self, share: float, stretch: float) -> NDArray:
        """Background part of the way to 255, differences stretched."""
        return self.bg + share * (255 - self.bg) + stretch * (self.image - self.bg)

    def bubble(self, share: float) -> NDArray:
        """A dark ring with a bright core."""
        radius = max(share * min(self.height, self.width), 3.0)
        r = self.distances() / radius
        dark = np.where(r < 1, 30 + 90 * r**4, 120 * np.exp(-0.5 * ((r - 1) / 0.12) ** 2))
        return self.image - dark + 90 * np.exp(-0.5 * (r / 0.22) ** 2)

    def distances(self) -> NDArray:
        """Distance from a random place, px."""
        centre = self.rng.random(2) * (self.height, self.width)
        rows, columns = np.ogrid[: self.height, : self.width]
        return np.sqrt((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2)

    def dust(self, radius: float, depth: float) -> NDArray:
        """A dark spot with a soft edge."""
        return self.image - depth * np.clip((radius + 1.5 - self.distances()) / 3, 0, 1)

    def scratch(self, width: float, depth: float) -> NDArray:
        """An oblique dark line."""
        angle = self.rng.uniform(20, 70) * np.pi / 180 * self.rng.choice([-1, 1])
        through = self.rng.random(2) * (self.height, self.width)
        rows, columns = np.ogrid[: self.height, : self.width]
        away = np.abs((columns - through[1]) * np.cos(angle) + (rows - through[0]) * np.sin(angle))
        return self.image - depth * np.exp(-0.5 * (away / (width / 2.355)) ** 2)

    def noise(self, sd: float) -> NDArray:
        """Gaussian noise added."""
        return self.image + sd * self.rng.standard_normal(self.image.shape)

    def cut(self, share: float) -> NDArray:
        """The box cut on one side."""
        # Turned so that the cut side lies below, and back.
        quarter = int(self.rng.integers(4))
        turned = np.rot90(self.image, quarter)
        return np.ascontiguousarray(np.rot90(turned[: max(int(turned.shape[0] * share), 8)], -quarter))

    def ghost(self, shift: int) -> NDArray:
        """Mixed with itself, shifted along x."""
        second = np.pad(self.image, [(0, 0), (shift, 0)], mode="edge")[:, : self.width]
        return 0.6 * self.image + 0.4 * second

    def vignette(self, amplitude: float) -> NDArray:
        """A gain that changes linearly across the width."""
        ramp = amplitude * self.rng.choice([-1, 1]) * (2 * np.arange(self.width) / max(self.width - 1, 1) - 1)
        return self.image * (1 + ramp)

    def lines(self, step: float) -> NDArray:
        """Every second row brighter."""
        brighter = self.image.copy()
        brighter[self.rng.integers(2) :: 2] += step
        return brighter

    def jpeg(self, quality: int) -> NDArray:
        """Compressed and read back."""
        packed = io.BytesIO()
        Pillow.fromarray(np.uint8(self.image)).save(packed, "JPEG", quality=quality)
        return np.asarray(Pillow.open(packed), float)

    def empty(self, left: float) -> NDArray:
        """The particle faded, with fresh noise and slow unevenness."""
        slow = np.kron(self.rng.standard_normal((3, 3)), np.ones((self.height // 3 + 1, self.width // 3 + 1)))
        side = max(min(self.height, self.width) // 4, 2)
        slow = signal.fftconvolve(slow, np.ones((side, side)) / side**2, mode="same")[: self.height, : self.width]
        return self.with_noise(self.bg + left * (self.image - self.bg) + slow / max(slow.std(), 1e-9))

    def occlude(self, share: float) -> NDArray:
        """An opaque dark rectangle."""
        across = self.rng.uniform(share**0.5, min(1.0, 2 * share**0.5))
        rows, columns = int(self.height * share / across), int(self.width * across)
        top, left = self.rng.integers(self.height - rows + 1), self.rng.integers(self.width - columns + 1)
        covered = self.image.copy()
        covered[top : top + rows, left : left + columns] = self.rng.uniform(10, 60)
        return covered


#: What is done at each severity: slight, clear, gross.
FAULTS: Mapping[str, tuple[Callable[[Planter], NDArray], ...]] = {
    "defocus": tuple(lambda p, r=r: p.defocus(r) for r in (1.5, 3, 6)),
    "motion_blur": tuple(lambda p, n=n: p.motion(n) for n in (5, 9, 17)),
    "dim": tuple(lambda p, f=f: p.brightness(f) for f in (0.92, 0.80, 0.60)),
    "bright": tuple(lambda p, f=f: p.brightness(f) for f in (1.06, 1.15, 1.30)),
    "low_contrast": tuple(lambda p, f=f: p.contrast(f) for f in (0.75, 0.50, 0.25)),
    "saturation": tuple(lambda p, s=s: p.saturate(*s) for s in ((0.60, 1.3), (0.85, 1.7), (1.1, 2.5))),
    "bubble": tuple(lambda p, s=s: p.bubble(s) for s in (0.18, 0.30, 0.45)),
    "noise": tuple(lambda p, s=s: p.noise(s) for s in (2, 5, 12)),
    "lines": tuple(lambda p, s=s: p.lines(s) for s in (2, 5, 12)),
    "compression": tuple(lambda p, q=q: p.jpeg(q) for q in (60, 30, 10)),
    "vignette": tuple(lambda p, a=a: p.vignette(a) for a in (0.06, 0.15, 0.30)),
    "cut": tuple(lambda p, s=s: p.cut(s) for s in (0.75, 0.55, 0.35)),
    "empty": tuple(lambda p, s=s: p.empty(s) for s in (0.15, 0.05, 0.0)),
    "occluded": tuple(lambda p, s=s: p.occlude(s) for s in (0.12, 0.25, 0.50)),
    "ghost": tuple(lambda p, s=s: p.ghost(s) for s in (3, 7, 15)),
    "scratch": tuple(lambda p, s=s: p.scratch(*s) for s in ((2, 12), (3, 25), (6, 50))),
    "dust": tuple(lambda p, s=s: p.dust(*s) for s in ((2.5, 25), (5, 40), (9, 60))),
}
SEVERITIES = ("slight", "clear", "gross")


def plant(image: Pixels, kind: str, severity: int, rng: np.random.Generator) -> Pixels:
    """A copy of a clean image with a fault: uint8. ``severity``: 0 slight, 1 clear, 2 gross."""
    grey = FAULTS[kind][severity](Planter(image, rng))
    return np.clip(np.round(grey), 0, 255).astype(np.uint8)
