"""All measurements: ``python -m benchmarks`` prints one table and writes it to ``benchmarks/results``."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import commands, growth, judging, long_tables, sensing, workloads
from benchmarks.table import Row, as_text, machine, write


@click.command()
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results"), show_default=True,
              help="Folder for results.json and results.md.")  # fmt: skip
def main(small: bool, output: Path) -> None:
    """Measure, print, and write the table."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        for measure in _measurements(Path(name), workloads.SMALL if small else workloads.Size()):
            rows += measure()
            # What was measured is kept where a later measurement fails.
            write(rows, output)
            click.echo(f"{len(rows)} rows", err=True)
    click.echo(machine())
    click.echo(as_text(rows))


def _measurements(folder: Path, size: workloads.Size) -> list[Callable[[], list[Row]]]:
    return [
        lambda: workloads.extraction(folder / "extraction", size),
        lambda: commands.measure(folder / "commands", size),
        lambda: workloads.one_cloud(folder / "cloud", size),
        lambda: workloads.scoring(size),
        lambda: judging.measure(
            folder / "judging", size.scored_rows, size.trained_rows, size.judged_days, size.mean_triggers
        ),
        lambda: long_tables.measure(folder / "long", size.trained_rows, size.judged_days, size.mean_triggers),
        lambda: workloads.range_runs(folder / "range", size),
        lambda: sensing.measure(folder / "sensing", size.sensed_bins, size.sensed_days),
        lambda: sensing.measure(folder / "flat", size.flat_bins, size.flat_days, "flat"),
        lambda: growth.measure(size.listed_bins),
    ]


if __name__ == "__main__":
    main()
