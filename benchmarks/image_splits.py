"""Faults of single images over several splits by bin: ``python -m benchmarks.image_splits FOLDER_OF_CLASSES``.

As ``benchmarks.images`` measures one split in detail: recall at 1 % false alarms of faults planted by other code, with
and without knowing what is usual for the instrument, and clean images of other instruments that a model of the one with
most images flags. Every image is planted once; splits choose among them.
"""

from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.images import KINDS, faulty_copies, planted, probability
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.training import Planted, train_image_model
from ifcb_flow_pipeline.store.image_files import training_images


def recall(
    model: ImageModel, test: Planted, faulty: NDArray[np.float64], instruments: NDArray[np.str_], known: bool
) -> NDArray[np.float64]:
    """Mean recall over the faults at 1 % false alarms, by severity, shape (3,)."""
    clean = 1 - probability(model, test.clean, test.instruments, known)[:, 0]
    threshold = np.quantile(clean, 0.99)
    found = np.zeros((len(KINDS), 3))
    for k, level in np.ndindex(found.shape):
        fault = 1 - probability(model, faulty[:, k, level], instruments, known)[:, 0]
        found[k, level] = np.mean(fault > threshold)
    return found.mean(axis=0)


def elsewhere(images: Planted) -> dict[str, tuple[float, float]]:
    """Of clean images of other instruments, the share that a model of the instrument with most images flags: alone, and
    with the instrument's own history, of bins that are not judged.
    """
    names, counts = np.unique(images.instruments, return_counts=True)
    home = names[np.argmax(counts)]
    model = train_image_model(images[images.instruments == home], "", datetime.now(tz=UTC), {})
    found = {}
    for name in names[(names != home) & (counts >= 60)]:
        mine = images[images.instruments == name]
        pids = np.unique(mine.pids)
        past = np.isin(mine.pids, np.random.default_rng(0).permutation(pids)[: len(pids) // 2])
        alone = model.judge(mine.clean).flagged.mean()
        beside = model.judge(mine.clean[~past], model.levels_by(mine.clean[past])).flagged.mean()
        found[f"{home} to {name}"] = (float(alone), float(beside))
    return found


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seeds", default=3, show_default=True, help="Splits by bin.")
@click.option("--n-faulty", default=600, show_default=True, help="Images that faults are planted into.")
def main(folder: Path, seeds: int, n_faulty: int) -> None:
    """Measure, and print a line for each split."""
    images = [each for each in training_images(folder, 0) if min(each.image.shape) >= 8]
    everything = planted(images)
    chosen = np.sort(np.random.default_rng(1).permutation(len(images))[:n_faulty])
    with ProcessPoolExecutor() as pool:
        faulty = np.array(list(pool.map(faulty_copies, [images[i] for i in chosen], chosen.tolist(), chunksize=8)))
    for name, (alone, beside) in elsewhere(everything).items():
        click.echo(f"clean images, {name}: flagged {alone:.3f}, with own history {beside:.3f}")
    pids = np.unique(everything.pids)
    rows = []
    for seed in range(seeds):
        training = np.isin(everything.pids, np.random.default_rng(seed).permutation(pids)[: round(0.6 * len(pids))])
        model = train_image_model(everything[training], "", datetime.now(tz=UTC), {})
        held = ~training[chosen]
        where = everything.instruments[chosen][held]
        rows.append([recall(model, everything[~training], faulty[held], where, known) for known in (True, False)])
        click.echo(f"split {seed}, {held.sum()} images with every fault: " + _told(rows[-1]))
    click.echo(f"mean of {seeds}: {_told(np.mean(rows, axis=0))}")


def _told(found: list[NDArray[np.float64]] | NDArray[np.float64]) -> str:
    texts = [" / ".join(f"{value:.3f}" for value in each) for each in found]
    return f"instrument known {texts[0]}; unknown {texts[1]} (slight / clear / gross)"


if __name__ == "__main__":
    main()
