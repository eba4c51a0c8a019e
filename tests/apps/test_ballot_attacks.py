"""Clients, voters and openers of ballots who mean no good."""

from __future__ import annotations

from msgspec.structs import replace

from ballot_log import Asked, BallotLog, keyed, signed_vote
from quorum.apps.ballot import Accuse, Adapted
from quorum.apps.batch import Refused
from quorum.certificate.ballot import CastVote, Lie
from quorum.certificate.ballot_audit import verify_ballot
from quorum.voting.ballot.terms import Terms

FIVE = ("ann", "bob", "cat", "dan", "eve")


def asked(**fields) -> Asked:
    fields = {"name": "release", "question": "Ship it?", "electorate": keyed(*FIVE), **fields}
    return BallotLog().open(Terms(**fields), by="op")


def lie_of(ballot: Asked, voter: str, first: object, second: object) -> Lie:
    return Lie(*(signed_vote(ballot.id, CastVote(voter, 1, said, 0)) for said in (first, second)))


def test_a_lock_that_a_liars_vote_made_is_verified_after_the_liar_lost_it():
    ballot = asked(participants=4, faults=1)
    for name, opinion in (("ann", "approve"), ("bob", "approve"), ("cat", "reject")):
        ballot.vote(name, opinion)
    assert ballot.adapt(evict=["dan"], enlist=["eve"]).round.locked == "approve"
    lie = lie_of(ballot, "ann", "approve", "reject")
    assert isinstance(ballot.log.do(Accuse("release", ballot.id, lie)), Adapted)
    ballot.close()
    shown = ballot.certificate()
    assert verify_ballot(shown).valid and shown.lies[0].lost.opinion == "approve"
    unsigned = replace(shown.lies[0], lost=replace(shown.lies[0].lost, signature=b""))
    assert not verify_ballot(replace(shown, lies=(unsigned,))).valid


def test_an_accuser_does_not_say_what_the_liar_had_voted():
    ballot = asked(participants=4, faults=1)
    lie = lie_of(ballot, "ann", "approve", "reject")
    ballot.log.do(Accuse("release", ballot.id, replace(lie, lost=lie.first, at=2**60)))
    assert ballot.view.lies[0].lost is None and ballot.view.lies[0].at == 1


def test_votes_that_could_never_count_are_no_lie_and_fill_no_state():
    ballot = asked(participants=4, faults=1)
    lie = lie_of(ballot, "ann", "a" * 100_000, "b" * 100_000)
    refused = ballot.log.do(Accuse("release", ballot.id, lie))
    assert isinstance(refused, Refused) and refused.reason == "lie" and ballot.view.lies == ()
