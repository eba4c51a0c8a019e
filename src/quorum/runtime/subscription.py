"""What a program holds of a watch: an async iterator of what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from quorum.errors import QuorumError


class Noticed(msgspec.Struct, frozen=True, gc=False):
    """Something happened to a topic at entry `index`. Without a `body` notices may have been missed: read the
    state, which is never older than `index`."""

    index: int
    body: bytes | None


class TopicWatch:
    """The newest notice of a topic, again and again; `Client.watch_topic` makes it.

    The first one has no body, and so has one after a reconnection. Ends by `aclose`, or the error that ended it.
    """

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._newest: Noticed | None = None
        self._error: QuorumError | None = None
        self._is_closed = False
        self._stirred = asyncio.Event()

    def __aiter__(self) -> TopicWatch:
        return self

    async def __anext__(self) -> Noticed:
        await self._stirred.wait()
        if self._error is not None:
            raise self._error
        if self._newest is None:
            raise StopAsyncIteration
        noticed, self._newest = self._newest, None
        if not self._is_closed:
            self._stirred.clear()
        return noticed

    async def __aenter__(self) -> TopicWatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the watch; whoever waits for a notice gets no more. More than once is fine."""
        if not self._is_closed:
            self._close()
            self.finish(None)

    # From the client.

    def put(self, index: int, body: bytes | None) -> None:
        """Something happened."""
        self._newest = Noticed(index, body)
        self._stirred.set()

    def finish(self, error: QuorumError | None) -> None:
        """Nothing more will happen."""
        self._is_closed, self._error, self._newest = True, error, None
        self._stirred.set()
