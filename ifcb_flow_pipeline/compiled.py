"""Compiled kernels: how they are made, and where their machine code is kept.

A kernel is compiled when it is first called (some seconds) and read from a cache ever after (some tenths of a
second). ``ifcb-flow warm`` compiles all of them. The cache is the folder that CACHE_SETTING names; without it, it lies
beside the code; where that cannot be written to, in the user's cache folder; where there is none either, in a private
folder among the temporary files; else there is none. Import this module only where a kernel is about to run: numba
alone takes half a second to load.

Machine code holds the values of a module's constants as they were when it was compiled. numba looks at the file of
the kernel alone, and would go on using it after a constant has changed that the file imports; so what is cached is
found again only under a fingerprint of everything that it may hold (``fingerprint``).

It is made for TARGET, not for the processor that happens to be there: a cache that an image brings along is of use on
other machines. Results do not depend on it, for arithmetic stays as written.
"""

import hashlib
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core import config
from numba.core.caching import CompileResultCacheImpl, FunctionCache

#: The environment variable that names a folder of machine code, such as an image has. It is read by all who may read
#: it, and added to by those who may write to it: what lies there is run.
CACHE_SETTING = "IFCB_KERNEL_CACHE"

#: What kernels are compiled for: x86-64 processors with AVX2, since 2015 or so. Made for an EPYC with AVX-512 itself
#: they take 0 to 10 % less. Where the processor has less, or is of another kind, for this very processor.
TARGET = "x86-64-v3"
_TARGET_NEEDS = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")

#: numba's settings, whose names only numba knows.
_SETTINGS: Any = config
_SETTING = threading.Lock()


def _choose_target() -> None:
    # Who has chosen another keeps it.
    if _SETTINGS.CPU_NAME is None and _SETTINGS.CPU_FEATURES is None:
        has = llvm.get_host_cpu_features()
        if all(has.get(feature) for feature in _TARGET_NEEDS):
            _SETTINGS.CPU_NAME, _SETTINGS.CPU_FEATURES = TARGET, ""


def _load_without_blas() -> None:
    """Load numba's functions of arrays without scipy.linalg, which takes as long to load as all of numba, and which
    only np.cov and np.corrcoef in compiled code want. No kernel has them.
    """
    name = "scipy.linalg.cython_blas"
    if name in sys.modules:
        return
    sys.modules[name] = None  # pyright: ignore[reportArgumentType] - Python's way to say that there is none
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[name]


_choose_target()
_load_without_blas()


#: All kernels of the modules that have been imported.
KERNELS: list[Any] = []


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and numbers. It runs without Python's lock, so that threads gain from it.

    Floating-point arithmetic stays as written: results do not depend on the machine.
    """
    made = _with_cache(function)
    KERNELS.append(made)
    return made


def _with_cache(function: Callable[..., Any]) -> Any:
    if chosen := os.environ.get(CACHE_SETTING):
        dispatcher = _njit(function)
        dispatcher._cache = _TravellingCache(function, Path(chosen))
        return dispatcher
    try:
        return _njit_cached(function)
    except RuntimeError:
        # numba found no place for its cache: neither beside the code nor in the user's folder.
        folder = _private_folder()
    if folder is not None:
        try:
            return _njit_cached_in(folder, function)
        except RuntimeError:  # it cannot be written to
            pass
    return _njit(function)


def check() -> None:
    """Compile something small, or load it. Raises whatever the compiler raises where it does not work."""
    if _next(1) != 2:
        raise RuntimeError("compiled code does not compute what it should")


def part(function: Callable[..., Any]) -> Any:
    """Compile a part of the kernels of the same file. Not called from Python, it needs no second form for that, which
    takes as long to compile as the part itself.
    """
    return _njit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Callable[..., Any]) -> Any:
    """Make a part of the kernels of the same file, without the cost of a call. It is not called from Python."""
    return _njit(function, forceinline=True)


def _njit(function: Callable[..., Any], **options: Any) -> Any:
    return numba.njit(nogil=True, fastmath=False, **options)(function)


def _njit_cached_in(folder: Path, function: Callable[..., Any]) -> Any:
    # numba takes the folder from its settings, which others may use as well: they get theirs back.
    with _SETTING:
        before = _SETTINGS.CACHE_DIR
        _SETTINGS.CACHE_DIR = str(folder)
        try:
            return _njit_cached(function)
        finally:
            _SETTINGS.CACHE_DIR = before


def _njit_cached(function: Callable[..., Any]) -> Any:
    dispatcher = _njit(function)
    # What ``cache=True`` does, with another cache. Raises RuntimeError where there is no place for it.
    dispatcher._cache = _Cache(function)
    return dispatcher


class _Cache(FunctionCache):
    """numba's cache of a function, of which every entry is found under the fingerprint of its module as well."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Asked for when the kernel is first called: by then its module is complete.
        return *super()._index_key(sig, codegen), fingerprint(self._py_func.__globals__)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # A file that was cut off by a power failure, or that nobody may read, is none.
        with suppress(OSError, EOFError, UnpicklingError):
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        # A full disk, or a folder of somebody else's, costs the next process its time and nothing more.
        with suppress(OSError):
            try:
                super().save_overload(sig, data)
            except (EOFError, UnpicklingError):
                self.flush()
                super().save_overload(sig, data)


class _Place:
    """A folder for the cache of a function that is named by its module, wherever that is installed.

    What numba asks of a place; the fingerprint tells whether the source is still the same.
    """

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._folder, self._module = folder, function.__module__
        self._py_file = function.__code__.co_filename

    def get_cache_path(self) -> str:
        return str(self._folder)

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return self._module

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)


class _TravellingCache(_Cache):
    """The same in a folder that may be made on one machine and used on another."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        place = _Place(function, folder)

        class Implementation(CompileResultCacheImpl):
            _locator_classes = (type("Locator", (), {"from_function": staticmethod(lambda *_: place)}),)

        self._impl_class = Implementation
        super().__init__(function)


def fingerprint(namespace: Mapping[str, Any]) -> str:
    """A hash of all that code compiled in a module may hold: its constants, wherever they are from, and the sources of
    the modules of the same package that its functions and classes are from.

    ``namespace``: the module's globals. Constants are numbers, texts, arrays, and tuples of them.
    """
    digest = hashlib.sha256()
    package = namespace["__name__"].partition(".")[0]
    seen: set[str] = set()
    waiting = [namespace]
    while waiting:
        module = waiting.pop()
        seen.add(module["__name__"])
        digest.update(Path(module["__file__"]).read_bytes())
        for name in sorted(name for name in list(module) if not name.startswith("__")):
            value = module[name]
            digest.update(name.encode() + b"=" + _frozen(value))
            origin = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(origin, str) and origin.partition(".")[0] == package and origin not in seen:
                seen.add(origin)
                waiting.append(vars(sys.modules[origin]))
    return digest.hexdigest()


def _frozen(value: Any) -> bytes:
    """What machine code may hold of a value of its module; nothing of one that numba does not compile in."""
    if isinstance(value, np.ndarray):
        return repr((value.dtype, value.shape)).encode() + value.tobytes()
    if isinstance(value, tuple):
        return b"(" + b",".join(map(_frozen, value)) + b")"
    if isinstance(value, (int, float, complex, str, bytes, np.generic, np.dtype)):
        return repr(value).encode()
    # The type of a named tuple is compiled in with the order of its fields.
    return repr(getattr(value, "_fields", "")).encode()


def _private_folder() -> Path | None:
    """A folder among the temporary files that is ours alone: what lies in a cache is run. None if there is none.

    Somebody else may have made a folder, or a link, of that name; it is left alone.
    """
    if not hasattr(os, "getuid"):
        return None
    try:
        folder = Path(tempfile.gettempdir()) / f"ifcb-flow-kernels-{os.getuid()}"
        if not os.path.lexists(folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return folder if private else None


@kernel
def _next(number):
    return number + 1
