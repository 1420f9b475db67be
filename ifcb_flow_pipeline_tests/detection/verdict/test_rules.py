"""Hard rules: each with its source, each broken by what it is about, and none by what is not known."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.verdict import rules
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, SIGNATURES
from ifcb_flow_pipeline.detection.verdict.rules import RuleError, broken_rules, hard_rules, least_spreads, parse_rules
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

from ..fleet import FLEET, Columns, changed, columns, table

KNOWN = {*FULL_FEATURE_NAMES, *(feature.name for feature in LAG_FEATURES)}

#: What breaks each rule, in an otherwise healthy bin.
BREAKS: dict[str, Columns] = {
    "empty": {"status": "empty", "n_images": 0},
    "near_empty": {"status": "too_few_points", "n_images": 12},
    "few_triggers": {"n_triggers": 80.0, "no_image_fraction": 0.7},
    "incomplete_run": {"run_time_ratio": 0.5},
    "short_run": {"run_time_s": 300.0, "volume_ml": 1.2, "run_time_ratio": 0.25},
    "run_time_long": {"run_time_ratio": 1.5},
    "volume": {"volume_ratio": 1.2},
    "no_volume": {"volume_ml": -3.0},
    "image_ratio": {"images_per_trigger": 0.2},
    "humid": {"humidity_pct": 85.0},
    "hot": {"temperature_c": 45.0},
    "bad_lines": {"bad_lines": 90, "bad_line_fraction": 0.05},
    "some_bad_lines": {"bad_lines": 1, "bad_line_fraction": 0.0001},
    "blind": {"blind_fraction": 0.02},
    "core_creeps": {"drift_x_px": -60.0},
    "cloud_everywhere": {"stray_fraction": 0.6},
    "at_the_edges": {"edge_touch_fraction": 0.4},
    "bubbles": {"bubble_fraction": 0.05},
    "image_count": {"image_count_mismatch": -0.05},
    "header_and_adc_differ": {"header_adc_mismatch": 0.2},
    "time_backward": {"time_backward_fraction": 0.0007},
    "roi_incomplete": {"roi_complete": False},
    "no_header": {"configuration": ""},
    "header_damaged": {"header_state": "damaged"},
    "no_roi": {"has_roi": False},
    "dead_signals": {"dead_signal_fraction": 1.0},
    "dead_counters": {"dead_time_s": np.nan},
    "time_still": {"time_still_fraction": 0.7},
    "image_places": {"start_byte_gap_fraction": 0.8},
    "beads": {"sample_type": "BEADS"},
    "repeats": {"repeat_fraction": 0.4},
}


@pytest.fixture(scope="module")
def bins() -> Columns:
    return columns(4) | {"roi_complete": np.array([True] * 8, dtype=object),
                         "has_roi": np.array([True] * 8, dtype=object),
                         "header_state": np.array(["whole"] * 8, dtype=object)}  # fmt: skip


def test_every_rule_has_words_a_source_and_a_known_cause():
    for rule in hard_rules():
        assert rule.text
        assert rule.check
        assert rule.source
        assert rule.cause in CAUSES
        assert 0 < rule.severity <= rule.worst_severity < 100 or rule.worst_value is None


def test_every_rule_is_tested_here():
    assert [rule.code for rule in hard_rules()] == list(BREAKS)


@pytest.mark.parametrize("code", BREAKS)
def test_a_rule_is_broken_by_what_it_is_about_and_by_no_healthy_bin(code: str, bins: Columns):
    names = [instrument.name for instrument in FLEET]
    broken = broken_rules(table(changed(bins, 2, **BREAKS[code])), names, names, names)
    assert code in broken.codes()[2].split()
    assert [codes for row, codes in enumerate(broken.codes()) if row != 2] == [""] * 7


def test_a_bin_of_which_nothing_was_read_breaks_no_rule(bins: Columns):
    everything = {name: value for values in BREAKS.values() for name, value in values.items()}
    assert broken_rules(table(changed(bins, 2, **(everything | {"status": "no_adc"})))).codes()[2] == ""


def test_unknown_quantities_break_nothing(bins: Columns):
    unknown = dict.fromkeys((*FULL_FEATURE_NAMES, "bad_lines", "n_images"), np.nan)
    assert broken_rules(table(changed(bins, slice(None), **unknown))).codes() == [""] * 8


def test_a_rule_grows_from_its_limit_to_its_worst_value(bins: Columns):
    rows = table(changed(bins, slice(None), run_time_ratio=np.linspace(0.89, 0.05, 8)))
    number = [rule.code for rule in hard_rules()].index("incomplete_run")
    severity = broken_rules(rows).severity[:, number]
    assert (np.diff(severity) >= 0).all()
    assert severity[0] > BAD_FROM
    assert severity[-1] == hard_rules()[number].worst_severity


def test_least_spreads_are_of_features_there_are():
    assert set(least_spreads()) <= KNOWN
    assert all(spread > 0 for spread in least_spreads().values())


def test_signatures_are_of_features_there_are_and_causes_that_have_words():
    for signature in SIGNATURES:
        assert {*signature.up, *signature.down, *signature.either} <= KNOWN
        assert signature.cause in CAUSES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [", "cannot be read"),
        ("nothing: []", "cannot be read"),
        ("rules: [{code: one}]", "cannot be read"),
        (
            "rules: [{code: one, when: [{quantity: a}], severity: 1, cause: air, text: t, check: c, source: s}]",
            "either above or below",
        ),
        (
            "rules: [&a {code: one, when: [{quantity: a, above: 1}], severity: 1, cause: air, text: t, check: c, "
            "source: s}, *a]",
            "same code",
        ),
    ],
)
def test_rules_that_are_none_are_refused(text: str, said: str):
    with pytest.raises(RuleError, match=said):
        parse_rules(text)


GROWING = """rules: [
{code: over, when: [{quantity: a, above: 10}], severity: 40, worst: {value: 20, severity: 80}, cause: air,
 text: "{value}", check: c, source: s},
{code: under, when: [{quantity: a, below: 10}], severity: 40, worst: {value: 0, severity: 80}, cause: air,
 text: "{value} {percent}", text_of_one: one, check: c, source: s},
{code: both, when: [{quantity: a, above: 15}, {quantity: b, below: 0}], severity: 30, cause: air, text: t, check: c,
 source: s}]"""


def test_a_severity_grows_in_a_line_and_no_further_than_its_worst(bins: Columns, monkeypatch: pytest.MonkeyPatch):
    values = np.array([10.0, 10.1, 15.0, 20.0, 99.0, 5.0, 0.0, -9.0])
    rows = table(bins | {"a": values, "b": np.array([1, 1, -1, -1, 1, -1, 1, 1.0])})
    monkeypatch.setattr(rules, "hard_rules", lambda: parse_rules(GROWING))
    found = broken_rules(rows)
    assert found.severity[:, 0] == pytest.approx([0, 40.4, 60, 80, 80, 0, 0, 0])
    assert found.severity[:, 1] == pytest.approx([0, 0, 0, 0, 0, 60, 80, 80])
    assert found.severity[:, 2].tolist() == [0, 0, 0, 30, 0, 0, 0, 0]
    assert found.values[3].tolist() == pytest.approx([20.0, np.nan, 20.0], nan_ok=True)
    assert found.breaks("both").tolist() == [False] * 3 + [True] + [False] * 4
    assert found.codes()[2:5] == ["over", "over both", "over"]
    assert found.at(np.array([3, 0])).worst_first() == [[0, 2], []]


def test_a_rule_says_its_value_and_something_else_of_one():
    over, under, _ = parse_rules(GROWING)
    values = np.array([1.0, 0.5])
    assert over.sentences(values) == ["1", "0.5"]
    assert under.sentences(values) == ["one", "0.5 50 %"]


@pytest.mark.parametrize(("n_with", "is_lost"), [(2, False), (3, True)])
def test_a_roi_is_lost_where_most_bins_of_the_instrument_have_one(bins: Columns, n_with: int, is_lost: bool):
    has = np.array([each < n_with for each in range(4)] + [False] * 4, dtype=object)
    assert ("no_roi" in broken_rules(table(changed(bins, slice(None), has_roi=has))).codes()[3]) == is_lost
