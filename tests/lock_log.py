"""A log for lock tests: each batch is an entry at a time that the test chooses."""

from __future__ import annotations

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
from quorum.apps.log_clock import LogClock
from quorum.entry import COMMAND
from timed_log import SECOND_US, TimedLog

LOCK = 3


def lock_host(**bounds: int) -> Host:
    clock = LogClock()
    return Host({LOCK: LockService(clock, **bounds)}, clock=clock)


class LockLog(TimedLog):
    """A log of a lock service. `changes` are the notices so far: the lock's name and its holder from then on."""

    app = LOCK

    def __init__(self, **bounds: int) -> None:
        self.changes: list[tuple[str, object]] = []
        super().__init__(**bounds)

    def new_host(self) -> Host:
        return lock_host(**self.bounds)

    @property
    def index(self) -> int:
        """Of the newest entry."""
        return self.host.applied_index

    @property
    def service(self) -> LockService:
        return self.host._applications[LOCK]

    def append(self, body: bytes, kind: int = COMMAND) -> Applied:
        applied = super().append(body, kind)
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
