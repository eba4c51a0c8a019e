"""Which replica's state differs: digests are compared by quorum, never by one node's word."""

from __future__ import annotations

from quorum.model import Configuration, NodeId
from quorum.systems.build import build

INDEXES_KEPT = 8


class Divergence:
    """Collects state digests by index and names whoever disagrees with a replication quorum."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self._digests: dict[int, dict[NodeId, bytes]] = {}

    def is_agreed(self, index: int, configuration: Configuration) -> bool:
        """Whether a replication quorum is known to have the state of this node at `index`."""
        here = self._digests.get(index, {})
        own = here.get(self.node)
        return own is not None and build(configuration).is_write_quorum(
            {node for node, digest in here.items() if digest == own}
        )

    def add(self, node: NodeId, index: int, digest: bytes, configuration: Configuration) -> tuple[NodeId, ...]:
        """Take one digest; return the nodes that are now known to differ at `index`."""
        if node not in configuration.members:
            return ()
        here = self._digests.setdefault(index, {})
        here[node] = digest
        while len(self._digests) > INDEXES_KEPT:
            del self._digests[min(self._digests)]
        if len(set(here.values())) < 2:
            return ()
        system = build(configuration)
        for agreed in sorted(set(here.values())):
            holders = {other for other, theirs in here.items() if theirs == agreed}
            if system.is_write_quorum(holders):
                return tuple(sorted(set(here) - holders))
        return ()
