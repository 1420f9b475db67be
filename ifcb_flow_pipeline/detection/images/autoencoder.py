"""A convolutional autoencoder as a detector: how well an image is drawn anew, and how usual its few numbers are.

Trained with torch (``autoencoder_training``), scored with NumPy alone. It looks at crops at native resolution, for
shrinking an image hides its focus and its noise. An image that is drawn anew too well is as odd as one that is drawn
too badly: what is out of focus is easy to draw. So the error counts on both sides of what is usual, in each of four
octaves of detail and for the other octaves' errors: large dark cells are drawn worse than small ones, in focus or not.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.roi import Image
from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ModelError, read_arrays
from ifcb_flow_pipeline.features.images.definitions import BACKGROUND_LEVEL, MIN_BACKGROUND, MIN_SIDE_PX

CROP_PX: Final = 48
"""Side of the crop, px of the camera."""

#: Grey values of a crop are differences from the background over this.
_SCALE = 40.0

#: Darker or brighter than the background by this, a pixel is part of the particle, grey values.
_PARTICLE = 12.0

#: Standard deviations of the blurs that part the octaves of detail from each other, px.
_SOFTER_PX = (0.7, 1.4, 2.8)
OCTAVES: Final = len(_SOFTER_PX) + 1

#: Images that are scored together: more take memory, and are no faster.
_AT_ONCE = 64

_Floats = NDArray[np.float64]

#: The layers, in order: name, step of convolutions (0: every pixel doubled before a step of 1), whether it ends in
#: rectified units. ``inner`` and ``outer`` are plain matrices to and from the few numbers.
ENCODER: Final = (("down1", 2, True), ("down2", 2, True), ("down3", 2, True))
DECODER: Final = (("up1", 0, True), ("up2", 0, True), ("up3", 0, False))
MATRICES: Final = ("inner", "outer")


def crop_of(image: Image) -> NDArray[np.float32]:
    """The middle of the particle at native resolution, shape (CROP_PX, CROP_PX): differences from the background, at
    the common brightness; background where the image ends.
    """
    ring = np.concatenate([image[:2].ravel(), image[-2:].ravel(), image[2:-2, :2].ravel(), image[2:-2, -2:].ravel()])
    background = float(np.median(ring))
    grey = (image - background) * (BACKGROUND_LEVEL / max(background, MIN_BACKGROUND))
    weight = np.maximum(np.abs(grey) - _PARTICLE, 0)
    padded = np.pad(grey, CROP_PX // 2)
    top, left = (_middle(weight.sum(axis=1 - axis)) for axis in (0, 1))
    return (padded[top : top + CROP_PX, left : left + CROP_PX] / _SCALE).astype(np.float32)


def _middle(weight: _Floats) -> int:
    total = weight.sum()
    return round(float(weight @ np.arange(weight.size) / total)) if total > 0 else weight.size // 2


@dataclass(frozen=True, slots=True)
class AutoencoderCard:
    """``settings``: of the training; ``n_images`` by instrument; thresholds: what FALSE_ALARMS / 2 of the images of
    bins held back exceed; ``metrics``: how the training went.
    """

    model_id: str
    created: str
    source: str
    settings: Mapping[str, Any]
    n_images: Mapping[str, int]
    deviation_threshold: float
    rarity_threshold: float
    versions: Mapping[str, str]
    metrics: Mapping[str, Any]
    kind: str = "autoencoder"


@dataclass(frozen=True, slots=True, eq=False)
class AutoencoderScores:
    """Of n images, shape (n,) each, NaN where an image is too small. ``error``: mean squared error of the crop drawn
    anew; ``deviation``: distance of its logarithms by octave from what is usual, on either side; ``rarity``: how far
    the density at its numbers lies below the usual one, in robust standard deviations; ``score``: the worse of the two,
    each over its threshold; higher is odder, all three. ``odd``: beyond either threshold, a score above 1.
    """

    error: _Floats
    deviation: _Floats
    rarity: _Floats
    score: _Floats

    @property
    def odd(self) -> NDArray[np.bool_]:
        """Which images are odd."""
        return np.nan_to_num(self.score) > 1


@dataclass(frozen=True, slots=True, eq=False)
class Autoencoder:
    """``weights``: of the layers. ``centre``, ``directions``: the whitened space of the numbers; in it, a mixture of
    normal distributions: ``shares`` (k,), ``means`` (k, d), ``precisions`` (k, d, d) as Cholesky factors. Of images
    held back: ``errors``, medians of the logarithms of their errors by octave, (OCTAVES,), ``whitening`` of these,
    (OCTAVES, OCTAVES), and ``density``, median and robust spread of the logarithm of the density.
    """

    card: AutoencoderCard
    weights: Mapping[str, NDArray[np.float32]]
    centre: _Floats
    directions: _Floats
    shares: _Floats
    means: _Floats
    precisions: _Floats
    errors: _Floats
    whitening: _Floats
    density: _Floats

    def score(self, images: Sequence[Image]) -> AutoencoderScores:
        """Score images, (height, width) uint8."""
        large = [i for i, image in enumerate(images) if min(image.shape) >= MIN_SIDE_PX]
        error, density = np.full((2, len(images)), np.nan)
        octaves = np.full((len(images), OCTAVES), np.nan)
        for first in range(0, len(large), _AT_ONCE):
            chosen = large[first : first + _AT_ONCE]
            crops = np.array([crop_of(images[i]) for i in chosen])
            numbers = encode(self.weights, crops)
            drawn = decode(self.weights, numbers)
            error[chosen] = np.mean((drawn - crops) ** 2, axis=(1, 2))
            octaves[chosen] = errors_by_octave(drawn - crops)
            density[chosen] = self.log_density(numbers)
        return self.scores_of(error, octaves, density)

    def scores_of(self, error: _Floats, octaves: _Floats, density: _Floats) -> AutoencoderScores:
        """Scores by errors, logarithms of errors by octave, (n, OCTAVES), and logarithms of densities."""
        deviation = np.sqrt(np.sum(((octaves - self.errors) @ self.whitening) ** 2, axis=1))
        rarity = (self.density[0] - density) / self.density[1]
        worse = np.maximum(deviation / self.card.deviation_threshold, rarity / self.card.rarity_threshold)
        return AutoencoderScores(error, deviation, rarity, worse)

    def log_density(self, numbers: NDArray) -> _Floats:
        """Logarithm of the density of the mixture at the numbers of images, shape (n,)."""
        rows = (numbers.astype(np.float64) - self.centre) @ self.directions
        parts = []
        for share, mean, factor in zip(self.shares, self.means, self.precisions, strict=True):
            away = (rows - mean) @ factor
            normal = np.log(np.diag(factor)).sum() - 0.5 * len(mean) * np.log(2 * np.pi)
            parts.append(np.log(share) + normal - 0.5 * np.sum(away**2, axis=1))
        return np.logaddexp.reduce(np.array(parts), axis=0)


def errors_by_octave(residual: NDArray) -> _Floats:
    """Logarithms of the mean squared residual, (n, height, width), in octaves of detail, finest first: (n, OCTAVES)."""
    from scipy.ndimage import gaussian_filter

    softer = [residual, *(gaussian_filter(residual, (0, sd, sd)) for sd in _SOFTER_PX)]
    parts = [*(one - other for one, other in pairwise(softer)), softer[-1]]
    return np.log(np.maximum([np.mean(part.astype(np.float64) ** 2, axis=(1, 2)) for part in parts], 1e-12)).T


# The network in NumPy


def encode(weights: Mapping[str, NDArray], crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """The numbers of crops, (n, CROP_PX, CROP_PX): shape (n, numbers)."""
    x = crops[:, None]
    for name, step, _ in ENCODER:
        x = np.maximum(_convolved(x, weights[f"{name}.weight"], weights[f"{name}.bias"], step), 0)
    return x.reshape(len(x), -1) @ weights["inner.weight"].T + weights["inner.bias"]


def decode(weights: Mapping[str, NDArray], numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """The crops drawn anew from their numbers: (n, CROP_PX, CROP_PX)."""
    x = np.maximum(numbers @ weights["outer.weight"].T + weights["outer.bias"], 0)
    side = CROP_PX // 2 ** len(DECODER)
    x = x.reshape(len(x), -1, side, side)
    for name, _, rectified in DECODER:
        x = _convolved(x.repeat(2, axis=2).repeat(2, axis=3), weights[f"{name}.weight"], weights[f"{name}.bias"], 1)
        x = np.maximum(x, 0) if rectified else x
    return x[:, 0]


def _convolved(x: NDArray, kernel: NDArray, bias: NDArray, step: int) -> NDArray:
    """Images (n, channels, height, width) by a kernel (out, channels, k, k), with zeros of one pixel around."""
    width = kernel.shape[2]
    windows = sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (width, width), axis=(2, 3))
    found = np.tensordot(windows[:, :, ::step, ::step], kernel, axes=([1, 4, 5], [1, 2, 3]))
    return (found + bias).transpose(0, 3, 1, 2)


# The file

_PARTS = ("centre", "directions", "shares", "means", "precisions", "errors", "whitening", "density")


def to_bytes(model: Autoencoder) -> bytes:
    """An autoencoder as the content of one file: plain arrays and JSON text."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        format_version=np.array(FORMAT_VERSION),
        card=np.frombuffer(json.dumps(asdict(model.card)).encode(), np.uint8),
        **{name: getattr(model, name) for name in _PARTS},
        **{f"layer.{name}": array for name, array in model.weights.items()},
    )
    return buffer.getvalue()


def from_bytes(data: bytes) -> Autoencoder:
    """Read an autoencoder; nothing in it is run. Raises ModelError, naming the remedy, where the bytes are none."""
    arrays = read_arrays(data)
    try:
        values = json.loads(arrays["card"].tobytes().decode())
        if values.get("kind") != "autoencoder":
            raise ValueError(f"it is the card of a model of kind {values.get('kind')!r}")  # noqa: TRY301
        weights = {name.removeprefix("layer."): array for name, array in arrays.items() if name.startswith("layer.")}
        model = Autoencoder(AutoencoderCard(**values), weights, *(arrays[name].astype(np.float64) for name in _PARTS))
        if not all(np.isfinite(arrays[name]).all() for name in (*_PARTS, *(f"layer.{name}" for name in weights))):
            raise ValueError("it has values that are not finite")  # noqa: TRY301
        # What does not fit together shows at the first image.
        model.score([np.full((CROP_PX, CROP_PX), BACKGROUND_LEVEL, np.uint8)])
    except ModelError:
        raise
    except (ArithmeticError, KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"this is no autoencoder of this version, or it is damaged ({error!r}): "
            "train a new one with 'ifcb-flow autoencoder train'"
        ) from error
    return model
