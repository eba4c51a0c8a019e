"""The rows of ballots in the replicated state, and back. A name holds no zero byte, so that the rows of one stand
together: its opening, its head, its votes by voter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from quorum.apps.ballot_state import ENDED, REVEALING, VOTING, BallotState, Head
from quorum.apps.leaves import Leaves
from quorum.certificate.ballot import CastVote, Opening
from quorum.errors import ConfigurationError
from quorum.voting.ballot.standing import canonical, opinion_problem
from quorum.voting.ballot.terms import check_terms

_OPENING, _HEAD, _VOTE = b"\0a", b"\0h", b"\0v"
T = TypeVar("T")
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_OPENING = msgspec.msgpack.Decoder(Opening)
_DECODE_HEAD = msgspec.msgpack.Decoder(Head)
_DECODE_VOTE = msgspec.msgpack.Decoder(CastVote)


def write_opening(rows: Leaves, opening: Opening) -> None:
    """A ballot was opened."""
    rows.put(opening.terms.name.encode() + _OPENING, _ENCODE(opening), 0)


def write_head(rows: Leaves, ballot: BallotState) -> None:
    """Its head changed."""
    rows.put(ballot.opening.terms.name.encode() + _HEAD, _ENCODE(ballot.head), 0)


def write_vote(rows: Leaves, ballot: BallotState, voter: str) -> None:
    """The vote of a voter changed, or is gone."""
    key = ballot.opening.terms.name.encode() + _VOTE + voter.encode()
    vote = ballot.votes.get(voter)
    if vote is None:
        rows.delete(key)
    else:
        rows.put(key, _ENCODE(vote), 0)


def delete_ballot(rows: Leaves, name: str) -> None:
    """Everything of it."""
    rows.delete_range(name.encode() + b"\0", name.encode() + b"\1")


def read_ballots(rows: Leaves) -> Iterator[BallotState]:
    """All of them, in the order of their names. Raises ValueError for rows that contradict each other."""
    try:
        yield from _read(rows)
    except (msgspec.DecodeError, UnicodeDecodeError, ConfigurationError) as error:
        raise damaged(str(error)) from None


def damaged(why: str) -> ValueError:
    """The error of a state that cannot be taken."""
    return ValueError(f"ballots were to be restored, but {why[:200]}. Fetch another snapshot.")


def _read(rows: Leaves) -> Iterator[BallotState]:
    opening: Opening | None = None
    head: Head | None = None
    votes: dict[str, CastVote] = {}
    for key, row in rows.scan(b"", None):
        name, _, kind = key.partition(b"\0")
        if kind[:1] == _OPENING[1:]:
            if opening is not None:
                yield _joined(opening, head, votes)
            opening, head, votes = _exact(_DECODE_OPENING, row.value), None, {}
        if opening is None or opening.terms.name.encode() != name:
            raise damaged("a row belongs to no ballot")
        if kind[:1] == _HEAD[1:]:
            head = _exact(_DECODE_HEAD, row.value)
        elif kind[:1] == _VOTE[1:]:
            vote = _exact(_DECODE_VOTE, row.value)
            if vote.voter.encode() != kind[1:]:
                raise damaged("a vote stands under another name")
            votes[vote.voter] = vote
        elif kind[:1] != _OPENING[1:]:
            raise damaged("a row is of no kind")
    if opening is not None:
        yield _joined(opening, head, votes)


def _exact(decoder: msgspec.msgpack.Decoder[T], data: bytes) -> T:
    """What a row holds, if it is spelled as this program would: others would digest to another state."""
    found = decoder.decode(data)
    if _ENCODE(found) != data:
        raise damaged("a row is spelled in another way")
    return found


def _joined(opening: Opening, head: Head | None, votes: dict[str, CastVote]) -> BallotState:
    check_terms(opening.terms)
    names = {voter.name for voter in opening.terms.electorate}
    if head is None or not head.rounds or head.phase not in (VOTING, REVEALING, ENDED):
        raise damaged("a ballot has no head")
    if (head.phase == ENDED) != (head.outcome is not None):
        raise damaged("a ballot has ended without an outcome, or the other way round")
    if not set(votes) <= set(head.rounds[-1].participants) or any(
        not set(each.participants) <= names for each in head.rounds
    ):
        raise damaged("somebody votes who cannot")
    for each in head.rounds:
        if len(set(each.participants)) < len(each.participants) or not opening.terms.suffices(each.participants):
            raise damaged("a round has too few participants, or one twice")
        if each.locked is not None and each.locked not in opening.terms.choices:
            raise damaged("a round carries on what is no option")
    for vote in votes.values():
        if vote.opinion is not None and (
            opinion_problem(opening.terms, vote.opinion) is not None
            or repr(canonical(vote.opinion)) != repr(vote.opinion)
        ):
            raise damaged("a vote is no opinion")
    return BallotState(opening, head, votes)
