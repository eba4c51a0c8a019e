"""One simulated node: the production driver and gateway on simulated ports."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING

from quorum.apps.host import Host
from quorum.apps.witness import Witness
from quorum.certificate.evidence import Evidence
from quorum.checkers.agreement import Identity
from quorum.entry import Buffer, decode_entry
from quorum.errors import ConfigurationError
from quorum.header import Header
from quorum.membership.health import HELD
from quorum.model import Configuration, NodeId, Seat
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.runtime.driver import Driver
from quorum.runtime.gateway import Gateway
from quorum.runtime.ledger_face import prove_here
from quorum.runtime.watch import hub_of
from quorum.sim.client import Connection
from quorum.sim.disk_log import DiskLog
from quorum.sim.storage import SimLog, SimSnapshots
from quorum.sim.wire import carry, carry_request

if TYPE_CHECKING:
    from quorum.sim.world import World

PUT_OUT = "member put out of the vote by a policy"
WEIGHED = "weights changed"
TAKEN_BACK = "member given a vote by a policy"
SPACE_BACK = "space on a full disk again"
EPOCH_US = 1_700_000_000_000_000
"""Simulated time 0, as microseconds since 1970."""


class SimClock:
    """A node's clock: it drifts and may jump forward, but never goes back within a life."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.rate = 1.0
        self._since_us = 0
        self._at_since_us = EPOCH_US

    def now_us(self) -> int:
        return self._at_since_us + int((self._world.now_us - self._since_us) * self.rate)

    def set_rate(self, rate: float) -> None:
        """From now on, `rate` local microseconds pass for one of the world's."""
        self._at_since_us, self._since_us = self.now_us(), self._world.now_us
        self.rate = rate

    def jump(self, by_us: int) -> None:
        self._at_since_us += by_us


class SimTimers:
    """ports.Timers on the world's heap; a setting replaces the one before by its generation."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._generations: dict[str, int] = {}

    def set(self, name: str, delay_us: int) -> None:
        generation = self._generations.get(name, 0) + 1
        self._generations[name] = generation
        node = self._node
        real_us = int(delay_us / node.clock.rate) + 1
        node.world.schedule(real_us, node.fire, self, name, generation)

    def cancel(self, name: str) -> None:
        self._generations[name] = self._generations.get(name, 0) + 1

    def is_current(self, name: str, generation: int) -> bool:
        return self._generations[name] == generation


class SimTransport:
    """ports.Transport over the simulated network."""

    def __init__(self, world: World, node: NodeId) -> None:
        self._send = world.network.send
        self._wire = world.wire
        self._node = node

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        """The simulated network delays what it likes, so that `later` changes nothing."""
        if self._wire:
            message, attached = carry(self._node, message, attached)
        self._send(self._node, to, message, attached)

    def flush(self) -> None:
        """Every simulated message travels alone."""


class SimNode:
    """Crashes, restarts and pauses; what it persists outlives it."""

    def __init__(self, world: World, node: NodeId, bootstrap: Configuration | None, settings: Settings) -> None:
        self.world = world
        self.node = node
        self.bootstrap = bootstrap
        self.settings = settings
        self.clock = SimClock(world)
        random = Random(f"{world.seed}/disk/{node}")
        self.snapshots = SimSnapshots(random, self._from_disk)
        self.log: SimLog | DiskLog
        if world.disk:
            self.log = DiskLog(node, random, self._from_disk, self.snapshots, world.sometimes.reached)
        else:
            self.log = SimLog(random, self._from_disk, self.snapshots, world.sometimes.reached)
        self.life = 0
        self._seats: frozenset[Seat] = frozenset()
        self._weights: tuple[tuple[NodeId, int], ...] = ()
        self._lost = (0, 0)
        self._starting = False
        self.replica: RaftReplica | None = None
        self.driver: Driver | None = None
        self.gateway: Gateway | None = None
        self.host: Host | Witness | None = None
        self.paused = False
        self._backlog: deque[tuple[Callable[..., None], tuple[object, ...]]] = deque()

    @property
    def is_up(self) -> bool:
        return self.driver is not None

    def configuration_changed(self, configuration: Configuration) -> None:
        """Every simulated node reaches every other; what a policy did is noted."""
        for seat in configuration.seats:
            if seat not in self._seats and seat.reason != HELD:
                self.world.sometimes.reached(PUT_OUT if seat.reason else TAKEN_BACK)
        self._seats = frozenset(configuration.seats)
        if configuration.weights != self._weights:
            self._weights = configuration.weights
            self.world.sometimes.reached(WEIGHED)

    # Lives.

    def boot(self) -> None:
        """Start from what is durable."""
        assert self.driver is None, "the node runs already"
        self.life += 1
        self.replica = self.world.make_replica(
            self.node, Random(f"{self.world.seed}/raft/{self.node}/{self.life}"), self.settings
        )
        self.host = Witness() if self.node in self.world.witnesses else self.world.make_host()
        self.gateway = Gateway(watches=hub_of(self.host))
        self._timers = SimTimers(self)
        ports = self.world.make_ports(self, self._timers)
        self.driver = self.world.make_driver(self, ports)
        self.gateway.attach(self.driver, self)
        self.world.agreement.restarted(self.node)
        self._starting = True
        self.driver.start(self.bootstrap)
        self._starting = False
        if self.life > 1:
            self.world.branches.restarted(self.replica.state, self._lost)
        self._run()

    def entry_identity(self, index: int) -> Identity | None:
        """Term and digest of the entry at `index`, for the checkers."""
        if self.replica is None or index > self.replica.state.log.last_index:
            return None
        header, _ = decode_entry(self.log.read(index, index, 1)[0])
        return header.term, header.digest

    def crash(self) -> None:
        """Lose everything that is not durable; who restarts a node sees to it that its disk has space."""
        self.free_disk()
        if self.driver is None or self.replica is None:
            return
        self._lost = self.world.branches.at_risk(self.replica.state)
        self.driver.stop()
        self.driver = self.replica = self.gateway = self.host = None
        self.paused = False
        self._backlog.clear()
        self.log.crash()
        self.snapshots.crash()

    def fill_disk(self, room: int) -> None:
        """No space is left on its disk, but for about `room` records of the log."""
        self.log.fill(room)
        self.snapshots.is_full = True

    def free_disk(self) -> None:
        """There is space again."""
        self.log.free()
        self.snapshots.is_full = False

    def pause(self) -> None:
        """Hold every event, as a stopped process does."""
        self.paused = True

    def resume(self) -> None:
        """Take the events that were held, in their order."""
        self.paused = False
        while self._backlog and not self.paused and self.driver is not None:
            act, arguments = self._backlog.popleft()
            act(*arguments)

    # Events, each held while the node is paused.

    def receive(self, sender: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
        if self.paused:
            self._backlog.append((self.receive, (sender, message, attached)))
        elif self.driver is not None and self.replica is not None:
            watch = self.world.branches.watched.get(type(message))
            if watch is not None:
                watch(self.replica.state, message, attached)
            self.driver.receive(sender, message, attached)
            self._run()

    def request(self, client: object, message: object, attached: tuple[Buffer, ...]) -> None:
        """A client's message."""
        if self.paused:
            self._backlog.append((self.request, (client, message, attached)))
        elif self.gateway is not None:
            if isinstance(client, Connection):
                self.world.branches.asked(client.client.name, self.node, message)
                if self.world.wire:
                    message, attached = carry_request(client.client.name, message, attached)
            self.gateway.receive(client, message, attached)  # type: ignore[arg-type]
            self._run()

    def client_lost(self, client: object) -> None:
        """The connection of a client ended."""
        if self.paused:
            self._backlog.append((self.client_lost, (client,)))
        elif self.gateway is not None:
            self.gateway.lost(client)  # type: ignore[arg-type]

    def drained(self) -> None:
        """A connection of a client took something."""
        if not self.paused:
            self._pump()

    def fire(self, timers: SimTimers, name: str, generation: int) -> None:
        if self.driver is None or timers is not self._timers or not timers.is_current(name, generation):
            return
        if self.paused:
            self._backlog.append((self.fire, (timers, name, generation)))
            return
        self.world.count(("timer", self.node, name))
        self.driver.timer_fired(name)
        self._run()

    def peer_lost(self, node: NodeId) -> None:
        if self.paused:
            self._backlog.append((self.peer_lost, (node,)))
        elif self.driver is not None:
            self.world.count(("lost", self.node, node))
            self.driver.peer_lost(node)
            self._run()

    def _from_disk(self, delay_us: int, act: Callable[..., None], *arguments: object) -> None:
        self.world.schedule(delay_us, self._complete, "disk", act, arguments)

    def from_threads(self, delay_us: int, act: Callable[..., None], *arguments: object) -> None:
        """Threads that check signatures call back."""
        self.world.schedule(delay_us, self._complete, "checked", act, arguments)

    def _complete(self, whose: str, act: Callable[..., None], arguments: tuple[object, ...]) -> None:
        if self.paused:
            self._backlog.append((self._complete, (whose, act, arguments)))
            return
        self.world.count((whose, self.node))
        act(*arguments)
        self._run()

    def _run(self) -> None:
        driver = self.driver
        while driver is not None and driver is self.driver and driver.run():
            pass
        self._pump()

    def _pump(self) -> None:
        while self.gateway is not None and self.gateway.watches.pump():
            pass

    # The operator's face (runtime.gateway.Operator).

    def status(self, answer: Callable[[bytes], None]) -> None:
        answer(b"{}")

    def certificate(self, topic: str) -> bytes:
        raise ConfigurationError("certificates were asked for, but simulated nodes make none. Ask a real node.")

    def prove(self, body: Buffer) -> bytes:
        """As runtime.operator_face.OperatorFace.prove."""
        assert self.host is not None and self.driver is not None, "a node that is down answers nothing"
        return prove_here(self.host, self.driver.certificate, body, self.world.changes(self.node))

    def set_link_faults(self, blocked_in: tuple[str, ...], blocked_out: tuple[str, ...]) -> None:
        raise ConfigurationError("link faults were asked for, but a simulated network has its own. Use them.")

    # What the driver observes (runtime.driver.Observer): every invariant is checked as it happens.

    def role_changed(self, role: str, term: int, leader: NodeId | None) -> None:
        self.world.role_changed(self, role, term)

    def entry_applied(self, header: Header) -> None:
        self.world.entry_applied(self.node, header)

    def stood_at(self, index: int) -> None:
        self.world.count(("snapshot", self.node, index))
        self.world.sometimes.reached("snapshot taken as state")
        self.world.branches.stood_at(self._starting)
        self.world.agreement.installed(self.node, index)

    def state_at(self, index: int, digest: bytes) -> None:
        self.world.state_at(self.node, index, digest)

    def peer_misbehaved(self, node: NodeId, what: str) -> None:
        self.world.misbehaved(self.node, node, what)

    def accused(self, evidence: Evidence) -> None:
        self.world.accused(self.node, evidence)

    def diverged(self, node: NodeId, index: int) -> None:
        self.world.violation(f"{self.node} sees {node} diverged at {index}")

    def degraded(self, what: str) -> None:
        self.world.count(("degraded", self.node, what))

    def space_is_back(self) -> None:
        self.world.count(("space", self.node))
        self.world.sometimes.reached(SPACE_BACK)

    def failed(self, error: BaseException) -> None:
        self.world.violation(f"{self.node} stopped: {error}")
