"""What is said of the ground that a verdict stands on."""

import math

import pytest

from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.review.basis import affected, basis


def score(verdict: str = "ok", n_bins: float | None = 299, days: float = 21.3, share: float | None = None) -> dict:
    return {"instrument": "IFCB999", "verdict": verdict, "baseline_bins": n_bins, "baseline_days": days,
            "affected_fraction": share}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (score(), "compared with 299 healthy bins over 21 days"),
        (score("bad", 1234, 0.5), "compared with 1,234 healthy bins over 12 hours"),
        (score("ok", 20, 0.04), "compared with 20 healthy bins over 1 hour"),
        (score("watch", 1, math.nan), "compared with 1 healthy bin"),
        (score("bad", 0, 0.0), "by fixed limits only: there is no history of IFCB999"),
        (score("unreadable"), ""),
        (score("bad", None, math.nan), ""),
        (score("not_judged", 0), f"no verdict: too little history of IFCB999 (0 of {MIN_BASELINE_BINS} bins)"),
        (score("not_judged", 3), f"no verdict: too little history of IFCB999 (3 of {MIN_BASELINE_BINS} bins)"),
        (score("not_judged", None), f"no verdict: too little history of IFCB999 (0 of {MIN_BASELINE_BINS} bins)"),
        (score("not_judged", 300), "no verdict: the history of IFCB999 does not tell"),
    ],
)
def test_a_verdict_says_what_it_rests_on_and_its_absence_says_why(row, text):
    assert basis(row) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.43, "about 43 % of the run is affected"), (1.0, "about 100 % of the run is affected"),
     (0.001, "less than 1 % of the run is affected"), (0.0, ""), (None, ""), (math.nan, "")],
)  # fmt: skip
def test_how_much_is_lost_is_told_where_it_is_known(share, text):
    assert affected(score(share=share)) == text
