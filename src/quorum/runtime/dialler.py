"""A client's one connection to a node: messages out, coalesced; messages in, decoded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ClassVar

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.runtime.codec import NO_CLUSTER, Frame, MessageCodec, encode_frame
from quorum.runtime.connection import FrameConnection
from quorum.runtime.dial import dial
from quorum.runtime.handshake import CLIENT, PROTOCOL_VERSION, Hello, Welcome
from quorum.runtime.keyring import TlsContexts
from quorum.runtime.messages import ClientMessage, NodeMessage

_NODE_CODEC: MessageCodec[NodeMessage] = MessageCodec(NodeMessage)
_CLIENT_CODEC: MessageCodec[ClientMessage] = MessageCodec(ClientMessage)
CHANNEL = 0
PATIENCE_S = 0.2
PORT_MAX, PORT_DIGITS_MAX = 65_535, 5
Received = Sequence[tuple[NodeMessage, bytes]]


class Dialler:
    """Opens connections to endpoints written `host:port`, one at a time.

    Without the id of a `cluster` the first node that welcomes us says which one it is, for all later connections.
    """

    def __init__(self, cluster: str, tls: TlsContexts | None, name: str = "") -> None:
        self._cluster = cluster
        self._tls = tls
        self._name = name
        self._connection: _Session | None = None
        self._ending: list[FrameConnection] = []

    signs: ClassVar[bool] = False
    """Whether requests are signed with the client's key."""

    @property
    def cluster(self) -> str:
        """The cluster's id; "" until it is known."""
        return self._cluster

    @property
    def is_authenticated(self) -> bool:
        """Whether nodes prove who they are."""
        return self._tls is not None

    @property
    def node(self) -> NodeId:
        """Who answers at the connection; "" where there is none."""
        return self._connection.node if self._connection is not None else ""

    async def open(
        self,
        endpoint: str,
        on_messages: Callable[[Received], None],
        on_closed: Callable[[], None],
        node: NodeId = "",
    ) -> None:
        """Connect and be welcomed, by `node` where that is given. Raises OSError or QuorumError when that cannot
        be."""
        self.close()
        host, _, port = endpoint.rpartition(":")
        no_address = ConfigurationError(
            f"{endpoint[:80]!r} was to be called, but it is no address. Write it like 127.0.0.1:7001."
        )
        if not host.isprintable() or not port.isdecimal() or len(port) > PORT_DIGITS_MAX or int(port) > PORT_MAX:
            raise no_address
        session = _Session(on_messages, on_closed)
        hello = Hello(PROTOCOL_VERSION, self._cluster, CLIENT, self._name, node)
        try:
            session.connection = await dial((host.strip("[]"), int(port)), self._tls, hello, session.welcome)
        except UnicodeError:  # a name that no name service can be asked for; who told it may have made it up
            raise no_address from None
        self._cluster = session.cluster
        self._connection = session

    def send(self, message: object, body: bytes) -> None:
        """Put one message behind the others; it leaves at `flush`, which the caller owes."""
        if self._connection is not None and self._connection.connection is not None:
            head = _CLIENT_CODEC.encode(message)
            frame = encode_frame(self._connection.tag, CHANNEL, head, (body,) if body else ())
            self._connection.connection.send(frame, caller_flushes=True)

    def flush(self) -> None:
        if self._connection is not None and self._connection.connection is not None:
            self._connection.connection.flush()

    def close(self) -> None:
        """End the connection without a word to `on_closed`."""
        session, self._connection = self._connection, None
        if session is not None:
            session.is_abandoned = True
            if session.connection is not None:
                session.connection.close()
                self._ending = [ending for ending in self._ending if not ending.has_ended]
                self._ending.append(session.connection)

    async def aclose(self) -> None:
        """As `close`, and wait until every connection has ended; after PATIENCE_S it is cut."""
        self.close()
        for ending in self._ending:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    await ending.wait_closed()
            except TimeoutError:
                ending.abort()
                await ending.wait_closed()
        self._ending.clear()


class _Session:
    """One connection, from its welcome to its end."""

    def __init__(self, on_messages: Callable[[Received], None], on_closed: Callable[[], None]) -> None:
        self._on_messages = on_messages
        self._on_closed = on_closed
        self.connection: FrameConnection | None = None
        self.cluster = ""
        self.node = ""
        self.tag = NO_CLUSTER
        self.is_abandoned = False

    def welcome(self, connection: FrameConnection, welcome: Welcome) -> _Session:
        self.cluster, self.node, self.tag = welcome.cluster, welcome.node, connection.cluster_tag
        return self

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        if not self.is_abandoned:
            decode, name = _NODE_CODEC.decode, connection.name
            self._on_messages([(decode(head, name), bytes(body)) for _, head, body in frames])

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        if not self.is_abandoned:
            self.is_abandoned = True
            self._on_closed()
