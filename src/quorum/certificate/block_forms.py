"""The two forms of a block's certificate: binary to keep, JSON to hand on. Each has one spelling only.

The binary form says who signed by a bitmap over the committee's sorted members, so its reader needs the committee.
"""

from __future__ import annotations

import base64
import struct
from typing import Final, Literal

import msgspec

from quorum.certificate.block import BlockCertificate, BlockHeader
from quorum.certificate.committee import Committee
from quorum.certificate.keys import SIGNATURE_BYTES
from quorum.certificate.vote import NUMBER_MAX
from quorum.entry import Buffer
from quorum.errors import ConfigurationError
from quorum.model import NodeId

FORMAT: Final = "quorum-block-1"
CERTIFICATE_BYTES_MAX: Final = 1024 * 1024
HASH_BYTES: Final = 32

_BINARY_FORMAT: Final = 1
_HASHES = struct.Struct("32s32s32s32s")


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


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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


_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(_Binary)
_JSON = msgspec.json.Encoder(order="deterministic")
_DECODE_JSON = msgspec.json.Decoder(_Document)


def encode_binary(certificate: BlockCertificate, committee: Committee) -> bytes:
    """The binary form of a certificate whose signers are members of `committee`, each with a whole signature."""
    header = certificate.header
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
            _HASHES.pack(header.membership_hash, header.parent, header.requests_root, header.state_root),
            bits.to_bytes(-(-len(committee.nodes) // 8), "little"),
            b"".join(signature for _, signature in certificate.signatures),
        )
    )


def decode_binary(data: Buffer, committee: Committee) -> BlockCertificate:
    """Read the binary form. Raises ConfigurationError if it is none, or not spelled as `encode_binary` does."""
    _check_size(len(data))
    try:
        read = _DECODE.decode(data)
        header = BlockHeader(
            read.sequence, read.time_us, read.count, read.state_sequence, *_HASHES.unpack(read.hashes)
        )
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
    header = certificate.header
    return _JSON.encode(
        _Document(
            FORMAT,
            certificate.cluster,
            certificate.epoch,
            certificate.view,
            header.sequence,
            header.time_us,
            header.count,
            header.state_sequence,
            _text(header.membership_hash),
            _text(header.parent),
            _text(header.requests_root),
            _text(header.state_root),
            {member: _text(signature) for member, signature in certificate.signatures},
        )
    )


def decode_json(text: Buffer | str) -> BlockCertificate:
    """Read the JSON form, whatever its spaces and order of keys. Raises ConfigurationError if it is none."""
    _check_size(len(text))
    try:
        read = _DECODE_JSON.decode(text)
        hashes = [_bytes(hashed) for hashed in (read.members, read.parent, read.requests, read.state)]
        signatures = tuple((member, _bytes(signature)) for member, signature in sorted(read.signatures.items()))
    except (msgspec.DecodeError, ValueError) as error:
        raise _unreadable(error) from None
    if any(len(hashed) != HASH_BYTES for hashed in hashes):
        raise _unreadable(ValueError(f"its hashes do not have {HASH_BYTES} bytes each"))
    members, parent, requests, state = hashes
    header = BlockHeader(
        read.sequence, read.time_us, read.count, read.state_sequence, members, parent, requests, state
    )
    certificate = BlockCertificate(read.cluster, read.epoch, read.view, header, signatures)
    if not _in_range(certificate):
        raise _unreadable(ValueError(f"its numbers do not lie between 0 and {NUMBER_MAX}"))
    return certificate


def _in_range(certificate: BlockCertificate) -> bool:
    header = certificate.header
    numbers = (certificate.epoch, certificate.view, header.sequence, header.time_us)
    return all(0 <= number <= NUMBER_MAX for number in (*numbers, header.count, header.state_sequence))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    """The bytes of base64url text. Raises ValueError for any other spelling than `_text` makes."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not base64url text without padding") from None
    if _text(data) != text:
        raise ValueError(f"{text[:40]!r} is base64url text with bits too many")
    return data


def _check_size(size: int) -> None:
    if size > CERTIFICATE_BYTES_MAX:
        raise _unreadable(ValueError(f"it has {size} bytes, more than the {CERTIFICATE_BYTES_MAX} allowed"))


def _unreadable(why: Exception) -> ConfigurationError:
    return ConfigurationError(
        f"a block's certificate was to be read, but this is none: {why}. Give the file as it was written, and the "
        "genesis file of its cluster."
    )
