"""A verdict on bins by their images: numbers beside those of the instrument's bins before, alone and with neighbours.

Unlike the flow model nothing is trained here: the bins of the days before are the model. With fewer than
``MIN_BASELINE_BINS`` of them a bin is not judged; what the image model is plainly sure of is then reported as a watch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ifcb_flow_pipeline.detection.columns import times
from ifcb_flow_pipeline.detection.flow.instrument import held
from ifcb_flow_pipeline.detection.images.kinds import CAUSE_OF, KINDS, WORDS
from ifcb_flow_pipeline.detection.verdict.causes import CAUSES
from ifcb_flow_pipeline.detection.verdict.decision import MIN_BASELINE_BINS
from ifcb_flow_pipeline.detection.verdict.sentences import join, numbers
from ifcb_flow_pipeline.detection.verdict.severity import (
    BAD_FROM,
    SEVERITY_PER_DECADE,
    WATCH_FROM,
    severities,
    verdicts,
)

#: A bin is compared with so many bins before it, at most: a few days of them.
_BINS_BEFORE = 100

#: Runs of bins whose mean is looked at, for what changes little but lasts.
_RUNS = (4, 8)

#: Deviations of healthy bins have longer tails than a normal distribution: those of Student's with so many degrees.
_DEGREES = 5.0

#: So many of the numbers are independent of each other, about: the rarest of them is that much less rare.
_INDEPENDENT = 10.0

#: What a run of bins costs in rarity, for all the runs that are looked at.
_COST_OF_RUNS = 0.5

#: Without history, a mean probability of a fault from which it is reported; it is a watch of this rarity.
_PLAIN, _REPORTED = 0.3, 1.5

#: Findings that are kept of a bin, and of how many the texts make its reasons; each at least this rare.
_MOST_FINDINGS, _MOST_REASONS, _LEAST_RARITY = 6, 3, 1.4

#: The rarity of a bad bin, which teaches later ones nothing.
_BAD_RARITY = BAD_FROM / SEVERITY_PER_DECADE

#: The normal range, as findings state it, in spreads.
_RANGE = 2.3


@dataclass(frozen=True, slots=True)
class Number:
    """A number of a bin. ``up``, ``down``: the cause that it is a sign of where it is higher or lower than usual, empty
    where that is no matter. ``least``: the least spread between healthy bins. ``scale``: plain, or log.
    """

    name: str
    words: str
    least: float
    up: str = ""
    down: str = ""
    scale: str = "plain"
    unit: str = ""


#: One image in two hundred is chance; a tenth of them with a clear fault raise the mean probability by .05 or more.
_OF_KINDS = tuple(Number(f"p_{kind}", WORDS[kind], 0.006, up=CAUSE_OF[kind], unit="fraction") for kind in KINDS)

NUMBERS: Final = (
    *_OF_KINDS,
    Number("touching_fraction", "Particles that touch the border of their box", 0.03, up="cut_boxes", unit="fraction"),
    Number("odd_fraction", "Images unlike those that are known", 0.04, up="community", unit="fraction"),
    Number("focus", "Sharpness of edges", 0.06, down="defocus", scale="log"),
    Number("background", "Brightness of the background", 0.012, up="bright_flash", down="dim_flash", scale="log",
           unit="grey"),
    Number("noise", "Noise", 0.05, up="noise", scale="log", unit="grey"),
    Number("spread", "Variety of the images", 0.15, down="beads", scale="log"),
    Number("window_z", "Darkest place of the window against its map", 1.2, up="dirty_window"),
)  # fmt: skip

#: What of earlier bins a bin is compared with.
HISTORY_NUMBERS: Final = tuple(each.name for each in NUMBERS)

#: The columns of ``bin_image_scores`` that are added here.
JUDGED_COLUMNS: Final = ("severity", "baseline_bins", "verdict", "cause", "second_cause", "reasons", "findings")

_UP = np.array([bool(each.up) for each in NUMBERS])
_DOWN = np.array([bool(each.down) for each in NUMBERS])
_LEAST = np.array([each.least for each in NUMBERS])
_IS_FRACTION = np.array([each.unit == "fraction" for each in NUMBERS])


@dataclass(frozen=True, slots=True)
class _Sign:
    """A number of a bin, or its mean over the last ``n_bins``, that is not as usual."""

    number: Number
    rarity: float
    value: float
    low: float
    high: float
    is_above: bool
    n_bins: int

    @property
    def cause(self) -> str:
        return self.number.up if self.is_above else self.number.down


@dataclass(frozen=True, slots=True)
class _Judged:
    """What is decided of a bin. ``rarity``: alone or with its neighbours; ``alone``: by itself."""

    rarity: float
    alone: float
    baseline_bins: int
    signs: Sequence[_Sign]


def judge_bins(bins: pa.Table, history: pa.Table) -> pa.Table:
    """Rows of ``bin_image_scores`` with severity, verdict, cause and reasons, in their order.

    ``history``: rows of the days before with HISTORY_NUMBERS, ``verdict`` and ``status``; bad ones teach nothing.
    """
    found: list[_Judged] = [_Judged(np.nan, np.nan, 0, ())] * bins.num_rows
    instruments, before = bins["instrument"].to_pylist(), history["instrument"].to_pylist()
    for name in sorted(set(instruments)):
        rows = np.flatnonzero(np.array(instruments) == name)
        own = history.take(pa.array(np.flatnonzero(np.array(before, dtype=object) == name)))
        some = bins.take(pa.array(rows))
        order = np.argsort(times(some), kind="stable")
        for at, judged in zip(rows[order], _of_instrument(some.take(pa.array(order)), own), strict=True):
            found[at] = judged
    return _with_verdicts(bins, found)


def _of_instrument(bins: pa.Table, history: pa.Table) -> list[_Judged]:
    """Bins of one instrument, in the order of time."""
    teaches = [
        status == "ok" and verdict != "bad"
        for status, verdict in zip(history["status"].to_pylist(), history["verdict"].to_pylist(), strict=True)
    ]
    order = np.argsort(times(history), kind="stable")
    known = list(_scaled(history)[order][np.array(teaches, dtype=bool)[order]])
    values, status = _scaled(bins), bins["status"].to_pylist()
    n_images = bins["n_images"].to_numpy()
    found, run = [], list[NDArray[np.float64]]()
    for row, at, n in zip(values, status, n_images, strict=True):
        if at != "ok":
            found.append(_Judged(np.nan, np.nan, len(known), ()))
            continue
        judged, z = _judge(row, np.array(known[-_BINS_BEFORE:]).reshape(-1, len(NUMBERS)), run, max(int(n), 1))
        found.append(replace(judged, baseline_bins=len(known)))
        # What is odd alone is no part of a run: it would make the bins after it odd, too.
        run = [*run, z][-max(_RUNS) + 1 :] if z is not None and judged.alone < _LEAST_RARITY else []
        if not judged.rarity >= _BAD_RARITY:
            known.append(row)
    return found


def _judge(
    row: NDArray[np.float64], known: NDArray[np.float64], run: Sequence[NDArray[np.float64]], n_images: int
) -> tuple[_Judged, NDArray[np.float64] | None]:
    """A bin beside the bins before it; ``run``: deviations of the bins just before. And its own deviations."""
    if len(known) < MIN_BASELINE_BINS:
        return _plain(row), None
    centre, spread = _usual(known, n_images)
    z = (row - centre) / spread
    signs = _signs(row, z, centre, spread, 1, 0.0)
    alone = max((sign.rarity for sign in signs), default=0.0)
    for n in _RUNS if alone < _LEAST_RARITY else ():
        if len(run) >= n - 1:
            together = np.array([*run[len(run) - n + 1 :], z])
            # Neighbouring bins are alike: the mean of n of them varies more than that of n strangers.
            means = np.lib.stride_tricks.sliding_window_view((known - centre) / spread, n, axis=0).mean(axis=-1)
            unit = np.maximum(1.4826 * _median(np.abs(means)), 1.3 / np.sqrt(n))
            mean = together.mean(axis=0)
            signs += _signs(centre + mean * spread, mean / unit, centre, spread * unit, n, _COST_OF_RUNS)
    best = {}
    for sign in sorted(signs, key=lambda sign: -sign.rarity):
        best.setdefault(sign.number.name, sign)
    rarity = max((sign.rarity for sign in best.values()), default=0.0)
    found = [sign for sign in best.values() if sign.rarity >= _LEAST_RARITY]
    if found and not CAUSES[found[0].cause].is_fault:
        of_faults = max((sign.rarity for sign in found if CAUSES[sign.cause].is_fault), default=0.0)
        rarity = max(float(held(np.array([rarity]))[0]), of_faults)
    return _Judged(rarity, alone, 0, found), z


def _usual(known: NDArray[np.float64], n_images: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What is usual of each number, and how much it varies between bins of so many images."""
    centre = _median(known)
    spread = 1.4826 * _median(np.abs(known - centre))
    chance = np.where(_IS_FRACTION, np.sqrt(np.clip(centre * (1 - centre), 0, None) / n_images), 0.0)
    # Of few bins the median itself is uncertain.
    widened = np.hypot(np.maximum(spread, _LEAST), chance) * np.sqrt(1 + 1.57 / len(known))
    return centre, widened


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The median of each column, NaN where fewer than MIN_BASELINE_BINS are known."""
    enough = np.isfinite(values).sum(axis=0) >= MIN_BASELINE_BINS
    found = np.full(values.shape[1], np.nan)
    found[enough] = np.nanmedian(values[:, enough], axis=0)
    return found


def _signs(
    values: NDArray[np.float64],
    z: NDArray[np.float64],
    centre: NDArray[np.float64],
    spread: NDArray[np.float64],
    n_bins: int,
    cost: float,
) -> list[_Sign]:
    from scipy.special import stdtr

    outside = np.where(_UP & (z > 0) | _DOWN & (z < 0), np.abs(z), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rarity = -np.log10(stdtr(_DEGREES, -outside)) - np.log10(_INDEPENDENT) - cost
    return [
        _Sign(NUMBERS[at], float(rarity[at]), *_plain_values(NUMBERS[at], values[at], centre[at], spread[at]),
              bool(z[at] > 0), n_bins)
        for at in np.flatnonzero(rarity > 0)
    ]  # fmt: skip


def _plain_values(number: Number, value: float, centre: float, spread: float) -> tuple[float, float, float]:
    """A value and its normal range in its unit."""
    found = np.array([value, centre - _RANGE * spread, centre + _RANGE * spread])
    if number.scale == "log":
        found = np.exp(found)
    if number.unit == "fraction":
        found = np.clip(found, 0.0, 1.0)
    return float(found[0]), float(found[1]), float(found[2])


def _plain(row: NDArray[np.float64]) -> _Judged:
    """A bin that nothing is known of to compare it with: not judged, unless a fault is plain."""
    of_kinds = row[: len(KINDS)]
    if not np.nanmax(of_kinds, initial=0.0) >= _PLAIN:
        return _Judged(np.nan, np.nan, 0, ())
    at = int(np.nanargmax(of_kinds))
    return _Judged(_REPORTED, _REPORTED, 0, [_Sign(NUMBERS[at], _REPORTED, float(of_kinds[at]), 0.0, np.nan, True, 1)])


def _scaled(bins: pa.Table) -> NDArray[np.float64]:
    """The NUMBERS of bins on their scales, shape (n, d)."""
    columns = [bins[each.name].to_numpy().astype(np.float64) for each in NUMBERS]
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [
            np.log(np.maximum(column, 1e-6)) if each.scale == "log" else column
            for each, column in zip(NUMBERS, columns, strict=True)
        ]
    return np.column_stack(columns).reshape(bins.num_rows, len(NUMBERS))


def _with_verdicts(bins: pa.Table, found: Sequence[_Judged]) -> pa.Table:
    rarity = np.array([judged.rarity for judged in found], dtype=np.float64)
    is_judged = np.isfinite(rarity)
    severity = np.where(is_judged, severities(rarity), np.nan)
    n = len(found)
    verdict = verdicts(severity, np.full(n, BAD_FROM), np.ones(n, dtype=bool), is_judged)
    # What looks as usual has no cause, and nothing is said of it.
    told = [judged.signs if severity[at] >= WATCH_FROM else () for at, judged in enumerate(found)]
    causes = [list(dict.fromkeys(sign.cause for sign in signs)) for signs in told]
    texts = {
        "verdict": list(verdict),
        "cause": [of_bin[0] if of_bin else "" for of_bin in causes],
        "second_cause": [of_bin[1] if len(of_bin) > 1 else "" for of_bin in causes],
        "reasons": [_reasons(signs, of_bin) for signs, of_bin in zip(told, causes, strict=True)],
        "findings": [_findings(signs) for signs in told],
    }
    table = bins.append_column("severity", pa.array(severity, pa.float64()))
    table = table.append_column("baseline_bins", pa.array([judged.baseline_bins for judged in found], pa.int64()))
    for name, column in texts.items():
        table = table.append_column(name, pa.array(column, pa.string()))
    return table


def _reasons(signs: Sequence[_Sign], causes: Sequence[str]) -> str:
    if not signs:
        return ""
    first, *others = [CAUSES[cause] for cause in causes[:2]]
    return join([*map(_text, signs[:_MOST_REASONS]), first.suspicion(*others), first.check])


def _findings(signs: Sequence[_Sign]) -> str:
    total = sum(sign.rarity for sign in signs)
    return json.dumps([_finding(sign, total) for sign in signs[:_MOST_FINDINGS]], ensure_ascii=False)


def _finding(sign: _Sign, total: float) -> dict[str, Any]:
    mean = {"bins": sign.n_bins} if sign.n_bins > 1 else {}
    return {
        "feature": sign.number.name, **mean, "value": _json(sign.value), "low": _json(sign.low),
        "high": _json(sign.high), "unit": sign.number.unit, "share": round(sign.rarity / total, 4),
        "cause": sign.cause, "text": _text(sign), "check": CAUSES[sign.cause].check,
    }  # fmt: skip


def _text(sign: _Sign) -> str:
    """``Images out of focus: 21 % (usual 0.1 to 2 %)``, by mean probability."""
    mean = f", mean of {sign.n_bins} bins in a row" if sign.n_bins > 1 else ""
    if np.isnan(sign.high):
        return f"{sign.number.words}: {sign.value:.0%} of the images; the instrument has no history yet"
    if sign.number.unit == "fraction":
        low, high = (f"{100 * value:.2g}" for value in (sign.low, sign.high))
        return f"{sign.number.words}: {100 * sign.value:.2g} % of the images{mean} (usual {low} to {high} %)"
    unit = f" {sign.number.unit}" if sign.number.unit else ""
    value, low, high = numbers(np.array([sign.value, sign.low, sign.high]))
    return f"{sign.number.words} {value}{unit}{mean} (usual {low} to {high}{unit})"


def _json(value: float) -> float | None:
    return round(value, 6) if np.isfinite(value) else None
