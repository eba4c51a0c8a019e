"""Certificates of ballots in which somebody lied, and what signatures prove to those who trust no node."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ballot_log import Asked, BallotLog, keyed, signed_vote
from quorum.apps.ballot import Accuse, Adapted
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
    return replace(certificate, lies=(replace(certificate.lies[0], counted=counted),))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"opinion": "approve"}, "did not sign"),
        ({"voter": "cat"}, "did not take it away"),
        ({"at": 99}, "did not take it away"),
        ({"at": 0}, "could not"),
        ({"turn": 2}, "more than once"),
    ],
)
def test_a_vote_that_a_liar_did_not_cast_is_seen(fields, word):
    certificate = with_a_late_lie().certificate()
    counted = certificate.lies[0].counted
    assert counted is not None
    verdict = verify_ballot(changed(certificate, replace(counted, **fields)))
    assert not verdict.valid and any(word in reason for reason in verdict.reasons), verdict


def test_a_lie_that_hides_the_vote_that_it_took_away_is_seen():
    assert not verify_ballot(changed(with_a_late_lie().certificate(), None)).valid


def test_what_an_accuser_says_was_counted_is_not_believed():
    ballot = opened(participants=4)
    votes = [signed_vote(ballot.id, CastVote("ann", 1, said, 0)) for said in ("approve", "reject")]
    ballot.log.do(Accuse("release", ballot.id, Lie(*votes, counted=votes[0])), "anybody")
    assert ballot.view.lies[0].counted is None
