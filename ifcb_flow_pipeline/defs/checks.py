"""Checks on what was made. Incomplete tables block what follows; the others warn a person.

A check looks at the days of its run; started on its own, at the latest days that have been made.
"""

from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.defs.assets import bin_features, bin_scores, point_clouds
from ifcb_flow_pipeline.defs.metadata import day_text
from ifcb_flow_pipeline.defs.partitions import days_of_tags
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.detection.drift import score_drift
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: Days that a check looks at when it is started on its own.
LATEST_DAYS = 7

#: Share of unreadable bins from which a person should look: some damage is normal in telemetry.
MAX_UNREADABLE_SHARE = 0.05

#: Largest distance (Kolmogorov-Smirnov) between the scores of the days and those of the training bins.
MAX_SCORE_DRIFT = 0.3

#: With fewer scored bins, a large distance may be chance.
MIN_BINS_FOR_DRIFT = 30

#: Instruments are serviced and seasons turn: a model older than this has not seen the present.
MAX_MODEL_AGE_DAYS = 400


@dg.asset_check(asset=bin_features, blocking=True, description="Every bin of the inventory has a row of features.")
def features_are_complete(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Fails, and stops the run, where a bin of the inventory is missing."""
    return _completeness(deployment.tables, BIN_FEATURES, _days(context, deployment, BIN_FEATURES))


@dg.asset_check(asset=bin_scores, description="Every bin of the inventory has a row of scores.")
def scores_are_complete(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Fails where a bin of the inventory is missing."""
    return _completeness(deployment.tables, BIN_SCORES, _days(context, deployment, BIN_SCORES))


@dg.asset_check(asset=point_clouds, description="Few bins are unreadable.")
def bins_are_readable(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where more than one bin in twenty is unreadable."""
    wanted = _days(context, deployment, POINT_CLOUDS)
    entries = [entry for day in wanted for entry in deployment.clouds.entries(day) or []]
    bad = [entry for entry in entries if entry.status == "unreadable"]
    share = len(bad) / len(entries) if entries else 0.0
    return dg.AssetCheckResult(
        passed=share <= MAX_UNREADABLE_SHARE,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(bad)} of {len(entries)} bins are unreadable",
        metadata={
            "unreadable_share": share,
            "examples": [f"{entry.pid}: {entry.reason}" for entry in bad[:5]],
        },
    )


@dg.asset_check(asset=bin_scores, description="Scores are distributed as those of the training bins.")
def scores_have_not_drifted(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where the days' scores differ much from the training distribution: faults, or an outdated model."""
    wanted = _days(context, deployment, BIN_SCORES)
    columns = ["anomaly_score", "model_id"]
    parts = [part for day in wanted if (part := deployment.tables.read(BIN_SCORES, day, columns)) is not None]
    rows = pa.concat_tables(parts) if parts else None
    scores = rows.column("anomaly_score").to_numpy() if rows else np.zeros(0)
    scores = scores[np.isfinite(scores)]
    training = np.zeros(0)
    if rows and len(scores) >= MIN_BINS_FOR_DRIFT:
        training = deployment.models.load(rows.column("model_id")[-1].as_py()).training_scores
    if not training.size:
        return _warning(True, f"{len(scores)} scored bins, too few (or a model without training scores) to tell", {})
    drift = score_drift(scores, training)
    return _warning(
        drift <= MAX_SCORE_DRIFT,
        f"largest distance from the training scores: {drift:.2f} over {len(scores)} bins of {day_text(wanted)}",
        {
            "drift": drift,
            "median_score": float(np.median(scores)),
            "median_training": float(np.median(training)),
        },
    )


@dg.asset_check(asset=bin_scores, description="The model in use is not outdated.")
def model_is_recent(deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where the model in use was trained long ago."""
    card = deployment.models.card()
    age = (datetime.now(tz=UTC) - datetime.fromisoformat(card.created)).days
    return _warning(age <= MAX_MODEL_AGE_DAYS, f"{card.model_id} is {age} days old", {"age_days": age})


def _completeness(tables: DailyTables, table: Table, wanted: list[date]) -> dg.AssetCheckResult:
    missing: list[str] = []
    for day in wanted:
        expected = _pids(tables, RAW_BINS, day)
        missing += sorted(expected ^ _pids(tables, table, day))
    return dg.AssetCheckResult(
        passed=not missing,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{len(missing)} bins differ from the inventory" if missing else "all bins are there",
        metadata={"days": len(wanted), "missing_or_surplus": missing[:20]},
    )


def _pids(tables: DailyTables, table: Table, day: date) -> set[str]:
    rows = tables.read(table, day, ["pid"])
    return set(rows.column("pid").to_pylist()) if rows is not None else set()


def _days(context: dg.AssetCheckExecutionContext, deployment: Deployment, table: Table) -> list[date]:
    return days_of_tags(context.run.tags) or deployment.tables.days(table)[-LATEST_DAYS:]


def _warning(passed: bool, description: str, metadata: dict[str, Any]) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=passed, severity=dg.AssetCheckSeverity.WARN, description=description, metadata=metadata
    )
