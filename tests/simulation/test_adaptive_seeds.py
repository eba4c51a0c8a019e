"""Seeded runs in which members lie, complain, stop and return, and the policy is adaptive: every claim holds.

AdaptiveWorld checks each change of epoch as it happens, and the campaign the rest: no two decisions at one place,
no honest member named by evidence, every client answered.
"""

from __future__ import annotations

import pytest

from quorum.checkers.progress import Sometimes
from quorum.membership.committee_policy import floor_of
from quorum.sim.adversary import DRAWN, Complains
from quorum.sim.byzantine_adaptive import (
    AT_FLOOR,
    EVICTED_LIAR,
    EVICTED_SLOW,
    READMITTED,
    AdaptiveWorld,
)
from quorum.sim.byzantine_campaign import ByzantinePlan, run_byzantine_seed

pytestmark = pytest.mark.slow

NODES = (5, 6, 8)
LIES = (*DRAWN, Complains.name)
EXPECTED = (EVICTED_LIAR, EVICTED_SLOW, READMITTED, AT_FLOOR)
"""Branches that the slow runs together must reach."""
LONG = range(300, 312)


def plan_of(seed: int, **other: object) -> ByzantinePlan:
    return ByzantinePlan(seed, NODES[seed % len(NODES)], 44, 3, 150, lies=LIES, adaptive=True, **other)  # type: ignore[arg-type]


def run(plan: ByzantinePlan) -> AdaptiveWorld:
    outcome, _, world = run_byzantine_seed(plan)
    assert outcome.failure == "", plan
    assert outcome.operations > 20
    assert isinstance(world, AdaptiveWorld)
    check_ending(world, plan.tolerated)
    return world


def check_ending(world: AdaptiveWorld, faults: int) -> None:
    """A liar for whom there is evidence has a vote only where nobody may leave any more."""
    newest = world.newest_committee()
    assert newest is not None and newest.faults == faults
    assert len(newest.members) >= floor_of(faults)
    if len(newest.members) > floor_of(faults):
        for name, keeper in world.keepers.items():
            assert name in world.liars or not keeper.liars, (name, keeper.liars)


@pytest.mark.parametrize("seed", range(6))
def test_every_claim_holds_while_members_evict_and_readmit_each_other(seed: int):
    run(plan_of(seed))


def test_members_whose_messages_travel_as_bytes_and_whose_signatures_are_real_adapt_alike():
    world = run(
        ByzantinePlan(
            7, 5, 40, 2, 200, faults=("crash", "isolate"), lies=LIES, real=True, wire=True, adaptive=True
        )
    )
    assert world.judged > 0


def test_a_seed_with_an_adaptive_policy_replays_byte_for_byte():
    plan = plan_of(3)
    assert run(plan).trace.hexdigest() == run(plan).trace.hexdigest()


@pytest.mark.slow
def test_every_rare_branch_of_adaptive_committees_is_reached_in_some_seed():
    reached = Sometimes()
    for seed in LONG:
        for name, times in run(plan_of(seed)).sometimes.counts.items():
            reached.reached(name, times)
    missing = [name for name in EXPECTED if name not in reached.counts]
    assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(400, 406))
def test_adaptive_committees_take_late_checks_and_damaged_disks(seed: int):
    run(plan_of(seed, verify_us=4_000, disk=True))
