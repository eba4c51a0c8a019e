"""Merkle trees over an ordered list: one root for all, and a short path that proves one item under it.

The shape, and the tags that keep leaves apart from inner nodes, are those of Certificate Transparency; the hash is
blake2b with 32 bytes, personalised. Source: RFC 6962, sections 2.1 and 2.1.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

ROOT_BYTES: Final = 32
PATH_MAX: Final = 63
"""Longer paths belong to lists that nobody has."""

_PERSON = b"quorum merkle 1"
_LEAF, _INNER = b"\x00", b"\x01"


def leaf_of(item: bytes | bytearray | memoryview) -> bytes:
    """The hash that stands for one item of the list."""
    state = blake2b(_LEAF, digest_size=ROOT_BYTES, person=_PERSON)
    state.update(item)
    return state.digest()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """The root over these leaves (made by `leaf_of`), in order. An empty list has a root of its own."""
    level = list(leaves)
    if not level:
        return blake2b(digest_size=ROOT_BYTES, person=_PERSON).digest()
    while len(level) > 1:
        level = _level_above(level)
    return level[0]


def path_of(leaves: Sequence[bytes], place: int) -> tuple[bytes, ...]:
    """What proves the leaf at `place` (from 0): the hashes beside its way up to the root, lowest first.

    Raises IndexError for a place outside the list.
    """
    if not 0 <= place < len(leaves):
        raise IndexError(f"a path to leaf {place} was asked for, but there are {len(leaves)} leaves.")
    level, path = list(leaves), []
    while len(level) > 1:
        beside = place ^ 1
        if beside < len(level):
            path.append(level[beside])
        level, place = _level_above(level), place >> 1
    return tuple(path)


def is_under(root: bytes, leaf: bytes, place: int, count: int, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that the list of `count` items with this root has `leaf` at `place`.

    False, never an error, for a path that is too short, too long, or made of anything but 32-byte hashes.
    """
    if not 0 <= place < count or len(path) > PATH_MAX or len(leaf) != ROOT_BYTES:
        return False
    left, here, last = list(reversed(path)), leaf, count - 1
    while last > 0:
        if place & 1 or place < last:
            if not left or len(left[-1]) != ROOT_BYTES:
                return False
            beside = left.pop()
            here = _inner(beside, here) if place & 1 else _inner(here, beside)
        place, last = place >> 1, last >> 1
    return not left and here == root


def _level_above(level: list[bytes]) -> list[bytes]:
    """Each pair of neighbours by the hash of both; one without a neighbour moves up as it is."""
    above = [_inner(level[place], level[place + 1]) for place in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _inner(left: bytes, right: bytes) -> bytes:
    return blake2b(_INNER + left + right, digest_size=ROOT_BYTES, person=_PERSON).digest()
