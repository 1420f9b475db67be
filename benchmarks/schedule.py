"""What happens to the bins of a benchmark archive, and the truth about them; shared by both simulators.

Here: which bin gets what and how strongly. Not here: how anything looks (``fleets``, ``second_simulator``).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PLAIN = "plain"
VARIATION = "variation"
FAULT = "fault"
ASIDE = "aside"
"""Kinds of bins: healthy, healthy but unusual, faulty, and counted as neither (calibration beads)."""

MILDEST = 0.1

#: Faults that creep up over bins rather than come and go.
_CREEPING = frozenset({"leak", "stuck_roi", "overheating"})
#: Faults of one bin: a run that fails, a file that is damaged.
_BRIEF = frozenset({"incomplete_run", "empty_bin", "corrupt_adc", "truncated_adc", "missing_hdr", "clock_jump"})


@dataclass(frozen=True, slots=True)
class Slot:
    """What one bin holds: the name of what happens ("" nothing), its severity (0.1 mild to 1 gross), the number
    of its episode and the place in it (from 0).
    """

    name: str = ""
    severity: float = 0.0
    kind: str = PLAIN
    episode: int = -1
    place: int = 0


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth about one bin of an archive."""

    pid: str
    instrument: str
    slot: Slot


@dataclass(frozen=True, slots=True)
class Fleet:
    """An archive on disk and the truth about its bins, instrument by instrument, in the order of time."""

    name: str
    root: Path
    truths: tuple[Truth, ...]


class Scheduler:
    """Deals out happenings to one instrument after the other; faults come round in turn, so that all occur."""

    def __init__(self, rng: np.random.Generator, faults: Sequence[str], prevalence: float) -> None:
        self._rng, self._faults, self._prevalence = rng, list(faults), prevalence
        self._turns = self._rounds()
        self._episodes = 0

    def slots(self, n_bins: int, after_cleaning: Sequence[int]) -> list[Slot]:
        """The slots of an instrument: bins ``after_cleaning``, a bloom or two, detritus, then faults between them."""
        slots = [Slot()] * n_bins
        for i in after_cleaning:
            slots[i] = Slot("post_clean", float(self._rng.uniform(0.1, 1)), VARIATION, self._number())
        for name, longest in (("bloom", 24), ("detritus", 10), ("bloom", 10), ("detritus", 5), ("bead_run", 1)):
            length = min(int(self._rng.integers(1, longest + 1)), max(n_bins // 12, 1))
            peak = self._rng.uniform(0.3, 1)
            # It comes and goes gradually, as the water does.
            rise = np.sin(np.pi * (np.arange(length) + 0.5) / length)
            kind = ASIDE if name == "bead_run" else VARIATION
            self._place(slots, name, kind, np.maximum(peak * rise, MILDEST))
        self._add_faults(slots, n_bins)
        return slots

    def _add_faults(self, slots: list[Slot], n_bins: int) -> None:
        wanted = max(round(self._prevalence * n_bins), 1)
        for _ in range(10 * wanted):
            found = sum(slot.kind == FAULT for slot in slots)
            if found >= wanted:
                return
            name = next(self._turns)
            self._place(slots, name, FAULT, self._severities(name, wanted - found))

    def _severities(self, name: str, most: int) -> np.ndarray:
        severity = self._rng.uniform(MILDEST, 1)
        if name in _BRIEF:
            return np.full(1, severity)
        if name not in _CREEPING and self._rng.random() < 0.5:
            return np.full(1, severity)
        length = min(int(self._rng.integers(3, 13)), max(most, 3))
        first = MILDEST if name in _CREEPING or self._rng.random() < 0.3 else severity
        return np.linspace(first, severity, length)

    def _place(self, slots: list[Slot], name: str, kind: str, severities: np.ndarray) -> None:
        """Put an episode where there is room for it, with an ordinary bin on either side."""
        n = len(severities)
        is_free = np.array([not slot.name for slot in slots])
        rooms = [i for i in range(2, len(slots) - n - 1) if is_free[i - 1 : i + n + 1].all()]
        if not rooms:
            return
        start, number = int(self._rng.choice(rooms)), self._number()
        for place, severity in enumerate(severities.tolist()):
            slots[start + place] = Slot(name, severity, kind, number, place)

    def _number(self) -> int:
        self._episodes += 1
        return self._episodes - 1

    def _rounds(self) -> Iterator[str]:
        while True:
            yield from self._rng.permutation(self._faults).tolist()


def autoregressive(rng: np.random.Generator, n: int, correlation: float, sd: float) -> np.ndarray:
    """A stationary series of shape (n,) around 0 with that correlation of neighbours and standard deviation."""
    values = rng.normal(0, sd * np.sqrt(1 - correlation**2), n)
    values[:1] = rng.normal(0, sd)
    for i in range(1, n):
        values[i] += correlation * values[i - 1]
    return values


def write_truths(truths: Sequence[Truth], path: Path) -> None:
    """Write the truths as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pid", "instrument", "name", "severity", "kind", "is_fault", "episode", "place"])
        for truth in truths:
            slot = truth.slot
            is_fault = str(slot.kind == FAULT).lower()
            severity = f"{slot.severity:.4f}"
            writer.writerow(
                [truth.pid, truth.instrument, slot.name, severity, slot.kind, is_fault, slot.episode, slot.place]
            )


def read_truths(path: Path) -> tuple[Truth, ...]:
    """Read what ``write_truths`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(
            Truth(
                row["pid"],
                row["instrument"],
                Slot(row["name"], float(row["severity"]), row["kind"], int(row["episode"]), int(row["place"])),
            )
            for row in csv.DictReader(file)
        )
