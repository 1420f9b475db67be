"""Archives that a benchmark made, kept among temporary files as long as what makes them does not change."""

import hashlib
import inspect
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from benchmarks import schedule
from benchmarks.schedule import Fleet, Truth


@dataclass(frozen=True, slots=True)
class FleetSize:
    """How large archives are; small ones only show that everything runs."""

    bins: tuple[int, int] = (200, 400)
    triggers: tuple[float, float] = (600.0, 1500.0)
    instruments: tuple[int, int] = (2, 4)


SMALL = FleetSize(bins=(90, 91), triggers=(150.0, 200.0), instruments=(2, 2))


def kept(name: str, key: object, modules: Sequence[ModuleType], make: Callable[[Path], list[Truth]]) -> Fleet:
    """The fleet that ``make`` writes below a folder, kept among temporary files as long as its makers do not change."""
    digest = hashlib.sha256(repr(key).encode())
    for module in [*modules, inspect.getmodule(make)]:
        source = Path(inspect.getfile(module))
        for path in sorted(source.parent.glob("*.py")) if source.name == "__init__.py" else [source]:
            digest.update(path.read_bytes())
    root = Path(tempfile.gettempdir()) / "ifcb-flow-fleets" / f"{name}-{digest.hexdigest()[:12]}"
    labels = root / "truths.csv"
    if not labels.exists():
        truths = make(root / "archive")
        schedule.write_truths(truths, labels)
    return Fleet(name, root / "archive", schedule.read_truths(labels))
