"""What one member sees of the others: silence, votes that come too late, and how far they are behind."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from quorum.protocols.pbft.messages import Commit, Prepare, Status
from quorum.protocols.pbft.settings import Settings
from quorum.runtime.member_watch import TURNS_MIN, MemberWatch

TURN_US = 1_000_000


class Watched:
    def __init__(self) -> None:
        self.state: Any = SimpleNamespace(
            settings=Settings(), commit_sequence=0, ceiling=1_000, view=0, active=True, statuses={}
        )
        self.now_us = 0
        self.watch = MemberWatch(self.state, TURN_US, 0)

    def turn(self, votes: bool, view: int = 0, sequence: int | None = None, blocks: int = 1) -> Any:
        """n2 is heard all the time; ten statuses a turn, and a vote for what is decided in it, if it votes."""
        for _ in range(10):
            self.now_us += TURN_US // 10
            self.watch.heard("n2", Status(0, True, 0, 0, self.state.commit_sequence), self.now_us)
        self.state.commit_sequence += blocks
        if votes:
            place = self.state.commit_sequence if sequence is None else sequence
            self.watch.heard("n2", Commit(view, place, b"", b""), self.now_us)
        (seen,) = self.watch.look(["n2"], [], self.now_us)
        return seen


def test_votes_that_are_there_a_turn_later_are_in_time():
    watched = Watched()
    assert [watched.turn(votes=True).missed for _ in range(8)] == [0.0] * 8


def test_who_is_heard_but_does_not_vote_misses_all_once_enough_turns_were_judged():
    watched = Watched()
    seen = [watched.turn(votes=False).missed for _ in range(TURNS_MIN + 3)]
    assert seen[0] == 0.0
    assert seen[-1] > 0.5
    assert watched.turn(votes=False).phi < 1


def test_votes_of_another_view_or_far_ahead_prove_nothing():
    watched = Watched()
    for _ in range(8):
        other = watched.turn(votes=True, view=7)
    assert other.missed > 0.5
    ahead = Watched()
    ahead.turn(votes=True, sequence=1 << 60)
    ahead.state.ceiling = ahead.state.commit_sequence + 8
    for _ in range(24):
        seen = ahead.turn(votes=False, blocks=100)
    assert seen.missed > 0.5


def test_nothing_is_judged_while_nothing_is_decided():
    watched = Watched()
    for _ in range(12):
        seen = watched.turn(votes=False, blocks=0)
    assert seen.missed == 0.0


def test_a_vote_to_prepare_counts_and_a_liar_is_marked():
    watched = Watched()
    for _ in range(8):
        watched.state.commit_sequence += 1
        watched.now_us += TURN_US
        watched.watch.heard("n2", Prepare(0, watched.state.commit_sequence, b"", b""), watched.now_us)
        (seen,) = watched.watch.look(["n2"], ["n2"], watched.now_us)
    assert (seen.missed, seen.lied) == (0.0, True)


def test_how_far_another_is_behind_is_what_it_says_itself():
    watched = Watched()
    watched.state.statuses["n2"] = Status(0, True, 0, 0, 5)
    watched.state.commit_sequence = 29
    assert watched.turn(votes=True).lag_entries == 25


def test_a_member_that_slept_itself_blames_nobody():
    watched = Watched()
    for _ in range(6):
        watched.turn(votes=True)
    watched.now_us += 60 * TURN_US
    (seen,) = watched.watch.look(["n2"], [], watched.now_us)
    assert seen.phi < 8


def test_a_member_that_catches_up_judges_nobody_by_votes_that_it_never_heard():
    """It was cut off, or is new: blocks come with certificates, and who voted for them is not told."""
    watched = Watched()
    watched.state.active = False
    assert [watched.turn(votes=False, blocks=10).missed for _ in range(24)] == [0.0] * 24
    watched.state.active = True
    watched.state.view = 1
    assert watched.turn(votes=True, view=1).missed == 0.0
    assert [watched.turn(votes=True, view=1).missed for _ in range(8)] == [0.0] * 8
    for _ in range(24):
        seen = watched.turn(votes=False)
    assert seen.missed > 0.5, "from then on it judges again"
