"""Compiled kernels: how they are made, and where their machine code is kept.

A kernel is compiled when it is first called (some seconds) and read from a cache ever after (some tenths of a
second). The cache lies beside the code; where that cannot be written to, in the user's cache folder; where
there is none either, in the folder for temporary files. Import this module only where a kernel is about to
run: numba alone takes half a second to load.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function of arrays and numbers. It runs without Python's lock, so that threads gain from it.

    Floating-point arithmetic stays as written: results do not depend on the machine.
    """
    try:
        return numba.njit(cache=True, nogil=True, fastmath=False)(function)
    except RuntimeError:
        # numba found no place for its cache: neither beside the code nor in the user's folder.
        folder = Path(tempfile.gettempdir()) / f"ifcb-flow-kernels-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        numba.config.CACHE_DIR = str(folder)
        return numba.njit(cache=True, nogil=True, fastmath=False)(function)
