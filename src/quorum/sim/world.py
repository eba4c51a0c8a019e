"""The deterministic world: virtual time, seeded randomness, and every invariant checked as things happen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from random import Random
from typing import Any

from quorum.apps.catalogue import new_host
from quorum.apps.host import Host
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Evidence
from quorum.checkers.agreement import Agreement, LeaderCompleteness
from quorum.checkers.progress import Sometimes
from quorum.checkers.violation import Violation
from quorum.entry import Buffer
from quorum.header import Header
from quorum.membership.observation import Limits
from quorum.membership.policy import Policy
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import LEADER
from quorum.runtime.driver import Driver
from quorum.runtime.ports import Ports, Timers
from quorum.runtime.session_settings import SessionSettings
from quorum.runtime.steward import RaftSteward
from quorum.sim.branches import Branches
from quorum.sim.client import SimClient
from quorum.sim.network import Network
from quorum.sim.node import SimNode, SimTransport
from quorum.sim.trace import Trace

LOST_CONNECTION_US = 1_000
DIGEST_ENTRIES = 64
LEADER_LOG_CHECKED = 200
"""How many of the newest committed entries a new leader must show."""


class World:
    """Nodes on one event heap. The same seed gives the same trace hash, byte for byte.

    With `wire` every message travels as bytes, and with `disk` the nodes keep the production log on a simulated
    disk; both cost time. `spares` run, too, but are no members until they are admitted; `witnesses`, among both,
    keep no state. `limits` say how soon a policy acts, and `policy` is the one for `custom`. Subclasses replace
    `make_replica`, `make_driver` or `make_host` to run another application, or a planted bug.
    """

    limits: Limits | None = None

    def __init__(
        self,
        seed: int,
        configuration: Configuration,
        settings: Settings | None = None,
        trace_keep: int = 0,
        wire: bool = False,
        disk: bool = False,
        spares: tuple[NodeId, ...] = (),
        witnesses: tuple[NodeId, ...] = (),
        limits: Limits | None = None,
        policy: Policy | None = None,
    ) -> None:
        if limits is not None:
            self.limits = limits
        self.policy = policy
        self.seed = seed
        self.now_us = 0
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._sequence = 0
        self.trace = Trace(trace_keep)
        self.wire, self.disk = wire, disk
        self.sometimes = Sometimes()
        self.branches = Branches(self.sometimes)
        self.network = Network(self.random("network"), self.schedule, self.deliver)
        self.agreement = Agreement()
        self.agreement.completeness = LeaderCompleteness(self.agreement.decided, LEADER_LOG_CHECKED)
        self.leaders = 0
        self.configuration = configuration
        settings = settings or Settings()
        self.witnesses = frozenset(witnesses) | frozenset(configuration.witnesses)
        self.nodes: dict[NodeId, SimNode] = {
            node: SimNode(self, node, None if node in spares else configuration, settings)
            for node in sorted({*configuration.members, *spares})
        }

    # What a subclass may replace.

    def make_replica(self, node: NodeId, random: Random, settings: Settings) -> RaftReplica:
        return RaftReplica(node, random, settings)

    def make_driver(self, node: SimNode, ports: Ports) -> Driver:
        assert node.replica is not None and node.host is not None and node.gateway is not None
        steward = self.make_steward(node.replica)
        return Driver(node.replica, ports, node.host, node.gateway, node, self.digest_entries, steward)

    def make_steward(self, replica: RaftReplica) -> RaftSteward | None:
        """Who looks after the members while this replica leads, as the configuration's policy wants it."""
        settings = replica.state.settings
        return RaftSteward(replica, settings.heartbeat_us, self.limits, self.policy)

    def make_host(self) -> Host:
        return new_host()

    def changes(self, node: NodeId) -> Sequence[EpochChange]:
        """The signed changes of its committee that a node knows."""
        return ()

    @property
    def digest_entries(self) -> int:
        """The state is compared at every so many entries."""
        return DIGEST_ENTRIES

    def make_ports(self, node: SimNode, timers: Timers) -> Ports:
        transport = SimTransport(self, node.node)
        return Ports(node.log, node.snapshots, transport, timers, node.clock)

    def make_client(
        self, name: str, on_answer: Callable[..., None], settings: SessionSettings | None
    ) -> SimClient:
        return SimClient(self, name, on_answer, settings)

    # Time and randomness.

    def random(self, purpose: str) -> Random:
        """One generator a purpose, so that drawing more for one does not shift the others."""
        return Random(f"{self.seed}/{purpose}")

    def schedule(self, delay_us: int, act: Callable[..., None], *arguments: Any) -> None:
        """Call `act` after `delay_us` of world time; what is scheduled first comes first among equals."""
        self._sequence += 1
        heappush(self._heap, (self.now_us + delay_us, self._sequence, act, arguments))

    def run(self, until_us: int) -> None:
        """Let everything happen that is due by `until_us`. Raises Violation as soon as an invariant breaks."""
        heap = self._heap
        network = self.network
        while heap and heap[0][0] <= until_us:
            self.now_us, _, act, arguments = heappop(heap)
            network.now_us = self.now_us
            act(*arguments)
        self.now_us = network.now_us = until_us

    def run_until(self, reached: Callable[[], bool], within_us: int) -> bool:
        """Run event by event until `reached()`; False when `within_us` passes first."""
        end = self.now_us + within_us
        while not reached():
            if not self._heap or self._heap[0][0] > end:
                self.now_us = self.network.now_us = end
                return reached()
            self.now_us, _, act, arguments = heappop(self._heap)
            self.network.now_us = self.now_us
            act(*arguments)
        return True

    def count(self, event: tuple[object, ...]) -> None:
        """One more event in the trace."""
        self.trace.add((self.now_us, *event))

    def deliver(self, source: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        """A message arrives: for a node that is down or cut off, it is lost."""
        node = self.nodes[to]
        if node.is_up and not self.network.is_blocked(source, to):
            self.trace.add((self.now_us, source, to, message))
            node.receive(source, message, attached)

    # Faults.

    def boot(self) -> None:
        """Start every node."""
        for node in self.nodes.values():
            node.boot()

    def crash(self, name: NodeId, seen: bool = True) -> None:
        """Kill a node; with `seen` the others' connections to it close soon after."""
        self.nodes[name].crash()
        self.sometimes.reached("crash")
        if seen:
            for other in self.nodes.values():
                if other.node != name:
                    self.schedule(LOST_CONNECTION_US, self._lose, other, name)

    def _lose(self, node: SimNode, lost: NodeId) -> None:
        if not self.network.is_blocked(lost, node.node):
            node.peer_lost(lost)

    def restart(self, name: NodeId) -> None:
        """Boot a node from what it had made durable."""
        if not self.nodes[name].is_up:
            self.nodes[name].boot()
            self.sometimes.reached("restart")

    def leader(self) -> NodeId | None:
        """The leader of the newest term among running nodes, if one is known."""
        best: tuple[int, NodeId] | None = None
        for node in self.nodes.values():
            if node.replica is not None and node.replica.state.role == LEADER:
                best = max(best or (0, ""), (node.replica.state.term, node.node))
        return best[1] if best else None

    # Invariants.

    def misbehaved(self, by: NodeId, node: NodeId, what: str) -> None:
        """One node says that another broke the protocol."""
        self.violation(f"{by} accuses {node}: {what}")

    def violation(self, detail: str) -> None:
        """Something happened that no correct node lets happen."""
        raise Violation("no correct node is accused, diverges or stops", detail)

    def accused(self, by: NodeId, evidence: Evidence) -> None:
        """Somebody lied, where nobody may."""
        self.violation(f"{by} has evidence: {evidence}")

    def role_changed(self, node: SimNode, role: str, term: int) -> None:
        self.count(("role", node.node, role, term))
        assert node.replica is not None
        state = node.replica.state
        self.branches.role_changed(state, role, term)
        if role != LEADER:
            return
        self.leaders += 1
        self.sometimes.reached("leader elected")
        self.agreement.leader(node.node, term, node.entry_identity, state.log.base_index)

    def entry_applied(self, node: NodeId, header: Header) -> None:
        self.agreement.committed(node, header.index, header.term, header.digest)
        self.branches.applied(header)

    def state_at(self, node: NodeId, index: int, digest: bytes) -> None:
        self.count(("state", node, index, digest))
        self.agreement.digest(node, index, digest)
