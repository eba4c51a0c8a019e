"""The watches of a client's session, without I/O: each goes on at the next connection, where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from quorum.errors import QuorumError
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Noticed, Pulse, Pulsed, Unwatch, Watch

PULSE_US = 1_000_000
"""A node that is watched, and may have nothing to tell, is asked so often whether it is still in touch."""
RETRY_US = 100_000
"""A watch that a node had no room for is asked again after this."""
NEVER_US = 1 << 62


class Owner(Protocol):
    """What watches need of their session's owner."""

    def transmit(self, message: object, body: bytes) -> None: ...

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        """Something happened to a watched topic. Without `body` notices may have been missed: read the state."""
        ...

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        """A watch ended."""
        ...


class _TopicWatch:
    """One topic. `request` is its number on the present connection, 0 if it is not asked for there."""

    __slots__ = ("app", "handle", "request", "topic")

    def __init__(self, handle: int, app: int, topic: bytes) -> None:
        self.handle = handle
        self.app = app
        self.topic = topic
        self.request = 0


class Watching:
    """Every watch of one session. A watch has a handle for its owner, and a new request number each time that it
    is asked for, so that nothing old is taken for new.

    I1  `_by_request` holds the watches that are asked for on the present connection, each once.
    """

    def __init__(self, owner: Owner, next_request: Callable[[], int]) -> None:
        self._owner = owner
        self._next_request = next_request
        self._watches: dict[int, _TopicWatch] = {}
        self._by_request: dict[int, _TopicWatch] = {}
        self._is_connected = False
        self._retry_us = NEVER_US
        self._pulse_us = NEVER_US
        self._pulse = 0

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def awaits_answer(self) -> bool:
        """Whether the node owes an answer to a pulse."""
        return self._pulse != 0

    @property
    def due_us(self) -> int:
        """When `tick` has something to do."""
        return min(self._retry_us, self._pulse_us)

    def watch_topic(self, now_us: int, app: int, topic: bytes) -> int:
        """Watch a topic; return the handle."""
        handle = self._next_request()
        self._begin(now_us, _TopicWatch(handle, app, topic))
        return handle

    def unwatch(self, handle: int) -> None:
        """End a watch; nothing more is heard of it."""
        watch = self._watches.pop(handle, None)
        if watch is not None and watch.request:
            self._stop(watch)
        if not self._watches:
            self._pulse_us = self._retry_us = NEVER_US

    # From the session.

    def connected(self, now_us: int) -> None:
        """A connection is open: every watch goes on there."""
        self.disconnected()
        self._is_connected = True
        for watch in self._watches.values():
            self._ask(watch)
        if self._watches:
            self._pulse_us = now_us + PULSE_US

    def disconnected(self) -> None:
        """The connection is gone, and with it every request."""
        self._is_connected = False
        self._pulse, self._pulse_us, self._retry_us = 0, NEVER_US, NEVER_US
        for watch in self._by_request.values():
            watch.request = 0
        self._by_request.clear()

    def noticed(self, message: Noticed, body: bytes) -> None:
        """Something happened to a topic."""
        for request in message.requests:
            watch = self._by_request.get(request)
            if watch is not None:
                self._owner.noticed(watch.handle, message.index, None if message.is_gap else body)

    def pulsed(self, now_us: int, message: Pulsed) -> None:
        """The node is in touch."""
        if message.request == self._pulse:
            self._pulse, self._pulse_us = 0, now_us + PULSE_US

    def failed(self, now_us: int, failure: Failure) -> bool:
        """A request was refused. True if it was for one of these watches."""
        watch = self._by_request.pop(failure.request, None)
        if watch is None:
            return False
        watch.request = 0
        if failure.code == messages.REFUSED:
            del self._watches[watch.handle]
            self._owner.watch_failed(watch.handle, QuorumError(failure.text))
        else:
            self._retry_us = min(self._retry_us, now_us + RETRY_US)
        return True

    def is_pulse(self, request: int) -> bool:
        return request == self._pulse and request != 0

    def pulse_failed(self, now_us: int) -> None:
        """The node is out of touch with its leader: ask again soon."""
        self._pulse, self._pulse_us = 0, now_us + RETRY_US

    def tick(self, now_us: int) -> None:
        """Time went on, on an open connection."""
        if self._retry_us <= now_us:
            self._retry_us = NEVER_US
            for watch in self._watches.values():
                if not watch.request:
                    self._ask(watch)
        if self._pulse_us <= now_us:
            self._pulse, self._pulse_us = self._next_request(), NEVER_US
            self._owner.transmit(Pulse(self._pulse), b"")

    def _begin(self, now_us: int, watch: _TopicWatch) -> None:
        self._watches[watch.handle] = watch
        if self._is_connected:
            self._ask(watch)
            if not self._pulse and self._pulse_us == NEVER_US:
                self._pulse_us = now_us + PULSE_US

    def _ask(self, watch: _TopicWatch) -> None:
        watch.request = self._next_request()
        self._by_request[watch.request] = watch
        self._owner.transmit(Watch(watch.request, watch.app), watch.topic)

    def _stop(self, watch: _TopicWatch) -> None:
        del self._by_request[watch.request]
        self._owner.transmit(Unwatch(watch.request), b"")
        watch.request = 0
