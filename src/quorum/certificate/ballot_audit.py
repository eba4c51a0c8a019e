"""The verifier of a ballot's certificate: it counts again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

from quorum.certificate.ballot import (
    ID_BYTES,
    NONCE_BYTES,
    BallotCertificate,
    CastVote,
    Lie,
    Round,
    ballot_id,
    commitment_to,
    vote_statement,
)
from quorum.certificate.decision import Verdict
from quorum.certificate.keys import is_signed
from quorum.errors import ConfigurationError
from quorum.voting.ballot.rounds import next_lock, participants_problem
from quorum.voting.ballot.standing import Opinion, canonical, opinion_problem, standing
from quorum.voting.ballot.terms import ROUNDS_MAX, Terms, check_terms

CheckSignature = Callable[[bytes, bytes, bytes], bool]
"""(public key, statement, signature) -> whether the holder of the key made it."""


def verify_ballot(certificate: BallotCertificate, check_signature: CheckSignature = is_signed) -> Verdict:
    """Judge a certificate by what is in it: that the terms are good, the rounds follow each other as they must,
    every vote is by somebody who could cast it and is signed where the voter has a key, and they decide what it
    says.

    `signed` says more: that nobody need be trusted for the decision, since the voters' signatures alone prove it.
    """
    terms = certificate.opening.terms
    try:
        check_terms(terms)
    except ConfigurationError as error:
        return Verdict(False, False, (str(error),))
    for flaws in (
        _flaws_of_size(certificate),
        _flaws_of_rounds(certificate),
        _flaws_of_lies(certificate, check_signature),
        _flaws_of_votes(certificate, check_signature),
        _flaws_of_outcome(certificate),
    ):  # each looks at what those before it found in order
        reasons = tuple(flaws)
        if reasons:
            return Verdict(False, False, reasons)
    return Verdict(True, terms.transferable and certificate.outcome.standing.state == "won", ())


def _flaws_of_size(certificate: BallotCertificate) -> Iterator[str]:
    voters = len(certificate.opening.terms.electorate)
    if len(certificate.rounds) > ROUNDS_MAX:
        yield f"it has {len(certificate.rounds)} rounds, more than {ROUNDS_MAX}."
    if max(len(certificate.votes), len(certificate.lies)) > voters:
        yield "more have voted or lied than there are voters."


def _flaws_of_rounds(certificate: BallotCertificate) -> Iterator[str]:
    terms, rounds = certificate.opening.terms, certificate.rounds
    if not rounds or rounds[0] != Round(terms.first_participants, 0):
        yield "the first round is not the one with which the terms begin."
        return
    gone: set[str] = set()
    for before, after in pairwise(rounds):
        voted = {vote.voter: vote for vote in certificate.votes if vote.at < after.at}
        for lie in certificate.lies:
            if lie.lost is not None and lie.lost.at < after.at < lie.at:
                voted[lie.voter] = lie.lost
        liars = {lie.voter for lie in certificate.lies if lie.at <= after.at}
        gone |= liars
        removable = liars | {name for name in before.participants if name not in voted}
        problem = participants_problem(terms, before.participants, after.participants, removable, gone)
        if problem is not None or after.at <= before.at:
            yield f"a round follows another as it must not: {problem or 'their order is wrong'}."
            return
        opinions = {name: vote.opinion for name, vote in voted.items() if vote.opinion is not None}
        locked = next_lock(terms, before.participants, opinions, before.locked)
        if locked != after.locked:
            yield "a round follows another without the option that it had to carry on."
            return
        gone |= set(before.participants) - set(after.participants)


def _flaws_of_votes(certificate: BallotCertificate, check_signature: CheckSignature) -> Iterator[str]:
    names = [vote.voter for vote in certificate.votes]
    if names != sorted(set(names)):
        yield "a voter is named twice, or the votes are not in order."
    participants = set(certificate.rounds[-1].participants)
    for name in names:
        if name not in participants:
            yield f"{name[:60]!r} did not vote in the last round."
            return
    ballot = ballot_id(certificate.opening)
    keys = {voter.name: voter.key for voter in certificate.opening.terms.electorate}
    lost = (lie.lost for lie in certificate.lies if lie.lost is not None)
    for vote in (*certificate.votes, *lost):
        flaw = _flaw_of_vote(certificate, ballot, vote)
        said = vote.said
        if flaw is None and keys[vote.voter] and said is not None:
            statement = vote_statement(ballot, vote.voter, vote.turn, said)
            if not check_signature(keys[vote.voter], statement, vote.signature):
                flaw = "did not sign this vote"
        if flaw is not None:
            yield f"{vote.voter[:60]!r} {flaw}."


def _flaw_of_vote(certificate: BallotCertificate, ballot: bytes, vote: CastVote) -> str | None:
    terms = certificate.opening.terms
    if not _is_theirs(certificate, vote):
        return "voted when it could not"
    if vote.turn < 1 or (vote.turn > 1 and not terms.changeable):
        return "voted more than once"
    return flaw_of_opinion(terms, ballot, vote)


def flaw_of_opinion(terms: Terms, ballot: bytes, vote: CastVote) -> str | None:
    """What is wrong with what a voter said, None if nothing is."""
    if terms.secret:
        if len(vote.commitment) != ID_BYTES:
            return "made no commitment"
        if vote.opinion is None:
            return "revealed something that is no opinion" if vote.nonce else None
        committed = commitment_to(ballot, vote.voter, vote.opinion, vote.nonce)
        if len(vote.nonce) != NONCE_BYTES or committed != vote.commitment:
            return "revealed another opinion than the one that it had committed to"
    elif vote.commitment or vote.nonce or vote.opinion is None:
        return "kept its opinion secret, but this ballot is open"
    problem = opinion_problem(terms, vote.opinion)
    if problem is None and repr(canonical(vote.opinion)) != repr(vote.opinion):
        problem = "it is spelled in another way than numbers are"
    return None if problem is None else f"gave no opinion: {problem}"


def _is_theirs(certificate: BallotCertificate, vote: CastVote) -> bool:
    """Whether the voter was a participant when the vote was committed."""
    at = [each for each in certificate.rounds if each.at < vote.at]
    return bool(at) and vote.voter in at[-1].participants


def flaw_of_lie(terms: Terms, ballot: bytes, lie: Lie, check_signature: CheckSignature = is_signed) -> str | None:
    """Why these are not two different votes that could count and that the voter signed; None if they are."""
    name, turn = lie.first.voter, lie.first.turn
    key = {voter.name: voter.key for voter in terms.electorate}.get(name, b"")
    if not key:
        return f"{name[:60]!r} has no key by which anything could be shown"
    if (lie.second.voter, lie.second.turn) != (name, turn):
        return "the votes are of two voters or turns"
    if repr(lie.first.said) == repr(lie.second.said):
        return "both votes are the same"
    for vote in (lie.first, lie.second):
        flaw = flaw_of_opinion(terms, ballot, vote)
        if flaw is not None:
            return f"{name[:60]!r} {flaw}"
        said = vote.said
        if said is None or not check_signature(key, vote_statement(ballot, name, turn, said), vote.signature):
            return f"{name[:60]!r} did not sign both votes"
    return None


def _flaws_of_lies(certificate: BallotCertificate, check_signature: CheckSignature) -> Iterator[str]:
    ballot = ballot_id(certificate.opening)
    names = [lie.voter for lie in certificate.lies]
    if len(set(names)) < len(names):
        yield "a liar is shown twice."
    for lie in certificate.lies:
        flaw = flaw_of_lie(certificate.opening.terms, ballot, lie, check_signature)
        if flaw is None and lie.lost is not None and not (lie.lost.voter == lie.voter and lie.lost.at < lie.at):
            flaw = "what the liar had voted is of another voter, or came later"
        if flaw is not None:
            yield f"a lie is no lie: {flaw}."


def _flaws_of_outcome(certificate: BallotCertificate) -> Iterator[str]:
    last = certificate.rounds[-1]
    opinions = {vote.voter: vote.opinion for vote in certificate.votes if vote.opinion is not None}
    counted = standing(certificate.opening.terms, last.participants, opinions, True, last.locked)
    if counted != certificate.outcome.standing:
        told = certificate.outcome.standing
        yield (
            f"the votes say {counted.state} {_shown(counted.opinion)}, and the certificate {told.state} "
            f"{_shown(told.opinion)}."
        )


def _shown(opinion: Opinion | None) -> str:
    return "" if opinion is None else repr(opinion)[:80]
