"""A forest for each instrument as a model: on robustly scaled features, or in the latent space of a classifier.

What an instrument's own bins do not tell is not judged: an instrument without a forest gets the verdict
``not_judged``, never that of another one's forest.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, Self, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.model_card import (
    FORMAT_VERSION,
    ForestSettings,
    ModelCard,
    ModelError,
    model_id,
    read_arrays,
)
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.detection.reference.model import (
    Scores,
    TrainingSet,
    card_of,
    check_amounts,
    feature_matrix,
    scored_verdicts,
)
from ifcb_flow_pipeline.detection.trial.latent import LatentForest, LatentSpace
from ifcb_flow_pipeline.detection.trial.mcif import MultiClassIsolationForest, filled
from ifcb_flow_pipeline.detection.verdict.severity import SEVERITY_PER_DECADE
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: ``mcif``: the scores as the forests give them; ``mcif-calibrated``: as log10 of the share of the instrument's bins
#: with a score as low; ``latent``: scores of forests that were grown in the latent space.
Kind = Literal["mcif", "mcif-calibrated", "latent"]

#: Fewer bins of an instrument grow no forest: the usual contamination, 2 %, would be less than one bin of them.
MIN_INSTRUMENT_BINS = 50

#: Median absolute deviation to standard deviation, of normal numbers.
_MAD_TO_SD = 1.4826

#: A smaller spread is that of a constant.
_LEAST_SPREAD = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What is usual of each feature over all instruments: ``centre`` and ``spread``, shape (features,)."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def fit(cls, matrix: NDArray[np.float64]) -> Self:
        """Of rows of shape (n, features), NaN where unknown: median and median absolute deviation."""
        known = np.where(np.isfinite(matrix), matrix, np.nan)
        known[:, np.isnan(known).all(axis=0)] = 0.0
        centre = np.nanmedian(known, axis=0)
        robust, plain = _MAD_TO_SD * np.nanmedian(np.abs(known - centre), axis=0), np.nanstd(known, axis=0)
        # Most bins share the value of some features; of a constant any deviation is as good as another.
        spread = np.where(robust > _LEAST_SPREAD, robust, np.where(plain > _LEAST_SPREAD, plain, 1.0))
        return cls(centre, spread)

    def scaled(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Deviations in spreads, finite: 0 where a value is unknown."""
        return filled((matrix - self.centre) / self.spread)


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentForest:
    """The forest of one instrument. ``scale``: of calibrated scores, else None; ``training_scores``: those of its
    bins, shape (bins,), ascending.
    """

    forest: Forest
    scale: RarityScale | None
    training_scores: NDArray[np.float64]

    @classmethod
    def of(cls, forest: Forest, scale: RarityScale | None, rows: NDArray[np.float64]) -> Self:
        """That which was grown on these rows."""
        grown = cls(forest, scale, np.zeros(0))
        return cls(forest, scale, np.sort(grown.scores(rows)))

    def scores(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The score of each row, shape (n,): lower is more anomalous."""
        raw = self.forest.score_samples(rows)
        return raw if self.scale is None else -self.scale.rarity(-raw)

    def threshold(self, contamination: float) -> float:
        """The score below which this share of the instrument's training bins lies."""
        return float(np.percentile(self.training_scores, 100.0 * contamination))


@dataclass(frozen=True, slots=True, eq=False)
class InstrumentForests:
    """The forests of the instruments that have one, by name, with the card. ``latent``: the space in which they were
    grown; None: in that of the scaled features themselves.
    """

    card: ModelCard
    scaling: Scaling
    latent: LatentSpace | None
    forests: Mapping[str, InstrumentForest]

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be scored."""
        self.card.check_usable(settings)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:  # noqa: ARG002 - forests know none
        """A verdict for each row of ``bin_features``, in their order: a table of VERDICT_COLUMNS, without causes.

        A bin of an instrument without a forest is ``not_judged``, its severity NaN. Raises ModelError where features
        are missing.
        """
        matrix = feature_matrix(features, self.card)
        with_features = Names.of(features, "status").equal("ok") & np.isfinite(matrix).any(axis=1)
        matrix[~with_features] = np.nan
        instrument = Names.of(features, "instrument")
        known = instrument.equal(*self.forests)
        scores = self.score(matrix, instrument.to_list())
        return scored_verdicts(features, scores, self.card, known | ~with_features)

    def score(self, matrix: NDArray[np.float64], instruments: Sequence[str]) -> Scores:
        """Score features of shape (n, len(card.feature_names)), columns in that order, of bins of these instruments.

        A row without any feature gets no score, and neither does one of an instrument without a forest.
        """
        names = np.array(instruments, dtype=object)
        score, percentile = np.full(len(matrix), np.nan), np.full(len(matrix), np.nan)
        is_anomaly = np.zeros(len(matrix), dtype=bool)
        with_features = np.isfinite(matrix).any(axis=1)
        for name, forest in self.forests.items():
            own = np.flatnonzero((names == name) & with_features)
            score[own] = forest.scores(self._space(matrix[own]))
            training = forest.training_scores
            percentile[own] = 100.0 * (1.0 - np.searchsorted(training, score[own], side="right") / len(training))
            is_anomaly[own] = score[own] < forest.threshold(self.card.forest_settings.contamination)
        return Scores(score, percentile, is_anomaly)

    def to_bytes(self) -> bytes:
        """The model as the content of one file."""
        buffer = io.BytesIO()
        as_text = {"card": self.card.to_json(), "instruments": json.dumps(list(self.forests))}
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            format_version=np.array(FORMAT_VERSION),
            **{name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in as_text.items()},
            **_arrays(self.scaling, self.latent, self.forests),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "InstrumentForests":
        """Read a model. Raises ModelError where the bytes are none."""
        return cls.from_arrays(read_arrays(data))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> "InstrumentForests":
        """The model that the arrays of a file describe. Raises ModelError where they describe none."""
        try:
            card = ModelCard.from_json(arrays["card"].tobytes().decode())
            names = json.loads(arrays["instruments"].tobytes().decode())
            scaling = Scaling(*(_numbers(arrays, f"scaling.{field.name}") for field in fields(Scaling)))
            latent = _read_latent(arrays) if card.kind == "latent" else None
            calibrated = card.kind == "mcif-calibrated"
            forests = {str(name): _read_forest(arrays, str(i), calibrated) for i, name in enumerate(names)}
            model = cls(card, scaling, latent, forests)
            model._check()
        except (ValueError, KeyError, TypeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"the model file is damaged ({error}); train a new model") from error
        return model

    def _space(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = self.scaling.scaled(matrix)
        return scaled if self.latent is None else self.latent.transform(scaled)

    def _check(self) -> None:
        """Raise ValueError where parts do not fit each other."""
        if self.card.kind not in get_args(Kind) or not self.forests:
            raise ValueError(f"no forests of the kind {self.card.kind}")
        width = len(self.card.feature_names)
        if self.scaling.centre.shape != (width,) or self.scaling.spread.shape != (width,):
            raise ValueError("its card is that of another model")
        if not (self.scaling.spread > 0).all():
            raise ValueError("a spread is not above 0")
        for weights, biases in (
            [] if self.latent is None else zip(self.latent.weights_, self.latent.biases_, strict=True)
        ):
            if weights.ndim != 2 or weights.shape[0] != width or biases.shape != weights.shape[1:]:
                raise ValueError("the layers of the network do not fit each other")
            width = weights.shape[1]
        for name, forest in self.forests.items():
            if forest.forest.n_features != width or forest.training_scores.ndim != 1 or not len(forest.training_scores):
                raise ValueError(f"the forest of {name} does not fit the features")


def train_instrument_forests(
    kind: Kind, training: TrainingSet, settings: ForestSettings, created: datetime, versions: Mapping[str, str]
) -> InstrumentForests:
    """Grow a forest for each instrument of MIN_INSTRUMENT_BINS bins or more; the others are named in the card's note.

    Raises ModelError, naming the remedy, where no instrument has as many, where a latent space is wanted of fewer than
    two, or where the settings do not fit the bins. The same bins in the same order, settings and library versions give
    the same model.
    """
    names = np.array(training.instruments, dtype=object)
    sizes = {str(name): int((names == name).sum()) for name in sorted(set(names.tolist()))}
    large = [name for name, size in sizes.items() if size >= MIN_INSTRUMENT_BINS]
    _check_sizes(kind, sizes, large)
    taught = _of(training, np.isin(names.astype(str), large))
    check_amounts(settings, taught)
    scaling = Scaling.fit(taught.matrix)
    latent, forests = _grown(kind, scaling.scaled(taught.matrix), taught.instruments, settings)
    scores = np.concatenate([forest.training_scores for forest in forests.values()])
    arrays = _arrays(scaling, latent, forests)
    card = replace(
        card_of(taught, settings, scores, created, versions),
        model_id=model_id(kind, created, arrays, settings, taught.pids),
        kind=kind,
        feature_set="reference" if set(training.feature_names) <= set(FEATURE_NAMES) else "full",
        # Each instrument has its own threshold of scores; the severity from which a bin is bad is the same.
        threshold=-SEVERITY_PER_DECADE * float(np.log10(settings.contamination)),
        note="; ".join(
            f"{name} has only {size} {'bin' if size == 1 else 'bins'}, below {MIN_INSTRUMENT_BINS}: it is not judged"
            for name, size in sizes.items()
            if name not in large
        ),
    )
    return InstrumentForests(card, scaling, latent, forests)


def _check_sizes(kind: Kind, sizes: Mapping[str, int], large: Sequence[str]) -> None:
    if not large:
        raise ModelError(
            f"no instrument has {MIN_INSTRUMENT_BINS} bins with features to train on, the most is "
            f"{max(sizes.values(), default=0)}: widen the training window, or train another detector"
        )
    if kind == "latent" and len(large) < 2:
        raise ModelError(
            f"a latent space tells instruments apart: two with {MIN_INSTRUMENT_BINS} bins are needed, there is only "
            f"{large[0]}; train the detector mcif"
        )


def _of(training: TrainingSet, chosen: NDArray[np.bool_]) -> TrainingSet:
    """Some bins of a training set; the others are among its excluded ones."""
    rows = np.flatnonzero(chosen).tolist()
    left_out = [training.pids[row] for row in np.flatnonzero(~chosen).tolist()]
    return replace(
        training,
        pids=[training.pids[row] for row in rows],
        instruments=[training.instruments[row] for row in rows],
        days=[training.days[row] for row in rows],
        matrix=training.matrix[rows],
        excluded=dict(training.excluded) | ({"few_bins": left_out} if left_out else {}),
    )


def _grown(
    kind: Kind, scaled: NDArray[np.float64], instruments: Sequence[str], settings: ForestSettings
) -> tuple[LatentSpace | None, dict[str, InstrumentForest]]:
    classes = MultiClassIsolationForest(
        calibrate="ecdf" if kind == "mcif-calibrated" else None,
        min_class_size=MIN_INSTRUMENT_BINS,
        n_estimators=settings.n_estimators,
        max_samples=settings.max_samples,
        random_state=settings.random_seed,
        max_features=settings.max_features,
    )
    latent = None
    if kind == "latent":
        latent = LatentSpace(random_state=settings.random_seed)
        LatentForest(latent, classes).fit(scaled, instruments)
        scaled = latent.transform(scaled)
    else:
        classes.fit(scaled, instruments)
    names = np.array(instruments, dtype=object)
    # The last forest is that over all instruments, which judges none of them.
    parts = zip(classes.classes_, classes.forests_[:-1], classes.scales_[:-1], strict=True)
    return latent, {
        name: InstrumentForest.of(grown.forest_, scale if classes.calibrate else None, scaled[names == name])
        for name, grown, scale in parts
    }


def _arrays(
    scaling: Scaling, latent: LatentSpace | None, forests: Mapping[str, InstrumentForest]
) -> dict[str, NDArray]:
    """The numbers of a model as named arrays: those of the forest of instrument 3 begin with ``3.``."""
    found: dict[str, NDArray] = {f"scaling.{field.name}": getattr(scaling, field.name) for field in fields(Scaling)}
    if latent is not None:
        for number, (weights, biases) in enumerate(zip(latent.weights_, latent.biases_, strict=True)):
            found |= {f"latent.{number}.weights": weights, f"latent.{number}.biases": biases}
    for number, forest in enumerate(forests.values()):
        found |= {f"{number}.forest.{name}": array for name, array in forest.forest.to_arrays().items()}
        found[f"{number}.training_scores"] = forest.training_scores
        if forest.scale is not None:
            found |= {f"{number}.scale.{name}": np.asarray(getattr(forest.scale, name)) for name in _SCALE}
    return found


_SCALE = ("raw_score_", "rarity_", "slope_")


def _read_latent(arrays: Mapping[str, NDArray]) -> LatentSpace:
    layers = sum(name.startswith("latent.") and name.endswith(".weights") for name in arrays)
    if not layers:
        raise ValueError("its network is missing")
    latent = LatentSpace()
    latent.weights_ = [_numbers(arrays, f"latent.{number}.weights") for number in range(layers)]
    latent.biases_ = [_numbers(arrays, f"latent.{number}.biases") for number in range(layers)]
    latent.hidden = tuple(len(biases) for biases in latent.biases_)
    return latent


def _read_forest(arrays: Mapping[str, NDArray], number: str, calibrated: bool) -> InstrumentForest:
    prefix = f"{number}.forest."
    forest = Forest.from_arrays({name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)})
    scale = None
    if calibrated:
        scale = RarityScale()
        for name in _SCALE:
            setattr(scale, name, _numbers(arrays, f"{number}.scale.{name}"))
        if scale.raw_score_.ndim != 1 or scale.raw_score_.shape != scale.rarity_.shape or scale.slope_.ndim:
            raise ValueError("a scale of scores is none")
    return InstrumentForest(forest, scale, np.sort(_numbers(arrays, f"{number}.training_scores")))


def _numbers(arrays: Mapping[str, NDArray], name: str) -> NDArray[Any]:
    """Finite numbers. Raises KeyError, ValueError where they are missing or none."""
    found = arrays[name]
    if found.dtype.kind not in "fiu" or not np.isfinite(found).all():
        raise ValueError(f"{name} holds no finite numbers")
    return found.astype(np.float64)
