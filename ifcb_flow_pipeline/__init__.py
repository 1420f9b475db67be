"""Finds the Imaging FlowCytobot bins to distrust: raw bins to ranked anomaly scores.

The three classes are used as in ifcb-flow-metric; the pipeline itself is in ``definitions``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ifcb_flow_pipeline.api import FeatureExtractor, Inferencer, ModelTrainer

__all__ = ["FeatureExtractor", "Inferencer", "ModelTrainer"]


def __getattr__(name: str) -> Any:
    # Loaded when first used: a command that only prints its help must not wait for scikit-learn.
    if name in __all__:
        from ifcb_flow_pipeline import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
