"""A snapshot file that grows while pieces come from other members: it is proven, and survives a crash."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from zlib import crc32

from msgspec.structs import replace

from quorum.protocols.events import SnapshotMark
from quorum.runtime.files import Files, durably
from quorum.runtime.snapshot_file import (
    CHUNK_BYTES_MAX,
    DIGEST_BYTES,
    chunk_head,
    encode_head,
    end_of_chunks,
    new_hash,
)

SUFFIX = ".pieces"
READ_BYTES = 1 << 20
_CHUNK = struct.Struct("<II")


class Collected:
    """The file of one certified state, in the form that `snapshot_file` describes, as far as it is here.

    The bytes are a function of the state, so a file from an earlier life is gone on with, and what a crash left
    behind its last whole chunk is written over. Every method raises OSError as the file system does.
    """

    def __init__(self, files: Files, folder: str, cluster: str, mark: SnapshotMark) -> None:
        self._files, self._folder = files, folder
        self.mark = mark
        self._head = encode_head(cluster, mark)
        self._name = f"{mark.index:020d}-{mark.state_root[:8].hex()}{SUFFIX}"
        self.path = f"{folder}/{self._name}"
        self._handle = -1
        self._offset = 0
        self.unsynced = 0
        self.failure: BaseException | None = None
        """Of a sync of what is here."""

    def open(self, take: Callable[[Iterator[bytes]], int]) -> None:
        """Let `take` read the chunks that are here; it returns how many of them, from the first, stay."""
        for other in self._files.names(self._folder):
            if other.endswith(SUFFIX) and other != self._name:
                self._files.unlink(f"{self._folder}/{other}")
        self._handle = self._files.open(self.path, create=self._name not in self._files.names(self._folder))
        if self._files.pread(self._handle, len(self._head), 0) != self._head:
            self._files.pwritev(self._handle, [self._head], 0)
        ends = [len(self._head)]
        self._offset = ends[take(self._chunks(ends))]

    def _chunks(self, ends: list[int]) -> Iterator[bytes]:
        """The whole chunks that are here; where each ends is added to `ends`."""
        while True:
            head = self._files.pread(self._handle, _CHUNK.size, ends[-1])
            if len(head) < _CHUNK.size:
                return
            size, crc = _CHUNK.unpack(head)
            if not 0 < size <= CHUNK_BYTES_MAX:
                return
            chunk = self._files.pread(self._handle, size, ends[-1] + _CHUNK.size)
            if len(chunk) < size or crc32(chunk) != crc:
                return
            ends.append(ends[-1] + _CHUNK.size + size)
            yield chunk

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write these chunks behind the others."""
        parts = [part for chunk in chunks for part in (chunk_head(chunk), chunk)]
        self._files.pwritev(self._handle, parts, self._offset)
        size = sum(map(len, parts))
        self._offset += size
        self.unsynced += size

    def sync(self) -> None:
        """Make durable what is here. A sync that failed is never tried again: what is in the file is not known."""
        try:
            durably(self._files.fdatasync, self._handle, self.path)
        except BaseException as error:
            self.failure = self.failure or error

    def complete(self, path: str) -> SnapshotMark:
        """Write the end, make all of it durable under this name, and return the completed mark."""
        if self.failure is not None:
            raise self.failure
        self._files.pwritev(self._handle, [end_of_chunks()], self._offset)
        end = self._offset + len(end_of_chunks())
        hasher = new_hash()
        for offset in range(0, end, READ_BYTES):
            hasher.update(self._files.pread(self._handle, min(READ_BYTES, end - offset), offset))
        self._files.pwritev(self._handle, [hasher.digest()], end)
        durably(self._files.fsync, self._handle, self.path)
        self.close()
        self._files.rename(self.path, path)
        durably(self._files.fsync_dir, self._folder, self._folder)
        return replace(self.mark, digest=hasher.digest(), size=end + DIGEST_BYTES)

    def close(self) -> None:
        """What is here stays."""
        if self._handle != -1:
            with suppress(OSError):
                self._files.close(self._handle)
            self._handle = -1
