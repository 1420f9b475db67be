"""The features of many bins in one call of compiled code, from their columns: see ``stream_kernels`` and ``kernels``.

A call a bin would give Python's lock away and wait to have it back, bin after bin.

Import this module only where a kernel is about to run: it loads numba.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.compiled import kernel, part
from ifcb_flow_pipeline.features.catalogue import MIN_POINTS
from ifcb_flow_pipeline.features.kernels import cloud_features, points_with_image
from ifcb_flow_pipeline.features.stream_kernels import image_features, run_times, trigger_features


class Columns(NamedTuple):
    """STREAM_COLUMNS and SHOWN_COLUMNS of several bins, one bin behind the other; where each starts, shape (bins + 1,).
    There may be room behind the last.
    """

    starts: NDArray[np.int64]
    trigger: NDArray[np.int32]
    t_s: NDArray[np.float64]
    x_px: NDArray[np.int16]
    y_px: NDArray[np.int16]
    width_px: NDArray[np.int16]
    height_px: NDArray[np.int16]
    peak_b: NDArray[np.float32]
    time_of_flight_us: NDArray[np.float32]
    run_time_s: NDArray[np.float64]
    inhibit_time_s: NDArray[np.float64]
    start_byte: NDArray[np.int64]
    pmt_b: NDArray[np.float32]


class Bins(NamedTuple):
    """What ``image_features`` wants of n bins besides their rows, each of shape (n,), the frame (n, 2)."""

    frame_px: NDArray[np.int64]
    margin_px: NDArray[np.int64]
    titled_bottom: NDArray[np.bool_]
    on_lattice: NDArray[np.bool_]


class Found(NamedTuple):
    """Where results go, a row a bin: reference features, features of images and of triggers, what the rows tell of the
    run, the number of images, and the number of their pixels.
    """

    reference: NDArray[np.float64]
    images: NDArray[np.float64]
    triggers: NDArray[np.float64]
    run: NDArray[np.float64]
    n_images: NDArray[np.int64]
    n_pixels: NDArray[np.int64]


@part
def reference_features(x, y, width, height, aspect_ratio, out):
    """The reference features of a bin's rows into ``out``, shape (features,), where it has enough points; how many
    images it has.
    """
    points = points_with_image(x, y, width, height)
    n_images = len(points.x_px)
    if n_images >= MIN_POINTS:
        for k, value in enumerate(cloud_features(points.x_px, points.y_px, len(x), n_images, aspect_ratio)):
            out[k] = value
    return n_images


@part
def _n_pixels(width, height):
    n = np.int64(0)
    for i in range(len(width)):
        n += np.int64(width[i]) * np.int64(height[i])
    return n


@kernel
def features_of_bins(columns: Columns, aspect_ratio: float, bins: Bins, found: Found) -> None:
    """All features of n bins that do not depend on the length of the run, and what tells it, into ``found``; nothing of
    a bin without rows.
    """
    for i in range(len(bins.margin_px)):
        first, stop = columns.starts[i], columns.starts[i + 1]
        if first == stop:
            continue
        x, y = columns.x_px[first:stop], columns.y_px[first:stop]
        width, height = columns.width_px[first:stop], columns.height_px[first:stop]
        found.n_images[i] = reference_features(x, y, width, height, aspect_ratio, found.reference[i])
        found.n_pixels[i] = _n_pixels(width, height)
        run = run_times(
            columns.trigger[first:stop], columns.t_s[first:stop], width, height, columns.run_time_s[first:stop],
            columns.inhibit_time_s[first:stop],
        )  # fmt: skip
        found.run[i, 0], found.run[i, 1] = run.n_triggers, run.n_images
        found.run[i, 2], found.run[i, 3] = run.adc_run_s, run.adc_inhibit_s
        found.run[i, 4], found.run[i, 5] = run.last_s, run.due_s
        frame = (bins.frame_px[i, 0], bins.frame_px[i, 1])
        images = image_features(
            x, y, width, height, columns.peak_b[first:stop], columns.time_of_flight_us[first:stop], frame,
            bins.margin_px[i], bins.titled_bottom[i], bins.on_lattice[i],
        )  # fmt: skip
        found.images[i, 0] = images.n_images
        for k, value in enumerate(images[1:]):
            found.images[i, k + 1] = value


@kernel
def triggers_of_bins(columns: Columns, run_s: NDArray[np.float64], found: Found) -> None:
    """The features of the triggers of n bins into ``found``; ``run_s``: how long the runs were, NaN if unknown."""
    for i in range(len(run_s)):
        first, stop = columns.starts[i], columns.starts[i + 1]
        if first == stop:
            continue
        features = trigger_features(
            columns.trigger[first:stop], columns.t_s[first:stop], columns.width_px[first:stop],
            columns.height_px[first:stop], columns.peak_b[first:stop], columns.inhibit_time_s[first:stop], run_s[i],
        )  # fmt: skip
        for k, value in enumerate(features):
            found.triggers[i, k] = value
