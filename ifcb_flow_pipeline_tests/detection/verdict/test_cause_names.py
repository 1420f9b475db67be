"""Causes: one name each, and what to check."""

import pytest

from ifcb_flow_pipeline.detection.verdict.causes import CAUSE_NAMES, CAUSES, SIGNATURES

HARMLESS = {"config_change", "bloom", "community", "moved", "post_clean"}


def test_every_cause_has_one_name_of_its_own_and_something_to_check():
    assert len(set(CAUSE_NAMES.values())) == len(CAUSES)
    for code, cause in CAUSES.items():
        assert cause.code == code
        assert cause.title == CAUSE_NAMES[code]
        assert cause.check[0].isupper()
        assert "suspected" not in cause.title + cause.check


def test_every_signature_is_of_a_cause_with_a_name():
    assert {signature.cause for signature in SIGNATURES} <= set(CAUSE_NAMES)


def test_what_is_no_fault_is_said_to_be_none():
    assert {code for code, cause in CAUSES.items() if not cause.is_fault} == HARMLESS
    for code, cause in CAUSES.items():
        assert ("no fault" in cause.suspicion()) == (code in HARMLESS)


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (["air"], "Suspected cause: air bubbles"),
        (["empty", "laser"], "Suspected cause: no sample, or laser misaligned"),
        (["bloom", "air"], "Suspected cause: dense sample (bloom), no fault; or air bubbles"),
        (["moved"], "Suspected cause: the sample core moved, no fault until confirmed"),
        (["unknown"], "Cause unknown"),
    ],
)
def test_a_suspicion_is_one_sentence(codes: list[str], said: str):
    first, *others = [CAUSES[code] for code in codes]
    assert first.suspicion(*others) == said
