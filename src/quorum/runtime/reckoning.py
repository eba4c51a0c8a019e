"""Work that takes long, done beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


class Reckoner:
    """Runs a function in a thread of its own, and then, on the loop, another one with what came out; `woken` is
    called after that. For work that is rare: a thread is made for each."""

    def __init__(self, woken: Callable[[], None]) -> None:
        self._woken = woken

    def __call__(self, work: Callable[[], T], done: Callable[[T], None]) -> None:
        loop = asyncio.get_running_loop()
        Thread(target=self._run, args=(loop, work, done), name="quorum reckoning", daemon=True).start()

    def _run(self, loop: asyncio.AbstractEventLoop, work: Callable[[], T], done: Callable[[T], None]) -> None:
        outcome = work()

        def finish() -> None:
            done(outcome)
            self._woken()

        with suppress(RuntimeError):  # the loop is closed: nobody wants it any more
            loop.call_soon_threadsafe(finish)
