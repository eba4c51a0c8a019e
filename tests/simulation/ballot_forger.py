"""Certificates as somebody would forge them who has every signature that any voter ever made, nodes that lie, and
no key of an honest voter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from quorum.apps.ballot import BallotView
from quorum.certificate.ballot import BallotCertificate, CastVote, Lie, Opening, Outcome, Round
from quorum.voting.ballot.rounds import next_lock
from quorum.voting.ballot.standing import standing

Signed = Mapping[str, Sequence[CastVote]]


def forged(
    opening: Opening, rounds: Sequence[Round], signed: Signed, view: BallotView | None
) -> Iterator[tuple[BallotCertificate, bool]]:
    """For every round that was in force, and for rounds that never were, the certificates that would show that
    each option won, and whether its rounds were in force."""
    for option in opening.terms.choices:
        for count in range(1, len(rounds) + 1):
            for certificate in _of_round(opening, rounds[:count], signed, view, option):
                yield certificate, True
        for certificate in _of_own_rounds(opening, signed, option):
            yield certificate, False


def _of_round(
    opening: Opening,
    rounds: Sequence[Round],
    signed: Signed,
    view: BallotView | None,
    option: str,
) -> Iterator[BallotCertificate]:
    """As if the last of these rounds had decided for the option. Votes stand where they did, for what the forger
    likes best of what their voter signed; those that never counted come last."""
    counted = {vote.voter: vote.at for vote in view.votes} if view is not None else {}
    lies = view.lies if view is not None else ()
    shown = {lie.voter for lie in lies if lie.at <= rounds[-1].at}
    late = max([0, *counted.values(), *(each.at for each in rounds), *(lie.at for lie in lies)]) + 1
    votes: list[CastVote] = []
    for name in sorted(rounds[-1].participants):
        said = sorted(signed.get(name, ()), key=lambda vote: vote.opinion != option)
        if said and name not in shown:
            at = counted.get(name, late)
            votes.append(replace(said[0], at=at))
            late += at == late
    kept = tuple(lie for lie in lies if lie.at <= rounds[-1].at)
    for chosen in (votes, [vote for vote in votes if vote.opinion == option]):
        yield _certificate(opening, tuple(rounds), chosen, kept)


def _of_own_rounds(opening: Opening, signed: Signed, option: str) -> Iterator[BallotCertificate]:
    """As if all who did not sign for the option had been silent, and were replaced by those who did."""
    terms = opening.terms
    supporters = [
        voter.name
        for voter in terms.electorate
        if any(vote.opinion == option for vote in signed.get(voter.name, ()))
    ]
    first = Round(terms.first_participants, 0)
    early = [name for name in supporters if name in first.participants]
    lock = next_lock(terms, first.participants, dict.fromkeys(early, option), None)
    if len(supporters) < terms.floor:
        return
    at = {name: place for place, name in enumerate(early, 1)}
    second = Round(tuple(supporters), len(early) + 1, lock)
    votes = []
    for place, name in enumerate(supporters):
        vote = next(vote for vote in signed[name] if vote.opinion == option)
        votes.append(replace(vote, at=at.get(name, second.at + 1 + place)))
    yield _certificate(opening, (first, second), sorted(votes, key=lambda vote: vote.voter), ())


def _certificate(
    opening: Opening,
    rounds: tuple[Round, ...],
    votes: Sequence[CastVote],
    lies: tuple[Lie, ...],
) -> BallotCertificate:
    opinions = {vote.voter: vote.opinion for vote in votes if vote.opinion is not None}
    last = rounds[-1]
    told = standing(opening.terms, last.participants, opinions, True, last.locked)
    return BallotCertificate(opening, rounds, tuple(votes), lies, Outcome(told, opening.index + 1, 0))
