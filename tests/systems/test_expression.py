"""The algebra: what holds a quorum, duals, minimal quorums, limits."""

from __future__ import annotations

import copy
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import algebra
from quorum.systems.algebra import LEAVES_MAX
from quorum.systems.expression import (
    ALWAYS,
    DEPTH_MAX,
    NEVER,
    Expression,
    Node,
    Threshold,
    both,
    choose,
    either,
    majority,
    parse,
)
from systems.strategies import NAMES, expressions, minimal_quorums, subsets, thresholds

a, b, c, d = map(Node, "abcd")


def test_plus_is_either_and_times_is_both() -> None:
    either_pair = a * b + c * d
    assert either_pair.contains({"a", "b"}) and either_pair.contains({"c", "d", "x"})
    assert not either_pair.contains({"a", "c"})
    assert either_pair.nodes == ("a", "b", "c", "d")


def test_choose_counts_positions_and_not_names() -> None:
    twice = choose(2, a, a, b)
    assert twice.contains({"a"}) and not twice.contains({"b"})
    assert set(twice.quorums()) == {frozenset("a")}
    assert choose(2, a + b, a * c, b).contains({"a", "c"})


def test_majority_is_more_than_half() -> None:
    assert majority(a, b, c) == choose(2, a, b, c)
    assert majority(a, b) == a * b and majority(a) == a


def test_a_threshold_adds_weights_and_a_zero_weight_adds_nothing() -> None:
    votes = Threshold({"a": 3, "b": 1, "c": 1, "d": 0}, 4)
    assert votes.contains({"a", "b"}) and not votes.contains({"b", "c", "d"})
    assert set(votes.quorums()) == {frozenset("ab"), frozenset("ac")}
    assert votes.weight("a") == 3 and votes.weight("stranger") == 0
    assert votes == Threshold((("d", 0), ("c", 1), ("b", 1), ("a", 3)), 4)
    assert not votes.uniform and Threshold({"a": 2, "b": 2}, 3).uniform


def test_either_in_either_and_both_in_both_are_one() -> None:
    assert a + (b + c) == (a + b) + c == choose(1, a, b, c) == either(a, b, c)
    assert a * (b * c) == (a * b) * c == choose(3, a, b, c) == both(a, b, c)


def test_constants_fold_away() -> None:
    assert both() == ALWAYS and either() == NEVER
    assert a * ALWAYS == a == a + NEVER
    assert a + ALWAYS == ALWAYS and a * NEVER == NEVER
    assert choose(2, ALWAYS, a, b, NEVER) == a + b
    assert ALWAYS.contains(set()) and not NEVER.contains({"a"})
    assert list(ALWAYS.quorums()) == [frozenset()] and list(NEVER.quorums()) == []
    assert ALWAYS.dual() == NEVER and NEVER.dual() == ALWAYS
    assert ALWAYS.nodes == () and str(ALWAYS) == "choose(0)" and str(NEVER) == "choose(1)"


def test_expressions_do_not_change() -> None:
    with pytest.raises(AttributeError, match="do not change"):
        a.id = "b"
    assert copy.copy(a) is a and copy.deepcopy([a * b]) == [a * b]


def test_equality_is_by_what_is_written() -> None:
    assert a * b == parse("a*b") and hash(a * b) == hash(parse("a * b"))
    assert a * b != b * a and a != "a"
    assert repr(a + b) == "parse('a + b')"


def test_only_expressions_combine() -> None:
    with pytest.raises(TypeError):
        a + "b"  # type: ignore[operator]
    with pytest.raises(TypeError):
        a * 2  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match="Wrap an id"):
        choose(1, a, "b")  # type: ignore[arg-type]


@given(expressions())
def test_the_dual_of_the_dual_is_the_expression(expression: Expression) -> None:
    assert expression.dual().dual() == expression


@given(expressions())
def test_the_dual_holds_where_the_others_hold_no_quorum(expression: Expression) -> None:
    everyone, dual = frozenset(expression.nodes), expression.dual()
    for nodes in subsets(expression.nodes):
        assert dual.contains(nodes) is not expression.contains(everyone - nodes)


@given(expressions())
def test_every_quorum_meets_every_quorum_of_the_dual(expression: Expression) -> None:
    duals = list(islice(expression.dual().quorums(), 50))
    assert all(quorum & other for quorum in islice(expression.quorums(), 50) for other in duals)


@given(expressions())
def test_quorums_are_the_minimal_sets_each_once(expression: Expression) -> None:
    found = list(expression.quorums())
    assert len(found) == len(set(found))
    assert set(found) == minimal_quorums(expression)


@given(expressions())
def test_a_single_gate_over_nodes_is_a_weighted_threshold(expression: Expression) -> None:
    votes = expression.as_threshold()
    if votes is not None:
        assert votes.nodes == expression.nodes
        assert all(votes.contains(nodes) == expression.contains(nodes) for nodes in subsets(votes.nodes))


@given(thresholds())
def test_weighted_quorums_are_minimal(votes: Threshold) -> None:
    assert set(votes.quorums()) == minimal_quorums(votes)


def test_a_threshold_over_gates_is_none() -> None:
    assert (a * b + c).as_threshold() is None
    assert choose(2, a, a, b).as_threshold() == Threshold({"a": 2, "b": 1}, 2)


def test_quorums_are_lazy_even_where_there_are_astronomically_many() -> None:
    names = [f"n{i}" for i in range(1001)]
    assert len(next(majority(*map(Node, names)).quorums())) == 501
    assert len(next(Threshold(dict.fromkeys(names, 1), 501).quorums())) == 501


def test_repeated_factors_do_not_multiply_the_walk() -> None:
    repeated = choose(2, both(*[(a + b)] * 40), both(*[(a + b)] * 40), c)
    assert set(repeated.quorums()) == {frozenset("a"), frozenset("b")}


@given(st.data(), expressions())
def test_strangers_never_matter(data: st.DataObject, expression: Expression) -> None:
    nodes = data.draw(st.frozensets(st.sampled_from(NAMES)))
    assert expression.contains(nodes | {"stranger"}) == expression.contains(nodes)


def test_the_deepest_expression_still_works_everywhere() -> None:
    deep: Expression = a
    while deep.depth < DEPTH_MAX:
        deep = choose(2, deep, b, c)
    assert parse(str(deep)) == deep and deep.dual().dual() == deep
    assert deep.contains({"b", "c"}) and set(deep.quorums()) >= {frozenset("bc")}
    with pytest.raises(ConfigurationError, match="levels deep"):
        choose(2, deep, b, c)


def test_shared_parts_cannot_hide_an_enormous_expression() -> None:
    huge: Expression = a
    while huge.leaves * 3 <= LEAVES_MAX:
        huge = choose(2, huge, huge, huge)
    with pytest.raises(ConfigurationError, match="names nodes"):
        choose(2, huge, huge, huge)


@pytest.mark.parametrize("k", [0, -1, 4, True, 2.0, "2"])
def test_choose_refuses_a_count_out_of_range(k: int) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 3"):
        choose(k, a, b, c)


def test_choose_among_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at least one"):
        majority()


@pytest.mark.parametrize("node", ["", "x" * 256, "new\nline", "\ud800", 7, None])
def test_an_id_that_cannot_be_shown_is_refused(node: str) -> None:
    with pytest.raises(ConfigurationError, match="printable"):
        Node(node)


@pytest.mark.parametrize("weight", [-1, 1.5, True, "1", algebra.TOTAL_WEIGHT_MAX + 1])
def test_a_weight_that_counts_no_votes_is_refused(weight: int) -> None:
    with pytest.raises(ConfigurationError, match="weight"):
        Threshold({"a": weight, "b": 1}, 1)


@pytest.mark.parametrize(
    ("weights", "k", "words"),
    [
        ({}, 1, "over 0 votes"),
        ({"a": 0}, 1, "over 0 votes"),
        ({"a": algebra.TOTAL_WEIGHT_MAX, "b": 1}, 1, "must be countable"),
        ({"a": 1, "b": 1}, 3, "from 1 to 2"),
        ({"a": 1, "b": 1}, 0, "from 1 to 2"),
        ((("a", 1), ("a", 1)), 1, "Name each node once"),
    ],
)
def test_a_threshold_out_of_range_is_refused(weights: dict[str, int], k: int, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Threshold(weights, k)
