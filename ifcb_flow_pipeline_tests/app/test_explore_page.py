"""The page "Explore": bins are found by any column, and what is found is decided, tagged and exported."""

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app import columns, data
from app.columns import Condition
from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, SINGLE, WORST, checked, open_page, press, said


def _table(app: AppTest) -> list[str]:
    return app.dataframe[0].value["bin"].tolist()


def test_all_bins_above_a_value_are_decided_as_context_in_four_actions(store: Path):
    app = open_page("explore")
    checked(app.selectbox(key="add_condition").set_value("mean_x").run())
    checked(app.number_input(key="low mean_x").set_value(668.0).run())
    assert "**4 bins** of 40 in this period: mean x (px) from 668" in said(app)
    checked(app.button_group(key="decision_tags").set_value(["context"]).run())
    press(app, "decide_many_bad")
    labels = LabelStore(store / "labels.sqlite").current()
    assert sorted(labels) == sorted(_table(app))
    assert {(label.decision, label.tags) for label in labels.values()} == {("bad", ("context",))}


@pytest.mark.parametrize(
    ("query", "n_bins"),
    [
        ({"verdict": "bad"}, 4),
        ({"where": ["mean_x:668:"]}, 4),
        ({"where": ["mean_x:668:", "mean_y::445"]}, 2),
        ({"where": ["severity:60:80"]}, 3),
        ({"where": ["no_column:1:2", "severity:x:", "severity"]}, 40),
        ({"where": ["affected_fraction:40:"], "instrument": "IFCB101"}, 4),
        ({"cause": "air", "instrument": "IFCB102"}, 1),
        ({"sample": "normal"}, 40),
        ({"tag": "clog"}, 0),
    ],
)
def test_the_address_says_which_bins_are_found(store: Path, query: dict, n_bins: int):
    text = said(open_page("explore", **query))
    assert f"**{n_bins} bin" in text or (n_bins == 0 and "No bins match" in text)


def test_bins_are_found_by_decision_and_tag(store: Path):
    app = open_page("explore", verdict="bad")
    checked(app.button_group(key="decision_tags").set_value(["bubbles"]).run())
    press(app, "decide_many_bad")
    assert sorted(_table(open_page("explore", tag="bubbles"))) == sorted([*EPISODE, SINGLE])
    assert sorted(_table(open_page("explore", decision="bad"))) == sorted([*EPISODE, SINGLE])
    press(open_page("explore"), "undo")
    assert LabelStore(store / "labels.sqlite").current() == {}


def test_the_table_is_worst_first_and_any_column_sorts_it(store: Path):
    assert _table(open_page("explore", verdict=["bad", "ok"]))[0] == WORST
    table = open_page("explore", verdict="bad", sort="mean_x", ascending="1").dataframe[0].value
    assert table["mean x (px)"].is_monotonic_increasing


def test_every_column_has_a_name_of_its_own_and_no_code(store: Path):
    names = [columns.name(code) for code in columns.NUMBERS]
    assert not [name for name in names if "_" in name]
    assert len(set(names)) == len(names)


def test_a_condition_is_written_and_read_as_it_is():
    for condition in (Condition("humidity_pct", 60.0), Condition("severity", None, 12.5), Condition("mean_x", -1, 1)):
        assert Condition.of(condition.text) == condition
    assert Condition.of("humidity_pct:nothing:") is None


def test_bins_without_a_value_meet_no_condition_that_has_an_end():
    values = np.array([1.0, np.nan, 3.0])
    assert Condition("mean_x", 2.0).holds(values).tolist() == [False, False, True]
    assert Condition("mean_x").holds(values).all()


def test_the_first_in_order_are_the_same_whether_all_or_some_are_asked_for():
    values = np.array([3.0, np.nan, 1.0, 5.0, 4.0])
    assert values[columns.top(values, 2, descending=True)].tolist() == [5.0, 4.0]
    assert columns.top(values, 5, descending=False).tolist() == [2, 0, 4, 3, 1]


def test_exported_rows_are_those_that_are_found(store: Path):
    app = open_page("explore", verdict="bad")
    (button,) = [one for one in app.get("download_button") if one.proto.label == "Export as CSV"]
    assert button.proto.url or button.proto.deferred_file_id
    assert data.read_decisions(data.stores()) == {}
