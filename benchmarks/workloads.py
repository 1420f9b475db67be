"""The workloads. Each measures ours, a baseline and a limit where there are such, and checks that results agree."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest

from benchmarks import archives, baseline
from benchmarks.memory import peak_mb
from benchmarks.table import Row
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.api import Work, archive_features
from ifcb_flow_pipeline.days import TrainingWindow, library_versions, training_set
from ifcb_flow_pipeline.detection.forest import Forest
from ifcb_flow_pipeline.detection.model import ForestSettings, train_model
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore

REPEATS = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; the small one only shows that everything runs."""

    bins: int = 300
    mean_triggers: int = 3500
    scored_rows: int = 1_000_000
    bins_of_a_day: int = 200
    days: int = 60
    bins_per_day: int = 48
    longer: int = 10
    sensed_bins: int = 1_000_000


SMALL = Size(bins=6, mean_triggers=200, scored_rows=2000, bins_of_a_day=6, days=2, bins_per_day=6, longer=2,
             sensed_bins=7300)  # fmt: skip


def extraction(folder: Path, size: Size) -> list[Row]:
    """ADC files to features, on one core and on two; and from stored clouds."""
    paths = archives.flat_archive(folder / "flat", size.bins, size.mean_triggers)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    archive, settings = Archive(folder / "flat", settle=timedelta()), FeatureSettings()
    reading = _seconds(lambda: [path.read_bytes() for path in paths])
    one = _seconds(lambda: archive_features(archive, None, settings, Work(n_jobs=1)))
    two = _seconds(lambda: archive_features(archive, None, settings, Work(n_jobs=2, chunk_size=10)))
    theirs = _seconds(lambda: [baseline.features(path) for path in paths], repeats=1)
    theirs_two = _seconds(lambda: baseline.features_in_processes(paths, 2), repeats=1)
    ours = archive_features(archive, None, settings, Work(n_jobs=1))
    values = np.column_stack([ours.column(name).to_numpy() for name in FEATURE_NAMES])
    np.testing.assert_allclose(values, [baseline.features(path) for path in paths], rtol=1e-9)

    what = f"{size.bins} bins, {megabytes:.0f} MB"
    stored = _stored_clouds(folder, archive, settings)
    return [
        Row("ADC files to features, 1 core", one, theirs, reading, f"{what}; {one / reading:.1f} x reading"),
        Row("ADC files to features, 2 cores", two, theirs_two, reading, f"{one / two:.2f} x one core"),
        Row("stored clouds to features, 1 core", stored, theirs, None, f"{size.bins / stored:.0f} bins/s"),
    ]


def _stored_clouds(folder: Path, archive: Archive, settings: FeatureSettings) -> float:
    tables = DailyTables(folder / "tables")
    listing = archive.scan()
    for day in listing.days:
        days.write_inventory(tables, archive, listing, day)
        days.write_clouds(tables, archive, day)

    def features() -> None:
        for day in listing.days:
            days.write_features(tables, settings, day)

    return _seconds(features)


def one_cloud(folder: Path, size: Size) -> list[Row]:
    """One bin's cloud out of a day."""
    paths = archives.flat_archive(folder / "one", min(20, size.bins_of_a_day), size.mean_triggers)
    archive = Archive(folder / "one", settle=timedelta())
    day = archives.FIRST_DAY
    read = archive.read_bin(paths[0].stem, paths[0].name, None)
    bins = [type(read)(f"{i:03}", read.adc, "ok", "", {}) for i in range(size.bins_of_a_day)]
    clouds = CloudTables(DailyTables(folder / "one-tables"))
    clouds.write(day, bins, Provenance("benchmark"))
    middle = f"{size.bins_of_a_day // 2:03}"
    seconds = _seconds(lambda: clouds.read_one(day, middle, days.CLOUD_COLUMNS), repeats=20)
    whole = _seconds(lambda: list(clouds.read_all(day, days.CLOUD_COLUMNS)))
    return [Row(f"one cloud out of {size.bins_of_a_day}", seconds, whole, None, "baseline: reading the day")]


def scoring(size: Size) -> list[Row]:
    """Feature rows to scores, beside scikit-learn's."""
    rng = np.random.default_rng(0)
    fitted = IsolationForest(random_state=42).fit(rng.normal(size=(2000, len(FEATURE_NAMES))))
    rows = rng.normal(size=(size.scored_rows, len(FEATURE_NAMES)))
    forest = Forest.from_sklearn(fitted)
    before = peak_mb()
    ours = _seconds(lambda: forest.score_samples(rows), repeats=1)
    grown = peak_mb() - before
    theirs = _seconds(lambda: fitted.score_samples(rows), repeats=1)
    np.testing.assert_allclose(forest.score_samples(rows[:1000]), fitted.score_samples(rows[:1000]), atol=1e-12)
    return [Row(f"score {size.scored_rows} rows", ours, theirs, None, f"{grown:.0f} MB more; baseline: scikit-learn")]


def range_runs(folder: Path, size: Size) -> list[Row]:
    """A Dagster run over a range of days, beside plain calls, and its memory over a longer range."""
    archives.daily_archive(folder / "archive", size.days * size.longer, size.bins_per_day, size.mean_triggers)
    home = folder / "home"
    _train(folder / "archive", home)
    plain = _run("plain", folder / "archive", home, size.days)
    dagster = _run("dagster", folder / "archive", home, size.days)
    longer = _run("dagster", folder / "archive", home, size.days * size.longer)
    what = f"{size.days} days of {size.bins_per_day} bins"
    times = f"{size.longer} times as long"
    return [
        Row(f"Dagster run, {what}", dagster["seconds"], plain["seconds"], None, f"peak {dagster['peak_mb']:.0f} MB"),
        Row(f"Dagster run, {times}", longer["seconds"], None, None, f"peak {longer['peak_mb']:.0f} MB"),
    ]


def _train(archive: Path, home: Path) -> None:
    pids = [path.stem for path in sorted(archive.rglob("*.adc"))[:60]]
    features = archive_features(Archive(archive, settle=timedelta()), pids, FeatureSettings())
    training = training_set(features, TrainingWindow(), FEATURE_NAMES, FeatureSettings())
    model = train_model(training, ForestSettings(), datetime.now(tz=UTC), library_versions())
    store = ModelStore(home / "models")
    store.save(model)
    store.promote(model.card.model_id, "benchmark")


def _run(how: str, archive: Path, home: Path, n_days: int) -> dict[str, Any]:
    environment = os.environ | {
        "IFCB_DATA_DIR": str(archive),
        "IFCB_FLOW_HOME": str(home / f"{how}-{n_days}"),
        "IFCB_SETTLE_SECONDS": "0",
    }
    (home / f"{how}-{n_days}").mkdir()
    (home / f"{how}-{n_days}" / "models").symlink_to(home / "models")
    command = [sys.executable, "-m", "benchmarks.range_run", how, archives.FIRST_DAY.isoformat(), str(n_days)]
    finished = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return json.loads(finished.stdout.splitlines()[-1])


def _seconds(function: Callable[[], object], repeats: int = REPEATS) -> float:
    times = []
    for _ in range(repeats):
        gc.collect()
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return float(np.median(times))
