"""The key-value store for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from quorum.apps import kv
from quorum.apps.kv_watch import Interest
from quorum.errors import LocalProtocolError
from quorum.runtime.arguments import checked
from quorum.runtime.key_lease import Asker, KeyLease, KeyLeasing
from quorum.runtime.key_scan import PAGE, Scan, bounds_of
from quorum.runtime.key_subscription import KeyWatch, interest_of

_READ_QUEUES = {"linearizable": "kv read", "nearest": "kv here", "stale": "kv stale"}


class Store(Asker, Protocol):
    """What it needs of its client."""

    def watch_keys(self, interest: Interest) -> KeyWatch: ...


class KeyValueClient(KeyLeasing):
    """The key-value store (apps.kv has the semantics). Keys and values are bytes.

    Every call raises LocalProtocolError for an argument of a wrong type, ApplicationError for a command that the
    store refuses, and what Client says.
    """

    def __init__(self, client: Store) -> None:
        super().__init__(client)
        self._ask = client.ask
        self._watch = client.watch_keys

    async def put(
        self, key: bytes, value: bytes, *, lease: KeyLease | int | None = None, ttl: float | None = None
    ) -> kv.Written:
        """Write `value` under `key`. With a `lease`, or its number, it is removed when that ends; with a `ttl`
        when so many seconds are over and it was not written again."""
        if lease is not None or ttl is not None:
            return await self._put_leased(key, value, lease, ttl)
        return await self.put_soon(key, value)

    def put_soon(self, key: bytes, value: bytes) -> asyncio.Future[kv.Written]:
        """As `put`, without a coroutine for each: for many writes under way at once."""
        command = kv.Put(key, value)
        if type(key) is not bytes or type(value) is not bytes:  # the usual case costs next to nothing
            checked(command)
        return self._ask("kv", command, kv.Written)

    async def get(self, key: bytes, consistency: str = "linearizable") -> kv.Item | None:
        """The item under `key`, or None.

        `consistency`: "linearizable"; "nearest", the same, served by the node at hand, which asks its leader up to
        where it must have applied; "stale", what the node at hand has applied, old if it is behind or cut off.
        """
        got = await self._ask(self._read_queue(consistency), checked(kv.Get(key)), kv.Got)
        return got.item

    async def range(
        self,
        start: bytes,
        end: bytes | None = None,
        limit: int = 0,
        consistency: str = "linearizable",
        *,
        prefix: bool = False,
    ) -> kv.Found:
        """Items from `start` up to but without `end` (None: to the last key), or with `prefix` of all keys that
        begin with `start`; ascending, and `limit` at most (0: as many as fit)."""
        if prefix:
            checked(kv.Range(start, end, limit))
            start, end, _ = bounds_of(start, end, prefix, None, PAGE)
        return await self._ask(self._read_queue(consistency), checked(kv.Range(start, end, limit)), kv.Found)

    def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bool = False,
        after: bytes | None = None,
        page: int = PAGE,
        consistency: str = "linearizable",
        one_revision: bool = False,
    ) -> Scan:
        """Every item from `start` up to but without `end`, or with `prefix` of all keys that begin with `start`,
        and with `after` of those behind that key, read in pages; with `one_revision` as the store was at the first
        page. See runtime.key_scan.Scan for what it promises. Raises LocalProtocolError."""
        bounds = bounds_of(start, end, prefix, after, page)
        if one_revision and consistency == "stale":
            raise LocalProtocolError(
                "a scan of one revision was asked for by stale reads, but a later page may then be older than the "
                "first. Leave one of them out."
            )
        watch = self._watch if one_revision else None
        return Scan(lambda start, end, limit: self.range(start, end, limit, consistency), *bounds, watch)

    async def compact(self, revision: int) -> kv.Compacted:
        """Forget the changes up to `revision`: no watch can begin there any more. The keys stay."""
        return await self._ask("kv", checked(kv.Compact(revision)), kv.Compacted)

    async def delete(self, key: bytes) -> kv.Deleted:
        """Remove `key`; the count tells whether it was there."""
        return await self._ask("kv", checked(kv.Delete(key)), kv.Deleted)

    async def compare_and_swap(self, key: bytes, expected: bytes | None, value: bytes | None) -> kv.Swapped:
        """Replace the value if it is `expected`; None means absent, before or after."""
        return await self._ask("kv", checked(kv.CompareAndSwap(key, expected, value)), kv.Swapped)

    async def txn(
        self,
        compares: Sequence[kv.Compare],
        then: Sequence[kv.Operation],
        otherwise: Sequence[kv.Operation] = (),
    ) -> kv.Committed:
        """If all of `compares` hold do `then`, else `otherwise`: atomically, at one revision."""
        command = checked(kv.Txn(list(compares), list(then), list(otherwise)))
        return await self._ask("kv", command, kv.Committed)

    def watch(
        self,
        key: bytes,
        end: bytes | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        previous: bool = False,
        only: str | None = None,
    ) -> KeyWatch:
        """Every change of `key`, or of the keys up to but without `end`, or with `prefix` of all that begin with
        `key` (b"": all there are), each once and in order: see runtime.key_subscription.KeyWatch.

        It begins now, or at `start_revision`, as far back as the store keeps changes. With `previous` each event
        tells what was there before; `only` is "put" or "delete". Raises LocalProtocolError.
        """
        return self._watch(interest_of(key, end, prefix, start_revision, previous, only))

    def _read_queue(self, consistency: str) -> str:
        if consistency not in _READ_QUEUES:
            raise LocalProtocolError(
                f"consistency={consistency!r} was asked for, but reads are linearizable, nearest or stale. Use "
                "one of these."
            )
        return _READ_QUEUES[consistency]
