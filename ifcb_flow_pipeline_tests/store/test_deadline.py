"""A disk that does not answer is not waited for; one that is slow is."""

import os
import threading
import time
import warnings
from pathlib import Path

import pytest

from ifcb_flow_pipeline.store import deadline
from ifcb_flow_pipeline.store.deadline import HungError, within


@pytest.fixture
def answer():
    """What calls wait for that hang; all of them end with the test."""
    event = threading.Event()
    yield event
    event.set()
    until = time.monotonic() + 60
    while deadline._HUNG:
        assert time.monotonic() < until
        threading.Event().wait(0.01)


def test_an_answer_comes_back_and_so_does_an_error():
    assert within(lambda _: 3) == 3
    with pytest.raises(FileNotFoundError):
        within(lambda _: Path("/no/such/file").stat())


def test_a_call_that_hangs_is_left_behind_as_an_error_that_may_pass(answer):
    with pytest.raises(HungError, match=r"did not answer within 0\.05 s") as raised:
        within(lambda _: answer.wait(), 0.05)
    assert isinstance(raised.value, OSError)
    assert raised.value.errno is not None


def test_a_slow_call_with_signs_of_life_is_waited_for():
    pause = threading.Event()

    def slow(alive) -> str:
        for _ in range(6):
            pause.wait(0.5)
            alive()
        return "done"

    assert within(slow, 2.5) == "done"


def test_while_some_hang_others_are_refused_at_once_until_the_disk_is_back(answer):
    for _ in range(deadline.MOST_HUNG):
        with pytest.raises(HungError):
            within(lambda _: answer.wait(), 0.01)
    made = []
    with pytest.raises(HungError):
        within(lambda _: made.append(1))
    assert not made
    answer.set()
    until = time.monotonic() + 60
    while deadline._HUNG:
        assert time.monotonic() < until
        threading.Event().wait(0.01)
    assert within(lambda _: 3) == 3


def test_threads_are_used_again():
    names = {within(lambda _: threading.get_ident()) for _ in range(50)}
    assert len(names) <= 4


def test_a_forked_process_asks_threads_of_its_own():
    within(lambda _: 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that threads do not come along is what is tested
        pid = os.fork()
    if pid == 0:
        os._exit(within(lambda _: 7, 20))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
