"""Leases of keys for asyncio programs (apps.kv says what they are)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.errors import LeaseLost, LocalProtocolError
from quorum.runtime.arguments import checked
from quorum.runtime.kept import Keeper, Kept, Reliance, check_ttl


class Asker(Keeper, Protocol):
    """What leases need of a client (runtime.client.Client)."""

    def ask_alone(self, app: int, body: bytes, decode: Any, is_query: bool) -> asyncio.Future[Sequence[Any]]: ...

    @property
    def background(self) -> Asker: ...


class KeyLease(Kept):
    """A lease that keys hang on: put with it, they are there as long as it lives.

    `async with client.kv.lease(ttl=10) as lease:` grants it, keeps it alive while the body runs, and revokes it at
    the end, which removes its keys. Should it be lost meanwhile, because the cluster could not be reached or this
    process stood still, the body is cancelled and LeaseLost is raised. That happens before the cluster removes the
    keys, as far as this process runs and clocks keep time. A body that does not await is not interrupted: let it
    ask `is_alive`, or call `check`.

    Without `async with`: `open` and `close`, and `lost` tells. A lease is used once.
    """

    def __init__(self, client: Asker, ttl: float) -> None:
        super().__init__(client, ttl, "a lease")
        self._client = client
        self._reliance: Reliance | None = None
        self._was_opened = False

    @property
    def ttl(self) -> float:
        """Seconds after which it ends unless it is kept alive."""
        return self._ttl_us / 1e6

    @property
    def is_alive(self) -> bool:
        """Whether it is alive for sure."""
        return self.id > 0 and self.remaining > 0

    def check(self) -> None:
        """Raise LeaseLost unless it is alive for sure."""
        if self.id == 0 and not self.lost.is_set():
            raise LeaseLost(
                "keys were to hang on a lease, but it is not open: it has not begun, or has been given up. Put "
                "them within `async with client.kv.lease(...)`."
            )
        super().check()

    async def open(self) -> None:
        """Grant it, and keep it alive from now on. Raises LocalProtocolError if it was opened before, and what
        Client says."""
        if self._was_opened:
            raise LocalProtocolError(
                "a lease was to be opened, but it was before. Make another: client.kv.lease(ttl)."
            )
        self._was_opened = True
        await super().open()

    async def look(self) -> kv.LeaseView:
        """The lease as it stands in the cluster, and its keys, read linearizably."""
        return await self._client.ask("kv read", _look(self.id, b"", 0), kv.LeaseView)

    async def __aenter__(self) -> KeyLease:
        await self.open()
        self._reliance = Reliance(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._reliance is not None, "it was entered"
        is_lost = self._reliance.end(kind)
        await self.close()
        if is_lost:
            raise self.lost_error() from error

    async def _begin(self) -> int:
        return (await self._client.ask("kv", kv.LeaseGrant(self._ttl_us), kv.LeaseGranted)).lease

    async def _prolong(self) -> None:
        await self._client.background.ask("kv", kv.LeaseKeepAlive(self.id), kv.LeaseKept)

    def _end(self) -> asyncio.Future[Any]:
        return _revoke(self._client.background, self.id)

    def lost_error(self) -> LeaseLost:
        return LeaseLost(
            "keys were to hang on a lease, but it was not kept alive in time, so that they may be removed. Grant "
            "another lease, and put them again."
        )


class KeyLeasing:
    """What the key-value client does about leases."""

    def __init__(self, client: Asker) -> None:
        self._leasing = client

    def lease(self, ttl: float = 10.0) -> KeyLease:
        """A lease of `ttl` seconds that is kept alive, to be used as `async with`: see KeyLease."""
        return KeyLease(self._leasing, ttl)

    async def grant_lease(self, ttl: float) -> kv.LeaseGranted:
        """A lease of `ttl` seconds that nobody keeps alive but by `keep_lease`."""
        command = kv.LeaseGrant(check_ttl(ttl, "a lease"))
        return await self._leasing.ask("kv", command, kv.LeaseGranted)

    async def keep_lease(self, lease: int) -> kv.LeaseKept:
        """Let a lease last for its whole time from now on. Raises ApplicationError of kind "ended"."""
        return await self._leasing.ask("kv", checked(kv.LeaseKeepAlive(lease)), kv.LeaseKept)

    async def revoke_lease(self, lease: int) -> kv.LeaseRevoked:
        """End a lease now: all its keys are removed."""
        checked(kv.LeaseRevoke(lease))
        (revoked,) = await _revoke(self._leasing, lease)
        assert isinstance(revoked, kv.LeaseRevoked), "alone in its batch it is not refused"
        return revoked

    async def look_lease(self, lease: int, start: bytes = b"", limit: int = 0) -> kv.LeaseView:
        """A lease, and its keys from `start` on, read linearizably. Raises ApplicationError of kind "ended"."""
        return await self._leasing.ask("kv read", _look(lease, start, limit), kv.LeaseView)

    async def leases(self, after: int = 0, limit: int = 0) -> kv.LeasesListed:
        """The leases behind the one of number `after`, ascending, at most `limit` of them (0: 10,000), read
        linearizably. Where there are `more`, go on behind the last."""
        return await self._leasing.ask("kv read", checked(kv.LeaseList(after, limit)), kv.LeasesListed)

    async def _put_leased(
        self, key: bytes, value: bytes, lease: KeyLease | int | None, ttl: float | None
    ) -> kv.Written:
        if lease is not None and ttl is not None:
            raise LocalProtocolError(
                "a key was to be put with a lease and a ttl, but a ttl is a lease of its own. Give one of them."
            )
        if ttl is not None:
            command = checked(kv.PutWithTtl(key, value, check_ttl(ttl, "a key")))
            return await self._leasing.ask("kv", command, kv.Written)
        if isinstance(lease, KeyLease):
            lease.check()
            lease = lease.id
        assert lease is not None, "one of both is given"
        return await self._leasing.ask("kv", checked(kv.PutWithLease(key, value, lease)), kv.Written)


def _look(lease: int, start: bytes, limit: int) -> kv.LeaseLook:
    return checked(kv.LeaseLook(lease, start, limit))


def _revoke(client: Asker, lease: int) -> asyncio.Future[Sequence[Any]]:
    """In a batch of its own, since what a batch revokes is bounded."""
    return client.ask_alone(KV_APP, kv.encode_batch([kv.LeaseRevoke(lease)]), kv.decode_results, False)
