"""Certificates of ballots in which somebody lied, and what signatures prove to those who trust no node."""

from __future__ import annotations

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ballot_log import Asked, BallotLog, keyed, signed_vote
from quorum.apps.ballot import Accuse, Adapted
from quorum.apps.batch import Refused
from quorum.certificate import ballot_audit
from quorum.certificate.ballot import BallotCertificate, CastVote, Lie, Opening, Outcome, Round
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.ballot_forms import decode_ballot, encode_ballot
from quorum.voting.ballot.rounds import next_lock, participants_problem
from quorum.voting.ballot.standing import standing
from quorum.voting.ballot.terms import Terms, Voter, check_terms
from quorum.voting.refused import Refused as NoLock
from quorum.voting.tally import Rule

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


# What signatures prove.


def certificate_by(ballot: Asked, evict: str, enlist: str, votes: dict[str, str]) -> BallotCertificate:
    """As nodes would show it that hide every vote but these."""
    for name, said in votes.items():
        if name == enlist:
            assert isinstance(ballot.adapt(evict=[evict], enlist=[enlist]), Adapted)
        ballot.vote(name, said)
    return ballot.certificate()


def test_who_hides_votes_can_show_other_rounds_and_so_they_alone_prove_nothing():
    """Two of four say yes, two say no, and neither has won. With the votes of one side alone its option is locked,
    and the first standby who agrees lets it win. Both certificates are in order; nobody lied but the nodes."""
    one, other = (opened(participants=4, transferable=True) for _ in range(2))
    assert one.id == other.id
    yes = certificate_by(one, "cat", "eve", dict.fromkeys(("ann", "bob", "eve"), "approve"))
    no = certificate_by(other, "ann", "fay", dict.fromkeys(("cat", "dan", "fay"), "reject"))
    verdicts = [verify_ballot(each) for each in (yes, no)]
    assert [each.outcome.standing.opinion for each in (yes, no)] == ["approve", "reject"]
    assert [verdict.valid for verdict in verdicts] == [True, True]
    assert not any(verdict.signed for verdict in verdicts)


def test_what_won_the_first_round_is_proven_by_its_signatures():
    ballot = opened(participants=3, transferable=True)
    for name in ("ann", "bob"):
        ballot.vote(name, "approve")
    assert verify_ballot(ballot.certificate()).signed


@pytest.mark.parametrize(("more", "is_proven"), [(0, False), (1, True)])
def test_what_won_a_later_round_is_proven_where_no_round_can_have_decided_anything_else(more, is_proven):
    """The smallest round has four participants, of whom three win. Of six, three signatures leave three who may
    have signed something else; four leave two."""
    ballot = opened(participants=4, transferable=True, rule=Rule("share", 3, 4))
    for name in ("ann", "bob"):
        ballot.vote(name, "approve")
    enlisted = NAMES[4 : 5 + more]
    assert ballot.adapt(evict=["dan"], enlist=enlisted).round.locked == "approve"
    for name in ("cat", *enlisted):
        ballot.vote(name, "approve")
    certificate = ballot.certificate()
    assert len(certificate.rounds) == 2 and certificate.outcome.standing.weights["approve"] == 3 + more
    assert verify_ballot(certificate).signed == is_proven


def test_a_share_that_a_heavy_liar_can_turn_proves_nothing():
    """Six of nine win. One side has seven and the other six, of which the liar is four of both."""
    electorate = tuple(
        Voter(name, weight, key=voter.key)
        for name, weight, voter in zip(NAMES[:3], (2, 3, 4), keyed(*NAMES[:3]), strict=True)
    )
    ballot = opened(electorate=electorate, faults=1, transferable=True, rule=Rule("share", 2, 3))
    for name in ("bob", "cat"):
        ballot.vote(name, "approve")
    certificate = ballot.certificate()
    assert certificate.outcome.standing.weights["approve"] == 7
    assert verify_ballot(certificate).valid and not verify_ballot(certificate).signed


@pytest.mark.parametrize(("rule", "is_proven"), [(Rule(), False), (Rule("byzantine", faults=1), True)])
def test_a_majority_that_one_liar_can_turn_proves_nothing_where_one_may_lie(rule, is_proven):
    ballot = opened(electorate=keyed(*NAMES[:5]), faults=1, transferable=True, rule=rule)
    for name in NAMES[:4]:
        ballot.vote(name, "approve")
    certificate = ballot.certificate()
    assert certificate.outcome.standing.state == "won"
    assert verify_ballot(certificate).signed == is_proven


class Shown:
    """A ballot as nodes may show it that know every vote that was signed: votes in any order, hidden as they like,
    and rounds without those whose votes they hide."""

    def __init__(self, terms: Terms, signed: dict[str, set[str]]) -> None:
        self.terms, self.signed = terms, signed
        self.rounds = [Round(terms.first_participants, 0)]
        self.votes: dict[str, CastVote] = {}
        self.gone: set[str] = set()
        self.at = 0

    def vote(self, name: str, option: str) -> None:
        if name in self.rounds[-1].participants and name not in self.votes and option in self.signed[name]:
            self.at += 1
            self.votes[name] = CastVote(name, 1, option, self.at)

    def retry(self, enlist: list[str]) -> None:
        before = self.rounds[-1]
        silent = [name for name in before.participants if name not in self.votes]
        new = [name for name in enlist if name not in before.participants and name not in self.gone]
        after = (*(name for name in before.participants if name in self.votes), *new)
        opinions = {name: vote.opinion for name, vote in self.votes.items()}
        locked = next_lock(self.terms, before.participants, opinions, before.locked)
        problem = participants_problem(self.terms, before.participants, after, silent, self.gone)
        if problem is None and not isinstance(locked, NoLock):
            self.at += 1
            self.rounds.append(Round(after, self.at, locked))
            self.gone |= set(silent)

    def certificate(self) -> BallotCertificate:
        votes = tuple(self.votes[name] for name in sorted(self.votes))
        opinions = {vote.voter: vote.opinion for vote in votes}
        last = self.rounds[-1]
        told = standing(self.terms, last.participants, opinions, True, last.locked)
        opening = Opening(self.terms, "op", 1, 0, 0)
        return BallotCertificate("c", opening, tuple(self.rounds), votes, (), Outcome(told, 2, 0))


@st.composite
def shown_twice(draw) -> tuple[BallotCertificate, BallotCertificate]:
    """Two certificates of one ballot, of which at most T voters signed two votes."""
    count = draw(st.integers(3, 6))
    names = NAMES[:count]
    weights = draw(st.lists(st.integers(1, 3), min_size=count, max_size=count))
    faults = draw(st.integers(0, 2))
    bears = [Rule("byzantine", faults=faults)] if count >= 3 * faults + 1 else []
    rule = draw(st.sampled_from([Rule(), Rule("share", 3, 5), *bears]))
    terms = Terms(
        name="b",
        question="?",
        electorate=tuple(
            Voter(voter.name, weight, key=voter.key) for voter, weight in zip(keyed(*names), weights, strict=True)
        ),
        rule=rule,
        faults=faults,
        participants=draw(st.integers(3 * faults + 1 if rule.kind == "byzantine" else 2, count)),
        transferable=True,
    )
    check_terms(terms)
    liars = draw(st.lists(st.sampled_from(names), max_size=faults, unique=True))
    signed = {
        name: {"approve", "reject"} if name in liars else {draw(st.sampled_from(["approve", "reject"]))}
        for name in names
    }
    found = []
    for option in ("approve", "reject"):
        shown = Shown(terms, signed)
        for turn in range(draw(st.integers(1, 3))):
            if turn:
                shown.retry(draw(st.lists(st.sampled_from(names), unique=True)))
            for name in names:
                if draw(st.booleans()):
                    shown.vote(name, option)
                elif draw(st.integers(0, 3)) == 0:
                    shown.vote(name, "reject" if option == "approve" else "approve")
        found.append(shown.certificate())
    return found[0], found[1]


def contradict(pair: tuple[BallotCertificate, BallotCertificate]) -> bool:
    """Whether one of two is proven by signatures, and the other is in order and shows another winner."""
    verdicts = [verify_ballot(each, lambda *_: True) for each in pair]
    assert all(verdict.valid for verdict in verdicts), verdicts
    one, other = (each.outcome.standing for each in pair)
    is_split = one.state == other.state == "won" and one.opinion != other.opinion
    return is_split and any(verdict.signed for verdict in verdicts)


@settings(max_examples=400)
@given(pair=shown_twice())
def test_what_signatures_prove_is_contradicted_by_no_certificate_that_is_in_order(pair):
    assert not contradict(pair)


def test_the_word_of_nodes_for_rounds_is_contradicted(monkeypatch):
    """The control: were every certificate of transferable terms a proof, two would contradict each other."""
    monkeypatch.setattr(ballot_audit, "_is_proven", lambda certificate: certificate.opening.terms.transferable)
    assert contradict(find(shown_twice(), contradict, settings=settings(max_examples=5_000, database=None)))
