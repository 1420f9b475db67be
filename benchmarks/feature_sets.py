"""What the full set of features costs beside the 27 of the reference set, end to end from the files, on one core.

``python -m benchmarks.feature_sets DIRECTORY`` measures it on the bins of a directory.
"""

import gc
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import click
import numpy as np
import pyarrow as pa

from benchmarks import archives
from benchmarks.table import Row, as_text, machine
from benchmarks.workloads import Size
from ifcb_flow_pipeline.api import Work, archive_features
from ifcb_flow_pipeline.days import IDENTITY, inventory_row, read_bin
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings, extract_features
from ifcb_flow_pipeline.store.archive import Archive, BinRead

#: Each is measured so often, in turns, and the quickest counts: other work on the machine makes it slower only.
REPEATS = 9

_POSITIONS = ("x_px", "y_px", "width_px", "height_px")


def both_sets(folder: Path, size: Size) -> list[Row]:
    """The row for simulated bins."""
    archives.flat_archive(folder, size.bins, size.mean_triggers)
    return [compared(folder, "simulated bins")]


def compared(folder: Path, what: str) -> Row:
    """Both sets from the same files in the same run, whose 27 common features are seen to be equal."""
    archive, settings = Archive(folder, settle=timedelta()), FeatureSettings()

    def full() -> pa.Table:
        return archive_features(archive, None, settings, Work(n_jobs=1))

    reference, ours = _reference(archive, settings), full()
    for name in FEATURE_NAMES:
        np.testing.assert_array_equal(reference.column(name).to_numpy(), ours.column(name).to_numpy())
    theirs_s, ours_s = _quickest(lambda: _reference(archive, settings), full)
    note = f"{ours.num_rows} bins; baseline: the 27 of the reference set, {ours_s / theirs_s:.2f} x (bar: 2 x)"
    return Row(f"{what} to the full set, 1 core", ours_s, theirs_s, None, note)


def _reference(archive: Archive, settings: FeatureSettings) -> pa.Table:
    """As ``archive_features``, but for the 27: the columns that they need are read, and nothing else is computed."""
    rows, now = [], archive.now()
    for raw in archive.scan().bins:
        row = inventory_row(raw, archive, now)
        read = read_bin(archive, row, _POSITIONS)
        values = np.full(len(FEATURE_NAMES), np.nan)
        if isinstance(read, BinRead) and read.status == "ok":
            values = extract_features(read.adc.columns, settings).values
        rows.append({name: row[name] for name in IDENTITY} | dict(zip(FEATURE_NAMES, values.tolist(), strict=True)))
    return pa.Table.from_pylist(rows)


def _quickest(*functions: Callable[[], object]) -> list[float]:
    times = np.empty((REPEATS, len(functions)))
    for repeat in range(REPEATS):
        for i, function in enumerate(functions):
            gc.collect()
            started = time.perf_counter()
            function()
            times[repeat, i] = time.perf_counter() - started
    return times.min(axis=0).tolist()


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Measure on the bins of a directory, and print the row."""
    click.echo(machine())
    click.echo(as_text([compared(directory, directory.name)]))


if __name__ == "__main__":
    main()
