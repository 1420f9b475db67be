"""Training: what teaches and what does not, what people's decisions do, and what the card says of it."""

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.flow import training
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, _auroc, _limit, _note, train_flow_model
from ifcb_flow_pipeline.detection.model_card import ModelError

from ..fleet import (
    CADENCE,
    CREATED,
    FAULTS,
    FLEET,
    START,
    Columns,
    Instrument,
    changed,
    columns,
    plus,
    table,
    times,
)


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


def test_a_long_history_teaches_by_stretches_from_end_to_end_and_by_those_that_people_looked_at(
    monkeypatch: pytest.MonkeyPatch,
):
    bins = columns(100, FLEET[:1])
    whole = trained(bins)
    monkeypatch.setattr(training, "_MOST_BINS", 60)
    monkeypatch.setattr(training, "_STRETCH_BINS", 10)
    labelled = bins["pid"][33]
    model = trained(bins, {labelled: "good"})
    stretches = np.linspace(0, 9, 6).round().astype(int)
    assert 3 not in stretches
    assert {0, 9} <= set(stretches)
    assert model.card.n_bins + len(model.card.excluded.get("rejected", [])) == 70
    assert "70 of the 100 bins of" in model.card.note
    rows = table(bins)
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)))
    other = train_flow_model(shuffled, TrainingSettings(), {labelled: "good"}, CREATED, {"numpy": "2"})
    assert other.to_bytes() == model.to_bytes()
    # It knows all the time from the first bin to the last, and what it says of bins that it left out.
    name = FLEET[0].name
    for end in ("first_s", "last_s"):
        assert getattr(model.instruments[name].baseline, end) == getattr(whole.instruments[name].baseline, end)
    assert np.mean([each == "ok" for each in model.judge(rows)["verdict"].to_pylist()]) >= 0.95


def test_no_bin_of_a_history_that_is_no_longer_than_the_limit_is_left_out(monkeypatch: pytest.MonkeyPatch):
    bins = columns(60, FLEET[:1])
    monkeypatch.setattr(training, "_MOST_BINS", 60)
    model = trained(bins)
    assert model.card.n_bins + len(model.card.excluded.get("rejected", [])) == 60
    assert "are used" not in model.card.note


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


def test_a_rule_that_four_bins_in_ten_break_is_none_of_most():
    bins = changed(columns(60, (FLEET[0],)), slice(0, 24), run_time_ratio=0.3)
    assert trained(bins).card.excluded["rule"] == bins["pid"][:24].tolist()


def test_bins_are_rejected_that_are_rarer_than_one_in_two_thousand():
    # Of an exponential distribution, whatever lies beyond its bulk.
    scores = -2.0 * np.log1p(-(np.arange(4000) + 0.5) / 4000)
    for far in (1.0, 50.0):
        limit = _limit(np.where(scores > np.quantile(scores, 0.85), far * scores, scores))
        assert limit == pytest.approx(2.0 * np.log(2000.0), rel=0.01)


def test_the_chance_that_a_bad_bin_is_told_worse_counts_ties_as_half():
    severity, is_bad = np.array([1.0, 2.0, 2.0, 5.0, 3.0]), np.array([False, False, True, True, False])
    assert _auroc(severity, is_bad) == pytest.approx((1 + 0.5 + 0 + 3) / 6)


@pytest.mark.parametrize(
    ("lost", "n", "said"),
    [
        (12, 100, "12% of the bins of IFCB9 are unlike the rest: look whether its window is a normal one"),
        (10, 100, ""),
        (0, 50, ""),
        (0, 49, "IFCB9 has only 49 bins: what is normal for it is hardly known"),
        (1, 2, "50% of the bins of IFCB9 are unlike the rest: look whether its window is a normal one; "
               "IFCB9 has only 1 bin: what is normal for it is hardly known"),
    ],
)  # fmt: skip
def test_windows_with_few_bins_or_many_odd_ones_are_named(lost: int, n: int, said: str):
    features = pa.table({"instrument": ["IFCB1"] * 80 + ["IFCB9"] * n + ["IFCB9"] * 30})
    usable = np.arange(110 + n) < 80 + n  # what cannot be used is no part of it
    keep = usable.copy()
    keep[80 : 80 + lost] = False
    assert "; ".join(_note(features, usable, keep)) == said


def test_a_rule_that_most_bins_break_leaves_bins_to_train_on():
    model = trained(changed(columns(60), slice(None), run_time_ratio=0.5))
    assert model.card.n_bins > 100
    assert "rule" not in model.card.excluded


def test_too_few_bins_are_refused_with_the_remedy():
    with pytest.raises(ModelError, match=r"8 bins.*widen the training window"):
        trained(columns(4))
    assert trained(columns(5)).card.n_bins == 10


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


def test_learnt_thresholds_decide_what_is_bad():
    bins, faulty = with_faults(columns(150))
    plain = np.setdiff1d(np.arange(300), faulty)[::3]
    labels = dict.fromkeys(bins["pid"][faulty].tolist(), "bad") | dict.fromkeys(bins["pid"][plain].tolist(), "good")
    model = trained(bins, labels)
    assert set(model.thresholds) == {"IFCB134", "IFCB9"}
    found = model.judge(table(bins))
    assert set(found["threshold"].to_pylist()) <= set(model.thresholds.values())
    assert model.card.metrics["labels"]["recall"] >= model.card.metrics["labels_without_learning"]["recall"]


def test_other_instruments_bins_make_no_other_model_of_an_instrument():
    own, strange = columns(100, (FLEET[0],)), changed(columns(100, (FLEET[1],)), slice(0, 50), core_tilt=0.5)
    alone = trained(own)
    together = trained({name: np.concatenate([own[name], strange[name]]) for name in own})
    arrays, others = alone.arrays(), together.arrays()
    assert {name for name in arrays if name.startswith("0.")} <= set(others)
    assert all(np.array_equal(arrays[name], others[name]) for name in arrays if name.startswith("0."))


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1])
def test_a_share_of_faulty_bins_changes_hardly_what_is_usual(share: float):
    rng = np.random.default_rng(3)
    odd = rng.choice(300, int(300 * share), replace=False)
    clean = columns(300, (FLEET[0],))
    dirty = changed(clean, odd, core_tilt=plus(0.2), stray_fraction=0.3, repeat_anchor_fraction=0.3)
    one, other = (trained(bins).instruments["IFCB134"].baseline for bins in (clean, dirty))
    assert np.abs((one.centre - other.centre) / one.scatter).max() < 0.6
    assert (other.scatter / one.scatter).max() < 1.5
    assert set(trained(dirty).card.excluded["rejected"]) >= set(clean["pid"][odd].tolist())


def test_the_same_rows_labels_and_versions_make_the_same_model_and_others_another():
    bins = columns(60)
    one, same_, other = trained(bins), trained(bins), trained(bins, {bins["pid"][3]: "bad"})
    assert one.to_bytes() == same_.to_bytes()
    assert one.card.model_id != other.card.model_id


def test_the_card_tells_scores_shares_and_days():
    card = trained(columns(150)).card
    quantiles = [card.score_quantiles[f"{q:g}"] for q in (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)]
    assert quantiles == sorted(quantiles)
    assert quantiles[-1] <= 0.0
    assert -3.5 < quantiles[1] < -1.5  # one healthy bin in a hundred is as rare as that
    assert 0.0 <= card.metrics["rejected_share"] < 0.02
    assert (card.first_day, card.last_day) == (START.date().isoformat(), (START + 149 * CADENCE).date().isoformat())
    assert card.n_bins_by_instrument.keys() == {"IFCB134", "IFCB9"}


def test_bins_that_cannot_be_used_are_named_by_their_status():
    bins = changed(columns(60), [3, 4], status="no_adc")
    model = trained(changed(bins, 7, status="too_few_points"))
    assert model.card.excluded["no_adc"] == sorted(bins["pid"][[3, 4]].tolist())
    assert model.card.excluded["too_few_points"] == [bins["pid"][7]]


def test_what_is_not_judged_teaches_no_threshold():
    bins = {name: np.concatenate([columns(60)[name], columns(12, (Instrument("IFCB3"),), seed=2)[name]])
            for name in columns(1)}  # fmt: skip
    labels = {pid: "bad" if i % 2 else "good" for i, pid in enumerate(bins["pid"][120:].tolist())}
    model = trained(bins, labels)
    assert "IFCB3" not in model.thresholds
    assert "labels" not in model.card.metrics
