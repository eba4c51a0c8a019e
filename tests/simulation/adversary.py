"""A fault that knows where to strike: the messages and the nodes that an election hangs on."""

from __future__ import annotations

from typing import Any

from quorum.entry import Buffer, entry_identity
from quorum.model import NodeId
from quorum.protocols.raft.messages import Append, AppendReply, RequestVote, VoteReply
from quorum.protocols.raft.state import LEADER
from quorum.sim.node import SimNode
from quorum.sim.world import World

STRIKES = "adversary strikes"
LOSES = "adversary loses entries"
MUTE_US = 5_000
"""How long the messages of a crashed node are lost: the last ones never leave it."""


class Adversary(World):
    """Until `until_us` it crashes whoever has just voted, won, or heard that an old entry is stored, delays
    requests for votes, and loses the entries of a leader's own term; each with a chance. Crashed nodes come back
    soon."""

    until_us = 24_000_000
    strikes = 0.5
    losses = 0.8
    delay_us = 20_000

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._draw = self.random("adversary")
        self._mute_until: dict[NodeId, int] = {}

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        if self.now_us >= self.until_us:
            super().deliver(source, to, message, attached)
        elif self.now_us < self._mute_until.get(source, 0):
            return
        elif isinstance(message, RequestVote) and not message.pre:
            self.schedule(self._draw.randrange(self.delay_us), super().deliver, source, to, message, attached)
        elif isinstance(message, Append) and attached and self._is_lost(message.term, attached[-1]):
            self.sometimes.reached(LOSES)
        else:
            super().deliver(source, to, message, attached)
            if isinstance(message, VoteReply) and message.granted and not message.pre:
                self._perhaps(source)
            elif isinstance(message, AppendReply) and message.matched and self._is_old(to, message.index):
                self._perhaps(to)

    def role_changed(self, node: SimNode, role: str, term: int) -> None:
        super().role_changed(node, role, term)
        if role == LEADER:
            self._perhaps(node.node)

    def _is_lost(self, term: int, entry: Buffer) -> bool:
        return entry_identity(entry)[1] == term and self._draw.random() < self.losses

    def _is_old(self, name: NodeId, index: int) -> bool:
        replica = self.nodes[name].replica
        if replica is None or replica.state.role != LEADER or index <= replica.state.log.base_index:
            return False
        return (replica.state.log.term(index) or 0) < replica.state.term

    def _perhaps(self, name: NodeId) -> None:
        if self.now_us < self.until_us and self._draw.random() < self.strikes:
            self.schedule(self._draw.randrange(2_000), self._strike, name)

    def _strike(self, name: NodeId) -> None:
        if self.nodes[name].is_up:
            self.sometimes.reached(STRIKES)
            self._mute_until[name] = self.now_us + MUTE_US
            self.crash(name, seen=self._draw.random() < 0.8)
            self.schedule(self._draw.randrange(1_000, 80_000), self.restart, name)
