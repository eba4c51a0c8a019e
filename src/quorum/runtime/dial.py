"""Calling a node: connect, say hello, and wait to be welcomed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from quorum.errors import QuorumError, RemoteProtocolError
from quorum.membership.recovery import difference
from quorum.runtime.codec import Frame, cluster_tag, encode_frame
from quorum.runtime.connection import Address, Complaints, ConnectionOwner, FrameConnection, tls_reason
from quorum.runtime.handshake import (
    CONTROL_CHANNEL,
    HANDSHAKE,
    PEER,
    PROTOCOL_VERSION,
    Hello,
    HelloRejected,
    Rejected,
    Welcome,
    shown,
)
from quorum.runtime.keyring import TlsContexts, peer_role
from quorum.runtime.limits import Limits

OpenSession = Callable[[FrameConnection, Welcome], ConnectionOwner]
"""Told of a welcome before any later frame; returns who is to be told of those, and of the end."""


async def dial(
    address: Address,
    tls: TlsContexts | None,
    hello: Hello,
    open_session: OpenSession,
    *,
    limits: Limits | None = None,
    complaints: Complaints | None = None,
) -> FrameConnection:
    """Connect to the node at `address` and say `hello`; return once it has welcomed us.

    With TLS its certificate must name the node that answers, and that is `hello.to`, where that is given. An empty
    `hello.cluster` takes any cluster.
    Raises HelloRejected when it will not have us, RemoteProtocolError when it is not who it should be, OSError
    (TimeoutError among them) when it cannot be reached. `limits.hello_timeout_us` bounds the whole.
    """
    limits = limits or Limits()
    loop = asyncio.get_running_loop()
    where = f"{address[0]}:{address[1]}"
    call = _Call(hello, where, open_session, loop.create_future())
    connection = FrameConnection(call, limits, complaints or Complaints())
    try:
        async with asyncio.timeout(limits.hello_timeout_us / 1e6):
            if tls is None:
                await loop.create_connection(lambda: connection.protocol, *address)
            else:
                await _connect_by_tls(connection, address, tls)
            tag = cluster_tag(hello.cluster)
            connection.send(encode_frame(tag, CONTROL_CHANNEL, HANDSHAKE.encode(hello)))
            connection.flush()
            await call.answered
    except BaseException:
        if not call.answered.cancel() and not call.answered.cancelled():
            call.answered.exception()  # taken here, as nobody else asks for it
        connection.abort()
        raise
    return connection


async def _connect_by_tls(connection: FrameConnection, address: Address, tls: TlsContexts) -> None:
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: connection.protocol,
            *address,
            ssl=tls.client,
            server_hostname="",
            ssl_shutdown_timeout=1.0,
        )
    except ConnectionResetError:
        raise ConnectionResetError("it ended the TLS handshake: perhaps its cluster has no TLS") from None


class _Call:
    """Owns a connection from our hello to its answer."""

    def __init__(
        self, hello: Hello, where: str, open_session: OpenSession, answered: asyncio.Future[None]
    ) -> None:
        self._hello = hello
        self._where = where
        self._open_session = open_session
        self.answered = answered

    def on_frames(self, connection: FrameConnection, frames: list[Frame]) -> None:
        if self.answered.done():
            return
        try:
            welcome = self._read(connection, frames[0])
        except QuorumError as error:
            self.answered.set_exception(error)
            connection.abort()
            return
        unsent_max = connection.limits.peer_bytes_unsent_max
        connection.admit(self, welcome.node, connection.cluster_tag, unsent_max, stops_reading=False)
        connection.owner = self._open_session(connection, welcome)
        self.answered.set_result(None)
        if len(frames) > 1:
            connection.owner.on_frames(connection, frames[1:])

    def on_closed(self, connection: FrameConnection, error: Exception | None) -> None:
        if not self.answered.done():
            reason = tls_reason(error) if error is not None else "it ended"
            if error is None and not connection.is_encrypted:
                reason = "plain text was sent: a cluster with TLS wants its keys folder, tls=FOLDER"
            self.answered.set_exception(
                ConnectionResetError(f"{self._where} closed the connection instead of answering ({reason})")
            )

    def _read(self, connection: FrameConnection, frame: Frame) -> Welcome:
        channel, head, _ = frame
        answer = HANDSHAKE.decode(head, self._where) if channel == CONTROL_CHANNEL else None
        hello = self._hello
        if isinstance(answer, Rejected):
            raise HelloRejected(f"{self._where} will not talk to us: {_printable(answer.reason)}")
        if not isinstance(answer, Welcome):
            raise RemoteProtocolError(self._where, "answered a hello with something else. Check the address.")
        is_other_cluster = bool(hello.cluster) and answer.cluster != hello.cluster
        if answer.protocol_version != PROTOCOL_VERSION or is_other_cluster:
            raise RemoteProtocolError(
                self._where,
                f"welcomed us in version {answer.protocol_version} to cluster {shown(answer.cluster)}, which was "
                "not asked for. Check the address.",
            )
        if connection.cluster_tag != cluster_tag(answer.cluster):
            raise RemoteProtocolError(
                self._where, "welcomed us to one cluster under the tag of another. Look for a proxy between."
            )
        if hello.to and answer.node != hello.to:
            raise RemoteProtocolError(
                self._where, f"is {shown(answer.node)}, and {hello.to} was called. Check the addresses."
            )
        if hello.role == PEER:
            ours, theirs = hello.cluster_incarnation, answer.cluster_incarnation
            apart = difference(shown(answer.node), theirs, hello.node, ours)
            if apart is not None:  # a release that does not ask for it welcomes everybody
                raise HelloRejected(f"{self._where} was called: {apart}")
        if connection.is_encrypted and connection.peer_identity != answer.node:
            named = shown(connection.peer_identity or "nobody")
            raise RemoteProtocolError(
                self._where,
                f"calls itself {shown(answer.node)}, but its certificate names {named}. "
                "Check the address and the node's certificate.",
            )
        if connection.is_encrypted and peer_role(connection.certificate) != "node":
            raise RemoteProtocolError(
                self._where,
                f"answers as {shown(answer.node)} with a certificate that is no node's. Check who listens there.",
            )
        return answer


def _printable(text: str) -> str:
    """A stranger's sentence, fit for one line of a terminal or log."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:400])
