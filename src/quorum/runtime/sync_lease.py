"""Leases of keys, and scans, for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, TypeVar

from quorum.apps.kv import Item, LeaseView
from quorum.runtime.key_lease import KeyLease
from quorum.runtime.key_scan import Scan

R = TypeVar("R")


class Caller(Protocol):
    """Runs a coroutine on the client's thread (runtime.sync_client.SyncClient)."""

    def call(self, request: Callable[[Any], Coroutine[Any, Any, R]]) -> R: ...


class SyncKeyLease:
    """A lease, blocking. Used as `with`, it is kept alive by the client's thread while the body runs, and revoked
    at the end.

    Nothing can interrupt blocking code: between steps let it ask `is_alive`, or call `check`. A body that ends
    when the lease may have been lost ends with LeaseLost.
    """

    def __init__(self, owner: Caller, ttl: float) -> None:
        async def make(client: Any) -> KeyLease:
            made: KeyLease = client.kv.lease(ttl)
            return made

        self._owner = owner
        self.underlying: KeyLease = owner.call(make)
        """The lease behind it, which belongs to the client's thread."""

    @property
    def id(self) -> int:
        """As KeyLease.id."""
        return self.underlying.id

    @property
    def is_alive(self) -> bool:
        """As KeyLease.is_alive."""
        return self.underlying.is_alive

    @property
    def remaining(self) -> float:
        """As KeyLease.remaining."""
        return self.underlying.remaining

    def check(self) -> None:
        """As KeyLease.check."""
        if not self.underlying.is_alive:
            raise self.underlying.lost_error()

    def look(self) -> LeaseView:
        """As KeyLease.look."""
        return self._owner.call(lambda _: self.underlying.look())

    def open(self) -> None:
        """As KeyLease.open."""
        self._owner.call(lambda _: self.underlying.open())

    def close(self) -> None:
        """As KeyLease.close."""
        self._owner.call(lambda _: self.underlying.close())

    def __enter__(self) -> SyncKeyLease:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_lost = not self.underlying.is_alive
        self.close()
        if is_lost and kind is None:
            raise self.underlying.lost_error()


class SyncScan:
    """A scan, blocking: `for item in client.kv.scan(b"user/")`. What it promises: runtime.key_scan.Scan says
    it."""

    def __init__(self, owner: Caller, scan: Scan) -> None:
        self._owner = owner
        self._scan = scan

    @property
    def revision(self) -> int:
        """As Scan.revision."""
        return self._scan.revision

    @property
    def last_revision(self) -> int:
        """As Scan.last_revision."""
        return self._scan.last_revision

    def __iter__(self) -> Iterator[Item]:
        pages = self._scan.pages()

        async def following() -> list[Item] | None:
            page = await anext(pages, None)
            return None if page is None else page.items

        while (items := self._owner.call(lambda _: following())) is not None:
            yield from items
