"""Weeks of several instruments in which faults last for one to ten days, with a repair after each.

After a first part that is nearly healthy, faults follow upon each other, with days in order between them. In one of
these pauses a core jumps and stays, without a gap or a word in the header (``moved``: no fault, if it lasts).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import field_rigs, field_water, schedule, second_faults, second_files, second_run, second_simulator
from benchmarks.field_water import Sensors
from benchmarks.kept import kept
from benchmarks.schedule import FAULT, VARIATION, Fleet, Slot, Truth
from benchmarks.second_run import Rig

_MODULES = (field_rigs, field_water, schedule, second_faults, second_files, second_run, second_simulator)
_PROGRAMS = ("2.0.0.0", "2.3.0.0", "3.0.0.0", "1.1.5.23", "build 427")

#: What can be wrong for days. A core that stands elsewhere for days is no fault here, but ``moved``.
LASTING = (
    "stuck_roi", "camera_tilt", "air", "focus_loss", "noise_trigger", "clog", "out_of_focus", "laser_misalignment",
    "edge_clipping",
)  # fmt: skip
#: How long, days.
_DURATIONS = (1, 2, 3, 5, 7, 10)
#: Single bins of the first part.
_BRIEF = ("incomplete_run", "empty_bin", "air", "clog")
#: The share of them, as archives in order have.
_BRIEF_SHARE = 0.015


@dataclass(frozen=True, slots=True)
class DaysSize:
    """How large an archive is: instruments, bins a day, healthy days at first, faults of each instrument, triggers."""

    instruments: int = 3
    per_day: int = 24
    first_days: int = 12
    faults: int = 3
    triggers: tuple[float, float] = (500.0, 1200.0)
    durations: tuple[int, ...] = _DURATIONS


SMALL = DaysSize(instruments=1, per_day=12, first_days=5, faults=1, triggers=(150.0, 200.0), durations=(1,))


def archive(seed: int, size: DaysSize | None = None) -> Fleet:
    """The archive of a seed."""
    size = size or DaysSize()
    return kept(f"fault-days-{seed}", (seed, size), _MODULES, lambda root: _write(root, seed, size))


@dataclass(frozen=True, slots=True)
class _Planned:
    """A run to be: hours since the begin, its truth, where the core has moved to (px), and what breaks for good."""

    hour: float
    slot: Slot
    moved_px: float


def _write(root: Path, seed: int, size: DaysSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 4401])
    numbers = rng.choice(np.arange(500, 600), size.instruments, replace=False).tolist()
    kinds = np.concatenate([rng.permutation(LASTING) for _ in range(size.instruments)]).tolist()
    truths: list[Truth] = []
    for which, number in enumerate(numbers):
        own = np.random.default_rng([seed, 4402, which])
        rig = field_rigs.rig(own, f"IFCB{number}", str(own.choice(_PROGRAMS)))
        names = kinds[which * size.faults : (which + 1) * size.faults]
        truths += _series(root, own, rig, list(_plan(own, names, rig, size)), size)
    return truths


def _plan(rng: np.random.Generator, names: list[str], rig: Rig, size: DaysSize) -> Iterator[_Planned]:
    step, hour, moved = 24 / size.per_day, 0.0, 0.0
    moves_after = int(rng.integers(len(names))) if rng.random() < 0.7 else -1
    for _ in range(size.first_days * size.per_day):
        is_brief = rng.random() < _BRIEF_SHARE and hour > 24
        yield _Planned(hour, _brief(rng, hour) if is_brief else Slot(), moved)
        hour += step
    for number, name in enumerate(names):
        severity = float(rng.uniform(0.35, 1))
        for place in range(int(rng.choice(size.durations)) * size.per_day + int(rng.integers(size.per_day))):
            yield _Planned(hour, Slot(name, severity, FAULT, number, place), moved)
            hour += step
        # The instrument is out of the water while it is repaired.
        hour += float(rng.uniform(2, 9))
        for place in range(int(rng.integers(5, 9)) * size.per_day):
            is_after = place < 2 * size.per_day
            yield _Planned(hour, Slot("repaired", 0.0, schedule.PLAIN, number, place) if is_after else Slot(), moved)
            hour += step
        if number == moves_after:
            step_px = float(rng.choice([-1, 1]) * rng.uniform(25, 90))
            moved = step_px if 350 < rig.core_x + step_px < 1150 else -step_px
            for place in range(int(rng.integers(4, 8)) * size.per_day):
                yield _Planned(hour, Slot("moved", abs(moved), VARIATION, 1000 + number, place), moved)
                hour += step


def _brief(rng: np.random.Generator, hour: float) -> Slot:
    return Slot(str(rng.choice(_BRIEF)), float(rng.uniform(0.4, 1)), FAULT, 10_000 + round(10 * hour))


def _series(root: Path, rng: np.random.Generator, rig: Rig, plan: list[_Planned], size: DaysSize) -> list[Truth]:
    began = datetime(2021, 4, 1, tzinfo=UTC) + timedelta(minutes=float(rng.integers(60)))
    hours = np.array([planned.hour for planned in plan])
    triggers = float(rng.uniform(*size.triggers))
    course = field_water.waters(rng, rig, hours, triggers, Sensors.some(rng), 0.06)
    truths = []
    for i, (planned, water) in enumerate(zip(plan, course, strict=True)):
        slot = planned.slot
        run = second_simulator.draw(rng, rig, water)
        run.x = run.x + planned.moved_px
        if slot.kind == FAULT:
            lasting = np.random.default_rng([int(rig.core_x), slot.episode])
            run = second_faults.CHANGES[slot.name](rng, run, slot.severity, lasting, slot.place)
        start = began + timedelta(hours=planned.hour, seconds=i % 7)
        pid = f"D{start:%Y%m%dT%H%M%S}_{rig.name}"
        second_files.write(run, root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid, start, rng)
        truths.append(Truth(pid, rig.name, slot))
    return truths
