"""Real clouds with faults put into them: ``archive(samples)``.

A public bin is resampled, trigger by trigger, into a series of bins of its instrument: boxes, signals and waits stay
real, only their choice and order are drawn. Counts vary, the core wanders by some px, and some bins get a fault put
into their real columns. Independent of both simulators; the headers are the real ones with the counts that result.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from benchmarks import fleets, schedule
from benchmarks.schedule import FAULT, Fleet, Slot, Truth, autoregressive

#: Bins that are clouds, by the instrument that they make; several bins of one instrument are one pool.
SOURCES = {
    "IFCB134": ("D20230810T113059_IFCB134",),
    "IFCB108": ("D20251126T102453_IFCB108",),
    "IFCB102": ("D20141117T234033_IFCB102",),
    "IFCB114": ("D20220101T221311_IFCB114",),
    "IFCB160": (
        "D20210709T212501_IFCB160", "D20210709T214847_IFCB160", "D20210709T221233_IFCB160", "D20210709T223619_IFCB160",
        "D20210709T230005_IFCB160", "D20210709T232350_IFCB160", "D20210709T234736_IFCB160", "D20210710T001120_IFCB160",
        "D20210710T003505_IFCB160", "D20210710T005851_IFCB160",
    ),
}  # fmt: skip

_X, _Y, _W, _H, _START, _RUN, _INHIBIT = 13, 14, 15, 16, 17, 22, 23
_TIMES = (1, 11, 12)
_FRAME = (1360, 1024)
_CYCLE = timedelta(minutes=24)

Table: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Size:
    bins: int = 150
    triggers: int = 900
    share: float = 0.12


def archive(samples: Path, seed: int = 0, small: bool = False) -> Fleet | None:
    """The archive of resampled real bins; None where the sample bins are not there."""
    found = {name: [p for pid in pids for p in sorted(samples.rglob(f"{pid}.adc"))] for name, pids in SOURCES.items()}
    found = {name: paths for name, paths in found.items() if paths}
    if not found:
        return None
    size = _Size(bins=40, triggers=150) if small else _Size()
    key = (seed, size, sorted(map(str, found)))
    return fleets.cached("real", key, [schedule], lambda root: _write(root, seed, found, size))


def _write(root: Path, seed: int, found: dict[str, list[Path]], size: _Size) -> list[Truth]:
    truths = []
    for number, (name, paths) in enumerate(found.items()):
        rng = np.random.default_rng([seed, number])
        tables = [_read(path) for path in paths]
        header = paths[0].with_suffix(".hdr").read_bytes()
        start = datetime.strptime(paths[0].stem[1:16], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        counts = np.exp(autoregressive(rng, size.bins, 0.8, 0.3))
        wander = autoregressive(rng, size.bins, 0.8, 2.0)
        weather = autoregressive(rng, size.bins, 0.97, 0.5)
        for i in range(size.bins):
            start += _CYCLE
            slot = _slot(rng, i, size)
            least = min(sum(len(table) for table in tables) / len(tables), size.triggers)
            table = _resampled(rng, tables, max(int(least * counts[i]), 40), float(wander[i]))
            if slot.name:
                table = FAULTS[slot.name](rng, table, slot.severity)
            pid = f"D{start:%Y%m%dT%H%M%S}_{name}"
            _write_bin(root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid, table, header, float(weather[i]))
            truths.append(Truth(pid, name, slot))
    return truths


def _slot(rng: np.random.Generator, number: int, size: _Size) -> Slot:
    if rng.random() > size.share:
        return Slot()
    name = list(FAULTS)[int(rng.integers(len(FAULTS)))]
    return Slot(name, float(rng.uniform(0.1, 1)), FAULT, number)


def _read(path: Path) -> Table:
    return np.loadtxt(io.StringIO(path.read_text().replace("\r", "")), delimiter=",", ndmin=2)


def _resampled(rng: np.random.Generator, tables: Sequence[Table], n: int, wander_px: float) -> Table:
    """A bin of ``n`` triggers out of those of a table drawn from the pool: rows with all their columns."""
    table = tables[int(rng.integers(len(tables)))]
    firsts = np.flatnonzero(np.diff(table[:, 0], prepend=-1) != 0)
    sizes = np.diff(np.append(firsts, len(table)))
    drawn = rng.integers(0, len(firsts), n)
    drawn[0] = 0
    rows = np.concatenate([np.arange(firsts[k], firsts[k] + sizes[k]) for k in drawn])
    trigger = np.repeat(np.arange(n), sizes[drawn])
    waits = np.diff(table[firsts, 1], append=table[-1, 1] + 1)[drawn]
    begins = np.cumsum(waits) - waits
    begins = table[0, 1] + begins * (table[-1, 1] - table[0, 1]) / max(float(begins[-1]), 1e-9)
    blind = np.diff(table[firsts, _INHIBIT], prepend=0.0)
    blind = blind.clip(*np.quantile(blind, (0.02, 0.98)))[drawn]
    out = table[rows].copy()
    shift = begins[trigger] - table[rows, 1]
    for column in (*_TIMES, _RUN):
        out[:, column] += shift
    out[:, 0], out[:, _INHIBIT] = trigger + 1, np.cumsum(blind)[trigger]
    # The core wanders: so many boxes go a step of the lattice that their mean moves by as much.
    out[:, _X] += np.where(out[:, _W] > 0, 8 * np.floor(wander_px / 8 + rng.random(len(out))), 0)
    return out


def _write_bin(path: Path, table: Table, header: bytes, weather: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    area = table[:, _W] * table[:, _H]
    table[:, _START] = np.cumsum(area) - area
    whole = {0, _X, _Y, _W, _H, _START}
    columns = [table[:, i].astype(np.int64) if i in whole else np.round(table[:, i], 6) for i in range(table.shape[1])]
    buffer = io.BytesIO()
    arrow = pa.table(columns, names=[str(i) for i in range(len(columns))])
    csv.write_csv(arrow, buffer, csv.WriteOptions(include_header=False, quoting_style="none"))
    path.with_suffix(".adc").write_bytes(buffer.getvalue())
    values = {"triggerCount": int(table[-1, 0]), "roiCount": int((area > 0).sum())}
    text = header.decode("latin-1")
    for key, value in values.items():
        text = re.sub(rf"(?m)^({key}:\s*)\S+", rf"\g<1>{value}", text)
    ends = {"runTime": table[-1, _RUN] + 0.05, "inhibitTime": table[-1, _INHIBIT]}
    if _is_whole(text, table):
        ends.pop("runTime")
    for key, value in ends.items():
        text = re.sub(rf"(?m)^({key}:\s*)\S+", rf"\g<1>{value:.6f}", text)
    text = re.sub(r"(?m)^(temperature:\s*)(\S+)", lambda m: f"{m[1]}{float(m[2]) + weather:.4f}", text)
    path.with_suffix(".hdr").write_bytes(text.encode("latin-1"))


def _is_whole(text: str, table: Table) -> bool:
    """Whether the run took about the time that the header states: only an aborted one changes it."""
    stated = re.search(r"(?m)^runTime:\s*(\S+)", text)
    return bool(stated) and table[-1, _RUN] > 0.9 * float(stated[1])


def _shift(rng: np.random.Generator, table: Table, severity: float) -> Table:
    px = 8 * round(float(rng.choice([-1, 1]) * (16 + 120 * severity) / 8))
    return _moved(table, np.full(len(table), px))


def _tilt(rng: np.random.Generator, table: Table, severity: float) -> Table:
    slope = float(rng.choice([-1, 1])) * (0.05 + 0.4 * severity)
    return _moved(table, 8 * np.round(slope * (table[:, _Y] - 500) / 8))


def _spread(rng: np.random.Generator, table: Table, severity: float) -> Table:
    wide = (15 + 200 * severity) * rng.standard_normal((2, len(table)))
    out = _moved(table, 8 * np.round(wide[0] / 8))
    out[:, _Y] = np.clip(out[:, _Y] + 8 * np.round(0.5 * wide[1] / 8), table[0, _H], _FRAME[1])
    return out


def _air(rng: np.random.Generator, table: Table, severity: float) -> Table:
    is_bubble = (rng.random(len(table)) < 0.06 + 0.8 * severity) & (table[:, _W] > 0)
    out = table.copy()
    for side, limit in ((_W, 1000), (_H, 700)):
        swollen = 8 * np.round(table[:, side] * rng.lognormal(0.5, 0.5, len(table)) / 8)
        out[:, side] = np.where(is_bubble, np.minimum(swollen + table[:, side] % 8, limit), table[:, side])
    x = 8 * np.floor(rng.uniform(0, _FRAME[0] - out[:, _W]) / 8) + 4
    y = 8 * np.floor(rng.uniform(0, _FRAME[1] - out[:, _H]) / 8) + table[:, _Y] % 8
    out[:, _X], out[:, _Y] = np.where(is_bubble, x, table[:, _X]), np.where(is_bubble, y, table[:, _Y])
    return out


def _stuck(rng: np.random.Generator, table: Table, severity: float) -> Table:
    shows = np.flatnonzero((rng.random(len(table)) < 0.04 + 0.8 * severity) & (np.diff(table[:, 0], append=0) != 0))
    spots = table[shows].copy()
    spots[:, [_X, _Y, _W, _H]] = 8 * np.round(rng.uniform((100, 200, 60, 30), (600, 800, 170, 90)) / 8) + [4, 7, 0, 2]
    order = np.argsort(np.append(np.arange(len(table)), shows + 0.5), kind="stable")
    return np.concatenate([table, spots])[order]


def _clog(rng: np.random.Generator, table: Table, severity: float) -> Table:
    late = table[:, 1] > table[-1, 1] * rng.uniform(0.2, 0.7)
    return _kept(table, ~late | (rng.random(len(table)) < 0.7 - 0.67 * severity))


def _aborted(rng: np.random.Generator, table: Table, severity: float) -> Table:
    return _kept(table, table[:, 1] < table[-1, 1] * (0.85 - 0.75 * severity) * rng.uniform(0.95, 1.05))


def _empty(rng: np.random.Generator, table: Table, severity: float) -> Table:
    few = np.sort(rng.choice(len(table), min(int(60 * (1 - severity)) + 2, len(table)), replace=False))
    out = _kept(table, np.isin(np.arange(len(table)), few))
    return _blanked(out, rng.random(len(out)) < 0.85)


def _clipping(rng: np.random.Generator, table: Table, severity: float) -> Table:
    hit = (rng.random(len(table)) < 0.03 + 0.35 * severity) & (table[:, _W] > 0)
    out = table.copy()
    out[:, _X] = np.where(hit, np.where(rng.random(len(out)) < 0.5, 0, _FRAME[0] - out[:, _W]), out[:, _X])
    return out


def _blind(rng: np.random.Generator, table: Table, severity: float) -> Table:
    return _blanked(table, rng.random(len(table)) < 0.1 + 0.6 * severity)


def _moved(table: Table, x_px: NDArray[np.float64]) -> Table:
    out = table.copy()
    moved = np.clip(table[:, _X] + x_px, 4, _FRAME[0] - table[:, _W] - 4)
    out[:, _X] = np.where(table[:, _W] > 0, moved, table[:, _X])
    return out


def _kept(table: Table, rows: NDArray[np.bool_]) -> Table:
    """The chosen rows (one at least), triggers and inhibit time counted anew."""
    rows = rows.copy()
    rows[0] = True
    out = table[rows]
    is_next = np.diff(out[:, 0], prepend=0) != 0
    out[:, _INHIBIT] = np.cumsum(np.diff(table[:, _INHIBIT], prepend=0.0)[rows] * is_next)
    out[:, 0] = np.cumsum(is_next)
    return out


def _blanked(table: Table, lost: NDArray[np.bool_]) -> Table:
    out = table.copy()
    out[np.ix_(lost, [_X, _Y, _W, _H])] = 0
    return out


FAULTS: dict[str, Callable[[np.random.Generator, Table, float], Table]] = {
    "flow_speed_shift": _shift,
    "camera_tilt": _tilt,
    "focus_loss": _spread,
    "air": _air,
    "stuck_roi": _stuck,
    "clog": _clog,
    "incomplete_run": _aborted,
    "empty_bin": _empty,
    "edge_clipping": _clipping,
    "blind_triggers": _blind,
}
