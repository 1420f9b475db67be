"""The workloads. Each measures ours, a baseline and a limit where there are such, and checks that results agree."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest

from benchmarks import archives, baseline
from benchmarks.memory import peak_mb
from benchmarks.table import Row
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.api import Work, archive_features, train_on
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, FULL_FEATURE_NAMES, FeatureSet
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS, FeatureSettings
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

_Result = TypeVar("_Result")

REPEATS = 3

#: The model of the range runs learns from so many bins, where there are as many.
_TRAINING_BINS = 480

_SETTINGS = FeatureSettings()


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured; the small one only shows that everything runs."""

    bins: int = 900
    mean_triggers: int = 3500
    scored_rows: int = 1_000_000
    trained_rows: int = 525_600
    judged_days: int = 14
    bins_of_a_day: int = 200
    days: int = 60
    bins_per_day: int = 48
    longer: int = 10
    sensed_bins: int = 1_000_000
    sensed_days: int = 7300
    flat_bins: int = 60_000
    flat_days: int = 420
    listed_bins: tuple[int, ...] = (100, 1000, 10_000, 100_000, 1_000_000)


SMALL = Size(bins=6, mean_triggers=200, scored_rows=2000, trained_rows=600, judged_days=2, bins_of_a_day=6, days=2,
             bins_per_day=12, longer=2, sensed_bins=200, sensed_days=20, flat_bins=100, flat_days=10,
             listed_bins=(100, 1000))  # fmt: skip


def extraction(folder: Path, size: Size) -> list[Row]:
    """ADC files to features, on one core and on two; and from stored clouds."""
    paths = archives.flat_archive(folder / "flat", size.bins, size.mean_triggers)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    archive = Archive(folder / "flat", settle=timedelta())
    expected, theirs = _timed(lambda: [baseline.features(path) for path in paths])
    theirs_two = _seconds(lambda: baseline.features_in_processes(paths, 2), repeats=1)
    reading = _seconds(lambda: [path.read_bytes() for path in paths])

    def ours(feature_set: FeatureSet, n_jobs: int) -> tuple[pa.Table, float]:
        work = Work(n_jobs, chunk_size=25)
        return _timed(lambda: archive_features(archive, None, _SETTINGS, work, feature_set), REPEATS)

    found, one = ours("reference", 1)
    _check_equal(found, expected)
    _, two = ours("reference", 2)
    found, full = ours("full", 1)
    _check_equal(found, expected)
    _, full_two = ours("full", 2)
    what = f"{size.bins} bins, {megabytes:.0f} MB; {one / reading:.1f} x reading"
    n_full = len(FULL_FEATURE_NAMES)
    rows = [
        Row("ADC files to 27 features, 1 core", one, theirs, reading, what),
        Row("ADC files to 27 features, 2 cores", two, theirs_two, reading, f"{one / two:.2f} x one core"),
        Row(f"ADC files to all {n_full} features, 1 core", full, None, reading, f"{full / one:.1f} x as long as 27"),
        Row(
            f"ADC files to all {n_full} features, 2 cores", full_two, None, reading, f"{full / full_two:.2f} x one core"
        ),
    ]
    return rows + _stored_clouds(folder, archive, expected, theirs)


def _check_equal(found: pa.Table, expected: list[list[float]]) -> None:
    values = np.column_stack([found.column(name).to_numpy() for name in FEATURE_NAMES])
    np.testing.assert_allclose(values, expected, rtol=1e-9)


def _stored_clouds(folder: Path, archive: Archive, expected: list[list[float]], theirs: float) -> list[Row]:
    """From clouds that are on disk; the baseline reads the ADC files, as the replaced tool does every time."""
    tables = DailyTables(folder / "tables")
    listing = archive.scan()
    for day in listing.days:
        days.write_inventory(tables, archive, listing, day)
        days.write_clouds(tables, archive, day)
    clouds = CloudTables(tables)

    def features() -> list[dict[str, Any]]:
        return [
            days.reference_row(entry, columns, _SETTINGS)
            for day in listing.days
            for entry, columns in clouds.read_all(day, BOX_COLUMNS)
        ]

    def reading() -> None:
        for day in listing.days:
            pq.ParquetFile(tables.path(POINT_CLOUDS, day)).read(columns=list(BOX_COLUMNS), use_threads=False)

    def step() -> None:
        for day in listing.days:
            days.write_features(tables, _SETTINGS, day)

    found, reference = _timed(features, REPEATS)
    np.testing.assert_allclose([[row[name] for name in FEATURE_NAMES] for row in found], expected, rtol=1e-9)
    day_by_day = _seconds(step)
    n_bins, n_full = len(expected), len(FULL_FEATURE_NAMES)
    limit = _seconds(reading)
    return [
        Row("stored clouds to 27 features, 1 core", reference, theirs, limit, f"{n_bins / reference:.0f} bins/s"),
        Row(
            f"stored clouds to tables of {n_full}, 1 core",
            day_by_day,
            theirs,
            None,
            f"{n_bins / day_by_day:.0f} bins/s",
        ),
    ]


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
    pids = [path.stem for path in sorted(archive.rglob("*.adc"))[:_TRAINING_BINS]]
    features = archive_features(Archive(archive, settle=timedelta()), pids, _SETTINGS)
    model = train_on(features, _SETTINGS)
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
    return _timed(function, repeats)[1]


def _timed(function: Callable[[], _Result], repeats: int = 1) -> tuple[_Result, float]:
    """What the function gave, and the median of the seconds that it took. Nothing is compiled in that time."""
    if repeats > 1:
        function()
    times = []
    while True:
        gc.collect()
        started = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - started)
        if len(times) == repeats:
            return result, float(np.median(times))
