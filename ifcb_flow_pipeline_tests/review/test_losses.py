from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from ifcb_flow_pipeline.review.losses import log_lines, losses
from ifcb_flow_pipeline.store.labels import Decision, Label

START = datetime(2026, 3, 1, tzinfo=UTC)


def pid(number: int) -> str:
    return f"D20260301T{number // 2:02}{30 * (number % 2):02}00_IFCB101"


def bins(*about: tuple[str, str, float]) -> pd.DataFrame:
    """A bin of IFCB101 every half hour: verdict, cause and affected share of each."""
    return pd.DataFrame({
        "pid": [pid(number) for number in range(len(about))],
        "instrument": "IFCB101",
        "start_time": [pd.Timestamp(START + timedelta(minutes=30 * number)) for number in range(len(about))],
        "verdict": [verdict for verdict, _, _ in about],
        "cause": [cause for _, cause, _ in about],
        "affected_fraction": [share for _, _, share in about],
    })  # fmt: skip


def label(number: int, decision: Decision) -> dict[str, Label]:
    return {pid(number): Label(pid(number), decision, (), "", "Ada", START, "triage")}


def test_a_bad_bin_costs_its_affected_share_of_the_instruments_rhythm():
    rows = bins(("ok", "", 0.0), ("bad", "air", 0.5), ("bad", "air", np.nan), ("watch", "clog", 0.9))
    (found,) = losses(rows, [], {})
    assert (found.hours, found.lost_hours, found.lost_share) == (2.0, 0.75, 0.375)
    assert [(loss.cause, loss.n_bins) for loss in found.by_cause] == [("air", 2)]


def test_what_people_marked_counts_first():
    rows = bins(("ok", "", 0.0), ("bad", "air", 0.5), ("unreadable", "", np.nan), ("ok", "", 0.0))
    marked = label(0, "bad") | label(1, "good") | label(3, "unsure")
    (found,) = losses(rows, [], marked)
    assert {loss.cause: loss.hours for loss in found.by_cause} == {"unknown": 0.5, "corrupt": 0.5}


def test_a_period_without_loss_says_so():
    lines = log_lines(losses(bins(("ok", "", 0.0)), [], {}), date(2026, 3, 1), date(2026, 3, 1), {})
    assert lines == ["2026-03-01 to 2026-03-01, IFCB101: 1 bins (0.4 h); nothing lost."]


def test_of_many_causes_the_largest_are_named_and_the_others_summed():
    rows = bins(*(("bad", cause, 1.0) for cause in ("air", "air", "clog", "laser", "focus", "leak")))
    (line,) = log_lines(losses(rows, [], {}), date(2026, 3, 1), date(2026, 3, 1), {"air": "air bubbles"})
    assert "lost 3.0 h (100.0 %): air bubbles 1.0 h (2 bins)" in line
    assert line.endswith("other causes 0.5 h.")
