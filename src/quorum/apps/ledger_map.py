"""A map of bytes to bytes that knows its Merkle root: every version stays as it was, and shares what did not
change.

`certificate.sparse_merkle` has the shape and the proofs. A version is a value: writing gives another one, in the
time of one path, so that to keep an old version, or to drop what a failed transaction wrote, costs nothing. The
nodes hold no cycles, and are not the garbage collector's affair: it would look at millions of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from quorum.certificate.sparse_merkle import (
    EMPTY,
    PATH_MAX,
    MapPath,
    inner_hash,
    leaf_hash,
    place_of,
    value_hash,
)

_TOP = PATH_MAX - 1


class _Leaf(msgspec.Struct, gc=False, eq=False):
    """One key."""

    place: int
    key: bytes
    value: bytes
    hash: bytes


class _Inner(msgspec.Struct, gc=False, eq=False):
    """Two halves, of which at least two leaves hang. Its hash is computed when somebody asks for it."""

    left: Any
    right: Any
    known: bytes | None = None

    @property
    def hash(self) -> bytes:
        known = self.known
        if known is None:
            known = self.known = inner_hash(_hash_of(self.left), _hash_of(self.right))
        return known


_Node = _Leaf | _Inner | None


class AuthenticatedMap:
    """One version of the map. It never changes."""

    __slots__ = ("_count", "_root")

    def __init__(self, _root: _Node = None, _count: int = 0) -> None:
        self._root = _root
        self._count = _count

    def __len__(self) -> int:
        """How many keys there are."""
        return self._count

    @property
    def root(self) -> bytes:
        """The Merkle root: 32 bytes, the same for the same content however it came about."""
        return _hash_of(self._root)

    def get(self, key: bytes) -> bytes | None:
        """What is under `key`, or None."""
        leaf = _descend(self._root, int.from_bytes(place_of(key), "big"))[1]
        return leaf.value if leaf is not None and leaf.key == key else None

    def with_changes(self, changes: Mapping[bytes, bytes | None]) -> AuthenticatedMap:
        """The version in which each of these keys has its new value; None: has none any more."""
        root, count = self._root, self._count
        for key, value in changes.items():
            place = place_of(key)
            if value is None:
                root, gone = _without(root, int.from_bytes(place, "big"))
                count -= gone
            else:
                root, came = _with(root, _leaf(place, key, value))
                count += came
        return AuthenticatedMap(root, count)

    def prove(self, key: bytes) -> tuple[bytes | None, MapPath]:
        """What is under `key`, and the path that proves it, or that nothing is."""
        way, leaf = _descend(self._root, int.from_bytes(place_of(key), "big"))
        beside = tuple(_hash_of(node.left if is_right else node.right) for node, is_right in way)
        if leaf is None:
            return None, MapPath(beside)
        if leaf.key == key:
            return leaf.value, MapPath(beside)
        return None, MapPath(beside, (leaf.place.to_bytes(PATH_MAX // 8, "big"), value_hash(leaf.value)))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every key with its value, in the order of their places."""
        waiting: list[_Node] = [self._root]
        while waiting:
            node = waiting.pop()
            if isinstance(node, _Leaf):
                yield node.key, node.value
            elif node is not None:
                waiting += (node.right, node.left)


def map_of(items: Iterable[tuple[bytes, bytes]]) -> AuthenticatedMap:
    """The map with these keys and values. Raises ValueError for a key that comes twice."""
    root: _Node = None
    count = 0
    for key, value in items:
        root, came = _with(root, _leaf(place_of(key), key, value))
        if not came:
            raise ValueError(f"a map was to be restored, but {key[:40]!r} is in it twice. Fetch another snapshot.")
        count += 1
    return AuthenticatedMap(root, count)


def _leaf(place: bytes, key: bytes, value: bytes) -> _Leaf:
    return _Leaf(int.from_bytes(place, "big"), key, value, leaf_hash(place, value_hash(value)))


def _hash_of(node: _Node) -> bytes:
    return EMPTY if node is None else node.hash


def _descend(node: _Node, place: int) -> tuple[list[tuple[_Inner, int]], _Leaf | None]:
    """The inner nodes on the way to a place, each with the half that was taken, and the leaf at its end."""
    way: list[tuple[_Inner, int]] = []
    while isinstance(node, _Inner):
        is_right = place >> (_TOP - len(way)) & 1
        way.append((node, is_right))
        node = node.right if is_right else node.left
    return way, node


def _with(root: _Node, leaf: _Leaf) -> tuple[_Node, int]:
    """The tree with this leaf, and how many keys it has more."""
    way, found = _descend(root, leaf.place)
    if found is None or found.place == leaf.place:
        return _rebuilt(way, leaf), int(found is None)
    depth = len(way)
    parting = PATH_MAX - (found.place ^ leaf.place).bit_length()  # the first bit in which they differ
    here: _Node = _Inner(found, leaf) if leaf.place >> (_TOP - parting) & 1 else _Inner(leaf, found)
    for between in range(parting - 1, depth - 1, -1):
        here = _Inner(None, here) if leaf.place >> (_TOP - between) & 1 else _Inner(here, None)
    return _rebuilt(way, here), 1


def _without(root: _Node, place: int) -> tuple[_Node, int]:
    """The tree without the leaf at this place, and how many keys went."""
    way, found = _descend(root, place)
    if found is None or found.place != place:
        return root, 0
    here: _Node = None
    while way:
        node, is_right = way.pop()
        beside = node.left if is_right else node.right
        if here is None and isinstance(beside, _Leaf):
            here = beside  # alone now, so it moves up
        elif isinstance(here, _Leaf) and beside is None:
            pass  # it moves up further
        else:
            return _rebuilt(way, _Inner(beside, here) if is_right else _Inner(here, beside)), 1
    return here, 1


def _rebuilt(way: list[tuple[_Inner, int]], here: _Node) -> _Node:
    """The nodes of a way anew, around what is at its end now."""
    for node, is_right in reversed(way):
        here = _Inner(node.left, here) if is_right else _Inner(here, node.right)
    return here
