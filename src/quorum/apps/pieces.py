"""The pieces of a state, as they are made: its snapshot cut up, and the tree over their entries.

Every chunk that an application gives for a snapshot is cut into pieces of at most PIECE_BYTES; the head of the
stream is the first piece. Whoever trusts the root of the tree (certificate.state_pieces) can check each piece when
it comes, before anything reads it.

Source: Castro and Liskov, "Practical Byzantine Fault Tolerance and Proactive Recovery" (2002), section 5.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from quorum.apps.stream import FRAME_PAYLOAD_BYTES, LAST, PIECE, PIECE_FRAMES
from quorum.certificate.merkle import leaf_of, path_of, root_of
from quorum.certificate.state_pieces import DIGEST_BYTES, ENTRY, GROUP, HEAD, PieceProof, digest_of, root_over

PIECE_BYTES = PIECE_FRAMES * FRAME_PAYLOAD_BYTES
SLICE_BYTES = 50_000


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


def root_in_slices(
    head: bytes, parts: Iterable[tuple[int, Iterator[bytes]]], made: Callable[[Tree], object] | None = None
) -> Iterator[bytes]:
    """The root of the state with this head and, for each application, the digests of its chunks (as `rendered`):
    b"" after each slice of work, then the root. `made` is called with the tree before."""
    entries = bytearray(ENTRY.pack(0, HEAD, digest_of(head)))
    for app, chunks in parts:
        for digests in chunks:
            if not digests:
                yield b""
                continue
            last = len(digests) - DIGEST_BYTES
            for at in range(0, last, DIGEST_BYTES):
                entries += ENTRY.pack(app, PIECE, digests[at : at + DIGEST_BYTES])
            entries += ENTRY.pack(app, LAST, digests[last:])
    tree = Tree(bytes(entries))
    if made is not None:
        made(tree)
    yield tree.root


class Tree:
    """The tree over these entries."""

    def __init__(self, entries: bytes) -> None:
        self._entries = entries
        self.count = len(entries) // ENTRY.size
        """How many pieces the state has."""
        size = GROUP * ENTRY.size
        self._leaves = [leaf_of(entries[at : at + size]) for at in range(0, len(entries), size)]
        self._tree = root_of(self._leaves)
        self.root = root_over(self.count, self._tree)

    def prove(self, number: int) -> PieceProof:
        """What proves the piece of this number, and those of its group. Raises IndexError if there is none."""
        place = number // GROUP
        path = path_of(self._leaves, place)
        size = GROUP * ENTRY.size
        return PieceProof(self.count, self._tree, self._entries[place * size : (place + 1) * size], path)
