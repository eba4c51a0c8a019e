"""Random expressions and brute force, for the tests of quorum systems."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from hypothesis import strategies as st

from quorum.systems.expression import Expression, Node, Threshold, choose

NAMES = ("a", "b", "c", "d", "e", "f", "g", "h")
ODD_NAMES = ("a", "choose", "majority", "n-1", "n_1", 'say "hi"', "back\\slash", "Zürich 1", "1", "_")


def thresholds(names: tuple[str, ...] = NAMES, weight_max: int = 4) -> st.SearchStrategy[Threshold]:
    """Weighted thresholds over some of the names, weights of 0 among them."""
    weights = st.dictionaries(st.sampled_from(names), st.integers(0, weight_max), min_size=1).filter(
        lambda votes: any(votes.values())
    )
    return weights.flatmap(lambda votes: st.integers(1, sum(votes.values())).map(lambda k: Threshold(votes, k)))


def expressions(names: tuple[str, ...] = NAMES, leaves_max: int = 12) -> st.SearchStrategy[Expression]:
    """Any expression, nodes repeated or not."""
    leaves = st.one_of(st.sampled_from(names).map(Node), thresholds(names))
    return st.recursive(leaves, _gates, max_leaves=leaves_max)


def _gates(children: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.lists(children, min_size=1, max_size=4).flatmap(
        lambda parts: st.integers(1, len(parts)).map(lambda k: choose(k, *parts))
    )


@st.composite
def trees(draw: st.DrawFn, names: tuple[str, ...] = NAMES) -> tuple[Expression, Expression]:
    """Two read-once expressions of one shape, with thresholds of their own."""
    parts: list[tuple[Expression, Expression]] = [(Node(name), Node(name)) for name in names]
    while len(parts) > 1:
        size = draw(st.integers(2, min(3, len(parts))))
        taken, parts = parts[:size], parts[size:]
        first, second = draw(st.integers(1, size)), draw(st.integers(1, size))
        parts.append((choose(first, *(p for p, _ in taken)), choose(second, *(p for _, p in taken))))
    return parts[0]


def subsets(nodes: tuple[str, ...]) -> Iterator[frozenset[str]]:
    """Every set of the nodes, smallest first."""
    for size in range(len(nodes) + 1):
        yield from map(frozenset, combinations(nodes, size))


def minimal_quorums(expression: Expression) -> set[frozenset[str]]:
    """By brute force: the sets that hold a quorum and contain no smaller one."""
    found: set[frozenset[str]] = set()
    for nodes in subsets(expression.nodes):
        if expression.contains(nodes) and not any(quorum <= nodes for quorum in found):
            found.add(nodes)
    return found


def can_miss(first: Expression, second: Expression) -> bool:
    """By brute force: some set holds a quorum of the first while all others hold one of the second."""
    everyone = frozenset(first.nodes) | frozenset(second.nodes)
    return any(
        first.contains(nodes) and second.contains(everyone - nodes) for nodes in subsets(tuple(sorted(everyone)))
    )
