"""The newest votes to commit of each member: a later claim of its must not hide them."""

from __future__ import annotations

from collections.abc import Iterator

from quorum.certificate.evidence import SignedVote
from quorum.model import NodeId


class CommitsSeen:
    """Of each member the newest whose signature was verified, and the one that came last, verified or not: so a
    vote that a member did not sign covers none that it did."""

    __slots__ = ("_heard", "_verified")

    def __init__(self) -> None:
        self._heard: dict[NodeId, SignedVote] = {}
        self._verified: dict[NodeId, SignedVote] = {}

    def heard(self, vote: SignedVote) -> None:
        """A vote came."""
        self._heard[vote.member] = vote

    def verified(self, vote: SignedVote) -> None:
        """The signature of a vote is right."""
        known = self._verified.get(vote.member)
        if known is None or (vote.view, vote.sequence) > (known.view, known.sequence):
            self._verified[vote.member] = vote

    def of(self, member: NodeId) -> Iterator[SignedVote]:
        """What is known of a member's; the signature of any may be wrong."""
        verified, heard = self._verified.get(member), self._heard.get(member)
        if verified is not None:
            yield verified
        if heard is not None and heard != verified:
            yield heard

    def __len__(self) -> int:
        return len(self._heard) + len(self._verified)
