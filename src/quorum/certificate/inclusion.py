"""One request of a block, with the path that proves it to whoever has the block's certificate alone.

As JSON one line with sorted keys; unknown fields are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.block import BlockHeader
from quorum.certificate.json_text import read_once
from quorum.certificate.keys import is_signed
from quorum.certificate.merkle import is_under, leaf_of, path_of
from quorum.certificate.requests import decode_request, request_statement
from quorum.certificate.vote import SigningDomain
from quorum.entry import ENTRY_BYTES_MAX, Buffer
from quorum.errors import ConfigurationError

FORMAT: Final = "quorum-request-1"
INCLUSION_BYTES_MAX: Final = ENTRY_BYTES_MAX * 4 // 3 + 64 * 1024


class Inclusion(msgspec.Struct, frozen=True):
    """The bytes of a request, its place (from 0) in a block, and the hashes beside its way to the root."""

    request: bytes
    place: int
    path: tuple[bytes, ...]


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["quorum-request-1"]
    request: str
    place: int
    path: tuple[str, ...]


_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE = msgspec.json.Decoder(_Document)


def prove(requests: Sequence[Buffer], place: int) -> Inclusion:
    """The proof for one of a block's requests (`requests.unpack_block`). Raises IndexError for no such place."""
    path = path_of([leaf_of(request) for request in requests], place)
    return Inclusion(bytes(requests[place]), place, path)


def flaws_of_inclusion(inclusion: Inclusion, header: BlockHeader, cluster: str) -> list[str]:
    """What keeps the request from being one that its client signed, in the block of a verified `header`."""
    leaf = leaf_of(inclusion.request)
    if not is_under(header.requests_root, leaf, inclusion.place, header.count, inclusion.path):
        return ["the request is not in the block that was signed."]
    try:
        request = decode_request(inclusion.request)
        statement = request_statement(SigningDomain(cluster, 0), request.batch, request.digest)
    except ValueError:
        return []  # a change of epoch, say, which no client signs
    if not is_signed(request.public_key, statement, request.signature):
        return ["the request is in the block, but its client did not sign it."]
    return []


def encode_inclusion(inclusion: Inclusion) -> bytes:
    """The document of the proof."""
    path = tuple(map(text_of, inclusion.path))
    return _JSON.encode(_Document(FORMAT, text_of(inclusion.request), inclusion.place, path))


def decode_inclusion(text: Buffer | str) -> Inclusion:
    """Read the document, unverified. Raises ConfigurationError if it is none."""
    try:
        if len(text) > INCLUSION_BYTES_MAX:
            raise ValueError(f"it has {len(text)} bytes, more than the {INCLUSION_BYTES_MAX} allowed")
        read = read_once(_DECODE, text)
        return Inclusion(bytes_in(read.request), read.place, tuple(map(bytes_in, read.path)))
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigurationError(
            f"a request with its path was to be read, but this is none: {error}. Give the file as it was written."
        ) from None
