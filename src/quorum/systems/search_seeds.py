"""Where a search begins, and where it goes on: named constructions over given nodes, and the neighbours of a
tree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from quorum.model import NodeId
from quorum.systems import classic
from quorum.systems.architecture import NodeTraits
from quorum.systems.search_trees import Counts, Shape
from quorum.systems.system import QuorumSystem

GRID_NODES_MAX = 16
"""Quorums of larger grids are too many where nodes repeat."""
SPREAD = 16
"""So many sizes are tried of each construction, where there are more."""
VOTES = 7
"""Votes of the node with the most capacity, about, where votes follow capacity."""


class Kinds(NamedTuple):
    """Nodes that nothing tells apart are one kind: the nodes of each, and how many they are."""

    members: tuple[tuple[NodeId, ...], ...]

    @property
    def counts(self) -> Counts:
        """How many nodes each kind has."""
        return tuple(map(len, self.members))


def kinds_of(traits: Mapping[NodeId, NodeTraits], is_timed: bool) -> Kinds:
    """The kinds of nodes; latencies count where `is_timed`."""
    kinds: dict[tuple[float, ...], list[NodeId]] = {}
    for node in sorted(traits):
        each = traits[node]
        key = (each.read_capacity, each.write_capacity, each.latency if is_timed else 0.0)
        kinds.setdefault(key, []).append(node)
    return Kinds(tuple(map(tuple, kinds.values())))


def gate(k: int, parts: Sequence[Shape]) -> Shape:
    """A gate in canonical form, but for the order of its parts."""
    if len(parts) == 1:
        return parts[0]
    if k in (1, len(parts)):
        flat: list[Shape] = []
        for part in parts:
            is_same = part.parts and part.k == (1 if k == 1 else len(part.parts))
            flat += part.parts if is_same else (part,)
        return Shape(-1, 1 if k == 1 else len(flat), tuple(flat))
    return Shape(-1, k, tuple(parts))


def named_shapes(kinds: Kinds, traits: Mapping[NodeId, NodeTraits]) -> Iterator[Shape]:
    """Thresholds over the best nodes, grids, and gates of gates over groups of one size, best nodes first.

    Sources: Gifford, "Weighted Voting for Replicated Data" (1979); Cheung, Ammar and Ahamad, "The Grid Protocol"
    (1992); Kumar, "Hierarchical Quorum Consensus" (1991).
    """
    places = {node: place for place, nodes in enumerate(kinds.members) for node in nodes}
    by_capacity = sorted(
        traits, key=lambda node: (-traits[node].read_capacity - traits[node].write_capacity, node)
    )
    by_latency = sorted(traits, key=lambda node: (traits[node].latency, node))
    for order in (by_capacity, by_latency):
        leaves = [Shape(places[node]) for node in order]
        for size in some(1, len(leaves)):
            for k in some(size // 2 + 1, size):
                yield gate(k, leaves[:size])
                if size - k + 1 != k:
                    yield gate(size - k + 1, leaves[:size])
        for count in some(2, len(leaves) // 2):
            groups = [leaves[first::count] for first in range(count)]
            for k in some(1, count):
                for part in sorted({1, 2, len(groups[-1]) // 2 + 1, len(groups[-1])}):
                    if part <= len(groups[-1]):
                        yield gate(k, [gate(min(part, len(each)), each) for each in groups])


def some(first: int, last: int) -> list[int]:
    """The whole numbers from first to last; where they are many, some of them, spread evenly."""
    if last - first < SPREAD:
        return list(range(first, last + 1))
    return [first + (last - first) * step // (SPREAD - 1) for step in range(SPREAD)]


def named_systems(traits: Mapping[NodeId, NodeTraits]) -> Iterator[QuorumSystem]:
    """Constructions that are no trees without repeated nodes: votes by capacity, and a whole row with one node of
    each row.
    Sources: Gifford (1979); Maekawa, "A sqrt(N) Algorithm for Mutual Exclusion in Decentralized Systems"
    (1985)."""
    capacity = {node: each.read_capacity + each.write_capacity for node, each in traits.items()}
    most = max(capacity.values())
    votes = {node: max(1, round(VOTES * each / most)) for node, each in capacity.items()}
    yield classic.weighted(votes)
    names = sorted(traits, key=lambda node: (-capacity[node], node))
    if 4 <= len(names) <= GRID_NODES_MAX:
        rows = round(len(names) ** 0.5)
        yield classic.grid([names[first::rows] for first in range(rows)])


def neighbours(shape: Shape, counts: Counts) -> Iterator[Shape]:
    """Trees that differ in one place: another k, a leaf that is gone, moved, or added from the nodes that are
    left, or two leaves of different kinds exchanged."""
    used = list(shape.kinds())
    for kind in range(len(counts)):
        if used.count(kind) < counts[kind]:
            yield from _added(shape, kind)
    yield from _other_k(shape)
    for place, kind in enumerate(used):
        less = _without(shape, place)
        if less is not None:
            yield less
            yield from _added(less, kind)
    for first, kind in enumerate(used):
        for second in range(first + 1, len(used)):
            if used[second] != kind:
                swapped = used.copy()
                swapped[first], swapped[second] = used[second], kind
                yield _relabelled(shape, iter(swapped))
        for other in range(len(counts)):
            if other != kind and used.count(other) < counts[other]:
                yield _relabelled(shape, iter([*used[:first], other, *used[first + 1 :]]))


def _other_k(shape: Shape) -> Iterator[Shape]:
    for k in range(1, len(shape.parts) + 1):
        if k != shape.k:
            yield gate(k, shape.parts)
    for place, part in enumerate(shape.parts):
        for other in _other_k(part):
            yield gate(shape.k, [*shape.parts[:place], other, *shape.parts[place + 1 :]])


def _added(shape: Shape, kind: int) -> Iterator[Shape]:
    """A leaf more: beside the tree, or in one of its gates, with the same k or one more."""
    leaf = Shape(kind)
    yield gate(1, [shape, leaf])
    yield gate(2, [shape, leaf])
    if shape.parts:
        yield gate(shape.k, [*shape.parts, leaf])
        yield gate(shape.k + 1, [*shape.parts, leaf])
    for place, part in enumerate(shape.parts):
        for other in _added(part, kind):
            yield gate(shape.k, [*shape.parts[:place], other, *shape.parts[place + 1 :]])


def _without(shape: Shape, place: int) -> Shape | None:
    """The tree without one leaf; None for a leaf alone. A gate that needs all its parts, needs all that are
    left."""
    if not shape.parts:
        return None
    parts: list[Shape] = []
    for part in shape.parts:
        size = sum(1 for _ in part.kinds())
        if 0 <= place < size:
            left = _without(part, place)
            parts += [left] if left is not None else []
        else:
            parts.append(part)
        place -= size
    return gate(min(shape.k, len(parts)), parts)


def _relabelled(shape: Shape, kinds: Iterator[int]) -> Shape:
    if not shape.parts:
        return Shape(next(kinds))
    return Shape(-1, shape.k, tuple(_relabelled(part, kinds) for part in shape.parts))
