"""One ballot as a node keeps it: in memory to count by, and as rows of the replicated state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from quorum.certificate.ballot import CastVote, Lie, Opening, Outcome, Round, ballot_id
from quorum.voting.ballot.standing import Opinion, Standing, standing
from quorum.voting.ballot.terms import Voter

VOTING: Final = "voting"
REVEALING: Final = "revealing"
ENDED: Final = "ended"


class Head(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What changes of a ballot, but for its votes. Times are lease time, None: never."""

    phase: str
    rounds: tuple[Round, ...]
    lies: tuple[Lie, ...]
    outcome: Outcome | None
    deadline_us: int | None
    round_due_us: int | None


class BallotState:
    """A ballot. I1  what happened to it is numbered by `changes`, so that no two places are equal."""

    __slots__ = ("_present", "changes", "gone", "head", "id", "opening", "voters", "votes")

    def __init__(self, opening: Opening, head: Head, votes: dict[str, CastVote]) -> None:
        self.opening = opening
        self.id = ballot_id(opening)
        self.voters: dict[str, Voter] = {voter.name: voter for voter in opening.terms.electorate}
        self.votes = votes
        places = [vote.at for vote in votes.values()]
        places += [each.at for each in head.rounds] + [lie.at for lie in head.lies]
        self.changes = max(places, default=0)
        self.head = head
        before = {name for each in head.rounds[:-1] for name in each.participants}
        self.gone = (before - set(self.participants)) | {lie.voter for lie in head.lies}
        self._present: Standing | None = None

    def take(self, head: Head) -> None:
        """Go on from here; the votes are as they should be."""
        if head.rounds[-1] is not self.head.rounds[-1]:
            self.gone |= set(self.participants) - set(head.rounds[-1].participants)
        self.gone |= {lie.voter for lie in head.lies[len(self.head.lies) :]}
        self.head = head
        self.changed()

    def changed(self) -> None:
        """The votes are others, so that it has to be counted again."""
        self._present = None

    @property
    def present(self) -> Standing:
        """How it stands by the present votes; counted when somebody asks, since that takes time."""
        if self._present is None:
            outcome = self.head.outcome
            self._present = self.standing() if outcome is None else outcome.standing
        return self._present

    @property
    def sealed(self) -> Standing:
        """The same as far as it is shown now."""
        if not (self.opening.terms.secret and self.head.phase == VOTING):
            return self.present
        cast = sum(self.voters[name].weight for name in self.participants if name in self.votes)
        return Standing("pending", None, {}, cast, self.present.total, self.present.needed, 0)

    def asks(self, name: str) -> bool:
        """Whether this voter can vote now and has not."""
        is_open = self.head.phase == VOTING and name in self.voters and name not in self.votes
        return is_open and name not in self.gone and name in self.participants

    @property
    def participants(self) -> tuple[str, ...]:
        """Who votes in this round."""
        return self.head.rounds[-1].participants

    @property
    def silent(self) -> list[str]:
        """The participants who have not voted in this ballot."""
        return [name for name in self.participants if name not in self.votes]

    @property
    def due_us(self) -> int | None:
        """When something happens by itself, in lease time."""
        times = [time for time in (self.head.deadline_us, self.head.round_due_us) if time is not None]
        return min(times, default=None)

    @property
    def opinions(self) -> dict[str, Opinion]:
        """What was said, as far as it is known."""
        return {name: vote.opinion for name, vote in self.votes.items() if vote.opinion is not None}

    def standing(self, closed: bool = False) -> Standing:
        """How it stands; `closed`: by what is there."""
        last = self.head.rounds[-1]
        return standing(self.opening.terms, last.participants, self.opinions, closed, last.locked)

    def next_place(self) -> int:
        """The place of what happens now."""
        self.changes += 1
        return self.changes

    def shown_votes(self) -> Iterator[CastVote]:
        """The votes by voter."""
        return (self.votes[name] for name in sorted(self.votes))
