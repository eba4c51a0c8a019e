"""Where file work runs: in a thread, or in place while the disk is fast."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest

from quorum.runtime.disk_thread import Paced

FAST_NS, SLOW_NS = Paced.FAST_NS // 2, Paced.FAST_NS * 2


class Loop:
    """Stands for the event loop: takes what threads post, and runs it when asked."""

    def __init__(self) -> None:
        self._posted: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.now_ns = 0
        self.worker = Paced(self._posted.put, "test", lambda: self.now_ns)
        self.ran_in: list[bool] = []
        """Of each job, whether it ran in this thread."""

    def job(self, takes_ns: int) -> Callable[[], None]:
        def work() -> None:
            self.now_ns += takes_ns
            self.ran_in.append(threading.current_thread() is threading.main_thread())

        return work

    def wait(self) -> None:
        """Until one posted completion has run."""
        self._posted.get(timeout=10)()

    def make_fast(self) -> None:
        """So many fast jobs that urgent ones are done in place from now on."""
        for _ in range(4 * Paced.WEIGHT):
            self.worker.submit(self.job(FAST_NS), ignore)
            self.wait()
        self.ran_in.clear()

    def urgent_runs_in_place(self) -> bool:
        """Whether an urgent job would now be done in the caller."""
        done: list[BaseException | None] = []
        self.worker.submit_urgent(self.job(FAST_NS), done.append)
        if done:
            return True
        self.wait()
        return False


def ignore(error: BaseException | None) -> None:
    assert error is None


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.worker.close()


def test_urgent_work_is_done_in_place_once_the_disk_has_been_fast_for_a_while(loop: Loop) -> None:
    assert not loop.urgent_runs_in_place()
    loop.make_fast()
    assert loop.urgent_runs_in_place()


def test_one_stall_sends_the_next_ones_to_the_thread_and_a_few_fast_ones_bring_them_back(loop: Loop) -> None:
    loop.make_fast()
    loop.worker.submit_urgent(loop.job(100 * Paced.STALL_NS), ignore)
    assert loop.ran_in == [True]
    assert not loop.urgent_runs_in_place()
    loop.make_fast()
    assert loop.urgent_runs_in_place()


def test_a_disk_that_is_slow_for_long_gets_all_work_in_the_thread(loop: Loop) -> None:
    loop.make_fast()
    for _ in range(4 * Paced.WEIGHT):
        loop.worker.submit_urgent(loop.job(SLOW_NS), ignore)
        if not loop.ran_in:
            loop.wait()
        if not loop.ran_in.pop():
            break
    else:
        raise AssertionError("a slow disk holds up the loop for ever")


def test_a_slow_job_of_another_kind_does_not_count_as_a_slow_disk(loop: Loop) -> None:
    loop.make_fast()
    loop.worker.submit_aside(loop.job(SLOW_NS), ignore)
    loop.wait()
    assert loop.ran_in == [False]
    assert loop.urgent_runs_in_place()


def test_urgent_work_keeps_its_place_behind_what_the_thread_has(loop: Loop) -> None:
    loop.make_fast()
    loop.worker.submit_aside(loop.job(SLOW_NS), ignore)
    loop.worker.submit_urgent(loop.job(FAST_NS), ignore)
    loop.wait()
    loop.wait()
    assert loop.ran_in == [False, False]


def test_an_error_in_place_reaches_the_caller_as_from_the_thread(loop: Loop) -> None:
    loop.make_fast()
    failure = OSError("no")
    heard: list[BaseException | None] = []

    def fail() -> None:
        raise failure

    loop.worker.submit_urgent(fail, heard.append)
    loop.worker.submit(fail, heard.append)
    loop.wait()
    assert heard == [failure, failure]
