"""Where opaque systems are weakest: two quorums of which one has as many nodes as can be that the other has not.

Source: Malkhi and Reiter, "Byzantine Quorum Systems" (1998), section 6. The quorums are minimal ones: a reader
that asks more nodes than it needs asks more that are out of date.
"""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Gate, Node, Threshold
from quorum.systems.structure import Witness

PAIRS_MAX: Final = 4_000_000
"""Pairs of quorums that are tried one by one, where there is no shorter way; a few seconds."""
QUORUMS_MAX: Final = 200_000
CHILDREN_MAX: Final = 60
"""Parts of a gate that are chosen from, where they differ."""


class _Best(NamedTuple):
    """The best for a part of a tree: `margin` for both quorums in it, `alone` for the first only."""

    margin: int
    both: Witness
    alone: int
    first: frozenset[NodeId]
    second: frozenset[NodeId]


def margin_of(pair: Witness) -> int:
    """Nodes of the first quorum that the second has, less those that it has not."""
    return 2 * len(pair[0] & pair[1]) - len(pair[0])


def least_margin(one: Expression, other: Expression) -> Witness | None:
    """A minimal quorum of each with the least margin; None where there are too many quorums to say."""
    if one == other and one.read_once and (found := _in_tree(one)) is not None:
        return found.both
    sizes = equal_votes(one), equal_votes(other)
    if one.nodes == other.nodes and sizes[0] is not None and sizes[1] is not None:
        nodes = one.nodes
        return frozenset(nodes[: sizes[0]]), frozenset(nodes[len(nodes) - sizes[1] :])
    sides = [list(islice(each.quorums(), QUORUMS_MAX + 1)) for each in (one, other)]
    if max(map(len, sides)) > QUORUMS_MAX or len(sides[0]) * len(sides[1]) > PAIRS_MAX:
        return None
    return _by_pairs(sides[0], sides[1])


def equal_votes(expression: Expression) -> int | None:
    """How many nodes make a quorum, where any so many do; else None."""
    votes = expression.as_threshold()
    weights = {weight for _, weight in votes.weights} if votes is not None else set()
    if votes is None or len(weights) != 1:
        return None
    return -(-votes.k // weights.pop())


def _by_pairs(firsts: list[frozenset[NodeId]], seconds: list[frozenset[NodeId]]) -> Witness:
    bit = {node: 1 << place for place, node in enumerate(sorted(frozenset().union(*firsts, *seconds)))}
    masks = [sum(bit[node] for node in each) for each in seconds]
    best: int | None = None
    found = firsts[0], seconds[0]
    for first in firsts:
        mine = sum(bit[node] for node in first)
        shared, place = min(((mine & mask).bit_count(), at) for at, mask in enumerate(masks))
        if best is None or 2 * shared - len(first) < best:
            best = 2 * shared - len(first)
            found = first, seconds[place]
    return found


def _in_tree(expression: Expression) -> _Best | None:
    """Two quorums of one tree in which no node repeats; None where its parts are too many to choose from.

    A gate that wants k of m parts leaves 2k-m at least to both quorums. Where a part is the first's alone the
    margin is no larger than where it is of both.
    """
    if isinstance(expression, Node):
        only = frozenset({expression.id})
        return _Best(1, (only, only), -1, only, only)
    if isinstance(expression, Threshold):
        return _of_votes(expression)
    assert isinstance(expression, Gate), "an expression is a node, a threshold or a gate"
    parts = [_in_tree(child) for child in expression.children]
    known = [part for part in parts if part is not None]
    return _of_parts(known, expression.k) if len(known) == len(parts) else None


def _of_votes(votes: Threshold) -> _Best | None:
    size = equal_votes(votes)
    if size is None:
        return None
    leaves = [_in_tree(Node(node)) for node, weight in votes.weights if weight]
    return _of_parts([leaf for leaf in leaves if leaf is not None], size)


def _of_parts(parts: list[_Best], k: int) -> _Best | None:
    shared = max(0, 2 * k - len(parts))
    order = sorted(range(len(parts)), key=lambda place: parts[place].alone)
    alone = [parts[place] for place in order[:k]]
    if len({(part.margin, part.alone) for part in parts}) == 1:
        both, mine = list(range(shared)), list(range(shared, k))
    elif len(parts) <= CHILDREN_MAX:
        both, mine = _chosen(parts, shared, k - shared)
    else:
        return None
    taken = {*both, *mine}
    theirs = [place for place in range(len(parts)) if place not in taken][: k - shared]
    first = frozenset().union(*(parts[place].both[0] for place in both), *(parts[place].first for place in mine))
    second = frozenset().union(
        *(parts[place].both[1] for place in both), *(parts[place].second for place in theirs)
    )
    return _Best(
        sum(parts[place].margin for place in both) + sum(parts[place].alone for place in mine),
        (first, second),
        sum(part.alone for part in alone),
        frozenset().union(*(part.first for part in alone)),
        frozenset().union(*(part.second for part in alone)),
    )


def _chosen(parts: list[_Best], both: int, alone: int) -> tuple[list[int], list[int]]:
    """Which so many parts are of both quorums, and so many of the first alone, with the least margin in all."""
    best: dict[tuple[int, int], tuple[int, tuple[int, ...], tuple[int, ...]]] = {(0, 0): (0, (), ())}
    for place, part in enumerate(parts):
        following = dict(best)
        for (shared, mine), (margin, twos, ones) in best.items():
            for key, found in (
                ((shared + 1, mine), (margin + part.margin, (*twos, place), ones)),
                ((shared, mine + 1), (margin + part.alone, twos, (*ones, place))),
            ):
                fits = key[0] <= both and key[1] <= alone
                if fits and (key not in following or found[0] < following[key][0]):
                    following[key] = found
        best = following
    _, twos, ones = best[both, alone]
    return list(twos), list(ones)
