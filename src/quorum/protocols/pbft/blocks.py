"""Blocks as log entries: made by the primary, and taken apart with every redundant field checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from quorum.certificate.approval import Change, pack_change, unpack_change
from quorum.certificate.block import HEADER, BlockHeader, header_of
from quorum.certificate.committee import Committee
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.requests import SignedRequest, decode_request, is_change, pack_block, unpack_block
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
    """One block, taken apart. `entry` are its bytes as they are sent, stored and applied. The last block of an
    epoch holds a `change`, and no requests."""

    header: BlockHeader
    digest: bytes
    requests: tuple[SignedRequest, ...]
    entry: bytes
    change: Change | None = None

    def link(self) -> Link:
        """What the chain remembers of it."""
        return Link(self.header, self.digest, len(self.entry), self.names, self.entry, self.change)

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
    header, digest, entry = _made(before, committee, time_us, state, [data for _, data in requests])
    return Block(header, digest, tuple(decoded for decoded, _ in requests), entry)


def make_change(
    before: Link, committee: Committee, time_us: int, state: tuple[int, bytes], change: Change
) -> Block:
    """The last block of an epoch, otherwise as `make_block`."""
    header, digest, entry = _made(before, committee, time_us, state, pack_change(change))
    return Block(header, digest, (), entry, change)


def _made(
    before: Link, committee: Committee, time_us: int, state: tuple[int, bytes], packed: Sequence[Buffer]
) -> tuple[BlockHeader, bytes, bytes]:
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
    return header, digest, _entry(header, digest, committee.epoch, pack_block(header, packed))


def read_block(sender: NodeId, entry: Buffer, committee: Committee) -> Block:
    """Take an entry apart that `sender` gave for a block of this committee; signatures are not checked.

    Raises RemoteProtocolError unless the bytes are exactly those that `make_block` makes.
    """
    try:
        _, body = decode_entry(entry)
        header, packed = unpack_block(body)
        change = unpack_change(packed) if is_change(packed) else None
        requests = tuple(map(decode_request, packed)) if change is None else ()
    except ValueError as error:
        raise RemoteProtocolError(sender, f"sent bytes that are no block: {error}") from None
    if header.time_us > TIME_US_MAX:
        raise RemoteProtocolError(sender, f"sent block {header.sequence} of a time beyond every clock")
    digest = header.digest()
    if header.membership_hash != committee.membership_hash:
        raise RemoteProtocolError(sender, f"sent block {header.sequence} of another committee or epoch")
    if bytes(entry) != _entry(header, digest, committee.epoch, bytes(body)):
        raise RemoteProtocolError(sender, f"sent block {header.sequence} in a form that is not its own")
    return Block(header, digest, requests, bytes(entry), change)


def read_past_block(sender: NodeId, entry: Buffer, committees: Mapping[bytes, Committee]) -> Block:
    """As `read_block`, of any of these committees, by their membership hashes."""
    try:
        committee = committees.get(header_of(decode_entry(entry)[1]).membership_hash)
    except ValueError as error:
        raise RemoteProtocolError(sender, f"sent bytes that are no block: {error}") from None
    if committee is None:
        raise RemoteProtocolError(sender, "sent a block of another committee or epoch")
    return read_block(sender, entry, committee)


def check_past_header(sender: NodeId, header: BlockHeader, committees: Mapping[bytes, Committee]) -> None:
    """Raise RemoteProtocolError unless a header names one of these committees, by their membership hashes."""
    if header.membership_hash not in committees:
        raise RemoteProtocolError(sender, f"block {header.sequence} is of another committee or epoch")


def read_headers(sender: NodeId, headers: Sequence[bytes]) -> list[BlockHeader]:
    """Unpack headers that `sender` gave. Raises RemoteProtocolError for bytes of another length."""
    if any(len(packed) != HEADER.size for packed in headers):
        raise RemoteProtocolError(sender, f"sent a header of a block that has not {HEADER.size} bytes")
    return [BlockHeader(*HEADER.unpack(packed)) for packed in headers]


def _entry(header: BlockHeader, digest: bytes, epoch: int, body: bytes) -> bytes:
    batch = Batch(app=0, client=0, first_sequence=0, acked_below=0, count=header.count, body=body)
    entropy = int.from_bytes(digest[:8], "big")
    return encode_entry(header.sequence, NO_TERM, BLOCK, epoch, header.time_us, entropy, batch)
