"""Bins that were not judged, on every page: seen, counted by themselves, and neither healthy nor bad."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from app import data, exports
from app.exports import Choice
from ifcb_flow_pipeline.store.labels import Label
from ifcb_flow_pipeline.store.studies import StudyStore
from ifcb_flow_pipeline_tests.app.reviewed import WORST, checked, open_page, opened, pid_of, said, write_review_store

#: One instrument with a fault, one that the model knows too little of.
PLAN = {"IFCB101": "ooobBbooooowoouooooo", "IFCB103": "nnnnnnnn"}
UNJUDGED = pid_of("IFCB103", 7)
BASIS = "No verdict: too little history of IFCB103 (3 of 20 bins)."


@pytest.fixture
def site(home: Path) -> Path:
    return write_review_store(home, PLAN)


def test_the_overview_counts_them_apart_and_says_what_to_do(site: Path, monkeypatch):
    monkeypatch.setattr(data, "utc_now", lambda: datetime(2026, 3, 6, tzinfo=UTC))
    text = said(open_page("overview"))
    assert "Before that: no verdict: too little history." in text
    assert "Bins without a verdict in the last week of data: IFCB103: 8 of 8" in text
    assert "retrain the model" in text
    assert "0 of 0 bad in 24 h, 0 of 0 in 7 days · 8 without a verdict in 7 days" in text


@pytest.mark.parametrize(
    ("now", "said_of_it"),
    [(datetime(2026, 3, 2, 20, tzinfo=UTC), "Fault now: air bubbles, since 12:00 today, 2 bad bins"),
     (datetime(2026, 3, 5, 12, tzinfo=UTC), "Before that: fault, not known to be over: air bubbles"),
     (datetime(2026, 4, 5, tzinfo=UTC), "No instrument has sent a bin for 30 days")],
)  # fmt: skip
def test_a_fault_of_an_instrument_that_fell_silent_does_not_run_for_ever(home: Path, monkeypatch, now, said_of_it):
    # Of bins every six hours, ten intervals are longer than the pause that ends an episode.
    monkeypatch.setattr("ifcb_flow_pipeline.detection.verdict.episodes.MAX_PAUSE", timedelta(days=9))
    write_review_store(home, {"IFCB102": "oooooobB"})
    monkeypatch.setattr(data, "utc_now", lambda: now)
    text = said(open_page("overview"))
    assert said_of_it in text
    assert ("Fault now" in text) == (now.day == 2)
    assert ("ongoing" in said(open_page("triage"))) == (now.day == 2)


def test_the_timeline_draws_them_and_filters_by_them(site: Path):
    app = open_page("timeline", verdict="not_judged")
    text = said(app)
    assert "8 bins, each a mark" in text
    assert "Grey squares" in text
    assert "Grey squares" not in said(open_page("timeline", verdict="bad"))


def test_the_page_of_such_a_bin_says_why_it_has_no_verdict_and_no_number(site: Path):
    text = said(open_page("bin", bin=UNJUDGED))
    assert ":gray-badge[:material/pending: No verdict]" in text
    assert BASIS in text
    assert "nan" not in text.lower().split()
    assert "severity **" not in text
    assert "Nothing unusual" not in text
    assert "no score; bad from severity 50" in text


def test_the_page_of_a_judged_bin_says_what_it_was_compared_with_and_what_is_lost(site: Path):
    wanted = "Compared with 299 healthy bins over 21 days. About 43 % of the run is affected."
    assert wanted in said(open_page("bin", bin=WORST))
    assert wanted in said(open_page("triage", bin=WORST))


def test_they_wait_for_no_decision_unless_they_are_asked_for(site: Path):
    app = open_page("triage")
    assert "IFCB103" not in said(app)
    checked(app.button_group(key="verdict").set_value(["not_judged"]).run())
    assert opened(app).endswith("IFCB103")
    assert "8 bins to review" in said(app).replace("*", "")
    assert "No verdict, IFCB103" in said(app)
    assert BASIS in said(app)
    assert app.dataframe[0].value["worst severity"].isna().all()


def test_a_study_draws_none_of_them(site: Path):
    app = open_page("study")
    app.text_input[0].set_value("Spring")
    checked(next(button for button in app.button if button.label == "Begin").click().run())
    store = StudyStore(site / "studies.sqlite")
    items = store.items(store.studies()[0].id)
    assert len({item.pid for item in items}) == PLAN["IFCB101"].count("o") + 4
    assert {item.verdict for item in items} == {"ok", "watch", "bad"}


def test_exports_have_them_with_their_columns_and_reports_count_them_apart(site: Path):
    stores, first = data.stores(), date(2026, 3, 1)
    choice = Choice(first, first + timedelta(days=9), verdicts=("not_judged",))
    chosen = choice.of(data.read_scored(stores))
    path = site / "scores.csv"
    path.write_bytes(exports.as_csv(exports.stored_rows(stores, exports.BIN_SCORES, choice, chosen)))
    scores = pd.read_csv(path)
    assert scores["verdict"].unique().tolist() == ["not_judged"]
    assert scores[["severity", "affected_fraction", "baseline_days"]].isna().all(axis=None)
    assert scores["baseline_bins"].eq(3).all()

    whole = Choice(first, first + timedelta(days=9))
    rows = whole.of(data.read_scored(stores))
    page = exports.report(stores, whole, rows, {}, datetime(2026, 4, 1, tzinfo=UTC)).decode()
    assert '<th class="n">no verdict</th>' in page
    assert "compared with 299 healthy bins over 21 days; about 43 % of the run is affected" in page
    assert UNJUDGED not in page
    assert "nan" not in page.lower().split()


def test_a_decision_about_such_a_bin_goes_out_without_a_cause(site: Path):
    label = Label(UNJUDGED, "bad", (), "", "Ada", datetime(2026, 3, 9, tzinfo=UTC), "triage")
    (found,) = exports.decided({UNJUDGED: label}, data.read_scored(data.stores()))
    assert found.cause == ""
