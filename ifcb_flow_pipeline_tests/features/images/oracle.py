"""The definitions of the image features, slow and obvious: NumPy and SciPy on whole arrays, an image at a time."""

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from ifcb_flow_pipeline.features.images.catalogue import NAMES

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
LAPLACE = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
SECOND = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]])
INNER = np.s_[1:-1, 1:-1]


def features(image):
    """All features of an image by name."""
    image = np.asarray(image)
    height, width = image.shape
    ring = np.ones(image.shape, bool)
    ring[2:-2, 2:-2] = False
    background = lower_quantile(image[ring], 0.5)
    level = max(background, 30)
    gain = 200 / level
    spread = 1.4826 * lower_quantile(np.abs(image[ring].astype(int) - background), 0.5)
    grey = image * gain
    far = np.abs(image.astype(float) - background)
    is_background = far < max(3 * spread, 0.03 * level)
    is_object = far > np.floor(max(4 * spread, 0.04 * level))
    found = {"log_area": np.log(height * width), "log_aspect": np.log(width / height)}
    found |= intensity(image, grey, gain)
    found |= border(image, grey, ring, background, spread * gain, gain)
    found |= neighbourhood(image, gain, is_background, grey.var(), found["p99"] - found["p01"])
    found |= pyramid(grey)
    found |= motion(image, gain)
    found |= bands(image, gain, is_background)
    found |= objects(image, background, gain, is_object)
    found |= co_occurrence(image, level)
    found |= patterns(image)
    assert sorted(found) == sorted(NAMES)
    return found


def lower_quantile(values, q):
    return int(np.sort(values, axis=None)[int(q * (values.size - 1))])


def intensity(image, grey, gain):
    deviation = grey - grey.mean()
    variance = grey.var()
    shares = np.bincount(image.ravel(), minlength=256) / image.size
    shares = shares[shares > 0]
    quantiles = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    return {
        "mean": grey.mean(),
        "sd": grey.std(),
        "skew": np.mean(deviation**3) / (variance**1.5 + 1e-6),
        "kurt": min(np.mean(deviation**4) / (variance**2 + 1e-6), 200),
        "entropy": -np.sum(shares * np.log(shares)) + np.log(gain),
        "f_black": np.mean(image == 0),
        "f_white": np.mean(image == 255),
        **{name: lower_quantile(image, q) * gain for name, q in quantiles.items()},
    }


def border(image, grey, ring, background, spread, gain):
    sides = (grey[:2], grey[-2:], grey[:, :2].T, grey[:, -2:].T)
    second, deepest = sorted(deepest_dip(side.mean(axis=0)) for side in sides)[-2:]
    return {
        "border_dip": deepest,
        "border_dip2": second,
        "background": background,
        "bg_sd": spread,
        "bg_range": (lower_quantile(image[ring], 0.95) - lower_quantile(image[ring], 0.05)) * gain,
        "bg_grad_x": grey[:, -2:].mean() - grey[:, :2].mean(),
        "bg_grad_y": grey[-2:].mean() - grey[:2].mean(),
    }


def deepest_dip(line):
    smooth = np.convolve(line, np.ones(3) / 3, mode="valid")
    dips = [min(smooth[i - 8], smooth[i + 8]) - smooth[i] for i in range(8, smooth.size - 8)]
    return max(dips, default=0.0) if max(dips, default=0.0) > 0 else 0.0


def correlated(image, kernel):
    return ndimage.correlate(image.astype(np.int64), kernel)[INNER]


def gradients(image):
    return correlated(image, SOBEL_X), correlated(image, SOBEL_X.T)


def neighbourhood(image, gain, is_background, variance, spread):
    gx, gy = gradients(image)
    laplace = correlated(image, LAPLACE) * gain
    second = np.abs(correlated(image, SECOND)) / 6 * gain
    steepest = lower_quantile(np.floor(np.hypot(gx, gy)), 0.99) / 4 * gain
    tenengrad = np.mean(gx**2 + gy**2) / 16 * gain**2
    xx, yy, xy = np.sum(gx**2), np.sum(gy**2), np.sum(gx * gy)
    inner = is_background[INNER]
    return {
        "lap_var": np.log(laplace.var() + 0.01),
        "tenengrad": np.log(tenengrad + 0.01),
        "lap_norm": np.log((laplace.var() + 0.01) / (variance + 1)),
        "ten_norm": np.log((tenengrad + 0.01) / (variance + 1)),
        "grad_p99": steepest,
        "grad_p99_norm": steepest / max(spread, 4),
        "noise": second.mean(),
        "bg_noise": second[inner].mean() if inner.any() else 0.0,
        "anis": np.log((xx * gain**2 + 1) / (yy * gain**2 + 1)),
        "orient_c": np.sqrt(float(xx - yy) ** 2 + 4 * float(xy) ** 2) / (xx + yy + 1e-9),
    }


def pyramid(grey):
    gx, gy = gradients_of_floats(grey)
    before = np.mean(gx**2 + gy**2)
    ratio, found = 0.0, {}
    for name in ("pyr01", "pyr12", "pyr23"):
        height, width = grey.shape[0] // 2, grey.shape[1] // 2
        grey = grey[: 2 * height, : 2 * width].reshape(height, 2, width, 2).mean(axis=(1, 3))
        if height >= 4 and width >= 4:
            gx = grey[1:-1, 2:] - grey[1:-1, :-2]
            gy = grey[2:, 1:-1] - grey[:-2, 1:-1]
            energy = 4 * np.mean(gx**2 + gy**2)
            ratio, before = np.log((before + 0.5) / (energy + 0.5)), energy
        found[name] = ratio
    return found


def gradients_of_floats(grey):
    return ndimage.correlate(grey, SOBEL_X * 1.0)[INNER], ndimage.correlate(grey, SOBEL_X.T * 1.0)[INNER]


def motion(image, gain):
    gx, gy = gradients(image)
    edge_x, smear_x, smear_lag, echo_x, echo_lag = repeats(autocorrelation(gx), gain)
    edge_y, smear_y, _, echo_y, _ = repeats(autocorrelation(gy.T), gain)
    return {
        "edge_x": edge_x, "smear_x": smear_x, "smear_lag": smear_lag, "echo_x": echo_x, "echo_lag": echo_lag,
        "edge_y": edge_y, "smear_y": smear_y, "echo_y": echo_y,
    }  # fmt: skip


def autocorrelation(gradient):
    """Mean product with itself, shifted by 1 to 20 px along the second axis; 0 for shifts that leave nothing."""
    width = gradient.shape[1]
    return np.array([np.mean(gradient[:, :-k] * gradient[:, k:]) if k < width else 0.0 for k in range(1, 21)])


def repeats(correlation, gain):
    correlation = correlation / (max(correlation[0] * gain**2, 1) / gain**2)
    long = correlation[2:]
    rise = long - np.minimum.accumulate(correlation)[1:-1]

    def limited(value):
        return np.clip(value, -5, 5)

    return limited(long[0]), limited(long.min()), 3 + long.argmin(), limited(rise.max()), 3 + rise.argmax()


def bands(image, gain, is_background):
    rows = line_means(image, is_background)
    columns = line_means(image.T, is_background.T)
    even, odd = rows[::2][~np.isnan(rows[::2])], rows[1::2][~np.isnan(rows[1::2])]
    return {
        "block_x": blockiness(np.abs(np.diff(image[1:-1].astype(int), axis=1))[:, 1:], gain),
        "block_y": blockiness(np.abs(np.diff(image[:, 1:-1].astype(int), axis=0)).T[:, 1:], gain),
        "row_band": mean_step(rows) * gain,
        "col_band": mean_step(columns) * gain,
        "even_odd": abs(even.mean() - odd.mean()) * gain if even.size and odd.size else 0.0,
    }


def line_means(image, is_background):
    return np.array(
        [row[mask].mean() if mask.sum() >= 8 else np.nan for row, mask in zip(image, is_background, strict=True)]
    )


def mean_step(means):
    steps = np.abs(np.diff(means))
    steps = steps[~np.isnan(steps)]
    return steps.mean() if steps.size else 0.0


def blockiness(steps, gain):
    """``steps``: from each inner column to the next."""
    at_border = np.arange(1, steps.shape[1] + 1) % 8 == 7
    if not at_border.any():
        return 0.0
    return np.log((steps[:, at_border].mean() * gain + 0.1) / (steps[:, ~at_border].mean() * gain + 0.1))


def objects(image, background, gain, is_object):
    labels, n = ndimage.label(is_object, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=n + 1)[1:]
    n_objects = max(is_object.sum(), 1)
    deviation = (image.astype(float) - background) * gain
    found = {
        "obj_frac": is_object.mean(),
        "n_blobs": np.log(1 + np.sum(areas >= 12)),
        "blob1_frac": areas.max(initial=0) / n_objects,
        "bright_frac": np.sum(deviation[is_object] > 0) / n_objects,
        "contrast": np.abs(deviation[is_object]).sum() / n_objects,
        "border_runs": np.log(1 + border_runs(is_object)),
    }
    if areas.max(initial=0) < 6:
        names = ("eccen", "major", "minor", "solidity", "extent", "circ", "holes", "touch", "ring_eta", "rad_sym",
                 "hu1", "hu2")  # fmt: skip
        return found | dict.fromkeys(names, 0.0)
    blob = labels == 1 + np.argmax(areas)
    return found | shape(blob) | rings(deviation, blob)


def border_runs(is_object):
    walk = np.concatenate([is_object[0], is_object[1:, -1], is_object[-1, -2::-1], is_object[-2:0:-1, 0]])
    return np.sum(walk & ~np.roll(walk, 1))


def shape(blob):
    height, width = blob.shape
    y, x = np.nonzero(blob)
    area = y.size
    cov = np.cov(np.vstack([x, y]), bias=True) + np.eye(2) / 12
    short2, long2 = np.linalg.eigvalsh(cov)
    short2 = max(short2, 1e-6)
    perimeter = area - ndimage.binary_erosion(blob, border_value=0).sum()
    touching = blob.copy()
    touching[INNER] = False
    box = (x.max() - x.min() + 1) * (y.max() - y.min() + 1)
    return {
        "eccen": np.sqrt(max(1 - short2 / long2, 0)),
        "major": np.log(4 * np.sqrt(long2)),
        "minor": np.log(4 * np.sqrt(short2)),
        "solidity": area / hull_area(blob),
        "extent": area / box,
        "circ": np.log(4 * np.pi * area / (perimeter**2 + 1) + 1e-3),
        "holes": min((ndimage.binary_fill_holes(blob).sum() - area) / area, 20),
        "touch": touching.sum() / (2 * (height + width)),
        "hu1": np.log(np.trace(cov) / area + 1e-6),
        "hu2": np.log(((cov[0, 0] - cov[1, 1]) ** 2 + 4 * cov[0, 1] ** 2) / area**2 + 1e-6),
    }


def hull_area(blob):
    """Area of the convex hull of the left and right sides of every row, and half a row above and below as wide as the
    first and the last.
    """
    rows = np.flatnonzero(blob.any(axis=1))
    first = np.array([np.flatnonzero(blob[y])[0] for y in rows])
    last = np.array([np.flatnonzero(blob[y])[-1] + 1 for y in rows])
    ends = (last[0] - first[0] + last[-1] - first[-1]) / 2
    if rows.size == 1:
        return ends
    corners = np.concatenate([np.column_stack([first, rows]), np.column_stack([last, rows])])
    return ConvexHull(corners).volume + ends


def rings(deviation, blob):
    y, x = np.nonzero(blob)
    # The pixel nearest to the centre, the further one where two are as near.
    cy, cx = int(np.floor(np.mean(y) + 0.5)), int(np.floor(np.mean(x) + 0.5))
    furthest = np.max((y - cy) ** 2 + (x - cx) ** 2)
    yy, xx = np.indices(blob.shape)
    squared = (yy - cy) ** 2 + (xx - cx) ** 2
    inside = squared <= furthest
    ring = (16 * squared[inside]) // (furthest + 1)
    values = deviation[inside]
    n = np.bincount(ring, minlength=16)
    means = np.bincount(ring, values, minlength=16) / np.maximum(n, 1)
    between = np.sum(n * (means - values.mean()) ** 2)
    within = np.sum((values - means[ring]) ** 2)
    return {
        "ring_eta": between / (between + within + 1e-6),
        "rad_sym": np.clip(means[0] / (abs(values.mean()) + 1), -20, 20),
    }


def co_occurrence(image, level):
    classes = np.minimum(image.astype(int) * 200 // (16 * level), 15)
    here = classes[INNER].ravel()
    pairs = np.zeros((16, 16))
    np.add.at(pairs, (here, classes[1:-1, 2:].ravel()), 1)
    np.add.at(pairs, (here, classes[2:, 1:-1].ravel()), 1)
    p = (pairs + pairs.T) / (2 * pairs.sum())
    i, j = np.indices(p.shape)
    mean = np.sum(i * p)
    variance = np.sum((i - mean) ** 2 * p)
    return {
        "glcm_con": np.log(np.sum(p * (i - j) ** 2) + 1e-3),
        "glcm_hom": np.sum(p / (1 + (i - j) ** 2)),
        "glcm_en": np.sqrt(np.sum(p**2)),
        "glcm_cor": np.sum((i - mean) * (j - mean) * p) / variance if variance > 1e-9 else 1.0,
    }


def patterns(image):
    height, width = image.shape
    around = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    bits = np.array([image[y : y + height - 2, x : x + width - 2] >= image[INNER] for y, x in around])
    changes = np.sum(bits != np.roll(bits, 1, axis=0), axis=0)
    kind = np.where(changes <= 2, bits.sum(axis=0), 9)
    return {f"lbp{k}": np.mean(kind == k) for k in range(10)}
