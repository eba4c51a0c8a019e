"""A sample of the campaign with liars, and what must hold of every run. The whole: see tests/README.md."""

from __future__ import annotations

import shlex

import msgspec
import pytest

from quorum.checkers.progress import Sometimes
from quorum.errors import ConfigurationError
from quorum.sim.adversary import BEHAVIOURS, DRAWN
from quorum.sim.byzantine_campaign import ByzantinePlan, behaviours_of, run_byzantine_seed
from simulation.byzantine_campaign import ByzantineTally
from simulation.byzantine_plans import (
    EXPECTED,
    NODES,
    VERIFY_US,
    VOTES_EVERY,
    plan_of,
    run_planned,
    shortcoming,
    uneven_votes,
)
from simulation.campaign import run_campaign

SHORT = ByzantinePlan(0, seconds=34, clients=3, pause_ms=150)
QUICK = tuple(msgspec.structs.replace(SHORT, seed=seed, nodes=NODES[seed % len(NODES)]) for seed in range(12))
MORE = range(12)
LEADS = 1
"""Of this seed the first primary lies, if there are four."""
LONG = range(1_000, 1_080)
AT_LEAST = 1_023
"""No seed after this one is run once every rare branch was met."""


def seeds(numbers: range, on_each_commit: tuple[int, ...]) -> list[object]:
    """For `parametrize`: all of them, of which these are not slow."""
    return [
        number if number in on_each_commit else pytest.param(number, marks=pytest.mark.slow) for number in numbers
    ]


@pytest.mark.parametrize("number", seeds(range(12), (0, 8, 9)))
def test_every_claim_holds_with_liars_in_seed(number: int):
    plan = QUICK[number]
    outcome, _, world = run_byzantine_seed(plan)
    assert outcome.failure == ""
    assert outcome.operations > 20
    assert len(world.liars) == plan.tolerated


@pytest.mark.parametrize("seed", seeds(range(3), (1,)))
def test_every_claim_holds_with_liars_and_committees_that_change(seed: int):
    plan = msgspec.structs.replace(SHORT, seed=seed, nodes=4 + seed, seconds=44, spares=1 + seed, churn_ms=2_500)
    outcome, _, world = run_byzantine_seed(plan)
    assert outcome.failure == ""
    newest = world.newest_committee()
    assert newest is not None and newest.epoch > 2


@pytest.mark.parametrize("seed", seeds(range(100, 106), (102, 103)))
def test_every_claim_holds_with_liars_where_signatures_are_checked_late(seed: int):
    plan = msgspec.structs.replace(SHORT, seed=seed, nodes=NODES[seed % len(NODES)], verify_us=4_000)
    outcome, _, _ = run_byzantine_seed(plan)
    assert outcome.failure == ""
    assert outcome.trace != run_byzantine_seed(msgspec.structs.replace(plan, verify_us=0))[0].trace


@pytest.mark.parametrize("nodes", [4, pytest.param(6, marks=pytest.mark.slow)])
def test_a_seed_whose_liar_floods_takes_twice_the_events_of_another_at_most(nodes: int):
    plan = msgspec.structs.replace(SHORT, seed=3, nodes=nodes, pause_ms=60)
    usual, flooded = (
        run_byzantine_seed(msgspec.structs.replace(plan, lies=(lie,)))[0] for lie in ("vote-twice", "flood")
    )
    assert usual.failure == flooded.failure == ""
    assert flooded.events <= 2 * usual.events
    assert flooded.operations >= usual.operations / 3


@pytest.mark.parametrize(
    "votes", [{"weights": "2,2,1,1,1"}, {"quorums": "choose(4, n1, n2, n3, n4, n5) + n1*n2*n3"}], ids=str
)
def test_every_claim_holds_with_liars_among_members_of_different_votes(votes: dict[str, str]):
    plan = msgspec.structs.replace(SHORT, seed=9, nodes=5, **votes)
    outcome, _, world = run_byzantine_seed(plan)
    assert outcome.failure == ""
    assert world.committee.system.writes.contains({"n1", "n2", "n3"})
    assert shlex.split(outcome.replay)[-1] in votes.values()


def test_the_votes_that_plans_draw_are_safe_and_live_for_every_number_of_members():
    for seed in range(3, 200, VOTES_EVERY):
        for count in NODES:
            weights, quorums = uneven_votes(seed, count)
            behaviours_of(ByzantinePlan(seed, count, weights=weights, quorums=quorums))


@pytest.mark.parametrize(
    "votes",
    [
        {"weights": "1,2,3"},
        {"weights": "1,1,1,x"},
        {"weights": "0,1,1,1"},
        {"weights": "9,1,1,1"},
        {"weights": "2,2,2,1", "spares": 1},
        {"quorums": "choose(2, n1, n2, n3, n4)"},
        {"quorums": "choose(3, n1, n2, n3, n9)"},
        {"quorums": "((("},
    ],
    ids=str,
)
def test_votes_that_are_not_safe_and_live_are_refused(votes: dict):
    with pytest.raises(ConfigurationError):
        run_byzantine_seed(ByzantinePlan(0, **votes))


@pytest.mark.slow
@pytest.mark.parametrize("seed", MORE)
def test_every_claim_holds_with_liars_in_one_more_seed(seed: int):
    assert shortcoming(run_planned(seed)) == ""


@pytest.mark.slow
@pytest.mark.longest
def test_every_claim_holds_with_liars_in_many_seeds_that_meet_every_rare_branch():
    met = Sometimes()
    for seed in LONG:
        outcome = run_planned(seed)
        assert shortcoming(outcome) == "", f"seed {seed}: {outcome.failure}"
        met.merge(Sometimes(outcome.sometimes))
        if seed >= AT_LEAST and not met.missing(EXPECTED):
            break
    assert met.missing(EXPECTED) == ()


@pytest.mark.slow
@pytest.mark.parametrize("lie", sorted(BEHAVIOURS))
@pytest.mark.parametrize("nodes", [4, 9])
def test_every_claim_holds_with_all_liars_telling_one_lie(lie: str, nodes: int):
    plan = ByzantinePlan(7, nodes, 50, 4, 150, lies=(lie,))
    assert run_byzantine_seed(plan)[0].failure == ""


@pytest.mark.slow
def test_a_small_campaign_with_liars_passes_and_gives_the_same_traces_under_both_hash_seeds():
    tally = run_campaign(range(200, 203), (4, 5), workers=2, quiet=True, kind=ByzantineTally)
    assert tally.failures == {}
    assert {len(traces) for traces in tally.traces.values()} == {3}


def test_the_same_seed_gives_the_same_run_with_liars():
    plan = msgspec.structs.replace(SHORT, seconds=30, nodes=5, seed=3)
    assert run_byzantine_seed(plan)[0] == run_byzantine_seed(plan)[0]


def test_messages_as_bytes_change_nothing_but_the_time_it_takes_with_liars():
    plan = msgspec.structs.replace(SHORT, seconds=28, lies=("vote-twice", "hide", "silent-to-some"), seed=5)
    plain, bytewise = (run_byzantine_seed(msgspec.structs.replace(plan, wire=wire))[0] for wire in (False, True))
    assert plain.failure == bytewise.failure == ""
    assert plain.trace == bytewise.trace


def test_the_campaign_with_liars_varies_all_that_a_plan_can_say():
    plans = [plan_of(seed) for seed in range(240)]
    assert {plan.nodes for plan in plans} == set(NODES)
    assert {plan.wire for plan in plans} == {plan.disk for plan in plans} == {plan.real for plan in plans}
    assert {plan.real for plan in plans} == {False, True}
    assert {plan.spares for plan in plans} == {0, 1, 2, 3}
    assert any(plan.weights for plan in plans) and any(plan.quorums for plan in plans)
    assert {plan.verify_us for plan in plans} == set(VERIFY_US)
    assert {lie for plan in plans if len(plan.lies) == 1 for lie in plan.lies} == set(DRAWN)
    assert plans == [plan_of(seed) for seed in range(240)]


def test_without_faults_and_lies_the_first_primary_stays():
    outcome, _, world = run_byzantine_seed(
        msgspec.structs.replace(SHORT, seconds=28, lies=(), faults=(), pause_ms=60)
    )
    assert (outcome.failure, outcome.leaders, outcome.unknown) == ("", 1, 0)
    assert world.evidence == []


@pytest.mark.parametrize("lie", ["equivocate", "vote-twice"])
def test_evidence_made_with_real_keys_convinces_outside_of_the_simulator(lie: str):
    plan = msgspec.structs.replace(SHORT, seed=LEADS, seconds=26, lies=(lie,), faults=(), real=True, pause_ms=300)
    outcome, _, world = run_byzantine_seed(plan)
    assert outcome.failure == ""
    assert world.evidence


def test_a_plan_with_more_liars_than_the_members_bear_is_refused():
    for plan in (ByzantinePlan(0, liars=2), ByzantinePlan(0, lies=("fly",)), ByzantinePlan(0, seconds=10)):
        with pytest.raises(ConfigurationError):
            run_byzantine_seed(plan)
