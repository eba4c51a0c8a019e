"""Locks and elections for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from quorum.apps.lock import Holder, LockView
from quorum.errors import LocalProtocolError
from quorum.runtime.lock_client import Election, Lock
from quorum.runtime.lock_session import lost_error

R = TypeVar("R")


class Caller(Protocol):
    """Runs a coroutine on the client's thread (runtime.sync_client.SyncClient)."""

    def call(self, request: Callable[[Any], Coroutine[Any, Any, R]]) -> R: ...


class SyncLock:
    """A lock, blocking. Used as `with`, it is held while the body runs, and kept alive by the client's thread.

    Nothing can interrupt blocking code: between steps let it ask `is_held`, or call `check`. A body that ends when
    the lock may have been lost ends with LockLost.
    """

    def __init__(self, owner: Caller, lock: Lock) -> None:
        self._owner = owner
        self._lock = lock

    @property
    def token(self) -> int:
        """As Lock.token."""
        return self._lock.token

    @property
    def is_held(self) -> bool:
        """As Lock.is_held."""
        return self._lock.is_held

    @property
    def remaining(self) -> float:
        """As Lock.remaining."""
        return self._lock.remaining

    def check(self) -> None:
        """As Lock.check."""
        if not self._lock.is_held:
            raise lost_error()

    def look(self) -> LockView:
        """As Lock.look."""
        return self._owner.call(lambda _: self._lock.look())

    def acquire(self) -> int:
        """As Lock.acquire."""
        return self._owner.call(lambda _: self._lock.acquire())

    def release(self) -> None:
        """As Lock.release."""
        self._owner.call(lambda _: self._lock.release())

    def __enter__(self) -> SyncLock:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        is_lost = not self._lock.is_held
        self.release()
        if is_lost and kind is None:
            raise lost_error()


class SyncElection:
    """An election, blocking; as runtime.lock_client.Election."""

    def __init__(self, owner: Caller, election: Election) -> None:
        self._owner = owner
        self._election = election

    @property
    def token(self) -> int:
        """As Election.token."""
        return self._election.token

    @property
    def is_leading(self) -> bool:
        """As Election.is_leading."""
        return self._election.is_leading

    def check(self) -> None:
        """As Election.check."""
        if not self._election.is_leading:
            raise lost_error()

    def lead(self, value: bytes, wait: float | None = None) -> SyncLock:
        """To be used as `with`: campaign, lead while the body runs, resign."""
        return SyncLock(self._owner, self._election.lead(value, wait))

    def campaign(self, value: bytes, wait: float | None = None) -> int:
        """As Election.campaign."""
        return self._owner.call(lambda _: self._election.campaign(value, wait))

    def proclaim(self, value: bytes) -> None:
        """As Election.proclaim."""
        self._owner.call(lambda _: self._election.proclaim(value))

    def resign(self) -> None:
        """As Election.resign."""
        self._owner.call(lambda _: self._election.resign())

    def leader(self) -> Holder | None:
        """As Election.leader."""
        return self._owner.call(lambda _: self._election.leader())

    def observe(self) -> Iterator[Holder | None]:
        """As Election.observe; each step blocks until there is a change."""
        seen = self._election.observe()

        async def following() -> tuple[Holder | None] | None:
            async for holder in seen:
                return (holder,)
            return None

        async def end() -> None:
            await seen.aclose()

        try:
            while (found := self._owner.call(lambda _: following())) is not None:
                yield found[0]
        finally:
            with suppress(LocalProtocolError):  # a client that was closed has ended it
                self._owner.call(lambda _: end())
