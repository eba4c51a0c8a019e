"""How a node's state root is made of the parts of its state: what leads from one application to a signed header.

The bytes that are hashed have no lengths in them, and need none: read from the end, applications have 34 bytes
each, and their ids descend to 1, so that no other cut of the same bytes gives an application another digest.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

import msgspec

STATE_ROOT_BYTES: Final = 32
APPLICATIONS_MAX: Final = 1_000


class StateParts(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What a state root is computed from: the head of the state, the digest of the client sessions, and that of
    each application by its id, ascending."""

    head: bytes
    sessions: bytes
    applications: tuple[tuple[int, bytes], ...]

    def digest_of(self, app: int) -> bytes | None:
        """The digest of one application; None where the state has none of that id."""
        return dict(self.applications).get(app)


def state_root(parts: StateParts) -> bytes:
    """The digest of the whole state. Raises ValueError for parts that no node has."""
    if [len(digest) for _, digest in parts.applications] != [STATE_ROOT_BYTES] * len(parts.applications):
        raise ValueError(f"the digest of an application does not have {STATE_ROOT_BYTES} bytes")
    if len(parts.sessions) != STATE_ROOT_BYTES or len(parts.applications) > APPLICATIONS_MAX:
        raise ValueError("these are no parts of a state")
    ids = [app for app, _ in parts.applications]
    if ids != sorted(set(ids)) or not all(0 < app < 1 << 16 for app in ids):
        raise ValueError("the applications of a state are not in order")
    return root_over(parts.head, parts.sessions, parts.applications)


def root_over(head: bytes, sessions: bytes, applications: Iterable[tuple[int, bytes]]) -> bytes:
    """The digest over parts that are known to be right."""
    root = blake2b(head, digest_size=STATE_ROOT_BYTES)
    root.update(sessions)
    for app, digest in applications:
        root.update(app.to_bytes(2, "little"))
        root.update(digest)
    return root.digest()
