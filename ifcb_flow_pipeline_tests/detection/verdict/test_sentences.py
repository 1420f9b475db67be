"""Sentences: each measurement has its own, whatever the numbers; and none says what cannot be."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.verdict import sentences
from ifcb_flow_pipeline.detection.verdict.rules import hard_rules
from ifcb_flow_pipeline.detection.verdict.sentences import SENTENCES, measured, sentence_of, status_sentence, topic_of
from ifcb_flow_pipeline.features.catalogue import CATALOGUE

UNITS = {feature.name: feature.unit for feature in CATALOGUE} | {f.name: f.unit for f in LAG_FEATURES}

#: What a sentence must not say: words of the author's, hints at another line, exponents, and what is no number.
UNWANTED = re.compile(
    r"\bthat peak\b|\bthese\b|usually|suspected|\bbox(es)?\b|blind|\{|\}|\de[+-]?\d|\bnan\b|\binf\b|\. ", re.IGNORECASE
)

#: A shown number and its normal range, as they stand in a sentence.
NUMBER = r"-?[\d,]+(?:\.\d+)?"
RANGE = re.compile(
    rf"\(normally (?:up to (?P<up>{NUMBER})|(?P<low>{NUMBER})(?: to (?P<high>{NUMBER}))?)(?P<unit> [^)]*)?\)"
)

numbers = st.floats(-1e7, 1e7) | st.floats(-2.0, 2.0) | st.sampled_from([0.0, 1.0, -1.0, 1e-12, 1e7, 5e-4])


def told(feature: str, value: float, low: float, high: float, n_bins: int = 1) -> tuple[str, bool]:
    """The sentence of one value, and whether it is to be said."""
    found = measured(feature, np.array([value]), np.array([low]), np.array([high]), np.array([n_bins]))
    return found.texts[0], bool(found.is_outside[0])


def number(text: str) -> float:
    return float(text.replace(",", ""))


def test_every_feature_has_a_name_and_a_sentence_of_its_own():
    assert set(SENTENCES) == set(UNITS)
    names = [sentence.name for sentence in SENTENCES.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("feature", UNITS)
def test_sentences_begin_with_what_was_seen_and_have_the_unit_of_the_feature_for_people(feature: str):
    sentence = sentence_of(feature)
    for text in (sentence.above, sentence.below):
        assert text.count("{value}") == 1
        assert text[0].isupper() or text[0].isdigit() or text.startswith("{value}")
        assert not text.endswith(".")
    assert sentence.unit == "%" or UNITS[feature] != "fraction" or feature == "stuck_persistence"


@given(
    feature=st.sampled_from(sorted(UNITS)), value=numbers, ends=st.tuples(numbers, numbers), n_bins=st.integers(1, 16)
)
def test_no_sentence_has_its_value_in_its_range_or_a_range_beyond_what_can_be(
    feature: str, value: float, ends: tuple[float, float], n_bins: int
):
    low, high = sorted(ends)
    text, is_said = told(feature, value, low, high, n_bins)
    assert not UNWANTED.search(text), text
    assert text.startswith("On average over") == (n_bins > 1)
    if not is_said:
        return
    assert not low <= value <= high
    found = RANGE.search(text)
    assert bool(found) == sentence_of(feature).has_range, text
    if found:
        shown = number(re.findall(NUMBER, template_value(feature, text, n_bins))[0])
        least = 0.0 if found["up"] else number(found["low"])
        most = number(found["up"] or found["high"] or found["low"])
        assert not least <= shown <= most, text
        if UNITS[feature] == "fraction" and feature != "total_edge_fraction":
            assert 0.0 <= least <= most <= 100.0
        if sentence_of(feature).lowest == 0.0:
            assert least >= 0.0


def template_value(feature: str, text: str, n_bins: int) -> str:
    """The text from where the value stands."""
    body = text.removeprefix(f"On average over {n_bins} bins, ") if n_bins > 1 else text
    for template in (sentence_of(feature).above, sentence_of(feature).below):
        before, behind = template.split("{value}")
        if body[:1].lower() + body[1:] != body and n_bins > 1:
            continue
        if body.lower().startswith(before.lower()) and behind in body:
            return body[len(before) :]
    raise AssertionError(text)


@pytest.mark.parametrize(
    ("feature", "value", "low", "high", "text"),
    [
        ("no_image_fraction", 0.78, 0.06, 0.1, "Only 22 % of triggers produced an image (normally 90 to 94 %)"),
        ("images_per_trigger", 0.216, 0.903, 0.942,
         "There are only 22 images for every 100 triggers (normally 90 to 94)"),
        ("repeat_fraction", 0.446, 0.00002, 0.012,
         "45 % of images have the same position and size (normally up to 1.2 %)"),
        ("repeat_fraction", 0.446, -0.69, 0.556, None),
        ("core_x_px", 1043.0, 973.2, 988.4, "The sample core is at x = 1,040 px (normally 973 to 988 px)"),
        ("core_tilt", 0.3, -0.06, -0.04, "The sample core is tilted by 17 degrees (normally -3.4 to -2.3 degrees)"),
        ("width_median_px", 86.7, 79.2, 84.1, "The typical image is 87 px wide (normally 79 to 84 px)"),
        ("temperature_c", 17.4, 16.1, 17.3, "The temperature in the housing is 17.4 °C (normally 16 to 17.3 °C)"),
        ("temperature_c", 17.31, 16.1, 17.29, None),
        ("rate_change", -1.5, -0.1, 0.1,
         "The trigger rate fell to 0.22 times its level during the run (normally 0.9 to 1.1)"),
        ("run_time_s", 400.0, 1199.0, 1201.0, "The run lasted only 6.7 min (normally 20 min)"),
        ("image_count_mismatch", -0.155, -2.3e-6, 2.3e-6,
         "The .adc file has 16 % fewer images than the header states"),
        ("stray_spread", 1.2, 0.4, 0.9,
         "Images outside the sample core are scattered all over the frame: evenness 1.2 (normally 0.4 to 0.9)"),
        ("lattice_fraction", 0.8, 0.9999, 1.0, "20 % of images are off the camera's 8 px grid (normally up to 0.01 %)"),
        ("hot_cell_fraction", 0.15, 0.0, 0.0,
         "15 % of images pile up at one spot outside the sample core (normally 0 %)"),
        ("longest_gap_fraction", -0.02, -0.01, 0.01, None),
    ],
)  # fmt: skip
def test_sentences_read_as_operators_speak(feature: str, value: float, low: float, high: float, text: str | None):
    found, is_said = told(feature, value, low, high)
    assert is_said == (text is not None)
    assert text is None or found == text


BOUNDS = {
    "core_asymmetry": (-1.0, 1.0), "stuck_persistence": (0.0, 1.0), "no_image_burst": (-1.0, 1.0),
    "temperature_c": (-273.15, np.inf), "humidity_pct": (0.0, 100.0), "humidity_rise_pct": (-100.0, 100.0),
    "image_count_mismatch": (-1.0, np.inf), "run_time_mismatch": (-1.0, np.inf), "size_spread": (0.0, np.inf),
    "total_edge_fraction": (0.0, 4.0), "repeat_fraction": (0.0, 1.0), "n_triggers": (0.0, np.inf),
    "core_tilt": (-np.inf, np.inf),
}  # fmt: skip


@pytest.mark.parametrize(("feature", "bounds"), BOUNDS.items())
def test_a_normal_range_ends_where_the_quantity_does(feature: str, bounds: tuple[float, float]):
    far = np.array([1e6])
    found = measured(feature, 0 * far, -far, far)
    assert [found.low[0], found.high[0]] == [max(bounds[0], -1e6), min(bounds[1], 1e6)]


@pytest.mark.parametrize(
    ("feature", "size", "above", "below"),
    [
        (
            "core_asymmetry",
            0.4,
            "The sample core is skewed upstream: 40 %",
            "The sample core is skewed downstream: -40 %",
        ),
        ("rate_change", 0.4, "The trigger rate rose to 1.5", "The trigger rate fell to 0.67"),
        (
            "temperature_rise_c",
            0.4,
            "The temperature in the housing is 0.4",
            "The temperature in the housing changed by -0.4",
        ),
        ("humidity_rise_pct", 0.4, "The humidity in the housing is 0.4", "The humidity in the housing changed by -0.4"),
        ("image_count_mismatch", 0.4, "The .adc file has 40 % more images", "The .adc file has 40 % fewer images"),
        ("run_time_mismatch", 0.4, "The run is 40 % longer", "The run is 40 % shorter"),
    ],
)
def test_what_rose_and_what_fell_is_told_by_its_sign_whatever_the_range(
    feature: str, size: float, above: str, below: str
):
    for ends in ((-0.01, 0.01), (-5.0, -4.0), (4.0, 5.0)):
        assert told(feature, size, *ends)[0].startswith(above)
        assert told(feature, -size, *ends)[0].startswith(below)


@pytest.mark.parametrize(
    ("feature", "value", "ends", "text"),
    [
        ("stuck_persistence", 0.6, (0.0, 0.1), "The most repeated image was at the same spot in 3 of the last 5 bins"),
        ("dead_time_s", 0.0978, (0.082, 0.084), "Dead time was 98 ms per trigger (normally 82 to 84 ms)"),
        ("time_backward_fraction", 0.01, (0.0, 0.0), "The clock runs backward in 1 % of the .adc lines"),
        # The lower end of a range is as good as nothing up to a per cent of the upper one.
        (
            "repeat_fraction",
            0.4,
            (0.00012, 0.01),
            "40 % of images have the same position and size (normally 0.012 to 1 %)",
        ),
        (
            "repeat_fraction",
            0.4,
            (0.00008, 0.01),
            "40 % of images have the same position and size (normally up to 1 %)",
        ),
        # Where two digits do not tell a value from its range, three do, and at the other end two still.
        (
            "temperature_c",
            16.02,
            (16.14, 17.34),
            "The temperature in the housing is only 16 °C (normally 16.1 to 17 °C)",
        ),
        # Numbers that nobody could read are cut.
        ("rate_change", 25.0, (0.0, 0.1), "The trigger rate rose to 490,000,000 times its level during the run"),
        ("n_triggers", 3e9, (1.0, 9.0), "1,000,000,000 triggers in the run (normally 1 to 9)"),
    ],
)
def test_numbers_are_said_in_units_and_digits_that_people_read(
    feature: str, value: float, ends: tuple[float, float], text: str
):
    found, is_said = told(feature, value, *ends)
    assert is_said
    assert found.startswith(text)


def test_a_share_that_is_written_as_nothing_is_not_said():
    assert not told("time_backward_fraction", 4e-6, 0.0, 0.0)[1]
    assert told("time_backward_fraction", 6e-6, 0.0, 0.0)[1]


def test_means_of_neighbours_say_so_first():
    text, _ = told("no_image_fraction", 0.2, 0.06, 0.1, 8)
    assert text == "On average over 8 bins, only 80 % of triggers produced an image (normally 90 to 94 %)"


def test_an_unknown_feature_is_called_by_its_name():
    text, _ = told("new_thing_px", 5.0, 1.0, 2.0)
    assert text == "New thing px: 5 (normally 1 to 2)"


def test_a_rule_and_its_feature_are_one_topic():
    codes = {rule.code for rule in hard_rules()}
    assert set(sentences._RULES_SAY) <= codes
    assert topic_of("image_ratio") == topic_of("images_per_trigger") == topic_of("no_image_fraction")
    assert topic_of("humid") == topic_of("humidity_pct") != topic_of("hot")
    assert topic_of("beads") == "beads"


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        ("no_adc", "the .adc file is missing", "The .adc file is missing, so this bin cannot be scored"),
        ("no_adc", "the .adc file is missing; no header",
         "The .adc file is missing, so this bin cannot be scored: no header"),
        ("unreadable", "line 3 has 5 columns",
         "The .adc file cannot be read, or most of its lines are damaged: line 3 has 5 columns"),
        ("another", "", "Nothing could be computed of the bin"),
    ],
)  # fmt: skip
def test_a_status_is_told_once_as_a_sentence(status: str, reason: str, said: str):
    assert status_sentence(status, reason) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (3.0, "3"),
        (117.0, "117"),
        (1234.0, "1,200"),
        (0.446, "0.45"),
        (1e-9, "0"),
        (-7.0, "-7"),
        (999.0, "999"),
        (1000.0, "1,000"),
        (1001.0, "1,000"),
        (0.0006, "0.0006"),
        (0.0004, "0"),
        (-0.0004, "0"),
        (-1250.0, "-1,200"),
    ],
)
def test_numbers_have_two_digits_and_no_exponent(value: float, text: str):
    assert sentences.numbers(np.array([value, 7.0])) == [text, "7"]
