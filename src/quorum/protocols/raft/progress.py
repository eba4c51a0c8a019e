"""What a leader knows of one follower, and how much it may have on the way to it."""

from __future__ import annotations

from collections import deque

PROBE = "probe"
"""Where the logs agree is unknown: one message at a time."""
REPLICATE = "replicate"
"""The logs agree: messages are pipelined."""
SNAPSHOT = "snapshot"
"""The next entry is compacted away: the follower must fetch a snapshot."""


class Progress:
    """One follower's replication state (Ongaro 2014, section 10.2.1; flow control by count and bytes).

    I1  `match < next_index`: what is known to agree is never sent again.
    """

    __slots__ = (
        "_inflight",
        "active",
        "heard_us",
        "inflight_bytes",
        "match",
        "next_index",
        "probe_sent",
        "round",
        "state",
    )

    def __init__(self, next_index: int) -> None:
        self.match = 0
        self.next_index = next_index
        self.state = PROBE
        self.probe_sent = False
        self.active = True
        self.heard_us = 0
        self.round = 0
        self.inflight_bytes = 0
        self._inflight: deque[tuple[int, int]] = deque()

    def probe(self, next_index: int) -> None:
        """Fall back to one message at a time from `next_index` on."""
        self.next_index = max(next_index, self.match + 1)
        self.state = PROBE
        self.probe_sent = False
        self._forget_inflight()

    def replicate(self) -> None:
        """The logs agree up to `match`: pipeline from there."""
        self.state = REPLICATE
        self.next_index = self.match + 1
        self._forget_inflight()

    def await_snapshot(self) -> None:
        self.state = SNAPSHOT
        self._forget_inflight()

    def sent(self, last: int, size: int) -> None:
        """A message up to entry `last`, of `size` bytes, is on the way."""
        self._inflight.append((last, size))
        self.inflight_bytes += size
        self.next_index = last + 1

    def advance(self, match: int) -> None:
        """Everything up to `match` is durable there."""
        self.match = match
        self.next_index = max(self.next_index, match + 1)
        inflight = self._inflight
        while inflight and inflight[0][0] <= match:
            self.inflight_bytes -= inflight.popleft()[1]

    def has_room(self, messages_max: int, bytes_max: int) -> bool:
        """Whether another message may leave now."""
        return len(self._inflight) < messages_max and self.inflight_bytes < bytes_max

    def _forget_inflight(self) -> None:
        self._inflight.clear()
        self.inflight_bytes = 0
