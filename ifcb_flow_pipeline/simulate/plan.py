"""What a simulated archive contains: instruments, days, episodes of faults - and the demo's plan.

Here: decisions only, as values. Not here: drawing bins and writing files (``archive``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import numpy as np

from ifcb_flow_pipeline.bins.pid import format_pid
from ifcb_flow_pipeline.simulate.bins import KNOWN_INSTRUMENTS, Conditions, InstrumentProfile
from ifcb_flow_pipeline.simulate.core import FloatArray
from ifcb_flow_pipeline.simulate.faults import fault_named, generator_of

# 884 consecutive bins of IFCB206 (OOI): autocorrelation of the log trigger count at lag 1, and what the
# standard deviation .21 of the ratio of neighbours then means for each step of the series.
COUNT_AUTOCORRELATION = 0.81
COUNT_STEP_SD = 0.2
X0_JITTER_LIMIT_PX = 3.0
CLEANING_S = 1000.0


@dataclass(frozen=True, slots=True)
class Episode:
    """A fault in consecutive bins of one instrument.

    It starts with the first bin that starts ``day`` days and ``hour`` hours after the plan's first
    midnight. Severity runs from ``first_severity`` (if given) to ``severity`` over the bins.
    """

    fault: str
    instrument: str
    day: int
    hour: float
    n_bins: int
    severity: float = 0.7
    first_severity: float | None = None

    def severity_of(self, number: int) -> float:
        """Return the severity in bin ``number`` (from 0) of the episode."""
        if self.first_severity is None or self.n_bins == 1:
            return self.severity
        return self.first_severity + (self.severity - self.first_severity) * number / (self.n_bins - 1)


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """All that decides an archive: the same plan gives the same bytes.

    ``mean_triggers`` is per bin. With ``daily_cleaning`` each instrument is cleaned once a day, which
    leaves a gap and a ``post_clean`` bin behind it. Without ``with_images`` no ``.roi`` files are
    written, as for bins that come by telemetry.
    """

    instruments: tuple[InstrumentProfile, ...]
    first_day: date
    n_days: int
    bins_per_day: int = 24
    mean_triggers: float = 1000.0
    seed: int = 0
    episodes: tuple[Episode, ...] = ()
    daily_cleaning: bool = True
    with_images: bool = False

    def __post_init__(self) -> None:
        """Refuse plans that cannot be written."""
        names = [instrument.name for instrument in self.instruments]
        if len(set(names)) != len(names):
            raise ValueError(f"instruments are named twice: {names}; give each its own name")
        for instrument in self.instruments:
            if _cycle_s(self) < instrument.duration_s + 5:
                raise ValueError(
                    f"{self.bins_per_day} bins a day leave less than the {instrument.duration_s} s that a "
                    f"run of {instrument.name} takes; plan fewer bins a day or a shorter duration_s"
                )
        for episode in self.episodes:
            fault_named(episode.fault)
            if episode.instrument not in names:
                raise ValueError(f"{episode} is planned for none of the instruments {names}")


@dataclass(frozen=True, slots=True)
class PlannedBin:
    """One bin of a plan, not yet drawn; ``fault`` is None for a plain healthy bin."""

    pid: str
    instrument: InstrumentProfile
    start_time: datetime
    conditions: Conditions
    fault: str | None
    severity: float


def demo_plan(
    last_day: date, *, seed: int = 7, mean_triggers: float = 1000.0, with_images: bool = False
) -> ArchivePlan:
    """Two instruments, 14 days up to ``last_day``, 24 bins a day each; about 13 % of the bins are faulty, a third of
    them in their images only.

    The first five days hold nothing but healthy bins and the daily cleaning.
    """
    first, second = "IFCB134", "IFCB124"
    return ArchivePlan(
        instruments=tuple(profile for profile in KNOWN_INSTRUMENTS if profile.name in {first, second}),
        first_day=last_day - timedelta(days=13),
        n_days=14,
        mean_triggers=mean_triggers,
        seed=seed,
        with_images=with_images,
        episodes=(
            Episode("air", first, day=6, hour=14, n_bins=6, severity=0.7),
            Episode("stuck_roi", first, day=8, hour=0, n_bins=18, severity=0.8, first_severity=0.1),
            Episode("incomplete_run", first, day=10, hour=5, n_bins=1, severity=0.9),
            Episode("flow_speed_shift", first, day=11, hour=9, n_bins=8, severity=0.5),
            Episode("corrupt_adc", first, day=12, hour=20, n_bins=1, severity=0.6),
            Episode("empty_bin", first, day=13, hour=3, n_bins=1, severity=0.8),
            Episode("noise_trigger", first, day=13, hour=16, n_bins=2, severity=0.6),
            Episode("dim_flash", first, day=7, hour=3, n_bins=5, severity=0.4),
            Episode("camera_noise", first, day=9, hour=14, n_bins=4, severity=0.4),
            Episode("dirty_window", first, day=12, hour=1, n_bins=14, severity=0.9),
            Episode("clog", second, day=5, hour=7, n_bins=3, severity=0.8),
            Episode("laser_misalignment", second, day=7, hour=2, n_bins=8, severity=0.7),
            Episode("bloom", second, day=9, hour=0, n_bins=16, severity=0.5, first_severity=0.1),
            Episode("out_of_focus", second, day=10, hour=18, n_bins=5, severity=0.6),
            Episode("truncated_adc", second, day=11, hour=22, n_bins=1, severity=0.05),
            Episode("missing_hdr", second, day=12, hour=6, n_bins=1, severity=1.0),
            Episode("focus_loss", second, day=13, hour=8, n_bins=6, severity=0.5),
            Episode("motion_blur", second, day=8, hour=11, n_bins=4, severity=0.5),
            Episode("uneven_light", second, day=12, hour=14, n_bins=4, severity=0.5),
        ),
    )


@lru_cache(maxsize=8)
def planned_bins(plan: ArchivePlan) -> tuple[PlannedBin, ...]:
    """Every bin of the plan, instrument by instrument, in the order of time."""
    return tuple(planned for instrument in plan.instruments for planned in _of_instrument(plan, instrument))


def _of_instrument(plan: ArchivePlan, instrument: InstrumentProfile) -> Iterator[PlannedBin]:
    starts, is_after_cleaning = _starts(plan, instrument)
    counts, x0_px, temperature_c, humidity_pct = _series(plan, instrument, len(starts))
    planted = _planted(plan, instrument, starts)
    for number, start in enumerate(starts):
        usual = ("post_clean", 0.7, 0) if is_after_cleaning[number] else (None, 0.0, 0)
        fault, severity, lasting_seed = planted.get(number, usual)
        conditions = Conditions(
            mean_triggers=float(counts[number]),
            x0_px=float(x0_px[number]),
            duration_s=instrument.duration_s,
            flash_delay_steps=instrument.flash_delay_steps,
            temperature_c=float(temperature_c[number]),
            humidity_pct=float(humidity_pct[number]),
            seed=plan.seed,
            lasting_seed=lasting_seed,
        )
        pid = format_pid(instrument.name, start, instrument.schema)
        yield PlannedBin(pid, instrument, start, conditions, fault, severity)


def _cycle_s(plan: ArchivePlan) -> float:
    """Time from start to start of a plan's bins, s; the longer gap for cleaning is taken off the day."""
    return (86400 - (CLEANING_S if plan.daily_cleaning else 0)) / plan.bins_per_day


def _starts(plan: ArchivePlan, instrument: InstrumentProfile) -> tuple[list[datetime], list[bool]]:
    """Start times (UTC, whole seconds) and which runs follow a cleaning."""
    rng = generator_of(plan.seed, instrument.name, "starts")
    midnight = datetime.combine(plan.first_day, time(), UTC)
    cleaned_before = int(rng.integers(plan.bins_per_day)) if plan.daily_cleaning else -1
    starts, is_after_cleaning = [], []
    for number in range(plan.n_days * plan.bins_per_day):
        day, of_day = divmod(number, plan.bins_per_day)
        gap_s = CLEANING_S if 0 <= cleaned_before <= of_day else 0.0
        second = of_day * _cycle_s(plan) + gap_s + rng.uniform(0, 4)
        starts.append(midnight + timedelta(days=day, seconds=int(second)))
        is_after_cleaning.append(of_day == cleaned_before)
    return starts, is_after_cleaning


def _planted(
    plan: ArchivePlan, instrument: InstrumentProfile, starts: list[datetime]
) -> dict[int, tuple[str, float, int]]:
    """Map the number of a bin to fault, severity and the episode's seed; the later episode wins."""
    midnight = datetime.combine(plan.first_day, time(), UTC)
    planted = {}
    for episode_number, episode in enumerate(plan.episodes):
        begin = midnight + timedelta(days=episode.day, hours=episode.hour)
        if episode.instrument != instrument.name:
            continue
        bins = [number for number, start in enumerate(starts) if start >= begin][: episode.n_bins]
        for place, number in enumerate(bins):
            lasting_seed = 1000 * plan.seed + episode_number
            planted[number] = (episode.fault, episode.severity_of(place), lasting_seed)
    return planted


def _series(
    plan: ArchivePlan, instrument: InstrumentProfile, n: int
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Draw what varies slowly over the bins: mean triggers, core x (px), temperature (°C), humidity (%)."""
    rng = generator_of(plan.seed, instrument.name, "series")
    log_counts = _autoregressive(rng, n, COUNT_AUTOCORRELATION, COUNT_STEP_SD)
    counts = plan.mean_triggers * instrument.trigger_factor * np.exp(log_counts)
    jitter_px = np.clip(_autoregressive(rng, n, 0.8, 0.9), -X0_JITTER_LIMIT_PX, X0_JITTER_LIMIT_PX)
    day_phase = 2 * np.pi * np.arange(n) / plan.bins_per_day
    weather = _autoregressive(rng, n, 0.98, 0.15)
    temperature_c = instrument.temperature_c + weather - 0.6 * np.cos(day_phase)
    humidity_pct = instrument.humidity_pct - 0.8 * weather + rng.normal(0, 0.2, n)
    return counts, instrument.x0_px + jitter_px, temperature_c, humidity_pct


def _autoregressive(rng: np.random.Generator, n: int, correlation: float, step_sd: float) -> FloatArray:
    """Return a stationary series of shape (n,) around 0 with the given correlation of neighbours."""
    values = rng.normal(0, step_sd, n)
    values[:1] /= np.sqrt(1 - correlation**2)
    for number in range(1, n):
        values[number] += correlation * values[number - 1]
    return values
