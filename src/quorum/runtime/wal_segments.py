"""Segment files of the write-ahead log: their names, their birth, and reading them back record by record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from zlib import crc32

import msgspec

from quorum.entry import Buffer
from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.protocols.effects import HardState
from quorum.runtime.files import Files, durably
from quorum.runtime.wal_head import SegmentHead, decode_segment_head, encode_segment_head
from quorum.runtime.wal_records import (
    HARD_STATE,
    HEADER,
    HEADER_BYTES,
    KIND_LAST,
    MAGIC,
    PAYLOAD_BYTES_MAX,
    SEAL,
    SEGMENT,
    Encoder,
    encode_vote,
    self_valid,
)

SECTOR_BYTES = 512
"""What a disk writes whole or not at all."""
NEW_SUFFIX = ".new"
_NAME = re.compile(r"([0-9]{16})\.wal")
_WINDOW_BYTES = 4 << 20
_HEAD_WINDOW_BYTES = 4096

CLEAN = "clean"
"""The records end where only unwritten space follows."""
SEALED = "sealed"
"""The records end with a seal: the log goes on in the next segment."""
TORN = "torn"
"""The records end in a write that did not finish: part of it is still unwritten space."""
DAMAGED = "damaged"
"""The records end in one that was written whole, so it may have been acknowledged, and is damaged now."""


def segment_name(sequence: int) -> str:
    """The file name of a segment: it sorts as the numbers do."""
    return f"{sequence:016d}.wal"


def corrupt(path: str, offset: int, why: str) -> StorageCorrupt:
    """The error for damage that no crash explains; it names file and offset."""
    return StorageCorrupt(
        f"{path} was read, but at offset {offset} {why}, which a crash cannot explain. Nothing was changed. "
        "Keep the folder as it is and leave this node out: the others go on, and it must not vote with less "
        "than it had.",
        path,
        offset,
    )


class Segment:
    """One open segment. `salt` makes its records its own; the first round begins at `head_end`."""

    __slots__ = ("handle", "head", "head_end", "path", "previous", "salt")

    def __init__(self, path: str, handle: int, head: SegmentHead, salt: int, previous: int, head_end: int) -> None:
        self.path = path
        self.handle = handle
        self.head = head
        self.salt = salt
        self.previous = previous
        self.head_end = head_end

    @property
    def sequence(self) -> int:
        return self.head.sequence


class SegmentPlan:
    """A segment that is yet to be created: its first bytes, and where its chain will stand after them."""

    __slots__ = ("chain", "end", "head", "parts", "previous", "salt")

    def __init__(self, head: SegmentHead, previous: int, state: HardState) -> None:
        encoder = Encoder(chain=previous, salt=0, offset=0)
        encoder.add(SEGMENT, 0, 0, encode_segment_head(head))
        encoder.salt = encoder.chain
        encoder.add(HARD_STATE, state.term, 0, encode_vote(state.vote))
        self.head = head
        self.previous = previous
        self.salt = encoder.salt
        self.chain = encoder.chain
        self.end = encoder.offset
        self.parts: list[Buffer] = encoder.parts

    def create(self, files: Files, folder: str) -> Segment:
        """Write the segment beside, make it durable, give it its name.

        Raises OSError, nothing left behind, if the system refuses; StorageError if a sync fails.
        """
        path = f"{folder}/{segment_name(self.head.sequence)}"
        handle = files.open(path + NEW_SUFFIX, create=True)
        try:
            files.allocate(handle, self.head.segment_bytes)
            files.pwritev(handle, self.parts, 0)
        except OSError:
            files.close(handle)
            files.unlink(path + NEW_SUFFIX)
            raise
        durably(files.fsync, handle, path)
        files.rename(path + NEW_SUFFIX, path)
        durably(files.fsync_dir, folder, folder)
        return Segment(path, handle, self.head, self.salt, self.previous, self.end)


def list_segments(files: Files, folder: str) -> list[int]:
    """The sequence numbers present, in order. Raises StorageCorrupt for a gap or a foreign segment."""
    found: list[int] = []
    for name in files.names(folder):
        if not name.endswith(".wal"):
            continue
        match = _NAME.fullmatch(name)
        if match is None:
            raise StorageCorrupt(
                f"{folder} was to be read as a log, but {name} is not the name of a segment of it, so it may be a "
                "copy. Move it away, then start again."
            )
        found.append(int(match[1]))
    for before, after in pairwise(found):
        if after != before + 1:
            raise StorageCorrupt(
                f"{folder} was to be read as a log, but {segment_name(before + 1)} is missing between "
                f"{segment_name(before)} and {segment_name(after)}. Put it back, or replace this node's data."
            )
    return found


def open_segment(files: Files, folder: str, sequence: int, cluster: str, node: str) -> Segment:
    """Open a segment and verify its head.

    Raises StorageCorrupt for a damaged head, ConfigurationError for another node's or a newer format's.
    """
    path = f"{folder}/{segment_name(sequence)}"
    handle = files.open(path)
    data = read_verified(files, path, handle, _HEAD_WINDOW_BYTES, 0)
    if self_valid(data, 0, 0) is None:
        raise corrupt(path, 0, "its head is damaged")
    crc, previous, _, kind, size, _, _, _ = HEADER.unpack_from(data)
    try:
        head = decode_segment_head(data[HEADER_BYTES : HEADER_BYTES + size], path)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise corrupt(path, 0, f"its head cannot be read ({error})") from None
    if kind != SEGMENT or head.sequence != sequence:
        raise corrupt(path, 0, f"it says that it is segment {head.sequence}")
    if (head.cluster, head.node) != (cluster, node):
        raise ConfigurationError(
            f"{path} was to be used by node {node} of cluster {cluster}, but it belongs to node {head.node} of "
            f"cluster {head.cluster}. Give this node its own folder."
        )
    after = (HEADER_BYTES + size | 7) + 1
    state_bytes = HEADER.unpack_from(data, after)[4] if after + HEADER_BYTES <= len(data) else 0
    return Segment(path, handle, head, crc, previous, after + (HEADER_BYTES + state_bytes | 7) + 1)


def read_verified(files: Files, path: str, handle: int, size: int, offset: int) -> bytes:
    """Read, and say which file and offset cannot be read. Raises StorageCorrupt."""
    try:
        return files.pread(handle, size, offset)
    except OSError as error:
        raise corrupt(path, offset, f"reading failed ({error.strerror or error})") from error


class SegmentScan:
    """Reads one segment in order, verifying each record.

    After `records` is used up: `end` is where the good records end (the offset of the seal, if `finish` is
    SEALED), `chain` the crc of the last of them, `watermark` the newest watermark, `seal` the crc of the seal.
    """

    def __init__(self, files: Files, segment: Segment) -> None:
        self._files = files
        self._segment = segment
        self.file_bytes = files.size(segment.handle)
        self.end = 0
        self.chain = segment.previous
        self.seal = 0
        self.watermark = 0
        self.finish = CLEAN

    def records(self) -> Iterator[tuple[int, int, int, int, memoryview]]:
        """(kind, term, index, offset, payload) of each record after the SEGMENT record.

        Raises StorageCorrupt for damage that no crash explains.
        """
        start, salt, unpack = 0, 0, HEADER.unpack_from
        view = memoryview(self._read(0, _WINDOW_BYTES))
        at, chain = 0, self.chain
        while True:
            if at + HEADER_BYTES > len(view):
                start, at = start + at, 0
                view = memoryview(self._read(start, _WINDOW_BYTES))
                if len(view) < HEADER_BYTES:
                    break
            crc, previous, magic, kind, size, watermark, term, index = unpack(view, at)
            if magic != MAGIC or not SEGMENT <= kind <= KIND_LAST or size > PAYLOAD_BYTES_MAX:
                break
            stop = at + (HEADER_BYTES + size | 7) + 1
            if stop > len(view):
                start, stop, at = start + at, stop - at, 0
                view = memoryview(self._read(start, max(_WINDOW_BYTES, stop)))
                if stop > len(view):
                    break
            close = at + HEADER_BYTES + size
            if previous != chain or crc != crc32(view[at + 4 : close], salt):
                break
            if kind == SEAL:
                self.end, self.finish, self.watermark, self.seal = start + at, SEALED, watermark, crc
                return
            self.chain = chain = crc
            if kind == SEGMENT:
                salt = crc
            else:
                yield kind, term, index, start + at, view[at + HEADER_BYTES : close]
            self.watermark = watermark
            at = stop
        self.end = start + at
        self._classify()

    def unused(self) -> bool:
        """True if nothing follows the head: the segment was created, but never written to."""
        return self.finish == CLEAN and self.end == self._segment.head_end

    def content_end(self) -> int:
        """Where the last byte of the file that is not zero ends."""
        return self.end + len(self._read(self.end, self.file_bytes - self.end).rstrip(b"\0"))

    def _read(self, offset: int, size: int) -> bytes:
        segment = self._segment
        return read_verified(self._files, segment.path, segment.handle, size, offset)

    def _classify(self) -> None:
        """Say what follows the last good record: nothing, an unfinished write, or damage."""
        for offset in range(self.end, self.file_bytes, _WINDOW_BYTES):
            window = self._read(offset, _WINDOW_BYTES)
            if window != bytes(len(window)):
                break
        else:
            return
        segment, end = self._segment, self.end
        rest = self._read(end, self.file_bytes - end)
        if end < segment.head_end:
            raise corrupt(segment.path, end, "the head of the segment is damaged")
        here = self_valid(rest, 0, segment.salt)
        if here is not None and here[1] != self.chain:
            raise corrupt(segment.path, end, "there is a record of another place")
        later = _later_evidence(rest, segment.salt, end)
        if later is not None:
            raise corrupt(
                segment.path, end, f"a record is damaged that was durable before the one at {end + later}"
            )
        self.finish = TORN if is_interrupted_write(rest, end) else DAMAGED


def _later_evidence(rest: bytes, salt: int, end: int) -> int | None:
    """Where in `rest`, which begins at offset `end`, a good record says that `end` was durable before it. It may
    stand at an odd place, where bytes were lost or put in before it."""
    at = rest.find(MAGIC)
    while at != -1:
        begin = at - 8
        if begin > 0:
            found = self_valid(rest, begin, salt)
            if found is not None and found[0] > end:
                return begin
        at = rest.find(MAGIC, at + 1)
    return None


def is_interrupted_write(rest: bytes, offset: int) -> bool:
    """True if the record at the start of `rest` (at `offset` of the file) was never written whole.

    Space is reserved as zeros and a disk writes sectors whole, so an interrupted write leaves a sector's share
    of the record as zeros (power cut), or the record's end (killed in the middle of the call).
    """
    if len(rest) >= HEADER_BYTES:
        _, _, magic, kind, size, _, _, _ = HEADER.unpack_from(rest)
        stop = (HEADER_BYTES + size | 7) + 1
        if magic == MAGIC and SEGMENT <= kind <= KIND_LAST and size <= PAYLOAD_BYTES_MAX and stop <= len(rest):
            return rest[stop - 1] == 0 or _share_missing(rest, offset, stop)
    return len(rest.rstrip(b"\0")) < HEADER_BYTES or _share_missing(rest, offset, HEADER_BYTES)


def _share_missing(rest: bytes, offset: int, stop: int) -> bool:
    at = 0
    while at < stop:
        edge = min(stop, at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES)
        if not rest[at:edge].strip(b"\0"):
            return True
        at = edge
    return False
