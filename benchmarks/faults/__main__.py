"""The campaign: see the package."""

import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from benchmarks.faults import archive, kills, tables, writers
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.site import Site

#: What can be tried by itself.
PARTS = ("archive", "tables", "writers", "kills")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is tried. ``kills``: of a real deployment."""

    n_days: int = 8
    damages: int = 1000
    writer_kills: int = 70
    races: int = 12
    kills: int = 30
    kill_days: int = 10


SMALL = Size(n_days=2, damages=40, writer_kills=2, races=1, kills=0)


@click.command()
@click.option("--small", is_flag=True, help="Few of each kind, and no real deployment: some seconds.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Try only this; may be given more than once.")
@click.option("--kills", "n_kills", type=int, help="So many kills of a real deployment.")
@click.option("--port", default=37000, show_default=True, help="Of the real deployment; the 60 after it are used too.")
@click.option("--seed", default=4, show_default=True, help="Of what is damaged, and when something is killed.")
def main(small: bool, only: tuple[str, ...], n_kills: int | None, port: int, seed: int) -> None:
    """Try each kind of fault, and print how often it was survived."""
    size, rng = SMALL if small else Size(), random.Random(seed)  # noqa: S311 - no secrets
    began, lost = time.monotonic(), 0
    click.echo(f"{'fault':52} tried survived lost")
    with tempfile.TemporaryDirectory(prefix="ifcb-faults-") as name:
        for part in only or PARTS:
            trying = {
                "archive": partial(_archive, size),
                "tables": partial(_tables, size, rng),
                "writers": partial(_writers, size, rng),
                "kills": partial(_kills, size, size.kills if n_kills is None else n_kills, port, rng),
            }[part]
            folder = Path(name) / part
            folder.mkdir()
            for outcome in trying(folder):
                lost += outcome.tried - outcome.survived
                click.echo(outcome.line())
    click.echo(f"{lost} lost, in {(time.monotonic() - began) / 60:.1f} minutes", err=True)
    if lost:
        raise SystemExit(1)


def _archive(size: Size, folder: Path) -> Iterator[Outcome]:
    site = Site.written(folder, size.n_days)
    yield from archive.losses(site)
    yield archive.other_archive(site)
    yield from archive.passing_errors(site)
    yield archive.hung_disk(site)
    yield archive.odd_files(site)
    yield from archive.changes(site)


def _tables(size: Size, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    site = Site.written(folder, size.n_days)
    yield from tables.damages(site, size.damages, rng)
    yield tables.full_disk(site, folder)


def _writers(size: Size, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    site = Site.written(folder, size.n_days)
    yield writers.writer_kills(site, size.writer_kills, rng, _tell)
    yield writers.two_writers(site, size.races, rng)


def _kills(size: Size, n_kills: int, port: int, rng: random.Random, folder: Path) -> Iterator[Outcome]:
    if not n_kills:
        return
    served = kills.Served(folder, port)
    served.set_up(size.kill_days, bins_per_day=6)
    yield from kills.kills(served, list(itertools.islice(itertools.cycle(kills.VICTIMS), n_kills)), rng, _tell)


_tell: Callable[[str], object] = partial(click.echo, err=True)

if __name__ == "__main__":
    main()
