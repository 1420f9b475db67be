"""The queue of bins that wait for a decision."""

import math
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ifcb_flow_pipeline.review.queue import Group, following, neighbours, waiting

START = datetime(2026, 3, 1, tzinfo=UTC)
#: ok, watch, bad, very Bad, unreadable, not judged.
LETTERS = {"o": ("ok", 5.0), "w": ("watch", 40.0), "b": ("bad", 70.0), "B": ("bad", 90.0), "u": ("unreadable", 100.0),
           "n": ("not_judged", math.nan)}  # fmt: skip


def bins(**instruments: str) -> pd.DataFrame:
    """Bins every 20 min, one a letter (see LETTERS), named a0, a1 ... after the instrument."""
    rows = [
        {"pid": f"{name}{i}", "instrument": name, "start_time": START + timedelta(minutes=20 * i),
         "verdict": LETTERS[letter][0], "cause": "air" if letter in "bB" else "", "severity": LETTERS[letter][1]}
        for name, letters in instruments.items()
        for i, letter in enumerate(letters)
    ]  # fmt: skip
    return pd.DataFrame(rows).sample(frac=1, random_state=1, ignore_index=True)


def pids(groups: list[Group]) -> list[tuple[str, ...]]:
    return [group.pids for group in groups]


def test_bad_bins_in_a_row_are_one_group_in_order_of_time():
    (group,) = waiting(bins(a="ooobBbooo"), set(), {"bad"})
    assert group.pids == ("a3", "a4", "a5")
    assert (group.worst_pid, group.worst_severity, group.cause) == ("a4", 90.0, "air")
    assert (group.start, group.end) == (START + timedelta(hours=1), START + timedelta(minutes=100))
    assert (group.n_bins, group.n_bad, group.state) == (3, 3, "over")


def test_the_group_with_the_worst_bin_comes_first_whatever_the_instrument():
    groups = waiting(bins(a="bboooob", b="oooB"), set(), {"bad"})
    assert pids(groups) == [("b3",), ("a0", "a1"), ("a6",)]


def test_of_equally_bad_groups_the_one_with_more_bins_to_decide_comes_first():
    groups = waiting(bins(a="Boooobooo", b="ooobBb"), set(), {"bad"})
    assert pids(groups) == [("b3", "b4", "b5"), ("a0",), ("a5",)]


def test_decided_bins_leave_the_queue_and_a_decided_group_is_gone():
    found = bins(a="ooobBbooo")
    (group,) = waiting(found, {"a4"}, {"bad"})
    assert group.pids == ("a3", "a5")
    assert group.worst_severity == 70.0
    assert group.n_bins == 3
    assert waiting(found, {"a3", "a4", "a5"}, {"bad"}) == []


def test_other_verdicts_join_their_episode_or_stand_alone():
    groups = waiting(bins(a="bwuboooowooou"), set(), {"bad", "watch", "unreadable"})
    assert pids(groups) == [("a0", "a1", "a2", "a3"), ("a12",), ("a8",)]
    assert groups[2].n_bad == 0


def test_bins_that_were_not_judged_wait_only_if_asked_for_and_behind_all_others():
    found = bins(a="nnobn", b="oow")
    assert pids(waiting(found, set(), {"bad", "watch"})) == [("a3",), ("b2",)]
    groups = waiting(found, set(), {"bad", "watch", "not_judged"})
    assert pids(groups) == [("a3",), ("b2",), ("a0",), ("a1",), ("a4",)]
    assert [math.isnan(group.worst_severity) for group in groups] == [False, False, True, True, True]
    assert pids(waiting(bins(a="bnb"), set(), {"bad", "not_judged"})) == [("a0", "a1", "a2")]
    assert waiting(bins(a="bnb"), set(), {"bad", "not_judged"})[0].worst_severity == 70.0


def test_a_group_says_whether_its_episode_lasts():
    found = bins(a="oob")
    states = [waiting(found, set(), {"bad"}, START + timedelta(hours=hours))[0].state for hours in (1, 9, 99)]
    assert states == ["ongoing", "unknown", "over"]


def test_bins_of_another_instrument_at_the_same_time_are_not_of_the_episode():
    groups = waiting(bins(a="bbbbb", b="oowoo"), set(), {"bad", "watch"})
    assert pids(groups) == [("a0", "a1", "a2", "a3", "a4"), ("b2",)]


def test_without_bins_nothing_waits():
    assert waiting(bins(a="o").iloc[:0], set(), {"bad"}) == []
    assert waiting(bins(a="ooo"), set(), {"bad"}) == []


def test_words_as_categories_and_time_zones_of_a_table_are_understood():
    found = bins(a="obo").astype({"instrument": "category", "verdict": "category", "cause": "category"})
    found["start_time"] = found["start_time"].dt.as_unit("us")
    assert pids(waiting(found, set(), {"bad"})) == [("a1",)]


def test_a_range_has_all_bins_of_the_instrument_between_its_ends():
    found = bins(a="obwuo", b="ooooo")
    assert neighbours(found, "a1", "a3") == neighbours(found, "a3", "a1") == ["a1", "a2", "a3"]
    assert neighbours(found, "a2", "a2") == ["a2"]


@pytest.mark.parametrize(("first", "last"), [("a1", "b2"), ("a1", "zz"), ("yy", "zz")])
def test_a_range_over_two_instruments_or_to_nowhere_is_empty(first, last):
    assert neighbours(bins(a="obwuo", b="ooooo"), first, last) == []


def test_one_goes_forth_and_back_in_the_queue_up_to_its_ends():
    assert following(["a", "b", "c"], "b", 1) == "c"
    assert following(["a", "b", "c"], "b", -1) == "a"
    assert following(["a", "b", "c"], "c", 1) is None
    assert following(["a", "b", "c"], "a", -1) is None
    assert following(["a", "b", "c"], "gone", 1) == "a"
    assert following([], "gone", 1) is None
