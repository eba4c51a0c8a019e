"""One decision among simulated nodes that may crash: real Raft replicas, and proposals carried to the leader."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from quorum.apps.catalogue import DECIDE_APP
from quorum.entry import COMMAND, Buffer, decode_entry
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.runtime.messages import Submit
from quorum.sim.node import SimNode
from quorum.sim.one_decision import ROUND_US, DecidingWorld, Mark, Nobody

ELECTION_US = 1_000_000
PATIENCE_US = 12_000_000
"""Simulated time after which a leader is not waited for any longer."""
MARKED = b"a proposal"


class _Forward(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """A proposal on its way to the leader."""

    body: bytes


class CrashDecision(DecidingWorld):
    """Node 1 stands for election first."""

    patience_us = PATIENCE_US

    def __init__(self, seed: int, nodes: Sequence[NodeId]) -> None:
        configuration = Configuration(epoch=1, voters=tuple(sorted(nodes)))
        super().__init__(seed, configuration, Settings(election_timeout_us=ELECTION_US))

    def make_replica(self, node: NodeId, random: Random, settings: Settings) -> RaftReplica:
        if node != min(self.nodes):
            settings = msgspec.structs.replace(settings, election_timeout_us=3 * ELECTION_US)
        return super().make_replica(node, random, settings)

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        node = self.nodes[to]
        if not isinstance(message, _Forward):
            super().deliver(source, to, message, attached)
        elif node.is_up and not self.network.is_blocked(source, to):
            self.count((source, to, message))
            node.request(Nobody(), Submit(0, DECIDE_APP, 0, 0, 0, 1), (message.body,))

    def begin(self) -> None:
        self.boot()
        self.run_until(lambda: self.leader() is not None, self.patience_us)

    def sealed(self, node: NodeId, body: bytes) -> bytes:
        return body

    def propose(self, node: SimNode, proposal: bytes) -> None:
        end_us = self.now_us + self.patience_us // 4
        while self.now_us < end_us and node.is_up:
            leader = node.replica.leader if node.replica is not None else None
            if leader is None:
                self.run_until(lambda: node.replica is not None and node.replica.leader is not None, ROUND_US)
                continue
            self.say(node.node, leader, _Forward(proposal))
            if self.run_until(lambda: self.mark_of(node) is not None, 2 * ROUND_US):
                break
        self.run(self.now_us + ROUND_US)

    def mark_of(self, node: SimNode) -> Mark:
        assert node.replica is not None, "only a running node is asked"
        for entry in node.log.read(1, node.replica.state.stored_index, 1 << 40):
            header, _ = decode_entry(entry)
            if header.kind == COMMAND and header.app == DECIDE_APP:
                return MARKED
        return None

    def needs_no_help(self, node: SimNode) -> bool:
        return self.mark_of(node) is not None

    def is_quorum(self, nodes: frozenset[NodeId]) -> bool:
        node = next(node for node in self.nodes.values() if node.replica is not None)
        assert node.replica is not None
        return node.replica.state.system.is_write_quorum(nodes)

    def settle(self) -> None:
        self.run_until(self._is_level, self.patience_us)

    def _is_level(self) -> bool:
        leader = self.leader()
        led = self.nodes[leader].replica if leader is not None else None
        if led is None or led.state.commit_index < led.state.log.last_index:
            return False
        last = led.state.log.last_index
        return all(
            node.replica is None or node.replica.state.stored_index == node.replica.state.commit_index == last
            for node in self.nodes.values()
        )
