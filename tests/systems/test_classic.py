"""The classic constructions: their known quorum sizes, counts and intersections, and what they refuse."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import ConfigurationError
from quorum.systems import classic
from quorum.systems.check import check_raft, disjoint_quorums
from quorum.systems.expression import Threshold, parse
from quorum.systems.system import QuorumSystem
from systems.strategies import NAMES


def sizes(system: QuorumSystem) -> list[int]:
    return sorted(len(quorum) for quorum in system.reads.quorums())


def square(side: int) -> list[list[str]]:
    return [[f"n{row}_{column}" for column in range(side)] for row in range(side)]


@pytest.mark.parametrize("nodes", range(1, 9))
def test_majorities_are_all_sets_of_more_than_half(nodes: int) -> None:
    system = classic.majority(NAMES[:nodes])
    assert sizes(system) == [nodes // 2 + 1] * comb(nodes, nodes // 2 + 1)
    assert system.reads == system.writes
    check_raft(system)


@given(st.integers(1, 8), st.integers(-1, 9), st.integers(-1, 9))
def test_flexible_thresholds_must_sum_above_n(nodes: int, reads: int, writes: int) -> None:
    """Flexible Paxos (2016), section 4."""
    if 1 <= reads <= nodes and 1 <= writes <= nodes and reads + writes > nodes:
        system = classic.threshold(NAMES[:nodes], reads, writes)
        assert disjoint_quorums(system.reads, system.writes) is None
        assert sizes(system) == [reads] * comb(nodes, reads)
    else:
        with pytest.raises(ConfigurationError):
            classic.threshold(NAMES[:nodes], reads, writes)


def test_weights_default_to_more_than_half_of_the_votes() -> None:
    system = classic.weighted({"a": 2, "b": 1, "c": 1})
    assert system.reads == system.writes == Threshold({"a": 2, "b": 1, "c": 1}, 3)
    assert classic.weighted({"c": 1, "a": 1, "b": 1}).reads == parse("majority(a, b, c)")
    check_raft(system)


def test_one_side_of_the_weights_leaves_the_other_the_fewest_votes() -> None:
    """Gifford (1979): r + w > V."""
    weights = {"a": 3, "b": 2, "c": 1}
    assert classic.weighted(weights, reads=2).writes == Threshold(weights, 5)
    assert classic.weighted(weights, writes=4).reads == Threshold(weights, 3)
    system = classic.weighted(weights, reads=3, writes=4)
    assert disjoint_quorums(system.reads, system.writes) is None
    with pytest.raises(ConfigurationError, match="sum to 7 or more"):
        classic.weighted(weights, reads=3, writes=3)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_a_grid_has_a_row_and_one_node_of_each_other(side: int) -> None:
    """Maekawa (1985): 2 * sqrt(n) - 1 nodes."""
    system = classic.grid(square(side))
    assert sizes(system) == [2 * side - 1] * (side * side ** (side - 1) if side > 1 else 1)
    check_raft(system)


def test_a_grid_may_have_rows_of_different_length() -> None:
    system = classic.grid([["a", "b"], ["c", "d", "e"]])
    assert system.is_read_quorum({"a", "b", "e"}) and not system.is_read_quorum({"c", "d", "e"})
    check_raft(system)


def test_a_read_write_grid_reads_a_row_and_writes_a_cover() -> None:
    system = classic.read_write_grid([["a", "b"], ["c", "d", "e"]])
    assert system.reads == parse("a*b + c*d*e")
    assert system.writes == parse("(a + b) * (c + d + e)")
    assert disjoint_quorums(system.reads, system.writes) is None
    with pytest.raises(ConfigurationError, match="two leaders"):
        check_raft(system)


def test_tree_quorums_are_a_path_or_replace_a_node_by_both_subtrees() -> None:
    """Agrawal and El Abbadi (1990): log n nodes at best, (n + 1) / 2 when every inner node is down."""
    system = classic.tree(["1", "2", "3", "4", "5", "6", "7"])
    assert sizes(system)[0] == 3 and sizes(system)[-1] == 4
    assert system.is_write_quorum({"1", "2", "4"}) and system.is_write_quorum({"4", "5", "6", "7"})
    assert system.is_write_quorum({"1", "6", "7"}) and not system.is_write_quorum({"1", "2", "3"})
    check_raft(system)


def test_tree_quorums_of_higher_arity_need_every_subtree_without_the_root() -> None:
    system = classic.tree(["r", "a", "b", "c"], arity=3)
    assert set(system.reads.quorums()) == {frozenset("ra"), frozenset("rb"), frozenset("rc"), frozenset("abc")}
    check_raft(system)
    check_raft(classic.tree([f"n{i}" for i in range(40)], arity=3))


def test_hierarchical_quorums_are_majorities_of_majorities() -> None:
    """Kumar (1991): n ** 0.63 nodes for groups of three."""
    system = classic.hierarchical([["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]])
    assert sizes(system) == [4] * 27
    assert str(system.reads) == "majority(majority(a, b, c), majority(d, e, f), majority(g, h, i))"
    check_raft(system)
    uneven = classic.hierarchical(["x", ["a", "b"], [["c", "d", "e"], "f", "g"]])
    assert uneven.is_read_quorum({"x", "a", "b"}) and uneven.is_read_quorum({"x", "c", "d", "f"})
    check_raft(uneven)


@pytest.mark.parametrize("widths", [(1,), (1, 2), (1, 2, 3), (1, 2, 2, 2), (2, 3), (3, 1, 2)])
def test_wall_quorums_are_a_row_and_one_node_of_each_row_below(widths: tuple[int, ...]) -> None:
    """Peleg and Wool (1997), section 2."""
    rows = [[f"w{row}_{place}" for place in range(width)] for row, width in enumerate(widths)]
    system = classic.crumbling_wall(rows)
    full = [set(row) for row in rows]
    for quorum in system.reads.quorums():
        starts = [row for row in range(len(rows)) if full[row] <= quorum]
        assert any(all(full[below] & quorum for below in range(row + 1, len(rows))) for row in starts)
    assert system.is_read_quorum(rows[-1])
    check_raft(system)


def test_a_wall_with_one_node_on_top_is_not_dominated() -> None:
    """Peleg and Wool (1997): a non-dominated system is its own dual."""
    system = classic.crumbling_wall([["a"], ["b", "c"], ["d", "e", "f"]])
    assert set(system.reads.quorums()) == set(system.reads.dual().quorums())


@pytest.mark.parametrize("order", [2, 3, 4, 5, 7, 8, 9, 11, 13])
def test_two_lines_of_a_plane_share_exactly_one_node(order: int) -> None:
    """Maekawa (1985), section 3."""
    system = classic.projective_plane(order)
    lines = list(system.reads.quorums())
    size = order * order + order + 1
    assert len(lines) == size == len(system.nodes)
    assert all(len(line) == order + 1 for line in lines)
    assert all(len(one & other) == 1 for one, other in combinations(lines, 2))


@pytest.mark.parametrize("order", [2, 3, 5])
def test_planes_are_safe_for_raft(order: int) -> None:
    check_raft(classic.projective_plane(order))


def test_a_plane_takes_names() -> None:
    system = classic.projective_plane(2, ["a", "b", "c", "d", "e", "f", "g"])
    assert system.nodes == tuple("abcdefg")
    assert classic.projective_plane(2).nodes == tuple(f"p{i}" for i in range(1, 8))


@pytest.mark.parametrize("order", [0, 1, 6, 10, 12, 16, -2, True, 2.5])
def test_other_orders_are_refused(order: int) -> None:
    with pytest.raises(ConfigurationError, match="powers of primes"):
        classic.projective_plane(order)


def test_a_joint_system_needs_both() -> None:
    first, second = classic.majority(["a", "b", "c"]), classic.majority(["c", "d", "e"])
    system = classic.joint(first, second)
    assert system.is_write_quorum({"a", "c", "d"}) and not system.is_write_quorum({"a", "b", "c"})
    assert system == QuorumSystem(first.reads * second.reads, first.writes * second.writes)
    check_raft(system)
    for side in (first, second):
        assert disjoint_quorums(system.reads, side.writes) is None


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: classic.majority([]), "at least one node"),
        (lambda: classic.majority("abc"), "without a list"),
        (lambda: classic.majority(["a", "a"]), "Name each node once"),
        (lambda: classic.majority(["a", ""]), "printable"),
        (lambda: classic.threshold(["a", "b"], 1, 1), "sum to 3 or more"),
        (lambda: classic.threshold(["a", "b"], 3, 1), "from 1 to 2"),
        (lambda: classic.weighted({}), "over 0 votes"),
        (lambda: classic.weighted({"a": -1}), "counts votes"),
        (lambda: classic.weighted({"a": 1}, reads=2), "from 1 to 1"),
        (lambda: classic.weighted({"a": 1}, writes=0), "from 1 to 1"),
        (lambda: classic.grid([]), "at least one node"),
        (lambda: classic.grid([["a"], []]), "empty row"),
        (lambda: classic.grid([["a"], "bc"]), "empty row"),
        (lambda: classic.grid([["a", "b"], ["b"]]), "Name each node once"),
        (lambda: classic.read_write_grid([[]]), "at least one node"),
        (lambda: classic.crumbling_wall([["a"], ["a"]]), "Name each node once"),
        (lambda: classic.tree([]), "at least one node"),
        (lambda: classic.tree(["a", "b"]), "1 or 3"),
        (lambda: classic.tree(["a", "b", "c"], arity=1), "Use 2 or more"),
        (lambda: classic.hierarchical([]), "not empty"),
        (lambda: classic.hierarchical("abc"), "not empty"),
        (lambda: classic.hierarchical([["a"], []]), "not empty"),
        (lambda: classic.hierarchical([["a", "b"], ["b"]]), "Name each node once"),
        (lambda: classic.hierarchical([7]), "given as a group"),
        (lambda: classic.projective_plane(2, ["a", "b", "c"]), "Give 7 nodes"),
    ],
)
def test_impossible_wishes_are_refused_with_a_remedy(build: object, words: str) -> None:
    assert callable(build)
    with pytest.raises(ConfigurationError, match=words):
        build()


def test_endless_groups_are_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ConfigurationError, match="levels deep"):
        classic.hierarchical(endless)  # type: ignore[arg-type]
