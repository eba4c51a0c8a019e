"""A log for lock tests: each batch is an entry at a time that the test chooses."""

from __future__ import annotations

import msgspec

from apps_log import header
from quorum.apps.answer import OK
from quorum.apps.applied import Applied
from quorum.apps.host import Host
from quorum.apps.lock import (
    Command,
    Opened,
    OpenSession,
    Query,
    Result,
    decode_change,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.lock_service import LockService
from quorum.apps.log_clock import TICK_US_MAX, LogClock
from quorum.entry import BARRIER, COMMAND, TICK
from quorum.header import Header

LOCK = 3
SECOND_US = 1_000_000


def lock_host(**bounds: int) -> Host:
    clock = LogClock()
    return Host({LOCK: LockService(clock, **bounds)}, clock=clock)


class LockLog:
    """`changes` are the notices so far: the lock's name and its holder from then on."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = bounds
        self.host = lock_host(**bounds)
        self.entries: list[tuple[Header, bytes]] = []
        self.now_us = 1_700_000_000 * SECOND_US
        self.changes: list[tuple[str, object]] = []
        self.append(b"", BARRIER)

    @property
    def index(self) -> int:
        """Of the newest entry."""
        return self.host.applied_index

    @property
    def service(self) -> LockService:
        return self.host._applications[LOCK]

    def append(self, body: bytes, kind: int = COMMAND) -> Applied:
        head = header(len(self.entries) + 1, app=LOCK, kind=kind)
        self.entries.append((msgspec.structs.replace(head, time_us=self.now_us), body))
        applied = self.host.apply(*self.entries[-1])
        for notice in applied.notices:
            self.changes.append((notice.topic.decode(), decode_change(notice.body).holder))
        return applied

    def batch(self, *commands: Command) -> list[Result]:
        """One entry with these commands; their results."""
        applied = self.append(encode_batch(commands))
        assert applied.status == OK, applied
        return decode_results(applied.body)

    def do(self, command: Command) -> Result:
        (result,) = self.batch(command)
        return result

    def ask(self, query: Query) -> Result:
        answer = self.host.query(LOCK, encode_query([query]))
        assert answer.status == OK, answer
        (result,) = decode_results(answer.body)
        return result

    def open(self, ttl_us: int = 10 * SECOND_US) -> int:
        opened = self.do(OpenSession(ttl_us))
        assert isinstance(opened, Opened), opened
        return opened.session

    def wait(self, us: int) -> None:
        """Let log time pass, by ticks as an idle cluster orders them."""
        while us > 0:
            step_us = min(us, TICK_US_MAX)
            us -= step_us
            self.now_us += step_us
            self.append(b"", TICK)

    def restored(self) -> Host:
        """Another host that stands at a snapshot of this one."""
        host = lock_host(**self.bounds)
        host.restore(list(self.host.snapshot()))
        return host

    def replayed(self) -> Host:
        """Another host that applied the whole log."""
        host = lock_host(**self.bounds)
        for entry in self.entries:
            host.apply(*entry)
        return host
