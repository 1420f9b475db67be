"""The file of a flow model: which arrays it holds, and whether they fit each other."""

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow.baseline import Baseline
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.deployments import Places
from ifcb_flow_pipeline.detection.flow.instrument import InstrumentModel
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.flow.neighbour_averages import LENGTHS, NeighbourDetector
from ifcb_flow_pipeline.detection.flow.tails import TailDetector
from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ModelCard, ModelError

#: The arrays of each part of a model in a file, with the lengths of their axes: d features, c configurations, k
#: deployments, g groups of features, q points of a scale, l lengths of windows.
_SHAPES: Mapping[type, Mapping[str, str]] = {
    Baseline: {"centre": "cd", "config_bins": "c", "scatter": "d", "range_": "d", "sampling": "d", "points": "",
               "least": "d", "level": "d", "level_sd": "d", "first_s": "", "last_s": "", "n_bins": ""},
    Places: {"start_s": "k", "core": "k", "sd": "k", "is_open": "k"},
    TailDetector: {"power_": "2d", "width_": "2d", "offset_": "g"},
    RarityScale: {"raw_score_": "q", "rarity_": "q", "slope_": ""},
    LabelRanker: {"weights_": "g", "bias_": ""},
    NeighbourDetector: {"spread_": "ld"},
}  # fmt: skip


def to_bytes(card: ModelCard, texts: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> bytes:
    """A model as the content of one file: plain arrays, and texts as JSON."""
    buffer = io.BytesIO()
    as_text = {"card": card.to_json(), "parts": json.dumps(texts)}
    np.savez_compressed(
        buffer,
        allow_pickle=False,
        format_version=np.array(FORMAT_VERSION),
        **{name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in as_text.items()},
        **arrays,
    )
    return buffer.getvalue()


def arrays_of(instruments: Sequence[InstrumentModel], ranker: LabelRanker) -> dict[str, NDArray]:
    """The numbers of a model as named arrays: those of instrument 3 begin with ``3.``."""
    found = _named(ranker, "ranker")
    for number, instrument in enumerate(instruments):
        for name, part in _parts(instrument).items():
            found |= _named(part, f"{number}.{name}")
    return found


def read_parts(
    arrays: Mapping[str, NDArray],
) -> tuple[ModelCard, tuple[FeatureMetadata, ...], dict[str, InstrumentModel], LabelRanker, dict[str, float]]:
    """What the arrays of a file describe. Raises ModelError where they describe no model."""
    try:
        card = ModelCard.from_json(arrays["card"].tobytes().decode())
        texts = json.loads(arrays["parts"].tobytes().decode())
        metadata = tuple(FeatureMetadata(**values) for values in texts["metadata"])
        instruments = {
            str(name): _instrument(arrays, str(number), metadata, tuple(map(str, configurations)))
            for number, (name, configurations) in enumerate(texts["instruments"].items())
        }
        ranker = _filled(LabelRanker(), "ranker", arrays)
        _check(ranker, {"g": len(TailDetector(metadata).groups)})
        thresholds = {str(name): float(value) for name, value in texts["thresholds"].items()}
    except (KeyError, TypeError) as error:
        raise ModelError(
            f"the model file is of another version of this program, or damaged ({error!r}): train a new model"
        ) from error
    except (ValueError, AttributeError) as error:
        raise ModelError(f"the model file is damaged ({error!r}); train a new model") from error
    return card, metadata, instruments, ranker, thresholds


def _instrument(
    arrays: Mapping[str, NDArray], number: str, metadata: tuple[FeatureMetadata, ...], configurations: tuple[str, ...]
) -> InstrumentModel:
    numbers: dict[str, Any] = _numbers(Baseline, f"{number}.baseline", arrays)
    places: dict[str, Any] = _numbers(Places, f"{number}.places", arrays)
    places["is_open"] = places["is_open"].astype(bool)
    baseline = Baseline(metadata=metadata, configurations=configurations, places=Places(**places), **numbers)
    tails = _filled(TailDetector(metadata), f"{number}.tails", arrays)
    scale = _filled(RarityScale(), f"{number}.scale", arrays)
    neighbours = _filled(NeighbourDetector(metadata), f"{number}.neighbours", arrays)
    neighbours.tails = _filled(neighbours.tails, f"{number}.neighbours.tails", arrays)
    neighbours.scale = _filled(neighbours.scale, f"{number}.neighbours.scale", arrays)
    found = InstrumentModel(baseline, tails, scale, neighbours)
    lengths = {"d": len(metadata), "c": len(configurations), "k": len(baseline.places.start_s),
               "g": len(tails.groups), "l": len(LENGTHS), "2": 2}  # fmt: skip
    for part in _parts(found).values():
        _check(part, lengths)
    if not (configurations and len(baseline.places.start_s)):
        raise ValueError("an instrument has no settings or no deployment")
    return found


def _parts(instrument: InstrumentModel) -> dict[str, Any]:
    return {
        "baseline": instrument.baseline,
        "places": instrument.baseline.places,
        "tails": instrument.tails,
        "scale": instrument.scale,
        "neighbours": instrument.neighbours,
        "neighbours.tails": instrument.neighbours.tails,
        "neighbours.scale": instrument.neighbours.scale,
    }


def _named(part: Any, prefix: str) -> dict[str, NDArray]:
    return {f"{prefix}.{name}": np.asarray(getattr(part, name)) for name in _SHAPES[type(part)]}


def _filled(part: Any, prefix: str, arrays: Mapping[str, NDArray]) -> Any:
    for name, values in _numbers(type(part), prefix, arrays).items():
        setattr(part, name, values)
    return part


def _numbers(part: type, prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays of one part. Raises KeyError, ValueError where they are missing or no numbers."""
    found = {name: arrays[f"{prefix}.{name}"] for name in _SHAPES[part]}
    for name, values in found.items():
        if values.dtype.kind not in "fib":
            raise ValueError(f"{prefix}.{name} holds {values.dtype}")
    return found


def _check(part: Any, lengths: Mapping[str, int]) -> None:
    """Raise ValueError where an array of a part does not fit the others."""
    if isinstance(part, RarityScale):
        lengths = {**lengths, "q": len(np.atleast_1d(part.raw_score_))}
    for name, axes in _SHAPES[type(part)].items():
        shape = tuple(lengths[axis] for axis in axes)
        if np.shape(getattr(part, name)) != shape:
            raise ValueError(f"{name} has shape {np.shape(getattr(part, name))} in place of {shape}")
