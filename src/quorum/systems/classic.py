"""The classic quorum systems. Each returns a `QuorumSystem`; ids are node ids, sizes count nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from quorum.errors import ConfigurationError
from quorum.model import NodeId
from quorum.systems import algebra
from quorum.systems.algebra import Expression, Node, Threshold, both, choose, either
from quorum.systems.system import QuorumSystem

Group = NodeId | Sequence["Group"]
"""A node, or a group of groups."""

# Perfect difference sets: every distance modulo q*q + q + 1 occurs exactly once, so the translates of
# the set are the lines of a plane of order q. Source: Singer, "A Theorem in Finite Projective Geometry" (1938).
_DIFFERENCES = {
    2: (0, 1, 3),
    3: (0, 1, 3, 9),
    4: (0, 1, 4, 14, 16),
    5: (0, 1, 3, 8, 12, 18),
    7: (0, 1, 3, 13, 32, 36, 43, 52),
    8: (0, 1, 3, 7, 15, 31, 36, 54, 63),
    9: (0, 1, 3, 9, 27, 49, 56, 61, 77, 81),
    11: (0, 1, 3, 12, 20, 34, 38, 81, 88, 94, 104, 109),
    13: (0, 1, 3, 16, 23, 28, 42, 76, 82, 86, 119, 137, 154, 175),
}


def majority(nodes: Iterable[NodeId]) -> QuorumSystem:
    """More than half of the nodes, to read and to write. Source: Thomas, "A Majority Consensus Approach" (1979).

    Raises ConfigurationError for no nodes or a node named twice.
    """
    return _symmetric(algebra.majority(*_distinct("a majority", nodes)))


def threshold(nodes: Iterable[NodeId], reads: int, writes: int) -> QuorumSystem:
    """Any `reads` nodes to read (elect), any `writes` nodes to write (replicate).

    Source: Howard, Malkhi and Spiegelman, "Flexible Paxos" (2016), section 4: only reads + writes > n is
    needed. (Raft also needs 2 * reads > n: see `check.check_raft`.)
    Raises ConfigurationError where a read and a write quorum could miss each other, or a size is out of range.
    """
    leaves = _distinct("a threshold", nodes)
    system = QuorumSystem(choose(reads, *leaves), choose(writes, *leaves))
    if reads + writes <= len(leaves):
        raise ConfigurationError(
            f"quorums of {reads} to read and {writes} to write were asked for, but among {len(leaves)} nodes "
            f"they could miss each other. Let them sum to {len(leaves) + 1} or more."
        )
    return system


def weighted(weights: Mapping[NodeId, int], reads: int | None = None, writes: int | None = None) -> QuorumSystem:
    """Votes by weight: `reads` votes to read, `writes` votes to write; by default more than half for both.

    One of the two given alone leaves the other the fewest votes that still meet it.
    Source: Gifford, "Weighted Voting for Replicated Data" (1979).
    Raises ConfigurationError where reads + writes is not above the total, or a weight is no count.
    """
    total = Threshold(weights, 1).total
    if reads is None and writes is None:
        reads = writes = total // 2 + 1
    elif reads is None:
        return QuorumSystem(writes=_votes(weights, writes))
    elif writes is None:
        return QuorumSystem(reads=_votes(weights, reads))
    system = QuorumSystem(_votes(weights, reads), _votes(weights, writes))
    assert reads is not None and writes is not None, "both were given or chosen"
    if reads + writes <= total:
        raise ConfigurationError(
            f"{reads} votes to read and {writes} to write were asked for, but of {total} votes in all they "
            f"could come from different nodes. Let them sum to {total + 1} or more."
        )
    return system


def grid(rows: Sequence[Sequence[NodeId]]) -> QuorumSystem:
    """One whole row and one node of every row, to read and to write. Rows may differ in length.

    Source: Maekawa, "A sqrt(N) Algorithm for Mutual Exclusion in Decentralized Systems" (1985), section 5;
    Cheung, Ammar and Ahamad, "The Grid Protocol" (1992).
    Raises ConfigurationError for no rows, an empty row or a node named twice.
    """
    lines = _rows("a grid", rows)
    return _symmetric(both(either(*map(_all, lines)), *map(_any, lines)))


def read_write_grid(rows: Sequence[Sequence[NodeId]]) -> QuorumSystem:
    """One whole row to read, one node of every row to write: cheap reads, but two reads need not meet.

    Source: Cheung, Ammar and Ahamad, "The Grid Protocol" (1992).
    Raises ConfigurationError for no rows, an empty row or a node named twice.
    """
    return QuorumSystem(reads=either(*map(_all, _rows("a grid", rows))))


def tree(nodes: Sequence[NodeId], arity: int = 2) -> QuorumSystem:
    """Tree quorums: the root and a quorum of one subtree, or a quorum of every subtree.

    `nodes` stand level by level, the children of the node at place i at arity * i + 1 and after it; every
    inner node has all its children.
    Source: Agrawal and El Abbadi, "The Tree Quorum Protocol" (1990), section 3.
    Raises ConfigurationError for an incomplete tree, an arity below 2 or a node named twice.
    """
    leaves = _distinct("a tree", nodes)
    if isinstance(arity, bool) or not isinstance(arity, int) or arity < 2:
        raise ConfigurationError(
            f"a tree of arity {arity!r} was asked for, but the subtrees must be able to replace the root. "
            "Use 2 or more."
        )
    if (len(leaves) - 1) % arity:
        fewer = len(leaves) - (len(leaves) - 1) % arity
        raise ConfigurationError(
            f"a tree of {len(leaves)} nodes was asked for, but with {arity} children for each inner node it has "
            f"{fewer} or {fewer + arity}. Add or remove nodes, or choose another arity."
        )
    trees: list[Expression] = list(leaves)
    for place in range((len(leaves) - 1) // arity - 1, -1, -1):
        children = trees[arity * place + 1 : arity * place + arity + 1]
        # The root stands for all but one of the subtrees, so it takes that many positions.
        trees[place] = choose(arity, *[leaves[place]] * (arity - 1), *children)
    return _symmetric(trees[0])


def hierarchical(groups: Sequence[Group]) -> QuorumSystem:
    """A majority of the groups, each by a majority of its own; groups nest to any depth.

    Source: Kumar, "Hierarchical Quorum Consensus" (1991), section 3.
    Raises ConfigurationError for an empty group, a node named twice, or nesting beyond the limit of expressions.
    """
    decide = _majority_of([] if isinstance(groups, str) else groups, algebra.DEPTH_MAX)
    if not decide.read_once:
        raise ConfigurationError(
            f"groups with {decide.leaves} places for {len(decide.nodes)} nodes were asked for, but a node sits "
            "in one group. Name each node once."
        )
    return _symmetric(decide)


def crumbling_wall(rows: Sequence[Sequence[NodeId]]) -> QuorumSystem:
    """One whole row and one node of every row below it. Rows stand top to bottom and may differ in length.

    Source: Peleg and Wool, "Crumbling Walls: A Class of Practical and Efficient Quorum Systems" (1997),
    section 2. No other system dominates it where the top row has one node and every other at least two.
    Raises ConfigurationError for no rows, an empty row or a node named twice.
    """
    lines = _rows("a wall", rows)
    return _symmetric(
        either(*(both(_all(line), *map(_any, lines[place + 1 :])) for place, line in enumerate(lines)))
    )


def projective_plane(order: int, nodes: Sequence[NodeId] | None = None) -> QuorumSystem:
    """The lines of a finite projective plane: q*q + q + 1 nodes, q + 1 in a quorum, two share exactly one.

    `order` is q: 2, 3, 4, 5, 7, 8, 9, 11 or 13. Without `nodes` they are called p1, p2, ...
    Source: Maekawa, "A sqrt(N) Algorithm for Mutual Exclusion in Decentralized Systems" (1985), section 3.
    Raises ConfigurationError for another order, a wrong number of nodes or a node named twice.
    """
    differences = _DIFFERENCES.get(order)
    if isinstance(order, bool) or differences is None:
        orders = ", ".join(map(str, _DIFFERENCES))
        raise ConfigurationError(
            f"a projective plane of order {order!r} was asked for, but planes are known for powers of primes "
            f"only, and built in for {orders}. Use one of these, or a grid."
        )
    size = order * order + order + 1
    leaves = _distinct("a plane", nodes if nodes is not None else [f"p{point + 1}" for point in range(size)])
    if len(leaves) != size:
        raise ConfigurationError(
            f"a projective plane of order {order} was asked for with {len(leaves)} nodes, but it has {size}. "
            f"Give {size} nodes, or another order."
        )
    lines = ([leaves[(shift + place) % size] for place in differences] for shift in range(size))
    return _symmetric(either(*map(_all, lines)))


def joint(first: QuorumSystem, second: QuorumSystem) -> QuorumSystem:
    """Both systems must agree, to read and to write. Source: Ongaro, "Consensus" (2014), section 4.3."""
    return QuorumSystem(both(first.reads, second.reads), both(first.writes, second.writes))


def _symmetric(expression: Expression) -> QuorumSystem:
    return QuorumSystem(expression, expression)


def _votes(weights: Mapping[NodeId, int], wanted: int | None) -> Expression:
    assert wanted is not None, "the caller chose"
    votes = Threshold(weights, wanted)
    return choose(wanted, *map(Node, sorted(weights))) if set(weights.values()) == {1} else votes


def _all(line: Sequence[Node]) -> Expression:
    return both(*line)


def _any(line: Sequence[Node]) -> Expression:
    return either(*line)


def _majority_of(group: Group, depth_left: int) -> Expression:
    if isinstance(group, str):
        return Node(group)
    if depth_left == 0 or not isinstance(group, Sequence) or not group:
        raise ConfigurationError(
            f"{str(group)[:40]!r} was given as a group, but a group is a list of nodes or of groups, not empty "
            f"and at most {algebra.DEPTH_MAX} levels deep. Name at least one node in it."
        )
    return algebra.majority(*(_majority_of(part, depth_left - 1) for part in group))


def _distinct(what: str, nodes: Iterable[NodeId]) -> list[Node]:
    given = [] if isinstance(nodes, str) else list(nodes)
    if not given:
        raise ConfigurationError(
            f"{what} was asked for without a list of nodes, but somebody must decide. Name at least one node."
        )
    leaves = [Node(node) for node in given]
    if len(set(leaves)) < len(leaves):
        raise ConfigurationError(
            f"{what} was asked for with {len(leaves)} places for {len(set(leaves))} nodes, but a node has one "
            "place. Name each node once."
        )
    return leaves


def _rows(what: str, rows: Sequence[Sequence[NodeId]]) -> list[list[Node]]:
    lines = [[] if isinstance(row, str) else list(row) for row in rows]
    leaves = iter(_distinct(what, [node for line in lines for node in line]))
    if not all(lines):
        raise ConfigurationError(
            f"{what} was asked for with an empty row, but a row needs a node to stand for it. "
            "Give each row as a list of at least one node."
        )
    return [[next(leaves) for _ in line] for line in lines]
