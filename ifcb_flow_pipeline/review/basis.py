"""In words, what a verdict rests on, and how much of a bin is lost."""

import math
from collections.abc import Mapping
from typing import Any

from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS

#: Below this many days a baseline's time is told in hours.
_HOURS_BELOW_DAYS = 2.0


def basis(score: Mapping[str, Any]) -> str:
    """What a bin was compared with, or why it has no verdict; empty where the model keeps no baseline.

    ``score``: instrument, verdict, baseline_bins and baseline_days of its row of ``bin_scores``.
    """
    n_bins, days = _number(score.get("baseline_bins")), _number(score.get("baseline_days"))
    if score["verdict"] == "not_judged":
        known = 0 if math.isnan(n_bins) else round(n_bins)
        if known < MIN_BASELINE_BINS:
            return f"no verdict: too little history of {score['instrument']} ({known} of {MIN_BASELINE_BINS} bins)"
        return f"no verdict: the history of {score['instrument']} does not tell"
    if math.isnan(n_bins) or score["verdict"] == "unreadable":
        return ""
    if not n_bins:
        return f"by fixed limits only: there is no history of {score['instrument']}"
    bins = "1 healthy bin" if n_bins == 1 else f"{round(n_bins):,} healthy bins"
    return f"compared with {bins}{_over(days)}"


def affected(score: Mapping[str, Any]) -> str:
    """How much of a bin is lost, as ``about 43 % of the run is affected``; empty where nothing is, or nobody knows.

    ``score``: affected_fraction of its row of ``bin_scores``.
    """
    share = _number(score.get("affected_fraction"))
    if math.isnan(share) or share <= 0:
        return ""
    percent = round(100 * share)
    return f"about {percent} % of the run is affected" if percent else "less than 1 % of the run is affected"


def _over(days: float) -> str:
    if math.isnan(days) or days <= 0:
        return ""
    if days < _HOURS_BELOW_DAYS:
        hours = max(1, round(24 * days))
        return f" over {hours} hour" + "s" * (hours != 1)
    return f" over {round(days)} days"


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
