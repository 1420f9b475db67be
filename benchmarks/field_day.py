"""A day of two instruments as measured in the field: what drifts within hours, alternating settings, faults seen.

Everything drifts that was seen to drift on two real instruments, in shapes and sizes that differ from seed to seed
(half to twice of what was measured), so that no detector can be made for one of them. Six to eight bins of the day are
plainly odd; how much of each is lost is the ``severity`` of its truth. ``archive(seed)`` makes the day,
``strangers(seed)`` some bins of other instruments.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import field_faults, field_rigs, schedule, second_files, second_run, second_simulator
from benchmarks.field_rigs import Alternation
from benchmarks.kept import kept
from benchmarks.schedule import ASIDE, FAULT, Fleet, Slot, Truth, autoregressive
from benchmarks.second_run import Rig, Run, Water

_MODULES = (field_faults, field_rigs, schedule, second_files, second_run, second_simulator)
_CYCLE = timedelta(minutes=22)
#: One instrument may begin so much later than the other.
_LATER = timedelta(minutes=11)


@dataclass(frozen=True, slots=True)
class DaySize:
    """How large a day is: bins and mean triggers of each instrument, and bins that are odd."""

    bins: int = 55
    triggers: float = 3000.0
    odd: tuple[int, int] = (6, 8)


SMALL = DaySize(bins=30, triggers=200.0, odd=(5, 5))


@dataclass(frozen=True, slots=True)
class Drift:
    """By how much quantities change within 20 h (measured on two instruments); px, px/px, logs, shares, degC, %."""

    y_high: float
    y_low: float
    core_x: float
    slope: float
    peak_slope: float
    blank: float
    temperature: float
    humidity: float


#: The share without an image is about 12 % on the first, 0.4 % on the second.
_MEASURED = (
    Drift(-48.0, 11.0, 3.0, -0.010, 0.39, -0.035, 4.0, -6.4),
    Drift(15.0, 11.0, 3.0, 0.008, 0.1, 0.0, 4.0, -4.1),
)
#: Where they begin: share of triggers without an image, images more than one, temperature, humidity (dry, and the
#: sensor reads below zero).
_BEGINS = ((0.137, 0.02, 25.0, 3.4), (0.004, 0.006, 36.0, -4.2))

#: The warmest housing of the two, degC.
_WARMEST_C = 39.5

_SHAPES: Mapping[str, Callable[[NDArray, float], NDArray]] = {
    "linear": lambda t, _: t,
    "diurnal": lambda t, phase: 0.5 * (np.sin(2 * np.pi * (t + phase)) - np.sin(2 * np.pi * phase)),
    "step": lambda t, phase: 1 / (1 + np.exp(-(t - 0.35 - 0.3 * phase) / 0.015)),
    "settling": lambda t, phase: 1 - np.exp(-t / (0.1 + 0.2 * phase)),
    "late": lambda t, phase: np.maximum(t - 0.3 - 0.4 * phase, 0) / (0.7 - 0.4 * phase),
}


def archive(seed: int, size: DaySize | None = None, *, word: bool = True) -> Fleet:
    """The day of a seed; without ``word``, no header says that settings alternate."""
    size = size or DaySize()
    name = f"field-day-{seed}" + ("" if word else "-no-word")
    return kept(name, (seed, size, word), _MODULES, lambda root: _write(root, seed, size, word))


def strangers(seed: int, size: DaySize | None = None, n_bins: int = 27, n_instruments: int = 11) -> Fleet:
    """``n_bins`` healthy bins of other instruments, one to four of each, anywhere in time."""
    size = size or DaySize()
    key = (seed, size, n_bins, n_instruments)
    return kept(f"strangers-{seed}", key, _MODULES, lambda root: _write_strangers(root, *key))


def _write(root: Path, seed: int, size: DaySize, word: bool) -> list[Truth]:
    rng = np.random.default_rng([seed, 2201])
    start = datetime(2024, 5, 6, 0, 20, tzinfo=UTC) + timedelta(days=seed % 50)
    odd = _odd_bins(rng, 2 * size.bins, int(rng.integers(size.odd[0], size.odd[1] + 1)))
    names = rng.choice(np.arange(201, 260), 2, replace=False).tolist()
    truths = []
    for which in range(2):
        own = np.random.default_rng([seed, 2202, which])
        base = field_rigs.rig(own, f"IFCB{names[which]}")
        base = replace(base, blank=_BEGINS[which][0], double=_BEGINS[which][1])
        alternation = Alternation(word=word)
        for i, (rig, water, peak_slope) in enumerate(_course(own, base, which, size)):
            drawn = np.random.default_rng([seed, 2203, which, i])
            run = _lit(second_simulator.draw(drawn, rig, _brighter(water, alternation, i)), peak_slope)
            slot = Slot()
            if (name := odd.get(2 * i + which, "")) != "":
                spoilt = field_faults.FAULTS[name](drawn, run)
                run, slot = spoilt.run, Slot(name, spoilt.lost, FAULT, 2 * i + which)
            began = start + i * _CYCLE + which * _LATER
            pid = f"D{began:%Y%m%dT%H%M%S}_{rig.name}"
            second_files.write(alternation.of(run, i), _place(root, began) / pid, began, drawn)
            truths.append(Truth(pid, rig.name, slot))
    return truths


def _place(root: Path, began: datetime) -> Path:
    return root / f"D{began:%Y}" / f"D{began:%Y%m%d}"


def _odd_bins(rng: np.random.Generator, n: int, n_odd: int) -> dict[int, str]:
    """Which bins (both instruments together, in the order of time) are odd, all kinds in turn; never neighbours."""
    names: list[str] = []
    while len(names) < n_odd:
        names += rng.permutation(list(field_faults.FAULTS)).tolist()
    room = n // n_odd
    return {2 + i * room + int(rng.integers(0, max(room - 4, 1))): names[i] for i in range(n_odd)}


def _course(rng: np.random.Generator, base: Rig, which: int, size: DaySize) -> list[tuple[Rig, Water, float]]:
    """Instrument, water and slope of the log of peaks over the frame, bin by bin."""
    n, measured = size.bins, _MEASURED[which]
    hours = np.arange(n) / max(n - 1, 1)

    def drift(name: str) -> NDArray:
        shape = _SHAPES[str(rng.choice(list(_SHAPES)))](hours, float(rng.random()))
        return getattr(measured, name) * rng.uniform(0.5, 2.0) * shape

    # A robust standard deviation of 1 to 3 px from bin to bin.
    core = base.core_x + drift("core_x") * rng.choice([-1, 1]) + rng.normal(0, rng.uniform(1, 3), n)
    y_high, y_low = base.y_high + drift("y_high"), base.y_low + drift("y_low") * rng.choice([-1, 1])
    y_high, y_low = y_high + rng.normal(0, 2, n), y_low + rng.normal(0, 2, n)
    slope = base.slope + drift("slope") + rng.normal(0, 0.0008, n)
    peak = rng.normal(0, 0.4) + drift("peak_slope") * rng.choice([-1, 1]) + rng.normal(0, 0.02, n)
    blank = (base.blank + drift("blank")) * np.exp(autoregressive(rng, n, 0.5, 0.08))
    strays = base.strays * np.exp(autoregressive(rng, n, 0.3, 0.45))
    triggers = size.triggers * np.exp(autoregressive(rng, n, 0.81, 0.12) + rng.normal(0, 0.15) * hours)
    double = base.double * np.exp(autoregressive(rng, n, 0.7, 0.2))
    # Warm as labs are; it stays below what operators call too hot.
    warm = np.minimum(_BEGINS[which][2] + drift("temperature"), _WARMEST_C) + rng.normal(0, 0.08, n)
    damp = _BEGINS[which][3] + drift("humidity") + rng.normal(0, 0.1, n)
    return [
        (
            replace(
                base, slope=float(slope[i]), y_high=float(y_high[i]), y_low=float(y_low[i]),
                strays=float(strays[i]), double=float(double[i]),
            ),
            Water(
                triggers=float(triggers[i]), core_x=float(core[i]), chains=0.13, size=1.0,
                blank=float(np.clip(blank[i], 0.001, 0.4)), temperature=float(warm[i]), humidity=float(damp[i]),
                flash_delay=base.flash_delay, threshold=0.15,
            ),
            float(peak[i]),
        )
        for i in range(n)
    ]  # fmt: skip


def _brighter(water: Water, alternation: Alternation, number: int) -> Water:
    """With a higher gain at the same threshold, somewhat smaller particles trigger, too."""
    gain = alternation.gains[1] if alternation.is_alternate(number) else 1.0
    return replace(water, triggers=water.triggers * gain**0.3)


def _lit(run: Run, peak_slope: float) -> Run:
    """The run under a laser whose light changes across the core: the log of peaks by so much over the frame."""
    light = np.exp(peak_slope * (run.y / second_run.FRAME[1] - 0.5))
    return replace(run, peak_b=0.011 + (run.peak_b - 0.011) * light, peak_a=0.02 + (run.peak_a - 0.02) * light)


def _write_strangers(root: Path, seed: int, size: DaySize, n_bins: int, n_instruments: int) -> list[Truth]:
    rng = np.random.default_rng([seed, 2204])
    of_each = np.ones(n_instruments, dtype=int)
    while of_each.sum() < n_bins:
        chosen = int(rng.integers(n_instruments))
        of_each[chosen] += of_each[chosen] < 4
    numbers = rng.choice(np.arange(300, 400), n_instruments, replace=False).tolist()
    truths = []
    for number, n in zip(numbers, of_each.tolist(), strict=True):
        software = str(rng.choice(["2.0.0.0", "2.3.0.0", "3.0.0.0", "1.1.5.23", "build 427"]))
        rig = field_rigs.rig(rng, f"IFCB{number}", software)
        began = datetime(2016, 1, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 2500)))
        triggers = float(np.exp(rng.uniform(np.log(0.05), 0)) * size.triggers)
        for _ in range(n):
            began += timedelta(minutes=float(rng.choice([24, 24 * 60 * rng.uniform(1, 300)])))
            water = Water(
                triggers * float(rng.lognormal(0, 0.3)), rig.core_x, 0.13 * float(rng.lognormal(0, 0.4)),
                float(rng.lognormal(0, 0.1)), rig.blank, float(rng.uniform(12, 38)), float(rng.uniform(-8, 45)),
                rig.flash_delay, 0.13,
            )  # fmt: skip
            pid = f"D{began:%Y%m%dT%H%M%S}_{rig.name}"
            run = second_simulator.draw(rng, rig, water)
            second_files.write(run, _place(root, began) / pid, began, rng)
            truths.append(Truth(pid, rig.name, Slot("stranger", 0.0, ASIDE)))
    return truths
