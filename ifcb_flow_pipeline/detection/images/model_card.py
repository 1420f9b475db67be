"""The card of an image model: what someone must know to use it, or to make it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.catalogue import NAMES

#: Share of clean images that may be flagged.
FALSE_ALARMS = 0.01


@dataclass(frozen=True, slots=True)
class ImageModelCard:
    """``source``: what the model was trained on, where it is from and under which licence. ``feature_names``: those of
    the catalogue when it was trained. ``n_images`` by instrument, ``classes``: images of each.

    Thresholds are those that 1 % of the clean training images exceed, judged by models that had not seen their bins:
    ``known_threshold`` of the probability of a fault where it is known what is usual for the instrument,
    ``unknown_threshold`` where it is not, ``odd_threshold`` of the oddness. ``metrics``: what was measured while
    training.
    """

    model_id: str
    created: str
    source: str
    feature_names: tuple[str, ...]
    faults: tuple[str, ...]
    n_images: Mapping[str, int]
    classes: Mapping[str, int]
    known_threshold: float
    unknown_threshold: float
    odd_threshold: float
    versions: Mapping[str, str]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "images"

    def fault_threshold(self, levels_known: bool) -> float:
        """The probability of a fault from which an image is flagged."""
        return self.known_threshold if levels_known else self.unknown_threshold

    def check_usable(self) -> None:
        """Raise ModelError, naming the remedy, where this version computes other features than the model knows."""
        if self.feature_names != NAMES:
            raise ModelError(
                f"the image model {self.model_id} was trained on other image features than this version computes: "
                "train a new one with 'ifcb-flow train-images', or use the version that trained it"
            )

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ImageModelCard":
        """Read a card. Raises ModelError where the text is none."""
        try:
            values: dict[str, Any] = json.loads(text)
            if values.get("kind") != "images":
                raise ValueError(f"it is the card of a model of kind {values.get('kind')!r}")  # noqa: TRY301
            for name in ("feature_names", "faults"):
                values[name] = tuple(map(str, values[name]))
            for name in ("known_threshold", "unknown_threshold", "odd_threshold"):
                values[name] = float(values[name])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"this is no image model ({error}): train one with 'ifcb-flow train-images'") from error
