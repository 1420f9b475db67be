"""Small training sets for the tests of this folder."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.model_card import ForestSettings
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet, train_model
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

CREATED = datetime(2023, 8, 10, 11, 30, 59, tzinfo=UTC)
NAMES = FEATURE_NAMES[:3]
SMALL = ForestSettings(n_estimators=5, max_samples=16)


def normal_rows(n: int, columns: int = len(NAMES), seed: int = 0) -> NDArray[np.float64]:
    """BinTable of independent normal numbers, shape (n, columns)."""
    return np.random.default_rng(seed).normal(size=(n, columns))


def training_of(matrix: NDArray[np.float64], **changes: object) -> TrainingSet:
    """A training set of these rows: pids in order, instruments in turn, one row a day."""
    n = len(matrix)
    values: dict = {
        "pids": [f"D20230101T{i:06}_IFCB1" for i in range(n)],
        "instruments": [("IFCB134", "IFCB9")[i % 2] for i in range(n)],
        "days": [date(2023, 1, 1) + timedelta(days=i) for i in range(n)],
        "matrix": matrix,
        "feature_names": NAMES,
        "feature_settings": FeatureSettings(),
    }
    return TrainingSet(**(values | changes))


def small_model(n: int = 40, settings: ForestSettings = SMALL, **changes: object) -> Model:
    """A model of five small trees."""
    return train_model(training_of(normal_rows(n), **changes), settings, CREATED, {"numpy": "1.2.3"})
