"""Reasons and findings of bins, as people read them."""

import json
import re
from datetime import timedelta

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.flow.instrument import Evidence
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.natural_variability import explain
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, detector_metadata, train_flow_model
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.detection.verdict.findings import Findings, Reported, describe
from ifcb_flow_pipeline.detection.verdict.rules import Broken, hard_rules
from ifcb_flow_pipeline.detection.verdict.sentences import topic_of
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

from .. import fleet
from ..fleet import FAULTS, Columns, changed, plus, table

#: What refers to another line, or is said of a cause more than once.
UNWANTED = ("that peak", "usually", " - ", "nan", "{", "}")


@pytest.fixture(scope="module")
def rows(model: FlowModel, healthy: Columns) -> list[dict]:
    """The verdicts on faults of all kinds, each in one bin, and on the healthy bins among them."""
    bins = healthy
    for place, (_, values) in enumerate(FAULTS.values()):
        bins = changed(bins, 9 * place + 5, **values)
    return model.judge(table(bins)).to_pylist()


def findings_of(rows: list[dict]) -> list[dict]:
    return [finding for row in rows for finding in json.loads(row["findings"])]


def judged(few: FlowModel, bins: Columns) -> list[dict]:
    return few.judge(table(bins)).to_pylist()


def trained_on(n_bins: int) -> FlowModel:
    return train_flow_model(table(fleet.columns(n_bins)), TrainingSettings(), {}, fleet.CREATED, {})


def later(n_bins: int, after: int) -> Columns:
    return fleet.columns(n_bins, seed=3, start=fleet.START + after * fleet.CADENCE)


def test_every_bin_that_is_not_ok_has_findings_and_reasons_that_name_its_causes_once(rows: list[dict]):
    found = [row for row in rows if row["verdict"] != "ok"]
    assert len(found) >= len(FAULTS)
    for row in found:
        findings = json.loads(row["findings"])
        reasons = row["reasons"]
        assert all(f"{finding['text']}." in reasons for finding in findings[:3])
        assert findings
        assert len(re.findall("suspected", reasons, re.IGNORECASE)) == (row["cause"] != "unknown")
        for cause in filter(None, (row["cause"], row["second_cause"])):
            assert reasons.lower().count(CAUSES[cause].title) >= 1
        assert CAUSES[row["cause"]].check in reasons
        assert not any(unwanted in reasons for unwanted in UNWANTED), reasons


def test_findings_do_not_say_what_the_headline_says(rows: list[dict]):
    assert not any("suspected" in finding["text"].lower() for finding in findings_of(rows))


def test_no_finding_lies_in_its_range_or_has_one_beyond_what_can_be(rows: list[dict]):
    measured = [finding for finding in findings_of(rows) if "feature" in finding]
    assert len(measured) > len(FAULTS)
    for finding in measured:
        assert not finding["low"] <= finding["value"] <= finding["high"], finding
        if finding["unit"] == "fraction":
            assert 0.0 <= finding["low"] <= finding["high"] <= 1.0


def test_the_same_is_said_once(rows: list[dict]):
    for row in rows:
        topics = [topic_of(finding.get("feature") or finding["rule"]) for finding in json.loads(row["findings"])]
        assert len(set(topics)) == len(topics)


def test_a_bin_that_is_odd_by_many_small_deviations_says_so(model: FlowModel, healthy: Columns, monkeypatch):
    from ifcb_flow_pipeline.detection.verdict import findings

    monkeypatch.setattr(findings, "_LEAST_SHARE", 2.0)  # no feature is worth a word
    row = model.judge(table(changed(healthy, 50, **FAULTS["a turned camera"][1]))).slice(50, 1).to_pylist()[0]
    assert [finding["rule"] for finding in json.loads(row["findings"])] == ["together"]
    assert row["reasons"].startswith("No single measurement is outside its normal range")


def test_the_shape_of_a_core_that_cannot_be_made_out_is_not_spoken_of(model: FlowModel, healthy: Columns):
    bins = changed(healthy, 50, core_width_px=300.0, core_tilt=0.9, core_bend_px=898.0)
    findings = json.loads(model.judge(table(bins))["findings"][50].as_py())
    assert not {finding.get("feature") for finding in findings} & {"core_tilt", "core_bend_px"}


def test_one_damaged_line_is_one_line(model: FlowModel, healthy: Columns):
    reasons = model.judge(table(changed(healthy, [50, 51], bad_lines=np.array([1, 40]))))["reasons"].to_pylist()
    assert "1 line of the .adc file is damaged." in reasons[50]
    assert "40 lines of the .adc file are damaged." in reasons[51]


def test_means_of_neighbours_are_told_as_such(model: FlowModel, healthy: Columns):
    bins = changed(
        healthy, np.arange(50, 58), core_tilt=plus(0.0085), dead_time_s=plus(0.002), stray_spread=plus(0.27),
        core_width_px=lambda values: values * 1.11,
    )  # fmt: skip
    found = [
        finding for finding in findings_of(model.judge(table(bins)).slice(40, 20).to_pylist()) if "bins" in finding
    ]
    assert found
    assert all(finding["text"].startswith(f"On average over {finding['bins']} bins, ") for finding in found)


def test_a_core_that_jumped_and_stays_is_told_as_moved(model: FlowModel, healthy: Columns):
    rows = judged(model, changed(healthy, np.arange(50, 100), core_x_px=plus(60)))[50:100]
    moved = [row for row in rows if row["cause"] == "moved"]
    assert len(moved) > 25
    assert all("since it jumped without a pause or new settings" in row["reasons"] for row in moved)
    assert all("the sample core moved, no fault until confirmed" in row["reasons"] for row in moved)


def test_new_settings_are_told(model: FlowModel, healthy: Columns):
    rows = np.arange(50, 100)
    bins = changed(healthy, rows, core_x_px=plus(60), start_time=lambda times: times + timedelta(hours=9))
    row = judged(model, bins)[50]
    assert row["reasons"].startswith("Settings changed, or the sample core moved in a pause, before this bin.")


# One bin, of which everything is known

METADATA = detector_metadata(FULL_FEATURE_NAMES)
COLUMN = {feature.name: column for column, feature in enumerate(METADATA)}
RULES = hard_rules()

#: Features on a plain scale, each of a topic of its own.
PLAIN = ("core_x_px", "core_tilt", "core_bend_px", "rate_change", "peak_y_slope", "temperature_c", "humidity_pct",
         "no_image_burst", "cross_low_px")  # fmt: skip


def described(
    added: dict[str, float],
    causes: tuple[str, ...] = ("alignment",),
    rules: dict[str, float] | None = None,
    z: float = 9.0,
    n_bins: int = 1,
    width_px: float = 20.0,
    **changes: bool,
) -> Findings:
    """What is said of a bin in which these features add so much to the score, all of them so many spreads of 0.5 above
    10; but for the width of the core, which is as stated.
    """
    zeros = np.zeros((1, len(METADATA)), np.float32)
    values = zeros.copy()
    for name, value in added.items():
        values[0, COLUMN[name]] = value
    ones = np.ones_like(zeros)
    centre = 10 * ones
    centre[0, COLUMN["core_width_px"]] = np.log(width_px) - z * 0.5
    evidence = Evidence(
        z * ones, centre, 0.5 * ones, np.array([n_bins]), values, values, np.stack([2 * ones, 3 * ones]),
        explain(zeros, zeros[:, 0], np.zeros(1, bool), METADATA), np.zeros(1, bool),
    )  # fmt: skip
    severity = np.array([[(rules or {}).get(rule.code, 0.0) for rule in RULES]], np.float32)
    broken = Broken(RULES, severity, np.where(severity > 0, 85.0, np.nan))
    changed_, moved = (np.array([changes.get(name, False)]) for name in ("changed", "moved"))
    return describe(Reported(METADATA, evidence, [list(causes)], broken, changed_, moved))


def told(*args: object, **changes: object) -> list[dict]:
    return json.loads(described(*args, **changes).findings[0])  # type: ignore[arg-type]


def names(findings: list[dict]) -> list[str]:
    return [finding.get("feature") or finding["rule"] for finding in findings]


def test_six_findings_are_kept_worst_first_and_three_make_the_reasons():
    added = {name: 1.0 - 0.01 * rank for rank, name in enumerate(PLAIN[:8])}
    findings, reasons = told(added), described(added).reasons[0]
    assert names(findings) == list(PLAIN[:6])
    assert [finding["text"] in reasons for finding in findings] == [True] * 3 + [False] * 3
    assert reasons.endswith("Suspected cause: camera or flow cell rotated. Check that both are tight and straight.")


@pytest.mark.parametrize(("share", "is_told"), [(0.04, False), (0.06, True)])
def test_a_feature_is_worth_a_word_from_a_twentieth_of_the_score_on(share: float, is_told: bool):
    findings = told({"core_tilt": 1 - share, "temperature_c": share})
    assert names(findings) == (["core_tilt", "temperature_c"] if is_told else ["core_tilt"])
    assert [finding["share"] for finding in findings] == pytest.approx([1 - share, share][: len(findings)])


def test_a_finding_has_its_value_its_normal_range_and_the_cause_that_it_speaks_for():
    findings = told({"core_x_px": 0.6, "temperature_c": 0.4}, ("alignment", "overheating", "sheath_flow"))
    assert [(each["value"], each["low"], each["high"]) for each in findings] == [(14.5, 9.0, 11.5)] * 2
    assert [each["cause"] for each in findings] == ["sheath_flow", "overheating"]
    below = told({"core_x_px": 0.6, "temperature_c": 0.4}, ("alignment", "overheating", "sheath_flow"), z=-9.0)
    assert [each["value"] for each in below] == [5.5, 5.5]
    # Cold speaks for no cause: it is filed under the first.
    assert [each["cause"] for each in below] == ["sheath_flow", "alignment"]


def test_inside_of_its_normal_range_nothing_is_said_of_a_feature():
    assert names(told({"core_tilt": 1.0}, z=2.5)) == ["together"]
    assert names(told({"core_tilt": 1.0}, z=-1.5)) == ["together"]
    assert names(told({"core_tilt": 1.0}, z=-2.5)) == ["core_tilt"]


@pytest.mark.parametrize("n_bins", [1, 4])
def test_how_many_bins_are_odd_together_is_said_of_more_than_one(n_bins: int):
    for finding in (told({"core_tilt": 1.0}, n_bins=n_bins)[0], told({}, n_bins=n_bins)[0]):
        assert finding["text"].startswith("On average over 4 bins, ") == (n_bins > 1)
    assert told({"core_tilt": 1.0}, n_bins=n_bins)[0].get("bins", 1) == n_bins


def test_a_rule_that_is_sure_comes_first_and_a_milder_one_behind_what_was_seen():
    added = {"core_tilt": 0.6, "core_x_px": 0.4}
    assert names(told(added, rules={"humid": 60.0})) == ["humid", "core_tilt", "core_x_px"]
    assert names(told(added, rules={"humid": 59.0})) == ["core_tilt", "humid", "core_x_px"]
    assert names(told(added, rules={"humid": 80.0}, changed=True)) == [
        "humid",
        "config_changed",
        "core_tilt",
        "core_x_px",
    ]
    assert names(told(added, rules={"humid": 59.0}, moved=True)) == ["moved", "core_tilt", "humid", "core_x_px"]
    assert names(told(added, moved=True)) == ["moved", "core_tilt", "core_x_px"]


def test_what_a_rule_says_has_its_value_and_what_is_said_otherwise_has_no_share():
    rule, changed_ = told({}, rules={"humid": 80.0}, changed=True)
    assert (rule["value"], rule["share"], rule["cause"]) == (85.0, 1.0, "leak")
    assert (changed_["value"], changed_["share"], changed_["cause"]) == (1.0, 0.0, "config_change")


def test_a_rule_and_a_feature_of_one_topic_are_one_finding():
    assert names(told({"humidity_pct": 0.6, "core_tilt": 0.4}, rules={"humid": 80.0})) == ["humid", "core_tilt"]


@pytest.mark.parametrize(
    ("rules", "causes"),
    [
        ({}, ["alignment", "air"]),
        ({"humid": 60.0}, ["leak", "alignment"]),
        ({"humid": 59.0}, ["alignment", "air"]),
        ({"humid": 80.0, "hot": 90.0}, ["overheating", "leak"]),
        # Where hardly anything comes, the laser is the other thing to look at.
        ({"near_empty": 80.0}, ["empty", "laser"]),
        ({"humid": 90.0, "near_empty": 80.0}, ["leak", "empty"]),
    ],
)
def test_causes_of_rules_that_are_sure_come_before_what_is_suspected(rules: dict[str, float], causes: list[str]):
    found = described({"core_tilt": 1.0}, ("alignment", "air", "clog"), rules)
    assert [found.cause[0], found.second_cause[0]] == causes


def test_an_unknown_cause_is_named_where_there_is_no_other():
    assert described({"core_tilt": 1.0}, ("unknown",)).cause == ["unknown"]
    assert described({"core_tilt": 1.0}, ("unknown",)).second_cause == [""]
    mild = described({"core_tilt": 1.0}, ("unknown",), {"humid": 59.0})
    assert (mild.cause, mild.second_cause) == (["leak"], [""])


@pytest.mark.parametrize(("width_px", "is_told"), [(115.0, True), (125.0, False)])
def test_a_core_can_be_made_out_up_to_a_width_of_120_px(width_px: float, is_told: bool):
    findings = told({"core_tilt": 0.6, "temperature_c": 0.4}, width_px=width_px)
    assert names(findings) == (["core_tilt", "temperature_c"] if is_told else ["temperature_c"])


# Bins without a verdict, and verdicts that rest on little


def test_an_instrument_that_the_model_never_saw_has_no_verdict_and_the_remedy_is_said(model: FlowModel):
    bins = fleet.columns(3, (fleet.Instrument("IFCB77"),), seed=5)
    ok, broken = judged(model, changed(bins, 1, humidity_pct=90.0))[:2]
    missing = f"the model has no history of IFCB77; train it again with at least {MIN_BASELINE_BINS} bins of it."
    assert (ok["verdict"], ok["reasons"], ok["findings"]) == ("not_judged", f"No verdict: {missing}", "[]")
    assert broken["verdict"] == "bad"
    assert broken["reasons"].startswith("The humidity in the housing is 90 %.")
    assert broken["reasons"].endswith(f"Only rules were checked: {missing}")


def test_an_instrument_with_too_few_bins_says_how_many_it_has(model: FlowModel):
    row = judged(trained_on(15), later(2, after=15))[0]
    assert (row["verdict"], row["cause"]) == ("not_judged", "")
    assert (
        row["reasons"] == f"No verdict: no history of IFCB134 yet ({row['baseline_bins']} of {MIN_BASELINE_BINS} bins)."
    )


def test_a_verdict_that_rests_on_hours_says_so_and_one_of_days_does_not(model: FlowModel, healthy: Columns):
    fault = FAULTS["a turned camera"][1]
    short = judged(trained_on(40), changed(later(4, after=40), 2, **fault))[2]
    assert re.search(r"History of only 1\d hours: gross deviations alone are called bad\.$", short["reasons"])
    assert "History of only" not in judged(model, changed(healthy, 50, **fault))[50]["reasons"]


def test_ok_bins_have_no_reasons(rows: list[dict]):
    assert {row["reasons"] for row in rows if row["verdict"] == "ok"} == {""}


def test_bins_that_cannot_be_read_say_why(model: FlowModel, healthy: Columns):
    bins = changed(healthy, 50, status="no_adc", reason="the .adc file is missing")
    row = judged(model, bins)[50]
    assert (row["verdict"], row["reasons"]) == ("unreadable", "The .adc file is missing, so this bin cannot be scored.")
