"""Trees of choices, whose quorums a linear program reaches without listing them.

One mass stands for each edge of the tree: what a gate has, it gives k times to its parts, to none more than it has
itself. Where no node stands below two parts that may be chosen together, these masses are all that strategies can
do: what k of m parts can be given is the convex hull of the choices (a uniform matroid), alternatives mix, and
parts without a common node are chosen apart.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold

EDGES_MAX = 60_000
"""What is multiplied out may have so many edges."""


class Choice(NamedTuple):
    """Exactly `k` of the parts."""

    k: int
    parts: tuple[Tree, ...]


Tree = NodeId | Choice


class Tangled(Exception):
    """No tree of choices says it: parts that are chosen together share nodes, or one gate needs parts of several
    kinds at once."""


def tree_of(expression: Expression) -> Tree | None:
    """The expression as choices; None where a node repeats below parts that are chosen together, or where votes
    of different weights are summed."""
    tree = _converted(expression)
    if tree is None or expression.read_once or _is_apart(tree):
        return tree
    try:
        return _untangled(tree, [EDGES_MAX])
    except Tangled:
        return None


def _converted(expression: Expression) -> Tree | None:
    match expression:
        case Node():
            return expression.id
        case Threshold():
            voters = [(node, weight) for node, weight in expression.weights if weight]
            if len({weight for _, weight in voters}) > 1:
                return None
            return _choice(-(-expression.k // voters[0][1]), [node for node, _ in voters])
        case Gate():
            parts = [_converted(child) for child in expression.children]
            whole = [part for part in parts if part is not None]
            return _choice(expression.k, whole) if len(whole) == len(parts) else None
    raise AssertionError("an expression is a node, a threshold or a gate")


def _choice(k: int, parts: list[Tree] | list[NodeId]) -> Tree:
    return parts[0] if len(parts) == 1 else Choice(k, tuple(parts))


def _is_apart(tree: Tree) -> bool:
    """Whether no node stands below two parts of one choice that takes more than one."""
    if isinstance(tree, str):
        return True
    if tree.k > 1:
        seen: set[NodeId] = set()
        for part in tree.parts:
            below = set(leaves_of(part))
            if not seen.isdisjoint(below):
                return False
            seen |= below
    return all(map(_is_apart, tree.parts))


def _untangled(tree: Tree, edges_left: list[int]) -> Tree:
    """The same choices, multiplied out where parts that are chosen together share nodes: as a row of a grid, and
    one node of every other row. Raises Tangled where that does not set them apart, or takes too many edges."""
    if isinstance(tree, str) or _is_apart(tree):
        return tree
    if tree.k == 1:
        return Choice(1, tuple(_untangled(part, edges_left) for part in tree.parts))
    if tree.k < len(tree.parts):
        raise Tangled
    shared = _shared(tree.parts)
    at = next(
        (place for place, part in enumerate(tree.parts) if _alternatives(part) and shared & set(leaves_of(part))),
        None,
    )
    if at is None:
        raise Tangled
    others = [part for place, part in enumerate(tree.parts) if place != at]
    terms = []
    for alternative in _alternatives(tree.parts[at]):
        chosen = _factors(alternative)
        sure: set[Tree] = {part for part in chosen if isinstance(part, str)}
        left = [part for part in others if not _holds(part, sure)]
        term = _choice(len(chosen) + len(left), [*chosen, *left])
        edges_left[0] -= edges_of(term)
        if edges_left[0] < 0:
            raise Tangled
        terms.append(_untangled(term, edges_left))
    return Choice(1, tuple(terms))


def _shared(parts: tuple[Tree, ...]) -> set[NodeId]:
    counts = Counter(node for part in parts for node in set(leaves_of(part)))
    return {node for node, count in counts.items() if count > 1}


def _alternatives(tree: Tree) -> tuple[Tree, ...]:
    return tree.parts if isinstance(tree, Choice) and tree.k == 1 else ()


def _factors(tree: Tree) -> list[Tree]:
    return list(tree.parts) if isinstance(tree, Choice) and tree.k == len(tree.parts) else [tree]


def _holds(tree: Tree, nodes: set[Tree]) -> bool:
    """Whether these nodes hold a quorum of the tree."""
    if isinstance(tree, str):
        return tree in nodes
    return sum(_holds(part, nodes) for part in tree.parts) >= tree.k


def leaves_of(tree: Tree) -> Iterator[NodeId]:
    """Every place of a node, from left to right."""
    if isinstance(tree, str):
        yield tree
        return
    for part in tree.parts:
        yield from leaves_of(part)


def edges_of(tree: Tree) -> int:
    """How many masses the tree takes."""
    return 1 if isinstance(tree, str) else 1 + sum(map(edges_of, tree.parts))


def within(tree: Tree, allowed: Callable[[NodeId], bool]) -> Tree | None:
    """The choices that these nodes leave; None where they leave no quorum."""
    if isinstance(tree, str):
        return tree if allowed(tree) else None
    parts = [left for part in tree.parts if (left := within(part, allowed)) is not None]
    return _choice(tree.k, parts) if len(parts) >= tree.k else None


def levels_of(tree: Tree) -> int:
    """The most failures, plus one, that some set of nodes survives: with all nodes of it, where none repeats."""
    if isinstance(tree, str):
        return 1
    levels = sorted(map(levels_of, tree.parts))
    return sum(levels[: len(levels) - tree.k + 1])


def surviving(tree: Tree, level: int) -> Tree | None:
    """The sets that hold a quorum still after any `level` - 1 of their members are lost, as choices, or None.

    For trees in which no node repeats. k of m parts survive r failures exactly where the m-k+1 weakest of them
    survive r_1, r_2, ... with (r_1 + 1) + (r_2 + 1) + ... at least r + 1, a part that is left out having -1. So
    each way to split the level among the weakest is an alternative. Raises Tangled where one has parts of two
    levels.
    """
    if level == 1:
        return tree
    if isinstance(tree, str):
        return None
    weakest = len(tree.parts) - tree.k + 1
    alternatives: list[Tree] = []
    for split in _partitions(level, level):
        wanted = tree.k - 1 + len(split)
        if len(split) > weakest:
            continue
        able = [part for part in tree.parts if levels_of(part) >= split[0]]
        if len(set(split)) > 1:
            if len(able) >= tree.k and sum(levels_of(part) >= split[-1] for part in tree.parts) >= wanted:
                raise Tangled
            continue
        parts = [left for part in able if (left := surviving(part, split[0])) is not None]
        if len(parts) >= wanted:
            alternatives.append(_choice(wanted, parts))
    return _choice(1, alternatives) if alternatives else None


def _partitions(total: int, most: int) -> Iterator[tuple[int, ...]]:
    """Every way to write `total` as a sum of numbers from 1 to `most`, largest first."""
    if total == 0:
        yield ()
    for first in range(min(total, most), 0, -1):
        for rest in _partitions(total - first, first):
            yield (first, *rest)


def fewest_to_stop(tree: Tree) -> int:
    """How many nodes the smallest set has that meets every quorum, where no node repeats."""
    return levels_of(tree)
