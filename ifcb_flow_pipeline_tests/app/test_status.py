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
        "model_id": pd.Categorical(["flow"] * len(letters)),
    })  # fmt: skip
    return Scored(rows, starts.astype("int64").to_numpy(), (), pd.Index(pids))


def _status(letters: str, *episodes: Episode) -> InstrumentStatus:
    return status.instrument_status(_scored(letters), "IFCB101", episodes)


def _episode(state: State, instrument: str = "IFCB101") -> Episode:
    return Episode(instrument, "air", "a", "b", NOW, NOW, 1, 1, 90.0, "a", state)


def test_bins_are_counted_over_the_day_and_the_week_up_to_the_last_bin():
    one = _status("b" * 40 + "ooub")
    assert one.day == Tally(5, 2, 1)  # both ends count
    assert one.week == Tally(29, 26, 1)
    assert one.last_start == NOW


@pytest.mark.parametrize(
    ("letters", "state"),
    [("oooo", "ok"), ("ooow", "watch"), ("owoo", "ok"), ("boooo", "watch"), ("booooo", "ok"), ("ouuu", "unreadable"),
     ("oouu", "ok"), ("nnnnnn", "not_judged"), ("nnnnno", "ok"), ("onnnn", "ok"), ("ownnn", "watch"),
     ("obnnn", "watch"), ("ooooonnnnnn", "not_judged"), ("nuuu", "unreadable")],
)  # fmt: skip
def test_the_state_is_that_of_the_last_day(letters, state):
    assert _status(letters).state == state


def test_an_episode_that_has_not_ended_is_a_fault_that_runs():
    one = _status("oooo", _episode("ongoing"), _episode("ongoing", instrument="IFCB999"))
    assert one.state == "bad"
    assert [episode.instrument for episode in one.running] == ["IFCB101"]
    assert _status("oooo", _episode("over")).state == "ok"


def test_an_episode_of_which_nobody_knows_is_told_and_is_no_fault_that_runs():
    one = _status("oooo", _episode("unknown"))
    assert (one.state, one.running, len(one.unknown)) == ("ok", (), 1)


def test_bins_that_were_not_judged_are_a_count_of_their_own():
    assert _status("nnob").day == Tally(4, 1, 0, 2)


def test_many_bins_without_verdict_are_told_with_the_remedy():
    assert status.judged([_status("o" * 8 + "nn")]).passed
    found = status.judged([_status("o" * 7 + "unnn"), _status("oooo")])
    assert not found.passed
    assert found.found == "IFCB101: 3 of 10 were not"
    assert "anomaly_model" in found.remedy
    assert found.place == "bins not judged"


def test_an_instrument_without_bins_for_longer_than_a_day_is_told():
    one = _status("oooo")
    assert status.freshness([one], NOW + timedelta(hours=23)).passed
    stale = status.freshness([one], NOW + timedelta(days=3))
    assert not stale.passed
    assert "IFCB101: last bin 3 days ago" in stale.found
    assert stale.remedy


def test_too_many_unreadable_bins_of_a_week_are_told():
    assert status.readability([_status("o" * 27 + "u")]).passed
    assert not status.readability([_status("o" * 25 + "uuu")]).passed


def test_bins_without_score_are_told_with_their_days():
    assert status.completeness({}).passed
    assert status.completeness({"2026-03-01": 2}).found == "2 bins of 2026-03-01 have none"


def test_a_week_of_unusual_bins_is_a_drift_and_a_healthy_one_is_not():
    healthy = _scored("o" * 28)
    healthy.rows["severity"] = np.clip(-25 * np.log10(np.linspace(0.01, 1, 28)), 0, 100)
    assert status.drift(healthy, [status.instrument_status(healthy, "IFCB101", ())]).passed
    unknown = _scored("n" * 28)
    assert status.drift(unknown, [status.instrument_status(unknown, "IFCB101", ())]).passed
    letters = "b" * 30
    scored = _scored(letters)
    scored.rows["severity"] = 80.0
    few = status.drift(scored, [status.instrument_status(scored, "IFCB101", ())])
    assert few.passed  # 29 bins of the week may be chance


def test_a_drift_over_enough_bins_fails(monkeypatch):
    monkeypatch.setattr(status, "MIN_BINS_FOR_DRIFT", 10)
    scored = _scored("b" * 30)
    found = status.drift(scored, [status.instrument_status(scored, "IFCB101", ())])
    assert not found.passed
    assert found.place == "bad bins"


def test_the_model_that_was_trained_last_should_be_in_use():
    assert status.newest_model(None, None).passed
    assert status.one_model([_status("oooo")], None).passed


def test_without_a_model_the_check_of_its_age_fails_and_says_what_to_do():
    missing = status.model_age(None, NOW)
    assert not missing.passed
    assert "anomaly_model" in missing.remedy


def test_damaged_days_are_told_with_the_first_of_them():
    assert status.damage(()).passed
    assert "file a" in status.damage(("file a", "file b")).found
