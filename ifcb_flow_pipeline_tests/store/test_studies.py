"""Blind studies on disk: kept rating by rating, resumed by anyone, nothing overwritten."""

import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ifcb_flow_pipeline.store.labels import LabelStore
from ifcb_flow_pipeline.store.records import RecordError
from ifcb_flow_pipeline.store.studies import MAX_SECONDS, Item, Rating, StudyError, StudyStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEMS = [Item("a", "top", 1.0, "bad", 80.0, "air"), Item("b", "random", 9.0, "ok", 3.0, ""),
         Item("a", "top", 0.0, "bad", 80.0, "air", repeat_of=0)]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return StudyStore(tmp_path / "studies.sqlite")


def begin(store: StudyStore, name: str = "March") -> tuple[int, list[int]]:
    study = store.begin(name, 7, ITEMS, "Ada", NOON)
    return study, [item.id or 0 for item in store.items(study)]


def test_without_a_study_there_is_nothing_and_no_file(store):
    assert (store.studies(), store.items(1), store.ratings(1)) == ([], [], [])
    assert not store.path.exists()


def test_a_study_comes_back_with_its_items_and_repeats(store):
    begin(store, "another")
    study, numbers = begin(store, "  March \n cruise ")
    newest = store.studies()[0]
    assert (newest.id, newest.name, newest.seed, newest.created) == (study, "March cruise", 7, NOON)
    items = store.items(study)
    assert [replace(item, id=None, repeat_of=None) for item in items] == [replace(i, repeat_of=None) for i in ITEMS]
    assert [item.repeat_of for item in items] == [None, None, numbers[0]]


def test_ratings_come_back_in_order_and_belong_to_their_study(store):
    (first, (one, two, _)), (second, (other, *_)) = begin(store), begin(store)
    rating = Rating(two, "Bo", "blind", "bad", 3.5, NOON, "clog", "=note")
    for rated in (rating, replace(rating, item=one), replace(rating, item=other)):
        store.rate(rated)
    assert [(found.item, found.decision, found.cause, found.note) for found in store.ratings(first)] == [
        (two, "bad", "clog", "=note"), (one, "bad", "clog", "=note")]  # fmt: skip
    assert [found.item for found in store.ratings(second)] == [other]


def test_a_withdrawn_rating_does_not_stand(store):
    study, (one, *_) = begin(store)
    number = store.rate(Rating(one, "Bo", "blind", "bad", 3.5, NOON))
    store.withdraw(number, "Bo", NOON)
    assert store.ratings(study) == []


def test_a_pause_is_no_time_of_thinking(store):
    study, (one, *_) = begin(store)
    store.rate(Rating(one, "Bo", "blind", "bad", 467.0, NOON))
    assert store.ratings(study)[0].seconds == MAX_SECONDS


def test_a_rating_of_nothing_is_refused(store):
    begin(store)
    with pytest.raises(RecordError):
        store.rate(Rating(99, "Bo", "blind", "bad", 3.5, NOON))


@pytest.mark.parametrize("change", [{"decision": "maybe"}, {"reviewer": " "}, {"round": "third"}, {"note": "x" * 2001}])
def test_a_rating_without_meaning_is_refused(change):
    with pytest.raises(StudyError):
        replace(Rating(1, "Bo", "blind", "bad", 3.5, NOON), **change)


@pytest.mark.parametrize("name", ["", " \n", "x" * 101])
def test_a_study_needs_a_name(store, name):
    with pytest.raises(StudyError, match="1 to 100"):
        store.begin(name, 7, ITEMS, "Ada", NOON)


def test_a_file_of_decisions_is_no_file_of_studies(tmp_path):
    from ifcb_flow_pipeline_tests.store.test_labels import BAD

    path = tmp_path / "labels.sqlite"
    LabelStore(path).add([BAD])
    with pytest.raises(RecordError, match="another program, not studies"):
        StudyStore(path).studies()


def test_a_rating_from_0_to_100_comes_back_with_its_answer_and_one_beyond_is_refused(store):
    study, (one, two, _) = begin(store)
    store.rate(Rating(one, "Bo", "blind", "bad", 1.0, NOON, mark=85))
    store.rate(Rating(two, "Bo", "blind", "good", 1.0, NOON))
    assert [rating.mark for rating in store.ratings(study)] == [85, None]
    with pytest.raises(StudyError, match="101 is no rating from 0"):
        Rating(one, "Bo", "blind", "bad", 1.0, NOON, mark=101)


def test_studies_of_the_version_before_are_read_and_take_ratings(store):
    study, (one, two, _) = begin(store)
    store.rate(Rating(one, "Bo", "blind", "bad", 1.0, NOON))
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TABLE mark")
        connection.execute("PRAGMA user_version = 1")
    assert [rating.mark for rating in store.ratings(study)] == [None]
    store.rate(Rating(two, "Bo", "blind", "bad", 1.0, NOON, mark=0))
    assert [rating.mark for rating in store.ratings(study)] == [None, 0]
