"""Compiled kernels: how they are made, and where their machine code is kept.

A kernel is compiled when it is first called (some seconds) and read from a cache ever after (some tenths of a
second). The cache lies beside the code; where that cannot be written to, in the user's cache folder; where
there is none either, in a private folder among the temporary files; else there is none. Import this module only
where a kernel is about to run: numba alone takes half a second to load.

The cache notices when the file of a kernel changes, not when another file does: a kernel calls only kernels of
its own file.
"""

import os
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import config

#: numba's settings, whose names only numba knows.
_SETTINGS: Any = config
_SETTING = threading.Lock()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and numbers. It runs without Python's lock, so that threads gain from it.

    Floating-point arithmetic stays as written: results do not depend on the machine.
    """
    try:
        return _njit(function, cache=True)
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
            return _njit(function, cache=True)
        finally:
            _SETTINGS.CACHE_DIR = before


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
