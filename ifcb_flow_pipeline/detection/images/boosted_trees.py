"""Gradient-boosted trees as plain arrays: grown by scikit-learn, walked by a compiled kernel."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.model_card import ModelError


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """Trees of which each adds to the margin of one class.

    Per tree: ``root``, its first node, and ``group``, the number of the class, shape (trees,). Per node, parents before
    children: ``feature``, the column that is compared, -1 in leaves, ``threshold`` (a row goes left up to it),
    ``missing_left``, whether NaN goes left, ``left`` and ``right``, ``value`` of a leaf, and ``cover``, the share of
    the parent's training images, shape (nodes,). ``baseline``: margins without any tree, shape (classes,).
    ``n_features``: columns of the rows.
    """

    root: NDArray[np.int32]
    group: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    missing_left: NDArray[np.uint8]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float64]
    cover: NDArray[np.float64]
    baseline: NDArray[np.float64]
    n_features: int

    def margins(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithms of the odds of each class, but for a constant per row; shape (rows, classes)."""
        from ifcb_flow_pipeline.detection.images import tree_kernel

        sums = tree_kernel.margins(
            np.ascontiguousarray(rows, np.float64), self.root, self.group, self.feature, self.threshold,
            self.missing_left, self.left, self.right, self.value, len(self.baseline),
        )  # fmt: skip
        return sums + self.baseline

    def probabilities(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability of each class, shape (rows, classes). A row sums to 1."""
        margins = self.margins(rows)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    def contributions(self, rows: NDArray[np.float64], group: int, against: int) -> NDArray[np.float64]:
        """What each feature adds to the margin of one class less that of another: exact Shapley values, shape
        (rows, n_features + 1). The last column is the margin of an average image; a row sums to its margin.
        """
        from ifcb_flow_pipeline.detection.images import tree_kernel

        weight = (self.group == group).astype(np.float64) - (self.group == against)
        found = tree_kernel.contributions(
            np.ascontiguousarray(rows, np.float64), self.root, weight, self.feature, self.threshold,
            self.missing_left, self.left, self.right, self.value, self.cover,
        )  # fmt: skip
        found[:, -1] += self.baseline[group] - self.baseline[against]
        return found

    def to_arrays(self) -> dict[str, NDArray]:
        """The trees as named arrays, as small as they can be: single precision, children as steps ahead."""
        return {
            "root": self.root,
            "group": self.group.astype(np.int16),
            "feature": self.feature.astype(np.int16),
            "threshold": self.threshold.astype(np.float32),
            "missing_left": self.missing_left,
            "left": (self.left - np.arange(len(self.left))).astype(np.uint16),
            "right": (self.right - np.arange(len(self.right))).astype(np.uint16),
            "value": self.value.astype(np.float32),
            "cover": np.rint(self.cover * 65535).astype(np.uint16),
            "baseline": self.baseline,
            "n_features": np.array(self.n_features),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> "BoostedTrees":
        """Read what ``to_arrays`` gave. Raises ModelError where the arrays describe no trees."""
        try:
            at = np.arange(len(arrays["feature"]), dtype=np.int32)
            trees = cls(
                root=arrays["root"].astype(np.int32),
                group=arrays["group"].astype(np.int32),
                feature=arrays["feature"].astype(np.int32),
                threshold=arrays["threshold"].astype(np.float64),
                missing_left=arrays["missing_left"].astype(np.uint8),
                left=at + arrays["left"].astype(np.int32),
                right=at + arrays["right"].astype(np.int32),
                value=arrays["value"].astype(np.float64),
                cover=arrays["cover"].astype(np.float64) / 65535,
                baseline=arrays["baseline"].astype(np.float64),
                n_features=int(arrays["n_features"]),
            )
        except (KeyError, ValueError, TypeError) as error:
            raise ModelError(f"the model's trees cannot be read ({error!r}): train a new model") from error
        trees.check()
        return trees

    def check(self) -> None:
        """Raise ModelError where a walk could leave the arrays, or never end."""
        n = len(self.feature)
        inner = np.flatnonzero(self.feature >= 0)
        per_node = (self.threshold, self.missing_left, self.left, self.right, self.value, self.cover)
        fits = all(array.shape == (n,) for array in per_node) and self.root.shape == self.group.shape
        # Children lie behind their parents, so that every walk ends.
        fits = fits and all(np.all((child[inner] > inner) & (child[inner] < n)) for child in (self.left, self.right))
        fits = fits and np.all((self.root >= 0) & (self.root < n)) and np.all(self.feature < self.n_features)
        fits = fits and np.all((self.group >= 0) & (self.group < len(self.baseline)))
        fits = fits and all(np.isfinite(array).all() for array in (self.value, self.cover, self.baseline))
        if not (fits and self._depth() < _MAX_DEPTH):
            raise ModelError("the model's trees do not fit together: the file is damaged; train a new model")

    def _depth(self) -> int:
        depth = np.zeros(len(self.feature), np.int64)
        for node in np.flatnonzero(self.feature >= 0):
            depth[[self.left[node], self.right[node]]] = depth[node] + 1
        return int(depth.max(initial=0))


#: As in ``tree_kernel``, which is loaded only to walk.
_MAX_DEPTH = 32


def grown_by(boosting: Any) -> BoostedTrees:
    """The trees of a fitted HistGradientBoostingClassifier of scikit-learn."""
    parts: list[dict[str, NDArray]] = []
    root, group, first = [], [], 0
    baseline = np.asarray(boosting._baseline_prediction, np.float64).ravel()
    # With two classes, the trees are those of the second one, and the first has a margin of 0.
    second = int(baseline.size == 1)
    for predictors in boosting._predictors:
        for number, predictor in enumerate(predictors):
            root.append(first)
            group.append(number + second)
            parts.append(_nodes(predictor.nodes, first))
            first += len(predictor.nodes)
    return BoostedTrees(
        root=np.array(root, np.int32),
        group=np.array(group, np.int32),
        baseline=np.concatenate([np.zeros(second), baseline]),
        n_features=int(boosting.n_features_in_),
        **_joined(parts),
    )


def votes_of(forest: Any) -> BoostedTrees:
    """The trees of a fitted forest of scikit-learn (RandomForestClassifier, ExtraTreesClassifier). Each is there once
    for each class: what it adds is the share of the class in the leaf over the number of trees, so that the margin of a
    class is the forest's probability of it.
    """
    n_trees, n_classes = len(forest.estimators_), len(forest.classes_)
    parts: list[dict[str, NDArray]] = []
    root, first = [], 0
    for estimator in forest.estimators_:
        for number in range(n_classes):
            root.append(first)
            parts.append(_voting_nodes(estimator.tree_, number, n_trees, first))
            first += estimator.tree_.node_count
    return BoostedTrees(
        root=np.array(root, np.int32),
        group=np.tile(np.arange(n_classes, dtype=np.int32), n_trees),
        baseline=np.zeros(n_classes),
        n_features=int(forest.n_features_in_),
        **_joined(parts),
    )


def _voting_nodes(tree: Any, number: int, n_trees: int, first: int) -> dict[str, NDArray]:
    leaf = tree.children_left < 0
    inner = ~leaf
    cover = np.ones(tree.node_count)
    for children in (tree.children_left[inner], tree.children_right[inner]):
        cover[children] = tree.weighted_n_node_samples[children] / tree.weighted_n_node_samples[inner]
    share = tree.value[:, 0, number] / tree.value[:, 0].sum(axis=1) / n_trees
    return {
        "feature": np.where(leaf, -1, tree.feature).astype(np.int32),
        "threshold": _rounded_up(np.where(leaf, 0, tree.threshold)),
        "missing_left": np.zeros(tree.node_count, np.uint8),
        "left": np.where(leaf, 0, tree.children_left + first).astype(np.int32),
        "right": np.where(leaf, 0, tree.children_right + first).astype(np.int32),
        "value": np.where(leaf, share, 0).astype(np.float32).astype(np.float64),
        "cover": np.rint(cover * 65535) / 65535,
    }


def _joined(parts: Sequence[Mapping[str, NDArray]]) -> dict[str, Any]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _nodes(nodes: NDArray, first: int) -> dict[str, NDArray]:
    leaf = nodes["is_leaf"].astype(bool)
    cover = np.ones(len(nodes))
    for side in ("left", "right"):
        children = nodes[side][~leaf]
        cover[children] = nodes["count"][children] / nodes["count"][~leaf]
    return {
        "feature": np.where(leaf, -1, nodes["feature_idx"]).astype(np.int32),
        "threshold": _rounded_up(np.where(leaf, 0, nodes["num_threshold"])),
        "missing_left": np.where(leaf, 0, nodes["missing_go_to_left"]).astype(np.uint8),
        "left": np.where(leaf, 0, nodes["left"] + first).astype(np.int32),
        "right": np.where(leaf, 0, nodes["right"] + first).astype(np.int32),
        "value": np.where(leaf, nodes["value"], 0).astype(np.float32).astype(np.float64),
        "cover": np.rint(cover * 65535) / 65535,
    }


def _rounded_up(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds as a file holds them, so that a model is the same before and after it is written. Never less than they
    were, for thresholds are values of the training, which go left.
    """
    single = thresholds.astype(np.float32)
    return np.where(single < thresholds, np.nextafter(single, np.float32(np.inf)), single).astype(np.float64)
