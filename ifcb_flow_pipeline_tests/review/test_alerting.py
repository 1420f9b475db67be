"""Which alerts are due: one message a fault, one when it is over, and none for what is no news."""

from collections.abc import Iterable, Sequence
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.review.alerting import MAX_BYTES, Rules, Watched, cut, decide, threads
from ifcb_flow_pipeline.review.instruments import LISTED_COLUMNS, SCORED_COLUMNS, instrument_states
from ifcb_flow_pipeline.store.alert_log import AlertLog, Kept, Message, Noticed
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.review.watched_bins import START, STEP, watched
from ifcb_flow_pipeline_tests.web.rows import scored

RULES = Rules()


class People:
    """Who is told, and what was: looks follow each other, as the store keeps what came of each."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules = rules
        self.log = AlertLog()

    def look(self, found: Watched, now: datetime) -> list[Message]:
        decided = decide(found, self.log, self.rules, now)
        numbers = range(len(self.log.messages) + 1, len(self.log.messages) + len(decided.messages) + 1)
        new = [Kept(number, message, (), now) for number, message in zip(numbers, decided.messages, strict=True)]
        noticed = {topic: Noticed(detail, now) for topic, detail in decided.noticed.items()}
        self.log = AlertLog((*self.log.messages, *new), self.log.acknowledged, {**self.log.noticed, **noticed})
        return list(decided.messages)

    def live(self, letters: str, causes: str = "", upto: int | None = None) -> list[tuple[int, str]]:
        """A look after every bin: after which of them came which kind of message."""
        heard = []
        for n in range(1, (upto or len(letters)) + 1):
            now = START + n * STEP
            heard += [(n, message.kind) for message in self.look(watched(letters[:n], now, causes), now)]
        return heard

    def acknowledge(self) -> None:
        numbers = {kept.id for kept in self.log.messages}
        self.log = AlertLog(self.log.messages, frozenset(numbers), self.log.noticed)


def kinds(messages: Iterable[Message]) -> list[str]:
    return [message.kind for message in messages]


def test_a_fault_of_two_bins_is_told_at_its_second_bin_and_its_end_once_three_bins_are_fine():
    assert People().live("oooobbbbboooo") == [(6, "opened"), (12, "recovered")]


def test_a_single_bad_bin_is_no_fault_to_tell():
    assert People().live("oooobooooo") == []


def test_a_fault_with_gaps_is_one_fault_and_two_faults_are_two():
    assert kinds_of("oobboobbobooooobbooo") == ["opened", "recovered", "opened", "recovered"]


def kinds_of(letters: str) -> list[str]:
    return [kind for _, kind in People().live(letters)]


def test_looks_between_bins_and_after_a_restart_say_nothing_again():
    people, now = People(), START + 8 * STEP
    found = watched("ooobbbbb", now)
    assert kinds(people.look(found, now)) == ["opened"]
    for minutes in (1, 2, 3):
        assert people.look(found, now + timedelta(minutes=minutes)) == []


def test_another_cause_is_told_but_not_more_often_than_every_six_hours():
    letters, causes = "b" * 60, "cc" + "a" * 58
    heard = People(Rules(remind_after=None)).live(letters, causes)
    assert heard == [(2, "opened"), (20, "cause changed")]


def test_reminders_come_daily_until_somebody_acknowledges():
    people = People()
    letters = "b" * 150
    assert people.live(letters, upto=80) == [(2, "opened"), (74, "reminder")]
    people.acknowledge()
    later = START + 150 * STEP
    assert people.look(watched(letters, later), later) == []


def test_what_nobody_acknowledges_goes_to_the_second_list_once_and_its_end_to_both():
    people = People(Rules(remind_after=None, escalate_after=timedelta(hours=4)))
    letters = "b" * 30 + "ooo"
    assert people.live(letters) == [(2, "opened"), (14, "escalation"), (33, "recovered")]
    assert [kept.message.audience for kept in people.log.messages] == [("first",), ("second",), ("first", "second")]


def test_an_acknowledged_fault_is_not_escalated_but_its_end_is_told():
    people = People(Rules(escalate_after=timedelta(hours=4)))
    people.live("b" * 5)
    people.acknowledge()
    letters = "b" * 30 + "ooo"
    now = START + 30 * STEP
    assert people.look(watched(letters[:30], now), now) == []
    now = START + 33 * STEP
    assert kinds(people.look(watched(letters, now), now)) == ["recovered"]


def test_a_fault_that_was_over_before_anybody_looked_stands_in_the_digest_only():
    people = People(Rules(digest=time(0)))
    now = START + 20 * STEP
    (digest,) = people.look(watched("oobbbb" + "o" * 14, now), now)
    assert digest.kind == "digest"
    assert "IFCB1 air bubbles 2026-03-02 00:40 UTC to 01:40" in digest.body


def test_a_year_that_is_filled_in_later_sends_nothing_at_once():
    people = People()
    now = START + timedelta(days=400)
    for n in range(1, 400, 7):
        letters = ("o" * 20 + "bbbb") * 20
        assert people.look(watched(letters[:n], now), now) == []


def test_a_silent_instrument_is_told_by_its_own_rhythm_and_when_it_is_back():
    people, letters = People(), "o" * 30
    last = START + 29 * STEP
    assert people.look(watched(letters, last), last + 10 * STEP) == []
    late = last + 10 * STEP + timedelta(minutes=1)
    (silent,) = people.look(watched(letters, late), late)
    assert (silent.topic, silent.kind) == ("silence IFCB1", "opened")
    assert "no bin for 3 h (normally one every 20 min)" in silent.body
    back = late + timedelta(hours=1)
    more = watched("o" * 3, back, start=back - 2 * STEP)
    assert kinds(people.look(more, back)) == ["recovered"]


def test_an_instrument_that_takes_a_few_bins_a_day_is_not_silent_at_night():
    """Five bins at noon, every day: 23 hours without a bin are usual."""
    rows = [
        scored(format_pid("IFCB1", START + timedelta(days=day) + i * STEP), 5.0, "ok", "", -0.4)
        for day in range(10)
        for i in range(5)
    ]
    table = pa.Table.from_pylist(rows, BIN_SCORES.schema).select(list(SCORED_COLUMNS))
    none = pa.Table.from_pylist([], RAW_BINS.schema).select(list(LISTED_COLUMNS))
    now = START + timedelta(days=10, hours=-1)
    assert decide(Watched(instrument_states(none, table)), AlertLog(), RULES, now).messages == ()


def test_silence_of_long_ago_and_instruments_out_of_the_water_are_no_news():
    for days in (3, 40):
        now = START + timedelta(days=days)
        assert People().look(watched("ooo", now), now) == []


def test_an_instrument_whose_newer_bins_are_not_listed_is_not_silent_but_the_pipeline_stuck():
    people, letters = People(), "o" * 30
    now = START + 29 * STEP + timedelta(hours=5)
    newer = format_pid("IFCB1", now)
    found = watched(letters, now)
    found = Watched(found.instruments, found.episodes, unlisted={"IFCB1": newer})
    assert people.look(found, now) == []
    assert people.look(found, now + timedelta(hours=5)) == []
    (stuck,) = people.look(found, now + timedelta(hours=6))
    assert (stuck.topic, stuck.kind) == ("pipeline", "opened")
    assert newer in stuck.body


def test_a_pipeline_that_gets_on_is_not_stuck_however_much_waits():
    people = People()
    for hours in range(48):
        now = START + timedelta(hours=hours)
        found = Watched(first_waiting=format_pid("IFCB1", now - timedelta(days=20)))
        assert people.look(found, now) == []


def test_a_bin_that_waits_again_later_does_not_count_the_time_between():
    people, pid = People(), format_pid("IFCB1", START)
    assert people.look(Watched(first_waiting=pid), START) == []
    assert people.look(Watched(), START + timedelta(hours=1)) == []
    assert people.look(Watched(first_waiting=pid), START + timedelta(hours=7)) == []
    assert kinds(people.look(Watched(first_waiting=pid), START + timedelta(hours=13))) == ["opened"]


def test_unreadable_bins_are_told_when_many_and_over_when_few():
    people = People()
    heard = people.live("o" * 40 + "uuu" + "o" * 80)
    assert heard[0] == (43, "opened")
    assert [kind for _, kind in heard] == ["opened", "recovered"]
    assert people.log.messages[0].message.body.startswith("3 of the last 43 bins of IFCB1")


def test_a_disk_nearly_full_is_told_once_and_over_only_with_room_to_spare():
    people = People()
    sizes = {0: 10, 1: 4, 2: 3, 3: 5.5, 4: 7}
    heard = [
        kinds(people.look(Watched(disk=(int(free * 1e9), int(100e9))), START + timedelta(hours=hours)))
        for hours, free in sizes.items()
    ]
    assert heard == [[], ["opened"], [], [], ["recovered"]]


@pytest.mark.parametrize(("hour", "quiet"), [(21, False), (22, True), (3, True), (5, False)])
def test_quiet_hours_are_local_and_hold_messages_back(hour, quiet):
    """22:00 to 06:00 in Helsinki are 20:00 to 04:00 UTC in winter."""
    rules = Rules(quiet=(time(0), time(6)), zone=ZoneInfo("Europe/Helsinki"))
    now = START.replace(hour=hour)
    found = watched("oobbbb", now, start=now - 5 * STEP)
    assert kinds(People(rules).look(found, now)) == ([] if quiet else ["opened"])


def test_what_began_in_quiet_hours_and_lasts_is_told_after_them_and_what_ended_in_them_is_not():
    people = People(Rules(quiet=(time(0), time(6))))
    assert people.live("oobbbboooooobb" + "b" * 6)[:1] == [(18, "opened")]


def test_the_digest_comes_once_a_day_and_names_troubles_first():
    people = People(Rules(digest=time(7)))
    letters = "o" * 200
    heard = [n for n, kind in people.live(letters) if kind == "digest"]
    assert [START + n * STEP for n in heard] == [
        START + STEP, START + timedelta(hours=7), START + timedelta(hours=31), START + timedelta(hours=55)
    ]  # fmt: skip
    now = START + timedelta(days=4)
    several = Watched(
        (*watched("o" * 9, now, instrument="IFCB1", start=now - 9 * STEP).instruments,
         *watched("o" * 9, now, instrument="IFCB9").instruments)
    )  # fmt: skip
    messages = people.look(several, now)
    assert messages[-1].body.splitlines() == [
        "2 instruments in the water.", "IFCB9: no data for 4 days.", "IFCB1: 0 of 9 bins bad in 24 h. OK."
    ]  # fmt: skip


def test_a_fault_whose_bins_are_judged_fine_after_all_is_withdrawn():
    people, now = People(), START + 6 * STEP
    people.look(watched("oobbbb", now), now)
    (message,) = people.look(watched("oooooo", now), now)
    assert (message.kind, message.title) == ("recovered", "Withdrawn: IFCB1: air bubbles")
    assert people.look(watched("oobbbb", now), now) == []


def test_a_fault_whose_first_bins_are_judged_fine_after_all_stays_the_same_fault():
    people, now = People(), START + 6 * STEP
    people.look(watched("oobb", now), now)
    assert people.look(watched("oooobbbb", now + STEP), now + 2 * STEP) == []


def test_an_instrument_that_falls_silent_in_a_fault_is_not_called_recovered():
    people = People(Rules(remind_after=None))
    people.live("oobbb")
    for hours in range(3, 60):
        now = START + timedelta(hours=hours)
        people.look(watched("oobbb", now), now)
    told = [(kept.message.kind, kept.message.title) for kept in people.log.messages]
    assert told == [
        ("opened", "IFCB1: air bubbles"),
        ("opened", "IFCB1: no data"),
        ("recovered", "No longer watched: IFCB1: air bubbles"),
    ]


def test_instruments_have_topics_of_their_own():
    now = START + 4 * STEP
    both = [watched("oobb", now, instrument=name) for name in ("IFCB1", "IFCB2")]
    found = Watched([*both[0].instruments, *both[1].instruments], [*both[0].episodes, *both[1].episodes])
    assert [message.topic for message in People().look(found, now)] == ["fault IFCB1", "fault IFCB2"]


def test_every_message_fits_into_a_kilobyte_and_is_plain_text():
    now = START + 4 * STEP
    many: Sequence = [watched("oobb", now, instrument=f"IFCB{n}") for n in range(100, 200)]
    found = Watched(
        [one for each in many for one in each.instruments], [one for each in many for one in each.episodes],
        review_url="https://ifcb.example.org/" + "x" * 900,
    )  # fmt: skip
    messages = People(Rules(digest=time(0))).look(found, now)
    assert len(messages) == 101
    for message in messages:
        assert len(f"{message.title}\n{message.body}".encode()) <= MAX_BYTES
        assert "<" not in message.body


def test_cutting_keeps_whole_words_and_whole_characters():
    assert cut("å" * 10, 20) == "å" * 10
    assert cut("good morning everyone", 20) == "good morning ..."
    assert len(cut("x å" * 100, 51).encode()) <= 51


def test_threads_tell_what_is_open():
    people = People()
    people.live("oobbb")
    assert [(topic, one.is_open) for topic, one in threads(people.log).items()] == [("fault IFCB1", True)]
