"""Thumbnails small enough for Dagster's UI to show inline: SVG images as data addresses.

The UI shows Markdown of less than 1,000 characters in place and longer texts behind a link, so these are
drawn with as few characters as possible; the large pictures are in ``pictures``.
"""

from collections.abc import Mapping
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.bins.adc import has_image
from ifcb_flow_pipeline.bins.frame import FRAME_PX
from ifcb_flow_pipeline.bins.pid import Schema

#: Longest address: leaves room for the Markdown around it.
MAX_CHARACTERS = 940

#: Sides of the squares of a cloud, in px of the camera frame; the largest fit whatever the cloud is.
_SQUARES_PX = (40, 60, 80, 120, 160)

#: Share of a bin's images from which a square is drawn dark.
_CROWDED = 0.01

_BARS = 30
_HEIGHT = 50


def severity_thumbnail(severities: NDArray[np.float64], threshold: float) -> str:
    """A histogram of severities from 0 to 100, those from the threshold on in orange.

    ``severities``: shape (n,), NaN left out.
    """
    edges = np.linspace(0.0, 100.0, _BARS + 1)
    counts, _ = np.histogram(severities[np.isfinite(severities)], bins=edges)
    heights = np.ceil(_HEIGHT * counts / max(counts.max(), 1)).astype(int)
    bad = edges[:-1] >= threshold - 50.0 / _BARS
    bars = {True: "", False: ""}
    for i in np.flatnonzero(heights):
        bars[bool(bad[i])] += f"M{8 * i + 4},{_HEIGHT}v-{heights[i]}"
    at = 8 * _BARS * threshold / 100.0
    body = (
        _path(bars[False], "steelblue", 7)
        + _path(bars[True], "darkorange", 7)
        + _path(f"M{at:.0f},0V{_HEIGHT}", "gray", 1)
    )
    return _address(body, 8 * _BARS, _HEIGHT, 1)


def cloud_thumbnail(columns: Mapping[str, NDArray], schema: Schema) -> str:
    """Where in the camera frame a bin's images are, as squares, dark where they are crowded: of 40 px, or
    larger ones where a scattered cloud would make the picture too long.

    ``columns``: ``x_px``, ``y_px``, ``width_px``, ``height_px``, each of shape (n,).
    """
    addresses = (_cloud_address(columns, schema, side) for side in _SQUARES_PX)
    return next(address for address in addresses if len(address) <= MAX_CHARACTERS)


def window_thumbnail(seen: NDArray[np.bool_], dark: NDArray[np.bool_], side: int = 5) -> str:
    """Which cells of the camera frame images show, and which of them are darker than usual; both (rows, columns).

    Drawn in squares of ``side`` cells, dark where a cell of it is.
    """
    rows, columns = (-(-length // side) for length in seen.shape)
    padding = ((0, rows * side - seen.shape[0]), (0, columns * side - seen.shape[1]))
    squares = (np.pad(cells, padding).reshape(rows, side, columns, side) for cells in (seen, dark))
    shown, darker = (square.max(axis=(1, 3)) for square in squares)
    frame = _path(f"M0,0H{columns}V{rows}H0z", "gray", 0.2)
    address = _address(frame + _path(_runs(shown), "skyblue", 1) + _path(_runs(darker), "navy", 1), columns, rows, side)
    return address if len(address) <= MAX_CHARACTERS else window_thumbnail(seen, dark, 2 * side)


def _cloud_address(columns: Mapping[str, NDArray], schema: Schema, side: int) -> str:
    across, down = (-(-length // side) for length in FRAME_PX[schema])
    with_image = has_image(columns)
    counts, _, _ = np.histogram2d(
        columns["y_px"][with_image],
        columns["x_px"][with_image],
        bins=(np.arange(down + 1) * side, np.arange(across + 1) * side),
    )
    frame = _path(f"M0,0H{across}V{down}H0z", "gray", 8 / side)
    some, many = _runs(counts > 0), _runs(counts > max(1, _CROWDED * counts.sum()))
    return _address(frame + _path(some, "skyblue", 1) + _path(many, "navy", 1), across, down, side // 5)


def _runs(filled: NDArray[np.bool_]) -> str:
    """One horizontal stroke per run of filled squares."""
    path = ""
    for row, line in enumerate(filled):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], line.astype(np.int8), [0]))))
        path += "".join(f"M{a},{row}.5h{b - a}" for a, b in zip(edges[::2], edges[1::2], strict=True))
    return path


def _path(path: str, colour: str, width: float) -> str:
    return f"<path d='{path}' fill='none' stroke='{colour}' stroke-width='{width}'/>" if path else ""


def _address(body: str, width: int, height: int, scale: int) -> str:
    size = f"width='{width * scale}' height='{height * scale}' viewBox='0 0 {width} {height}'"
    return "data:image/svg+xml," + quote(f"<svg xmlns='http://www.w3.org/2000/svg' {size}>{body}</svg>", safe="/:=',.")
