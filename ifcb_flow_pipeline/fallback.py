"""What happens where kernels cannot be compiled: their slow counterparts do the work, after one warning.

numba goes with certain versions of NumPy and of Python only, and an update may part them. That is a slow day and no
outage.
"""

import importlib
import warnings
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

_Result = TypeVar("_Result")

#: Modules of kernels that failed.
_failed: set[str] = set()


def with_kernels(module: str, call: Callable[[ModuleType], _Result]) -> _Result | None:
    """What ``call`` gives, which is handed a module of kernels; None where kernels do not work here."""
    if module in _failed:
        return None
    try:
        return call(importlib.import_module(module))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - what a compiler raises that does not fit is not known beforehand
        _failed.add(module)
        _tell(error)
        return None


def failed() -> list[str]:
    """The modules of kernels that have been found not to work here."""
    return sorted(_failed)


def kernel(function: Callable[..., Any]) -> Any:
    """``compiled.kernel``, or where nothing can be compiled the function as it is."""
    compiled = _compiler()
    return function if compiled is None else compiled.kernel(function)


def part(function: Callable[..., Any]) -> Any:
    """The same of ``compiled.part``."""
    compiled = _compiler()
    return function if compiled is None else compiled.part(function)


@cache
def _compiler() -> ModuleType | None:
    def checked(compiled: ModuleType) -> ModuleType:
        compiled.check()
        return compiled

    return with_kernels("ifcb_flow_pipeline.compiled", checked)


def _tell(error: Exception) -> None:
    # Of several modules that fail, the first says why.
    if len(_failed) == 1:
        warnings.warn(
            f"compiled kernels do not work here, everything takes far longer: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=4,
        )
