"""Rows of the stored tables, in few words."""

from datetime import UTC, datetime
from typing import Any

from ifcb_flow_pipeline.bins.pid import parse_pid
from ifcb_flow_pipeline.store.tables import BIN_SCORES, RAW_BINS


def listed(pid: str) -> dict[str, Any]:
    """A row of ``raw_bins``."""
    found = dict.fromkeys(RAW_BINS.schema.names) | _identity(pid)
    return found | {"modified": datetime(2026, 1, 1, tzinfo=UTC), "complete": True}


def scored(
    pid: str, severity: float | None, verdict: str, cause: str, score: float | None, **others: Any
) -> dict[str, Any]:
    """A row of ``bin_scores``; None is NaN."""
    numbers = {
        "severity": float("nan") if severity is None else severity,
        "anomaly_score": float("nan") if score is None else score,
    }
    words = {"verdict": verdict, "cause": cause, "model_id": "flow-1", "status": "ok", "reason": "", "findings": "[]"}
    return dict.fromkeys(BIN_SCORES.schema.names) | _identity(pid) | numbers | words | others


def _identity(pid: str) -> dict[str, Any]:
    bin_id = parse_pid(pid)
    return {"pid": pid, "instrument": bin_id.instrument, "start_time": bin_id.start_time}
