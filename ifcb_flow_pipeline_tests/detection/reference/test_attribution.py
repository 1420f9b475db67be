"""What a forest's score is due to: exact, and in agreement with SHAP and LIME where these are installed."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.reference.attribution import path_attributions
from ifcb_flow_pipeline.detection.trial.mcif import IsolationForest

D = 8
ROWS = np.random.default_rng(0).standard_normal((400, D))
INJECTED = np.random.default_rng(1).integers(0, D, 60)
ASKED = np.random.default_rng(2).standard_normal((60, D))
ASKED[np.arange(60), INJECTED] = 8.0

FOREST = IsolationForest(n_estimators=60).fit(ROWS).forest_


def path_lengths(rows: np.ndarray) -> np.ndarray:
    """Mean path lengths from scores: -2 ** -(length / normaliser)."""
    return -np.log2(-FOREST.score_samples(rows)) * FOREST.normaliser


def test_attributions_sum_to_the_path_length_exactly():
    added, expected = path_attributions(FOREST, ASKED)
    assert added.sum(axis=1) + expected == pytest.approx(path_lengths(ASKED), abs=1e-9)


def test_the_length_expected_at_the_roots_is_that_of_the_training_rows():
    whole = IsolationForest(n_estimators=20, max_samples=len(ROWS)).fit(ROWS).forest_
    lengths = -np.log2(-whole.score_samples(ROWS)) * whole.normaliser
    assert path_attributions(whole, ROWS[:1])[1] == pytest.approx(lengths.mean(), abs=1e-4)


def test_what_was_planted_is_what_a_score_is_due_to():
    added, _ = path_attributions(FOREST, ASKED)
    assert (added.argmin(axis=1) == INJECTED).mean() > 0.9


def test_the_order_of_features_agrees_with_shap():
    shap = pytest.importorskip("shap")
    from sklearn.ensemble import IsolationForest as Grower

    grower = Grower(n_estimators=60, max_samples=256, random_state=42).fit(ROWS)
    theirs = shap.TreeExplainer(grower).shap_values(ASKED)
    added, _ = path_attributions(FOREST, ASKED)
    assert np.corrcoef(added.ravel(), theirs.ravel())[0, 1] > 0.9
    assert (added.argmin(axis=1) == theirs.argmin(axis=1)).mean() > 0.7


def test_what_was_planted_is_what_lime_finds():
    lime = pytest.importorskip("lime.lime_tabular")
    explainer = lime.LimeTabularExplainer(ROWS, mode="regression", discretize_continuous=False, random_state=0)
    found = []
    for row, planted in zip(ASKED[:8], INJECTED, strict=False):
        weights = dict(
            explainer.explain_instance(row, FOREST.score_samples, num_features=D, num_samples=500).as_map()[1]
        )
        scaled = {column: weight * (row[column] - ROWS[:, column].mean()) for column, weight in weights.items()}
        found.append(min(scaled, key=scaled.__getitem__) == planted)
    assert np.mean(found) >= 0.75
