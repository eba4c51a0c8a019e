"""The first frames of a connection: who calls whom, and whether that may be."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from quorum.errors import QuorumError
from quorum.membership.recovery import difference
from quorum.model import NODE_ID_PATTERN, NodeId
from quorum.runtime.codec import CHANNEL_MAX, MessageCodec
from quorum.runtime.keyring import CLIENT_PREFIX

PROTOCOL_VERSION = 2
"""1: frames without a cluster tag. 2: with one (runtime.codec)."""
CONTROL_CHANNEL = CHANNEL_MAX
"""The channel of these messages; nothing else may use it."""

PEER: Literal["peer"] = "peer"
CLIENT: Literal["client"] = "client"


class Hello(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Caller to listener, first frame: `node` (for a client its own name, without `client.`) calls `to`.

    A client may leave `cluster` and `to` empty, when it knows an address only, and `node` empty, when its
    certificate says it. `incarnation` grows from life to life of a node; `cluster_incarnation` is the one of the
    cluster that a peer's log is of (model.Recovery). Clients go on with any.
    """

    protocol_version: int
    cluster: str
    role: Literal["peer", "client"]
    node: str
    to: str
    incarnation: int = 0
    cluster_incarnation: str = ""


class Welcome(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Listener to caller: `node`, in its life `incarnation`, will listen."""

    protocol_version: int
    cluster: str
    node: NodeId
    incarnation: int
    cluster_incarnation: str = ""


class Rejected(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=3):
    """Listener to caller, last frame: why not, and what to do."""

    reason: str


HANDSHAKE: MessageCodec[Hello | Welcome | Rejected] = MessageCodec(Hello | Welcome | Rejected)


class HelloRejected(QuorumError):
    """The other side would not talk to us; the text says why and what to do."""


class Listening(msgspec.Struct, frozen=True):
    """What a listener knows when it judges a hello: its own name, its cluster, the other nodes of it, and which
    incarnation of the cluster its log is of."""

    node: NodeId
    cluster: str
    peers: Collection[NodeId]
    incarnation: str = ""


def shown(text: str) -> str:
    """Text of a stranger, quoted for a log line: plain ASCII on one line, at most about 80 characters."""
    return ascii(text if len(text) <= 70 else text[:70] + "...")


def objection(hello: Hello, listening: Listening, *, is_encrypted: bool, identity: str | None) -> str | None:
    """Why this hello must be rejected, with the remedy; None to welcome it.

    `identity` is the name in the caller's certificate, which TLS verified (`is_encrypted`).
    """
    if hello.protocol_version != PROTOCOL_VERSION:
        return (
            f"version {hello.protocol_version} of the protocol was asked for, but {listening.node} speaks "
            f"{PROTOCOL_VERSION}. Run the same release at both ends."
        )
    if hello.cluster != listening.cluster and (hello.cluster or hello.role == PEER):
        return (
            f"cluster {shown(hello.cluster)} was asked for, but {listening.node} belongs to another one. "
            "Check the address and the cluster id in cluster.toml."
        )
    if hello.to != listening.node and (hello.to or hello.role == PEER):
        return (
            f"node {shown(hello.to)} was asked for, but this is {listening.node}. "
            "Check the addresses in cluster.toml."
        )
    if hello.role == PEER:
        return _objection_to_peer(hello, listening, is_encrypted, identity)
    return _objection_to_client(hello, is_encrypted, identity)


def _objection_to_peer(hello: Hello, listening: Listening, is_encrypted: bool, identity: str | None) -> str | None:
    if hello.node == listening.node:
        return (
            f"a peer called itself {listening.node}, but that is the node it called. "
            "Give every node its own id and address."
        )
    apart = difference(shown(hello.node), hello.cluster_incarnation, listening.node, listening.incarnation)
    if apart is not None:
        return apart
    if hello.node not in listening.peers:
        return (
            f"{shown(hello.node)} called as a peer, but {listening.node} knows no node of that name. "
            "Use the same cluster.toml everywhere."
        )
    if is_encrypted and identity != hello.node:
        return (
            f"{hello.node} was claimed, but the certificate names {shown(identity or 'nobody')}. "
            "Use the certificate that was issued for this node."
        )
    if hello.node > listening.node:
        return (
            f"{hello.node} called {listening.node}, but of two nodes the one with the smaller id calls. "
            "Run the same release everywhere."
        )
    return None


def _objection_to_client(hello: Hello, is_encrypted: bool, identity: str | None) -> str | None:
    if hello.node and NODE_ID_PATTERN.fullmatch(hello.node) is None:
        return (
            f"{shown(hello.node)} was given as a client's name, but names are 1 to 63 characters of a-z, 0-9 and "
            "'-'. Choose such a name."
        )
    if not is_encrypted:
        return None
    if identity is None or not identity.startswith(CLIENT_PREFIX):
        return (
            f"a client called with the certificate of {shown(identity or 'nobody')}, but clients need one of "
            "their own. Use one that was issued for a client."
        )
    if hello.node and identity != CLIENT_PREFIX + hello.node:
        return (
            f"client {hello.node} was claimed, but the certificate names {shown(identity)}. "
            "Leave the name out, or use the certificate that was issued for it."
        )
    return None
