"""The offline check of a data folder: every byte is read, none is changed.

What a start would do is found by doing it: recovery runs on files whose changes stay in memory. Beyond what a
start looks at, every record of every segment and every chunk of every snapshot is read, and every entry decoded.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import msgspec

from quorum.apps.catalogue import carrying_host
from quorum.entry import CONFIGURATION, body_digest, decode_entry, is_hollow
from quorum.errors import ConfigurationError, QuorumError, StorageCorrupt
from quorum.membership.reconfiguration import WITNESS, role_of
from quorum.model import Configuration, decode_configuration
from quorum.runtime.folder import Identity, held_unchanged
from quorum.runtime.overlay import OverlayFiles
from quorum.runtime.snapshot_file import SnapshotReader
from quorum.runtime.snapshots import SnapshotStore, list_snapshots
from quorum.runtime.wal_records import ENTRY
from quorum.runtime.wal_recovery import DOUBT_NAME, Recovered, recover_log
from quorum.runtime.wal_segments import (
    DAMAGED,
    Segment,
    SegmentScan,
    corrupt,
    list_segments,
    open_segment,
    segment_name,
)
from quorum.systems.build import build

CLEAN = "clean"
"""A start goes on with everything that is there."""
CUT = "cut"
"""A start cuts an unfinished write off, which was never acknowledged, and goes on."""
NO_VOTE = "no vote"
"""Acknowledged entries may be missing: the node follows, and votes only once a leader has confirmed its log."""
REFUSE = "refuse"
"""The node does not start."""
BEGIN = "begin"
"""No node has run here yet."""

Progress = Callable[[int, int], None]
"""Told of the bytes read and the bytes to be read."""


class Damage(msgspec.Struct, frozen=True):
    """Something that is not as it was written: `offset` in `file`, where it is one place."""

    file: str
    offset: int | None
    text: str


class SegmentReport(msgspec.Struct, frozen=True):
    """One file of the log: what its records are, up to the first that is not whole. 0: there is none."""

    file: str
    bytes: int
    records: int
    entries: int
    first_index: int
    last_index: int
    last_term: int
    ends: str


class SnapshotReport(msgspec.Struct, frozen=True):
    """One whole snapshot."""

    file: str
    bytes: int
    index: int
    term: int
    epoch: int
    digest: str


class FolderReport(msgspec.Struct, frozen=True):
    """What is in a data folder, and what a start would do: one of the constants above, and why.

    `first_index` to `last_index` are the entries of the log that a start would find, `entries` their number;
    `term` and `vote` the hard state; `voters` those of the newest configuration, which is `configuration`.
    """

    folder: str
    cluster: str
    node: str
    sound: bool
    start: str
    start_text: str
    term: int
    vote: str | None
    entries: int
    first_index: int
    last_index: int
    last_term: int
    epoch: int
    voters: tuple[str, ...]
    segments: tuple[SegmentReport, ...]
    snapshots: tuple[SnapshotReport, ...]
    damage: tuple[Damage, ...]
    configuration: Configuration = Configuration()


def verify_data(path: str | os.PathLike[str], progress: Progress = lambda done, total: None) -> FolderReport:
    """Read the data folder at `path`, and say what is wrong with it. Nothing is changed.

    Raises ConfigurationError if it is no data folder, a node runs on it, or a newer release wrote it.
    """
    folder = os.path.abspath(os.fspath(path))
    files = OverlayFiles()
    try:
        with held_unchanged(folder) as identity:
            return _Check(files, folder, identity, progress).report()
    except StorageCorrupt as error:  # the identity
        return _unidentified(folder, _damage(error))
    except OSError as error:
        raise ConfigurationError(
            f"{folder} was to be verified, but the system refuses: {error.strerror or error}. Run this as the "
            "owner of the folder."
        ) from error
    finally:
        files.close_all()


def _damage(error: StorageCorrupt) -> Damage:
    return Damage(error.path or "", error.offset, str(error))


def _unidentified(folder: str, damage: Damage) -> FolderReport:
    return FolderReport(folder, "", "", False, REFUSE, damage.text, 0, None, 0, 0, 0, 0, 0, (), (), (), (damage,))


class _Check:
    """One run over one folder."""

    def __init__(self, files: OverlayFiles, folder: str, identity: Identity, progress: Progress) -> None:
        self._files = files
        self._folder = folder
        self._wal, self._snapshots = f"{folder}/wal", f"{folder}/snapshots"
        self._identity = identity
        self._damage: list[Damage] = []
        self._progress = progress
        self._read = 0
        self._total = sum(
            os.path.getsize(f"{part}/{name}")
            for part in (self._wal, self._snapshots)
            for name in files.names(part)
            if name.endswith((".wal", ".snap"))
        )

    def report(self) -> FolderReport:
        segments = tuple(self._segments())
        snapshots = tuple(self._whole_snapshots())
        start, text, found = self._start()
        durable = found.durable if found is not None else None
        newest = self._newest_configuration(found)
        return FolderReport(
            folder=self._folder,
            cluster=self._identity.cluster,
            node=self._identity.node,
            sound=not self._damage and start not in (NO_VOTE, REFUSE),
            start=start,
            start_text=text,
            term=durable.term if durable is not None else 0,
            vote=durable.vote if durable is not None else None,
            entries=found.index.last - found.index.base if found is not None else 0,
            first_index=found.index.base + 1 if found is not None else 0,
            last_index=found.index.last if found is not None else 0,
            last_term=_last_term(found),
            epoch=newest.epoch,
            voters=newest.voters,
            segments=segments,
            snapshots=snapshots,
            damage=tuple(self._damage),
            configuration=newest,
        )

    # The log, file by file.

    def _segments(self) -> list[SegmentReport]:
        try:
            sequences = list_segments(self._files, self._wal)
        except StorageCorrupt as error:
            self._damage.append(Damage(self._wal, None, str(error)))
            return []
        found = []
        for sequence in sequences:
            try:
                segment = open_segment(
                    self._files, self._wal, sequence, self._identity.cluster, self._identity.node
                )
                found.append(self._segment(segment))
            except StorageCorrupt as error:
                self._add(error)
            self._progressed(f"{self._wal}/{segment_name(sequence)}")
        return found

    def _segment(self, segment: Segment) -> SegmentReport:
        scan = SegmentScan(self._files, segment)
        records = entries = first = last = last_term = 0
        try:
            for kind, term, index, offset, payload in scan.records():
                records += 1
                if kind == ENTRY:
                    entries += 1
                    first, last, last_term = first or index, index, term
                    self._entry(segment, offset, payload)
        except StorageCorrupt as error:
            self._add(error)
            ends = DAMAGED
        else:
            ends = scan.finish
            if ends == DAMAGED:
                self._add(corrupt(segment.path, scan.end, "a record that was written whole is damaged"))
            elif scan.file_bytes < segment.head.segment_bytes:
                self._add(corrupt(segment.path, scan.file_bytes, "the file ends too early"))
        return SegmentReport(
            segment.path.rpartition("/")[2], scan.file_bytes, records, entries, first, last, last_term, ends
        )

    def _entry(self, segment: Segment, offset: int, payload: memoryview) -> None:
        """An entry says what it should, and its body is the one that it was ordered with."""
        try:
            header, body = decode_entry(payload)
            if not is_hollow(payload) and body_digest(body) != header.digest:
                raise ValueError("its body is not the one that its head names")
            if header.kind == CONFIGURATION:
                build(decode_configuration(body))
        except (ValueError, msgspec.DecodeError) as error:
            self._add(corrupt(segment.path, offset, f"an entry cannot be read ({error})"))

    # The snapshots, each from end to end.

    def _whole_snapshots(self) -> list[SnapshotReport]:
        found = []
        for index, name in list_snapshots(self._files, self._snapshots):
            path = f"{self._snapshots}/{name}"
            try:
                found.append(self._snapshot(path, index))
            except StorageCorrupt as error:
                self._add(error)
            self._progressed(path)
        return found

    def _snapshot(self, path: str, index: int) -> SnapshotReport:
        reader = SnapshotReader(self._files, path, self._identity.cluster)
        try:
            reader.verify()
            mark = reader.mark
            if mark.index != index:
                raise StorageCorrupt(f"{path} was read, but it is the snapshot at {mark.index}.", path, 0)
            if role_of(mark.configuration, self._identity.node) != WITNESS:
                carrying_host().restore(reader.chunks())
            build(mark.configuration)
        except ValueError as error:
            raise StorageCorrupt(f"{path} was read, but its state cannot be used: {error}", path) from error
        finally:
            reader.close()
        return SnapshotReport(
            path.rpartition("/")[2],
            reader.size,
            mark.index,
            mark.term,
            mark.configuration.epoch,
            mark.digest.hex(),
        )

    # What a start would do.

    def _start(self) -> tuple[str, str, Recovered | None]:
        files, identity = self._files, self._identity
        had_doubt = DOUBT_NAME in files.names(self._wal)
        try:
            store = SnapshotStore(files, self._snapshots, identity.cluster)
            before = files.cut_bytes
            found = recover_log(files, self._wal, identity.cluster, identity.node, store.newest())
        except StorageCorrupt as error:
            self._add(error)
            return REFUSE, str(error), None
        cut = files.cut_bytes - before
        if found is None and identity.used:
            text = "a node has run here, but its log is missing, and its promises with it"
            self._damage.append(Damage(self._wal, None, text))
            return REFUSE, text, None
        if found is None:
            return BEGIN, "no node has run here yet", None
        if found.durable.tail_damaged:
            why = "a damaged end was cut in an earlier start" if had_doubt else "the end of the log is damaged"
            return NO_VOTE, f"{why}; it will not vote until a leader has confirmed its log", found
        after = f"after the snapshot at {found.reset.index}" if found.reset is not None else ""
        if cut:
            return CUT, f"an unfinished write, never acknowledged, is cut: {cut} bytes {after}".rstrip(), found
        return CLEAN, f"goes on {after}".rstrip() if after else "goes on where it stopped", found

    def _newest_configuration(self, found: Recovered | None) -> Configuration:
        if found is None:
            return Configuration()
        snapshot = found.durable.snapshot
        known = [entry.configuration for entry in found.durable.entries if entry.configuration is not None]
        return known[-1] if known else snapshot.configuration if snapshot is not None else Configuration()

    def _add(self, error: QuorumError) -> None:
        """Note a damage, once: recovery finds again what the walk over the files has found."""
        if isinstance(error, StorageCorrupt):
            damage = _damage(error)
            places = {(known.file, known.offset) for known in self._damage}
            if (damage.file, damage.offset) not in places:
                self._damage.append(damage)

    def _progressed(self, path: str) -> None:
        self._read += os.path.getsize(path)
        self._progress(self._read, self._total)


def _last_term(found: Recovered | None) -> int:
    if found is None:
        return 0
    durable = found.durable
    if durable.entries:
        return durable.entries[-1].term
    return durable.snapshot.term if durable.snapshot is not None else 0
