"""The Python interface: features, training and scoring of a directory of bins, without Dagster.

``FeatureExtractor``, ``ModelTrainer`` and ``Inferencer`` are used as in ifcb-flow-metric, whose other functions and
constants are in ``compat``; the functions beneath give whole tables, and the command line is built on them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

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
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS, FeatureSettings, Triggers, extract_features
from ifcb_flow_pipeline.features.measures import EDGE_TOLERANCE_PX
from ifcb_flow_pipeline.features.selection import SelectionError, select_features
from ifcb_flow_pipeline.many_bins import feature_table, reference_table
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.labels import Decisions
from ifcb_flow_pipeline.store.left_out import row_of
from ifcb_flow_pipeline.store.models import read_model, write_model

_Stated = TypeVar("_Stated")

#: An identifier and the path of its .adc file, None where it was not found.
Pair = tuple[str, "str | Path | None"]

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
    return _features_of(archive, _wanted(archive, pids), settings, work, feature_set)


def _features_of(
    archive: Archive,
    wanted: Sequence[Mapping[str, Any]],
    settings: FeatureSettings,
    work: Work,
    feature_set: FeatureSet,
) -> pa.Table:
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

    ``feature_config``: which features, as YAML text or mapping of families (None: all); ``edge_tolerance``: as in
    ifcb-flow-metric, but for EDGE_TOLERANCE_PX px alone, since models do not record any other; ``triggers``:
    ``images``, or ``all`` for what ifcb-flow-metric did before its version 1.1.0. Raises ValueError or SelectionError
    for settings without meaning.
    """

    def __init__(
        self,
        aspect_ratio: float = DEFAULT_ASPECT_RATIO,
        edge_tolerance: int = EDGE_TOLERANCE_PX,
        feature_config: str | Mapping[str, Any] | None = None,
        triggers: Triggers = "images",
    ) -> None:
        if edge_tolerance != EDGE_TOLERANCE_PX:
            raise ValueError(
                f"edge_tolerance must be {EDGE_TOLERANCE_PX} px, as models have it, not {edge_tolerance!r}"
            )
        self.settings = FeatureSettings(triggers, aspect_ratio)
        self.feature_names = select_features(feature_config)
        self.aspect_ratio, self.edge_tolerance = aspect_ratio, edge_tolerance
        self.enabled_features = {name: name in self.feature_names for name in FEATURE_NAMES}

    def get_enabled_feature_names(self) -> list[str]:
        """The features that are computed, in the order of their columns."""
        return list(self.feature_names)

    def load_extract_parallel(
        self,
        pids: Sequence[str] | Sequence[Pair] | None,
        data_dir: str | Path | None = None,
        chunk_size: int = DEFAULT_CHUNK_SIZE,
        n_jobs: int = -1,
    ) -> list[dict[str, Any]]:
        """One mapping per bin of a directory (``pids`` None: all), in the order asked for: ``pid``, ``features``
        (shape (names,), None without features), ``feature_names``, ``settings``, ``status``, ``reason``, and ``error``
        (the reason once more where there are no features, else None).

        Without ``data_dir``, ``pids`` are pairs of an identifier and the path of its .adc file (None: not found), as
        ``compat.get_pid_pairs`` gives them; these are read for the features of the reference set only. What cannot be
        found or read says so in ``status`` and ``reason``. Raises ArchiveError where the directory cannot be listed,
        ValueError where there is neither a directory nor a list of pairs.
        """
        feature_set = "reference" if set(self.feature_names) <= set(FEATURE_NAMES) else "full"
        work = Work(n_jobs, chunk_size)
        if data_dir is None:
            table = _features_of(Archive(Path("/")), _rows_of_pairs(pids), self.settings, work, feature_set)
        else:
            # Who names a directory wants what is there now: nothing is waited for.
            archive = Archive(Path(data_dir), settle=timedelta())
            table = archive_features(archive, cast("Sequence[str] | None", pids), self.settings, work, feature_set)
        matrix = np.column_stack([table.column(name).to_numpy() for name in self.feature_names])
        outcome = table.select(["pid", "status", "reason"]).to_pylist()
        return [self._result(row, values) for row, values in zip(outcome, matrix, strict=True)]

    def load_extract(
        self, pids: Sequence[str] | Sequence[Pair] | None, data_dir: str | Path | None = None
    ) -> list[dict[str, Any]]:
        """The same, one bin after the other in this thread."""
        return self.load_extract_parallel(pids, data_dir, n_jobs=1)

    def extract_features(self, loaded: Mapping[str, Any]) -> dict[str, Any]:
        """The features of a point cloud that is loaded already: the same mapping as for a bin of a directory.

        ``loaded``: what ``compat.get_points`` gives; ``pid``, ``points`` of shape (n, 2) in px, None with an ``error``
        where there are none, and ``n_total``, the number of ADC lines (without it, all have an image). Reference
        features only. Raises SelectionError where others are selected.
        """
        if missing := [name for name in self.feature_names if name not in FEATURE_NAMES]:
            raise SelectionError(f"{', '.join(missing)}: these features need the files, not their points alone")
        pid, points = loaded["pid"], loaded["points"]
        if points is None:
            reason = loaded.get("error") or "point cloud not loaded"
            return self._result({"pid": pid, "status": "unreadable", "reason": reason}, np.empty(0))
        points = np.asarray(points, float).reshape(-1, 2)
        columns = np.zeros((4, max(len(points), loaded.get("n_total") or 0)))
        columns[:, : len(points)] = [*points.T, *np.ones((2, len(points)))]
        found = extract_features(
            dict(zip(BOX_COLUMNS, columns, strict=True)), FeatureSettings("images", self.aspect_ratio)
        )
        values = found.values[[FEATURE_NAMES.index(name) for name in self.feature_names]]
        return self._result({"pid": pid, "status": found.status, "reason": found.reason}, values)

    def _result(self, row: Mapping[str, Any], values: NDArray[np.float64]) -> dict[str, Any]:
        has_features = row["status"] == "ok"
        # Each row says how it was made, so that any part of the list can be used.
        return {
            "pid": row["pid"],
            "features": values if has_features else None,
            "feature_names": self.feature_names,
            "settings": self.settings,
            **row,
            "error": None if has_features else row["reason"],
        }


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

    def save_model(self, classifier: Model | InstrumentForests) -> None:
        """Write a model to ``filepath``, which training has done already."""
        write_model(self.filepath, classifier)

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

    def score_distributions(self, features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """``pid`` and ``anomaly_score`` (lower is more anomalous) of each bin, as ifcb-flow-metric gives them: those
        without features, whose score is NaN, come last.
        """
        scored = self.score(features)
        given = [row for row, bin_ in zip(scored, features, strict=True) if bin_["features"] is not None]
        none = [row for row, bin_ in zip(scored, features, strict=True) if bin_["features"] is None]
        return [{name: row[name] for name in ("pid", "anomaly_score")} for row in (*given, *none)]


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


def adc_paths(data_dir: str | Path, pids: Sequence[str] | None) -> list[Pair]:
    """The .adc file of each bin of a directory, or of those asked for: None where a bin is not there, or has none.

    Raises ArchiveError where the directory cannot be listed.
    """
    archive = Archive(Path(data_dir), settle=timedelta())
    rows = _wanted(archive, pids)
    return [(row["pid"], archive.path(row["adc_path"]) if row.get("adc_path") else None) for row in rows]


def _rows_of_pairs(pairs: Sequence[str] | Sequence[Pair] | None) -> list[dict[str, Any]]:
    """Rows of an inventory for files that are named one by one."""
    if pairs is None or any(isinstance(pair, str) for pair in pairs):
        raise ValueError("name the directory of these bins, or give pairs of an identifier and its .adc file")
    archive = Archive(Path("/"))
    rows = []
    for pid, path in cast("Sequence[Pair]", pairs):
        row = _not_found(pid, archive) | {"schema": None, "adc_path": None, "hdr_path": None}
        if path is None:
            row["reason"] = f"no .adc file found for {pid}" if row["start_time"] else row["reason"]
        elif row["start_time"]:
            row |= {
                "schema": parse_pid(pid).schema,
                "adc_path": str(Path(path).absolute()),
                "status": "ok",
                "reason": "",
            }
        rows.append(row)
    return rows


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
