"""Which followers the newest commit did without: while requests come one by one, they may be told a little later.

A lone request waits for the fastest quorum only. Followers beyond it, told at the same moment, compete with that
quorum for disks, processors and the leader's time; told a little later, they get several entries in one piece and
sync them together. How durable an acknowledged entry is does not change, nor the order of messages. To send to one
quorum only is known as thrifty operation (Moraru, Andersen and Kaminsky 2013, "There Is More Consensus in
Egalitarian Parliaments"); here the others get everything, too.
"""

from __future__ import annotations

from quorum.model import NodeId
from quorum.protocols.replica import Replica
from quorum.runtime.ports import Clock

TRUSTED_US = 40_000
"""After so long every follower is told at once again, and who was needed is looked at anew. A fast follower that
dies or slows down meanwhile delays each commit by the transport's pause, until then."""


class Stragglers:
    """Keeps whom the leader may tell later. Empty where this node does not lead."""

    def __init__(self, replica: Replica, clock: Clock) -> None:
        self._replica = replica
        self._clock = clock
        self._nodes: frozenset[NodeId] = frozenset()
        self._until_us = 0

    def committed(self, index: int) -> None:
        """Entry `index` has just been committed."""
        now_us = self._clock.now_us()
        if now_us >= self._until_us:
            self._nodes = self._replica.behind(index)
            self._until_us = now_us + TRUSTED_US

    def may_wait(self, node: NodeId) -> bool:
        """Whether entries for `node` may leave a little later."""
        return node in self._nodes and self._clock.now_us() < self._until_us
