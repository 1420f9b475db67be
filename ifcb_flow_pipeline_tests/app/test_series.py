from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from app import series
from app.data import Scored
from app.series import Filter, Window
from ifcb_flow_pipeline.detection.verdict.episodes import Episode
from ifcb_flow_pipeline.store.labels import Label

START = datetime(2020, 1, 1, tzinfo=UTC)
INSTRUMENTS = ("IFCB101", "IFCB102")
EVERYTHING = Filter()


def _scored(n: int, bad: tuple[int, ...] = (), models: int = 1) -> Scored:
    """Bins of two instruments in turn, one an hour, all of them ok but the bad ones."""
    severity = np.random.default_rng(1).uniform(0, 30, n).astype(np.float32)
    severity[list(bad)] = 90
    verdict = np.full(n, "ok", dtype=object)
    verdict[list(bad)] = "bad"
    starts = pd.date_range(START, periods=n, freq="h", tz="UTC").as_unit("us")
    pids = [f"D{start:%Y%m%dT%H%M%S}_{INSTRUMENTS[number % 2]}" for number, start in enumerate(starts)]
    rows = pd.DataFrame({
        "pid": pids,
        "instrument": pd.Categorical([INSTRUMENTS[number % 2] for number in range(n)]),
        "start_time": starts,
        "severity": severity,
        "verdict": pd.Categorical(verdict, categories=["ok", "watch", "bad", "unreadable", "not_judged"]),
        "cause": pd.Categorical(np.where(verdict == "bad", "air", "")),
        "threshold": np.where(np.arange(n) < n // 2, 50.0, 60.0),
        "model_id": pd.Categorical([f"model{number * models // n}" for number in range(n)]),
        "status": pd.Categorical(["ok"] * n),
    })  # fmt: skip
    return Scored(rows, starts.astype("int64").to_numpy(), (), pd.Index(pids))


def _track(scored: Scored) -> series.Track:
    window = series.whole(scored)
    rows = series.select(scored, window, EVERYTHING, {})
    return series.track(scored, rows, scored.rows["severity"].to_numpy()[rows], window)


def test_few_bins_are_a_point_each():
    track = _track(_scored(series.MAX_POINTS))
    assert track.envelope is None
    assert len(track.points) == track.n_bins == series.MAX_POINTS


def test_an_envelope_reaches_the_least_and_the_largest_value_of_each_instrument():
    scored = _scored(9000, bad=(4321,))
    envelope = _track(scored).envelope
    assert envelope is not None
    for name in INSTRUMENTS:
        own = scored.rows.loc[scored.rows["instrument"].eq(name), "severity"]
        drawn = envelope.loc[envelope["instrument"].eq(name)]
        assert (drawn["low"].min(), drawn["high"].max()) == (own.min(), own.max())


@pytest.mark.parametrize("at", [0, 1, 4500, 8998, 8999])
def test_a_single_bad_bin_among_thousands_is_always_a_point(at):
    scored = _scored(9000, bad=(at,))
    assert _track(scored).points["pid"].tolist() == [scored.rows["pid"].iloc[at]]


def test_of_too_many_bad_bins_every_stretch_of_time_keeps_its_worst_and_the_others_are_counted():
    bad = tuple(range(0, 9000, 2))
    track = _track(_scored(9000, bad))
    assert len(track.points) == series.MAX_WORST
    assert track.n_left_out == len(bad) - series.MAX_WORST
    cells = ((track.points["start_time"] - START) / timedelta(hours=30)).astype(int)
    assert cells.nunique() == series.N_CELLS


def test_a_bin_without_value_is_neither_drawn_nor_counted():
    scored = _scored(10)
    values = np.array([np.nan] + [1.0] * 9)
    track = series.track(scored, np.arange(10), values, series.whole(scored))
    assert track.n_bins == len(track.points) == 9


def _unjudged(n: int, which: slice, bad: tuple[int, ...] = ()) -> Scored:
    scored = _scored(n, bad)
    scored.rows.loc[scored.rows.index[which], ["severity", "verdict"]] = (np.nan, "not_judged")
    return scored


def test_bins_that_were_not_judged_are_points_without_value_of_what_comes_from_the_verdict():
    scored = _unjudged(10, slice(0, 3))
    window, severity = series.whole(scored), scored.rows["severity"].to_numpy()
    track = series.track(scored, np.arange(10), severity, window, of_verdicts=True)
    assert (len(track.points), track.n_bins, int(track.points["value"].isna().sum())) == (10, 10, 3)
    assert series.track(scored, np.arange(10), severity, window).n_bins == 7


def test_many_bins_that_were_not_judged_leave_a_point_in_every_stretch_of_time_and_hide_no_bad_one():
    scored = _unjudged(12_000, slice(0, 6000), bad=(7001,))
    severity = scored.rows["severity"].to_numpy()
    track = series.track(scored, np.arange(12_000), severity, series.whole(scored), of_verdicts=True)
    assert track.n_bins == 12_000
    assert track.points["value"].notna().sum() == 1
    assert track.points["value"].isna().sum() == 2 * series.N_CELLS / 2
    assert track.envelope is not None
    assert np.isfinite(track.envelope["high"]).all()


def test_an_empty_stretch_of_time_interrupts_the_envelope():
    scored = _scored(12_000)
    rows = np.concatenate((np.arange(4000), np.arange(8000, 12_000)))
    envelope = series.track(scored, rows, np.zeros(8000), series.whole(scored)).envelope
    assert envelope is not None
    assert envelope["segment"].nunique() == 4  # two stretches of two instruments


def test_a_window_holds_the_bins_at_both_of_its_ends():
    scored = _scored(10)
    window = Window(START + timedelta(hours=2), START + timedelta(hours=5))
    assert series.select(scored, window, EVERYTHING, {}).tolist() == [2, 3, 4, 5]


def test_filters_are_combined():
    scored = _scored(10, bad=(3, 4, 5))
    whole = series.whole(scored)
    wanted = Filter(instruments=("IFCB102",), verdicts=("bad",), causes=("air",), statuses=("ok",))
    assert series.select(scored, whole, wanted, {}).tolist() == [3, 5]


def test_bins_are_filtered_by_what_was_decided_and_by_that_nothing_was():
    scored = _scored(4)
    labels = {scored.rows["pid"].iloc[1]: Label(scored.rows["pid"].iloc[1], "bad", (), "", "Ada", START, "triage")}
    whole = series.whole(scored)
    assert series.select(scored, whole, Filter(decisions=("bad",)), labels).tolist() == [1]
    assert series.select(scored, whole, Filter(decisions=(series.UNDECIDED,)), labels).tolist() == [0, 2, 3]
    assert [found[2].decision for found in series.decided_in(scored, np.arange(4), labels)] == ["bad"]


def test_a_decision_about_a_bin_that_is_not_scored_is_left_out():
    labels = {"D20300101T000000_IFCB101": Label("D20300101T000000_IFCB101", "bad", (), "", "Ada", START, "triage")}
    assert series.decided_in(_scored(4), np.arange(4), labels) == []


def test_each_instrument_has_its_thresholds_over_the_time_of_their_bins():
    found = series.thresholds(_scored(8), np.arange(8))
    assert found["value"].tolist() == [50, 60, 50, 60]
    assert (found["first"] <= found["last"]).all()


def test_a_model_change_is_where_the_new_model_has_its_first_bin():
    scored = _scored(9, models=3)
    found = series.model_changes(scored, np.arange(9))
    assert found["model_id"].tolist() == ["model1", "model2"]
    assert found["start"].tolist() == scored.rows["start_time"].iloc[[3, 6]].tolist()


def test_a_distribution_rises_from_the_least_to_the_largest_value():
    curve = series.quantile_curve(np.array([3.0, np.nan, 1.0, 2.0]))
    assert curve["value"].tolist() == [1, 2, 3]
    assert curve["share"].tolist() == [0, 0.5, 1]


def test_of_too_many_episodes_the_longest_are_drawn(monkeypatch):
    monkeypatch.setattr(series, "MAX_EPISODES", 1)
    short, long = (
        Episode("IFCB101", "air", "a", "b", START, START + timedelta(hours=n), n, n, 90.0, "a", "over") for n in (2, 5)
    )
    assert series.episodes_in([short, long], Window(START, START + timedelta(days=1))) == [long]
    assert series.episodes_in([short, long], Window(START - timedelta(days=2), START - timedelta(days=1))) == []


def test_a_window_moves_and_widens_around_its_middle_and_stays_inside():
    day = Window(START, START + timedelta(days=1))
    assert day.moved(-0.5).first == START - timedelta(hours=12)
    assert day.widened(3) == Window(START - timedelta(days=1), START + timedelta(days=2))
    assert day.widened(3).within(day) == day
    assert day.moved(5).within(day) == day
