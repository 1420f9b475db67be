"""Images measured: ``python -m benchmarks.images [FOLDER_OF_CLASSES]`` prints the tables of docs/images.md.

Images are split by bin, 60 : 40; faults are planted into the test images by other code than the training's
(``image_faults``). Without a folder, images are drawn (``drawn_images``): that everything runs, not how good it is.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks import image_faults
from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.images.explanations import explain
from ifcb_flow_pipeline.detection.images.levels import model_rows
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.oddness import ClassGaussians, ClassSpace, Neighbours, Oddness, Scaler
from ifcb_flow_pipeline.detection.images.training import Planted, TrainingImage, planted_features, train_image_model
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import features_of_images, rounded
from ifcb_flow_pipeline.store.image_files import training_images

KINDS = tuple(image_faults.FAULTS)

#: Features that a reason for each fault must come from: what the fault changes, and what follows from it.
FAMILIES = {
    "defocus": ("focus", "motion", "texture"), "motion_blur": ("motion", "focus"),
    "dim": ("background",), "bright": ("background",), "low_contrast": ("shape", "intensity", "focus"),
    "saturation": ("intensity", "background"), "bubble": ("shape", "intensity", "background"),
    "noise": ("noise", "background", "focus", "texture"), "lines": ("noise",), "compression": ("noise", "texture"),
    "vignette": ("background", "intensity"), "cut": ("shape", "size", "background"), "empty": ("shape", "intensity"),
    "occluded": ("shape", "intensity", "background"), "ghost": ("motion", "focus"),
    "scratch": ("background", "shape", "motion"), "dust": ("shape", "intensity"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Training images with planted copies, and test images: clean, and with every fault at every severity, shape
    (images, kinds, severities, features).
    """

    training: Planted
    clean: NDArray[np.float64]
    instruments: NDArray[np.str_]
    classes: NDArray[np.str_]
    faulty: NDArray[np.float64]
    faulty_instruments: NDArray[np.str_]


def split(images: Sequence[TrainingImage], n_faulty: int, seed: int) -> Split:
    """Split images by bin, and compute all features."""
    pids = sorted({each.pid for each in images})
    rng = np.random.default_rng(seed)
    train_pids = set(rng.permutation(pids)[: round(0.6 * len(pids))].tolist())
    training = [each for each in images if each.pid in train_pids]
    test = [each for each in images if each.pid not in train_pids]
    chosen = [test[i] for i in np.sort(rng.permutation(len(test))[:n_faulty])]
    with ProcessPoolExecutor() as pool:
        faulty = np.array(list(pool.map(faulty_copies, chosen, range(len(chosen)), chunksize=8)))
    return Split(
        planted(training),
        _features([each.image for each in test]),
        np.array([each.instrument for each in test]),
        np.array([each.class_name for each in test]),
        faulty,
        np.array([each.instrument for each in chosen]),
    )


def planted(images: Sequence[TrainingImage]) -> Planted:
    """The images with copies that have faults, as the training plants them."""
    parts = [images[i : i + 100] for i in range(0, len(images), 100)]
    with ProcessPoolExecutor() as pool:
        found = list(pool.map(planted_features, parts, range(len(parts))))
    arrays = ("clean", "faulty", "names", "pids", "instruments", "classes")
    clean, faulty, *identity = (np.concatenate([getattr(part, name) for part in found]) for name in arrays)
    return Planted(clean, faulty, found[0].kinds, *identity)


def faulty_copies(each: TrainingImage, number: int) -> NDArray[np.float64]:
    """Features of copies of an image with every fault at every severity, shape (kinds, 3, features)."""
    rng = np.random.default_rng([99, number])
    copies = [image_faults.plant(each.image, kind, level, rng) for kind in KINDS for level in range(3)]
    return _features(copies).reshape(len(KINDS), 3, len(NAMES))


def _features(images: Sequence[Image]) -> NDArray[np.float64]:
    return rounded(features_of_images(images)).astype(np.float64)


def faults(model: ImageModel, data: Split, known: bool = True) -> list[str]:
    """Recall of each fault at each severity at 1 % false alarms among the clean test images, and the share of those
    found that are rightly named.
    """
    clean = probability(model, data.clean, data.instruments, known)
    threshold = np.quantile(1 - clean[:, 0], 0.99)
    recall, named = np.zeros((2, len(KINDS), 3))
    n_right = np.zeros(3)
    n_found = np.zeros(3)
    for k, kind in enumerate(KINDS):
        for level in range(3):
            p = probability(model, data.faulty[:, k, level], data.faulty_instruments, known)
            found = 1 - p[:, 0] > threshold
            right = np.array(model.recogniser.kinds_[1:])[p[:, 1:].argmax(axis=1)] == kind
            recall[k, level], named[k, level] = found.mean(), right[found].mean() if found.any() else np.nan
            n_right[level] += right[found].sum()
            n_found[level] += found.sum()
    lines = [f"| {kind} | {_row(recall[k])} | {_row(named[k])} |" for k, kind in enumerate(KINDS)]
    lines.append(f"| **mean** | {_row(recall.mean(axis=0))} | {_row(np.nanmean(named, axis=0))} |")
    lines.append(f"| of all found | | {_row(n_right / n_found)} |")
    flagged = np.mean(1 - clean[:, 0] > model.card.fault_threshold(known))
    lines.append(f"| clean, at the model's own threshold | {flagged:.3f} | |")
    return ["| fault | recall, slight / clear / gross | named rightly |", "|---|---|---|", *lines]


def _row(values: NDArray[np.float64]) -> str:
    return " / ".join(f"{value:.2f}" for value in values)


def probability(
    model: ImageModel, values: NDArray[np.float64], instruments: NDArray[np.str_], known: bool
) -> NDArray[np.float64]:
    """Probability of each kind by the recogniser, the clean one first; ``known``: with the instruments' levels."""
    rows = np.empty(values.shape)
    for name in np.unique(instruments):
        mine = instruments == name
        rows[mine] = model_rows(values[mine], model.levels.get(str(name)) if known else None)
    return model.recogniser.predict(rows)


def novelty(data: Split, pids: NDArray[np.str_]) -> list[str]:
    """Each class left out in turn: how well its images are told from the known ones."""
    from sklearn.metrics import roc_auc_score

    training = data.training
    table: dict[str, list[tuple[float, float, float]]] = {}
    for left_out in np.unique(training.classes):
        known = training.classes != left_out
        new = data.classes == left_out
        if new.sum() < 5:
            continue
        for name, score in _novelty_detectors(training[known], pids[known]).items():
            values = score(data.clean)
            auc = float(roc_auc_score(new, values))
            shares = [float(np.mean(values[new] > np.quantile(values[~new], 1 - level))) for level in (0.01, 0.05)]
            table.setdefault(name, []).append((auc, shares[0], shares[1]))
    lines = ["| detector | AUROC | worst | at 1 % | at 5 % |", "|---|---|---|---|---|"]
    for name, rows in table.items():
        auc, one, five = np.array(rows).T
        lines.append(f"| {name} | {auc.mean():.3f} | {auc.min():.3f} | {one.mean():.2f} | {five.mean():.2f} |")
    return lines


def _novelty_detectors(
    known: Planted, pids: NDArray[np.str_]
) -> dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]]:
    from sklearn.ensemble import IsolationForest

    scaler = Scaler().fit(known.clean)
    rows = scaler.transform(known.clean)
    gaussians = ClassGaussians().fit(rows, known.classes)
    space = ClassSpace().fit(rows, known.classes)
    all_, near = Neighbours().fit(rows), Neighbours().fit(space.transform(rows))
    forest = IsolationForest(n_estimators=300, random_state=0).fit(rows)
    both = Oddness().fit(known.clean, known.classes.tolist(), known.names.tolist(), pids.tolist())
    return {
        "Isolation Forest": lambda v: -forest.score_samples(scaler.transform(v)),
        "class Mahalanobis": lambda v: gaussians.score(scaler.transform(v)),
        "kNN 5": lambda v: all_.score(scaler.transform(v)),
        "LDA space + kNN 5": lambda v: near.score(space.transform(scaler.transform(v))),
        "kNN + LDA-kNN (`oddness`)": lambda v: both.score(v)[0],
    }


def bins(model: ImageModel, data: Split, seed: int = 0) -> list[str]:
    """Bins put together from test images, a share of them with a clear fault: recall at 1 % of healthy bins by the mean
    probability of a fault.
    """
    rng = np.random.default_rng(seed)
    clean = 1 - probability(model, data.clean, data.instruments, True)[:, 0]
    faulty = np.array([
        1 - probability(model, data.faulty[:, k, 1], data.faulty_instruments, True)[:, 0] for k in range(len(KINDS))
    ])  # fmt: skip
    classes = np.unique(data.classes)
    lines = ["| images looked at | 5 % faulty | 10 % | 25 % | 100 % |", "|---|---|---|---|---|"]
    for n in (25, 50, 100, 200):
        healthy = [np.mean(clean[_mixture(data.classes, classes, n, rng)]) for _ in range(600)]
        threshold = np.quantile(healthy, 0.99)
        cells = []
        for share in (0.05, 0.10, 0.25, 1.0):
            n_faulty = round(share * n)
            found = []
            for k in range(len(KINDS)):
                for _ in range(40):
                    mixed = clean[_mixture(data.classes, classes, n - n_faulty, rng)].sum()
                    mixed += rng.choice(faulty[k], n_faulty).sum()
                    found.append(mixed / n > threshold)
            cells.append(f"{np.mean(found):.2f}")
        lines.append(f"| {n} | {' | '.join(cells)} |")
    return lines


def _mixture(of: NDArray[np.str_], classes: NDArray, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    shares = rng.dirichlet(np.full(len(classes), 0.6))
    counts = rng.multinomial(n, shares)
    chosen = [rng.choice(np.flatnonzero(of == name), count) for name, count in zip(classes, counts, strict=True)]
    return np.concatenate(chosen).astype(np.intp)


def other_instrument(data: Split) -> list[str]:
    """A model of the instrument with most images, on clean images of the others."""
    training = data.training
    names, counts = np.unique(training.instruments, return_counts=True)
    if len(names) < 2:
        return []
    home = names[np.argmax(counts)]
    model = train_image_model(training[training.instruments == home], "", datetime.now(tz=UTC), {})
    lines = [f"| trained on {home}, clean images of | n | flagged | with own history |", "|---|---|---|---|"]
    for name in names:
        values = data.clean[data.instruments == name]
        if name == home or len(values) < 30:
            continue
        # The history is of the training's bins, none of which is judged.
        own = model.levels_by(training.clean[training.instruments == name])
        alone, beside = model.judge(values), model.judge(values, own)
        lines.append(f"| {name} | {len(values)} | {alone.flagged.mean():.3f} | {beside.flagged.mean():.3f} |")
    return lines


def reasons(model: ImageModel, data: Split) -> list[str]:
    """Whether one of the top three reasons is of a family that the planted, clear fault changes."""
    hits, n = 0, 0
    first = 0
    for k, kind in enumerate(KINDS):
        for name in np.unique(data.faulty_instruments):
            values = data.faulty[data.faulty_instruments == name][:25, k, 1]
            levels = model.levels.get(str(name))
            scores = model.judge(values, levels)
            found = explain(model, values[scores.kind == kind], kind, levels)
            hits += sum(any(reason.family in FAMILIES[kind] for reason in each) for each in found)
            first += sum(bool(each) and each[0].family in FAMILIES[kind] for each in found)
            n += len(found)
    return [f"right family first: {first / max(n, 1):.3f}; among the top three: {hits / max(n, 1):.3f} (of {n})"]


def _window(images: Sequence[TrainingImage], data: Split) -> list[str]:
    """On the images of one instrument that say where they were."""
    from benchmarks.image_window import window

    names, counts = np.unique(data.training.instruments, return_counts=True)
    home = names[np.argmax(counts)]
    known = set(data.training.names.tolist())
    mine = [each for each in images if each.instrument == home and "_x" in each.name]
    training, test = ([each for each in mine if (each.name in known) == side] for side in (True, False))
    return window(training, test) if len(test) > 300 else ["too few images say where they were"]


def speed(images: Sequence[Image]) -> list[str]:
    """Megapixels a second of one core, beside a loop over scikit-image where that is installed (CPU seconds)."""
    features_of_images(images[:2])
    pixels = sum(image.size for image in images)
    ours = np.median([_seconds(lambda: features_of_images(images)) for _ in range(3)])
    lines = [f"{len(images)} images of {pixels / len(images):.0f} px: {pixels / ours / 1e6:.0f} Mpx/s, "
             f"{len(images) / ours:.0f} images/s"]  # fmt: skip
    try:
        from benchmarks.skimage_features import features
    except ImportError:
        return [*lines, "scikit-image is not installed"]
    some = images[:: max(len(images) // 100, 1)]
    theirs = _seconds(lambda: [features(image) for image in some]) / sum(image.size for image in some) * pixels
    return [*lines, f"scikit-image: {pixels / theirs / 1e6:.2f} Mpx/s: {theirs / ours:.0f} times as long"]


def _usual_size(images: Sequence[TrainingImage]) -> list[Image]:
    """Middle parts of 4,488 px, as large as most images of an archive are."""
    parts = []
    for each in images:
        top, left = ((side - part) // 2 for side, part in zip(each.image.shape, (66, 68), strict=True))
        if top >= 0 and left >= 0:
            parts.append(np.ascontiguousarray(each.image[top : top + 66, left : left + 68]))
    return parts


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--n-faulty", default=400, show_default=True, help="Test images that faults are planted into.")
@click.option("--seed", default=0, show_default=True, help="Of the split.")
def main(folder: Path | None, n_faulty: int, seed: int) -> None:
    """Measure, and print the tables."""
    if folder is None:
        from benchmarks.drawn_images import drawn_images

        images = drawn_images(900, seed)
    else:
        images = list(training_images(folder, 0))
    data = split(images, n_faulty, seed)
    model = train_image_model(data.training, str(folder), datetime.now(tz=UTC), {})
    tables = {
        "Planted faults, instrument known": lambda: faults(model, data),
        "Planted faults, instrument unknown": lambda: faults(model, data, known=False),
        "A class never seen": lambda: novelty(data, data.training.pids),
        "Bins": lambda: bins(model, data),
        "Another instrument": lambda: other_instrument(data),
        "Dirt on the window": lambda: _window(images, data),
        "Reasons": lambda: reasons(model, data),
        "Speed": lambda: speed([each.image for each in images]),
        "Speed, images of the usual size": lambda: speed(_usual_size(images)),
    }
    for title, measure in tables.items():
        click.echo(f"\n## {title}\n")
        for line in measure():
            click.echo(line)


if __name__ == "__main__":
    main()
