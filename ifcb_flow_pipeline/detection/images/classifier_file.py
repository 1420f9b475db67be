"""The file of a classifier: plain arrays and JSON text. Reading it never runs anything that it holds."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.images.boosted_trees import BoostedTrees
from ifcb_flow_pipeline.detection.images.classifier import (
    BASES,
    Basis,
    ClassModel,
    ImageClassifier,
    Linear,
    Mean,
    Scorer,
    Votes,
)
from ifcb_flow_pipeline.detection.images.classifier_card import ClassifierCard
from ifcb_flow_pipeline.detection.images.embedding import N_NUMBERS, EmbeddingSpace
from ifcb_flow_pipeline.detection.images.oddness import COLUMNS, Oddness, Scaler, Space
from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ModelError, read_arrays

_Arrays = Mapping[str, NDArray]


def to_bytes(classifier: ImageClassifier) -> bytes:
    """A classifier as the content of one file."""
    arrays: dict[str, NDArray] = {}
    parts = {}
    for basis, model in classifier.models.items():
        oddness = model.oddness
        parts[basis] = {
            "method": model.method,
            "temperature": model.temperature,
            "unknown_threshold": model.unknown_threshold,
            "scorers": [type(scorer).__name__ for scorer in _parts(model.scorer)],
            "names": oddness.names,
            "classes": oddness.classes,
        }
        own = {
            **_space_arrays(oddness.scaler),
            **_scorer_arrays(model.scorer),
            "known": oddness.all.known_.astype(np.float16),
            "discriminants": oddness.space.directions_,
            "scales": np.array([oddness.centres_, oddness.spreads_]),
        }
        arrays |= {f"{basis}.{name}": array for name, array in own.items()}
    texts = {"card": classifier.card.to_json(), "parts": json.dumps(parts)}
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        format_version=np.array(FORMAT_VERSION),
        **{name: np.frombuffer(text.encode(), np.uint8) for name, text in texts.items()},
        **arrays,
    )
    return buffer.getvalue()


def from_bytes(data: bytes) -> ImageClassifier:
    """Read a classifier. Raises ModelError, naming the remedy, where the bytes are none, or one of other features."""
    arrays = read_arrays(data)
    try:
        card = ClassifierCard.from_json(arrays["card"].tobytes().decode())
        card.check_usable()
        parts: Mapping[str, Any] = json.loads(arrays["parts"].tobytes().decode())
        models: dict[Basis, ClassModel] = {
            basis: _model(basis, arrays, parts[basis]) for basis in BASES if basis in parts
        }
        if "features" not in models:
            raise ValueError("it has no model by the features")  # noqa: TRY301
    except ModelError:
        raise
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"this is no classifier of this version, or it is damaged ({error!r}): "
            "train a new one with 'ifcb-flow classify train'"
        ) from error
    return ImageClassifier(card, models)


def _model(basis: Basis, arrays: _Arrays, part: Mapping[str, Any]) -> ClassModel:
    own = _of(arrays, f"{basis}.")
    space, n_columns = _space(basis, own)
    n_classes = len(set(part["classes"]))
    known = _finite(own, "known", len(part["names"]), n_columns)
    discriminants = _finite(own, "discriminants", n_columns, own["discriminants"].shape[1])
    if len(part["classes"]) != len(known) or n_classes < 2:
        raise ValueError("not every known image has a class")
    oddness = Oddness.of(
        space,
        known,
        discriminants,
        _finite(own, "scales", 2, 2 if basis == "features" else 1),
        part["classes"],
        part["names"],
    )
    temperature, threshold = float(part["temperature"]), float(part["unknown_threshold"])
    if not (0 < temperature < np.inf and np.isfinite(threshold)):
        raise ValueError("its temperature or threshold is no number")
    scorer = _scorer(list(map(str, part["scorers"])), own, n_columns, n_classes)
    return ClassModel(basis, str(part["method"]), scorer, temperature, oddness, threshold)


def _space_arrays(space: Space) -> dict[str, NDArray]:
    if isinstance(space, Scaler):
        return {"scaler": np.array([space.centre_, space.scale_])}
    embedding = cast("EmbeddingSpace", space)
    return {"centre": embedding.centre_.astype(np.float32), "directions": embedding.directions_.astype(np.float32)}


def _space(basis: Basis, own: _Arrays) -> tuple[Space, int]:
    """The space, and the number of its coordinates."""
    if basis == "features":
        scaler = Scaler()
        scaler.centre_, scaler.scale_ = _finite(own, "scaler", 2, len(COLUMNS))
        return scaler, len(COLUMNS)
    space = EmbeddingSpace()
    n_columns = own["directions"].shape[1]
    space.centre_ = _finite(own, "centre", N_NUMBERS)
    space.directions_ = _finite(own, "directions", N_NUMBERS, n_columns)
    return space, n_columns


def _parts(scorer: Scorer) -> tuple[Scorer, ...]:
    return scorer.scorers if isinstance(scorer, Mean) else (scorer,)


def _scorer_arrays(scorer: Scorer) -> dict[str, NDArray]:
    found: dict[str, NDArray] = {}
    for number, part in enumerate(_parts(scorer)):
        if isinstance(part, Linear):
            arrays: dict[str, NDArray] = {"weights": part.weights, "intercepts": part.intercepts}
        else:
            arrays = (part.trees if isinstance(part, Votes) else cast("BoostedTrees", part)).to_arrays()
        found |= {f"scorer{number}.{name}": array for name, array in arrays.items()}
    return found


def _scorer(kinds: Sequence[str], own: _Arrays, n_columns: int, n_classes: int) -> Scorer:
    found = [_part(kind, _of(own, f"scorer{number}."), n_columns, n_classes) for number, kind in enumerate(kinds)]
    return found[0] if len(found) == 1 else Mean(tuple(found))


def _part(kind: str, own: _Arrays, n_columns: int, n_classes: int) -> Scorer:
    if kind == "Linear":
        return Linear(_finite(own, "weights", n_columns, n_classes), _finite(own, "intercepts", n_classes))
    trees = BoostedTrees.from_arrays(own)
    if trees.n_features != n_columns or len(trees.baseline) != n_classes:
        raise ValueError("its trees are not those of its classes")
    return Votes(trees) if kind == "Votes" else trees


def _of(arrays: _Arrays, prefix: str) -> dict[str, NDArray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _finite(arrays: _Arrays, name: str, *shape: int) -> NDArray[np.float64]:
    array = arrays[name]
    if array.shape != shape or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"{name} has shape {array.shape}, {array.dtype}, or values that are not finite")
    return array.astype(np.float64)
