"""The page of features is what the catalogue says."""

import pytest

from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.documentation import as_markdown

from .document import PAGE


def test_the_page_is_that_of_the_catalogue():
    remedy = "run python -m ifcb_flow_pipeline_tests.features.document"
    assert PAGE.read_text(encoding="utf-8") == as_markdown(), remedy


@pytest.mark.parametrize("feature", CATALOGUE, ids=lambda feature: feature.name)
def test_every_feature_has_one_line_with_all_that_is_to_be_known_of_it(feature):
    lines = [line for line in as_markdown().splitlines() if line.startswith(f"| `{feature.name}` |")]
    assert len(lines) == 1
    cells = [cell.strip() for cell in lines[0].strip("|").split(" | ")]
    assert cells == [f"`{feature.name}`", feature.unit, feature.meaning, feature.failure_mode, feature.source,
                     feature.scale]  # fmt: skip
    assert all(cells[2:])
