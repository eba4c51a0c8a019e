"""Frames on a byte stream, and messages in the heads of frames.

A frame is, little-endian: u32 length of the rest | u16 channel | u32 head length | u32 cluster tag | head |
attachment. The tag says of which cluster the message is, so that none is taken for one of another, wherever bytes
were mixed up. The head is one msgpack message, the attachment opaque bytes (stored log entries, a batch, a chunk
of a snapshot) that nobody between sender and receiver decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Generic, TypeVar

import msgspec

from quorum.entry import ENTRY_BYTES_MAX, Buffer
from quorum.errors import RemoteProtocolError

_PREFIX = struct.Struct("<IHII")
PREFIX_BYTES = _PREFIX.size
_LENGTH_BYTES = 4
_REST_MIN = PREFIX_BYTES - _LENGTH_BYTES
_COPIED_BELOW = 4096
"""A smaller attachment is copied out of what was received, a larger one is a view of it."""

FRAME_BYTES_MAX = ENTRY_BYTES_MAX + 64 * 1024
"""Default bound on one frame: the largest entry, its message, and room to spare."""
CHANNEL_MAX = 0xFFFF
NO_CLUSTER = 0
"""The tag in the hello of a client that does not know its cluster yet; no cluster has it."""

Frame = tuple[int, bytes, Buffer]
"""(channel, head, attachment) of one received frame."""

M = TypeVar("M")


def cluster_tag(cluster: str) -> int:
    """What frames of `cluster` carry: 32 bits of its id's SHA-256, NO_CLUSTER for no id."""
    if not cluster:
        return NO_CLUSTER
    return int.from_bytes(sha256(cluster.encode()).digest()[:4], "little") or 1


def encode_frame(tag: int, channel: int, head: bytes, attached: Sequence[Buffer] = ()) -> list[Buffer]:
    """One frame of the cluster with `tag` as pieces to be written one after the other; nothing that is attached is
    copied."""
    head_bytes = len(head)
    size = _REST_MIN + head_bytes
    for piece in attached:
        size += len(piece)
    return [_PREFIX.pack(size, channel, head_bytes, tag), head, *attached]


class FrameParser:
    """Cuts a byte stream into frames, wherever the stream was split.

    `tag` is that of the cluster that every frame must be of; from NO_CLUSTER on the first frame that has one says
    which. `sender` is the name to blame. `bytes_max` bounds one frame, its length field left out; nothing is
    allocated for what a length merely claims, memory grows with the bytes that came. Each byte of a frame that
    arrives in several pieces is copied once.
    """

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX, sender: str = "", tag: int = NO_CLUSTER) -> None:
        self.tag = tag
        self.bytes_max = bytes_max
        self.sender = sender
        self._started = bytearray()

    @property
    def bytes_started(self) -> int:
        """How much of a frame that is not complete yet has arrived, in bytes."""
        return len(self._started)

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was received; return the frames that it completes, in order.

        Raises RemoteProtocolError for a length that cannot be, and for a frame of another cluster. The stream has
        lost its meaning then: close it.
        """
        frames: list[Frame] = []
        at = self._finish_started(data, frames) if self._started else 0
        end = len(data)
        unpack, bytes_max, expected = _PREFIX.unpack_from, self.bytes_max, self.tag
        while end - at >= PREFIX_BYTES:
            size, channel, head_bytes, tag = unpack(data, at)
            if not head_bytes + _REST_MIN <= size <= bytes_max:
                raise self._refusal(size, head_bytes)
            if tag != expected:
                expected = self._first_tag(tag)
            stop = at + _LENGTH_BYTES + size
            if stop > end:
                break
            body = at + PREFIX_BYTES + head_bytes
            attachment = data[body:stop] if stop - body < _COPIED_BELOW else memoryview(data)[body:stop]
            frames.append((channel, data[at + PREFIX_BYTES : body], attachment))
            at = stop
        if at < end:
            self._started += memoryview(data)[at:]
            self._bytes_missing()
        return frames

    def _finish_started(self, data: bytes, frames: list[Frame]) -> int:
        """Continue the started frame with `data`; return how much of `data` it took."""
        at = 0
        while at < len(data) and (missing := self._bytes_missing()):
            self._started += memoryview(data)[at : at + missing]
            at = min(at + missing, len(data))
        if self._bytes_missing() == 0:
            whole, self._started = self._started, bytearray()
            _, channel, head_bytes, _ = _PREFIX.unpack_from(whole)
            body = PREFIX_BYTES + head_bytes
            frames.append((channel, bytes(whole[PREFIX_BYTES:body]), memoryview(whole)[body:]))
        return at

    def _bytes_missing(self) -> int:
        """How many bytes the started frame still needs, as far as can be told: its prefix first."""
        held = len(self._started)
        size = int.from_bytes(self._started[:_LENGTH_BYTES], "little") if held >= _LENGTH_BYTES else _REST_MIN
        if not _REST_MIN <= size <= self.bytes_max:
            raise self._refusal(size, 0)
        if held < PREFIX_BYTES:
            return PREFIX_BYTES - held
        _, _, head_bytes, tag = _PREFIX.unpack_from(self._started)
        if head_bytes > size - _REST_MIN:
            raise self._refusal(size, head_bytes)
        if tag != self.tag:
            self._first_tag(tag)
        return _LENGTH_BYTES + size - held

    def _first_tag(self, tag: int) -> int:
        """The tag of the cluster from now on, where none was known. Raises RemoteProtocolError else."""
        if self.tag != NO_CLUSTER:
            raise RemoteProtocolError(
                self.sender,
                f"sent a frame of another cluster (tag {tag:08x}), but this connection is one of the cluster with "
                f"tag {self.tag:08x}. Look for a proxy or a port that mixes two clusters.",
            )
        self.tag = tag
        return tag

    def _refusal(self, size: int, head_bytes: int) -> RemoteProtocolError:
        return RemoteProtocolError(
            self.sender,
            f"sent a frame of {size} bytes with a head of {head_bytes}, but a frame has {_REST_MIN} to "
            f"{self.bytes_max} bytes and its head fits in. Look for another program or version at that address.",
        )


class MessageCodec(Generic[M]):
    """Writes and reads one closed union of tagged msgspec Structs; encoder and decoder are built once."""

    def __init__(self, messages: Any) -> None:
        self.encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(messages).decode

    def decode(self, head: Buffer, sender: str) -> M:
        """Read one message. Raises RemoteProtocolError, naming `sender`, if the bytes are none of the union's."""
        try:
            message: M = self._decode(head)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            # The decoder's own text may quote what was sent; the kind of failure says enough.
            raise RemoteProtocolError(
                sender,
                f"sent a head of {len(head)} bytes that is no message of this protocol ({type(error).__name__}). "
                "Check that both ends run compatible versions.",
            ) from None
        return message
