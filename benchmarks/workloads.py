"""The workloads. Each measures ours, a baseline and a limit where there are such, and checks that results agree."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import IsolationForest

from benchmarks import archives, baseline
from benchmarks.memory import peak_mb
from benchmarks.table import Row
from benchmarks.timing import Times, timed, two_processes
from ifcb_flow_pipeline import days
from ifcb_flow_pipeline.api import Work, archive_features, train_on
from ifcb_flow_pipeline.detection.reference.forest import Forest
from ifcb_flow_pipeline.feature_rows import reference_row
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES, FULL_FEATURE_NAMES, FeatureSet
from ifcb_flow_pipeline.features.extract import BOX_COLUMNS, FeatureSettings
from ifcb_flow_pipeline.store.archive import Archive
from ifcb_flow_pipeline.store.clouds import CloudTables
from ifcb_flow_pipeline.store.daily import DailyTables, Provenance
from ifcb_flow_pipeline.store.models import ModelStore
from ifcb_flow_pipeline.store.tables import POINT_CLOUDS

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
    commands: int = 5
    scored_bins: int = 500
    of_bins: int = 50_000
    listed_bins: tuple[int, ...] = (100, 1000, 10_000, 100_000, 1_000_000)


SMALL = Size(bins=6, mean_triggers=200, scored_rows=2000, trained_rows=600, judged_days=2, bins_of_a_day=6, days=2,
             bins_per_day=12, longer=2, sensed_bins=200, sensed_days=20, flat_bins=100, flat_days=10, commands=1,
             scored_bins=40,
             of_bins=140,
             listed_bins=(100, 1000))  # fmt: skip


def extraction(folder: Path, size: Size) -> list[Row]:
    """ADC files to features, on one core and on two; and from stored clouds.

    The limit is reading the same bytes into memory that is used again. Beside two threads stands what two processes
    gain, of which each does all of it: what the machine has to give at the time.
    """
    paths = archives.flat_archive(folder / "flat", size.bins, size.mean_triggers)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    archive = Archive(folder / "flat", settle=timedelta())
    expected, theirs = timed(lambda: [baseline.features(path) for path in paths])
    theirs_two = timed(lambda: baseline.features_in_processes(paths, 2))[1]
    limit = timed(lambda: _read_streaming(paths), REPEATS)[1]

    def ours(feature_set: FeatureSet, n_jobs: int) -> pa.Table:
        return archive_features(archive, None, _SETTINGS, Work(n_jobs, chunk_size=25), feature_set)

    sets: tuple[tuple[FeatureSet, str, tuple[Times | None, Times | None]], ...] = (
        ("reference", "27", (theirs, theirs_two)),
        ("full", f"all {len(FULL_FEATURE_NAMES)}", (None, None)),
    )
    rows, one_of = [], {}
    for feature_set, what, other in sets:
        found, one = timed(partial(ours, feature_set, 1), REPEATS)
        _check_equal(found, expected)
        _, two = timed(partial(ours, feature_set, 2), REPEATS)
        control = 2 * one.wall_s / two_processes(partial(ours, feature_set, 1), REPEATS)
        one_of[feature_set] = one
        times = "" if feature_set == "reference" else f"; {one.cpu_s / one_of['reference'].cpu_s:.1f} x the 27"
        notes = (
            f"{one.cpu_s / limit.cpu_s:.1f} x streaming{times}",
            f"{one.wall_s / two.wall_s:.2f} x one core; two processes {control:.2f} x",
        )
        for cores, took, than, note in zip(("1 core", "2 cores"), (one, two), other, notes, strict=True):
            baseline_s, baseline_cpu_s = (than.wall_s, than.cpu_s) if than else (None, None)
            workload, text = f"ADC files to {what} features, {cores}", f"{size.bins} bins, {megabytes:.0f} MB; {note}"
            rows.append(Row(workload, took.wall_s, baseline_s, limit.wall_s, text, took.cpu_s, baseline_cpu_s))
    return rows + _stored_clouds(folder, archive, expected, theirs.wall_s)


def _read_streaming(paths: list[Path]) -> None:
    """The least that anybody can do who reads files: each into the same memory, one after the other."""
    memory = memoryview(bytearray(max(path.stat().st_size for path in paths)))
    for path in paths:
        with path.open("rb", buffering=0) as file:
            file.readinto(memory)


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
            reference_row(entry, columns, _SETTINGS)
            for day in listing.days
            for entry, columns in clouds.read_all(day, BOX_COLUMNS)
        ]

    def reading() -> None:
        for day in listing.days:
            pq.ParquetFile(tables.path(POINT_CLOUDS, day)).read(columns=list(BOX_COLUMNS), use_threads=False)

    def step() -> None:
        for day in listing.days:
            days.write_features(tables, _SETTINGS, day)

    found, times = timed(features, REPEATS)
    reference = times.wall_s
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
    train(folder / "archive", home)
    plain = run_range("plain", folder / "archive", home, size.days)
    dagster = run_range("dagster", folder / "archive", home, size.days)
    longer = run_range("dagster", folder / "archive", home, size.days * size.longer)
    what = f"{size.days} days of {size.bins_per_day} bins"
    times = f"{size.longer} times as long"
    return [
        Row(f"Dagster run, {what}", dagster["seconds"], plain["seconds"], None, f"peak {dagster['peak_mb']:.0f} MB"),
        Row(f"Dagster run, {times}", longer["seconds"], None, None, f"peak {longer['peak_mb']:.0f} MB"),
    ]


def train(archive: Path, home: Path) -> None:
    """Put a model to use that is trained on some bins of the archive."""
    pids = [path.stem for path in sorted(archive.rglob("*.adc"))[:_TRAINING_BINS]]
    features = archive_features(Archive(archive, settle=timedelta()), pids, _SETTINGS)
    model = train_on(features, _SETTINGS)
    store = ModelStore(home / "models")
    store.save(model)
    store.promote(model.card.model_id, "benchmark")


def run_range(how: str, archive: Path, home: Path, n_days: int) -> dict[str, Any]:
    """What a run (``plain`` or ``dagster``) over days of the archive took, on tables of its own in ``home``."""
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
    return timed(function, repeats)[1].wall_s
