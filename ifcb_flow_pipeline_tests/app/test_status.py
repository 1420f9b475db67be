from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from app import status
from app.data import Scored
from app.status import InstrumentStatus, Tally
from ifcb_flow_pipeline.detection.verdict.episodes import Episode, State

NOW = datetime(2026, 3, 20, tzinfo=UTC)
LETTERS = {"o": ("ok", 5.0), "w": ("watch", 40.0), "b": ("bad", 80.0), "u": ("unreadable", 100.0),
           "n": ("not_judged", np.nan)}  # fmt: skip


def _scored(letters: str) -> Scored:
    """A bin of IFCB101 for each letter, one every six hours, the last of them now."""
    starts = pd.date_range(end=NOW, periods=len(letters), freq="6h", tz="UTC").as_unit("us")
    pids = [f"D{start:%Y%m%dT%H%M%S}_IFCB101" for start in starts]
    rows = pd.DataFrame({
        "pid": pids,
        "instrument": pd.Categorical(["IFCB101"] * len(letters)),
        "start_time": starts,
        "severity": [LETTERS[letter][1] for letter in letters],
        "verdict": pd.Categorical([LETTERS[letter][0] for letter in letters]),
        "cause": pd.Categorical(["air" if letter in "wb" else "" for letter in letters]),
        "model_id": pd.Categorical(["flow"] * len(letters)),
    })  # fmt: skip
    return Scored(rows, starts.astype("int64").to_numpy(), (), pd.Index(pids))


def _status(letters: str, *episodes: Episode, now: datetime = NOW) -> InstrumentStatus:
    return status.instrument_status(_scored(letters), "IFCB101", episodes, now)


def _said(letters: str, *episodes: Episode, now: datetime = NOW) -> str:
    return status.headline(_status(letters, *episodes, now=now), now)


def _episode(state: State, instrument: str = "IFCB101") -> Episode:
    return Episode(instrument, "air", "a", "b", NOW, NOW, 1, 1, 90.0, "a", state)


def test_bins_are_counted_over_the_day_and_the_week_up_to_the_last_bin():
    one = _status("b" * 40 + "ooub")
    assert one.day == Tally(5, 2, 1)  # both ends count
    assert one.week == Tally(29, 26, 1)
    assert one.last_start == NOW


@pytest.mark.parametrize(
    ("letters", "state"),
    [("oooo", "ok"), ("ooow", "watch"), ("owoo", "ok"), ("boooo", "recent"), ("booooo", "ok"), ("ouuu", "unreadable"),
     ("oouu", "ok"), ("nnnnnn", "not_judged"), ("nnnnno", "ok"), ("onnnn", "ok"), ("ownnn", "watch"),
     ("obnnn", "recent"), ("ooooonnnnnn", "not_judged"), ("nuuu", "unreadable")],
)  # fmt: skip
def test_the_state_is_that_of_the_last_day(letters, state):
    assert _status(letters).state == state


def test_an_episode_that_has_not_ended_is_a_fault_now_with_its_cause_since_and_number_of_bins():
    one = _status("oooo", _episode("ongoing"), _episode("ongoing", instrument="IFCB999"))
    assert one.state == "fault"
    assert [episode.instrument for episode in one.faults] == ["IFCB101"]
    assert _said("oooo", _episode("ongoing")) == "Fault now: air bubbles, since 00:00 today, 1 bad bin."


def test_a_fault_of_the_last_day_that_is_over_is_told_after_how_the_instrument_is_now():
    start = NOW - timedelta(hours=15)
    over = replace(_episode("over"), start=start, end=start + timedelta(hours=5), n_bad=6)
    assert _status("oooo", over).state == "recent"
    assert _said("oooo", over) == "OK now. Air bubbles 09:00 to 14:00 yesterday, 6 bad bins."
    assert _said("oooo", replace(over, end=NOW - timedelta(days=2))) == "OK now."


def test_of_many_faults_of_a_day_the_latest_are_named_and_the_others_counted():
    said = _said("oooo", *[replace(_episode("over"), cause=cause) for cause in ("air", "clog", "laser", "focus")])
    assert said.endswith("2 more faults in 24 h.")


def test_silence_is_measured_by_the_instruments_own_rhythm():
    late = NOW + timedelta(hours=59)  # of bins every six hours
    assert not _status("oooo", now=late).is_silent
    silent = NOW + timedelta(hours=61)
    assert _status("oooo", now=silent).is_silent
    assert _said("oooo", now=silent) == "No data for 3 days (normally a bin every 6 h). Before that: OK."


def test_a_fault_of_an_instrument_that_fell_silent_is_not_said_to_be_now():
    said = _said("oooo", _episode("unknown"), now=NOW + timedelta(days=4))
    assert "Before that: fault, not known to be over: air bubbles, since 00:00 on 2026-03-20" in said


def test_an_instrument_that_nobody_waits_for_is_retired():
    assert not _status("oooo", now=NOW + timedelta(days=29)).is_retired
    assert _status("oooo", now=NOW + timedelta(days=31)).is_retired


def test_bins_that_were_not_judged_are_a_count_of_their_own():
    assert _status("nnob").day == Tally(4, 1, 0, 2)


def test_many_bins_without_verdict_are_told_with_the_remedy():
    assert status.judged([_status("o" * 8 + "nn")]).passed
    found = status.judged([_status("o" * 7 + "unnn"), _status("oooo")])
    assert not found.passed
    assert found.found == "Bins without a verdict in the last week of data: IFCB101: 3 of 10"
    assert "retrain" in found.remedy
    assert found.place == "bins not judged"


def test_instruments_that_do_not_keep_their_rhythm_are_named():
    assert "All active instruments" in status.freshness([_status("oooo", now=NOW + timedelta(hours=23))]).found
    stale = status.freshness([_status("oooo", now=NOW + timedelta(days=3))])
    assert (stale.passed, stale.found) == (False, "No new bins from IFCB101 for 3 days")
    assert stale.remedy


def test_too_many_unreadable_bins_of_a_week_are_told():
    assert status.readability([_status("o" * 27 + "u")]).passed
    assert not status.readability([_status("o" * 25 + "uuu")]).passed


def test_bins_without_score_are_told_with_their_days():
    assert status.completeness({}).passed
    found = status.completeness({"2026-03-01": 2})
    assert (found.found, found.days) == ("2 bins of 2026-03-01 not scored yet", ("2026-03-01",))


def test_a_week_of_unusual_bins_is_a_drift_and_a_healthy_one_is_not():
    healthy = _scored("o" * 28)
    healthy.rows["severity"] = np.clip(-25 * np.log10(np.linspace(0.01, 1, 28)), 0, 100)
    assert status.drift(healthy, [status.instrument_status(healthy, "IFCB101", (), NOW)]).passed
    unknown = _scored("n" * 28)
    assert status.drift(unknown, [status.instrument_status(unknown, "IFCB101", (), NOW)]).passed
    letters = "b" * 30
    scored = _scored(letters)
    scored.rows["severity"] = 80.0
    few = status.drift(scored, [status.instrument_status(scored, "IFCB101", (), NOW)])
    assert few.passed  # 29 bins of the week may be chance


def test_a_drift_over_enough_bins_fails(monkeypatch):
    monkeypatch.setattr(status, "MIN_BINS_FOR_DRIFT", 10)
    scored = _scored("b" * 30)
    found = status.drift(scored, [status.instrument_status(scored, "IFCB101", (), NOW)])
    assert not found.passed
    assert found.place == "bad bins"


def test_the_model_that_was_trained_last_should_be_in_use():
    assert status.newest_model(None, None).passed
    assert status.one_model([_status("oooo")], None).passed


def test_without_a_model_the_check_of_its_age_fails_and_says_what_to_do():
    missing = status.model_age(None, NOW)
    assert not missing.passed
    assert (missing.found, missing.remedy) == ("No model is active", "Train one")


def test_damaged_days_are_told_with_the_first_of_them():
    assert status.damage(()).passed
    assert "file a" in status.damage(("file a", "file b")).found
