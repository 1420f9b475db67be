"""Commands of the autoencoder of images, a detector to compare with (extra ``deep``)."""

from pathlib import Path

import click

from ifcb_flow_pipeline.commands.common import DIRECTORY, IN_FILE, OUT_FILE, open_archive, write_table, writing
from ifcb_flow_pipeline.commands.program import Group

_epochs = click.option("--epochs", type=click.IntRange(1, 1000), default=40, help="Passes over the images.")


@click.group(cls=Group)
def autoencoder() -> None:
    """An autoencoder of images, as a detector to compare the others with (extra `deep` to train, none to score)."""


@autoencoder.command()
@click.argument("folder", type=DIRECTORY)
@_epochs
@click.option("--source", default="", help="For the card: what the images are, and under which licence.")
@click.option("--model", type=OUT_FILE, default="autoencoder.npz", help="File to write the autoencoder to.")
@click.option("--curves", type=OUT_FILE, default="autoencoder-loss.png", help="Picture of the losses by epoch.")
def train(folder: Path, epochs: int, source: str, model: Path, curves: Path) -> None:
    """Train on the images in FOLDER, a folder of classes or an archive with .roi, most of them healthy.

    A fifth of the bins is held back, for the loss that is drawn and for thresholds.
    """
    from datetime import UTC, datetime

    from tqdm import tqdm

    from ifcb_flow_pipeline.autoencoders import drawn_curves, write_autoencoder
    from ifcb_flow_pipeline.days import library_versions
    from ifcb_flow_pipeline.detection.images.autoencoder_training import AutoencoderSettings, train_autoencoder
    from ifcb_flow_pipeline.store.daily import replacing
    from ifcb_flow_pipeline.store.image_files import training_images

    images, created = list(training_images(folder, 0)), datetime.now(tz=UTC)
    settings = AutoencoderSettings(epochs=epochs)
    with tqdm(total=epochs, unit="epoch", disable=None) as bar:
        trained, losses = train_autoencoder(
            images, source or str(folder), created, library_versions(), settings, bar.update
        )
    with writing(model):
        write_autoencoder(model, trained)
    with writing(curves), replacing(curves) as temporary:
        temporary.write_bytes(drawn_curves(losses))
    click.echo(f"Mean squared error {losses.training[-1]:.4f} in training, {losses.held_back[-1]:.4f} on bins held "
               f"back; {trained.card.metrics['rejected']} of the images were rejected as outliers")  # fmt: skip
    click.echo(f"{trained.card.model_id}: {len(images)} images, written to {model}; losses: {curves}")


@autoencoder.command()
@click.argument("folder", type=DIRECTORY)
@_epochs
@click.option("--output", type=OUT_FILE, default="autoencoder.csv", help="Table to write: .csv, or .parquet.")
def evaluate(folder: Path, epochs: int, output: Path) -> None:
    """Compare the autoencoder with the light detectors on the images in FOLDER, split by bin.

    Trained with 0, 1, 5 and 10 % of faulty images among the training's, judged on clear planted faults: AUROC of the
    kinds that were among them (observed), and of the others.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    import pyarrow as pa
    from tqdm import tqdm

    from ifcb_flow_pipeline.autoencoders import CONTAMINATIONS
    from ifcb_flow_pipeline.autoencoders import evaluate as compare
    from ifcb_flow_pipeline.detection.images.autoencoder_training import AutoencoderSettings
    from ifcb_flow_pipeline.store.image_files import training_images

    images = list(training_images(folder, 0))
    settings = AutoencoderSettings(epochs=epochs)
    with tqdm(total=epochs * len(CONTAMINATIONS), unit="epoch", disable=None) as bar:
        found = compare(images, datetime.now(tz=UTC), settings, progress=bar.update)
    write_table(pa.Table.from_pylist([asdict(each) for each in found]), output)
    for each in found:
        click.echo(f"{each.contamination:4.0%}  {each.detector:45} observed {each.observed:.3f}  "
                   f"others {each.unobserved:.3f}  defocus {each.defocus:.3f}")  # fmt: skip


@autoencoder.command()
@click.argument("data_dir", type=DIRECTORY)
@click.option("--model", type=IN_FILE, required=True, help="File of the autoencoder.")
@click.option("--per-bin", type=click.IntRange(min=0), default=200,
              help="Images of each bin that are looked at, spread over its run; 0: all.")  # fmt: skip
@click.option("--output", type=OUT_FILE, default="autoencoder-scores.csv", help="Table to write: .csv, or .parquet.")
def score(data_dir: Path, model: Path, per_bin: int, output: Path) -> None:
    """Score the images of the bins in DATA_DIR; needs neither torch nor onnxruntime."""
    import pyarrow as pa
    from tqdm import tqdm

    from ifcb_flow_pipeline.autoencoders import read_autoencoder, score_archive

    loaded = read_autoencoder(model)
    tables = list(tqdm(score_archive(open_archive(data_dir, (), "native"), loaded, per_bin), unit="bin", disable=None))
    table = pa.concat_tables(tables) if tables else pa.table({"image": pa.array([], pa.string())})
    write_table(table, output)
    click.echo(f"{table.num_rows} images of {len(tables)} bins: {output}")
