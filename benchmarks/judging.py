"""The flow model over a table as large as an archive's: verdicts with causes and reasons, and the reasons alone.

The rows are those of a small simulated archive, over and over with a little noise, at times that span decades.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from benchmarks.memory import peak_mb
from benchmarks.table import Row
from ifcb_flow_pipeline.api import archive_features
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.detection.flow.model import FlowModel
from ifcb_flow_pipeline.detection.flow.training import TrainingSettings, train_flow_model
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import write_archive
from ifcb_flow_pipeline.simulate.bins import KNOWN_INSTRUMENTS
from ifcb_flow_pipeline.simulate.plan import ArchivePlan, Episode
from ifcb_flow_pipeline.store.archive import Archive

_FIRST_DAY, _BINS_PER_DAY = date(2003, 8, 1), 24

#: Time from one bin to the next in the large table.
_CADENCE = timedelta(minutes=24)

#: Noise of each feature, in standard deviations of its instrument's bins.
_NOISE = 0.1

#: Bins from one service of an instrument to the next, and how long one takes.
_SERVICE_BINS, _SERVICE = 1800, timedelta(hours=10)

#: Bins of which each gets its reasons.
_EXPLAINED = 10_000


def measure(folder: Path, n_rows: int, n_days: int, mean_triggers: int) -> list[Row]:
    """Verdicts on ``n_rows`` rows by a model of ``n_days`` days of two instruments, and reasons for some of them."""
    features = _archive(folder, n_days, mean_triggers)
    created = datetime(2003, 9, 1, tzinfo=UTC)
    model = train_flow_model(features, TrainingSettings(), {}, created, {})
    rows = _repeated(features, n_rows)
    before = peak_mb()
    judged, verdicts = _timed(model, rows)
    grown = peak_mb() - before
    with_reasons = 1.0 - float(np.mean(verdicts["verdict"].to_numpy() == "ok"))
    some = rows.slice(0, _EXPLAINED)
    # From a severity of 0 on, each bin gets its reasons.
    talkative = replace(model, thresholds=dict.fromkeys(model.instruments, 0.0))
    explained, _ = _timed(talkative, some)
    plain, _ = _timed(model, some)
    what = f"{with_reasons:.0%} with reasons; {grown:.0f} MB more"
    return [
        Row(f"judge and explain {n_rows} rows, flow model", judged, None, None, what),
        Row(f"explain {some.num_rows} bins, flow model", explained, None, None, f"{plain:.2f} s of it the verdicts"),
    ]


def _timed(model: FlowModel, rows: pa.Table) -> tuple[float, pa.Table]:
    started = time.perf_counter()
    verdicts = model.judge(rows)
    return time.perf_counter() - started, verdicts


def _archive(folder: Path, n_days: int, mean_triggers: int) -> pa.Table:
    """Features of a simulated archive in which some bins are faulty."""
    instruments = tuple(profile for profile in KNOWN_INSTRUMENTS if profile.name in ("IFCB134", "IFCB124"))
    episodes = tuple(
        Episode(fault, profile.name, day=1, hour=hour, n_bins=2)
        for profile in instruments
        for fault, hour in (("air", 2), ("clog", 8), ("laser_misalignment", 14), ("incomplete_run", 20))
    )
    plan = ArchivePlan(instruments, _FIRST_DAY, n_days, _BINS_PER_DAY, mean_triggers, episodes=episodes)
    write_archive(plan, folder)
    return archive_features(Archive(folder, settle=timedelta()), None, FeatureSettings())


def _repeated(features: pa.Table, n_rows: int) -> pa.Table:
    """So many rows, instrument by instrument and in order of time; without the texts of the headers."""
    rng = np.random.default_rng(0)
    instruments = sorted(set(features["instrument"].to_pylist()))
    parts = []
    for number, name in enumerate(instruments):
        own = features.drop_columns(["settings"]).filter(pc.field("instrument") == name)
        n = n_rows // len(instruments) + (number < n_rows % len(instruments))
        parts.append(_of_instrument(own, np.arange(n) % own.num_rows, rng))
    return pa.concat_tables(parts)


def _of_instrument(own: pa.Table, chosen: NDArray[np.int64], rng: np.random.Generator) -> pa.Table:
    start = datetime(_FIRST_DAY.year, _FIRST_DAY.month, _FIRST_DAY.day, tzinfo=UTC)
    starts = [start + i * _CADENCE + i // _SERVICE_BINS * _SERVICE for i in range(len(chosen))]
    name = own["instrument"][0].as_py()
    columns: dict[str, pa.Array | pa.ChunkedArray | Sequence[str]] = {
        "pid": [format_pid(name, each) for each in starts],
        "start_time": pa.array(starts, pa.timestamp("us", tz="UTC")),
    }
    for column in own.schema:
        if pa.types.is_floating(column.type):
            values = own[column.name].to_numpy()
            low, high = np.nanquantile(values, (0.25, 0.75)) if np.isfinite(values).any() else (0.0, 0.0)
            noise = _NOISE * (high - low) / 1.35 * rng.standard_normal(len(chosen))
            columns[column.name] = pa.array(values[chosen] + noise)
        elif column.name not in columns:
            columns[column.name] = own[column.name].take(pa.array(chosen))
    return pa.table({column: columns[column] for column in own.column_names})
