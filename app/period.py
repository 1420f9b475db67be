"""The period of a page: one up to the last bin, or from one moment to another, in the address either way."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta

import streamlit as st

from app import address
from app.series import Window

SPANS: Mapping[str, timedelta | None] = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "year": timedelta(days=365),
    "all": None,
}

#: How the ends of a window are written in the address (UTC).
_MOMENT = "%Y-%m-%dT%H:%M:%S"


def chosen(everything: Window, default: str = "month") -> Window:
    """The window of the address; the widgets that set it are drawn and show it."""
    zoomed = _zoomed()
    span = address.one("span", "Period up to the last bin", list(SPANS), None if zoomed else default,
                       draw=st.segmented_control, on_change=_forget_zoom, width="content")  # fmt: skip
    window = zoomed or _latest(everything, SPANS[span or default])
    window = window.within(everything)
    for label, icon, other in (
        ("Earlier", ":material/chevron_left:", window.moved(-0.5)),
        ("Later", ":material/chevron_right:", window.moved(0.5)),
        ("Zoom out", ":material/zoom_out:", window.widened(3)),
    ):
        # The name is for those who cannot see the sign; the style of the app hides it.
        st.button(label, key=f"sign {label}", icon=icon, help=label, on_click=zoom, args=(other.within(everything),))
    _days(window, everything)
    return window


def _days(window: Window, everything: Window) -> None:
    # Set anew in each run: whatever changed the window, the dates show it.
    st.session_state["first_day"], st.session_state["last_day"] = window.first.date(), window.last.date()
    for label, key in (("First day", "first_day"), ("Last day", "last_day")):
        st.date_input(label, key=key, format="YYYY-MM-DD", width=135, on_change=_zoom_to_days,
                      min_value=everything.first.date(), max_value=everything.last.date())  # fmt: skip


def _zoom_to_days() -> None:
    first, last = st.session_state["first_day"], st.session_state["last_day"]
    if isinstance(first, date) and isinstance(last, date):
        zoom(
            Window(
                datetime.combine(min(first, last), time(), UTC),
                datetime.combine(max(first, last), time(23, 59, 59), UTC),
            )
        )


def _zoomed() -> Window | None:
    try:
        first, last = (datetime.fromisoformat(st.query_params[name]).replace(tzinfo=UTC) for name in ("from", "to"))
    except (KeyError, ValueError):
        return None
    return Window(first, last) if first < last else None


def zoom(window: Window) -> None:
    """Make this window the one of the address."""
    address.put(**{"from": f"{window.first:{_MOMENT}}", "to": f"{window.last:{_MOMENT}}", "span": None})


def _forget_zoom() -> None:
    address.put(**{"from": None, "to": None})


def _latest(everything: Window, span: timedelta | None) -> Window:
    return everything if span is None else Window(everything.last - span, everything.last)
