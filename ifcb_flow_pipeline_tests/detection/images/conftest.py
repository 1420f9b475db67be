"""A small image model, trained once."""

from datetime import UTC, datetime

import pytest

from ifcb_flow_pipeline.detection.images.recogniser import GrowthSettings
from ifcb_flow_pipeline.detection.images.training import planted_features, train_image_model

from .particles import clean_images

CREATED = datetime(2024, 5, 6, tzinfo=UTC)
SETTINGS = GrowthSettings(rounds=12, leaves=8)


@pytest.fixture(scope="session")
def planted():
    """Features of drawn images and of copies with faults."""
    return planted_features(clean_images(240))


@pytest.fixture(scope="session")
def model(planted):
    """A model of two kinds of drawn cells."""
    return train_image_model(planted, "drawn cells", CREATED, {"numpy": "any"}, SETTINGS)
