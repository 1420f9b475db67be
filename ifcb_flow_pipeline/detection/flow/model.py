"""The flow model as a value: one verdict a bin, with its cause and reasons, and the file that it travels in.

Features -> deviations from the baseline -> tails -> rarity -> severity, of a bin alone and of the stretches of bins
that it is part of; hard rules beside it; then causes and words for what is not in order. How a model is trained is in
``flow``.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata, plain_values
from ifcb_flow_pipeline.detection.flow.baselines import Baselines, Deviations, LocalBaseline
from ifcb_flow_pipeline.detection.flow.calibration import RarityScale
from ifcb_flow_pipeline.detection.flow.fault_edges import fault_edges
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.flow.model_file import SHAPES, check_shapes, part_arrays
from ifcb_flow_pipeline.detection.flow.natural_variability import (
    Explanation,
    after_gaps,
    config_changes,
    explain,
    mostly_with_header,
)
from ifcb_flow_pipeline.detection.flow.neighbour_averages import (
    COSTS,
    TOLD_ALONE,
    NeighbourDetector,
    NeighbourEvidence,
    Series,
)
from ifcb_flow_pipeline.detection.flow.tails import TailDetector
from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.model_card import FORMAT_VERSION, ModelCard, ModelError, read_arrays
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES, likeness, suspected
from ifcb_flow_pipeline.detection.verdict.findings import Evidence, Words, words
from ifcb_flow_pipeline.detection.verdict.rules import Broken, broken_rules
from ifcb_flow_pipeline.detection.verdict.severity import (
    WATCH_FROM,
    rarities_of,
    severities,
    verdict_table,
    verdicts,
)
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: BinTable judged at a time, which bounds the memory that a large table takes; rows whose features are looked at at a
#: time: they stay in the processor's cache; and how many before and after them are looked at too, for stretches.
_CHUNK_ROWS, _ROWS_TOGETHER, _ROWS_AROUND = 32_768, 4096, 64


#: The rarity with which the first bin of new settings, or of a core at another place, is told: that of a watch.
_TOLD = 1.44

#: From which rarity on, that of a watch, one asks what a bin looks like; and what looks harmless stays below bad:
#: from there on its rarity nears the next of these, so that worse ones still come first.
_LOOKED_AT, _HARMLESS_FROM, _HARMLESS_TO, _HARMLESS_HALF_WAY = 1.4, 1.75, 1.95, 5.0

#: How much of the rarity of a bin alone is added to that of its stretch.
_OF_ALONE = 0.01

#: Where what the water does not explain is that surprising by itself, it is no affair of the water's.
_SURE = 3.0

#: Boxes at the edge of the frame are most of those off the core from this share on; and fewer of all are no matter.
_MOST, _FEW = 0.6, 0.02

#: Columns of ``bin_features`` that are needed besides features, and those that are used where they are there.
_NEEDED = ("pid", "instrument", "start_time", "status", "n_points")
_USED = ("configuration", "stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px", "humidity_pct",
         "temperature_c")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Series:
    """All n rows, those of the history first, and what is known of them before any is judged; arrays of shape (n,)."""

    rows: BinTable
    usual: LocalBaseline
    instrument: NDArray[np.int64]
    after_gap: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    with_header: frozenset[str]

    @classmethod
    def of(cls, rows: BinTable, baselines: Baselines) -> "_Series":
        usual = baselines.usual(rows)
        changed = config_changes(rows) | usual.moved
        instrument = rows.instrument.numbers_in(baselines.instruments)
        return cls(rows, usual, instrument, after_gaps(rows), changed, mostly_with_header(rows))


@dataclass(frozen=True, slots=True)
class _Seen:
    """How surprising n rows look: each ``alone`` (n,), and in its stretch; ``where`` (n,): a row's place in these."""

    alone: NDArray[np.float64]
    stretches: NeighbourEvidence
    where: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Looks:
    """Some rows looked at closely: ``which`` of all rows, how far from usual, and how much of that counts."""

    which: NDArray[np.int64]
    deviations: Deviations
    explanation: Explanation


@dataclass(frozen=True, slots=True)
class _Told:
    """k rows of which something is said: their looks, or those of their stretches, in which there are ``n_bins`` (k,).

    ``rarities``, ``added`` (k, d): of each feature, and what it adds to the score; ``reach`` (2, k, d): how far below
    and above its centre it usually goes, in spreads; ``sure`` (k,): what the water does not explain is enough for bad.
    """

    looks: _Looks
    n_bins: NDArray[np.int64]
    rarities: NDArray[np.float32]
    added: NDArray[np.float32]
    reach: NDArray[np.float32]
    sure: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class FlowModel:
    """Baselines, detectors and the scale of their scores, with the card that says where they come from."""

    card: ModelCard
    baselines: Baselines
    tails: TailDetector
    scale: RarityScale
    stretches: NeighbourDetector
    ranker: LabelRanker
    thresholds: Mapping[str, float]

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be judged."""
        self.card.check_usable(settings)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:
        """A verdict for each row of ``bin_features``, in their order: a table of VERDICT_COLUMNS.

        ``history``: rows of the days before, from which what is usual at the time is told; the more of the
        last week, the better. A large table is looked at by as many threads as there are processors; their
        number changes nothing. Raises ModelError where features are missing.
        """
        rows, own = self._rows(features, history)
        series = _Series.of(rows, self.baselines)
        seen = self._seen(series)
        firsts = range(0, max(features.num_rows, 1), _CHUNK_ROWS)
        parts = [np.arange(own.start, own.stop)[first : first + _CHUNK_ROWS] for first in firsts]
        return pa.concat_tables(
            self._judge_part(features.slice(first, _CHUNK_ROWS), series, which, seen)
            for first, which in zip(firsts, parts, strict=True)
        )

    def _judge_part(self, features: pa.Table, series: _Series, which: NDArray[np.int64], seen: _Seen) -> pa.Table:
        """The verdicts on these rows, ``which`` of the series."""
        judged, changed = series.rows.judged[which], series.changed[which]
        broken = broken_rules(features, self._with_header() | series.with_header)
        stretches = seen.stretches.of(seen.where[which])
        alone = seen.alone[which]
        in_stretch = stretches.rarity > alone
        # Of the bins of a stretch, that which is odder alone is the worse one.
        by_looks = np.where(in_stretch, stretches.rarity + _OF_ALONE * alone, alone)
        otherwise = rarities_of(broken.severity.max(axis=1, initial=0.0))
        # New settings are told once, but are no fault.
        otherwise = np.where(changed, np.maximum(otherwise, _TOLD), otherwise)
        instrument = Names.of(features, "instrument")
        each = np.array([self.thresholds.get(name, self.card.threshold) for name in instrument.names])
        threshold = each[instrument.codes] if len(each) else np.zeros(0)
        # Whatever it looks like, a bin that is worth a look stays so.
        is_told = severities(np.maximum(by_looks, otherwise)) >= np.minimum(WATCH_FROM, threshold)
        told = np.flatnonzero(judged & is_told)
        closely = self._told(series, which[told], stretches.of(told), in_stretch[told])
        causes = self._causes_of(closely, series)
        rare = by_looks[told] >= _LOOKED_AT
        by_looks[told] = _held(by_looks[told], rare, causes)
        rarity = np.where(judged, np.maximum(by_looks, otherwise), np.nan)
        severity = severities(rarity)
        columns = {
            "severity": severity,
            "verdict": verdicts(severity, threshold, judged),
            "anomaly_score": -rarity,
            "percentile": 100.0 * (1.0 - 10.0**-rarity),
            "threshold": threshold,
            "rules": broken.codes(),
            "configuration": Names.of(features, "configuration").to_list(),
            "config_changed": changed,
            "model_id": [self.card.model_id] * features.num_rows,
        }
        # New settings speak for themselves where the bin looks as usual.
        causes = [
            ["config_change"] if is_new and not is_rare else found
            for found, is_new, is_rare in zip(causes, changed[told], rare, strict=True)
        ]
        said = self._words(closely, causes, changed[told], broken.at(told))
        return verdict_table(features, columns | said.columns(told, features.num_rows))

    def _seen(self, series: _Series) -> _Seen:
        """What all rows look like; some thousands at a time, in threads where there are more."""
        order = np.lexsort((series.rows.time_s, series.usual.deployment))
        firsts = range(0, max(len(order), 1), _ROWS_TOGETHER)
        if len(firsts) == 1:
            # Threads cost more than a small table does, and their library takes time to load.
            found = [self._seen_part(series, order, 0)]
        else:
            from joblib import Parallel, delayed

            tasks = (delayed(self._seen_part)(series, order, first) for first in firsts)
            found: Any = Parallel(-1, backend="threading")(tasks)
        alone, where = np.empty(len(order)), np.empty(len(order), dtype=np.int64)
        where[order] = np.arange(len(order))
        alone[order] = np.concatenate([part for part, _ in found])
        return _Seen(alone, NeighbourEvidence.joined([part for _, part in found]), where)

    def _seen_part(
        self, series: _Series, order: NDArray[np.int64], first: int
    ) -> tuple[NDArray[np.float64], NeighbourEvidence]:
        """How surprising the rows in ``order`` from ``first`` on look alone, and in stretches.

        A bin that is odd alone is in no stretch; but where no water explains it, it is a fault, of which the bins next
        to it may be the beginning or the end.
        """
        begin = max(first - _ROWS_AROUND, 0)
        which = order[begin : first + _ROWS_TOGETHER + _ROWS_AROUND]
        looks = self._looks(series, which)
        groups = self.tails.groups_of(looks.deviations.z, looks.explanation.factor)
        alone = np.maximum(self.scale.rarity(self.tails.raw_score(groups)) + self.ranker.shift(groups), 0.0)
        full, is_odd = series.rows.full[which], alone >= TOLD_ALONE
        in_order = full & ~is_odd
        sequence = Series.of(looks.deviations.z, series.usual.deployment[which], series.instrument[which])
        stretches = self.stretches.look(sequence, in_order)
        is_fault = full & is_odd & ~looks.explanation.bloom & ~looks.explanation.rinsed
        if is_fault.any():
            way = np.zeros_like(looks.deviations.z)
            way[is_fault] = self.tails.ways(looks.deviations.z[is_fault], looks.explanation.factor[is_fault])
            stretches = stretches.or_worse(fault_edges(sequence, in_order, is_fault, way))
        own = np.arange(first, min(first + _ROWS_TOGETHER, len(order))) - begin
        return alone[own], stretches.of(own)

    def _looks(self, series: _Series, which: NDArray[np.int64]) -> _Looks:
        deviations = self.baselines.deviations(series.rows, which, series.usual)
        return _Looks(which, deviations, explain(deviations.z, series.after_gap[which], self.baselines.metadata))

    def _told(
        self, series: _Series, which: NDArray[np.int64], stretches: NeighbourEvidence, in_stretch: NDArray[np.bool_]
    ) -> _Told:
        """These rows, or where they are more surprising ``in_stretch`` (rows,) those, closely."""
        alone = self._looks(series, which)
        (rows,) = np.nonzero(in_stretch)
        its = stretches.place[rows]
        z, centre, spread = (
            np.array(x) for x in (alone.deviations.z, alone.deviations.centre, alone.deviations.spread)
        )
        centre[rows] += stretches.level[its] * spread[rows]
        spread[rows] *= stretches.spread[its]
        z[rows] = stretches.z[its]
        explanation = explain(z, series.after_gap[which] & ~in_stretch, self.baselines.metadata, in_stretch)
        n_bins = np.ones(len(which), dtype=np.int64)
        n_bins[rows] = stretches.n_bins[its]
        rarities, added, sure = np.empty_like(z), np.empty_like(z), np.empty(len(which), dtype=bool)
        reach = np.empty((2, *z.shape), dtype=np.float32)
        for some, tails, scale, cost in (
            (~in_stretch, self.tails, self.scale, 0.0),
            (in_stretch, self.stretches.tails, self.stretches.scale, COSTS),
        ):
            rarities[some] = tails.rarities(z[some])
            factor = explanation.factor[some]
            added[some] = tails.contributions(rarities[some] * factor)
            reach[:, some] = tails.usual_reach(0.02)[:, None]
            unexplained = tails.raw_score(tails.groups_of(z[some], (factor >= 1.0).astype(np.float32)))
            sure[some] = scale.rarity(unexplained) - cost >= _SURE
        looks = _Looks(which, Deviations(z, centre, spread), explanation)
        return _Told(looks, n_bins, rarities, added, reach, sure)

    def _causes_of(self, told: _Told, series: _Series) -> list[list[str]]:
        """The causes that each of these rows looks like, best first."""
        z, explanation = told.looks.deviations.z, told.looks.explanation
        possible = {
            "config_change": (series.changed | series.usual.settling)[told.looks.which],
            "post_clean": explanation.rinsed & ~told.sure,
            "bloom": explanation.bloom & ~told.sure,
            # Larger boxes alone are the water's: out of focus, the small particles are lost.
            "focus": explanation.blurred,
            "air": ~self._at_edges(told.looks.deviations),
        }
        # Beside a fault, what the water does as well does not tell which one it is.
        counted = np.where(told.sure[:, None], explanation.factor, np.float32(1.0))
        return suspected(likeness(told.rarities, counted, z, self.baselines.metadata), possible)

    def _at_edges(self, deviations: Deviations) -> NDArray[np.bool_]:
        """Whether most boxes off the core touch the edge of the frame: air is anywhere."""
        place = {feature.name: column for column, feature in enumerate(self.baselines.metadata)}
        if not {"edge_touch_fraction", "stray_fraction"} <= set(place):
            return np.zeros(len(deviations.z), dtype=bool)
        values = deviations.centre + deviations.z * deviations.spread
        edge, stray = (plain_values(values[:, place[f"{kind}_fraction"]], "logit") for kind in ("edge_touch", "stray"))
        return edge > _MOST * np.maximum(stray, _FEW)

    def _words(self, told: _Told, causes: Sequence[Sequence[str]], changed: NDArray[np.bool_], broken: Broken) -> Words:
        """What is said of these rows; all of these are of them alone."""
        deviations = told.looks.deviations
        return words(
            Evidence(
                metadata=self.baselines.metadata,
                z=deviations.z,
                centre=deviations.centre,
                spread=deviations.spread,
                reach=told.reach,
                shares=told.added / np.maximum(told.added.sum(axis=1, keepdims=True), 1e-9),
                n_bins=told.n_bins,
                broken=broken,
                causes=causes,
                changed=changed,
            )
        )

    def _with_header(self) -> frozenset[str]:
        """The instruments most of whose bins had a header in training."""
        stated = np.array([bool(name) for name in self.baselines.configurations])
        return frozenset(
            name
            for number, name in enumerate(self.baselines.instruments)
            if 2 * self.baselines.key_bins[stated & (self.baselines.key_instrument == number)].sum()
            > self.baselines.key_bins[self.baselines.key_instrument == number].sum()
        )

    def to_bytes(self) -> bytes:
        """The model as the content of one file: plain arrays, and texts as JSON."""
        buffer = io.BytesIO()
        texts = {"card": self.card.to_json(), "parts": json.dumps(self.texts())}
        np.savez_compressed(
            buffer,
            allow_pickle=False,
            format_version=np.array(FORMAT_VERSION),
            **{name: np.frombuffer(text.encode(), dtype=np.uint8) for name, text in texts.items()},
            **self.arrays(),
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
            metadata = tuple(FeatureMetadata(**values) for values in texts["metadata"])
            names: dict[str, Any] = {name: tuple(texts[name]) for name in ("instruments", "configurations")}
            numbers: dict[str, Any] = part_arrays(Baselines, "baselines", arrays)
            baselines = Baselines(metadata=metadata, **names, **numbers)
            tails, scale, ranker = TailDetector(metadata), RarityScale(), LabelRanker()
            stretches = NeighbourDetector(metadata)
            for part, name in (
                (tails, "tails"), (scale, "scale"), (ranker, "ranker"), (stretches, "stretches"),
                (stretches.tails, "stretches.tails"), (stretches.scale, "stretches.scale"),
            ):  # fmt: skip
                for attribute, value in part_arrays(type(part), name, arrays).items():
                    setattr(part, attribute, value)
            check_shapes([baselines, tails, scale, ranker, stretches, stretches.tails, stretches.scale])
            thresholds = {str(name): float(value) for name, value in texts["thresholds"].items()}
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"the model file is of another version of this program, or damaged ({error!r}): train a new model"
            ) from error
        except (ValueError, AttributeError) as error:
            raise ModelError(f"the model file is damaged ({error!r}); train a new model") from error
        return cls(card, baselines, tails, scale, stretches, ranker, thresholds)

    def texts(self) -> dict[str, Any]:
        """What of the model is not numbers, for storage."""
        return {
            "metadata": [asdict(feature) for feature in self.baselines.metadata],
            "instruments": self.baselines.instruments,
            "configurations": self.baselines.configurations,
            "thresholds": dict(self.thresholds),
        }

    def arrays(self) -> dict[str, NDArray]:
        """The model's numbers as named arrays, for storage."""
        parts = {
            "baselines": self.baselines, "tails": self.tails, "scale": self.scale, "ranker": self.ranker,
            "stretches": self.stretches, "stretches.tails": self.stretches.tails,
            "stretches.scale": self.stretches.scale,
        }  # fmt: skip
        return {
            f"{part}.{name}": np.asarray(getattr(value, name))
            for part, value in parts.items()
            for name in SHAPES[type(value)]
        }

    def _rows(self, features: pa.Table, history: pa.Table | None) -> tuple[BinTable, slice]:
        """The rows to judge, behind those of the history, and where they are."""
        metadata = self.baselines.metadata
        own = [feature.name for feature in metadata if feature not in LAG_FEATURES]
        names = [name for name in dict.fromkeys((*_NEEDED, *_USED, *own)) if name in features.column_names]
        missing = [name for name in (*_NEEDED, *own) if name not in features.column_names]
        if missing:
            raise ModelError(
                f"model {self.card.model_id} needs features that the table does not have: {', '.join(missing)}; "
                "compute the features again, or train a new model"
            )
        if history is None or not history.num_rows:
            return BinTable.of(features, metadata), slice(0, features.num_rows)
        # A day that is judged again is not its own history.
        new = ~np.isin(history["pid"].to_numpy(), features["pid"].to_numpy())
        before = history.select(names).filter(pa.array(new))
        both = pa.concat_tables([before, features.select(names)])
        return BinTable.of(both, metadata), slice(before.num_rows, both.num_rows)


def _held(by_looks: NDArray[np.float64], rare: NDArray[np.bool_], causes: Sequence[Sequence[str]]) -> NDArray:
    """The rarities (n,) where those of rare rows that look like the water's affair are worth a look, and no more."""
    harmless = rare & np.array([not CAUSES[found[0]].is_fault for found in causes], dtype=bool)
    beyond = np.maximum(by_looks - _HARMLESS_FROM, 0.0)
    held = _HARMLESS_FROM + (_HARMLESS_TO - _HARMLESS_FROM) * beyond / (beyond + _HARMLESS_HALF_WAY)
    return np.where(harmless, np.minimum(by_looks, held), by_looks)
