"""Training an image model on clean images: faults are planted into them, thresholds come from bins held back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.images.fault_injection import FAULTS, SEVERITIES, plant
from ifcb_flow_pipeline.detection.images.levels import MODEL_COLUMNS, RELATIVE, Levels, model_rows
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.model_card import FALSE_ALARMS, ImageModelCard
from ifcb_flow_pipeline.detection.images.oddness import Oddness, Scaler
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN, FaultRecogniser, GrowthSettings
from ifcb_flow_pipeline.detection.images.training_image import TrainingImage
from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.catalogue import NAMES
from ifcb_flow_pipeline.features.images.extract import features_of_images, rounded

#: Fewer images train nothing that could be called normal.
MIN_TRAINING_IMAGES = 200

#: Parts of the bins that thresholds are measured on in turn.
_FOLDS = 3

#: Share of the planted images for which a model in training does not know what is usual for the instrument.
_UNKNOWN = 0.3

#: How often a real faulty image counts beside a planted one.
REAL_WEIGHT = 5

#: Classes that are made up where images come without any.
_CLUSTERS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Features of n real images that people called faulty: ``values`` (n, len(NAMES)) as tables store them, the
    ``faults`` they named, the ``pids`` and ``instruments`` they are of.
    """

    values: NDArray[np.float64]
    faults: NDArray[np.str_]
    pids: NDArray[np.str_]
    instruments: NDArray[np.str_]

    @classmethod
    def of(cls, images: Sequence[tuple[TrainingImage, str]]) -> "Labelled":
        """Of images with the fault of each; those without features are left out."""
        values = rounded(features_of_images([each.image for each, _ in images])).astype(np.float64)
        known = ~np.isnan(values[:, 0])
        texts = [[fault, each.pid, each.instrument] for each, fault in images]
        return cls(values[known], *np.array(texts, dtype=str).reshape(-1, 3)[known].T)

    def without(self, pids: NDArray[np.str_]) -> "Labelled":
        """Those of other bins."""
        keep = ~np.isin(self.pids, pids)
        return Labelled(self.values[keep], self.faults[keep], self.pids[keep], self.instruments[keep])

    def rows(self, planted: "Planted") -> tuple[NDArray[np.float64], list[str]]:
        """Rows and names to train with, each image REAL_WEIGHT times with and once without what is usual for its
        instrument by the clean images.
        """
        levels = levels_by_instrument(planted)
        beside = [model_rows(row[None], levels.get(str(name)))
                  for row, name in zip(self.values, self.instruments, strict=True)]  # fmt: skip
        if not beside:
            return np.empty((0, len(MODEL_COLUMNS))), []
        rows = np.concatenate([*([np.concatenate(beside)] * REAL_WEIGHT), model_rows(self.values)])
        return rows, [*self.faults.tolist()] * (REAL_WEIGHT + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """Features of n clean images with what they are, and of their copies with faults, one of each kind.

    ``clean``: (n, len(NAMES)); ``faulty``: (n, kinds, len(NAMES)), NaN where a copy has none; ``kinds``: their names.
    """

    clean: NDArray[np.float64]
    faulty: NDArray[np.float64]
    kinds: tuple[str, ...]
    names: NDArray[np.str_]
    pids: NDArray[np.str_]
    instruments: NDArray[np.str_]
    classes: NDArray[np.str_]

    def __getitem__(self, chosen: NDArray) -> "Planted":
        parts = (self.names, self.pids, self.instruments, self.classes)
        return Planted(self.clean[chosen], self.faulty[chosen], self.kinds, *(part[chosen] for part in parts))


def planted_features(
    images: Iterable[TrainingImage], seed: int = 0, progress: Callable[[int], Any] | None = None
) -> Planted:
    """The features of images and of copies with faults of random severity, as tables store them.

    Images without features are left out. The same images and seed give the same copies. ``progress`` is called with 1
    for every image.
    """
    clean, faulty, identity = [], [], []
    for number, each in enumerate(images):
        rng = np.random.default_rng([seed, number])
        copies = [plant(each.image, kind, float(rng.random()), rng) for kind in FAULTS] if _large(each.image) else []
        values = rounded(features_of_images([each.image, *copies])).astype(np.float64)
        clean.append(values[0])
        identity.append((each.name, each.pid, each.instrument, each.class_name))
        faulty.append(values[1:] if copies else np.full((len(FAULTS), len(NAMES)), np.nan))
        if progress is not None:
            progress(1)
    found = Planted(
        np.array(clean).reshape(-1, len(NAMES)),
        np.array(faulty).reshape(-1, len(FAULTS), len(NAMES)),
        tuple(FAULTS),
        *np.array(identity, dtype=str).reshape(-1, 4).T,
    )
    return found[~np.isnan(found.clean[:, 0])]


def train_image_model(
    planted: Planted,
    source: str,
    created: datetime,
    versions: Mapping[str, str],
    settings: GrowthSettings | None = None,
    n_jobs: int = 1,
    labelled: Labelled | None = None,
) -> ImageModel:
    """Train recogniser and oddness; FALSE_ALARMS of the clean images of bins held back exceed the thresholds.

    ``source``: for the card, what the images are, where they are from, and their licence; ``n_jobs``: processes, -1 one
    per core; the result does not depend on it; ``labelled``: real faulty images, which teach the recogniser as well,
    but none of the bins that thresholds are measured on. Raises ModelError where there are too few images or bins.
    """
    n, n_bins = len(planted.clean), len(np.unique(planted.pids))
    if n < MIN_TRAINING_IMAGES or n_bins < _FOLDS:
        raise ModelError(
            f"an image model needs {MIN_TRAINING_IMAGES} clean images from {_FOLDS} bins at least, "
            f"not {n} from {n_bins}"
        )
    classes = _classes(planted)
    folds = _folds(planted.pids)
    real = labelled or Labelled.of([])
    tasks = [delayed(_held_back)(planted, classes, folds == fold, settings, real) for fold in range(_FOLDS)]
    whole = delayed(_recogniser)(planted, settings, real)
    *held, recogniser = cast("list[Any]", Parallel(n_jobs=n_jobs)([*tasks, whole]))
    known, unknown, odd, metrics = _thresholds(held)
    metrics["labelled_faults"] = _counts(real.faults)
    oddness = _oddness(planted, classes)
    card = ImageModelCard(
        model_id=f"images-{created:%Y%m%dT%H%M%SZ}-{_digest(planted)}",
        created=created.isoformat(timespec="seconds"),
        source=source,
        feature_names=NAMES,
        faults=recogniser.kinds_[1:],
        n_images=_counts(planted.instruments),
        classes=_counts(planted.classes[planted.classes != ""]),
        known_threshold=known,
        unknown_threshold=unknown,
        odd_threshold=odd,
        versions=dict(versions),
        metrics=metrics,
    )
    usual = np.quantile(planted.clean, [0.05, 0.95], axis=0).T
    return ImageModel(card, recogniser, oddness, levels_by_instrument(planted), usual)


def levels_by_instrument(planted: Planted) -> dict[str, Levels]:
    """What is usual for each instrument of which there are enough images."""
    found = {name: Levels.of(planted.clean[planted.instruments == name]) for name in np.unique(planted.instruments)}
    return {str(name): levels for name, levels in found.items() if levels is not None}


def training_rows(planted: Planted, seed: int = 0) -> tuple[NDArray[np.float64], list[str]]:
    """Rows and names to train a recogniser with. Every clean image is there twice, with and without knowing what is
    usual for its instrument; of the planted ones some are without.
    """
    rng = np.random.default_rng(seed)
    rows = [rows_of(planted, planted.clean), model_rows(planted.clean)]
    names = [CLEAN] * (2 * len(planted.clean))
    relative = np.array([NAMES.index(name) for name in RELATIVE])
    for number, kind in enumerate(planted.kinds):
        copies = rows_of(planted, planted.faulty[:, number])
        unknown = np.flatnonzero(rng.random(len(copies)) < _UNKNOWN)
        copies[unknown[:, None], relative] = np.nan
        copies = copies[~np.isnan(copies[:, 0])]
        rows.append(copies)
        names += [kind] * len(copies)
    return np.concatenate(rows), names


def rows_of(planted: Planted, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows for a model of these images' features, or their copies', each beside its own instrument's usual values."""
    levels = levels_by_instrument(planted)
    rows = np.empty(values.shape)
    for name in np.unique(planted.instruments):
        mine = planted.instruments == name
        rows[mine] = model_rows(values[mine], levels.get(str(name)))
    return rows


def _recogniser(planted: Planted, settings: GrowthSettings | None, real: Labelled) -> FaultRecogniser:
    (rows, names), (real_rows, real_names) = training_rows(planted), real.rows(planted)
    return FaultRecogniser(settings).fit(np.concatenate([rows, real_rows]), names + real_names)


def _oddness(planted: Planted, classes: NDArray[np.str_]) -> Oddness:
    """Of the images that have a class."""
    named = planted[classes != ""]
    return Oddness().fit(named.clean, classes[classes != ""].tolist(), named.names.tolist(), named.pids.tolist())


def _held_back(
    planted: Planted,
    classes: NDArray[np.str_],
    held: NDArray[np.bool_],
    settings: GrowthSettings | None,
    real: Labelled,
) -> dict[str, NDArray]:
    """What a model of the other bins says of the bins held back, their planted copies included."""
    recogniser = _recogniser(planted[~held], settings, real.without(planted.pids[held]))
    rest = planted[~held]
    oddness = _oddness(rest, classes[~held])
    mine = planted[held]
    faulty = np.array([
        recogniser.predict(rows_of(mine, mine.faulty[:, number])) for number in range(len(mine.kinds))
    ])  # fmt: skip
    return {
        "known": 1 - recogniser.predict(rows_of(mine, mine.clean))[:, 0],
        "unknown": 1 - recogniser.predict(model_rows(mine.clean))[:, 0],
        # Images without a class are of none that is known.
        "odd": oddness.score(mine.clean[classes[held] != ""])[0],
        "faulty": 1 - faulty[:, :, 0].T,
        "named": np.argmax(faulty[:, :, 1:], axis=2).T,
    }


def _thresholds(held: Sequence[Mapping[str, NDArray]]) -> tuple[float, float, float, dict[str, Any]]:
    together = {name: np.concatenate([part[name] for part in held]) for name in held[0]}
    known, unknown, odd = (float(np.quantile(together[name], 1 - FALSE_ALARMS)) for name in ("known", "unknown", "odd"))
    found = together["faulty"] > known
    right = together["named"] == np.arange(found.shape[1])
    metrics = {
        "planted_recall": round(float(found.mean()), 3),
        "planted_named": round(float(right[found].mean()), 3),
        "recall_by_fault": {kind: round(float(found[:, i].mean()), 3) for i, kind in enumerate(FAULTS)},
        "severities": "uniform over " + ", ".join(SEVERITIES),
    }
    return known, unknown, odd, metrics


def _folds(pids: NDArray[np.str_]) -> NDArray[np.int64]:
    """A part for each image, the same for all of a bin."""
    different, bin_of = np.unique(pids, return_inverse=True)
    part = np.arange(len(different)) % _FOLDS
    return np.random.default_rng(0).permutation(part)[bin_of]


def _classes(planted: Planted) -> NDArray[np.str_]:
    """The images' classes; groups of similar images where they have none, or but one."""
    if len(np.unique(planted.classes[planted.classes != ""])) > 1:
        return planted.classes
    from sklearn.cluster import KMeans

    rows = Scaler().fit(planted.clean).transform(planted.clean)
    clusters: Any = KMeans(_CLUSTERS, random_state=0)
    groups = clusters.fit_predict(rows)
    return np.array([f"group {number + 1}" for number in groups])


def _counts(names: NDArray[np.str_]) -> dict[str, int]:
    different, counts = np.unique(names, return_counts=True)
    return dict(zip(different.tolist(), counts.tolist(), strict=True))


def _digest(planted: Planted) -> str:
    import hashlib

    return hashlib.sha256(planted.clean.tobytes() + planted.faulty.tobytes()).hexdigest()[:8]


def _large(image: Image) -> bool:
    # Smaller ones have no features, and no room for a fault.
    return min(image.shape) >= 8
