"""The file of an image model: plain arrays and JSON text. Reading it never runs anything that it holds."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.boosted_trees import BoostedTrees
from ifcb_flow_pipeline.detection.images.levels import MODEL_COLUMNS, RELATIVE, Levels
from ifcb_flow_pipeline.detection.images.model import ImageModel
from ifcb_flow_pipeline.detection.images.model_card import ImageModelCard
from ifcb_flow_pipeline.detection.images.oddness import COLUMNS, Oddness, Scaler
from ifcb_flow_pipeline.detection.images.recogniser import CLEAN, FaultRecogniser
from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ModelError, read_arrays
from ifcb_flow_pipeline.features.images.catalogue import NAMES

_TREES = "trees."


def to_bytes(model: ImageModel) -> bytes:
    """A model as the content of one file."""
    oddness = model.oddness
    scaler = cast("Scaler", oddness.scaler)
    texts = {
        "card": model.card.to_json(),
        "parts": json.dumps({
            "kinds": model.recogniser.kinds_,
            "levels": {name: asdict(levels) for name, levels in model.levels.items()},
            "names": oddness.names,
            "classes": oddness.classes,
        }),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        format_version=np.array(FORMAT_VERSION),
        usual=model.usual.astype(np.float32),
        scaler=np.array([scaler.centre_, scaler.scale_]),
        known=oddness.all.known_.astype(np.float16),
        directions=oddness.space.directions_,
        scales=np.array([oddness.centres_, oddness.spreads_]),
        **{name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()},
        **{_TREES + name: array for name, array in model.recogniser.trees_.to_arrays().items()},
    )
    return buffer.getvalue()


def from_bytes(data: bytes) -> ImageModel:
    """Read a model. Raises ModelError, naming the remedy, where the bytes are none, or one of other features."""
    arrays = read_arrays(data)
    try:
        card = ImageModelCard.from_json(arrays["card"].tobytes().decode())
        card.check_usable()
        texts = json.loads(arrays["parts"].tobytes().decode())
        model = ImageModel(
            card,
            _recogniser(arrays, texts),
            _oddness(arrays, texts),
            {str(name): _levels(found) for name, found in texts["levels"].items()},
            _shaped(arrays, "usual", len(NAMES), 2),
        )
    except ModelError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"this is no image model of this version, or it is damaged ({error!r}): "
            "train a new one with 'ifcb-flow train-images'"
        ) from error
    return model


def _recogniser(arrays: Mapping[str, NDArray], texts: Mapping[str, Any]) -> FaultRecogniser:
    trees = BoostedTrees.from_arrays(
        {name.removeprefix(_TREES): array for name, array in arrays.items() if name.startswith(_TREES)}
    )
    kinds = tuple(map(str, texts["kinds"]))
    if kinds[0] != CLEAN or len(kinds) != len(trees.baseline) or trees.n_features != len(MODEL_COLUMNS):
        raise ValueError("its trees are not those of its faults")
    return FaultRecogniser.of(kinds, trees)


def _oddness(arrays: Mapping[str, NDArray], texts: Mapping[str, Any]) -> Oddness:
    scaler = Scaler()
    scaler.centre_, scaler.scale_ = _shaped(arrays, "scaler", 2, len(COLUMNS))
    known = _shaped(arrays, "known", len(texts["names"]), len(COLUMNS))
    directions = _shaped(arrays, "directions", len(COLUMNS), arrays["directions"].shape[1])
    if len(texts["classes"]) != len(known):
        raise ValueError("not every known image has a class")
    return Oddness.of(scaler, known, directions, _shaped(arrays, "scales", 2, 2), texts["classes"], texts["names"])


def _levels(found: Mapping[str, Any]) -> Levels:
    usual, spread = ({name: float(found[part][name]) for name in RELATIVE} for part in ("usual", "spread"))
    if not all(0 < value < np.inf for value in spread.values()):
        raise ValueError("an instrument's values do not vary")
    return Levels(usual, spread, float(found["limit"]))


def _shaped(arrays: Mapping[str, NDArray], name: str, *shape: int) -> NDArray[np.float64]:
    array = arrays[name]
    if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}, {array.dtype}, or values that are not finite")
    return array.astype(np.float64)
