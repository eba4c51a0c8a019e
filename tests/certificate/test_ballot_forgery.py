"""Two certificates of one ballot, both proven by signatures alone, that say different things: nobody makes them
out of the votes that T two-faced voters and all others signed, however the rounds are told."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.certificate.audit import judge_ballot
from quorum.certificate.ballot import BallotCertificate, CastVote, Lie, Opening, Outcome, Round
from quorum.certificate.ballot_audit import verify_ballot
from quorum.certificate.ballot_forms import decode_ballot, encode_ballot
from quorum.errors import ConfigurationError
from quorum.voting.ballot.rounds import next_lock
from quorum.voting.ballot.standing import standing
from quorum.voting.ballot.terms import ROUNDS_MAX, Terms, Voter, check_terms
from quorum.voting.tally import Rule

YES, NO = "approve", "reject"
Told = list[tuple[str, str]]
"""Rounds as a forger tells of them: who takes part, and who votes before the round ends."""


def asked(names: str, weights: tuple[int, ...] = (), **fields) -> Terms:
    weights = weights or (1,) * len(names)
    electorate = tuple(
        Voter(name, weight, key=name.encode() * 32) for name, weight in zip(names, weights, strict=True)
    )
    return Terms(name="b", question="?", electorate=electorate, transferable=True, **fields)


def forged(terms: Terms, said: dict[str, str], told: Told) -> BallotCertificate:
    """The certificate of this story, each part of it as the verifier wants it."""
    votes: dict[str, CastVote] = {}
    rounds: list[Round] = []
    locked, at = None, 0
    for participants, voters in told:
        if rounds:
            opinions = {name: vote.opinion for name, vote in votes.items()}
            locked, at = next_lock(terms, rounds[-1].participants, opinions, locked), at + 1
        rounds.append(Round(tuple(participants), at, locked))
        for name in voters:
            at += 1
            votes[name] = CastVote(name, 1, said[name], at)
    opinions = {name: vote.opinion for name, vote in votes.items()}
    decided = standing(terms, rounds[-1].participants, opinions, True, locked)
    shown = tuple(votes[name] for name in sorted(votes))
    return BallotCertificate(Opening(terms, "c", "", 1, 1, 1), tuple(rounds), shown, (), Outcome(decided, 9, 9))


def proves(certificate: BallotCertificate) -> str | None:
    """What it proves to whoever trusts no node. Every vote in these tests was signed by its voter."""
    is_signed = verify_ballot(certificate, lambda *_: True).signed
    return certificate.outcome.standing.opinion if is_signed else None


TWO_STORIES = {
    "one of three signs both": (
        asked("abc", faults=1),
        ({"a": YES, "b": YES}, [("abc", "ab")]),
        ({"a": NO, "c": NO}, [("abc", "ac")]),
    ),
    "all are honest, and different ones are told to be silent": (
        asked("abcdef", participants=4),
        ({"a": YES, "b": YES, "c": NO, "e": YES}, [("abcd", "abc"), ("abce", "e")]),
        ({"f": NO, "b": YES, "c": NO, "d": NO}, [("abcd", "bcd"), ("fbcd", "f")]),
    ),
    "one of five signs both, and the round gets smaller": (
        asked("abcde", faults=1, rule=Rule("byzantine", faults=1)),
        ({"a": YES, "b": YES, "c": YES, "d": NO}, [("abcde", "abcd"), ("abcd", "")]),
        ({"b": YES, "c": NO, "d": NO, "e": NO}, [("abcde", "bcde"), ("bcde", "")]),
    ),
}


@pytest.mark.parametrize("story", TWO_STORIES)
def test_two_stories_of_the_rounds_of_one_ballot_do_not_prove_two_decisions(story):
    terms, *stories = TWO_STORIES[story]
    assert {proves(forged(terms, said, told)) for said, told in stories} != {YES, NO}


def test_more_two_faced_voters_than_t_can_prove_two_decisions():
    """The control: the bound is tight, and these forgeries are what the verifier accepts where it can."""
    terms = asked("abcd", faults=1, rule=Rule("byzantine", faults=1))
    said = [dict.fromkeys("abc", YES), dict.fromkeys("bcd", NO)]
    assert [proves(forged(terms, each, [("abcd", "".join(each))])) for each in said] == [YES, NO]


@st.composite
def ballots(draw) -> Terms:
    """Terms by which a ballot can be opened."""
    names = "abcdef"[: draw(st.integers(2, 6))]
    faults = draw(st.integers(0, len(names) - 1))
    rule = draw(
        st.sampled_from([Rule(), Rule("share", 2, 3), Rule("unanimous"), Rule("byzantine", faults=faults)])
    )
    weights = tuple(draw(st.lists(st.integers(1, 3), min_size=len(names), max_size=len(names))))
    participants = draw(st.integers(1, len(names)))
    terms = asked(names, weights, faults=faults, rule=rule, participants=participants)
    try:
        check_terms(terms)
    except ConfigurationError:
        return asked(names, weights, faults=0)
    return terms


@st.composite
def stories(draw, terms: Terms, signed: dict[str, set[str]], aim: str) -> BallotCertificate:
    """What a forger tells who holds these votes and wants that decision: each round some vote, and some of the
    others leave for voters who were not there before."""
    said = {name: aim if aim in both else min(both) for name, both in signed.items()}
    present, voted, gone = list(terms.first_participants), set[str](), set[str]()
    told: Told = []
    for _ in range(draw(st.integers(0, 3))):
        now = [name for name in present if name not in voted and draw(st.booleans())]
        told.append(("".join(present), "".join(now)))
        voted.update(now)
        leaving = [name for name in present if name not in voted and draw(st.booleans())]
        coming = [name for name in said if name not in present and name not in gone and draw(st.booleans())]
        after = [name for name in present if name not in leaving] + coming
        if len(after) >= terms.floor:
            present = after
            gone.update(leaving)
    told.append(("".join(present), "".join(name for name in present if name not in voted)))
    return forged(terms, said, told)


@given(data=st.data())
def test_nobody_proves_two_decisions_of_one_ballot_out_of_the_votes_of_t_two_faced_voters(data):
    terms = data.draw(ballots())
    names = [voter.name for voter in terms.electorate]
    signed = {name: {data.draw(st.sampled_from([YES, NO]))} for name in names}
    for name in data.draw(st.permutations(names))[: terms.faults]:
        signed[name] = {YES, NO}
    proven = {proves(data.draw(stories(terms, signed, aim))) for aim in (YES, NO)}
    assert proven != {YES, NO}


# Files that say wrong things.

GOOD = forged(asked("abcd", faults=1), dict.fromkeys("abc", YES), [("abcd", "abc")])


def test_a_round_of_strangers_is_no_round_whoever_votes_in_it():
    strangers = replace(GOOD, rounds=(Round(("zed",), 0),), votes=(CastVote("zed", 1, YES, 1),))
    verdict = verify_ballot(strangers, lambda *_: True)
    assert verify_ballot(GOOD, lambda *_: True).valid and not verdict.valid and "first round" in verdict.reasons[0]


def test_more_rounds_votes_or_lies_than_there_can_be_are_not_looked_at():
    rounds = replace(GOOD, rounds=GOOD.rounds * (ROUNDS_MAX + 1))
    votes = replace(GOOD, votes=GOOD.votes * 2)
    lies = replace(GOOD, lies=(Lie(GOOD.votes[0], GOOD.votes[1]),) * 5)
    for large in (rounds, votes, lies):
        (why,) = verify_ballot(large, lambda *_: True).reasons
        assert "more" in why


WRONG = (
    None,
    True,
    -1,
    2**64,
    10**400,
    1.5,
    "",
    "zed",
    "\x1b[31m",
    "\ud800",
    "ff" * 32,
    [],
    {},
    [[]],
    ["a"],
    [{}],
)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of everything in a document."""
    yield path
    for name in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[name], (*path, name))


def test_whatever_stands_in_a_file_is_judged_or_refused_with_what_to_do():
    document = json.loads(encode_ballot(GOOD))
    refused = 0
    for path in places(document):
        for wrong in WRONG if path else ():
            changed = json.loads(json.dumps(document))
            holder = changed
            for name in path[:-1]:
                holder = holder[name]
            holder[path[-1]] = wrong
            try:
                judge_ballot(decode_ballot(json.dumps(changed)))
            except ConfigurationError as error:
                refused += "quorum ballot certificate" in str(error)
    assert refused > 500
