"""What the full set of features costs beside the 27 of the reference set, end to end from the files, on one core.

``python -m benchmarks.feature_sets DIRECTORY`` measures it on the bins of a directory, such as real ones.
"""

import gc
import time
from datetime import timedelta
from pathlib import Path

import click
import numpy as np

from benchmarks.table import Row, as_text, machine
from ifcb_flow_pipeline.api import Work, archive_features
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.archive import Archive


def compared(folder: Path, repeats: int) -> Row:
    """Both sets from the same files in the same run, in turns; the features that they share are seen to be equal.

    Of the repetitions the quickest counts: other work on the machine makes them slower only.
    """
    archive, settings, work = Archive(folder, settle=timedelta()), FeatureSettings(), Work(n_jobs=1)
    seconds = {"reference": float("inf"), "full": float("inf")}
    found = {}
    for _ in range(repeats):
        for feature_set in ("reference", "full"):
            gc.collect()
            started = time.perf_counter()
            found[feature_set] = archive_features(archive, None, settings, work, feature_set)
            seconds[feature_set] = min(seconds[feature_set], time.perf_counter() - started)
    for name in FEATURE_NAMES:
        np.testing.assert_array_equal(*(table.column(name).to_numpy() for table in found.values()))
    note = f"{found['full'].num_rows} bins; baseline: 27 features; {seconds['full'] / seconds['reference']:.2f} x"
    return Row(f"{folder.name} to all features, 1 core", seconds["full"], seconds["reference"], None, note)


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--repeats", type=click.IntRange(min=2), default=10, show_default=True, help="Measurements of each.")
def main(directory: Path, repeats: int) -> None:
    """Measure on the bins of a directory, and print the row."""
    click.echo(machine())
    click.echo(as_text([compared(directory, repeats)]))


if __name__ == "__main__":
    main()
