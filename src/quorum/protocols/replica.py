"""The contract of every protocol: a mutable replica, one event in, a tuple of effects out."""

from __future__ import annotations

from typing import Protocol

from quorum.model import Configuration, NodeId
from quorum.protocols.effects import Effect
from quorum.protocols.events import Event


class Replica(Protocol):
    """A deterministic participant. Same seed and same events: the same effects, byte for byte.

    It has no clock, socket, file or thread; randomness is a `random.Random` given at construction.
    """

    node: NodeId

    def step(self, event: Event) -> tuple[Effect, ...]:
        """Handle one event; return what the driver must do, in order.

        Raises RemoteProtocolError, state unchanged, for what no correct peer may send; LocalProtocolError
        for an event that the driver must not give.
        """
        ...

    @property
    def configuration(self) -> Configuration:
        """The configuration in force: the newest in the log."""
        ...

    def behind(self, index: int) -> frozenset[NodeId]:
        """At the leader, the nodes that entries are sent to and that are not known to store entry `index`."""
        ...

    @property
    def leader(self) -> NodeId | None:
        """Who orders commands now, as far as this replica knows."""
        ...
