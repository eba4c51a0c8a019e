"""The watches of a node's clients, without I/O: who is told what, once a turn has applied something.

Nothing is done for a command while nobody watches. What a connection has to hear is put into frames only while it
takes them, so that a slow one costs no memory and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Sequence

from quorum.apps.state_machine import Notice
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Pulse, Pulsed, Watch
from quorum.runtime.watch_reader import Client, Reader
from quorum.runtime.watch_topics import TOPIC_BYTES_MAX, Topics

WATCHES_MAX = 250_000
"""On one node."""
WINDOW_BYTES = 1024 * 1024
"""A connection in which more waits to be sent is given nothing new."""


class WatchHub:
    """Every watch of one node. Its owner calls `pump` at the end of each turn, and when a connection has drained.

    I1  a reader that has something to hear is in `_waiting`.
    """

    def __init__(self, watches_max: int = WATCHES_MAX, window_bytes: int = WINDOW_BYTES) -> None:
        self._watches_max = watches_max
        self._window_bytes = window_bytes
        self._readers: dict[Client, Reader] = {}
        self._waiting: dict[Reader, None] = {}
        self._topics = Topics(self._wake)
        self._count = 0

    def __len__(self) -> int:
        """How many watches there are."""
        return self._count

    # From clients.

    def watch(self, client: Client, watch: Watch, body: bytes) -> None:
        """Begin one watch; what is wrong with it is answered with a Failure."""
        reader = self._readers.get(client)
        code, text = messages.REFUSED, ""
        if self._count >= self._watches_max:
            code = messages.OVERLOADED
            text = f"this node has {self._count} watches and takes no more. Ask another node, or end some."
        elif reader is not None and watch.request in reader.watches:
            text = f"watch {watch.request} was asked for, but it runs already. Give each a number of its own."
        elif len(body) > TOPIC_BYTES_MAX:
            text = f"a topic of {len(body)} bytes was given, but {TOPIC_BYTES_MAX} is the most. Shorten it."
        if text:
            client.answer(Failure(watch.request, code, text), ())
            return
        if reader is None:
            reader = self._readers[client] = Reader(client)
        reader.watches[watch.request] = body
        self._count += 1
        self._topics.add(reader, watch.request, body)

    def unwatch(self, client: Client, request: int) -> None:
        """End one watch; nothing happens if there is none."""
        reader = self._readers.get(client)
        if reader is not None and request in reader.watches:
            self._end(reader, request)

    def pulse(self, client: Client, pulse: Pulse) -> None:
        """Answer, behind what waits for this connection."""
        reader = self._readers.get(client)
        if reader is None:
            client.answer(Pulsed(pulse.request, 0), ())
        else:
            reader.pulses.append(pulse.request)
            self._wake(reader)

    def lost(self, client: Client) -> None:
        """The connection ended: drop its watches."""
        reader = self._readers.pop(client, None)
        if reader is not None:
            for request in tuple(reader.watches):
                self._end(reader, request)
            self._waiting.pop(reader, None)

    # From the driver.

    def noticed(self, index: int, notices: Sequence[Notice]) -> None:
        """What the entry at `index` gave."""
        self._topics.noticed(index, notices)

    def jumped(self, index: int) -> None:
        """The state is that of the snapshot at `index` now."""
        self._topics.jumped(index)

    # Each turn.

    def pump(self) -> None:
        """Send what connections have to hear and can take. One that is full is tried again at the next call."""
        for reader in tuple(self._waiting):
            if reader.client.backlog() < self._window_bytes:
                del self._waiting[reader]
                self._topics.tell(reader)
                for request in reader.pulses:
                    reader.client.answer(Pulsed(request, 0), ())
                reader.pulses.clear()

    def _wake(self, reader: Reader) -> None:
        self._waiting[reader] = None

    def _end(self, reader: Reader, request: int) -> None:
        self._count -= 1
        self._topics.remove(reader, request, reader.watches.pop(request))
