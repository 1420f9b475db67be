"""Which days are asked for, and in which runs."""

import itertools
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.defs.planning import (
    MAX_DAYS_PER_RUN,
    MAX_GAP_DAYS,
    UNUSABLE,
    DayState,
    day_states,
    missing_disk,
    plan,
    vanished_text,
)
from ifcb_flow_pipeline.store.ledger import DayEntry
from ifcb_flow_pipeline.store.survey import Survey, Vanished

DAY = date(2023, 8, 10)


def state(archive: str, features: str | None, scores: str | None) -> DayState:
    """A day without .roi files: its images are as up to date as its features."""
    both = scores if scores is None else f"{scores} {scores}"
    return DayState(archive, archive, features, features, both)


NEW = state("s1", None, None)
FEATURES = state("s1", "s1", None)
SCORED = state("s1", "s1", "s1")


def days(n: int, step: int = 1) -> list[date]:
    return [DAY + timedelta(days=i * step) for i in range(n)]


def test_a_day_never_made_is_asked_for_whole() -> None:
    [request] = plan({DAY: NEW}, with_scores=True).requests
    assert (request.stage, request.first, request.last) == ("all", DAY, DAY)


def test_a_day_that_is_up_to_date_is_left_alone() -> None:
    assert plan({DAY: SCORED}, with_scores=True).requests == ()
    assert plan({DAY: SCORED}, with_scores=True).pending == {}


def test_a_day_without_scores_lacks_nothing_as_long_as_there_is_no_model() -> None:
    assert plan({DAY: FEATURES}, with_scores=False).requests == ()


def test_a_day_that_lacks_only_scores_is_only_scored() -> None:
    [request] = plan({DAY: FEATURES}, with_scores=True).requests
    assert request.stage == "scores"


def test_scores_of_older_features_are_made_again() -> None:
    [request] = plan({DAY: state("s2", "s2", "s1")}, with_scores=True).requests
    assert request.stage == "scores"


def test_changed_files_make_the_whole_day_again() -> None:
    [request] = plan({DAY: state("s2", "s1", "s1")}, with_scores=True).requests
    assert request.stage == "all"


def test_a_day_whose_bins_all_disappeared_is_made_again() -> None:
    [request] = plan({DAY: state("", "s1", "s1")}, with_scores=True).requests
    assert request.stage == "all"


def test_a_day_without_usable_bins_that_was_never_made_is_left_alone() -> None:
    assert plan({DAY: state("", None, None)}, with_scores=True).requests == ()


def test_a_first_look_at_twenty_years_becomes_few_runs() -> None:
    wanted = days(20 * 365)
    requests = plan(dict.fromkeys(wanted, NEW), with_scores=False).requests
    assert len(requests) == -(-len(wanted) // MAX_DAYS_PER_RUN)
    covered = [r.first + timedelta(days=i) for r in requests for i in range((r.last - r.first).days + 1)]
    assert covered == wanted


def test_days_far_apart_are_runs_of_their_own() -> None:
    assert len(plan(dict.fromkeys(days(3, step=MAX_GAP_DAYS + 2), NEW), with_scores=False).requests) == 3


def test_a_short_gap_without_bins_is_bridged() -> None:
    [request] = plan(dict.fromkeys(days(3, step=MAX_GAP_DAYS + 1), NEW), with_scores=False).requests
    assert (request.last - request.first).days == 2 * (MAX_GAP_DAYS + 1)


def test_a_gap_of_days_that_are_up_to_date_is_not_run_over() -> None:
    first, between, last = days(3)
    requests = plan({first: NEW, between: SCORED, last: NEW}, with_scores=True).requests
    assert [(r.first, r.last) for r in requests] == [(first, first), (last, last)]


def test_scores_are_never_asked_for_where_there_are_no_features() -> None:
    first, _, last = days(3)
    requests = plan({first: FEATURES, last: FEATURES}, with_scores=True).requests
    assert [(r.first, r.last) for r in requests] == [(first, first), (last, last)]


def test_a_day_in_flight_is_not_asked_for_again() -> None:
    decided = plan({DAY: NEW}, with_scores=False, in_flight=[DAY])
    assert decided.requests == ()


def test_a_day_in_flight_splits_a_range() -> None:
    first, between, last = days(3)
    requests = plan({first: NEW, last: NEW}, with_scores=False, in_flight=[between]).requests
    assert len(requests) == 2


def test_a_day_asked_for_whose_run_failed_is_not_asked_for_over_and_over() -> None:
    states = {DAY: NEW}
    first = plan(states, with_scores=False)
    again = plan(states, with_scores=False, asked=first.pending)
    assert len(first.requests) == 1
    assert again.requests == ()
    assert again.pending == first.pending


def test_a_day_whose_run_failed_is_asked_for_again_ever_more_rarely_but_every_hour_of_the_first_day() -> None:
    states, now, asked, times = {DAY: NEW}, 0.0, {}, []
    keys = set()
    while now < 3 * 24 * 3600:
        decided = plan(states, with_scores=False, asked=asked, now=now)
        if decided.requests:
            times.append(now)
            keys.add(decided.requests[0].key)
        asked, now = decided.pending, now + 60
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[:7] == [60, 120, 240, 480, 960, 1920, 3600]
    assert gaps == sorted(gaps)
    assert max(gap for gap, time in zip(gaps, times, strict=False) if time < 23 * 3600) == 3600
    assert len(keys) == len(times)  # Dagster passes over a key that it knows


def test_a_day_that_is_held_back_is_not_asked_for() -> None:
    assert plan({DAY: NEW}, with_scores=False, held_back=[DAY]).requests == ()


@pytest.mark.parametrize(
    ("n_made", "vanished", "missing"),
    [
        ([100] * 10, [1], False),
        ([100] * 10, [6, 6], True),
        ([100] * 20, [6, 6], False),
        ([2, 100], [2], True),
        ([100], [], False),
    ],
)
def test_a_disk_may_be_missing_where_many_bins_or_all_of_a_day_vanished(n_made, vanished, missing) -> None:
    wanted = days(len(n_made))
    found = Survey(
        {},
        {},
        complete=True,
        n_made=dict(zip(wanted, n_made, strict=True)),
        vanished={day: Vanished(n) for day, n in zip(wanted, vanished, strict=False)},
    )
    assert missing_disk(found) == missing


@pytest.mark.parametrize("how", ["together", "mount"])
def test_a_disk_may_be_missing_where_few_bins_vanished_together_or_with_a_mount(how) -> None:
    lost = {DAY: Vanished(1, together=how == "together")}
    mounts = ("IFCB134",) if how == "mount" else ()
    found = Survey({}, {}, complete=True, n_made={DAY: 1000}, vanished=lost, lost_mounts=mounts)
    assert missing_disk(found)
    assert ("/data/IFCB134 is no longer the disk" in vanished_text(found, "/data")) == (how == "mount")


def test_a_day_asked_for_that_changed_since_is_asked_for_again() -> None:
    first = plan({DAY: NEW}, with_scores=False)
    again = plan({DAY: state("s2", None, None)}, with_scores=False, asked=first.pending)
    assert len(again.requests) == 1
    assert again.requests[0].key != first.requests[0].key


def test_a_change_while_a_run_is_about_the_day_is_seen_when_it_has_ended() -> None:
    asked = plan({DAY: NEW}, with_scores=False).pending
    changed = {DAY: state("s2", None, None)}
    busy = plan(changed, with_scores=False, in_flight=[DAY], asked=asked)
    assert busy.requests == ()
    # The run read the older files and ended after the change: the day differs still.
    after = plan({DAY: state("s2", "s1", None)}, with_scores=False, asked=busy.pending)
    assert len(after.requests) == 1


def test_a_failed_run_of_a_range_is_remembered_also_when_a_neighbour_changes() -> None:
    first, second = days(2)
    asked = plan({first: NEW, second: NEW}, with_scores=False).pending
    decided = plan({first: NEW, second: state("s2", None, None)}, with_scores=False, asked=asked)
    assert [(r.first, r.last) for r in decided.requests] == [(second, second)]


LATE = DayState("s1", "i2", features="s1", images="i1", scores="s1 i1")


def test_a_roi_that_comes_late_makes_what_is_made_of_images_and_nothing_else() -> None:
    [request] = plan({DAY: LATE}, with_scores=True).requests
    assert request.stage == "images"


def test_scores_that_know_nothing_of_the_images_are_made_again() -> None:
    [request] = plan({DAY: replace(LATE, images="i2")}, with_scores=True).requests
    assert request.stage == "scores"
    assert plan({DAY: replace(LATE, images="i2", scores="s1 i2")}, with_scores=True).requests == ()


def test_a_day_is_asked_for_again_where_its_images_could_not_be_read() -> None:
    unread = replace(LATE, images="i2?", scores="s1 i2?")
    [request] = plan({DAY: unread}, with_scores=True).requests
    assert request.stage == "images"


def test_features_of_before_roi_files_had_a_signature_of_their_own_are_up_to_date() -> None:
    assert plan({DAY: DayState("s1", "i1", "i1", "i1", "i1 i1")}, with_scores=True).requests == ()


def test_the_states_are_of_all_days_that_the_archive_or_a_table_has() -> None:
    held, featured, scored = days(3)
    found = Survey(
        archive={held: DayEntry("s1", 4, (), None, images="i1")},
        made_of={
            "bin_features": {featured: "s2", scored: None},
            "bin_image_scores": {featured: "i2"},
            "bin_scores": {scored: "s3"},
        },
        complete=True,
    )
    assert day_states(found) == {
        held: DayState("s1", "i1", None, None, None),
        featured: DayState("", "", "s2", "i2", None),
        scored: DayState("", "", UNUSABLE, None, "s3"),
    }


def test_features_of_another_version_or_damaged_are_made_again_also_where_no_raw_file_is_left() -> None:
    found = Survey({}, {"bin_features": {DAY: None}, "bin_scores": {}}, complete=True)
    assert [(r.stage, r.first) for r in plan(day_states(found), with_scores=True).requests] == [("all", DAY)]
    assert plan({DAY: state("", "", "")}, with_scores=True).requests == ()


states = st.dictionaries(
    st.integers(0, 60).map(lambda i: DAY + timedelta(days=i)),
    st.builds(
        state,
        st.sampled_from(["", "s1", "s2"]),
        st.sampled_from([None, "", "s1", "s2"]),
        st.sampled_from([None, "", "s1", "s2"]),
    ),
)
day_sets = st.sets(st.integers(0, 60).map(lambda i: DAY + timedelta(days=i)))


@given(states, day_sets, st.booleans())
def test_requests_cover_each_pending_day_once_and_never_a_busy_one(found, busy, with_scores) -> None:
    decided = plan(found, with_scores=with_scores, in_flight=busy)
    covered = [
        request.first + timedelta(days=i)
        for request in decided.requests
        for i in range((request.last - request.first).days + 1)
    ]
    assert len(covered) == len(set(covered))
    assert not busy.intersection(covered)
    assert set(decided.pending) <= set(covered)


@given(states, st.booleans())
def test_a_plan_carried_out_leaves_nothing_to_do(found, with_scores) -> None:
    decided = plan(found, with_scores=with_scores)
    done = dict(found)
    for day in decided.pending:
        signature = found[day].archive
        scores = f"{signature} {signature}" if with_scores else found[day].scores
        done[day] = replace(found[day], features=signature, images=signature, scores=scores)
    # Days that lacked scores have them now; days remade lack scores only where there is no model.
    assert plan(done, with_scores=with_scores).requests == ()
