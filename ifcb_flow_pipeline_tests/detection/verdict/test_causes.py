"""Causes: which signatures fit a bin, and that all of them have words."""

import numpy as np
import pytest

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.training import detector_metadata
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, SIGNATURES, likeness, suspected
from ifcb_flow_pipeline.features.catalogue import FULL_FEATURE_NAMES

#: As documented. They are not imported: a threshold that moved would move its own test.
ALIKE = 0.25
PLAIN = 4.0


METADATA = detector_metadata(FULL_FEATURE_NAMES)
COLUMN = {feature.name: column for column, feature in enumerate(METADATA)}

#: What only some bins can have is left out of what is suspected here.
NEVER = {cause: np.zeros(1, bool) for cause in ("moved", "config_change", "post_clean", "bloom", "community")}


def looks(z: dict[str, float], counted: float = 1.0) -> np.ndarray:
    values = np.zeros((1, len(METADATA)), np.float32)
    for name, value in z.items():
        values[0, COLUMN[name]] = value
    return likeness(np.abs(values), np.full_like(values, counted), values, METADATA)


def test_every_cause_has_words_and_its_own_code():
    assert all(code == cause.code and cause.title and cause.check for code, cause in CAUSES.items())
    assert {"unknown", *(signature.cause for signature in SIGNATURES)} <= set(CAUSES)
    harmless = {code for code, cause in CAUSES.items() if not cause.is_fault}
    assert harmless == {"config_change", "bloom", "community", "moved", "post_clean"}


@pytest.mark.parametrize("number", range(len(SIGNATURES)), ids=[s.cause for s in SIGNATURES])
def test_a_bin_that_does_what_a_signature_says_fits_it_wholly(number: int):
    signature = SIGNATURES[number]
    z = {name: weight for name, weight in signature.up.items() if name in COLUMN and weight > 0}
    z |= {name: -weight for name, weight in signature.down.items() if name in COLUMN and weight > 0}
    z |= {name: weight for name, weight in signature.either.items() if name in COLUMN}
    found = looks(z)[0]
    against = [w for side in (signature.up, signature.down) for name, w in side.items() if w < 0 and name in COLUMN]
    if not against:
        assert found[number] == pytest.approx(1.0, abs=1e-5)
    assert found[number] > 0.85
    assert found.max() <= 1.0 + 1e-5


def test_what_goes_either_way_fits_either_way():
    up, down = (looks({"core_tilt": sign * 3.0})[0] for sign in (1, -1))
    number = [s.cause for s in SIGNATURES].index("alignment")
    assert up[number] == pytest.approx(down[number])
    assert up[number] > 0.8


def test_what_goes_the_other_way_does_not_fit():
    air = [s.cause for s in SIGNATURES].index("air")
    assert looks({"stray_fraction": 3.0})[0, air] > 0
    assert looks({"stray_fraction": -3.0})[0, air] <= 0
    with_, without = looks({"stray_fraction": 3.0, "full_width_fraction": 3.0}), looks({"stray_fraction": 3.0})
    assert with_[0, air] < without[0, air]  # this speaks against air


@pytest.mark.parametrize(
    ("cause", "more", "less", "ratio"),
    [
        ("overheating", "temperature_c", "temperature_rise_c", 1.0),
        ("incomplete_run", "run_time_ratio", "volume_ratio", 2.0),
        ("beads", "size_spread", "large_fraction", 5.0),
        ("clog", "rate_change", "trigger_rate_hz", 5.0),
        ("corrupt", "bad_line_fraction", "time_still_fraction", 4 / 3),
        ("corrupt", "time_still_fraction", "trigger_gap_fraction", 1.5),
        ("community", "area_p10_px2", "width_p95_px", 1 / 0.7),
    ],
)
def test_the_key_to_a_cause_says_as_much_more_of_it_than_another_sign_as_its_grade(
    cause: str, more: str, less: str, ratio: float
):
    number = [s.cause for s in SIGNATURES].index(cause)
    signature = SIGNATURES[number]
    sign = {name: -1.0 if name in signature.down else 1.0 for name in (more, less)}
    found = [looks({name: 3.0 * sign[name]})[0, number] for name in (more, less)]
    assert found[0] == pytest.approx(ratio * found[1], rel=1e-3)


@pytest.mark.parametrize(
    ("cause", "against"),
    [
        # Boxes as wide as the frame are the camera's; noise that triggers does so often; detritus lies in the core,
        # and shines.
        ("air", {"full_width_fraction": 3.0}),
        ("sheath_flow", {"full_width_fraction": 3.0}),
        ("electronics", {"trigger_rate_hz": -3.0}),
        ("electronics", {"n_triggers": -3.0}),
        ("bloom", {"stray_fraction": 3.0}),
        ("bloom", {"edge_touch_fraction": 3.0}),
        ("bloom", {"core_width_px": 3.0}),
        ("bloom", {"peak_floor_fraction": 3.0}),
        ("bloom", {"peak_median_v": -3.0}),
    ],
)
def test_what_speaks_against_a_cause_is_no_sign_of_it(cause: str, against: dict[str, float]):
    assert looks(against)[0, [s.cause == cause for s in SIGNATURES]].min() < 0.0


def test_how_far_a_plain_deviation_goes_says_no_more_about_the_cause():
    one = looks({"core_tilt": PLAIN, "core_width_px": 1.0})
    assert looks({"core_tilt": 100 * PLAIN, "core_width_px": 1.0}) == pytest.approx(one)
    assert looks({"core_tilt": PLAIN / 2, "core_width_px": 1.0})[0].max() != pytest.approx(one[0].max())


def test_what_does_not_count_is_no_sign():
    assert not looks({"core_tilt": 5.0}, counted=0.0).any()


def test_features_that_a_model_lacks_are_no_part_of_a_signature():
    metadata = (FeatureMetadata("core_tilt"),)
    found = likeness(np.full((1, 1), 3.0), np.ones((1, 1)), np.full((1, 1), 3.0), metadata)
    assert found[0, [s.cause for s in SIGNATURES].index("alignment")] == pytest.approx(1.0)


def test_the_best_fitting_causes_are_named_and_three_at_most():
    alike = np.zeros((2, len(SIGNATURES)), np.float32)
    codes = [signature.cause for signature in SIGNATURES]
    for rank, code in enumerate(("laser", "air", "clog", "stain")):
        alike[0, codes.index(code)] = 0.9 - 0.1 * rank
    assert suspected(alike, {}) == [["laser", "air", "clog"], ["unknown"]]


def test_a_cause_that_hardly_fits_is_not_named():
    alike = np.zeros((1, len(SIGNATURES)), np.float32)
    codes = [signature.cause for signature in SIGNATURES]
    alike[0, codes.index("air")] = ALIKE
    alike[0, codes.index("clog")] = ALIKE - 0.01
    assert suspected(alike, {}) == [["air"]]


def test_a_cause_with_several_signatures_fits_as_its_best_one():
    alike = np.zeros((1, len(SIGNATURES)), np.float32)
    both = [number for number, s in enumerate(SIGNATURES) if s.cause == "sheath_flow"]
    alike[0, both[1]] = 0.8
    alike[0, [s.cause for s in SIGNATURES].index("air")] = 0.6
    assert suspected(alike, {})[0] == ["sheath_flow", "air"]


def test_a_cause_that_a_bin_cannot_have_is_not_named():
    alike = np.full((2, len(SIGNATURES)), 0.1, np.float32)
    alike[:, [s.cause for s in SIGNATURES].index("focus")] = 0.9
    assert suspected(alike, {"focus": np.array([True, False])}) == [["focus"], ["unknown"]]
