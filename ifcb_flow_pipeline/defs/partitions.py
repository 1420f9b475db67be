"""Daily partitions, and the days that a run is about."""

import os
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from ifcb_flow_pipeline.store.first_day import first_day
from ifcb_flow_pipeline.store.settings import DEFAULT_START_DAY, Settings, SettingsError, start_day

#: Dagster's own names of the tags that say which days a run is about, and that it is a retry.
ASSET_PARTITION_RANGE_START_TAG = "dagster/asset_partition_range_start"
ASSET_PARTITION_RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_NAME_TAG = "dagster/partition"
RETRY_NUMBER_TAG = "dagster/retry_number"
ROOT_RUN_ID_TAG = "dagster/root_run_id"

#: Dagster's own name of the tag of an event that says which version of an asset it is about.
DATA_VERSION_TAG = "dagster/data_version"


def today() -> date:
    """The current UTC day, the last that has a partition."""
    return datetime.now(tz=UTC).date()


def _first_day() -> date:
    if os.environ.get("IFCB_START_DAY"):
        return start_day(os.environ)
    try:
        return first_day(Settings.from_environment(os.environ), today())
    except SettingsError:  # told where the setting is used
        return DEFAULT_START_DAY


#: The first day that has a partition. It stays the same while the program runs.
FIRST_DAY = _first_day()

#: One partition per UTC day, today included (``end_offset=1``): today's bins are wanted today.
DAILY = dg.DailyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), timezone="UTC", fmt="%Y-%m-%d", end_offset=1)


def range_tags(first: date, last: date) -> dict[str, str]:
    """The run tags that make one run out of a range of days."""
    return {
        ASSET_PARTITION_RANGE_START_TAG: first.isoformat(),
        ASSET_PARTITION_RANGE_END_TAG: last.isoformat(),
    }


def days_of_tags(tags: Mapping[str, str]) -> list[date]:
    """The days that a run with these tags is about; none where it is not about days."""
    if PARTITION_NAME_TAG in tags:
        return [date.fromisoformat(tags[PARTITION_NAME_TAG])]
    if ASSET_PARTITION_RANGE_START_TAG not in tags:
        return []
    first = date.fromisoformat(tags[ASSET_PARTITION_RANGE_START_TAG])
    last = date.fromisoformat(tags[ASSET_PARTITION_RANGE_END_TAG])
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]
