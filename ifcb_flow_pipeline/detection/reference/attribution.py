"""Which features a forest's score is due to, exactly: the steps of a row's paths, tree by tree.

At each node a row's expected path length becomes that of one of its children; the difference is due to the
feature that is compared there. Summed over the path, the differences are the path's length less the length
expected at the root - nothing is left over (Saabas 2014, "Interpreting random forests", for the idea).
"""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.reference.forest import Forest, average_path_length

_LEAF = -1


def path_attributions(forest: Forest, matrix: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """What each feature adds to a row's mean path length, shape (n, d), and the mean length expected at the roots.

    Negative values make a row more anomalous. A row's values and the expected length sum to its mean path length.
    """
    values = _expected_lengths(forest)
    added = np.zeros((len(matrix), forest.n_features))
    rows = np.asarray(matrix, dtype=np.float32)
    every = np.arange(len(rows))
    for root in forest.root:
        node = np.full(len(rows), root)
        moving = every
        while len(moving):
            at = node[moving]
            inner = forest.feature[at] != _LEAF
            moving, at = moving[inner], at[inner]
            column = forest.feature[at]
            left = rows[moving, column] <= forest.threshold[at]
            following = np.where(left, forest.left[at], forest.right[at])
            # A row visits a node once: no index comes twice.
            added[moving, column] += values[following] - values[at]
            node[moving] = following
    n_trees = len(forest.root)
    return added / n_trees, float(values[forest.root].mean())


def _expected_lengths(forest: Forest) -> NDArray[np.float64]:
    """The mean path length below each node, over the training rows that came to it; shape (nodes,)."""
    lengths, counts = forest.path_length.copy(), _leaf_counts(forest)
    # Children come after their parent, hence from the last node to the first.
    for node in np.flatnonzero(forest.feature != _LEAF)[::-1]:
        children = [forest.left[node], forest.right[node]]
        counts[node] = counts[children].sum()
        lengths[node] = (lengths[children] * counts[children]).sum() / counts[node]
    return lengths


def _leaf_counts(forest: Forest) -> NDArray[np.float64]:
    """How many training rows came to each leaf: what its path is longer than its depth says it. 1 for inner nodes."""
    depth = np.zeros(len(forest.feature))
    inner = np.flatnonzero(forest.feature != _LEAF)
    for node in inner:
        depth[[forest.left[node], forest.right[node]]] = depth[node] + 1
    beyond = forest.path_length - depth
    known = average_path_length(np.arange(1, 4097))
    return np.asarray(1.0 + np.searchsorted(known, beyond - 1e-6), dtype=np.float64)
