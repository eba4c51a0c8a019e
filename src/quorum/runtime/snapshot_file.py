"""The bytes of a snapshot file. They depend on the state and the mark alone, never on the node that writes.

    MAGIC, format (u16), head size (u32), head, crc of all that
    for each chunk: size (u32), crc (u32), bytes
    END (u32), blake2b-256 of everything before the digest

So `SnapshotMark.digest`, the last 32 bytes, names the file wherever it is, and a chunk is verified before it
is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from zlib import crc32

import msgspec

from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.model import Configuration
from quorum.protocols.events import SnapshotMark
from quorum.runtime.files import Files

DIGEST_BYTES = 32
CHUNK_BYTES_MAX = 64 << 20
SNAPSHOT_FORMAT = 1
_MAGIC = b"QSNP"
_END = 0xFFFFFFFF
_HEAD_BYTES_MAX = 16 << 20
_FIXED = struct.Struct("<4sHI")
_WORD = struct.Struct("<I")
_CHUNK = struct.Struct("<II")
_WINDOW_BYTES = 1 << 20


class _Head(msgspec.Struct, frozen=True, array_like=True):
    cluster: str
    index: int
    term: int
    time_us: int
    configuration: Configuration
    place: bytes = b""


_ENCODE_HEAD = msgspec.msgpack.Encoder(order="deterministic")
_DECODE_HEAD = msgspec.msgpack.Decoder(_Head)


def new_hash() -> blake2b:
    """The digest of a snapshot file, to be fed with everything before its trailer."""
    return blake2b(digest_size=DIGEST_BYTES)


def encode_head(cluster: str, mark: SnapshotMark) -> bytes:
    """How the file begins."""
    head = _ENCODE_HEAD.encode(_Head(cluster, mark.index, mark.term, mark.time_us, mark.configuration, mark.place))
    data = _FIXED.pack(_MAGIC, SNAPSHOT_FORMAT, len(head)) + head
    return data + _WORD.pack(crc32(data))


def chunk_head(chunk: bytes) -> bytes:
    """What stands before a chunk."""
    return _CHUNK.pack(len(chunk), crc32(chunk))


def end_of_chunks() -> bytes:
    """What stands after the last chunk, before the digest."""
    return _WORD.pack(_END)


class SnapshotReader:
    """One snapshot file, open for reading; it stays readable when the file is unlinked meanwhile.

    `cluster` is whose it must be (None: anybody's); afterwards it says whose it is. Every method raises
    StorageCorrupt, with file and offset, for damage or bytes that cannot be read.
    """

    remedy = "Use an older snapshot with the log, or let this node fetch one from the others."

    def __init__(self, files: Files, path: str, cluster: str | None) -> None:
        self._files = files
        self.path = path
        self.cluster = cluster or ""
        self._handle = files.open(path)
        try:
            self.size = files.size(self._handle)
            self._body, self.mark = self._read_head(cluster)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._files.close(self._handle)

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file, as they are transferred."""
        try:
            return self._files.pread(self._handle, size, offset)
        except OSError as error:
            raise self._corrupt(offset, f"reading failed ({error.strerror or error})") from error

    def verify(self) -> None:
        """Read the whole file and compare its digest."""
        hasher = new_hash()
        stop = self.size - DIGEST_BYTES
        for offset in range(0, stop, _WINDOW_BYTES):
            hasher.update(self.read(offset, min(_WINDOW_BYTES, stop - offset)))
        if hasher.digest() != self.mark.digest:
            raise self._corrupt(stop, "the digest differs from the contents")

    def chunks(self) -> Iterator[bytes]:
        """The chunks, each verified before it is given out."""
        return (chunk for _, chunk in self.located(self._body))

    def located(self, at: int = 0) -> Iterator[tuple[int, bytes]]:
        """As `chunks`, each with its offset in the file; from the one at offset `at` on, or from the first."""
        at, stop = at or self._body, self.size - DIGEST_BYTES
        while True:
            head = self.read(at, _CHUNK.size)
            if len(head) < _CHUNK.size:
                raise self._corrupt(at, "the chunks end too early")
            size, crc = _CHUNK.unpack(head)
            if size == _END:
                if at + _WORD.size != stop:
                    raise self._corrupt(at, "the chunks end too early")
                return
            if size > CHUNK_BYTES_MAX or at + _CHUNK.size + size > stop:
                raise self._corrupt(at, f"a chunk claims {size} bytes")
            chunk = self.read(at + _CHUNK.size, size)
            if crc32(chunk) != crc:
                raise self._corrupt(at, "a chunk is damaged")
            yield at, chunk
            at += _CHUNK.size + size

    def _read_head(self, cluster: str | None) -> tuple[int, SnapshotMark]:
        """(offset of the first chunk, the mark). The digest in the mark is the trailer, not yet verified."""
        fixed = self.read(0, _FIXED.size)
        if len(fixed) < _FIXED.size:
            raise self._corrupt(0, "the file is too short")
        magic, version, size = _FIXED.unpack(fixed)
        if magic == _MAGIC and version > SNAPSHOT_FORMAT:
            raise ConfigurationError(
                f"{self.path} was to be read, but it is snapshot format {version} and this program knows up to "
                f"{SNAPSHOT_FORMAT}. Start the newer program that wrote it."
            )
        body = _FIXED.size + size + _WORD.size
        if magic != _MAGIC or size > _HEAD_BYTES_MAX or body + _WORD.size + DIGEST_BYTES > self.size:
            raise self._corrupt(0, "the head is damaged")
        data = self.read(0, body)
        if _WORD.unpack_from(data, body - _WORD.size)[0] != crc32(data[: -_WORD.size]):
            raise self._corrupt(0, "the head is damaged")
        try:
            head = _DECODE_HEAD.decode(data[_FIXED.size : -_WORD.size])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._corrupt(0, f"the head cannot be read ({error})") from None
        self.cluster = head.cluster
        if cluster not in (None, head.cluster):
            raise ConfigurationError(
                f"{self.path} was to be used in cluster {cluster}, but it is of cluster {head.cluster}. "
                "Give this node its own folder."
            )
        digest = self.read(self.size - DIGEST_BYTES, DIGEST_BYTES)
        size = self.size
        mark = SnapshotMark(head.index, head.term, head.time_us, head.configuration, digest, size, head.place)
        return body, mark

    def _corrupt(self, offset: int, why: str) -> StorageCorrupt:
        return StorageCorrupt(
            f"{self.path} was read, but at offset {offset} {why}. {self.remedy}",
            self.path,
            offset,
        )
