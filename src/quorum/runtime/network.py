"""The connections of one node: to every other node, and from clients, on one port."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Protocol

from quorum.entry import Buffer
from quorum.errors import LocalProtocolError, QuorumError, RemoteProtocolError
from quorum.model import NodeId
from quorum.runtime.codec import Frame, cluster_tag, encode_frame
from quorum.runtime.connection import Address, Complaints, ConnectionOwner, FrameConnection, tls_reason
from quorum.runtime.dial import dial
from quorum.runtime.handshake import (
    CONTROL_CHANNEL,
    HANDSHAKE,
    PEER,
    PROTOCOL_VERSION,
    Hello,
    Listening,
    Rejected,
    Welcome,
    objection,
)
from quorum.runtime.keyring import Role, TlsContexts, peer_role
from quorum.runtime.limits import Limits
from quorum.runtime.listener import Arrival, Listener

__all__ = ["ClientConnection", "LinkFaults", "Network", "NetworkHandler", "dial"]

_LOG = logging.getLogger("quorum.network")
LATER_S = 0.005
"""How long frames that may leave later wait for company."""
REDIAL_MIN_S = 0.02
REDIAL_MAX_S = 0.5
STEADY_S = 1.0
"""A connection that lasted this long was a good one: after it, redialling starts at the shortest pause again."""
ENDED_A_COLLECTION = 32
"""An encrypted connection that ended holds 70 KB until garbage is looked for: here after so many of them."""


class NetworkHandler(Protocol):
    """Who receives. A RemoteProtocolError out of `on_..._frames` closes the connection that the frames came by."""

    def on_peer_frames(self, node: NodeId, frames: list[Frame]) -> None:
        """All frames that one receipt brought from an authenticated node."""
        ...

    def on_peer_up(self, node: NodeId) -> None: ...

    def on_peer_lost(self, node: NodeId) -> None:
        """A live connection ended, so the node may have crashed. Alternates with `on_peer_up`."""
        ...

    def on_client_frames(self, client: ClientConnection, frames: list[Frame]) -> None: ...

    def on_client_lost(self, client: ClientConnection) -> None: ...


class LinkFaults:
    """Frames to and from these nodes vanish while the connections stay: how a drill makes a partition.

    Assigning either set replaces it, an empty one heals. Raises LocalProtocolError where drills are not allowed,
    and for a node that is no peer.
    """

    def __init__(self, nodes: Collection[NodeId], *, is_allowed: bool) -> None:
        self._nodes = frozenset(nodes)
        self._is_allowed = is_allowed
        self._out: frozenset[NodeId] = frozenset()
        self._in: frozenset[NodeId] = frozenset()

    def admit(self, node: NodeId) -> None:
        """One more node that may be blocked."""
        self._nodes |= {node}

    @property
    def blocked_out(self) -> Collection[NodeId]:
        """Frames to these nodes vanish."""
        return self._out

    @blocked_out.setter
    def blocked_out(self, nodes: Collection[NodeId]) -> None:
        self._out = self._checked(nodes)

    @property
    def blocked_in(self) -> Collection[NodeId]:
        """Frames from these nodes vanish."""
        return self._in

    @blocked_in.setter
    def blocked_in(self, nodes: Collection[NodeId]) -> None:
        self._in = self._checked(nodes)

    def _checked(self, nodes: Collection[NodeId]) -> frozenset[NodeId]:
        if not self._is_allowed:
            raise LocalProtocolError(
                "links were to be blocked, but this node does not allow faults. "
                "Set allow_faults = true in node.toml of a cluster that is for drills."
            )
        unknown = sorted(frozenset(nodes) - self._nodes)
        if unknown:
            raise LocalProtocolError(
                f"links to {', '.join(map(ascii, unknown))} were to be blocked, but this node has no such peer. "
                f"Its peers are {', '.join(sorted(self._nodes))}."
            )
        return frozenset(nodes)


class Network:
    """Keeps one connection to each other node, and serves clients. Everything runs on one event loop.

    Of two nodes the one with the smaller id dials, again and again with growing pauses, until `close`, or for as
    long as `keep` names the other. A newer
    connection of a node replaces the older one. `peers` are the other nodes and where they listen; `incarnation`
    must grow from life to life. Without `tls` nobody is authenticated: for loopback only. With `caller_flushes`
    the caller flushes after whatever it sends, which saves a loop turn.
    """

    def __init__(
        self,
        node: NodeId,
        cluster_id: str,
        incarnation: int,
        listen: Address,
        peers: Mapping[NodeId, Address],
        tls: TlsContexts | None,
        handler: NetworkHandler,
        *,
        allow_faults: bool = False,
        limits: Limits | None = None,
        rng: Random | None = None,
        caller_flushes: bool = False,
    ) -> None:
        self.node = node
        self.cluster_id = cluster_id
        self.tag = cluster_tag(cluster_id)
        self.incarnation = incarnation
        self.cluster_incarnation = ""
        self.handler = handler
        self.limits = limits or Limits()
        self.complaints = Complaints()
        self._peers = {name: peers[name] for name in sorted(peers) if name != node}
        self.faults = LinkFaults(self._peers, is_allowed=allow_faults)
        self.listening = self._listening()
        self._tls = tls
        self._rng = rng or Random()
        self._links: dict[NodeId, _PeerLink] = {}
        self._clients: dict[ClientConnection, None] = {}
        self._ended = 0
        self._dirty: dict[FrameConnection, None] = {}
        self._late: dict[FrameConnection, None] = {}
        self._late_timer: asyncio.TimerHandle | None = None
        self._dialling: dict[NodeId, asyncio.Task[None]] = {}
        self._given_up_s: dict[NodeId, float] = {}
        self.is_closing = False
        self._is_started = False
        self.caller_flushes = caller_flushes
        server = tls.server if tls is not None else None
        self._listener = Listener(listen, server, self._greet, self.limits, self.complaints)

    @property
    def address(self) -> Address:
        """Where this node listens; the port is the real one where 0 was asked for."""
        return self._listener.address

    @property
    def connected(self) -> tuple[NodeId, ...]:
        """The nodes that a connection stands to, sorted."""
        return tuple(sorted(self._links))

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    async def start(self) -> None:
        """Listen, and begin to dial. Raises ConfigurationError when the address cannot be had."""
        await self._listener.start()
        self._is_started = True
        self._dial_wanted()

    def _dial_wanted(self) -> None:
        """See that everybody is dialled who is to be, once the network has started."""
        loop = asyncio.get_running_loop()
        for peer in self._peers if self._is_started else ():
            task = self._dialling.get(peer)
            if self.node < peer and (task is None or task.done()) and self._is_wanted(peer):
                self._dialling[peer] = loop.create_task(self._keep_dialling(peer), name=f"dial {peer}")

    def _is_wanted(self, peer: NodeId) -> bool:
        given_up_s = self._given_up_s.get(peer)
        return given_up_s is None or asyncio.get_running_loop().time() < given_up_s

    async def close(self) -> None:
        """End everything. What is unsent is handed over, within a second; the handler hears no more."""
        self.is_closing = True
        if self._late_timer is not None:
            self._late_timer.cancel()
        await self._listener.close()
        for task in self._dialling.values():
            task.cancel()
        await asyncio.gather(*self._dialling.values(), return_exceptions=True)
        connections = [link.connection for link in self._links.values()]
        connections += [client.connection for client in self._clients]
        for connection in connections:
            connection.close()
        for connection in connections:
            await connection.wait_closed()

    def learn(self, peers: Mapping[NodeId, Address]) -> None:
        """Where further nodes listen, or known ones from now on. Nobody is forgotten: who has left the cluster may
        call, and hear of it."""
        for peer in sorted(peers):
            if peer != self.node:
                self._peers[peer] = peers[peer]
                self.faults.admit(peer)
        self.listening = self._listening()
        self._dial_wanted()

    def belong(self, cluster_incarnation: str) -> None:
        """Say, before `start`, of which incarnation of the cluster this node's log is: nodes of another one are
        refused."""
        self.cluster_incarnation = cluster_incarnation
        self.listening = self._listening()

    def _listening(self) -> Listening:
        return Listening(self.node, self.cluster_id, frozenset(self._peers), self.cluster_incarnation)

    def keep(self, nodes: Collection[NodeId], farewell_s: float) -> None:
        """Dial these nodes alone from now on. Another one is dialled `farewell_s` longer, so that it can be told
        that it has left. Connections that stand are left alone."""
        until_s = asyncio.get_running_loop().time() + farewell_s
        for peer in self._peers:
            if peer in nodes:
                self._given_up_s.pop(peer, None)
            else:
                self._given_up_s.setdefault(peer, until_s)
        self._dial_wanted()

    def send(
        self, node: NodeId, channel: int, head: bytes, attached: Sequence[Buffer] = (), later: bool = False
    ) -> None:
        """Send one frame to another node at the next flush, with `later` at the first one that something else for
        that node causes, or after LATER_S. Without a connection it vanishes."""
        link = self._links.get(node)
        if link is None or node in self.faults.blocked_out:
            return
        connection = link.connection
        frame = encode_frame(self.tag, channel, head, attached)
        if later:
            connection.send(frame, caller_flushes=True)
            self._late[connection] = None
            if self._late_timer is None:
                self._late_timer = asyncio.get_running_loop().call_later(LATER_S, self._flush_late)
        else:
            connection.send(frame, caller_flushes=self.caller_flushes)
            self._dirty[connection] = None

    def _flush_late(self) -> None:
        self._late_timer = None
        late, self._late = self._late, {}
        for connection in late:
            connection.flush()

    def flush(self) -> None:
        """Write what was sent to nodes and clients, one write a connection."""
        if self._dirty:
            dirty, self._dirty = self._dirty, {}
            for connection in dirty:
                connection.flush()

    # Who comes.

    def _greet(self, arrival: Arrival) -> FrameConnection:
        return FrameConnection(_Greeting(self, arrival), self.limits, self.complaints)

    def objection(self, connection: FrameConnection, hello: Hello) -> str | None:
        """Why the caller must be rejected; None to welcome it."""
        reason = objection(
            hello, self.listening, is_encrypted=connection.is_encrypted, identity=connection.peer_identity
        )
        if reason is not None:
            return reason
        if hello.role == PEER:
            link = self._links.get(hello.node)
            if link is not None and hello.incarnation < link.incarnation:
                return (
                    f"{hello.node} called, but a later life of it is connected already. "
                    "Run each node once, with one data folder."
                )
        elif len(self._clients) >= self.limits.clients_max:
            return (
                f"{self.node} has {self.limits.clients_max} clients, and no place for one more. "
                "Retry later, or call another node."
            )
        return None

    def admit(self, connection: FrameConnection, hello: Hello) -> None:
        """Welcome a caller that there is no objection to."""
        of_cluster = self.cluster_incarnation
        welcome = Welcome(PROTOCOL_VERSION, self.cluster_id, self.node, self.incarnation, of_cluster)
        connection.send(encode_frame(self.tag, CONTROL_CHANNEL, HANDSHAKE.encode(welcome)))
        if hello.role == PEER:
            self._open_link(hello.node, connection, hello.incarnation)
            return
        client = ClientConnection(self, connection, hello)
        self._clients[client] = None
        unsent_max = self.limits.client_bytes_unsent_max
        name = f"{client.name} at {connection.name}"
        connection.admit(client, name, self.tag, unsent_max, stops_reading=True)

    def _open_link(self, node: NodeId, connection: FrameConnection, incarnation: int) -> _PeerLink:
        """Take `connection` as the one to `node`, in place of any other."""
        link = _PeerLink(self, node, connection, incarnation)
        connection.admit(link, node, self.tag, self.limits.peer_bytes_unsent_max, stops_reading=False)
        older = self._links.get(node)
        self._links[node] = link
        if self.is_closing:
            connection.abort()
            return link
        if older is not None:
            older.connection.abort()
            if older.incarnation == incarnation:
                return link
            self.handler.on_peer_lost(node)
        _LOG.info("%s: connected to %s", self.node, node)
        self.handler.on_peer_up(node)
        return link

    # Who goes.

    def closed_link(self, link: _PeerLink, error: Exception | None) -> None:
        """The connection of `link` ended."""
        self._dirty.pop(link.connection, None)
        self._late.pop(link.connection, None)
        if self._links.get(link.node) is not link:
            return  # a newer one took its place
        del self._links[link.node]
        if not self.is_closing:
            reason = tls_reason(error) if error is not None else "closed"
            _LOG.info("%s: lost the connection to %s (%s)", self.node, link.node, reason)
            self.handler.on_peer_lost(link.node)

    def closed_client(self, client: ClientConnection) -> None:
        """The connection of `client` ended."""
        self._dirty.pop(client.connection, None)
        self._clients.pop(client, None)
        self._ended += 1
        if self._ended % ENDED_A_COLLECTION == 0:
            gc.collect(0)
        if not self.is_closing:
            self.handler.on_client_lost(client)

    def mark_dirty(self, connection: FrameConnection) -> None:
        """Something waits in `connection` for the next flush."""
        self._dirty[connection] = None

    # Whom we call.

    async def _keep_dialling(self, peer: NodeId) -> None:
        loop = asyncio.get_running_loop()
        lives = (self.incarnation, self.cluster_incarnation)
        hello = Hello(PROTOCOL_VERSION, self.cluster_id, PEER, self.node, peer, *lives)

        def open_session(connection: FrameConnection, welcome: Welcome) -> ConnectionOwner:
            return self._open_link(peer, connection, welcome.incarnation)

        pause_s = REDIAL_MIN_S
        while self._is_wanted(peer):
            try:
                connection = await dial(
                    self._peers[peer],
                    self._tls,
                    hello,
                    open_session,
                    limits=self.limits,
                    complaints=self.complaints,
                )
            except (OSError, UnicodeError) as error:
                self.complaints.add(
                    peer, f"cannot be reached at {_shown(self._peers[peer])} ({tls_reason(error)})"
                )
            except QuorumError as error:
                self.complaints.add(peer, str(error))
            else:
                connected_s = loop.time()
                await connection.wait_closed()
                if loop.time() - connected_s >= STEADY_S:
                    pause_s = REDIAL_MIN_S
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, REDIAL_MAX_S)


class ClientConnection:
    """One client. `name` is `client.NAME`; `role` is what its certificate allows, None where there is no TLS."""

    __slots__ = ("_network", "connection", "name", "role")

    def __init__(self, network: Network, connection: FrameConnection, hello: Hello) -> None:
        self._network = network
        self.connection = connection
        self.name = connection.peer_identity or f"client.{hello.node}".rstrip(".")
        self.role: Role | None = peer_role(connection.certificate)

    @property
    def is_authenticated(self) -> bool:
        """Whether TLS vouches for `name` and `role`."""
        return self.connection.is_encrypted

    def send(self, channel: int, head: bytes, attached: Sequence[Buffer] = ()) -> None:
        """Send one frame at the next flush of the network. Once the client is gone it vanishes."""
        network = self._network
        frame = encode_frame(network.tag, channel, head, attached)
        self.connection.send(frame, caller_flushes=network.caller_flushes)
        network.mark_dirty(self.connection)

    def close(self) -> None:
        """Hand over what is unsent and end the connection."""
        self.connection.close()

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        self._network.handler.on_client_frames(self, frames)

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        self._network.closed_client(self)


class _PeerLink:
    """The connection to one node, in one life of it."""

    __slots__ = ("_network", "connection", "incarnation", "node")

    def __init__(self, network: Network, node: NodeId, connection: FrameConnection, incarnation: int) -> None:
        self._network = network
        self.node = node
        self.connection = connection
        self.incarnation = incarnation

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        network = self._network
        if self.node not in network.faults.blocked_in:
            network.handler.on_peer_frames(self.node, frames)

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        self._network.closed_link(self, error)


class _Greeting:
    """Owns an accepted connection until its first frame."""

    __slots__ = ("_arrival", "_network")

    def __init__(self, network: Network, arrival: Arrival) -> None:
        self._network = network
        self._arrival = arrival

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        channel, head, _ = frames[0]
        hello = HANDSHAKE.decode(head, connection.name) if channel == CONTROL_CHANNEL else None
        if not isinstance(hello, Hello) or len(frames) > 1:
            raise RemoteProtocolError(connection.name, "did not begin with one hello")
        if connection.cluster_tag != cluster_tag(hello.cluster):
            raise RemoteProtocolError(connection.name, "said hello to one cluster under the tag of another")
        self._arrival.settle()
        reason = self._network.objection(connection, hello)
        if reason is None:
            self._network.admit(connection, hello)
            return
        self._network.complaints.add(connection.name, f"was rejected: {reason}")
        rejected = HANDSHAKE.encode(Rejected(reason))
        connection.send(encode_frame(self._network.tag, CONTROL_CHANNEL, rejected))
        connection.close()

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        self._arrival.settle()


def _shown(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
