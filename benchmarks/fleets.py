"""Archives of the package's own simulator for the measurement of detection: ``fleet(seed)``.

Two to four instruments over weeks, each with a place, a tilt, a dead time and a volume of its own, whose cores and
sizes of cells drift, which are serviced (the core jumps after a gap) and get new settings (the header says so, and
the cloud moves with them); blooms, detritus and cleanings; and 1 to 6 % faulty bins, from mild to gross.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import schedule
from benchmarks.kept import FleetSize, kept
from benchmarks.schedule import FAULT, PLAIN, VARIATION, Fleet, Scheduler, Slot, Truth, autoregressive
from ifcb_flow_pipeline import simulate
from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.simulate.archive import PlannedBin, bin_directory, draw_bin, write_bin
from ifcb_flow_pipeline.simulate.bins import PX_PER_FLASH_STEP, Conditions, InstrumentProfile, usual_conditions

PREVALENCES = (0.035, 0.01, 0.06, 0.02, 0.05)
"""Share of faulty bins in the archives of seeds 0, 1, 2, ..., over and over."""

#: After a service or a new setting this many bins count as unusual.
SETTLING_BINS = 10

#: Those that the cloud can show.
_FAULTS = tuple(name for name, fault in simulate.FAULTS.items() if fault.is_fault and not fault.in_images_only)
_SERVICE_GAP = timedelta(hours=9)


def fleet(seed: int, size: FleetSize | None = None) -> Fleet:
    """The archive of a seed, made where it is not there yet."""
    size = size or FleetSize()
    return kept(f"simulate-{seed}", (seed, size), [schedule, simulate], lambda root: _write(root, seed, size))


def _write(root: Path, seed: int, size: FleetSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 20])
    scheduler = Scheduler(rng, _FAULTS, PREVALENCES[seed % len(PREVALENCES)])
    truths = []
    for instrument in _instruments(rng, size):
        for planned, slot in _plan(rng, seed, instrument, scheduler, size):
            write_bin(draw_bin(planned), bin_directory(root, planned.pid))
            truths.append(Truth(planned.pid, instrument.name, slot))
    return truths


def _instruments(rng: np.random.Generator, size: FleetSize) -> list[InstrumentProfile]:
    n = int(rng.integers(size.instruments[0], size.instruments[1] + 1))
    numbers = rng.choice(np.arange(101, 199), n, replace=False).tolist()
    profiles = [_v2_instrument(rng, f"IFCB{number}") for number in numbers]
    if rng.random() < 0.5:
        x0_px, factor = float(rng.uniform(380, 420)), float(rng.lognormal(0, 0.2))
        profiles[-1] = InstrumentProfile(
            f"IFCB{rng.integers(1, 7)}", "v1", x0_px=x0_px, dead_time_s=0.073, trigger_factor=factor, humidity_pct=30.0
        )
    return profiles


def _v2_instrument(rng: np.random.Generator, name: str) -> InstrumentProfile:
    is_short = rng.random() < 0.25
    return InstrumentProfile(
        name,
        x0_px=float(rng.uniform(560, 1060)),
        duration_s=600.85 if is_short else 1200.85,
        trigger_factor=float(rng.lognormal(0, 0.25)),
        dead_time_s=float(rng.uniform(0.081, 0.0985)),
        flash_delay_steps=int(rng.integers(60, 121)),
        lean=float(rng.normal(0, 0.015)),
        volume_ml=2.5 if is_short else 5.0,
        temperature_c=float(rng.uniform(12, 26)),
        humidity_pct=float(rng.uniform(15, 55)),
    )


def _plan(
    rng: np.random.Generator, seed: int, instrument: InstrumentProfile, scheduler: Scheduler, size: FleetSize
) -> list[tuple[PlannedBin, Slot]]:
    n = int(rng.integers(*size.bins))
    per_day = int(rng.choice([12, 24, 48]))
    cleaned = list(range(int(rng.integers(3, 30)), n, 30))
    slots = scheduler.slots(n, cleaned)
    serviced, changed = _service(rng, instrument, slots), _new_settings(rng, instrument, slots)
    conditions = _conditions(rng, instrument, n, per_day, size)
    start = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=int(rng.integers(0, 200)))
    planned = []
    for i, slot in enumerate(slots):
        start += timedelta(days=1) / per_day + timedelta(seconds=1000 * (i in cleaned) + float(rng.uniform(0, 4)))
        if i == serviced.first:
            start += _SERVICE_GAP
        current = serviced.apply(changed.apply(conditions[i], i), i)
        current = replace(current, seed=seed, lasting_seed=1000 * seed + max(slot.episode, 0))
        pid = format_pid(instrument.name, start, instrument.schema)
        planted = PlannedBin(pid, instrument, start, current, slot.name or None, slot.severity)
        planned.append((planted, changed.label(serviced.label(slot, i), i)))
    return planned


@dataclass(frozen=True, slots=True)
class _Step:
    """A lasting change from bin ``first`` on; ``first`` -1: none."""

    name: str
    first: int = -1
    x_px: float = 0.0
    flash_steps: int = 0
    threshold_v: float | None = None

    def apply(self, conditions: Conditions, number: int) -> Conditions:
        if self.first < 0 or number < self.first:
            return conditions
        threshold = self.threshold_v or conditions.trigger_threshold_v
        # A higher threshold lets fewer of the small particles trigger.
        kept = (conditions.trigger_threshold_v / threshold) ** 0.7
        return replace(
            conditions,
            x0_px=conditions.x0_px + self.x_px,
            flash_delay_steps=conditions.flash_delay_steps + self.flash_steps,
            trigger_threshold_v=threshold,
            mean_triggers=conditions.mean_triggers * kept,
        )

    def label(self, slot: Slot, number: int) -> Slot:
        if slot.kind == PLAIN and 0 <= self.first <= number < self.first + SETTLING_BINS:
            return Slot(self.name, 1.0, VARIATION, -1, number - self.first)
        return slot


def _service(rng: np.random.Generator, instrument: InstrumentProfile, slots: list[Slot]) -> _Step:
    if rng.random() < 0.4:
        return _Step("service")
    step_px = float(rng.choice([-1, 1]) * rng.uniform(10, 100))
    return _Step("service", _quiet_place(rng, slots), step_px if 350 < instrument.x0_px + step_px < 1100 else -step_px)


def _new_settings(rng: np.random.Generator, instrument: InstrumentProfile, slots: list[Slot]) -> _Step:
    # Headers of v1 do not state these settings.
    if instrument.schema == "v1" or rng.random() < 0.4:
        return _Step("config_change")
    first = _quiet_place(rng, slots)
    if rng.random() < 0.6:
        steps = int(rng.choice([-1, 1]) * rng.integers(5, 40))
        return _Step("config_change", first, steps * PX_PER_FLASH_STEP, steps)
    return _Step("config_change", first, threshold_v=round(float(rng.uniform(0.08, 0.25)), 2))


def _quiet_place(rng: np.random.Generator, slots: list[Slot]) -> int:
    """A bin in the middle of the archive that no fault is near."""
    n = len(slots)
    places = [i for i in range(n // 4, 3 * n // 4) if all(slot.kind != FAULT for slot in slots[i - 4 : i + 5])]
    return int(rng.choice(places)) if places else -1


def _conditions(
    rng: np.random.Generator, instrument: InstrumentProfile, n: int, per_day: int, size: FleetSize
) -> list[Conditions]:
    """What varies slowly: counts, place of the core, sizes, weather."""
    usual = usual_conditions(instrument, float(rng.uniform(*size.triggers)) * instrument.trigger_factor)
    counts = usual.mean_triggers * np.exp(autoregressive(rng, n, 0.81, 0.35))
    trend_px = np.linspace(0, rng.normal(0, 8), n) + 3 * np.sin(np.linspace(0, rng.uniform(2, 12), n))
    x0_px = instrument.x0_px + trend_px + np.clip(autoregressive(rng, n, 0.8, 1.5), -3, 3)
    sizes = np.exp(autoregressive(rng, n, 0.985, 0.05))
    phase = 2 * np.pi * np.arange(n) / per_day
    weather = autoregressive(rng, n, 0.98, 0.8) - 0.6 * np.cos(phase)
    damp = autoregressive(rng, n, 0.95, 0.6) - 0.5 * weather
    return [
        replace(
            usual,
            mean_triggers=float(counts[i]),
            x0_px=float(x0_px[i]),
            size_factor=float(sizes[i]),
            temperature_c=instrument.temperature_c + float(weather[i]),
            humidity_pct=max(instrument.humidity_pct + float(damp[i]), 1.0),
        )
        for i in range(n)
    ]
