"""The Python interface: features, training and scoring of a directory of bins, without Dagster.

``FeatureExtractor``, ``ModelTrainer`` and ``Inferencer`` are used as in ifcb-flow-metric; the functions
beneath give whole tables, and the command line is built on them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import pyarrow as pa

from ifcb_flow_pipeline.bins.left_out import misnamed
from ifcb_flow_pipeline.bins.pid import InvalidPidError, parse_pid
from ifcb_flow_pipeline.days import (
    HISTORY_DAYS,
    TrainingWindow,
    check_enough,
    inventory_row,
    library_versions,
    training_set,
    without_context,
)
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model
from ifcb_flow_pipeline.detection.model_card import ForestSettings, ModelCard, ModelError, parse_amount
from ifcb_flow_pipeline.detection.open_model import (
    AnyModel,
    Detector,
    ForestChoice,
    detector_and_features,
    train_forest,
)
from ifcb_flow_pipeline.detection.reference.model import Model, TrainingSet
from ifcb_flow_pipeline.detection.trial.instrument_forests import InstrumentForests
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, FeatureSet
from ifcb_flow_pipeline.features.cloud import DEFAULT_ASPECT_RATIO
from ifcb_flow_pipeline.features.extract import FeatureSettings, Triggers
from ifcb_flow_pipeline.features.selection import select_features
from ifcb_flow_pipeline.many_bins import feature_table, reference_table
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.left_out import row_of
from ifcb_flow_pipeline.store.models import read_model, write_model

_Stated = TypeVar("_Stated")

DEFAULT_CHUNK_SIZE = 100
_TASKS_PER_THREAD, _LEAST_PER_TASK = 8, 16
DEFAULT_MODEL = "model.npz"


@dataclass(frozen=True, slots=True)
class Work:
    """How the work is divided: threads (-1: one per core), bins per task at most, and who is told of finished bins."""

    n_jobs: int = -1
    chunk_size: int = DEFAULT_CHUNK_SIZE
    progress: Callable[[int], object] = lambda _: None

    def task_size(self, n_bins: int) -> int:
        """Bins per task: where there are few, small enough that no thread is left with a long last task."""
        if n_bins <= _LEAST_PER_TASK:
            return min(self.chunk_size, _LEAST_PER_TASK)
        from joblib import effective_n_jobs

        return min(self.chunk_size, max(_LEAST_PER_TASK, n_bins // (_TASKS_PER_THREAD * effective_n_jobs(self.n_jobs))))


def archive_features(
    archive: Archive,
    pids: Sequence[str] | None,
    settings: FeatureSettings,
    work: Work | None = None,
    feature_set: FeatureSet = "full",
) -> pa.Table:
    """Rows of ``bin_features`` for the bins of a directory: all, in order of time, then misnamed files, or those asked
    for, in the order asked for. What cannot be read or found is a row with its status and reason. With the feature set
    ``reference`` in about half of the time, with the columns of that set only.

    Raises ArchiveError where the directory cannot be listed, ValueError for a chunk size below one.
    """
    work = work or Work()
    if work.chunk_size < 1:
        raise ValueError(f"the chunk size must be at least 1, not {work.chunk_size}")
    wanted = _wanted(archive, pids)
    size = work.task_size(len(wanted))
    chunks = [wanted[i : i + size] for i in range(0, len(wanted), size)]
    table_of = reference_table if feature_set == "reference" else feature_table
    tables = []
    for table in _each(lambda chunk: table_of(archive, chunk, settings), chunks or [[]], work.n_jobs):
        tables.append(table)
        work.progress(table.num_rows)
    return pa.concat_tables(tables)


def _each(
    function: Callable[[Sequence[Mapping[str, Any]]], pa.Table],
    chunks: Sequence[Sequence[Mapping[str, Any]]],
    n_jobs: int,
) -> Iterable[pa.Table]:
    """The function of each chunk, in order, in threads where there is work for several."""
    if len(chunks) <= 1 or n_jobs == 1:
        return map(function, chunks)
    # Takes a tenth of a second to load, which a single bin is not to wait for.
    from joblib import Parallel, delayed

    # Threads share the result without copying it between processes, and need no second start of Python.
    parallel = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    return cast("Iterable[pa.Table]", parallel(delayed(function)(chunk) for chunk in chunks))


def bins_before(archive: Archive, pids: Sequence[str]) -> list[str]:
    """The bins of the same instruments on the day of each of these bins and in the HISTORY_DAYS before, but for
    these bins: what tells what is usual at the time. In order of time.
    """
    days: dict[str, set[date]] = {}
    for pid in pids:
        try:
            bin_id = parse_pid(pid)
        except InvalidPidError:
            continue
        days.setdefault(bin_id.instrument, set()).update(
            bin_id.day - timedelta(days=back) for back in range(HISTORY_DAYS + 1)
        )
    asked = set(pids)
    wanted = set().union(*days.values())
    bin_ids = [raw.bin_id for raw in archive.scan_days(wanted).bins] if wanted else []
    return [b.pid for b in bin_ids if b.day in days.get(b.instrument, ()) and b.pid not in asked]


def train_on(
    features: pa.Table,
    settings: FeatureSettings,
    labels: Decisions | None = None,
    forest: ForestChoice | None = None,
) -> AnyModel:
    """Train a model on rows of ``bin_features`` made with these settings.

    ``labels``: what people decided about bins. ``forest``: which forests to grow; None: the flow model. Raises
    ModelError, naming the remedy, where it cannot.
    """
    labels = labels or Decisions()
    features = without_context(features, labels)
    check_enough(features, TrainingWindow())
    created, versions = datetime.now(tz=UTC), library_versions()
    if forest is None:
        return train_flow_model(features, TrainingSettings(settings), labels, created, versions)
    training = training_set(features, TrainingWindow(), forest.feature_names, settings, labels)
    return train_forest(training, forest, created, versions)


class FeatureExtractor:
    """Computes the features of bins in a directory.

    ``feature_config``: which features, as YAML text or mapping of families (None: all);
    ``triggers``: ``images``, or ``all`` for what ifcb-flow-metric did before its version 1.1.0.
    """

    def __init__(
        self,
        aspect_ratio: float = DEFAULT_ASPECT_RATIO,
        feature_config: str | Mapping[str, Any] | None = None,
        triggers: Triggers = "images",
    ) -> None:
        self.settings = FeatureSettings(triggers, aspect_ratio)
        self.feature_names = select_features(feature_config)

    def load_extract_parallel(
        self,
        pids: Sequence[str] | None,
        data_dir: str | Path,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        n_jobs: int = -1,
    ) -> list[dict[str, Any]]:
        """One mapping per bin of a directory (``pids`` None: all), in the order asked for: ``pid``, ``features``
        (shape (names,), None without features), ``feature_names``, ``settings``, ``status``, ``reason``.

        What cannot be found or read says so in ``status`` and ``reason``. Raises ArchiveError where the
        directory cannot be listed.
        """
        # Who names a directory wants what is there now: nothing is waited for.
        archive = Archive(Path(data_dir), settle=timedelta())
        feature_set = "reference" if set(self.feature_names) <= set(FEATURE_NAMES) else "full"
        table = archive_features(archive, pids, self.settings, Work(n_jobs, chunk_size), feature_set)
        matrix = np.column_stack([table.column(name).to_numpy() for name in self.feature_names])
        outcome = table.select(["pid", "status", "reason"]).to_pylist()
        # Each row says how it was made, so that any part of the list can be used.
        made_of = {"feature_names": self.feature_names, "settings": self.settings}
        return [
            {"pid": row["pid"], "features": values if row["status"] == "ok" else None, **made_of, **row}
            for row, values in zip(outcome, matrix, strict=True)
        ]


class ModelTrainer:
    """Trains a model and writes it to ``filepath``.

    ``detector``: ``forest``, as in ifcb-flow-metric, or ``mcif``, ``mcif-calibrated`` or ``latent``, a forest for each
    instrument. ``contamination``, ``max_samples``, ``max_features``: see ForestSettings. ``n_jobs`` is accepted as in
    ifcb-flow-metric; growing a forest takes less than a second.
    """

    def __init__(
        self,
        filepath: str | Path = DEFAULT_MODEL,
        contamination: float = ForestSettings().contamination,
        n_jobs: int = -1,
        max_samples: int | float | str = "auto",
        max_features: float = 1.0,
        detector: Detector = "forest",
    ) -> None:
        self.filepath = Path(filepath)
        self.detector: Detector = detector_and_features(detector, "")[0]
        self.n_jobs = n_jobs
        amount: int | float | Literal["auto"] = parse_amount(str(max_samples))
        self.forest_settings = ForestSettings(contamination, max_samples=amount, max_features=max_features)

    def train_classifier(
        self, features: Sequence[Mapping[str, Any]], feature_names: Sequence[str] | None = None
    ) -> Model | InstrumentForests:
        """Train on the bins that have features, write the model to ``filepath``, and return it.

        ``features``: what ``load_extract_parallel`` gave, or part of it; a bin given twice is trained on once.
        ``feature_names`` is needed only for mappings of ``pid`` and ``features`` alone, where these are fewer
        than there are. Raises ModelError, naming the remedy, where it cannot.
        """
        training = _training_set(features, feature_names)
        choice = ForestChoice(self.detector, training.feature_names, self.forest_settings)
        model = train_forest(training, choice, datetime.now(tz=UTC), library_versions())
        write_model(self.filepath, model)
        return model

    def load_model(self) -> Model | InstrumentForests:
        """The model in ``filepath``. Raises ModelError, naming the remedy, where there is none of these features."""
        return _forest(read_model(self.filepath))


class Inferencer:
    """Scores features with a model, given as such or by the path of its file."""

    def __init__(self, model: AnyModel | None = None, model_path: str | Path | None = None) -> None:
        if (model is None) == (model_path is None):
            raise ModelError("give either a model or a model_path")
        self.model = _forest(model if model is not None else read_model(Path(model_path or "")))

    @property
    def card(self) -> ModelCard:
        """What the model is."""
        return self.model.card

    def score(
        self, features: Sequence[Mapping[str, Any]], feature_names: Sequence[str] | None = None
    ) -> list[dict[str, Any]]:
        """One mapping per bin, in the order given: ``pid``, ``anomaly_score`` (lower is more anomalous),
        ``percentile``, ``is_anomaly``, ``status``, ``reason``; NaN where a bin has no features, or its instrument no
        forest in a model that has one for each.

        ``features``, ``feature_names``: see ``train_classifier``. Raises ModelError where the features are
        not those of the model.
        """
        names = self.model.card.feature_names
        self.model.check_usable(_settings(features, self.model.card.feature_settings))
        given = _names(features, feature_names)
        missing = [name for name in names if name not in given]
        if missing:
            raise ModelError(f"the model needs {', '.join(missing)}; extract these features too")
        columns = [given.index(name) for name in names]
        blank = np.full(len(given), np.nan)
        rows = [blank if row["features"] is None else np.asarray(row["features"], float) for row in features]
        matrix = np.array(rows).reshape(len(rows), len(given))[:, columns]
        if isinstance(self.model, Model):
            scores = self.model.score(matrix)
        else:
            scores = self.model.score(matrix, [_instrument(row) for row in features])
        return [
            {
                "pid": row["pid"],
                "anomaly_score": float(scores.anomaly_score[i]),
                "percentile": float(scores.percentile[i]),
                "is_anomaly": bool(scores.is_anomaly[i]),
                "status": row.get("status", "ok"),
                "reason": row.get("reason", ""),
            }
            for i, row in enumerate(features)
        ]


def _forest(model: AnyModel) -> Model | InstrumentForests:
    if isinstance(model, Model | InstrumentForests):
        return model
    raise ModelError(
        f"{model.card.model_id} judges by the feature set {model.card.feature_set}, which these classes do not make: "
        "score with 'ifcb-flow score', or train a model of the set reference"
    )


def _instrument(row: Mapping[str, Any]) -> str:
    # What is no identifier has no features either.
    return "" if row["features"] is None else parse_pid(row["pid"]).instrument


def _wanted(archive: Archive, pids: Sequence[str] | None) -> list[dict[str, Any]]:
    now = archive.now()
    if pids is None:
        listing = archive.scan()
        return [
            *(inventory_row(raw, archive, now) for raw in listing.bins),
            *({"hdr_path": None, **row_of(one)} for one in misnamed(listing.strays)),
        ]
    days = {day for pid in pids if (day := _day_of(pid))}
    found = {raw.bin_id.pid: raw for raw in (archive.scan_days(days).bins if days else ())}
    if any(_day_of(pid) and pid.upper() not in found for pid in pids):
        # What is not where its date says is looked for everywhere: it may lie in a directory of another date.
        found = {raw.bin_id.pid: raw for raw in archive.scan().bins}
    known = (found.get(pid.upper()) for pid in pids)
    return [
        inventory_row(raw, archive, now) if raw else _not_found(pid, archive)
        for pid, raw in zip(pids, known, strict=True)
    ]


def _day_of(pid: str) -> date | None:
    try:
        return parse_pid(pid.upper()).day
    except InvalidPidError:
        return None


def _not_found(pid: str, archive: Archive) -> dict[str, Any]:
    row = {"pid": pid, "status": "not_found", "reason": f"no such bin in {archive.root}"}
    try:
        bin_id = parse_pid(pid)
    except InvalidPidError as error:
        return row | {"instrument": None, "start_time": None, "reason": str(error)}
    return row | {"instrument": bin_id.instrument, "start_time": bin_id.start_time}


def _names(features: Sequence[Mapping[str, Any]], names: Sequence[str] | None) -> tuple[str, ...]:
    """Which features these are, in the order of their columns: as the rows or ``names`` say, else all."""
    stated = {row["feature_names"] for row in features if "feature_names" in row}
    if names is not None:
        stated.add(tuple(names))
    found = _only(stated, FEATURE_NAMES)
    lengths = sorted({len(row["features"]) for row in features if row["features"] is not None})
    if not stated and lengths not in ([], [len(found)]):
        raise ModelError(f"features of lengths {lengths}: say which they are with feature_names")
    for length in lengths:
        if length != len(found):
            raise ModelError(f"bins with {length} features, but {len(found)} names: give as many names as features")
    return found


def _settings(features: Sequence[Mapping[str, Any]], default: FeatureSettings) -> FeatureSettings:
    return _only({row["settings"] for row in features if "settings" in row}, default)


def _only(stated: set[_Stated], default: _Stated) -> _Stated:
    if len(stated) > 1:
        raise ModelError(
            "the features were made in different ways, or are not those of feature_names: "
            "make all of them with one FeatureExtractor"
        )
    return next(iter(stated), default)


def _training_set(features: Sequence[Mapping[str, Any]], feature_names: Sequence[str] | None) -> TrainingSet:
    names, settings = _names(features, feature_names), _settings(features, FeatureSettings())
    rows = {row["pid"]: row for row in features}
    usable = sorted((row for row in rows.values() if row["features"] is not None), key=lambda row: row["pid"])
    excluded: dict[str, list[str]] = {}
    for row in rows.values():
        if row["features"] is None:
            excluded.setdefault(row.get("status", "no features"), []).append(row["pid"])
    ids = [parse_pid(row["pid"]) for row in usable]
    return TrainingSet(
        pids=[row["pid"] for row in usable],
        instruments=[bin_id.instrument for bin_id in ids],
        days=[bin_id.day for bin_id in ids],
        matrix=np.array([row["features"] for row in usable], dtype=np.float64).reshape(len(usable), len(names)),
        feature_names=names,
        feature_settings=settings,
        excluded=excluded,
    )
