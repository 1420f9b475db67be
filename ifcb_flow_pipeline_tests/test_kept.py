"""Memory that is used again goes back to the thread that had it, and is not lost with a thread."""

from concurrent.futures import ThreadPoolExecutor

from ifcb_flow_pipeline.kept import Kept


def in_another_thread(function, *arguments):
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *arguments).result()


def test_there_is_none_at_first_and_none_is_given_to_two():
    kept = Kept()
    assert kept.take() is None
    kept.give([1])
    assert kept.take() == [1]
    assert kept.take() is None


def test_a_thread_finds_its_own_memory_again_even_when_it_is_empty():
    kept = Kept()

    def other():
        kept.give(["theirs"])
        mine.append(kept.take())
        kept.give(mine[0])

    mine = []
    kept.give([])
    with ThreadPoolExecutor(1) as threads:
        threads.submit(other).result()
        assert mine == [["theirs"]]
        assert kept.take() == []


def test_what_a_thread_left_is_found_by_the_next():
    kept = Kept()
    in_another_thread(kept.give, ["left"])
    assert kept.take() == ["left"]
    assert in_another_thread(kept.take) is None
