"""Which detectors there are: training one of the forests, and reading a model of whichever kind a file holds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.model_card import DAMAGED, ForestSettings, ModelError, read_arrays
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet, train_model
from ifcb_flow_pipeline.detection.trial.instrument_forests import InstrumentForests, train_instrument_forests
from ifcb_flow_pipeline.features.catalogue import FeatureSet

#: ``flow``: FlowModel; ``forest``: that of ifcb-flow-metric, over all instruments; the others: a forest for each
#: instrument, see instrument_forests.
Detector = Literal["flow", "forest", "mcif", "mcif-calibrated", "latent"]

#: The sets of features that each detector can judge by, its usual one first.
DETECTORS: Mapping[Detector, tuple[FeatureSet, ...]] = {
    "flow": ("full",),
    "forest": ("reference",),
    "mcif": ("full", "reference"),
    "mcif-calibrated": ("full", "reference"),
    "latent": ("full", "reference"),
}

AnyModel = Model | FlowModel | InstrumentForests


@dataclass(frozen=True, slots=True)
class ForestChoice:
    """Which forests are grown, on which features, and how. ``detector``: any but ``flow``."""

    detector: Detector
    feature_names: tuple[str, ...]
    settings: ForestSettings


def detector_and_features(detector: str, feature_set: str) -> tuple[Detector, FeatureSet]:
    """The detector and the set of features that are meant, where either may be empty: the usual one of the other.

    Raises ModelError, naming what there is, where they do not go together.
    """
    every = {each for sets in DETECTORS.values() for each in sets}
    if feature_set and feature_set not in every:
        raise ModelError(f"there is no feature set {feature_set!r}; there are: {', '.join(sorted(every))}")
    chosen = detector or ("forest" if feature_set == "reference" else "flow")
    if chosen not in DETECTORS:
        raise ModelError(f"there is no detector {detector!r}; there are: {', '.join(DETECTORS)}")
    sets = DETECTORS[cast("Detector", chosen)]
    if feature_set and feature_set not in sets:
        raise ModelError(f"the detector {chosen} judges by the feature set {' or '.join(sets)}, not {feature_set!r}")
    return cast("Detector", chosen), cast("FeatureSet", feature_set or sets[0])


def train_forest(
    training: TrainingSet, choice: ForestChoice, created: datetime, versions: Mapping[str, str]
) -> Model | InstrumentForests:
    """Grow the chosen forests. Raises ModelError, naming the remedy, where it cannot."""
    if choice.detector == "flow":
        raise ModelError("the flow model needs whole rows of bin_features: train it with 'ifcb-flow train'")
    if choice.detector == "forest":
        return train_model(training, choice.settings, created, versions)
    return train_instrument_forests(choice.detector, training, choice.settings, created, versions)


def model_from_bytes(data: bytes) -> AnyModel:
    """The model in the bytes of a file, of any kind. Raises ModelError, naming the remedy, where they are none."""
    arrays = read_arrays(data)
    try:
        # Only a flow model has parts, and only forests of instruments name these.
        if "parts" in arrays:
            return FlowModel.from_arrays(arrays)
        return InstrumentForests.from_arrays(arrays) if "instruments" in arrays else Model.from_bytes(data)
    except ModelError:
        raise
    except DAMAGED as error:
        raise ModelError(f"the model file is damaged ({error!r}); train a new model") from error
