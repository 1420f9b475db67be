"""Models that are trained once for all tests of this folder."""

import pytest

from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model

from . import fleet


@pytest.fixture(scope="session")
def model() -> FlowModel:
    """A model of a fleet of two instruments, 150 healthy bins each."""
    return train_flow_model(fleet.table(fleet.columns(150)), TrainingSettings(), {}, fleet.CREATED, {"numpy": "2"})


@pytest.fixture(scope="session")
def healthy() -> fleet.Columns:
    """Columns of 100 bins of each instrument that no model was trained on, from right after the training window."""
    return fleet.columns(100, seed=1, start=fleet.START + 150 * fleet.CADENCE)
