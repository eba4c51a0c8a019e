"""Where slow file work runs: a thread of its own in production, inline in a simulation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from time import monotonic_ns
from typing import ClassVar, Protocol

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]
Post = Callable[[Callable[[], None]], object]
"""Runs a callable on the loop, from any thread (`loop.call_soon_threadsafe`)."""


class Worker(Protocol):
    """Runs jobs one at a time, in the order given."""

    def submit(self, job: Job, done: Done) -> None:
        """Run `job`, then call `done` on the loop, with the exception if there was one."""
        ...

    def submit_urgent(self, job: Job, done: Done) -> None:
        """As `submit`, for a caller that only waits: `done` may be called before this returns."""
        ...

    def submit_aside(self, job: Job, done: Done) -> None:
        """As `submit`, for a job that is not like the others: how long it takes says nothing about them."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then end."""
        ...


class Inline:
    """Every job runs at once, in the caller: no threads, the same order each time."""

    def submit(self, job: Job, done: Done) -> None:
        try:
            job()
        except Exception as error:
            done(error)
        else:
            done(None)

    def submit_urgent(self, job: Job, done: Done) -> None:
        self.submit(job, done)

    def submit_aside(self, job: Job, done: Done) -> None:
        self.submit(job, done)

    def close(self) -> None:
        return


class DiskThread:
    """One daemon thread. A slow disk delays completions, never the loop."""

    def __init__(self, post: Post, name: str) -> None:
        self._post = post
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._runner = threading.Thread(target=self._run, name=name, daemon=True)
        self._runner.start()

    def submit(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def submit_urgent(self, job: Job, done: Done) -> None:
        self.submit(job, done)

    def submit_aside(self, job: Job, done: Done) -> None:
        self.submit(job, done)

    def close(self) -> None:
        self._jobs.put(None)
        self._runner.join()

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, done = item
            failure: BaseException | None = None
            try:
                job()
            except BaseException as error:
                failure = error
            with suppress(RuntimeError):  # the loop is closed: nobody waits for the answer any more
                self._post(partial(done, failure))


class Paced(DiskThread):
    """A thread, but urgent work is done on the loop itself while the disk answers fast.

    Handing a sync to a thread and back costs about as much as a fast disk takes for it. Fast is a moving average
    of what the last jobs took, each counted as STALL_NS at most: one stall sends the next few jobs to the thread,
    a disk that is slow for long all of them. So a stalling disk holds up the loop once, not for ever.
    """

    FAST_NS: ClassVar[int] = 400_000
    STALL_NS: ClassVar[int] = 4_000_000
    WEIGHT: ClassVar[int] = 8
    """The newest job counts for one in so many."""

    def __init__(self, post: Post, name: str, now_ns: Callable[[], int] = monotonic_ns) -> None:
        super().__init__(post, name)
        self._now_ns = now_ns
        self._average_ns = self.STALL_NS
        self._handed_over = 0

    def submit(self, job: Job, done: Done) -> None:
        took_ns = 0

        def timed() -> None:
            nonlocal took_ns
            began = self._now_ns()
            job()
            took_ns = self._now_ns() - began

        def taken(failure: BaseException | None) -> None:
            self._judge(took_ns)
            done(failure)

        self.submit_aside(timed, taken)

    def submit_aside(self, job: Job, done: Done) -> None:
        def taken(failure: BaseException | None) -> None:
            self._handed_over -= 1
            done(failure)

        self._handed_over += 1
        super().submit(job, taken)

    def submit_urgent(self, job: Job, done: Done) -> None:
        if self._average_ns > self.FAST_NS or self._handed_over:
            self.submit(job, done)
            return
        began = self._now_ns()
        failure: BaseException | None = None
        try:
            job()
        except Exception as error:
            failure = error
        self._judge(self._now_ns() - began)
        done(failure)

    def _judge(self, took_ns: int) -> None:
        self._average_ns += (min(took_ns, self.STALL_NS) - self._average_ns) // self.WEIGHT


def worker_for(post: Post | None, name: str) -> Worker:
    """A thread that answers through `post`, or inline work where there is none."""
    return Inline() if post is None else DiskThread(post, name)


def paced_worker_for(post: Post | None, name: str) -> Worker:
    """As `worker_for`, for jobs that are short while the disk is fast."""
    return Inline() if post is None else Paced(post, name)
