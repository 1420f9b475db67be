"""The reference pages are those of the code, and leave nothing out."""

import re

import click
import pytest

from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.store.documentation import SETTINGS, markdown_table, tables_page
from ifcb_flow_pipeline.store.tables import TABLES
from ifcb_flow_pipeline_tests.reference import DOCS, PAGES, REMEDY, commands_page

ROOT = DOCS.parent
NAMED = re.compile(r'["{]((?:IFCB|DAGSTER_POSTGRES_PASSWORD)_[A-Z_]*[A-Z])(?:["}:])')
SOURCES = ("ifcb_flow_pipeline/**/*.py", "app/**/*.py", "compose*.yaml")


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_the_one_that_the_code_makes(path):
    assert (DOCS / path).read_text(encoding="utf-8") == PAGES[path](), f"run {REMEDY}"


def test_every_setting_that_is_read_is_listed_and_no_other():
    sources = [path for pattern in SOURCES for path in ROOT.glob(pattern) if path.name != "documentation.py"]
    read = {name for path in sources for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert "IFCB_DATA_DIR" in read
    listed = [setting.name for settings in SETTINGS.values() for setting in settings]
    assert len(listed) == len(set(listed))
    assert {name for name in listed if name.startswith("IFCB_")} == {name for name in read if name.startswith("IFCB_")}


def every_command(group=main, called=""):
    for name, command in group.commands.items():
        yield f"{called} {name}".strip(), command
        if isinstance(command, click.Group):
            yield from every_command(command, name)


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_a_command_has_its_section_with_all_of_its_options(name, command):
    _, heading, after = commands_page().partition(f"# {name}\n")
    assert heading
    section = after.partition("\n## ")[0]
    assert command.help.split("\n")[0] in section
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert f"`{parameter.opts[0]}`" in section


def test_a_default_is_told_once():
    page = commands_page()
    assert "[default:" not in page
    assert "| `--port` `INTEGER RANGE` | 8001 |" in page


def test_every_column_has_its_line():
    page = tables_page()
    for table in TABLES:
        section = page.partition(f"## `{table.name}`")[2].partition("\n## ")[0]
        for column in table.columns:
            assert f"| `{column.name}` |" in section


def test_a_bar_or_a_line_end_in_a_text_does_not_break_the_table():
    assert markdown_table(("a",), [("b|c\nd",)]) == "| a |\n| --- |\n| b\\|c d |"
