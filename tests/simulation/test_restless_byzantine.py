"""Seeded runs in which members lie, links change all the time, and weights and the lead follow: every claim holds.

WeighedCommitteeWorld checks each change of epoch as it happens (also those of who leaves and joins), and the
campaign the rest: no two decisions at one place, no honest member blamed, every client answered.
"""

from __future__ import annotations

import pytest

from quorum.checkers.progress import Sometimes
from quorum.errors import ConfigurationError
from quorum.sim.adversary import Complains, Misreports
from quorum.sim.byzantine_adaptive import EVICTED_SLOW, READMITTED
from quorum.sim.byzantine_campaign import ByzantinePlan, behaviours_of, run_byzantine_seed
from quorum.sim.node import WEIGHED

pytestmark = pytest.mark.slow

NODES = (5, 6, 4)
LIES = (Misreports.name, "vote-twice", Complains.name, "silent-to-some", Misreports.name, "equivocate")
EXPECTED = (WEIGHED, EVICTED_SLOW, READMITTED)


def plan_of(seed: int, **other: object) -> ByzantinePlan:
    lies = (LIES[seed % len(LIES)],)
    return ByzantinePlan(seed, NODES[seed % len(NODES)], 44, 3, 150, lies=lies, restless=True, **other)  # type: ignore[arg-type]


def test_every_claim_holds_while_weights_follow_links_that_change_and_members_lie():
    reached = Sometimes()
    for seed in range(6):
        outcome, _, _ = run_byzantine_seed(plan_of(seed))
        assert outcome.failure == "", plan_of(seed).replay_command()
        assert outcome.operations > 20
        reached.merge(Sometimes(outcome.sometimes))
    assert reached.missing(EXPECTED) == ()


def test_signatures_that_are_real_messages_that_are_bytes_and_late_checks_change_nothing():
    for other in ({"real": True, "wire": True}, {"verify_us": 4_000, "disk": True}):
        outcome, _, _ = run_byzantine_seed(plan_of(6, **other))
        assert outcome.failure == "" and outcome.sometimes[WEIGHED] > 0


def test_a_restless_seed_replays_byte_for_byte():
    plan = plan_of(4)
    assert "--restless" in plan.replay_command()
    assert run_byzantine_seed(plan)[0] == run_byzantine_seed(plan)[0]


def test_weights_given_by_hand_and_weights_that_follow_are_not_asked_for_together():
    with pytest.raises(ConfigurationError, match="begin as equals"):
        behaviours_of(ByzantinePlan(0, 4, restless=True, weights="2,1,1,1"))
