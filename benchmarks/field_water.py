"""Waters as communities make them: sizes that wander for days, blooms, detritus, dilution, and sensors with offsets."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.schedule import autoregressive
from benchmarks.second_run import FRAME, Rig, Run, Water


@dataclass(frozen=True, slots=True)
class Sensors:
    """What an instrument's sensors read on the mean: degC, and % relative humidity (below zero where it is dry)."""

    temperature: float
    humidity: float

    @classmethod
    def some(cls, rng: np.random.Generator) -> "Sensors":
        """Those of an instrument: every other one is bone dry, every third one stands warm or reads too high."""
        dry = rng.random() < 0.5
        warm = rng.random() < 0.33
        return cls(
            float(rng.uniform(33, 37) if warm else rng.uniform(12, 26)),
            float(rng.uniform(-9, 4) if dry else rng.uniform(10, 45)),
        )


def waters(
    rng: np.random.Generator, rig: Rig, hours: NDArray[np.floating], triggers: float, sensors: Sensors, wander: float
) -> list[Water]:
    """The water of runs at ``hours`` (n,); ``wander`` is the standard deviation of the log of sizes over days."""
    n = len(hours)
    step_h = float(np.median(np.diff(hours))) if n > 1 else 1.0

    def series(memory_h: float, sd: float) -> NDArray[np.float64]:
        return autoregressive(rng, n, float(np.exp(-step_h / memory_h)), sd)

    phase = 2 * np.pi * (hours / 24 + rng.random())
    counts = triggers * np.exp(series(6, 0.3) + rng.uniform(0, 0.25) * np.sin(phase))
    core = rig.core_x + series(60, rng.uniform(1, 4)) + rng.uniform(0, 2) * np.sin(phase) + rng.normal(0, 1.2, n)
    sizes, chains = np.exp(series(72, wander)), 0.13 * np.exp(series(48, 2 * wander + 0.1))
    blank = rig.blank * np.exp(series(12, 0.2))
    warm = sensors.temperature + series(40, 1.0) + 0.7 * np.sin(phase)
    damp = sensors.humidity + series(60, 1.2) + rng.normal(0, 0.2, n)
    return [
        Water(
            triggers=float(counts[i]),
            core_x=float(core[i]),
            chains=float(min(chains[i], 0.6)),
            size=float(np.clip(sizes[i], 0.6, 1.7)),
            blank=float(np.clip(blank[i], 0.001, 0.35)),
            temperature=float(warm[i]),
            humidity=float(damp[i]),
            flash_delay=rig.flash_delay,
            threshold=0.13,
        )
        for i in range(n)
    ]


def bloomed(rng: np.random.Generator, water: Water, strength: float) -> Water:
    """One kind of cell is many (strength 0 to 1: up to six times the triggers), a little smaller or larger."""
    return replace(
        water, triggers=water.triggers * (1 + 5 * strength), size=water.size * float(np.exp(rng.normal(0, 0.05)))
    )


def with_detritus(rng: np.random.Generator, run: Run, strength: float) -> Run:
    """Flakes among the cells: larger boxes of any shape, in the core as cells are (strength 0 to 1: 15 to 45 %).

    In half of such waters it is resuspended matter: nearly all particles are larger.
    """
    share = 0.95 if rng.random() < 0.5 else 0.15 + 0.3 * strength
    is_flake = (rng.random(run.n) < share) & (run.width > 0)
    # Some are so pale that no blob is found, a few per cent at most.
    lost = is_flake & (rng.random(run.n) < rng.uniform(0, 0.03) * strength)
    density = float(rng.uniform(0, 0.4))
    swell, shape = np.exp(rng.normal(0.15 + 0.5 * strength, 0.3, run.n)), np.exp(rng.normal(0, 0.2, run.n))
    return replace(
        run,
        width=np.where(is_flake, np.minimum(run.width * swell * shape, 900), run.width),
        height=np.where(is_flake, np.minimum(run.height * swell / shape * 1.3, 600), run.height),
        # Their long side hangs back along the flow.
        x=np.where(is_flake, (run.x - 0.15 * run.width * (swell - 1)).clip(20, FRAME[0] - 20), run.x),
        # They take longer to pass, and scatter more, the denser they are.
        flight=run.flight * np.where(is_flake, swell**density, 1.0),
        peak_a=np.where(is_flake, np.minimum(run.peak_a * swell ** (2 * density), 3.5), run.peak_a),
    ).blanked(lost)
