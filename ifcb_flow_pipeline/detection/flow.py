"""The flow model: every instrument against its own history, one verdict a bin, with its cause and reasons.

Training and judging go the same way: features -> deviations from the baseline -> detectors -> surprise ->
severity; hard rules beside it; then causes and words for what is not in order.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.baselines import Baselines, Deviations
from ifcb_flow_pipeline.detection.calibration import SurpriseScale
from ifcb_flow_pipeline.detection.causes import likeness, suspected
from ifcb_flow_pipeline.detection.model import (
    FORMAT_VERSION,
    MIN_TRAINING_BINS,
    ForestSettings,
    ModelCard,
    ModelError,
    model_id,
    read_arrays,
)
from ifcb_flow_pipeline.detection.rows import Names, Rows, numbers
from ifcb_flow_pipeline.detection.rules import Broken, broken_rules
from ifcb_flow_pipeline.detection.tails import TailDetector
from ifcb_flow_pipeline.detection.traits import Trait, plain_values, traits_of
from ifcb_flow_pipeline.detection.variation import Explained, after_gaps, config_changes, explained
from ifcb_flow_pipeline.detection.verdicts import BAD_FROM, WATCH_FROM, severities, verdict_table, verdicts
from ifcb_flow_pipeline.detection.words import Evidence, words
from ifcb_flow_pipeline.features import catalogue
from ifcb_flow_pipeline.features.extract import FeatureSettings

Decision = Literal["good", "bad", "unsure"]

#: Rows judged at a time: bounds the memory that a large table takes.
_CHUNK_ROWS = 65_536

#: The severity with which the first bin of new settings is told.
_TOLD = 36.0

#: Rounds in which a training set loses the bins that are least like the rest.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a flow model is trained: on which features, made in which way, and from which random seed."""

    feature_settings: FeatureSettings = field(default_factory=FeatureSettings)
    feature_set: str = "full"
    random_seed: int = 42


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows on the way to their verdicts: can they be judged, how far from usual, and what came before them."""

    judged: NDArray[np.bool_]
    deviations: Deviations
    after_gap: NDArray[np.bool_]
    changed: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class FlowModel:
    """Baselines, detectors and the scale of their scores, with the card that says where they come from."""

    card: ModelCard
    baselines: Baselines
    tails: TailDetector
    scale: SurpriseScale
    thresholds: Mapping[str, float]

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be judged."""
        self.card.check_usable(settings)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:
        """A verdict for each row of ``bin_features``, in their order: a table of VERDICT_COLUMNS.

        ``history``: rows of the days before, from which what is usual at the time is told; the more of the
        last week, the better. Raises ModelError where features are missing.
        """
        rows, own = self._rows(features, history)
        usual, gaps = self.baselines.usual(rows), after_gaps(rows)
        changed = config_changes(rows)
        parts = []
        for first in range(0, features.num_rows, _CHUNK_ROWS):
            part = features.slice(first, _CHUNK_ROWS)
            which = own.start + first + np.arange(part.num_rows)
            deviations = self.baselines.deviations(rows, which, usual)
            parts.append(self._judge_part(part, _Part(rows.judged[which], deviations, gaps[which], changed[which])))
        return pa.concat_tables(parts) if parts else verdict_table(features, _no_columns())

    def _judge_part(self, features: pa.Table, part: "_Part") -> pa.Table:
        broken = broken_rules(features, self._with_header())
        explanation = explained(part.deviations.z, part.after_gap, self.baselines.traits)
        score = self.tails.score_samples(part.deviations.z, explanation.factor)
        surprise = np.maximum(self.scale.surprise(-score), broken.severity.max(axis=1, initial=0.0) / 25.0)
        # New settings are told once, but are no fault.
        surprise = np.where(part.changed, np.maximum(surprise, _TOLD / 25.0), surprise)
        surprise = np.where(part.judged, surprise, np.nan)
        severity = severities(surprise)
        instrument = Names.of(features, "instrument")
        each = np.array([self.thresholds.get(name, self.card.threshold) for name in instrument.names])
        threshold = each[instrument.codes] if len(each) else np.zeros(0)
        verdict = verdicts(severity, threshold, part.judged)
        columns = {
            "severity": severity,
            "verdict": verdict,
            "anomaly_score": -surprise,
            "percentile": 100.0 * (1.0 - 10.0**-surprise),
            "threshold": threshold,
            "rules": broken.codes(),
            "configuration": Names.of(features, "configuration").to_list(),
            "config_changed": part.changed,
            "model_id": [self.card.model_id] * features.num_rows,
        }
        told = np.flatnonzero(part.judged & (severity >= np.minimum(WATCH_FROM, threshold)))
        return verdict_table(features, columns | self._texts_of(told, features, part, broken, explanation))

    def _texts_of(
        self, told: NDArray[np.int64], features: pa.Table, part: "_Part", broken: Broken, explanation: Explained
    ) -> dict[str, list[str]]:
        """Causes, reasons and findings of all rows, empty but for those in ``told``."""
        traits, z = self.baselines.traits, part.deviations.z[told]
        surprises = self.tails.surprises(z) * explanation.factor[told]
        added = self.tails.contributions(surprises)
        shares = added / np.maximum(added.sum(axis=1, keepdims=True), 1e-9)
        possible = {
            "config_change": part.changed[told],
            "post_clean": explanation.rinsed[told],
            "bloom": explanation.bloom[told],
        }
        reach = self.tails.usual_reach(0.02)
        centre, spread = part.deviations.centre[told], part.deviations.spread[told]
        evidence = Evidence(
            traits=traits,
            values=np.column_stack([numbers(features, trait.name)[told] for trait in traits]),
            low=_plain(centre - reach[0] * spread, traits),
            high=_plain(centre + reach[1] * spread, traits),
            shares=shares,
            z=z,
            broken=Broken(broken.rules, broken.severity[told], broken.values[told]),
            causes=suspected(likeness(self.tails.surprises(z), z, traits), possible),
        )
        texts = {name: [""] * features.num_rows for name in ("cause", "second_cause", "reasons")}
        texts["findings"] = ["[]"] * features.num_rows
        for place, row in enumerate(told.tolist()):
            said = words(evidence, place)
            for name, column in texts.items():
                column[row] = getattr(said, name)
        return texts

    def _with_header(self) -> list[str]:
        """The instruments most of whose bins had a header in training."""
        stated = np.array([bool(name) for name in self.baselines.configurations])
        return [
            name
            for number, name in enumerate(self.baselines.instruments)
            if 2 * self.baselines.key_bins[stated & (self.baselines.key_instrument == number)].sum()
            > self.baselines.key_bins[self.baselines.key_instrument == number].sum()
        ]

    def to_bytes(self) -> bytes:
        """The model as the content of one file: plain arrays, and texts as JSON."""
        buffer = io.BytesIO()
        texts = {"card": self.card.to_json(), "parts": json.dumps(self._texts())}
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            format_version=np.array(FORMAT_VERSION),
            **{name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in texts.items()},
            **self._arrays(),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "FlowModel":
        """Read a model. Raises ModelError where the bytes are none."""
        return cls.from_arrays(read_arrays(data))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> "FlowModel":
        """The model that the arrays of a file describe. Raises ModelError where they describe none."""
        try:
            card = ModelCard.from_json(arrays["card"].tobytes().decode())
            texts = json.loads(arrays["parts"].tobytes().decode())
            traits = tuple(Trait(**values) for values in texts["traits"])
            parts = {"traits": traits, "instruments": tuple(texts["instruments"])}
            baselines = Baselines(
                **parts, configurations=tuple(texts["configurations"]), **part_arrays(Baselines, "baselines", arrays)
            )
            tails, scale = TailDetector(traits), SurpriseScale()
            for part, name in ((tails, "tails"), (scale, "scale")):
                for attribute, value in part_arrays(type(part), name, arrays).items():
                    setattr(part, attribute, value)
            thresholds = {str(name): float(value) for name, value in texts["thresholds"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"the model file is damaged ({error!r}); train a new model") from error
        return cls(card, baselines, tails, scale, thresholds)

    def _texts(self) -> dict[str, Any]:
        return {
            "traits": [asdict(trait) for trait in self.baselines.traits],
            "instruments": self.baselines.instruments,
            "configurations": self.baselines.configurations,
            "thresholds": dict(self.thresholds),
        }

    def _arrays(self) -> dict[str, NDArray]:
        parts = {"baselines": self.baselines, "tails": self.tails, "scale": self.scale}
        return {
            f"{part}.{name}": np.asarray(getattr(value, name))
            for part, value in parts.items()
            for name in _ARRAYS[type(value)]
        }

    def _rows(self, features: pa.Table, history: pa.Table | None) -> tuple[Rows, slice]:
        """The rows to judge, behind those of the history, and where they are."""
        traits = self.baselines.traits
        needed = ("pid", "instrument", "start_time", "status", "configuration", "n_points")
        names = [*needed, *(trait.name for trait in traits)]
        missing = [name for name in names if name not in features.column_names and name != "configuration"]
        if missing:
            raise ModelError(
                f"model {self.card.model_id} needs features that the table does not have: {', '.join(missing)}; "
                "compute the features again, or train a new model"
            )
        if history is None or not history.num_rows:
            return Rows.of(features, traits), slice(0, features.num_rows)
        names = [name for name in names if name in features.column_names]
        # A day that is judged again is not its own history.
        before = history.select(names).filter(pc.invert(pc.is_in(history["pid"], features["pid"].combine_chunks())))
        both = pa.concat_tables([before, features.select(names)])
        return Rows.of(both, traits), slice(before.num_rows, both.num_rows)


def train_flow_model(
    features: pa.Table,
    settings: TrainingSettings,
    labels: Mapping[str, Decision],
    created: datetime,
    versions: Mapping[str, str],
) -> FlowModel:
    """Train on rows of ``bin_features``; bins that people labelled bad, and those least like the rest, teach nothing.

    Raises ModelError, naming the remedy, where there are too few bins. The same rows, in any order, with the
    same labels and library versions, give the same model.
    """
    features = features.sort_by("pid")
    names = catalogue_names(settings.feature_set)
    traits = detector_traits(names)
    rows = Rows.of(features, traits)
    pids = features["pid"].to_pylist()
    labelled_bad = np.array([labels.get(pid) == "bad" for pid in pids], dtype=bool)
    keep = rows.full & ~labelled_bad
    if keep.sum() < MIN_TRAINING_BINS:
        raise ModelError(
            f"{int(keep.sum())} bins with features to train on, at least {MIN_TRAINING_BINS} are needed "
            f"({int((~keep).sum())} excluded): widen the training window"
        )
    gaps = after_gaps(rows)
    for _ in range(_ROUNDS):
        baselines = Baselines.fit(rows, keep, traits)
        z = baselines.deviations(rows).z
        factor = explained(z, gaps, traits).factor
        tails = TailDetector(traits).fit(z[keep], factor[keep])
        badness = -tails.score_samples(z, factor)
        scale = SurpriseScale().fit(badness[keep])
        rejected = keep & (badness > _limit(badness[keep]))
        keep = keep & ~rejected
    scale = SurpriseScale().fit(badness[keep])
    excluded = _excluded(features, labelled_bad=labelled_bad, rejected=rows.full & ~labelled_bad & ~keep)
    kept = features.filter(pa.array(keep))
    model = FlowModel(_card(kept, settings, versions, excluded), baselines, tails, scale, {})
    made_of = (settings, kept["pid"].to_pylist())
    return replace(
        model,
        card=replace(
            model.card,
            model_id=model_id("flow", created, model._arrays(), *made_of),
            created=created.isoformat(timespec="seconds"),
            feature_names=names,
        ),
    )


def _card(
    kept: pa.Table, settings: TrainingSettings, versions: Mapping[str, str], excluded: Mapping[str, Sequence[str]]
) -> ModelCard:
    starts = [start.date() for start in kept["start_time"].to_pylist() if start is not None]
    digest = hashlib.sha256("\n".join(kept["pid"].to_pylist()).encode()).hexdigest()
    return ModelCard(
        model_id="",
        created="",
        feature_names=(),
        feature_settings=settings.feature_settings,
        forest_settings=ForestSettings(random_seed=settings.random_seed),
        threshold=BAD_FROM,
        n_bins=kept.num_rows,
        n_bins_by_instrument=dict(sorted(Counter(kept["instrument"].to_pylist()).items())),
        first_day=min(starts).isoformat() if starts else None,
        last_day=max(starts).isoformat() if starts else None,
        excluded=excluded,
        training_pids_sha256=digest,
        score_quantiles={},
        versions=dict(versions),
        kind="flow",
        feature_set=settings.feature_set,
    )


def _plain(values: NDArray, traits: Sequence[Trait]) -> NDArray[np.float64]:
    return np.column_stack([plain_values(values[:, i], trait.scale) for i, trait in enumerate(traits)])


def _no_columns() -> dict[str, list[Any]]:
    names = ("severity", "verdict", "anomaly_score", "percentile", "threshold", "model_id")
    return {name: [] for name in names}


_ARRAYS: Mapping[type, Sequence[str]] = {
    Baselines: ("key_instrument", "key_centre", "key_bins", "centre", "spread", "points",
                "fleet_centre", "fleet_spread", "fleet_range", "sampling", "least"),
    TailDetector: ("power_", "width_", "offset_"),
    SurpriseScale: ("badness_", "surprise_", "slope_"),
}  # fmt: skip


def part_arrays(part: type, prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays of one part of a model. Raises KeyError, ValueError where they are missing or no numbers."""
    found = {name: arrays[f"{prefix}.{name}"] for name in _ARRAYS[part]}
    for name, values in found.items():
        if values.dtype.kind not in "fi":
            raise ValueError(f"{prefix}.{name} holds {values.dtype}")
    return found


def catalogue_names(feature_set: str) -> tuple[str, ...]:
    """The features of a set: ``reference`` or ``full``. Raises ModelError for another."""
    sets = {"reference": catalogue.FEATURE_NAMES, "full": catalogue.FULL_FEATURE_NAMES}
    if feature_set not in sets:
        raise ModelError(f"there is no feature set {feature_set!r}; there are: {', '.join(sets)}")
    return sets[feature_set]


def detector_traits(names: Sequence[str]) -> tuple[Trait, ...]:
    """The traits of the features that the detectors use: those beyond the reference's, where there are any."""
    traits = traits_of(names)
    return tuple(trait for trait in traits if trait.role != "reference") or traits


def _excluded(features: pa.Table, **reasons: NDArray[np.bool_]) -> dict[str, list[str]]:
    pids, excluded = np.array(features["pid"].to_pylist(), dtype=object), {}
    for pid, status in zip(pids, features["status"].to_pylist(), strict=True):
        if status != "ok":
            excluded.setdefault(status, []).append(pid)
    return excluded | {reason: pids[mask].tolist() for reason, mask in reasons.items() if mask.any()}


def _limit(badness):
    low, high = np.quantile(badness, (0.5, 0.9))
    # Of an exponential tail through both, one bin in 2000 lies farther out.
    return high + (high - low) / np.log(5.0) * np.log(0.1 / 0.0005)
