"""Byzantine quorum systems: every two quorums share more than T nodes, and T nodes stop none, with witnesses."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import classic
from quorum.systems.byzantine import (
    blocking_set,
    byzantine,
    check_byzantine,
    sharing_at_most,
    verify_sharing,
    weighted_byzantine,
)
from quorum.systems.expression import ALWAYS, NEVER, Expression, Node, Threshold, both, choose, parse
from quorum.systems.system import QuorumSystem
from systems.strategies import NAMES, expressions, minimal_quorums, thresholds


def least_shared(first: Expression, second: Expression) -> int:
    """By brute force: the fewest nodes that a quorum of each share."""
    return min(len(mine & theirs) for mine in minimal_quorums(first) for theirs in minimal_quorums(second))


def fewest_that_block(expression: Expression) -> int:
    """By brute force: the fewest nodes that meet every quorum."""
    quorums = minimal_quorums(expression)
    return next(
        size
        for size in range(len(expression.nodes) + 1)
        for chosen in combinations(expression.nodes, size)
        if all(quorum & set(chosen) for quorum in quorums)
    )


@given(expressions(NAMES[:6], 8), expressions(NAMES[:6], 8), st.integers(0, 4))
@settings(max_examples=150)
def test_two_quorums_that_share_few_nodes_are_found_exactly_where_there_are_some(
    first: Expression, second: Expression, count: int
) -> None:
    for one, other in ((first, second), (first, first)):
        witness = sharing_at_most(one, other, count)
        assert (witness is not None) == (least_shared(one, other) <= count)
        assert witness is None or verify_sharing(one, other, count, witness)


@given(thresholds(weight_max=7), st.integers(0, 5))
def test_weighted_thresholds_are_settled_by_arithmetic_and_agree_with_brute_force(
    votes: Threshold, count: int
) -> None:
    witness = sharing_at_most(votes, votes, count)
    assert (witness is not None) == (least_shared(votes, votes) <= count)


@given(expressions(NAMES[:6], 8), st.integers(0, 4))
@settings(max_examples=150)
def test_a_set_that_stops_every_quorum_is_found_exactly_where_there_is_one(
    expression: Expression, count: int
) -> None:
    found = blocking_set(expression, count)
    assert (found is not None) == (fewest_that_block(expression) <= count)
    if found is not None:
        assert len(found) <= count
        assert not expression.contains(frozenset(expression.nodes) - found)


@given(thresholds(weight_max=7), st.integers(0, 5))
def test_a_set_that_stops_every_threshold_quorum_is_the_heaviest_nodes(votes: Threshold, count: int) -> None:
    assert (blocking_set(votes, count) is not None) == (fewest_that_block(votes) <= count)


@pytest.mark.parametrize("size", range(4, 32))
def test_the_quorum_of_every_size_passes_and_one_vote_less_or_more_does_not(size: int) -> None:
    nodes = tuple(Node(f"n{place:02}") for place in range(size))
    faults = (size - 1) // 3
    system = byzantine((node.id for node in nodes), faults)
    check_byzantine(system, faults)
    votes = system.writes.as_threshold()
    assert votes is not None and votes.k == -(-(size + faults + 1) // 2)
    fewer = choose(votes.k - 1, *nodes)
    with pytest.raises(ConfigurationError, match="share"):
        check_byzantine(QuorumSystem(fewer, fewer), faults)
    too_many = choose(size - faults + 1, *nodes)
    with pytest.raises(ConfigurationError, match="no quorum is left"):
        check_byzantine(QuorumSystem(too_many, too_many), faults)


def test_2t_plus_1_of_five_six_eight_and_nine_nodes_is_refused() -> None:
    for size in (5, 6, 8, 9):
        faults = (size - 1) // 3
        plain = choose(2 * faults + 1, *(Node(f"n{place}") for place in range(size)))
        with pytest.raises(ConfigurationError, match="two values are decided"):
            check_byzantine(QuorumSystem(plain, plain), faults)


def test_too_few_nodes_for_the_liars_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match="lower T to 1"):
        byzantine("abcde", 2)
    with pytest.raises(ConfigurationError, match="named twice"):
        byzantine("aabc", 1)


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9), min_size=4), st.integers(1, 2))
def test_weighted_quorums_pass_the_check_or_are_refused_by_their_constructor(
    weights: dict[str, int], faults: int
) -> None:
    try:
        system = weighted_byzantine(weights, faults)
    except ConfigurationError:
        heaviest = sum(sorted(weights.values(), reverse=True)[:faults])
        assert 3 * heaviest >= sum(weights.values()), "with less than a third of the votes there are quorums"
        return
    check_byzantine(system, faults)


def test_a_system_that_is_no_threshold_is_judged_exactly() -> None:
    grid = classic.grid([[f"{row}{column}" for column in range(4)] for row in "abcd"])
    check_byzantine(grid, 0)
    with pytest.raises(ConfigurationError, match="two values are decided"):
        check_byzantine(grid, 3)
    squares = [choose(3, *(Node(f"{zone}{place}") for place in range(4))) for zone in "abcd"]
    zones = choose(3, *squares)
    check_byzantine(QuorumSystem(zones, zones), 1)
    check_byzantine(QuorumSystem(zones, zones), 3)
    with pytest.raises(ConfigurationError):
        check_byzantine(QuorumSystem(zones, zones), 4)


def test_reads_that_are_not_writes_and_empty_systems_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Give one expression for both"):
        check_byzantine(QuorumSystem(reads=parse("choose(2,a,b,c,d)")), 1)
    for nothing in (ALWAYS, NEVER):
        with pytest.raises(ConfigurationError, match="Name at least one node"):
            check_byzantine(QuorumSystem(nothing, nothing), 1)
    assert sharing_at_most(NEVER, parse("a"), 3) is None
    assert blocking_set(ALWAYS, 3) is None
    assert blocking_set(both(parse("a"), parse("b")), 0) is None


def test_a_number_of_liars_below_none_is_refused_and_stops_nothing() -> None:
    nodes = choose(3, *map(Node, "abcd"))
    assert blocking_set(nodes, -1) is None
    assert sharing_at_most(nodes, nodes, -1) is None
    for refused in (
        lambda: check_byzantine(QuorumSystem(nodes, nodes), -1),
        lambda: weighted_byzantine(dict.fromkeys("abcd", 1), -1),
        lambda: byzantine("abcd", -1),
    ):
        with pytest.raises(ConfigurationError, match="0 or more"):
            refused()
