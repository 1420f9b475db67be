"""What a page shows is in its address, by codes; what is no choice is ignored."""

from datetime import date

import pytest
from streamlit.testing.v1 import AppTest

from ifcb_flow_pipeline_tests.app.reviewed import checked


def _page() -> None:
    from datetime import date

    import streamlit as st

    from app import address

    st.session_state["seen"] = {
        "colour": address.one("colour", "Colour", ["red", "blue"], "red", called=str.upper),
        "none": address.one("none", "None", ["a", "b"]),
        "many": address.several("many", "Many", ["x", "y", "z"], ["x"]),
        "on": address.switch("on", "On"),
        "day": address.day("day", "Day", date(2026, 3, 2), min_value=date(2026, 3, 1), max_value=date(2026, 3, 9)),
    }


@pytest.fixture
def app() -> AppTest:
    return AppTest.from_function(_page)


def _seen(app: AppTest) -> dict:
    return checked(app.run()).session_state["seen"]


def _address(app: AppTest) -> dict:
    return {name: [value] if isinstance(value, str) else value for name, value in app.query_params.items()}


def test_what_the_address_lacks_is_the_default(app: AppTest):
    assert _seen(app) == {"colour": "red", "none": None, "many": ("x",), "on": False, "day": date(2026, 3, 2)}


def test_the_address_says_what_is_chosen_and_what_is_no_choice_is_ignored(app: AppTest):
    app.query_params["colour"], app.query_params["many"] = "blue", ["y", "gone"]
    app.query_params["on"], app.query_params["day"], app.query_params["none"] = "1", "2026-12-24", "c"
    assert _seen(app) == {"colour": "blue", "none": None, "many": ("y",), "on": True, "day": date(2026, 3, 9)}


def test_a_choice_is_written_by_its_code_and_the_default_is_not_written(app: AppTest):
    app.run()
    checked(app.selectbox(key="colour").set_value("blue").run())
    checked(app.multiselect(key="many").set_value([]).run())
    assert _address(app) == {"colour": ["blue"], "many": [""]}
    assert _seen(app)["many"] == ()
    checked(app.selectbox(key="colour").set_value("red").run())
    checked(app.toggle(key="on").set_value(True).run())
    assert _address(app) == {"many": [""], "on": ["1"]}


def test_back_to_another_address_shows_that_one(app: AppTest):
    app.run()
    checked(app.selectbox(key="colour").set_value("blue").run())
    del app.query_params["colour"]
    assert _seen(app)["colour"] == "red"
