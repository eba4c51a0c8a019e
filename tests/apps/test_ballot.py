"""Ballots: who may vote, how often, what decides, rounds, secrets, lies, time, snapshots."""

from __future__ import annotations

import re

import msgspec
import pytest

from ballot_log import NONCE, Asked, BallotLog, keyed, opening, signed_vote, unkeyed
from quorum.apps.ballot import (
    ALL,
    Accuse,
    Adapted,
    Ballots,
    Cast,
    Counted,
    Forget,
    Forgotten,
    ListBallots,
    LookBallot,
    Opened,
)
from quorum.apps.batch import Refused
from quorum.certificate.ballot import CastVote, Lie
from quorum.certificate.ballot_audit import verify_ballot
from quorum.errors import ConfigurationError
from quorum.voting.ballot.terms import Terms, Voter, check_terms
from quorum.voting.tally import Rule
from timed_log import SECOND_US

FIVE = ("ann", "bob", "cat", "dan", "eve")


def terms(**fields) -> Terms:
    return Terms(**{"name": "release", "question": "Ship it?", "electorate": unkeyed(*FIVE), **fields})


def opened(**fields) -> Asked:
    return BallotLog().open(terms(**fields), by="op")


def reason(result: object) -> str:
    return result.reason if isinstance(result, Refused) else f"not refused: {result}"


def outcome(ballot: Asked) -> tuple[str, object]:
    ended = ballot.view.outcome
    return ("pending", None) if ended is None else (ended.standing.state, ended.standing.opinion)


def ended_well(ballot: Asked) -> bool:
    verdict = verify_ballot(ballot.certificate())
    assert verdict.valid, verdict
    return True


# Who may vote, and how often.


def test_a_majority_of_the_electorate_decides_as_soon_as_nothing_can_change_it():
    ballot = opened()
    results = [ballot.vote(name, "approve") for name in FIVE[:3]]
    assert [result.standing.state for result in results] == ["pending", "pending", "won"]
    assert outcome(ballot) == ("won", "approve") and ended_well(ballot)


def test_a_vote_counts_once_however_often_it_comes():
    ballot = opened()
    assert [ballot.vote("ann", "approve").standing.cast for _ in range(3)] == [1, 1, 1]
    assert reason(ballot.vote("ann", "reject")) == "voted"


def test_a_vote_that_comes_again_after_the_end_hears_the_end_and_not_a_refusal():
    ballot = opened()
    for name in FIVE[:3]:
        ballot.vote(name, "approve")
    again = ballot.vote("ann", "approve")
    assert isinstance(again, Counted) and again.phase == "ended"
    assert reason(ballot.vote("dan", "approve")) == "ended"


def test_strangers_and_standbys_do_not_vote():
    ballot = opened(participants=3)
    assert reason(ballot.vote("zoe", "approve")) == "voter"
    assert reason(ballot.vote("eve", "approve")) == "standby"


def test_who_is_known_by_an_identity_votes_under_it_alone():
    ballot = opened(electorate=(Voter("ann", identity="client.ann"), Voter("bob")))
    assert reason(ballot.vote("ann", "approve", by="client.bob")) == "identity"
    assert reason(ballot.vote("ann", "approve")) == "identity"
    assert isinstance(ballot.vote("ann", "approve", by="client.ann"), Counted)


def test_who_has_a_key_signs_and_a_signature_is_for_one_ballot_voter_and_opinion():
    ballot = opened(electorate=keyed(*FIVE))
    good = signed_vote(ballot.id, CastVote("ann", 1, "approve", 0))
    for bad in (
        CastVote("ann", 1, "approve", 0),
        msgspec.structs.replace(good, opinion="reject"),
        msgspec.structs.replace(good, voter="bob"),
        signed_vote(b"another ballot", CastVote("ann", 1, "approve", 0)),
    ):
        assert reason(ballot.cast(bad)) == "signature"
    assert isinstance(ballot.cast(good), Counted)


def test_a_vote_for_an_earlier_ballot_of_the_same_name_does_not_count():
    log = BallotLog()
    first = log.open(terms(), by="op")
    first.close()
    assert log.do(Forget("release"), "op") == Forgotten(True)
    log.open(terms(), by="op")
    assert reason(first.vote("ann", "approve")) == "ballot"


def test_where_votes_may_change_the_newest_counts_until_the_end():
    ballot = opened(changeable=True)
    for name in FIVE:
        ballot.vote(name, "approve")
    assert outcome(ballot) == ("pending", None)
    assert reason(ballot.vote("ann", "reject", turn=0)) == "turn"
    for name in FIVE[:3]:
        ballot.vote(name, "reject", turn=2)
    ballot.close()
    assert outcome(ballot) == ("won", "reject") and ended_well(ballot)


@pytest.mark.parametrize(
    ("kind", "fields", "bad"),
    [
        ("approval", {}, "perhaps"),
        ("choice", {"options": ("a", "b")}, "c"),
        ("value", {}, float("nan")),
        ("value", {}, "text"),
        ("interval", {}, (2.0, 1.0)),
        ("interval", {}, (1.0,)),
        ("vector", {"axes": 2}, (1.0, 2.0, 3.0)),
        ("vector", {"axes": 2}, (1.0, float("inf"))),
        ("value", {}, -0.0),
    ],
)
def test_what_is_no_opinion_of_the_kind_is_refused(kind, fields, bad):
    assert reason(opened(kind=kind, **fields).vote("ann", bad)) == "opinion"


# What decides.


def test_two_thirds_and_weights_decide_where_the_terms_say_so():
    electorate = (Voter("ann", 3), Voter("bob", 2), Voter("cat", 1))
    ballot = opened(electorate=electorate, rule=Rule("share", 2, 3))
    ballot.vote("cat", "approve")
    assert ballot.vote("ann", "approve").standing.state == "won"


def test_a_ballot_that_nothing_can_win_any_more_is_lost_at_once():
    ballot = opened(rule=Rule("unanimous"))
    ballot.vote("ann", "approve")
    ballot.vote("bob", "reject")
    assert outcome(ballot) == ("lost", None) and ended_well(ballot)


def test_numbers_are_joined_so_that_a_liar_moves_nothing_beyond_the_honest():
    ballot = opened(kind="value", faults=1)
    for name, value in zip(FIVE, (10.0, 10.5, 11.0, 1e300, 10.25), strict=True):
        ballot.vote(name, value)
    assert outcome(ballot) == ("won", 10.5) and ended_well(ballot)


def test_numbers_of_fewer_than_all_but_t_decide_nothing():
    ballot = opened(kind="value", faults=1)
    for name in FIVE[:3]:
        ballot.vote(name, 1.0)
    ballot.close()
    assert outcome(ballot) == ("lost", None) and ended_well(ballot)


def test_intervals_meet_where_all_but_t_hold():
    ballot = opened(kind="interval", faults=1)
    given = ((8.0, 12.0), (11.0, 13.0), (10.0, 12.0), (50.0, 60.0), (10.5, 11.5))
    for name, interval in zip(FIVE, given, strict=True):
        ballot.vote(name, interval)
    assert outcome(ballot) == ("won", (11.0, 11.5)) and ended_well(ballot)


def test_vectors_are_joined_axis_by_axis():
    ballot = opened(kind="vector", axes=2, faults=1)
    for name, shift in zip(FIVE, (0.0, 1.0, 2.0, -900.0, 1.5), strict=True):
        ballot.vote(name, (shift, 10.0 + shift))
    assert outcome(ballot) == ("won", (1.0, 11.0)) and ended_well(ballot)


# Rounds.


def test_a_silent_participant_is_replaced_and_the_votes_of_the_others_stay():
    ballot = opened(participants=3, faults=2, electorate=keyed(*FIVE))
    ballot.vote("ann", "approve")
    adapted = ballot.adapt(evict=["bob"], enlist=["dan"])
    assert isinstance(adapted, Adapted) and adapted.round.participants == ("ann", "dan", "cat")
    assert reason(ballot.vote("bob", "approve")) == "gone"
    assert ballot.vote("dan", "approve").standing.state == "won" and ended_well(ballot)


def test_who_has_voted_is_not_evicted_for_an_opinion():
    ballot = opened(participants=3, faults=2)
    ballot.vote("ann", "reject")
    assert reason(ballot.adapt(evict=["ann"], enlist=["dan"])) == "participants"


def test_a_round_never_has_fewer_participants_than_the_floor():
    ballot = opened(faults=1)
    assert isinstance(ballot.adapt(evict=["bob"]), Adapted)
    assert reason(ballot.adapt(evict=["cat"])) == "participants"


def test_who_was_put_out_does_not_come_back():
    ballot = opened(participants=3, faults=2)
    ballot.adapt(evict=["bob"], enlist=["dan"])
    assert reason(ballot.adapt(evict=["cat"], enlist=["bob"])) == "participants"


def test_the_option_that_alone_can_win_is_locked_and_a_smaller_round_does_not_turn_it_round():
    """Five of seven are needed. After three noes four are out, so that "approve" cannot have won, and "reject"
    can; without the lock two of five noes would be beaten later."""
    names = ("a", "b", "c", "d", "e", "f", "g")
    ballot = opened(electorate=unkeyed(*names), faults=3, rule=Rule("share", 5, 7))
    for name in "abc":
        ballot.vote(name, "reject")  # approve could reach 4 of 7, and 5 are needed
    adapted = ballot.adapt(evict=["f", "g"])
    assert adapted.round.locked == "reject"
    ballot.vote("d", "approve")
    assert ballot.vote("e", "approve").standing.state == "lost"
    assert ended_well(ballot)


def test_a_lock_is_kept_by_every_round_that_follows():
    names = ("a", "b", "c", "d", "e", "f", "g")
    ballot = opened(electorate=unkeyed(*names), faults=3, rule=Rule("share", 5, 7))
    for name in "abc":
        ballot.vote(name, "reject")
    ballot.adapt(evict=["f"])
    ballot.adapt(evict=["g"])
    assert [each.locked for each in ballot.view.rounds] == [None, "reject", "reject"]
    assert ballot.vote("d", "reject").standing.opinion == "reject" and ended_well(ballot)


def test_where_signatures_alone_prove_it_every_round_needs_a_quorum_of_the_whole_electorate():
    ballot = opened(electorate=keyed(*FIVE), faults=1, transferable=True)
    ballot.vote("ann", "approve")
    assert reason(ballot.adapt(evict=["dan", "eve"])) == "participants"
    adapted = ballot.adapt(evict=["eve"])
    assert adapted.round.locked is None and adapted.standing.needed == 4  # of five, one of whom may sign both
    for name in ("bob", "cat"):
        assert ballot.vote(name, "approve").standing.state == "pending"
    assert ballot.vote("dan", "approve").standing.state == "won" and ended_well(ballot)


def test_at_the_end_of_a_rounds_time_the_silent_are_replaced_by_standbys():
    ballot = opened(participants=3, faults=2, round_us=5 * SECOND_US)
    ballot.vote("bob", "approve")
    ballot.log.wait(6 * SECOND_US)
    assert ballot.view.rounds[-1].participants == ("dan", "bob", "eve")
    ballot.log.wait(20 * SECOND_US)
    assert len(ballot.view.rounds) == 2 and ballot.view.round_remaining_us is not None


def test_only_the_opener_and_operators_lead_a_ballot_on():
    log = BallotLog()
    ballot = log.open(terms(operators=("second",)), by="op")
    for by, expected in (("thief", "operator"), ("", "operator")):
        ballot.by = by
        assert reason(ballot.close()) == reason(ballot.adapt(evict=["eve"])) == expected
        assert reason(log.do(Forget("release"), by)) == "operator"
    ballot.by = "second"
    assert isinstance(ballot.close(), Counted)


def test_an_adaption_for_an_earlier_round_is_refused():
    ballot = opened(participants=3, faults=2)
    ballot.adapt(evict=["bob"], enlist=["dan"])
    assert reason(ballot.adapt(evict=["cat"], enlist=["eve"], number=1)) == "round"


# Lies.


def lie_of(ballot: Asked, voter: str) -> Lie:
    first, second = (signed_vote(ballot.id, CastVote(voter, 1, said, 0)) for said in ("approve", "reject"))
    return Lie(first, second)


def test_who_signed_two_votes_loses_its_vote_and_its_place():
    ballot = opened(electorate=keyed(*FIVE), participants=4, faults=1, rule=Rule("byzantine", faults=1))
    ballot.vote("ann", "approve")
    ballot.vote("bob", "approve")
    accused = ballot.log.do(Accuse("release", ballot.id, lie_of(ballot, "ann")), "anybody")
    assert isinstance(accused, Adapted) and accused.round.participants == ("eve", "bob", "cat", "dan")
    assert accused.standing.weights == {"approve": 1, "reject": 0}
    assert reason(ballot.vote("ann", "approve")) == "gone"
    for name in ("cat", "dan"):
        ballot.vote(name, "approve")
    assert outcome(ballot) == ("won", "approve") and ended_well(ballot)


def test_a_liar_without_a_standby_stays_in_the_count_and_has_no_vote():
    ballot = opened(electorate=keyed(*FIVE[:4]), faults=1, rule=Rule("byzantine", faults=1))
    ballot.vote("ann", "approve")
    ballot.log.do(Accuse("release", ballot.id, lie_of(ballot, "ann")))
    assert ballot.view.rounds[-1].participants == FIVE[:4] and ballot.view.standing.cast == 0
    assert reason(ballot.vote("ann", "approve")) == "gone"
    for name in FIVE[1:4]:
        ballot.vote(name, "reject")
    assert outcome(ballot) == ("won", "reject") and ended_well(ballot)


def test_what_is_no_lie_evicts_nobody():
    ballot = opened(electorate=(*keyed(*FIVE[:4]), Voter("eve")))
    good = lie_of(ballot, "ann")
    for lie in (
        Lie(good.first, good.first),
        Lie(good.first, msgspec.structs.replace(good.second, signature=b"x" * 64)),
        Lie(good.first, signed_vote(ballot.id, CastVote("ann", 2, "reject", 0))),
        Lie(good.first, lie_of(ballot, "bob").second),
        Lie(CastVote("eve", 1, "approve", 0), CastVote("eve", 1, "reject", 0)),
    ):
        assert reason(ballot.log.do(Accuse("release", ballot.id, lie))) == "lie"


# Secrets.


def test_a_secret_ballot_shows_nothing_before_everybody_has_voted():
    ballot = opened(secret=True, reveal_us=10 * SECOND_US, electorate=keyed(*FIVE))
    for name in FIVE[:4]:
        assert ballot.vote(name, "approve").standing.weights == {}
    assert reason(ballot.reveal("ann", "approve")) == "reveal"
    assert ballot.vote("eve", "reject").phase == "revealing"
    for name in FIVE[:4]:
        ballot.reveal(name, "approve")
    assert ballot.reveal("eve", "reject").standing.weights == {"approve": 4, "reject": 1}
    assert outcome(ballot) == ("won", "approve") and ended_well(ballot)


def test_nobody_reveals_anything_else_than_was_committed_to():
    ballot = opened(secret=True, reveal_us=10 * SECOND_US)
    for name in FIVE:
        ballot.vote(name, "approve")
    assert reason(ballot.reveal("ann", "reject")) == "reveal"
    assert reason(ballot.reveal("ann", "approve", b"m" * 32)) == "reveal"
    assert reason(ballot.close()) == "revealing"


def test_what_is_not_revealed_in_time_does_not_count():
    ballot = opened(secret=True, reveal_us=10 * SECOND_US, deadline_us=30 * SECOND_US)
    for name in FIVE[:4]:
        ballot.vote(name, "approve")
    ballot.log.wait(31 * SECOND_US)
    for name in FIVE[:2]:
        ballot.reveal(name, "approve", NONCE)
    ballot.log.wait(11 * SECOND_US)
    assert outcome(ballot) == ("lost", None) and ended_well(ballot)


# Time, notices, lists.


def test_a_ballot_ends_at_its_deadline_by_what_is_there():
    ballot = opened(deadline_us=10 * SECOND_US, rule=Rule("plurality"))
    ballot.vote("ann", "approve")
    ballot.log.wait(11 * SECOND_US)
    assert outcome(ballot) == ("won", "approve") and ended_well(ballot)
    assert ballot.log.host.expires_in_us is None


def test_who_watches_all_ballots_hears_of_openings_rounds_and_ends_but_not_of_every_vote():
    ballot = opened(participants=3, faults=2)
    ballot.vote("ann", "approve")
    ballot.adapt(evict=["bob"], enlist=["dan"])
    ballot.vote("cat", "approve")
    told = [(change.phase, change.round, change.state) for topic, change in ballot.log.changes if topic == ALL]
    assert told == [("voting", 1, "pending"), ("voting", 2, "pending"), ("ended", 2, "won")]
    assert len([topic for topic, _ in ballot.log.changes if topic == b"release"]) == 4


def test_a_list_gives_names_in_order_and_those_alone_in_which_a_voter_is_missing():
    log = BallotLog()
    for name in ("c", "a", "b"):
        log.open(terms(name=name))
    log.open(terms(name="d", participants=1))
    found = log.ask(ListBallots(limit=2))
    assert isinstance(found, Ballots) and found.more and [line.name for line in found.ballots] == ["a", "b"]
    found = log.ask(ListBallots(voter="eve"))
    assert [line.name for line in found.ballots] == ["a", "b", "c"]


def test_opening_the_same_again_changes_nothing_and_another_one_of_that_name_is_refused():
    log = BallotLog()
    first = log.do(opening(terms()), "op")
    assert isinstance(first, Opened) and log.do(opening(terms()), "op") == first
    assert reason(log.do(opening(terms(question="Another?")), "op")) == "exists"
    assert reason(log.do(opening(terms()), "somebody else")) == "exists"


def test_no_more_ballots_and_voters_are_kept_than_fit():
    log = BallotLog(ballots_max=2, electors_max=11)
    log.open(terms(name="a"))
    log.open(terms(name="b"))
    assert reason(log.do(opening(terms(name="c")))) == "room"
    assert reason(BallotLog(electors_max=4).do(opening(terms()))) == "room"


def test_a_batch_that_makes_too_much_work_is_done_in_part():
    log = BallotLog()
    crowd = unkeyed(*(f"v{number}" for number in range(1_000)))
    ballot = log.open(terms(electorate=crowd))
    votes = [Cast("release", ballot.id, voter.name, "approve") for voter in crowd[:300]]
    results = log.batch(*votes)
    done = sum(isinstance(result, Counted) for result in results)
    assert 50 < done < 300 and {reason(result) for result in results[done:]} == {"batch"}


# Terms.


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"question": ""}, "question"),
        ({"electorate": ()}, "electorate"),
        ({"electorate": unkeyed("ann", "ann")}, "electorate"),
        ({"electorate": (Voter("ann", key=b"short"),)}, "key"),
        ({"electorate": (Voter("ann", identity="x"), Voter("bob", identity="x"))}, "identity"),
        ({"electorate": (Voter("ann", weight=0),)}, "weight"),
        ({"kind": "choice"}, "options"),
        ({"options": ("a",)}, "options"),
        ({"kind": "vector"}, "axes"),
        ({"kind": "value", "faults": 2}, "3T+1"),
        ({"kind": "value", "rule": Rule("share", 2, 3)}, "rule"),
        ({"rule": Rule("byzantine", faults=1)}, "T"),
        ({"rule": Rule("byzantine", faults=2), "faults": 2}, "7"),
        ({"participants": 6}, "participate"),
        ({"faults": 5}, "T"),
        ({"secret": True}, "reveal"),
        ({"reveal_us": SECOND_US}, "reveal"),
        ({"secret": True, "reveal_us": SECOND_US, "changeable": True}, "commitment"),
        ({"transferable": True}, "key"),
        ({"transferable": True, "kind": "value"}, "signatures"),
        ({"deadline_us": 5}, "duration"),
    ],
)
def test_terms_by_which_nobody_could_decide_safely_are_refused(fields, word):
    with pytest.raises(ConfigurationError, match=re.escape(word)):
        check_terms(terms(**fields))
    assert reason(BallotLog().do(opening(terms(**fields)))) == "terms"


# The state.


def busy_log() -> BallotLog:
    log = BallotLog()
    one = log.open(terms(electorate=keyed(*FIVE), participants=4, round_us=SECOND_US, faults=1), by="op")
    one.vote("ann", "approve")
    log.do(Accuse("release", one.id, lie_of(one, "ann")))
    one.vote("bob", "reject")
    log.wait(SECOND_US)
    two = log.open(terms(name="two", secret=True, reveal_us=SECOND_US, deadline_us=3 * SECOND_US))
    two.vote("ann", "approve")
    three = log.open(terms(name="three"))
    three.close()
    return log


def test_replayed_and_restored_ballots_are_the_same_now_and_later():
    log = busy_log()
    others = [log.replayed(), log.restored()]
    entries = len(log.entries)
    log.wait(5 * SECOND_US)
    for other in others:
        for entry in log.entries[entries:]:
            other.apply(*entry)
        assert other.digest() == log.host.digest()
        for name in ("release", "two", "three"):
            asked = log.ask(LookBallot(name))
            log.host, kept = other, log.host
            assert log.ask(LookBallot(name)) == asked
            log.host = kept


def test_damaged_chunks_are_refused_and_change_nothing():
    log = busy_log()
    chunks = list(log.box.snapshot())
    before = log.box.digest()
    for place, chunk in enumerate(chunks):
        for at in range(0, len(chunk), 7):
            damaged = chunk[:at] + bytes([chunk[at] ^ 0x55]) + chunk[at + 1 :]
            try:
                log.box.restore([*chunks[:place], damaged, *chunks[place + 1 :]])
            except ValueError:
                assert log.box.digest() == before
            else:
                log.box.restore(chunks)  # the damage made another state that is one
    assert log.box.digest() == before
