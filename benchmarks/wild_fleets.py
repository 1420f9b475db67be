"""Archives as strangers have them: detritus, communities that wander, dilution, alternating settings, sensor offsets.

``archive(seed)`` has instruments with weeks of bins and one with a day or less; ``unknown(seed)`` has bins of two more,
one in order and one that is a wreck, which no training has seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import field_rigs, field_water, schedule, second_faults, second_files, second_run, second_simulator
from benchmarks.field_rigs import Alternation
from benchmarks.field_water import Sensors
from benchmarks.kept import kept
from benchmarks.schedule import ASIDE, FAULT, VARIATION, Fleet, Slot, Truth
from benchmarks.second_run import Rig, Run, Water

_MODULES = (field_rigs, field_water, schedule, second_faults, second_files, second_run, second_simulator)
_PROGRAMS = ("2.0.0.0", "2.3.0.0", "3.0.0.0", "1.1.5.23", "build 427")
_FAULTS = (
    "air", "focus_loss", "flow_speed_shift", "laser_misalignment", "camera_tilt", "stuck_roi", "clog",
    "incomplete_run", "empty_bin", "noise_trigger", "edge_clipping", "out_of_focus",
)  # fmt: skip
_BRIEF = ("incomplete_run", "empty_bin")
#: A wreck is one of these at its worst.
_WRECKS = ("focus_loss", "air", "camera_tilt")


@dataclass(frozen=True, slots=True)
class WildSize:
    """How large an archive is: instruments with a long history, bins of them and of the short one, triggers."""

    instruments: tuple[int, int] = (3, 4)
    bins: tuple[int, int] = (250, 350)
    short: tuple[int, int] = (8, 25)
    triggers: tuple[float, float] = (400.0, 1400.0)
    unknown: int = 12


SMALL = WildSize(instruments=(1, 1), bins=(80, 81), short=(8, 9), triggers=(150.0, 200.0), unknown=3)


def archive(seed: int, size: WildSize | None = None) -> Fleet:
    """The archive of a seed."""
    size = size or WildSize()
    return kept(f"wild-{seed}", (seed, size), _MODULES, lambda root: _write(root, seed, size))


def unknown(seed: int, size: WildSize | None = None) -> Fleet:
    """Bins of two instruments that are not in the archive of the seed: one in order, one a wreck."""
    size = size or WildSize()
    return kept(f"unknown-{seed}", (seed, size), _MODULES, lambda root: _write_unknown(root, seed, size))


def _write(root: Path, seed: int, size: WildSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 5501])
    n_long = int(rng.integers(size.instruments[0], size.instruments[1] + 1))
    numbers = rng.choice(np.arange(600, 700), n_long + 1, replace=False).tolist()
    prevalence = float(rng.uniform(0.01, 0.04))
    truths: list[Truth] = []
    for which, number in enumerate(numbers):
        own = np.random.default_rng([seed, 5502, which])
        alternates = which == 0
        rig = field_rigs.rig(own, f"IFCB{number}", "3.0.0.0" if alternates else str(own.choice(_PROGRAMS)))
        n = int(own.integers(*(size.short if which == n_long else size.bins)))
        alternation = Alternation(every=int(own.integers(2, 7))) if alternates else None
        slots = [Slot()] * n if which == n_long else _slots(own, n, prevalence)
        truths += _series(root, own, rig, slots, alternation, size)
    return truths


def _slots(rng: np.random.Generator, n: int, prevalence: float) -> list[Slot]:
    """A per cent of detritus, two blooms, a dilution, and faults, alone or in episodes."""
    slots, number = [Slot()] * n, 0

    def place(name: str, kind: str, severity: float, length: int) -> int:
        nonlocal number
        free = [i for i in range(3, n - length) if not any(slot.name for slot in slots[i - 1 : i + length + 1])]
        if not free:
            return 0
        first, number = int(rng.choice(free)), number + 1
        slots[first : first + length] = [Slot(name, severity, kind, number, i) for i in range(length)]
        return length

    left = max(round(0.01 * n), 2)
    while left > 0:
        left -= max(place("detritus", VARIATION, float(rng.uniform(0.3, 1)), min(int(rng.integers(1, 4)), left)), 1)
    for _ in range(2):
        place("bloom", VARIATION, float(rng.uniform(0.2, 1)), int(rng.integers(2, max(n // 12, 3))))
    place("dilution", VARIATION, float(rng.uniform(0.1, 0.4)), int(rng.integers(3, max(n // 10, 4))))
    left = max(round(prevalence * n), 2)
    while left > 0:
        name = str(rng.choice(_FAULTS))
        length = 1 if name in _BRIEF else min(int(rng.geometric(0.35)), left, 8)
        left -= max(place(name, FAULT, float(rng.uniform(0.2, 1)), length), 1)
    return slots


def _series(
    root: Path, rng: np.random.Generator, rig: Rig, slots: list[Slot], alternation: Alternation | None, size: WildSize
) -> list[Truth]:
    began = datetime(2022, 6, 1, tzinfo=UTC) + timedelta(minutes=float(rng.integers(24 * 60)))
    hours = float(rng.choice([0.4, 0.5, 1.0])) * np.arange(len(slots))
    triggers, wander = float(rng.uniform(*size.triggers)), float(rng.uniform(0.02, 0.25))
    course = field_water.waters(rng, rig, hours, triggers, Sensors.some(rng), wander)
    truths = []
    for i, (hour, slot, water) in enumerate(zip(hours.tolist(), slots, course, strict=True)):
        lasting = np.random.default_rng([int(rig.core_x), slot.episode + 1])
        run = _run(rng, rig, water, slot, lasting)
        if alternation is not None:
            run = alternation.of(run, i)
        start = began + timedelta(hours=hour)
        truths.append(_written(root, rng, run, start, slot))
    return truths


def _run(rng: np.random.Generator, rig: Rig, water: Water, slot: Slot, lasting: np.random.Generator) -> Run:
    many: Mapping[str, float] = {"detritus": float(lasting.uniform(1.05, 3)), "dilution": slot.severity}
    water = replace(water, triggers=water.triggers * many.get(slot.name, 1.0))
    if slot.name == "bloom":
        water = field_water.bloomed(rng, water, slot.severity)
    run = second_simulator.draw(rng, rig, water)
    if slot.name == "detritus":
        return field_water.with_detritus(rng, run, slot.severity)
    if slot.kind == FAULT:
        return second_faults.CHANGES[slot.name](rng, run, slot.severity, lasting, slot.place)
    return run


def _written(root: Path, rng: np.random.Generator, run: Run, start: datetime, slot: Slot) -> Truth:
    pid = f"D{start:%Y%m%dT%H%M%S}_{run.rig.name}"
    second_files.write(run, root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid, start, rng)
    return Truth(pid, run.rig.name, slot)


def _write_unknown(root: Path, seed: int, size: WildSize) -> list[Truth]:
    truths = []
    for which, is_wreck in enumerate((False, True)):
        rng = np.random.default_rng([seed, 5503, which])
        rig = field_rigs.rig(rng, f"IFCB{700 + 2 * (seed % 50) + which}", str(rng.choice(_PROGRAMS)))
        hours = 0.4 * np.arange(size.unknown)
        course = field_water.waters(rng, rig, hours, float(rng.uniform(*size.triggers)), Sensors.some(rng), 0.1)
        slot = Slot(str(rng.choice(_WRECKS)), 1.0, FAULT, 0) if is_wreck else Slot("unknown", 0.0, ASIDE)
        began = datetime(2022, 6, 20, tzinfo=UTC)
        for hour, water in zip(hours.tolist(), course, strict=True):
            run = _run(rng, rig, water, slot, np.random.default_rng([seed, 5504]))
            truths.append(_written(root, rng, run, began + timedelta(hours=hour), slot))
    return truths
