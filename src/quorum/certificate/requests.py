"""A client's signed batch of commands, and a block of them, as bytes: one spelling each, cut apart without copies.

A node signs nothing for a client: the client's own key is in the request, so a primary can neither make requests
in its name nor change them. Each request is one leaf of the block's Merkle tree.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from quorum.certificate.block import HEADER, BlockHeader, header_of
from quorum.certificate.keys import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.vote import DIGEST_BYTES, SigningDomain, VoteKind
from quorum.entry import ENTRY_BYTES_MAX, Buffer
from quorum.header import Batch

EPOCH_TAG: Final = b"quorum epoch 1\x00"
"""With it begins the committee of the next epoch (certificate.epochs), which is no client's request: those begin
with a public key, and nobody can find a key that begins like this."""
REQUESTS_MAX: Final = 65_536
"""No block holds more; a header that claims more is an attack."""

_BATCH = struct.Struct(">HQQQI")
_SIGNED = PUBLIC_KEY_BYTES + SIGNATURE_BYTES
REQUEST_BYTES_MIN: Final = _SIGNED + _BATCH.size
_SIZE = struct.Struct(">I")


class SignedRequest(msgspec.Struct, frozen=True, gc=False):
    """One batch by the holder of `public_key`, if `signature` over `request_statement` is right.

    `digest` covers the batch.
    """

    public_key: bytes
    signature: bytes
    batch: Batch
    digest: bytes

    @property
    def name(self) -> bytes:
        """What tells it from every other request: two keys may sign the same batch."""
        return self.public_key + self.digest


def sign_request(domain: SigningDomain, batch: Batch, public_key: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """The bytes of a request. `domain` is of the cluster's epoch 0: a request outlives a change of epoch."""
    packed = (
        _BATCH.pack(batch.app, batch.client, batch.first_sequence, batch.acked_below, batch.count) + batch.body
    )
    digest = blake2b(packed, digest_size=DIGEST_BYTES).digest()
    return public_key + sign(request_statement(domain, batch, digest)) + packed


def decode_request(data: Buffer) -> SignedRequest:
    """Take a request apart; its signature is not checked. Raises ValueError for bytes that are none."""
    if not REQUEST_BYTES_MIN <= len(data) <= ENTRY_BYTES_MAX:
        raise ValueError(f"a request of {len(data)} bytes lies outside {REQUEST_BYTES_MIN} to {ENTRY_BYTES_MAX}")
    packed = memoryview(data)[_SIGNED:]
    app, client, first_sequence, acked_below, count = _BATCH.unpack_from(packed)
    batch = Batch(app, client, first_sequence, acked_below, count, bytes(packed[_BATCH.size :]))
    return SignedRequest(
        bytes(data[:PUBLIC_KEY_BYTES]),
        bytes(data[PUBLIC_KEY_BYTES:_SIGNED]),
        batch,
        blake2b(packed, digest_size=DIGEST_BYTES).digest(),
    )


def request_statement(domain: SigningDomain, batch: Batch, digest: bytes) -> bytes:
    """What the client signs: its session and sequence number stand where a vote has view and sequence number."""
    return domain.statement(VoteKind.REQUEST, batch.client, batch.first_sequence, digest)


def pack_block(header: BlockHeader, requests: Sequence[Buffer]) -> bytes:
    """The bytes of a block whose header names exactly these requests."""
    assert header.count == len(requests), "the header counts the requests"
    pieces: list[Buffer] = [header.packed()]
    for request in requests:
        pieces += (_SIZE.pack(len(request)), request)
    return b"".join(pieces)


def unpack_block(data: Buffer) -> tuple[BlockHeader, tuple[memoryview, ...]]:
    """Header and requests of a block, cut apart and checked against the header's count and root.

    Raises ValueError for bytes that are no block, before anything is allocated for what they claim.
    """
    header = header_of(data)
    requests = _cut(data, header.count)
    if root_of(map(leaf_of, requests)) != header.requests_root:
        raise ValueError("a block's requests are not those that its header names")
    return header, tuple(requests)


def requests_in(data: Buffer) -> list[SignedRequest]:
    """The clients' requests of a block that was checked when it was accepted. A change of epoch holds none."""
    header = header_of(data)
    pieces = _cut(data, header.count)
    return [] if is_change(pieces) else [decode_request(piece) for piece in pieces]


def is_change(pieces: Sequence[Buffer]) -> bool:
    """Whether these pieces of a block are a change of epoch, and no clients' requests."""
    return bool(pieces) and bytes(pieces[0][: len(EPOCH_TAG)]) == EPOCH_TAG


def _cut(data: Buffer, count: int) -> list[memoryview]:
    if count > REQUESTS_MAX:
        raise ValueError(f"a block claims {count} requests, more than {REQUESTS_MAX}")
    view, at = memoryview(data), HEADER.size
    requests: list[memoryview] = []
    for _ in range(count):
        if at + _SIZE.size > len(view):
            raise ValueError(f"a block of {count} requests ends after {len(requests)}")
        (size,) = _SIZE.unpack_from(view, at)
        at += _SIZE.size
        if size > len(view) - at:
            raise ValueError(f"request {len(requests)} of a block claims {size} bytes, {len(view) - at} are there")
        requests.append(view[at : at + size])
        at += size
    if at != len(view):
        raise ValueError(f"{len(view) - at} bytes are left over after a block's {count} requests")
    return requests
