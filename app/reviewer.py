"""Who is deciding: the name that a proxy vouches for, else the one that a person has given.

Behind a proxy that knows its users, IFCB_REVIEWER_HEADER names the header in which it sends their name. Without, the
name is asked for once and kept in a cookie of the browser; nobody checks it.
"""

import os
from urllib.parse import quote, unquote

import streamlit as st

from app.words import plain
from ifcb_flow_pipeline.store.labels import MAX_REVIEWER

_HEADER = "IFCB_REVIEWER_HEADER"
_COOKIE, _COOKIE_SECONDS = "ifcb_reviewer", 365 * 24 * 3600

# Keys of the session's state.
_NAME, _TYPED = "reviewer", "reviewer_typed"


def known_reviewer() -> str | None:
    """The reviewer's name; None where it is not known yet."""
    header = os.environ.get(_HEADER)
    if header:
        # Two would mean that the proxy adds its own to what the browser sent: then neither can be trusted.
        sent = st.context.headers.get_all(header)
        return _shortened(sent[0]) if len(sent) == 1 else None
    return st.session_state.get(_NAME) or _shortened(unquote(st.context.cookies.get(_COOKIE, "")))


def reviewer() -> str | None:
    """The reviewer's name, shown with a way to change it; asks for it where it is not known, and gives None then."""
    name = known_reviewer()
    header = os.environ.get(_HEADER)
    if header:
        if name is None:
            st.error(
                f"The proxy in front of this app sends no header {plain(header)}, or several, so nobody can mark "
                f"bins here. Let it send the user's name in place of what the browser sends, or unset {plain(_HEADER)} "
                "to be asked for names."
            )
        return name
    if name is None:
        _ask("Your name (saved with each decision)")
        return None
    if unquote(st.context.cookies.get(_COOKIE, "")) != name:
        _remember(name)
    return name


def signature(name: str) -> None:
    """Say as whom one decides, with a way to change it where the name was typed."""
    if os.environ.get(_HEADER):
        st.caption(f":material/person: {plain(name)}")
        return
    with st.popover(plain(name), icon=":material/person:", type="tertiary"):
        _ask("Another name")


def _ask(question: str) -> None:
    with st.form("reviewer_form", border=False, width=360):
        st.text_input(question, key=_TYPED, max_chars=MAX_REVIEWER, placeholder="Name")
        st.form_submit_button("Continue", on_click=_take)


def _take() -> None:
    name = _shortened(st.session_state[_TYPED])
    if name:
        st.session_state[_NAME] = name


def _shortened(name: str) -> str | None:
    return " ".join(name.split())[:MAX_REVIEWER] or None


def _remember(name: str) -> None:
    # Only letters, digits and %xx are left of the name: nothing that could end the text of the script.
    value = quote(name, safe="")
    st.html(
        f'<script>document.cookie = "{_COOKIE}={value}; max-age={_COOKIE_SECONDS}; path=/; SameSite=Strict"</script>',
        unsafe_allow_javascript=True,
    )
