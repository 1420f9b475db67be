"""Deployments: times of an instrument without long gaps or lasting jumps of the core, in one configuration."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.bin_table import BinTable
from ifcb_flow_pipeline.detection.flow.spreads import MAD_SD

#: After a gap this long an instrument may have been taken out and put back: its core may lie elsewhere.
LONG_GAP_S = 6 * 3600.0

#: Without a gap or new settings a deployment ends where the core jumps by so many spreads and so many bins stay there.
_STEP_Z, _STEP_BINS, _STEP_ENDS = 6.0, 15, 5

#: A core that moved this many spreads between two deployments is worth a word.
_MOVED_Z = 4.0


@dataclass(frozen=True, slots=True)
class Deployments:
    """The deployments among n rows: ``codes`` (n,) of the rows, and their ``place`` (n,) in these; the rest of each.

    ``first``: its first row; ``start``, ``end``: of its first and last bin, s since 1970; ``is_first``: nothing before
    it is known of its instrument, it may have started earlier.
    """

    codes: NDArray[np.int64]
    place: NDArray[np.int64]
    instrument: NDArray[np.int64]
    configuration: list[str]
    first: NDArray[np.int64]
    start: NDArray[np.float64]
    end: NDArray[np.float64]
    is_first: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: BinTable, columns: NDArray[np.int64], known: Mapping[str, NDArray[np.float64]]) -> "Deployments":
        """Those among the rows; ``columns``: where the place of the core is among their values.

        ``known``: starts of deployments of an instrument, s since 1970, that are starts whatever comes after them.
        """
        part = _parts(rows, columns, known)
        joined = (rows.instrument.codes * (part.max(initial=0) + 1) + part) * len(rows.configuration.names)
        _, codes = np.unique(joined + rows.configuration.codes, return_inverse=True)
        order = np.lexsort((rows.time_s, codes))
        bounds = np.searchsorted(codes[order], np.arange(codes.max(initial=-1) + 2))
        first, last = order[bounds[:-1]], order[bounds[1:] - 1]
        names = [rows.configuration.names[code] for code in rows.configuration.codes[first]]
        instrument = rows.instrument.codes[first]
        place = np.empty(len(codes), dtype=np.int64)
        place[order] = np.arange(len(codes)) - np.repeat(bounds[:-1], np.diff(bounds))
        return cls(codes, place, instrument, names, first, rows.time_s[first], rows.time_s[last], part[first] == 0)


def _parts(rows: BinTable, columns: NDArray[np.int64], known: Mapping[str, NDArray[np.float64]]) -> NDArray[np.int64]:
    """How many long gaps and lasting jumps of the core come before each row in its instrument, shape (n,)."""
    order = np.lexsort((rows.time_s, rows.instrument.codes))
    codes, time_s = rows.instrument.codes[order], rows.time_s[order]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    begins = np.diff(time_s, prepend=-np.inf) > LONG_GAP_S
    for first, last in pairwise([*starts.tolist(), len(order)]):
        name = rows.instrument.names[codes[first]]
        begins[first:last] |= np.isin(np.round(time_s[first:last]), np.round(known.get(name, ())))
        full = first + np.flatnonzero(rows.full[order[first:last]])
        after_gaps = np.searchsorted(full, first + np.flatnonzero(begins[first:last]))
        for column in columns:
            values = rows.values[order[full], column]
            begins[full[[*_lasting_jumps(values), *_early_jumps(values, after_gaps)]]] = True
    begins[starts] = False
    many = np.cumsum(begins)
    parts = np.empty(len(rows), dtype=np.int64)
    parts[order] = many - np.repeat(many[starts], np.diff([*starts.tolist(), len(order)]))
    return parts


def _lasting_jumps(values: NDArray) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays: the first places after the jumps. A slope is no jump."""
    windows = len(values) - _STEP_BINS + 1
    if windows <= _STEP_BINS:
        return np.zeros(0, dtype=np.int64)
    view = np.lib.stride_tricks.sliding_window_view
    middle, end = np.median(view(values, _STEP_BINS), axis=1), np.median(view(values, _STEP_ENDS), axis=1)
    noise = _step_noise(values)
    place = np.arange(_STEP_BINS, windows)
    jump = np.abs(middle[place] - middle[place - _STEP_BINS])
    # Both levels hold from end to end of their windows: neither a slope does that, nor a fault that goes by.
    ends = np.stack([
        end[place - _STEP_BINS] - middle[place - _STEP_BINS],
        end[place - _STEP_ENDS] - middle[place - _STEP_BINS],
        end[place] - middle[place],
        end[place + _STEP_BINS - _STEP_ENDS] - middle[place],
    ])  # fmt: skip
    jumps = (jump > _STEP_Z * noise) & (np.abs(ends).max(axis=0) < jump / 3.0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], jumps, [False])).astype(np.int8)))
    found = []
    for first, last in zip(place[edges[::2]], place[edges[1::2] - 1], strict=True):
        near = values[first - _STEP_BINS : last + _STEP_BINS]
        low, high = middle[first - _STEP_BINS], middle[last]
        # The place that leaves the least between each bin and the level of its side.
        nearer = np.cumsum(np.abs(near - low) - np.abs(near - high))
        found.append(first - _STEP_BINS + 1 + int(np.nanargmin(nearer)))
    return np.array(found, dtype=np.int64)


def _early_jumps(values: NDArray, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where a series, shape (n,), jumps and stays within the first bins after these places: the first ones after it.

    Two services, or one and new settings, within some hours of each other.
    """
    if not (len(starts) and len(values)):
        return np.zeros(0, dtype=np.int64)
    noise = _step_noise(values)
    length = np.minimum(np.diff([*starts.tolist(), len(values)]), 2 * _STEP_BINS)
    near = values[np.minimum(starts[:, None] + np.arange(2 * _STEP_BINS), len(values) - 1)]
    jumps = np.zeros((len(starts), _STEP_BINS), dtype=values.dtype)
    for place in range(_STEP_ENDS, _STEP_BINS):
        long_enough = length >= place + _STEP_BINS
        jumps[long_enough, place] = _jumps_at(near[long_enough, : place + _STEP_BINS], place, noise)
    best = jumps.argmax(axis=1)
    return (starts + best)[jumps.max(axis=1) > 0.0]


def _jumps_at(values: NDArray, place: int, noise: float) -> NDArray:
    """How much better two levels, up to a place and behind it, describe series than one; 0 where it is no jump.

    ``values``: shape (n, bins), a series in each row.
    """
    before, after = values[:, :place], values[:, place:]
    low, high = np.median(before, axis=1), np.median(after, axis=1)
    jump = np.abs(high - low)
    ends = ((before[:, -_STEP_ENDS:], low), (after[:, :_STEP_ENDS], high), (after[:, -_STEP_ENDS:], high))
    strays = np.max([np.abs(np.median(end, axis=1) - level) for end, level in ends], axis=0)
    parts = np.abs(before - low[:, None]).sum(axis=1) + np.abs(after - high[:, None]).sum(axis=1)
    whole = np.abs(values - np.median(values, axis=1)[:, None]).sum(axis=1)
    return np.where((jump > _STEP_Z * noise) & (strays <= jump / 3.0), (whole - parts) / values.shape[1], 0.0)


def _step_noise(values: NDArray) -> float:
    return float(np.nanmedian(np.abs(np.diff(values)))) / (MAD_SD * np.sqrt(2.0)) if len(values) > 1 else np.inf


def core_moves(
    deployments: "Deployments", centre: NDArray[np.float32], spread: NDArray[np.float32], columns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which rows are the first of a deployment whose core lies elsewhere than in the one before it, shape (n,)."""
    owner, start = deployments.instrument, deployments.start
    order = np.lexsort((start, owner))
    found = np.zeros(len(deployments.codes), dtype=bool)
    for before, after in pairwise(order.tolist()):
        step = np.abs(centre[after, columns] - centre[before, columns]) / spread[after, columns]
        if owner[after] == owner[before] and np.nanmax(step, initial=0.0) > _MOVED_Z:
            found[deployments.first[after]] = True
    return found


def rows_by_code(codes: NDArray[np.int64], n: int) -> list[NDArray[np.int64]]:
    """The rows of each code from 0 to n - 1; rows of other codes are in none."""
    order = np.argsort(codes, kind="stable")
    bounds = np.searchsorted(codes[order], np.arange(n + 1))
    return [order[first:last] for first, last in pairwise(bounds)]
