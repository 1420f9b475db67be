"""Verdicts: what is found and why, what is left alone, and that no way of asking changes the answer."""

import json
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from ifcb_flow_pipeline.detection.flow import instrument as instrument_model
from ifcb_flow_pipeline.detection.flow import model as flow_model
from ifcb_flow_pipeline.detection.flow.deployments import STEP_BINS
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.severity import VERDICT_COLUMNS
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

from .. import fleet
from ..fleet import BLOOM, DETRITUS, FAULTS, Columns, changed, plus, same, table


def severities(verdicts: pa.Table) -> np.ndarray:
    return verdicts["severity"].to_numpy()


def share_bad(verdicts: pa.Table) -> float:
    return float(np.mean([verdict == "bad" for verdict in verdicts["verdict"].to_pylist()]))


def test_healthy_bins_are_hardly_ever_bad(model: FlowModel, healthy: Columns):
    assert share_bad(model.judge(table(healthy))) <= 0.03


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_bad_and_its_cause_is_among_the_first_two(name: str, model: FlowModel, healthy: Columns):
    cause, values = FAULTS[name]
    row = model.judge(table(changed(healthy, 50, **values))).slice(50, 1).to_pylist()[0]
    assert row["verdict"] == "bad"
    assert cause in (row["cause"], row["second_cause"])
    assert CAUSES[cause].title in row["reasons"]


@pytest.mark.parametrize("water", [BLOOM, DETRITUS], ids=["bloom", "detritus"])
def test_what_the_water_does_is_not_bad(water: Columns, model: FlowModel, healthy: Columns):
    rows = np.arange(40, 60)
    assert share_bad(model.judge(table(changed(healthy, rows, **water))).take(pa.array(rows))) <= 0.05


def test_a_bloom_that_is_worth_a_look_is_called_one(model: FlowModel, healthy: Columns):
    rows = np.arange(40, 60)
    said = model.judge(table(changed(healthy, rows, **BLOOM))).take(pa.array(rows)).to_pylist()
    told = [row["cause"] for row in said if row["verdict"] == "watch"]
    assert told
    assert told.count("bloom") / len(told) >= 0.8


def test_a_bloom_is_at_most_worth_a_look_however_large_it_is(model: FlowModel, healthy: Columns):
    sizes = {"width_median_px": fleet.times(2.5), "area_median_px2": fleet.times(6.0), "large_fraction": 0.2}
    rows = model.judge(table(changed(changed(healthy, 50, **BLOOM), 50, **sizes)))
    said = rows.slice(50, 1).to_pylist()[0]
    assert (said["verdict"], said["cause"]) == ("watch", "bloom")


def test_larger_boxes_are_the_waters_unless_images_are_lost_too(model: FlowModel, healthy: Columns):
    _, values = FAULTS["an objective out of focus"]
    lost = ("no_image_fraction", "images_per_trigger")
    sizes = {name: value for name, value in values.items() if name not in lost}
    row = model.judge(table(changed(healthy, 50, **sizes))).slice(50, 1).to_pylist()[0]
    assert (row["verdict"], row["cause"]) == ("watch", "community")


def test_noise_is_no_bloom_however_high_the_rate(model: FlowModel, healthy: Columns):
    _, values = FAULTS["noise that triggers"]
    row = model.judge(table(changed(healthy, 50, **values))).slice(50, 1).to_pylist()[0]
    assert row["cause"] == "electronics"


def severity_of(model: FlowModel, columns: Columns, row: int = 50) -> float:
    return float(model.judge(table(columns))["severity"][row].as_py())


@pytest.mark.parametrize(
    ("feature", "step"), [("core_tilt", 0.02), ("humidity_pct", 4.0), ("dead_time_s", 0.002), ("cross_low_px", 40.0)]
)
def test_a_worse_fault_is_always_more_severe_and_never_100(
    feature: str, step: float, model: FlowModel, healthy: Columns
):
    steps = step * 2.0 ** np.arange(8)
    found = [severity_of(model, changed(healthy, 50, **{feature: plus(each)})) for each in steps]
    assert (np.diff(found) >= 0).all()
    assert 50.0 < found[-1] < 100.0


def test_a_core_that_lies_elsewhere_is_a_fault_but_no_worse_one_the_farther_it_lies(model: FlowModel, healthy: Columns):
    found = [severity_of(model, changed(healthy, 50, core_x_px=plus(step))) for step in (40.0, 80.0, 160.0, 320.0)]
    assert min(found) > 75.0
    assert np.ptp(found) < 5.0
    tilted = severity_of(model, changed(healthy, 50, core_x_px=plus(80.0), core_tilt=0.4))
    assert tilted > max(found) + 2.0


def test_100_is_kept_for_what_cannot_be_read(model: FlowModel, healthy: Columns):
    row = model.judge(table(changed(healthy, 50, status="no_adc"))).slice(50, 1).to_pylist()[0]
    assert (row["severity"], row["verdict"], row["rules"], row["cause"]) == (100.0, "unreadable", "", "")


def test_each_instrument_is_judged_by_its_own_history(model: FlowModel, healthy: Columns):
    one, other = model.judge(table(changed(healthy, 50, core_x_px=420.0))), model.judge(table(healthy))
    assert severities(one)[50] > 80  # where the core of the other one is
    assert severities(other)[150] < 50


def test_verdicts_are_in_the_order_of_the_rows(model: FlowModel, healthy: Columns):
    rows = table(changed(healthy, 50, **FAULTS["a turned camera"][1]))
    order = np.random.default_rng(0).permutation(rows.num_rows)
    straight, shuffled = model.judge(rows), model.judge(rows.take(pa.array(order)))
    assert straight.column_names == list(VERDICT_COLUMNS)
    assert same(straight.take(pa.array(order)), shuffled)


def test_bins_judged_in_parts_and_threads_get_the_verdicts_and_the_words_of_the_whole_table(
    model: FlowModel, healthy: Columns, monkeypatch: pytest.MonkeyPatch
):
    bins = healthy
    for place, (_, values) in enumerate(FAULTS.values()):
        bins = changed(bins, 9 * place + 5, **values)
    history = fleet.table(fleet.columns(20, seed=2, start=fleet.START + 100 * fleet.CADENCE))
    whole = model.judge(table(bins), history)
    monkeypatch.setattr(flow_model, "_THREADS_FROM", 1)
    monkeypatch.setattr(instrument_model, "_BINS_TOGETHER", 37)
    assert same(model.judge(table(bins), history), whole)
    assert len(set(whole["reasons"].to_pylist())) > len(FAULTS) / 2


def test_findings_are_json_and_the_reasons_are_their_texts(model: FlowModel, healthy: Columns):
    bins = healthy
    for place, (_, values) in enumerate(FAULTS.values()):
        bins = changed(bins, 9 * place + 5, **values)
    for row in model.judge(table(bins)).to_pylist():
        findings = json.loads(row["findings"])
        assert bool(findings) == (row["verdict"] != "ok")
        # Written as any other JSON is: who reads the table need not know that it was put together by hand.
        assert json.dumps(findings, ensure_ascii=False) == row["findings"]
        for finding in findings[:3]:
            assert f"{finding['text']}." in row["reasons"]


def test_no_rows_have_no_verdicts(model: FlowModel, healthy: Columns):
    nothing = model.judge(table(healthy).slice(0, 0))
    assert nothing.num_rows == 0
    assert nothing.schema.equals(model.judge(table(healthy)).schema)


def test_bins_judged_day_by_day_get_the_verdicts_of_the_whole_archive(model: FlowModel):
    columns = fleet.columns(400, seed=2, start=fleet.START + 150 * fleet.CADENCE)
    # A service that nobody wrote down.
    columns = changed(
        columns, np.arange(200, 400), core_x_px=plus(45), start_time=lambda times: times + timedelta(hours=9)
    )
    columns = changed(columns, 300, **FAULTS["a turned camera"][1])
    rows = table(columns)
    whole = model.judge(rows)
    day = np.array([start.date() for start in columns["start_time"]])
    agree = []
    for one in np.unique(day)[2:]:
        before = (day < one) & (day >= one - timedelta(days=7))
        alone = model.judge(rows.filter(pa.array(day == one)), rows.filter(pa.array(before)))
        same = np.array(alone["verdict"].to_pylist()) == np.array(whole["verdict"].to_pylist())[day == one]
        agree.append(same.mean())
    assert np.mean(agree) > 0.98


def test_history_that_has_the_judged_bins_too_changes_nothing(model: FlowModel, healthy: Columns):
    rows = table(healthy)
    asked = rows.slice(60, 20)
    assert same(model.judge(asked, rows.slice(0, 60)), model.judge(asked, rows.slice(0, 80)))
    assert same(model.judge(asked, rows.slice(0, 0)), model.judge(asked))


def moved_after(gap: timedelta, columns: Columns) -> Columns:
    """From bin 50 of the first instrument on, the core lies 60 px farther, after a pause."""
    rows = np.arange(50, 100)
    return changed(columns, rows, core_x_px=plus(60), start_time=lambda times: times + gap)


def test_a_core_that_moved_in_a_pause_is_told_once_and_then_followed(model: FlowModel, healthy: Columns):
    found = model.judge(table(moved_after(timedelta(hours=9), healthy))).slice(50, 50)
    assert found["config_changed"].to_pylist() == [True] + [False] * 49
    assert found["verdict"][0].as_py() == "watch"
    assert found["cause"][0].as_py() == "config_change"
    assert found["reasons"][0].as_py().startswith("Settings changed, or the sample core moved in a pause")
    assert share_bad(found) <= 0.06


def test_a_core_that_jumps_and_stays_is_bad_at_first_and_then_an_open_question(model: FlowModel, healthy: Columns):
    found = model.judge(table(moved_after(timedelta(0), healthy))).slice(50, 50)
    assert found["verdict"].to_pylist()[:STEP_BINS] == ["bad"] * STEP_BINS
    later = found.slice(STEP_BINS)
    assert share_bad(later) <= 0.06
    moved = [row for row in later.to_pylist() if row["verdict"] == "watch" and row["cause"] == "moved"]
    assert len(moved) >= 0.8 * later.num_rows
    assert not any(found["config_changed"].to_pylist())


def test_what_else_is_odd_at_an_open_place_is_found_there(model: FlowModel, healthy: Columns):
    columns = changed(moved_after(timedelta(0), healthy), 80, **FAULTS["a turned camera"][1])
    row = model.judge(table(columns)).slice(80, 1).to_pylist()[0]
    assert (row["verdict"], row["cause"]) == ("bad", "alignment")


def test_a_core_that_jumps_back_is_a_fault_while_it_is_away(model: FlowModel, healthy: Columns):
    back = model.judge(table(changed(healthy, np.arange(50, 58), core_x_px=plus(60))))
    assert share_bad(back.slice(50, 8)) == 1.0
    assert share_bad(back.slice(58, 42)) <= 0.06


def test_a_core_that_jumps_on_soon_after_a_service_is_an_open_question_in_the_end(model: FlowModel, healthy: Columns):
    twice = changed(moved_after(timedelta(hours=9), healthy), np.arange(57, 100), core_x_px=plus(-110))
    found = model.judge(table(twice))
    assert share_bad(found.slice(50, 7)) == 0.0
    assert share_bad(found.slice(57, STEP_BINS)) == 1.0
    assert share_bad(found.slice(57 + STEP_BINS, 43 - STEP_BINS)) <= 0.06


def test_a_core_that_jumps_back_soon_after_a_pause_is_not_followed(model: FlowModel, healthy: Columns):
    late = moved_after(timedelta(hours=9), healthy)
    found = model.judge(table(changed(late, np.arange(57, 65), core_x_px=plus(-110))))
    assert share_bad(found.slice(57, 8)) == 1.0


def test_a_core_that_creeps_away_is_not_followed(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 62)
    creeping = changed(healthy, rows, core_x_px=lambda values: values + np.linspace(20, 120, len(rows)))
    assert share_bad(model.judge(table(creeping)).slice(50, 12)) >= 0.9


def test_new_settings_are_told_once_and_their_cloud_is_learnt(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 100)
    found = model.judge(
        table(changed(healthy, rows, configuration="d4e5f6", core_x_px=plus(-85), width_median_px=fleet.times(1.1)))
    ).slice(50, 50)
    assert sum(found["config_changed"].to_pylist()) == 1
    assert share_bad(found) <= 0.06


def test_humidity_that_rises_from_bin_to_bin_is_a_leak_long_before_the_alarm(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 62)
    rising = changed(healthy, rows, humidity_pct=lambda values: values + np.arange(1, len(rows) + 1) * 1.5)
    found = model.judge(table(rising)).slice(50, 12).to_pylist()
    assert [row["cause"] for row in found[3:]] == ["leak"] * 9


def test_a_sensor_below_zero_is_an_offset_that_is_told_once_and_never_a_leak(model: FlowModel, healthy: Columns):
    rows = slice(30, 100)
    columns = changed(changed(healthy, slice(0, 100), humidity_pct=5.0), rows, humidity_pct=np.linspace(-0.5, -9.0, 70))
    said = model.judge(table(columns)).slice(0, 100).to_pylist()
    assert [number for number, row in enumerate(said) if "humidity sensor" in row["reasons"]] == [30]
    assert said[30]["verdict"] == "ok"
    assert not any("leak" in (row["cause"], row["second_cause"]) for row in said)
    # Day by day, too: the bins before have told it.
    later = model.judge(table(columns).slice(60, 40), table(columns).slice(0, 60))
    assert not any("humidity sensor" in reasons for reasons in later["reasons"].to_pylist())


def test_bins_of_a_wrong_clock_are_judged_at_the_time_when_they_were_taken(model: FlowModel, healthy: Columns):
    features = table(healthy).slice(0, 100)
    rows = np.arange(50, 62)
    rising = table(changed(healthy, rows, humidity_pct=lambda values: values + np.arange(1, 13) * 1.5)).slice(0, 100)
    expected = model.judge(rising)
    # The clock went back by days, and these bins come first by their names.
    true = rising["start_time"].to_pylist()
    wrong = [time - timedelta(days=400) if number in rows else time for number, time in enumerate(true)]
    corrected = [true[number] if number in rows else None for number in range(100)]
    place = rising.column_names.index("start_time")
    shifted = rising.set_column(place, "start_time", pa.array(wrong, features["start_time"].type))
    assert model.judge(shifted)["verdict"].to_pylist() != expected["verdict"].to_pylist()
    told = model.judge(shifted.append_column("sample_time", pa.array(corrected, features["start_time"].type)))
    for name in ("verdict", "severity", "cause"):
        assert told[name].to_pylist() == expected[name].to_pylist()
    reasons = told["reasons"].to_pylist()
    assert f"The sample was taken at {true[55]:%Y-%m-%d %H:%M:%S} UTC: the instrument's clock was wrong" in reasons[55]
    assert ["The sample was taken at" in each for each in reasons] == [number in rows for number in range(100)]
    # A history without the column is one of right clocks.
    later = told_later(model, shifted.append_column("sample_time", pa.array(corrected, features["start_time"].type)))
    assert later.num_rows == 38


def told_later(model: FlowModel, rows: pa.Table) -> pa.Table:
    return model.judge(rows.slice(62), rows.slice(0, 62).drop_columns(["sample_time"]))


def test_a_missing_header_is_suspicious_only_where_the_instrument_has_some(model: FlowModel, healthy: Columns):
    newcomer = fleet.columns(40, (fleet.Instrument("IFCB77"),), seed=5)
    rows = table(changed(newcomer, 30, configuration=""))
    assert "no_header" in model.judge(rows)["rules"][30].as_py()
    none = model.judge(table(changed(newcomer, slice(None), configuration="")))
    assert not any("no_header" in rules for rules in none["rules"].to_pylist())


@pytest.mark.parametrize(("n_with", "is_told"), [(2, False), (3, True)])
def test_three_headers_tell_that_an_instrument_has_some(n_with: int, is_told: bool, model: FlowModel):
    few = fleet.columns(n_with + 1, (fleet.Instrument("IFCB77"),), seed=5)
    rules = model.judge(table(changed(few, n_with, configuration="")))["rules"].to_pylist()
    assert ("no_header" in rules[n_with]) == is_told


def test_where_half_of_the_bins_have_headers_none_is_lost(model: FlowModel):
    half = fleet.columns(8, (fleet.Instrument("IFCB77"),), seed=5)
    rules = model.judge(table(changed(half, slice(4, 8), configuration="")))["rules"].to_pylist()
    assert not any("no_header" in each for each in rules)


@pytest.mark.parametrize(("n_dead", "is_told"), [(1, True), (5, False)])
def test_signals_died_where_most_bins_of_the_instrument_have_live_ones(n_dead: int, is_told: bool, model: FlowModel):
    newcomer = fleet.columns(8, (fleet.Instrument("IFCB77"),), seed=5)
    dead = model.judge(table(changed(newcomer, slice(0, n_dead), dead_signal_fraction=1.0)))["rules"].to_pylist()
    assert ("dead_signals" in dead[0]) == is_told


def test_the_percentile_is_that_of_the_rarity(model: FlowModel, healthy: Columns):
    found = model.judge(table(changed(healthy, 50, **FAULTS["a turned camera"][1])))
    rarity = -found["anomaly_score"].to_numpy()
    assert (rarity >= 0.0).all()
    assert found["percentile"].to_numpy() == pytest.approx(100 * (1 - 10.0**-rarity))


@pytest.mark.parametrize("n_bins", [1, 100], ids=["alone", "among others"])
def test_blind_times_that_are_counted_no_more_are_told_where_the_instrument_has_them(
    n_bins: int, model: FlowModel, healthy: Columns
):
    rows = table(changed(healthy, 0, dead_time_s=np.nan)).slice(0, n_bins)
    said = model.judge(rows).to_pylist()
    assert (said[0]["verdict"], said[0]["rules"], said[0]["cause"]) == ("watch", "dead_counters", "corrupt")
    assert not any("dead_counters" in row["rules"] for row in said[1:])
    # An instrument that never counts them is in order.
    never = model.judge(table(changed(healthy, slice(0, 100), dead_time_s=np.nan)))
    assert not any("dead_counters" in rules for rules in never["rules"].to_pylist())


def test_an_unknown_instrument_is_never_ok_and_hard_rules_still_speak(model: FlowModel):
    newcomer = fleet.columns(60, (fleet.Instrument("IFCB77", {"core_x_px": 700, "dead_time_s": 0.11}),), seed=5)
    newcomer = changed(newcomer, 30, **FAULTS["humid air"][1])
    found = model.judge(table(changed(newcomer, 40, status="no_adc"))).to_pylist()
    others = [row for at, row in enumerate(found) if at not in (30, 40)]
    assert {(row["verdict"], row["baseline_bins"], row["cause"]) for row in others} == {("not_judged", 0, "")}
    assert np.isnan([row["severity"] for row in others]).all()
    assert (found[30]["verdict"], found[30]["cause"]) == ("bad", "leak")
    assert found[40]["verdict"] == "unreadable"


@pytest.mark.parametrize("spoil", [lambda v: np.full(len(v), np.nan), lambda v: np.zeros(len(v))], ids=["nan", "zero"])
def test_signals_that_an_instrument_does_not_have_make_no_bin_bad(spoil: Callable, healthy: Columns):
    from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model

    missing = ("peak_median_v", "peak_floor_fraction", "peak_y_slope", "flight_time_us", "flight_spread")
    columns = changed(fleet.columns(120), slice(None), **dict.fromkeys(missing, spoil))
    trained = train_flow_model(table(columns), TrainingSettings(), {}, fleet.CREATED, {})
    assert share_bad(trained.judge(table(changed(healthy, slice(None), **dict.fromkeys(missing, spoil))))) <= 0.04


def test_findings_say_what_was_seen_what_is_usual_and_what_to_check(model: FlowModel, healthy: Columns):
    columns = changed(healthy, 50, **FAULTS["another flow speed"][1])
    row = model.judge(table(columns)).slice(50, 1).to_pylist()[0]
    findings = json.loads(row["findings"])
    first = next(finding for finding in findings if finding.get("feature") == "core_x_px")
    assert first["value"] == pytest.approx(columns["core_x_px"][50], rel=1e-4)
    assert first["low"] < 980 < first["high"] < first["value"]
    assert first["unit"] == "px"
    assert first["check"] == CAUSES["sheath_flow"].check
    assert row["reasons"].endswith(f"Suspected cause: sheath flow problem. {first['check']}.")
    assert 0.9 < sum(finding.get("share", 0.0) for finding in findings) <= 1.0 + 1e-6


def test_a_bin_without_any_trigger_is_not_said_to_have_a_billionth_of_one(model: FlowModel, healthy: Columns):
    nothing = dict.fromkeys(FULL_FEATURE_NAMES, np.nan) | {"n_triggers": 0.0, "trigger_rate_hz": 0.0}
    row = model.judge(table(changed(healthy, 50, status="empty", n_images=0, n_points=0, **nothing))).slice(50, 1)
    said = row.to_pylist()[0]
    assert (said["verdict"], said["cause"], said["second_cause"]) == ("bad", "empty", "laser")
    assert "e-09" not in said["findings"]


def test_a_table_without_the_features_is_refused_with_the_remedy(model: FlowModel, healthy: Columns):
    with pytest.raises(ModelError, match=r"core_x_px.*compute the features again"):
        model.judge(table(healthy).drop_columns(["core_x_px"]))
