"""Trees of gates in which no node repeats: each of them once, where nodes of one kind are interchangeable.

A tree is canonical: either in either and both in both are flat, and the parts of a gate are in order. Over nodes
that are all of one kind there are few; over nodes that are all different, all that say different things are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement, product

from quorum.model import NodeId
from quorum.systems.algebra import Expression, Node, choose

Counts = tuple[int, ...]
"""How many nodes of each kind."""


class Shape:
    """A tree over kinds of nodes: a leaf has the number of its kind, a gate needs `k` of its parts.

    `reads_stop` and `writes_stop` count the nodes of the smallest set without which there is no quorum of the
    tree, and of its dual.
    """

    __slots__ = ("k", "kind", "parts", "reads_stop", "writes_stop")

    def __init__(self, kind: int, k: int = 1, parts: tuple[Shape, ...] = ()) -> None:
        self.kind, self.k, self.parts = kind, k, parts
        self.reads_stop = self.writes_stop = 1
        if parts:
            self.reads_stop = sum(sorted(part.reads_stop for part in parts)[: len(parts) - k + 1])
            self.writes_stop = sum(sorted(part.writes_stop for part in parts)[:k])

    @property
    def resilience(self) -> int:
        """How many nodes may be lost, whichever they are, so that a read and a write quorum are left."""
        return min(self.reads_stop, self.writes_stop) - 1

    def kinds(self) -> Iterator[int]:
        """The kind of each leaf, from left to right."""
        if not self.parts:
            yield self.kind
        for part in self.parts:
            yield from part.kinds()

    def expression(self, members: Sequence[Sequence[NodeId]]) -> Expression:
        """The tree over nodes; `members` has the nodes of each kind, and leaves take them in their order."""
        return self._named([iter(each) for each in members])

    def _named(self, left: Sequence[Iterator[NodeId]]) -> Expression:
        if not self.parts:
            return Node(next(left[self.kind]))
        return choose(self.k, *(part._named(left) for part in self.parts))


class Shapes:
    """All canonical trees over nodes of some kinds; those over few nodes are kept, as parts of larger ones.

    `tick` is called with how many are kept, for each tree that is made; it may raise to end that.
    """

    def __init__(self, tick: Callable[[int], None] = lambda kept: None) -> None:
        self._kept: dict[Counts, list[Shape]] = {}
        self._kept_count, self._tick = 0, tick

    def within(self, counts: Counts, least: int = 1) -> Iterator[Shape]:
        """Every tree over at least `least` of these nodes, fewest nodes first; none of them takes all nodes before
        all trees over fewer are there."""
        for size in range(max(1, least), sum(counts) + 1):
            for some in _choices(counts, size):
                yield from self.over(some)

    def over(self, counts: Counts) -> Iterator[Shape]:
        """Every tree over exactly these nodes."""
        if sum(counts) == 1:
            yield Shape(counts.index(1))
            return
        for split in splits(counts, counts):
            if len(split) > 1:
                yield from self._gates(split)

    def _gates(self, split: tuple[Counts, ...]) -> Iterator[Shape]:
        """Every gate whose parts take these nodes each."""
        groups = [(each, split.count(each)) for each in dict.fromkeys(split)]
        size = len(split)
        for chosen in product(*(combinations_with_replacement(self._list(each), many) for each, many in groups)):
            parts = tuple(part for group in chosen for part in group)
            has_either = any(part.parts and part.k == 1 for part in parts)
            has_both = any(part.parts and part.k == len(part.parts) for part in parts)
            for k in range(1, size + 1):
                self._tick(self._kept_count)
                if not ((k == 1 and has_either) or (k == size and has_both)):
                    yield Shape(-1, k, parts)

    def _list(self, counts: Counts) -> list[Shape]:
        found = self._kept.get(counts)
        if found is None:
            found = []
            for shape in self.over(counts):
                found.append(shape)
                self._kept_count += 1
            self._kept[counts] = found
        return found


def splits(counts: Counts, most: Counts) -> Iterator[tuple[Counts, ...]]:
    """Every way to deal the nodes out to parts, largest part first, none above `most` in the order of tuples."""
    if not any(counts):
        yield ()
        return
    for first in product(*(range(count, -1, -1) for count in counts)):  # downwards
        if any(first) and first <= most:
            rest = tuple(count - taken for count, taken in zip(counts, first, strict=True))
            for others in splits(rest, first):
                yield (first, *others)


def _choices(counts: Counts, size: int) -> Iterator[Counts]:
    """Every choice of so many nodes."""
    if not counts:
        if size == 0:
            yield ()
        return
    for taken in range(min(counts[0], size), -1, -1):
        for others in _choices(counts[1:], size - taken) if size - taken <= sum(counts[1:]) else ():
            yield (taken, *others)
