"""The pages Overview, Timeline and Bin over stores that are empty, partial, damaged and whole."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from app import data
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS
from ifcb_flow_pipeline_tests.app.reviewed import (
    EPISODE,
    HOSTILE,
    SINGLE,
    UNREADABLE,
    WORST,
    checked,
    open_page,
    pid_of,
    press,
    said,
    write_review_store,
)
from ifcb_flow_pipeline_tests.app.stored import FIRST_DAY

PAGES = ("overview", "timeline", "bin")


@pytest.fixture(autouse=True)
def no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IFCB_DASHBOARD_URL", raising=False)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is some hours after the last bin of the store."""
    monkeypatch.setattr(data, "utc_now", lambda: datetime(2026, 3, 5, 23, tzinfo=UTC))


def _heading(app: AppTest) -> str:
    return app.header[0].value.replace("\\", "")


def _severities(app: AppTest) -> list[str]:
    """What the lanes of a page are said to show, for people who do not see them."""
    return [chart.proto.alt for chart in app.get("vega_lite_chart")]


@pytest.mark.parametrize("name", PAGES)
def test_an_empty_store_says_what_to_do_next(home: Path, name: str):
    assert "Process some days" in said(open_page(name))


@pytest.mark.parametrize("name", PAGES)
def test_a_store_without_scores_says_what_to_do_next(store: Path, name: str):
    for file in (store / "tables" / BIN_SCORES.name).rglob("*.parquet"):
        file.unlink()
    (store / "tables" / BIN_SCORES.name / "2026").rmdir()
    assert "Score some days" in said(open_page(name))


@pytest.mark.parametrize("name", PAGES)
def test_a_setting_without_meaning_is_said_and_nothing_else_shown(store: Path, name: str, monkeypatch):
    monkeypatch.setenv("IFCB_START_DAY", "soon")
    assert "IFCB_START_DAY" in said(open_page(name))


@pytest.mark.parametrize("name", PAGES)
def test_a_damaged_day_does_not_hide_the_others(store: Path, name: str):
    DailyTables(store / "tables").path(BIN_SCORES, FIRST_DAY).write_bytes(b"no parquet")
    app = open_page(name)
    assert app.header
    if name != "bin":
        assert "bin_scores" in said(app)


@pytest.mark.parametrize("name", PAGES)
def test_where_no_scored_bin_can_be_read_the_page_says_why(store: Path, name: str):
    for file in (store / "tables" / BIN_SCORES.name).rglob("*.parquet"):
        file.write_bytes(b"no parquet")
    assert "can be read" in said(open_page(name))


# Overview


def test_the_overview_says_of_each_instrument_how_it_is_and_of_how_many_bins(store: Path, soon: None):
    app = open_page("overview")
    text = said(app)
    assert "IFCB101** :blue-badge[:material/check_circle: OK] OK now." in text
    assert "Last bin 18:00 today UTC · 0 of 5 bad in 24 h, 3 of 20 in 7 days · model trained 33 days ago" in text
    assert sum(alt.startswith("The last 5 bins of") for alt in _severities(app)) == 2


def test_instruments_that_nobody_waits_for_are_folded_away_below(store: Path):
    text = said(open_page("overview"))
    assert "No instrument has sent a bin for 30 days" in text
    assert "IFCB101** last bin 2026-03-05" in text
    assert "OK now" not in text


def test_a_fault_that_runs_is_first_with_its_cause_and_its_worst_bin(home: Path, monkeypatch):
    from ifcb_flow_pipeline_tests.app import reviewed

    monkeypatch.setattr(reviewed, "PLAN", {"IFCB101": "oooooooo", "IFCB102": "oooooobB"})
    monkeypatch.setattr(data, "utc_now", lambda: datetime(2026, 3, 2, 20, tzinfo=UTC))
    write_review_store(home)
    app = open_page("overview")
    cards = [element.value.replace("\\", "") for element in app.markdown if element.value.startswith("**IFCB")]
    assert cards[0].startswith("**IFCB102** :red-badge[:material/warning: Fault now]")
    assert "Fault now: air bubbles, since 12:00 today, 2 bad bins." in cards[0]
    assert "OK now." in cards[1]


def test_checks_that_fail_say_what_to_do_and_the_others_are_listed(store: Path, monkeypatch):
    monkeypatch.setattr(data, "utc_now", lambda: datetime(2026, 3, 12, tzinfo=UTC))
    text = said(open_page("overview"))
    assert "No new bins from IFCB101 for 6 days, IFCB102 for 6 days.**" in text
    assert "Check that the instrument is running" in text
    assert "A newer model is not active" in text
    assert "of last week's bins are unreadable" in text


def test_bins_without_score_fail_a_check(store: Path, soon: None):
    last = FIRST_DAY.replace(day=5)
    DailyTables(store / "tables").path(BIN_SCORES, last).unlink()
    assert "8 bins of 2026-03-05 not scored yet" in said(open_page("overview"))


def test_without_a_model_the_overview_says_so(store: Path):
    (store / "models" / "current.json").unlink()
    assert "No model is active" in said(open_page("overview"))


# Timeline


def test_the_timeline_shows_every_bin_of_the_latest_month(store: Path):
    app = open_page("timeline")
    assert _severities(app)[0].startswith("severity of 40 bins")
    assert "40 bins, each a mark" in said(app)


@pytest.mark.parametrize(
    ("query", "n_bins"),
    [
        ({"verdict": "bad"}, "4 bins"),
        ({"instrument": "IFCB102"}, "20 bins"),
        ({"instrument": "IFCB102", "verdict": "bad"}, "1 bin"),
        ({"cause": "air"}, "5 bins"),
        ({"cause": "a name of long ago"}, "40 bins"),
        ({"status": "unreadable"}, "1 bin"),
        ({"span": "day"}, "8 bins"),
        ({"from": "2026-03-02T00:00", "to": "2026-03-02T12:30"}, "6 bins"),
        ({"from": "no time", "to": "2026-03-02T12:30"}, "40 bins"),
    ],
)
def test_the_address_says_what_is_shown(store: Path, query: dict[str, str], n_bins: str):
    assert _severities(open_page("timeline", **query))[0].startswith(f"severity of {n_bins} over")


def test_a_filter_that_leaves_nothing_says_how_to_go_on(store: Path):
    assert "Widen the period" in said(open_page("timeline", verdict="bad", status="unreadable"))


def test_decided_bins_are_found_by_their_decision(store: Path):
    press(open_page("triage"), "decide_bad")
    assert _severities(open_page("timeline", decision="bad"))[0].startswith("severity of 1 bin ")
    assert _severities(open_page("timeline", decision="undecided"))[0].startswith("severity of 39 bins")


def test_earlier_later_and_zooming_out_move_the_period_in_the_address(store: Path):
    app = open_page("timeline", span="day")
    for label, first in (
        ("Earlier", "2026-03-04T06:01"),
        ("Later", "2026-03-04T18:01"),
        ("Zoom out", "2026-03-03T18:01"),
    ):
        button = next(button for button in app.button if button.label == label)
        checked(button.click().run())
        found = app.query_params["from"]
        assert (found if isinstance(found, str) else found[-1]).startswith(first)


def test_days_that_are_chosen_become_the_period(store: Path):
    app = open_page("timeline")
    checked(app.date_input(key="first_day").set_value(FIRST_DAY.replace(day=2)).run())
    checked(app.date_input(key="last_day").set_value(FIRST_DAY.replace(day=2)).run())
    assert _severities(app)[0].startswith("severity of 8 bins")


def test_a_feature_is_drawn_as_a_second_track_and_a_feature_without_values_is_said(store: Path):
    app = open_page("timeline", track="mean_x")
    assert _severities(app)[1].startswith("mean x (px) of 40 bins")
    assert "No bin of this period has a value of core position (px)" in said(open_page("timeline", track="core_x_px"))


def test_a_damaged_day_of_features_is_said_and_the_severities_are_still_shown(store: Path):
    DailyTables(store / "tables").path(BIN_FEATURES, FIRST_DAY).write_bytes(b"no parquet")
    app = open_page("timeline", track="mean_x")
    assert "bin_features" in app.error[0].value.replace("\\", "")
    assert _severities(app)[0].startswith("severity of 40 bins")


def test_two_selections_stand_side_by_side_with_counts_and_medians(store: Path):
    app = open_page("timeline", instrument="IFCB101", compare="others")
    table = app.table[0].value
    assert table.loc["bins"].tolist() == ["20", "20"]
    assert table.loc["median"].tolist() == ["5", "5"]
    assert table.loc["bad"].tolist() == ["15.00 %", "5.00 %"]
    assert any(alt.startswith("Distributions of Severity") for alt in _severities(app))


def test_a_selection_is_kept_to_compare_the_next_one_with_it(store: Path):
    app = open_page("timeline", verdict="bad")
    keep = next(button for button in app.button if button.label == "Save this selection")
    checked(keep.click().run())
    checked(app.multiselect(key="verdict").set_value(["ok"]).run())
    checked(app.selectbox(key="compare").set_value("kept").run())
    assert app.table[0].value.loc["bins"].tolist() == ["34", "4"]


def test_the_worst_bins_are_listed_worst_first(store: Path):
    app = open_page("timeline")
    assert not app.dataframe
    app.session_state["worst_open"] = True
    table = checked(app.run()).dataframe[0].value
    assert table["pid"].tolist()[:2] == [UNREADABLE, WORST]
    assert table["cause"].tolist()[1] == "air bubbles"


# Bin


def test_a_bin_has_its_verdict_its_reasons_its_cloud_and_its_run(store: Path):
    app = open_page("bin", bin=WORST)
    text = said(app)
    assert _heading(app) == WORST
    assert "severity **95** of 100" in text
    assert "suspected: **air bubbles**" in text
    assert "Debubble" in text
    reasons = "".join(element.proto.body for element in app.get("html"))
    assert "<b>Images off the core</b>" in reasons
    assert "images outside the core: 60 %, normally 1 to 5 %" in reasons
    charts = _severities(app)
    assert charts[0] == f"Point cloud of {WORST}: 275 images in the camera frame, and their distributions"
    assert any("after each part of its run" in alt for alt in charts)
    assert "25 triggers without an image" in text
    assert "of 275 images looked at" in text
    app.session_state["header_open"] = True
    header = checked(app.run()).dataframe[-1].value
    assert header.loc[header["header"].eq("temperature"), "value"].tolist() == ["21.3 °C"]


def test_without_a_bin_in_the_address_the_latest_bad_one_is_open(store: Path):
    assert _heading(open_page("bin")) == SINGLE


@pytest.mark.parametrize("name", ["../../etc/passwd", "<script>alert(1)</script>", "D20260230T000000_IFCB101"])
def test_a_text_that_is_no_bin_is_said_as_it_is_and_no_bin_of_it_is_looked_for(store: Path, name: str):
    app = open_page("bin", bin=name)
    assert _heading(app) == SINGLE
    assert f'"{name}" is not a bin ID' in said(app)
    # As Markdown it would be a tag; what is sent to the browser is escaped.
    assert all("<script>" not in element.value for element in app.warning)


def test_a_bin_that_no_table_has_says_how_to_get_it(store: Path):
    assert "has not been processed" in said(open_page("bin", bin="D20200101T000000_IFCB101"))


def test_an_unreadable_bin_says_why_as_plain_text(store: Path):
    app = open_page("bin", bin=UNREADABLE)
    assert HOSTILE in said(app)
    assert all("<b>" not in element.value for element in [*app.warning, *app.markdown])
    assert "No point cloud" in said(app)


def test_clouds_that_are_missing_are_to_be_made_and_damaged_ones_are_named(store: Path):
    path = DailyTables(store / "tables").path(POINT_CLOUDS, FIRST_DAY.replace(day=2))
    path.write_bytes(b"no parquet")
    assert "point_clouds" in said(open_page("bin", bin=WORST))
    path.unlink()
    assert "lack this bin" in said(open_page("bin", bin=WORST))


def test_a_bin_without_score_shows_its_cloud(store: Path):
    DailyTables(store / "tables").path(BIN_SCORES, FIRST_DAY.replace(day=2)).unlink()
    app = open_page("bin", bin=WORST)
    assert "has not been scored yet" in said(app)
    assert _severities(app)[0].startswith("Point cloud of")


def test_the_neighbours_of_a_bin_are_one_press_away(store: Path):
    app = open_page("bin", bin=EPISODE[1])
    checked(next(button for button in app.button if button.label == "Next bin").click().run())
    assert _heading(app) == EPISODE[2]
    checked(next(button for button in app.button if button.label == "Previous bin").click().run())
    assert _heading(app) == EPISODE[1]
    first = open_page("bin", bin=pid_of("IFCB101", 0))
    assert next(button for button in first.button if button.label == "Previous bin").disabled


def test_any_bin_is_opened_by_its_name_and_what_is_none_is_refused(store: Path):
    app = open_page("bin", bin=WORST)
    checked(app.text_input(key="asked").set_value(SINGLE).run())
    assert _heading(app) == SINGLE
    checked(app.text_input(key="asked").set_value("*nothing*").run())
    assert _heading(app) == SINGLE
    assert '"*nothing*" is not a bin ID' in said(app)


def test_a_decision_on_the_bins_page_is_kept_and_shown(store: Path):
    app = press(open_page("bin", bin=WORST), "decide_bad")
    assert LabelStore(store / "labels.sqlite").decisions() == {WORST: "bad"}
    assert "bad by Ada" in said(app)
    assert WORST not in said(open_page("triage"))


def test_similar_bins_are_looked_for_when_asked(store: Path):
    app = open_page("bin", bin=EPISODE[1])
    checked(app.toggle(key="similar").set_value(True).run())
    found = next(frame.value for frame in app.dataframe if "distance" in frame.value)
    assert EPISODE[1] not in found["pid"].tolist()
    assert {EPISODE[0], EPISODE[2]} <= set(found["pid"].tolist()[:2])


def test_the_dashboard_is_linked_only_where_its_address_is_set(store: Path, monkeypatch):
    assert not open_page("bin", bin=WORST).get("link_button")
    monkeypatch.setenv("IFCB_DASHBOARD_URL", "https://ifcb-data.whoi.edu/")
    (button,) = open_page("bin", bin=WORST).get("link_button")
    assert button.proto.url == f"https://ifcb-data.whoi.edu/bin?bin={WORST}"


def test_pages_write_nothing_but_decisions(store: Path):
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    for name in PAGES:
        open_page(name)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before
    assert data.read_decisions(data.stores()) == {}
