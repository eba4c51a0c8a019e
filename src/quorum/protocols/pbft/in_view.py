"""What counts in one view only, and is forgotten with it (PBFT, section 4.4)."""

from __future__ import annotations

from typing import NamedTuple

from quorum.certificate.evidence import SignedVote
from quorum.model import NodeId
from quorum.protocols.pbft.votes import PlaceVotes


class OwnVote(NamedTuple):
    """A vote of this node, which may leave once the record `by` is durable."""

    vote: SignedVote
    by: int


class FromPrimary(NamedTuple):
    """The primary's vote for a block accepted here; whom it was shown to, and who showed another."""

    vote: SignedVote
    shown: set[NodeId]
    compared: set[NodeId]


class InView:
    """What counts in one view only, and is forgotten with it (PBFT, section 4.4)."""

    __slots__ = (
        "checking",
        "commits",
        "early",
        "from_primary",
        "on_base",
        "own_votes",
        "prepared_sequence",
        "prepares",
        "refused",
        "voted_before",
        "voted_last",
        "voted_noted",
    )

    def __init__(self) -> None:
        self.prepares: dict[int, PlaceVotes] = {}
        self.commits: dict[int, PlaceVotes] = {}
        self.prepared_sequence = 0
        self.own_votes: dict[tuple[int, int], OwnVote] = {}
        """This node's votes, by kind and place."""
        self.voted_last = 0
        """The highest place at which this node prepared something, or may have."""
        self.voted_before: dict[int, bytes] = {}
        """Places at which this node may have prepared what is not in its chain, in this life or an earlier one."""
        self.voted_noted: dict[int, bytes] = {}
        """What was prepared here and is durable beside the chain, which holds other blocks there."""
        self.early: dict[int, tuple[bytes, bytes]] = {}
        """Blocks that came before their turn: the primary's signature, and the entry."""
        self.checking: int | None = None
        """The block whose requests are being verified."""
        self.on_base = 0
        """Up to this block the chain is known to lead to the base of the view."""
        self.from_primary: dict[int, FromPrimary] = {}
        """What the primary signed for this node, decided or not."""
        self.refused = False
        """The primary sent a block that no honest one sends."""
