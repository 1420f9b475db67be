"""No code names are shown to people: every code has a name, and pages and charts use it."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from app import charts, theme, words
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.rules import hard_rules
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.store.labels import DECISIONS, TAGS
from ifcb_flow_pipeline.store.overview import NUMERIC_SETTINGS
from ifcb_flow_pipeline.store.tables import IMAGE_STATUSES, STATUSES, VERDICTS, status_name
from ifcb_flow_pipeline_tests.app.reviewed import UNREADABLE, WORST, open_page, said

#: A word as code has it.
_CODE = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b")

PAGES = [("overview", {}), ("timeline", {"span": "all"}), ("explore", {"span": "all"}), ("bin", {"bin": WORST}),
         ("bin", {"bin": UNREADABLE}), ("gallery", {"bin": WORST}), ("image", {"pid": WORST, "roi": "299"}),
         ("window", {}),
         ("triage", {"period": "all"}), ("study", {}), ("try_a_bin", {}), ("models", {}),
         ("models", {"part": "features"}), ("export", {})]  # fmt: skip


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        (CAUSES, theme.cause_name),
        (VERDICTS, theme.verdict_name),
        ({**STATUSES, **IMAGE_STATUSES}, status_name),
        (DECISIONS, theme.decision_name),
        (TAGS, theme.tag_name),
        (FAULTS, theme.image_fault_name),
        ([feature.name for feature in CATALOGUE], words.measure_name),
        (NUMERIC_SETTINGS, words.measure_name),
    ],
)
def test_every_code_has_a_name_of_its_own(codes, name):
    names = [name(code) for code in codes]
    assert not [one for one in names if "_" in one or not one]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("cause", list(CAUSES.values()), ids=list(CAUSES))
def test_what_is_said_of_a_cause_holds_no_code(cause):
    assert not _CODE.search(f"{cause.suspicion()} {cause.check}")


@pytest.mark.parametrize("feature", [feature.name for feature in CATALOGUE])
@pytest.mark.parametrize("value", [0.0, 0.9])
def test_a_reason_is_drawn_with_names_and_two_digits(feature: str, value: float):
    told = {"feature": feature, "value": value, "low": 0.123456, "high": 0.234567, "text": "Said", "check": ""}
    (found,) = words.findings(json.dumps([told]))
    drawn = re.sub(r"base64,[^\"]*", "", charts.reason(found))
    assert not _CODE.search(drawn)
    assert not re.search(r"[1-9]\d*\.\d{4,}|\b0\.0*[1-9]\d{3,}", drawn)


def test_what_a_rule_says_holds_no_code():
    for rule in hard_rules():
        assert not _CODE.search(f"{rule.sentences(np.array([0.5]))[0]} {rule.check}")


@pytest.mark.parametrize(("name", "query"), PAGES, ids=lambda value: value if isinstance(value, str) else "")
def test_no_page_says_a_code(store: Path, name: str, query: dict[str, str]):
    app = open_page(name, **query)
    labels = [
        element.label
        for element in (*app.button, *app.selectbox, *app.multiselect, *app.toggle, *app.text_input, *app.expander)
    ]
    text = f"{said(app)} {' '.join(filter(None, labels))}"
    assert not _CODE.findall(text)
