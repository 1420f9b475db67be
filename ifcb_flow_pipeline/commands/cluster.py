"""The command that makes a range of days without Dagster."""

import os
from contextlib import ExitStack, closing
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from ifcb_flow_pipeline.commands.program import Command

if TYPE_CHECKING:
    from ifcb_flow_pipeline.day_range import Cluster, Here, Made
    from ifcb_flow_pipeline.store.settings import Settings

_DAY = click.DateTime(["%Y-%m-%d"])

#: The tables that a step writes.
_WRITES = {
    "features": ("raw_bins", "point_clouds", "bin_features", "image_features"),
    "images": ("window_maps", "image_scores", "bin_image_scores"),
    "scores": ("bin_scores",),
}


class _Shard(click.ParamType):
    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        number, _, of = str(value).partition("/")
        if not (number.isdecimal() and of.isdecimal() and int(of)):
            self.fail(f"{value} is no shard such as 0/10.", param, ctx)
        return int(number), int(of)


@click.command(cls=Command)
@click.argument("first", type=_DAY)
@click.argument("last", type=_DAY)
@click.option("--steps", type=click.Choice(["all", "features", "images", "scores"]), default="all",
              help="features, also of images; images: verdicts by images; scores: where a model "
                   "is active.")  # fmt: skip
@click.option("--shard", type=_Shard(),
              help="Only the I-th of N parts of the range, from 0; with --steps features or scores.")  # fmt: skip
@click.option("--dask", metavar="ADDRESS", help="Have the workers of a Dask scheduler do it, such as tcp://HOST:8786.")
@click.option("--again", is_flag=True, help="Make days anew that are up to date, too.")
def days(first: Any, last: Any, steps: str, shard: tuple[int, int] | None, dask: str | None, again: bool) -> None:
    """Make the days from FIRST to LAST without Dagster: the same files, byte for byte. Days that are up to date are
    left alone, so the same command goes on where another was killed. Exit code 1 where a day failed.
    """
    from ifcb_flow_pipeline.day_range import Cluster, Here, days_between, shard_of
    from ifcb_flow_pipeline.store.private import private_folder
    from ifcb_flow_pipeline.store.settings import Settings

    if shard is not None and steps in ("all", "images"):
        raise click.UsageError("--shard needs --steps features or scores: a day is judged in the light of the features "
                               "of the days before, so those of all shards are made first")  # fmt: skip
    settings = Settings.from_environment(os.environ)
    wanted = days_between(first.date(), last.date())
    if shard is not None:
        wanted = shard_of(wanted, *shard)
    private_folder(settings.home / "tables")
    with ExitStack() as stack:
        where = stack.enter_context(closing(Cluster(dask))) if dask else Here()
        failed = _features(settings, where, wanted, again) if steps in ("all", "features") else 0
        # Here and not by workers: each day is judged in the light of the day before.
        failed += _images(settings, wanted, again) if steps in ("all", "images") else 0
        failed += (
            _scores(settings, where, wanted, again, required=steps == "scores") if steps in ("all", "scores") else 0
        )
    if failed:
        raise click.ClickException(f"{failed} days failed; the same command tries them again")


def _features(settings: "Settings", where: "Here | Cluster", wanted: list[date], again: bool) -> int:
    from ifcb_flow_pipeline.day_range import missing_features

    if not wanted:
        return 0
    listing = settings.archive.scan(wanted[0], wanted[-1])
    todo = listing.days if again else missing_features(settings, listing, wanted)
    return _told(settings, len(todo), "features", where.features(settings, listing, todo))


def _images(settings: "Settings", wanted: list[date], again: bool) -> int:
    from ifcb_flow_pipeline.day_range import make_images, missing_images
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.tables import IMAGE_FEATURES

    made = [day for day in DailyTables(settings.home / "tables").days(IMAGE_FEATURES) if wanted[0] <= day <= wanted[-1]]
    todo = made if again else missing_images(settings, made)
    return _told(settings, len(todo), "images", make_images(settings, todo))


def _scores(settings: "Settings", where: "Here | Cluster", wanted: list[date], again: bool, *, required: bool) -> int:
    from ifcb_flow_pipeline.day_range import DaysError, missing_scores
    from ifcb_flow_pipeline.store.daily import DailyTables
    from ifcb_flow_pipeline.store.models import ModelStore
    from ifcb_flow_pipeline.store.overview import renew_overviews
    from ifcb_flow_pipeline.store.tables import BIN_FEATURES

    tables, model_id = DailyTables(settings.home / "tables"), ModelStore(settings.home / "models").current_id()
    if model_id is None:
        if required:
            raise DaysError("there is no model to score with: train and promote one")
        click.echo("no model is in use: no scores")
        return 0
    made = [day for day in tables.days(BIN_FEATURES) if wanted[0] <= day <= wanted[-1]]
    todo = made if again else missing_scores(settings, model_id, made)
    failed = _told(settings, len(todo), "scores", where.scores(settings, model_id, todo))
    renew_overviews(tables)
    return failed


def _told(settings: "Settings", n_days: int, step: str, made: Any) -> int:
    from ifcb_flow_pipeline.store.made_elsewhere import Notes

    notes, n_failed = Notes(settings.home), 0
    one: Made
    for one in made:
        if one.error:
            n_failed += 1
            click.echo(f"{one.day} {step}: {one.error}", err=True)
        else:
            notes.add(_WRITES[step], one.day)
    click.echo(f"{step}: {n_days - n_failed} days made, {n_failed} failed")
    return n_failed
