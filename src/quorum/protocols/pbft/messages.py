"""PBFT's messages. Frozen values; the transport vouches for the sender of each.

Votes carry a signature besides, so that whoever collects a quorum of them holds a proof for everybody else. A
block, and the headers between two blocks, travel as attached or packed bytes that are never encoded again.
"""

from __future__ import annotations

import msgspec

from quorum.certificate.approval import Approvals
from quorum.certificate.committee import Committee
from quorum.certificate.epochs import EpochChange
from quorum.certificate.evidence import Claim, Evidence, SignedVote
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark

Signatures = tuple[tuple[NodeId, bytes], ...]
"""(member, its signature), sorted by member, each once."""


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Base of everything PBFT puts on the wire. `view` is the sender's, or that of what it passes on."""

    view: int


class PrePrepare(Message, frozen=True, gc=False, array_like=True, tag=60):
    """Primary to backups: the block of `sequence`, attached as stored bytes. `signature` is the primary's own vote
    to prepare it. A backup may pass it on to another that missed it."""

    sequence: int
    signature: bytes


class Prepare(Message, frozen=True, gc=False, array_like=True, tag=61):
    """Member to all: this block, and every one before it, is what I accepted in this view; durable here."""

    sequence: int
    digest: bytes
    signature: bytes


class Commit(Message, frozen=True, gc=False, array_like=True, tag=62):
    """Member to all: I hold the votes of a quorum to prepare this block; that is durable here."""

    sequence: int
    digest: bytes
    signature: bytes


class ViewChange(Message, frozen=True, gc=False, array_like=True, tag=63):
    """Member to all: I left every view below `view`, and `claim` is the newest block that I hold a certificate of,
    whose votes are `signatures`, of the kind `vote` (certificate.vote.VoteKind)."""

    claim: Claim
    vote: int
    signatures: Signatures
    signature: bytes


class NewView(Message, frozen=True, gc=False, array_like=True, tag=64):
    """Primary of `view` to all: a quorum asked for it. Where the view begins is not said: everybody derives it
    from `changes`, which are sorted by member. `signature` is the primary's; anybody may pass this on."""

    changes: tuple[tuple[NodeId, ViewChange], ...]
    signature: bytes


class Status(Message, frozen=True, gc=False, array_like=True, tag=65):
    """Member to all, now and then: where I am. `active`: this view has begun here. `last` is the newest block
    accepted, `prepared` the newest that a quorum prepared in this view, `committed` the newest decided."""

    active: bool
    last: int
    prepared: int
    committed: int
    waiting: bool = False


class Fetch(Message, frozen=True, gc=False, array_like=True, tag=66):
    """Send me blocks from `first` on. With `last` above 0 up to it, whose digest is `digest`, decided or not; else
    what is decided, with a certificate."""

    first: int
    last: int = 0
    digest: bytes = b""


class Blocks(Message, frozen=True, gc=False, array_like=True, tag=67):
    """The answer: blocks from `first` on are attached, or in `entries`. `headers` lead from the last of them to
    the block that `signatures` (votes to commit of `view`) are for; no signatures: it is the one that was asked
    for by digest."""

    first: int
    headers: tuple[bytes, ...]
    signatures: Signatures
    entries: tuple[bytes, ...] = ()


class Offer(Message, frozen=True, gc=False, array_like=True, tag=68):
    """The answer where those blocks are compacted away: the state after block `mark.index`. `headers` lead from
    the one after it to the block of `signatures`, or, without any, to the one that was asked for by digest; one of
    them names the root of that state."""

    mark: SnapshotMark
    headers: tuple[bytes, ...]
    signatures: Signatures


class Forward(Message, frozen=True, gc=False, array_like=True, tag=69):
    """Backup to primary: signed requests that wait here and that you do not propose. To other members: the primary
    was told in vain."""

    requests: tuple[bytes, ...]


class Votes(Message, frozen=True, gc=False, array_like=True, tag=70):
    """Member to one that missed them: my votes of this view, as (kind, sequence, digest, signature)."""

    votes: tuple[tuple[int, int, bytes, bytes], ...]


class Accusation(Message, frozen=True, gc=False, array_like=True, tag=71):
    """Member to all, once: this proves that a member lies. If that is the primary, whoever has checked it wants
    another."""

    evidence: Evidence


class Shown(Message, frozen=True, gc=False, array_like=True, tag=72):
    """Member to one that prepared another block: this is what the primary signed for me at that place."""

    vote: SignedVote


class Approve(Message, frozen=True, gc=False, array_like=True, tag=73):
    """Member to all: these members approve of `committee` as the next one; verified by whoever passes them on."""

    committee: Committee
    approvals: Approvals


class Epochs(Message, frozen=True, gc=False, array_like=True, tag=74):
    """Anybody to whoever is in an earlier epoch: how it went on from there."""

    changes: tuple[EpochChange, ...]


PbftMessage = (
    Accusation
    | Approve
    | Epochs
    | PrePrepare
    | Prepare
    | Commit
    | ViewChange
    | NewView
    | Status
    | Fetch
    | Blocks
    | Offer
    | Forward
    | Votes
    | Shown
)
