"""Digests that are computed in slices, so that a large state does not stop its node.

Whoever gives one pins the state when it is asked for it. The iterator then yields b"" after each slice of work,
and the digest at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b


def joined(root: blake2b, parts: Iterable[tuple[bytes, Iterator[bytes]]]) -> Iterator[bytes]:
    """The digest that `root` becomes with each part's prefix and digest added, in slices."""
    for prefix, slices in parts:
        root.update(prefix)
        for digest in slices:
            if digest:
                root.update(digest)
            else:
                yield b""
    yield root.digest()
