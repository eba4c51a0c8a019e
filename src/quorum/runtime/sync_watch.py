"""Watches of keys for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from quorum.apps.kv_watch import Event
from quorum.errors import LocalProtocolError
from quorum.runtime.key_subscription import KeyWatch

R = TypeVar("R")


class Caller(Protocol):
    """Runs a coroutine on the client's thread (runtime.sync_client.SyncClient)."""

    def call(self, request: Callable[[Any], Coroutine[Any, Any, R]]) -> R: ...


class SyncKeyWatch:
    """A watch of keys, blocking: `for` waits for events. Used as `with`, it has begun when the body starts, and
    ends with it; without, it begins with the first event that is waited for, and `close` ends it.

    What it raises: runtime.key_subscription.KeyWatch says it.
    """

    def __init__(self, owner: Caller, begin: Callable[[Any], KeyWatch]) -> None:
        self._owner = owner
        self._begin = begin
        self._watch: KeyWatch | None = None
        self._is_closed = False
        self._ready: list[Event] = []
        """The newest first."""

    @property
    def revision(self) -> int:
        """As KeyWatch.revision."""
        return 0 if self._watch is None else self._watch.revision

    def __enter__(self) -> SyncKeyWatch:
        self._opened()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> SyncKeyWatch:
        return self

    def __next__(self) -> Event:
        if not self._ready:
            self._ready = self.batch()[::-1]
        if not self._ready:
            raise StopIteration
        return self._ready.pop()

    def batch(self) -> list[Event]:
        """Wait for an event, and take all that have come. Empty once the watch is closed."""
        if self._ready:
            events, self._ready = self._ready[::-1], []
            return events
        if self._is_closed:
            return []
        watch = self._opened()
        return self._owner.call(lambda _: watch.batch())

    def close(self) -> None:
        """End the watch. More than once is fine."""
        self._is_closed, self._ready = True, []
        watch, self._watch = self._watch, None
        if watch is not None:
            with suppress(LocalProtocolError):  # a client that was closed has ended its watches
                self._owner.call(lambda _: watch.aclose())

    def _opened(self) -> KeyWatch:
        if self._watch is None:
            self._watch = self._owner.call(self._open)
        return self._watch

    async def _open(self, client: Any) -> KeyWatch:
        return await self._begin(client).__aenter__()
