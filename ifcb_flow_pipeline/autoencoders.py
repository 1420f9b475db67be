"""Autoencoders put to use: kept in files, their curves drawn, compared with the light detectors, archives scored."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.archive_images import BOX_COLUMNS
from ifcb_flow_pipeline.bins.roi import FIRST_BYTE, Image, RoiTable
from ifcb_flow_pipeline.detection.images.autoencoder import Autoencoder, from_bytes, to_bytes
from ifcb_flow_pipeline.detection.images.autoencoder_training import (
    AutoencoderSettings,
    Curves,
    train_autoencoder,
)
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS, plant
from ifcb_flow_pipeline.detection.images.light_detectors import LIGHT_DETECTORS
from ifcb_flow_pipeline.detection.images.oddness import Scaler
from ifcb_flow_pipeline.detection.images.training import TrainingImage
from ifcb_flow_pipeline.features.images.extract import features_of_images, sampled_rows
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.image_files import image_id
from ifcb_flow_pipeline.store.model_files import read_model_file, write_model_file

#: Many times what usual autoencoders have.
_LARGEST_FILE = 2**26

#: Faults that are among the training's images where it is contaminated, as in the paper: observed ones.
OBSERVED: Final = ("bubble", "defocus", "empty")

#: Shares of faulty images among the training's.
CONTAMINATIONS: Final = (0.0, 0.01, 0.05, 0.10)

#: Severity of the faults that are planted for evaluation: clear.
_SEVERITY = 0.5

_Floats = NDArray[np.float64]


def read_autoencoder(path: Path) -> Autoencoder:
    """The autoencoder in a file. Raises ModelError, naming file and remedy."""
    return read_model_file(path, "an autoencoder", _LARGEST_FILE, from_bytes)


def write_autoencoder(path: Path, model: Autoencoder) -> None:
    """Write an autoencoder to a file, replacing what was there in one step."""
    write_model_file(path, to_bytes(model))


def drawn_curves(curves: Curves) -> bytes:
    """The losses by epoch as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    left.plot(curves.training, label="training")
    left.plot(curves.held_back, label="bins held back")
    left.set(xlabel="epoch", ylabel="mean squared error", yscale="log")
    left.legend()
    right.plot(curves.adversary)
    # An adversary that cannot tell the numbers from normally distributed ones guesses.
    right.axhline(2 * np.log(2), linestyle="--", label="guessing")
    right.set(xlabel="epoch", ylabel="adversary's loss")
    right.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


# Evaluation


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A detector after training with a share of faulty images among its own: mean AUROC over the faults that it had
    seen and over the others, and of defocus alone.
    """

    detector: str
    contamination: float
    observed: float
    unobserved: float
    defocus: float


def evaluate(
    images: Sequence[TrainingImage],
    created: datetime,
    settings: AutoencoderSettings | None = None,
    contaminations: Sequence[float] = CONTAMINATIONS,
    planting: Callable[[Image, str, np.random.Generator], Image] | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> list[Evaluated]:
    """Autoencoder and light detectors side by side: trained on 60 % of the bins, with faults of OBSERVED among them,
    judged on clear faults planted into the others. ``planting``: of the test images, by default that of the training.
    """
    rng = np.random.default_rng(0)
    pids = sorted({each.pid for each in images})
    known = set(rng.permutation(pids)[: round(0.6 * len(pids))].tolist())
    training = [each for each in images if each.pid in known and min(each.image.shape) >= 8]
    test = [each.image for each in images if each.pid not in known and min(each.image.shape) >= 8]
    plant_test = planting or (lambda image, kind, rng: plant(image, kind, _SEVERITY, rng))
    some = [test[i] for i in rng.permutation(len(test))[:200]]
    faulty = {kind: [plant_test(image, kind, rng) for image in some] for kind in FAULTS}
    found = []
    for share in contaminations:
        mixed = contaminated(training, share, rng)
        model, _ = train_autoencoder(mixed, "", created, {}, settings, progress)
        score = _detectors(mixed, model)
        usual, odd = score(test), {kind: score(copies) for kind, copies in faulty.items()}
        found += [
            _measured(name, share, usual[name], {kind: each[name] for kind, each in odd.items()}) for name in usual
        ]
    return found


def contaminated(images: Sequence[TrainingImage], share: float, rng: np.random.Generator) -> list[TrainingImage]:
    """Images of which a share has a gross fault of OBSERVED."""
    from dataclasses import replace

    found = list(images)
    chosen = rng.permutation(len(found))[: round(share * len(found))]
    for number, at in enumerate(chosen.tolist()):
        kind = OBSERVED[number % len(OBSERVED)]
        found[at] = replace(found[at], image=plant(found[at].image, kind, 0.9, rng))
    return found


def _detectors(
    training: Sequence[TrainingImage], model: Autoencoder
) -> Callable[[Sequence[Image]], dict[str, _Floats]]:
    """Scores of images by each detector, (n,), higher is odder: parts of the autoencoder, and detectors on features."""
    values = features_of_images([each.image for each in training])
    scaler = Scaler().fit(values[~np.isnan(values[:, 0])])
    rows = scaler.transform(values[~np.isnan(values[:, 0])])
    classes = [each.class_name for each, value in zip(training, values[:, 0], strict=True) if not np.isnan(value)]
    light = {f"features, {name}": fit(rows, classes) for name, fit in LIGHT_DETECTORS.items()}

    usual_error = np.nanmedian(np.log(model.score([each.image for each in training]).error))

    def scores(images: Sequence[Image]) -> dict[str, _Floats]:
        found, new = model.score(images), scaler.transform(features_of_images(images))
        return {
            "autoencoder, one-sided error": found.error,
            "autoencoder, two-sided error": np.abs(np.log(found.error) - usual_error),
            "autoencoder, two-sided by octaves": found.deviation,
            "autoencoder, density": found.rarity,
            "autoencoder, by octaves or density": found.score,
            **{name: score(new) for name, score in light.items()},
        }

    return scores


def _measured(name: str, share: float, usual: _Floats, odd: Mapping[str, _Floats]) -> Evaluated:
    from sklearn.metrics import roc_auc_score

    auroc = {}
    for kind, values in odd.items():
        both = np.nan_to_num(np.append(usual, values))
        auroc[kind] = float(roc_auc_score(np.arange(len(both)) >= len(usual), both))
    observed = float(np.mean([auroc[kind] for kind in OBSERVED]))
    others = float(np.mean([value for kind, value in auroc.items() if kind not in OBSERVED]))
    return Evaluated(name, share, observed, others, auroc["defocus"])


# Archives


def score_archive(archive: Archive, model: Autoencoder, per_bin: int) -> Iterator[pa.Table]:
    """A table for each bin with images: ``image``, ``pid``, ``error``, ``deviation``, ``rarity``, ``odd``. ``per_bin``:
    images looked at, spread over the run (0: all). Raises ArchiveError where the directory cannot be listed.
    """
    for raw in archive.scan().bins:
        adc, roi, pid = raw.path("adc"), raw.path("roi"), raw.bin_id.pid
        if adc is None or roi is None or not raw.size("roi"):
            continue
        read = archive.read_bin(pid, adc, None, BOX_COLUMNS)
        if read.status != "ok":
            continue
        columns = read.adc.columns
        table = RoiTable(
            columns["start_byte"], columns["width_px"], columns["height_px"], FIRST_BYTE[raw.bin_id.schema]
        )
        images = archive.read_images(roi, table, sampled_rows(table, per_bin, pid).tolist()).images
        scores = model.score(list(images.values()))
        yield pa.table({
            "image": [image_id(pid, row) for row in images],
            "pid": [pid] * len(images),
            "error": scores.error,
            "deviation": scores.deviation,
            "rarity": scores.rarity,
            "odd": scores.odd,
        })  # fmt: skip
