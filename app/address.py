"""Choices that live in the address of a page, by their codes: a reload, Back and a saved link show the same view.

The address is the truth. Before a widget is drawn it is given what the address says; when a person changes it, the
address is written first. What the address lacks is the default, and what it says that is no choice is ignored, so
links survive new wording and choices that are gone.
"""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import streamlit as st

#: How a switch that is on is written.
_ON = "1"

Name = Callable[[Any], str]


def given(name: str) -> str | None:
    """What the address says of a choice; None where it says nothing."""
    return st.query_params.get(name)


def put(**choices: str | Sequence[str] | None) -> None:
    """Write choices into the address; None, or an empty one, takes them out of it."""
    for name, value in choices.items():
        if value:
            st.query_params[name] = value
        elif name in st.query_params:
            del st.query_params[name]


def one(
    name: str,
    label: str,
    options: Sequence[str],
    default: str | None = None,
    *,
    draw: Callable[..., Any] = st.selectbox,
    called: Name = str,
    on_change: Callable[[], None] | None = None,
    **look: Any,
) -> str | None:
    """A widget for one of ``options``; without a default, none is a choice as well."""
    found = given(name)
    _show(name, found if found in options else default)

    def write() -> None:
        chosen = st.session_state[name]
        put(**{name: None if chosen == default else chosen})
        if on_change is not None:
            on_change()

    if draw is st.selectbox and default is None:
        look = {"index": None} | look
    return draw(label, options, key=name, format_func=called, on_change=write, **look)


def several(
    name: str,
    label: str,
    options: Sequence[str],
    default: Sequence[str] = (),
    *,
    draw: Callable[..., Any] = st.multiselect,
    called: Name = str,
    **look: Any,
) -> tuple[str, ...]:
    """A widget for any of ``options``."""
    in_address = name in st.query_params
    found = [code for code in st.query_params.get_all(name) if code in options]
    _show(name, found if in_address else list(default))

    def write() -> None:
        chosen = list(st.session_state[name])
        # An empty choice that is not the default is written as such.
        put(**{name: None if chosen == list(default) else chosen or [""]})

    return tuple(draw(label, options, key=name, format_func=called, on_change=write, **look))


def switch(name: str, label: str, **look: Any) -> bool:
    """A toggle."""
    _show(name, given(name) == _ON)

    def write() -> None:
        put(**{name: _ON if st.session_state[name] else None})

    return st.toggle(label, key=name, on_change=write, **look)


def day(name: str, label: str, default: date, **look: Any) -> date:
    """A day of the calendar."""
    try:
        found = date.fromisoformat(given(name) or "")
    except ValueError:
        found = default
    _show(name, min(max(found, look.get("min_value", found)), look.get("max_value", found)))

    def write() -> None:
        chosen = st.session_state[name]
        put(**{name: None if chosen in (None, default) else f"{chosen}"})

    return st.date_input(label, key=name, format="YYYY-MM-DD", on_change=write, **look) or default


def kept() -> dict[str, list[str]]:
    """All that the address holds, for going to another page and back."""
    return {name: st.query_params.get_all(name) for name in st.query_params}


def _show(name: str, value: Any) -> None:
    if name not in st.session_state or st.session_state[name] != value:
        st.session_state[name] = value
