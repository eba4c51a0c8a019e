"""Topics of applications, for a node's clients: the newest notice of each, or that some were missed.

Who watches a topic hears that something happened, not each thing that did: notices that a connection did not take
in time are left out but for the newest, so what waits is bounded by what is watched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from quorum.apps.state_machine import Notice
from quorum.runtime.messages import Noticed
from quorum.runtime.watch_reader import Reader, Topic

TOPIC_BYTES_MAX = 4096


class Topics:
    """Who watches which topic. `wake` is called with a reader that has something to hear."""

    def __init__(self, wake: Callable[[Reader], None]) -> None:
        self._wake = wake
        self._watched: dict[Topic, dict[Reader, dict[int, None]]] = {}
        self._index = 0

    def add(self, reader: Reader, request: int, topic: Topic) -> None:
        """Watch `topic` under `request`; what happened to it before is a gap, and told as such."""
        self._watched.setdefault(topic, {}).setdefault(reader, {})[request] = None
        self._gap(reader, topic)

    def remove(self, reader: Reader, request: int, topic: Topic) -> None:
        """End the watch of `topic` under `request`."""
        readers = self._watched[topic]
        requests = readers[reader]
        del requests[request]
        if not requests:
            del readers[reader]
            reader.notices.pop(topic, None)
        if not readers:
            del self._watched[topic]

    def noticed(self, index: int, notices: Sequence[Notice]) -> None:
        """What the entry at `index` gave."""
        self._index = index
        if not self._watched:
            return
        for notice in notices:
            topic = notice.app, notice.topic
            for reader in self._watched.get(topic, ()):
                if reader.notices.get(topic, notice) is not None:  # a gap to be told says more
                    reader.notices[topic] = (index, notice.body)
                    self._wake(reader)

    def jumped(self, index: int) -> None:
        """The state is that of the snapshot at `index` now, and nobody knows what was noticed on the way there."""
        self._index = index
        for topic, readers in self._watched.items():
            for reader in readers:
                self._gap(reader, topic)

    def tell(self, reader: Reader) -> None:
        """Send what `reader` has to hear."""
        notices, reader.notices = reader.notices, {}
        for topic, notice in notices.items():
            requests = list(self._watched[topic][reader])
            if notice is None:
                reader.client.answer(Noticed(requests, self._index, True), ())
            else:
                reader.client.answer(Noticed(requests, notice[0], False), (notice[1],))

    def _gap(self, reader: Reader, topic: Topic) -> None:
        reader.notices[topic] = None
        self._wake(reader)
