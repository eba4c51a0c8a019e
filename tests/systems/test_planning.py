"""The fewest nodes that reach a target: against counting, and why fewer do not."""

from __future__ import annotations

import math
from fractions import Fraction
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems.planning import Plan, Wanted, plan

CHANCES = st.sampled_from([Fraction(1, 1000), Fraction(1, 100), Fraction(1, 20), Fraction(1, 10)])
FIVE_NINES = Fraction(99_999, 100_000)


def fewer_than(quorum: int, nodes: int, failure: Fraction) -> Fraction:
    """How likely fewer than a quorum of nodes are up: the sum over all numbers of them."""
    return sum(
        (comb(nodes, up) * (1 - failure) ** up * failure ** (nodes - up) for up in range(quorum)),
        start=Fraction(0),
    )


@settings(max_examples=30)
@given(failure=CHANCES, nines=st.integers(2, 7), faults=st.integers(1, 2), lies=st.booleans())
def test_the_choice_is_the_smallest_that_counting_finds(failure, nines, faults, lies):
    target = 1 - Fraction(1, 10**nines)
    model, parts = ("byzantine", 3) if lies else ("crash", 2)
    wanted = Wanted(target=target, failure=failure, faults=faults, model=model, nodes_max=25)
    smallest = None
    for nodes in range(parts * faults + 1, 26):
        tolerated = range(faults, (nodes - 1) // 3 + 1) if lies else [(nodes - 1) // 2]
        chances = [fewer_than((nodes + t) // 2 + 1 if lies else nodes // 2 + 1, nodes, failure) for t in tolerated]
        if min(chances) <= 1 - target:
            smallest = nodes, min(chances)
            break
    found = plan(wanted).chosen
    assert (found is None) == (smallest is None)
    if found is not None and smallest is not None:
        assert found.nodes == smallest[0]
        assert found.log_unavailability == pytest.approx(math.log(smallest[1]), rel=1e-9)


def test_five_nines_of_nodes_with_two_take_five_that_crash_or_eight_that_lie():
    crash = plan(Wanted(target=FIVE_NINES, failure=Fraction(1, 100)))
    lying = plan(Wanted(target=FIVE_NINES, failure=Fraction(1, 100), model="byzantine"))
    assert crash.chosen and (crash.chosen.nodes, crash.chosen.quorum) == (5, 3)
    assert lying.chosen and (lying.chosen.nodes, lying.chosen.faults, lying.chosen.quorum) == (8, 1, 5)


def test_each_cheaper_choice_says_how_far_it_is_from_the_target():
    found = plan(Wanted(target=FIVE_NINES, failure=Fraction(1, 100)))
    assert [(each.nodes, each.shortcoming) for each in found.cheaper] == [
        (4, "it fails 59.2 times as often as allowed"),
        (3, "it fails 29.8 times as often as allowed"),
    ]
    assert 1e5 * fewer_than(3, 4, Fraction(1, 100)) == pytest.approx(59.2, abs=0.05)


def test_zones_are_dealt_out_evenly_and_one_of_three_can_be_lost():
    wanted = Wanted(
        target=Fraction(999, 1000),
        failure=Fraction(1, 100),
        zones=3,
        zone_failure=Fraction(1, 1000),
        survives_zone=True,
        faults=2,
    )
    found = plan(wanted).chosen
    assert found is not None and found.zones == (2, 2, 1) and found.nodes - max(found.zones) >= found.quorum


def test_two_zones_never_survive_the_loss_of_one():
    wanted = Wanted(target=Fraction(9, 10), failure=Fraction(1, 100), zones=2, survives_zone=True, nodes_max=9)
    found = plan(wanted)
    assert found.chosen is None
    assert all("losing a zone" in each.shortcoming for each in found.cheaper)


def test_a_zone_that_fails_bounds_what_more_nodes_in_it_are_worth():
    one = Wanted(target=FIVE_NINES, failure=Fraction(1, 100), zones=1, zone_failure=Fraction(1, 1000))
    found = plan(one)
    assert found.chosen is None
    assert all(each.unavailability > 0.99e-3 for each in found.cheaper)


def test_where_a_node_may_lie_more_are_needed_than_where_none_does():
    honest = Wanted(target=FIVE_NINES, failure=Fraction(1, 100), model="byzantine", nodes_max=21)
    lying = plan(Wanted(target=FIVE_NINES, failure=Fraction(1, 100), model="byzantine", lying=Fraction(1, 1000)))
    assert lying.chosen and plan(honest).chosen and lying.chosen.nodes > plan(honest).chosen.nodes


def front_is_sound(found: Plan) -> bool:
    return not any(
        other is not each
        and other.cost <= each.cost
        and other.log_unavailability <= each.log_unavailability
        and other.load <= each.load
        for each in found.front
        for other in found.front
    )


@settings(max_examples=20)
@given(failure=CHANCES, lies=st.booleans())
def test_nothing_on_the_front_is_beaten(failure, lies):
    found = plan(Wanted(target=FIVE_NINES, failure=failure, model="byzantine" if lies else "crash", nodes_max=15))
    assert found.front and front_is_sound(found)
    if found.chosen is not None:
        assert any(each.cost <= found.chosen.cost for each in found.front)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"target": Fraction(1)}, "target"),
        ({"model": "chaos"}, "model"),
        ({"faults": -1}, "T=-1"),
        ({"faults": 30}, "61 nodes"),
        ({"nodes_max": 10_000}, "at most"),
        ({"lying": Fraction(1, 10)}, "byzantine"),
        ({"survives_zone": True}, "zones"),
        ({"zone_failure": Fraction(1, 10)}, "zones"),
        ({"node_cost": 0.0}, "cost"),
        ({"node_cost": float("nan")}, "cost"),
        ({"failure": Fraction(3, 2)}, "0 to 1"),
        ({"model": "byzantine", "failure": Fraction(1, 2), "lying": Fraction(2, 3)}, "one state"),
    ],
)
def test_what_cannot_be_planned_is_refused_with_a_remedy(fields, word):
    with pytest.raises(ConfigurationError, match=word):
        plan(Wanted(**{"target": FIVE_NINES, "failure": Fraction(1, 100), **fields}))
