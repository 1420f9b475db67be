"""The documentation builds without a warning, loads nothing from elsewhere, and its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = pytest.importorskip("mkdocs.config")
    from mkdocs.commands.build import build

    folder = tmp_path_factory.mktemp("site")
    # Strict, by its own settings: a link without its target or a page outside the menu is an error.
    with (ROOT / "mkdocs.yml").open("rb") as file:
        build(config.load_config(file, site_dir=str(folder)))
    return folder


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    made = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    renamed = {page.with_name("index") if page.name == "README" else page for page in pages}
    assert renamed <= made
    loaded = re.compile(r"""(?:<(?:script|img|iframe)[^>]* src|<link[^>]* href)=["']?(?:https?:)?//[^\s>]+""")
    assert not [found for path in site.rglob("*.html") for found in loaded.findall(path.read_text(encoding="utf-8"))]
    assert not [path for path in site.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", path.read_text("utf-8"))]


@pytest.mark.parametrize("name", PAGES)
def test_links_of_the_pages_outside_the_site_lead_somewhere(name: str) -> None:
    links = [link for link in LINK.findall((ROOT / name).read_text(encoding="utf-8")) if "://" not in link]
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_readme_is_one_screen_with_a_picture_three_figures_and_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert "docs/images/review-overview.png" in text
    for start in ("| how often right |", "| how fast |", "| on what |", "make demo ", "make test "):
        assert text.count(f"\n{start}") == 1


def test_every_picture_is_shown_somewhere() -> None:
    shown = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert not [path.name for path in (ROOT / "docs" / "images").iterdir() if f"images/{path.name}" not in shown]
