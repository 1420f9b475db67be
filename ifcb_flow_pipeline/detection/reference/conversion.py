"""Models of ifcb-flow-metric: a pickled IsolationForest, converted once.

The pickle is read by ``pickled_forest``, which runs nothing that it says; ``store.old_models`` does that in a process
without rights.
"""

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelCard, ModelError, model_id
from ifcb_flow_pipeline.detection.reference.model import Model
from ifcb_flow_pipeline.detection.reference.pickled_forest import PickledForest, read_pickled_forest
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Where a forest does not say how many bins it is to call anomalies: what ifcb-flow-metric takes.
_USUAL_CONTAMINATION = 0.1


def convert_pickle(data: bytes, settings: FeatureSettings, created: datetime, versions: Mapping[str, str]) -> Model:
    """The model in a ``classifier.pkl`` of ifcb-flow-metric.

    The pickle does not know how its features were made: ``settings`` says it (before version 1.1.0, all
    triggers were points). Its training window and scores are unknown, so percentiles will be NaN.
    Raises ModelError where the pickle holds no fitted IsolationForest, or features that are not ours.
    """
    found = read_pickled_forest(data)
    names = _feature_names(found)
    contamination = found.contamination if isinstance(found.contamination, float) else _USUAL_CONTAMINATION
    card = ModelCard(
        model_id=model_id("legacy", created, found.forest.to_arrays(), settings, contamination),
        created=created.isoformat(timespec="seconds"),
        feature_names=names,
        feature_settings=settings,
        forest_settings=ForestSettings(
            contamination=contamination,
            n_estimators=len(found.forest.root),
            max_samples=found.max_samples,
            max_features=found.max_features,
        ),
        threshold=found.offset,
        n_bins=0,
        n_bins_by_instrument={},
        first_day=None,
        last_day=None,
        excluded={},
        training_pids_sha256="",
        score_quantiles={},
        versions={**versions, "scikit-learn of the pickle": found.version},
        note="converted from a classifier.pkl of ifcb-flow-metric; its training bins are unknown",
    )
    return Model(card, found.forest, np.zeros(0))


def _feature_names(found: PickledForest) -> tuple[str, ...]:
    names, n_features = found.names, found.forest.n_features
    if not names and n_features in (26, 27):
        names = FEATURE_NAMES[:n_features]
    if len(names) != n_features:
        raise ModelError(f"the model has {n_features} features and does not say which; train a new model")
    unknown = [name for name in names if name not in FEATURE_NAMES]
    if unknown:
        raise ModelError(f"the model uses unknown features: {', '.join(unknown)}; train a new model")
    return names
