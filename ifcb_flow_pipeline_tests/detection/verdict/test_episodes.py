"""Bad bins in a row: where an episode begins and ends, and what is said of it."""

import math
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ifcb_flow_pipeline.detection.verdict.episodes import Episode, episodes_of, find_episodes

NOON = datetime(2023, 8, 10, 12, tzinfo=UTC)
VERDICT = {"b": "bad", "o": "ok", "w": "watch", "u": "unreadable", "n": "not_judged"}


def bins(letters: str, instrument: str = "IFCB1", causes: dict[int, str] | None = None) -> list[tuple]:
    """A bin every 20 minutes; b, o, w, u, n are verdicts; a bad bin has air at severity 60 plus its number.

    "_" is no bin, but a pause of three days.
    """
    return [
        (f"{instrument}-{i:03}", instrument, NOON + timedelta(minutes=20 * i, days=3 * letters[:i].count("_")),
         VERDICT[letter], ((causes or {}).get(i, "air") if letter == "b" else ""),
         {"b": 60.0 + i, "u": 100.0, "n": math.nan}.get(letter, 0.0))
        for i, letter in enumerate(letters) if letter != "_"
    ]  # fmt: skip


def episodes(rows: list[tuple]) -> list[Episode]:
    return find_episodes(*zip(*rows, strict=True)) if rows else find_episodes([], [], [], [], [], [])


def slow(rows: list[tuple]) -> list[Episode]:
    """The same, one bin after the other."""
    found = []
    usable = sorted((row for row in rows if row[1] is not None and row[2] is not None), key=lambda r: (r[1], r[2]))
    for instrument, of_instrument in groupby(usable, key=lambda row: row[1]):
        series, members, gap = list(of_instrument), [], 0
        groups = []
        for position, row in enumerate(series):
            gap += 3 * (row[2] - series[position - 1][2] > timedelta(days=2))  # nothing comes before the first
            if row[3] == "bad":
                if members and gap > 2:
                    groups.append(members)
                    members = []
                members, gap = [*members, position], 0
            elif row[3] not in ("unreadable", "not_judged"):
                gap += 1
        groups += [members] if members else []
        for number, group in enumerate(groups):
            bad = [series[i] for i in group]
            sums: dict[str, float] = {}
            for row in bad:
                sums[row[4]] = sums.get(row[4], 0.0) + row[5]
            worst = max(bad, key=lambda row: row[5])
            found.append(Episode(
                instrument, min(sums, key=lambda cause: (-sums[cause], cause)), bad[0][0], bad[-1][0], bad[0][2],
                bad[-1][2], group[-1] - group[0] + 1, len(bad), worst[5], worst[0],
                "ongoing" if number == len(groups) - 1 and gap <= 2 else "over",
            ))  # fmt: skip
    return sorted(found, key=lambda episode: (episode.start, episode.instrument))


def spans(letters: str) -> list[tuple[int, int, int, bool]]:
    return [(int(e.first_pid[-3:]), int(e.last_pid[-3:]), e.n_bad, e.ongoing) for e in episodes(bins(letters))]


def test_bad_bins_in_a_row_are_one_episode_that_says_since_when_and_what() -> None:
    rows = bins("oobbbooo", causes={2: "stain", 3: "air", 4: "air"})
    assert episodes(rows) == [
        Episode("IFCB1", "air", "IFCB1-002", "IFCB1-004", rows[2][2], rows[4][2], 3, 3, 64.0, "IFCB1-004", "over")
    ]


def test_two_bins_that_are_not_bad_do_not_end_an_episode_but_three_do() -> None:
    assert spans("bowbooo") == [(0, 3, 2, False)]
    assert spans("bowobooo") == [(0, 0, 1, False), (4, 4, 1, False)]


def test_an_episode_goes_on_while_the_instruments_last_bins_do_not_clear_it() -> None:
    assert [spans(letters)[0][3] for letters in ("ob", "obo", "oboo", "obooo", "obouuuo")] == [
        True, True, True, False, True,
    ]  # fmt: skip


def test_a_pause_of_days_ends_an_episode_and_one_of_a_day_and_a_half_does_not() -> None:
    assert spans("bb_b") == [(0, 1, 2, False), (3, 3, 1, True)]
    assert spans("bu_b") == [(0, 0, 1, False), (3, 3, 1, True)]
    rows = bins("bb")
    later = [(*rows[1][:2], NOON + timedelta(hours=36), *rows[1][3:])]
    assert [e.n_bad for e in episodes(rows[:1] + later)] == [2]


def test_two_bad_bins_months_apart_are_two_episodes_of_which_the_first_is_over() -> None:
    first, second = bins("bb")
    second = (*second[:2], NOON + timedelta(days=150), *second[3:])
    assert [(e.first_pid, e.last_pid, e.ongoing) for e in episodes([first, second])] == [
        ("IFCB1-000", "IFCB1-000", False),
        ("IFCB1-001", "IFCB1-001", True),
    ]


def test_what_was_bad_before_a_pause_does_not_go_on_after_it() -> None:
    assert spans("bb_o") == [(0, 1, 2, False)]
    assert spans("bb_u") == [(0, 1, 2, False)]


def test_a_pause_of_one_instrument_is_none_of_another() -> None:
    rows = bins("bb", "IFCB1") + bins("_bb", "IFCB2")
    assert [(e.instrument, e.n_bad, e.ongoing) for e in episodes(rows)] == [("IFCB1", 2, True), ("IFCB2", 2, True)]


def test_unreadable_bins_count_along_but_neither_begin_nor_end_an_episode() -> None:
    assert spans("uubuuuuubu") == [(2, 8, 2, True)]
    assert episodes(bins("bub"))[0].n_bins == 3
    assert spans("uuuu") == []


def test_bins_that_were_not_judged_neither_begin_nor_end_an_episode() -> None:
    assert spans("nnbnnnnnbn") == [(2, 8, 2, True)]
    assert spans("nnnn") == []


@pytest.mark.parametrize(
    ("silence", "state"),
    [(timedelta(minutes=200), "ongoing"), (timedelta(minutes=201), "unknown"), (timedelta(days=2), "unknown"),
     (timedelta(days=2, minutes=1), "over"), (timedelta(days=5418), "over")],
)  # fmt: skip
def test_after_ten_usual_intervals_without_a_bin_nobody_knows_and_after_a_pause_it_is_over(silence, state) -> None:
    rows = bins("oob")
    # Of another cadence, and bad to this day: it is no matter to the first instrument.
    rows += [(*row[:2], rows[-1][2] + silence - timedelta(days=3 * (3 - i)), *row[3:])
             for i, row in enumerate(bins("ooo", "IFCB2"))]  # fmt: skip
    (found,) = find_episodes(*zip(*rows, strict=True), now=rows[2][2] + silence)
    assert found.state == state
    assert found.ongoing == (state == "ongoing")


def test_the_usual_interval_is_the_instruments_own() -> None:
    daily = [(*row[:2], NOON + timedelta(days=i), *row[3:]) for i, row in enumerate(bins("oob"))]
    now = daily[-1][2] + timedelta(days=9)
    assert find_episodes(*zip(*daily, strict=True), now=now)[0].ongoing


def test_of_a_single_bin_the_interval_of_most_instruments_is_taken() -> None:
    columns = list(zip(*bins("b"), strict=True))
    assert find_episodes(*columns, now=NOON + timedelta(hours=4))[0].state == "ongoing"
    assert find_episodes(*columns, now=NOON + timedelta(hours=5))[0].state == "unknown"


def test_what_the_bins_have_cleared_is_over_whatever_the_time() -> None:
    columns = list(zip(*bins("obooo"), strict=True))
    assert find_episodes(*columns, now=NOON + timedelta(hours=2))[0].state == "over"


def test_a_line_says_what_is_known_of_the_end() -> None:
    columns = list(zip(*bins("ob"), strict=True))
    texts = [find_episodes(*columns, now=NOON + timedelta(hours=hours))[0].line() for hours in (1, 9, 99)]
    for text, end in zip(texts, ("ongoing", "last seen 2023-08-10 12:20, no bins since", "until "), strict=True):
        assert end in text


def test_instruments_have_their_own_episodes() -> None:
    rows = bins("bbooo", "IFCB2") + bins("obbb", "IFCB1")
    assert [(e.instrument, e.n_bad, e.ongoing) for e in episodes(rows)] == [("IFCB2", 2, False), ("IFCB1", 3, True)]


def test_bins_that_were_not_found_are_left_out_and_no_bins_have_no_episodes() -> None:
    assert episodes([("x", None, None, "unreadable", "", 100.0), *bins("b")])[0].first_pid == "IFCB1-000"
    assert episodes([]) == []


def test_columns_of_a_table_are_taken_as_they_are() -> None:
    names = ("pid", "instrument", "start_time", "verdict", "cause", "severity")
    rows = bins("obbob")
    table = pa.table({name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)})
    assert episodes_of(pa.concat_tables([table.slice(0, 2), table.slice(2)])) == episodes(rows)


letters = st.text(alphabet="bbowun_", max_size=25)
of_cause = st.dictionaries(st.integers(0, 24), st.sampled_from(["air", "stain", "clog"]))


@given(letters, letters, of_cause, st.randoms(use_true_random=False))
def test_the_episodes_are_those_of_the_slow_version_in_whatever_order_bins_come(one, other, causes, random) -> None:
    rows = bins(one, "IFCB1", causes) + bins(other, "IFCB2", causes)
    expected = slow(rows)
    random.shuffle(rows)
    assert episodes(rows) == expected


@given(letters)
def test_every_bad_bin_is_in_exactly_one_episode(text) -> None:
    found = episodes(bins(text))
    assert sum(episode.n_bad for episode in found) == text.count("b")
    assert all(before.end < after.start for before, after in pairwise(found))
    assert all(np.isfinite(episode.worst_severity) for episode in found)
