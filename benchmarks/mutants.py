"""Mutation test of the detection: ``python -m benchmarks.mutants`` changes lines, one at a time, and runs its tests.

Works on a copy of the tree. What all mutants share is imported once; each runs in a fork of that process, in which the
changed module is compiled from memory, so that no file and no cache of byte code or machine code is touched. First the
tests that mirror the module's path run, then the others of detection. Needs ``os.fork``.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from benchmarks.mutations import Mutation, mutations

_ROOT = Path(__file__).parents[1]
_PACKAGE, _TESTS = "ifcb_flow_pipeline", "ifcb_flow_pipeline_tests"
_MUTATED = "detection"

#: What is imported before the forks: nothing of it is changed by a mutant.
_SHARED = (
    "numba", "scipy.stats", "scipy.special", "pyarrow.compute", "pyarrow.parquet", "pandas", "joblib", "hypothesis",
    "sklearn.ensemble", "sklearn.tree", "pytest", "_pytest.assertion.rewrite",
)  # fmt: skip
_SURVIVED, _KILLED, _KILLED_BY_OTHERS = 0, 11, 12
_SAID = {
    _SURVIVED: "survived",
    _KILLED: "killed",
    _KILLED_BY_OTHERS: "killed by tests of other modules",
    -signal.SIGKILL: "killed by the time limit",
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation of a file, whose path is given from the root of the tree."""

    path: Path
    mutation: Mutation

    @property
    def module(self) -> str:
        """The name of the module."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    def __str__(self) -> str:
        return f"{self.path}:{self.mutation.line}: {self.mutation}"


class _Loader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from a changed source."""

    def __init__(self, mutant: Mutant, source: str) -> None:
        self._mutant, self._source = mutant, source

    def find_spec(self, fullname, path=None, target=None):
        del path, target
        if fullname != self._mutant.module:
            return None
        is_package = self._mutant.path.stem == "__init__"
        spec = importlib.util.spec_from_loader(fullname, self, origin=str(self._mutant.path), is_package=is_package)
        if spec is not None and is_package:
            spec.submodule_search_locations = [str(self._mutant.path.parent.resolve())]
        return spec

    def get_source(self, fullname: str) -> str:
        del fullname
        return self._source

    def exec_module(self, module: ModuleType) -> None:
        module.__file__ = str(self._mutant.path.resolve())
        exec(compile(self._source, module.__file__, "exec"), module.__dict__)  # noqa: S102 - that is its purpose


def all_mutants(root: Path, only: str = "") -> list[Mutant]:
    """All mutants of the detection below ``root``, those of files whose path contains ``only``."""
    paths = [path.relative_to(root) for path in sorted((root / _PACKAGE / _MUTATED).rglob("*.py"))]
    return [Mutant(p, m) for p in paths if only in str(p) for m in mutations((root / p).read_text("utf-8"))]


def mirroring_tests(path: Path, root: Path) -> list[list[str]]:
    """The tests that mirror a module's path, if there are any, and all others of the detection."""
    own = Path(_TESTS, *path.parts[1:-1], f"test_{path.name}")
    everything = [p.relative_to(root) for p in sorted((root / _TESTS / _MUTATED).rglob("test_*.py"))]
    others = [str(p) for p in everything if p != own]
    return [[str(own)], others] if own in everything else [others]


def verdict(mutant: Mutant | None, root: Path) -> int:
    """Run the tests in this process, a fork, with the mutant in its place (None: with nothing changed)."""
    path = Path(_PACKAGE, _MUTATED, "__init__.py")
    if mutant is not None:
        path = mutant.path
        source = (root / path).read_text("utf-8")
        sys.meta_path.insert(0, _Loader(mutant, mutant.mutation.applied(source)))
        if "compiled" in source:
            _without_kernel_cache()
    import pytest

    groups = mirroring_tests(path, root)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--hypothesis-seed=0", "--rootdir", str(root)]
    for number, tests in enumerate(groups):
        if pytest.main([*options, *tests]) != pytest.ExitCode.OK:
            return _KILLED if number == 0 else _KILLED_BY_OTHERS
    return _SURVIVED


def _without_kernel_cache() -> None:
    """Machine code is cached by the time of a file, which a mutant leaves as it is."""
    import numba

    compiled: Any = importlib.import_module(f"{_PACKAGE}.compiled")
    compiled.kernel = numba.njit(nogil=True, fastmath=False)


def _forked(mutant: Mutant | None, root: Path) -> int:
    """Start a fork that judges the mutant; returns its process id."""
    process = os.fork()
    if process:
        return process
    code = _KILLED
    try:
        # Its own group: what the tests start ends with it.
        os.setpgid(0, 0)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = verdict(mutant, root)
    finally:
        os._exit(code)


def judged(mutants: Sequence[Mutant | None], root: Path, jobs: int, limit_s: float) -> Iterator[tuple[int, int, float]]:
    """Numbers of mutants with what became of them and how long that took (s), as they end."""
    waiting, running = list(enumerate(mutants)), dict[int, tuple[int, float]]()
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutant = waiting.pop(0)
            running[_forked(mutant, root)] = (number, time.monotonic())
        process, status = os.waitpid(-1, os.WNOHANG)
        if process in running:
            number, started = running.pop(process)
            yield number, os.waitstatus_to_exitcode(status), time.monotonic() - started
            continue
        for process, (_, started) in running.items():
            if time.monotonic() - started > limit_s:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
        time.sleep(0.02)


@contextlib.contextmanager
def _copy() -> Iterator[Path]:
    """A copy of what is tested, times of files and caches included, from which everything is imported."""
    with tempfile.TemporaryDirectory(prefix="ifcb-flow-mutants-") as name:
        root = Path(name)
        for folder in (_PACKAGE, _TESTS):
            shutil.copytree(_ROOT / folder, root / folder)
        shutil.copy2(_ROOT / "pyproject.toml", root)
        os.chdir(root)
        sys.path[:] = [str(root), *(p for p in sys.path if p and Path(p).resolve() != _ROOT)]
        os.environ |= {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        try:
            yield root
        finally:
            os.chdir(_ROOT)


def _import_shared(root: Path) -> None:
    """Import what no mutant changes. Raises RuntimeError if that brought the detection along."""
    own = [p.relative_to(root) for name in ("bins", "features") for p in (root / _PACKAGE / name).rglob("*.py")]
    modules = [".".join(p.with_suffix("").parts) for p in own if p.stem != "__init__"]
    for name in (*_SHARED, *modules):
        importlib.import_module(name)
    if any(name.startswith(f"{_PACKAGE}.{_MUTATED}") for name in sys.modules):
        raise RuntimeError("bins or features import the detection: they cannot be shared by mutants")


@click.command()
@click.option("--number", default=200, show_default=True, help="How many mutants, drawn from all.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Mutants at a time.")
@click.option("--limit", default=120.0, show_default=True, help="Seconds for the tests of one mutant.")
@click.option("--only", default="", help="Only files whose path contains this.")
def main(number: int, seed: int, jobs: int, limit: float, only: str) -> None:
    """Print what becomes of each mutant, and the share that dies."""
    with _copy() as root:
        _import_shared(root)
        everything = all_mutants(root, only)
        chosen = random.Random(seed).sample(everything, min(number, len(everything)))  # noqa: S311 - no secret
        ((_, code, seconds),) = judged([None], root, 1, 10 * limit)
        click.echo(f"{len(chosen)} of {len(everything)} mutants; all tests without one: {seconds:.0f} s", err=True)
        if code != _SURVIVED:
            raise click.ClickException("the tests fail without any mutant")
        codes = []
        for which, code, seconds in judged(chosen, root, jobs, limit):
            codes.append(code)
            click.echo(f"{_SAID.get(code, 'killed by a crash')}, {seconds:.1f} s: {chosen[which]}")
    died = sum(code != _SURVIVED for code in codes)
    click.echo(f"{died} of {len(codes)} mutants died ({died / max(len(codes), 1):.1%})")


if __name__ == "__main__":
    main()
