"""The model of ifcb-flow-metric: one forest over all instruments, and the scores of its training bins."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.model_card import (
    FORMAT_VERSION,
    MIN_TRAINING_BINS,
    ForestSettings,
    ModelCard,
    ModelError,
    model_id,
    read_arrays,
)
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.detection.verdict.notes import unread
from ifcb_flow_pipeline.detection.verdict.sentences import join
from ifcb_flow_pipeline.detection.verdict.severity import SEVERITY_PER_DECADE, severities, verdict_table
from ifcb_flow_pipeline.features.extract import FeatureSettings

_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a forest is trained on: features of shape (bins, len(feature_names)), one row per pid; those of the
    reference are finite, others NaN where a bin has none.

    ``excluded`` maps a reason to the pids that were asked for but could not be used.
    """

    pids: Sequence[str]
    instruments: Sequence[str]
    days: Sequence[date]
    matrix: NDArray[np.float64]
    feature_names: tuple[str, ...]
    feature_settings: FeatureSettings
    excluded: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of n bins, in the order asked for; arrays of shape (n,), NaN where a bin has no features.

    ``anomaly_score``: in (-1, 0), lower is more anomalous. ``percentile``: 0 to 100, the share of the
    training bins that look more normal (NaN also where the model does not know its training scores).
    ``is_anomaly``: below the model's threshold (False where there is no score).
    """

    anomaly_score: NDArray[np.float64]
    percentile: NDArray[np.float64]
    is_anomaly: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Model:
    """A forest with its card. ``training_scores``: shape (bins,), ascending; empty where unknown."""

    card: ModelCard
    forest: Forest
    training_scores: NDArray[np.float64]

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be scored."""
        self.card.check_usable(settings)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:  # noqa: ARG002 - forests know none
        """A verdict for each row of ``bin_features``, in their order: a table of VERDICT_COLUMNS, without causes.

        The reasons say why a bin has no features. Raises ModelError where features are missing.
        """
        return scored_verdicts(features, self.score(feature_matrix(features, self.card)), self.card)

    def score(self, matrix: NDArray[np.float64]) -> Scores:
        """Score features of shape (n, len(card.feature_names)), columns in that order; a row with NaN gets none."""
        scored = np.isfinite(matrix).all(axis=1)
        score = np.full(len(matrix), np.nan)
        score[scored] = self.forest.score_samples(matrix[scored])
        percentile = np.full(len(matrix), np.nan)
        if self.training_scores.size:
            higher = self.training_scores.size - np.searchsorted(self.training_scores, score[scored], side="right")
            percentile[scored] = 100.0 * higher / self.training_scores.size
        return Scores(score, percentile, score < self.card.threshold)

    @property
    def feature_names_(self) -> list[str]:
        """The features that the forest was trained on, under the name that ifcb-flow-metric gave them."""
        return list(self.card.feature_names)

    def score_samples(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores alone, as scikit-learn gives them: shape (n,), lower is more anomalous."""
        return self.score(np.asarray(matrix, float)).anomaly_score

    def to_bytes(self) -> bytes:
        """The model as the content of one file."""
        buffer = io.BytesIO()
        arrays = self.forest.to_arrays() | {"training_scores": self.training_scores}
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            format_version=np.array(FORMAT_VERSION),
            card=np.frombuffer(self.card.to_json().encode(), dtype=np.uint8),
            **arrays,
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Model":
        """Read a model. Raises ModelError where the bytes are none."""
        arrays = read_arrays(data)
        try:
            card_text = arrays.pop("card").tobytes().decode()
            training_scores = arrays.pop("training_scores").astype(np.float64, casting="same_kind")
            forest = Forest.from_arrays(arrays)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"the model file is damaged ({error}); train a new model") from error
        card = ModelCard.from_json(card_text)
        if training_scores.ndim != 1 or forest.n_features != len(card.feature_names):
            raise ModelError("the model file is damaged (its card is that of another model); train a new model")
        return cls(card, forest, training_scores)


def train_model(
    training: TrainingSet, settings: ForestSettings, created: datetime, versions: Mapping[str, str]
) -> Model:
    """Grow a forest on the training set. Raises ModelError, naming the remedy, where there are too few bins
    or the settings do not fit them.

    With the same bins in the same order, settings and library versions, the same model comes out.
    """
    n_bins = len(training.pids)
    if n_bins < MIN_TRAINING_BINS:
        raise ModelError(
            f"{n_bins} bins with features to train on, at least {MIN_TRAINING_BINS} are needed "
            f"({sum(map(len, training.excluded.values()))} excluded): widen the training window"
        )
    check_amounts(settings, training)
    # Scoring does without scikit-learn, which takes long to load.
    from sklearn.ensemble import IsolationForest

    grower = IsolationForest(
        n_estimators=settings.n_estimators,
        max_samples=rows_per_tree(settings.max_samples, n_bins),
        max_features=settings.max_features,
        random_state=settings.random_seed,
    )
    forest = Forest.from_sklearn(grower.fit(training.matrix))
    scores = np.sort(forest.score_samples(training.matrix))
    card = card_of(training, settings, scores, created, versions)
    card = replace(card, model_id=model_id("iforest", created, forest.to_arrays(), settings, training.pids))
    return Model(card, forest, scores)


def feature_matrix(features: pa.Table, card: ModelCard) -> NDArray[np.float64]:
    """The features of a model in rows of ``bin_features``, shape (rows, features).

    Raises ModelError, naming the remedy, where the table does not have them.
    """
    missing = [name for name in card.feature_names if name not in features.column_names]
    if missing:
        raise ModelError(
            f"model {card.model_id} needs features that the table does not have: {', '.join(missing)}; "
            "compute the features again, or train a new model"
        )
    columns = [features.column(name).cast(pa.float64()).to_numpy() for name in card.feature_names]
    return np.column_stack(columns) if columns else np.zeros((features.num_rows, 0))


def scored_verdicts(
    features: pa.Table, scores: Scores, card: ModelCard, judged: NDArray[np.bool_] | None = None
) -> pa.Table:
    """A table of VERDICT_COLUMNS, without causes, for the scores of a forest: severity by the share of the training
    bins with a score as low or lower, ``bad`` below the forest's threshold.

    ``judged``, shape (n,): whether a bin has a forest to judge it, None for all; of the others a bin with features is
    ``not_judged``.
    """
    scored = np.isfinite(scores.anomaly_score)
    # A model that does not know its training scores cannot say how rare a score is, only on which side it lies.
    rare = np.where(
        np.isfinite(scores.percentile), 1.0 - scores.percentile / 100.0, np.where(scores.is_anomaly, 0.0, 1.0)
    )
    severity = np.where(scored, severities(-np.log10(np.maximum(rare, 1e-4))), 100.0)
    threshold = -SEVERITY_PER_DECADE * np.log10(card.forest_settings.contamination)
    # The forest's own threshold lies between two training bins; the verdict is its, and the severity agrees.
    below = np.minimum(severity, np.nextafter(threshold, 0.0))
    severity = np.where(scored, np.where(scores.is_anomaly, np.maximum(severity, threshold), below), severity)
    verdict = np.select([~scored, scores.is_anomaly], ["unreadable", "bad"], "ok").astype(object)
    if judged is not None:
        verdict[~judged], severity[~judged] = "not_judged", np.nan
    why = unread(features, verdict == "unreadable")
    return verdict_table(
        features,
        {
            "reasons": [join([why[row]]) if row in why else "" for row in range(len(scored))],
            "severity": severity,
            "verdict": verdict.tolist(),
            "anomaly_score": scores.anomaly_score,
            "percentile": scores.percentile,
            "threshold": np.full(len(scored), threshold),
            "model_id": [card.model_id] * len(scored),
        },
    )


def card_of(
    training: TrainingSet,
    settings: ForestSettings,
    scores: NDArray[np.float64],
    created: datetime,
    versions: Mapping[str, str],
) -> ModelCard:
    """The card of a forest that was trained on all of these bins, which have these scores; its id is still empty."""
    return ModelCard(
        model_id="",
        created=created.isoformat(timespec="seconds"),
        feature_names=training.feature_names,
        feature_settings=training.feature_settings,
        forest_settings=settings,
        threshold=float(np.percentile(scores, 100.0 * settings.contamination)),
        n_bins=len(training.pids),
        n_bins_by_instrument=_counts(training.instruments),
        first_day=min(training.days).isoformat(),
        last_day=max(training.days).isoformat(),
        excluded={reason: list(pids) for reason, pids in training.excluded.items()},
        training_pids_sha256=hashlib.sha256("\n".join(training.pids).encode()).hexdigest(),
        score_quantiles={f"{q:g}": float(np.quantile(scores, q)) for q in _QUANTILES},
        versions=dict(versions),
    )


def check_amounts(settings: ForestSettings, training: TrainingSet) -> None:
    """Raise ModelError, naming the remedy, where there are fewer bins or features than a tree is to take."""
    n_bins, n_features = len(training.pids), len(training.feature_names)
    rows, columns = settings.max_samples, settings.max_features
    if isinstance(rows, float) and rows * n_bins < 1:
        raise ModelError(f"max_samples is {rows}, which of {n_bins} bins is not one: raise it")
    if isinstance(columns, int) and columns > n_features:
        raise ModelError(f"max_features is {columns}, there are only {n_features} features: lower it")


def rows_per_tree(max_samples: int | float | Literal["auto"], n_bins: int) -> Any:
    """``max_samples`` as scikit-learn takes it, for so many rows."""
    # scikit-learn warns where a count exceeds the rows, and takes them all: that is what is meant here.
    return min(max_samples, n_bins) if isinstance(max_samples, int) else max_samples


def _counts(values: Sequence[str]) -> dict[str, int]:
    names, counts = np.unique(np.asarray(values, dtype=str), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
