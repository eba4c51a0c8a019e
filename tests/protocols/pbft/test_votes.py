"""Votes for one place: each member once, verified no further than a quorum needs, whoever lies."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from quorum.certificate.evidence import Equivocation, SignedVote
from quorum.certificate.vote import VoteKind
from quorum.protocols.pbft.votes import PlaceVotes
from quorum.systems.byzantine import byzantine, weighted_byzantine
from quorum.systems.expression import choose, parse

SEVEN = tuple(f"n{place}" for place in range(1, 8))
ONE, OTHER = b"\x01" * 32, b"\x02" * 32
GOOD, BAD = b"good", b"bad"


def vote(member: str, digest: bytes = ONE, signature: bytes = GOOD) -> SignedVote:
    return SignedVote(member, VoteKind.PREPARE, 1, 1, digest, signature)


def votes_of_seven() -> PlaceVotes:
    return PlaceVotes(byzantine(SEVEN, 2).writes)


def check(votes: PlaceVotes, digest: bytes = ONE) -> int:
    """Verify all that is wanted, as often as it is; return how many that were."""
    checked = 0
    while wanted := votes.wanted(digest):
        checked += len(wanted)
        for one in wanted:
            votes.verified(one, one.signature == GOOD)
    return checked


def voters_for(votes: PlaceVotes, digest: bytes) -> tuple[str, ...]:
    """Who is counted for a digest, verified or not."""
    return tuple(member for member in SEVEN if votes.signature_of(member, digest) is not None)


def test_nothing_is_verified_before_a_quorum_voted_and_nothing_beyond_it() -> None:
    votes = votes_of_seven()
    votes.add_own(vote("n1"))
    checked = 0
    for place, member in enumerate(SEVEN[1:], 2):
        votes.add(vote(member))
        checked += check(votes)
        assert checked == (0 if place < 5 else 4)
        assert (votes.certificate(ONE) is not None) == (place >= 5)
    assert [member for member, _ in votes.certificate(ONE) or ()] == list(SEVEN[:5])


def test_a_wrong_signature_is_replaced_by_the_next_vote_and_its_member_may_vote_again() -> None:
    votes = votes_of_seven()
    votes.add_own(vote("n1"))
    for member in SEVEN[1:4]:
        votes.add(vote(member))
    votes.add(vote("n5", signature=BAD))
    assert check(votes) == 4
    assert votes.certificate(ONE) is None
    votes.add(vote("n5"))
    assert check(votes) == 1
    assert votes.certificate(ONE) == tuple((member, GOOD) for member in SEVEN[:5])


def test_votes_under_way_are_not_asked_for_again() -> None:
    votes = votes_of_seven()
    for member in SEVEN[:5]:
        votes.add(vote(member))
    asked = votes.wanted(ONE)
    assert len(asked) == 5 and votes.wanted(ONE) == ()
    votes.add(vote("n6"))
    assert votes.wanted(ONE) == ()
    votes.verified(asked[0], False)
    assert [one.member for one in votes.wanted(ONE)] == ["n6"]


def test_a_member_counts_for_the_first_digest_only_and_the_second_is_a_suspicion() -> None:
    votes = votes_of_seven()
    assert votes.add(vote("n1")) is None
    assert votes.add(vote("n1")) is None
    assert votes.add(vote("n1", OTHER)) == Equivocation(vote("n1"), vote("n1", OTHER))
    for member in SEVEN[1:5]:
        votes.add(vote(member, OTHER))
    check(votes, OTHER)
    assert votes.certificate(OTHER) is None
    assert voters_for(votes, OTHER) == SEVEN[1:5]
    assert voters_for(votes, ONE) == ("n1",)


def test_strangers_do_not_count() -> None:
    votes = PlaceVotes(choose(1, parse("a")))
    assert votes.add(vote("b")) is None
    votes.add_own(vote("b"))
    assert votes.certificate(ONE) is None and votes.signature_of("b", ONE) is None


def test_only_the_votes_that_a_weighted_quorum_needs_are_verified() -> None:
    votes = PlaceVotes(weighted_byzantine({"a": 1, "b": 1, "c": 3, "d": 3, "e": 3, "f": 3}, 1).writes)
    for member in "abcdef":
        votes.add(vote(member))
    assert check(votes) < 6
    assert votes.certificate(ONE) is not None


@given(
    st.lists(
        st.tuples(st.sampled_from(SEVEN), st.sampled_from([ONE, OTHER]), st.sampled_from([GOOD, BAD])), max_size=40
    )
)
def test_a_certificate_is_made_of_right_signatures_of_a_quorum_for_one_digest(arrivals: list) -> None:
    votes = votes_of_seven()
    for arrival in arrivals:
        votes.add(vote(*arrival))
        for digest in (ONE, OTHER):
            check(votes, digest)
    certificates = [votes.certificate(digest) for digest in (ONE, OTHER)]
    assert None in certificates, "two quorums of seven share three voters, and each voter counts once"
    for digest, certificate in zip((ONE, OTHER), certificates, strict=True):
        if certificate is not None:
            members = [member for member, _ in certificate]
            assert members == sorted(set(members)) and len(members) >= 5
            assert all((member, digest, GOOD) in arrivals for member in members)
