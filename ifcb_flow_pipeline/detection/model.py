"""A trained model: the forest, the scores of its training bins, and the card that says what it is.

A model travels as one file: a NumPy archive of plain arrays, with the card as JSON text. Reading it never
runs anything that it holds.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.forest import Forest
from ifcb_flow_pipeline.detection.verdicts import SEVERITY_PER_DECADE, severities, verdict_table
from ifcb_flow_pipeline.errors import FlowError
from ifcb_flow_pipeline.features.catalogue import CATALOGUE
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Version of the file format; a reader refuses a newer one.
FORMAT_VERSION = 1

#: Fewer bins train nothing that could be called normal.
MIN_TRAINING_BINS = 10

#: What reading a NumPy archive raises where the bytes are none, or a damaged one (encrypted: RuntimeError).
_NO_ARRAYS = (ValueError, KeyError, TypeError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


class ModelError(FlowError, ValueError):
    """A model that cannot be trained, read or used; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class ForestSettings:
    """How a forest is grown; the defaults of scikit-learn and ifcb-flow-metric except for contamination.

    ``contamination``: share of the training bins that will lie below the threshold (it moves the threshold,
    never a score), in (0, 0.5]. ``max_samples``: rows per tree, a number of rows, a share in (0, 1] or
    "auto" (256). ``max_features``: columns per tree, likewise. Raises ModelError for a value out of range.
    """

    contamination: float = 0.02
    n_estimators: int = 100
    max_samples: int | float | Literal["auto"] = "auto"
    max_features: int | float = 1.0
    random_seed: int = 42

    def __post_init__(self) -> None:
        if not 0 < self.contamination <= 0.5:
            raise ModelError(f"contamination must be above 0 and at most 0.5, not {self.contamination!r}")
        if not (isinstance(self.n_estimators, int) and self.n_estimators >= 1):
            raise ModelError(f"n_estimators must be a whole number from 1, not {self.n_estimators!r}")
        if self.max_samples != "auto" and not _is_count_or_share(self.max_samples):
            raise ModelError(f"max_samples must be auto, a count or a share up to 1.0, not {self.max_samples!r}")
        if not _is_count_or_share(self.max_features):
            raise ModelError(f"max_features must be a count or a share up to 1.0, not {self.max_features!r}")
        if not (isinstance(self.random_seed, int) and 0 <= self.random_seed < 2**32):
            raise ModelError(f"random_seed must be a whole number from 0 to 2**32 - 1, not {self.random_seed!r}")


def parse_amount(text: str) -> int | float | Literal["auto"]:
    """``auto``, a count (``256``) or a share (``0.5``) as ForestSettings takes them.

    Raises ModelError for anything else.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ModelError(f"{text!r} is neither auto, nor a count such as 256, nor a share such as 0.5") from None


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What a model is trained on: features of shape (bins, len(feature_names)), finite, one row per pid.

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
class ModelCard:
    """What someone must know to use a model, or to make it again.

    ``kind`` is ``forest`` (Model) or ``flow`` (FlowModel), ``threshold`` the anomaly score of a forest below
    which a bin is an anomaly, and the severity from which a flow model calls one bad. ``metrics``: what was
    measured with people's labels, and how training went.
    """

    model_id: str
    created: str
    feature_names: tuple[str, ...]
    feature_settings: FeatureSettings
    forest_settings: ForestSettings
    threshold: float
    n_bins: int
    n_bins_by_instrument: Mapping[str, int]
    first_day: str | None
    last_day: str | None
    excluded: Mapping[str, Sequence[str]]
    training_pids_sha256: str
    score_quantiles: Mapping[str, float]
    versions: Mapping[str, str]
    note: str = ""
    kind: str = "forest"
    feature_set: str = "reference"
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_excluded(self) -> int:
        """How many bins were asked for but could not be used."""
        return sum(len(pids) for pids in self.excluded.values())

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be judged."""
        known = {feature.name for feature in CATALOGUE}
        unknown = [name for name in self.feature_names if name not in known]
        if unknown:
            raise ModelError(
                f"model {self.model_id} needs features that this version cannot compute: "
                f"{', '.join(unknown)}; train a new model, or use the version that trained it"
            )
        if settings != self.feature_settings:
            theirs = self.feature_settings
            frames = ""
            if settings.frames != theirs.frames:
                frames = f", and frames {settings.frames or 'as usual'} in place of {theirs.frames or 'the usual ones'}"
            raise ModelError(
                f"model {self.model_id} was trained with triggers={theirs.triggers}, "
                f"aspect ratio {theirs.aspect_ratio}; these features have triggers={settings.triggers}, "
                f"aspect ratio {settings.aspect_ratio}{frames}: train a new model, or make the features the same way"
            )

    def to_json(self) -> str:
        """The card as indented JSON text."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "ModelCard":
        """Read a card. Raises ModelError where the text is none."""
        try:
            values: dict[str, Any] = json.loads(text)
            values["feature_names"] = tuple(values["feature_names"])
            values["feature_settings"] = FeatureSettings(**values["feature_settings"])
            values["forest_settings"] = ForestSettings(**values["forest_settings"])
            return cls(**values)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ModelError(f"the model's card cannot be read ({error!r}); train the model anew") from error


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

        Raises ModelError where features are missing.
        """
        scores = self.score(feature_matrix(features, self.card))
        scored = np.isfinite(scores.anomaly_score)
        # A model that does not know its training scores cannot say how rare a score is, only on which side it lies.
        rare = np.where(
            np.isfinite(scores.percentile), 1.0 - scores.percentile / 100.0, np.where(scores.is_anomaly, 0.0, 1.0)
        )
        severity = np.where(scored, severities(-np.log10(np.maximum(rare, 1e-4))), 100.0)
        threshold = -SEVERITY_PER_DECADE * np.log10(self.card.forest_settings.contamination)
        # The forest's own threshold lies between two training bins; the verdict is its, and the severity agrees.
        below = np.minimum(severity, np.nextafter(threshold, 0.0))
        severity = np.where(scored, np.where(scores.is_anomaly, np.maximum(severity, threshold), below), severity)
        return verdict_table(
            features,
            {
                "severity": severity,
                "verdict": np.select([~scored, scores.is_anomaly], ["unreadable", "bad"], "ok").tolist(),
                "anomaly_score": scores.anomaly_score,
                "percentile": scores.percentile,
                "threshold": np.full(len(scored), threshold),
                "model_id": [self.card.model_id] * len(scored),
            },
        )

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
    _check_amounts(settings, training)
    # Scoring does without scikit-learn, which takes long to load.
    from sklearn.ensemble import IsolationForest

    grower = IsolationForest(
        n_estimators=settings.n_estimators,
        max_samples=_rows_per_tree(settings.max_samples, n_bins),
        max_features=settings.max_features,
        random_state=settings.random_seed,
    )
    forest = Forest.from_sklearn(grower.fit(training.matrix))
    scores = np.sort(forest.score_samples(training.matrix))
    digest = hashlib.sha256("\n".join(training.pids).encode()).hexdigest()
    card = ModelCard(
        model_id=model_id("iforest", created, forest.to_arrays(), settings, training.pids),
        created=created.isoformat(timespec="seconds"),
        feature_names=training.feature_names,
        feature_settings=training.feature_settings,
        forest_settings=settings,
        threshold=float(np.percentile(scores, 100.0 * settings.contamination)),
        n_bins=n_bins,
        n_bins_by_instrument=_counts(training.instruments),
        first_day=min(training.days).isoformat(),
        last_day=max(training.days).isoformat(),
        excluded={reason: list(pids) for reason, pids in training.excluded.items()},
        training_pids_sha256=digest,
        score_quantiles={f"{q:g}": float(np.quantile(scores, q)) for q in _QUANTILES},
        versions=dict(versions),
    )
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


def read_arrays(data: bytes) -> dict[str, NDArray]:
    """The arrays of a model file but for its version. Raises ModelError, naming the remedy, where it is none."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        version = int(arrays.pop("format_version"))
    except _NO_ARRAYS as error:
        raise ModelError(
            "the file is no model of this program; convert a classifier.pkl of ifcb-flow-metric once, with "
            "'ifcb-flow convert-model', or train a new model"
        ) from error
    if version > FORMAT_VERSION:
        raise ModelError(f"the model has format {version}, this version reads up to {FORMAT_VERSION}: update it")
    return arrays


def model_id(kind: str, created: datetime, arrays: Mapping[str, NDArray], *made_of: object) -> str:
    """An id that two different models never share: kind, time, and a digest of the arrays and what made them."""
    digest = hashlib.sha256(repr(made_of).encode())
    for array in arrays.values():
        digest.update(array.tobytes())
    return f"{kind}-{created:%Y%m%dT%H%M%SZ}-{digest.hexdigest()[:8]}"


def _check_amounts(settings: ForestSettings, training: TrainingSet) -> None:
    n_bins, n_features = len(training.pids), len(training.feature_names)
    rows, columns = settings.max_samples, settings.max_features
    if isinstance(rows, float) and rows * n_bins < 1:
        raise ModelError(f"max_samples is {rows}, which of {n_bins} bins is not one: raise it")
    if isinstance(columns, int) and columns > n_features:
        raise ModelError(f"max_features is {columns}, there are only {n_features} features: lower it")


def _rows_per_tree(max_samples: int | float | Literal["auto"], n_bins: int) -> Any:
    # scikit-learn warns where a count exceeds the rows, and takes them all: that is what is meant here.
    return min(max_samples, n_bins) if isinstance(max_samples, int) else max_samples


def _is_count_or_share(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return (isinstance(value, int) and value >= 1) or (isinstance(value, float) and 0 < value <= 1)


def _counts(values: Sequence[str]) -> dict[str, int]:
    names, counts = np.unique(np.asarray(values, dtype=str), return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
