"""The watches of a node's clients, without I/O: who is told what, once a turn has applied something.

Nothing is done for a command while nobody watches. What a connection has to hear is put into frames only while it
takes them, so that a slow one costs no memory and holds up nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from quorum.apps.catalogue import KV_APP
from quorum.apps.host import Host
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.kv_watch import Interest, decode_interest, refusal_of_interest
from quorum.apps.state_machine import Notice
from quorum.apps.witness import Witness
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Pulse, Pulsed, Watch
from quorum.runtime.watch_index import Group
from quorum.runtime.watch_keys import Keys
from quorum.runtime.watch_reader import Client, Reader
from quorum.runtime.watch_topics import TOPIC_BYTES_MAX, Topics

WATCHES_MAX = 250_000
"""On one node."""
WINDOW_BYTES = 1024 * 1024
"""A connection in which more waits to be sent is given nothing new."""
TURN_CHANGES_MAX = 2048
"""So many old changes are read in one turn, for all connections together."""


def hub_of(host: Host | Witness) -> WatchHub:
    """The hub of a node that runs these applications."""

    def store() -> KeyValueStore | None:
        found = host.application(KV_APP)
        return found if isinstance(found, KeyValueStore) else None

    return WatchHub(store=store(), store_now=store)


class WatchHub:
    """Every watch of one node. Its owner calls `pump` at the end of each turn, and when a connection has drained.

    Keys are those of `store`; a node without one has topics alone. `store_now` gives the one that serves after a
    snapshot was taken over, where that may be another.

    I1  a reader that has something to hear, other than what has just happened, is in `_waiting`.
    """

    def __init__(
        self,
        watches_max: int = WATCHES_MAX,
        window_bytes: int = WINDOW_BYTES,
        store: KeyValueStore | None = None,
        store_now: Callable[[], KeyValueStore | None] | None = None,
    ) -> None:
        self._store_now = store_now
        self._watches_max = watches_max
        self._window_bytes = window_bytes
        self._readers: dict[Client, Reader] = {}
        self._waiting: dict[Reader, None] = {}
        self._topics = Topics(self._wake)
        self._keys = None if store is None else Keys(store, self._wake, window_bytes)
        self._topics_watched = 0

    def __len__(self) -> int:
        """How many watches there are."""
        return self._topics_watched + (0 if self._keys is None else len(self._keys))

    # From clients.

    def watch(self, client: Client, watch: Watch, body: bytes) -> None:
        """Begin one watch; what is wrong with it is answered with a Failure."""
        reader = self._readers.get(client)
        code, text = messages.REFUSED, ""
        if len(self) >= self._watches_max:
            code = messages.OVERLOADED
            text = f"this node has {len(self)} watches and takes no more. Ask another node, or end some."
        elif reader is not None and watch.request in reader.watches:
            text = f"watch {watch.request} was asked for, but it runs already. Give each a number of its own."
        elif watch.app == KV_APP:
            text = self._refusal_of_keys(body)
        elif len(body) > TOPIC_BYTES_MAX:
            text = f"a topic of {len(body)} bytes was given, but {TOPIC_BYTES_MAX} is the most. Shorten it."
        if text:
            client.answer(Failure(watch.request, code, text), ())
            return
        if reader is None:
            reader = self._readers[client] = Reader(client)
        if watch.app == KV_APP:
            self._watch_keys(reader, watch.request, decode_interest(body))
        else:
            reader.watches[watch.request] = topic = (watch.app, body)
            self._topics_watched += 1
            self._topics.add(reader, watch.request, topic)

    def _refusal_of_keys(self, body: bytes) -> str:
        if self._keys is None:
            return "keys were to be watched, but this node has no key-value store. Ask another cluster."
        try:
            return refusal_of_interest(decode_interest(body)) or ""
        except msgspec.DecodeError:
            return "keys were to be watched, but what was sent says not which. Run compatible versions."

    def _watch_keys(self, reader: Reader, request: int, interest: Interest) -> None:
        assert self._keys is not None, "it was looked at"
        group = self._keys.add(reader, request, interest)
        if group is not None:
            reader.watches[request] = group

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
        store = None if self._store_now is None else self._store_now()
        if self._keys is not None and store is not None:
            self._keys.stand_on(store)
        self._topics.jumped(index)

    # Each turn.

    def pump(self) -> bool:
        """Send what connections have to hear and can take. One that is full is tried again at the next call.
        Returns whether there is more to be done at once."""
        keys = self._keys
        if keys is not None and keys:
            keys.read()
        left, is_unfinished = TURN_CHANGES_MAX, False
        for reader in tuple(self._waiting) if self._waiting else ():
            if reader.client.backlog() >= self._window_bytes:
                continue
            del self._waiting[reader]
            self._topics.tell(reader)
            if keys is not None:
                left = keys.serve(reader, left)
            if reader.has_unread:
                self._waiting[reader] = None  # behind the others
                is_unfinished = is_unfinished or reader.client.backlog() < self._window_bytes
            else:
                self._answer_pulses(reader)
        return is_unfinished

    def _answer_pulses(self, reader: Reader) -> None:
        revision = 0 if self._keys is None else self._keys.revision
        for request in reader.pulses:
            reader.client.answer(Pulsed(request, revision), ())
        reader.pulses.clear()

    def _wake(self, reader: Reader) -> None:
        self._waiting[reader] = None

    def _end(self, reader: Reader, request: int) -> None:
        watched = reader.watches.pop(request)
        if isinstance(watched, Group):
            assert self._keys is not None, "its watch was taken"
            self._keys.remove(request, watched)
        else:
            self._topics_watched -= 1
            self._topics.remove(reader, request, watched)
