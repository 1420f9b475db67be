"""An isolation forest as plain arrays.

scikit-learn grows the trees; we keep them as arrays of our own. A stored forest then is data, not code: it
cannot run anything when it is loaded, its indices are checked before they are used, and it gives the same
scores whatever version of scikit-learn comes later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.errors import FlowError

#: BinTable scored at a time by one thread: bounds the memory that a large table takes.
_CHUNK_ROWS = 32_768

#: A kernel is compiled anew for other types, and for memory that is read-only or not in one piece.
_PLAIN = ("C", "A", "W")

_LEAF = -1

#: Above the mean path length of any number of rows that a computer can count (86.9 for 2**63).
_MAX_NORMALISER = 100.0


class ForestError(FlowError, ValueError):
    """Arrays that are no forest, or features that a forest cannot score."""


@dataclass(frozen=True, slots=True)
class Forest:
    """The trees of an isolation forest, their nodes one after the other.

    ``root``: shape (trees,), the index of each tree's first node. Per node, shape (nodes,): ``feature`` (the
    column that is compared, -1 in a leaf), ``threshold`` (a value up to it goes ``left``, else ``right``;
    both are indices of nodes) and ``path_length`` (in a leaf: its depth plus the mean depth that its
    training rows would still have had). ``n_features``: columns of a table that can be scored.
    ``normaliser``: mean path length in a tree grown on the same number of rows.
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    path_length: NDArray[np.float64]
    n_features: int
    normaliser: float

    def __post_init__(self) -> None:
        self._check_nodes()
        self._check_numbers()

    @classmethod
    def from_sklearn(cls, fitted: Any) -> "Forest":
        """The trees of a fitted ``sklearn.ensemble.IsolationForest``."""
        parts: dict[str, list[NDArray]] = {name: [] for name in _NODE_ARRAYS}
        roots, offset = [], 0
        for estimator, columns in zip(fitted.estimators_, fitted.estimators_features_, strict=True):
            tree = estimator.tree_
            leaf = tree.children_left == _LEAF
            roots.append(offset)
            # scikit-learn marks the feature of a leaf with -2, which is no index.
            compared = np.asarray(columns)[np.where(leaf, 0, tree.feature)]
            parts["feature"].append(np.where(leaf, _LEAF, compared))
            parts["threshold"].append(np.where(leaf, 0.0, tree.threshold))
            parts["left"].append(np.where(leaf, _LEAF, tree.children_left + offset))
            parts["right"].append(np.where(leaf, _LEAF, tree.children_right + offset))
            beyond = average_path_length(tree.n_node_samples)
            parts["path_length"].append(np.where(leaf, _depths(tree) + beyond, 0.0))
            offset += tree.node_count
        arrays = {name: np.concatenate(chunks).astype(_NODE_ARRAYS[name]) for name, chunks in parts.items()}
        return cls(
            root=np.array(roots, dtype=np.int32),
            n_features=int(fitted.n_features_in_),
            normaliser=float(average_path_length(np.array([fitted.max_samples_]))[0]),
            **arrays,
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> "Forest":
        """The forest that ``arrays`` describes (see ``to_arrays``). Raises ForestError where it is none."""
        missing = {field.name for field in fields(cls)} - set(arrays)
        if missing:
            raise ForestError(f"no forest: {', '.join(sorted(missing))} missing")
        try:
            return cls(
                root=_numbers(arrays, "root", np.int32),
                n_features=int(_numbers(arrays, "n_features", np.int64)),
                normaliser=float(_numbers(arrays, "normaliser", np.float64)),
                **{name: _numbers(arrays, name, dtype) for name, dtype in _NODE_ARRAYS.items()},
            )
        except TypeError as error:
            raise ForestError(f"no forest: {error}") from error

    def to_arrays(self) -> dict[str, NDArray]:
        """The forest as named arrays, for storage."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}

    def score_samples(self, matrix: NDArray[np.float64], n_jobs: int = -1) -> NDArray[np.float64]:
        """The anomaly score of each row, in (-1, 0): lower is more anomalous.

        ``matrix``: shape (n, n_features), finite. Equals ``IsolationForest.score_samples``, which compares
        features as 32-bit floats. A large table is scored by ``n_jobs`` threads, -1 for as many as there are
        processors; their number changes no score. Raises ForestError for a table of another shape or with NaN.
        """
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.shape[1] != self.n_features:
            raise ForestError(f"the forest takes {self.n_features} features, the table has shape {matrix.shape}")
        chunks = [matrix[i : i + _CHUNK_ROWS] for i in range(0, len(matrix), _CHUNK_ROWS)]
        if len(chunks) <= 1:
            return self._score(matrix)
        # Threads cost more than a small table does, and their library takes time to load.
        from joblib import Parallel, delayed

        scores: Any = Parallel(n_jobs, backend="threading")(delayed(self._score)(chunk) for chunk in chunks)
        return np.concatenate(scores)

    def _score(self, chunk: NDArray) -> NDArray[np.float64]:
        from ifcb_flow_pipeline.detection.reference.forest_kernel import path_lengths

        with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
            rows = np.require(chunk, np.float32, _PLAIN)
        if not np.isfinite(rows).all():
            raise ForestError("features must be finite to be scored")
        total = len(self.root) * self.normaliser
        # A forest grown on single rows has no depth at all: every row is at the far end of the scale.
        if not total:
            return np.full(len(rows), -0.5)
        # The arrays of nodes are declared in the order in which the kernel takes them.
        nodes = (np.require(getattr(self, name), dtype, _PLAIN) for name, dtype in _NODE_ARRAYS.items())
        sums = path_lengths(rows, np.require(self.root, np.int32, _PLAIN), *nodes)
        return -(2.0 ** -(sums / total))

    def _check_nodes(self) -> None:
        nodes = len(self.feature)
        if any(getattr(self, name).shape != (nodes,) for name in _NODE_ARRAYS) or self.root.ndim != 1:
            raise ForestError("no forest: the arrays of the nodes differ in shape")
        if not len(self.root) or self.root.min() < 0 or self.root.max() >= nodes:
            raise ForestError("no forest: a root is no node")
        inner = np.flatnonzero(self.feature != _LEAF)
        if inner.size and (self.feature[inner].min() < 0 or self.feature[inner].max() >= self.n_features):
            raise ForestError("no forest: a node compares a feature that there is not")
        for child in (self.left[inner], self.right[inner]):
            # Children come after their parent: a walk always ends.
            if (child <= inner).any() or (child >= nodes).any():
                raise ForestError("no forest: a node's child is no later node")

    def _check_numbers(self) -> None:
        if not (np.isfinite(self.threshold).all() and np.isfinite(self.path_length).all()):
            raise ForestError("no forest: a threshold or path length is not finite")
        # One row has no depth, two have 1, more have more: nothing lies between.
        if not (self.normaliser == 0 or 1 <= self.normaliser <= _MAX_NORMALISER) or self.n_features < 1:
            raise ForestError("no forest: its normaliser or number of features makes no sense")
        if self.path_length.min() < 0 or self.path_length.max() > len(self.feature) + self.normaliser:
            raise ForestError("no forest: a path length makes no sense")


_NODE_ARRAYS = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "path_length": np.float64,
}


def _numbers(arrays: Mapping[str, NDArray], name: str, dtype: type[np.generic]) -> NDArray:
    array = np.asarray(arrays[name])
    if not np.can_cast(array.dtype, dtype, casting="same_kind"):
        raise ForestError(f"no forest: {name} holds {array.dtype}")
    return array.astype(dtype)


def average_path_length(n_rows: NDArray) -> NDArray[np.float64]:
    """Mean depth at which a random tree over ``n_rows`` rows isolates one (Liu, Ting and Zhou 2008, eq. 1)."""
    n = np.asarray(n_rows, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        many = 2.0 * (np.log(n - 1.0) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.select([n <= 1, n == 2], [0.0, 1.0], many)


def _depths(tree: Any) -> NDArray[np.float64]:
    depth = np.zeros(tree.node_count)
    for parent in range(tree.node_count):
        for child in (tree.children_left[parent], tree.children_right[parent]):
            if child != _LEAF:
                depth[child] = depth[parent] + 1
    return depth
