"""What is said of a bin besides findings: why it has no verdict, how little that rests on, and of sensors."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS, Case, Decision
from ifcb_flow_pipeline.detection.verdict.sentences import join, status_sentence

#: Said once of an instrument: its humidity is no sign of a leak until it can mean water (``lag_features.DRY_PCT``).
_OFFSET = "The humidity sensor reads below zero: it has an offset (no fault); a small leak may not show"


def notes(
    instrument: str,
    is_known: bool,
    table: pa.Table,
    case: Case,
    decision: Decision,
    below_zero: NDArray[np.bool_],
) -> dict[int, str]:
    """Sentences for each bin that needs some, by its number among n bins of one instrument.

    ``is_known``: the model has a history of the instrument; ``table``: the rows of ``bin_features``; ``below_zero``
    (n,): the first bin whose humidity sensor reads below zero.
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
    for bin_, time in _corrected(table).items():
        found[bin_] = join([found.get(bin_, ""), f"The sample was taken at {time}: the instrument's clock was wrong"])
    for bin_ in np.flatnonzero(below_zero).tolist():
        found[bin_] = join([found.get(bin_, ""), _OFFSET])
    return found


def _corrected(table: pa.Table) -> dict[int, str]:
    """The sample times that people corrected, as text, by the number of the row."""
    if "sample_time" not in table.column_names:
        return {}
    times = table["sample_time"].to_pylist()
    return {row: f"{time:%Y-%m-%d %H:%M:%S} UTC" for row, time in enumerate(times) if time is not None}


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
