"""A copy of a remote archive as an asset, made every few minutes where IFCB_MIRROR names one (see ``mirror``)."""

from datetime import UTC, datetime

import dagster as dg

from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.errors import FlowError

#: Seconds between two looks at the source.
_EVERY = 600

_UNFINISHED = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
               dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]  # fmt: skip


@dg.asset(
    group_name=lineage.GROUP,
    kinds={"http", "file"},
    description="The bins of a remote archive, copied into IFCB_DATA_DIR. Only where IFCB_MIRROR is set.",
)
def mirrored_archive(context: dg.AssetExecutionContext, deployment: Deployment) -> dg.MaterializeResult:
    """Copy what is new; the bins that failed come with the next run."""
    from ifcb_flow_pipeline.mirror import mirror, source_of  # loads pandas, for half a second

    settings = deployment.settings
    if settings.mirror is None:
        raise dg.Failure(description="IFCB_MIRROR is not set: there is nothing to copy", allow_retries=False)
    try:
        found = mirror(source_of(settings.mirror), settings.archive.root, datetime.now(tz=UTC))
    except FlowError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from error
    for line in found.failures:
        context.log.warning(line)
    return dg.MaterializeResult(
        metadata={
            "bins": found.n_bins,
            "fetched": found.n_fetched,
            "changed": found.n_changed,
            "not_there": found.n_absent,
            "failed": len(found.failures),
        }
    )


copy_archive = dg.define_asset_job(
    "copy_archive",
    selection=dg.AssetSelection.assets(mirrored_archive),
    description="Copy what is new in the remote archive that IFCB_MIRROR names.",
)


@dg.sensor(
    job=copy_archive,
    minimum_interval_seconds=_EVERY,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Copies what is new in the remote archive, every ten minutes, where IFCB_MIRROR names one.",
)
def mirror_due(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.RunRequest | dg.SkipReason:
    """Ask for a copy unless one is being made."""
    if deployment.settings.mirror is None:
        return dg.SkipReason("IFCB_MIRROR is not set: the archive is no copy")
    running = dg.RunsFilter(job_name=copy_archive.name, statuses=_UNFINISHED)
    if context.instance.get_runs(filters=running, limit=1):
        return dg.SkipReason("a copy is being made")
    return dg.RunRequest()
