"""A third simulator, as a stranger would write one in an afternoon: quantile tables of one real bin, plain recipes.

Written after the detector, and never looked at while it was made better. It shares no code and no constant with the
package or the other simulators: boxes come from the quantiles of a single real cloud, faults follow the words of the
operators' field guide, a header has a dozen lines, and what happens is dealt out by dice of its own.
``archive(seed)`` makes a fleet.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from benchmarks import schedule
from benchmarks.kept import FleetSize, kept
from benchmarks.schedule import FAULT, PLAIN, VARIATION, Fleet, Slot, Truth

_FRAME = (1360.0, 1024.0)
_LEVELS = (0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1)
#: Quantiles, at these levels, of a healthy bin of 4802 images: px, px, px, px, V, µs.
_QUANTILES = {
    "across": (156, 228, 288, 472, 632, 784, 884, 920, 948, 960),
    "width": (56, 64, 72, 72, 80, 96, 184, 280, 386, 700),
    "height": (26, 34, 34, 34, 42, 50, 66, 98, 140, 338),
    "peak": (0.010, 0.010, 0.011, 0.074, 0.173, 0.280, 0.602, 1.83, 3.33, 3.5),
    "flight": (8.7, 52.2, 52.2, 54.3, 58.7, 62.5, 73.9, 87, 113, 400),
}
_SETTLING_BINS = 10

Column: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Rig:
    """An instrument: where its core lies and leans, how large its world is, and how long a frame takes."""

    name: str
    core_px: float
    lean: float
    sharpness_px: float
    scale: float
    dead_s: float
    blank: float
    with_header: bool
    on_lattice: bool


@dataclass(slots=True)
class _Bin:
    """One row per box or blank trigger, arrays of shape (n,): time in s, box centres and sides in px, signals."""

    rig: _Rig
    time: Column
    is_same_frame: NDArray[np.bool_]
    has_box: NDArray[np.bool_]
    x: Column
    y: Column
    width: Column
    height: Column
    peak: Column
    flight: Column
    length_s: float
    stated: dict[str, float]

    def rows(self, chosen: NDArray) -> "_Bin":
        """The bin with some of its rows (mask or numbers)."""
        return replace(self, **{name: getattr(self, name)[chosen] for name in _COLUMNS})


_COLUMNS = ("time", "is_same_frame", "has_box", "x", "y", "width", "height", "peak", "flight")


def archive(seed: int, size: FleetSize | None = None) -> Fleet:
    """The archive of a seed, made where it is not there yet."""
    size = size or FleetSize()
    return kept(f"third-{seed}", (seed, size), [schedule], lambda root: _write(root, seed, size))


def _drawn(rng: np.random.Generator, name: str, n: int) -> Column:
    return np.interp(rng.random(n), _LEVELS, _QUANTILES[name])


def _healthy(rng: np.random.Generator, rig: _Rig, triggers: float, core_px: float, larger: float = 1.0) -> _Bin:
    length_s = 1200.0 + rng.uniform(0, 2)
    n = int(np.clip(rng.poisson(triggers), 2, 0.9 * length_s / rig.dead_s))
    time = np.sort(rng.uniform(8, length_s - 0.2, n))
    is_second = rng.random(n) < 0.009
    row = np.repeat(np.arange(n), 1 + is_second)
    same = np.diff(row, prepend=-1) == 0
    m = len(row)
    width = np.maximum(_drawn(rng, "width", m) * rig.scale * larger, 40)
    y = _drawn(rng, "across", m)
    noise = 0.55 * rig.sharpness_px * rng.standard_t(6, m) - 0.36 * np.maximum(width - 84, 0) + 8
    x = core_px + rig.lean * (y - 600) - 8.7e-5 * (y - 600) ** 2 + noise
    is_left, is_right = rng.random(m) < 0.010, rng.random(m) < 0.0035
    x = np.where(is_left, rng.uniform(30, max(core_px - 80, 60), m), x)
    x = np.where(is_right, rng.uniform(min(core_px + 60, 1290), 1330, m), x)
    peak = _drawn(rng, "peak", m) * np.sqrt(width / 84)
    return _Bin(
        rig, time[row], same, same | (rng.random(m) > rig.blank), x, y, width,
        np.maximum(_drawn(rng, "height", m) * rig.scale, 24), peak, _drawn(rng, "flight", m), length_s, {},
    )  # fmt: skip


def _mix(severity: float, mild: float, gross: float) -> float:
    """The value at a severity, geometrically between that of 0 and that of 1."""
    return mild * (gross / mild) ** severity


def _air(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    bubble = rng.random(len(b.x)) < _mix(s, 0.08, 0.95)
    b.x = np.where(bubble, rng.uniform(0, _FRAME[0], len(b.x)), b.x)
    b.y = np.where(bubble, rng.uniform(0, _FRAME[1], len(b.x)), b.y)
    growth = np.where(bubble, rng.lognormal(0.5, 0.6, len(b.x)), 1)
    b.width, b.height = b.width * growth, b.height * growth
    b.has_box &= ~(bubble & (rng.random(len(b.x)) < 0.3 * s))
    return b


def _focus_loss(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    b.x = b.x + _mix(s, 15, 250) * rng.standard_normal(len(b.x))
    b.y = b.y + _mix(s, 10, 150) * rng.standard_normal(len(b.x))
    return b


def _shift(_rng: np.random.Generator, b: _Bin, s: float, lasting: np.random.Generator) -> _Bin:
    step = float(lasting.choice([-1, 1])) * _mix(s, 15, 150)
    b.x, b.flight = b.x + step, b.flight * (1 + step / 600)
    return b


def _drift(_rng: np.random.Generator, b: _Bin, s: float, lasting: np.random.Generator) -> _Bin:
    ramp = float(lasting.choice([-1, 1])) * _mix(s, 20, 160)
    b.x = b.x + ramp * b.time / b.length_s
    return b


def _tilt(_rng: np.random.Generator, b: _Bin, s: float, lasting: np.random.Generator) -> _Bin:
    b.x = b.x + float(lasting.choice([-1, 1])) * _mix(s, 0.05, 0.5) * (b.y - 560)
    return b


def _stuck(rng: np.random.Generator, b: _Bin, s: float, lasting: np.random.Generator) -> _Bin:
    x, y = lasting.uniform(100, 1200), lasting.uniform(150, 850)
    width, height = lasting.uniform(60, 160), lasting.uniform(40, 110)
    shown = (rng.random(len(b.x)) < _mix(s, 0.04, 0.9)) & ~b.is_same_frame
    more = b.rows(np.repeat(np.arange(len(b.x)), 1 + shown))
    added = np.diff(np.repeat(np.arange(len(shown)), 1 + shown), prepend=-1) == 0
    more.is_same_frame |= added
    more.has_box |= added
    jitter = 8 * rng.integers(-1, 2, (2, len(more.x))) * (rng.random((2, len(more.x))) < 0.15)
    more.x, more.y = np.where(added, x + jitter[0], more.x), np.where(added, y + jitter[1], more.y)
    more.width, more.height = np.where(added, width, more.width), np.where(added, height, more.height)
    return more


def _clog(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    start = rng.uniform(0.15, 0.8) * b.length_s
    return b.rows((b.time < start) | (rng.random(len(b.x)) < _mix(s, 0.6, 0.02)))


def _laser(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    b = b.rows((rng.random(len(b.x)) < _mix(s, 0.6, 0.03)) & (b.y < _mix(s, 950, 500)))
    b.has_box &= rng.random(len(b.x)) > _mix(s, 0.1, 0.8)
    b.peak = 0.01 + (b.peak - 0.01) * _mix(s, 0.8, 0.15)
    return b


def _blurred(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    growth = _mix(s, 1.08, 1.6)
    b.width, b.height = b.width * growth, b.height * growth
    b.has_box &= rng.random(len(b.x)) > _mix(s, 0.04, 0.4)
    return b


def _noise(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    n = int(len(b.x) * _mix(s, 0.3, 6))
    false = b.rows(rng.integers(0, len(b.x), n))
    false.time, false.has_box = rng.uniform(8, b.length_s - 0.2, n), rng.random(n) < 0.03
    false.is_same_frame, false.peak = np.zeros(n, bool), rng.normal(0.0105, 0.0003, n)
    joined = replace(b, **{k: np.concatenate([getattr(b, k), getattr(false, k)]) for k in _COLUMNS})
    return joined.rows(np.argsort(joined.time, kind="stable"))


def _clipped(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    hit = rng.random(len(b.x)) < _mix(s, 0.02, 0.35)
    at_left = hit & (rng.random(len(b.x)) < 0.5)
    b.x = np.where(at_left, b.width / 2, np.where(hit, _FRAME[0] - b.width / 2, b.x))
    return b


def _aborted(_rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    end = _mix(s, 950, 60)
    b = b.rows(b.time < end)
    b.length_s = end + 1
    return b


def _near_empty(rng: np.random.Generator, b: _Bin, s: float, _: np.random.Generator) -> _Bin:
    n = min(round(_mix(s, 120, 1)) - 1, len(b.x))
    b = b.rows(np.sort(rng.choice(len(b.x), n, replace=False)))
    b.has_box &= rng.random(n) < 0.2
    return b


_FAULTS: Mapping[str, Callable[[np.random.Generator, _Bin, float, np.random.Generator], _Bin]] = {
    "air": _air, "focus_loss": _focus_loss, "flow_speed_shift": _shift, "drift_in_run": _drift, "camera_tilt": _tilt,
    "stuck_roi": _stuck, "clog": _clog, "laser_misalignment": _laser, "out_of_focus": _blurred,
    "noise_trigger": _noise, "edge_clipping": _clipped, "incomplete_run": _aborted, "empty_bin": _near_empty,
}  # fmt: skip
_BRIEF = ("incomplete_run", "empty_bin")


def _slots(rng: np.random.Generator, n: int, share: float, first_number: int) -> list[Slot]:
    """What happens to n bins of an instrument: a bloom, detritus, and faults for a share of the bins."""
    slots, number = [Slot()] * n, first_number

    def place(name: str, kind: str, severity: float, length: int) -> int:
        room = [i for i in range(3, n - length) if not any(slot.name for slot in slots[i - 1 : i + length + 1])]
        if room:
            start = int(rng.choice(room))
            for k in range(length):
                slots[start + k] = Slot(name, severity, kind, number, k)
        return length if room else 0

    for name, longest in (("bloom", n // 8), ("detritus", n // 16), ("bloom", 6)):
        place(name, VARIATION, float(rng.uniform(0.2, 1)), int(rng.integers(2, max(longest, 3) + 1)))
        number += 1
    left = max(round(share * n), 2)
    while left > 0:
        name = str(rng.choice(list(_FAULTS)))
        length = 1 if name in _BRIEF else min(int(rng.geometric(0.3)), left, 8)
        left -= max(place(name, FAULT, float(rng.uniform(0.05, 1)), length), 1)
        number += 1
    return slots


def _write(root: Path, seed: int, size: FleetSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 333])
    share = float(rng.uniform(0.01, 0.06))
    with_header, on_lattice = rng.random() < 0.75, rng.random() < 0.75
    truths: list[Truth] = []
    for number in range(int(rng.integers(size.instruments[0], size.instruments[1] + 1))):
        rig = _Rig(
            f"IFCB{110 + 7 * number + seed % 7:03}", float(rng.uniform(380, 1040)), float(rng.normal(-0.05, 0.02)),
            float(rng.uniform(12, 22)), float(rng.uniform(0.9, 1.15)), float(rng.normal(0.083, 0.003)),
            float(rng.uniform(0.03, 0.1)), bool(with_header), bool(on_lattice),
        )  # fmt: skip
        n = int(rng.integers(*size.bins))
        truths += _write_series(root, rng, rig, _slots(rng, n, share, 1000 * number), (seed, number), size)
    return truths


def _write_series(
    root: Path, rng: np.random.Generator, rig: _Rig, slots: list[Slot], key: tuple[int, int], size: FleetSize
) -> list[Truth]:
    n, start = len(slots), datetime(2023, 6, 1, tzinfo=UTC)
    level = np.log(rng.uniform(*size.triggers))
    swing, wander, warm = 0.0, 0.0, rng.uniform(12, 24)
    serviced = int(rng.integers(n // 4, n)) if rng.random() < 0.4 else n
    step = float(rng.choice([-1, 1]) * rng.uniform(10, 80))
    truths = []
    for i, slot in enumerate(slots):
        swing, wander = 0.81 * swing + rng.normal(0, 0.2), 0.7 * wander + rng.normal(0, 1)
        warm += rng.normal(0, 0.15)
        start += timedelta(seconds=1434 + rng.uniform(0, 6) + (8 * 3600 if i == serviced else 0))
        many = _mix(slot.severity, 1.3, 6) if slot.name == "bloom" else 1.0
        large = _mix(slot.severity, 1.02, 1.25) if slot.name in ("bloom", "detritus") else 1.0
        core = rig.core_px + np.clip(wander, -3, 3) + step * (i >= serviced)
        run = _healthy(rng, rig, float(np.exp(level + swing)) * many, core, large)
        if slot.name == "detritus":
            flake = np.where(rng.random(len(run.x)) < 0.3 * slot.severity, rng.lognormal(0.4, 0.4, len(run.x)), 1.0)
            run.width, run.height = run.width * flake, run.height * flake
        if slot.kind == FAULT:
            lasting = np.random.default_rng([*key, slot.episode])
            run = _FAULTS[slot.name](rng, run, slot.severity, lasting)
        run.stated = {"temperature": warm, "humidity": 30 + swing}
        pid = f"D{start:%Y%m%dT%H%M%S}_{rig.name}"
        _write_files(run, root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid)
        if slot.kind == PLAIN and serviced <= i < serviced + _SETTLING_BINS:
            slot = Slot("service", 1.0, VARIATION, -1, i - serviced)  # noqa: PLW2901 - what users see of a service
        truths.append(Truth(pid, rig.name, slot))
    return truths


def _write_files(run: _Bin, path: Path) -> None:
    n = len(run.x)
    width, height = run.width.clip(16, _FRAME[0]), run.height.clip(16, _FRAME[1])
    x = (run.x - width / 2).clip(0, _FRAME[0] - width)
    y = (run.y - height / 2).clip(0, _FRAME[1] - height)
    box = [np.round(v / 8) * 8 if run.rig.on_lattice else np.round(v) for v in (x, y, width, height)]
    box = [np.where(run.has_box, v, 0) for v in box]
    trigger = np.cumsum(~run.is_same_frame)
    area = box[2] * box[3]
    zero = np.zeros(n)
    pmt = [np.round(run.peak * f, 6) for f in (0.02, 0.05, 0.01, 0.01, 0.4, 1, 0.1, 0.1)]
    integers = [0, 13, 14, 15, 16, 17, 18, 19, 20, 21]
    columns = [
        trigger, np.round(run.time, 4), *pmt, np.round(run.flight, 2), np.round(run.time, 4),
        np.round(run.time + 0.0425, 4), *box, np.cumsum(area) - area, zero, zero, zero, zero,
        np.round(run.time + 0.045, 4), np.round(run.rig.dead_s * trigger, 4),
    ]  # fmt: skip
    arrays = [column.astype(np.int64) if i in integers else column for i, column in enumerate(columns)]
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(arrays, names=[str(i) for i in range(len(arrays))])
    csv.write_csv(table, path.with_suffix(".adc"), csv.WriteOptions(include_header=False))
    if not run.rig.with_header:
        return
    lines = {
        "softwareVersion": "Imaging FlowCytobot Acquisition Software version 2.0", "runTime": f"{run.length_s:.3f}",
        "inhibitTime": f"{run.rig.dead_s * (trigger[-1] if n else 0):.3f}", "triggerCount": trigger[-1] if n else 0,
        "roiCount": int(run.has_box.sum()), "SyringeSampleVolume": 5, "runType": "NORMAL",
        **{name: f"{value:.3f}" for name, value in run.stated.items()},
    }  # fmt: skip
    path.with_suffix(".hdr").write_text("".join(f"{name}: {value}\r\n" for name, value in lines.items()))
