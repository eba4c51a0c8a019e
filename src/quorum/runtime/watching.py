"""The watches of a client's session, without I/O: each goes on at the next connection, where it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from quorum.apps.kv_watch import Event, Interest
from quorum.errors import Compacted, QuorumError, RequestRefused
from quorum.runtime import messages
from quorum.runtime.key_place import KeyWatch, decode_changes
from quorum.runtime.messages import Changed, Failure, Forgotten, Noticed, Pulse, Pulsed, Unwatch, Watch, Watched

PULSE_US = 1_000_000
"""A node that is watched, and may have nothing to tell, is asked so often whether it is still in touch."""
RETRY_US = 100_000
"""A watch that a node had no room for is asked again after this."""
SOON_US = 10_000
"""Where somebody waits for how far a watch has come, the node is asked again after this."""
NEVER_US = 1 << 62
OF_WATCHES = (Changed, Noticed, Pulsed, Watched, Forgotten)
"""What `Watching.received` takes."""


class Owner(Protocol):
    """What watches need of their session's owner."""

    def transmit(self, message: object, body: bytes) -> None: ...

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        """Something happened to a watched topic. Without `body` notices may have been missed: read the state."""
        ...

    def begun(self, handle: int, revision: int) -> None:
        """A node has taken a watch of keys, for the first time or again; it tells what comes behind `revision`."""
        ...

    def changed(self, handle: int, event: Event) -> None:
        """A watched key changed. Events come in order, each once."""
        ...

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        """A watch ended."""
        ...


class _TopicWatch:
    """One topic. `request` is its number on the present connection, 0 if it is not asked for there."""

    __slots__ = ("app", "handle", "is_paused", "request", "topic")

    def __init__(self, handle: int, app: int, topic: bytes) -> None:
        self.handle = handle
        self.app = app
        self.topic = topic
        self.request = 0
        self.is_paused = False

    def asks(self) -> bytes:
        return self.topic


class Watching:
    """Every watch of one session. A watch has a handle for its owner, and a new request number each time that it
    is asked for, so that nothing old is taken for new.

    I1  `_by_request` holds the watches that are asked for on the present connection, each once.
    """

    def __init__(self, owner: Owner, next_request: Callable[[], int]) -> None:
        self._owner = owner
        self._next_request = next_request
        self._watches: dict[int, _TopicWatch | KeyWatch] = {}
        self._by_request: dict[int, _TopicWatch | KeyWatch] = {}
        self._to_pause: list[KeyWatch] | None = None
        self._is_connected = False
        self._retry_us = NEVER_US
        self._pulse_us = NEVER_US
        self._pulse = 0
        self._answered = Pulsed(0, 0)
        """The newest answer on the present connection."""
        self._to_reach: dict[int, tuple[int, Callable[[], None]]] = {}

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

    def watch_keys(self, now_us: int, interest: Interest) -> int:
        """Watch keys; return the handle."""
        handle = self._next_request()
        self._begin(now_us, KeyWatch(handle, interest))
        return handle

    def pause(self, handle: int) -> None:
        """Hear nothing of a watch of keys until `resume`; it goes on where it was then."""
        watch = self._watches.get(handle)
        if isinstance(watch, KeyWatch) and not watch.is_paused:
            watch.is_paused = True
            if self._to_pause is not None:
                self._to_pause.append(watch)  # behind the message that is being told
            elif watch.request:
                self._stop(watch)

    def resume(self, handle: int) -> None:
        """Go on with a watch that was paused."""
        watch = self._watches.get(handle)
        if watch is not None and watch.is_paused:
            watch.is_paused = False
            if self._is_connected and not watch.request:
                self._ask(watch)

    def reach(self, now_us: int, handle: int, revision: int, tell: Callable[[], None]) -> None:
        """Call `tell` once everything up to `revision` was told to a watch of keys, unless it ends before."""
        self._to_reach[handle] = (revision, tell)
        if self._is_connected and not self._pulse:
            self._pulse_us = now_us

    def unwatch(self, handle: int) -> None:
        """End a watch; nothing more is heard of it."""
        self._to_reach.pop(handle, None)
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
            if not watch.is_paused:
                self._ask(watch)
        if self._watches:
            self._pulse_us = now_us + (SOON_US if self._to_reach else PULSE_US)

    def disconnected(self) -> None:
        """The connection is gone, and with it every request."""
        self._is_connected = False
        self._pulse, self._pulse_us, self._retry_us = 0, NEVER_US, NEVER_US
        for watch in self._by_request.values():
            self._settle(watch)
        self._by_request.clear()
        self._answered = Pulsed(0, 0)

    def received(
        self, now_us: int, message: Changed | Forgotten | Noticed | Pulsed | Watched, body: bytes
    ) -> None:
        """What the node tells. Raises RemoteProtocolError if it cannot be read."""
        match message:
            case Changed():
                self._changed(message, body)
            case Noticed():
                self._noticed(message, body)
            case Watched():
                self._watched(message)
            case Forgotten():
                self._forgotten(message)
            case Pulsed(request=request) if request == self._pulse:
                self._pulse, self._pulse_us = 0, now_us + PULSE_US
                self._answered = message
                if self._to_reach:
                    self._reached(now_us, message)

    def _reached(self, now_us: int, pulsed: Pulsed) -> None:
        """Whoever was asked for before this pulse, and is not paused, was told everything up to its answer."""
        for handle, (revision, tell) in tuple(self._to_reach.items()):
            watch = self._watches.get(handle)
            if watch is None:
                del self._to_reach[handle]
            elif 0 < watch.request < pulsed.request and revision <= pulsed.revision:
                del self._to_reach[handle]
                tell()
        if self._to_reach:
            self._pulse_us = now_us + SOON_US

    def _noticed(self, message: Noticed, body: bytes) -> None:
        for request in message.requests:
            watch = self._by_request.get(request)
            if watch is not None:
                self._owner.noticed(watch.handle, message.index, None if message.is_gap else body)

    def _changed(self, message: Changed, body: bytes) -> None:
        get, through, tell = self._by_request.get, message.through, self._owner.changed
        to_pause: list[KeyWatch] = []
        self._to_pause = to_pause
        try:
            for requests, event in decode_changes(body):
                is_whole = event.revision <= through
                for request in requests:
                    watch = get(request)
                    if type(watch) is not KeyWatch:
                        continue
                    if is_whole and not watch.partial:
                        watch.through = through
                        tell(watch.handle, event)
                    elif watch.take_part(event.revision, through):
                        tell(watch.handle, event)
        finally:
            self._to_pause = None
            for watch in to_pause:
                if watch.is_paused and watch.request:
                    self._stop(watch)

    def _watched(self, message: Watched) -> None:
        for request in message.requests:
            watch = self._by_request.get(request)
            if isinstance(watch, KeyWatch):
                if watch.through < 0:
                    watch.through = message.revision
                self._owner.begun(watch.handle, watch.through)

    def _forgotten(self, message: Forgotten) -> None:
        for request in message.requests:
            watch = self._by_request.pop(request, None)
            if isinstance(watch, KeyWatch):
                del self._watches[watch.handle]
                self._owner.watch_failed(watch.handle, Compacted(watch.through + 1, message.revision + 1))

    def failed(self, now_us: int, failure: Failure) -> bool:
        """A request was refused. True if it was for one of these watches."""
        watch = self._by_request.pop(failure.request, None)
        if watch is None:
            return False
        watch.request = 0
        if failure.code == messages.REFUSED:
            del self._watches[watch.handle]
            self._owner.watch_failed(watch.handle, RequestRefused(failure.text))
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
                if not watch.request and not watch.is_paused:
                    self._ask(watch)
        if self._pulse_us <= now_us:
            self._pulse_us = NEVER_US
            if self._watches:  # the last one may have ended while a pulse was under way
                self._pulse = self._next_request()
                self._owner.transmit(Pulse(self._pulse), b"")

    def _begin(self, now_us: int, watch: _TopicWatch | KeyWatch) -> None:
        self._watches[watch.handle] = watch
        if self._is_connected:
            self._ask(watch)
            if not self._pulse and self._pulse_us == NEVER_US:
                self._pulse_us = now_us + PULSE_US

    def _ask(self, watch: _TopicWatch | KeyWatch) -> None:
        watch.request = self._next_request()
        self._by_request[watch.request] = watch
        self._owner.transmit(Watch(watch.request, watch.app), watch.asks())

    def _stop(self, watch: _TopicWatch | KeyWatch) -> None:
        del self._by_request[watch.request]
        self._owner.transmit(Unwatch(watch.request), b"")
        self._settle(watch)

    def _settle(self, watch: _TopicWatch | KeyWatch) -> None:
        """The watch has no request any more. What the node had told when it answered a pulse behind it counts."""
        if watch.request < self._answered.request and type(watch) is KeyWatch:
            watch.told_up_to(self._answered.revision)
        watch.request = 0
