"""Memory that is used again, for one file after the other."""

import threading
from typing import Generic, TypeVar

_Memory = TypeVar("_Memory")


class Kept(Generic[_Memory]):
    """Memory that nobody uses at the moment. Fresh memory takes longer to write to than a file does to read, and
    threads wait for each other there.

    A thread finds what it used last, whose bytes lie in the caches of its core; without any, what another has left, for
    pools of threads come and go.
    """

    def __init__(self) -> None:
        self._by_thread: dict[int, _Memory] = {}

    def take(self) -> _Memory | None:
        """Memory that is the caller's until it is given back; None where there is none."""
        own = self._by_thread.pop(threading.get_ident(), None)
        if own is not None:
            return own
        try:
            return self._by_thread.popitem()[1]
        except KeyError:
            return None

    def give(self, memory: _Memory) -> None:
        """Keep memory for whoever wants it next."""
        self._by_thread[threading.get_ident()] = memory
