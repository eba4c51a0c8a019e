"""Replicated objects in a program that has not their classes: carried from one snapshot to another, unread.

A backup is verified and restored by whoever has the file; the code of the classes is with those who run the nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import islice

from quorum.apps.leaves import DIGEST_BYTES, Leaves
from quorum.apps.objects_machine import read_head
from quorum.apps.state_machine import Outputs
from quorum.entry import Buffer
from quorum.errors import LocalProtocolError
from quorum.header import Header


class CarriedObjects:
    """What a snapshot holds of objects, chunk by chunk. `versions` are those of the objects, by their names."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.versions: dict[str, int] = {}

    def apply(self, header: Header, body: Buffer) -> Outputs:
        """Raises LocalProtocolError."""
        raise _not_run()

    def query(self, body: Buffer) -> bytes:
        """Raises LocalProtocolError."""
        raise _not_run()

    def digest(self) -> bytes:
        """32 bytes over the chunks."""
        return blake2b(b"".join(self._chunks), digest_size=DIGEST_BYTES).digest()

    def snapshot(self) -> Iterator[bytes]:
        """The chunks, as they came."""
        return iter(tuple(self._chunks))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Take over the chunks. Raises ValueError, nothing changed, for some that belong to no objects, whatever
        their classes are."""
        kept = list(chunks)
        rest = iter(kept)
        head = read_head(next(rest, None))
        for each in head.objects:
            Leaves().load(islice(rest, each.leaves))
        if next(rest, None) is not None:
            raise ValueError("objects were to be carried, but something follows them. Fetch another snapshot.")
        self._chunks, self.versions = kept, {each.object: each.version for each in head.objects}


def _not_run() -> LocalProtocolError:
    return LocalProtocolError(
        "an object was called where objects are carried from a backup, but nothing here has their classes. Call a "
        "node that hosts them."
    )
