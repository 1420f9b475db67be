"""Training an autoencoder with torch: errors weighted by image, numbers drawn to a normal prior, outliers rejected.

After Beggel, Pfeiffer and Bischl 2019 (arXiv:1901.06355): an adversary makes the numbers of usual images normally
distributed; in rounds, a one-class support vector machine on the numbers rejects outliers from the training, and at
last those of them that are drawn worst get a negative weight (iterative training set refinement, ITSR).
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.autoencoder import (
    CROP_PX,
    DECODER,
    ENCODER,
    OCTAVES,
    Autoencoder,
    AutoencoderCard,
    crop_of,
    decode,
    encode,
    errors_by_octave,
)
from ifcb_flow_pipeline.detection.images.model_card import FALSE_ALARMS
from ifcb_flow_pipeline.detection.images.training import TrainingImage
from ifcb_flow_pipeline.detection.model_card import ModelError

if TYPE_CHECKING:
    import torch  # pyright: ignore[reportMissingImports] - an extra

#: Fewer images train nothing that could be called normal.
MIN_IMAGES: Final = 100

#: Share of the bins that are held back, for the loss that is told and for thresholds.
_HELD_BACK = 0.2

#: Channels between the layers, and side of the kernels of either half.
_CHANNELS: Final = (1, 16, 32, 32)
_SIDES: Final = {"down": 4, "up": 3}
_INNER_PX: Final = CROP_PX // 2 ** len(ENCODER)

#: What the adversary counts beside the error, and what the worst of the rejected images count.
_PRIOR_WEIGHT, _NEGATIVE_WEIGHT = 0.01, -0.02

#: Directions of the numbers that density is judged in, and normal distributions of the mixture.
_DIRECTIONS, _MIXTURE = 6, 8


@dataclass(frozen=True, slots=True)
class AutoencoderSettings:
    """``numbers``: that an image is reduced to; ``epochs``: in all; ``rejection_rounds``: of ITSR, 0 for none, each
    after an equal part of the epochs; ``rejected_share``: that the one-class machine takes for outliers.
    """

    numbers: int = 16
    epochs: int = 40
    batch: int = 64
    learning_rate: float = 2e-3
    rejection_rounds: int = 3
    rejected_share: float = 0.02
    random_seed: int = 0


@dataclass(frozen=True, slots=True)
class Curves:
    """By epoch: mean error of the training images and of bins held back, and the adversary's loss."""

    training: tuple[float, ...]
    held_back: tuple[float, ...]
    adversary: tuple[float, ...]


def train_autoencoder(
    images: Sequence[TrainingImage],
    source: str,
    created: datetime,
    versions: Mapping[str, str],
    settings: AutoencoderSettings | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> tuple[Autoencoder, Curves]:
    """Train on images, most of them healthy. ``progress`` is told of finished epochs. Deterministic on one machine.

    Raises ModelError where torch is missing, or there are too few images or bins.
    """
    settings = settings or AutoencoderSettings()
    pids = np.array([each.pid for each in images])
    different = np.unique(pids)
    if len(images) < MIN_IMAGES or len(different) < 5:
        raise ModelError(
            f"an autoencoder needs {MIN_IMAGES} images from 5 bins at least, not {len(images)} from {len(different)}"
        )
    n_held = max(round(_HELD_BACK * len(different)), 1)
    chosen = np.random.default_rng(settings.random_seed).permutation(different)[:n_held]
    held = np.isin(pids, chosen)
    crops = np.array([crop_of(each.image) for each in images])
    training = _Training(crops[~held], crops[held], settings, progress)
    weights = training.run()
    digest = hashlib.sha256(b"".join(array.tobytes() for array in weights.values())).hexdigest()[:8]
    counts = np.unique([each.instrument for each in images], return_counts=True)
    card = AutoencoderCard(
        model_id=f"autoencoder-{created:%Y%m%dT%H%M%SZ}-{digest}",
        created=created.isoformat(timespec="seconds"),
        source=source,
        settings=asdict(settings),
        n_images=dict(zip(counts[0].tolist(), counts[1].tolist(), strict=True)),
        deviation_threshold=1.0,
        rarity_threshold=1.0,
        versions=dict(versions),
        metrics={"rejected": int(np.sum(training.weight <= 0)), "error_held_back": round(training.curves[-1][1], 5)},
    )
    model = _with_density(card, weights, crops[~held][training.weight > 0], crops[held])
    return model, Curves(*(tuple(column) for column in zip(*training.curves, strict=True)))


class _Training:
    def __init__(
        self,
        crops: NDArray[np.float32],
        held: NDArray[np.float32],
        settings: AutoencoderSettings,
        progress: Callable[[int], object],
    ) -> None:
        try:
            import torch  # pyright: ignore[reportMissingImports] - an extra
        except ImportError as error:
            raise ModelError("torch is not installed: pip install 'ifcb-flow-pipeline[deep]'") from error
        torch.manual_seed(settings.random_seed)
        self.torch, self.settings, self.progress = torch, settings, progress
        self.crops, self.held = torch.tensor(crops), torch.tensor(held)
        self.weight = np.ones(len(crops), np.float32)
        self.layers = _layers(settings.numbers)
        self.adversary = torch.nn.Sequential(
            torch.nn.Linear(settings.numbers, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)
        )
        self.steps = torch.optim.Adam(self.layers.parameters(), settings.learning_rate)
        self.counter_steps = torch.optim.Adam(self.adversary.parameters(), settings.learning_rate)
        self.curves: list[tuple[float, float, float]] = []

    def run(self) -> dict[str, NDArray[np.float32]]:
        """Train, rejecting outliers between equal parts of the epochs; the weights of the layers."""
        rounds = self.settings.rejection_rounds
        parts = np.array_split(np.arange(self.settings.epochs), rounds + 1)
        for number, part in enumerate(parts):
            if number > 0:
                self.reject(is_last=number == rounds)
            for _ in part:
                self.curves.append(self.epoch())
                self.progress(1)
        return {name: value.numpy().copy() for name, value in self.layers.state_dict().items()}

    def epoch(self) -> tuple[float, float, float]:
        torch = self.torch
        order = torch.randperm(len(self.crops))
        total = counter = 0.0
        for first in range(0, len(order), self.settings.batch):
            at = order[first : first + self.settings.batch]
            error, loss = self.step(_turned(self.crops[at], torch), torch.tensor(self.weight[at.numpy()]))
            total += error * len(at)
            counter += loss * len(at)
        with torch.no_grad():
            drawn = _decoded(self.layers, _encoded(self.layers, self.held))
            held = float(torch.mean((drawn - self.held) ** 2))
        return total / len(order), held, counter / len(order)

    def step(self, crops: "torch.Tensor", weight: "torch.Tensor") -> tuple[float, float]:
        """One step of the layers and one of the adversary."""
        torch = self.torch
        ones = torch.ones(len(crops), 1)
        sure = torch.nn.functional.binary_cross_entropy_with_logits
        numbers = _encoded(self.layers, crops)
        errors = torch.mean((_decoded(self.layers, numbers) - crops) ** 2, dim=(1, 2))
        loss = torch.mean(weight * errors) + _PRIOR_WEIGHT * sure(self.adversary(numbers), ones)
        self.steps.zero_grad()
        loss.backward()
        self.steps.step()
        drawn, found = self.adversary(torch.randn_like(numbers)), self.adversary(numbers.detach())
        counter = sure(drawn, ones) + sure(found, 0 * ones)
        self.counter_steps.zero_grad()
        counter.backward()
        self.counter_steps.step()
        return float(errors.detach().mean()), float(counter.detach())

    def reject(self, is_last: bool) -> None:
        """Take outliers among the numbers out of the training; at last, those of them that are drawn worst count
        negatively.
        """
        from sklearn.svm import OneClassSVM

        with self.torch.no_grad():
            numbers = _encoded(self.layers, self.crops)
            errors = self.torch.mean((_decoded(self.layers, numbers) - self.crops) ** 2, dim=(1, 2)).numpy()
        outlier = OneClassSVM(nu=self.settings.rejected_share, gamma="scale").fit_predict(numbers.numpy()) < 0
        self.weight = np.where(outlier, 0, 1).astype(np.float32)
        if is_last and outlier.any():
            self.weight[outlier & (errors > np.quantile(errors[outlier], 0.8))] = _NEGATIVE_WEIGHT


def _layers(numbers: int) -> "torch.nn.ModuleDict":
    from torch import nn  # pyright: ignore[reportMissingImports] - an extra

    found: dict[str, Any] = {}
    for at, (name, step, _) in enumerate(ENCODER):
        found[name] = nn.Conv2d(_CHANNELS[at], _CHANNELS[at + 1], _SIDES["down"], step, padding=1)
    for at, (name, _, _) in enumerate(DECODER):
        found[name] = nn.Conv2d(_CHANNELS[-1 - at], _CHANNELS[-2 - at], _SIDES["up"], padding=1)
    n_inner = _CHANNELS[-1] * _INNER_PX**2
    found |= {"inner": nn.Linear(n_inner, numbers), "outer": nn.Linear(numbers, n_inner)}
    return nn.ModuleDict(found)


def _encoded(layers: "torch.nn.ModuleDict", crops: "torch.Tensor") -> "torch.Tensor":
    x = crops[:, None]
    for name, _, _ in ENCODER:
        x = layers[name](x).relu()
    return layers["inner"](x.flatten(1))


def _decoded(layers: "torch.nn.ModuleDict", numbers: "torch.Tensor") -> "torch.Tensor":
    x = layers["outer"](numbers).relu().unflatten(1, (_CHANNELS[-1], _INNER_PX, _INNER_PX))
    for name, _, rectified in DECODER:
        x = layers[name](x.repeat_interleave(2, 2).repeat_interleave(2, 3))
        x = x.relu() if rectified else x
    return x[:, 0]


def _turned(crops: "torch.Tensor", torch: Any) -> "torch.Tensor":
    """Crops mirrored along either side at random: an image stays as usual as it is."""
    for side in (1, 2):
        if torch.rand(1) < 0.5:
            crops = crops.flip(side)
    return crops


def _with_density(card: AutoencoderCard, weights: Mapping[str, NDArray], crops: NDArray, held: NDArray) -> Autoencoder:
    """With the density of the training's numbers, and with what is usual, and thresholds, by the bins held back."""
    from dataclasses import replace

    from sklearn.covariance import LedoitWolf
    from sklearn.decomposition import PCA
    from sklearn.mixture import GaussianMixture

    numbers = encode(weights, crops).astype(np.float64)
    space: Any = PCA(min(_DIRECTIONS, numbers.shape[1]), whiten=True, random_state=0).fit(numbers)
    directions = space.components_.T / np.sqrt(np.maximum(space.explained_variance_, 1e-12))
    rows = (numbers - space.mean_) @ directions
    mixture: Any = GaussianMixture(min(_MIXTURE, max(len(rows) // 50, 1)), random_state=0, reg_covar=1e-2).fit(rows)
    shape = (space.mean_, directions, mixture.weights_, mixture.means_, mixture.precisions_cholesky_)
    found = encode(weights, held)
    residual = decode(weights, found) - held
    octaves = errors_by_octave(residual)
    shrunk = LedoitWolf().fit(octaves)
    whitening = np.linalg.cholesky(np.linalg.inv(shrunk.covariance_ + 1e-6 * np.eye(OCTAVES)))
    model = Autoencoder(card, weights, *shape, np.median(octaves, axis=0), whitening, np.array([0.0, 1.0]))
    density = model.log_density(found)
    model = replace(model, density=_usual(density))
    scores = model.scores_of(np.mean(residual**2, axis=(1, 2)), octaves, density)
    deviation, rarity = (float(np.quantile(each, 1 - FALSE_ALARMS / 2)) for each in (scores.deviation, scores.rarity))
    return replace(model, card=replace(card, deviation_threshold=deviation, rarity_threshold=max(rarity, 1e-6)))


def _usual(values: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = float(np.median(values))
    return np.array([middle, max(1.4826 * float(np.median(np.abs(values - middle))), 1e-6)])
