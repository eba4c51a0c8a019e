"""The snapshot stream of a host: the chunks of every application, tagged, cut small and sealed.

One frame is a tag (application, kind) and a payload of at most 64 KiB. The stream begins with a head, gives the
chunks of each application together, applications ascending, and ends with a seal: a digest of the checksums of all
frames before it. That finds damage; who may have wrought the bytes is a matter of whoever carries them, and a
snapshot file has a digest of them all. Streams of the first form, which were sealed by that, too, can be read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from zlib import crc32

from quorum.certificate.state_pieces import HEAD
from quorum.entry import Buffer

_TAG = struct.Struct("<HB")
FRAME_PAYLOAD_BYTES = 64 * 1024
PIECE_FRAMES = 32
"""Of at most so many frames are the pieces into which certified states are cut (apps.pieces)."""
PIECE, LAST, _FIRST_HEAD, _END = 0, 1, 2, 3
"""Kinds of frames: a part of a chunk, its end, the end of the stream; its head has a kind of its own, HEAD."""


def write_stream(head: bytes, parts: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    """Frames for `head` and then, for each (application, chunks), its chunks."""
    sums = bytearray()
    for frame in _frames(head, parts):
        sums += _checksum(frame)
        yield frame
    yield _TAG.pack(0, _END) + blake2b(sums, digest_size=32).digest()


def _checksum(frame: bytes) -> bytes:
    return crc32(frame).to_bytes(4, "little")


def _frames(head: bytes, parts: Iterable[tuple[int, Iterable[bytes]]]) -> Iterator[bytes]:
    yield _TAG.pack(0, HEAD) + head
    for app, chunks in parts:
        for chunk in chunks:
            view, at = memoryview(chunk), 0
            while len(chunk) - at > FRAME_PAYLOAD_BYTES:
                yield _TAG.pack(app, PIECE) + view[at : at + FRAME_PAYLOAD_BYTES]
                at += FRAME_PAYLOAD_BYTES
            yield _TAG.pack(app, LAST) + view[at:]


class PieceFrames:
    """The frames of a stream again, piece by piece (apps.pieces); `count` pieces are in it."""

    def __init__(self) -> None:
        self.count = 0
        self._sums = bytearray()

    def add(self, app: int, kind: int, data: Buffer) -> list[bytes]:
        """The frames of the next piece."""
        view = memoryview(data)
        cuts = [view[at : at + FRAME_PAYLOAD_BYTES] for at in range(0, len(view), FRAME_PAYLOAD_BYTES)] or [view]
        frames = [_TAG.pack(app, PIECE) + cut for cut in cuts[:-1]]
        frames.append(_TAG.pack(app, kind) + cuts[-1])
        self._keep(frames)
        return frames

    def resume(self, frames: Iterable[bytes]) -> int:
        """Go on behind frames that `add` gave earlier. Returns how many of them are of whole pieces: those behind
        them are to be dropped."""
        self.count, self._sums = 0, bytearray()
        whole, started = 0, []
        for frame in frames:
            kind = _TAG.unpack_from(frame)[1]
            if kind == _END:
                break
            started.append(frame)
            if kind != PIECE or len(started) == PIECE_FRAMES:
                self._keep(started)
                whole += len(started)
                started = []
        return whole

    def end(self) -> bytes:
        """The frame behind all others."""
        return _TAG.pack(0, _END) + blake2b(self._sums, digest_size=32).digest()

    def _keep(self, frames: list[bytes]) -> None:
        self.count += 1
        for frame in frames:
            self._sums += _checksum(frame)


def pieces_in(frames: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int, bytes, int, int, int]]:
    """For each piece of a stream whose frames have these offsets: its application, kind and digest, the offset of
    its first frame, how many it has, and its size in bytes. Raises ValueError if there is no end."""
    hasher, first, count, size = blake2b(digest_size=32), 0, 0, 0
    for offset, frame in frames:
        app, kind = _TAG.unpack_from(frame)
        if kind == _END:
            return
        first = first if count else offset
        hasher.update(memoryview(frame)[_TAG.size :])
        count += 1
        size += len(frame) - _TAG.size
        if kind != PIECE or count == PIECE_FRAMES:
            yield app, kind, hasher.digest(), first, count, size
            hasher, count, size = blake2b(digest_size=32), 0, 0
    raise ValueError("a snapshot was to be read, but it breaks off. Fetch another snapshot.")


def payload_of(frames: Iterable[bytes]) -> bytes:
    """What these frames of one piece hold."""
    return b"".join([memoryview(frame)[_TAG.size :] for frame in frames])


class StreamReader:
    """Reads the frames back, in order: the head, the chunks of each application, the end.

    Every method raises ValueError if the stream is damaged or holds something else at this place.
    """

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._frames = iter(frames)
        self._seal = blake2b(digest_size=32)
        self._sealed: Callable[[bytes], bytes] = _checksum
        self._app, self._kind, self._payload = 0, _END, b""
        self._advance()

    def head(self) -> bytes:
        """The head given to `write_stream`."""
        _require(self._kind in (_FIRST_HEAD, HEAD), "it does not begin with its head")
        head = self._payload
        self._advance()
        return head

    def holds(self, app: int) -> bool:
        """Whether chunks of `app` come next."""
        return self._app == app and self._kind in (PIECE, LAST)

    def chunks(self, app: int) -> Iterator[bytes]:
        """The chunks of `app`, if they come next; none otherwise."""
        while self.holds(app):
            pieces = []
            while self._kind == PIECE and self._app == app:
                pieces.append(self._payload)
                self._advance()
            _require(self._kind == LAST and self._app == app, "a chunk is not complete")
            pieces.append(self._payload)
            self._advance()
            yield b"".join(pieces)

    def end(self) -> None:
        """Check that nothing is left over and that the seal is right."""
        _require(self._kind == _END, f"it holds state of application {self._app} that nobody here reads")
        _require(self._payload == self._seal.digest(), "its digest is wrong")
        _require(next(self._frames, None) is None, "something follows its end")

    def _advance(self) -> None:
        frame = next(self._frames, None)
        if frame is None or len(frame) < _TAG.size:
            raise ValueError("a snapshot was to be restored, but it breaks off. Fetch another snapshot.")
        self._app, self._kind = _TAG.unpack_from(frame)
        self._payload = bytes(frame[_TAG.size :])
        _require(self._kind <= HEAD, f"it holds a frame of unknown kind {self._kind}")
        if self._kind == _FIRST_HEAD:
            self._sealed = bytes
        if self._kind != _END:
            self._seal.update(self._sealed(frame))


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"a snapshot was to be restored, but {otherwise}. Fetch another snapshot.")
