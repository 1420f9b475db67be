"""The score of a row once more, one tree and one step after the other: the oracle of the compiled walk."""

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.reference.forest import Forest


def reference_scores(forest: Forest, matrix: NDArray) -> NDArray[np.float64]:
    """The anomaly scores of rows of shape (n, features), n >= 1."""
    rows = np.asarray(matrix, dtype=np.float32)
    sums = np.array([sum(_path_length(forest, int(root), row) for root in forest.root) for row in rows])
    total = len(forest.root) * forest.normaliser
    return -(2.0 ** -(sums / total)) if total else np.full(len(rows), -0.5)


def _path_length(forest: Forest, node: int, row: NDArray[np.float32]) -> float:
    while forest.feature[node] != -1:
        goes_left = row[forest.feature[node]] <= forest.threshold[node]
        node = int((forest.left if goes_left else forest.right)[node])
    return float(forest.path_length[node])
