"""The WHEAT weights: every bound of the paper, tried on every assignment of small schemes."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.model import FaultModel
from quorum.systems.algebra import Threshold
from quorum.systems.byzantine import sharing_at_most
from quorum.systems.check import disjoint_quorums
from quorum.systems.expression import parse
from quorum.systems.extent import extent_of
from quorum.systems.weights import Scheme, assign, check_weights, decide_by, scheme_for, wheat

SMALL = [
    (model, faults, delta)
    for model, sizes in (("crash", (1, 2, 3)), ("byzantine", (1, 2)))
    for faults in sizes
    for delta in range(4)
]


def nodes_of(scheme: Scheme) -> list[str]:
    return [f"n{place:02}" for place in range(scheme.n)]


@pytest.mark.parametrize(("model", "faults", "delta"), SMALL)
def test_every_two_quorums_meet_and_one_survives_any_losses_whoever_is_heavy(
    model: FaultModel, faults: int, delta: int
):
    """Sousa and Bessani 2015: one common node where nodes crash, T+1 where they lie."""
    scheme = wheat(faults, delta, model)
    nodes = nodes_of(scheme)
    for heavy in combinations(nodes, scheme.n_vmax):
        weights = assign(scheme, nodes, heavy)
        as_in_paper = Threshold(weights, scheme.quorum_weight)
        for decide in (as_in_paper, decide_by(weights, faults, model)):
            common = 0 if model == "crash" else faults
            assert sharing_at_most(decide, decide, common) is None
            lost = sorted(weights, key=lambda node: -weights[node])[:faults]
            assert decide.contains(frozenset(nodes) - set(lost)), "the heaviest are the worst to lose"


@pytest.mark.parametrize(("model", "faults", "delta"), SMALL)
def test_the_engine_never_asks_for_more_votes_than_the_paper(model: FaultModel, faults: int, delta: int):
    scheme = wheat(faults, delta, model)
    nodes = nodes_of(scheme)
    decide = decide_by(assign(scheme, nodes, nodes[: scheme.n_vmax]), faults, model).as_threshold()
    assert decide is not None
    least = min(vote for _, vote in decide.weights)
    assert decide.k * scheme.vmin <= scheme.quorum_weight * least


@pytest.mark.parametrize(("model", "faults", "delta"), SMALL)
def test_the_sizes_of_minimal_quorums_are_those_counted_one_by_one(model: FaultModel, faults: int, delta: int):
    scheme = wheat(faults, delta, model)
    nodes = nodes_of(scheme)
    votes = Threshold(assign(scheme, nodes, nodes[: scheme.n_vmax]), scheme.quorum_weight)
    sizes = {len(quorum) for quorum in votes.quorums()}
    assert (min(sizes), max(sizes)) == (scheme.smallest, scheme.largest)
    assert extent_of(votes)[2:] == (scheme.smallest, scheme.largest, faults)


@pytest.mark.parametrize(("faults", "delta", "sizes"), [(1, 1, (3, 4)), (2, 2, (5, 7))])
def test_known_byzantine_figures(faults: int, delta: int, sizes: tuple[int, int]):
    """f=1, d=1: quorums of 3 to 4 of 5 nodes; f=2, d=2: of 5 to 7 of 9."""
    scheme = wheat(faults, delta)
    assert (scheme.smallest, scheme.largest) == sizes and scheme.n == 3 * faults + 1 + delta


@given(faults=st.integers(1, 30), delta=st.integers(0, 60), model=st.sampled_from(("crash", "byzantine")))
def test_the_bounds_hold_in_arithmetic_for_every_size(faults: int, delta: int, model: FaultModel):
    """Cabinet 2025: the T heaviest have less than half, the T+1 heaviest more; and the overlap of WHEAT."""
    scheme = wheat(faults, delta, model)
    assert scheme.total == scheme.n_vmax * scheme.vmax + (scheme.n - scheme.n_vmax) * scheme.vmin
    assert scheme.total - faults * scheme.vmax >= scheme.quorum_weight
    overlap = 2 * scheme.quorum_weight - scheme.total
    assert overlap > (0 if model == "crash" else faults * scheme.vmax)
    assert scheme.vmax * scheme.n_vmax + scheme.vmin >= scheme.quorum_weight > scheme.vmax * scheme.n_vmax
    if model == "crash":
        assert 2 * faults * scheme.vmax < scheme.total < 2 * (faults * scheme.vmax + scheme.vmin)


def test_heavier_weights_than_the_bound_allows_lose_safety_or_a_quorum():
    """The bound is needed: a heavy node a little heavier stops everything when it is lost."""
    scheme = wheat(1, 2, "crash")
    weights = assign(scheme, nodes_of(scheme), ["n00"])
    check_weights(weights, 1)
    with pytest.raises(ConfigurationError, match=r"n00 has 4 of 8 votes.*Give each node less than half"):
        check_weights(weights | {"n00": weights["n00"] + 1}, 1)


def test_byzantine_weights_beyond_the_bound_are_refused_with_a_remedy():
    weights = dict.fromkeys("abcde", 1) | {"a": 3}
    with pytest.raises(ConfigurationError, match="Give every 1 nodes less than a third"):
        check_weights(weights, 1, "byzantine")


def test_weights_moved_without_a_joint_step_would_let_two_values_be_decided():
    """Why a change of weights is joint: the majorities before and after can miss each other."""
    scheme = wheat(1, 2, "crash")
    nodes = nodes_of(scheme)
    before = decide_by(assign(scheme, nodes, ["n00"]), 1, "crash")
    after = decide_by(assign(scheme, nodes, ["n04"]), 1, "crash")
    assert disjoint_quorums(before, after) is not None


def test_nobody_is_heavier_where_nobody_is_to_spare():
    assert scheme_for(5, 2, "crash") is None and scheme_for(4, 1, "byzantine") is None
    assert scheme_for(5, 0, "crash") is None
    equal = wheat(2, 0, "crash")
    assert equal.vmax == equal.vmin == 1


@pytest.mark.parametrize(("faults", "delta"), [(0, 1), (1, -1), (True, 1), (1.5, 1)])
def test_counts_that_are_none_are_refused(faults: int, delta: int):
    with pytest.raises(ConfigurationError, match="the scheme counts nodes"):
        wheat(faults, delta)


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=7), data=st.data())
def test_the_extent_of_any_weights_is_that_of_all_minimal_quorums(weights: list[int], data: st.DataObject):
    votes = Threshold(
        {f"n{place}": weight for place, weight in enumerate(weights)}, data.draw(st.integers(1, sum(weights)))
    )
    sizes = {len(quorum) for quorum in votes.quorums()}
    extent = extent_of(votes)
    assert (extent.smallest, extent.largest) == (min(sizes), max(sizes))
    losses = [
        count
        for count in range(len(weights) + 1)
        if all(votes.contains(frozenset(votes.nodes) - set(some)) for some in combinations(votes.nodes, count))
    ]
    assert extent.survives == max(losses)


def test_the_extent_of_a_grid_is_found_by_trying_every_set():
    extent = extent_of(parse("(a*b + c*d)*(a+b)*(c+d)"))
    assert extent == (None, None, 3, 3, 1)


def test_figures_that_would_take_too_long_are_not_told():
    wide = Threshold({f"n{place}": 1_000 + place for place in range(200)}, 100_000)
    assert extent_of(wide).largest is None and extent_of(wide).smallest is not None
