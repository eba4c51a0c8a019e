"""Merkle trees over a map: one root for all keys, and a short path that proves what is under a key, or that
nothing is.

A key's place is its hash, bit by bit. A subtree without keys is EMPTY, one with a single key is that key's leaf,
any other an inner node over its two halves: so the root depends on the content alone, and a path has about
log2(keys) hashes. A leaf names its whole place, which is why it may stand high up. Source: Dahlberg, Pulls and
Peeters, "Efficient Sparse Merkle Trees" (2016); the short form is that of Gao, Hu and Wu, "Jellyfish Merkle Tree"
(2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

HASH_BYTES: Final = 32
PATH_MAX: Final = HASH_BYTES * 8
EMPTY: Final = bytes(HASH_BYTES)
"""The hash of a subtree without keys."""

_PERSON = b"quorum sparse 1"
_KEY, _VALUE, _LEAF, _INNER = b"\x02", b"\x03", b"\x00", b"\x01"


class MapPath(msgspec.Struct, frozen=True):
    """What proves a key: the hashes beside its way down from the root, the highest first.

    `other` is the leaf, (place, hash of its value), that stands where the absent key would be; None: nothing
    does, or the key itself.
    """

    beside: tuple[bytes, ...]
    other: tuple[bytes, bytes] | None = None


def place_of(key: bytes) -> bytes:
    """Where a key stands: 32 bytes."""
    return blake2b(_KEY + key, digest_size=HASH_BYTES, person=_PERSON).digest()


def value_hash(value: bytes) -> bytes:
    """What stands for a value in its leaf."""
    return blake2b(_VALUE + value, digest_size=HASH_BYTES, person=_PERSON).digest()


def leaf_hash(place: bytes, value: bytes) -> bytes:
    """The hash of the leaf at `place` over the hash of its value."""
    return blake2b(_LEAF + place + value, digest_size=HASH_BYTES, person=_PERSON).digest()


def inner_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over those of its halves."""
    return blake2b(_INNER + left + right, digest_size=HASH_BYTES, person=_PERSON).digest()


def is_mapped(root: bytes, key: bytes, value: bytes | None, path: MapPath) -> bool:
    """Whether `path` proves that the map with this root has `value` under `key`; None: has nothing there.

    False, never an error, for a path of any other form than a map makes.
    """
    place, depth = place_of(key), len(path.beside)
    if depth > PATH_MAX or not _are_hashes(path.beside):
        return False
    if value is not None:
        if path.other is not None:
            return False
        here = leaf_hash(place, value_hash(value))
    elif path.other is None:
        here = EMPTY
    else:
        where, what = path.other
        if not _are_hashes((where, what)) or where == place or not _share(where, place, depth):
            return False
        here = leaf_hash(where, what)
    return _climb(here, int.from_bytes(place, "big"), path.beside) == root


def _climb(here: bytes, place: int, beside: Sequence[bytes]) -> bytes:
    for depth in range(len(beside) - 1, -1, -1):
        is_right = place >> (PATH_MAX - 1 - depth) & 1
        here = inner_hash(beside[depth], here) if is_right else inner_hash(here, beside[depth])
    return here


def _share(one: bytes, other: bytes, bits: int) -> bool:
    """Whether two places begin with the same bits."""
    differing = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return differing >> (PATH_MAX - bits) == 0


def _are_hashes(hashes: Sequence[bytes]) -> bool:
    return all(len(each) == HASH_BYTES for each in hashes)
