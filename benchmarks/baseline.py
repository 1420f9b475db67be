"""The obvious way from an ADC file to 27 features: pandas, NumPy and scikit-learn, one bin at a time."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.decomposition import PCA

_X, _Y, _WIDTH, _HEIGHT = 13, 14, 15, 16


def features(path: Path) -> list[float]:
    """The features of a v2 ADC file, in the order of the catalogue."""
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


def features_in_processes(paths: list[Path], n_jobs: int) -> list[list[float]]:
    """The same for many files, in processes."""
    found: Any = Parallel(n_jobs=n_jobs)(delayed(features)(path) for path in paths)
    return list(found)
