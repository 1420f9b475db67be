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
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.features import catalogue

CREATED = datetime(2024, 1, 1, tzinfo=UTC)

#: The replaced tool of August 2025 has one feature less than its version 1.1.0.
OLD_NAMES = tuple(name for name in catalogue.FEATURE_NAMES if name != "roi_trigger_fraction")


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
    """The default of this package, and each of its parts alone; nothing where there is none yet."""
    try:
        flow = importlib.import_module("ifcb_flow_pipeline.detection.flow")
    except ModuleNotFoundError:
        return []
    return [Detector("flow", lambda train, judged: _flow(flow, train, judged))]


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
    full = getattr(catalogue, "FULL_FEATURE_NAMES", catalogue.FEATURE_NAMES)
    return [
        Detector(f"{kind} {label}", _pyod_judge(module, kind, names, own))
        for module, kind in (("ecod", "ECOD"), ("copod", "COPOD"), ("hbos", "HBOS"), ("lof", "LOF"), ("knn", "KNN"))
        for label, names, own in (
            ("reference", catalogue.FEATURE_NAMES, False),
            ("full", full, False),
            ("full, own instrument", full, True),
        )
    ]


def _flow(flow: Any, train: pa.Table, judged: pa.Table) -> Verdicts:
    model = flow.train_flow_model(train, flow.TrainingSettings(), {}, CREATED, {})
    new = ~np.isin(_strings(train, "pid"), _strings(judged, "pid"))
    history = train.filter(pa.array(new)) if new.any() else None
    rows = model.judge(judged, history)
    severity = rows.column("severity").to_numpy(zero_copy_only=False)
    score = rows.column("anomaly_score").to_numpy(zero_copy_only=False)
    # As a user's list is ordered: by severity, then by the lower score.
    _, badness = np.unique(np.stack([severity, -np.nan_to_num(score, nan=-1e9)]), axis=1, return_inverse=True)
    return Verdicts(badness.astype(float).ravel(), rows)


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
