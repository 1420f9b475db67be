"""The flow model: one verdict a bin, with its cause and reasons; each instrument judged by itself alone.

``judge`` is a line of values: features -> deviations from the local baseline -> screening (how rare each bin is, alone
and with its neighbours) -> evidence (of those worth a look, feature by feature) -> decision (severity, verdict, cause)
-> findings (sentences). How a model is trained is in ``training``, its file in ``model_file``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.columns import Names
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow import model_file
from ifcb_flow_pipeline.detection.flow.baseline import Deviations
from ifcb_flow_pipeline.detection.flow.instrument import Evidence, InstrumentModel, Screening
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES, below_zero_first
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError, read_arrays
from ifcb_flow_pipeline.detection.verdict.affected import Losses
from ifcb_flow_pipeline.detection.verdict.decision import Case, Decision, decide
from ifcb_flow_pipeline.detection.verdict.findings import Findings, Reported, describe
from ifcb_flow_pipeline.detection.verdict.notes import notes
from ifcb_flow_pipeline.detection.verdict.rules import Broken, broken_rules
from ifcb_flow_pipeline.detection.verdict.severity import verdict_table
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Columns of ``bin_features`` that are needed besides features, and those that are used where they are there.
_NEEDED = ("pid", "instrument", "start_time", "status", "n_points")
_USED = ("configuration", "stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px", "humidity_pct",
         "temperature_c")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Told:
    """What is known of n bins without looking at their features: what reading them came to, and plain facts.

    ``outcome``: status and reason, as in ``bin_features``; ``broken``: the rules that they break; ``losses``: what
    tells how much of them is lost; ``below_zero`` (n,): the humidity sensor reads below zero, for the first time.
    """

    outcome: pa.Table
    broken: Broken
    losses: Losses
    below_zero: NDArray[np.bool_]

    def at(self, rows: NDArray[np.int64]) -> "_Told":
        """That of some of the bins."""
        return _Told(
            self.outcome.take(pa.array(rows)), self.broken.at(rows), self.losses.at(rows), self.below_zero[rows]
        )


#: Fewer bins of an instrument do not tell what most of its bins have.
_FEW_BINS = 3

#: Tables of fewer bins are judged without threads.
_THREADS_FROM = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class FlowModel:
    """The models of the instruments, with the card that says where they come from.

    ``metadata``: the features, in the order of all arrays. ``ranker``: what people's decisions teach of all
    instruments; ``thresholds``: of instruments with decisions enough, the severity from which a bin is bad.
    """

    card: ModelCard
    metadata: tuple[FeatureMetadata, ...]
    instruments: Mapping[str, InstrumentModel]
    ranker: LabelRanker
    thresholds: Mapping[str, float]

    def check_usable(self, settings: FeatureSettings) -> None:
        """Raise ModelError, naming the remedy, where features made with these settings cannot be judged."""
        self.card.check_usable(settings)

    def judge(self, features: pa.Table, history: pa.Table | None = None) -> pa.Table:
        """A verdict for each row of ``bin_features``, in their order: a table of VERDICT_COLUMNS.

        ``history``: rows of the days before, which tell the local baseline; the more of the last week, the better. A
        large table is judged by as many threads as there are processors, an instrument each; their number changes
        nothing. Raises ModelError where features are missing.
        """
        rows, own = self._with_history(features, history)
        bins = BinTable.of(rows, self.metadata)
        asked = Names.of(features, "instrument")
        # No bins have the columns that those of an unknown instrument have.
        names = [name for code, name in enumerate(asked.names) if (asked.codes == code).any()] or [""]
        broken = broken_rules(
            features,
            with_header=[name for name in names if self._with_header(name, bins)],
            with_signals=[name for name in names if self._with_signals(name, bins)],
            with_counters=[name for name in names if self._with_counters(name, bins)],
        )
        told = _Told(features.select(["status", "reason"]), broken, Losses.of(features), below_zero_first(rows)[own])
        parts = _each(lambda name: self._judge_instrument(name, bins, own, told), names, features.num_rows)
        order = np.argsort(np.concatenate([rows for _, rows in parts]))
        columns = pa.concat_tables([part for part, _ in parts]).take(pa.array(order))
        decided = {name: columns.column(name) for name in columns.column_names}
        copied = {"configuration": features.column("configuration")} if "configuration" in features.column_names else {}
        model_id = pa.repeat(pa.scalar(self.card.model_id), features.num_rows)
        return verdict_table(features, decided | copied | {"model_id": model_id})

    def _judge_instrument(
        self, name: str, everything: BinTable, own: slice, told: _Told
    ) -> tuple[pa.Table, NDArray[np.int64]]:
        """What is decided and found of the bins of one instrument, and their rows in ``features``."""
        bins, rows = everything.of_instrument(name)
        asked = np.flatnonzero(rows >= own.start)
        rows = rows[asked] - own.start
        told = told.at(rows)
        instrument = self.instruments.get(name)
        if instrument is None:
            deviations = Deviations.unknown(len(bins), len(self.metadata))
            screening, look = Screening.nothing(len(bins), len(self.metadata)), Evidence.nothing
        else:
            deviations = instrument.deviations(bins)
            screening = instrument.screen(bins, deviations, self.ranker)
            look = instrument.evidence
        case = Case(
            bins.judged[asked],
            deviations.of(asked),
            screening.of(asked),
            told.broken,
            told.losses,
            self._threshold(name),
        )
        which = case.worth_a_look()
        evidence = look(case.deviations, case.screening, which)
        decision = decide(case, which, evidence, self.metadata)
        findings = describe(
            Reported(
                self.metadata,
                evidence,
                decision.causes,
                told.broken.at(which),
                case.deviations.changed[which],
                case.deviations.moved[which],
            )
        )
        said = notes(name, instrument is not None, told.outcome, case, decision, told.below_zero)
        return _columns(case, decision, findings, said), rows

    def _threshold(self, name: str) -> float:
        return self.thresholds.get(name, self.card.threshold)

    def _with_header(self, name: str, bins: BinTable) -> bool:
        """Whether most bins of an instrument, and three at least, have a header: in training, or among these."""
        known = self.instruments.get(name)
        own = bins.configuration.codes[bins.instrument.equal(name)]
        stated = np.array([bool(each) for each in bins.configuration.names], dtype=bool)[own]
        in_training = known is not None and known.baseline.mostly_with_header
        return in_training or bool(stated.sum() >= _FEW_BINS and 2 * stated.sum() > len(own))

    def _with_counters(self, name: str, bins: BinTable) -> bool:
        """Whether blind time is counted in most bins of an instrument: among these, or in training if they are few."""
        column = self._column("dead_time_s")
        if column is None:
            return False
        counted = np.isfinite(bins.values[bins.instrument.equal(name) & bins.full, column])
        if len(counted) >= _FEW_BINS:
            return bool(2 * counted.sum() > len(counted))
        known = self.instruments.get(name)
        return known is not None and bool(np.isfinite(known.baseline.centre[:, column]).any())

    def _column(self, feature: str) -> int | None:
        return next((i for i, one in enumerate(self.metadata) if one.name == feature), None)

    def _with_signals(self, name: str, bins: BinTable) -> bool:
        """Whether most bins of an instrument have live signals: in training, or among these."""
        column = self._column("dead_signal_fraction")
        if column is None:
            return False
        known = self.instruments.get(name)
        usual = known.baseline.centre[:, column] if known else bins.values[bins.instrument.equal(name), column]
        return len(usual) > 0 and bool(np.median(np.nan_to_num(usual, nan=np.pi)) < np.pi / 2.0)

    def _with_history(self, features: pa.Table, history: pa.Table | None) -> tuple[pa.Table, slice]:
        """The rows to judge, behind those of the history, and where they are."""
        own = [feature.name for feature in self.metadata if feature not in LAG_FEATURES]
        names = [name for name in dict.fromkeys((*_NEEDED, *_USED, *own)) if name in features.column_names]
        missing = [name for name in (*_NEEDED, *own) if name not in features.column_names]
        if missing:
            raise ModelError(
                f"model {self.card.model_id} needs features that the table does not have: {', '.join(missing)}; "
                "compute the features again, or train a new model"
            )
        if history is None or not history.num_rows:
            return features, slice(0, features.num_rows)
        # A day that is judged again is not its own history.
        new = ~np.isin(history["pid"].to_numpy(), features["pid"].to_numpy())
        before = history.select(names).filter(pa.array(new))
        both = pa.concat_tables([before, features.select(names)])
        return both, slice(before.num_rows, both.num_rows)

    def to_bytes(self) -> bytes:
        """The model as the content of one file: plain arrays, and texts as JSON."""
        return model_file.to_bytes(self.card, self.texts(), self.arrays())

    @classmethod
    def from_bytes(cls, data: bytes) -> "FlowModel":
        """Read a model. Raises ModelError where the bytes are none."""
        return cls.from_arrays(read_arrays(data))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> "FlowModel":
        """The model that the arrays of a file describe. Raises ModelError where they describe none."""
        return cls(*model_file.read_parts(arrays))

    def texts(self) -> dict[str, Any]:
        """What of the model is not numbers, for storage."""
        return {
            "metadata": [asdict(feature) for feature in self.metadata],
            "instruments": {name: one.baseline.configurations for name, one in self.instruments.items()},
            "thresholds": dict(self.thresholds),
        }

    def arrays(self) -> dict[str, NDArray]:
        """The model's numbers as named arrays, for storage."""
        return model_file.arrays_of(list(self.instruments.values()), self.ranker)


def _columns(case: Case, decision: Decision, findings: Findings, said: Mapping[int, str]) -> pa.Table:
    """What is decided and found of the bins of one instrument, as columns of verdicts."""
    return pa.table(
        {
            "severity": decision.severity,
            "verdict": pa.array(decision.verdict, pa.string()),
            "anomaly_score": -decision.rarity,
            "percentile": 100.0 * (1.0 - 10.0**-decision.rarity),
            "threshold": np.full(len(decision.severity), case.threshold),
            "rules": pa.array(case.broken.codes(), pa.string()),
            "config_changed": case.deviations.changed,
            "baseline_bins": case.deviations.baseline_bins,
            "baseline_days": case.deviations.baseline_days,
            "affected_fraction": decision.affected_fraction,
        }
        | findings.columns(decision.which, decision.verdict, said)
    )


_Part = TypeVar("_Part")


def _each(judge: Callable[[str], _Part], names: Sequence[str], n_bins: int) -> list[_Part]:
    """``judge`` of each name; in threads where there are bins enough that these pay."""
    if len(names) < 2 or n_bins < _THREADS_FROM:
        # Threads cost more than a small table does, and their library takes time to load.
        return [judge(name) for name in names]
    from joblib import Parallel, delayed

    found: Any = Parallel(-1, backend="threading")(delayed(judge)(name) for name in names)
    return found
