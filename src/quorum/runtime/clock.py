"""The node's clock and timers on an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class SystemClock:
    """ports.Clock: the wall clock as it was at the start, carried on by the monotonic one."""

    def __init__(self) -> None:
        self._offset_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000

    def now_us(self) -> int:
        return self._offset_us + time.monotonic_ns() // 1000


_STEADY = getattr(time, "CLOCK_BOOTTIME", None)


def steady_us() -> int:
    """Microseconds that only grow, to measure how much time has passed. On Linux they include the time for which
    the machine was suspended; a virtual machine that its host stops does not notice that anywhere."""
    return (time.monotonic_ns() if _STEADY is None else time.clock_gettime_ns(_STEADY)) // 1000


class LoopTimers:
    """ports.Timers: one handle a name, so that an earlier setting can never fire."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[str], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._handles: dict[str, asyncio.TimerHandle] = {}

    def set(self, name: str, delay_us: int) -> None:
        self.cancel(name)
        self._handles[name] = self._loop.call_later(delay_us / 1e6, self._fire, name)

    def cancel(self, name: str) -> None:
        handle = self._handles.pop(name, None)
        if handle is not None:
            handle.cancel()

    def cancel_all(self) -> None:
        for name in list(self._handles):
            self.cancel(name)
