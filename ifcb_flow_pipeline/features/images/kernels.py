"""The features of IFCB images, compiled: one call over the bytes of many images.

What a feature means is declared in ``catalogue``; a slow, obvious reference in the tests holds every value to 1e-9 of
its size (of 1 where it is smaller). Sums are sums of whole numbers and therefore exact; the step to the common
background is one factor, applied to them at the end.

Every loop over pixels either has no branches, so that the compiler makes vector code of it, or does nothing but count.
Work memory is made once for a call, for its largest image, and used again for every image.

Import this module only where a kernel is about to run: it loads numba.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import MAX_SIDE_PX
from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.definitions import (
    BACKGROUND_LEVEL,
    FLANK_PX,
    GREY_CLASSES,
    LAGS,
    MAD_TO_SD,
    MAX_CORRELATION,
    MIN_BACKGROUND,
    MIN_BLOB_PX,
    MIN_LINE_PX,
    MIN_SHAPE_PX,
    MIN_SIDE_PX,
    NEAR_SDS,
    NEAR_SHARE,
    OBJECT_SDS,
    OBJECT_SHARE,
    PATTERN_CLASS,
    QUANTILES,
    RINGS,
    SHORTEST_LAG,
)

N_FEATURES = len(NAMES)

# Where the families of the catalogue begin in a row.
SIZE, INTENSITY, BORDER, FOCUS, MOTION, NOISE, SHAPE, TEXTURE, PATTERNS = (
    NAMES.index(name)
    for name in ("log_area", "mean", "background", "lap_var", "edge_x", "noise", "obj_frac", "glcm_con", "lbp0")
)

#: Counts of one image go into several tables in turn: adding one to a count that was just written waits for the write.
_TURNS = 4
_MAX_STEEP = 1443  # sqrt(2) x 4 x 255, the largest Sobel gradient of bytes
_BLOCK_PX = 8  # of JPEG
_PACKED = 32  # bits: a count above, a sum of bytes below; 2048 x 2048 bytes of 255 fit


class _Memory(NamedTuple):
    """Work memory for images of up to n px with sides of up to m px."""

    grad_x: NDArray[np.int16]  # (n,)
    grad_y: NDArray[np.int16]  # (n,)
    half_sizes: NDArray[np.int16]  # (n,)
    mask: NDArray[np.uint8]  # (n,)
    runs: NDArray[np.int32]  # (3, n + 1): first and last column, and the run that it belongs to
    gaps: NDArray[np.int32]  # (3, n + 1)
    area: NDArray[np.int64]  # (n + 1,)
    row_start: NDArray[np.int32]  # (m + 1,)
    lines: NDArray[np.int16]  # (4, m)
    codes: NDArray[np.uint8]  # (3, m)
    columns: NDArray[np.int32]  # (4, m)


class _Blobs(NamedTuple):
    """The largest blob: its label (the number of its first run) and area in px; label -1 where there is none."""

    label: int
    area: int


class _Box(NamedTuple):
    """Bounding box of a blob, all sides included."""

    x0: int
    x1: int
    y0: int
    y1: int


@kernel
def image_features(
    buf: NDArray[np.uint8], start: NDArray[np.int64], height: NDArray[np.int64], width: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Features of the images that lie in ``buf`` (bytes,), row by row from ``start`` (n,): shape (n, N_FEATURES).

    A row is NaN where a side is shorter than MIN_SIDE_PX or longer than MAX_SIDE_PX, or where the image does not lie
    wholly within the bytes. All other values are finite.
    """
    out = np.full((start.size, N_FEATURES), np.nan)
    n = 0
    for i in range(start.size):
        if _usable(buf.size, start[i], height[i], width[i]):
            n = max(n, height[i] * width[i])
    memory = _memory_of(n)
    for i in range(start.size):
        h, w, first = height[i], width[i], start[i]
        if _usable(buf.size, first, h, w):
            _one(buf[first : first + h * w], h, w, memory, out[i])
    return out


@part
def _usable(n_bytes, start, h, w):
    sides = h >= MIN_SIDE_PX and w >= MIN_SIDE_PX and h <= MAX_SIDE_PX and w <= MAX_SIDE_PX
    return sides and start >= 0 and start + h * w <= n_bytes


@part
def _memory_of(n):
    m = MAX_SIDE_PX + 1
    return _Memory(
        np.empty(n, np.int16),
        np.empty(n, np.int16),
        np.empty(n, np.int16),
        np.empty(n, np.uint8),
        np.empty((3, n + 1), np.int32),
        np.empty((3, n + 1), np.int32),
        np.empty(n + 1, np.int64),
        np.empty(m, np.int32),
        np.empty((4, m), np.int16),
        np.empty((3, m), np.uint8),
        np.empty((4, m), np.int32),
    )


@part
def _one(a, h, w, memory, out):
    out[SIZE] = math.log(h * w)
    out[SIZE + 1] = math.log(w / h)
    border = _border_counts(a, h, w)
    n_border = 4 * (h + w - 4)
    bg = _value_at(border, (n_border - 1) // 2)
    spread = _spread(border, bg, n_border)
    gain = BACKGROUND_LEVEL / max(bg, MIN_BACKGROUND)
    variance = _intensity(a, gain, out)
    _border(a, h, w, border, bg, spread, gain, out)
    near = math.ceil(max(NEAR_SDS * spread, NEAR_SHARE * max(bg, MIN_BACKGROUND)))
    object_from = int(max(OBJECT_SDS * spread, OBJECT_SHARE * max(bg, MIN_BACKGROUND)))
    energy = _gradients(a, h, w, bg, near, gain, variance, memory, out)
    _patterns(a, h, w, memory.codes, out)
    _co_occurrence(a, h, w, max(bg, MIN_BACKGROUND), memory.codes, out)
    _bands(a, h, w, bg, near, gain, memory.columns, out)
    _pyramid(a, h, w, energy, gain, memory.half_sizes, out)
    _correlations(h - 2, w - 2, gain, memory, out)
    blobs = _blobs(a, h, w, bg, object_from, gain, memory, out)
    if blobs.area < MIN_SHAPE_PX:
        _no_shape(out)
    else:
        _shape(a, h, w, bg, gain, blobs, memory, out)


@part
def _value_at(counts, rank):
    """The value at a place in the sorted order of counted values, the first place being 0."""
    seen = 0
    for v in range(counts.size):
        seen += counts[v]
        if seen > rank:
            return v
    return counts.size - 1


@part
def _border_counts(a, h, w):
    """How often each grey value is in the ring of 2 px along the border; corners count once."""
    counts = np.zeros(256, np.int64)
    for y in range(h):
        row = a[y * w : (y + 1) * w]
        if y < 2 or y >= h - 2:
            for x in range(w):
                counts[row[x]] += 1
        else:
            counts[row[0]] += 1
            counts[row[1]] += 1
            counts[row[w - 2]] += 1
            counts[row[w - 1]] += 1
    return counts


@part
def _spread(border, bg, n_border):
    """Standard deviation of the border in grey values, by its median absolute deviation."""
    deviation = np.zeros(256, np.int64)
    for v in range(256):
        deviation[abs(v - bg)] += border[v]
    return MAD_TO_SD * _value_at(deviation, (n_border - 1) // 2)


@part
def _histogram(a):
    counts = np.zeros((_TURNS, 256), np.int64)
    whole = a.size - a.size % _TURNS
    for i in range(0, whole, _TURNS):
        counts[0, a[i]] += 1
        counts[1, a[i + 1]] += 1
        counts[2, a[i + 2]] += 1
        counts[3, a[i + 3]] += 1
    for i in range(whole, a.size):
        counts[0, a[i]] += 1
    return counts[0] + counts[1] + counts[2] + counts[3]


@part
def _intensity(a, gain, out):
    """Moments, quantiles and entropy. Returns the variance at the common background."""
    n = a.size
    counts = _histogram(a)
    total = 0
    for v in range(256):
        total += counts[v] * v
    mean = total / n
    m2 = 0.0
    m3 = 0.0
    m4 = 0.0
    entropy = 0.0
    for v in range(256):
        c = counts[v]
        if c > 0:
            d = (v - mean) * gain
            m2 += c * d * d
            m3 += c * d * d * d
            m4 += c * d * d * d * d
            entropy -= c / n * math.log(c / n)
    m2 /= n
    sd = math.sqrt(m2)
    k = INTENSITY
    out[k] = mean * gain
    out[k + 1] = sd
    out[k + 2] = m3 / n / (sd * sd * sd + 1e-6)
    out[k + 3] = min(m4 / n / (m2 * m2 + 1e-6), 200.0)
    for j in range(7):
        out[k + 4 + j] = _value_at(counts, int(QUANTILES[j] * (n - 1))) * gain
    out[k + 11] = entropy + math.log(gain)
    out[k + 12] = counts[0] / n
    out[k + 13] = counts[255] / n
    return m2


@part
def _border(a, h, w, border, bg, spread, gain, out):
    """Level, spread and slope of the ring along the border."""
    top = 0
    bottom = 0
    left = 0
    right = 0
    for i in range(2 * w):
        top += a[i]
        bottom += a[(h - 2) * w + i]
    for y in range(h):
        row = a[y * w : (y + 1) * w]
        left += int(row[0]) + int(row[1])
        right += int(row[w - 2]) + int(row[w - 1])
    n = 4 * (h + w - 4)
    k = BORDER
    out[k] = bg
    out[k + 1] = spread * gain
    out[k + 2] = (_value_at(border, int(0.95 * (n - 1))) - _value_at(border, int(0.05 * (n - 1)))) * gain
    out[k + 4] = (right - left) / (2 * h) * gain
    out[k + 5] = (bottom - top) / (2 * w) * gain
    deepest = 0
    second = 0
    for dip in (
        _deepest_dip(a, 0, 1, w, w),
        _deepest_dip(a, (h - 2) * w, 1, w, w),
        _deepest_dip(a, 0, w, 1, h),
        _deepest_dip(a, w - 2, w, 1, h),
    ):
        second = max(second, min(dip, deepest))
        deepest = max(deepest, dip)
    out[k + 6] = deepest / 6.0 * gain
    out[k + 7] = second / 6.0 * gain


@part
def _deepest_dip(a, first, along, across, n):
    """Deepest dip, times 6, of the mean of 2 x 3 px along one side of n px below those FLANK_PX before and after it."""
    sums = np.empty(max(n - 2, 0), np.int64)
    for i in range(n - 2):
        at = first + i * along
        total = 0
        for j in range(3):
            total += int(a[at + j * along]) + int(a[at + j * along + across])
        sums[i] = total
    deepest = 0
    for i in range(FLANK_PX, n - 2 - FLANK_PX):
        deepest = max(deepest, min(sums[i - FLANK_PX], sums[i + FLANK_PX]) - sums[i])
    return deepest


@part
def _gradients(a, h, w, bg, near, gain, variance, memory, out):
    """Sobel gradients (kept), Laplacian and second difference of 3 x 3 pixels. Returns the mean squared gradient."""
    lines = memory.lines
    sums = np.zeros(8, np.int64)
    steep = np.zeros((_TURNS, _MAX_STEEP + 1), np.int32)
    wi = w - 2
    for y in range(1, h - 1):
        above = a[(y - 1) * w : y * w]
        here = a[y * w : (y + 1) * w]
        below = a[(y + 1) * w : (y + 2) * w]
        grad_x = memory.grad_x[(y - 1) * wi : y * wi]
        grad_y = memory.grad_y[(y - 1) * wi : y * wi]
        _gradient_row(above, here, below, grad_x, grad_y, lines)
        _add_row(here, grad_x, grad_y, lines, bg, near, sums)
        _count_steep(lines[2], wi, steep)
    n = (h - 2) * wi
    _focus(sums, steep[0] + steep[1] + steep[2] + steep[3], n, gain, variance, out)
    return (sums[0] + sums[1]) / n * gain * gain


@part
def _gradient_row(above, here, below, grad_x, grad_y, lines):
    laplace = lines[0]
    second = lines[1]
    steep = lines[2]
    for x in range(grad_x.size):
        ul = np.int16(above[x])
        up = np.int16(above[x + 1])
        ur = np.int16(above[x + 2])
        le = np.int16(here[x])
        c = np.int16(here[x + 1])
        ri = np.int16(here[x + 2])
        dl = np.int16(below[x])
        dn = np.int16(below[x + 1])
        dr = np.int16(below[x + 2])
        corners = np.int16(ul + ur + dl + dr)
        sides = np.int16(le + ri + up + dn)
        grad_x[x] = np.int16(ur + 2 * ri + dr - ul - 2 * le - dl)
        grad_y[x] = np.int16(dl + 2 * dn + dr - ul - 2 * up - ur)
        laplace[x] = np.int16(4 * c - sides)
        second[x] = np.int16(abs(corners + 4 * c - 2 * sides))
    for x in range(grad_x.size):
        gx = np.float32(grad_x[x])
        gy = np.float32(grad_y[x])
        # Exact: whole numbers below 2^24, whose root is never rounded up to the next whole number.
        steep[x] = np.int16(np.sqrt(gx * gx + gy * gy))


@part
def _add_row(here, grad_x, grad_y, lines, bg, near, sums):
    laplace = lines[0]
    second = lines[1]
    n = grad_x.size
    # 32 bits hold one row of MAX_SIDE_PX: 1020^2 x 2046 < 2^31.
    xx = np.int32(0)
    yy = np.int32(0)
    xy = np.int32(0)
    lap = np.int32(0)
    lap2 = np.int32(0)
    noise = np.int32(0)
    bg_noise = np.int32(0)
    n_bg = np.int32(0)
    for x in range(n):
        xx = np.int32(xx + np.int32(np.int32(grad_x[x]) * np.int32(grad_x[x])))
        yy = np.int32(yy + np.int32(np.int32(grad_y[x]) * np.int32(grad_y[x])))
        xy = np.int32(xy + np.int32(np.int32(grad_x[x]) * np.int32(grad_y[x])))
        lap2 = np.int32(lap2 + np.int32(np.int32(laplace[x]) * np.int32(laplace[x])))
    for x in range(n):
        is_bg = np.int32(abs(np.int32(here[x + 1]) - bg) < near)
        lap = np.int32(lap + np.int32(laplace[x]))
        noise = np.int32(noise + np.int32(second[x]))
        bg_noise = np.int32(bg_noise + np.int32(second[x]) * is_bg)
        n_bg = np.int32(n_bg + is_bg)
    sums[0] += xx
    sums[1] += yy
    sums[2] += xy
    sums[3] += lap
    sums[4] += lap2
    sums[5] += noise
    sums[6] += bg_noise
    sums[7] += n_bg


@part
def _count_steep(steep, n, counts):
    whole = n - n % _TURNS
    for x in range(0, whole, _TURNS):
        counts[0, np.uint16(steep[x])] += 1
        counts[1, np.uint16(steep[x + 1])] += 1
        counts[2, np.uint16(steep[x + 2])] += 1
        counts[3, np.uint16(steep[x + 3])] += 1
    for x in range(whole, n):
        counts[0, np.uint16(steep[x])] += 1


@part
def _focus(sums, steep, n, gain, variance, out):
    xx, yy, xy, lap, lap2, noise, bg_noise, n_bg = sums
    gain2 = gain * gain
    lap_var = (lap2 / n - (lap / n) * (lap / n)) * gain2
    tenengrad = (xx + yy) / n / 16.0 * gain2
    steepest = _value_at(steep, int(0.99 * (n - 1))) / 4.0 * gain
    k = FOCUS
    out[k] = math.log(lap_var + 1e-2)
    out[k + 1] = math.log(tenengrad + 1e-2)
    out[k + 2] = math.log((lap_var + 1e-2) / (variance + 1))
    out[k + 3] = math.log((tenengrad + 1e-2) / (variance + 1))
    out[k + 4] = steepest
    out[k + 5] = steepest / max(out[INTENSITY + 10] - out[INTENSITY + 4], 4.0)
    k = MOTION
    out[k + 8] = math.log((xx * gain2 + 1.0) / (yy * gain2 + 1.0))
    difference = float(xx - yy)
    out[k + 9] = math.sqrt(difference * difference + 4.0 * float(xy) * float(xy)) / (xx + yy + 1e-9)
    out[NOISE] = noise / n / 6.0 * gain
    out[BORDER + 3] = bg_noise / max(n_bg, 1) / 6.0 * gain


@part
def _patterns(a, h, w, codes, out):
    """Shares of the classes of local binary patterns."""
    counts = np.zeros((2, 256), np.int64)
    code = codes[0]
    for y in range(1, h - 1):
        above = a[(y - 1) * w : y * w]
        here = a[y * w : (y + 1) * w]
        below = a[(y + 1) * w : (y + 2) * w]
        for x in range(w - 2):
            c = here[x + 1]
            code[x] = np.uint8(
                np.uint8(above[x] >= c)
                | np.uint8(above[x + 1] >= c) << np.uint8(1)
                | np.uint8(above[x + 2] >= c) << np.uint8(2)
                | np.uint8(here[x + 2] >= c) << np.uint8(3)
                | np.uint8(below[x + 2] >= c) << np.uint8(4)
                | np.uint8(below[x + 1] >= c) << np.uint8(5)
                | np.uint8(below[x] >= c) << np.uint8(6)
                | np.uint8(here[x] >= c) << np.uint8(7)
            )
        for x in range(0, w - 3, 2):
            counts[0, code[x]] += 1
            counts[1, code[x + 1]] += 1
        if w % 2:
            counts[0, code[w - 3]] += 1
    n = (h - 2) * (w - 2)
    for j in range(10):
        out[PATTERNS + j] = 0.0
    for v in range(256):
        out[PATTERNS + PATTERN_CLASS[v]] += (counts[0, v] + counts[1, v]) / n


@part
def _co_occurrence(a, h, w, level, codes, out):
    """Texture of the co-occurrence matrix of neighbours to the right and below, over the inner pixels."""
    grey_class = np.empty(256, np.uint8)
    for v in range(256):
        grey_class[v] = min(v * BACKGROUND_LEVEL // (GREY_CLASSES * level), GREY_CLASSES - 1)
    counts = np.zeros((2, GREY_CLASSES * GREY_CLASSES), np.int64)
    for x in range(w):
        codes[0, x] = grey_class[a[w + x]]
    for y in range(1, h - 1):
        here = codes[(y + 1) % 2]
        below = codes[y % 2]
        pixels = a[(y + 1) * w : (y + 2) * w]
        for x in range(w):
            below[x] = grey_class[pixels[x]]
        for x in range(1, w - 1):
            c = np.uint8(here[x] << np.uint8(4))
            counts[0, np.uint8(c | here[x + 1])] += 1
            counts[1, np.uint8(c | below[x])] += 1
    _texture(counts[0] + counts[1], out)


@part
def _texture(counts, out):
    total = 0
    for k in range(counts.size):
        total += counts[k]
    contrast = 0.0
    homogeneity = 0.0
    moment = 0.0
    mean = 0.0
    for i in range(GREY_CLASSES):
        for j in range(GREY_CLASSES):
            p = 0.5 * (counts[GREY_CLASSES * i + j] + counts[GREY_CLASSES * j + i]) / total
            contrast += p * (i - j) * (i - j)
            homogeneity += p / (1 + (i - j) * (i - j))
            moment += p * p
            mean += i * p
    variance = 0.0
    covariance = 0.0
    for i in range(GREY_CLASSES):
        for j in range(GREY_CLASSES):
            p = 0.5 * (counts[GREY_CLASSES * i + j] + counts[GREY_CLASSES * j + i]) / total
            variance += p * (i - mean) * (i - mean)
            covariance += p * (i - mean) * (j - mean)
    k = TEXTURE
    out[k] = math.log(contrast + 1e-3)
    out[k + 1] = homogeneity
    out[k + 2] = math.sqrt(moment)
    out[k + 3] = covariance / variance if variance > 1e-9 else 1.0


@part
def _bands(a, h, w, bg, near, gain, columns, out):
    """Steps between neighbouring pixels at the borders of blocks, and between background means of rows and columns."""
    step, total, count = columns[0], columns[1], columns[2]
    step[:w] = 0
    total[:w] = 0
    count[:w] = 0
    step_y = np.zeros(2, np.int64)
    rows = np.empty(h)
    for y in range(h):
        here = a[y * w : (y + 1) * w]
        row_total = np.int32(0)
        row_count = np.int32(0)
        for x in range(w):
            v = np.int32(here[x])
            is_bg = np.int32(abs(v - bg) < near)
            row_total = np.int32(row_total + v * is_bg)
            row_count = np.int32(row_count + is_bg)
            total[x] = np.int32(total[x] + v * is_bg)
            count[x] = np.int32(count[x] + is_bg)
        rows[y] = row_total / row_count if row_count >= MIN_LINE_PX else np.nan
        if 1 <= y < h - 1:
            below = a[(y + 1) * w : (y + 2) * w]
            down = np.int32(0)
            for x in range(1, w - 1):
                step[x] = np.int32(step[x] + np.int32(abs(np.int16(here[x + 1]) - np.int16(here[x]))))
                down = np.int32(down + np.int32(abs(np.int16(below[x]) - np.int16(here[x]))))
            step_y[int(y % _BLOCK_PX == _BLOCK_PX - 1)] += down
    column_means = np.empty(w)
    step_x = np.zeros(2, np.int64)
    for x in range(w):
        column_means[x] = total[x] / count[x] if count[x] >= MIN_LINE_PX else np.nan
        if 1 <= x < w - 1:
            step_x[int(x % _BLOCK_PX == _BLOCK_PX - 1)] += step[x]
    k = NOISE
    out[k + 1] = _blockiness(step_x, w, h - 2, gain)
    out[k + 2] = _blockiness(step_y, h, w - 2, gain)
    out[k + 3] = _mean_step(rows) * gain
    out[k + 4] = _mean_step(column_means) * gain
    out[k + 5] = _alternation(rows) * gain


@part
def _blockiness(steps, length, across, gain):
    """Mean step at the borders of blocks over the mean step elsewhere, ln; ``length``: of the side they go along."""
    n_border = 0
    for i in range(1, length - 1):
        n_border += i % _BLOCK_PX == _BLOCK_PX - 1
    inside = steps[0] * gain / ((length - 2 - n_border) * across)
    border = steps[1] * gain / max(n_border * across, 1)
    return math.log((border + 0.1) / (inside + 0.1)) if n_border > 0 else 0.0


@part
def _mean_step(means):
    total = 0.0
    n = 0
    for i in range(1, means.size):
        d = abs(means[i] - means[i - 1])
        if not math.isnan(d):
            total += d
            n += 1
    return total / max(n, 1)


@part
def _alternation(means):
    """|mean of the even lines less that of the odd ones|, 0 where either has none."""
    total = np.zeros(2)
    n = np.zeros(2, np.int64)
    for i in range(means.size):
        if not math.isnan(means[i]):
            total[i % 2] += means[i]
            n[i % 2] += 1
    if n[0] == 0 or n[1] == 0:
        return 0.0
    return abs(total[0] / n[0] - total[1] / n[1])


@part
def _pyramid(a, h, w, full, gain, sizes, out):
    """Ratios of gradient energy from one resolution to the next; ``full`` is the mean squared Sobel gradient.

    ``sizes`` holds sums of 2 x 2, 4 x 4 and 8 x 8 pixels, which 16 bits hold.
    """
    before = full
    ratio = 0.0
    scale = gain
    for level in range(3):
        pw = w
        h //= 2
        w //= 2
        scale /= 4.0
        if h >= 4 and w >= 4:
            if level == 0:
                _halve(a, pw, h, w, sizes)
            else:
                _halve(sizes, pw, h, w, sizes)
            energy = _energy(sizes, h, w) * scale * scale
            ratio = math.log((before + 0.5) / (energy + 0.5))
            before = energy
        out[FOCUS + 6 + level] = ratio


@part
def _halve(source, pw, h, w, target):
    """Add up 2 x 2 values; the target may be the source."""
    for y in range(h):
        upper = source[2 * y * pw : (2 * y + 1) * pw]
        lower = source[(2 * y + 1) * pw : (2 * y + 2) * pw]
        into = target[y * w : (y + 1) * w]
        for x in range(w):
            into[x] = np.int16(
                np.int16(upper[2 * x])
                + np.int16(upper[2 * x + 1])
                + np.int16(lower[2 * x])
                + np.int16(lower[2 * x + 1])
            )


@part
def _energy(sizes, h, w):
    """Mean squared central differences of the inner values, times 4."""
    total = 0
    for y in range(1, h - 1):
        above = sizes[(y - 1) * w : y * w]
        here = sizes[y * w : (y + 1) * w]
        below = sizes[(y + 1) * w : (y + 2) * w]
        for x in range(1, w - 1):
            gx = np.int64(here[x + 1]) - np.int64(here[x - 1])
            gy = np.int64(below[x]) - np.int64(above[x])
            total += gx * gx + gy * gy
    return total * 4.0 / ((h - 2) * (w - 2))


@part
def _correlations(h, w, gain, memory, out):
    """How the gradient along x repeats itself along x, and the gradient along y along y; h x w gradients."""
    along_x = np.zeros(LAGS + 1)
    along_y = np.zeros(LAGS + 1)
    sums = np.zeros(LAGS + 1, np.int64)
    for y in range(h):
        row = memory.grad_x[y * w : (y + 1) * w]
        for lag in range(1, min(LAGS + 1, w)):
            sums[lag] += _product(row[: w - lag], row[lag:])
    for lag in range(1, min(LAGS + 1, w)):
        along_x[lag] = sums[lag] / (h * (w - lag))
    for lag in range(1, min(LAGS + 1, h)):
        total = 0
        for y in range(h - lag):
            total += _product(memory.grad_y[y * w : (y + 1) * w], memory.grad_y[(y + lag) * w : (y + lag + 1) * w])
        along_y[lag] = total / ((h - lag) * w)
    k = MOTION
    out[k], out[k + 2], out[k + 3], out[k + 4], out[k + 5] = _repeats(along_x, gain)
    out[k + 1], out[k + 6], _, out[k + 7], _ = _repeats(along_y, gain)


@part
def _product(left, right):
    total = np.int32(0)
    for i in range(left.size):
        total = np.int32(total + np.int32(np.int32(left[i]) * np.int32(right[i])))
    return np.int64(total)


@part
def _repeats(correlation, gain):
    """Relative to shift 1: at the shortest shift; the lowest, and where; the highest rise after a low, and where."""
    unit = max(correlation[1] * gain * gain, 1.0) / (gain * gain)
    lowest = correlation[SHORTEST_LAG]
    lowest_at = SHORTEST_LAG
    before = min(correlation[1], correlation[2])
    rise = correlation[SHORTEST_LAG] - before
    rise_at = SHORTEST_LAG
    for lag in range(SHORTEST_LAG, LAGS + 1):
        if correlation[lag] < lowest:
            lowest = correlation[lag]
            lowest_at = lag
        if correlation[lag] - before > rise:
            rise = correlation[lag] - before
            rise_at = lag
        before = min(before, correlation[lag])
    return (
        _limited(correlation[SHORTEST_LAG] / unit),
        _limited(lowest / unit),
        lowest_at,
        _limited(rise / unit),
        rise_at,
    )


@part
def _limited(value):
    return min(max(value, -MAX_CORRELATION), MAX_CORRELATION)


@part
def _blobs(a, h, w, bg, object_from, gain, memory, out):
    """Runs of object pixels, row by row, joined to 8-connected blobs. A pixel is an object's further than
    ``object_from`` from the background.
    """
    runs, row_start, area = memory.runs, memory.row_start, memory.area
    n = 0
    sums = np.zeros(3, np.int64)
    for y in range(h):
        row_start[y] = n
        mask = memory.mask[y * w : (y + 1) * w]
        _object_row(a[y * w : (y + 1) * w], bg, object_from, mask, sums)
        before = n
        n = _runs_of(mask, runs, n)
        if y > 0:
            _join_rows(runs, row_start[y - 1], before, n)
    row_start[h] = n
    n_blobs = 0
    for run in range(n):
        label = _root(runs[2], run)
        runs[2, run] = label
        if label == run:
            area[run] = 0
        area[label] += runs[1, run] - runs[0, run] + 1
    largest = -1
    for run in range(n):
        if runs[2, run] == run:
            n_blobs += area[run] >= MIN_BLOB_PX
            if largest < 0 or area[run] > area[largest]:
                largest = run
    blob_area = 0 if largest < 0 else area[largest]
    n_objects = max(sums[0], 1)
    k = SHAPE
    out[k] = sums[0] / (h * w)
    out[k + 1] = math.log(1.0 + n_blobs)
    out[k + 2] = blob_area / n_objects
    out[k + 11] = sums[1] / n_objects
    out[k + 12] = sums[2] / n_objects * gain
    out[k + 17] = math.log(1.0 + _border_runs(memory.mask, h, w))
    return _Blobs(largest, blob_area)


@part
def _object_row(row, bg, object_from, mask, sums):
    n_objects = np.int32(0)
    n_bright = np.int32(0)
    strength = np.int32(0)
    for x in range(row.size):
        d = np.int32(np.int32(row[x]) - bg)
        far = np.int32(abs(d))
        is_object = np.int32(far > object_from)
        mask[x] = np.uint8(is_object)
        n_objects = np.int32(n_objects + is_object)
        n_bright = np.int32(n_bright + np.int32(d > object_from))
        strength = np.int32(strength + far * is_object)
    sums[0] += n_objects
    sums[1] += n_bright
    sums[2] += strength


@part
def _runs_of(mask, runs, n):
    """Append the runs of a row, each its own root. Returns the number of runs then."""
    x = 0
    w = mask.size
    while x < w:
        if mask[x] == 0:
            x += 1
            continue
        first = x
        while x < w and mask[x] != 0:
            x += 1
        runs[0, n] = first
        runs[1, n] = x - 1
        runs[2, n] = n
        n += 1
    return n


@part
def _join_rows(runs, above, here, end):
    """Join the runs from ``here`` to those of the row above that they touch, also at corners."""
    i = above
    for run in range(here, end):
        while i < here and runs[1, i] < runs[0, run] - 1:
            i += 1
        j = i
        while j < here and runs[0, j] <= runs[1, run] + 1:
            _join(runs[2], j, run)
            j += 1


@part
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@part
def _join(parent, i, j):
    """Join two trees; the smaller root stays."""
    i = _root(parent, i)
    j = _root(parent, j)
    parent[max(i, j)] = min(i, j)


@part
def _border_runs(mask, h, w):
    """How many separate runs of object pixels a walk round the outermost pixels meets."""
    n = 0
    last = mask[w]  # the walk ends below the corner where it begins
    for x in range(w):
        n += mask[x] > last
        last = mask[x]
    for y in range(1, h):
        n += mask[y * w + w - 1] > last
        last = mask[y * w + w - 1]
    for x in range(w - 2, -1, -1):
        n += mask[(h - 1) * w + x] > last
        last = mask[(h - 1) * w + x]
    for y in range(h - 2, 0, -1):
        n += mask[y * w] > last
        last = mask[y * w]
    return n


@part
def _no_shape(out):
    for j in range(3, 11):
        out[SHAPE + j] = 0.0
    for j in range(13, 17):
        out[SHAPE + j] = 0.0


@part
def _shape(a, h, w, bg, gain, blobs, memory, out):
    """Moments, border, hull, holes and rings of the largest blob."""
    runs, row_start = memory.runs, memory.row_start
    n = _keep_runs(runs, row_start, h, blobs.label)
    box = _box_of(runs, row_start, h, n)
    area = blobs.area
    sx = 0
    sy = 0
    for y in range(box.y0, box.y1 + 1):
        for run in range(row_start[y], row_start[y + 1]):
            length = runs[1, run] - runs[0, run] + 1
            sx += length * (runs[0, run] + runs[1, run]) // 2
            sy += length * y
    # The pixel nearest to the centre; moments about it lose no digits.
    cx = (2 * sx + area) // (2 * area)
    cy = (2 * sy + area) // (2 * area)
    _moments(runs, row_start, box, cx, cy, area, out)
    hull = _hull_area(runs, row_start, box, memory.columns)
    inner = _inner_pixels(runs, row_start, box, h, w, memory.mask)
    perimeter = area - inner
    k = SHAPE
    out[k + 6] = area / hull
    out[k + 7] = area / ((box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1))
    out[k + 8] = math.log(4 * math.pi * area / (float(perimeter) * perimeter + 1.0) + 1e-3)
    out[k + 9] = min(_enclosed(runs, row_start, box, memory.gaps, memory.area) / area, 20.0)
    out[k + 10] = _touching(runs, row_start, box, h, w) / (2.0 * (h + w))
    _rings(a, h, w, bg, gain, cx, cy, _furthest(runs, row_start, box, cx, cy), memory, out)


@part
def _keep_runs(runs, row_start, h, label):
    """Keep only the runs of one blob. Returns how many there are."""
    n = 0
    for y in range(h):
        first = row_start[y]
        row_start[y] = n
        for run in range(first, row_start[y + 1]):
            if runs[2, run] == label:
                runs[0, n] = runs[0, run]
                runs[1, n] = runs[1, run]
                n += 1
    row_start[h] = n
    return n


@part
def _box_of(runs, row_start, h, n):
    x0 = runs[0, 0]
    x1 = runs[1, 0]
    for run in range(n):
        x0 = min(x0, runs[0, run])
        x1 = max(x1, runs[1, run])
    y0 = 0
    while row_start[y0 + 1] == 0:
        y0 += 1
    y1 = h - 1
    while row_start[y1] == n:
        y1 -= 1
    return _Box(x0, x1, y0, y1)


@part
def _moments(runs, row_start, box, cx, cy, area, out):
    sx = 0
    sy = 0
    sxx = 0
    sxy = 0
    syy = 0
    for y in range(box.y0, box.y1 + 1):
        dy = y - cy
        for run in range(row_start[y], row_start[y + 1]):
            first = runs[0, run] - cx
            last = runs[1, run] - cx
            length = last - first + 1
            along = (first + last) * length // 2
            sx += along
            sy += length * dy
            sxx += (last * (last + 1) * (2 * last + 1) - (first - 1) * first * (2 * first - 1)) // 6
            sxy += along * dy
            syy += length * dy * dy
    mx = sx / area
    my = sy / area
    # A pixel is a square, not a point: its own variance is 1/12.
    mxx = sxx / area - mx * mx + 1 / 12
    myy = syy / area - my * my + 1 / 12
    mxy = sxy / area - mx * my
    split = math.sqrt((mxx - myy) * (mxx - myy) + 4 * mxy * mxy)
    long2 = (mxx + myy + split) / 2
    short2 = max((mxx + myy - split) / 2, 1e-6)
    k = SHAPE
    out[k + 3] = math.sqrt(max(0.0, 1 - short2 / long2))
    out[k + 4] = math.log(4 * math.sqrt(long2))
    out[k + 5] = math.log(4 * math.sqrt(short2))
    out[k + 15] = math.log((mxx + myy) / area + 1e-6)
    out[k + 16] = math.log((split / area) * (split / area) + 1e-6)


@part
def _touching(runs, row_start, box, h, w):
    """How many pixels of the blob lie on the border of the image."""
    n = 0
    for y in range(box.y0, box.y1 + 1):
        for run in range(row_start[y], row_start[y + 1]):
            first, last = runs[0, run], runs[1, run]
            if y == 0 or y == h - 1:
                n += last - first + 1
            else:
                n += (first == 0) + (last == w - 1)
    return n


@part
def _furthest(runs, row_start, box, cx, cy):
    """Squared distance of the furthest pixel of the blob from its centre, px^2."""
    furthest = 0
    for y in range(box.y0, box.y1 + 1):
        first = runs[0, row_start[y]] - cx
        last = runs[1, row_start[y + 1] - 1] - cx
        furthest = max(furthest, max(first * first, last * last) + (y - cy) * (y - cy))
    return furthest


@part
def _inner_pixels(runs, row_start, box, h, w, mask):
    """How many pixels of the blob have all four neighbours in it. Leaves only the blob in its box of the mask."""
    for y in range(box.y0, box.y1 + 1):
        row = mask[y * w : (y + 1) * w]
        row[box.x0 : box.x1 + 1] = 0
        for run in range(row_start[y], row_start[y + 1]):
            row[runs[0, run] : runs[1, run] + 1] = 1
    inner = 0
    for y in range(max(box.y0 + 1, 1), min(box.y1, h - 1)):
        above = mask[(y - 1) * w : y * w]
        here = mask[y * w : (y + 1) * w]
        below = mask[(y + 1) * w : (y + 2) * w]
        n = np.int32(0)
        for x in range(max(box.x0 + 1, 1), min(box.x1, w - 1)):
            n = np.int32(n + np.int32(here[x] & here[x - 1] & here[x + 1] & above[x] & below[x]))
        inner += n
    return inner


@part
def _hull_area(runs, row_start, box, columns):
    """Area of the convex hull of the blob's unit squares, with half a row cut off its top and its bottom, px^2."""
    rows = box.y1 - box.y0 + 1
    hull = columns[2]
    area = 0.0
    for side in range(2):
        edge = columns[side]
        for y in range(rows):
            # The right side is mirrored, so that it is a left side.
            last = runs[1, row_start[box.y0 + y + 1] - 1]
            edge[y] = runs[0, row_start[box.y0 + y]] if side == 0 else -last - 1
        n = 0
        for y in range(rows):
            while n >= 2:
                p, q = hull[n - 2], hull[n - 1]
                if (edge[q] - edge[p]) * (y - p) < (edge[y] - edge[p]) * (q - p):
                    break
                n -= 1
            hull[n] = y
            n += 1
        for j in range(n - 1):
            p, q = hull[j], hull[j + 1]
            area -= (edge[p] + edge[q]) / 2 * (q - p)
        area -= (edge[hull[n - 1]] + edge[hull[0]]) * 0.5
    return area


@part
def _enclosed(runs, row_start, box, gaps, area):
    """Area that the blob encloses, px: what is not the blob, 4-connected, and does not reach beyond its box."""
    n = 1
    gaps[2, 0] = 0  # all that is outside
    above = 1
    for y in range(box.y0, box.y1 + 1):
        here = n
        outside = y == box.y0 or y == box.y1
        n = _gaps_of_row(runs, row_start[y], row_start[y + 1], box, outside, gaps, n)
        if y > box.y0:
            _join_gaps(gaps, above, here, n)
        above = here
    area[:n] = 0
    for gap in range(1, n):
        area[_root(gaps[2], gap)] += gaps[1, gap] - gaps[0, gap] + 1
    enclosed = 0
    for gap in range(1, n):
        enclosed += area[gap]
    return enclosed


@part
def _gaps_of_row(runs, first_run, end_run, box, outside, gaps, n):
    """Append what lies between the runs of a row; at the sides of the box it is outside."""
    begin = box.x0
    for run in range(first_run, end_run + 1):
        end = runs[0, run] - 1 if run < end_run else box.x1
        if end >= begin:
            gaps[0, n] = begin
            gaps[1, n] = end
            gaps[2, n] = 0 if outside or begin == box.x0 or end == box.x1 else n
            n += 1
        if run < end_run:
            begin = runs[1, run] + 1
    return n


@part
def _join_gaps(gaps, above, here, end):
    """Join the gaps from ``here`` to those of the row above that lie over them."""
    i = above
    for gap in range(here, end):
        while i < here and gaps[1, i] < gaps[0, gap]:
            i += 1
        j = i
        while j < here and gaps[0, j] <= gaps[1, gap]:
            _join(gaps[2], j, gap)
            j += 1


@part
def _rings(a, h, w, bg, gain, cx, cy, furthest, memory, out):
    """How much of the grey variance the distance from the centre explains; the centre against the whole."""
    radius = int(math.sqrt(furthest))
    x0 = max(0, cx - radius)
    x1 = min(w - 1, cx + radius)
    scale = RINGS / (furthest + 1)
    ring = memory.codes[0]
    sums = np.zeros((_TURNS, RINGS + 1), np.int64)
    squares = 0
    n = x1 - x0 + 1
    for y in range(max(0, cy - radius), min(h - 1, cy + radius) + 1):
        dy2 = (y - cy) * (y - cy)
        pixels = a[y * w + x0 : y * w + x1 + 1]
        squares += _ring_row(pixels, x0 - cx, dy2, furthest, scale, bg, ring)
        _add_rings(pixels, ring, n, sums)
    _radial(sums, squares, bg, gain, out)


@part
def _ring_row(pixels, first_dx, dy2, furthest, scale, bg, ring):
    """The ring of each pixel, RINGS outside of all. Returns the sum of the squared grey values inside, less ``bg``."""
    squares = np.int32(0)
    for x in range(pixels.size):
        dx = np.int32(first_dx + x)
        r2 = np.int32(dx * dx + dy2)
        inside = np.int32(r2 <= furthest)
        d = np.int32((np.int32(pixels[x]) - bg) * inside)
        squares = np.int32(squares + np.int32(d * d))
        # A small part of the least step: whole numbers must not come out just below themselves.
        at = np.int32((np.float64(r2) + 1 / 32) * scale)
        ring[x] = np.uint8(min(at, RINGS))
    return np.int64(squares)


@part
def _add_rings(pixels, ring, n, sums):
    one = np.int64(1) << _PACKED
    whole = n - n % _TURNS
    for x in range(0, whole, _TURNS):
        sums[0, ring[x]] += one + pixels[x]
        sums[1, ring[x + 1]] += one + pixels[x + 1]
        sums[2, ring[x + 2]] += one + pixels[x + 2]
        sums[3, ring[x + 3]] += one + pixels[x + 3]
    for x in range(whole, n):
        sums[0, ring[x]] += one + pixels[x]


@part
def _radial(sums, squares, bg, gain, out):
    n = np.zeros(RINGS, np.int64)
    total = np.zeros(RINGS, np.int64)
    for turn in range(_TURNS):
        for j in range(RINGS):
            n[j] += sums[turn, j] >> _PACKED
            total[j] += sums[turn, j] & ((1 << _PACKED) - 1)
    total -= n * bg
    mean = total.sum() / n.sum()
    between = 0.0
    explained = 0.0
    for j in range(RINGS):
        if n[j] > 0:
            ring_mean = total[j] / n[j]
            between += n[j] * (ring_mean - mean) * (ring_mean - mean)
            explained += n[j] * ring_mean * ring_mean
    within = squares - explained
    k = SHAPE
    out[k + 13] = between / (between + within + 1e-6 / (gain * gain))
    innermost = total[0] / max(n[0], 1)
    out[k + 14] = min(max(innermost * gain / (abs(mean) * gain + 1.0), -20.0), 20.0)
