"""The detectors that are compared, behind one interface: features of the training bins and of those to judge.

Ours is trained and judges as a user's would. The replaced tool's is an isolation forest of 26 or 27 features over
all instruments. The others are those of PyOD, where it is installed (extra ``compare``).
"""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.days import HISTORY_DAYS, TrainingWindow, training_set
from ifcb_flow_pipeline.detection import open_model
from ifcb_flow_pipeline.detection.flow import training
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelError
from ifcb_flow_pipeline.detection.trial import mcif
from ifcb_flow_pipeline.features import catalogue
from ifcb_flow_pipeline.features.extract import FeatureSettings

CREATED = datetime(2024, 1, 1, tzinfo=UTC)

#: The replaced tool of August 2025 has one feature less than its version 1.1.0.
OLD_NAMES = tuple(name for name in catalogue.FEATURE_NAMES if name != "roi_trigger_fraction")


#: PyOD's detectors by the module that they are in.
_PYOD_MODULES = {"ECOD": "ecod", "COPOD": "copod", "HBOS": "hbos", "LOF": "lof", "KNN": "knn"}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a detector says of n bins: ``badness`` (n,), and rows of ``bin_scores`` in that order, if it has them."""

    badness: NDArray[np.float64]
    rows: pa.Table | None = None


@dataclass(frozen=True, slots=True)
class Detector:
    """A name, and a function of the bins to train on and those to judge (tables of ``bin_features``)."""

    name: str
    judge: Callable[[pa.Table, pa.Table], Verdicts]


def ours() -> list[Detector]:
    """The detectors of this package: the default, ranked by either of its columns, and forests on the same features."""
    return [
        Detector("flow", lambda train, judged: _flow(train, judged, "anomaly_score")),
        Detector("flow, by severity", lambda train, judged: _flow(train, judged, "severity")),
        Detector("isolation forest, full", _pooled_forest),
        Detector("mcif", lambda train, judged: _chosen("mcif", train, judged)),
        Detector("mcif-calibrated", lambda train, judged: _chosen("mcif-calibrated", train, judged)),
        Detector("latent", lambda train, judged: _chosen("latent", train, judged)),
    ]


def reference() -> list[Detector]:
    """The replaced tool's forest, with the features of its two versions."""
    return [
        Detector("reference forest, 26", lambda train, judged: _forest(OLD_NAMES, train, judged)),
        Detector("reference forest, 27", lambda train, judged: _forest(catalogue.FEATURE_NAMES, train, judged)),
    ]


def pyod() -> list[Detector]:
    """PyOD's detectors on the reference features, on all of them, and on all relative to the instrument."""
    if importlib.util.find_spec("pyod") is None:
        return []
    full = catalogue.FULL_FEATURE_NAMES
    return [
        Detector(f"{kind} {label}", _pyod_judge(module, kind, names, own))
        for kind, module in _PYOD_MODULES.items()
        for label, names, own in (
            ("reference", catalogue.FEATURE_NAMES, False),
            ("full", full, False),
            ("full, own instrument", full, True),
        )
    ]


def default_model(train: pa.Table) -> training.FlowModel:
    """The default, trained as its users do: without labels."""
    return training.train_flow_model(train, training.TrainingSettings(), {}, CREATED, {})


def _flow(train: pa.Table, judged: pa.Table, ranked_by: str) -> Verdicts:
    model = default_model(train)
    is_known = np.isin(_strings(judged, "pid"), _strings(train, "pid"))
    rows = model.judge(judged) if is_known.all() else day_by_day(model, train, judged)
    values = rows.column(ranked_by).to_numpy(zero_copy_only=False)
    badness = values if ranked_by == "severity" else -values
    # What cannot be read has no score, and is looked at first; what cannot be judged is looked at last.
    badness = np.where(np.isnan(badness), np.where(_strings(rows, "verdict") == "unreadable", np.inf, -np.inf), badness)
    return Verdicts(badness, None if ranked_by == "severity" else rows)


def day_by_day(model: training.FlowModel, train: pa.Table, judged: pa.Table) -> pa.Table:
    """The verdicts in the order of ``judged``, each day with the days before it as history, as the pipeline does."""
    everything = pa.concat_tables([train, judged])
    day_of, judged_day = _days(everything), _days(judged)
    parts, order = [], []
    for day in np.unique(judged_day):
        today = np.flatnonzero(judged_day == day)
        before = (day_of < day) & (day_of >= day - HISTORY_DAYS)
        parts.append(model.judge(judged.take(today), everything.filter(pa.array(before))))
        order.append(today)
    return pa.concat_tables(parts).take(np.argsort(np.concatenate(order)))


def _days(table: pa.Table) -> NDArray[np.int64]:
    return table["start_time"].cast(pa.timestamp("s", "UTC")).cast(pa.int64()).to_numpy() // 86400


def _pooled_forest(train: pa.Table, judged: pa.Table) -> Verdicts:
    """One forest over the robustly scaled features of all instruments."""
    known, asked = _comparable(train, judged, catalogue.FULL_FEATURE_NAMES, own=False)
    return Verdicts(-mcif.IsolationForest().fit(known).score_samples(asked))


def _chosen(detector: open_model.Detector, train: pa.Table, judged: pa.Table) -> Verdicts:
    """A detector as ``--detector`` of the command line trains it, ranked by its anomaly score; all bins are equally bad
    where none of the instruments has bins enough.
    """
    names = catalogue.FULL_FEATURE_NAMES
    known = training_set(train, TrainingWindow(), names, FeatureSettings())
    choice = open_model.ForestChoice(detector, names, ForestSettings())
    try:
        rows = open_model.train_forest(known, choice, CREATED, {}).judge(judged)
    except ModelError:
        return Verdicts(np.zeros(judged.num_rows))
    return Verdicts(np.nan_to_num(-rows.column("anomaly_score").to_numpy(zero_copy_only=False), nan=-np.inf))


def _forest(names: Sequence[str], train: pa.Table, judged: pa.Table) -> Verdicts:
    from sklearn.ensemble import IsolationForest

    known, asked = _matrix(train, names), _matrix(judged, names)
    fitted = IsolationForest(random_state=42).fit(known[np.isfinite(known).all(axis=1)])
    badness = np.full(len(asked), -np.inf)
    scored = np.isfinite(asked).all(axis=1)
    badness[scored] = -fitted.score_samples(asked[scored])
    return Verdicts(badness)


def _pyod_judge(module: str, kind: str, names: Sequence[str], own: bool) -> Callable[[pa.Table, pa.Table], Verdicts]:
    def judge(train: pa.Table, judged: pa.Table) -> Verdicts:
        detector = getattr(importlib.import_module(f"pyod.models.{module}"), kind)()
        known, asked = _comparable(train, judged, names, own)
        badness = np.full(len(asked), -np.inf)
        scored = np.isfinite(_matrix(judged, names)).any(axis=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            detector.fit(known)
            badness[scored] = np.nan_to_num(detector.decision_function(asked[scored]), nan=-1e9)
        return Verdicts(badness)

    return judge


def _comparable(
    train: pa.Table, judged: pa.Table, names: Sequence[str], own: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both tables as matrices: robustly scaled over all instruments or each by its own, medians for what is missing."""
    known, asked = _matrix(train, names), _matrix(judged, names)
    groups = (_strings(train, "instrument"), _strings(judged, "instrument"))
    if not own:
        groups = tuple(np.zeros(len(group), dtype=int) for group in groups)
    known_z, asked_z = np.zeros_like(known), np.zeros_like(asked)
    for group in np.unique(groups[0]):
        rows = known[groups[0] == group]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            centre = np.nanmedian(rows, axis=0)
            spread = 1.4826 * np.nanmedian(np.abs(rows - centre), axis=0)
            plain = np.nanstd(rows, axis=0)
        spread = np.where(spread > 1e-9, spread, np.where(plain > 1e-9, plain, 1.0))
        for z, values, members in ((known_z, known, groups[0]), (asked_z, asked, groups[1])):
            z[members == group] = (values[members == group] - centre) / spread
    return np.clip(np.nan_to_num(known_z), -100, 100), np.clip(np.nan_to_num(asked_z), -100, 100)


def _matrix(table: pa.Table, names: Sequence[str]) -> NDArray[np.float64]:
    columns = [table.column(name).to_numpy(zero_copy_only=False).astype(np.float64) for name in names]
    return np.column_stack(columns)


def _strings(table: pa.Table, name: str) -> NDArray:
    return np.array(table.column(name).to_pylist(), dtype=str)
