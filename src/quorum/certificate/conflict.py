"""Two certificates that no honest committee makes together, and who must have lied for them to exist.

Nobody is named but by `Equivocation` and `HiddenVote`, which no honest member can be made to sign, however many
others lie. Votes of one view for two places are not compared: an honest member may vote for a block, learn that
another chain was decided in that view, and go on there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from quorum.certificate.block import BlockCertificate, BlockHeader, commit_votes, verify_block
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import (
    Claim,
    Equivocation,
    Evidence,
    HiddenVote,
    SignedVote,
    accused,
    is_signed_vote,
    verify_evidence,
)
from quorum.certificate.trust import LightBlock
from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, VoteKind
from quorum.model import NodeId

PATH_HEADERS_MAX: Final = 65_536
CHANGES_MAX: Final = 65_536
"""View changes kept, each member's share the same: a liar that signs many pushes out its own alone."""


class Conflict(msgspec.Struct, frozen=True):
    """Valid certificates for two blocks of which neither is before the other in one chain.

    `path`: the headers between them, if they are for different places, oldest first: they lead from the place
    after `first` to the one before `second`, which is the later.
    """

    first: BlockCertificate
    second: BlockCertificate
    path: tuple[BlockHeader, ...] = ()


class SignedClaim(msgspec.Struct, frozen=True):
    """A member asked for `view` with this claim: its VIEW-CHANGE message. `vote` and `signatures` are the votes of
    a quorum that the claim is about: to prepare or to commit."""

    member: NodeId
    view: int
    claim: Claim
    vote: int
    signatures: tuple[tuple[NodeId, bytes], ...]
    signature: bytes


def flaws_of_path(path: Sequence[BlockHeader], first: BlockHeader, last: BlockHeader) -> list[str]:
    """What keeps the headers from leading to `last` from the place behind that of `first`."""
    if len(path) > PATH_HEADERS_MAX:
        return [f"there are {len(path)} headers between the two, more than {PATH_HEADERS_MAX} are looked at."]
    chain = [*path, last]
    if [header.sequence for header in chain] != list(range(first.sequence + 1, last.sequence + 1)):
        return [f"the headers do not lead from block {first.sequence} to block {last.sequence}."]
    for before, header in pairwise(chain):
        if before.digest() != header.parent:
            return [f"block {header.sequence} does not follow the header before it."]
    return []


def conflict_of(
    first: LightBlock, second: LightBlock, path: Sequence[BlockHeader] = ()
) -> tuple[Conflict | None, tuple[str, ...]]:
    """Whether two blocks conflict; without a conflict, what keeps it from being proved.

    The committees are those that the caller believes; they differ where the epochs do.
    """
    if first.certificate.header.sequence > second.certificate.header.sequence:
        first, second = second, first
    for block in (first, second):
        verdict = verify_block(block.certificate, block.committee)
        if not verdict.valid:
            return None, verdict.reasons
    early, late = first.certificate.header, second.certificate.header
    if early.sequence == late.sequence:
        if path:
            return None, ("the two blocks are at one place, and there are no headers between them.",)
        if early.digest() == late.digest():
            return None, ("the two certificates are for one block.",)
        return Conflict(first.certificate, second.certificate), ()
    flaws = flaws_of_path(path, early, late)
    if not flaws and (*path, late)[0].parent == early.digest():
        flaws = [f"block {late.sequence} follows block {early.sequence}."]
    if flaws:
        return None, tuple(flaws)
    return Conflict(first.certificate, second.certificate, tuple(path)), ()


def blame(conflict: Conflict, committee: Committee, changes: Iterable[SignedClaim] = ()) -> tuple[Evidence, ...]:
    """Evidence against members of one epoch's committee, one piece for each, sorted by member.

    For two blocks at one place of one view the certificates name T+1 at least: whoever is in both quorums. Across
    views the claims do that led from the view of the earlier one to the next: a member of its quorum claimed less
    than it had voted to commit, or members prepared two blocks at one place. Every piece is verified.

    `changes` may have forged ones, and true ones with forged votes: neither hides a true claim or vote. All are
    looked at: the caller bounds what that costs.
    """
    changes = [change for change in changes if _fits(change.claim)]
    votes = [vote for each in (conflict.first, conflict.second) for vote in _commits_of(each, committee)]
    votes += [vote for change in changes for vote in _votes_behind(change)]
    signed = _signed(votes, committee)
    found: dict[NodeId, Evidence] = {}
    pieces: list[Evidence] = [*_equivocations(signed), *_hidden(signed, _least_claims(changes, committee))]
    for evidence in pieces:
        member = accused(evidence)
        if member not in found and verify_evidence(evidence, committee).valid:
            found[member] = evidence
    return tuple(found[member] for member in sorted(found))


def conflicts_between(
    first: Sequence[LightBlock], second: Sequence[LightBlock]
) -> list[tuple[Conflict, Committee]]:
    """Conflicts at one place between blocks that were believed one after the other, as two sources gave them,
    and the committee that signed both. One for each epoch at most, the oldest epoch first."""
    found: dict[int, tuple[Conflict, Committee]] = {}
    places: dict[tuple[bytes, int], list[LightBlock]] = {}
    for block in first:
        where = block.committee.membership_hash, block.certificate.header.sequence
        places.setdefault(where, []).append(block)
    for block in second:
        where = block.committee.membership_hash, block.certificate.header.sequence
        for other in places.get(where, ()):
            conflict, _ = conflict_of(other, block)
            if conflict is not None:
                found.setdefault(block.committee.epoch, (conflict, block.committee))
    return [found[epoch] for epoch in sorted(found)]


def _commits_of(certificate: BlockCertificate, committee: Committee) -> list[SignedVote]:
    """The votes of a certificate, if it is of this committee."""
    if (certificate.cluster, certificate.epoch) != (committee.cluster, committee.epoch):
        return []
    return list(commit_votes(certificate))


def _fits(claim: Claim) -> bool:
    numbers = (claim.view, claim.sequence)
    return min(numbers) >= 0 and max(numbers) <= NUMBER_MAX and len(claim.digest) == DIGEST_BYTES


def _votes_behind(change: SignedClaim) -> list[SignedVote]:
    """The votes that a claim is about."""
    claim = change.claim
    if change.vote not in (VoteKind.PREPARE, VoteKind.COMMIT):
        return []
    kind = VoteKind(change.vote)
    return [
        SignedVote(member, kind, claim.view, claim.sequence, claim.digest, signature)
        for member, signature in change.signatures
    ]


def _signed(votes: Iterable[SignedVote], committee: Committee) -> list[SignedVote]:
    """Those of the votes that are their members', each once: forged ones hide no true one."""
    return [vote for vote in dict.fromkeys(votes) if is_signed_vote(vote, committee)]


def _left(change: SignedClaim) -> SignedVote:
    """What a member signed when it asked for a view."""
    claim = change.claim
    digest = claim.digest_of_claim()
    return SignedVote(change.member, VoteKind.VIEW_CHANGE, change.view, claim.sequence, digest, change.signature)


def _least_claims(changes: Iterable[SignedClaim], committee: Committee) -> list[SignedClaim]:
    """Of each member and view the claim, truly signed, that owns up to least: where any hides a vote, it does."""
    least: dict[NodeId, dict[int, SignedClaim]] = {}
    share = CHANGES_MAX // len(committee.members)
    for change in changes:
        by_view = least.setdefault(change.member, {}) if change.member in committee.keys else {}
        known = by_view.get(change.view)
        is_new = len(by_view) < share if known is None else _order(change.claim) < _order(known.claim)
        if is_new and is_signed_vote(_left(change), committee):
            by_view[change.view] = change
    return [change for by_view in least.values() for change in by_view.values()]


def _order(claim: Claim) -> tuple[int, int]:
    return claim.view, claim.sequence


def _equivocations(votes: Iterable[SignedVote]) -> Iterator[Equivocation]:
    """Pairs of votes that differ in the digest alone: the first two of each place."""
    places: dict[tuple[NodeId, VoteKind, int, int], SignedVote] = {}
    for vote in votes:
        known = places.setdefault((vote.member, vote.kind, vote.view, vote.sequence), vote)
        if known.digest != vote.digest:
            yield Equivocation(known, vote)


def _hidden(votes: Iterable[SignedVote], claims: Iterable[SignedClaim]) -> Iterator[HiddenVote]:
    """Votes to commit that a later claim of the same member does not own up to."""
    commits: dict[NodeId, list[SignedVote]] = {}
    for vote in votes:
        if vote.kind == VoteKind.COMMIT:
            commits.setdefault(vote.member, []).append(vote)
    for change in claims:
        for commit in commits.get(change.member, ()):
            if commit.view < change.view and _order(change.claim) < (commit.view, commit.sequence):
                yield HiddenVote(commit, _left(change), change.claim)
