"""Certificates of ballots in which somebody lied after a round."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ballot_log import Asked, BallotLog, keyed, signed_vote
from quorum.apps.ballot import Accuse, Adapted
from quorum.apps.batch import Refused
from quorum.certificate.ballot import BallotCertificate, CastVote, Lie
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.ballot_forms import decode_ballot, encode_ballot
from quorum.voting.ballot.terms import Terms

NAMES = ("ann", "bob", "cat", "dan", "eve", "fay")


def opened(**fields) -> Asked:
    terms = Terms(**{"name": "release", "question": "Ship it?", "electorate": keyed(*NAMES), **fields})
    return BallotLog().open(terms, by="op")


def accuse(ballot: Asked, voter: str) -> object:
    votes = (signed_vote(ballot.id, CastVote(voter, 1, said, 0)) for said in ("approve", "reject"))
    return ballot.log.do(Accuse("release", ballot.id, Lie(*votes)), "anybody")


# A lie that comes to light after a round.


def with_a_late_lie() -> Asked:
    """Two of four say no and one says yes, so that no is locked when the silent one is replaced; then one of the
    two is found lying."""
    ballot = opened(participants=4, faults=2)
    for name, said in (("ann", "approve"), ("bob", "reject"), ("cat", "reject")):
        ballot.vote(name, said)
    assert ballot.adapt(evict=["dan"], enlist=["eve"]).round.locked == "reject"
    assert isinstance(accuse(ballot, "bob"), Adapted)
    ballot.vote("eve", "reject")
    ballot.vote("fay", "reject")
    return ballot


def test_the_certificate_shows_the_vote_of_a_liar_by_which_an_option_was_locked():
    certificate = with_a_late_lie().certificate()
    assert [each.locked for each in certificate.rounds] == [None, "reject", "reject"]
    assert certificate.outcome.standing.opinion == "reject"
    assert decode_ballot(encode_ballot(certificate)) == certificate
    assert verify_ballot(certificate).valid, verify_ballot(certificate)


def changed(certificate: BallotCertificate, counted: CastVote | None) -> BallotCertificate:
    return replace(certificate, lies=(replace(certificate.lies[0], lost=counted),))


@pytest.mark.parametrize(
    "fields",
    [{"opinion": "approve"}, {"voter": "cat"}, {"at": 99}, {"at": 0}, {"turn": 2}],
    ids=repr,
)
def test_a_vote_that_a_liar_did_not_cast_is_seen(fields):
    certificate = with_a_late_lie().certificate()
    lost = certificate.lies[0].lost
    assert lost is not None and verify_ballot(certificate).valid
    assert not verify_ballot(changed(certificate, replace(lost, **fields))).valid


def test_a_lie_that_hides_the_vote_that_it_took_away_is_seen():
    assert not verify_ballot(changed(with_a_late_lie().certificate(), None)).valid


def test_what_an_accuser_says_was_counted_is_not_believed():
    ballot = opened(participants=4)
    votes = [signed_vote(ballot.id, CastVote("ann", 1, said, 0)) for said in ("approve", "reject")]
    ballot.log.do(Accuse("release", ballot.id, Lie(*votes, lost=votes[0])), "anybody")
    assert ballot.view.lies[0].lost is None


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [("approval", "approve", "x" * 100_000), ("value", 0.0, -0.0), ("value", 1.0, float("nan"))],
    ids=["no option", "another spelling", "no number"],
)
def test_what_could_never_count_is_no_second_vote(kind, one, other):
    """So what a liar signs takes no more room than votes do, and a number has one spelling."""
    ballot = opened(kind=kind)
    votes = (signed_vote(ballot.id, CastVote("ann", 1, said, 0)) for said in (one, other))
    refused = ballot.log.do(Accuse("release", ballot.id, Lie(*votes)), "anybody")
    assert isinstance(refused, Refused) and refused.reason == "lie" and ballot.view.lies == ()
