"""Reading a model of whichever kind a file holds."""

from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.model_card import read_arrays
from ifcb_flow_pipeline.detection.reference.model import Model

AnyModel = Model | FlowModel


def model_from_bytes(data: bytes) -> AnyModel:
    """The model in the bytes of a file, of either kind. Raises ModelError, naming the remedy, where they are none."""
    # Only a flow model has parts.
    return FlowModel.from_bytes(data) if "parts" in read_arrays(data) else Model.from_bytes(data)
