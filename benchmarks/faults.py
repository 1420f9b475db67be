"""What a deployment survives: ``python -m benchmarks.faults`` prints tried, survived and lost for each kind of fault.

On a simulated archive in a temporary folder, through the steps of a day and the look that the sensor takes. What needs
whole programs (kills of ``serve``, daemon and code server, a full disk) is in the tests of ``serving`` and ``records``.
"""

import errno
import random
import tempfile
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import click

from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.defs.planning import day_states, missing_disk, plan
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import demo_plan, write_archive
from ifcb_flow_pipeline.store.archive import Archive, ArchiveError
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, StoreError
from ifcb_flow_pipeline.store.survey import Budget, Survey, Surveyor
from ifcb_flow_pipeline.store.tables import BIN_FEATURES, POINT_CLOUDS, RAW_BINS

LAST_DAY = date(2026, 11, 28)
TABLES = (RAW_BINS, POINT_CLOUDS, BIN_FEATURES)

#: Errors of a disk that pass by themselves.
PASSING = (errno.ENOENT, errno.ESTALE, errno.EIO, errno.EACCES, errno.EMFILE, errno.ETIMEDOUT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often a kind of fault was tried, and how often what is expected of it held."""

    fault: str
    tried: int
    survived: int


@dataclass(frozen=True, slots=True)
class Site:
    """An archive and what is made of it."""

    archive: Archive
    home: Path

    @property
    def tables(self) -> DailyTables:
        """Its tables."""
        return DailyTables(self.home / "tables")

    def make(self) -> None:
        """All steps up to the features, of all days that the archive or the tables have."""
        listing = self.archive.scan()
        for day in sorted({*listing.days, *self.tables.days(RAW_BINS)}):
            days.write_inventory(self.tables, self.archive, listing, day)
            days.write_clouds(self.tables, self.archive, day)
            days.write_features(self.tables, FeatureSettings(), day)

    def look(self) -> Survey:
        """What the sensor sees."""
        return Surveyor(self.archive, self.tables, self.home / "ledger.sqlite").survey((BIN_FEATURES,), Budget())

    def up_to_date(self) -> bool:
        """Whether the sensor would ask for nothing."""
        return not plan(day_states(self.look()), with_scores=False).requests

    def features(self) -> dict[str, str]:
        """The features of each bin, as text: NaN is equal to NaN."""
        found = [self.tables.read(BIN_FEATURES, day) for day in self.tables.days(BIN_FEATURES)]
        return {row["pid"]: str(row) for rows in found if rows is not None for row in rows.to_pylist()}


@click.command()
@click.option("--small", is_flag=True, help="Two days and few damages: only show that everything runs.")
def main(small: bool) -> None:
    """Try each kind of fault, and print how often it was survived."""
    outcomes = campaign(n_days=2 if small else 8, n_damages=40 if small else 1000)
    click.echo(f"{'fault':52} tried survived lost")
    for outcome in outcomes:
        lost = outcome.tried - outcome.survived
        click.echo(f"{outcome.fault:52} {outcome.tried:5} {outcome.survived:8} {lost:4}")
    if any(outcome.survived < outcome.tried for outcome in outcomes):
        raise SystemExit(1)


def campaign(n_days: int, n_damages: int) -> list[Outcome]:
    """All faults, each on a site of its own state."""
    with tempfile.TemporaryDirectory() as name:
        site = Site(Archive(Path(name) / "archive", settle=timedelta()), Path(name) / "home")
        simulated = demo_plan(LAST_DAY, mean_triggers=100.0)
        first = LAST_DAY - timedelta(days=n_days - 1)
        write_archive(replace(simulated, n_days=n_days, first_day=first, bins_per_day=6), site.archive.root)
        site.make()
        return [*losses(site), other_archive(site), *passing_errors(site), *damages(site, n_damages)]


def losses(site: Site) -> list[Outcome]:
    """Files that are gone: no row may change, the sensor asks for the disk, and all is as it was once they are back."""
    newest = sorted(site.archive.root.rglob("*.adc"))[-1]
    one_day = newest.parent.relative_to(site.archive.root)
    kinds: dict[str, Callable[[Path], bool]] = {
        "an instrument's files are gone": lambda path: path.stem.endswith("IFCB134"),
        "a day's directory is gone": lambda path: path.parent.relative_to(site.archive.root) == one_day,
        "all but one bin are gone": lambda path: path.stem != newest.stem,
        "all headers are gone": lambda path: path.suffix == ".hdr",
    }
    return [Outcome(fault, 1, _survives_loss(site, chosen)) for fault, chosen in kinds.items()]


def _survives_loss(site: Site, chosen: Callable[[Path], bool]) -> bool:
    before = site.features()
    with _away(site, chosen):
        whole_bins = any(path.suffix == ".adc" for path in _kept_away(site))
        asked = missing_disk(site.look()) or not whole_bins
        site.make()
        kept = site.features() == before
    if site.up_to_date():
        return False  # that files are back is to be noticed
    site.make()
    return asked and kept and site.features() == before and site.up_to_date()


@contextmanager
def _away(site: Site, chosen: Callable[[Path], bool]) -> Any:
    moved = {}
    for path in sorted(site.archive.root.rglob("*.*")):
        if path.is_file() and chosen(path):
            target = site.home / "away" / path.relative_to(site.archive.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            moved[path] = path.rename(target)
    yield
    for path, target in moved.items():
        target.rename(path)


def _kept_away(site: Site) -> list[Path]:
    return [path for path in (site.home / "away").rglob("*.*") if path.is_file()]


def other_archive(site: Site) -> Outcome:
    """The same data folder on another archive, which is refused."""
    before, other = site.features(), replace(site, archive=Archive(site.home / "other", settle=timedelta()))
    other.archive.root.mkdir()
    n_refused = 0
    for act in (other.look, lambda: days.write_inventory(site.tables, other.archive, other.archive.scan(), LAST_DAY)):
        try:
            act()
        except ArchiveError:
            n_refused += 1
    return Outcome("another archive", 2, n_refused if site.features() == before else 0)


def passing_errors(site: Site) -> list[Outcome]:
    """Errors while files are read, which pass: nothing is lost, the day is asked for again, and healed."""
    before, survived = site.features(), 0
    for code in PASSING:
        with mock.patch("ifcb_flow_pipeline.store.archive.os.open", side_effect=OSError(code, "not now")):
            site.make()
        kept, asked_again = site.features() == before, not site.up_to_date()
        site.make()
        survived += kept and asked_again and site.features() == before and site.up_to_date()
    return [Outcome("read errors that pass", len(PASSING), survived)]


def damages(site: Site, n: int) -> list[Outcome]:
    """A bit, or a sector of zeros, in a stored file: refused when read, and never read as other values."""
    rng, outcomes = random.Random(4), []  # noqa: S311 - places, no secrets
    day = site.tables.days(BIN_FEATURES)[0]
    for table in TABLES:
        path, tried, noticed = site.tables.path(table, day), 0, 0
        good = path.read_bytes()
        for number in range(n // len(TABLES)):
            damaged = _damaged(good, rng, sector=number % 4 == 3)
            if damaged == good:
                continue
            path.write_bytes(damaged)
            tried += 1
            noticed += _is_refused(site.tables, table is POINT_CLOUDS, table, day)
        path.write_bytes(good)
        outcomes.append(Outcome(f"damaged files of {table.name}", tried, noticed))
    return outcomes


def _damaged(content: bytes, rng: random.Random, *, sector: bool) -> bytes:
    changed, place = bytearray(content), rng.randrange(len(content))
    if sector:
        changed[place : place + 512] = bytes(len(changed[place : place + 512]))
    else:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _is_refused(tables: DailyTables, clouds: bool, table: Any, day: date) -> bool:
    try:
        if clouds:
            list(CloudTables(tables).read_all(day, days.CLOUD_COLUMNS))
        else:
            tables.read(table, day)
    except StoreError:
        return True
    return False


if __name__ == "__main__":
    main()
