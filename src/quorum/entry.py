"""The log entry: one batch of client commands, as it is sent, stored and applied.

An entry is a fixed head and an opaque body. Consensus reads only the identity (index, term, kind); the body
is never decoded before it is applied, and the same bytes go over the wire and into the log.
"""

from __future__ import annotations

import struct
from hashlib import blake2b

from quorum.header import Batch, Header

Buffer = bytes | bytearray | memoryview

COMMAND = 1
"""A batch of client commands for one application."""
CONFIGURATION = 2
"""A change of configuration; the body is `model.encode_configuration`."""
TICK = 3
"""Log time moves on; no command."""
BARRIER = 4
"""An empty entry: a new leader commits one of its own term (Raft, section 8)."""
BLOCK = 5
"""The signed requests of many clients, as members that may lie decide them (certificate.requests.pack_block)."""
KINDS = frozenset((COMMAND, CONFIGURATION, TICK, BARRIER, BLOCK))

# index, term, kind, format, app, epoch, time_us, entropy,
# client, first_sequence, acked_below, count, digest, size
_HEAD = struct.Struct("<QQBBHIqQQQQI8sI")
_IDENTITY = struct.Struct("<QQBBHIq")
_PLACE = struct.Struct("<QQ")
_SIZE = struct.Struct("<I")
HEAD_BYTES = _HEAD.size
_SIZE_BYTES = _SIZE.size
_KIND_AT, _FORMAT_AT = 16, 17
ENTRY_FORMAT = 1
HOLLOW_FORMAT = 2
"""A command without its body, as a witness keeps it: index, term and digest, nothing to apply."""
FORMATS = frozenset((ENTRY_FORMAT, HOLLOW_FORMAT))
ENTRY_BYTES_MAX = 16 * 1024 * 1024
"""No entry is larger than this; a head that claims more is damage or an attack."""


def body_digest(body: Buffer) -> bytes:
    """Eight bytes of blake2b over a body: names its content inside one log."""
    return blake2b(body, digest_size=8).digest()


def encode_entry(index: int, term: int, kind: int, epoch: int, time_us: int, entropy: int, batch: Batch) -> bytes:
    """The bytes of one entry, on the wire and on disk."""
    body = batch.body
    return (
        _HEAD.pack(
            index,
            term,
            kind,
            ENTRY_FORMAT,
            batch.app,
            epoch,
            time_us,
            entropy,
            batch.client,
            batch.first_sequence,
            batch.acked_below,
            batch.count,
            blake2b(body, digest_size=8).digest(),
            len(body),
        )
        + body
    )


def entry_identity(entry: Buffer) -> tuple[int, int, int, int]:
    """(index, term, kind, time_us) of stored bytes, unchecked; the hot path's only look inside."""
    index, term, kind, _, _, _, time_us = _IDENTITY.unpack_from(entry)
    return index, term, kind, time_us


def entry_place(entry: Buffer) -> tuple[int, int]:
    """(index, term) of stored bytes, unchecked."""
    index, term = _PLACE.unpack_from(entry)
    return index, term


def entry_identity_and_form(entry: Buffer) -> tuple[int, int, int, int, bool]:
    """As `entry_identity`, and last whether `is_known_form`."""
    index, term, kind, form, _, _, time_us = _IDENTITY.unpack_from(entry)
    return index, term, kind, time_us, form in FORMATS and kind in KINDS


def is_known_form(entry: Buffer) -> bool:
    """Whether this release can read the entry: its format and its kind are known. Look before it is stored."""
    return entry[_FORMAT_AT] in FORMATS and entry[_KIND_AT] in KINDS


def is_hollow(entry: Buffer) -> bool:
    """Whether the body of the entry was left out."""
    return entry[_FORMAT_AT] == HOLLOW_FORMAT


def hollow(entry: Buffer) -> bytes:
    """The entry as a witness keeps it: a command without its body, anything else as it is."""
    if entry[_KIND_AT] != COMMAND:
        return bytes(entry)
    head = bytearray(entry[:HEAD_BYTES])
    head[_FORMAT_AT] = HOLLOW_FORMAT
    head[HEAD_BYTES - _SIZE_BYTES :] = bytes(_SIZE_BYTES)
    return bytes(head)


def decode_entry(entry: Buffer) -> tuple[Header, memoryview]:
    """Header and body of one entry. Raises ValueError if the bytes are not exactly one well-formed entry."""
    if len(entry) < HEAD_BYTES:
        raise ValueError(f"an entry of {len(entry)} bytes is shorter than its head of {HEAD_BYTES}")
    index, term, kind, version, app, epoch, time_us, entropy, client, first, acked, count, digest, size = (
        _HEAD.unpack_from(entry)
    )
    if version not in FORMATS or kind not in KINDS or size != len(entry) - HEAD_BYTES:
        raise ValueError(f"entry {index} claims format {version}, kind {kind} and {size} bytes in {len(entry)}")
    header = Header(index, term, kind, app, epoch, time_us, entropy, client, first, acked, count, digest)
    return header, memoryview(entry)[HEAD_BYTES:]


def split_entries(data: Buffer) -> list[bytes]:
    """Cut concatenated entries apart, as a received frame carries them.

    Raises ValueError if a head is damaged, a size exceeds ENTRY_BYTES_MAX, or bytes are left over.
    """
    view = memoryview(data)
    entries: list[bytes] = []
    size_at = _SIZE.unpack_from
    at, end = 0, len(view)
    while at < end:
        if end - at < HEAD_BYTES:
            raise ValueError(f"{end - at} bytes are left over after {len(entries)} entries")
        (size,) = size_at(view, at + HEAD_BYTES - _SIZE_BYTES)
        stop = at + HEAD_BYTES + size
        if size > ENTRY_BYTES_MAX or stop > end:
            raise ValueError(f"entry {len(entries)} of the frame claims {size} bytes, {end - at} are there")
        entries.append(bytes(view[at:stop]))
        at = stop
    return entries
