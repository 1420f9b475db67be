"""The walk of rows through the trees of a forest, compiled.

Import this module only where a kernel is about to run: it loads numba.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.fallback import kernel

#: BinTable that visit a tree before the next tree has its turn: they stay in the processor's cache, as the tree does.
_ROWS_TOGETHER = 512


class _Steps(NamedTuple):
    """How a walk goes on from each node; from a leaf it goes to the leaf itself, so that no step is special.

    Per node: the ``column`` that is compared, shape (nodes,), the next node on the left and on the right in
    ``children``, shape (nodes, 2), and ``height``, the number of steps to the farthest leaf below, (nodes,).
    """

    column: NDArray[np.int32]
    children: NDArray[np.int32]
    height: NDArray[np.int32]


@kernel
def path_lengths(
    rows: NDArray[np.float32],
    root: NDArray[np.int32],
    feature: NDArray[np.int32],
    threshold: NDArray[np.float64],
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    path_length: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The sum of each row's path lengths over all trees, added in the order of the trees; shape (rows,).

    ``rows``: shape (rows, features), any number of either. The others: as Forest describes and has checked
    them; here nothing is checked.
    """
    steps = _steps(feature, left, right)
    sums = np.zeros(len(rows))
    node = np.empty(_ROWS_TOGETHER, np.int32)
    for first in range(0, len(rows), _ROWS_TOGETHER):
        n = min(_ROWS_TOGETHER, len(rows) - first)
        for start in root:
            node[:] = start
            # All rows take a step, then all take the next: no step waits for that of another row, and none
            # depends on a branch, which nobody could foresee.
            for _ in range(steps.height[start]):
                for i in range(n):
                    at = node[i]
                    goes_right = rows[first + i, steps.column[at]] > threshold[at]
                    node[i] = steps.children[at, int(goes_right)]
            for i in range(n):
                sums[first + i] += path_length[node[i]]
    return sums


@kernel
def _steps(feature, left, right):
    nodes = len(feature)
    column, children = np.zeros(nodes, np.int32), np.empty((nodes, 2), np.int32)
    height = np.zeros(nodes, np.int32)
    # Children come after their parent, hence from the last node to the first.
    for node in range(nodes - 1, -1, -1):
        if feature[node] < 0:
            children[node] = node
            continue
        column[node] = feature[node]
        children[node, 0], children[node, 1] = left[node], right[node]
        height[node] = 1 + max(height[left[node]], height[right[node]])
    return _Steps(column, children, height)
