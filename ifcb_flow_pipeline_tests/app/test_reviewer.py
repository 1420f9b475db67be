"""Whose name a decision bears: the proxy's where one is configured, and never a header that nobody asked for."""

from types import SimpleNamespace

import pytest
from streamlit.runtime.context import StreamlitHeaders

from app import reviewer

HEADER = "X-Forwarded-User"


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch):
    """Lets a browser (or the proxy before it) send headers and a cookie, and a person have typed a name."""

    def sends(*headers: tuple[str, str], cookie: str = "", typed: str = "") -> None:
        cookies = {"ifcb_reviewer": cookie} if cookie else {}
        context = SimpleNamespace(headers=StreamlitHeaders(headers), cookies=cookies)
        monkeypatch.setattr(reviewer.st, "context", context)
        monkeypatch.setattr(reviewer.st, "session_state", {"reviewer": typed} if typed else {})

    return sends


def test_a_header_that_is_not_configured_is_not_believed(browser, monkeypatch):
    monkeypatch.delenv("IFCB_REVIEWER_HEADER", raising=False)
    browser((HEADER, "Mallory"), ("IFCB_REVIEWER_HEADER", "Mallory"))
    assert reviewer.known_reviewer() is None
    browser((HEADER, "Mallory"), cookie="Ada%20L.")
    assert reviewer.known_reviewer() == "Ada L."


def test_another_header_than_the_configured_one_is_not_believed(browser, monkeypatch):
    monkeypatch.setenv("IFCB_REVIEWER_HEADER", HEADER)
    browser(("X-Remote-User", "Mallory"), ("X-Forwarded-Users", "Mallory"))
    assert reviewer.known_reviewer() is None


def test_behind_a_proxy_neither_cookie_nor_typed_name_counts(browser, monkeypatch):
    monkeypatch.setenv("IFCB_REVIEWER_HEADER", HEADER)
    browser(("x-forwarded-user", "  Ada \n L. "), cookie="Mallory", typed="Mallory")
    assert reviewer.known_reviewer() == "Ada L."
    browser(cookie="Mallory", typed="Mallory")
    assert reviewer.known_reviewer() is None


def test_a_header_that_came_twice_is_not_believed(browser, monkeypatch):
    monkeypatch.setenv("IFCB_REVIEWER_HEADER", HEADER)
    browser((HEADER, "Mallory"), (HEADER, "Ada"))
    assert reviewer.known_reviewer() is None


def test_a_name_is_cut_to_what_a_decision_keeps(browser, monkeypatch):
    monkeypatch.setenv("IFCB_REVIEWER_HEADER", HEADER)
    browser((HEADER, "a" * 10_000))
    assert len(reviewer.known_reviewer() or "") == reviewer.MAX_REVIEWER
