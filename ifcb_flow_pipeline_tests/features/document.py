"""Writes the pages of features from the catalogues: ``python -m ifcb_flow_pipeline_tests.features.document``."""

from pathlib import Path

from ifcb_flow_pipeline.features import documentation
from ifcb_flow_pipeline.features.images import documentation as image_documentation

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
IMAGE_PAGE = PAGE.with_name("image-features.md")

if __name__ == "__main__":
    PAGE.write_text(documentation.as_markdown(), encoding="utf-8")
    IMAGE_PAGE.write_text(image_documentation.as_markdown(), encoding="utf-8")
