"""Models of ifcb-flow-metric: a pickled IsolationForest, converted once, on explicit demand.

Unpickling runs whatever the file says. Nothing else in this package ever unpickles.
"""

import io
import pickle
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelCard, ModelError, model_id
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.detection.reference.model import Model
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: What code that a pickle runs may raise when it is damaged, or made for another version of a library.
_UNPICKLING_ERRORS = (pickle.UnpicklingError, ArithmeticError, AttributeError, EOFError, ImportError, LookupError,
                      RuntimeError, TypeError, ValueError)  # fmt: skip


def convert_pickle(data: bytes, settings: FeatureSettings, created: datetime, versions: Mapping[str, str]) -> Model:
    """The model in a ``classifier.pkl`` of ifcb-flow-metric. THE BYTES MUST BE TRUSTED: they are executed.

    The pickle does not know how its features were made: ``settings`` says it (before version 1.1.0, all
    triggers were points). Its training window and scores are unknown, so percentiles will be NaN.
    Raises ModelError where the pickle holds no fitted IsolationForest, or features that are not ours.
    """
    try:
        fitted = pickle.load(io.BytesIO(data))  # noqa: S301 - the one purpose of this module
    except _UNPICKLING_ERRORS as error:
        raise ModelError(f"the pickle cannot be read with the installed scikit-learn: {error}") from error
    if not isinstance(fitted, IsolationForest) or not hasattr(fitted, "estimators_"):
        raise ModelError(f"the pickle holds a {type(fitted).__name__}, not a fitted IsolationForest")
    names = _feature_names(fitted)
    forest = Forest.from_sklearn(fitted)
    contamination = fitted.contamination if isinstance(fitted.contamination, float) else 0.1
    card = ModelCard(
        model_id=model_id("legacy", created, forest.to_arrays(), settings, contamination),
        created=created.isoformat(timespec="seconds"),
        feature_names=names,
        feature_settings=settings,
        forest_settings=ForestSettings(
            contamination=contamination,
            n_estimators=len(fitted.estimators_),
            max_samples=int(fitted.max_samples_),
            max_features=fitted.max_features,
        ),
        threshold=float(fitted.offset_),
        n_bins=0,
        n_bins_by_instrument={},
        first_day=None,
        last_day=None,
        excluded={},
        training_pids_sha256="",
        score_quantiles={},
        versions=dict(versions),
        note="converted from a classifier.pkl of ifcb-flow-metric; its training bins are unknown",
    )
    return Model(card, forest, np.zeros(0))


def _feature_names(fitted: Any) -> tuple[str, ...]:
    names = tuple(getattr(fitted, "feature_names_", ()))
    if not names and fitted.n_features_in_ in (26, 27):
        names = FEATURE_NAMES[: fitted.n_features_in_]
    if len(names) != fitted.n_features_in_:
        raise ModelError(f"the model has {fitted.n_features_in_} features and does not say which; train a new model")
    unknown = [name for name in names if name not in FEATURE_NAMES]
    if unknown:
        raise ModelError(f"the model uses unknown features: {', '.join(unknown)}; train a new model")
    return names
