"""Clients, voters and openers of ballots who mean no good."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ballot_log import Asked, BallotLog, keyed, opening, signed_vote, unkeyed
from quorum.apps.ballot import Accuse, Adapt, Adapted, Cast, CloseBallot, Counted, Forget, Opened
from quorum.apps.ballot_box import STALE_MIN, BallotBox
from quorum.apps.ballot_rows import write_head, write_vote
from quorum.apps.batch import Refused
from quorum.apps.log_clock import LogClock
from quorum.certificate.ballot import CastVote, Lie, Round, ballot_id
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.decision import Verdict
from quorum.voting.ballot.terms import DURATION_US_MAX, Terms
from quorum.voting.tally import Rule
from timed_log import SECOND_US

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


STEPS = ("vote", "vote", "vote", "adapt", "accuse", "wait", "reveal", "close")


@given(data=st.data())
def test_whatever_happens_to_a_ballot_its_certificate_holds_and_every_replica_has_the_same(data):
    is_secret = data.draw(st.booleans())
    ballot = asked(
        participants=data.draw(st.integers(3, 5)),
        faults=2,
        rule=data.draw(st.sampled_from([Rule(), Rule("share", 4, 5), Rule("plurality")])),
        secret=is_secret,
        reveal_us=SECOND_US * is_secret,
        deadline_us=9 * SECOND_US,
        round_us=data.draw(st.sampled_from([0, 2 * SECOND_US])),
    )
    voters, opinions = st.sampled_from(FIVE), st.sampled_from(("approve", "reject"))
    for step in data.draw(st.lists(st.sampled_from(STEPS), max_size=20)):
        voter, opinion = data.draw(voters), data.draw(opinions)
        match step:
            case "vote":
                ballot.vote(voter, opinion)
            case "adapt":
                ballot.adapt(evict=[voter], enlist=data.draw(st.lists(voters, max_size=2)))
            case "accuse":
                ballot.log.do(Accuse("release", ballot.id, lie_of(ballot, voter, opinion, data.draw(opinions))))
            case "wait":
                ballot.log.wait(data.draw(st.sampled_from([SECOND_US, 3 * SECOND_US])))
            case "reveal":
                ballot.reveal(voter, opinion)
            case "close":
                ballot.close()
    ballot.log.wait(20 * SECOND_US)
    assert verify_ballot(ballot.certificate()) == Verdict(True, False, ())
    for host in (ballot.log.replayed(), ballot.log.restored()):
        assert host.digest() == ballot.log.host.digest()


# States that a lying node could hand on.


@pytest.mark.parametrize(
    "wrong",
    [Round((), 0), Round(("ann",), 0), Round(("ann", "ann", "bob", "cat"), 0), Round(FIVE[:4], 0, "nonsense")],
)
def test_a_round_that_could_not_be_is_refused_when_it_is_restored_and_not_when_it_is_counted(wrong):
    ballot = asked(participants=4, faults=1)
    state = ballot.log.box._ballots["release"]
    restored = BallotBox(LogClock())
    restored.restore(ballot.log.box.snapshot())
    assert restored.digest() == ballot.log.box.digest()
    state.take(replace(state.head, rounds=(wrong,)))
    write_head(ballot.log.box._rows, state)
    with pytest.raises(ValueError, match="round"):
        restored.restore(ballot.log.box.snapshot())


def test_a_vote_that_is_no_opinion_is_refused_when_it_is_restored():
    ballot = asked(kind="vector", axes=2, faults=1)
    ballot.vote("ann", (1.0, 2.0))
    state = ballot.log.box._ballots["release"]
    state.votes["ann"] = replace(state.votes["ann"], opinion=(1.0,))
    write_vote(ballot.log.box._rows, state, "ann")
    with pytest.raises(ValueError, match="opinion"):
        BallotBox(LogClock()).restore(ballot.log.box.snapshot())


# Work and room.

CROWD = unkeyed(*(f"v{number}" for number in range(500)))


def done(results: list[object], kind: type) -> int:
    """How many were done of a batch whose rest was too much work."""
    count = sum(isinstance(result, kind) for result in results)
    assert {result.reason for result in results[count:]} <= {"batch"}
    return count


def test_votes_that_are_more_work_to_count_are_fewer_in_a_batch():
    options = tuple(map(str, range(100)))
    counts = []
    for rule in (Rule(), Rule("plurality")):
        ballot = asked(electorate=CROWD, kind="choice", options=options, rule=rule)
        votes = [Cast("release", ballot.id, voter.name, "1") for voter in CROWD[:200]]
        counts.append(done(ballot.log.batch(*votes), Counted))
    assert counts[0] > 5 * counts[1] > 0


def test_the_more_rounds_a_ballot_had_the_fewer_begin_in_a_batch():
    ballot = asked(electorate=CROWD, participants=400, faults=400)
    counts: list[int] = []
    while sum(counts) < 99:
        following = range(sum(counts), 99)
        begun = [Adapt("release", ballot.id, number + 1, (CROWD[number].name,)) for number in following]
        counts.append(done(ballot.log.batch(*begun, by="op"), Adapted))
    assert len(counts) > 2 and counts[0] > counts[1]


def test_many_rounds_that_are_over_at_once_go_on_at_several_entries_and_none_is_forgotten():
    log = BallotLog()
    ballots = [
        log.open(
            Terms(name=f"b{n}", question="?", electorate=CROWD, participants=250, faults=9, round_us=SECOND_US)
        )
        for n in range(250)
    ]
    log.wait(SECOND_US)
    first = sum(len(ballot.view.rounds) == 2 for ballot in ballots)
    log.wait(1)
    assert 0 < first < 250 and all(len(ballot.view.rounds) == 2 for ballot in ballots)


def test_what_was_forgotten_leaves_no_deadline_behind_for_long():
    log = BallotLog()
    for _ in range(STALE_MIN + 100):
        opened = log.do(
            opening(Terms(name="b", question="?", electorate=unkeyed("ann"), deadline_us=DURATION_US_MAX))
        )
        assert isinstance(opened, Opened)
        log.batch(CloseBallot("b", ballot_id(opened.opening)), Forget("b"))
    assert len(log.box._due) <= STALE_MIN + 2


def test_a_snapshot_of_more_ballots_than_fit_or_of_rows_in_another_spelling_is_refused():
    log = BallotLog()
    log.open(Terms(name="a", question="?", electorate=unkeyed("ann", "bob")))
    chunks = list(log.box.snapshot())
    for bounds in ({"ballots_max": 1, "electors_max": 1}, {"ballots_max": 0, "electors_max": 9}):
        with pytest.raises(ValueError, match="more than fit"):
            BallotLog(**bounds).box.restore(chunks)
    rows = log.box._rows
    rows.put(b"a\0h", rows.get(b"a\0h").value + b"", 0)
    opening = rows.get(b"a\0a").value
    assert opening[:1] == b"\x96"
    rows.put(b"a\0a", b"\xdc\x00\x06" + opening[1:], 0)
    with pytest.raises(ValueError, match="another way"):
        BallotLog().box.restore(log.box.snapshot())
