"""Evidence names whoever contradicts itself, and never whoever does not."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate.committees import committee_of, key_of
from quorum.certificate.committee import Committee
from quorum.certificate.evidence import (
    ONE_A_PLACE,
    Claim,
    Equivocation,
    HiddenVote,
    SignedVote,
    accused,
    verify_evidence,
)
from quorum.certificate.vote import VoteKind

FOUR = committee_of(4)
ONE, OTHER = b"\x01" * 32, b"\x02" * 32
PLACES = st.tuples(st.integers(0, 3), st.integers(1, 4))


def vote(
    kind: VoteKind, view: int, sequence: int, digest: bytes, member: str = "n2", committee: Committee = FOUR
) -> SignedVote:
    statement = committee.domain.statement(kind, view, sequence, digest)
    return SignedVote(member, kind, view, sequence, digest, key_of(member).sign(statement).signature)


def left_with(claim: Claim, view: int, member: str = "n2") -> SignedVote:
    return vote(VoteKind.VIEW_CHANGE, view, 0, claim.digest_of_claim(), member)


@pytest.mark.parametrize("kind", sorted(ONE_A_PLACE), ids=lambda kind: kind.name)
def test_two_digests_at_one_place_name_their_signer(kind: VoteKind) -> None:
    evidence = Equivocation(vote(kind, 3, 7, ONE), vote(kind, 3, 7, OTHER))
    assert verify_evidence(evidence, FOUR).valid
    assert accused(evidence) == "n2"


@given(
    st.lists(
        st.tuples(st.sampled_from(list(VoteKind)), PLACES, st.sampled_from([ONE, OTHER])), min_size=2, max_size=2
    )
)
def test_two_votes_are_evidence_exactly_if_they_differ_in_the_digest_alone(votes: list) -> None:
    (kind, place, digest), (other_kind, other_place, other_digest) = votes
    evidence = Equivocation(vote(kind, *place, digest), vote(other_kind, *other_place, other_digest))
    contradicts = (kind, place) == (other_kind, other_place) and digest != other_digest and kind in ONE_A_PLACE
    assert verify_evidence(evidence, FOUR).valid == contradicts


@given(PLACES, st.integers(0, 5), PLACES)
def test_a_claim_that_owns_up_to_every_vote_is_never_evidence(
    committed: tuple[int, int], new_view: int, claimed: tuple[int, int]
) -> None:
    claim = Claim(*claimed, OTHER)
    evidence = HiddenVote(vote(VoteKind.COMMIT, *committed, ONE), left_with(claim, new_view), claim)
    hides = committed[0] < new_view and claimed < committed
    assert verify_evidence(evidence, FOUR).valid == hides
    assert accused(evidence) == "n2"


def test_votes_of_two_members_or_of_strangers_accuse_nobody() -> None:
    mine, theirs = vote(VoteKind.PREPARE, 1, 1, ONE), vote(VoteKind.PREPARE, 1, 1, OTHER, "n3")
    assert "different members" in str(verify_evidence(Equivocation(mine, theirs), FOUR).reasons)
    stranger = [vote(VoteKind.PREPARE, 1, 1, digest, "n9") for digest in (ONE, OTHER)]
    assert "n9 is not of epoch 0" in str(verify_evidence(Equivocation(*stranger), FOUR).reasons)


def test_votes_of_another_cluster_or_epoch_and_forged_ones_accuse_nobody() -> None:
    mine = vote(VoteKind.PREPARE, 1, 1, ONE)
    for other in (msgspec.structs.replace(FOUR, epoch=1), msgspec.structs.replace(FOUR, cluster="q-other")):
        foreign = vote(VoteKind.PREPARE, 1, 1, OTHER, committee=other)
        assert "did not sign" in str(verify_evidence(Equivocation(mine, foreign), FOUR).reasons)
    by_another = msgspec.structs.replace(vote(VoteKind.PREPARE, 1, 1, OTHER, "n3"), member="n2")
    assert "n2 did not sign" in str(verify_evidence(Equivocation(mine, by_another), FOUR).reasons)


def test_a_claim_that_was_not_signed_accuses_nobody() -> None:
    claim = Claim(0, 0, ONE)
    commit = vote(VoteKind.COMMIT, 1, 5, ONE)
    assert verify_evidence(HiddenVote(commit, left_with(claim, 2), claim), FOUR).valid
    for other in (
        Claim(0, 0, OTHER),
        Claim(-1, 0, ONE),
        Claim(0, 2**64, ONE),
        Claim(0, 0, b""),
    ):
        assert not verify_evidence(HiddenVote(commit, left_with(claim, 2), other), FOUR).valid
    assert not verify_evidence(HiddenVote(left_with(claim, 2), commit, claim), FOUR).valid


@pytest.mark.parametrize("field", ["view", "sequence"])
@pytest.mark.parametrize("value", [-1, 2**64])
def test_numbers_beyond_every_chain_are_refused_without_an_error(field: str, value: int) -> None:
    odd = msgspec.structs.replace(vote(VoteKind.PREPARE, 1, 1, ONE), **{field: value})
    assert not verify_evidence(Equivocation(odd, odd), FOUR).valid
    short = msgspec.structs.replace(odd, digest=b"")
    assert not verify_evidence(Equivocation(short, short), FOUR).valid
