"""The flow model over tables as large as an archive's: verdicts with causes and reasons, and training.

The rows are those of a small simulated archive, over and over with a little noise, at times that span decades.
``python -m benchmarks.judging`` judges 1,000,000 of them and trains on 525,600, each in a process of its own, so that
its peak of memory is its own; making the tables does not count.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.memory import peak_mb
from benchmarks.table import Row, as_text
from ifcb_flow_pipeline.api import archive_features
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import write_archive
from ifcb_flow_pipeline.simulate.bins import KNOWN_INSTRUMENTS
from ifcb_flow_pipeline.simulate.plan import ArchivePlan, Episode
from ifcb_flow_pipeline.store.archive import Archive

_FIRST_DAY, _BINS_PER_DAY = date(2003, 8, 1), 24

#: Time from one bin to the next in the table that is judged, and in the one that is trained on: 20 years of 175,200.
_CADENCE, _HOURLY = timedelta(minutes=24), timedelta(hours=1)

_THREE = ("IFCB124", "IFCB134", "IFCB135")

#: Noise of each feature, in standard deviations of its instrument's bins.
_NOISE = 0.1

#: Bins from one service of an instrument to the next, and how long one takes.
_SERVICE_BINS, _SERVICE = 1800, timedelta(hours=10)

#: Bins of which each gets its reasons.
_EXPLAINED = 10_000

_CREATED = datetime(2003, 9, 1, tzinfo=UTC)


def measure(folder: Path, n_rows: int, n_trained: int, n_days: int, mean_triggers: int) -> list[Row]:
    """Verdicts on ``n_rows`` rows by a model of ``n_days`` days of two instruments, and reasons for some of them.

    And training on ``n_trained`` rows of three instruments.
    """
    features = _archive(folder / "archive", n_days, mean_triggers)
    judged = _in_process(folder, "judge", features, _repeated(features, n_rows, ("IFCB124", "IFCB134"), _CADENCE))
    trained = _in_process(folder, "train", features, _repeated(features, n_trained, _THREE, _HOURLY))
    n_explained = min(_EXPLAINED, n_rows)
    return [
        _row(f"judge and explain {n_rows} rows, flow model", judged, f"{judged['with_reasons']:.0%} with reasons"),
        Row(
            f"explain {n_explained} bins, flow model",
            judged["explained"],
            note=f"{judged['plain']:.2f} s of it the verdicts",
        ),
        _row(f"train on {n_trained} rows, flow model", trained, f"{trained['n_bins']} of them used"),
    ]


def many_rows(folder: Path, n_rows: int, n_days: int, mean_triggers: int) -> pa.Table:
    """So many rows of three instruments, one an hour each, like those of a simulated archive of ``n_days`` days."""
    return _repeated(_archive(folder, n_days, mean_triggers), n_rows, _THREE, _HOURLY)


def _row(workload: str, found: dict[str, Any], note: str) -> Row:
    memory = f"{found['grown']:.0f} MB more than the table's {found['table']:.0f}, {found['peak']:.0f} in all"
    return Row(workload, found["wall"], note=f"{note}; {found['cpu']:.1f} s CPU; {memory}")


def _in_process(folder: Path, what: str, features: pa.Table, rows: pa.Table) -> dict[str, Any]:
    """What ``_judge`` or ``_train`` measures in a process that has read these rows, and nothing else."""
    for name, table in (("features", features), ("rows", rows)):
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    command = [sys.executable, "-m", "benchmarks.judging", "--measured", what, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _read(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        return pa.ipc.open_file(file).read_all().combine_chunks()


def _judge(folder: Path) -> dict[str, Any]:
    model = train_flow_model(_read(folder / "features.arrow"), TrainingSettings(), {}, _CREATED, {})
    rows = _read(folder / "rows.arrow")
    model.judge(rows.slice(0, 100))  # what is compiled, or loaded, once does not count
    verdicts, found = _measured(rows, lambda: model.judge(rows))
    some = rows.slice(0, _EXPLAINED)
    # From a severity of 0 on, each bin gets its reasons.
    talkative = replace(model, thresholds=dict.fromkeys(model.instruments, 0.0))
    return found | {
        "with_reasons": 1.0 - float(np.mean(verdicts["verdict"].to_numpy() == "ok")),
        "explained": _measured(some, lambda: talkative.judge(some))[1]["wall"],
        "plain": _measured(some, lambda: model.judge(some))[1]["wall"],
    }


def _train(folder: Path) -> dict[str, Any]:
    train_flow_model(_read(folder / "features.arrow"), TrainingSettings(), {}, _CREATED, {})
    rows = _read(folder / "rows.arrow")
    model, found = _measured(rows, lambda: train_flow_model(rows, TrainingSettings(), {}, _CREATED, {}))
    return found | {"n_bins": model.card.n_bins}


def _measured(rows: pa.Table, work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What some work on a table gives, and its seconds and MB."""
    before, wall, cpu = peak_mb(), time.perf_counter(), time.process_time()
    result = work()
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return result, seconds | {"table": rows.nbytes / 2**20, "grown": peak_mb() - before, "peak": peak_mb()}


def _archive(folder: Path, n_days: int, mean_triggers: int) -> pa.Table:
    """Features of a simulated archive in which some bins are faulty."""
    instruments = tuple(profile for profile in KNOWN_INSTRUMENTS if profile.name in ("IFCB134", "IFCB124"))
    episodes = tuple(
        Episode(fault, profile.name, day=1, hour=hour, n_bins=2)
        for profile in instruments
        for fault, hour in (("air", 2), ("clog", 8), ("laser_misalignment", 14), ("incomplete_run", 20))
    )
    plan = ArchivePlan(instruments, _FIRST_DAY, n_days, _BINS_PER_DAY, mean_triggers, episodes=episodes)
    write_archive(plan, folder)
    return archive_features(Archive(folder, settle=timedelta()), None, FeatureSettings())


def _repeated(features: pa.Table, n_rows: int, instruments: Sequence[str], cadence: timedelta) -> pa.Table:
    """So many rows, instrument by instrument and in order of time; without the texts of the headers."""
    rng = np.random.default_rng(0)
    known = sorted(set(features["instrument"].to_pylist()))
    parts = []
    for number, name in enumerate(instruments):
        like = name if name in known else known[number % len(known)]
        own = features.drop_columns(["settings"]).filter(pc.field("instrument") == like)
        n = n_rows // len(instruments) + (number < n_rows % len(instruments))
        parts.append(_of_instrument(name, own, np.arange(n) % own.num_rows, cadence, rng))
    return pa.concat_tables(parts).combine_chunks()


def _of_instrument(
    name: str, own: pa.Table, chosen: NDArray[np.int64], cadence: timedelta, rng: np.random.Generator
) -> pa.Table:
    start = datetime(_FIRST_DAY.year, _FIRST_DAY.month, _FIRST_DAY.day, tzinfo=UTC)
    starts = [start + i * cadence + i // _SERVICE_BINS * _SERVICE for i in range(len(chosen))]
    columns: dict[str, pa.Array | pa.ChunkedArray | Sequence[str]] = {
        "pid": [format_pid(name, each) for each in starts],
        "instrument": [name] * len(chosen),
        "start_time": pa.array(starts, pa.timestamp("us", tz="UTC")),
    }
    for column in own.schema:
        if pa.types.is_floating(column.type):
            values = own[column.name].to_numpy()
            low, high = np.nanquantile(values, (0.25, 0.75)) if np.isfinite(values).any() else (0.0, 0.0)
            noise = _NOISE * (high - low) / 1.35 * rng.standard_normal(len(chosen))
            columns[column.name] = pa.array(values[chosen] + noise)
        elif column.name not in columns:
            columns[column.name] = own[column.name].take(pa.array(chosen))
    return pa.table({column: columns[column] for column in own.column_names})


@click.command()
@click.option("--rows", default=1_000_000, show_default=True, help="How many are judged.")
@click.option("--bins", default=525_600, show_default=True, help="How many of three instruments are trained on.")
@click.option("--measured", type=(str, click.Path(path_type=Path)), hidden=True)
def main(rows: int, bins: int, measured: tuple[str, Path] | None) -> None:
    """Measure and print."""
    if measured is not None:
        what, folder = measured
        click.echo(json.dumps(_judge(folder) if what == "judge" else _train(folder)))
        return
    with tempfile.TemporaryDirectory() as name:
        click.echo(as_text(measure(Path(name), rows, bins, n_days=14, mean_triggers=3500)))


if __name__ == "__main__":
    main()
