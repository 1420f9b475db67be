"""The glossary tells what the code does."""

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scales_figure import figure
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.detection.verdict.severity import VERDICTS, severities

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def glossary() -> str:
    return (DOCS / "glossary.md").read_text(encoding="utf-8")


def test_the_figure_is_the_one_that_its_script_makes():
    assert (DOCS / "images" / "scales.svg").read_text(encoding="utf-8") == figure()


def test_its_scales_are_those_of_the_code(glossary: str):
    rows = re.findall(r"^\| ([\d,]+) \| (\d) \| (\d+) \| ([\d.]+) \| (-?\d) \|$", glossary, re.MULTILINE)
    assert len(rows) == 5
    for share, rarity, severity, percentile, score in rows:
        one_in = float(share.replace(",", ""))
        assert float(rarity) == -float(score) == np.log10(one_in)
        assert float(severity) == np.round(severities(np.array([float(rarity)])))[0]
        assert float(percentile) == pytest.approx(100 * (1 - 1 / one_in))


def test_it_has_every_verdict_and_every_cause_with_what_to_check(glossary: str):
    for verdict in VERDICTS:
        assert f"| `{verdict}` | " in glossary
    for cause in CAUSES.values():
        assert f"| `{cause.code}` | {cause.title}" in glossary
        assert f"| {cause.check} |" in glossary
    assert f"fewer than {MIN_BASELINE_BINS} bins" in glossary
