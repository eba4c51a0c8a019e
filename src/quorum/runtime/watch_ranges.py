"""Ranges of keys, and which of them a key lies in: an interval tree, balanced by chance.

Source: Seidel and Aragon, "Randomized Search Trees" (1996), for the balance; Cormen et al., "Introduction to
Algorithms", section on augmenting data structures, for the greatest end below each node.
"""

from __future__ import annotations

from random import Random
from typing import Generic, TypeVar

from quorum.apps.kv import KEY_BYTES_MAX

T = TypeVar("T")
_BEHIND_ALL = b"\xff" * (KEY_BYTES_MAX + 2)
"""The end of a range without a bound: greater than any key."""


class _Node(Generic[T]):
    """One range and what is kept for it. `highest` is the greatest end in its subtree."""

    __slots__ = ("end", "highest", "item", "left", "rank", "right", "start")

    def __init__(self, start: bytes, end: bytes, item: T, rank: float) -> None:
        self.start = start
        self.end = end
        self.item = item
        self.rank = rank
        self.highest = end
        self.left: _Node[T] | None = None
        self.right: _Node[T] | None = None

    @property
    def place(self) -> tuple[bytes, bytes]:
        return self.start, self.end

    def renew(self) -> _Node[T]:
        """See to `highest` after a child has changed."""
        highest = self.end
        if self.left is not None and self.left.highest > highest:
            highest = self.left.highest
        if self.right is not None and self.right.highest > highest:
            highest = self.right.highest
        self.highest = highest
        return self


class Ranges(Generic[T]):
    """One item for each range. What is asked of it takes steps in proportion to the logarithm of how many there
    are, and to how many are found."""

    def __init__(self) -> None:
        self._root: _Node[T] | None = None
        self._count = 0
        self._random = Random(0)

    def __len__(self) -> int:
        return self._count

    def get(self, start: bytes, end: bytes | None) -> T | None:
        """The item of this very range."""
        place = (start, end or _BEHIND_ALL)
        node = self._root
        while node is not None and node.place != place:
            node = node.left if place < node.place else node.right
        return None if node is None else node.item

    def add(self, start: bytes, end: bytes | None, item: T) -> None:
        """Keep `item` for a range that has none."""
        made = _Node(start, end or _BEHIND_ALL, item, self._random.random())
        below, above = _split(self._root, made.place)
        self._root = _merge(_merge(below, made), above)
        self._count += 1

    def remove(self, start: bytes, end: bytes | None) -> None:
        """Forget a range that has an item."""
        self._root = _without(self._root, (start, end or _BEHIND_ALL))
        self._count -= 1

    def around(self, key: bytes) -> list[T]:
        """The items of all ranges that `key` lies in, by their starts."""
        found: list[T] = []
        _collect(self._root, key, found)
        return found

    def items(self) -> list[T]:
        """The items of all ranges, by their starts."""
        found: list[T] = []
        _walk(self._root, found)
        return found


def _walk(node: _Node[T] | None, found: list[T]) -> None:
    while node is not None:
        _walk(node.left, found)
        found.append(node.item)
        node = node.right


def _collect(node: _Node[T] | None, key: bytes, found: list[T]) -> None:
    while node is not None and node.highest > key:
        _collect(node.left, key, found)
        if node.start > key:
            return
        if node.end > key:
            found.append(node.item)
        node = node.right


def _split(node: _Node[T] | None, place: tuple[bytes, bytes]) -> tuple[_Node[T] | None, _Node[T] | None]:
    """What lies below `place`, and the rest."""
    if node is None:
        return None, None
    if node.place < place:
        node.right, above = _split(node.right, place)
        return node.renew(), above
    below, node.left = _split(node.left, place)
    return below, node.renew()


def _merge(below: _Node[T] | None, above: _Node[T] | None) -> _Node[T] | None:
    if below is None or above is None:
        return below or above
    if below.rank > above.rank:
        below.right = _merge(below.right, above)
        return below.renew()
    above.left = _merge(below, above.left)
    return above.renew()


def _without(node: _Node[T] | None, place: tuple[bytes, bytes]) -> _Node[T] | None:
    assert node is not None, "what is removed was added"
    if node.place == place:
        return _merge(node.left, node.right)
    if place < node.place:
        node.left = _without(node.left, place)
    else:
        node.right = _without(node.right, place)
    return node.renew()
