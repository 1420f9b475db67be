"""From evidence to a decision: what may be said of a bin, and what not."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.flow.baseline import Deviations
from ifcb_flow_pipeline.detection.flow.instrument import HELD_TO, Evidence, Screening
from ifcb_flow_pipeline.detection.flow.natural_variability import explain, lost_share
from ifcb_flow_pipeline.detection.flow.neighbour_averages import NeighbourEvidence
from ifcb_flow_pipeline.detection.flow.training import detector_metadata
from ifcb_flow_pipeline.detection.verdict.affected import Losses
from ifcb_flow_pipeline.detection.verdict.decision import Case, Decision, decide
from ifcb_flow_pipeline.detection.verdict.rules import Broken, broken_rules, hard_rules
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM, WATCH_FROM, rarities_of
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

from ..fleet import FLEET, changed, columns, table

#: As documented. They are not imported: a threshold that moved would move its own test.
MIN_BASELINE_BINS = 20


METADATA = detector_metadata(FULL_FEATURE_NAMES)
COLUMN = {feature.name: column for column, feature in enumerate(METADATA)}

#: What a bin looks like that has a fault, and one that has the water's signs only, in spreads.
FAULT = {"core_tilt": 9.0}
SIZES = {"width_median_px": 9.0, "height_median_px": 9.0, "area_median_px2": 9.0}


def case_of(n: int = 1, rarity: float = 0.0, **changes: Any) -> Case:
    """N bins of an instrument with a long history, as rare as that by themselves; with some values changed."""
    d = len(METADATA)
    no, zeros = np.zeros(n, bool), np.zeros((n, d), np.float32)
    rare = np.full(n, float(rarity))
    features = table(columns(n, (FLEET[0],)))
    given: dict[str, Any] = {
        "z": zeros, "values": zeros, "spread": np.ones_like(zeros), "in_order": ~no, "changed": no, "settling": no,
        "moved": no, "after_gap": no, "is_short": no, "deployment": np.zeros(n, np.int64),
        "baseline_bins": np.full(n, 1000), "baseline_days": np.full(n, 30.0), "alone": rare, "fault": rare,
        "gross": rare, "readable": ~no, "threshold": BAD_FROM, "broken": broken_rules(features),
    }  # fmt: skip
    given |= {name: np.full(n, value) if np.isscalar(value) else value for name, value in changes.items()}
    names = Deviations.__slots__
    return Case(
        given["readable"],
        Deviations(*(given[name] for name in names)),
        Screening(given["alone"], given["fault"], given["gross"], NeighbourEvidence.nothing(n, d)),
        given["broken"],
        Losses.of(features),
        float(np.max(given["threshold"])),
    )


def evidence_of(k: int, z: Mapping[str, float]) -> Evidence:
    """Of k bins that all look like this."""
    values = np.zeros((k, len(METADATA)), np.float32)
    for name, value in z.items():
        values[:, COLUMN[name]] = value
    ones, zeros = np.ones_like(values), np.zeros_like(values)
    explanation = explain(values, lost_share(values, 0.1 * values, 0.1 * ones, METADATA), np.zeros(k, bool), METADATA)
    reach = np.stack([3 * ones, 3 * ones])
    rarities = np.abs(values)
    return Evidence(
        values, zeros, 0.1 * ones, np.ones(k, np.int64), rarities, rarities, reach, explanation, np.zeros(k, bool)
    )


def decided(case: Case, looks: Mapping[str, float] | None = None) -> Decision:
    which = case.worth_a_look()
    return decide(case, which, evidence_of(len(which), FAULT if looks is None else looks), METADATA)


def broken(n: int, code: str, severity: float) -> Broken:
    rules = hard_rules()
    found = np.zeros((n, len(rules)), np.float32)
    found[:, [rule.code for rule in rules].index(code)] = severity
    return Broken(rules, found, np.where(found > 0, 1.0, np.nan))


def test_a_bin_as_rare_as_one_in_a_hundred_is_bad_and_a_usual_one_is_not():
    found = decided(case_of(4, alone=np.array([0.0, 1.3, 2.0, 4.0]), fault=np.array([0.0, 1.3, 2.0, 4.0])))
    assert found.verdict.tolist() == ["ok", "ok", "bad", "bad"]
    assert found.severity[:3].tolist() == pytest.approx([0.0, 32.5, 50.0])
    assert found.which.tolist() == [2, 3]
    assert found.causes == [["alignment"], ["alignment"]]
    assert found.rarity.tolist() == [0.0, 1.3, 2.0, 4.0]


@pytest.mark.parametrize("bins", [0, 1, MIN_BASELINE_BINS - 1])
def test_with_too_few_bins_of_its_own_an_instrument_is_not_judged_however_odd_a_bin_is(bins: int):
    found = decided(case_of(rarity=9.0, baseline_bins=bins))
    assert found.verdict.tolist() == ["not_judged"]
    assert np.isnan(found.severity).all()
    assert np.isnan(found.rarity).all()
    assert np.isnan(found.affected_fraction).all()
    assert len(found.which) == 0


def test_with_enough_bins_it_is_judged():
    assert decided(case_of(rarity=9.0, baseline_bins=MIN_BASELINE_BINS)).verdict.tolist() == ["bad"]
    assert decided(case_of(rarity=0.0, baseline_bins=MIN_BASELINE_BINS)).verdict.tolist() == ["ok"]


def test_rules_speak_where_the_history_cannot():
    found = decided(case_of(baseline_bins=0, broken=broken(1, "humid", 80.0)))
    assert found.verdict.tolist() == ["bad"]
    assert found.severity.tolist() == pytest.approx([80.0])
    assert decided(case_of(baseline_bins=0, broken=broken(1, "beads", 45.0))).verdict.tolist() == ["watch"]
    # A note makes no verdict.
    noted = decided(case_of(baseline_bins=0, broken=broken(1, "some_bad_lines", WATCH_FROM - 5)))
    assert noted.verdict.tolist() == ["not_judged"]
    assert np.isnan(noted.severity).all()


def test_the_worse_of_rarity_and_rules_counts():
    rule = broken(1, "humid", 80.0)
    assert decided(case_of(rarity=1.0, broken=rule)).severity[0] == pytest.approx(80.0)
    assert decided(case_of(rarity=6.0, broken=rule)).severity[0] > 85.0


def test_a_bin_that_breaks_a_rule_is_looked_at_though_it_is_ok():
    found = decided(case_of(broken=broken(1, "some_bad_lines", 15.0)))
    assert found.which.tolist() == [0]
    assert found.verdict.tolist() == ["ok"]
    assert found.affected_fraction.tolist() == [0.0]


@pytest.mark.parametrize("rarity", [2.0, 5.0, 12.0])
def test_on_a_short_history_only_what_is_gross_is_bad(rarity: float):
    short = {"is_short": True, "baseline_days": 0.5}
    assert decided(case_of(rarity=rarity, gross=0.0, **short)).verdict.tolist() == ["watch"]
    assert decided(case_of(rarity=rarity, gross=3.9, **short)).verdict.tolist() == ["watch"]
    assert decided(case_of(rarity=rarity, gross=4.1, **short)).verdict.tolist() == ["bad"]
    assert decided(case_of(rarity=rarity, gross=0.0)).verdict.tolist() == ["bad"]


def test_on_a_short_history_the_odder_bin_still_comes_first_and_rules_speak():
    found = decided(case_of(3, alone=np.array([2.0, 4.0, 9.0]), fault=np.ones(3), gross=0.0, is_short=True))
    assert (np.diff(found.severity) > 0).all()
    assert found.severity[-1] < BAD_FROM
    ruled = decided(case_of(rarity=0.0, is_short=True, broken=broken(1, "hot", 80.0)))
    assert ruled.verdict.tolist() == ["bad"]


@pytest.mark.parametrize("rarity", [2.0, 6.0, 50.0])
def test_the_water_is_worth_a_look_at_most(rarity: float):
    found = decided(case_of(alone=rarity, fault=0.3), SIZES)
    assert found.verdict.tolist() == ["watch"]
    assert found.causes[0][0] in ("community", "bloom")
    assert found.severity[0] < BAD_FROM
    assert found.rarity[0] <= HELD_TO
    assert found.affected_fraction.tolist() == [0.0]


def test_what_is_no_fault_is_worth_a_look_at_most_even_where_it_is_rare_beside_the_water():
    found = decided(case_of(rarity=6.0, changed=True), {"core_x_px": 9.0})
    assert found.causes[0][0] == "config_change"
    assert found.verdict.tolist() == ["watch"]
    fault = decided(case_of(rarity=6.0), {"core_x_px": 9.0})
    assert fault.causes[0][0] == "sheath_flow"
    assert fault.verdict.tolist() == ["bad"]


@pytest.mark.parametrize(("what", "cause"), [("moved", "moved"), ("changed", "config_change")])
def test_a_core_that_moved_and_new_settings_are_reported_though_the_bin_is_as_usual(what: str, cause: str):
    found = decided(case_of(2, rarity=0.1, **{what: np.array([True, False])}))
    assert found.verdict.tolist() == ["watch", "ok"]
    assert found.causes == [[cause]]
    assert found.severity[0] == pytest.approx(WATCH_FROM, abs=3.0)
    assert found.severity[0] >= WATCH_FROM


@pytest.mark.parametrize("what", ["moved", "changed"])
def test_they_are_not_reported_of_an_instrument_that_is_not_judged(what: str):
    assert decided(case_of(baseline_bins=3, **{what: True})).verdict.tolist() == ["not_judged"]


def test_a_fault_at_a_new_place_is_told_by_its_looks():
    found = decided(case_of(rarity=5.0, moved=True))
    assert found.causes[0][0] == "alignment"
    assert found.verdict.tolist() == ["bad"]


@pytest.mark.parametrize(
    ("cause", "looks", "allowed"),
    [
        ("config_change", {"core_x_px": 9.0, "core_asymmetry": 4.0}, {"settling": True}),
    ],
)
def test_a_cause_that_needs_a_reason_is_named_with_it_only(cause: str, looks: dict, allowed: dict):
    assert cause in decided(case_of(rarity=3.0, **allowed), looks).causes[0]
    assert cause not in decided(case_of(rarity=3.0), looks).causes[0]


@pytest.mark.parametrize(("rarity", "is_told"), [(1.35, False), (1.45, True)])
def test_looks_are_told_from_about_one_in_25_on(rarity: float, is_told: bool):
    found = decided(case_of(rarity=rarity, moved=True))
    assert found.causes[0][0] == ("alignment" if is_told else "moved")
    bubbles = decided(case_of(alone=2.5, fault=rarity, broken=broken(1, "bubbles", 40.0)))
    assert bubbles.causes[0][0] == ("alignment" if is_told else "air")


@pytest.mark.parametrize(("severity", "expected"), [(80.0, 0.0), (45.0, 1.0)])
def test_what_is_lost_is_told_by_the_cause_of_a_rule_that_is_sure(severity: float, expected: float):
    # Water in the housing takes no image; a turned camera takes all.
    found = decided(case_of(rarity=3.0, broken=broken(1, "humid", severity)))
    assert found.affected_fraction.tolist() == [expected]


def share(z: float) -> float:
    """The share that so many spreads are in these cases, where none is usual."""
    return float(np.sin(0.1 * z / 2.0) ** 2)


def spreads(share_: float) -> float:
    return float(20.0 * np.arcsin(np.sqrt(share_)))


@pytest.mark.parametrize(("stray", "limit"), [(0.2, 0.6 * 0.2), (0.002, 0.6 * 0.02)])
def test_most_boxes_off_the_core_are_cut_by_the_edge_from_six_tenths_on(stray: float, limit: float):
    assert share(spreads(stray)) == pytest.approx(stray)
    looks = {"stray_spread": 6.0, "bubble_fraction": 6.0, "stray_fraction": spreads(stray)}
    for edge, is_air in ((0.95 * limit, True), (1.05 * limit, False)):
        found = decided(case_of(rarity=3.0), looks | {"edge_touch_fraction": spreads(edge)})
        assert ("air" in found.causes[0]) == is_air


def test_a_core_that_creeps_is_neither_turned_nor_out_of_the_laser():
    looks = {"core_tilt": 9.0, "core_width_px": 3.0}
    assert "alignment" in decided(case_of(rarity=3.0), looks).causes[0]
    # Centre 0 and a spread of 0.1 in these cases: 700 spreads are 70 px.
    for spreads_, creeps in ((700.0, True), (-700.0, True), (610.0, True), (590.0, False), (-590.0, False)):
        found = decided(case_of(rarity=3.0), looks | {"drift_x_px": spreads_}).causes[0]
        assert ("alignment" in found) == (not creeps)


def test_out_of_focus_is_suspected_where_images_are_lost_only():
    looks = SIZES | {"area_p10_px2": 9.0}
    assert "focus" not in decided(case_of(rarity=3.0), looks).causes[0]
    lost = looks | {"no_image_fraction": 9.0, "images_per_trigger": -9.0}
    assert "focus" in decided(case_of(rarity=3.0), lost).causes[0]


def test_boxes_at_the_edges_are_no_air():
    looks = {"stray_fraction": 6.0, "stray_spread": 6.0, "edge_touch_fraction": 3.0}
    assert decided(case_of(rarity=3.0), looks).causes[0][0] == "air"
    at_edges = looks | {"edge_touch_fraction": 6.0}
    assert "air" not in decided(case_of(rarity=3.0), at_edges).causes[0]


@pytest.mark.parametrize("shown_by", ["stray_fraction", "bubble_fraction"])
def test_air_is_suspected_only_where_boxes_show_it(shown_by: str):
    looks = {"stray_spread": 6.0, "stray_left_fraction": 4.0, "size_spread": 3.0}
    assert "air" not in decided(case_of(rarity=3.0), looks).causes[0]
    assert "air" not in decided(case_of(rarity=3.0), looks | {shown_by: 1.9}).causes[0]
    assert "air" in decided(case_of(rarity=3.0), looks | {shown_by: 2.1}).causes[0]


def test_large_round_boxes_are_air_where_nothing_else_is_odd():
    found = decided(case_of(alone=2.5, fault=0.2, broken=broken(1, "bubbles", 40.0)), SIZES)
    assert found.causes[0][0] == "air"
    assert "unknown" not in found.causes[0]
    odd = decided(case_of(rarity=5.0, broken=broken(1, "bubbles", 40.0)))
    assert odd.causes[0][:2] == ["alignment", "air"]


def test_what_looks_like_nothing_known_has_an_unknown_cause():
    assert decided(case_of(rarity=3.0), {}).causes == [["unknown"]]


def test_what_cannot_be_read_is_neither_judged_nor_reported():
    found = decided(case_of(rarity=9.0, readable=False, broken=broken(1, "humid", 80.0)))
    assert found.verdict.tolist() == ["unreadable"]
    assert found.severity.tolist() == [100.0]
    assert len(found.which) == 0


def test_a_learnt_threshold_decides_what_is_bad_and_what_is_looked_at():
    rare = rarities_of(np.array([30.0, 45.0, 65.0]))
    low = decided(case_of(3, alone=rare, fault=rare, threshold=28.0))
    assert low.verdict.tolist() == ["bad", "bad", "bad"]
    assert low.which.tolist() == [0, 1, 2]
    high = decided(case_of(3, alone=rare, fault=rare, threshold=70.0))
    assert high.verdict.tolist() == ["ok", "watch", "watch"]


def test_bins_that_are_odd_with_their_neighbours_are_as_rare_as_these():
    case = case_of(2, rarity=0.5)
    neighbours = NeighbourEvidence.nothing(2, len(METADATA))
    together = replace(neighbours, rarity=np.array([0.0, 3.0]))
    screening = replace(case.screening, neighbours=together)
    found = decided(replace(case, screening=screening))
    assert found.verdict.tolist() == ["ok", "bad"]
    assert found.severity[1] == pytest.approx(75.0, abs=0.5)


def test_a_fault_that_takes_some_of_the_images_affects_as_many():
    case = case_of(rarity=3.0)
    lost = replace(case, losses=Losses.of(table(changed(columns(1, (FLEET[0],)), 0, no_image_fraction=0.45))))
    looks = {"no_image_fraction": 9.0, "images_per_trigger": -9.0, "peak_median_v": -9.0, "trigger_rate_hz": -9.0}
    found = decided(lost, looks)
    assert found.causes[0][0] == "laser"
    assert 0.3 < found.affected_fraction[0] < 0.5
    # A camera that was turned spoils all of them.
    assert decided(case_of(rarity=3.0)).affected_fraction.tolist() == [1.0]


def test_no_bins_are_decided_of_none():
    found = decided(case_of(0))
    assert len(found.severity) == len(found.verdict) == len(found.causes) == 0
