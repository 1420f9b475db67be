"""Compiled kernels: how they are made, and where their machine code is kept.

A kernel is compiled when it is first called (some seconds) and read from a cache ever after (some tenths of a
second). The cache lies beside the code; where that cannot be written to, in the user's cache folder; where
there is none either, in a private folder among the temporary files; else there is none. Import this module only
where a kernel is about to run: numba alone takes half a second to load.

Machine code holds the values of a module's constants as they were when it was compiled. numba looks at the file of
the kernel alone, and would go on using it after a constant has changed that the file imports; so what is cached is
found again only under a fingerprint of everything that it may hold (``fingerprint``).
"""

import hashlib
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import config
from numba.core.caching import FunctionCache

#: numba's settings, whose names only numba knows.
_SETTINGS: Any = config
_SETTING = threading.Lock()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and numbers. It runs without Python's lock, so that threads gain from it.

    Floating-point arithmetic stays as written: results do not depend on the machine.
    """
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
