"""One decision among simulated nodes, as the in-process quorum asks for it, whatever protocol they run.

What the facade says between nodes travels over the same network as the protocol's messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from quorum.apps import decide
from quorum.apps.catalogue import DECIDE_APP
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.sim.node import SimNode
from quorum.sim.seats import Voters
from quorum.sim.world import World

TOPIC = "decision"
ROUND_US = 100_000
"""Simulated time that a status round waits for answers."""
Mark = bytes | None
"""What a node has marked; nodes that marked the same proposal say the same."""


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=101):
    """Which proposal have you marked?"""

    round: int


class Tell(msgspec.Struct, frozen=True, array_like=True, tag=102):
    """The answer; None: none yet."""

    round: int
    mark: Mark


class Nobody:
    """Who waits for the answer to a proposal: it is read from the log instead."""

    identity = ""

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        return


class DecidingWorld(World):
    """Base of the worlds that `Quorum` runs. `patience_us` is the simulated time after which waiting is given up.

    Proposals are bytes that `sealed` made.
    """

    patience_us: int
    _round = 0
    _told: dict[NodeId, Mark]

    def begin(self) -> None:
        """Start every node, and let them find together."""
        raise NotImplementedError

    def sealed(self, node: NodeId, body: bytes) -> bytes:
        """A batch of the decide application as a proposal of this node."""
        raise NotImplementedError

    def propose(self, node: SimNode, proposal: bytes) -> None:
        """Carry a proposal to where it is ordered, and let the reachable nodes store it."""
        raise NotImplementedError

    def mark_of(self, node: SimNode) -> Mark:
        """The proposal that is durable in a running node's log."""
        raise NotImplementedError

    def needs_no_help(self, node: SimNode) -> bool:
        """Whether what the node proposed need not be proposed again."""
        raise NotImplementedError

    def voters(self) -> Voters:
        """Who votes now, as the newest that a running node knows."""
        raise NotImplementedError

    def evict(self, node: NodeId) -> None:
        """Take a member's vote. Raises ConfigurationError where that cannot be, NoQuorum where nobody can
        decide."""
        raise NotImplementedError

    def readmit(self, node: NodeId) -> None:
        """Give a member its vote back; raises as `evict`."""
        raise NotImplementedError

    def settle(self) -> None:
        """Give the nodes time to find together and to catch up, where they can."""
        raise NotImplementedError

    def learned(self, node: SimNode) -> decide.Decision | None:
        """The decision in the node's own applied state."""
        if node.host is None:
            return None
        answer = node.host.query(DECIDE_APP, decide.encode_query([TOPIC]))
        found = decide.decode_answers(answer.body)[0]
        return found if isinstance(found, decide.Decision) else None

    # Status rounds.

    def ask_everyone(self, node: SimNode) -> dict[NodeId, Mark]:
        """Which proposal each node has marked, as far as `node` hears of it in time."""
        self._round += 1
        told = self._told = {node.node: self.mark_of(node)}
        for other in sorted(self.nodes):
            if other != node.node:
                self.say(node.node, other, Ask(self._round))
        self.run_until(lambda: len(told) == len(self.nodes), ROUND_US)
        return dict(told)

    def say(self, source: NodeId, to: NodeId, message: object) -> None:
        """Send what is no message of the protocol."""
        self.network.send(source, to, message, ())

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        node = self.nodes[to]
        if not isinstance(message, Ask | Tell):
            super().deliver(source, to, message, attached)
        elif node.is_up and not self.network.is_blocked(source, to):
            self.count((source, to, message))
            if isinstance(message, Ask):
                self.say(to, source, Tell(message.round, self.mark_of(node)))
            elif message.round == self._round:
                self._told[source] = message.mark


def marked_alike(told: dict[NodeId, Mark]) -> frozenset[NodeId]:
    """Those who marked the proposal that most have marked."""
    marks = sorted({mark for mark in told.values() if mark is not None})
    groups: Iterable[frozenset[NodeId]] = (
        frozenset(node for node, mark in told.items() if mark == each) for each in marks
    )
    return max(groups, key=len, default=frozenset())
