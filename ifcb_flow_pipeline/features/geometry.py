"""Where the images lie: the dialect of y, the core of the flow, strays, edges.

The core is a narrow stripe across the frame, x almost constant, y broad. Its line is fitted to medians of x in bands
of y, so that neither strays nor an uneven filling of the bands move it. Wide images lie up to hundreds of px beside
the stripe though the flow is as ever (the camera is triggered by their leading edge): the narrower half of the images
tells where the core is, and a wide image is off it only if its box misses the line by more than a narrow one may.

Sources: the lattice of boxes and the two dialects of y are those of the acquisition software
(github.com/robertjolson/ifcb-acq, ``Analysis.cpp``): boxes grow from blocks of 8 px by ``blobYgrowAmount``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.features.quantiles import MAD_SIGMA

#: Pitch of the lattice that boxes lie on.
LATTICE_PX = 8

#: An image is off the core where it misses the core's line by more than this.
STRAY_PX = 60.0

#: How near to the edge of the frame a box touches it: what is nearer than 16 px is snapped to it, and the last
#: block of the lattice may be cut.
TOUCH_LOW_PX, TOUCH_HIGH_PX = 4, 8

#: Bands of y in which medians of x are taken.
BANDS = 16

#: Points farther from one fit than so many standard deviations do not take part in the next, but never those nearer
#: than a lattice step.
REFIT_SIGMAS = 3.0

_TITLE_OF_BOTTOM = "Imaging FlowCytobot Acquisition Software"

#: So many boxes that would leave the frame, or so small a share of all, say nothing of what y is.
FEW_OUTSIDE, FEW_OUTSIDE_SHARE = 5, 0.05


def y_is_bottom(
    y_px: NDArray[np.int64], height_px: NDArray[np.int64], frame_height_px: int, header: Mapping[str, Any]
) -> bool:
    """Whether y is the bottom edge of an image (WHOI builds, 1.1.5.x) and not the top edge (IFCBacquire).

    By the lattice: with the margin g around blobs, y is -g (top) or +g (bottom) modulo 8. Where the two are the same,
    or boxes lie on no lattice: by which of the two would leave the frame, if by far; else by the software's title. A
    few stray boxes must not decide it, or the bins of an instrument would differ by the height of their boxes.
    """
    margin = header.get("blob_grow_y_px")
    if margin is None:
        # Half of what the lattice says of heights, which is 2 g modulo 8: g modulo 4 is enough for odd g.
        margin = _most_frequent_residue(height_px) / 2
    if margin == int(margin) and (2 * margin) % LATTICE_PX != 0:
        pitch = LATTICE_PX if "blob_grow_y_px" in header else LATTICE_PX // 2
        bottom = np.count_nonzero((y_px - margin) % pitch == 0)
        top = np.count_nonzero((y_px + margin) % pitch == 0)
        if abs(bottom - top) > len(y_px) / 2:
            return bool(bottom > top)
    over_top, under_bottom = np.count_nonzero(y_px < height_px), np.count_nonzero(y_px + height_px > frame_height_px)
    if abs(under_bottom - over_top) > max(FEW_OUTSIDE, FEW_OUTSIDE_SHARE * len(y_px)):
        return bool(under_bottom > over_top)
    return is_titled_bottom(header)


def is_titled_bottom(header: Mapping[str, Any]) -> bool:
    """Whether the software's title is that of builds that state the bottom edge."""
    return str(header.get("software", "")).startswith(_TITLE_OF_BOTTOM)


def _most_frequent_residue(values: NDArray[np.int64]) -> int:
    return int(np.bincount(values % LATTICE_PX, minlength=LATTICE_PX).argmax())


def small_images(width_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which images are no wider than the median, shape (images,)."""
    return width_px <= np.median(width_px)


@dataclass(frozen=True, slots=True)
class Core:
    """The line of the core: ``x = x_px + tilt * (y - y_px) + bend_px * ((y - y_px) / half_height_px)**2``.

    ``y_px`` is the median y, where ``tilt`` is the slope; ``bend_px`` how far the line has left its tangent half a
    frame away (0 where y does not vary enough); ``sigma_px`` the robust standard deviation about it.
    """

    x_px: float
    y_px: float
    tilt: float
    bend_px: float
    sigma_px: float
    half_height_px: float

    @classmethod
    def of(
        cls, x: NDArray[np.float64], y: NDArray[np.float64], width_px: NDArray[np.float64], frame_height_px: int
    ) -> "Core":
        """Fit the line to the images of usual width. All arrays have shape (images,), images >= 1."""
        small = small_images(width_px)
        x, y = x[small], y[small]
        frame = float(np.median(y)), frame_height_px / 2
        middle, half = frame
        v = (y - middle) / half
        band = bands(y)
        # From a line straight across: a stain may hold most of the images of a band, but not most of all.
        near = _is_near(np.abs(x - np.median(x)))
        near = _is_near(np.abs(x - _line(_fit(x[near], y[near], band[near], frame), v)))
        a, b, c = _fit(x[near], y[near], band[near], frame)
        sigma = MAD_SIGMA * float(np.median(np.abs(x - _line((a, b, c), v))))
        return cls(a, middle, b / half, c, sigma, half)

    def x_at(self, y: NDArray[np.float64]) -> NDArray[np.float64]:
        """The core's x at these y, shape as given."""
        v = (y - self.y_px) / self.half_height_px
        return _line((self.x_px, self.tilt * self.half_height_px, self.bend_px), v)


def _is_near(distance: NDArray[np.float64]) -> NDArray[np.bool_]:
    return distance <= max(REFIT_SIGMAS * MAD_SIGMA * float(np.median(distance)), LATTICE_PX)


def _line(coefficients: tuple[float, float, float], v: NDArray[np.float64]) -> NDArray[np.float64]:
    a, b, c = coefficients
    return a + b * v + c * v**2


def bands(y: NDArray[np.float64]) -> NDArray[np.int64]:
    """The band, 0 to BANDS - 1, that each y lies in; they share out its range. Shape (n,), n >= 1."""
    low, span = y.min(), y.max() - y.min()
    if span == 0:
        return np.zeros(len(y), np.int64)
    return np.minimum(((y - low) / span * BANDS).astype(np.int64), BANDS - 1)


def _fit(
    x: NDArray[np.float64], y: NDArray[np.float64], band: NDArray[np.int64], frame: tuple[float, float]
) -> tuple[float, float, float]:
    """A parabola a + b v + c v^2 through the medians of x in bands, each weighing as many points as it holds.

    v is y counted from the first of ``frame`` in units of the second.
    """
    middle, half = frame
    filled = [band == k for k in np.unique(band)]
    return parabola(
        [(float(y[inside].mean()) - middle) / half for inside in filled],
        [float(np.median(x[inside])) for inside in filled],
        [int(np.count_nonzero(inside)) for inside in filled],
    )


def parabola(v: Sequence[float], x: Sequence[float], weight: Sequence[int]) -> tuple[float, float, float]:
    """The parabola a + b v + c v^2 of least squares through points at different v; a line through two, as from one."""
    total = sum(weight)
    v_mean = sum(w * vi for w, vi in zip(weight, v, strict=True)) / total
    x_mean = sum(w * xi for w, xi in zip(weight, x, strict=True)) / total
    if len(v) == 1:
        return x_mean, 0.0, 0.0
    # In polynomials that are orthogonal under the weights, each coefficient is found on its own.
    d = [vi - v_mean for vi in v]
    second = sum(w * di * di for w, di in zip(weight, d, strict=True))
    slope = sum(w * di * xi for w, di, xi in zip(weight, d, x, strict=True)) / second
    if len(v) == 2:
        return x_mean - slope * v_mean, slope, 0.0
    skew, spread = sum(w * di * di * di for w, di in zip(weight, d, strict=True)) / second, second / total
    q = [di * di - skew * di - spread for di in d]
    bend = sum(w * qi * xi for w, qi, xi in zip(weight, q, x, strict=True))
    bend /= sum(w * qi * qi for w, qi in zip(weight, q, strict=True))
    a = x_mean - slope * v_mean + bend * (v_mean * v_mean + skew * v_mean - spread)
    return a, slope - bend * skew - 2 * bend * v_mean, bend


def is_stray(off_core_px: NDArray[np.float64], width_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which images are off the core, given how far their centres are from its line; arrays of shape (images,)."""
    wider = np.maximum(width_px - np.median(width_px), 0.0)
    return np.abs(off_core_px) - wider / 2 > STRAY_PX


def asymmetry(values: NDArray[np.float64]) -> float:
    """How much farther the upper 5 % reach from the median than the lower 5 %, as a share of the distance between."""
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
    return float((high + low - 2 * median) / (high - low)) if high > low else 0.0


def spread_over_frame(x: NDArray[np.float64], y: NDArray[np.float64], frame_px: tuple[int, int]) -> float:
    """How evenly points fill the frame: 1 if evenly, 0 if all are at one place; NaN with fewer than three.

    The mean distance of two points along x and along y, each over that of an even filling (a third of the frame),
    geometric mean. Mean distances of pairs do not depend on how many points there are.
    """
    if len(x) < 3:
        return float("nan")
    along_x = mean_difference(x) / (frame_px[0] / 3)
    along_y = mean_difference(y) / (frame_px[1] / 3)
    return float(np.sqrt(along_x * along_y))


def mean_difference(values: NDArray[np.float64]) -> float:
    """Mean absolute difference of two different ones of n >= 2 values."""
    n = len(values)
    ranks = 2 * np.arange(n) - n + 1
    return float(2 * np.sum(ranks * np.sort(values)) / (n * (n - 1)))


def touches_edge(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    right: NDArray[np.float64],
    bottom: NDArray[np.float64],
    frame_px: tuple[int, int],
) -> NDArray[np.bool_]:
    """Which boxes touch an edge of the frame from inside; arrays of shape (images,)."""
    found = np.zeros(len(left), bool)
    for low, high, size in ((left, right, frame_px[0]), (top, bottom, frame_px[1])):
        found |= ((low >= 0) & (low <= TOUCH_LOW_PX)) | ((high <= size) & (high >= size - TOUCH_HIGH_PX))
    return found


def leaves_frame(
    left: NDArray[np.float64],
    top: NDArray[np.float64],
    right: NDArray[np.float64],
    bottom: NDArray[np.float64],
    frame_px: tuple[int, int],
) -> NDArray[np.bool_]:
    """Which boxes reach beyond the frame; arrays of shape (images,)."""
    return (left < 0) | (top < 0) | (right > frame_px[0]) | (bottom > frame_px[1])


def lattice_fraction(*sides_px: NDArray[np.int64]) -> float:
    """Share of images that lie on the lattice in all the given sides, each of shape (images,)."""
    on = np.ones(len(sides_px[0]), bool)
    for side in sides_px:
        on &= side % LATTICE_PX == _most_frequent_residue(side)
    return float(on.mean())
