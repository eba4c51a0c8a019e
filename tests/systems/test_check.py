"""Intersection: exact, with a witness, by every one of the three ways."""

from __future__ import annotations

import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import check, classic, structure
from quorum.systems.algebra import DEPTH_MAX
from quorum.systems.check import check_raft, disjoint_quorums, verify_witness
from quorum.systems.expression import ALWAYS, NEVER, Expression, Node, Threshold, both, choose, either, parse
from quorum.systems.solver import deal_by_solver
from quorum.systems.structure import UNDECIDED, deal_by_structure
from quorum.systems.system import QuorumSystem
from systems.strategies import NAMES, can_miss, expressions, thresholds, trees

PLANE = classic.projective_plane(3).reads


def assert_exact(first: Expression, second: Expression) -> None:
    witness = disjoint_quorums(first, second)
    assert witness == disjoint_quorums(first, second)
    assert (witness is not None) == can_miss(first, second)
    if witness is not None:
        assert verify_witness(first, second, witness)
        for side, quorum in zip((first, second), witness):
            assert not any(side.contains(quorum - {node}) for node in quorum), "both quorums are minimal"


@given(expressions(), expressions())
@settings(max_examples=200)
def test_disjoint_quorums_agree_with_brute_force(first: Expression, second: Expression) -> None:
    assert_exact(first, second)


@given(trees())
def test_trees_of_one_shape_agree_with_brute_force(pair: tuple[Expression, Expression]) -> None:
    assert_exact(*pair)


@given(trees(), trees(NAMES[:5]))
def test_joint_trees_agree_with_brute_force(
    one: tuple[Expression, Expression], two: tuple[Expression, Expression]
) -> None:
    assert_exact(one[0] * two[0], one[1] * two[1])
    assert_exact(one[0] + two[0], one[1] * two[1])


@given(thresholds(weight_max=9), thresholds(weight_max=9))
@example(Threshold({"a": 3, "b": 3, "c": 2}, 4), Threshold({"a": 3, "b": 3, "c": 2}, 4))
@example(Threshold({"a": 5, "b": 1}, 5), Threshold({"a": 1, "b": 5}, 5))
def test_weighted_thresholds_agree_with_brute_force(first: Threshold, second: Threshold) -> None:
    assert deal_by_structure(first, second) is not UNDECIDED
    assert_exact(first, second)
    assert_exact(first, Threshold(first.weights, min(first.total, second.k)))


@given(expressions(), expressions())
def test_the_solver_agrees_with_brute_force(first: Expression, second: Expression) -> None:
    found = deal_by_solver(first, second)
    assert (found is not None) == can_miss(first, second)
    assert found is None or verify_witness(first, second, found)


@given(expressions(), expressions())
def test_structure_alone_is_never_wrong(first: Expression, second: Expression) -> None:
    found = deal_by_structure(first, second)
    if found is None:
        assert not can_miss(first, second)
    elif found is not UNDECIDED:
        assert verify_witness(first, second, found)


@given(expressions())
def test_an_expression_always_meets_its_dual(expression: Expression) -> None:
    assert disjoint_quorums(expression, expression.dual()) is None


def test_constants_meet_or_miss_as_sets_do() -> None:
    a = Node("a")
    assert disjoint_quorums(ALWAYS, a) == (frozenset(), frozenset("a"))
    assert disjoint_quorums(ALWAYS, ALWAYS) == (frozenset(), frozenset())
    assert disjoint_quorums(NEVER, a) is None and disjoint_quorums(a, NEVER) is None
    assert deal_by_solver(NEVER, a) is None
    assert deal_by_solver(ALWAYS, a) == (frozenset(), frozenset("a"))


def test_repeated_nodes_are_one_node() -> None:
    """The bridge a*b + a*c: without a, nothing works, however often a is written."""
    bridge = parse("a*b + a*c")
    assert disjoint_quorums(bridge, bridge) is None
    assert disjoint_quorums(bridge, parse("b*c + d")) == (frozenset("ab"), frozenset("d"))


def test_the_verifier_believes_nothing() -> None:
    first, second = parse("a*b"), parse("b + c")
    assert verify_witness(first, second, (frozenset("ab"), frozenset("c")))
    assert not verify_witness(first, second, (frozenset("ab"), frozenset("b")))
    assert not verify_witness(first, second, (frozenset("a"), frozenset("c")))
    assert not verify_witness(first, second, (frozenset("ab"), frozenset("d")))


def test_a_tangle_with_too_many_quorums_goes_to_the_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "QUORUMS_TRIED", 1)
    tangle = both(*(either(*map(Node, trio)) for trio in ("abc", "bcd", "cde", "dea", "eab")))
    assert deal_by_structure(tangle, tangle) is UNDECIDED
    assert_exact(tangle, tangle)
    assert_exact(tangle, both(tangle, parse("majority(a, b, c, d, e)")))


def test_structure_alone_decides_what_is_read_once_and_alike() -> None:
    groups = [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]]
    hierarchy = classic.hierarchical(groups).reads
    assert deal_by_structure(hierarchy, hierarchy) is None
    weaker = choose(2, *(choose(1, *map(Node, group)) for group in groups))
    assert deal_by_structure(hierarchy, weaker) not in (None, UNDECIDED)
    assert_exact(hierarchy, weaker)
    assert deal_by_structure(parse("a*b + c*d"), parse("(a + b) * (c + x)")) not in (None, UNDECIDED)


def test_structure_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "PAIRS_MAX", 10)
    assert deal_by_structure(PLANE, PLANE) is UNDECIDED
    assert disjoint_quorums(PLANE, PLANE) is None


def test_a_solver_that_gives_up_says_so() -> None:
    plane = classic.projective_plane(9).reads
    assert deal_by_solver(plane, plane) is None
    with pytest.raises(ConfigurationError, match="did not settle it"):
        deal_by_solver(plane, plane, conflicts_max=1)


def test_large_systems_are_checked_at_once() -> None:
    names = [f"n{i}" for i in range(1001)]
    check_raft(classic.majority(names))
    check_raft(classic.tree(names))
    check_raft(classic.hierarchical([names[i : i + 31] for i in range(0, 961, 31)]))
    assert disjoint_quorums(choose(500, *map(Node, names)), choose(501, *map(Node, names))) is not None
    rows = [names[i : i + 10] for i in range(0, 100, 10)]
    assert disjoint_quorums(classic.read_write_grid(rows).reads, classic.read_write_grid(rows).writes) is None
    check_raft(classic.grid(rows))
    check_raft(classic.joint(classic.grid(rows), classic.majority(names)))


def test_large_weights_are_checked_exactly() -> None:
    weights = {f"n{i}": 1_000 + i for i in range(200)}
    total = sum(weights.values())
    half = Threshold(weights, total // 2)
    assert disjoint_quorums(half, half) is not None
    assert disjoint_quorums(half, Threshold(weights, total - total // 2 + 1)) is None
    even = {node: 2 * weight for node, weight in weights.items()}
    assert disjoint_quorums(Threshold(even, total), Threshold(even, total)) is not None
    assert disjoint_quorums(Threshold(even, total - 1), Threshold(even, total + 1)) is None
    odd = Threshold(dict.fromkeys(weights, 6) | {"x": 3}, 600)
    assert disjoint_quorums(odd, Threshold(dict.fromkeys(weights, 6) | {"x": 4}, 605)) is None


def test_the_deepest_tangle_exhausts_no_stack() -> None:
    first: Expression = Node("a")
    second: Expression = Node("b")
    names = [Node(f"n{i}") for i in range(7)]
    for level in range(DEPTH_MAX - 1):
        if level % 2:
            first, second = first + names[level % 7], second * names[level % 5]
        else:
            first, second = first * names[level % 3], second + names[level % 7]
    limit, frames = sys.getrecursionlimit(), 0
    frame = sys._getframe()
    while frame is not None:
        frames, frame = frames + 1, frame.f_back  # type: ignore[assignment]
    sys.setrecursionlimit(frames + 700)
    try:
        assert_exact(first, second)
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize(
    "system",
    [
        classic.majority(["a", "b", "c", "d"]),
        classic.threshold(["a", "b", "c", "d", "e"], reads=4, writes=2),
        QuorumSystem("majority(a, b, c) * majority(c, d, e)"),
        classic.weighted({"a": 3, "b": 1, "c": 1}),
    ],
)
def test_raft_accepts_systems_whose_elections_meet(system: QuorumSystem) -> None:
    check_raft(system)


def test_raft_refuses_two_leaders_and_names_both_quorums() -> None:
    """Flexible Paxos needs elections to meet replications only; a Raft term also has one leader."""
    with pytest.raises(ConfigurationError, match="two leaders") as refusal:
        check_raft(classic.threshold(["a", "b", "c", "d", "e"], reads=2, writes=4))
    assert "election quorum {a, b} and election quorum {d, e}" in str(refusal.value)


def test_raft_refuses_a_leader_that_misses_a_decision() -> None:
    with pytest.raises(ConfigurationError, match="miss a decided entry") as refusal:
        check_raft(QuorumSystem("majority(a, b, c)", "a*b*d + d*e"))
    assert "replication quorum {d, e}" in str(refusal.value)


def test_raft_refuses_sides_that_nobody_or_anybody_satisfies() -> None:
    for reads, writes in ((ALWAYS, ALWAYS), (parse("a"), NEVER), (NEVER, parse("a")), (parse("a"), ALWAYS)):
        with pytest.raises(ConfigurationError, match="Name at least one node"):
            check_raft(QuorumSystem(reads, writes))


def test_a_refusal_stays_readable_for_a_thousand_nodes() -> None:
    names = [f"n{i}" for i in range(1000)]
    with pytest.raises(ConfigurationError, match="and 488 more") as refusal:
        check_raft(classic.threshold(names, reads=500, writes=600))
    assert len(str(refusal.value)) < 500


@given(st.integers(1, 8), st.data())
def test_plain_thresholds_meet_where_they_sum_above_n(size: int, data: st.DataObject) -> None:
    names = tuple(map(Node, NAMES[:size]))
    reads, writes = data.draw(st.integers(1, size)), data.draw(st.integers(1, size))
    meets = disjoint_quorums(choose(reads, *names), choose(writes, *names)) is None
    assert meets == (reads + writes > size)
