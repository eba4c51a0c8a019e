"""A log whose entries stand at times that the test chooses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import msgspec

from apps_log import header
from quorum.apps.applied import Applied
from quorum.apps.host import Host
from quorum.apps.log_clock import TICK_US_MAX
from quorum.entry import BARRIER, COMMAND, TICK
from quorum.header import Header

SECOND_US = 1_000_000


class TimedLog(ABC):
    """`host` applies each entry as it is appended, from `now_us`. `bounds` are those of its application."""

    app: ClassVar[int]

    def __init__(self, **bounds: int) -> None:
        self.bounds = bounds
        self.host = self.new_host()
        self.entries: list[tuple[Header, bytes]] = []
        self.now_us = 1_700_000_000 * SECOND_US
        self.append(b"", BARRIER)

    @abstractmethod
    def new_host(self) -> Host:
        """One without state."""

    def append(self, body: bytes, kind: int = COMMAND) -> Applied:
        head = header(len(self.entries) + 1, app=self.app, kind=kind)
        self.entries.append((msgspec.structs.replace(head, time_us=self.now_us), body))
        return self.host.apply(*self.entries[-1])

    def wait(self, us: int) -> None:
        """Let log time pass, by ticks as an idle cluster orders them."""
        while us > 0:
            step_us = min(us, TICK_US_MAX)
            us -= step_us
            self.now_us += step_us
            self.append(b"", TICK)

    def restored(self) -> Host:
        """Another host that stands at a snapshot of this one."""
        host = self.new_host()
        host.restore(list(self.host.snapshot()))
        return host

    def replayed(self) -> Host:
        """Another host that applied the whole log."""
        host = self.new_host()
        for entry in self.entries:
            host.apply(*entry)
        return host
