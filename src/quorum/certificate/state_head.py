"""The head of a state: where in the log it stands, and the roots of the applications that prove what they hold.

It is the first piece of a snapshot, so a proof of that piece leads from such a root to the state's own, which the
header of a certified block names.
"""

from __future__ import annotations

import struct

import msgspec

from quorum.certificate.state_pieces import HEAD, PieceProof, digest_of, read_proof

_FORMAT = b"QHS3"
_HEAD = struct.Struct("<4sQQqqI")
_ROOT = struct.Struct("<H32s")


class StateHead(msgspec.Struct, frozen=True, gc=False):
    """`index` entries or requests are in the state, and the blocks up to `block` (0: none are applied), at these
    times in microseconds. `roots` has each application that proves what it holds, by its id, ascending: none where
    no blocks are applied."""

    index: int
    block: int
    log_time_us: int
    lease_time_us: int
    sessions_max: int
    roots: tuple[tuple[int, bytes], ...] = ()


def encode_head(head: StateHead) -> bytes:
    """The bytes of a head; without `roots` they are those of every earlier release."""
    times = (head.log_time_us, head.lease_time_us)
    packed = _HEAD.pack(_FORMAT, head.index, head.block, *times, head.sessions_max)
    return packed + b"".join([_ROOT.pack(app, root) for app, root in head.roots])


def read_head(data: bytes) -> StateHead | None:
    """The head that these bytes are; None if they are none."""
    if len(data) < _HEAD.size or data[:4] != _FORMAT or (len(data) - _HEAD.size) % _ROOT.size:
        return None
    _, index, block, log_time_us, lease_time_us, sessions_max = _HEAD.unpack_from(data)
    roots: tuple[tuple[int, bytes], ...] = tuple(_ROOT.iter_unpack(data[_HEAD.size :]))
    apps = [app for app, _ in roots]
    if apps != sorted(set(apps)) or 0 in apps or (roots and not block):
        return None
    return StateHead(index, block, log_time_us, lease_time_us, sessions_max, roots)


class ProvenHead(msgspec.Struct, frozen=True, gc=False):
    """The bytes of a state's head, and the proof that they are piece 0 of it."""

    head: bytes
    proof: PieceProof

    def is_of(self, root: bytes) -> bool:
        """Whether this is the head of the state with this root."""
        entries = read_proof(root, 0, self.proof)
        return entries is not None and entries[:1] == [(0, HEAD, digest_of(self.head))]

    def root_of(self, app: int) -> bytes | None:
        """The root that the head has of an application; None where it has none."""
        head = read_head(self.head)
        return None if head is None else dict(head.roots).get(app)
