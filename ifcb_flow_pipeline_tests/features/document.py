"""Writes ``docs/features.md`` from the catalogue: ``python -m ifcb_flow_pipeline_tests.features.document``."""

from pathlib import Path

from ifcb_flow_pipeline.features.documentation import as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "features.md"

if __name__ == "__main__":
    PAGE.write_text(as_markdown(), encoding="utf-8")
