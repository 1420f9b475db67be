"""Checks on what was made. Incomplete tables and worse models block what follows; the others warn a person.

A check looks at the days of its run; started on its own, at the latest days that have been made. Where every bin is a
run, ``COMPLETENESS`` alone is checked each time.
"""

from collections import Counter
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg
import numpy as np

from ifcb_flow_pipeline.days import status_counts
from ifcb_flow_pipeline.defs.assets import (
    bin_features,
    bin_scores,
    point_clouds,
    raw_bins,
)
from ifcb_flow_pipeline.defs.image_assets import bin_image_scores
from ifcb_flow_pipeline.defs.metadata import day_text
from ifcb_flow_pipeline.defs.partitions import days_of_tags
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.defs.steps import permanent_failures
from ifcb_flow_pipeline.detection.trial.drift import severity_drift
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.left_out import examples, summary
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, BIN_IMAGE_SCORES, BIN_SCORES, POINT_CLOUDS, RAW_BINS, Table

#: Days that a check looks at when it is started on its own.
LATEST_DAYS = 7

#: Share of unreadable bins from which a person should look: some damage is normal in telemetry.
MAX_UNREADABLE_SHARE = 0.05

#: Share of bins whose files are gone from which a disk may be missing. Their results are kept.
MAX_GONE_SHARE = 0.01

#: Share of an instrument's readable bins without verdict from which a person should act. Its first 20 bins have none;
#: two days of a bin every 25 minutes later they are less than this.
MAX_NOT_JUDGED_SHARE = 0.2

#: Largest distance (Kolmogorov-Smirnov) of the days' severities from those of healthy bins.
MAX_SEVERITY_DRIFT = 0.3

#: With fewer judged bins, a large distance may be chance.
MIN_BINS_FOR_DRIFT = 30

#: Instruments are serviced and seasons turn: a model older than this has not seen the present.
MAX_MODEL_AGE_DAYS = 400


@dg.asset_check(asset=bin_features, blocking=True, description="Every bin in the inventory has a row of features.")
def features_are_complete(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Fails, and stops the run, where a bin of the inventory is missing."""
    return _completeness(deployment.tables, BIN_FEATURES, _days(context, deployment, BIN_FEATURES))


@dg.asset_check(asset=bin_scores, description="Every bin in the inventory has a row of scores.")
def scores_are_complete(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Fails where a bin of the inventory is missing."""
    return _completeness(deployment.tables, BIN_SCORES, _days(context, deployment, BIN_SCORES))


@dg.asset_check(asset=bin_image_scores, description="Every bin of the inventory has a row of image scores.")
def image_scores_are_complete(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Fails where a bin of the inventory is missing."""
    return _completeness(deployment.tables, BIN_IMAGE_SCORES, _days(context, deployment, BIN_IMAGE_SCORES))


@dg.asset_check(asset=bin_image_scores, description="The images of few bins cannot be read.")
def images_are_readable(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where more than one .roi file in twenty cannot be read, or ends before its images do."""
    wanted = _days(context, deployment, BIN_IMAGE_SCORES)
    columns = ["pid", "status", "reason", "roi_complete"]
    parts = [deployment.tables.read(BIN_IMAGE_SCORES, day, columns) for day in wanted]
    rows = [row for part in parts if part is not None for row in part.to_pylist() if row["status"] != "no_roi"]
    bad = [row for row in rows if row["status"] == "roi_unreadable" or row["roi_complete"] is False]
    return _warning(
        len(bad) <= MAX_UNREADABLE_SHARE * len(rows),
        f"{len(bad)} of {len(rows)} .roi files are unreadable or end early",
        {"examples": [f"{row['pid']}: {row['reason'] or 'ends before its images do'}" for row in bad[:5]]},
    )


#: What is checked in every run; the nightly one has all checks. Dagster keeps every result for ever, in 4 kB.
COMPLETENESS = (features_are_complete, image_scores_are_complete, scores_are_complete)


@dg.asset_check(asset=raw_bins, description="Every bin in the archive is in the tables of its day.")
def nothing_is_left_out(deployment: Deployment) -> dg.AssetCheckResult:
    """Warns of bins in a directory of another date or with a time outside of the partitions, and of misnamed files."""
    with permanent_failures():
        rows = deployment.left_out.read()
    if rows is None:
        return _warning(True, "the archive has not been searched yet", {})
    counts = status_counts(rows["status"].to_pylist())
    return _warning(
        not counts,
        summary(rows) or "every bin is in the tables of its day",
        {"left_out": rows.num_rows, **counts, "examples": examples(rows)},
    )


@dg.asset_check(asset=point_clouds, description="At most 5 % of the bins are unreadable.")
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


@dg.asset_check(asset=raw_bins, description="Files have not vanished from the archive: no disk is missing.")
def files_are_there(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where more than one bin in a hundred is gone, and says of which instruments."""
    wanted = _days(context, deployment, RAW_BINS)
    parts = [deployment.tables.read(RAW_BINS, day, ["instrument", "gone_since"]) for day in wanted]
    rows = [row for part in parts if part is not None for row in part.to_pylist()]
    gone = Counter(row["instrument"] for row in rows if row["gone_since"] is not None)
    n_gone = sum(gone.values())
    return _warning(
        n_gone <= MAX_GONE_SHARE * len(rows),
        f"the files of {n_gone} of {len(rows)} bins are gone" + (": is a disk missing?" if n_gone else ""),
        {"gone": n_gone, "gone_by_instrument": dict(gone)},
    )


@dg.asset_check(asset=bin_scores, description="No drift: severities match those expected of healthy bins.")
def severities_have_not_drifted(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where many bins are more severe than the model expects of healthy ones: faults, or an outdated model."""
    wanted = _days(context, deployment, BIN_SCORES)
    columns = ["severity", "percentile"]
    parts = [part for day in wanted if (part := deployment.tables.read(BIN_SCORES, day, columns)) is not None]
    # Without a percentile the severity is no measure: the bin is unreadable or was not judged, or the model does not
    # know how rare it is.
    known = [part["severity"].to_numpy()[np.isfinite(part["percentile"].to_numpy())] for part in parts]
    severities = np.concatenate(known) if known else np.zeros(0)
    if len(severities) < MIN_BINS_FOR_DRIFT:
        return _warning(True, f"{len(severities)} scored bins, too few to tell", {})
    drift = severity_drift(severities)
    return _warning(
        drift <= MAX_SEVERITY_DRIFT,
        f"largest difference from the severities expected of healthy bins: {drift:.2f} (0 to 1) over "
        f"{len(severities)} bins of {day_text(wanted)}",
        {"drift": drift, "median_severity": float(np.median(severities))},
    )


@dg.asset_check(asset=bin_scores, description="Every instrument has enough history for verdicts.")
def bins_are_judged(context: dg.AssetCheckExecutionContext, deployment: Deployment) -> dg.AssetCheckResult:
    """Warns where more than one in five of an instrument's readable bins were not judged, naming the instruments."""
    wanted = _days(context, deployment, BIN_SCORES)
    columns = ["instrument", "verdict"]
    parts = [part for day in wanted if (part := deployment.tables.read(BIN_SCORES, day, columns)) is not None]
    rows = [row for part in parts for row in part.to_pylist() if row["verdict"] != "unreadable"]
    readable = Counter(row["instrument"] for row in rows)
    without = Counter(row["instrument"] for row in rows if row["verdict"] == "not_judged")
    many = {name: n for name, n in sorted(without.items()) if n > MAX_NOT_JUDGED_SHARE * readable[name]}
    found = (
        f"{without.total()} of {readable.total()} readable bins of {day_text(wanted)} have no verdict" if rows else ""
    )
    if many:
        named = ", ".join(f"{name}: {n} of {readable[name]}" for name, n in many.items())
        found = (
            f"no verdict: {named}. Once {MIN_BASELINE_BINS} healthy bins of an instrument have features, "
            "train a new model (job retrain), then score the days without verdicts again"
        )
    return _warning(not many, found or "there are no bins to score", {"not_judged": dict(without)})


@dg.asset_check(asset=bin_scores, description="The active model is not outdated.")
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
        description=f"{len(missing)} bins are missing, or are not in the inventory" if missing else "no bin is missing",
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
