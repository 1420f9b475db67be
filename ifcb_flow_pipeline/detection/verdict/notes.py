"""What is said of a bin besides findings: why it has no verdict, or how little its verdict rests on."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS, Case, Decision
from ifcb_flow_pipeline.detection.verdict.sentences import status_sentence


def notes(instrument: str, is_known: bool, table: pa.Table, case: Case, decision: Decision) -> dict[int, str]:
    """A sentence for each bin that needs one, by its number among n bins of one instrument.

    ``is_known``: the model has a history of the instrument; ``table``: the rows of ``bin_features``.
    """
    is_told = (decision.verdict == "bad") | (decision.verdict == "watch")
    found = unread(table, decision.verdict == "unreadable")
    n_bins = case.deviations.baseline_bins
    for bin_ in np.flatnonzero(decision.verdict == "not_judged").tolist():
        found[bin_] = f"No verdict: {_no_history(instrument, is_known, int(n_bins[bin_]))}"
    for bin_ in np.flatnonzero(is_told & ~case.has_baseline).tolist():
        found[bin_] = f"Only rules were checked: {_no_history(instrument, is_known, int(n_bins[bin_]))}"
    for bin_ in np.flatnonzero(is_told & case.has_baseline & case.has_short_history).tolist():
        hours = _hours(float(case.deviations.baseline_days[bin_]))
        found[bin_] = f"History of only {hours}: gross deviations alone are called bad"
    return found


def unread(table: pa.Table, which: NDArray[np.bool_]) -> dict[int, str]:
    """Why nothing could be said of some of n rows of ``bin_features``, by their numbers."""
    rows = np.flatnonzero(which)
    read = table.select(["status", "reason"]).take(pa.array(rows)).to_pylist()
    return {
        bin_: status_sentence(row["status"] or "", row["reason"] or "")
        for bin_, row in zip(rows.tolist(), read, strict=True)
    }


def _no_history(instrument: str, is_known: bool, n_bins: int) -> str:
    if is_known:
        return f"no history of {instrument} yet ({n_bins} of {MIN_BASELINE_BINS} bins)"
    return f"the model has no history of {instrument}; train it again with at least {MIN_BASELINE_BINS} bins of it"


def _hours(days: float) -> str:
    hours = round(24.0 * days)
    if hours < 1:
        return "minutes"
    return "1 hour" if hours == 1 else f"{hours} hours"
