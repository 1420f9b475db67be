"""Classes of images measured: ``python -m benchmarks.image_classes FOLDER_OF_CLASSES [--network FILE]``.

Over several splits by bin, 60 : 40: how well classifiers name images of bins, and of an instrument, that they have not
seen, and how well images of a class left out are told from the known ones; by the features, and, with the ready
network, by its numbers, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.classifier import Basis, joint_oddness
from ifcb_flow_pipeline.detection.images.classifier_card import ClassMetrics
from ifcb_flow_pipeline.detection.images.classifier_training import (
    LabelledImages,
    measured,
    new_space,
    train_classifier,
)
from ifcb_flow_pipeline.detection.images.light_detectors import LIGHT_DETECTORS
from ifcb_flow_pipeline.detection.images.oddness import Oddness
from ifcb_flow_pipeline.image_classes import labelled_images
from ifcb_flow_pipeline.store.backbone import read_backbone
from ifcb_flow_pipeline.store.image_files import training_images

_Row = tuple[float, float, float]


def splits(images: LabelledImages, n: int) -> Iterator[tuple[LabelledImages, LabelledImages]]:
    """Training and test images, split by bin 60 : 40, ``n`` times."""
    pids = np.unique(images.pids)
    for seed in range(n):
        chosen = np.random.default_rng(seed).permutation(pids)[: round(0.6 * len(pids))]
        yield images[np.isin(images.pids, chosen)], images[~np.isin(images.pids, chosen)]


def naming(images: LabelledImages, n: int, methods: Sequence[str] | None = None) -> list[str]:
    """The classifiers that are kept, on bins not seen; and on the instruments that the one of most images teaches."""
    found: dict[str, list[tuple[float, ...]]] = {}
    for training, test in splits(images, n):
        classifier = train_classifier(training, "", datetime.now(tz=UTC), {}, methods)
        codes = np.searchsorted(np.unique(training.classes), test.classes)
        for basis, model in classifier.models.items():
            metrics = measured(model.probability(test.values[basis][:, 0]), codes)
            unknown = np.mean(classifier.judge(_first(test, basis)).name == "unclassified")
            found.setdefault(basis, []).append(
                (metrics.accuracy, metrics.macro_f1, metrics.log_loss, metrics.calibration_error, float(unknown))
            )
    lines = ["| basis | accuracy | macro-F1 | log-loss | calibration error | called unclassified |", "|---" * 6 + "|"]
    lines += [f"| {basis} | {' | '.join(_with_range(column) for column in zip(*rows, strict=True))} |"
              for basis, rows in found.items()]  # fmt: skip
    whole = train_classifier(images, "", datetime.now(tz=UTC), {}, methods)
    lines += ["", "| basis, method | parts held back: accuracy, macro-F1, log-loss, calibration | other instrument |",
              "|---|---|---|"]  # fmt: skip
    for each in whole.card.compared:
        held = each.held_back
        other = ", ".join(f"{name}: {_figures(metrics)}" for name, metrics in each.elsewhere.items())
        lines.append(f"| {each.basis}, {each.method} | {_figures(held)} | {other} |")
    return lines


def _figures(found: ClassMetrics) -> str:
    values = (found.accuracy, found.macro_f1, found.log_loss, found.calibration_error)
    return ", ".join(f"{value:.3f}" for value in values)


def _first(images: LabelledImages, basis: Basis) -> dict[Basis, NDArray[np.float64]]:
    """What is judged where this is the best basis there is."""
    bases: tuple[Basis, ...] = ("features",) if basis == "features" else ("features", "embedding")
    return {name: images.values[name][:, 0] for name in bases}


def _with_range(values: tuple[float, ...]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def unseen(images: LabelledImages, n: int) -> list[str]:
    """Each class left out in turn, on each split: mean and worst AUROC, recall at 1 % and 5 % false alarms."""
    rows: dict[str, list[_Row]] = {}
    for training, test in splits(images, n):
        for left_out in np.unique(images.classes):
            new = test.classes == left_out
            known = training[training.classes != left_out]
            if new.sum() >= 5:
                for name, score in _scores(known, test).items():
                    rows.setdefault(name, []).append(_told_apart(new, score))
    lines = ["| detector | AUROC | worst | at 1 % | at 5 % |", "|---|---|---|---|---|"]
    for name, found in rows.items():
        auc, one, five = np.array(found).T
        lines.append(f"| {name} | {auc.mean():.3f} | {auc.min():.3f} | {one.mean():.2f} | {five.mean():.2f} |")
    return lines


def _told_apart(new: NDArray[np.bool_], score: NDArray[np.float64]) -> _Row:
    from sklearn.metrics import roc_auc_score

    shares = [float(np.mean(score[new] > np.quantile(score[~new], 1 - level))) for level in (0.01, 0.05)]
    return float(roc_auc_score(new, score)), shares[0], shares[1]


def _scores(known: LabelledImages, test: LabelledImages) -> Mapping[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    parts: dict[Basis, NDArray[np.float64]] = {}
    for basis, values in known.values.items():
        space = new_space(basis)
        space.fit(values[:, 0])
        rows, new = space.transform(values[:, 0]), space.transform(test.values[basis][:, 0])
        for name, fit in LIGHT_DETECTORS.items():
            found[f"{basis}, {name}"] = fit(rows, known.classes.tolist())(new)
        identity = (known.classes.tolist(), known.names.tolist(), known.pids.tolist())
        odd = Oddness(new_space(basis), only_near=basis == "embedding").fit(values[:, 0], *identity)
        parts[basis] = odd.score(test.values[basis][:, 0])[0]
        found[f"what the classifier uses: {' and '.join(parts)}"] = joint_oddness(parts)
    return found


def nearest(images: LabelledImages) -> list[str]:
    """How many of the five nearest known images have the class of the image, on one split."""
    training, test = next(splits(images, 1))
    lines = []
    for basis, values in training.values.items():
        identity = (training.classes.tolist(), training.names.tolist(), training.pids.tolist())
        odd = Oddness(new_space(basis)).fit(values[:, 0], *identity)
        numbers, _ = odd.nearest(test.values[basis][:, 0])
        lines.append(f"{basis}: {np.mean(training.classes[numbers] == test.classes[:, None]):.3f}")
    return lines


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--network", type=click.Path(exists=True, path_type=Path), help="That 'ifcb-flow taxa make' made.")
@click.option("--seeds", default=3, show_default=True, help="Splits by bin.")
def main(folder: Path, network: Path | None, seeds: int) -> None:
    """Measure, and print the tables."""
    images = labelled_images(training_images(folder, 0), read_backbone(network) if network else None)
    tables = {
        "Classes": lambda: naming(images, seeds),
        "A class never seen": lambda: unseen(images, seeds),
        "Nearest known images of the right class": lambda: nearest(images),
    }
    for title, measure in tables.items():
        click.echo(f"\n## {title}\n")
        for line in measure():
            click.echo(line)


if __name__ == "__main__":
    main()
