"""Frames on a byte stream, and messages in the heads of frames.

A frame is, little-endian: u32 length of the rest | u16 channel | u32 head length | head | attachment. The head is
one msgpack message, the attachment opaque bytes (stored log entries, a batch, a chunk of a snapshot) that nobody
between sender and receiver decodes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from quorum.entry import ENTRY_BYTES_MAX, Buffer
from quorum.errors import RemoteProtocolError

_PREFIX = struct.Struct("<IHI")
PREFIX_BYTES = _PREFIX.size
_LENGTH_BYTES = 4
_REST_MIN = PREFIX_BYTES - _LENGTH_BYTES
_COPIED_BELOW = 4096
"""A smaller attachment is copied out of what was received, a larger one is a view of it."""

FRAME_BYTES_MAX = ENTRY_BYTES_MAX + 64 * 1024
"""Default bound on one frame: the largest entry, its message, and room to spare."""
CHANNEL_MAX = 0xFFFF

Frame = tuple[int, bytes, Buffer]
"""(channel, head, attachment) of one received frame."""

M = TypeVar("M")


def encode_frame(channel: int, head: bytes, attached: Sequence[Buffer] = ()) -> list[Buffer]:
    """One frame as pieces to be written one after the other; nothing that is attached is copied."""
    head_bytes = len(head)
    size = _REST_MIN + head_bytes
    for piece in attached:
        size += len(piece)
    return [_PREFIX.pack(size, channel, head_bytes), head, *attached]


class FrameParser:
    """Cuts a byte stream into frames, wherever the stream was split.

    `sender` is the name to blame. `bytes_max` bounds one frame, its length field left out; nothing is allocated
    for what a length merely claims, memory grows with the bytes that came. Each byte of a frame that arrives in
    several pieces is copied once.
    """

    def __init__(self, bytes_max: int = FRAME_BYTES_MAX, sender: str = "") -> None:
        self.bytes_max = bytes_max
        self.sender = sender
        self._started = bytearray()

    @property
    def bytes_started(self) -> int:
        """How much of a frame that is not complete yet has arrived, in bytes."""
        return len(self._started)

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was received; return the frames that it completes, in order.

        Raises RemoteProtocolError for a length that cannot be. The stream has lost its meaning then: close it.
        """
        frames: list[Frame] = []
        at = self._finish_started(data, frames) if self._started else 0
        end = len(data)
        unpack, bytes_max = _PREFIX.unpack_from, self.bytes_max
        while end - at >= PREFIX_BYTES:
            size, channel, head_bytes = unpack(data, at)
            if not head_bytes + _REST_MIN <= size <= bytes_max:
                raise self._refusal(size, head_bytes)
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
            _, channel, head_bytes = _PREFIX.unpack_from(whole)
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
        head_bytes = _PREFIX.unpack_from(self._started)[2]
        if head_bytes > size - _REST_MIN:
            raise self._refusal(size, head_bytes)
        return _LENGTH_BYTES + size - held

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
