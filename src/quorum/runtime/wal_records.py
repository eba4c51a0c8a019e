"""The records of the write-ahead log, byte for byte.

A record is a head of 40 bytes, a payload and a filling to a multiple of 8 bytes that ends with END_MARK:

    crc, previous, magic, kind, 0, size, watermark, term, index | payload | 0..., END_MARK

`crc` covers everything after itself up to the end of the payload, salted with the segment's own salt, so that
no bytes of a client or of another segment pass for a record. `previous` is the crc of the record before: the
chain shows blocks that are stale or of another place. `watermark` is the offset in this segment below which
everything was known durable when the record was written, so a record that is found later proves how far damage
cannot come from a crash. END_MARK is not zero and space is reserved as zeros, so a record whose last byte is
zero was never written whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from quorum.entry import ENTRY_BYTES_MAX, HEAD_BYTES, Buffer

SEGMENT: Final = 1
"""First record of a segment: a SegmentHead; term and index are 0."""
HARD_STATE: Final = 2
"""The term (in the head) and the vote (payload)."""
ENTRY: Final = 3
"""One stored entry, as it came; it cuts whatever the log held at its index and after."""
RESET: Final = 4
"""The log goes on after `index` of `term`, which a snapshot holds."""
WATERMARK: Final = 5
"""No content: a clean end, so that damage before it is known not to come from a crash."""
SEAL: Final = 6
"""Last record of a segment: the log goes on in the next one."""
NOTE: Final = 7
"""What a protocol keeps beside the log: the length of a name, the name, the data. Empty data forgets it."""
KIND_LAST: Final = NOTE

MAGIC: Final = b"\xd7\x51"
END_MARK: Final = 0xA5
PAYLOAD_BYTES_MAX: Final = ENTRY_BYTES_MAX + HEAD_BYTES
"""No length beyond this is believed, whatever the disk says."""

_CHECKED = struct.Struct("<I2sBxIQQQ")
HEADER = struct.Struct("<II2sBxIQQQ")
HEADER_BYTES: Final = HEADER.size
RECORD_ROOM_BYTES: Final = HEADER_BYTES + 8
"""A record has so much more than its payload, at most."""
SEAL_BYTES: Final = 48
_FILLINGS = tuple(bytes(n - 1) + bytes((END_MARK,)) if n else b"" for n in range(9))


Record = tuple[int, int, int, Buffer]
"""(kind, term, index, payload)."""


def record_bytes(size: int) -> int:
    """Bytes on disk of a record with `size` bytes of payload."""
    return (HEADER_BYTES + size | 7) + 1


class Encoder:
    """Writes records one after the other into `parts`, chained. `offset` is where the next one will begin."""

    __slots__ = ("chain", "offset", "parts", "salt", "watermark")

    def __init__(self, chain: int, salt: int, offset: int) -> None:
        self.chain = chain
        self.salt = salt
        self.offset = self.watermark = offset
        self.parts: list[Buffer] = []

    def add(self, kind: int, term: int, index: int, payload: Buffer) -> int:
        """Append one record; return the offset at which it begins."""
        return self.add_all(((kind, term, index, payload),))[0]

    def add_all(self, records: Iterable[Record]) -> list[int]:
        """Append records; return the offset at which each begins."""
        offsets = []
        pack, parts, chain, salt = _CHECKED.pack, self.parts, self.chain, self.salt
        watermark, at = self.watermark, self.offset
        for kind, term, index, payload in records:
            size = len(payload)
            head = pack(chain, MAGIC, kind, size, watermark, term, index)
            chain = crc32(payload, crc32(head, salt))
            stop = at + (HEADER_BYTES + size | 7) + 1
            parts += (chain.to_bytes(4, "little"), head, payload, _FILLINGS[stop - at - HEADER_BYTES - size])
            offsets.append(at)
            at = stop
        self.chain, self.offset = chain, at
        return offsets


def self_valid(data: Buffer, at: int, salt: int) -> tuple[int, int] | None:
    """(watermark, previous) of a whole and undamaged record at `at`, wherever it belongs; else None."""
    if at + HEADER_BYTES > len(data):
        return None
    crc, previous, magic, kind, size, watermark, _, _ = HEADER.unpack_from(data, at)
    if magic != MAGIC or not SEGMENT <= kind <= KIND_LAST or size > PAYLOAD_BYTES_MAX:
        return None
    if at + HEADER_BYTES + size > len(data):
        return None
    if crc != crc32(memoryview(data)[at + 4 : at + HEADER_BYTES + size], salt):
        return None
    return watermark, previous


def encode_vote(vote: str | None) -> bytes:
    """The payload of a hard state: empty for no vote."""
    return b"" if vote is None else b"+" + vote.encode()


def decode_vote(payload: Buffer) -> str | None:
    """The vote of a hard state. Raises ValueError on bytes that `encode_vote` never made."""
    data = bytes(payload)
    if not data:
        return None
    if data[:1] != b"+":
        raise ValueError(f"a hard state says {data[:20]!r} where its vote should be")
    return data[1:].decode()


def encode_note(name: str, data: Buffer) -> bytes:
    """The payload of a note. Names have up to 255 bytes."""
    packed = name.encode()
    return bytes([len(packed)]) + packed + data


def decode_note(payload: Buffer) -> tuple[str, bytes]:
    """Name and data of a note. Raises ValueError on bytes that `encode_note` never made."""
    data = bytes(payload)
    if not data or len(data) < 1 + data[0]:
        raise ValueError("a note is too short for its name")
    return data[1 : 1 + data[0]].decode(), data[1 + data[0] :]
