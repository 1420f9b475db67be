"""How instruments are doing by their latest bins."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.review.instruments import (
    LISTED_COLUMNS,
    SCORED_COLUMNS,
    InstrumentState,
    instrument_states,
)
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS
from ifcb_flow_pipeline_tests.web.rows import listed, scored

START = datetime(2026, 3, 2, tzinfo=UTC)


def pid_after(hours: float, instrument: str = "IFCB101") -> str:
    return format_pid(instrument, START + timedelta(hours=hours))


def states(known: Sequence[dict[str, Any]], judged: Sequence[dict[str, Any]]) -> tuple[InstrumentState, ...]:
    return instrument_states(
        pa.Table.from_pylist(list(known), RAW_BINS.schema).select(list(LISTED_COLUMNS)),
        pa.Table.from_pylist(list(judged), BIN_SCORES.schema).select(list(SCORED_COLUMNS)),
    )


def test_without_bins_there_are_no_instruments():
    assert states([], []) == ()


def test_an_instrument_whose_bins_all_wait_has_no_scored_bin():
    (one,) = states([listed(pid_after(1)), listed(pid_after(2))], [])
    assert (one.instrument, one.last_pid, one.last_scored, one.bins) == ("IFCB101", pid_after(2), None, {})


def test_a_bin_that_is_scored_but_no_longer_listed_is_the_last_one():
    (one,) = states([listed(pid_after(1))], [scored(pid_after(2), 3.0, "ok", "", -0.4)])
    assert one.last_pid == pid_after(2)


def test_bins_are_counted_over_the_day_and_unreadable_ones_over_the_week_before_the_last_scored_bin():
    verdicts = {0: "bad", 1: "unreadable", 7 * 24 - 24: "bad", 7 * 24 - 23: "watch", 7 * 24: "unreadable"}
    rows = [scored(pid_after(hours), 10.0, verdict, "", -0.4) for hours, verdict in verdicts.items()]
    (one,) = states([], [*rows, scored(pid_after(-1), 100.0, "unreadable", "", None)])
    assert one.bins == {"unreadable": 1, "watch": 1}
    assert one.n_unreadable == 2


def test_instruments_do_not_count_each_others_bins():
    rows = [scored(pid_after(1, name), 70.0, "bad", "clog", -0.6) for name in ("IFCB101", "IFCB5")]
    assert [(one.instrument, one.bins) for one in states([], rows)] == [("IFCB101", {"bad": 1}), ("IFCB5", {"bad": 1})]
