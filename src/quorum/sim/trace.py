"""The trace of a run: a hash over everything that happened, and the last events in readable form."""

from __future__ import annotations

from collections import deque
from hashlib import blake2b

import msgspec


class Trace:
    """Two runs are the same run exactly when their hashes agree."""

    def __init__(self, keep: int = 0) -> None:
        self._hash = blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder().encode
        self._keep = keep
        self.tail: deque[tuple[object, ...]] = deque(maxlen=max(keep, 1))
        self.events = 0

    def add(self, event: tuple[object, ...]) -> None:
        """Record one event: time, kind, and whatever tells it apart."""
        self.events += 1
        self._hash.update(self._encode(event))
        if self._keep:
            self.tail.append(event)

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
