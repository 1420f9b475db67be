"""From ADC files to features and from features to scores: ours beside the obvious way, on one thread.

Prints one table. The archive is simulated; files are read once before, so that the disk does not count.
"""

import gc
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest

from ifcb_flow_pipeline.api import Work, archive_features
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.detection.forest import Forest
from ifcb_flow_pipeline.features.catalogue import FEATURE_NAMES
from ifcb_flow_pipeline.features.extract import FeatureSettings
from ifcb_flow_pipeline.simulate import simulate_bin, write_bin
from ifcb_flow_pipeline.store.archive import Archive

N_BINS = 60
MEAN_TRIGGERS = 3500
N_SCORED = 100_000
REPEATS = 3

_X, _Y, _WIDTH, _HEIGHT = 13, 14, 15, 16


def main() -> None:
    """Run all measurements and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _archive(Path(folder))
        megabytes = sum(path.stat().st_size for path in paths) / 1e6
        archive = Archive(Path(folder), settle=timedelta())
        reading = _seconds(lambda: [path.read_bytes() for path in paths])
        ours = _seconds(lambda: archive_features(archive, None, FeatureSettings(), Work(n_jobs=1)))
        theirs = _seconds(lambda: [baseline_features(path) for path in paths])
        _check_equal(archive, paths)
    print(f"{N_BINS} bins, {megabytes:.0f} MB; median of {REPEATS} runs")
    print(f"{'workload':34} {'ours':>9} {'baseline':>9} {'ratio':>6} {'limit':>9}")
    _row("ADC files to 27 features", ours, theirs, reading)

    rng = np.random.default_rng(0)
    forest = IsolationForest(random_state=42).fit(rng.normal(size=(2000, len(FEATURE_NAMES))))
    rows = rng.normal(size=(N_SCORED, len(FEATURE_NAMES)))
    compiled = Forest.from_sklearn(forest)
    scoring = _seconds(lambda: compiled.score_samples(rows))
    _row(f"score {N_SCORED} feature rows", scoring, _seconds(lambda: forest.score_samples(rows)), None)


def baseline_features(path: Path) -> list[float]:
    """The obvious way: pandas, NumPy and scikit-learn, one bin at a time."""
    table = pd.read_csv(path, header=None).to_numpy()
    images = table[(table[:, _WIDTH] > 0) & (table[:, _HEIGHT] > 0)]
    raw = images[:, [_X, _Y]]
    points = raw / (1.36, 1.0)
    (q1x, q1y), (q2x, q2y), (q3x, q3y) = np.quantile(points, (0.25, 0.5, 0.75), axis=0)
    iqr_x, iqr_y = q3x - q1x, q3y - q1y
    x, y = points.T
    core = np.mean((x >= q1x) & (x <= q3x) & (y >= q1y) & (y <= q3y))
    counts = np.unique(raw[:, 1], return_counts=True)[1]
    bars = [np.histogram(values, bins=10)[0] for values in (x, y)]
    scaled = (points - points.mean(axis=0)) / points.std(axis=0)
    pca: Any = PCA(n_components=2).fit(points)
    edges = [side for v in raw.T for side in (np.mean(v <= v.min() + 3), np.mean(v >= v.max() - 3))]
    first, second = pca.explained_variance_ratio_
    rolling: Any = pd.Series(y).rolling(10).mean()
    return [
        *points.mean(axis=0), *points.std(axis=0), q2x, q2y, iqr_x, iqr_y, (iqr_y + 1e-8) / (iqr_x + 1e-8), core,
        counts[counts > 1].sum() / len(raw), counts.max() / len(raw), *(float(bar.std() / bar.mean()) for bar in bars),
        *np.mean(scaled**3, axis=0), *(np.mean(scaled**4, axis=0) - 3), np.arctan2(*pca.components_[0][::-1]),
        first / (second + 1e-8), *edges, sum(edges), rolling.var(), len(images) / len(table),
    ]  # fmt: skip


def _archive(folder: Path) -> list[Path]:
    start = datetime(2023, 8, 10, tzinfo=UTC)
    for i in range(N_BINS):
        pid = format_pid("IFCB134", start + timedelta(minutes=24 * i))
        write_bin(simulate_bin(pid, mean_triggers=MEAN_TRIGGERS), folder)
    return sorted(folder.rglob("*.adc"))


def _check_equal(archive: Archive, paths: list[Path]) -> None:
    table = archive_features(archive, None, FeatureSettings(), Work(n_jobs=1))
    ours = np.column_stack([table.column(name).to_numpy() for name in FEATURE_NAMES])
    np.testing.assert_allclose(ours, [baseline_features(path) for path in paths], rtol=1e-9)


def _seconds(function: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        gc.collect()
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return float(np.median(times))


def _row(workload: str, ours: float, baseline: float, limit: float | None) -> None:
    last = f"{limit:8.3f}s" if limit is not None else "        -"
    print(f"{workload:34} {ours:8.3f}s {baseline:8.3f}s {baseline / ours:6.2f} {last}")


if __name__ == "__main__":
    main()
