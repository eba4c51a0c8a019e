"""The key-value store for code without an event loop: the asyncio one, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from quorum.apps import kv
from quorum.runtime.key_client import KeyValueClient
from quorum.runtime.key_scan import Scan
from quorum.runtime.key_subscription import interest_of
from quorum.runtime.sync_lease import Caller, SyncKeyLease, SyncScan
from quorum.runtime.sync_watch import SyncKeyWatch

P = ParamSpec("P")
R = TypeVar("R")


def _blocking(
    method: Callable[Concatenate[KeyValueClient, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[SyncKeyValueClient, P], R]:
    """The same method, which blocks until it is done."""

    @wraps(method)
    def call(self: SyncKeyValueClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.owner.call(lambda client: method(client.kv, *args, **kwargs))

    return call


def _blocking_scan(
    method: Callable[Concatenate[KeyValueClient, P], Scan],
) -> Callable[Concatenate[SyncKeyValueClient, P], SyncScan]:
    @wraps(method)
    def scan(self: SyncKeyValueClient, /, *args: P.args, **kwargs: P.kwargs) -> SyncScan:
        async def make(client: Any) -> Scan:
            return method(client.kv, *args, **kwargs)

        return SyncScan(self.owner, self.owner.call(make))

    return scan


class SyncKeyValueClient:
    """The key-value store, blocking; arguments and results are those of runtime.key_client.KeyValueClient."""

    def __init__(self, owner: Caller) -> None:
        self.owner = owner
        """Runs its requests."""

    def put(
        self, key: bytes, value: bytes, *, lease: SyncKeyLease | int | None = None, ttl: float | None = None
    ) -> kv.Written:
        """As KeyValueClient.put."""
        behind = lease.underlying if isinstance(lease, SyncKeyLease) else lease
        return self._put(key, value, lease=behind, ttl=ttl)

    _put = _blocking(KeyValueClient.put)
    get = _blocking(KeyValueClient.get)
    range = _blocking(KeyValueClient.range)
    scan = _blocking_scan(KeyValueClient.scan)
    compact = _blocking(KeyValueClient.compact)
    delete = _blocking(KeyValueClient.delete)
    compare_and_swap = _blocking(KeyValueClient.compare_and_swap)
    txn = _blocking(KeyValueClient.txn)

    def watch(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        previous: bool = False,
        only: str | None = None,
    ) -> SyncKeyWatch:
        """As KeyValueClient.watch."""
        interest = interest_of(key, end, prefix, start_revision, previous, only)
        return SyncKeyWatch(self.owner, lambda client: client.watch_keys(interest))

    def lease(self, ttl: float = 10.0) -> SyncKeyLease:
        """A lease, to be used as `with`: see runtime.sync_lease.SyncKeyLease."""
        return SyncKeyLease(self.owner, ttl)

    grant_lease = _blocking(KeyValueClient.grant_lease)
    keep_lease = _blocking(KeyValueClient.keep_lease)
    revoke_lease = _blocking(KeyValueClient.revoke_lease)
    look_lease = _blocking(KeyValueClient.look_lease)
    leases = _blocking(KeyValueClient.leases)
