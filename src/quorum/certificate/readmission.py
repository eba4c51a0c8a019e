"""How a member that was evicted for being slow asks to come back, and shows that it has what the others have.

A key that was left out of an epoch never comes back, so it makes a fresh one. The old key attests it: whoever asks
is who was evicted. The fresh key signs too, so nobody asks with a key that is another's.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from quorum.certificate.vote import DIGEST_BYTES, NUMBER_MAX, SigningDomain, VoteKind
from quorum.model import NodeId


class Readmission(msgspec.Struct, frozen=True, array_like=True):
    """`node`, which is in no committee from epoch `since` on, asks to vote with `public_key`. `possession` is that
    key's signature, `attestation` the one of the key that it voted with last."""

    node: NodeId
    public_key: bytes
    since: int
    possession: bytes
    attestation: bytes


class ShownState(msgspec.Struct, frozen=True, array_like=True):
    """What `node` has: the newest block that it knows to be decided, and the root of its own state after an
    earlier one. Signed with the fresh key; `number` grows."""

    node: NodeId
    number: int
    height: int
    digest: bytes
    state_height: int
    state_root: bytes
    signature: bytes


def readmission_statement(request: Readmission, cluster: str) -> bytes:
    """What both keys sign."""
    said = request.node.encode() + b"\0" + request.public_key
    digest = blake2b(said, digest_size=DIGEST_BYTES, person=b"quorum readmit 1").digest()
    return SigningDomain(cluster, request.since).statement(VoteKind.READMIT, 0, request.since, digest)


def shown_statement(shown: ShownState, cluster: str, since: int) -> bytes:
    """What the fresh key signs, for its request of epoch `since`."""
    said = b"\0".join((shown.node.encode(), shown.digest, shown.state_root)) + shown.state_height.to_bytes(
        8, "big"
    )
    digest = blake2b(said, digest_size=DIGEST_BYTES, person=b"quorum shown 1").digest()
    return SigningDomain(cluster, since).statement(VoteKind.SHOW, shown.number, shown.height, digest)


def is_in_form(shown: ShownState) -> bool:
    """Whether a statement can be made of it."""
    numbers = (shown.number, shown.height, shown.state_height)
    is_near = min(numbers) >= 0 and max(numbers) <= NUMBER_MAX
    return is_near and len(shown.digest) == DIGEST_BYTES and len(shown.state_root) == DIGEST_BYTES
