"""The page of features has all that the catalogue says; that it is the one in docs: test_reference.py."""

import pytest

from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.documentation import as_markdown


@pytest.mark.parametrize("feature", CATALOGUE, ids=lambda feature: feature.name)
def test_every_feature_has_one_line_with_all_that_is_to_be_known_of_it(feature):
    lines = [line for line in as_markdown().splitlines() if line.startswith(f"| `{feature.name}` |")]
    assert len(lines) == 1
    cells = [cell.strip() for cell in lines[0].strip("|").split(" | ")]
    assert cells == [f"`{feature.name}`", feature.unit, feature.meaning, feature.failure_mode, feature.source,
                     feature.scale]  # fmt: skip
    assert all(cells[2:])
