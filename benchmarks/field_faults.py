"""Faults that were seen on real days, by what happens in the instrument; each returns how much of the run is lost.

``FAULTS`` map a name to a function of a generator and a healthy run. The share that is lost is that of the run's time
or, where boxes are concerned, of its images that are not to be used.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.second_run import FRAME, Run

#: The board rearms so fast where no image has to be read out, s.
_BLIND_BUSY_S = 0.05
#: Boxes so far off their place are of no use for the position and often not in focus, px.
_OFF_PX = 30.0
_FLOOR_V = {"peak_a": 0.013, "peak_b": 0.0105}


@dataclass(frozen=True, slots=True, eq=False)
class Spoilt:
    """A run with a fault, and which share of it is lost."""

    run: Run
    lost: float


def _creep(rng: np.random.Generator, run: Run) -> Spoilt:
    """The core creeps off from some moment on; the next run has it back."""
    way = float(rng.choice([-1, 1]) * rng.uniform(130, 190))
    if not 60 < run.rig.core_x + way < FRAME[0] - 60:
        way = -way
    begin = rng.uniform(0, 0.35) * run.length_s
    course = np.clip((run.time - begin) / (run.length_s - begin), 0, 1) ** float(rng.uniform(0.7, 1.6))
    moved = replace(run, x=(run.x + way * course).clip(20, FRAME[0] - 20))
    return Spoilt(moved, float(np.mean(np.abs(way * course) > _OFF_PX)))


def _gap(rng: np.random.Generator, run: Run) -> Spoilt:
    """No image for some 25 s in mid-run, while triggers go on."""
    seconds = rng.uniform(20, 30)
    begin = rng.uniform(0.2, 0.75) * run.length_s
    return Spoilt(blinded(rng, run, [(begin, begin + seconds)]), float(seconds / run.length_s))


def _half(rng: np.random.Generator, run: Run) -> Spoilt:
    """Blind for about half of the run."""
    share = float(rng.uniform(0.4, 0.6))
    begin = float(rng.choice([0.0, 1.0 - share, rng.uniform(0.0, 1.0 - share)])) * run.length_s
    return Spoilt(blinded(rng, run, [(begin, begin + share * run.length_s)]), share)


def _blocks(rng: np.random.Generator, run: Run) -> Spoilt:
    """Three blocks without an image, full of triggers by the noise of the photomultipliers: more than usual in all."""
    share = float(rng.uniform(0.42, 0.52))
    of_block = rng.dirichlet((8, 8, 8)) * share
    pauses = np.cumsum(rng.dirichlet((4, 4, 4, 4)) * (1 - share))[:3]
    begins = (pauses + np.cumsum(of_block) - of_block) * run.length_s
    windows = [(begin, begin + part * run.length_s) for begin, part in zip(begins, of_block, strict=True)]
    blind = blinded(rng, run, windows)
    # So many triggers of noise that 61 % of all have no image.
    wanted = 0.61 / 0.39 * (blind.width > 0).sum() - (blind.width == 0).sum()
    times = np.concatenate(
        [
            rng.uniform(*window, max(int(wanted * part / share), 0))
            for window, part in zip(windows, of_block, strict=True)
        ]
    )
    return Spoilt(with_blind_triggers(rng, blind, times, is_noise=True), share)


def _at_top(rng: np.random.Generator, run: Run) -> Spoilt:
    """The core lies so high in the frame, and is so broad, that it runs over its upper edge."""
    over = float(rng.uniform(120, 280))
    stretch = (run.rig.y_high + over) / (run.rig.y_high - run.rig.y_low)
    y = run.rig.y_high - (run.rig.y_high - run.y) * stretch
    is_out = (y < 0) & (run.width > 0)
    cut = replace(run, y=np.maximum(y, 0.0)).blanked(is_out)
    touches = (cut.y - cut.height / 2 <= 0) & (cut.width > 0)
    return Spoilt(cut, float((is_out.sum() + touches.sum()) / max((run.width > 0).sum(), 1)))


def blinded(rng: np.random.Generator, run: Run, windows: Sequence[tuple[float, float]]) -> Run:
    """The run without an image in these times (s); the board rearms faster there, so that triggers are more."""
    is_blind = np.zeros(run.n, dtype=bool)
    times = []
    wait = max(run.length_s / max(run.n, 1) - run.rig.busy_s, 0.002)
    faster = (run.rig.busy_s + wait) / (_BLIND_BUSY_S + wait) - 1
    for begin, end in windows:
        within = (run.time >= begin) & (run.time < end)
        is_blind |= within
        times.append(rng.uniform(begin, end, rng.poisson(faster * within.sum())))
    blind = replace(run.blanked(is_blind), busy=np.where(is_blind, _BLIND_BUSY_S, run.busy))
    return with_blind_triggers(rng, blind, np.concatenate(times))


def with_blind_triggers(
    rng: np.random.Generator, run: Run, times: NDArray[np.float64], *, is_noise: bool = False
) -> Run:
    """The run with further triggers without an image at ``times`` (k,): of particles, or of noise."""
    source = rng.integers(0, run.n, len(times))
    order = np.argsort(np.concatenate([run.time, times]), kind="stable")
    is_added = order >= run.n
    is_first = np.diff(run.trigger, prepend=-1) != 0
    joined = {
        name: np.concatenate([getattr(run, name), getattr(run, name)[source]])[order]
        for name in (f.name for f in fields(run) if isinstance(getattr(run, f.name), np.ndarray))
    }
    joined["time"] = np.concatenate([run.time, times])[order]
    # Boxes of one frame stay together: they have the same time, and the order of equal times is kept.
    joined["trigger"] = np.cumsum(np.concatenate([is_first, np.ones(len(times), dtype=bool)])[order]) - 1
    joined["busy"] = np.where(is_added, _BLIND_BUSY_S, joined["busy"])
    if is_noise:
        for name, volts in _FLOOR_V.items():
            joined[name] = np.where(is_added, rng.normal(volts, 0.0003, len(order)), joined[name])
    return replace(run, **joined).blanked(is_added)


FAULTS: dict[str, Callable[[np.random.Generator, Run], Spoilt]] = {
    "core_creep": _creep,
    "image_gap": _gap,
    "blind_half": _half,
    "blind_blocks": _blocks,
    "cloud_at_top": _at_top,
}
