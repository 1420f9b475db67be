"""People's decisions: nothing is lost, whoever else writes and whatever is killed; bad files are refused."""

import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import pytest

from ifcb_flow_pipeline.store.labels import (
    DECISIONS,
    MAX_NOTE,
    TAGS,
    Decisions,
    Label,
    LabelError,
    LabelStore,
    RangeLabel,
)
from ifcb_flow_pipeline.store.records import RecordError

PID, OTHER = "D20230810T113059_IFCB134", "IFCB1_2009_216_075913"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BAD = Label(PID, "bad", ("bubbles", "incomplete"), "from 10 min on", "Ada", NOON, "triage")


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(tmp_path / "home" / "labels.sqlite")


def test_a_decision_comes_back_as_it_was_made(store):
    (number,) = store.add([BAD])
    assert store.current() == {PID: replace(BAD, id=number)}
    assert store.decisions() == {PID: "bad"}


def test_reading_where_nobody_has_decided_yet_gives_nothing_and_makes_no_file(store):
    assert (store.current(), store.decisions(), store.history(PID)) == ({}, {}, [])
    assert not store.path.exists()


def test_no_decisions_make_no_file(store):
    assert store.add([]) == []
    assert not store.path.exists()


def test_the_latest_decision_counts_and_the_earlier_ones_remain(store):
    good = replace(BAD, decision="good", tags=(), reviewer="Bo")
    store.add([BAD])
    store.add([good])
    assert store.decisions() == {PID: "good"}
    assert [label.reviewer for label in store.history(PID)] == ["Ada", "Bo"]


def test_what_was_kept_last_counts_whatever_the_clocks_say(store):
    store.add([BAD])
    store.add([replace(BAD, decision="good", at=NOON - timedelta(hours=1))])
    assert store.decisions() == {PID: "good"}


def test_withdrawing_restores_the_decision_before(store):
    store.add([BAD])
    (number,) = store.add([replace(BAD, decision="good")])
    store.withdraw([number], "Ada", NOON)
    assert store.decisions() == {PID: "bad"}


def test_withdrawing_the_only_decision_leaves_the_bin_undecided(store):
    (number,) = store.add([BAD])
    store.withdraw([number], "Ada", NOON)
    assert store.decisions() == {}
    assert store.history(PID) == []


def test_withdrawing_twice_takes_back_no_more_than_once(store):
    store.add([BAD])
    (number,) = store.add([replace(BAD, decision="good")])
    store.withdraw([number], "Ada", NOON)
    store.withdraw([number], "Bo", NOON)
    assert store.decisions() == {PID: "bad"}


def test_a_decision_that_is_not_there_cannot_be_withdrawn(store):
    (number,) = store.add([BAD])
    with pytest.raises(LabelError, match="no decision number 99"):
        store.withdraw([number, 99], "Ada", NOON)
    assert store.decisions() == {PID: "bad"}


def test_the_latest_decisions_of_a_reviewer_are_those_of_one_moment_and_can_be_withdrawn_step_by_step(store):
    later = NOON + timedelta(minutes=1)
    store.add([replace(BAD, pid=OTHER)])
    store.add([replace(BAD, at=later), replace(BAD, pid=OTHER, at=later)])
    store.add([replace(BAD, reviewer="Bo", at=later + timedelta(minutes=1))])
    assert store.latest_of("Cy") == []
    for expected in ([PID, OTHER], [OTHER], []):
        latest = store.latest_of("Ada")
        assert [label.pid for label in latest] == expected
        store.withdraw([label.id or 0 for label in latest], "Ada", later)
    assert {label.reviewer for label in store.current().values()} == {"Bo"}


def test_the_file_itself_refuses_to_change_or_remove_decisions(store):
    store.add([BAD])
    connection = sqlite3.connect(store.path)
    for statement in ("UPDATE label SET decision = 'good'", "DELETE FROM label"):
        with pytest.raises(sqlite3.IntegrityError, match="only added"):
            connection.execute(statement)
    connection.close()


def test_people_who_decide_at_once_overwrite_nothing_from_the_first_moment_on(store):
    # None of them finds a file: they make it together.
    n_people, n_each = 6, 5
    start = Barrier(n_people)

    def decide(person: int) -> None:
        start.wait()
        for number in range(n_each):
            pid = PID if number % 2 else f"D20230810T0000{person:02}_IFCB134"
            store.add([replace(BAD, pid=pid, reviewer=f"person {person}", note=str(number))])

    with ThreadPoolExecutor(n_people) as people:
        list(people.map(decide, range(n_people)))
    pids = list(store.current())
    kept = [label for pid in pids for label in store.history(pid)]
    assert len(kept) == n_people * n_each
    assert {(label.reviewer, label.note) for label in kept} == {
        (f"person {person}", str(number)) for person in range(n_people) for number in range(n_each)
    }


def test_a_reader_is_not_held_up_by_a_writer(store):
    store.add([BAD])
    writer = sqlite3.connect(store.path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert store.decisions() == {PID: "bad"}
    writer.close()


def test_a_program_killed_while_it_writes_leaves_what_was_kept_before(store):
    store.add([BAD])
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA cache_size = 1')\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "for number in range(2000):\n"
        '    connection.execute("INSERT INTO label (pid, decision, tags, note, reviewer, at, source) "\n'
        "        \"VALUES ('x', 'good', '', ?, 'y', '', 'triage')\", ('z' * 500,))\n"
        "print('now', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = [sys.executable, "-c", program, str(store.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        os.kill(process.pid, signal.SIGKILL)
    assert store.decisions() == {PID: "bad"}
    store.add([replace(BAD, pid=OTHER)])
    assert set(store.decisions()) == {PID, OTHER}


def test_a_failure_in_the_middle_keeps_none_of_the_decisions(store):
    store.add([BAD])
    connection = sqlite3.connect(store.path, isolation_level=None)
    connection.execute(f"CREATE TRIGGER t BEFORE INSERT ON label WHEN new.pid = '{OTHER}' "
                       "BEGIN SELECT RAISE(ABORT, 'disk full'); END")  # fmt: skip
    connection.close()
    with pytest.raises(RecordError, match="disk full"):
        store.add([replace(BAD, decision="good"), replace(BAD, pid=OTHER)])
    assert store.decisions() == {PID: "bad"}


@pytest.mark.parametrize("content", [b"pid,decision\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(store, content):
    store.path.parent.mkdir(parents=True)
    store.path.write_bytes(content)
    for use in (store.current, lambda: store.add([BAD])):
        with pytest.raises(RecordError, match=r"labels\.sqlite.*backup"):
            use()
    assert store.path.read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_as_it_is(store):
    store.path.parent.mkdir(parents=True)
    connection = sqlite3.connect(store.path)
    connection.execute("CREATE TABLE label (id INTEGER)")
    connection.close()
    for use in (store.current, lambda: store.add([BAD])):
        with pytest.raises(RecordError, match="another program"):
            use()


def test_a_store_of_a_newer_program_is_refused_with_the_remedy(store):
    store.add([BAD])
    connection = sqlite3.connect(store.path)
    connection.execute("PRAGMA user_version = 4")
    connection.close()
    with pytest.raises(RecordError, match=r"version 4 of decisions.*newer"):
        store.current()


def test_an_empty_file_is_an_empty_store(store):
    store.path.parent.mkdir(parents=True)
    store.path.touch()
    assert store.decisions() == {}
    store.add([BAD])
    assert store.decisions() == {PID: "bad"}


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(RecordError, match=r"home.labels\.sqlite.*write-protected"):
        LabelStore(tmp_path / "home" / "labels.sqlite").add([BAD])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"decision": "maybe"}, "must be one of good, bad, unsure"),
        ({"source": "dream"}, "triage, study, import"),
        ({"pid": "../etc/passwd"}, "not a bin identifier"),
        ({"tags": ("Bubbles",)}, "lower-case"),
        ({"tags": ("two words",)}, "lower-case"),
        ({"tags": ("2023",)}, "not digits alone"),
        ({"tags": ("",)}, "lower-case"),
        ({"note": "x" * (MAX_NOTE + 1)}, "note must have 0 to 2000"),
        ({"reviewer": "  "}, "reviewer's name must have 1"),
        ({"at": datetime(2026, 3, 1)}, "time zone"),  # noqa: DTZ001
    ],
)
def test_a_decision_without_meaning_is_refused(change, said):
    with pytest.raises(LabelError, match=said):
        replace(BAD, **change)


def test_every_usual_tag_and_decision_can_be_kept(store):
    store.add([replace(BAD, tags=tuple(TAGS), decision=decision) for decision in DECISIONS])
    assert store.current()[PID].tags == tuple(TAGS)


def test_a_note_is_kept_as_it_was_written(store):
    note = "'); DROP TABLE label; -- <b>ü</b>\n=1+1"
    store.add([replace(BAD, note=note)])
    assert store.current()[PID].note == note


# Ranges


def a_range(first: datetime, until: datetime, decision: str = "bad", *tags: str) -> RangeLabel:
    return RangeLabel("IFCB134", first, until, decision, tags, "ferrybox off", "Ada", NOON)  # type: ignore[arg-type]


START = datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC)
HOUR = timedelta(hours=1)


def test_a_range_counts_for_every_bin_in_it_and_for_no_other(store):
    store.add([], [a_range(START, START + HOUR)])
    decisions = store.decisions()
    assert decisions[PID] == "bad"
    assert decisions.get("D20230810T123058_IFCB134") == "bad"
    for other in ("D20230810T123059_IFCB134", "D20230810T113058_IFCB134", "D20230810T113059_IFCB135", "no bin"):
        assert decisions.get(other) is None
    assert dict(decisions) == {}
    found = decisions.resolved([PID, OTHER])
    assert [(label.pid, label.note, label.reviewer) for label in found.values()] == [(PID, "ferrybox off", "Ada")]
    assert [label.note for label in store.history(PID)] == ["ferrybox off"]


def test_a_decision_about_the_bin_itself_counts_before_a_range_whenever_it_was_made(store):
    (number,) = store.add([replace(BAD, decision="good")], [a_range(START - HOUR, START + HOUR)])
    assert store.decisions()[PID] == "good"
    assert [label.decision for label in store.history(PID)] == ["bad", "good"]
    store.withdraw([number], "Ada", NOON)
    assert store.decisions()[PID] == "bad"


def test_of_several_ranges_the_latest_kept_counts_and_withdrawing_it_restores_the_one_before(store):
    store.add([], [a_range(START - HOUR, START + HOUR), a_range(START, START + HOUR, "good", "context")])
    assert store.decisions()[PID] == "good"
    assert store.decisions()["D20230810T113000_IFCB134"] == "bad"
    assert store.decisions().context([PID, "D20230810T113000_IFCB134"]) == [PID]
    store.withdraw_range(2, "Ada", NOON)
    assert store.decisions()[PID] == "bad"


def test_decisions_that_match_no_bin_are_named():
    ranges = [a_range(START, START + HOUR), a_range(START - HOUR, START), a_range(START, START + 2 * HOUR)]
    decisions = Decisions({OTHER: replace(BAD, pid=OTHER)}, ranges)
    assert decisions.unmatched([PID]) == [OTHER, "IFCB134 from 2023-08-10T10:30:59 to 2023-08-10T11:30:58"]
    assert decisions.unmatched([PID, OTHER, "D20230810T110000_IFCB134"]) == []


def test_a_store_of_the_version_before_is_read_and_takes_ranges(store):
    store.add([BAD])
    connection = sqlite3.connect(store.path)
    for name in ("range_withdrawal", "range_label"):
        connection.execute(f"DROP TABLE {name}")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    assert store.decisions() == {PID: "bad"}
    assert store.history(PID)
    store.add([], [a_range(START - HOUR, START + HOUR, "good")])
    assert store.decisions() == {PID: "bad"}
    assert store.decisions().get("D20230810T113000_IFCB134") == "good"


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(LabelError, match="ends before it begins"):
        a_range(START, START)
