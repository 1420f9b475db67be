"""The walk of images through boosted trees, and the exact share of each feature in a margin, compiled.

Import this module only where a kernel is about to run: it loads numba.
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import kernel, part

#: Longest way from a root to a leaf, in nodes; trees are grown to fewer.
MAX_DEPTH = 32


@kernel
def margins(
    rows: NDArray[np.float64],
    root: NDArray[np.int32],
    group: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    missing_left: NDArray[np.uint8],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    value: NDArray[np.float64],
    n_groups: int,
) -> NDArray[np.float64]:
    """The sum of the leaves that each row ends in, for each group of trees; shape (rows, n_groups).

    ``root``, ``group``: first node of each tree and the group it adds to, shape (trees,). The others: as BoostedTrees
    describes and has checked them; here nothing is checked.
    """
    out = np.zeros((len(rows), n_groups))
    for tree in range(root.size):
        for i in range(len(rows)):
            at = root[tree]
            while feature[at] >= 0:
                x = rows[i, feature[at]]
                goes_left = missing_left[at] == 1 if np.isnan(x) else x <= threshold[at]
                at = left[at] if goes_left else right[at]
            out[i, group[tree]] += value[at]
    return out


@kernel
def contributions(
    rows: NDArray[np.float64],
    root: NDArray[np.int32],
    weight: NDArray[np.float64],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    missing_left: NDArray[np.uint8],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    value: NDArray[np.float64],
    cover: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Shapley values of the features for the weighted sum of all trees (Lundberg et al. 2020, path-dependent TreeSHAP,
    leaf by leaf); shape (rows, features + 1), the last column being the mean over the training images. A row's values
    add up to its sum of leaves.

    ``weight``: what each tree counts, shape (trees,); ``cover``: share of the parent's training images at each node.
    """
    out = np.zeros((len(rows), rows.shape[1] + 1))
    seen = np.empty(MAX_DEPTH, np.int64)
    hot = np.empty(MAX_DEPTH)
    cold = np.empty(MAX_DEPTH)
    way = np.empty(MAX_DEPTH, np.int64)
    for tree in range(root.size):
        if weight[tree] == 0.0:
            continue
        for i in range(len(rows)):
            depth = 0
            way[0] = root[tree]
            done = False
            while not done:
                at = way[depth]
                if feature[at] >= 0:
                    depth += 1
                    way[depth] = left[at]
                    continue
                n = _path(rows[i], way, depth, feature, threshold, missing_left, left, cover, seen, hot, cold)
                _share_leaf(value[at] * weight[tree], seen, hot, cold, n, out[i])
                # On to the next leaf: up until a left child, then to its sibling.
                while depth > 0 and way[depth] == right[way[depth - 1]]:
                    depth -= 1
                done = depth == 0
                if not done:
                    way[depth] = right[way[depth - 1]]
    return out


@part
def _path(row, way, depth, feature, threshold, missing_left, left, cover, seen, hot, cold):
    """The different features on the way to a leaf: whether the row takes the way, and which share of training did."""
    n = 0
    for step in range(depth):
        at = way[step]
        x = row[feature[at]]
        goes_left = missing_left[at] == 1 if np.isnan(x) else x <= threshold[at]
        taken = 1.0 if goes_left == (way[step + 1] == left[at]) else 0.0
        j = 0
        while j < n and seen[j] != feature[at]:
            j += 1
        if j == n:
            seen[n], hot[n], cold[n] = feature[at], 1.0, 1.0
            n += 1
        hot[j] *= taken
        cold[j] *= cover[way[step + 1]]
    return n


@part
def _share_leaf(value, seen, hot, cold, n, out):
    """Add what a leaf gives to each feature on its way."""
    mean = value
    for j in range(n):
        mean *= cold[j]
    out[out.size - 1] += mean
    for j in range(n):
        if hot[j] != cold[j]:
            out[seen[j]] += value * (hot[j] - cold[j]) * _mean_product(hot, cold, n, j)


@part
def _mean_product(hot, cold, n, left_out):
    """Mean, over all orders of the features, of the product of hot for those before the one left out and cold for those
    after it.
    """
    by_size = np.zeros(n)  # sum over sets of each size of the product
    by_size[0] = 1.0
    m = 0
    for j in range(n):
        if j != left_out:
            m += 1
            for size in range(m, 0, -1):
                by_size[size] = by_size[size] * cold[j] + by_size[size - 1] * hot[j]
            by_size[0] *= cold[j]
    # A set of each size k precedes the feature in k! (n - 1 - k)! of n! orders.
    total = 0.0
    weight = 1.0 / n
    for size in range(n):
        total += by_size[size] * weight
        weight *= (size + 1) / max(n - 1 - size, 1)
    return total
