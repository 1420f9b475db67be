"""What people's decisions teach: thresholds, how good verdicts are, and the ranking."""

import numpy as np
import pytest

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
    assert thresholds["one"] == pytest.approx(64.0)  # half-way


def learnt(good: list[float], bad: list[float]) -> float | None:
    """The threshold of an instrument with these severities, beside another one of which people think the contrary."""
    both = np.array(good + bad)
    is_bad = np.arange(len(both)) >= len(good)
    instrument = np.array(["one"] * len(both) + ["contrary"] * len(both), dtype=object)
    return learnt_thresholds(np.tile(both, 2), np.r_[is_bad, ~is_bad], instrument).get("one")


def test_ten_decisions_of_either_kind_teach_a_threshold():
    assert learnt([20.0] * 10, [70.0] * 10) == 50.0
    assert learnt([60.0] * 10, [70.0] * 10) == 65.0
    assert learnt([60.0] * 9, [70.0] * 10) is None
    assert learnt([60.0] * 10, [70.0] * 9) is None


def test_a_threshold_stays_between_35_and_85():
    assert learnt([20.0] * 10, [36.0] * 10) == 36.0
    # Beyond these no threshold parts them better than the usual one.
    assert learnt([5.0] * 10, [30.0] * 10) == 50.0
    assert learnt([20.0] * 5 + [90.0] * 5, [99.0] * 10) == 50.0


def test_the_fewest_wrong_in_shares_part_best():
    # One of ten good ones is a larger share than one of forty bad ones.
    assert learnt([40.0] * 9 + [60.0], [55.0] + [70.0] * 39) == pytest.approx(65.0)
    assert learnt([40.0] * 39 + [60.0], [55.0] + [70.0] * 9) == pytest.approx(50.0)


def test_the_ranking_moves_a_bin_by_what_speaks_for_it_and_no_further_than_it_is_unusual():
    ranker = LabelRanker()
    ranker.weights_, ranker.bias_ = np.array([0.5, -0.25]), np.array(0.2)
    groups = np.array([[2.0, 1.0], [9.0, 0.0], [0.4, 0.2], [0.0, 0.0]])
    leaning = np.tanh(np.array([0.5 * 2 - 0.25 + 0.2, 0.5 * 4 + 0.2, 0.2 - 0.05 + 0.2, 0.2]) / 2)
    assert ranker.shift(groups) == pytest.approx(0.6 * leaning * [1.0, 1.0, 0.4, 0.0])


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
    called, is_bad = np.array([1, 1, 1, 0, 0, 0, 0], bool), np.array([1, 0, 0, 1, 0, 0, 0], bool)
    expected = {"n_good": 5, "n_bad": 2, "precision": pytest.approx(1 / 3), "recall": pytest.approx(1 / 2)}
    assert label_metrics(called, is_bad) == expected
    nothing = label_metrics(np.zeros(2, bool), np.zeros(2, bool))
    assert nothing["precision"] is None
    assert nothing["recall"] is None


def test_unsure_decisions_count_as_none():
    labelled, is_bad = decisions_of(["a", "b", "c", "d"], {"a": "bad", "b": "good", "c": "unsure"})
    assert labelled.tolist() == [True, True, False, False]
    assert is_bad.tolist() == [True, False, False, False]
