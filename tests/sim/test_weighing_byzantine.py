"""A committee with the weights that its members' reports lead to decides as fast as was predicted."""

from __future__ import annotations

import pytest

from quorum.membership.weighing import weigh_committee
from quorum.protocols.pbft.settings import Settings
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.stopwatch import Stopwatch

pytestmark = pytest.mark.slow

NEAR_US, FAR_US = 10_000, 200_000
NEAR = {"n1", "n2", "n3"}
OWN_US = 15_000
"""What the simulated network, disks and the client's way add to every decision, at most."""


def rtt_us(one: str, other: str) -> int:
    return NEAR_US if {one, other} <= NEAR else FAR_US


def world_of(weights: tuple[int, ...] = ()) -> ByzantineWorld:
    """Five members of which one may lie; three are near each other."""
    world = ByzantineWorld(1, 5, 1, {}, Settings(view_timeout_us=20_000_000), weights=weights)
    for one in world.nodes:
        for other in world.nodes:
            if one != other:
                world.network.distances[one, other] = rtt_us(one, other) // 2
    world.boot()
    return world


def test_pbft_takes_what_was_predicted_with_equal_weights_and_with_those_that_suit_the_links():
    """WHEAT for f=1, d=1: the three near members decide alone; without weights it takes a fourth, far one."""
    equal = world_of()
    names = equal.committee.nodes
    reports = {one: {other: rtt_us(one, other) for other in names if other != one} for one in names}
    weighed = weigh_committee(equal.committee, "n1", reports)
    assert weighed is not None and weighed.primary == "n1"
    weights = tuple(member.weight for member in weighed.committee.members)
    for world, predicted_us in ((equal, weighed.present_us), (world_of(weights), weighed.predicted_us)):
        took_us = Stopwatch(world).run(20, 60_000_000)
        assert predicted_us <= took_us <= predicted_us + OWN_US
    assert weighed.predicted_us * 10 < weighed.present_us
