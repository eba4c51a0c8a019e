"""The payload of the first record of a segment."""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from quorum.entry import Buffer
from quorum.errors import ConfigurationError

WAL_FORMAT: Final = 1
_VERSION = struct.Struct("<H")


class SegmentHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Who a segment belongs to, and how it joins the one before.

    `segment_bytes` is the space reserved for the file; `previous_end` the offset of the seal in the segment
    before (0 for the first); `last_index` the last index of the log when this segment was begun. `nonce` makes
    the salt of the first segment, and through the chain that of all others, unknown to clients.
    """

    cluster: str
    node: str
    sequence: int
    segment_bytes: int
    previous_end: int
    last_index: int
    nonce: int


_ENCODE_HEAD = msgspec.msgpack.Encoder()
_DECODE_HEAD = msgspec.msgpack.Decoder(SegmentHead)


def encode_segment_head(head: SegmentHead) -> bytes:
    """The payload of a SEGMENT record: the format version, then the head."""
    return _VERSION.pack(WAL_FORMAT) + _ENCODE_HEAD.encode(head)


def decode_segment_head(payload: Buffer, path: str) -> SegmentHead:
    """Read a segment head. Raises ConfigurationError for a newer format, msgspec.DecodeError on damage."""
    version = _VERSION.unpack_from(payload)[0] if len(payload) >= _VERSION.size else 0
    if version > WAL_FORMAT:
        raise ConfigurationError(
            f"{path} was to be read, but it is log format {version} and this program knows up to {WAL_FORMAT}. "
            "Start the newer program that wrote it."
        )
    return _DECODE_HEAD.decode(memoryview(payload)[_VERSION.size :])
