"""Training: what teaches and what does not, what people's decisions do, and what the card says of it."""

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.flow.label_learning import (
    MIN_FOR_RANKING,
    LabelRanker,
    decisions_of,
    held_out_shifts,
    label_metrics,
    learnt_thresholds,
)
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model
from ifcb_flow_pipeline.detection.lag_features import lag_values
from ifcb_flow_pipeline.detection.model_card import ModelError

from ..fleet import CREATED, FAULTS, FLEET, START, Columns, changed, columns, plus, table, times


def trained(bins: Columns, labels: dict | None = None, settings: TrainingSettings | None = None) -> FlowModel:
    return train_flow_model(table(bins), settings or TrainingSettings(), labels or {}, CREATED, {"numpy": "2"})


def with_faults(bins: Columns) -> tuple[Columns, np.ndarray]:
    """The bins with one of every third of the faults of the cloud, of each instrument, three bins each."""
    names = [name for name in FAULTS if FAULTS[name][0] not in ("corrupt", "empty", "leak", "overheating")][::2]
    rows = []
    for number, name in enumerate(names):
        for first in (10 + 20 * number, 150 + 15 + 20 * number):
            bins = changed(bins, slice(first, first + 3), **FAULTS[name][1])
            rows += range(first, first + 3)
    return bins, np.array(rows)


def test_faults_in_the_training_set_are_found_by_the_model_that_was_trained_on_them():
    bins, faulty = with_faults(columns(150))
    model = trained(bins)
    verdicts = model.judge(table(bins))
    is_bad = np.array(verdicts["verdict"].to_pylist()) == "bad"
    assert is_bad[faulty].mean() >= 0.95
    assert np.delete(is_bad, faulty).mean() <= 0.03
    taught_nothing = {pid for pids in model.card.excluded.values() for pid in pids}
    assert len(taught_nothing & set(bins["pid"][faulty].tolist())) / len(faulty) > 0.8


def test_the_order_of_the_rows_changes_no_model():
    rows = table(columns(60))
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)))
    one, other = (train_flow_model(r, TrainingSettings(), {}, CREATED, {}) for r in (rows, shuffled))
    assert one.to_bytes() == other.to_bytes()
    assert one.card.model_id == other.card.model_id


def test_what_people_called_bad_teaches_nothing_and_is_named_in_the_card():
    bins = columns(60)
    pids = bins["pid"][5:9].tolist()
    model = trained(bins, {pids[0]: "bad", pids[1]: "good", pids[2]: "unsure", pids[3]: "bad"})
    assert model.card.excluded["labelled_bad"] == [pids[0], pids[3]]
    assert model.card.metrics["labels"]["n_bad"] == 2
    assert model.card.metrics["labels"]["n_good"] == 1


def test_what_breaks_a_rule_teaches_nothing_unless_people_called_it_good():
    bins = changed(columns(60), [5, 6], run_time_ratio=0.3)
    assert trained(bins).card.excluded["rule"] == bins["pid"][[5, 6]].tolist()
    assert trained(bins, {bins["pid"][5]: "good"}).card.excluded["rule"] == [bins["pid"][6]]


def test_a_rule_that_most_bins_break_leaves_bins_to_train_on():
    model = trained(changed(columns(60), slice(None), run_time_ratio=0.5))
    assert model.card.n_bins > 100
    assert "rule" not in model.card.excluded


def test_too_few_bins_are_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"8 bins.*widen the training window"):
        trained(columns(4))


def test_features_that_are_missing_are_named():
    with pytest.raises(ModelError, match=r"core_tilt.*compute the features again"):
        train_flow_model(table(columns(20)).drop_columns(["core_tilt"]), TrainingSettings(), {}, CREATED, {})


def test_a_feature_set_that_there_is_not_is_refused():
    with pytest.raises(ModelError, match="no feature set 'half'; there are: reference, full"):
        trained(columns(20), settings=TrainingSettings(feature_set="half"))


def test_a_model_of_the_reference_features_uses_no_others():
    model = trained(columns(60), settings=TrainingSettings(feature_set="reference"))
    assert model.card.feature_set == "reference"
    assert set(model.card.feature_names).isdisjoint({"core_x_px"})
    assert model.judge(table(columns(5))).num_rows == 10


def test_the_card_says_what_the_model_is_made_of_and_warns_of_short_windows():
    bins = columns(60)
    short = columns(12, (FLEET[0],), seed=9)
    model = trained({name: np.concatenate([bins[name], np.where(short[name] == "IFCB134", "IFCB7", short[name])])
                     if name == "instrument" else np.concatenate([bins[name], short[name]]) for name in bins}
                    | {"pid": np.array([f"D20240301T{i:06}_IFCB0" for i in range(132)], dtype=object)})  # fmt: skip
    card = model.card
    assert (card.kind, card.feature_set, card.threshold) == ("flow", "full", 50.0)
    assert card.first_day == START.date().isoformat()
    assert sum(card.n_bins_by_instrument.values()) == card.n_bins
    assert card.versions == {"numpy": "2"}
    assert "IFCB7 has only" in card.note


def test_a_window_in_which_much_is_unlike_the_rest_is_warned_of():
    rng = np.random.default_rng(0)
    odd = rng.choice(150, 18, replace=False)
    bins = changed(columns(150), odd, stray_fraction=0.3, core_width_px=times(3), core_tilt=plus(0.2))
    assert "of the bins of IFCB134 are unlike the rest" in trained(bins).card.note


def test_decisions_teach_each_instrument_its_threshold():
    severity = np.concatenate([np.linspace(0, 62, 40), np.linspace(66, 90, 40), np.linspace(0, 90, 12)])
    is_bad = np.concatenate([np.zeros(40, bool), np.ones(40, bool), np.zeros(12, bool)])
    instrument = np.array(["one"] * 80 + ["few"] * 12, dtype=object)
    thresholds = learnt_thresholds(severity, is_bad, instrument)
    assert set(thresholds) == {"one"}
    assert 62 < thresholds["one"] < 66


def test_learnt_thresholds_decide_what_is_bad():
    bins, faulty = with_faults(columns(150))
    plain = np.setdiff1d(np.arange(300), faulty)[::3]
    labels = dict.fromkeys(bins["pid"][faulty].tolist(), "bad") | dict.fromkeys(bins["pid"][plain].tolist(), "good")
    model = trained(bins, labels)
    assert set(model.thresholds) == {"IFCB134", "IFCB9"}
    found = model.judge(table(bins))
    assert set(found["threshold"].to_pylist()) <= set(model.thresholds.values())
    assert model.card.metrics["labels"]["recall"] >= model.card.metrics["labels_without_learning"]["recall"]


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


def test_a_box_that_stays_at_its_place_is_seen_over_the_bins_before():
    bins = changed(columns(20, (FLEET[0],)), slice(8, 20), stuck_x_px=400.0, stuck_y_px=300.0, stuck_width_px=80.0)
    bins = changed(bins, slice(8, 20), stuck_height_px=40.0)
    found = lag_values(table(bins))["stuck_persistence"]
    assert np.isnan(found[:3]).all()
    assert found[3:9].tolist() == [0.0] * 6
    assert found[9:14] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    order = np.random.default_rng(0).permutation(20)
    shuffled = lag_values(table(bins).take(pa.array(order)))["stuck_persistence"]
    assert shuffled == pytest.approx(found[order], nan_ok=True)


def test_the_rise_of_humidity_is_that_above_the_bins_before_of_the_same_instrument():
    bins = columns(20)
    bins = changed(bins, slice(None), humidity_pct=np.concatenate([np.full(20, 20.0), np.full(20, 60.0)]))
    bins = changed(bins, slice(10, 20), humidity_pct=np.arange(10) + 21.0)
    found = lag_values(table(bins))["humidity_rise_pct"]
    assert found[[10, 11, 12]].tolist() == [1.0, 2.0, 3.0]
    assert found[23:].tolist() == [0.0] * 17
