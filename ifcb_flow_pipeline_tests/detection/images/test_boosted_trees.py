"""Boosted trees as arrays: as scikit-learn has them, and what each feature adds to a margin."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from ifcb_flow_pipeline.detection.images.boosted_trees import BoostedTrees, grown_by
from ifcb_flow_pipeline.detection.model_card import ModelError


@pytest.fixture(scope="module")
def grown():
    """Rows with missing values, and what scikit-learn grew on them."""
    rng = np.random.default_rng(3)
    rows = rng.normal(0, 1, (400, 4))
    classes = (rows[:, 0] + rows[:, 1] * rows[:, 2] > 0).astype(int) + (rows[:, 3] > 1)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    boosting = HistGradientBoostingClassifier(max_iter=6, max_leaf_nodes=7, min_samples_leaf=5, early_stopping=False)
    return rows, boosting.fit(rows, classes)


def test_margins_and_probabilities_are_those_of_scikit_learn(grown):
    rows, boosting = grown
    trees = grown_by(boosting)
    # Leaves are kept in single precision.
    assert np.allclose(trees.margins(rows), boosting.decision_function(rows), atol=1e-6)
    assert np.allclose(trees.probabilities(rows), boosting.predict_proba(rows), atol=1e-6)


def test_trees_are_the_same_once_they_were_arrays(grown):
    rows, boosting = grown
    trees = grown_by(boosting)
    again = BoostedTrees.from_arrays(trees.to_arrays())
    assert np.array_equal(trees.margins(rows), again.margins(rows))
    assert np.array_equal(trees.contributions(rows, 1, 0), again.contributions(rows, 1, 0))


def test_contributions_add_up_to_the_margin(grown):
    rows, boosting = grown
    trees = grown_by(boosting)
    margins = trees.margins(rows)
    for group, against in ((1, 0), (2, 1)):
        sums = trees.contributions(rows, group, against).sum(axis=1)
        assert np.allclose(sums, margins[:, group] - margins[:, against], atol=1e-9)


def expectation(trees, tree, row, known):
    """What a tree gives on average where only some features of a row are known (path-dependent)."""

    def below(node):
        if trees.feature[node] < 0:
            return trees.value[node]
        left, right = trees.left[node], trees.right[node]
        feature = trees.feature[node]
        if feature in known:
            missing = np.isnan(row[feature])
            goes_left = trees.missing_left[node] if missing else row[feature] <= trees.threshold[node]
            return below(left if goes_left else right)
        return trees.cover[left] * below(left) + trees.cover[right] * below(right)

    return below(trees.root[tree])


def test_contributions_are_shapley_values(grown):
    rows, boosting = grown
    trees = grown_by(boosting)
    d = rows.shape[1]
    found = trees.contributions(rows[:5], 1, 0)
    for row, values in zip(rows[:5], found, strict=True):
        for feature in range(d):
            others = [j for j in range(d) if j != feature]
            expected = 0.0
            for size in range(d):
                weight = factorial(size) * factorial(d - 1 - size) / factorial(d)
                for known in combinations(others, size):
                    for tree in range(len(trees.root)):
                        sign = {1: 1, 0: -1}.get(int(trees.group[tree]), 0)
                        gain = expectation(trees, tree, row, {*known, feature}) - expectation(trees, tree, row, known)
                        expected += sign * weight * gain
            assert values[feature] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", np.zeros_like),  # a walk that never ends
        ("right", lambda a: a + 60000),
        ("feature", lambda a: np.full_like(a, 99)),
        ("value", lambda a: np.full_like(a, np.nan)),
        ("threshold", lambda a: a[:-1]),
        ("root", lambda a: a - 1),
        ("group", lambda a: a + 9),
    ],
)
def test_trees_that_could_lead_a_walk_astray_are_refused(grown, name, change):
    arrays = grown_by(grown[1]).to_arrays()
    with pytest.raises(ModelError, match="train a new model"):
        BoostedTrees.from_arrays(arrays | {name: change(arrays[name])})


def test_trees_without_all_their_arrays_are_refused(grown):
    arrays = grown_by(grown[1]).to_arrays()
    del arrays["cover"]
    with pytest.raises(ModelError, match="cover"):
        BoostedTrees.from_arrays(arrays)
