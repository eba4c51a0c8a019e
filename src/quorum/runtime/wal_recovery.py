"""What a write-ahead log says after a restart: the records in order, and how their end came to be.

A round of records is written only after the one before it is durable, so a crash damages nothing but the last
round. Three ends are told apart:

* an unfinished write (part of its space is still zeros): what a kill or a power cut leaves. It was never
  acknowledged, so it is cut at the record boundary and the node keeps its vote.
* a record that was written whole, in the last round, and is damaged now: no crash does that, so it may have
  been acknowledged. It is cut, too, but the node is in doubt (`Durable.tail_damaged`), and stays so through
  restarts, until it gives a vote again. The same holds for a segment file that became shorter.
* damage in front of a durable record, or a missing segment: StorageCorrupt; nothing is changed.

What cannot be told: a last round that was acknowledged and of which whole sectors are zeros or missing now
looks like an unfinished write. Only a disk that lies about its syncs does that.
"""

from __future__ import annotations

import logging

import msgspec

from quorum.certificate.block import BlockHeader, header_of
from quorum.entry import BLOCK, CONFIGURATION, HEAD_BYTES, entry_identity, is_known_form
from quorum.errors import ConfigurationError, StorageCorrupt
from quorum.model import Configuration, decode_configuration
from quorum.protocols.effects import HardState
from quorum.protocols.events import Durable, EntryMeta, SnapshotMark
from quorum.runtime.files import Files, durably
from quorum.runtime.wal_index import EntryIndex
from quorum.runtime.wal_records import (
    ENTRY,
    HARD_STATE,
    HEADER,
    HEADER_BYTES,
    NOTE,
    RESET,
    decode_note,
    decode_vote,
)
from quorum.runtime.wal_segments import (
    CLEAN,
    DAMAGED,
    NEW_SUFFIX,
    SEALED,
    Segment,
    SegmentScan,
    corrupt,
    list_segments,
    open_segment,
    read_verified,
    segment_name,
)

DOUBT_NAME = "tail-damaged"
"""A file of this name in the log's folder: acknowledged records may be lost, and no vote was given since."""
_log = logging.getLogger(__name__)


class Recovered(msgspec.Struct):
    """The state of a log that was read back, ready to be appended to."""

    segments: list[Segment]
    index: EntryIndex
    state: HardState
    end: int
    chain: int
    durable: Durable
    reset: SnapshotMark | None
    """Set when the log must go on after a snapshot that is newer than it."""


class _Fold:
    """Applies the records one after the other: the newest record for an index wins and cuts what follows."""

    def __init__(self, base: int, snapshot_index: int) -> None:
        self.index = EntryIndex(base)
        self.metas: list[EntryMeta] = []
        self.state = HardState(0, None)
        self.notes: dict[str, bytes] = {}
        self._snapshot_index = snapshot_index

    def segment(self, segment: Segment, scan: SegmentScan) -> None:
        """Take every record of one segment. Raises StorageCorrupt; ConfigurationError for a newer release's."""
        sequence, append, metas = segment.sequence, self.index.append, self.metas
        last, skip = self.index.last, self._snapshot_index
        for kind, term, index, offset, payload in scan.records():
            if kind == ENTRY:
                try:
                    identity = entry_identity(payload)
                except ValueError:
                    raise corrupt(segment.path, offset, "an entry is too short to be one") from None
                if identity[0] != index or identity[1] != term or index > last + 1:
                    raise corrupt(segment.path, offset, f"entry {identity[0]} stands where {last + 1} belongs")
                if not is_known_form(payload):
                    raise ConfigurationError(
                        f"{segment.path} was to be read, but entry {index} at offset {offset} has a form that is "
                        "not known here. Nothing was changed. Start the release that wrote it, or a newer one."
                    )
                if index <= last:
                    self._cut(index)
                append(sequence, offset, len(payload))
                last = index
                if index > skip:
                    found = self._configuration(segment, offset, payload) if identity[2] == CONFIGURATION else None
                    block = self._block(segment, offset, payload) if identity[2] == BLOCK else None
                    metas.append(EntryMeta(index, term, identity[2], len(payload), found, block))
            elif kind == HARD_STATE:
                self.state = HardState(term, self._vote(segment, offset, payload))
            elif kind == NOTE:
                name, data = self._note(segment, offset, payload)
                self.notes[name] = data
            elif kind == RESET:
                self.index.reset(index)
                metas.clear()
                last = index

    def _cut(self, first: int) -> None:
        self.index.cut(first)
        while self.metas and self.metas[-1].index >= first:
            self.metas.pop()

    def _configuration(self, segment: Segment, offset: int, entry: memoryview) -> Configuration:
        try:
            return decode_configuration(entry[HEAD_BYTES:])
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise corrupt(segment.path, offset, f"a configuration cannot be read ({error})") from None

    def _block(self, segment: Segment, offset: int, entry: memoryview) -> BlockHeader:
        try:
            return header_of(entry[HEAD_BYTES:])
        except ValueError as error:
            raise corrupt(segment.path, offset, str(error)) from None

    def _note(self, segment: Segment, offset: int, payload: memoryview) -> tuple[str, bytes]:
        try:
            return decode_note(payload)
        except ValueError as error:
            raise corrupt(segment.path, offset, str(error)) from None

    def _vote(self, segment: Segment, offset: int, payload: memoryview) -> str | None:
        try:
            return decode_vote(payload)
        except ValueError as error:
            raise corrupt(segment.path, offset, str(error)) from None


def recover_log(
    files: Files, folder: str, cluster: str, node: str, snapshot: SnapshotMark | None
) -> Recovered | None:
    """Read the log in `folder`, cut an unfinished end, make the rest durable. None if no log was ever begun.

    Raises StorageCorrupt when it is damaged where no crash explains it, or does not reach back to `snapshot`;
    ConfigurationError when it belongs to another node or a newer program.
    """
    for name in files.names(folder):
        if name.endswith(NEW_SUFFIX):
            files.unlink(f"{folder}/{name}")
    segments = [open_segment(files, folder, sequence, cluster, node) for sequence in list_segments(files, folder)]
    if not segments:
        return None
    unused = _take_unused(files, segments)
    fold = _Fold(segments[0].head.last_index, snapshot.index if snapshot is not None else 0)
    scan = _read_all(files, segments, fold, unused)
    damaged = _clean_end(files, folder, segments[-1], scan)
    if unused is not None:
        files.close(unused.handle)
        files.unlink(unused.path)
    durably(files.fsync_dir, folder, folder)
    in_doubt = damaged or DOUBT_NAME in files.names(folder)
    reset = _join(files, folder, segments, fold, snapshot)
    durable = _durable(files, segments, fold, snapshot, in_doubt)
    return Recovered(segments, fold.index, fold.state, scan.end, scan.chain, durable, reset)


def _take_unused(files: Files, segments: list[Segment]) -> Segment | None:
    """Take the last segment out if a crash interrupted its beginning: then the one before is still in use."""
    if len(segments) < 2:
        return None
    newest = segments[-1]
    if read_verified(files, newest.path, newest.handle, HEADER_BYTES, newest.head_end).strip(b"\0"):
        return None
    scan = SegmentScan(files, newest)
    for _ in scan.records():
        pass
    return segments.pop() if scan.unused() else None


def _read_all(files: Files, segments: list[Segment], fold: _Fold, unused: Segment | None) -> SegmentScan:
    """Fold every segment; check that each is whole up to the next. Return the scan of the last."""
    followers = [*segments[1:], unused]
    for segment, follower in zip(segments, followers, strict=True):
        scan = SegmentScan(files, segment)
        fold.segment(segment, scan)
        if follower is None:
            if scan.finish == SEALED:
                raise corrupt(
                    segment.path,
                    scan.end,
                    f"a seal says that {segment_name(segment.sequence + 1)} follows, and it is missing",
                )
            break
        sealed = scan.finish == SEALED and scan.seal == follower.previous
        if scan.end != follower.head.previous_end or not (sealed or follower is unused):
            raise corrupt(segment.path, scan.end, "records that were durable are damaged or missing")
    return scan


def _clean_end(files: Files, folder: str, segment: Segment, scan: SegmentScan) -> bool:
    """Leave nothing but zeros after the last good record, and everything before it durable.

    The last round may stand in the page cache alone (a killed process, a failed fsync), so it is written
    again. Returns True if acknowledged records may be lost.
    """
    path, handle = segment.path, segment.handle
    shortened = scan.file_bytes < segment.head.segment_bytes
    damaged = shortened or scan.finish == DAMAGED
    content_end = scan.end if scan.finish == CLEAN else scan.content_end()
    if damaged:
        doubt = files.open(f"{folder}/{DOUBT_NAME}", create=True)
        durably(files.fsync, doubt, DOUBT_NAME)
        files.close(doubt)
        durably(files.fsync_dir, folder, folder)
    if shortened:
        files.allocate(handle, segment.head.segment_bytes)
        durably(files.fsync, handle, path)
    if damaged or scan.finish not in (CLEAN, SEALED):
        kind = "acknowledged records may be among them" if damaged else "none was acknowledged"
        _log.warning(
            "%s: %d bytes after offset %d are not whole records; they were cut, %s",
            path,
            content_end - scan.end,
            scan.end,
            kind,
        )
    begin = max(scan.watermark, segment.head_end)
    last_round = read_verified(files, path, handle, scan.end - begin, begin)
    files.pwritev(handle, (last_round, bytes(content_end - scan.end)), begin)
    durably(files.fdatasync, handle, path)
    return damaged


def _join(
    files: Files, folder: str, segments: list[Segment], fold: _Fold, snapshot: SnapshotMark | None
) -> SnapshotMark | None:
    """Fit the log to the snapshot; return the snapshot if the log must begin again after it."""
    base, last = fold.index.base, fold.index.last
    reached = snapshot.index if snapshot is not None else 0
    if reached < base:
        found = f"the newest snapshot ends at {reached}" if snapshot is not None else "there is no snapshot"
        raise StorageCorrupt(
            f"{folder} was read, but its log begins after entry {base} and {found}, so entries in between are "
            "lost. Put the snapshot back, or leave this node out: it must not vote without them."
        )
    if snapshot is None or reached == base:
        return None
    if reached <= last and _stored_term(files, segments, fold, reached) == snapshot.term:
        return None
    fold.index.reset(reached)
    fold.metas.clear()
    return snapshot


def _stored_term(files: Files, segments: list[Segment], fold: _Fold, index: int) -> int:
    sequence, offset = fold.index.place(index)
    segment = segments[sequence - segments[0].sequence]
    data = read_verified(files, segment.path, segment.handle, HEADER_BYTES, offset)
    term: int = HEADER.unpack_from(data)[6]
    return term


def _durable(
    files: Files, segments: list[Segment], fold: _Fold, snapshot: SnapshotMark | None, in_doubt: bool
) -> Durable:
    time_us = snapshot.time_us if snapshot is not None else 0
    index = fold.index
    newest_term = 0
    if index.last > index.base:
        sequence, offset = index.place(index.last)
        segment = segments[sequence - segments[0].sequence]
        size = index.size(index.last)
        data = read_verified(files, segment.path, segment.handle, size, offset + HEADER_BYTES)
        _, newest_term, _, last_time_us = entry_identity(data)
        time_us = max(time_us, last_time_us)
    return Durable(
        term=fold.state.term,
        vote=fold.state.vote,
        snapshot=snapshot,
        entries=tuple(fold.metas),
        time_us=time_us,
        # An entry is stored after its term: a hard state below it is an old one that came back.
        tail_damaged=in_doubt or newest_term > fold.state.term,
        notes=tuple(sorted((name, data) for name, data in fold.notes.items() if data)),
    )
