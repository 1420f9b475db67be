"""Commands that look at images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ifcb_flow_pipeline.commands.common import (
    DIRECTORY,
    IN_FILE,
    OUT_FILE,
    exclude,
    open_archive,
    progress,
    read_ids,
    write_table,
    writing,
)
from ifcb_flow_pipeline.commands.program import Command

if TYPE_CHECKING:
    from ifcb_flow_pipeline.store.archive import Archive

_image_model = click.option("--model", type=IN_FILE, help="File of the image model.  [default: the ready one]")


_per_bin = click.option("--per-bin", type=click.IntRange(min=0), default=200,
                        help="Images of each bin that are looked at, spread over its run; 0: all.")  # fmt: skip


@click.command(cls=Command)
@click.argument("data_dir", type=DIRECTORY)
@click.option("--id-file", type=IN_FILE, help="Text file with one bin identifier a line; without it, all bins.")
@click.option("--n-jobs", type=int, default=-1, help="Threads that read and compute; -1: one per core.")
@exclude
@_per_bin
@_image_model
@click.option("--output", type=OUT_FILE, default="images.csv",
              help="File to write, likeliest faults first: .csv, or .parquet.")  # fmt: skip
def images(
    data_dir: Path,
    id_file: Path | None,
    n_jobs: int,
    exclude: tuple[str, ...],
    per_bin: int,
    model: Path | None,
    output: Path,
) -> None:
    """Judge the images of the bins in DATA_DIR: a row for each, with its fault, oddness, reasons and features."""
    from collections import Counter

    from ifcb_flow_pipeline.archive_images import image_table, read_archive_images
    from ifcb_flow_pipeline.store.image_files import read_image_model

    if n_jobs == 0:
        raise click.BadParameter("must not be 0; -1 takes one thread per core", param_hint="--n-jobs")
    loaded = read_image_model(model)
    pids = None if id_file is None else read_ids(id_file)
    archive = open_archive(data_dir, exclude, "native")
    with progress(n_jobs, 1, None if pids is None else len(pids)) as work:
        bins = read_archive_images(archive, pids, per_bin, n_jobs, work.progress)
    without = [each for each in bins if each.status != "ok"]
    if without:
        listed = ", ".join(f"{count} {status}" for status, count in Counter(each.status for each in without).items())
        click.echo(f"{len(without)} of {len(bins)} bins have no images: {listed}", err=True)
        for each in without[:5]:
            click.echo(f"  {each.pid}: {each.status}: {each.reason}", err=True)
    table = image_table(bins, loaded)
    write_table(table, output)
    if table.num_rows:
        counts = Counter(filter(None, table.column("fault").to_pylist()))
        click.echo(", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.most_common()))
    click.echo(f"{table.num_rows} images of {len(bins)} bins: {output}")


@click.command(cls=Command)
@click.argument("folders", type=DIRECTORY, nargs=-1, required=True)
@_per_bin
@click.option("--without", multiple=True, metavar="PID", help="Bin to leave out, for it has a fault; may be repeated.")
@click.option("--labels", type=IN_FILE, help="People's labels of images: the labels.sqlite of the review app, or its "
              "export as CSV. Real faults teach the model, too, and classes are used.")  # fmt: skip
@click.option("--data-dir", type=DIRECTORY, help="Where the labelled bins are.  [default: IFCB_DATA_DIR]")
@click.option("--source", default="", help="For the model's card: what the images are, and under which licence.")
@click.option("--model", type=OUT_FILE, default="images.npz", help="File to write the model to.")
def train_images(
    folders: tuple[Path, ...],
    per_bin: int,
    without: tuple[str, ...],
    labels: Path | None,
    data_dir: Path | None,
    source: str,
    model: Path,
) -> None:
    """Train an image model on the clean images in FOLDERS: folders of classes with pictures, or archives with .roi.

    Faults are planted into the images, so that none need be labelled; images that are faulty already make it blind.
    """
    from datetime import UTC, datetime
    from itertools import chain

    from tqdm import tqdm

    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.detection.images.training import Labelled, planted_features, train_image_model
    from ifcb_flow_pipeline.store.image_files import labelled_images, training_images, write_image_model
    from ifcb_flow_pipeline.store.image_labels import read_image_labels

    faulty, clean, n_missing = (
        labelled_images(_archive_of(data_dir), read_image_labels(labels)) if labels else ([], [], 0)
    )
    if n_missing:
        click.echo(f"{n_missing} labelled images are not in the archive, or cannot be read", err=True)
    labelled = {each.name for each in (*clean, *(image for image, _ in faulty))}
    found = (each for folder in folders for each in training_images(folder, per_bin) if each.pid not in without)
    images = chain((each for each in found if each.name not in labelled), clean)
    with tqdm(unit="image", desc="Planting faults", disable=None) as bar:
        planted = planted_features(images, progress=bar.update)
    created = datetime.now(tz=UTC)
    trained = train_image_model(planted, source or ", ".join(map(str, folders)), created, library_versions(), n_jobs=-1,
                                labelled=Labelled.of(faulty))  # fmt: skip
    with writing(model):
        write_image_model(model, trained)
    metrics = trained.card.metrics
    click.echo(f"{trained.card.model_id}: {sum(trained.card.n_images.values())} images of "
               f"{len(trained.card.classes)} classes, written to {model}")  # fmt: skip
    click.echo(f"Of the planted faults it finds {metrics['planted_recall']:.0%} with 1 % false alarms, "
               f"and names {metrics['planted_named']:.0%} of those rightly")  # fmt: skip


@click.command(cls=Command)
@click.argument("pid")
@click.option("--data-dir", type=DIRECTORY, help="Where the bin is.  [default: IFCB_DATA_DIR]")
@_image_model
@_per_bin
@click.option("--number", type=click.IntRange(1, 200), default=24, help="Images to show.")
@click.option("--output", type=OUT_FILE, help="Picture to write.  [default: PID-odd.png]")
def odd(pid: str, data_dir: Path | None, model: Path | None, per_bin: int, number: int, output: Path | None) -> None:
    """Show the oddest images of the bin PID on one page, oddest first, with the fault of each."""
    from ifcb_flow_pipeline.image_page import odd_page
    from ifcb_flow_pipeline.store.daily import replacing
    from ifcb_flow_pipeline.store.image_files import read_image_model

    archive = _archive_of(data_dir)
    page = odd_page(archive, pid, read_image_model(model), per_bin, number)
    path = output or Path(f"{page.pid}-odd.png")
    with writing(path), replacing(path) as temporary:
        temporary.write_bytes(page.picture)
    for line in page.lines:
        click.echo(line)
    click.echo(f"{len(page.lines)} of {page.n_images} images: {path}")


def _archive_of(data_dir: Path | None) -> "Archive":
    """The archive in a directory, else that of the settings."""
    from ifcb_flow_pipeline.store.settings import Settings

    return open_archive(data_dir, (), "native") if data_dir else Settings.from_environment(os.environ).archive
