"""The flow model as a value: one verdict a bin, with its cause and reasons, and the file that it travels in.

Features -> deviations from the baseline -> tails -> surprise -> severity; hard rules beside it; then causes and
words for what is not in order. How a model is trained is in ``flow``.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.baselines import Baselines, Deviations
from ifcb_flow_pipeline.detection.calibration import SurpriseScale
from ifcb_flow_pipeline.detection.causes import CAUSES, likeness, suspected
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.model import FORMAT_VERSION, ModelCard, ModelError, read_arrays
from ifcb_flow_pipeline.detection.ranking import LabelRanker
from ifcb_flow_pipeline.detection.recent import RECENT
from ifcb_flow_pipeline.detection.rows import Rows
from ifcb_flow_pipeline.detection.rules import Broken, broken_rules
from ifcb_flow_pipeline.detection.tails import TailDetector
from ifcb_flow_pipeline.detection.traits import Trait, plain_values
from ifcb_flow_pipeline.detection.variation import (
    Explained,
    after_gaps,
    config_changes,
    explained,
    mostly_with_header,
)
from ifcb_flow_pipeline.detection.verdicts import (
    WATCH_FROM,
    severities,
    surprises_of,
    verdict_table,
    verdicts,
)
from ifcb_flow_pipeline.detection.words import Evidence, words
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Rows judged at a time: bounds the memory that a large table takes.
_CHUNK_ROWS = 65_536

#: The surprise with which the first bin of new settings, or of a core at another place, is told: that of a watch.
_TOLD = 1.44

#: From which surprise on one asks what a bin looks like; and what looks harmless stays below bad: from there on its
#: surprise nears the next of these, so that worse ones still come first.
_LOOKED_AT, _HARMLESS_FROM, _HARMLESS_TO, _HARMLESS_HALF_WAY = 1.4, 1.75, 1.95, 5.0

#: Boxes at the edge of the frame are most of those off the core from this share on; and fewer of all are no matter.
_MOST, _FEW = 0.6, 0.02

#: Columns of ``bin_features`` that are needed besides features, and those that are used where they are there.
_NEEDED = ("pid", "instrument", "start_time", "status", "n_points")
_USED = ("configuration", "stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px", "humidity_pct",
         "temperature_c")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows on the way to their verdicts: can they be judged, how far from usual, and what came before them."""

    judged: NDArray[np.bool_]
    deviations: Deviations
    after_gap: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    settling: NDArray[np.bool_]
    with_header: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class FlowModel:
    """Baselines, detectors and the scale of their scores, with the card that says where they come from."""

    card: ModelCard
    baselines: Baselines
    tails: TailDetector
    scale: SurpriseScale
    ranker: LabelRanker
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
        changed, with_header = config_changes(rows) | usual.moved, mostly_with_header(rows)
        parts = []
        for first in range(0, features.num_rows, _CHUNK_ROWS):
            part = features.slice(first, _CHUNK_ROWS)
            which = own.start + first + np.arange(part.num_rows)
            deviations = self.baselines.deviations(rows, which, usual)
            when = (gaps[which], changed[which], usual.settling[which])
            state = _Part(rows.judged[which], deviations, *when, with_header)
            parts.append(self._judge_part(part, state))
        return pa.concat_tables(parts) if parts else verdict_table(features, _no_columns())

    def _judge_part(self, features: pa.Table, part: "_Part") -> pa.Table:
        broken = broken_rules(features, self._with_header() | part.with_header)
        explanation = explained(part.deviations.z, part.after_gap, self.baselines.traits)
        groups = self.tails.groups_of(part.deviations.z, explanation.factor)
        by_looks = np.maximum(self.scale.surprise(self.tails.badness(groups)) + self.ranker.shift(groups), 0.0)
        causes = self._causes_of(np.flatnonzero(part.judged & (by_looks >= _LOOKED_AT)), part, explanation)
        # What looks like the water's affair is worth a look, and no more.
        harmless = np.zeros(len(by_looks), dtype=bool)
        harmless[[row for row, found in causes.items() if not CAUSES[found[0]].is_fault]] = True
        beyond = np.maximum(by_looks - _HARMLESS_FROM, 0.0)
        held = _HARMLESS_FROM + (_HARMLESS_TO - _HARMLESS_FROM) * beyond / (beyond + _HARMLESS_HALF_WAY)
        by_looks = np.where(harmless, np.minimum(by_looks, held), by_looks)
        surprise = np.maximum(by_looks, surprises_of(broken.severity.max(axis=1, initial=0.0)))
        # New settings are told once, but are no fault.
        surprise = np.where(part.changed, np.maximum(surprise, _TOLD), surprise)
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
        missing = np.setdiff1d(told, np.fromiter(causes, dtype=np.int64))
        causes |= self._causes_of(missing, part, explanation)
        causes |= {row: ["config_change"] for row in missing[part.changed[missing]].tolist()}
        return verdict_table(features, columns | self._texts_of(told, causes, features, part, broken, explanation))

    def _causes_of(self, told: NDArray[np.int64], part: "_Part", explanation: Explained) -> dict[int, list[str]]:
        """The causes that each of these rows looks like, best first."""
        traits, z = self.baselines.traits, part.deviations.z[told]
        possible = {
            "config_change": (part.changed | part.settling)[told],
            "post_clean": explanation.rinsed[told],
            "bloom": explanation.bloom[told],
            # Larger boxes alone are the water's: out of focus, the small particles are lost.
            "focus": explanation.blurred[told],
            "air": ~self._at_edges(part.deviations, told),
        }
        found = suspected(likeness(self.tails.surprises(z), z, traits), possible)
        return dict(zip(told.tolist(), found, strict=True))

    def _at_edges(self, deviations: Deviations, told: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether most boxes off the core touch the edge of the frame: air is anywhere."""
        place = {trait.name: column for column, trait in enumerate(self.baselines.traits)}
        if not {"edge_touch_fraction", "stray_fraction"} <= set(place):
            return np.zeros(len(told), dtype=bool)
        values = deviations.centre[told] + deviations.z[told] * deviations.spread[told]
        edge, stray = (plain_values(values[:, place[f"{kind}_fraction"]], "logit") for kind in ("edge_touch", "stray"))
        return edge > _MOST * np.maximum(stray, _FEW)

    def _texts_of(
        self,
        told: NDArray[np.int64],
        causes: Mapping[int, list[str]],
        features: pa.Table,
        part: "_Part",
        broken: Broken,
        explanation: Explained,
    ) -> dict[str, list[str]]:
        """Causes, reasons and findings of all rows, empty but for those in ``told``."""
        traits, z = self.baselines.traits, part.deviations.z[told]
        surprises = self.tails.surprises(z) * explanation.factor[told]
        added = self.tails.contributions(surprises)
        shares = added / np.maximum(added.sum(axis=1, keepdims=True), 1e-9)
        reach = self.tails.usual_reach(0.02)
        centre, spread = part.deviations.centre[told], part.deviations.spread[told]
        evidence = Evidence(
            traits=traits,
            values=_plain(centre + z * spread, traits),
            low=_plain(centre - reach[0] * spread, traits),
            high=_plain(centre + reach[1] * spread, traits),
            shares=shares,
            z=z,
            broken=Broken(broken.rules, broken.severity[told], broken.values[told]),
            causes=[causes[row] for row in told.tolist()],
            changed=part.changed[told],
        )
        texts = {name: [""] * features.num_rows for name in ("cause", "second_cause", "reasons")}
        texts["findings"] = ["[]"] * features.num_rows
        for place, row in enumerate(told.tolist()):
            said = words(evidence, place)
            for name, column in texts.items():
                column[row] = getattr(said, name)
        return texts

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
            traits = tuple(Trait(**values) for values in texts["traits"])
            names: dict[str, Any] = {name: tuple(texts[name]) for name in ("instruments", "configurations")}
            numbers: dict[str, Any] = part_arrays(Baselines, "baselines", arrays)
            baselines = Baselines(traits=traits, **names, **numbers)
            tails, scale, ranker = TailDetector(traits), SurpriseScale(), LabelRanker()
            for part, name in ((tails, "tails"), (scale, "scale"), (ranker, "ranker")):
                for attribute, value in part_arrays(type(part), name, arrays).items():
                    setattr(part, attribute, value)
            _check_shapes({Baselines: baselines, TailDetector: tails, SurpriseScale: scale, LabelRanker: ranker})
            thresholds = {str(name): float(value) for name, value in texts["thresholds"].items()}
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"the model file is of another version of this program, or damaged ({error!r}): train a new model"
            ) from error
        except (ValueError, AttributeError) as error:
            raise ModelError(f"the model file is damaged ({error!r}); train a new model") from error
        return cls(card, baselines, tails, scale, ranker, thresholds)

    def texts(self) -> dict[str, Any]:
        """What of the model is not numbers, for storage."""
        return {
            "traits": [asdict(trait) for trait in self.baselines.traits],
            "instruments": self.baselines.instruments,
            "configurations": self.baselines.configurations,
            "thresholds": dict(self.thresholds),
        }

    def arrays(self) -> dict[str, NDArray]:
        """The model's numbers as named arrays, for storage."""
        parts = {"baselines": self.baselines, "tails": self.tails, "scale": self.scale, "ranker": self.ranker}
        return {
            f"{part}.{name}": np.asarray(getattr(value, name))
            for part, value in parts.items()
            for name in _SHAPES[type(value)]
        }

    def _rows(self, features: pa.Table, history: pa.Table | None) -> tuple[Rows, slice]:
        """The rows to judge, behind those of the history, and where they are."""
        traits = self.baselines.traits
        own = [trait.name for trait in traits if trait not in RECENT]
        names = [name for name in dict.fromkeys((*_NEEDED, *_USED, *own)) if name in features.column_names]
        missing = [name for name in (*_NEEDED, *own) if name not in features.column_names]
        if missing:
            raise ModelError(
                f"model {self.card.model_id} needs features that the table does not have: {', '.join(missing)}; "
                "compute the features again, or train a new model"
            )
        if history is None or not history.num_rows:
            return Rows.of(features, traits), slice(0, features.num_rows)
        # A day that is judged again is not its own history.
        new = ~np.isin(history["pid"].to_numpy(), features["pid"].to_numpy())
        before = history.select(names).filter(pa.array(new))
        both = pa.concat_tables([before, features.select(names)])
        return Rows.of(both, traits), slice(before.num_rows, both.num_rows)


def _plain(values: NDArray, traits: Sequence[Trait]) -> NDArray[np.float64]:
    return np.column_stack([plain_values(values[:, i], trait.scale) for i, trait in enumerate(traits)])


def _no_columns() -> dict[str, list[Any]]:
    names = ("severity", "verdict", "anomaly_score", "percentile", "threshold", "model_id")
    return {name: [] for name in names}


#: The arrays of each part of a model in a file, with the lengths of their axes: d features, m instruments, k
#: deployments, g groups of features, q points of the scale.
_SHAPES: Mapping[type, Mapping[str, str]] = {
    Baselines: {"key_instrument": "k", "key_start": "k", "key_end": "k", "key_centre": "kd", "key_bins": "k",
                "centre": "md", "spread": "md", "points": "m", "fleet_centre": "d", "fleet_spread": "d",
                "fleet_range": "d", "sampling": "d", "least": "d"},
    TailDetector: {"power_": "2d", "width_": "2d", "offset_": "g"},
    SurpriseScale: {"badness_": "q", "surprise_": "q", "slope_": ""},
    LabelRanker: {"weights_": "g", "bias_": ""},
}  # fmt: skip


def part_arrays(part: type, prefix: str, arrays: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The arrays of one part of a model. Raises KeyError, ValueError where they are missing or no numbers."""
    found = {name: arrays[f"{prefix}.{name}"] for name in _SHAPES[part]}
    for name, values in found.items():
        if values.dtype.kind not in "fi":
            raise ValueError(f"{prefix}.{name} holds {values.dtype}")
    return found


def _check_shapes(parts: Mapping[type, Any]) -> None:
    """Raise ValueError where the arrays of a file do not fit each other."""
    baselines, tails = parts[Baselines], parts[TailDetector]
    lengths = {
        "d": len(baselines.traits),
        "m": len(baselines.instruments),
        "k": len(baselines.configurations),
        "g": len(tails.groups),
        "q": len(np.atleast_1d(parts[SurpriseScale].badness_)),
        "2": 2,
    }
    for kind, part in parts.items():
        for name, axes in _SHAPES[kind].items():
            shape = tuple(lengths[axis] for axis in axes)
            if np.shape(getattr(part, name)) != shape:
                raise ValueError(f"{name} has shape {np.shape(getattr(part, name))} in place of {shape}")
    owners = baselines.key_instrument
    if owners.dtype.kind != "i" or (owners < 0).any() or (owners >= lengths["m"]).any() or not lengths["k"]:
        raise ValueError("a deployment is of no instrument")
