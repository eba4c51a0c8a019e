"""One production node: the driver on an event loop, with its log, its network and its clients."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import SystemRandom
from secrets import randbits
from typing import Any

from quorum.apps.catalogue import new_host
from quorum.apps.host import Host
from quorum.apps.witness import Witness
from quorum.certificate.evidence import Evidence
from quorum.entry import Buffer, split_entries
from quorum.errors import ConfigurationError, QuorumError, RemoteProtocolError
from quorum.header import Header
from quorum.membership.reconfiguration import VOTER, WITNESS, role_of
from quorum.membership.recovery import difference, incarnation_here
from quorum.model import Configuration, NodeId
from quorum.runtime.address import parse_address
from quorum.runtime.awake import PERIOD_S, Awake
from quorum.runtime.clock import LoopTimers, SystemClock
from quorum.runtime.codec import Frame, MessageCodec
from quorum.runtime.config import ClusterConfig, NodeConfig, load_cluster
from quorum.runtime.driver import Driver
from quorum.runtime.echoes import Echoes
from quorum.runtime.engine import Lie, engine_of, honest
from quorum.runtime.files import RealFiles
from quorum.runtime.folder import DataFolder
from quorum.runtime.gateway import Gateway
from quorum.runtime.keyring import TlsContexts, load_tls
from quorum.runtime.ledger_class import load_ledger
from quorum.runtime.ledger_mark import mark_of
from quorum.runtime.member_board import MemberBoard
from quorum.runtime.messages import (
    REFUSED,
    WITH_ENTRIES,
    ClientMessage,
    EpochsRequest,
    Failure,
    MembersRequest,
    NodeMessage,
    PeerMessage,
    ProofRequest,
    Pulse,
    Query,
    Submit,
    SubmitSigned,
    Unwatch,
    Watch,
)
from quorum.runtime.network import ClientConnection, Network
from quorum.runtime.object_classes import load_classes
from quorum.runtime.operator_face import OperatorFace
from quorum.runtime.participation_config import NETWORK
from quorum.runtime.ports import Ports
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.verifying import CachingVerifier
from quorum.runtime.wal import Wal
from quorum.runtime.watch import hub_of

log = logging.getLogger("quorum.node")
CHANNEL = 0
SYNCS_KEPT = 512
_WITH_ENTRIES = frozenset(WITH_ENTRIES)
_USES = frozenset(
    (Submit, SubmitSigned, Query, ProofRequest, MembersRequest, EpochsRequest, Watch, Unwatch, Pulse)
)
"""What a client of any role may ask. For everything else its certificate must have the role admin."""
_PEER_CODEC: MessageCodec[PeerMessage] = MessageCodec(PeerMessage)
_CLIENT_CODEC: MessageCodec[ClientMessage] = MessageCodec(ClientMessage)
_NODE_CODEC: MessageCodec[NodeMessage] = MessageCodec(NodeMessage)


class _Transport:
    """ports.Transport over the network."""

    def __init__(self, network: Network) -> None:
        self._send = network.send
        self._encode = _PEER_CODEC.encode
        self.flush = network.flush

    def send(self, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False) -> None:
        self._send(to, CHANNEL, self._encode(message), attached, later)


class _ClientFace:
    """gateway.Client over one connection."""

    __slots__ = ("_connection", "identity")

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.identity = connection.name if connection.is_authenticated else ""

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        head = _NODE_CODEC.encode(message)
        self._connection.send(CHANNEL, head, attached)

    def backlog(self) -> int:
        return self._connection.connection.bytes_unsent


def _calm_collector() -> None:
    """Messages and entries hold no cycles, so look for garbage cycles rarely."""
    gc.collect()
    gc.set_threshold(50_000, 20, 50)


def _is_address(text: str) -> bool:
    try:
        return not parse_address(text).is_wildcard
    except ConfigurationError:
        return False


class Node:
    """A node of a cluster. `run` serves until `stop`, or raises what made it stop.

    With `bootstrap` the node begins a new cluster, which is refused where it has run before; without it, a node
    that has no data is refused, because it may have voted and acknowledged in a life that its disk has lost. With
    `join` it starts empty and waits until the leader of a running cluster that has admitted it sends it the log.

    `objects` are the replicated classes by the names of their objects (None: those of cluster.toml). A node that
    `is_guest` in another program leaves that program's garbage collector alone. `lie` is for drills.
    """

    def __init__(
        self,
        config: NodeConfig,
        bootstrap: bool = False,
        join: bool = False,
        objects: Mapping[str, Any] | None = None,
        is_guest: bool = False,
        lie: Lie = honest,
    ) -> None:
        self.config = config
        self.cluster: ClusterConfig = load_cluster(config.cluster)
        folder = config.cluster.parent
        self._objects = load_classes(self.cluster.objects, folder) if objects is None else objects
        self._ledger = load_ledger(self.cluster.ledger, folder)
        self._ledger_mark = mark_of(self.cluster.ledger, self._ledger)
        self._is_guest = is_guest
        self._lie = lie
        self.member = self.cluster.member(config.node)
        self._bootstrap = bootstrap
        self._join = join
        self._faces: dict[ClientConnection, _ClientFace] = {}
        self._diverged: dict[NodeId, int] = {}
        self._scheduled = False
        self._is_changing = True
        self._failure: BaseException | None = None
        if not is_guest:
            _calm_collector()  # here, before there is a loop that would stand still meanwhile

    async def run(self, started: Callable[[Node], None] | None = None) -> None:
        """Recover, listen and serve. Raises ConfigurationError, StorageCorrupt or StorageError."""
        config, cluster = self.config, self.cluster
        if sys.flags.optimize:
            raise ConfigurationError(
                "a node was started under python -O, which removes the assertions that guard its invariants. "
                "Start it without -O."
            )
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        tls = None if config.insecure else await self._load_tls()
        begins = self._bootstrap or self._join
        folder = DataFolder.open(config.data, cluster.cluster_id, config.node, bootstrap=begins)
        try:
            await asyncio.sleep(0)
            self._check_start(folder)
            folder.check_ledger(self._ledger_mark)
            self._assemble(folder, tls)
            await self._serve(folder, started)
        finally:
            folder.close()
        if self._failure is not None:
            raise self._failure

    async def _serve(self, folder: DataFolder, started: Callable[[Node], None] | None) -> None:
        """Serve until `stop`, then close everything. There is no await in a `finally`: compiled, one that ended
        with an error would make a later run of another node raise that same error again."""
        awake = Awake() if self.config.awake else None
        failure: BaseException | None = None
        try:
            await self._begin_to_serve(folder, started, awake)
            await self._stopped.wait()
        except BaseException as error:
            failure = error
        if awake is not None:
            awake.close()
        self.timers.cancel_all()
        self.driver.stop()
        if isinstance(self.engine.verifier, CachingVerifier):
            self.engine.verifier.close()
        self.network.flush()
        await self.network.close()
        self.log.close()
        self.snapshots.close()
        if failure is not None:
            raise failure

    async def _begin_to_serve(
        self, folder: DataFolder, started: Callable[[Node], None] | None, awake: Awake | None
    ) -> None:
        await asyncio.sleep(0)
        self._start_driver()
        await asyncio.sleep(0)
        await self._first_records_durable()
        if self._failure is None:
            folder.mark_used(self._ledger_mark)
        if not self._is_guest:
            gc.freeze()  # what is loaded stays
        await self.network.start()
        if started is not None:
            started(self)
        if awake is not None:
            self._look(awake)
        self._wake()

    def _check_start(self, folder: DataFolder) -> None:
        """Raise ConfigurationError for a node without data that does not begin, or one that begins again what was
        recovered."""
        node, incarnation = self.config.node, self.cluster.incarnation
        if not folder.used and not (self._bootstrap or self._join):
            raise ConfigurationError(
                f"{node} was started, but {self.config.data} holds no data of it. If the cluster is new, "
                "start it once with --bootstrap; if it joins a cluster that runs, with --join. If its data "
                "was lost, it must not vote again under this name: evict it, then admit another."
            )
        if self._bootstrap and incarnation:
            raise ConfigurationError(
                f"{node} was to begin a new cluster, but cluster.toml says that this one was recovered, as "
                f"incarnation {incarnation}. Let it join: quorum admit."
            )

    def _start_driver(self) -> None:
        """Recover; from then on it is settled which nodes are of the same incarnation of the cluster."""
        self.driver.start(self.cluster.configuration() if self._bootstrap else None)
        of_file = self.cluster.incarnation
        self.network.belong(incarnation_here(self.config.node, self.replica.configuration, of_file))

    async def _load_tls(self) -> TlsContexts:
        """In a thread that ends with it: the first time it loads a library as well, which takes long."""
        with ThreadPoolExecutor(1, "keys") as aside:
            return await self._loop.run_in_executor(aside, load_tls, self.config.keys, self.config.node)

    async def _first_records_durable(self) -> None:
        """A node is marked as used only once its first configuration is on disk, or a power cut could leave it
        with neither. Until then nothing has left it."""
        while not self.engine.begun() and self._failure is None:
            await asyncio.sleep(0.002)

    def _look(self, awake: Awake) -> None:
        if not self._stopped.is_set() and self._failure is None:
            awake.look(self.driver.applied_index + self.gateway.requests)
            self._loop.call_later(PERIOD_S, self._look, awake)

    def stop(self) -> None:
        """End in good order: nothing acknowledged is lost, whoever waits retries elsewhere."""
        self._stopped.set()

    def _assemble(self, folder: DataFolder, tls: object) -> None:
        config, cluster = self.config, self.cluster
        files = RealFiles()
        self.snapshots = SnapshotStore(files, folder.snapshots_path, cluster.cluster_id, post=self._post)
        sync_us: deque[int] = deque(maxlen=SYNCS_KEPT)
        self.log = Wal(
            files,
            folder.wal_path,
            cluster.cluster_id,
            config.node,
            snapshot=self.snapshots.newest(),
            create=not folder.used,
            nonce=randbits(32),
            post=self._post,
            watch_sync=sync_us.append,
        )
        peers = cluster.peers(config.node)
        self._addresses = {member.id: str(member.advertise) for member in cluster.members}
        self.clock = SystemClock()
        self.timers = LoopTimers(self._loop, self._on_timer)
        self.network = Network(
            config.node,
            cluster.cluster_id,
            self.clock.now_us(),
            self.member.listen,
            peers,
            tls,  # type: ignore[arg-type]
            self,
            allow_faults=config.allow_faults,
            caller_flushes=True,
        )
        self.engine = engine_of(config, cluster)
        self.replica = self.engine.replica
        self.host: Host | Witness = Witness() if self.member.role == WITNESS else self._new_host()
        self.members = MemberBoard(config.node)
        self.gateway = Gateway(self._addresses, watches=hub_of(self.host), members=self.members)
        verifier = self.engine.verifier
        if isinstance(verifier, CachingVerifier):
            verifier.woken = self._wake
        transport = self._lie(_Transport(self.network), self.engine)
        ports = Ports(self.log, self.snapshots, transport, self.timers, self.clock, verifier)
        engine, echoes = self.engine, self._new_echoes(ports)
        of_driver = (self.replica, ports, self.host, self.gateway, self)
        self.driver = Driver(*of_driver, engine.digest_entries, engine.steward, echoes)
        engine.attend(self.driver, ports, self.peer_misbehaved, self.committee_said)
        of_node = (self.driver, self.host, self.network, self._addresses, self._diverged, sync_us)
        self.gateway.attach(self.driver, OperatorFace(cluster, self.engine, *of_node))

    def _new_echoes(self, ports: Ports) -> Echoes | None:
        """Where weights follow the network: what measures it, for the steward, or for the weigher of a
        committee."""
        if self.cluster.participation.weights != NETWORK:
            return None
        steward = self.engine.steward
        echoes = Echoes(self.replica, ports, SystemRandom(), tells_leader=steward is not None)
        if steward is not None:
            steward.follow_network(echoes.reports)
        return echoes

    def _new_host(self) -> Host:
        return new_host(self._objects, self._ledger)

    # The loop: whatever comes only queues; the driver runs once a turn.

    def _post(self, act: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(self._act, act)

    def _act(self, act: Callable[[], object]) -> None:
        self._guarded(act)
        self._turn()

    def _wake(self) -> None:
        """Run the driver: at once while the disk is idle, for latency; else once this loop turn has brought
        whatever else is there, for throughput."""
        if self._scheduled:
            return
        if self.driver.is_idle and self.engine.is_eager:
            self._turn()
        else:
            self._wake_later()

    def _wake_later(self) -> None:
        self._scheduled = True
        self._loop.call_soon(self._scheduled_turn)

    def _scheduled_turn(self) -> None:
        self._scheduled = False
        self._turn()

    def _turn(self) -> None:
        """One turn now. One that is scheduled stays so, and is the only one: were there two, each would schedule
        the next while there is more to do, and they would become ever more."""
        more = self._guarded(self.driver.run)
        more = self._guarded(self.gateway.watches.pump) or more
        if more and not self._scheduled:
            self._wake_later()
        if self._is_changing:
            self._show_members()
        self.network.flush()

    def _guarded(self, act: Callable[[], object]) -> object:
        """Do `act`; a broken invariant or a damaged file stops the node instead of leaving it half alive."""
        try:
            return act()
        except Exception as error:
            self.driver.stop()
            self.failed(error)
            return False

    def _on_timer(self, name: str) -> None:
        self.driver.timer_fired(name)
        self._turn()

    # What the network brings (runtime.network.NetworkHandler).

    def on_peer_frames(self, node: NodeId, frames: list[Frame]) -> None:
        receive, decode = self.driver.receive, _PEER_CODEC.decode
        for _, head, body in frames:
            message = decode(head, node)
            if type(message) in _WITH_ENTRIES:
                try:
                    entries = tuple(split_entries(body)) if body else ()
                except ValueError as error:
                    raise RemoteProtocolError(node, str(error)) from None
                receive(node, message, entries)
            else:
                receive(node, message, (body,) if body else ())
        self._wake()

    def on_peer_up(self, node: NodeId) -> None:
        """Nothing: the network has logged it, and the protocol needs no greeting."""

    def on_peer_lost(self, node: NodeId) -> None:
        self.driver.peer_lost(node)
        self._wake()

    def on_client_frames(self, client: ClientConnection, frames: list[Frame]) -> None:
        face = self._faces.get(client)
        if face is None:
            face = self._faces[client] = _ClientFace(client)
            client.connection.on_drained = self._wake
        receive, decode = self.gateway.receive, _CLIENT_CODEC.decode
        for _, head, body in frames:
            message = decode(head, client.name)
            if type(message) not in _USES and client.is_authenticated and client.role != "admin":
                text = (
                    f"{client.name} asked to operate {self.config.node}, but its role is {client.role}. "
                    "Use an admin certificate."
                )
                face.answer(Failure(message.request, REFUSED, text), ())
                continue
            receive(face, message, (body,))
        self._wake()

    def on_client_lost(self, client: ClientConnection) -> None:
        face = self._faces.pop(client, None)
        if face is not None:
            self.gateway.lost(face)

    # What the driver observes (runtime.driver.Observer).

    def role_changed(self, role: str, term: int, leader: NodeId | None) -> None:
        log.info("%s in term %d, leader %s", role, term, leader or "unknown")

    def configuration_changed(self, configuration: Configuration) -> None:
        """Learn where new members are; a node whose role is not what its own file says must not go on."""
        role = role_of(configuration, self.config.node)
        log.info("epoch %d: this node is %s", configuration.epoch, f"a {role}" if role else "no member")
        if role == (WITNESS if self.host.keeps_state else VOTER):
            raise ConfigurationError(
                f"{self.config.node} was admitted as a {role}, but its cluster.toml says that it is a "
                f"{self.member.role}, which keeps other data. Correct the role there, and give it an empty data "
                "folder."
            )
        here = self.network.cluster_incarnation
        if configuration.members and configuration.incarnation != here:
            raise ConfigurationError(
                f"{self.config.node} was to take a log from others, but "
                f"{difference('it', here, 'theirs', configuration.incarnation)}"
            )
        known = {node: address for node, address in configuration.addresses if node != self.config.node}
        for node in [node for node, address in known.items() if not _is_address(address)]:
            log.error("the log names no address of %s that can be dialled: it is not reached", node)
            del known[node]
        self._addresses |= known
        members = configuration.members
        for node in [node for node in self._diverged if node not in members]:
            del self._diverged[node]
        self.network.learn({node: parse_address(address) for node, address in known.items()})
        if members:
            self.network.keep({*members, *self.engine.followers}, self.engine.farewell_us / 1e6)
        self._is_changing = True

    def _show_members(self) -> None:
        """Tell clients who takes part, as far as it is decided; the newest configuration may not be yet."""
        configuration, self._is_changing = self.engine.decided_configuration()
        self.members.show(configuration, self._addresses)

    def entry_applied(self, header: Header) -> None:
        """Nothing: no work for each entry outside the applications."""

    def stood_at(self, index: int) -> None:
        log.info("state taken from the snapshot at %d", index)

    def state_at(self, index: int, digest: bytes) -> None:
        log.info("state after %d has digest %s", index, digest.hex())

    def peer_misbehaved(self, node: NodeId, what: str) -> None:
        self.network.complaints.add(node, what)

    def accused(self, evidence: Evidence) -> None:
        self.engine.accuse(evidence)

    def committee_said(self, text: str) -> None:
        """What happens to the committee, or why it cannot."""
        log.warning("%s", text)

    def diverged(self, node: NodeId, index: int) -> None:
        if self._diverged.get(node) != index:
            self._diverged[node] = index
            log.error(
                "the state of %s after entry %d differs from a quorum's: do not trust that node", node, index
            )

    def degraded(self, what: str) -> None:
        log.warning("going on, degraded: %s", what)

    def space_is_back(self) -> None:
        log.warning("there is space on the disk again: going on as before")

    def failed(self, error: BaseException) -> None:
        if not isinstance(error, QuorumError):
            log.critical("stopping: an invariant broke, which is a bug of this program", exc_info=error)
        else:
            log.critical("stopping: %s", error)
        self._failure = error
        self._stopped.set()
