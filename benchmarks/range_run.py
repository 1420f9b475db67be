"""One range of days from raw bins to scores, in a process of its own: through Dagster, or as plain calls.

Prints seconds, CPU seconds and peak memory as JSON. Started by ``workloads``.
"""

import json
import os
import sys
import time
from datetime import date, timedelta

from benchmarks.memory import peak_mb


def main(how: str, first: date, n_days: int) -> None:
    """Run ``how`` (``dagster`` or ``plain``) over ``n_days`` days from ``first``, with a model that is there."""
    last = first + timedelta(days=n_days - 1)
    os.environ["IFCB_START_DAY"] = first.isoformat()
    run = _through_dagster if how == "dagster" else _plain
    started, cpu_started = time.perf_counter(), time.process_time()
    run(first, last)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak_mb()}))


def _through_dagster(first: date, last: date) -> None:
    import dagster as dg

    from ifcb_flow_pipeline.defs.launch import prepare_dagster_home, run_job
    from ifcb_flow_pipeline.defs.partitions import range_tags
    from ifcb_flow_pipeline.defs.resources import Deployment

    os.environ |= prepare_dagster_home(Deployment().settings)
    with dg.DagsterInstance.get() as instance:
        run_job(instance, "daily_flow", range_tags(first, last), None)


def _plain(first: date, last: date) -> None:
    from ifcb_flow_pipeline import days
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.models import ModelStore
    from ifcb_flow_pipeline.store.settings import Settings

    settings = Settings.from_environment(os.environ)
    tables, model = DailyTables(settings.home / "tables"), ModelStore(settings.home / "models").load()
    history = days.history_of(tables)
    listing = settings.archive.scan(first, last)
    for i in range((last - first).days + 1):
        day = first + timedelta(days=i)
        days.write_inventory(tables, settings.archive, listing, day)
        days.write_clouds(tables, settings.archive, day)
        days.write_features(tables, settings.features, day)
        days.write_scores(tables, model, day, history.before(day))


if __name__ == "__main__":
    main(sys.argv[1], date.fromisoformat(sys.argv[2]), int(sys.argv[3]))
