"""Two live copies of one member, with the same key and a disk of its own each, among four.

Source: Bano et al., "Twins: BFT Systems Made Robust" (2021), section 3.
"""

from __future__ import annotations

from collections import deque

from quorum.protocols import events
from quorum.protocols.pbft.replica import PbftReplica

from .cluster import Cluster, Node, key_of

MEMBER, TWIN = "n4", "n4'"


class _Twin(Node):
    """Runs under the name of the other one."""

    def boot(self, first: bool = True) -> None:
        self.lives += 1
        self.seen, self.base = list(self.disk.entries), self.disk.base
        key = key_of(MEMBER)
        cluster = self.cluster
        self.replica = PbftReplica(
            MEMBER, cluster.committee, lambda data: key.sign(data).signature, cluster.settings
        )
        self.step(events.Started(self.now_us, self.disk.durable(), self.replica.configuration))


class TwinCluster(Cluster):
    """n1 to n4, and the twin of n4. Whoever sends to n4 reaches both, where no partition is in between."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(4, 1, seed)
        self.nodes[TWIN] = _Twin(self, TWIN)
        self.places = tuple(self.nodes)
        self.liars |= {MEMBER, TWIN}
        self.boot()

    def split(self, group: frozenset[int]) -> None:
        """Members of `group`, by place, and the rest do not reach each other."""
        inside = {self.places[place] for place in group}
        self.cut = {(a, b) for a in self.nodes for b in self.nodes if (a in inside) != (b in inside)}

    def send(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        for copy in (MEMBER, TWIN) if to == MEMBER else (to,):
            if (source, copy) not in self.cut:
                self.links.setdefault((source, copy), deque()).append((message, attached))

    def deliver(self) -> bool:
        ready = [link for link in sorted(self.links) if self.links[link]]
        if not ready:
            return False
        source, to = ready[self.random.randrange(len(ready))]
        message, attached = self.links[source, to].popleft()
        node = self.nodes[to]
        if node.replica is not None and (source, to) not in self.cut:
            name = MEMBER if source == TWIN else source
            node.step(events.Received(node.now_us, name, message, attached))
        return True

    def submit(self, *requests: bytes, to: tuple[str, ...] = ()) -> None:
        super().submit(*requests, to=to or tuple(self.nodes))
