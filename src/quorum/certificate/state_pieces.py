"""That pieces belong to a state: their entries, and what proves them under the root that a certified block names.

A state is the pieces of its snapshot (apps.pieces), the first of which is its head. What is known of a piece is
its entry: whose it is, whether a chunk ends with it, and its digest. Each GROUP of entries is one leaf of a Merkle
tree, and the root of the state is the hash of how many pieces there are and of that tree's root.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), section 5.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from quorum.certificate.merkle import is_under, leaf_of
from quorum.entry import Buffer

DIGEST_BYTES: Final = 32
GROUP: Final = 64
"""So many entries are one leaf: hashing the tree then costs little beside finding what changed."""
HEAD: Final = 4
"""The kind of the piece that is a state's head: piece 0, of application 0."""
ENTRY: Final = struct.Struct("<HB32s")
_COUNT = struct.Struct("<Q")
_COUNT_MAX = 1 << 48
_PERSON = b"quorum state 1"

Entry = tuple[int, int, bytes]
"""(application, kind, digest) of one piece."""


class PieceProof(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """That some pieces belong to a state: `count` pieces under the Merkle root `tree`, with these entries of one
    `group`, whose `path` leads to it."""

    count: int
    tree: bytes
    group: bytes
    path: tuple[bytes, ...]


def digest_of(piece: Buffer) -> bytes:
    """32 bytes of blake2b."""
    return blake2b(piece, digest_size=DIGEST_BYTES).digest()


def entries_of(pieces: Iterable[Entry]) -> bytes:
    """The bytes of these entries, as groups have them."""
    return b"".join([ENTRY.pack(*piece) for piece in pieces])


def root_over(count: int, tree: bytes) -> bytes:
    """The root of a state of `count` pieces, whose entries have the Merkle root `tree`."""
    return blake2b(_COUNT.pack(count) + tree, digest_size=DIGEST_BYTES, person=_PERSON).digest()


def read_proof(root: bytes, number: int, proof: PieceProof) -> list[Entry] | None:
    """The entries of pieces `number` and those behind it in its group, of the state with this root; None if the
    proof is none. With as many pieces as `number` says there are none behind it, which is proven, too."""
    count, group = proof.count, proof.group
    if not 0 <= number <= count <= _COUNT_MAX or count == 0 or root_over(count, proof.tree) != root:
        return None
    place = min(number, count - 1) // GROUP
    expected = min(GROUP, count - place * GROUP) * ENTRY.size
    groups = -(-count // GROUP)
    if len(group) != expected or not is_under(proof.tree, leaf_of(group), place, groups, proof.path):
        return None
    entries: list[Entry] = [ENTRY.unpack_from(group, at) for at in range(0, expected, ENTRY.size)]
    return entries[number - place * GROUP :]


def proven(entries: Sequence[Entry], pieces: Sequence[Buffer]) -> int:
    """How many of these pieces, from the first on, are what their entries say."""
    for place, piece in enumerate(pieces):
        if place >= len(entries) or digest_of(piece) != entries[place][2]:
            return place
    return len(pieces)
