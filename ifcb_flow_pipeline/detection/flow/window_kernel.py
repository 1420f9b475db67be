"""Windows of bins that follow one another, and the bins that go their way: compiled, in one pass over the bins.

Sums are made in a fixed order, so that results do not depend on the machine. Import this module only where a kernel is
about to run: it loads numba.
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.fallback import kernel, part


@kernel
def moving_means(values: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Means of ``length`` rows from each row on, shape (n - length + 1, d), of values (n, d); none of fewer rows."""
    n, d = values.shape
    means = np.empty((max(n - length + 1, 0), d), np.float32)
    # Sums up to each of the last rows.
    sums = np.zeros((length + 1, d), np.float64)
    for i in range(n):
        before, here, first = sums[i % (length + 1)], sums[(i + 1) % (length + 1)], sums[(i + 2) % (length + 1)]
        for j in range(d):
            here[j] = before[j] + np.float64(values[i, j])
        if i + 1 >= length:
            for j in range(d):
                means[i + 1 - length, j] = (here[j] - first[j]) / length
    return means


@kernel
def odd_windows(
    inside: NDArray[np.float32],
    around: NDArray[np.float32],
    deployment: NDArray[np.int64],
    lengths: tuple[int, int],
    one_sided: float,
    spread: NDArray[np.float32],
    least: np.float32,
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """Windows whose mean lies far from the bins around them in any feature: place of the first bin, contrast, level.

    ``inside``, ``around``: moving means over the window's bins and over those on each side, whose numbers are
    ``lengths``; ``deployment`` (n,): a window and what is around it are of one. ``one_sided``: a window lies no farther
    than so many times the nearer side. Far: at ``least`` so many ``spread`` (d,); of further columns nothing is.
    """
    length, aside = lengths
    whole = 2 * aside + length
    n, d = max(len(deployment) - whole + 1, 0), inside.shape[1]
    first = np.empty(n, np.int64)
    contrast, level = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    half, most = np.float32(0.5), np.float32(one_sided)
    k = 0
    for i in range(n):
        if deployment[i] != deployment[i + whole - 1]:
            continue
        for j in range(d):
            mean = inside[i + aside, j]
            before, after = mean - around[i, j], mean - around[i + aside + length, j]
            sizes = abs(before), abs(after)
            distance = min(half * (sizes[0] + sizes[1]), most * min(sizes[0], sizes[1]))
            contrast[k, j] = np.copysign(distance, before) if before * after > 0.0 else np.float32(0.0)
        n_far = 0
        for j in range(len(spread)):
            n_far += abs(contrast[k, j] / spread[j]) >= least
        if n_far:
            for j in range(d):
                level[k, j] = inside[i + aside, j] - contrast[k, j]
            first[k] = i + aside
            k += 1
    return first[:k], contrast[:k], level[:k]


@part
def _sum_of_products(a, b, c):
    """Of (a - b) * c, by eight partial sums as numpy has them."""
    eighths = np.zeros(8, np.float32)
    d = len(a)
    whole = d - d % 8
    for j in range(0, whole, 8):
        for k in range(8):
            eighths[k] += (a[j + k] - b[j + k]) * c[j + k]
    total = ((eighths[0] + eighths[1]) + (eighths[2] + eighths[3])) + (
        (eighths[4] + eighths[5]) + (eighths[6] + eighths[7])
    )
    for j in range(whole, d):
        total += (a[j] - b[j]) * c[j]
    return total


@kernel
def members(
    z: NDArray[np.float32],
    first: NDArray[np.int64],
    length: int,
    level: NDArray[np.float32],
    way: NDArray[np.float32],
    enough: NDArray[np.float32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bins of w windows that go ``enough`` (w,) of its ``way`` (w, d) from its ``level`` (w, d), and its number.

    ``z`` (n, d): of the bins; ``first`` (w,): the place of each window's first bin.
    """
    bins, windows = np.empty(len(first) * length, np.int64), np.empty(len(first) * length, np.int64)
    k = 0
    for step in range(length):
        for window in range(len(first)):
            if _sum_of_products(z[first[window] + step], level[window], way[window]) >= enough[window]:
                bins[k], windows[k] = first[window] + step, window
                k += 1
    return bins[:k], windows[:k]
