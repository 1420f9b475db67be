"""The command that copies an archive which lies elsewhere."""

from pathlib import Path
from typing import Any

import click

from ifcb_flow_pipeline.commands.program import Command


@click.command(cls=Command)
@click.argument("url")
@click.argument("places", nargs=-1, required=True, metavar="[DATASET] DIR")
@click.option("--images", is_flag=True, help="Fetch .roi files, too, which are most of an archive's bytes.")
@click.option("--n-jobs", type=click.IntRange(1, 64), default=8, help="Bins that are fetched at once.")
@click.option("--first-day", type=click.DateTime(["%Y-%m-%d"]), help="Of a dashboard, only bins from this day on.")
def mirror(url: str, places: tuple[str, ...], images: bool, n_jobs: int, first_day: Any) -> None:
    """Copy the bins of an archive that lies elsewhere into the folder DIR: of the DATASET of the IFCB dashboard at
    URL, or of object storage where URL is s3://BUCKET/PREFIX. What is there is left alone; exit code 1 where a bin
    failed.
    """
    from datetime import UTC, datetime

    from ifcb_flow_pipeline.mirror import mirror as copy
    from ifcb_flow_pipeline.mirror import source_of

    since = {"first": first_day.date()} if first_day else {}
    *dataset, folder = places
    source = source_of(" ".join((url, *dataset)), **since)
    found = copy(source, Path(folder), datetime.now(tz=UTC), images=images, n_jobs=n_jobs)
    for line in found.failures:
        click.echo(line, err=True)
    click.echo(str(found))
    if found.failures:
        raise click.ClickException("not all bins were copied; the next run goes on")
