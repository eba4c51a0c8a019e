"""An application in which something ends by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b

from quorum.apps.leases import Leases
from quorum.apps.log_clock import LogClock
from quorum.apps.state_machine import Notice, Outputs, Reply, Task

APP = 9


class Alarms:
    """A command is a lease to grant for `ttl_us`; whoever sent it hears of its end."""

    def __init__(self, clock: LogClock, ttl_us: int) -> None:
        self.ttl_us = ttl_us
        self.leases = Leases(clock)
        self.askers: dict[int, tuple[int, int]] = {}
        self.ended: list[int] = []
        self.fault: Exception | None = None

    def apply(self, header, body):
        self.ended.append(-header.index)
        if body:
            self.leases.grant(int(body), self.ttl_us)
            self.askers[int(body)] = (header.client, header.first_sequence)
        return Outputs(b"set", notices=(Notice(b"set", bytes(body)),))

    @property
    def next_deadline_us(self) -> int | None:
        return self.leases.next_deadline_us

    def expire(self) -> Outputs:
        if self.fault is not None:
            raise self.fault
        ended = self.leases.expire()
        self.ended += ended
        replies = tuple(Reply(*self.askers[lease], b"over") for lease in ended)
        notices = tuple(Notice(b"over", b"%d" % lease) for lease in ended)
        return Outputs(b"ignored", replies, notices, tuple(Task("ring", b"") for _ in ended))

    def query(self, body):
        return repr(self.ended).encode()

    def digest(self):
        return blake2b(self.leases.digest() + repr(self.ended).encode(), digest_size=32).digest()

    def snapshot(self) -> Iterator[bytes]:
        yield repr(self.ended).encode()
        yield from self.leases.view().chunks()

    def restore(self, chunks: Iterable[bytes]) -> None:
        rest = iter(chunks)
        self.ended = [int(number) for number in next(rest)[1:-1].split(b",") if number]
        self.leases.load(rest)
