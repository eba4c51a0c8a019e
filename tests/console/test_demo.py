"""The stories of the demo: an eviction and a return, and losses one after another, on real processes."""

from __future__ import annotations

import msgspec
import pytest

from quorum.console import demo_faults
from quorum.console.demo_shrink import Shrink, Step

ALL = ("n1", "n2", "n3", "n4", "n5")
GOOD = demo_faults.Story(
    decision="red",
    decision_agreed=True,
    adapts=True,
    lost="n1",
    put_out_ms=3_000,
    reason="unreachable",
    left=3,
    quorum=2,
    decided_without=True,
    caught_up_ms=1_000,
    votes_again_ms=4_000,
    minority_refused=True,
    majority_decided=True,
)


def step(kind: str, node: str, *voters: str, running: int = 5, decided: bool = True) -> Step:
    return Step(kind, node, 1.0, running, 1, voters, len(voters) // 2 + 1, 10, None, decided)


def shrunk(*steps: Step, survived: int = 3, all_vote_ms: int = 1) -> Shrink:
    return Shrink("adaptive", 5, 3, 2, survived, all_vote_ms, list(steps))


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        ({"put_out_ms": -1}, "not put out of the vote"),
        ({"votes_again_ms": -1}, "did not get its vote back"),
        ({"decided_without": False}, "did not decide"),
        ({"caught_up_ms": -1}, "did not catch up"),
    ],
)
def test_a_demo_without_its_eviction_or_return_is_bad(instead, says):
    assert GOOD.problems() == []
    spoilt = msgspec.structs.replace(GOOD, **instead)
    assert len(spoilt.problems()) == 1 and says in spoilt.problems()[0]
    fixed = msgspec.structs.replace(spoilt, adapts=False)
    assert fixed.problems() == ([] if "caught_up_ms" not in instead else spoilt.problems()), (
        "where nobody is put out, nobody must be"
    )


def test_a_shrinking_story_that_stops_early_or_does_not_return_is_bad():
    end = step("end", "", *ALL)
    assert shrunk(step("lost", "n1", "n2", "n3", "n4"), end).problems() == []
    (stopped,) = shrunk(step("lost", "n3", *ALL, running=2, decided=False), end, survived=2).problems()
    assert stopped == "2 of 3 losses were survived; after the next one 2 nodes ran, and 3 of 5 voters must decide"
    (kept,) = shrunk(step("lost", "n3", *ALL), end, survived=2).problems()
    assert "n3 kept its vote" in kept
    (away,) = shrunk(step("lost", "n3", *ALL), end, all_vote_ms=-1).problems()
    assert "not every node had its vote" in away
    (undecided,) = shrunk(step("lost", "n3", *ALL), step("end", "", *ALL, decided=False)).problems()
    assert "nothing was decided after the returns" in undecided


def test_the_quorums_on_the_way_are_those_of_each_committee():
    told = shrunk(step("start", "", *ALL), step("lost", "n1", *ALL[1:4]), step("end", "", *ALL))
    assert dict(told.rows())["quorums on the way"] == "3 of 5, 2 of 3, 3 of 5"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("--story", "shrink", "--nodes", "3"), "Ask for 5, 7 or 9"),
        (("--story", "shrink", "--nodes", "6"), "Ask for 5, 7 or 9"),
        (("--story", "shrink", "--model", "byzantine"), "Leave --story or --model out"),
        (("--policy", "fixed"), "Add --story shrink"),
    ],
)
def test_a_story_that_cannot_be_told_is_refused(run, asked, says):
    result = run("demo", *asked)
    assert result.exit_code == 2 and says in result.stderr


@pytest.mark.cluster
@pytest.mark.slow
def test_the_demo_puts_the_killed_leader_out_of_the_vote_and_takes_it_back(run):
    result = run("demo", "--seconds", 12)
    assert result.exit_code == 0 and "verdict: good" in result.output, result.output
    assert " is put out of the vote: unreachable; " in result.output and " votes again; " in result.output
    assert " vote, quorum 2 " in result.output and "voted on, quorum 2" in result.output


@pytest.mark.cluster
@pytest.mark.slow
def test_members_are_lost_down_to_two_and_decisions_go_on(run_json):
    code, told = run_json("demo", "--story", "shrink", "--nodes", 5)
    assert (code, told["verdict"], told["problems"]) == (0, "good", [])
    story = told["story"]
    assert (story["survived"], story["fixed_survives"], told["faults"]["kill"]) == (3, 2, 3)
    start, *_, end = story["steps"]
    losses = [step for step in story["steps"] if step["kind"] == "lost"]
    assert [(step["running"], len(step["voters"]), step["quorum"]) for step in (start, *losses, end)] == [
        (5, 5, 3),
        (4, 3, 2),
        (3, 3, 2),
        (2, 3, 2),
        (5, 5, 3),
    ]
    assert all(step["decided"] for step in story["steps"])
    epochs = [step["epoch"] for step in (start, *losses[:2], end)]
    assert epochs == sorted(set(epochs)), "each committee has an epoch of its own"


@pytest.mark.cluster
@pytest.mark.slow
def test_the_same_losses_stop_a_fixed_committee_and_break_nothing(run_json):
    """The negative control: it is the policy that survives them."""
    code, told = run_json("demo", "--story", "shrink", "--nodes", 5, "--policy", "fixed")
    assert (code, told["verdict"], told["history"]["verdict"]) == (1, "bad", "linearizable")
    (problem,) = told["problems"]
    assert problem.startswith("2 of 3 losses were survived") and told["story"]["survived"] == 2
    assert told["story"]["steps"][-1]["decided"] and told["states_equal"] and told["lost"] == []
