"""Training of the flow model: every instrument against its own history, by bins that are like the rest.

Contamination is resisted in rounds: what breaks a rule or was labelled bad teaches nothing, and neither does
what is least like the rest, once a first model has said so. The scale of severities is learnt from bins that
the baseline and the tails had not seen.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable, rows_of_instruments, taken
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, metadata_of
from ifcb_flow_pipeline.detection.flow import label_learning
from ifcb_flow_pipeline.detection.flow.baseline import Baseline
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.instrument import InstrumentModel
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.natural_variability import explain, lost_share
from ifcb_flow_pipeline.detection.flow.neighbour_averages import ODD_ALONE, NeighbourDetector, Series
from ifcb_flow_pipeline.detection.flow.tails import TailDetector
from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.model_card import MIN_TRAINING_BINS, ForestSettings, ModelCard, ModelError, model_id
from ifcb_flow_pipeline.detection.verdict.rules import SURE, broken_rules
from ifcb_flow_pipeline.detection.verdict.severity import BAD_FROM, rarities_of, severities
from ifcb_flow_pipeline.features import catalogue
from ifcb_flow_pipeline.features.extract import FeatureSettings

__all__ = ["Decision", "FlowModel", "TrainingSettings", "train_flow_model"]

Decision = Literal["good", "bad", "unsure"]

#: Rounds in which a training set loses the bins that are least like the rest, and how rare these must be.
_ROUNDS, _REJECTED_SHARE = 3, 0.0005

#: So many of the bins are healthy even in a bad training set.
_BULK = 0.8

#: An instrument is trained on some stretches of its history where it has more bins than this: a year of one every ten
#: minutes, which shows all seasons, and takes 0.3 GB. A stretch is a week to six, longer than what any feature
#: remembers.
_MOST_BINS, _STRETCH_BINS = 50_000, 1_000

#: Every so many of an instrument's bins are judged by what the others teach.
_FOLDS = 3

#: An instrument that loses more than this share of its bins, or has fewer than these, is named in the card's note.
_ABNORMAL_SHARE, _FEW_BINS = 0.10, 50

#: That header and .adc file contradict each other is reported by a rule; the better times are used, so that the bin is
#: as good as any.
_ONLY_FOR_RULES = ("header_adc_mismatch", "run_time_mismatch")

_QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a flow model is trained: on which features, made in which way, and from which random seed."""

    feature_settings: FeatureSettings = field(default_factory=FeatureSettings)
    feature_set: str = "full"
    random_seed: int = 42


@dataclass(frozen=True, slots=True, eq=False)
class _Fitted:
    """The model of one instrument from some of its bins, and which those are, shape (n,) in the order of time.

    ``raw_score`` (n,): of all its bins, HIGHER is worse.
    """

    model: InstrumentModel
    keep: NDArray[np.bool_]
    raw_score: NDArray[np.float64]

    @classmethod
    def to(
        cls,
        bins: BinTable,
        keep: NDArray[np.bool_],
        metadata: tuple[FeatureMetadata, ...],
        teach: NDArray[np.bool_] | None = None,
    ) -> "_Fitted":
        """``keep``: bins that the model is fitted to; ``teach``: those that the local baseline follows, or the same."""
        baseline = Baseline.fit(bins, keep, metadata)
        everything = np.full((2, len(metadata)), np.inf, dtype=np.float32)
        deviations = baseline.deviations(replace(bins, full=keep if teach is None else teach), everything)
        z = deviations.z
        lost = lost_share(z, deviations.values, deviations.spread, metadata)
        factor = explain(z, lost, deviations.after_gap, metadata).factor
        tails = TailDetector(metadata).fit(z[keep], factor[keep])
        raw_score = tails.raw_score(tails.groups_of(tails.rarities(z), factor))
        scale = RarityScale().fit(raw_score[keep])
        in_order = keep & (scale.rarity(raw_score) < ODD_ALONE)
        neighbours = NeighbourDetector(metadata).fit(
            Series.of(z[in_order], lost[in_order], deviations.deployment[in_order])
        )
        return cls(InstrumentModel(baseline, tails, scale, neighbours), keep, raw_score)

    @classmethod
    def rejecting(cls, bins: BinTable, usable: NDArray[np.bool_], metadata: tuple[FeatureMetadata, ...]) -> "_Fitted":
        """That of the usable bins that are like the rest."""
        fitted = cls.to(bins, usable, metadata)
        for _ in range(_ROUNDS - 1):
            keep = usable & (fitted.raw_score <= _limit(fitted.raw_score[usable]))
            fitted = cls.to(bins, keep, metadata)
        scale = RarityScale().fit(_held_out(bins, fitted, metadata))
        return cls(replace(fitted.model, scale=scale), fitted.keep, fitted.raw_score)


def train_flow_model(
    features: pa.Table,
    settings: TrainingSettings,
    labels: Mapping[str, Decision],
    created: datetime,
    versions: Mapping[str, str],
) -> FlowModel:
    """Train on rows of ``bin_features``, and on people's decisions about some of them (pid -> decision).

    Bins that break a rule, that people labelled bad, or that are least like the rest teach nothing. Raises
    ModelError, naming the remedy, where there are too few bins or features are missing. The same rows, in any
    order, with the same labels and library versions, give the same model. Memory, beyond that of the rows, does not
    grow with an instrument's history once this has _MOST_BINS bins.
    """
    names = catalogue_names(settings.feature_set)
    _check_columns(features, names)
    features, note = _thinned(features, labels)
    metadata = detector_metadata(names)
    full = Names.of(features, "status").equal("ok")
    excluded = _without(features, full, labels)
    usable = full & ~np.logical_or.reduce(list(excluded.values()))
    if usable.sum() < MIN_TRAINING_BINS:
        raise ModelError(
            f"{int(usable.sum())} bins with features to train on, at least {MIN_TRAINING_BINS} are needed "
            f"({int((~usable).sum())} excluded): widen the training window"
        )
    fitted, keep = {}, np.zeros(features.num_rows, dtype=bool)
    for name, rows in rows_of_instruments(features).items():
        if usable[rows].any():
            bins = BinTable.of(taken(features, rows), metadata)
            fitted[name] = _Fitted.rejecting(bins, usable[rows], metadata)
            keep[rows] = fitted[name].keep
    instruments = {name: one.model for name, one in fitted.items()}
    rarities = np.concatenate([one.model.scale.rarity(one.raw_score[one.keep]) for one in fitted.values()])
    kept = features.select(["pid", "instrument", "start_time"]).filter(pa.array(keep))
    card = replace(
        _card(kept, settings, created, versions),
        feature_names=names,
        excluded=_pids_excluded(features, excluded | {"rejected": usable & ~keep}),
        note="; ".join([*note, *_note(features, usable, keep)]),
        score_quantiles={f"{q:g}": float(np.quantile(-rarities, q)) for q in _QUANTILES},
        metrics={"rejected_share": float((usable & ~keep).sum() / usable.sum())},
    )
    groups = len(TailDetector(metadata).groups)
    model = FlowModel(card, metadata, instruments, label_learning.LabelRanker.untaught(groups), {})
    model = _taught(model, features, labels)
    made_of = (settings, kept["pid"].to_pylist(), model.texts())
    return replace(model, card=replace(model.card, model_id=model_id("flow", created, model.arrays(), *made_of)))


def _thinned(features: pa.Table, labels: Mapping[str, Decision]) -> tuple[pa.Table, list[str]]:
    """The rows to train on, in the order of their pids, and what is to be said where these are not all.

    Of an instrument with more than _MOST_BINS bins, only stretches of _STRETCH_BINS in a row: spread evenly over its
    history, the first and the last among them, and those with bins that people decided on.
    """
    order = np.argsort(np.array(features["pid"].to_pylist(), dtype=object), kind="stable")
    named = taken(features.select(["pid", "instrument", "start_time"]), order)
    is_labelled = np.array([pid in labels for pid in named["pid"].to_pylist()], dtype=bool)
    chosen, said = [], []
    for name, rows in rows_of_instruments(named).items():
        if len(rows) <= _MOST_BINS:
            chosen.append(rows)
            continue
        stretch = np.arange(len(rows)) // _STRETCH_BINS
        spread = np.linspace(0, stretch[-1], _MOST_BINS // _STRETCH_BINS).round()
        chosen.append(rows[np.isin(stretch, [*spread, *stretch[is_labelled[rows]]])])
        said.append(f"{len(chosen[-1])} of the {len(rows)} bins of {name} are used, spread over all of its history")
    return taken(features, order[np.sort(np.concatenate(chosen))] if chosen else order), said


def _check_columns(features: pa.Table, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in features.column_names]
    if missing:
        raise ModelError(f"the table does not have the features {', '.join(missing)}: compute the features again")


def _without(
    features: pa.Table, full: NDArray[np.bool_], labels: Mapping[str, Decision]
) -> dict[str, NDArray[np.bool_]]:
    """Which bins teach nothing from the start, by reason; shape (n,). ``full`` (n,): those with all features."""
    _, is_bad = label_learning.decisions_of(features["pid"].to_pylist(), labels)
    is_good = np.array([labels.get(pid) == "good" for pid in features["pid"].to_pylist()], dtype=bool)
    breaks = full & ~is_bad & ~is_good & (broken_rules(features).severity.max(axis=1, initial=0.0) >= SURE)
    if 2 * breaks.sum() > full.sum():
        # What most bins do is no exception here; each bin is still told that it breaks the rule.
        breaks = np.zeros(len(full), dtype=bool)
    return {"labelled_bad": is_bad, "rule": breaks}


def _limit(raw_score: NDArray[np.float64]) -> float:
    """How bad a bin may be to teach: an exponential tail through the bulk's quantiles leaves the share farther out."""
    low, high = np.quantile(raw_score, (0.5, _BULK))
    decay = (high - low) / np.log(0.5 / (1.0 - _BULK))
    return float(high + decay * np.log((1.0 - _BULK) / _REJECTED_SHARE))


def _held_out(bins: BinTable, fitted: _Fitted, metadata: tuple[FeatureMetadata, ...]) -> NDArray[np.float64]:
    """Raw scores of the kept bins by what the others teach, shape (kept bins,); of few bins by what all of them do."""
    kept = np.flatnonzero(fitted.keep)
    raw_score = fitted.raw_score[kept]
    part = np.arange(len(kept)) % _FOLDS
    for fold in range(_FOLDS if len(kept) >= _FOLDS * _FEW_BINS else 0):
        own = part == fold
        others = fitted.keep.copy()
        others[kept[own]] = False
        raw_score[own] = _Fitted.to(bins, others, metadata, fitted.keep).raw_score[kept[own]]
    return raw_score


def _taught(model: FlowModel, features: pa.Table, labels: Mapping[str, Decision]) -> FlowModel:
    """The model with what people's decisions teach; as it is where there are none."""
    labelled, is_bad = label_learning.decisions_of(features["pid"].to_pylist(), labels)
    severity = model.judge(features)["severity"].to_numpy() if labelled.any() else np.zeros(len(labelled))
    labelled &= np.isfinite(severity)  # what is not judged teaches no threshold
    if not labelled.any():
        return model
    chosen, severity = is_bad[labelled], severity[labelled]
    instrument = np.array(features["instrument"].to_pylist(), dtype=object)[labelled]
    before = label_learning.label_metrics(severity >= BAD_FROM, chosen)
    if min(chosen.sum(), (~chosen).sum()) >= label_learning.MIN_FOR_RANKING:
        groups, seed = _group_rarities(model, features)[labelled], model.card.forest_settings.random_seed
        shift = label_learning.held_out_shifts(groups, chosen, seed)
        moved = severities(np.maximum(rarities_of(severity) + shift, 0.0))
        if _auroc(moved, chosen) > _auroc(severity, chosen):
            model, severity = replace(model, ranker=label_learning.LabelRanker().fit(groups, chosen)), moved
    thresholds = label_learning.learnt_thresholds(severity, chosen, instrument)
    limit = np.array([thresholds.get(name, BAD_FROM) for name in instrument])
    after = label_learning.label_metrics(severity >= limit, chosen)
    metrics = dict(model.card.metrics) | {"labels": after, "labels_without_learning": before}
    return replace(model, thresholds=thresholds, card=replace(model.card, metrics=metrics))


def _group_rarities(model: FlowModel, features: pa.Table) -> NDArray[np.float32]:
    """The rarities of the groups of features of all bins, shape (n, groups)."""
    found = np.zeros((features.num_rows, len(model.ranker.weights_)), dtype=np.float32)
    for name, rows in rows_of_instruments(features).items():
        if name in model.instruments:
            instrument, bins = model.instruments[name], BinTable.of(taken(features, rows), model.metadata)
            found[rows] = instrument.group_rarities(instrument.deviations(bins))
    return found


def _auroc(severity: NDArray[np.float64], is_bad: NDArray[np.bool_]) -> float:
    """The chance that a bad bin is told worse than a good one."""
    worse = severity[is_bad][:, None] - severity[~is_bad][None]
    return float((np.sign(worse) + 1).mean() / 2)


def _card(kept: pa.Table, settings: TrainingSettings, created: datetime, versions: Mapping[str, str]) -> ModelCard:
    starts = [start.date() for start in kept["start_time"].to_pylist() if start is not None]
    return ModelCard(
        model_id="",
        created=created.isoformat(timespec="seconds"),
        feature_names=(),
        feature_settings=settings.feature_settings,
        forest_settings=ForestSettings(random_seed=settings.random_seed),
        threshold=BAD_FROM,
        n_bins=kept.num_rows,
        n_bins_by_instrument=dict(sorted(Counter(kept["instrument"].to_pylist()).items())),
        first_day=min(starts).isoformat() if starts else None,
        last_day=max(starts).isoformat() if starts else None,
        excluded={},
        training_pids_sha256=hashlib.sha256("\n".join(kept["pid"].to_pylist()).encode()).hexdigest(),
        score_quantiles={},
        versions=dict(versions),
        kind="flow",
        feature_set=settings.feature_set,
    )


def _note(features: pa.Table, usable: NDArray[np.bool_], keep: NDArray[np.bool_]) -> list[str]:
    """What someone should know of the training window: where it looks abnormal, or short."""
    instrument = np.array(features["instrument"].to_pylist(), dtype=object)
    said = []
    for name in sorted(set(instrument[usable].tolist())):
        own = usable & (instrument == name)
        lost = float((own & ~keep).sum() / own.sum())
        if lost > _ABNORMAL_SHARE:
            said.append(
                f"{lost:.0%} of the bins of {name} are unlike the rest: look whether its window is a normal one"
            )
        n = int((own & keep).sum())
        if n < _FEW_BINS:
            said.append(f"{name} has only {n} {'bin' if n == 1 else 'bins'}: what is normal for it is hardly known")
    return said


def _pids_excluded(features: pa.Table, reasons: Mapping[str, NDArray[np.bool_]]) -> dict[str, list[str]]:
    excluded: dict[str, list[str]] = {}
    pids = features["pid"].to_pylist()
    for pid, status in zip(pids, features["status"].to_pylist(), strict=True):
        if status != "ok":
            excluded.setdefault(status, []).append(pid)
    for reason, mask in reasons.items():
        if mask.any():
            excluded[reason] = np.array(pids, dtype=object)[mask].tolist()
    return excluded


def catalogue_names(feature_set: str) -> tuple[str, ...]:
    """The features of a set: ``reference`` or ``full``. Raises ModelError for another."""
    sets = {"reference": catalogue.FEATURE_NAMES, "full": catalogue.FULL_FEATURE_NAMES}
    if feature_set not in sets:
        raise ModelError(f"there is no feature set {feature_set!r}; there are: {', '.join(sets)}")
    return sets[feature_set]


def detector_metadata(names: Sequence[str]) -> tuple[FeatureMetadata, ...]:
    """The metadata of the features that the detectors use: those beyond the reference's, where there are any."""
    metadata = metadata_of(names)
    if not _beyond(metadata):
        return metadata
    used = (feature for feature in metadata if feature.role != "reference" and feature.name not in _ONLY_FOR_RULES)
    return (*used, *LAG_FEATURES)


def _beyond(metadata: Sequence[FeatureMetadata]) -> bool:
    return any(feature.role != "reference" for feature in metadata)
