"""Where slow file work runs: a thread of its own in production, inline in a simulation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Protocol

Job = Callable[[], None]
Done = Callable[[BaseException | None], None]
Post = Callable[[Callable[[], None]], object]
"""Runs a callable on the loop, from any thread (`loop.call_soon_threadsafe`)."""


class Worker(Protocol):
    """Runs jobs one at a time, in the order given."""

    def submit(self, job: Job, done: Done) -> None:
        """Run `job`, then call `done` on the loop, with the exception if there was one."""
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

    def close(self) -> None:
        return


class DiskThread:
    """One daemon thread. A slow disk delays completions, never the loop."""

    def __init__(self, post: Post, name: str) -> None:
        self._post = post
        self._jobs: SimpleQueue[tuple[Job, Done] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Job, done: Done) -> None:
        self._jobs.put((job, done))

    def close(self) -> None:
        self._jobs.put(None)
        self._thread.join()

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


def worker_for(post: Post | None, name: str) -> Worker:
    """A thread that answers through `post`, or inline work where there is none."""
    return Inline() if post is None else DiskThread(post, name)
