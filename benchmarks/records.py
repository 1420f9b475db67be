"""Dagster's records: what they cost a run over a range of days, and how large they get when every bin is a run.

``python -m benchmarks.records`` prints both. Each run over a range is a process of its own, with tables and records of
its own; plain calls and Dagster take turns, and medians count. The campaign runs a day again after each bin and then
prunes as if they were old enough; a year is made up of what was measured. Runs are executed in process: a daemon's
have a dozen events more.
"""

import os
import shutil
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from benchmarks import archives, workloads
from benchmarks.table import machine

BINS_PER_DAY, MEAN_TRIGGERS = 48, 3500

#: A bin every 20 minutes.
RUNS_PER_DAY = 72

#: The bars: a range run may take so many times as long as plain calls, and so many seconds; a year so many bytes.
RATIO, SECONDS, YEAR_BYTES = 1.3, 5.0, 1e9


@click.command()
@click.option("--days", default=60, show_default=True, help="Days of the range.")
@click.option("--rounds", default=3, show_default=True, help="Runs of each kind.")
@click.option("--campaign-days", default=3, show_default=True, help="Days of the campaign, of 72 runs each.")
def main(days: int, rounds: int, campaign_days: int) -> None:
    """Measure and print."""
    click.echo(machine())
    with tempfile.TemporaryDirectory() as name:
        if rounds:
            click.echo(_range(Path(name) / "range", days, rounds))
        if campaign_days:
            click.echo(_campaign(Path(name) / "campaign", campaign_days))


def _range(folder: Path, days: int, rounds: int) -> str:
    archives.daily_archive(folder / "archive", days, BINS_PER_DAY, MEAN_TRIGGERS)
    workloads.train(folder / "archive", folder / "home")
    found: dict[str, list[dict[str, float]]] = {"plain": [], "dagster": []}
    for _ in range(rounds):
        for how, runs in found.items():
            runs.append(workloads.run_range(how, folder / "archive", folder / "home", days))
            shutil.rmtree(folder / "home" / f"{how}-{days}")
    lines = [f"{days} days of {BINS_PER_DAY} bins, medians of {rounds}:"]
    for name, of in (("wall", "seconds"), ("CPU", "cpu_seconds")):
        plain, dagster = (statistics.median(run[of] for run in found[how]) for how in ("plain", "dagster"))
        bar = RATIO * plain + SECONDS
        lines.append(
            f"{name}: plain {plain:.1f} s, Dagster {dagster:.1f} s, {dagster / plain:.2f} x; bar {RATIO} x + "
            f"{SECONDS:.0f} s = {bar:.1f} s: {'met' if dagster <= bar else 'MISSED'}"
        )
    return "\n".join(lines)


def _campaign(folder: Path, days: int) -> str:
    home = folder / "home"
    archives.daily_archive(folder / "all", days, RUNS_PER_DAY, 200)
    workloads.train(folder / "all", home)
    os.environ |= {"IFCB_DATA_DIR": str(folder / "archive"), "IFCB_FLOW_HOME": str(home), "IFCB_SETTLE_SECONDS": "0",
                   "IFCB_START_DAY": archives.FIRST_DAY.isoformat()}  # fmt: skip
    import dagster as dg

    from ifcb_flow_pipeline.defs import lineage
    from ifcb_flow_pipeline.defs.assets import anomaly_model
    from ifcb_flow_pipeline.defs.checks import COMPLETENESS
    from ifcb_flow_pipeline.defs.jobs import SCORE_STEPS, daily_flow
    from ifcb_flow_pipeline.defs.launch import QUIET, prepare_dagster_home
    from ifcb_flow_pipeline.defs.partitions import range_tags
    from ifcb_flow_pipeline.defs.pruning import DAYS_OF_RECORDS, prune
    from ifcb_flow_pipeline.defs.records import held_open
    from ifcb_flow_pipeline.defs.resources import Deployment
    from ifcb_flow_pipeline.store.survey import Budget

    os.environ |= prepare_dagster_home(Deployment().settings)
    records = home / "dagster"
    # As the sensor asks for one day: with the checks that it wants of it.
    steps = [*SCORE_STEPS, anomaly_model, lineage.archive, lineage.decisions]
    resources = {"deployment": Deployment()}
    defs = dg.Definitions(steps, jobs=[daily_flow], asset_checks=COMPLETENESS, resources=resources)
    job = defs.resolve_job_def(daily_flow.name)
    with dg.DagsterInstance.get() as instance:
        empty = _used_bytes(records)
        for day in _new_bins(folder):
            with held_open():
                job.execute_in_process(instance=instance, tags=range_tags(day, day), run_config=QUIET)
        before, n_before = _used_bytes(records) - empty, instance.get_runs_count()
        later = datetime.now(tz=UTC) + timedelta(days=DAYS_OF_RECORDS + 1)
        if prune(instance, home, later, Budget()) is None:
            raise SystemExit("pruning did not end")
        after, n_after = _used_bytes(records) - empty, instance.get_runs_count()
        made = len(instance.get_materialized_partitions(dg.AssetKey("bin_scores")))
    a_run, a_day = before / n_before, after / days
    year = empty + DAYS_OF_RECORDS * RUNS_PER_DAY * a_run + (365 - DAYS_OF_RECORDS) * a_day
    return (
        f"{n_before} runs of a day: {before / 1e6:.1f} MB, {a_run / 1e3:.0f} kB a run; pruned as {DAYS_OF_RECORDS + 1} "
        f"days later: {n_after} runs, {after / 1e6:.1f} MB, {a_day / 1e3:.0f} kB a day, {made} of {days} days still "
        f"known as made; a year of {RUNS_PER_DAY} runs a day: {year / 1e6:.0f} MB (without pruning "
        f"{365 * RUNS_PER_DAY * a_run / 1e9:.1f} GB): {'met' if year <= YEAR_BYTES else 'MISSED'}"
    )


def _new_bins(folder: Path) -> Iterator[date]:
    """Put one bin after the other into the archive; the day of each."""
    for adc in sorted((folder / "all").rglob("*.adc")):
        place = folder / "archive" / adc.parent.relative_to(folder / "all")
        place.mkdir(parents=True, exist_ok=True)
        for path in (adc.with_suffix(".hdr"), adc):
            os.link(path, place / path.name)
        yield datetime.strptime(adc.name[:9], "D%Y%m%d").replace(tzinfo=UTC).date()


def _used_bytes(folder: Path) -> int:
    """What the files hold: pages of a database that are free are used again before it grows."""
    total = 0
    for path in folder.rglob("*"):
        if path.suffix == ".db":
            with sqlite3.connect(path) as connection:
                counts = ("page_count", "freelist_count", "page_size")
                pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in counts)
            total += (pages - free) * size
        elif path.is_file():
            total += path.stat().st_size
    return total


if __name__ == "__main__":
    main()
