"""Twenty years of features, a file a day: read, and trained on as Dagster's ``anomaly_model`` does it.

``python -m benchmarks.long_tables`` writes 7,300 daily files of three instruments (525,600 bins) and does both, each in
a process of its own, so that its peak of memory is its own; writing does not count.
"""

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import click
import pyarrow as pa

from benchmarks import judging
from benchmarks.memory import peak_mb
from benchmarks.table import Row, as_text
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.tables import BIN_FEATURES

_CREATED = datetime(2024, 1, 1, tzinfo=UTC)


def measure(folder: Path, n_rows: int, n_days: int, mean_triggers: int) -> list[Row]:
    """Reading ``n_rows`` rows from their daily files, and training on them; the rows are like those of ``n_days``
    days.
    """
    n_files = _write(folder, n_rows, n_days, mean_triggers)
    return [_row(folder, "read", f"features of {n_files} days read"), _row(folder, "train", "and trained on")]


def _row(folder: Path, what: str, workload: str) -> Row:
    command = [sys.executable, "-m", "benchmarks.long_tables", "--measured", what, str(folder)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Row(
        workload, found["wall"], note=f"{found['rows']} bins; peak {found['peak']:.0f} MB", ours_cpu_s=found["cpu"]
    )


def _write(folder: Path, n_rows: int, n_days: int, mean_triggers: int) -> int:
    """Write the daily files; how many there are."""
    rows = judging.many_rows(folder / "archive", n_rows, n_days, mean_triggers).sort_by("start_time")
    rows = rows.append_column("settings", pa.array(['{"flash_delay": 70, "software": "2.3.0.0"}' * 8] * len(rows)))
    rows, tables = rows.select(BIN_FEATURES.schema.names), DailyTables(folder / "tables")
    made_of, first = Provenance("benchmark", asdict(FeatureSettings())), 0
    dates = [start.date() for start in rows["start_time"].to_pylist()]
    for i in range(1, len(dates) + 1):
        if i == len(dates) or dates[i] != dates[first]:
            tables.write(BIN_FEATURES, dates[first], rows.slice(first, i - first), made_of)
            first = i
    return len(set(dates))


def _measure(what: str, folder: Path) -> dict[str, float]:
    tables, wall, cpu = DailyTables(folder / "tables"), time.perf_counter(), time.process_time()
    if what == "read":
        rows = tables.read_range(BIN_FEATURES, date.min, date.max).num_rows
    else:
        settings = TrainingSettings(FeatureSettings())
        rows = days.train_flow(tables, days.TrainingWindow(), settings, Decisions(), _CREATED).card.n_bins
    return {
        "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "peak": peak_mb(), "rows": rows
    }  # fmt: skip


@click.command()
@click.option("--bins", default=525_600, show_default=True, help="How many, of three instruments, one an hour each.")
@click.option("--measured", type=(str, click.Path(path_type=Path)), hidden=True)
def main(bins: int, measured: tuple[str, Path] | None) -> None:
    """Write, measure and print."""
    if measured is not None:
        click.echo(json.dumps(_measure(*measured)))
        return
    with tempfile.TemporaryDirectory() as name:
        click.echo(as_text(measure(Path(name), bins, n_days=14, mean_triggers=3500)))


if __name__ == "__main__":
    main()
