"""Backups: a snapshot of a cluster, fetched from one of its nodes and kept as a file.

A backup is the node's snapshot file, byte for byte (runtime.snapshot_file): a head with format, cluster, index,
term, log time and configuration, the state in chunks with checksums, and a digest over all. It holds everything
that was acknowledged before it was asked for: the node first hears from the leader how far that is.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING

import msgspec

from quorum.apps.catalogue import OBJECTS_APP, carrying_host
from quorum.apps.host import Host
from quorum.apps.objects_carried import CarriedObjects
from quorum.errors import ConfigurationError, QuorumError, StorageCorrupt
from quorum.runtime.backup_offer import BackupOffer, decode_offer
from quorum.runtime.files import RealFiles, durably, refusal
from quorum.runtime.overlay import OverlayFiles
from quorum.runtime.snapshot_file import SnapshotReader
from quorum.runtime.transfer import CHUNK_BYTES

if TYPE_CHECKING:
    from quorum.runtime.node_connection import NodeConnection

Progress = Callable[[int, int], None]
"""Told of the bytes that are done, and of how many there are."""
CHUNKS_UNDER_WAY = 4
ATTEMPTS = 3


class BackupReader(SnapshotReader):
    """A snapshot that stands alone: nothing else can take its place on this machine."""

    remedy = "It cannot be restored: use another backup, or a copy of this one that was made before."


class BackupReport(msgspec.Struct, frozen=True):
    """What the head of a backup says. `bytes` is its size, `time_us` the log time of its newest entry."""

    file: str
    bytes: int
    cluster: str
    index: int
    term: int
    time_us: int
    epoch: int
    voters: tuple[str, ...]
    reads: str
    writes: str
    digest: str


async def take_backup(connection: NodeConnection, cluster: str, path: Path, progress: Progress) -> BackupReport:
    """Fetch a snapshot that is made now, verify it, and put it at `path`; on an error nothing is left there.

    Raises ConfigurationError if `path` exists, StorageError if it cannot be written, StorageCorrupt if what came
    is not what was promised, QuorumError if the node cannot answer.
    """
    refuse_existing(path)
    beside = path.with_name(f".{path.name}.{token_hex(4)}.new")
    try:
        for _ in range(ATTEMPTS):
            offer = decode_offer(await connection.backup())
            if await _fetch(connection, offer, beside, progress):
                break
        else:
            raise QuorumError(
                f"a backup was to be fetched, but {ATTEMPTS} times newer snapshots replaced it meanwhile. "
                "Run this nearer to the node, or raise snapshot_entries."
            )
        report = _verified(beside, cluster, offer)
        refuse_existing(path)
        beside.rename(path)
        durably(RealFiles().fsync_dir, str(path.absolute().parent), str(path))
    except msgspec.DecodeError as error:
        raise QuorumError(f"a backup was asked for, but the answer is none: {error}. Run one release.") from None
    except OSError as error:
        raise refusal(error, f"{path} was to hold a backup") from error
    finally:
        beside.unlink(missing_ok=True)
    return msgspec.structs.replace(report, file=str(path))


def refuse_existing(path: Path) -> None:
    """Raise ConfigurationError if `path` exists, for a backup is never overwritten, or its folder does not."""
    if os.path.lexists(path):
        raise ConfigurationError(
            f"a backup was to be written to {path}, but it exists, and none is overwritten. Name another file."
        )
    if not os.path.isdir(path.parent):
        raise ConfigurationError(
            f"a backup was to be written to {path}, but there is no folder {path.parent}. Make it, or name "
            "another."
        )


async def _fetch(connection: NodeConnection, offer: BackupOffer, beside: Path, progress: Progress) -> bool:
    """Write what was offered to `beside`, durably; False if the node has dropped it meanwhile."""
    waiting: deque[tuple[int, asyncio.Future[bytes]]] = deque()
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        asked = written = 0
        while written < offer.size:
            while asked < offer.size and len(waiting) < CHUNKS_UNDER_WAY:
                chunk = asyncio.ensure_future(connection.backup_chunk(offer.index, asked))
                waiting.append((asked, chunk))
                asked += CHUNK_BYTES
            offset, future = waiting.popleft()
            data = await future
            if len(data) != min(CHUNK_BYTES, offer.size - offset):
                return False
            written += os.pwrite(handle, data, offset)
            progress(written, offer.size)
        os.fsync(handle)
        return True
    finally:
        for _, future in waiting:
            future.cancel()
        os.close(handle)


def _verified(path: Path, cluster: str, offer: BackupOffer) -> BackupReport:
    reader = SnapshotReader(RealFiles(), str(path), cluster or None)
    try:
        reader.verify()
        if (reader.mark.index, reader.mark.digest) != (offer.index, offer.digest):
            raise StorageCorrupt(
                f"the snapshot at {offer.index} was fetched, but it is another one than was promised. Try again.",
                str(path),
            )
        return report_of(reader)
    finally:
        reader.close()


def report_of(reader: SnapshotReader) -> BackupReport:
    """What the head says."""
    mark = reader.mark
    configuration = mark.configuration
    return BackupReport(
        file=reader.path,
        bytes=reader.size,
        cluster=reader.cluster,
        index=mark.index,
        term=mark.term,
        time_us=mark.time_us,
        epoch=configuration.epoch,
        voters=configuration.voters,
        reads=configuration.reads,
        writes=configuration.writes,
        digest=mark.digest.hex(),
    )


@contextmanager
def opened_backup(path: Path) -> Iterator[SnapshotReader]:
    """A backup, its head read. Raises ConfigurationError if there is none, StorageCorrupt for damage."""
    files = OverlayFiles()  # a backup may be on a medium that cannot be written to
    try:
        try:
            reader = BackupReader(files, str(path), None)
        except OSError as error:
            raise ConfigurationError(
                f"{path} was to be read as a backup, but it cannot be opened: {error.strerror or error}. Name the "
                "file that `quorum backup` wrote."
            ) from error
        yield reader
    finally:
        files.close_all()


def load_backup(reader: SnapshotReader) -> Host:
    """Verify a backup from end to end and return its state, with the objects as they stand in it: their classes
    are not needed. Raises StorageCorrupt."""
    reader.verify()
    host = carrying_host()
    try:
        host.restore(reader.chunks())
    except ValueError as error:
        raise StorageCorrupt(
            f"{reader.path} was to be loaded, but its applications cannot be read: {error}. Use the release that "
            "wrote it.",
            reader.path,
        ) from error
    return host


def objects_of(host: Host) -> dict[str, int]:
    """The versions of the objects in the state of a backup, by their names."""
    carried = host.application(OBJECTS_APP)
    assert isinstance(carried, CarriedObjects), "load_backup made the host"
    return carried.versions


def verify_backup(path: Path) -> BackupReport:
    """Read a backup as a restore would. Raises ConfigurationError, StorageCorrupt."""
    with opened_backup(path) as reader:
        load_backup(reader)
        return report_of(reader)
