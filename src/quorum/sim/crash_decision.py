"""One decision among simulated nodes that may crash: real Raft replicas, and proposals carried to the leader."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import msgspec

from quorum.apps.catalogue import DECIDE_APP
from quorum.entry import COMMAND, Buffer, decode_entry
from quorum.errors import ConfigurationError, NoQuorum
from quorum.membership.observation import Limits
from quorum.membership.policy import CUSTOM, Policy
from quorum.membership.reconfiguration import Demote, Promote, encode_change
from quorum.model import Configuration, NodeId, quorum_size
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.runtime.messages import ALREADY_SO, REFUSED, ChangeRequest, Failure, Result, Submit
from quorum.sim.node import SimNode
from quorum.sim.one_decision import ROUND_US, DecidingWorld, Mark, Nobody
from quorum.sim.seats import Operator, Voters
from quorum.systems.build import build

ELECTION_US = 1_000_000
PATIENCE_US = 12_000_000
"""Simulated time after which a leader is not waited for any longer."""
MARKED = b"a proposal"
LIMITS = Limits(hold_us=15_000_000, stable_us=10_000_000)
"""A member is suspected for longer than anybody waits for a decision: only time that is asked for puts one out."""


class _Forward(msgspec.Struct, frozen=True, array_like=True, tag=103):
    """A proposal on its way to the leader."""

    body: bytes


class CrashDecision(DecidingWorld):
    """Node 1 stands for election first."""

    patience_us = PATIENCE_US

    def __init__(
        self, seed: int, nodes: Sequence[NodeId], policy: str, faults: int, function: Policy | None = None
    ) -> None:
        configuration = Configuration(epoch=1, voters=tuple(sorted(nodes)), policy=policy, faults=faults)
        settings = Settings(election_timeout_us=ELECTION_US)
        super().__init__(seed, configuration, settings, limits=LIMITS, policy=function)
        self._operator = Operator()

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
        """A policy that wants another committee at once has it before anything is proposed."""
        self.boot()
        self.run_until(lambda: self.leader() is not None, self.patience_us)
        if self.configuration.policy in ("participation", CUSTOM):
            self.run(self.now_us + 2 * ELECTION_US)

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

    def voters(self) -> Voters:
        """While a change is under way both committees decide; those who vote are then the new one's."""
        known = [node.replica.state for node in self.nodes.values() if node.replica is not None]
        found = [state.configuration_at(state.commit_index) for state in known]
        decided = max((*found, self.configuration), key=lambda configuration: configuration.epoch)
        return Voters(decided.voters, quorum_size(len(decided.voters), 0, "crash"), build(decided))

    def evict(self, node: NodeId) -> None:
        self._operate(Demote(node), "put out of the vote")

    def readmit(self, node: NodeId) -> None:
        self._operate(Promote(node), "given its vote back")

    def _operate(self, change: Demote | Promote, done: str) -> None:
        """Ask the leader, again where it is new or busy, until the change is decided."""
        end_us, operator = self.now_us + self.patience_us, self._operator
        while self.now_us < end_us:
            leader = self.leader()
            if leader is not None and self.nodes[leader].is_up:
                request = operator.next()
                self.nodes[leader].request(operator, ChangeRequest(request), (encode_change(change),))
                self.run_until(lambda asked=request: asked in operator.answers, end_us - self.now_us)  # type: ignore[misc]
                answer = operator.answers.get(request)
                if isinstance(answer, Result):
                    return
                if isinstance(answer, Failure) and answer.code in (REFUSED, ALREADY_SO):
                    raise ConfigurationError(answer.text)
            self.run(self.now_us + ROUND_US)
        raise NoQuorum(
            f"{change.node} was to be {done}, but no quorum decided on it. Recover or reconnect nodes, then try "
            "again.",
            (),
        )

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
