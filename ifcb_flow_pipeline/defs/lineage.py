"""What Dagster is told beyond what it runs: the archive, people's decisions, and the versions of all assets.

With the versions Dagster knows what is out of date: a table whose input has changed since, scores by another model
than the one in use. The events here only report; nothing is decided by them (``planning`` does).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from hashlib import sha256

import dagster as dg

from ifcb_flow_pipeline.defs.partitions import DAILY, DATA_VERSION_TAG
from ifcb_flow_pipeline.store.daily import Provenance
from ifcb_flow_pipeline.store.labels import Decisions

#: One group: the UI then shows the whole way of the data at once.
GROUP = "ifcb_flow"

archive = dg.AssetSpec(
    "archive",
    description="The raw bins of a day, as the instruments wrote them. They are only read; the sensor new_bins "
    "reports changes.",
    group_name=GROUP,
    kinds={"file"},
    partitions_def=DAILY,
)

decisions = dg.AssetSpec(
    "decisions",
    description="People's decisions about bins, from the review app or an imported list. Models learn from them.",
    group_name=GROUP,
    kinds={"sqlite"},
)

#: The asset whose version is the model in use; named here for those who only report it.
MODEL_KEY = dg.AssetKey("anomaly_model")

#: What scores are joined with; its asset is made of the assets that come before scores.
BIN_IMAGE_SCORES_KEY = dg.AssetKey("bin_image_scores")


def table_version(made_of: Provenance | None) -> str:
    """The version of a day's table: the signature of the archive's files that it was made of, and what else it is."""
    if made_of is None:
        return "none"
    images = {"images": made_of.images} if made_of.images else {}
    also = json.dumps({**made_of.made_of, **images, "unread": made_of.unread}, sort_keys=True, default=str)
    return f"{made_of.signature or 'no bins'} {sha256(also.encode()).hexdigest()[:8]}"


def range_version(versions: Iterable[str]) -> dg.DataVersion:
    """One version for the days of a run together."""
    return dg.DataVersion(sha256("\n".join(versions).encode()).hexdigest()[:16])


def archive_changed(day: date, signature: str) -> dg.AssetObservation:
    """That the archive has other files of a day than the tables were made of."""
    return dg.AssetObservation(archive.key, partition=day.isoformat(), tags={DATA_VERSION_TAG: signature or "no bins"})


def decisions_changed(instance: dg.DagsterInstance, found: Decisions) -> list[dg.AssetObservation]:
    """That people decided something since this was last reported; nothing where they did not."""
    singles = sorted(found.own.items())
    version = sha256(repr((singles, list(found.ranges))).encode()).hexdigest()[:16] if found else "none"
    records = instance.fetch_observations(decisions.key, limit=1).records
    last = records[0].asset_observation if records else None
    if ((last.tags or {}).get(DATA_VERSION_TAG) if last else "none") == version:
        return []
    counts = {"bins": len(singles), "ranges": len(found.ranges)}
    return [dg.AssetObservation(decisions.key, metadata=counts, tags={DATA_VERSION_TAG: version})]


def model_in_use(model_id: str, how: Mapping[str, str]) -> dg.AssetMaterialization:
    """That a model came into use, and how."""
    return dg.AssetMaterialization(MODEL_KEY, metadata={"model_id": model_id, **how}, tags={DATA_VERSION_TAG: model_id})


def model_changed(instance: dg.DagsterInstance, model_id: str | None) -> list[dg.AssetMaterialization]:
    """That another model is in use than the records say, as somebody put it to use without Dagster."""
    event = instance.get_latest_materialization_event(MODEL_KEY)
    known = event.asset_materialization if event else None
    if model_id is None or (known is not None and (known.tags or {}).get(DATA_VERSION_TAG) == model_id):
        return []
    return [model_in_use(model_id, {"changed_by": "the command line or the review app"})]
