"""The features once more, with pandas, scipy and scikit-learn: the oracle of the catalogue.

It shares no code with the package, and takes the definitions from the requirements.
"""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.decomposition import PCA

MIN_POINTS = 30
FRACTIONS = ("left_edge", "right_edge", "top_edge", "bottom_edge")


def oracle_features(
    x_px: Sequence[float], y_px: Sequence[float], n_rows: int, n_images: int, aspect_ratio: float = 1.36
) -> dict[str, float]:
    """All features by name, of a cloud in file order."""
    cloud = pd.DataFrame({"x": np.asarray(x_px, float) / aspect_ratio, "y": np.asarray(y_px, float)})
    edges = _edges(pd.Series(np.asarray(x_px, float)), cloud.y)
    return {
        **_spatial(cloud),
        **_shape(cloud),
        **_clipping(cloud.y),
        "cv_x": _histogram_cv(cloud.x),
        "cv_y": _histogram_cv(cloud.y),
        **_moments(cloud),
        **_orientation(cloud),
        **edges,
        "total_edge_fraction": sum(edges.values()),
        "t_y_var": cloud.y.rolling(10).mean().var(),
        "roi_trigger_fraction": n_images / n_rows,
    }


def _spatial(cloud: pd.DataFrame) -> dict[str, float]:
    values = {}
    for name in ("x", "y"):
        values[f"mean_{name}"] = cloud[name].mean()
        values[f"std_{name}"] = cloud[name].std(ddof=0)
        values[f"median_{name}"] = cloud[name].median()
        values[f"iqr_{name}"] = cloud[name].quantile(0.75) - cloud[name].quantile(0.25)
    return values


def _shape(cloud: pd.DataFrame) -> dict[str, float]:
    low, high = cloud.quantile(0.25), cloud.quantile(0.75)
    spread = high - low + 1e-8
    inside = cloud.x.between(low.x, high.x) & cloud.y.between(low.y, high.y)
    return {"ratio_spread": spread.y / spread.x, "core_fraction": inside.sum() / len(cloud)}


def _clipping(y: pd.Series) -> dict[str, float]:
    return {
        "duplicate_fraction": y.duplicated(keep=False).sum() / len(y),
        "max_duplicate_fraction": y.value_counts().iloc[0] / len(y),
    }


def _histogram_cv(values: pd.Series) -> float:
    counts, _ = np.histogram(values, bins=10)
    return pd.Series(counts).std(ddof=0) / (len(values) / 10)


def _moments(cloud: pd.DataFrame) -> dict[str, float]:
    values = {}
    for name in ("x", "y"):
        constant = cloud[name].nunique() == 1
        values[f"skew_{name}"] = 0.0 if constant else stats.skew(cloud[name])
        values[f"kurt_{name}"] = 0.0 if constant else stats.kurtosis(cloud[name])
    return values


def _orientation(cloud: pd.DataFrame) -> dict[str, float]:
    if cloud.nunique().max() == 1:
        return {"angle": 0.0, "eigen_ratio": 0.5 / (0.5 + 1e-8)}
    pca = PCA(n_components=2, svd_solver="full").fit(cloud.to_numpy())
    first, second = pca.explained_variance_ratio_
    along_x, along_y = pca.components_[0]
    return {"angle": math.atan2(along_y, along_x), "eigen_ratio": first / (second + 1e-8)}


def _edges(x: pd.Series, y: pd.Series) -> dict[str, float]:
    distances = (x - x.min(), x.max() - x, y - y.min(), y.max() - y)
    return {
        f"{name}_fraction": (distance <= 3).sum() / len(x) for name, distance in zip(FRACTIONS, distances, strict=True)
    }
