"""Watches of topics for code without an event loop: the asyncio ones, on the client's thread."""

from __future__ import annotations

from contextlib import suppress

from quorum.errors import LocalProtocolError
from quorum.runtime.subscription import Noticed, TopicWatch
from quorum.runtime.sync_lock import Caller


class SyncTopicWatch:
    """A subscription.TopicWatch, blocking. Use it as `with`, or call `close` at the end; another thread may."""

    def __init__(self, owner: Caller, watch: TopicWatch) -> None:
        self._owner = owner
        self._watch = watch

    def __iter__(self) -> SyncTopicWatch:
        return self

    def __next__(self) -> Noticed:
        async def following() -> Noticed | None:
            return await anext(self._watch, None)

        noticed = self._owner.call(lambda _: following())
        if noticed is None:
            raise StopIteration
        return noticed

    def __enter__(self) -> SyncTopicWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the watch; whoever waits for a notice gets no more. More than once is fine."""

        async def end() -> None:
            await self._watch.aclose()

        with suppress(LocalProtocolError):  # a client that was closed has ended its watches
            self._owner.call(lambda _: end())
