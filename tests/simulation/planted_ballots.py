"""Negative controls for ballots: small mistakes, planted in the running code, that the campaign's observer sees.

As for tests.simulation.planted, `python -m tests.simulation.planted_ballots` looks for seeds anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

from msgspec.structs import replace

from quorum.apps import ballot_course
from quorum.apps import ballot_rows as rows_of
from quorum.apps.ballot import BallotView, Cast
from quorum.apps.ballot_course import BallotCourse
from quorum.apps.ballot_state import ENDED, REVEALING, VOTING, BallotState
from quorum.apps.batch import Refused
from quorum.sim.campaign import Outcome
from quorum.voting.ballot import standing as standing_module
from quorum.voting.ballot.rounds import next_lock
from quorum.voting.ballot.standing import Opinion, Standing, standing
from quorum.voting.ballot.terms import Terms

from . import ballot_observer
from .ballot_observer import COUNT, FORGERY, HULL, KEPT, LOCK, ONCE, ONE_END, PROOF
from .ballot_scene import BallotPlan, run_ballots
from .planted_hunt import hunt

USUAL, DIVIDED = BallotPlan(0), BallotPlan(0, divided=True)


class Bug(NamedTuple):
    """One planted mistake. `patches` are (owner, attribute, replacement); `claims` are those it may break.

    `seed` is pinned: its run, or one of the next `tries`, shows the bug.
    """

    name: str
    seed: int
    claims: tuple[str, ...]
    patches: tuple[tuple[Any, str, Any], ...]
    plan: BallotPlan = USUAL
    tries: int = 20


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """While inside, the bug is in the code."""
    with ExitStack() as stack:
        for owner, name, replacement in bug.patches:
            stack.enter_context(patch.object(owner, name, replacement))
        yield


def run_with(bug: Bug, seed: int) -> Outcome:
    """One seed with the bug."""
    with planted(bug):
        return run_without(bug, seed)


def run_without(bug: Bug, seed: int) -> Outcome:
    """The same seed in the code as it is."""
    return run_ballots(replace(bug.plan, seed=seed))[0]


# The bugs.

_begin_round = BallotCourse._begin_round


def begin_blank(self: BallotCourse, after: Sequence[str], removable: Sequence[str]) -> Refused | None:
    """A retry that begins anew: votes and lock of the round before are forgotten."""
    refused, ballot = _begin_round(self, after, removable), self._ballot
    if refused is None and ballot.head.phase == VOTING:
        for name in list(ballot.votes):
            del ballot.votes[name]
            rows_of.write_vote(self._rows, ballot, name)
        last = replace(ballot.head.rounds[-1], locked=None)
        self._take(replace(ballot.head, rounds=(*ballot.head.rounds[:-1], last)))
    return refused


_cast = BallotCourse.cast


def count_replies(self: BallotCourse, command: Cast, caller: str) -> Refused | None:
    """What comes twice counts twice: for whoever has not voted yet."""
    ballot = self._ballot
    known, silent = ballot.votes.get(command.voter), ballot.silent
    refused = _cast(self, command, caller)
    if refused is None and known is not None and silent and ballot.head.phase == VOTING:
        ballot.votes[silent[0]] = replace(known, voter=silent[0], at=ballot.next_place())
        rows_of.write_vote(self._rows, ballot, silent[0])
        self._settle()
    return refused


_refusal_of_voter = BallotCourse._refusal_of_voter


def anybody_votes(self: BallotCourse, name: str, caller: str) -> Refused | None:
    """Who was put out may vote on."""
    refused = _refusal_of_voter(self, name, caller)
    return None if refused is not None and refused.reason == "gone" else refused


def standing_of_all(self: BallotState, closed: bool = False) -> Standing:
    """Whoever voted counts, among the participants or not."""
    last = self.head.rounds[-1]
    everybody = (*last.participants, *sorted(set(self.votes) - set(last.participants)))
    return standing(self.opening.terms, everybody, self.opinions, closed, last.locked)


def cast_after_the_end(self: BallotCourse, command: Cast, caller: str) -> Refused | None:
    """A late vote counts, and the ballot ends once more."""
    ballot, before = self._ballot, self._ballot.head
    if before.phase == ENDED and not self._terms.secret:
        ballot.take(replace(before, phase=VOTING, outcome=None))
        refused = _cast(self, command, caller)
        if refused is not None:
            ballot.take(before)
        elif ballot.head.phase == VOTING:
            self._end()
        return refused
    return _cast(self, command, caller)


def close_again(self: BallotCourse) -> Refused | None:
    """Closing what has ended ends it once more, at another entry."""
    if self._ballot.head.phase != REVEALING:
        self._close()
    return None


def silence_rejects(self: BallotState, closed: bool = False) -> Standing:
    """At the end a vote that did not come counts as a rejection."""
    terms, last, opinions = self.opening.terms, self.head.rounds[-1], dict(self.opinions)
    if closed and terms.choices:
        opinions |= dict.fromkeys((name for name in last.participants if name not in opinions), terms.choices[-1])
    return standing(terms, last.participants, opinions, closed, last.locked)


def majority_of_those_who_came(self: BallotState, closed: bool = False) -> Standing:
    """At the end only those who voted are counted as the whole."""
    last = self.head.rounds[-1]
    came = [name for name in last.participants if name in self.opinions]
    whole = came if closed and came else last.participants
    return standing(self.opening.terms, whole, self.opinions, closed, last.locked)


def no_lock(*_: object) -> None:
    """A round follows another as if nothing could have been decided."""
    return None


def lock_by_the_votes_here(
    terms: Terms, participants: Sequence[str], opinions: Mapping[str, Opinion], locked: str | None
) -> str | None:
    """Those who are silent are taken for voters who said nothing, though their votes may only be late."""
    heard = [name for name in participants if name in opinions]
    return next_lock(terms, heard or participants, opinions, locked)


def mean(numbers: Sequence[float]) -> float:
    """One liar moves it as far as it likes."""
    return sum(number / len(numbers) for number in numbers)


def no_count(terms: Terms, view: BallotView) -> str:
    """The observer counts nothing itself, so that forged proofs alone can tell."""
    return ""


def believe_rounds(terms: Terms) -> int:
    """The rounds are the nodes' word: what the rule wants of a round's participants is enough."""
    return 0


def half_of_all(terms: Terms) -> int:
    """More than half of the electorate is enough, as if nobody signed two votes."""
    return sum(voter.weight for voter in terms.electorate) // 2 + 1 if terms.transferable else 0


BUGS = (
    Bug("blank retry", 1, (KEPT, LOCK, COUNT, PROOF, ONCE), ((BallotCourse, "_begin_round", begin_blank),)),
    Bug("replies counted instead of voters", 0, (ONCE, PROOF), ((BallotCourse, "cast", count_replies),)),
    Bug(
        "an evicted member's vote counted",
        0,
        (ONCE, COUNT, PROOF),
        ((BallotCourse, "_refusal_of_voter", anybody_votes), (BallotState, "standing", standing_of_all)),
    ),
    Bug("a vote after the end turns it round", 0, (ONE_END,), ((BallotCourse, "cast", cast_after_the_end),)),
    Bug("closed twice", 0, (ONE_END,), ((BallotCourse, "close", close_again),)),
    Bug("a lost vote counted as rejection", 0, (COUNT,), ((BallotState, "standing", silence_rejects),)),
    Bug("a majority of those who came", 0, (COUNT,), ((BallotState, "standing", majority_of_those_who_came),)),
    Bug("no lock", 0, (PROOF,), ((ballot_course, "next_lock", no_lock),)),
    Bug("the silent cannot have voted", 0, (PROOF,), ((ballot_course, "next_lock", lock_by_the_votes_here),)),
    Bug(
        "nobody lies",
        0,
        (FORGERY,),
        ((Terms, "proof_weight", property(half_of_all)), (ballot_observer, "count_problem", no_count)),
        DIVIDED,
    ),
    Bug("numbers joined by their mean", 0, (HULL,), ((standing_module, "_median", mean),)),
    Bug(
        "the nodes' word for rounds",
        0,
        (FORGERY,),
        ((Terms, "proof_weight", property(believe_rounds)), (ballot_observer, "count_problem", no_count)),
        DIVIDED,
    ),
)


def main(arguments: list[str] | None = None) -> None:
    hunt("planted_ballots", __doc__, BUGS, run_with, run_without, arguments)


if __name__ == "__main__":
    sys.exit(main())
