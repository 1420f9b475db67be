"""Asking a disk, and not waiting for ever: a network disk whose server is gone lets a read hang, and with it a run.

A thread that hangs in the system cannot be ended. So each call is made by another thread, which is left behind where it
gives no sign of life; a program that has left some behind still ends.
"""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

_Answer = TypeVar("_Answer")

#: A disk without a sign of life for so long, in seconds, counts as gone for now. What is only slow answers sooner.
PATIENCE = 60.0

#: While so many calls hang, others are refused at once: the bins of a day would take hours one after the other.
MOST_HUNG = 4

#: Tells that the work goes on: the wait begins anew.
Alive = Callable[[], None]


class HungError(TimeoutError):
    """The disk did not answer. It may do so later."""

    def __init__(self, seconds: float) -> None:
        super().__init__(errno.ETIMEDOUT, f"the disk did not answer within {seconds:g} s")


def within(act: Callable[[Alive], _Answer], seconds: float | None = None) -> _Answer:
    """What ``act`` returns or raises, made by another thread. ``act`` may call what it is given as a sign of life.

    Raises HungError, an OSError, where there is no sign of life for ``seconds`` (PATIENCE), or while MOST_HUNG hang.
    """
    patience = PATIENCE if seconds is None else seconds
    if len(_HUNG) >= MOST_HUNG:
        raise HungError(patience)
    call = _Call(act)
    _worker().calls.put(call)
    while not call.ended.acquire(timeout=max(0.0, call.alive_at + patience - time.monotonic())):
        if time.monotonic() - call.alive_at >= patience:
            _HUNG.add(call)
            if call.over:  # at the last moment
                _HUNG.discard(call)
                break
            raise HungError(patience)
    if call.error is not None:
        raise call.error
    return call.answer


class _Call:
    """What a thread is asked, and what became of it."""

    __slots__ = ("act", "alive_at", "answer", "ended", "error", "over")

    def __init__(self, act: Callable[[Alive], Any]) -> None:
        self.act = act
        self.alive_at = time.monotonic()
        self.answer: Any = None
        self.error: BaseException | None = None
        self.over = False
        self.ended = threading.Lock()
        self.ended.acquire()

    def alive(self) -> None:
        self.alive_at = time.monotonic()

    def make(self) -> None:
        try:
            self.answer = self.act(self.alive)
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            self.error = error
        self.over = True
        self.ended.release()
        _HUNG.discard(self)


class _Worker(threading.Thread):
    """Makes one call after the other."""

    def __init__(self) -> None:
        super().__init__(name="disk", daemon=True)  # a program ends without those that hang
        self.calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            call = self.calls.get()
            call.make()
            del call  # it holds what was read
            _IDLE.append(self)


_IDLE: list[_Worker] = []
_HUNG: set[_Call] = set()


def _worker() -> _Worker:
    try:
        return _IDLE.pop()
    except IndexError:
        worker = _Worker()
        worker.start()
        return worker


def _forget() -> None:
    # Threads do not come along into a forked process.
    _IDLE.clear()
    _HUNG.clear()


os.register_at_fork(after_in_child=_forget)
