"""A log for tests of key leases: each batch is an entry at a time that the test chooses."""

from __future__ import annotations

from apps_log import KV
from quorum.apps.answer import OK
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
from quorum.apps.log_clock import LogClock
from timed_log import SECOND_US, TimedLog


def store_of(clock: LogClock, leaves: Leaves | None = None, **bounds: int) -> KeyValueStore:
    """A store with other bounds of its leases, or other leaves."""
    store = KeyValueStore(clock)
    store._leaves = leaves or Leaves()
    store._leases = KeyLeases(clock, **bounds)
    store._lease_of = store._leases.of
    return store


class LeaseLog(TimedLog):
    """A log of a key-value store."""

    app = KV

    def new_host(self) -> Host:
        clock = LogClock()
        return Host({KV: store_of(clock, **self.bounds)}, clock=clock)

    @property
    def store(self) -> KeyValueStore:
        return self.host._applications[KV]

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
