"""What a kind of fault came to, and waiting for it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often a kind of fault was tried, and how often what is expected of it held.

    ``note``: where it could not be tried, why.
    """

    fault: str
    tried: int
    survived: int
    note: str = ""

    def line(self) -> str:
        """A line of the table."""
        return f"{self.fault:52} {self.tried:5} {self.survived:8} {self.tried - self.survived:4}  {self.note}".rstrip()


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until the condition holds; False where it does not for so long."""
    deadline, pause = time.monotonic() + seconds, Event()
    while not condition():
        if time.monotonic() > deadline:
            return False
        pause.wait(0.3)
    return True
