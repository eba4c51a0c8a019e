"""The two forms of a block's certificate: binary to keep, JSON to hand on. Each has one spelling only.

The binary form leaves to the committee what its reader has from there: who signed is a bitmap over the sorted
members, and the membership hash is not in it.
"""

from __future__ import annotations

import struct
from typing import Final, Literal

import msgspec

from quorum.certificate.base64url import bytes_in, text_of
from quorum.certificate.block import BlockCertificate, BlockHeader
from quorum.certificate.committee import Committee
from quorum.certificate.json_text import read_once
from quorum.certificate.keys import SIGNATURE_BYTES
from quorum.certificate.vote import NUMBER_MAX
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId

FORMAT: Final = "quorum-block-1"
CERTIFICATE_BYTES_MAX: Final = 1024 * 1024
HASH_BYTES: Final = 32

_BINARY_FORMAT: Final = 1
_HASHES = struct.Struct("32s32s32s")


class _Binary(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    form: int
    cluster: str
    epoch: int
    view: int
    sequence: int
    time_us: int
    count: int
    state_sequence: int
    hashes: bytes
    signers: bytes
    signatures: bytes


class BlockDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The JSON form: hashes and signatures are base64url without padding."""

    format: Literal["quorum-block-1"]
    cluster: str
    epoch: int
    view: int
    sequence: int
    time_us: int
    count: int
    state_sequence: int
    members: str
    parent: str
    requests: str
    state: str
    signatures: dict[NodeId, str]


_BINARY_HEAD = bytes([0x90 + len(_Binary.__struct_fields__), _BINARY_FORMAT])
_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(_Binary)
_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE_JSON = msgspec.json.Decoder(BlockDocument)


def encode_binary(certificate: BlockCertificate, committee: Committee) -> bytes:
    """The binary form of a certificate by members of `committee`, which it names, each with a whole signature."""
    header = certificate.header
    assert header.membership_hash == committee.membership_hash, "the form leaves the hash out"
    signed = dict(certificate.signatures)
    bits = sum(1 << place for place, member in enumerate(committee.nodes) if member in signed)
    return _ENCODE.encode(
        _Binary(
            _BINARY_FORMAT,
            certificate.cluster,
            certificate.epoch,
            certificate.view,
            header.sequence,
            header.time_us,
            header.count,
            header.state_sequence,
            _HASHES.pack(header.parent, header.requests_root, header.state_root),
            bits.to_bytes(-(-len(committee.nodes) // 8), "little"),
            b"".join(signature for _, signature in certificate.signatures),
        )
    )


def is_binary(data: Buffer) -> bool:
    """Whether these bytes can be no JSON document, but begin like the binary form: an array of its fields."""
    return bytes(data[:2]) == _BINARY_HEAD


def decode_binary(data: Buffer, committee: Committee) -> BlockCertificate:
    """Read the binary form. Raises ConfigurationError if it is none, or not spelled as `encode_binary` does."""
    _check_size(len(data))
    try:
        read = _DECODE.decode(data)
        hashes = (committee.membership_hash, *_HASHES.unpack(read.hashes))
        header = BlockHeader(read.sequence, read.time_us, read.count, read.state_sequence, *hashes)
    except (msgspec.DecodeError, UnicodeDecodeError, struct.error) as error:
        raise _unreadable(error) from None
    bits = int.from_bytes(read.signers, "little")
    signers = [member for place, member in enumerate(committee.nodes) if bits >> place & 1]
    if len(read.signatures) != SIGNATURE_BYTES * len(signers):
        raise _unreadable(
            ValueError(f"{len(signers)} signed, but it has {len(read.signatures)} bytes of signatures")
        )
    pieces = [read.signatures[at : at + SIGNATURE_BYTES] for at in range(0, len(read.signatures), SIGNATURE_BYTES)]
    certificate = BlockCertificate(
        read.cluster, read.epoch, read.view, header, tuple(zip(signers, pieces, strict=True))
    )
    if not _in_range(certificate) or encode_binary(certificate, committee) != bytes(data):
        raise _unreadable(ValueError("it is not spelled in the one form there is"))
    return certificate


def encode_json(certificate: BlockCertificate) -> bytes:
    """The JSON form, one line: keys sorted, no spaces."""
    return _JSON.encode(document_of(certificate))


def document_of(certificate: BlockCertificate) -> BlockDocument:
    """The JSON form before it is text, for a document that holds several."""
    header = certificate.header
    return BlockDocument(
        FORMAT,
        certificate.cluster,
        certificate.epoch,
        certificate.view,
        header.sequence,
        header.time_us,
        header.count,
        header.state_sequence,
        text_of(header.membership_hash),
        text_of(header.parent),
        text_of(header.requests_root),
        text_of(header.state_root),
        {member: text_of(signature) for member, signature in certificate.signatures},
    )


def decode_json(text: Buffer | str) -> BlockCertificate:
    """Read the JSON form, whatever its spaces and order of keys. Raises ConfigurationError if it is none."""
    _check_size(len(text))
    try:
        return certificate_of(read_once(_DECODE_JSON, text))
    except (msgspec.DecodeError, ValueError) as error:
        raise _unreadable(error) from None


def certificate_of(read: BlockDocument) -> BlockCertificate:
    """What the document says. Raises ValueError for hashes, signatures or numbers that no certificate has."""
    hashes = [bytes_in(hashed) for hashed in (read.members, read.parent, read.requests, read.state)]
    signatures = tuple((member, bytes_in(signature)) for member, signature in sorted(read.signatures.items()))
    if any(len(hashed) != HASH_BYTES for hashed in hashes):
        raise ValueError(f"its hashes do not have {HASH_BYTES} bytes each")
    members, parent, requests, state = hashes
    header = BlockHeader(
        read.sequence, read.time_us, read.count, read.state_sequence, members, parent, requests, state
    )
    certificate = BlockCertificate(read.cluster, read.epoch, read.view, header, signatures)
    if not _in_range(certificate):
        raise ValueError(f"its numbers do not lie between 0 and {NUMBER_MAX}")
    return certificate


def _in_range(certificate: BlockCertificate) -> bool:
    header = certificate.header
    numbers = (certificate.epoch, certificate.view, header.sequence, header.time_us)
    return all(0 <= number <= NUMBER_MAX for number in (*numbers, header.count, header.state_sequence))


def _check_size(size: int) -> None:
    if size > CERTIFICATE_BYTES_MAX:
        raise _unreadable(ValueError(f"it has {size} bytes, more than the {CERTIFICATE_BYTES_MAX} allowed"))


def _unreadable(why: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"a block's certificate was to be read, but this is none: {why}. Give the file as it was written, and the "
        "genesis file of its cluster."
    )
