"""The page "Export" without a browser, and what it hands out, read again."""

import io
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from app import data, exports
from app.data import Stores
from app.exports import Choice
from ifcb_flow_pipeline.review.handover import dashboard_files
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.labels import Decision, Label, LabelStore
from ifcb_flow_pipeline.store.sent import SENT_FILE, Row, SentStore
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES
from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import EPISODE, SINGLE, UNREADABLE, WORST, checked, open_page, said

FIRST = date(2026, 3, 1)
EVERYTHING = Choice(FIRST, FIRST + timedelta(days=9))
NOTE = '=HYPERLINK("http://evil") <script>alert(1)</script>\nsecond line'


@pytest.fixture
def stores(home: Path) -> Stores:
    reviewed.write_review_store(home)
    return data.stores()


def decide(stores: Stores, decision: Decision, *pids: str) -> None:
    at = datetime(2026, 3, 9, 12, 0, tzinfo=UTC)
    labels = [Label(pid, decision, ("bubbles",), NOTE, "Ada", at, "triage") for pid in pids]
    LabelStore(stores.home / "labels.sqlite").add(labels)


def test_an_empty_store_says_what_to_do_next(home: Path):
    assert "Process some days" in said(open_page("export"))


def test_all_tables_of_the_last_month_are_offered_in_both_formats(stores: Stores):
    app = open_page("export")
    assert f"{reviewed.N_BINS} bins of" in said(app).replace("*", "")
    keys = {button.key for button in app.get("download_button")}
    assert {f"{name}_{ending}" for name in exports.TABLES for ending in ("csv", "parquet")} <= keys
    assert "Nobody has reviewed" in said(app)


def test_a_choice_without_bins_says_how_to_widen_it(stores: Stores):
    app = open_page("export")
    checked(app.multiselect(key="instrument").set_value(["IFCB102"]).run())
    checked(app.multiselect(key="verdict").set_value(["unreadable"]).run())
    assert "Widen the period" in said(app)


def test_a_day_that_cannot_be_read_is_told_and_hides_no_other(stores: Stores):
    DailyTables(stores.home / "tables").path(BIN_SCORES, FIRST).write_bytes(b"no parquet")
    app = open_page("export")
    assert "cannot be" in said(app)
    assert f"{reviewed.N_BINS - 8} bins of" in said(app).replace("*", "")


def test_decisions_are_counted_and_the_dashboards_file_is_offered(stores: Stores):
    decide(stores, "bad", *EPISODE)
    decide(stores, "unsure", SINGLE)
    app = open_page("export")
    assert "4 decisions: 3 bad, 0 good, 1 unsure" in said(app).replace("*", "")
    assert "dashboard_1" in {button.key for button in app.get("download_button")}


def test_rows_of_a_choice_are_those_of_its_days_instruments_and_verdicts(stores: Stores):
    choice = Choice(FIRST, FIRST + timedelta(days=1), ("IFCB101",), ("bad",))
    chosen = choice.of(data.read_scored(stores))
    assert chosen["pid"].tolist() == EPISODE
    for table in (BIN_SCORES, BIN_FEATURES):
        assert sorted(exports.stored_rows(stores, table, choice, chosen)["pid"].to_pylist()) == EPISODE


def test_csv_and_parquet_hold_the_same_rows_and_no_formula(stores: Stores):
    chosen = EVERYTHING.of(data.read_scored(stores))
    rows = exports.stored_rows(stores, BIN_SCORES, EVERYTHING, chosen)
    parquet = pq.read_table(io.BytesIO(exports.as_parquet(rows)))
    assert parquet.equals(rows)
    frame = pd.read_csv(io.BytesIO(exports.as_csv(rows)), keep_default_na=False)
    assert frame["pid"].tolist() == rows["pid"].to_pylist()
    assert frame["severity"].tolist() == pytest.approx(rows["severity"].to_pylist())
    assert frame["start_time"].iloc[0].endswith("Z")
    # A reason that came from a file begins as a formula does: in the CSV it is one no longer.
    assert reviewed.HOSTILE in parquet["reason"].to_pylist()
    assert frame.loc[frame["pid"] == UNREADABLE, "reason"].tolist() == [f"'{reviewed.HOSTILE}"]


def test_the_dashboards_file_has_its_columns_only_and_lifts_only_what_we_skipped(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IFCB_DASHBOARD_URL", "https://ifcb.example.org")
    record = SentStore(stores.home / SENT_FILE)
    sent = [Row(pid, None, "skip", (), "bad for Bob") for pid in (EPISODE[2], UNREADABLE)]
    at = datetime(2026, 3, 8, tzinfo=UTC)
    record.confirm(record.add("https://ifcb.example.org", sent, at), at)
    decide(stores, "bad", WORST)
    decide(stores, "good", SINGLE, EPISODE[2])
    decide(stores, "unsure", EPISODE[0])
    stores = data.stores()
    labels = exports.decisions_of(data.read_decisions(stores), EVERYTHING)
    told = exports.told(stores, labels, data.read_scored(stores), EVERYTHING, with_suspicion=True)
    (file,) = dashboard_files(told.send)
    frame = pd.read_csv(io.BytesIO(file.content), keep_default_na=False)
    assert frame.columns.tolist() == ["pid", "tag1", "comment", "skip"]
    by_pid = frame.set_index("pid")
    assert by_pid["skip"].to_dict() == {WORST: "skip", EPISODE[2]: "noskip", UNREADABLE: "noskip"}
    assert by_pid["tag1"].to_dict() == {
        WORST: "qc_flow_air", EPISODE[2]: "qc_flow_withdrawn", UNREADABLE: "qc_flow_withdrawn"
    }  # fmt: skip
    assert set(told.left) == {SINGLE, EPISODE[0]}
    assert all("\n" not in comment for comment in frame["comment"])
    page = said(open_page("export"))
    assert "Skip: 1 bin, marked bad. Noskip: 2 bins that we skipped" in page
    assert "Left as they are: 2 bins" in page


def test_decisions_that_were_all_taken_back_are_still_told_to_the_dashboard(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("IFCB_DASHBOARD_URL", "https://ifcb.example.org")
    record, at = SentStore(stores.home / SENT_FILE), datetime(2026, 3, 8, tzinfo=UTC)
    record.confirm(record.add("https://ifcb.example.org", [Row(WORST, 1, "skip", (), "bad")], at), at)
    app = open_page("export")
    assert "Noskip: 1 bin that we skipped" in said(app)
    assert "dashboard_1" in {button.key for button in app.get("download_button")}


def test_decisions_as_csv_hold_no_formula(stores: Stores):
    decide(stores, "bad", WORST)
    content = exports.decisions_csv(data.read_decisions(stores))
    frame = pd.read_csv(io.BytesIO(content))
    assert frame["note"].tolist() == [f"'{NOTE}"]


def test_decisions_of_other_days_and_instruments_are_left_out(stores: Stores):
    decide(stores, "bad", *EPISODE, SINGLE)
    labels = data.read_decisions(stores)
    assert exports.decisions_of(labels, replace(EVERYTHING, instruments=("IFCB102",))).keys() == {SINGLE}
    assert exports.decisions_of(labels, Choice(FIRST, FIRST)).keys() == {EPISODE[0]}


def test_the_report_shows_the_worst_bins_with_pictures_and_escapes_notes(stores: Stores):
    decide(stores, "bad", WORST)
    scored = data.read_scored(stores)
    made = datetime(2026, 3, 9, tzinfo=UTC)
    page = exports.report(stores, EVERYTHING, EVERYTHING.of(scored), data.read_decisions(stores), made).decode()
    assert page.count("data:image/png;base64,") == 5  # four bad bins and one to watch
    figures = [part[: len(WORST)] for part in page.split("Point cloud of ")[1:]]
    # The worst of each of the two episodes, then the others of the first.
    assert figures[:2] == [WORST, SINGLE]
    assert set(figures[2:4]) == {EPISODE[0], EPISODE[2]}
    assert "air bubbles" in page
    assert "<script" not in page
    assert "http" not in page.replace("http://evil", "").replace("http-equiv", "")
