"""What a program holds of a watch of keys: an async iterator of every change, in order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quorum.apps.kv import prefix_end
from quorum.apps.kv_watch import Event, Interest, end_of_key, refusal_of_interest
from quorum.errors import LocalProtocolError, QuorumError
from quorum.runtime.arguments import checked

EVENTS_MAX = 1024
BYTES_MAX = 1024 * 1024
"""A watch with so many events or bytes that nobody has taken is paused: what comes then is left at the node."""
_EVENT_BYTES = 64
"""What an event counts for BYTES_MAX in addition to key and values."""


class KeyWatch:
    """Events of watched keys; `KeyValueClient.watch` makes it.

    Used as `async with`, it has begun when the body starts: what happens from then on is told. Then, or at the
    first event, NotLeader is raised if no node could be reached in time, Compacted if changes that it should tell
    are not kept any more. It goes on across connections, nodes and leaders, without a gap and without repeating.

    Who takes events slowly loses none: up to a bound they wait here, and what comes behind that is read from the
    store's history when there is room again. It is one reader's.
    """

    __slots__ = (
        "_begun",
        "_bytes",
        "_close",
        "_error",
        "_incoming",
        "_is_closed",
        "_is_paused",
        "_late",
        "_pause",
        "_reach",
        "_reached",
        "_ready",
        "_timeout_s",
        "_waiter",
        "revision",
    )

    def __init__(
        self,
        close: Callable[[], None],
        pause: Callable[[bool], None],
        reach: Callable[[int, Callable[[], None]], None],
        late: Callable[[], QuorumError],
        timeout_s: float | None,
    ) -> None:
        self._close = close
        self._pause = pause
        self._reach = reach
        self._late = late
        self._timeout_s = timeout_s
        self._incoming: list[Event] = []
        self._ready: list[Event] = []
        """The newest first."""
        self._bytes = 0
        self._reached = 0
        self._begun = self._is_paused = self._is_closed = False
        self._error: QuorumError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.revision = 0
        """It tells what comes behind this; known once it has begun."""

    async def __aenter__(self) -> KeyWatch:
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self._begun and not self._incoming and self._error is None and not self._is_closed:
                    await self._wait()
        except TimeoutError:
            await self.aclose()
            raise self._late() from None
        except BaseException:
            await self.aclose()
            raise
        if self._error is not None and not self._incoming:
            raise self._error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> KeyWatch:
        return self

    async def __anext__(self) -> Event:
        while not self._ready:
            if not await self._gather():
                raise StopAsyncIteration
        event = self._ready.pop()
        self._bytes -= _size_of(event)
        if self._is_paused and len(self._ready) <= EVENTS_MAX // 2 and self._bytes <= BYTES_MAX // 2:
            self._go_on()
        return event

    async def batch(self) -> list[Event]:
        """Wait for an event, and take all that have come. Empty once the watch is closed."""
        if not self._ready and not await self._gather():
            return []
        return self._take()

    async def up_to(self, revision: int) -> list[Event]:
        """Every event up to `revision` that was not taken yet, once all of them have come; some behind it may be
        among them. Raises what ends the watch, and NotLeader if they do not come in time."""

        def reached() -> None:
            self._reached = revision
            self._stir()

        events: list[Event] = []
        self._reach(revision, reached)
        try:
            async with asyncio.timeout(self._timeout_s):
                while True:
                    events += self._take()
                    if self._reached >= revision or self._is_closed:
                        return events
                    if self._error is not None:
                        raise self._error
                    await self._wait()
        except TimeoutError:
            raise self._late() from None

    def _take(self) -> list[Event]:
        events = self._ready[::-1] + self._incoming
        self._ready, self._incoming, self._bytes = [], [], 0
        if self._is_paused:
            self._go_on()
        return events

    async def aclose(self) -> None:
        """End the watch; whoever waits for an event gets no more. More than once is fine."""
        if not self._is_closed:
            if self._error is None:
                self._close()
            self._is_closed = True
            self._incoming, self._ready = [], []
            self._stir()

    async def _gather(self) -> bool:
        """Wait for events, and make them ready. False if none will come. Raises what ended the watch."""
        while not self._incoming:
            if self._is_closed:
                return False
            if self._error is not None:
                raise self._error
            await self._wait()
        self._ready, self._incoming = self._incoming[::-1], []
        return True

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise LocalProtocolError("two tasks wait for the events of one watch. Begin a watch for each.")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _stir(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _go_on(self) -> None:
        if not self._is_closed and self._error is None and not self._incoming:
            self._is_paused = False
            self._pause(False)

    # From the client.

    def begun(self, revision: int) -> None:
        """A node has taken the watch."""
        if not self._begun:
            self._begun, self.revision = True, revision
            self._stir()

    def put(self, event: Event) -> None:
        """Something happened."""
        self._incoming.append(event)
        self._bytes += _size_of(event)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._is_paused:
            return
        if self._bytes > BYTES_MAX or len(self._incoming) + len(self._ready) > EVENTS_MAX:
            self._is_paused = True
            self._pause(True)

    def finish(self, error: QuorumError) -> None:
        """Nothing more will happen."""
        self._error = error
        self._stir()


def interest_of(
    key: bytes, end: bytes | None, prefix: bool, start_revision: int, previous: bool, only: str | None
) -> Interest:
    """What the arguments of `KeyValueClient.watch` mean. Raises LocalProtocolError for what makes no sense."""
    if prefix and end is not None:
        raise LocalProtocolError("prefix and end were given, but each says how far a watch reaches. Give one.")
    if only not in (None, "put", "delete"):
        raise LocalProtocolError(
            f'only={only!r} was given, but a watch tells a "put" or a "delete". Use one of these, or None.'
        )
    asked = checked(Interest(key, end, start_revision, previous, only != "delete", only != "put"))
    last = prefix_end(key) if prefix else end_of_key(key) if end is None else end
    interest = Interest(bytes(key), None if last is None else bytes(last), *_options_of(asked))
    reason = refusal_of_interest(interest)
    if reason is not None:
        raise LocalProtocolError(reason)
    return interest


def _options_of(asked: Interest) -> tuple[int, bool, bool, bool]:
    return asked.revision, asked.previous, asked.puts, asked.deletes


def _size_of(event: Event) -> int:
    size = _EVENT_BYTES + len(event.key)
    if event.value is not None:
        size += len(event.value)
    if event.previous is not None:
        size += len(event.previous.value)
    return size
