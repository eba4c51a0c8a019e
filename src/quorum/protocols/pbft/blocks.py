"""Blocks as log entries: made by the primary, and taken apart with every redundant field checked."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from quorum.certificate.block import HEADER, BlockHeader
from quorum.certificate.committee import Committee
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.requests import SignedRequest, decode_request, pack_block, unpack_block
from quorum.entry import BLOCK, Buffer, decode_entry, encode_entry
from quorum.errors import RemoteProtocolError
from quorum.header import Batch
from quorum.model import NodeId
from quorum.protocols.pbft.chain import Link

NO_TERM = 0
"""Entries of blocks have no term: a block is named by its digest alone, whichever view decides it."""
TIME_US_MAX = 2**63 - 1
"""An entry holds no later time."""


class Block(msgspec.Struct, frozen=True, gc=False):
    """One block, taken apart. `entry` are its bytes as they are sent, stored and applied."""

    header: BlockHeader
    digest: bytes
    requests: tuple[SignedRequest, ...]
    entry: bytes

    def link(self) -> Link:
        """What the chain remembers of it."""
        return Link(self.header, self.digest, len(self.entry), self.names, self.entry)

    @property
    def names(self) -> tuple[bytes, ...]:
        """What the requests are known by (`SignedRequest.name`)."""
        return tuple(request.name for request in self.requests)


def make_block(
    before: Link,
    committee: Committee,
    time_us: int,
    state: tuple[int, bytes],
    requests: Sequence[tuple[SignedRequest, Buffer]],
) -> Block:
    """The block that follows `before` with these requests, each given decoded and as bytes.

    `state` is (sequence, root) of the newest state to be certified by it.
    """
    packed = [data for _, data in requests]
    header = BlockHeader(
        before.header.sequence + 1,
        max(time_us, before.header.time_us),
        len(packed),
        state[0],
        committee.membership_hash,
        before.digest,
        root_of(map(leaf_of, packed)),
        state[1],
    )
    digest = header.digest()
    entry = _entry(header, digest, committee.epoch, pack_block(header, packed))
    return Block(header, digest, tuple(decoded for decoded, _ in requests), entry)


def read_block(sender: NodeId, entry: Buffer, committee: Committee) -> Block:
    """Take an entry apart that `sender` gave for a block of this committee; signatures are not checked.

    Raises RemoteProtocolError unless the bytes are exactly those that `make_block` makes.
    """
    try:
        _, body = decode_entry(entry)
        header, packed = unpack_block(body)
        requests = tuple(map(decode_request, packed))
    except ValueError as error:
        raise RemoteProtocolError(sender, f"sent bytes that are no block: {error}") from None
    if header.time_us > TIME_US_MAX:
        raise RemoteProtocolError(sender, f"sent block {header.sequence} of a time beyond every clock")
    digest = header.digest()
    if header.membership_hash != committee.membership_hash:
        raise RemoteProtocolError(sender, f"sent block {header.sequence} of another committee or epoch")
    if bytes(entry) != _entry(header, digest, committee.epoch, bytes(body)):
        raise RemoteProtocolError(sender, f"sent block {header.sequence} in a form that is not its own")
    return Block(header, digest, requests, bytes(entry))


def read_headers(sender: NodeId, headers: Sequence[bytes]) -> list[BlockHeader]:
    """Unpack headers that `sender` gave. Raises RemoteProtocolError for bytes of another length."""
    if any(len(packed) != HEADER.size for packed in headers):
        raise RemoteProtocolError(sender, f"sent a header of a block that has not {HEADER.size} bytes")
    return [BlockHeader(*HEADER.unpack(packed)) for packed in headers]


def _entry(header: BlockHeader, digest: bytes, epoch: int, body: bytes) -> bytes:
    batch = Batch(app=0, client=0, first_sequence=0, acked_below=0, count=header.count, body=body)
    entropy = int.from_bytes(digest[:8], "big")
    return encode_entry(header.sequence, NO_TERM, BLOCK, epoch, header.time_us, entropy, batch)
