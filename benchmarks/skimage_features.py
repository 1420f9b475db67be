"""About the same features with scikit-image, one image at a time: what the compiled pass is measured against."""

import numpy as np
from numpy.typing import NDArray
from skimage import feature, filters, measure  # pyright: ignore[reportMissingImports] - not among our packages


def features(image: NDArray[np.uint8]) -> dict[str, float]:
    """Intensity, focus, texture and shape of an image."""
    grey = image.astype(float)
    border = np.concatenate([image[:2].ravel(), image[-2:].ravel(), image[:, :2].ravel(), image[:, -2:].ravel()])
    background = np.median(border)
    grey = grey * (200 / max(background, 30.0))
    spread = 1.4826 * np.median(np.abs(border - background))
    quantiles = np.quantile(grey, [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
    found = {f"q{i}": float(value) for i, value in enumerate(quantiles)}
    found |= {"mean": grey.mean(), "sd": grey.std(), "entropy": float(measure.shannon_entropy(image))}
    gx, gy = filters.sobel_v(grey), filters.sobel_h(grey)
    found |= {"tenengrad": np.mean(gx**2 + gy**2), "p99": float(np.quantile(np.hypot(gx, gy), 0.99)),
              "laplace": filters.laplace(grey).var(), "anis": np.mean(gx**2) / (np.mean(gy**2) + 1)}  # fmt: skip
    for lag in range(1, 21):
        found[f"x{lag}"] = float(np.mean(gx[:, :-lag] * gx[:, lag:])) if lag < gx.shape[1] else 0.0
        found[f"y{lag}"] = float(np.mean(gy[:-lag] * gy[lag:])) if lag < gy.shape[0] else 0.0
    for level in range(1, 4):
        small = measure.block_reduce(grey, (2**level, 2**level), np.mean)
        if min(small.shape) > 3:
            found[f"pyramid{level}"] = float(np.mean(filters.sobel(small) ** 2))
    matrix = feature.graycomatrix(np.minimum(grey / 16, 15).astype(np.uint8), [1], [0, np.pi / 2], 16, True, True)
    for name in ("contrast", "homogeneity", "energy", "correlation"):
        found[name] = float(feature.graycoprops(matrix, name).mean())
    patterns = feature.local_binary_pattern(image, 8, 1, "uniform")
    found |= {f"lbp{k}": float(np.mean(patterns == k)) for k in range(10)}
    labels = measure.label(
        np.abs(image.astype(float) - background) > max(4 * spread, 0.04 * background), connectivity=2
    )
    blobs = measure.regionprops(labels)
    if blobs:
        blob = max(blobs, key=lambda each: each.area)
        names = ("area", "eccentricity", "axis_major_length", "axis_minor_length", "solidity", "extent", "perimeter",
                 "area_filled")  # fmt: skip
        found |= {name: float(getattr(blob, name)) for name in names}
        found["hu1"] = float(blob.moments_hu[0])
    return found
