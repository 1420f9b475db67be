"""Writes the pages that are made from the code: ``python -m ifcb_flow_pipeline_tests.reference``, or ``make docs``."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click

from ifcb_flow_pipeline.cli import main
from ifcb_flow_pipeline.features import documentation as features
from ifcb_flow_pipeline.features.images import documentation as image_features
from ifcb_flow_pipeline.store.documentation import markdown_table, settings_page, tables_page

_NOTICE = "<!-- Written by `make docs` from the code. Do not edit. -->\n\n"

DOCS = Path(__file__).resolve().parents[1] / "docs"

_DEFAULT = re.compile(r"\s*\[default: ([^\]]+)\]$")


def commands_page() -> str:
    """The command line as Markdown, by the modules that the commands are in."""
    families: dict[str, list[tuple[str, click.Command]]] = {}
    for name, command in main.commands.items():
        families.setdefault(_module(command), []).append((name, command))
    parts = [
        "# Command line",
        "`ifcb-flow COMMAND --help` shows the same. Errors are one line on stderr, with exit code 1; a wrong option "
        "ends with exit code 2.",
    ]
    for module, commands in families.items():
        rows = ((f"[`{name}`](#{name})", _summary(command)) for name, command in commands)
        heading = inspect.getdoc(importlib.import_module(module)) or ""
        parts.append(f"{heading.splitlines()[0]}\n\n{markdown_table(('command', 'what it does'), rows)}")
    for commands in families.values():
        for name, command in commands:
            parts += _described(name, name, command)
    return "\n\n".join(parts) + "\n"


def _module(command: click.Command) -> str:
    return inspect.unwrap(command.callback).__module__ if command.callback else ""


def _summary(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0]


def _described(name: str, called: str, command: click.Command) -> Iterator[str]:
    """The sections of a command and of those below it. ``called``: its full name."""
    yield f"## {name}" if name == called else f"### {called}"
    context = click.Context(command, info_name=f"ifcb-flow {called}", show_default=True)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"```\n{usage}\n```"
    yield inspect.cleandoc(command.help or "").replace("\b\n", "")
    options = [option for option in command.params if isinstance(option, click.Option)]
    if options:
        yield markdown_table(("option", "default", "meaning"), (_option(option, context) for option in options))
    if isinstance(command, click.Group):
        for below, other in command.commands.items():
            yield from _described(below, f"{called} {below}", other)


def _option(option: click.Option, context: click.Context) -> tuple[str, str, str]:
    meaning, shown = option.help or "", ""
    if stated := _DEFAULT.search(meaning):
        meaning, shown = meaning[: stated.start()], stated[1]
    elif (extra := option.get_help_extra(context)).get("default"):
        shown = str(extra.get("default"))
    names = ", ".join(f"`{each}`" for each in [*option.opts, *option.secondary_opts])
    if not (option.is_flag or option.count):
        names += f" `{option.make_metavar(context)}`"
    return names, shown, meaning + (" Required." if option.required else "")


#: The pages, by their path in docs/.
PAGES: Mapping[str, Callable[[], str]] = {
    "reference/commands.md": lambda: _NOTICE + commands_page(),
    "reference/settings.md": lambda: _NOTICE + settings_page(),
    "reference/tables.md": lambda: _NOTICE + tables_page(),
    "features.md": features.as_markdown,
    "image-features.md": image_features.as_markdown,
}

#: How they are made anew.
REMEDY = "make docs"

if __name__ == "__main__":
    for path, page in PAGES.items():
        (DOCS / path).parent.mkdir(exist_ok=True)
        (DOCS / path).write_text(page(), encoding="utf-8")
