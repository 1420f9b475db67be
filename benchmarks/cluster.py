"""Days over two Dask workers against the threads of one process: ``python -m benchmarks.cluster demo``.

Bytes of all tables, CPU seconds of both once warm, and whether all days are made when a worker is killed on the way.
"""

import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from benchmarks.scaling import timed
from ifcb_flow_pipeline.day_range import Cluster, Here
from ifcb_flow_pipeline.store.claim import move
from ifcb_flow_pipeline.store.daily import DailyTables
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.settings import Settings


@click.command()
@click.argument("home", type=click.Path(exists=True, path_type=Path))
@click.option("--rounds", type=int, default=3, show_default=True)
def main(home: Path, rounds: int) -> None:
    """Measure on the archive and the model of the data folder HOME."""
    distributed: Any = import_module("distributed")  # optional, and typed for programs of coroutines
    with (
        tempfile.TemporaryDirectory() as name,
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        distributed.Client(local.scheduler_address) as workers,
    ):
        for number in range(rounds + 1):  # the first warms all of them up
            threads, dask = (_fresh(home, Path(name) / f"{number}-{kind}") for kind in ("threads", "dask"))
            _, of_threads = timed(partial(_made, Here(), threads))
            before = sum(workers.run(time.process_time).values())
            _, of_client = timed(partial(_made, Cluster(local.scheduler_address), dask))
            of_dask = of_client + sum(workers.run(time.process_time).values()) - before
            wanted, found = _files(threads.home), _files(dask.home)
            equal = sum(found.get(path) == content for path, content in wanted.items())
            if number:
                print(f"threads {of_threads:.2f} CPU s, two workers {of_dask:.2f} ({of_dask / of_threads:.2f} x); "
                      f"{equal} of {len(wanted)} files equal")  # fmt: skip
        killed = _fresh(home, Path(name) / "killed")
        cluster = Cluster(local.scheduler_address)
        listing = killed.archive.scan()
        victim = next(iter(workers.run(os.getpid).values()))
        made = []
        for one in cluster.features(killed, listing, listing.days):
            made.append(one)
            if len(made) == 3:
                os.kill(victim, signal.SIGKILL)
        print(f"a worker killed: {sum(not one.error for one in made)} of {len(listing.days)} days made")


def _fresh(home: Path, folder: Path) -> Settings:
    shutil.copytree(home / "models", folder / "models")
    (folder / "tables").mkdir()
    settings = replace(Settings.from_environment({"IFCB_FLOW_HOME": str(folder)}), home=folder)
    settings = replace(settings, archive=replace(settings.archive, root=home / "archive"))
    move(DailyTables(folder / "tables"), settings.archive)
    return settings


def _made(where: Here | Cluster, settings: Settings) -> None:
    listing = settings.archive.scan()
    model_id = ModelStore(settings.home / "models").current_id() or ""
    for one in (*where.features(settings, listing, listing.days), *where.scores(settings, model_id, listing.days)):
        if one.error:
            raise RuntimeError(one.error)


def _files(home: Path) -> dict[str, bytes]:
    tables = home / "tables"
    names = ("raw_bins", "point_clouds", "bin_features", "bin_scores")
    return {
        f"{path.relative_to(tables)}": path.read_bytes()
        for name in names
        for path in (tables / name).rglob("*.parquet")
    }


if __name__ == "__main__":
    main()
