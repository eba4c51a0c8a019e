"""Trees of choices, whose quorums a linear program reaches without listing them.

One mass stands for each edge of the tree: what a gate has, it gives k times to its parts, to none more than it has
itself. Where no node stands below two parts that may be chosen together, these masses are all that strategies can
do: what k of m parts can be given is the convex hull of the choices (a uniform matroid), alternatives mix, and
parts without a common node are chosen apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold


class Choice(NamedTuple):
    """Exactly `k` of the parts."""

    k: int
    parts: tuple[Tree, ...]


Tree = NodeId | Choice


def tree_of(expression: Expression) -> Tree | None:
    """The expression as choices; None where a node repeats below parts that are chosen together, or where votes
    of different weights are summed."""
    tree = _converted(expression)
    return tree if tree is not None and (expression.read_once or _is_apart(tree)) else None


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


class Tangled(Exception):
    """Choices of one gate would need parts of several kinds at once: no tree of choices says that."""


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
