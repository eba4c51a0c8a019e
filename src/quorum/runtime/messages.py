"""What drivers and clients say to each other outside the protocol. Frozen values; bodies are attached bytes."""

from __future__ import annotations

import msgspec

from quorum.protocols.raft.messages import RaftMessage


class Wire(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Base of everything here: compact, tagged by a number."""


# Between drivers.


class ChunkRequest(Wire, frozen=True, gc=False, array_like=True, tag=20):
    """Driver to driver: send me bytes of the snapshot at `index`, from `offset` on."""

    index: int
    offset: int


class Chunk(Wire, frozen=True, gc=False, array_like=True, tag=21):
    """The answer: the bytes are attached. `gone`: that snapshot is not kept any more."""

    index: int
    offset: int
    gone: bool = False


class StateDigest(Wire, frozen=True, gc=False, array_like=True, tag=22):
    """Driver to every other: the digest of my application after `index`."""

    index: int
    digest: bytes


PeerMessage = RaftMessage | ChunkRequest | Chunk | StateDigest


# From a client to a node. `request` comes back in the answer; the client chooses it.


class Submit(Wire, frozen=True, gc=False, array_like=True, tag=40):
    """Order this batch (entry.Batch); its body is attached."""

    request: int
    app: int
    client: int
    first_sequence: int
    acked_below: int
    count: int


class Query(Wire, frozen=True, gc=False, array_like=True, tag=41):
    """Answer this batch of reads, attached: linearizably, or `stale` from what this node has applied."""

    request: int
    app: int
    stale: bool


class StatusRequest(Wire, frozen=True, gc=False, array_like=True, tag=42):
    """How do you see yourself and your cluster?"""

    request: int


class CertificateRequest(Wire, frozen=True, gc=False, array_like=True, tag=43):
    """Who stores the decision on `topic`? Answered by the leader."""

    request: int
    topic: str


class LinkFaultRequest(Wire, frozen=True, gc=False, array_like=True, tag=44):
    """Drop frames to and from these nodes: only where the node runs with faults allowed."""

    request: int
    blocked_in: tuple[str, ...]
    blocked_out: tuple[str, ...]


ClientMessage = Submit | Query | StatusRequest | CertificateRequest | LinkFaultRequest


# From a node to a client.


class Result(Wire, frozen=True, gc=False, array_like=True, tag=60):
    """Done; the answer is attached. For a Submit `status` is the host's (apps.host)."""

    request: int
    status: int


class Failure(Wire, frozen=True, gc=False, array_like=True, tag=61):
    """Not done. `code` is one of the constants below; `leader` is who to ask instead, where known."""

    request: int
    code: int
    text: str = ""
    leader: str | None = None


class StatusReply(Wire, frozen=True, gc=False, array_like=True, tag=62):
    """How a node sees itself and its cluster; the fields are those of runtime.status.NodeStatus, as JSON."""

    request: int
    status: bytes


NOT_LEADER = 1
"""Definite: nothing happened here."""
OVERLOADED = 2
"""Definite: nothing happened; retry after a pause."""
OUTCOME_UNKNOWN = 3
"""Indefinite: retry with the same request id."""
REFUSED = 4
"""Definite: asked wrongly; retrying changes nothing."""

NodeMessage = Result | Failure | StatusReply
