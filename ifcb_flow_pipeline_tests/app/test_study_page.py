"""The page "Study" without a browser: blind, resumable, to the end; results and the second look."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ifcb_flow_pipeline.review.results import left_for
from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline.store.studies import Rating, StudyStore
from ifcb_flow_pipeline_tests.app import reviewed
from ifcb_flow_pipeline_tests.app.reviewed import checked, open_page, press, said


@pytest.fixture
def studies(home: Path) -> StudyStore:
    reviewed.write_review_store(home)
    return StudyStore(home / "studies.sqlite")


def begin(reviewer: str = "Ada", n_bins: int = 12) -> AppTest:
    app = open_page("study", reviewer)
    app.text_input[0].input("March")
    app.number_input[0].set_value(n_bins)
    return checked(next(button for button in app.button if button.label == "Begin").click().run())


def finish(app: AppTest, answer: str) -> AppTest:
    while any(button.key == f"study_{answer}" for button in app.button):
        press(app, f"study_{answer}")
    return app


def part(app: AppTest, name: str) -> AppTest:
    return checked(
        app.button_group(key="part")
        .set_value({"Label": "label", "Results": "results", "Look again": "resolve"}[name])
        .run()
    )


def test_an_empty_store_says_what_to_do_next(home: Path):
    assert "Process some days" in said(open_page("study"))


def test_without_a_study_the_page_says_what_one_is_and_how_to_begin(studies: StudyStore):
    app = open_page("study")
    assert "one by one, without their name, time and verdict" in said(app)
    assert "Begin" in {button.label for button in app.button}


def test_a_study_without_a_name_is_refused_in_words(studies: StudyStore):
    app = open_page("study")
    checked(next(button for button in app.button if button.label == "Begin").click().run())
    assert "1 to 100 letters" in said(app)
    assert studies.studies() == []


def test_a_new_study_has_its_bins_and_repeats_and_none_that_cannot_be_read(studies: StudyStore):
    begin()
    (study,) = studies.studies()
    items = studies.items(study.id)
    assert len(items) == 14
    assert sum(item.repeat_of is not None for item in items) == 2
    assert "unreadable" not in {item.verdict for item in items}


def test_nothing_on_the_page_says_which_bin_it_is_or_what_the_model_says(studies: StudyStore):
    app = begin()
    everything = str(app.main).lower()
    for word in ("ifcb10", "20260", "severity", "verdict:", "watch", "off the core"):
        assert word not in everything, word
    assert "Can the data of this bin be used?" in said(app)


def test_each_answer_is_kept_at_once_and_the_study_goes_on_where_it_was_left(studies: StudyStore):
    app = begin()
    for answer in ("good", "bad", "unsure"):
        press(app, f"study_{answer}")
    (study,) = studies.studies()
    assert [rating.decision for rating in studies.ratings(study.id)] == ["good", "bad", "unsure"]
    assert open_page("study").get("progress")[0].proto.text == "3 of 14"
    assert open_page("study", "Bo").get("progress")[0].proto.text == "0 of 14"


def test_an_answer_keeps_its_cause_and_undo_takes_it_back(studies: StudyStore):
    app = begin()
    app.button_group(key="study_cause").set_value("air")
    press(app, "study_bad")
    (study,) = studies.studies()
    assert [rating.cause for rating in studies.ratings(study.id)] == ["air"]
    press(app, "study_undo")
    assert studies.ratings(study.id) == []
    assert app.get("progress")[0].proto.text == "0 of 14"


def test_a_key_that_is_pressed_twice_does_not_change_the_first_answer(studies: StudyStore):
    app = begin()
    (study,) = studies.studies()
    shown = left_for("Ada", studies.items(study.id), [])[0]
    studies.rate(Rating(shown.id or 0, "Ada", "blind", "bad", 1.0, datetime.now(tz=UTC)))
    press(app, "study_good")
    assert [rating.decision for rating in studies.ratings(study.id)] == ["bad"]


def test_results_are_hidden_from_who_has_not_finished_unless_they_insist(studies: StudyStore):
    app = part(press(begin(), "study_bad"), "Results")
    assert "no longer" in said(app) or "not blind" in said(app)
    assert not app.dataframe
    checked(app.toggle[0].set_value(True).run())
    assert len(app.dataframe) == 3


def test_at_the_end_the_results_have_rates_agreement_and_causes(studies: StudyStore):
    ada = begin()
    ada.button_group(key="study_cause").set_value("clog")
    finish(ada, "bad")
    app = part(finish(open_page("study", "Bo"), "good"), "Results")
    rates, kappas, causes, named = (frame.value for frame in app.dataframe)
    assert rates["who"].tolist() == ["Ada", "Bo", "the model"]
    # Bo calls nothing bad where Ada calls everything bad.
    assert rates["bad bins found (TPR)"].tolist()[:2] == ["unknown", "0 % (0 to 24) of 12"]
    assert set(zip(kappas["who"], kappas["and"], strict=True)) >= {("Ada", "Bo"), ("Ada", "the model")}
    assert causes[["answers: good", "answers: bad"]].sum().tolist() == [12, 12]
    # They agree on nothing, so there is no consensus that the model could be held against.
    assert causes[["correctly flagged", "false alarm", "missed", "correctly passed"]].to_numpy().sum() == 0
    # One bin was said to be a clog, at its first showing or when it came again.
    assert named["people say"].tolist() in (["clog"], [])
    assert {"study_csv_answers", "study_csv_statistics"} <= {button.key for button in app.get("download_button")}


def test_nobody_can_take_the_name_of_the_model(studies: StudyStore):
    begin()
    app = press(open_page("study", "The model"), "study_bad")
    assert "give another name" in said(app)
    assert studies.ratings(studies.studies()[0].id) == []


def test_disputed_bins_are_settled_with_everything_shown_and_count_as_decisions(studies: StudyStore, home: Path):
    app = part(finish(begin(n_bins=10), "good"), "Look again")
    text = said(app)
    n_bad = sum(letter in "bB" for letters in reviewed.PLAN.values() for letter in letters)
    assert f"{n_bad} bins to resolve" in text.replace("*", "")
    assert "severity" in text
    app.text_area(key="study_note").input("bubbles all over")
    press(app, "settle_bad")
    assert f"{n_bad - 1} bins to resolve" in said(app).replace("*", "")
    (label,) = LabelStore(home / "labels.sqlite").current().values()
    assert (label.decision, label.note, label.source, label.reviewer) == ("bad", "bubbles all over", "study", "Ada")


def test_a_damaged_store_of_studies_is_told_with_its_remedy(studies: StudyStore):
    studies.path.write_bytes(b"no database, but text" * 100)
    assert "put a backup in its place" in said(open_page("study"))


def test_too_few_bins_make_no_study(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reviewed, "PLAN", {"IFCB101": "ob"})
    reviewed.write_review_store(home)
    app = open_page("study")
    app.text_input[0].input("March")
    checked(next(button for button in app.button if button.label == "Begin").click().run())
    assert "at least 10 bins" in said(app)


def test_a_rating_from_0_to_100_is_saved_where_the_slider_was_moved(studies: StudyStore):
    app = begin()
    assert not app.slider
    app = checked(app.toggle(key="rate").set_value(True).run())
    checked(app.slider[0].set_value(85).run())
    app = press(app, "study_bad")
    assert app.slider[0].value == 50
    press(app, "study_good")
    assert [(one.decision, one.mark) for one in studies.ratings(1)] == [("bad", 85), ("good", None)]


def test_results_show_where_people_draw_the_line_and_the_second_look_hides_what_was_said(studies: StudyStore):
    app = part(finish(begin(), "bad"), "Results")
    assert "Where do people draw the line?" in said(app)
    assert "Too few answers, or too much alike" in said(app)
    app = part(app, "Look again")
    assert "Ada: bad" not in said(app)
    app = checked(app.toggle(key="earlier").set_value(True).run())
    assert "Ada: bad" in said(app)
