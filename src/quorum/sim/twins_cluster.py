"""Two live copies of one member, with the same key and a disk of its own each, among four.

Source: Bano et al., "Twins: BFT Systems Made Robust" (2021), section 3.
"""

from __future__ import annotations

from quorum.protocols import events
from quorum.protocols.pbft.replica import PbftReplica
from quorum.sim.stepped import Cluster
from quorum.sim.stepped_node import Node, key_of


class Stopped(Exception):
    """A copy met what its own twin did, and found its invariants broken."""


class Copy(Node):
    """One of the two that run under the name of `member`. What stops it is no claim about honest members."""

    def boot(self, first: bool = True) -> None:
        self.lives += 1
        self.seen, self.base = list(self.disk.entries), self.disk.base
        cluster: TwinCluster = self.cluster  # type: ignore[assignment]
        key = key_of(cluster.member)
        self.replica = PbftReplica(
            cluster.member, cluster.committee, lambda data: key.sign(data).signature, cluster.settings
        )
        bootstrap = self.replica.configuration if self.lives == 1 else None
        self.step(events.Started(self.now_us, self.disk.durable(), bootstrap))

    def step(self, event: events.Event) -> None:
        if self.replica is None:
            return
        try:
            super().step(event)
        except Stopped:
            self.crash()


class TwinCluster(Cluster):
    """n1 to n4, and the twin of `member`. Who sends to `member` reaches both, where no partition is in between."""

    def __init__(self, seed: int = 0, member: str = "n4") -> None:
        super().__init__(4, 1, seed)
        self.member, self.twin = member, member + "'"
        for name in (self.member, self.twin):
            self.nodes[name] = Copy(self, name)
        self.places = tuple(self.nodes)
        self.liars |= {self.member, self.twin}
        self.stops = 0
        self.boot()

    def raised(self, node: Node, error: Exception) -> None:
        if isinstance(node, Copy) and isinstance(error, AssertionError):
            self.stops += 1
            raise Stopped from error
        super().raised(node, error)

    def restart(self) -> None:
        """Copies that stopped begin again, with what they had made durable."""
        for name in (self.member, self.twin):
            if self.nodes[name].replica is None:
                self.nodes[name].boot(first=False)

    def split(self, group: frozenset[int]) -> None:
        """Members of `group`, by place, and the rest do not reach each other."""
        inside = {self.places[place] for place in group}
        self.cut = {(a, b) for a in self.nodes for b in self.nodes if (a in inside) != (b in inside)}

    def send(self, source: str, to: str, message: object, attached: tuple[bytes, ...]) -> None:
        for copy in (self.member, self.twin) if to == self.member else (to,):
            if (source, copy) not in self.cut:
                self.put(source, copy, message, attached)

    def name_of(self, source: str) -> str:
        return self.member if source == self.twin else source

    def submit(self, *requests: bytes, to: tuple[str, ...] = ()) -> None:
        super().submit(*requests, to=to or tuple(self.nodes))
