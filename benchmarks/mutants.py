"""Mutation test of the detection: ``python -m benchmarks.mutants`` changes lines, one at a time, and runs its tests.

Works on a copy of the tree. What all mutants share is imported once; each runs in a fork of that process, in which the
changed module is compiled from memory, so that no file and no cache of byte code or machine code is touched. The tests
that mirror the module's path run first, then those of its room, then the others of detection, up to the first failure.
Mutants are drawn evenly over files and lines, the same ones for the same seed. Time is counted in seconds of CPU, so
that other work on the machine kills no mutant. Needs ``os.fork``.
"""

import contextlib
import importlib
import importlib.abc
import importlib.util
import itertools
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import click

from benchmarks.mutations import Mutation, mutations

_ROOT = Path(__file__).parents[1]
_PACKAGE, _TESTS = "ifcb_flow_pipeline", "ifcb_flow_pipeline_tests"
_MUTATED = "detection"
_T = TypeVar("_T")

#: What is imported before the forks: nothing of it is changed by a mutant.
_SHARED = (
    "numba", "scipy.stats", "scipy.special", "pyarrow.compute", "pyarrow.parquet", "pandas", "joblib", "hypothesis",
    "sklearn.ensemble", "sklearn.tree", "pytest", "_pytest.assertion.rewrite",
)  # fmt: skip
_SURVIVED, _KILLED, _KILLED_BY_OTHERS = 0, 11, 12
_SAID = {
    _SURVIVED: "survived",
    _KILLED: "died",
    _KILLED_BY_OTHERS: "died of tests of other modules",
    -signal.SIGXCPU: "died of the time limit",
    -signal.SIGALRM: "died waiting",
}

#: A mutant may take so many times as long as the tests do without one, and stand still for so long.
_LONGEST, _LONGEST_WAIT_S = 3.0, 3600


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
    """All mutants of the detection below ``root`` in the order of files and lines.

    ``only``: a part of paths, and behind a colon the line, of those to find.
    """
    paths = [path.relative_to(root) for path in sorted((root / _PACKAGE / _MUTATED).rglob("*.py"))]
    part, _, line = only.partition(":")
    everything = [Mutant(p, m) for p in paths if part in str(p) for m in mutations((root / p).read_text("utf-8"))]
    return [mutant for mutant in everything if line in ("", str(mutant.mutation.line))]


def drawn(everything: Sequence[_T], number: int, seed: int) -> list[_T]:
    """One of each of ``number`` equal parts of a sequence: of mutants, each file and each part of it gets its share.

    In any order, so that the first of them are no worse a sample.
    """
    luck, n = random.Random(seed), min(number, len(everything))  # noqa: S311 - no secret
    edges = [part * len(everything) // n for part in range(n + 1)]
    return luck.sample([everything[luck.randrange(*part)] for part in itertools.pairwise(edges)], n)


def mirroring_tests(path: Path, root: Path) -> list[list[str]]:
    """The tests that mirror a module's path, if there are any, and all others of the detection, its room's first."""
    room = Path(_TESTS, *path.parts[1:-1])
    own = room / f"test_{path.name}"
    everything = [p.relative_to(root) for p in sorted((root / _TESTS / _MUTATED).rglob("test_*.py"))]
    others = [str(p) for p in sorted(everything, key=lambda p: (p.parent != room, p)) if p != own]
    return [[str(own)], others] if own in everything else [others]


def verdict(mutant: Mutant | None, root: Path) -> int:
    """Run the tests in this process, a fork, with the mutant in its place (None: with nothing changed)."""
    path = Path(_PACKAGE, _MUTATED, "__init__.py")
    if mutant is not None:
        path = mutant.path
        source = (root / path).read_text("utf-8")
        sys.meta_path.insert(0, _Loader(mutant, mutant.mutation.applied(source)))
        _compile_afresh(mutant.module)
    import pytest

    groups = mirroring_tests(path, root)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--hypothesis-seed=0", "--rootdir", str(root)]
    for number, tests in enumerate(groups):
        if pytest.main([*options, *tests]) != pytest.ExitCode.OK:
            return _KILLED if number == 0 else _KILLED_BY_OTHERS
    return _SURVIVED


def _compile_afresh(changed: str) -> None:
    """Machine code is cached by the time of a file, which a mutant leaves as it is: not that of the changed module."""
    import numba

    compiled: Any = importlib.import_module(f"{_PACKAGE}.compiled")
    cached = compiled.kernel

    def kernel(function: Any) -> Any:
        return numba.njit(nogil=True, fastmath=False)(function) if function.__module__ == changed else cached(function)

    compiled.kernel = kernel


def _forked(mutant: Mutant | None, root: Path, limit_s: int) -> int:
    """Start a fork that judges the mutant and ends after so many seconds of CPU; returns its process id."""
    process = os.fork()
    if process:
        return process
    code = _KILLED
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, resource.RLIM_INFINITY))
        signal.alarm(_LONGEST_WAIT_S)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        code = verdict(mutant, root)
    finally:
        os._exit(code)


def judged(
    mutants: Sequence[Mutant | None], root: Path, jobs: int = 1, limit_s: int = _LONGEST_WAIT_S
) -> Iterator[tuple[int, int, float]]:
    """Numbers of mutants with what became of them and how much CPU that took (s), as they end."""
    waiting, running = list(enumerate(mutants)), dict[int, int]()
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutant = waiting.pop(0)
            running[_forked(mutant, root, limit_s)] = number
        process, status, used = os.wait4(-1, 0)
        if process in running:
            yield running.pop(process), os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


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
@click.option("--number", default=200, show_default=True, type=click.IntRange(min=1), help="How many mutants.")
@click.option("--seed", default=0, show_default=True, help="Seed of the draw from all mutants.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Mutants at a time.")
@click.option("--only", default="", help="Only files whose path contains this; with :LINE, only that line.")
def main(number: int, seed: int, jobs: int, only: str) -> None:
    """Print what becomes of each mutant, the share that dies, and those that survive."""
    with _copy() as root:
        _import_shared(root)
        everything = all_mutants(root, only)
        if not everything:
            raise click.BadParameter(f"there is nothing to change in {only!r}")
        chosen = drawn(everything, number, seed)
        ((_, code, usual_s),) = judged([None], root)
        click.echo(f"{len(chosen)} of {len(everything)} mutants; all tests without one: {usual_s:.0f} s", err=True)
        if code != _SURVIVED:
            raise click.ClickException("the tests fail without any mutant")
        survivors = []
        for which, code, seconds in judged(chosen, root, jobs, round(_LONGEST * usual_s) + 1):
            survivors += [str(chosen[which])] if code == _SURVIVED else []
            click.echo(f"{_SAID.get(code, 'died of a crash')}, {seconds:.1f} s: {chosen[which]}")
    died = len(chosen) - len(survivors)
    click.echo(f"{died} of {len(chosen)} mutants died ({died / len(chosen):.1%}), seed {seed}")
    click.echo("".join(f"survived: {name}\n" for name in sorted(survivors)), nl=False)


if __name__ == "__main__":
    main()
