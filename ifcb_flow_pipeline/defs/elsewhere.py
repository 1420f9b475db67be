"""Dagster's records of days that were made without it, by ``ifcb-flow days``: it stays the book-keeper.

The tables themselves tell what is up to date; the records here are for people and for what is derived from them.
"""

import json
import time
from typing import Any

import dagster as dg

from ifcb_flow_pipeline.defs import lineage
from ifcb_flow_pipeline.defs.partitions import DATA_VERSION_TAG, FIRST_DAY, today
from ifcb_flow_pipeline.defs.resources import Deployment
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.made_elsewhere import Note, forget, unrecorded
from ifcb_flow_pipeline.store.tables import TABLES

#: So many in a tick: each is a transaction, and Dagster waits for a minute.
_MOST = 200

#: Files of notes are kept for so long after the last was added.
_KEPT_SECONDS = 24 * 3600.0

_TABLES = {table.name: table for table in TABLES}


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records the days that `ifcb-flow days` made, here or on a cluster, as materialized.",
)
def days_made_elsewhere(context: dg.SensorEvaluationContext, deployment: Deployment) -> dg.SensorResult:
    """Record what was noted since the last tick; the cursor says how much of each file of notes is recorded."""
    home, before = deployment.settings.home, json.loads(context.cursor or "{}")
    forget(home, before, time.time() - _KEPT_SECONDS)
    notes, done = unrecorded(home, before, _MOST)
    known = [note for note in notes if FIRST_DAY <= note.day <= today()]
    events: list[Any] = [_materialization(deployment.tables, note) for note in known]
    said = f"{len(events)} tables of days recorded" if events else "nothing was made elsewhere"
    return dg.SensorResult(skip_reason=said, cursor=json.dumps(done), asset_events=events)


def _materialization(tables: DailyTables, note: Note) -> dg.AssetMaterialization:
    version = lineage.table_version(tables.provenance(_TABLES[note.table], note.day))
    return dg.AssetMaterialization(
        dg.AssetKey(note.table),
        partition=note.day.isoformat(),
        metadata={"made_by": "ifcb-flow days"},
        tags={DATA_VERSION_TAG: version},
    )
