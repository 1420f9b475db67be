"""What a call or a command takes: wall and processor time, medians over repetitions."""

import gc
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Times:
    """Medians, in seconds: by the clock, and of all cores together."""

    wall_s: float
    cpu_s: float


def timed(function: Callable[[], _Result], repeats: int = 1) -> tuple[_Result, Times]:
    """What the function gave, and what it took. Where it is repeated, a first call does not count: it may compile."""
    if repeats > 1:
        function()
    wall, cpu = [], []
    while True:
        gc.collect()
        started, cpu_started = time.perf_counter(), time.process_time()
        result = function()
        wall.append(time.perf_counter() - started)
        cpu.append(time.process_time() - cpu_started)
        if len(wall) == repeats:
            return result, Times(float(np.median(wall)), float(np.median(cpu)))


def timed_command(arguments: Sequence[str], repeats: int, environment: dict[str, str] | None = None) -> Times:
    """What ``python`` with these arguments takes, from its start to its end."""
    wall, cpu = [], []
    for _ in range(repeats):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)
        wall.append(time.perf_counter() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Times(float(np.median(wall)), float(np.median(cpu)))


def two_processes(function: Callable[[], object], repeats: int) -> float:
    """Seconds, median, in which two processes at the same time each do all of it: what two cores have to give now."""
    context = multiprocessing.get_context("fork")
    barrier, clocks = context.Barrier(2), [context.Array("d", 2 * repeats) for _ in range(2)]
    workers = [context.Process(target=_work, args=(barrier, clock, function, repeats)) for clock in clocks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    starts, ends = (np.array([clock[i::2] for clock in clocks]) for i in (0, 1))
    return float(np.median(ends.max(axis=0) - starts.min(axis=0)))


def _work(barrier: Any, clock: Any, function: Callable[[], object], repeats: int) -> None:
    function()
    for i in range(repeats):
        barrier.wait()
        clock[2 * i] = time.perf_counter()
        function()
        clock[2 * i + 1] = time.perf_counter()
