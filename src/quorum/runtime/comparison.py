"""Whether the state of this replica is that of the others: digests are computed, exchanged and compared."""

from __future__ import annotations

from collections.abc import Callable

from quorum.model import NodeId
from quorum.protocols import events
from quorum.protocols.replica import Replica
from quorum.runtime.digests import Digests, Done
from quorum.runtime.divergence import Divergence
from quorum.runtime.messages import StateDigest
from quorum.runtime.ports import Application, Observer, Ports


class Comparison:
    """Compares the state of one replica with those of the other members, and names whose state differs.

    The driver asks for a digest at the same entries as every other node does, and for `advance` in each round;
    the observer hears who differs. That it is this node itself, or is not any more, is also an event for the
    replica's next step, which `queue` takes.

    I1  `differs` becomes true, and false again, by what a replication quorum has: never by one node's word.
    """

    def __init__(
        self,
        replica: Replica,
        ports: Ports,
        application: Application,
        observer: Observer,
        queue: Callable[[events.Event], None],
    ) -> None:
        self._replica = replica
        self._transport, self._clock = ports.transport, ports.clock
        self._application = application
        self._observer = observer
        self._queue = queue
        self._digests = Digests(ports.clock)
        self._divergence = Divergence(replica.node)
        self.differs = False

    def want(self, index: int, done: Done) -> None:
        """Call `done` in a later round with the digest of the state, which is now at entry `index`."""
        self._digests.add(index, self._application.digests(), done)

    def publish(self, index: int) -> None:
        """Let the other members have the digest of the state, which is now at entry `index`."""
        self.want(index, self._publish)

    def advance(self) -> bool:
        """Compute for a while, if anything is wanted; returns whether some is left."""
        return bool(self._digests.pending) and self._digests.advance()

    def on_digest(self, sender: NodeId, message: StateDigest) -> None:
        """What another member has."""
        self._compare(sender, message.index, message.digest)

    def _publish(self, index: int, digest: bytes) -> None:
        self._observer.state_at(index, digest)
        self._queue(events.StateKnown(self._clock.now_us(), index, digest))
        node = self._replica.node
        for other in self._replica.configuration.members:
            if other != node:
                self._transport.send(other, StateDigest(index, digest), ())
        self._compare(node, index, digest)

    def _compare(self, node: NodeId, index: int, digest: bytes) -> None:
        """Tell whose state differs. One that is this node's own is not passed on: neither by leading, nor by
        snapshots; until a quorum has it after all."""
        configuration = self._replica.configuration
        differing = self._divergence.add(node, index, digest, configuration)
        for other in differing:
            self._observer.diverged(other, index)
        if self._replica.node in differing:
            self._doubt(True)
        elif self.differs and self._divergence.is_agreed(index, configuration):
            self._doubt(False)

    def _doubt(self, differs: bool) -> None:
        self.differs = differs
        self._queue(events.StateDoubted(self._clock.now_us(), differs))
