"""The root of a state, as certified blocks name it: a tree over the pieces of its snapshot.

Every chunk that an application gives for a snapshot is cut into pieces of at most PIECE_BYTES; the head of the
stream is the first piece. What is known of a piece is its entry: whose it is, whether a chunk ends with it, and
its digest. Each GROUP of entries is one leaf of a Merkle tree, and the root of the state is the hash of how
many pieces there are and of that tree's root. So whoever trusts the root can check each piece when it comes,
before anything reads it.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), section 5.3.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import msgspec

from quorum.apps.stream import FRAME_PAYLOAD_BYTES, HEAD, LAST, PIECE, PIECE_FRAMES
from quorum.certificate.merkle import is_under, leaf_of, path_of, root_of
from quorum.entry import Buffer

PIECE_BYTES = PIECE_FRAMES * FRAME_PAYLOAD_BYTES
DIGEST_BYTES = 32
GROUP = 64
"""So many entries are one leaf: hashing the tree then costs little beside finding what changed."""
_ENTRY = struct.Struct("<HB32s")
_COUNT = struct.Struct("<Q")
_PERSON = b"quorum state 1"
SLICE_BYTES = 50_000

Entry = tuple[int, int, bytes]
"""(application, kind, digest) of one piece."""


class Proof(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """That some pieces belong to a state: `count` pieces under the Merkle root `tree`, with these entries of one
    `group`, whose `path` leads to it."""

    count: int
    tree: bytes
    group: bytes
    path: tuple[bytes, ...]


def digest_of(piece: Buffer) -> bytes:
    """32 bytes of blake2b."""
    return blake2b(piece, digest_size=DIGEST_BYTES).digest()


def digests_of(chunk: bytes) -> bytes:
    """The digests of the pieces of one chunk, one behind the other."""
    if len(chunk) <= PIECE_BYTES:
        return digest_of(chunk)
    view = memoryview(chunk)
    return b"".join([digest_of(view[at : at + PIECE_BYTES]) for at in range(0, len(chunk), PIECE_BYTES)])


def rendered(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The digests of each of these chunks, and b"" after each slice of work."""
    worked = 0
    for chunk in chunks:
        yield digests_of(chunk)
        worked += len(chunk)
        if worked >= SLICE_BYTES:
            worked = 0
            yield b""


def root_in_slices(head: bytes, parts: Iterable[tuple[int, Iterator[bytes]]]) -> Iterator[bytes]:
    """The root of the state with this head and, for each application, the digests of its chunks (as `rendered`):
    b"" after each slice of work, then the root."""
    entries = bytearray(_ENTRY.pack(0, HEAD, digest_of(head)))
    for app, chunks in parts:
        for digests in chunks:
            if not digests:
                yield b""
                continue
            last = len(digests) - DIGEST_BYTES
            for at in range(0, last, DIGEST_BYTES):
                entries += _ENTRY.pack(app, PIECE, digests[at : at + DIGEST_BYTES])
            entries += _ENTRY.pack(app, LAST, digests[last:])
    yield Tree(bytes(entries)).root


class Tree:
    """The tree over these entries."""

    def __init__(self, entries: bytes) -> None:
        self._entries = entries
        self.count = len(entries) // _ENTRY.size
        """How many pieces the state has."""
        size = GROUP * _ENTRY.size
        self._leaves = [leaf_of(entries[at : at + size]) for at in range(0, len(entries), size)]
        self._tree = root_of(self._leaves)
        self.root = _root_of(self.count, self._tree)

    def prove(self, number: int) -> Proof:
        """What proves the piece of this number, and those of its group. Raises IndexError if there is none."""
        place = number // GROUP
        path = path_of(self._leaves, place)
        size = GROUP * _ENTRY.size
        return Proof(self.count, self._tree, self._entries[place * size : (place + 1) * size], path)


def read_proof(root: bytes, number: int, proof: Proof) -> list[Entry] | None:
    """The entries of pieces `number` and those behind it in its group, of the state with this root; None if the
    proof is none. With as many pieces as `number` says there are none behind it, which is proven, too."""
    count, group = proof.count, proof.group
    if not 0 <= number <= count <= _COUNT_MAX or count == 0 or _root_of(count, proof.tree) != root:
        return None
    place = min(number, count - 1) // GROUP
    expected = min(GROUP, count - place * GROUP) * _ENTRY.size
    groups = -(-count // GROUP)
    if len(group) != expected or not is_under(proof.tree, leaf_of(group), place, groups, proof.path):
        return None
    entries: list[Entry] = [_ENTRY.unpack_from(group, at) for at in range(0, expected, _ENTRY.size)]
    return entries[number - place * GROUP :]


_COUNT_MAX = 1 << 48


def entries_of(pieces: Iterable[Entry]) -> bytes:
    """The bytes of these entries, as `Tree` takes them."""
    return b"".join([_ENTRY.pack(*piece) for piece in pieces])


def _root_of(count: int, tree: bytes) -> bytes:
    return blake2b(_COUNT.pack(count) + tree, digest_size=DIGEST_BYTES, person=_PERSON).digest()


def proven(entries: Sequence[Entry], pieces: Sequence[Buffer]) -> int:
    """How many of these pieces, from the first on, are what their entries say."""
    for place, piece in enumerate(pieces):
        if place >= len(entries) or digest_of(piece) != entries[place][2]:
            return place
    return len(pieces)
