"""What people's decisions teach: thresholds, how good verdicts are, and the ranking."""

import numpy as np

from ifcb_flow_pipeline.detection.flow.label_learning import (
    LabelRanker,
    decisions_of,
    held_out_shifts,
    label_metrics,
    learnt_thresholds,
)

#: As documented. They are not imported: a threshold that moved would move its own test.
MIN_FOR_RANKING = 20


def test_decisions_teach_each_instrument_its_threshold():
    severity = np.concatenate([np.linspace(0, 62, 40), np.linspace(66, 90, 40), np.linspace(0, 90, 12)])
    is_bad = np.concatenate([np.zeros(40, bool), np.ones(40, bool), np.zeros(12, bool)])
    instrument = np.array(["one"] * 80 + ["few"] * 12, dtype=object)
    thresholds = learnt_thresholds(severity, is_bad, instrument)
    assert set(thresholds) == {"one"}
    assert 62 < thresholds["one"] < 66


def test_what_people_keep_calling_bad_moves_up_and_what_they_call_good_moves_down():
    rng = np.random.default_rng(0)
    n = 2 * MIN_FOR_RANKING
    groups = np.abs(rng.standard_normal((2 * n, 3))) + 1.0
    is_bad = np.arange(2 * n) < n
    groups[is_bad, 0] += 2.0
    groups[~is_bad, 2] += 2.0
    shift = LabelRanker().fit(groups, is_bad).shift(groups)
    assert shift[is_bad].mean() > 0.3
    assert shift[~is_bad].mean() < -0.3
    assert np.abs(shift).max() <= 0.6
    assert LabelRanker.untaught(3).shift(groups).tolist() == [0.0] * (2 * n)
    assert LabelRanker().fit(groups, is_bad).shift(np.zeros((1, 3))).tolist() == [0.0]
    held_out = held_out_shifts(groups, is_bad, 42)
    assert held_out[is_bad].mean() > held_out[~is_bad].mean() + 0.5


def test_precision_and_recall_are_of_decisions_and_none_where_there_is_nothing_to_count():
    called, is_bad = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert label_metrics(called, is_bad) == {"n_good": 2, "n_bad": 2, "precision": 0.5, "recall": 0.5}
    nothing = label_metrics(np.zeros(2, bool), np.zeros(2, bool))
    assert nothing["precision"] is None
    assert nothing["recall"] is None


def test_unsure_decisions_count_as_none():
    labelled, is_bad = decisions_of(["a", "b", "c", "d"], {"a": "bad", "b": "good", "c": "unsure"})
    assert labelled.tolist() == [True, True, False, False]
    assert is_bad.tolist() == [True, False, False, False]
