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

from ifcb_flow_pipeline.detection.bin_table import BinTable, rows_of_instruments, taken
from ifcb_flow_pipeline.detection.columns import times
from ifcb_flow_pipeline.detection.feature_metadata import FeatureMetadata
from ifcb_flow_pipeline.detection.flow import model_file
from ifcb_flow_pipeline.detection.flow.baseline import Deviations
from ifcb_flow_pipeline.detection.flow.instrument import Evidence, InstrumentModel, Screening
from ifcb_flow_pipeline.detection.flow.label_learning import LabelRanker
from ifcb_flow_pipeline.detection.lag_features import LAG_FEATURES
from ifcb_flow_pipeline.detection.model_card import ModelCard, ModelError, read_arrays
from ifcb_flow_pipeline.detection.verdict.affected import Losses
from ifcb_flow_pipeline.detection.verdict.decision import Case, Decision, decide
from ifcb_flow_pipeline.detection.verdict.findings import Findings, Reported, describe
from ifcb_flow_pipeline.detection.verdict.notes import notes
from ifcb_flow_pipeline.detection.verdict.rules import broken_rules, mostly_with_roi
from ifcb_flow_pipeline.detection.verdict.severity import verdict_table
from ifcb_flow_pipeline.features.extract import FeatureSettings

#: Columns of ``bin_features`` that are needed besides features, and those that are used where they are there.
_NEEDED = ("pid", "instrument", "start_time", "status", "n_points")
_USED = ("configuration", "sample_time", "stuck_x_px", "stuck_y_px", "stuck_width_px", "stuck_height_px",
         "humidity_pct", "temperature_c")  # fmt: skip


_NO_ROWS = np.zeros(0, dtype=np.int64)

#: Bins that are decided together, and that findings are made of.
_BINS_TOGETHER = 16_384

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
        history = self._history(features, history)
        before, asked = rows_of_instruments(history), rows_of_instruments(features)
        # No bins have the columns that those of an unknown instrument have.
        names = list(asked) or [""]

        def judge(name: str) -> pa.Table:
            own = taken(features, asked.get(name, _NO_ROWS))
            return self._judge_instrument(name, own, taken(history, before.get(name, _NO_ROWS)))

        parts = _each(judge, names, features.num_rows)
        order = np.argsort(np.concatenate([asked.get(name, _NO_ROWS) for name in names]))
        columns = taken(pa.concat_tables(parts), order)
        decided = {name: columns.column(name) for name in columns.column_names}
        copied = {"configuration": features.column("configuration")} if "configuration" in features.column_names else {}
        model_id = pa.repeat(pa.scalar(self.card.model_id), features.num_rows)
        return verdict_table(features, decided | copied | {"model_id": model_id})

    def _judge_instrument(self, name: str, features: pa.Table, history: pa.Table) -> pa.Table:
        """What is decided and found of the bins of one instrument: ``features``, in the order of time."""
        table, own = _with_history(features, history)
        bins = BinTable.of(table, self.metadata)
        known = self.instruments.get(name)
        if known is None:
            deviations = Deviations.unknown(len(bins), len(self.metadata))
            screening = Screening.nothing(len(bins), len(self.metadata))
        else:
            deviations = known.deviations(bins)
            screening = known.screen(bins, deviations, self.ranker)
        with_header = [name] if self._with_header(known, bins) else []
        with_signals = [name] if self._with_signals(known, bins) else []
        with_counters = [name] if self._with_counters(known, bins) else []
        with_roi = mostly_with_roi(features)
        parts = []
        # From here on each bin is judged for itself: some at a time, so that the findings of all are never held.
        for number, some in enumerate(own):
            rows = features.slice(number * _BINS_TOGETHER, _BINS_TOGETHER)
            broken = broken_rules(rows, with_header, with_signals, with_counters, with_roi)
            known_of = bins.judged[some], deviations.of(some), screening.of(some), broken, Losses.of(rows)
            parts.append(self._decided(name, rows, Case(*known_of, self._threshold(name)), bins.below_zero[some]))
        return pa.concat_tables(parts)

    def _decided(self, name: str, features: pa.Table, case: Case, below_zero: NDArray[np.bool_]) -> pa.Table:
        """Columns of verdicts on some bins of one instrument, of which all that is known is the case.

        ``below_zero``: see ``notes``.
        """
        known = self.instruments.get(name)
        which = case.worth_a_look()
        look = Evidence.nothing if known is None else known.evidence
        evidence = look(case.deviations, case.screening, which)
        decision = decide(case, which, evidence, self.metadata)
        findings = describe(
            Reported(
                self.metadata,
                evidence,
                decision.causes,
                case.broken.at(which),
                case.deviations.changed[which],
                case.deviations.moved[which],
            )
        )
        said = notes(name, known is not None, features, case, decision, below_zero)
        return _columns(case, decision, findings, said)

    def _threshold(self, name: str) -> float:
        return self.thresholds.get(name, self.card.threshold)

    def _with_header(self, known: InstrumentModel | None, bins: BinTable) -> bool:
        """Whether most bins of an instrument, and three at least, have a header: in training, or among these."""
        stated = np.array([bool(each) for each in bins.configuration.names], dtype=bool)[bins.configuration.codes]
        in_training = known is not None and known.baseline.mostly_with_header
        return in_training or bool(stated.sum() >= _FEW_BINS and 2 * stated.sum() > len(bins))

    def _with_counters(self, known: InstrumentModel | None, bins: BinTable) -> bool:
        """Whether blind time is counted in most bins of an instrument: among these, or in training if they are few."""
        column = self._column("dead_time_s")
        if column is None:
            return False
        counted = np.isfinite(bins.values[bins.full, column])
        if len(counted) >= _FEW_BINS:
            return bool(2 * counted.sum() > len(counted))
        return known is not None and bool(np.isfinite(known.baseline.centre[:, column]).any())

    def _column(self, feature: str) -> int | None:
        return next((i for i, one in enumerate(self.metadata) if one.name == feature), None)

    def _with_signals(self, known: InstrumentModel | None, bins: BinTable) -> bool:
        """Whether most bins of an instrument have live signals: in training, or among these."""
        column = self._column("dead_signal_fraction")
        if column is None:
            return False
        usual = known.baseline.centre[:, column] if known else bins.values[:, column]
        return len(usual) > 0 and bool(np.median(np.nan_to_num(usual, nan=np.pi)) < np.pi / 2.0)

    def _needed(self, features: pa.Table) -> list[str]:
        """The columns of ``features`` that are needed. Raises ModelError where some are missing."""
        own = [feature.name for feature in self.metadata if feature not in LAG_FEATURES]
        missing = [name for name in (*_NEEDED, *own) if name not in features.column_names]
        if missing:
            raise ModelError(
                f"model {self.card.model_id} needs features that the table does not have: {', '.join(missing)}; "
                "compute the features again, or train a new model"
            )
        return [name for name in dict.fromkeys((*_NEEDED, *_USED, *own)) if name in features.column_names]

    def _history(self, features: pa.Table, history: pa.Table | None) -> pa.Table:
        """The bins of the days before that tell the local baseline of these."""
        names = self._needed(features)
        if history is None:
            return features.select(names).slice(0, 0)
        names = [name for name in names if name not in _USED or name in history.column_names]
        # A day that is judged again is not its own history.
        new = ~np.isin(history["pid"].to_numpy(), features["pid"].to_numpy())
        return history.select(names).filter(pa.array(new))

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


def _with_history(features: pa.Table, history: pa.Table) -> tuple[pa.Table, list[NDArray[np.int64] | slice]]:
    """Bins of one instrument and those of its history in the order of time, and where the former are.

    The latter in parts of _BINS_TOGETHER.
    """
    firsts = range(0, max(features.num_rows, 1), _BINS_TOGETHER)
    if not history.num_rows:
        return features, [slice(first, first + _BINS_TOGETHER) for first in firsts]
    both = pa.concat_tables([history, features.select(history.column_names)])
    order = np.argsort(times(both), kind="stable")
    own = np.flatnonzero(order >= history.num_rows)
    return taken(both, order), [own[first : first + _BINS_TOGETHER] for first in firsts]


_Part = TypeVar("_Part")


def _each(judge: Callable[[str], _Part], names: Sequence[str], n_bins: int) -> list[_Part]:
    """``judge`` of each name; in threads where there are bins enough that these pay."""
    if len(names) < 2 or n_bins < _THREADS_FROM:
        # Threads cost more than a small table does, and their library takes time to load.
        return [judge(name) for name in names]
    from joblib import Parallel, delayed

    found: Any = Parallel(-1, backend="threading")(delayed(judge)(name) for name in names)
    return found
