"""A sample of the campaign of ballots, and planted bugs that its observer sees. The whole: see tests/README.md."""

from __future__ import annotations

import msgspec
import pytest

from quorum.apps.ballot import BallotView, LookBallot
from quorum.certificate.ballot import CastVote, Opening, Outcome, Round
from quorum.checkers.progress import Sometimes
from quorum.checkers.violation import Violation
from quorum.voting.ballot.standing import Standing
from quorum.voting.ballot.terms import Terms, Voter
from simulation import ballot_observer as seen
from simulation.ballot_campaign import BallotTally, figures
from simulation.ballot_observer import Observer
from simulation.ballot_plans import EXPECTED, NODES, plan_of, run_planned, shortcoming
from simulation.ballot_scene import BallotPlan, run_ballots
from simulation.campaign import run_campaign
from simulation.planted_ballots import BUGS, Bug, planted, run_with, run_without
from simulation.planted_hunt import search

SAMPLE = range(40)
ON_EACH_COMMIT = (0, 2, 4)
"""One of each model, and one in which opinions are divided."""
QUICK_BUGS = (
    "blank retry",
    "replies counted instead of voters",
    "closed twice",
    "a lost vote counted as rejection",
)


@pytest.mark.parametrize("seed", ON_EACH_COMMIT)
def test_no_ballot_is_decided_in_two_ways_in_seed(seed: int):
    outcome = run_planned(seed)
    assert shortcoming(outcome) == ""
    assert outcome.sometimes[seen.OPENED] > 4


@pytest.mark.slow
def test_no_ballot_is_decided_in_two_ways_in_many_seeds_that_meet_every_rare_branch():
    met = Sometimes()
    for seed in SAMPLE:
        outcome = run_planned(seed)
        assert shortcoming(outcome) == "", f"seed {seed}: {outcome.failure}"
        met.merge(Sometimes(outcome.sometimes))
    assert met.missing(EXPECTED) == ()


@pytest.mark.slow
def test_a_small_campaign_of_ballots_gives_the_same_traces_under_both_hash_seeds():
    tally = run_campaign(range(100, 103), NODES, workers=2, quiet=True, kind=BallotTally)
    assert tally.failures == {}
    assert {len(traces) for traces in tally.traces.values()} == {3}
    assert isinstance(tally, BallotTally) and figures(tally)["conflicting_decisions"] == 0


def test_the_campaign_of_ballots_varies_all_that_a_plan_can_say():
    plans = [plan_of(seed) for seed in range(120)]
    assert {plan.nodes for plan in plans} == set(NODES)
    assert {plan.model for plan in plans} == {"crash", "byzantine"}
    assert all(plan.nodes >= 4 for plan in plans if plan.model == "byzantine")
    assert {plan.disk for plan in plans} == {plan.divided for plan in plans} == {False, True}
    assert plans == [plan_of(seed) for seed in range(120)]


@pytest.mark.parametrize(
    "bug",
    [pytest.param(bug, marks=() if bug.name in QUICK_BUGS else pytest.mark.slow) for bug in BUGS],
    ids=lambda bug: bug.name,
)
def test_the_campaign_of_ballots_catches(bug: Bug):
    hits = search(run_with, bug, range(bug.seed, bug.seed + bug.tries))
    assert hits, f"not caught; look for another seed: python -m tests.simulation.planted_ballots '{bug.name}'"
    seed, outcome = hits[0]
    assert outcome.failure.startswith(bug.claims), outcome.failure
    assert run_without(bug, seed).failure == ""


def test_a_planted_bug_of_ballots_leaves_the_code_as_it_was():
    bug = BUGS[0]
    before = [getattr(owner, name) for owner, name, _ in bug.patches]
    with planted(bug):
        assert [getattr(owner, name) for owner, name, _ in bug.patches] != before
    assert [getattr(owner, name) for owner, name, _ in bug.patches] == before


def test_the_same_seed_gives_the_same_ballots():
    plan = BallotPlan(3, seconds=25)
    assert run_ballots(plan)[0] == run_ballots(plan)[0]


# The observer sees what is wrong.

TERMS = Terms(name="b", question="?", electorate=tuple(map(Voter, ("ann", "bob", "cat"))))
WON = Standing("won", "approve", {"approve": 2, "reject": 0}, 2, 3, 2, 0)
VOTES = (CastVote("ann", 1, "approve", 1), CastVote("bob", 1, "approve", 2))


def ended() -> BallotView:
    opening = Opening(TERMS, "simulated", "op", 1, 0, 0)
    return BallotView(
        opening, "ended", (Round(("ann", "bob", "cat"), 0),), VOTES, (), WON, Outcome(WON, 9, 0), None, None
    )


def told(*views: BallotView, signed: tuple[CastVote, ...] = VOTES) -> None:
    """What an observer makes of these views, each asked for after the one before."""
    observer = Observer(Sometimes())
    for view in views:
        affair = observer.opened(view.opening)
        for vote in signed:
            observer.knows(affair, msgspec.structs.replace(vote, at=0), "approve")
        observer.heard(LookBallot("b"), view, observer.answers)


def test_the_observer_hears_the_same_end_twice_without_complaint():
    told(ended(), ended())
    assert ended().outcome is not None


LOST = Standing("lost", None, {"approve": 1, "reject": 0}, 1, 3, 2, 0)


@pytest.mark.parametrize(
    ("claim", "fields"),
    [
        (seen.ONE_END, {"outcome": Outcome(WON, 10, 0)}),
        (seen.ONE_END, {"outcome": Outcome(LOST, 9, 0), "votes": VOTES[:1]}),
        (seen.ONE_END, {"outcome": None, "phase": "voting"}),
        (seen.LOCK, {"rounds": (Round(("ann", "bob"), 0),)}),
        (seen.ONCE, {"votes": (*VOTES, CastVote("cat", 1, "reject", 3))}),
        (seen.ONCE, {"votes": (VOTES[0], VOTES[0])}),
    ],
)
def test_the_observer_sees_a_second_end_that_is_another(claim, fields):
    with pytest.raises(Violation, match=claim):
        told(ended(), msgspec.structs.replace(ended(), **fields))


@pytest.mark.parametrize(
    ("claim", "fields"),
    [
        (seen.COUNT, {"outcome": Outcome(LOST, 9, 0)}),
        (seen.COUNT, {"votes": VOTES[:1]}),
        (seen.ONCE, {"votes": (*VOTES, CastVote("zoe", 1, "approve", 3))}),
        (seen.LOCK, {"rounds": (Round(("ann", "bob", "cat"), 0, "reject"),)}),
    ],
)
def test_the_observer_sees_an_end_that_does_not_follow_from_the_votes(claim, fields):
    with pytest.raises(Violation, match=claim):
        told(msgspec.structs.replace(ended(), **fields))


def test_the_observer_sees_that_a_counted_vote_is_gone():
    observer, view = Observer(Sometimes()), ended()
    affair = observer.opened(view.opening)
    third = CastVote("cat", 1, "approve", 0)
    for vote in (*VOTES, third):
        observer.knows(affair, msgspec.structs.replace(vote, at=0), "approve")
    affair.counted["cat"] = third
    with pytest.raises(Violation, match=seen.KEPT):
        observer.heard(LookBallot("b"), view, 0)
