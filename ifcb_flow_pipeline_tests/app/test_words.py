from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from app import words
from ifcb_flow_pipeline.store.tables import BIN_SCORES

NOW = datetime(2026, 3, 3, 12, tzinfo=UTC)


def test_markdown_in_text_of_unknown_origin_is_escaped():
    assert words.plain("<b>*a*</b>") == r"\<b\>\*a\*\<\/b\>"
    assert words.plain("[a](http://b) $1$ :red[z] `c`") == r"\[a\]\(http\:\/\/b\) \$1\$ \:red\[z\] \`c\`"


def test_line_breaks_cannot_start_a_heading_or_a_list():
    assert words.plain("a\n\n# b\n- c") == r"a \# b \- c"


@pytest.mark.parametrize(("number", "text"), [(0, "no bins"), (1, "1 bin"), (2, "2 bins"), (1234, "1,234 bins")])
def test_numbers_come_with_their_noun(number, text):
    assert words.count(number, "bin") == text


def test_an_irregular_plural_can_be_given():
    assert words.count(3, "anomaly", "anomalies") == "3 anomalies"


@pytest.mark.parametrize(
    ("hours", "text"),
    [
        (0.01, "just now"),
        (0.5, "30 min ago"),
        (2, "2 h ago"),
        (47, "47 h ago"),
        (72.5, "3 days ago"),
        (24 * 900, "2 years ago"),
    ],
)
def test_ages_are_told_as_people_say_them(hours, text):
    assert words.age(NOW - timedelta(hours=hours), NOW) == text


def test_times_are_told_with_the_day_in_words_where_it_is_near():
    then = NOW - timedelta(hours=4)
    assert words.times(then, None, NOW) == "08:00 today"
    assert words.times(then, NOW, NOW) == "08:00 to 12:00 today"
    assert words.times(then - timedelta(days=1), then, NOW) == "08:00 yesterday to 08:00 today"
    assert words.times(then - timedelta(days=9), None, NOW) == "08:00 on 2026-02-22"


def test_measurements_have_names_and_units_for_people_and_shares_are_in_per_cent():
    assert words.measure_name("humidity_pct") == "housing humidity (%)"
    assert words.measure_name("flash_delay") == "flash delay (434 ns)"
    assert words.as_shown("stray_fraction", np.array([0.5])).tolist() == [50.0]


def test_a_percentile_that_the_model_does_not_know_is_unknown():
    assert words.percent(float("nan")) == "unknown"
    assert words.percent(99.123) == "99.1 %"


def test_header_values_have_units_and_sensible_digits():
    lines = words.header_lines({"temperature_c": 21.3456, "run_fast": False, "trigger_count": 1234567,
                                "sampling_speed": 179240.0, "latitude": 41.3251})  # fmt: skip
    values = {line["header"]: line["value"] for line in lines}
    assert values == {"temperature": "21.3 °C", "trigger count": "1234567", "run fast": "no",
                      "sampling speed": "179240", "latitude": "41.3251 °N"}  # fmt: skip


def test_absent_and_unknown_header_values_are_left_out():
    assert words.header_lines({"no_such_field": 1}) == []


def test_help_says_which_direction_is_anomalous():
    meanings = words.meanings(BIN_SCORES)
    assert "LOWER is more anomalous" in meanings["anomaly_score"]
    assert "HIGHER is more anomalous" in meanings["percentile"]


def test_findings_are_told_in_the_units_of_people_with_what_they_are_the_mean_of():
    share, mean, rule = words.findings(
        '[{"feature": "stray_fraction", "value": 0.6, "low": 0.012, "high": 0.05, "unit": "fraction", "cause": "air"},'
        ' {"feature": "width_median_px", "bins": 8, "value": 86.7, "low": 79.2, "high": 84.1, "unit": "px"},'
        ' {"rule": "empty", "value": NaN, "text": "no trigger"}]'
    )
    assert (share.what, share.written, share.normal, share.cause) == (
        "images outside the core",
        "60 %",
        "1.2 to 5 %",
        "air",
    )
    assert (mean.what, mean.written, mean.normal) == (
        "typical image width, mean of 8 bins",
        "87 px",
        "79 to 84 px",
    )
    assert (rule.what, rule.written, rule.normal, rule.text) == ("empty", "", "", "no trigger")


def test_a_message_begins_with_a_capital_and_keeps_the_rest():
    assert words.sentence("the file A.adc is empty") == "The file A\\.adc is empty"
    assert words.sentence("") == ""


def test_reasons_are_told_sentence_by_sentence():
    assert words.reasons("The run lasted 3.5 min (normally 20 min). Are images blurred? Refocus with beads.") == [
        "The run lasted 3.5 min (normally 20 min).", "Are images blurred? Refocus with beads.",
    ]  # fmt: skip
    assert words.reasons("") == []
