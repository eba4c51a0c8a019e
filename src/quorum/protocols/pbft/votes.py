"""The votes of one type for one place: counted by member, verified no further than a quorum needs.

What arrives beyond a quorum is never looked at. That is where PBFT's cost lies: a verification takes longer than
all else that is done for a vote.
"""

from __future__ import annotations

from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.model import NodeId
from quorum.systems.algebra import Expression


class PlaceVotes:
    """Signed votes of one type, view and sequence number, whose signatures the caller checks when it is told to.

    I1  a member counts for one digest at most: for the first that it was heard to vote for, unless its signature
        proves wrong.
    I2  a certificate holds verified signatures alone, over one digest, by members who hold a quorum.
    """

    __slots__ = ("_asked", "_expression", "_good", "_votes", "_voters")

    def __init__(self, expression: Expression) -> None:
        self._expression = expression
        self._voters = frozenset(expression.nodes)
        self._votes: dict[NodeId, SignedVote] = {}
        self._asked: set[NodeId] = set()
        self._good: set[NodeId] = set()

    def add(self, vote: SignedVote) -> Equivocation | None:
        """Count a vote of a member, unless it voted before. Returns the two if they differ in the digest.

        That is a suspicion: evidence only if both signatures are right. Votes of others are ignored.
        """
        if vote.member not in self._voters:
            return None
        known = self._votes.setdefault(vote.member, vote)
        return Equivocation(known, vote) if known.digest != vote.digest else None

    def compare(self, vote: SignedVote) -> Equivocation | None:
        """As `add`, of a vote that somebody else passes on: it counts for nothing, but may prove a lie."""
        known = self._votes.get(vote.member)
        return Equivocation(known, vote) if known is not None and known.digest != vote.digest else None

    def is_against(self, member: NodeId, digest: bytes) -> bool:
        """Whether the member voted for something else."""
        vote = self._votes.get(member)
        return vote is not None and vote.digest != digest

    def add_own(self, vote: SignedVote) -> None:
        """Count this node's own vote, which needs no check."""
        if vote.member in self._voters and self._votes.setdefault(vote.member, vote) == vote:
            self._good.add(vote.member)

    def wanted(self, digest: bytes) -> tuple[SignedVote, ...]:
        """The votes to be verified now: just enough, if they prove right, for a quorum for `digest`.

        Nothing while too few voted for it, or while those asked for before may still be enough.
        """
        for_it = [member for member, vote in self._votes.items() if vote.digest == digest]
        held = {member for member in for_it if member in self._good or member in self._asked}
        if self._expression.contains(held) or not self._expression.contains(frozenset(for_it)):
            return ()
        chosen = []
        for member in for_it:
            if member not in held:
                held.add(member)
                chosen.append(member)
                if self._expression.contains(held):
                    break
        chosen = self._needed(held, chosen)
        self._asked.update(chosen)
        return tuple(self._votes[member] for member in chosen)

    def verified(self, vote: SignedVote, is_right: bool) -> None:
        """What the check of a vote from `wanted` said. A wrong one is forgotten: the member may yet vote truly."""
        if self._votes.get(vote.member) != vote:
            return
        self._asked.discard(vote.member)
        if is_right:
            self._good.add(vote.member)
        else:
            del self._votes[vote.member]

    def certificate(self, digest: bytes) -> tuple[tuple[NodeId, bytes], ...] | None:
        """The signatures of a quorum for `digest`, sorted by member; None until there is one."""
        good = sorted(member for member in self._good if self._votes[member].digest == digest)
        if not self._expression.contains(frozenset(good)):
            return None
        return tuple((member, self._votes[member].signature) for member in good)

    def signature_of(self, member: NodeId, digest: bytes) -> bytes | None:
        """What a member signed for `digest`; None if it did not vote for it."""
        vote = self._votes.get(member)
        return None if vote is None or vote.digest != digest else vote.signature

    def _needed(self, held: set[NodeId], chosen: list[NodeId]) -> list[NodeId]:
        """Those of `chosen` without whom `held` is no quorum, earliest voters kept last to be left out."""
        needed = list(chosen)
        for member in reversed(chosen):
            if self._expression.contains(held - {member}):
                held.discard(member)
                needed.remove(member)
        return needed
