"""Runs with bubbles: large, round, anywhere, in bursts; on several instruments, beside healthy water of other kinds.

A bubble of diameter d is a box of d plus what the program adds on each side. In bins with bubbles 3 to 12 % of the
boxes exceed 150 x 150 px. Beside them: the same instruments without bubbles, one whose water has long chains, one with
detritus, and one of which there are nothing but ten runs with bubbles, as of the only public bins with that label.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from benchmarks import field_rigs, field_water, schedule, second_files, second_run, second_simulator
from benchmarks.field_water import Sensors
from benchmarks.kept import kept
from benchmarks.schedule import FAULT, VARIATION, Fleet, Slot, Truth
from benchmarks.second_run import FRAME, Rig, Run, Water

_PROGRAMS = ("2.0.0.0", "2.3.0.0", "3.0.0.0", "1.1.5.23")
_MODULES = (field_rigs, field_water, schedule, second_files, second_run, second_simulator)

#: Boxes count as large from this width and height, px.
LARGE_PX = 150.0


@dataclass(frozen=True, slots=True)
class BubbleSize:
    """How large an archive is: bins of an instrument, and mean triggers."""

    bins: int = 70
    triggers: tuple[float, float] = (300.0, 1500.0)


SMALL = BubbleSize(bins=20, triggers=(150.0, 200.0))


def archive(seed: int, size: BubbleSize | None = None) -> Fleet:
    """The archive of a seed."""
    size = size or BubbleSize()
    return kept(f"bubbles-{seed}", (seed, size), _MODULES, lambda root: _write(root, seed, size))


def with_bubbles(rng: np.random.Generator, run: Run, share: float) -> Run:
    """The run in which ``share`` of the boxes are large bubbles; small ones come with them."""
    has_image = run.width > 0
    # They come in bursts: as a plug of air passes, or the pump takes a gulp.
    centres = rng.uniform(0, run.length_s, int(rng.integers(2, 9)))
    near = np.exp(-0.5 * ((run.time[:, None] - centres) / (0.03 * run.length_s)) ** 2).sum(axis=1) + 0.1
    n = max(round(1.35 * share * has_image.sum()), 2)
    odds = near * has_image / (near * has_image).sum()
    chosen = rng.choice(run.n, min(n, int(has_image.sum())), replace=False, p=odds)
    diameter = np.exp(np.log(150) + np.abs(rng.normal(0, 0.4, len(chosen)))).clip(0, 700)
    # A quarter of them are smaller.
    diameter = np.where(rng.random(len(chosen)) < 0.25, rng.uniform(60, 145, len(chosen)), diameter)
    is_anywhere = rng.random(len(chosen)) < rng.uniform(0.3, 0.8)
    x = np.where(is_anywhere, rng.uniform(0, FRAME[0], len(chosen)), run.x[chosen])
    y = np.where(is_anywhere, rng.uniform(0, FRAME[1], len(chosen)), run.y[chosen])
    columns = {name: getattr(run, name).copy() for name in ("x", "y", "width", "height", "peak_a", "peak_b")}
    columns["x"][chosen] = x.clip(diameter / 2 + 24, FRAME[0] - diameter / 2 - 24)
    columns["y"][chosen] = y.clip(diameter / 2 + 8, FRAME[1] - diameter / 2 - 8)
    round_off = np.exp(rng.normal(0, 0.05, len(chosen)))
    columns["width"][chosen] = diameter * round_off + 2 * run.rig.grow[0]
    columns["height"][chosen] = diameter / round_off + 2 * run.rig.grow[1]
    # A wall of air scatters much light, and fluoresces not at all: what is seen is the scattered light that leaks.
    columns["peak_a"][chosen] = np.minimum(columns["peak_a"][chosen] * rng.lognormal(1.0, 0.5, len(chosen)), 3.5)
    columns["peak_b"][chosen] = 0.011 + rng.gamma(2, 0.06, len(chosen))
    return replace(run, **columns)


def _write(root: Path, seed: int, size: BubbleSize) -> list[Truth]:
    rng = np.random.default_rng([seed, 3301])
    numbers = rng.choice(np.arange(400, 500), 6, replace=False).tolist()
    truths: list[Truth] = []
    for which, (water, number) in enumerate(zip(("", "", "", "chains", "detritus", "only"), numbers, strict=True)):
        own = np.random.default_rng([seed, 3302, which])
        rig = field_rigs.rig(own, f"IFCB{number}", str(own.choice(_PROGRAMS)))
        shares = _shares(own, 10 if water == "only" else size.bins, water)
        truths += _series(root, own, rig, shares, water, size)
    return truths


def _shares(rng: np.random.Generator, n: int, water: str) -> list[tuple[float, int]]:
    """The share of large bubbles in each of n bins, and the number of its episode (-1: none)."""
    if water == "only":
        return [(float(rng.uniform(0.03, 0.12)), 0) for _ in range(n)]
    shares = [(0.0, -1)] * n
    if water:
        return shares
    left, episode = max(round(0.1 * n), 2), 0
    while left > 0:
        length = min(int(rng.geometric(0.35)), left)
        first = int(rng.integers(3, n - length))
        for i in range(first, first + length):
            shares[i] = (float(rng.uniform(0.03, 0.12)), episode)
        left, episode = left - length, episode + 1
    return shares


def _series(
    root: Path, rng: np.random.Generator, rig: Rig, shares: list[tuple[float, int]], kind: str, size: BubbleSize
) -> list[Truth]:
    began = datetime(2022, 3, 1, tzinfo=UTC) + timedelta(days=float(rng.integers(0, 300)))
    hours = 0.4 * np.arange(len(shares))
    triggers = float(rng.uniform(130, 260)) if kind == "only" else float(np.exp(rng.uniform(*np.log(size.triggers))))
    truths = []
    course = field_water.waters(rng, rig, hours, triggers, Sensors.some(rng), 0.1)
    for hour, water, (share, episode) in zip(hours.tolist(), course, shares, strict=True):
        run = second_simulator.draw(rng, rig, _of_kind(water, kind))
        if kind == "detritus":
            run = field_water.with_detritus(rng, run, float(rng.uniform(0, 0.25)))
        elif kind != "chains":
            run = _few_large(rng, run)
        slot = Slot(kind, 0.0, VARIATION) if kind in ("chains", "detritus") else Slot()
        if episode >= 0:
            run, slot = with_bubbles(rng, run, share), Slot("bubbles", share, FAULT, episode)
        start = began + timedelta(hours=hour)
        pid = f"D{start:%Y%m%dT%H%M%S}_{rig.name}"
        second_files.write(run, root / f"D{start:%Y}" / f"D{start:%Y%m%d}" / pid, start, rng)
        truths.append(Truth(pid, rig.name, slot))
    return truths


def _of_kind(water: Water, kind: str) -> Water:
    return replace(water, chains=min(3.5 * water.chains, 0.7), size=water.size * 1.25) if kind == "chains" else water


def _few_large(rng: np.random.Generator, run: Run) -> Run:
    """Healthy water has 0 to 0.6 % of large boxes: colonies and flakes, in the core."""
    is_large = (rng.random(run.n) < rng.uniform(0, 0.006)) & (run.width > 0)
    sides = LARGE_PX * np.exp(np.abs(rng.normal(0, 0.35, (2, run.n))))
    return replace(
        run, width=np.where(is_large, sides[0] * 1.3, run.width), height=np.where(is_large, sides[1], run.height)
    )
