"""A second simulator, independent of the package's: the hold-out that shows whether detection generalises.

Written anew from descriptions alone (numbers of real bins, the operators' field guide, headers of four acquisition
programs), with its own distributions and its own idea of how a fault looks where the descriptions leave room. It
shares no code and no constant with ``ifcb_flow_pipeline``; ``second_faults`` changes runs, ``second_files`` writes
them. ``archive(seed)`` makes a fleet.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import fleets, schedule, second_faults, second_files, second_run
from benchmarks.schedule import FAULT, PLAIN, VARIATION, Fleet, Scheduler, Slot, Truth, autoregressive
from benchmarks.second_run import FRAME, Rig, Run, Water

PREVALENCES = (0.05, 0.02, 0.04, 0.012, 0.06)
SETTLING_BINS = 10

#: 434 ns at about 1.2 m/s and 3 px per µm.
_PX_PER_DELAY = -1.6


def archive(seed: int, size: fleets.FleetSize | None = None) -> Fleet:
    """The archive of a seed, made where it is not there yet."""
    size = size or fleets.FleetSize()
    modules = [schedule, second_faults, second_files, second_run]
    return fleets.cached(f"second-{seed}", (seed, size), modules, lambda root: _write(root, seed, size))


def draw(rng: np.random.Generator, rig: Rig, water: Water) -> Run:
    """A healthy run."""
    times = _trigger_times(rng, rig, water)
    n = times.size
    images = rng.choice(3, n, p=[water.blank, 1 - water.blank - rig.double, rig.double])
    if rig.software.startswith(("2", "3")):
        # These begin with a trigger of the electronics.
        times[:1], images[:1] = rng.uniform(0.03, 0.13), 0
    trigger = np.repeat(np.arange(n), np.maximum(images, 1))
    rows = trigger.size
    width, height = _sizes(rng, rig, water, rows)
    x, y = _places(rng, rig, water, width)
    glow = np.exp(rng.normal(np.log(0.16), 0.8, n) + 0.35 * np.log(width[np.searchsorted(trigger, np.arange(n))] / 80))
    flight = rig.flight_us * np.exp(rng.gamma(2, 0.05, n) - 0.1)
    has_image = images[trigger] > 0
    return Run(
        rig=rig,
        trigger=trigger,
        time=times[trigger],
        x=x,
        y=y,
        width=np.where(has_image, width, 0.0),
        height=np.where(has_image, height, 0.0),
        peak_a=(0.02 + 1.4 * glow * rng.lognormal(0, 0.4, n))[trigger],
        peak_b=(0.011 + glow)[trigger],
        flight=flight[trigger],
        busy=rng.normal(rig.busy_s, 0.0009, n).clip(0.02)[trigger],
        length_s=rig.length_s + rng.uniform(-0.6, 0.9),
        settings={
            "temperature": water.temperature,
            "humidity": water.humidity,
            "flash_delay": water.flash_delay,
            "threshold": water.threshold,
            "volume": rig.volume_ml,
            "kind": "normal",
        },
    )


def _trigger_times(rng: np.random.Generator, rig: Rig, water: Water) -> NDArray[np.float64]:
    pause = rng.uniform(3, 12)
    wait = max((rig.length_s - pause) / max(water.triggers, 1) - rig.busy_s, 0.004)
    n = int(1.25 * rig.length_s / (wait + rig.busy_s)) + 60
    # The sample is patchy: the rate swings by some percent during the run.
    swing = 1 + rng.uniform(0, 0.12) * np.sin(np.linspace(0, rng.uniform(2, 9), n) + rng.uniform(0, 6))
    times = pause + np.cumsum(rig.busy_s + rng.exponential(wait, n) * swing)
    return times[times < rig.length_s - 0.3]


def _sizes(rng: np.random.Generator, rig: Rig, water: Water, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    is_chain = rng.random(n) < water.chains
    width = np.exp(np.where(is_chain, rng.normal(np.log(140), 0.4, n), rng.gamma(3, 0.07, n) + np.log(66)))
    height = np.exp(np.log(36) + rng.gamma(2.5, 0.1, n) + 0.25 * np.log(width / 80))
    width, height = (side * rig.magnification * water.size for side in (width, height))
    return width.clip(48, 1100), height.clip(24, 500)


def _places(
    rng: np.random.Generator, rig: Rig, water: Water, width: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    n = width.size
    across = (0.6 * rng.random(n) + 0.4 * rng.random(n)) ** 0.85
    y = rig.y_low + (rig.y_high - rig.y_low) * across
    away = (y - FRAME[1] / 2) / 400
    core = water.core_x + rig.slope * (y - FRAME[1] / 2) + rig.bow * away**2
    x = core + rng.logistic(0, rig.core_sd * 0.5, n) - 0.3 * np.maximum(width - 90 * rig.magnification, 0)
    is_stray = rng.random(n) < rig.strays
    x = np.where(is_stray, rng.uniform(20, FRAME[0] - 20, n), x)
    return x, np.where(is_stray & (rng.random(n) < 0.5), rng.uniform(60, FRAME[1] - 60, n), y)


def _write(root: Path, seed: int, size: fleets.FleetSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 77])
    scheduler = Scheduler(rng, second_faults.NAMES, PREVALENCES[seed % len(PREVALENCES)])
    truths = []
    for rig in _rigs(rng, size):
        for start, slot, run, episode in _series(rng, seed, rig, scheduler, size):
            pid = f"D{start:%Y%m%dT%H%M%S}_{rig.name}"
            second_files.write(run, root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid, start, episode)
            truths.append(Truth(pid, rig.name, slot))
    return truths


def _rigs(rng: np.random.Generator, size: fleets.FleetSize) -> list[Rig]:
    n = int(rng.integers(size.instruments[0], size.instruments[1] + 1))
    programs = rng.choice(["2.0.0.0", "2.3.0.0", "3.0.0.0", "1.1.5.23", "build 427"], n)
    return [
        _rig(rng, f"IFCB{number:03}", str(program))
        for number, program in zip(rng.choice(np.arange(7, 99), n, replace=False).tolist(), programs, strict=True)
    ]


def _rig(rng: np.random.Generator, name: str, program: str) -> Rig:
    return Rig(
        name=name,
        software=program,
        core_x=float(rng.uniform(450, 1090)),
        slope=float(rng.normal(-0.03, 0.03)),
        bow=float(rng.normal(-8, 4)),
        core_sd=float(rng.uniform(10, 22)),
        y_low=float(rng.uniform(90, 230)),
        y_high=float(rng.uniform(830, 960)),
        blank=float(rng.beta(4, 70)) + 0.01,
        double=float(rng.uniform(0.003, 0.02)),
        strays=float(rng.uniform(0.006, 0.02)),
        busy_s=float(rng.uniform(0.079, 0.099)),
        flight_us=float(rng.uniform(48, 75)),
        magnification=float(rng.uniform(0.92, 1.1)),
        length_s=float(rng.uniform(1197.5, 1201.5)),
        volume_ml=5.0,
        grow=(20, int(rng.choice([1, 2, 5]))),
        flash_delay=int(rng.integers(70, 230)),
    )


def _series(
    rng: np.random.Generator, seed: int, rig: Rig, scheduler: Scheduler, size: fleets.FleetSize
) -> list[tuple[datetime, Slot, Run, np.random.Generator]]:
    n = int(rng.integers(*size.bins))
    cycle_s = float(rng.choice([1434, 1500, 3600]))
    cleaned = set(range(int(rng.integers(2, 25)), n, int(rng.integers(25, 35))))
    slots = scheduler.slots(n, sorted(cleaned))
    waters = _waters(rng, rig, n, cycle_s, size)
    waters, slots, gaps = _steps(rng, waters, slots)
    start = datetime(2019, 5, 2, 3, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 400)))
    series = []
    for i, (slot, water) in enumerate(zip(slots, waters, strict=True)):
        start += timedelta(seconds=cycle_s + (1000 if i in cleaned else 0) + gaps.get(i, 0.0))
        own, lasting = (
            np.random.default_rng([seed, i, int(rig.core_x), 1]),
            np.random.default_rng([seed, slot.episode + 2]),
        )
        if slot.name in second_faults.WATERS:
            water = second_faults.WATERS[slot.name](own, water, slot.severity)  # noqa: PLW2901 - other water
        run = draw(np.random.default_rng([seed, i, int(rig.core_x)]), rig, water)
        if slot.name in second_faults.CHANGES:
            run = second_faults.CHANGES[slot.name](own, run, slot.severity, lasting, slot.place)
        run.damage = (slot.name, slot.severity)
        series.append((start, slot, run, own))
    return series


def _waters(rng: np.random.Generator, rig: Rig, n: int, cycle_s: float, size: fleets.FleetSize) -> list[Water]:
    mean = rng.uniform(*size.triggers)
    triggers = mean * np.exp(autoregressive(rng, n, 0.81, 0.33))
    core = rig.core_x + np.cumsum(rng.normal(0, 0.5, n)) + np.clip(rng.normal(0, 1.2, n), -3, 3)
    chains = 0.13 * np.exp(autoregressive(rng, n, 0.97, 0.35))
    sizes = np.exp(autoregressive(rng, n, 0.98, 0.035))
    blank = rig.blank * np.exp(autoregressive(rng, n, 0.9, 0.25))
    of_day = np.arange(n) * cycle_s / 86400
    warm = rng.uniform(11, 24) + autoregressive(rng, n, 0.99, 1.2) + 0.5 * np.sin(2 * np.pi * of_day)
    damp = rng.uniform(-5, 45) + autoregressive(rng, n, 0.96, 0.8)
    return [
        Water(
            triggers=float(triggers[i]),
            core_x=float(core[i]),
            chains=float(min(chains[i], 0.6)),
            size=float(sizes[i]),
            blank=float(min(blank[i], 0.4)),
            temperature=float(warm[i]),
            humidity=float(damp[i]),
            flash_delay=rig.flash_delay,
            threshold=0.13,
        )
        for i in range(n)
    ]


def _steps(
    rng: np.random.Generator, waters: list[Water], slots: list[Slot]
) -> tuple[list[Water], list[Slot], dict[int, float]]:
    """Put a service (the core jumps after a gap) and new settings (the header says so) into a series."""
    gaps: dict[int, float] = {}
    n = len(slots)
    quiet = [i for i in range(n // 3, 3 * n // 4) if all(slot.kind != FAULT for slot in slots[i - 3 : i + 6])]
    for name in ("service", "config_change"):
        if rng.random() < 0.35 or not quiet:
            continue
        first, jump = int(rng.choice(quiet)), float(rng.choice([-1, 1]) * rng.uniform(12, 90))
        for i in range(first, n):
            waters[i] = replace(waters[i], core_x=waters[i].core_x + jump)
            if name == "config_change":
                steps = round(jump / _PX_PER_DELAY)
                waters[i] = replace(waters[i], flash_delay=waters[i].flash_delay + steps)
            if i < first + SETTLING_BINS and slots[i].kind == PLAIN:
                slots[i] = Slot(name, 1.0, VARIATION, -1, i - first)
        if name == "service":
            gaps[first] = float(rng.uniform(5, 40) * 3600)
    return waters, slots, gaps
