"""What the field asks of verdicts: ``python -m benchmarks.field`` prints every figure per seed, beside its bar.

The archives are those of ``field_day``, ``bubbles``, ``fault_days`` and ``wild_fleets``, and the public bins where they
are there. Features are kept between runs; verdicts are made anew.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import click

from benchmarks.field_figures import PARTS, Figure, pooled

_MISSED = "!"


def of_seed(task: tuple[str, int, bool, Path]) -> list[Figure]:
    """The figures of a part and a seed."""
    part, seed, small, folder = task
    started = time.perf_counter()
    figures = PARTS[part](seed, small=small, folder=folder)
    click.echo(f"{part}, seed {seed}: {time.perf_counter() - started:.0f} s", err=True)
    return figures


def as_table(by_seed: Mapping[int, Sequence[Figure]]) -> str:
    """The figures of one part as Markdown: the total, the bar, then seed by seed; what misses its bar is marked."""
    names = list(dict.fromkeys(figure.name for figures in by_seed.values() for figure in figures))
    header = ["", "bar", "total", "n", *(f"seed {seed}" for seed in by_seed)]
    lines = [header, ["---"] * len(header)]
    for name in names:
        found = [next((f for f in figures if f.name == name), None) for figures in by_seed.values()]
        total = pooled([figure for figure in found if figure])
        lines.append([name, _bar(total), _cell(total), str(total.n), *(_cell(figure) for figure in found)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _bar(figure: Figure) -> str:
    if figure.least is not None:
        return f">= {figure.least:g}"
    return f"<= {figure.most:g}" if figure.most is not None else ""


def _cell(figure: Figure | None) -> str:
    if figure is None or not figure.n:
        return "-"
    return f"{figure.value:.3f}" + ("" if figure.is_met else _MISSED)


@click.command()
@click.option("--seeds", default=1, show_default=True, help="How many archives of each kind.")
@click.option("--first-seed", default=0, show_default=True, help="The seed of the first archive.")
@click.option("--only", "parts", type=click.Choice(list(PARTS)), multiple=True, default=list(PARTS), show_default=True)
@click.option("--samples", type=click.Path(path_type=Path), default=Path("../shared/ifcb-samples"), show_default=True,
              help="Folder of public bins; what needs them is left out where it is not there.")  # fmt: skip
@click.option("--small", is_flag=True, help="Only show that everything runs; the figures mean nothing.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Archives at a time.")
def main(seeds: int, first_seed: int, parts: tuple[str, ...], samples: Path, small: bool, jobs: int) -> None:
    """Measure and print; ``!`` marks what misses its bar."""
    tasks = [(part, seed, small, samples) for part in parts for seed in range(first_seed, first_seed + seeds)]
    if jobs == 1:
        results = list(map(of_seed, tasks))
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
            results = list(pool.map(of_seed, tasks))
    for part in parts:
        found = {task[1]: figures for task, figures in zip(tasks, results, strict=True) if task[0] == part}
        click.echo(f"\n{part}\n\n{as_table(found)}")


if __name__ == "__main__":
    main()
