"""All measurements: ``python -m benchmarks`` prints one table and writes it to ``benchmarks/results``."""

import tempfile
from pathlib import Path

import click

from benchmarks import growth, sensing, workloads
from benchmarks.table import as_text, machine, write


@click.command()
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("benchmarks/results"), show_default=True,
              help="Folder for results.json and results.md.")  # fmt: skip
def main(small: bool, output: Path) -> None:
    """Measure, print, and write the table."""
    size = workloads.SMALL if small else workloads.Size()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = workloads.extraction(folder / "extraction", size)
        rows += workloads.one_cloud(folder / "cloud", size)
        rows += workloads.scoring(size)
        rows += workloads.range_runs(folder / "range", size)
        rows += sensing.measure(folder / "sensing", size.sensed_bins, size.sensed_days)
        rows += growth.measure(size.listed_bins)
    click.echo(machine())
    click.echo(as_text(rows))
    write(rows, output)


if __name__ == "__main__":
    main()
