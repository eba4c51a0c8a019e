"""A session of locks, kept alive in the background."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from quorum.apps.lock import Alive, CloseSession, KeepAlive, Opened, OpenSession
from quorum.errors import LockLost
from quorum.runtime.kept import Keeper, Kept
from quorum.runtime.subscription import TopicWatch


class Asker(Keeper, Protocol):
    """What locks need of a client (runtime.client.Client)."""

    def watch_topic(self, app: int, topic: bytes) -> TopicWatch: ...

    @property
    def background(self) -> Asker: ...


class LockSession(Kept):
    """One session; who holds or waits in it gives that up when it ends."""

    def __init__(self, client: Asker, ttl: float) -> None:
        super().__init__(client, ttl, "a lock")

    async def _begin(self) -> int:
        return (await self._keeper.ask("lock", OpenSession(self._ttl_us), Opened)).session

    async def _prolong(self) -> None:
        await self._keeper.background.ask("lock", KeepAlive(self.id), Alive)

    def _end(self) -> asyncio.Future[Any]:
        closing: Any = CloseSession(self.id)
        return self._keeper.background.ask("lock", closing, object)

    def lost_error(self) -> LockLost:
        return lost_error()


def lost_error() -> LockLost:
    """What the holder of a lost lock hears."""
    return LockLost(
        "a lock was held, but its session was not kept alive in time, so that another may hold the lock now. Stop "
        "what it guards; see what was done since, and acquire it again."
    )
