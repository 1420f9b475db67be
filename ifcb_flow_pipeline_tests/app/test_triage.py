"""The page "Triage" without a browser: the queue, decisions, undo, and two reviewers at once."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.store.labels import Label, LabelStore, RangeLabel
from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import (
    EPISODE,
    SINGLE,
    UNREADABLE,
    WATCH,
    WORST,
    checked,
    open_page,
    opened,
    press,
    said,
)


@pytest.fixture
def labels(home: Path) -> LabelStore:
    reviewed.write_review_store(home)
    return LabelStore(home / "labels.sqlite")


def test_an_empty_store_says_what_to_do_next(home: Path):
    assert "Process some days" in said(open_page("triage"))


def test_the_worst_bin_of_the_worst_episode_is_open_with_its_reasons(labels: LabelStore):
    app = open_page("triage")
    assert opened(app) == WORST
    text = said(app)
    assert "4 bins to review in 2 groups" in text.replace("*", "")
    assert "Air bubbles, IFCB101" in text
    assert "3 bad bins of 3" in text
    assert "severity **95** of 100 · suspected: **air bubbles**" in text
    assert app.dataframe[-1].value["to review"].tolist() == [3, 1]


def test_a_decision_is_kept_with_its_tags_and_note_and_the_next_bin_opens(labels: LabelStore):
    app = open_page("triage")
    app.button_group(key="decision_tags").set_value(["bubbles"])
    app.text_input(key="decision_note").input("=from 10 min on")
    press(app, "decide_bad")
    (label,) = labels.current().values()
    assert (label.pid, label.decision, label.tags, label.note, label.reviewer, label.source) == (
        WORST, "bad", ("bubbles",), "=from 10 min on", "Ada", "triage")  # fmt: skip
    assert opened(app) == EPISODE[2]
    assert app.text_input(key="decision_note").value == ""
    assert "3 bins to review" in said(app).replace("*", "")


def test_what_is_decided_is_still_decided_after_a_reload(labels: LabelStore):
    press(open_page("triage"), "decide_good")
    assert WORST not in said(open_page("triage"))


def test_a_whole_episode_is_decided_with_one_press_and_undone_with_one(labels: LabelStore):
    app = press(open_page("triage"), "decide_all_bad")
    assert labels.decisions() == dict.fromkeys(EPISODE, "bad")
    assert opened(app) == SINGLE
    assert "Undo: bad, 3 bins" in app.button(key="undo").label
    press(app, "undo")
    assert labels.decisions() == {}
    assert opened(app) == EPISODE[0]


def test_what_was_written_is_there_again_after_undo(labels: LabelStore):
    app = open_page("triage")
    app.button_group(key="decision_tags").set_value(["bubbles"])
    app.text_input(key="decision_note").input("from 10 min on")
    press(press(app, "decide_bad"), "undo")
    assert app.button_group(key="decision_tags").value == ["bubbles"]
    assert app.text_input(key="decision_note").value == "from 10 min on"


def test_undo_is_still_possible_after_a_reload(labels: LabelStore):
    press(open_page("triage"), "decide_bad")
    press(open_page("triage"), "undo")
    assert labels.decisions() == {}


def test_a_range_takes_all_bins_of_the_instrument_whatever_their_verdict(labels: LabelStore):
    app = open_page("triage")
    first = next(box for box in app.selectbox if box.label == "First")
    checked(first.select(reviewed.pid_of("IFCB101", 1)).run())
    press(app, "decide_range_bad")
    assert sorted(labels.decisions()) == [reviewed.pid_of("IFCB101", number) for number in range(1, 6)]


def test_bins_of_a_range_that_somebody_decided_about_do_not_wait_and_say_who_did(labels: LabelStore):
    start = parse_pid(EPISODE[0]).start_time
    when = datetime(2026, 3, 1, tzinfo=UTC)
    labels.add([], [RangeLabel("IFCB101", start, start + timedelta(days=1), "bad", (), "intake closed", "Bo", when)])
    app = open_page("triage")
    assert opened(app) == SINGLE
    assert "1 bins to review" in said(app).replace("*", "") or "1 bin to review" in said(app).replace("*", "")


def test_arrows_go_to_the_bins_beside_and_stop_at_the_ends(labels: LabelStore):
    app = press(open_page("triage"), "go_Left")
    assert opened(app) == EPISODE[0]
    assert app.button(key="go_Left").disabled
    press(press(app, "go_Right"), "go_Right")
    assert opened(app) == EPISODE[2]
    assert app.button(key="go_Right").disabled


def test_a_decision_of_somebody_else_meanwhile_is_told_and_neither_is_lost(labels: LabelStore):
    app = open_page("triage")
    labels.add([Label(WORST, "good", (), "", "Bo", datetime.now(tz=UTC), "triage")])
    press(app, "decide_bad")
    assert "Bo marked" in said(app)
    assert [label.reviewer for label in labels.history(WORST)] == ["Bo", "Ada"]
    assert labels.decisions() == {WORST: "bad"}


def test_a_key_that_is_pressed_twice_does_not_change_the_first_decision(labels: LabelStore):
    app = open_page("triage")
    # The first press is kept; the page has not been drawn again when the second one comes.
    labels.add([Label(WORST, "bad", (), "", "Ada", datetime.now(tz=UTC), "triage")])
    press(app, "decide_good")
    assert labels.decisions() == {WORST: "bad"}
    assert "pressed before the next bin appeared" in said(app)


def test_two_reviewers_undo_only_their_own(labels: LabelStore):
    ada, bo = open_page("triage", "Ada"), open_page("triage", "Bo")
    press(ada, "decide_bad")
    press(bo, "decide_good")
    press(ada, "undo")
    assert labels.decisions() == {WORST: "good"}


def test_bins_to_watch_and_unreadable_ones_join_the_queue_when_asked_for(labels: LabelStore):
    app = open_page("triage")
    checked(app.button_group(key="verdict").set_value(["watch", "unreadable"]).run())
    assert opened(app) == UNREADABLE
    assert reviewed.HOSTILE in said(app)
    assert "No point cloud" in said(app)
    press(app, "decide_unsure")
    assert opened(app) == WATCH


def test_a_choice_without_such_bins_does_not_claim_that_they_are_decided(labels: LabelStore):
    app = checked(open_page("triage").multiselect(key="instrument").set_value(["IFCB102"]).run())
    app = checked(app.button_group(key="verdict").set_value(["unreadable"]).run())
    assert "No bin of this choice has one of these verdicts" in said(app)


def test_bins_that_somebody_was_unsure_about_come_back_when_asked_for(labels: LabelStore):
    app = press(open_page("triage"), "decide_all_unsure")
    assert opened(app) == SINGLE
    checked(app.toggle(key="unsure_again").set_value(True).run())
    assert "4 bins to review" in said(app).replace("*", "")
    app = open_page("triage", bin=WORST, unsure_again="1")
    assert opened(app) == WORST
    press(app, "decide_good")
    assert labels.decisions()[WORST] == "good"
    assert opened(app) == EPISODE[2]


def test_a_link_opens_its_bin_and_one_that_does_not_wait_is_told(labels: LabelStore):
    assert opened(open_page("triage", bin=SINGLE)) == SINGLE
    app = open_page("triage", bin="[click](http://evil)<script>")
    assert "[click](http://evil)<script> does not wait here" in said(app)
    assert opened(app) == WORST


def test_when_all_is_decided_the_page_says_so_and_the_last_decision_can_be_undone(labels: LabelStore):
    app = press(press(open_page("triage"), "decide_all_bad"), "decide_bad")
    assert "Nothing to review" in said(app)
    press(app, "undo")
    assert sorted(labels.decisions()) == EPISODE


def test_who_has_no_name_is_asked_for_it_and_cannot_decide(labels: LabelStore):
    app = open_page("triage", reviewer=None)
    assert "decide_bad" not in {button.key for button in app.button}
    app.text_input(key="reviewer_typed").input("  Ada \n L. ")
    form = next(button for button in app.button if button.label == "Continue")
    checked(form.click().run())
    press(app, "decide_bad")
    assert labels.current()[WORST].reviewer == "Ada L."


def test_behind_a_proxy_that_sends_no_name_nobody_can_decide(labels: LabelStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("IFCB_REVIEWER_HEADER", "X-Forwarded-User")
    app = open_page("triage")
    assert "sends no header X-Forwarded-User" in said(app)
    assert "decide_bad" not in {button.key for button in app.button}


def test_a_damaged_store_of_decisions_is_told_with_its_remedy(labels: LabelStore):
    labels.path.write_bytes(b"no database, but text" * 100)
    assert "put a backup in its place" in said(open_page("triage"))


def test_a_disk_that_takes_nothing_is_told_and_the_bin_stays(labels: LabelStore):
    app = open_page("triage")
    labels.path.write_bytes(b"no database, but text" * 100)
    checked(app.button(key="decide_bad").click().run())
    assert "put a backup in its place" in said(app)
