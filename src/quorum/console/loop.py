"""The event loop that commands run on."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

R = TypeVar("R")


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, else what asyncio would choose."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def run_interruptibly(main: Coroutine[Any, Any, R]) -> R:
    """Run `main` to its end. SIGINT and SIGTERM cancel it, so that it cleans up, and raise KeyboardInterrupt."""

    async def guarded() -> R:
        task = asyncio.current_task()
        assert task is not None, "a coroutine runs in a task"
        was_told = False

        def cancel() -> None:
            nonlocal was_told
            was_told = True
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, cancel)
        try:
            return await main
        except asyncio.CancelledError:
            if was_told:
                raise KeyboardInterrupt from None
            raise

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(guarded())
