"""Evidence: signatures of one member that no honest member ever makes together.

It convinces anybody who knows the committee, needs no other witness, and can never name an honest member: what an
honest member signs is durable before it leaves, so it does not contradict itself after a crash either.
"""

from __future__ import annotations

from hashlib import blake2b
from struct import Struct
from typing import Final

import msgspec

from quorum.certificate.committee import Committee
from quorum.certificate.decision import Verdict
from quorum.certificate.keys import CheckSignature, is_signed
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.model import NodeId

ONE_A_PLACE: Final = frozenset({VoteKind.PRE_PREPARE, VoteKind.PREPARE, VoteKind.COMMIT, VoteKind.CHECKPOINT})
"""Of these an honest member signs one digest at most for a view and a sequence number."""

_CLAIM = Struct(">QQ32s")


class SignedVote(msgspec.Struct, frozen=True, array_like=True):
    """A vote by `member`, and its signature over the statement of the committee's domain."""

    member: NodeId
    kind: VoteKind
    view: int
    sequence: int
    digest: bytes
    signature: bytes


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """What a member that leaves its view says it has seen: the newest block for which it holds votes of a quorum.

    Newest by view, then by sequence number; the votes are to prepare or to commit. 0, 0 and zeros: none yet.
    """

    view: int
    sequence: int
    digest: bytes

    def digest_of_claim(self) -> bytes:
        """The 32 bytes that the VIEW-CHANGE vote signs."""
        packed = _CLAIM.pack(self.view, self.sequence, self.digest)
        return blake2b(packed, digest_size=DIGEST_BYTES, person=b"quorum claim 1").digest()


class Equivocation(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """One member voted for two digests at one place."""

    first: SignedVote
    second: SignedVote


class HiddenVote(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A member that voted to commit a block left the view with a claim that does not own up to it.

    Whoever votes to commit holds a quorum's votes to prepare the block, and never claims less from then on.
    """

    commit: SignedVote
    view_change: SignedVote
    claim: Claim


Evidence = Equivocation | HiddenVote


def is_signed_vote(vote: SignedVote, committee: Committee, check: CheckSignature = is_signed) -> bool:
    """Whether a member of the committee made this vote. Never raises: nobody made one that cannot be stated.
    `check` says whether a key signed a message."""
    numbers_fit = 0 <= vote.view <= NUMBER_MAX and 0 <= vote.sequence <= NUMBER_MAX
    key = committee.keys.get(vote.member)
    if key is None or not numbers_fit or len(vote.digest) != DIGEST_BYTES:
        return False
    statement = committee.domain.statement(vote.kind, vote.view, vote.sequence, vote.digest)
    return check(key, statement, vote.signature)


def accused(evidence: Evidence) -> NodeId:
    """The member that the evidence is against."""
    return evidence.first.member if isinstance(evidence, Equivocation) else evidence.commit.member


def votes_of(evidence: Evidence) -> tuple[SignedVote, SignedVote]:
    """The two votes that contradict each other."""
    if isinstance(evidence, Equivocation):
        return evidence.first, evidence.second
    return evidence.commit, evidence.view_change


def flaws_of(evidence: Evidence, committee: Committee) -> list[str]:
    """What is wrong with evidence before any signature is checked."""
    flaws = _flaws_of_votes(votes_of(evidence), committee)
    if flaws:
        return flaws
    if isinstance(evidence, Equivocation):
        return _flaws_of_equivocation(evidence)
    return _flaws_of_hidden_vote(evidence)


def verify_evidence(evidence: Evidence, committee: Committee) -> Verdict:
    """Judge evidence by the committee that the caller trusts. Valid: the accused lied, or gave its key away."""
    reasons = flaws_of(evidence, committee) or _flaws_of_signatures(votes_of(evidence), committee)
    return Verdict(not reasons, not reasons, tuple(reasons))


def _flaws_of_votes(votes: tuple[SignedVote, SignedVote], committee: Committee) -> list[str]:
    flaws = []
    if votes[0].member != votes[1].member:
        flaws.append("the two votes are of different members.")
    if votes[0].member not in committee.keys:
        flaws.append(f"{votes[0].member[:40]} is not of epoch {committee.epoch}.")
    for vote in votes:
        if not (0 <= vote.view <= NUMBER_MAX and 0 <= vote.sequence <= NUMBER_MAX):
            flaws.append("a vote's numbers lie outside every chain of blocks.")
        if len(vote.digest) != DIGEST_BYTES:
            flaws.append(f"a vote's digest does not have {DIGEST_BYTES} bytes.")
    return flaws


def _flaws_of_equivocation(evidence: Equivocation) -> list[str]:
    first, second = evidence.first, evidence.second
    if first.kind not in ONE_A_PLACE:
        return [f"an honest member may sign several votes of type {first.kind.name}."]
    if (first.kind, first.view, first.sequence) != (second.kind, second.view, second.sequence):
        return ["the two votes are not for one place."]
    if first.digest == second.digest:
        return ["the two votes say the same."]
    return []


def _flaws_of_hidden_vote(evidence: HiddenVote) -> list[str]:
    commit, left, claim = evidence.commit, evidence.view_change, evidence.claim
    if (commit.kind, left.kind) != (VoteKind.COMMIT, VoteKind.VIEW_CHANGE):
        return ["it is not a vote to commit and one to change the view."]
    if not (0 <= claim.view <= NUMBER_MAX and 0 <= claim.sequence <= NUMBER_MAX):
        return ["the claim's numbers lie outside every chain of blocks."]
    if len(claim.digest) != DIGEST_BYTES:
        return [f"the claim's digest does not have {DIGEST_BYTES} bytes."]
    if left.digest != claim.digest_of_claim():
        return ["the claim is not the one that was signed."]
    if left.view <= commit.view:
        return ["the vote to commit is not of an earlier view than the one that was asked for."]
    if (claim.view, claim.sequence) >= (commit.view, commit.sequence):
        return ["the claim owns up to the vote."]
    return []


def _flaws_of_signatures(votes: tuple[SignedVote, SignedVote], committee: Committee) -> list[str]:
    for vote in votes:
        if not is_signed_vote(vote, committee):
            return [f"{vote.member} did not sign its vote of type {vote.kind.name}."]
    return []
