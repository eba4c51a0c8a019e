"""A log for tests of key leases: each batch is an entry at a time that the test chooses."""

from __future__ import annotations

import msgspec

from apps_log import KV, header
from quorum.apps.answer import OK
from quorum.apps.applied import Applied
from quorum.apps.host import Host
from quorum.apps.kv import (
    Command,
    Get,
    Item,
    LeaseGrant,
    LeaseGranted,
    Query,
    Result,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.kv_leases import KeyLeases
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.leaves import Leaves
from quorum.apps.log_clock import TICK_US_MAX, LogClock
from quorum.entry import BARRIER, COMMAND, TICK
from quorum.header import Header

SECOND_US = 1_000_000


def store_of(clock: LogClock, leaves: Leaves | None = None, **bounds: int) -> KeyValueStore:
    """A store with other bounds of its leases, or other leaves."""
    store = KeyValueStore(clock)
    store._leaves = leaves or Leaves()
    store._leases = KeyLeases(clock, **bounds)
    store._lease_of = store._leases.of
    return store


class LeaseLog:
    """`host` applies each entry as it is appended."""

    def __init__(self, **bounds: int) -> None:
        self.bounds = bounds
        self.host = self.new_host()
        self.entries: list[tuple[Header, bytes]] = []
        self.now_us = 1_700_000_000 * SECOND_US
        self.append(b"", BARRIER)

    def new_host(self) -> Host:
        clock = LogClock()
        return Host({KV: store_of(clock, **self.bounds)}, clock=clock)

    @property
    def store(self) -> KeyValueStore:
        return self.host._applications[KV]

    def append(self, body: bytes, kind: int = COMMAND) -> Applied:
        head = header(len(self.entries) + 1, kind=kind)
        self.entries.append((msgspec.structs.replace(head, time_us=self.now_us), body))
        return self.host.apply(*self.entries[-1])

    def batch(self, *commands: Command) -> list[Result]:
        """One entry with these commands; their results."""
        applied = self.append(encode_batch(commands))
        assert applied.status == OK, applied
        return decode_results(applied.body)

    def do(self, command: Command) -> Result:
        (result,) = self.batch(command)
        return result

    def ask(self, query: Query) -> Result:
        (result,) = decode_results(self.host.query(KV, encode_query([query])).body)
        return result

    def get(self, key: bytes) -> Item | None:
        return self.ask(Get(key)).item

    def grant(self, ttl_us: int = 10 * SECOND_US) -> int:
        granted = self.do(LeaseGrant(ttl_us))
        assert isinstance(granted, LeaseGranted), granted
        return granted.lease

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
