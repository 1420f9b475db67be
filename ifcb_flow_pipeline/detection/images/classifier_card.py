"""The card of a classifier: what it was trained on, and how well each way of telling classes did."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ifcb_flow_pipeline.detection.model_card import ModelError
from ifcb_flow_pipeline.features.images.catalogue import NAMES


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """How well images of bins that a classifier had not seen were named.

    ``accuracy``, ``macro_f1`` and ``calibration_error`` (mean difference of probability and share named rightly, in ten
    steps of the probability) in 0-1; ``log_loss``: mean logarithm of the probability of the true class, negated.
    """

    n_images: int
    accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One way of telling classes: ``basis`` and ``method``; ``held_back``: bins held back in turn; ``elsewhere``: by
    the instrument that it was judged on after it was trained on another one; ``confusion``: images of each class (rows)
    by the class they were called (columns).
    """

    basis: str
    method: str
    held_back: ClassMetrics
    elsewhere: Mapping[str, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class ClassifierCard:
    """``source``: what the images are, where they are from and under which licence; ``classes``, ``instruments``:
    images of each; ``chosen``: the method that was kept, by basis; ``compared``: all that were tried.
    """

    model_id: str
    created: str
    source: str
    feature_names: tuple[str, ...]
    classes: Mapping[str, int]
    instruments: Mapping[str, int]
    chosen: Mapping[str, str]
    compared: tuple[Compared, ...]
    versions: Mapping[str, str]
    kind: str = "classifier"

    def check_usable(self) -> None:
        """Raise ModelError, naming the remedy, where this version computes other features than the model knows."""
        if self.feature_names != NAMES:
            raise ModelError(
                f"the classifier {self.model_id} was trained on other image features than this version computes: "
                "train a new one with 'ifcb-flow classify train', or use the version that trained it"
            )

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ClassifierCard":
        """Read a card. Raises ModelError where the text is none."""
        try:
            values: dict[str, Any] = json.loads(text)
            if values.get("kind") != "classifier":
                raise ValueError(f"it is the card of a model of kind {values.get('kind')!r}")  # noqa: TRY301
            values["feature_names"] = tuple(map(str, values["feature_names"]))
            values["compared"] = tuple(map(_compared, values["compared"]))
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"this is no classifier ({error}): train one with 'ifcb-flow classify train'") from error


def _compared(values: Mapping[str, Any]) -> Compared:
    return Compared(
        values["basis"],
        values["method"],
        ClassMetrics(**values["held_back"]),
        {name: ClassMetrics(**found) for name, found in values["elsewhere"].items()},
        tuple(map(tuple, values["confusion"])),
    )
