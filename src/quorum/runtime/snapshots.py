"""The snapshot files of one replica: written beside, made durable, then renamed; the newest two are kept."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice

from msgspec.structs import replace

from quorum.entry import Buffer
from quorum.errors import LocalProtocolError, QuorumError, StorageCorrupt
from quorum.protocols.events import SnapshotMark
from quorum.runtime.collected import Collected
from quorum.runtime.disk_thread import Post, worker_for
from quorum.runtime.files import Files, durably, refusal
from quorum.runtime.ports import Written
from quorum.runtime.snapshot_file import (
    CHUNK_BYTES_MAX,
    DIGEST_BYTES,
    SnapshotReader,
    chunk_head,
    encode_head,
    end_of_chunks,
    new_hash,
)

SNAPSHOTS_KEPT = 2
SLICE_BYTES = 1 << 20
"""About this much is taken from the application in one turn of the loop."""
SYNC_BYTES = 4 << 20
"""After so much what is written is synced, so that the disk never has much more to do before a sync of the log."""
_NAME = re.compile(r"([0-9]{20})\.snap")
_log = logging.getLogger(__name__)


def list_snapshots(files: Files, folder: str) -> list[tuple[int, str]]:
    """Index and name of each snapshot file in a folder, in order."""
    return [(int(match[1]), name) for name in files.names(folder) if (match := _NAME.fullmatch(name))]


class _Write:
    """A snapshot being written: the loop takes slices from the application, the worker puts them on the disk."""

    __slots__ = ("chunks", "done", "handle", "hasher", "mark", "offset", "path", "ready", "unsynced")

    def __init__(self, mark: SnapshotMark, chunks: Iterator[bytes], done: Written, path: str) -> None:
        self.mark = mark
        self.chunks = chunks
        self.done = done
        self.path = path
        self.handle = -1
        self.hasher = new_hash()
        self.offset = 0
        self.unsynced = 0
        self.ready = False  # everything is written: what is left is to sync and to rename


class _Part:
    """A snapshot being fetched: the file so far, and the digest of its part before the trailer. Where bytes were
    `found` from an earlier life, the digest is computed at the end: to read them takes long."""

    __slots__ = ("failure", "found", "handle", "hasher", "mark", "offset", "path", "unsynced")

    def __init__(self, mark: SnapshotMark, path: str, handle: int, found: int) -> None:
        self.mark = mark
        self.path = path
        self.handle = handle
        self.found = self.offset = found
        self.hasher = new_hash()
        self.unsynced = 0
        self.failure: BaseException | None = None  # of a sync of what is here

    def take(self, data: Buffer) -> None:
        """Account for `data`, which stands at `offset` in the file."""
        left = self.mark.size - DIGEST_BYTES - self.offset
        if left > 0 and not self.found:
            self.hasher.update(memoryview(data)[:left])
        self.offset += len(data)
        self.unsynced += len(data)


class SnapshotStore:
    """`runtime.ports.Snapshots` in the folder `folder`, for `cluster`.

    Opening drops what a crash left half-written, and verifies the newest snapshot; a damaged one is set aside
    as `.corrupt` with a warning, and the one before it is the newest. `damaged` names those set aside. `post`
    as for the log; without it everything happens inline.
    """

    def __init__(
        self,
        files: Files,
        folder: str,
        cluster: str,
        *,
        post: Post | None = None,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        self._files = files
        self._folder = folder
        self._cluster = cluster
        self._slice_bytes = slice_bytes
        self._worker = worker_for(post, "snapshots")
        self._writing: _Write | None = None
        self._pumping = self._pump_again = False
        self._part: _Part | None = None
        self._collected: Collected | None = None
        self._finishing = False
        self._reader: SnapshotReader | None = None
        self._closed = False
        self.damaged: tuple[str, ...] = ()
        try:
            files.make_folder(folder)
            self._newest = self._open_newest()
        except OSError as error:
            raise refusal(error, f"{folder} was to be read as snapshots") from error

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is being written or fetched."""
        fetching = self._part is not None or self._collected is not None or self._finishing
        return fetching or self._writing is not None

    def newest(self) -> SnapshotMark | None:
        """The newest snapshot that is durable and was found whole."""
        return self._newest

    def _open_newest(self) -> SnapshotMark | None:
        for name in self._files.names(self._folder):
            if name.endswith(".new"):
                self._files.unlink(f"{self._folder}/{name}")
        return self._newest_whole()

    def _newest_whole(self) -> SnapshotMark | None:
        for index in reversed(self._indexes()):
            path = self._path(index)
            try:
                mark = self._verified(path, index)
            except StorageCorrupt as error:
                _log.warning("%s", error)
                self._files.rename(path, path + ".corrupt")
                self.damaged += (path,)
                continue
            # A renamed file may be known to the cache alone: believe it only once it is durable.
            durably(self._files.fsync_dir, self._folder, self._folder)
            return mark
        return None

    def _verified(self, path: str, index: int) -> SnapshotMark:
        reader = SnapshotReader(self._files, path, self._cluster)
        try:
            reader.verify()
        finally:
            reader.close()
        if reader.mark.index != index:
            raise StorageCorrupt(
                f"{path} was read, but it is the snapshot at {reader.mark.index}. Give it back its own name."
            )
        return reader.mark

    def _indexes(self) -> list[int]:
        return [index for index, _ in list_snapshots(self._files, self._folder)]

    def _path(self, index: int) -> str:
        return f"{self._folder}/{index:020d}.snap"

    # Writing.

    def write(self, mark: SnapshotMark, chunks: Iterable[bytes], done: Written) -> None:
        """Write a snapshot in slices, make it durable, then call `done` with the completed mark.

        `done` gets StorageFullError if there is no space, StorageError if the disk refuses, and whatever
        `chunks` raises; nothing is left behind then, and older snapshots stay. `chunks` is read on the loop.
        Raises LocalProtocolError while another one is being written.
        """
        if self._writing is not None or self._closed:
            raise LocalProtocolError(
                f"A snapshot at {mark.index} was to be written while another one is. Wait for its completion."
            )
        self._writing = writing = _Write(mark, iter(chunks), done, self._path(mark.index) + ".new")
        self._submit(writing, partial(self._create, writing))

    def _submit(self, writing: _Write, job: Callable[[], None]) -> None:
        self._worker.submit(job, partial(self._on_sliced, writing))

    def _create(self, writing: _Write) -> None:
        writing.handle = self._files.open(writing.path, create=True)
        self._put(writing, [encode_head(self._cluster, writing.mark)])

    def _put(self, writing: _Write, parts: list[bytes]) -> None:
        self._files.pwritev(writing.handle, parts, writing.offset)
        for part in parts:
            writing.hasher.update(part)
            writing.offset += len(part)
            writing.unsynced += len(part)
        if writing.unsynced >= SYNC_BYTES:
            writing.unsynced = 0
            durably(self._files.fdatasync, writing.handle, writing.path)

    def _on_sliced(self, writing: _Write, error: BaseException | None) -> None:
        """One job is done: go on with the next. Inline work comes back here at once, so it must not nest."""
        if error is not None or self._closed:
            self._give_up(writing, error)
            return
        self._pump_again = True
        if self._pumping:
            return
        self._pumping = True
        while self._pump_again and self._writing is not None:
            self._pump_again = False
            self._go_on(self._writing)
        self._pumping = False

    def _go_on(self, writing: _Write) -> None:
        if writing.ready:
            self._complete(writing)
            return
        try:
            parts, writing.ready = self._next_slice(writing)
        except Exception as error:
            self._give_up(writing, error)
            return
        self._submit(writing, partial(self._put_last if writing.ready else self._put, writing, parts))

    def _next_slice(self, writing: _Write) -> tuple[list[bytes], bool]:
        """The next chunks, about a slice of them, and whether they are the last."""
        parts: list[bytes] = []
        total = 0
        for chunk in writing.chunks:
            if len(chunk) > CHUNK_BYTES_MAX:
                raise LocalProtocolError(
                    f"A chunk of {len(chunk)} bytes was to be written, but {CHUNK_BYTES_MAX} is the limit. "
                    "Cut the state into smaller chunks."
                )
            parts += (chunk_head(chunk), chunk)
            total += len(chunk)
            if total >= self._slice_bytes:
                return parts, False
        parts.append(end_of_chunks())
        return parts, True

    def _put_last(self, writing: _Write, parts: list[bytes]) -> None:
        self._put(writing, parts)
        self._files.pwritev(writing.handle, [writing.hasher.digest()], writing.offset)
        durably(self._files.fsync, writing.handle, writing.path)
        self._files.close(writing.handle)
        writing.handle = -1
        self._files.rename(writing.path, self._path(writing.mark.index))
        durably(self._files.fsync_dir, self._folder, self._folder)

    def _complete(self, writing: _Write) -> None:
        self._writing = None
        mark = writing.mark
        digest, size = writing.hasher.digest(), writing.offset + DIGEST_BYTES
        mark = replace(mark, digest=digest, size=size)
        self._take_as_newest(mark)
        writing.done(mark, None)

    def _give_up(self, writing: _Write, error: BaseException | None) -> None:
        self._writing = None
        with suppress(OSError):  # a file that cannot be removed now is dropped at the next start
            if writing.handle != -1:
                self._files.close(writing.handle)
            self._files.unlink(writing.path)
        if isinstance(error, OSError):
            error = refusal(error, f"{writing.path} was to be written")
        if not self._closed:
            writing.done(None, error)

    def _take_as_newest(self, mark: SnapshotMark) -> None:
        """`mark` is durable: of the older ones keep so many that SNAPSHOTS_KEPT remain."""
        if self._newest is None or mark.index >= self._newest.index:
            self._newest = mark
        self._forget_reader()
        self._worker.submit(self._drop_old, _ignore)

    def _drop_old(self) -> None:
        """In the worker: to free the blocks of a large file takes long. One that stays costs space alone."""
        for index in self._indexes()[:-SNAPSHOTS_KEPT]:
            with suppress(OSError):
                self._files.unlink(self._path(index))

    def drop(self, index: int) -> None:
        """Forget the snapshot at `index`, which was fetched and proved wrong. Raises StorageError."""
        self._forget_reader()
        try:
            with suppress(FileNotFoundError):
                self._files.unlink(self._path(index))
            durably(self._files.fsync_dir, self._folder, self._folder)
            self._newest = self._newest_whole()
        except OSError as error:
            raise refusal(error, f"{self._path(index)} was to be removed") from error

    # Serving and loading.

    def read_chunk(self, index: int, offset: int, size: int) -> bytes | None:
        """Bytes of the snapshot file at `index`; None when that snapshot is gone or cannot be read there."""
        reader = self._reader_of(index)
        if reader is None or not 0 <= offset <= reader.size:
            return None
        try:
            return reader.read(offset, size)
        except StorageCorrupt:
            return None

    def read_frames(self, index: int, offset: int, count: int) -> list[bytes] | None:
        """So many of the chunks given to `write`, from the one at this offset of the file on; None when that
        snapshot is gone or damaged there."""
        reader = self._reader_of(index)
        if reader is None:
            return None
        try:
            return [chunk for _, chunk in islice(reader.located(offset), count)]
        except StorageCorrupt:
            return None

    def _reader_of(self, index: int) -> SnapshotReader | None:
        reader = self._reader
        if reader is None or reader.mark.index != index:
            self._forget_reader()
            try:
                reader = SnapshotReader(self._files, self._path(index), self._cluster)
            except (OSError, QuorumError):
                return None
            self._reader = reader
        return reader

    def _forget_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def load(self, index: int) -> Iterator[bytes]:
        """The chunks given to `write`, each verified before it is given out, the whole before the first.

        Raises StorageCorrupt for damage or a snapshot that is not there.
        """
        return (chunk for _, chunk in self._located(index))

    def _located(self, index: int) -> Iterator[tuple[int, bytes]]:
        path = self._path(index)
        try:
            reader = SnapshotReader(self._files, path, self._cluster)
        except OSError as error:
            raise StorageCorrupt(
                f"{path} was to be loaded, but it cannot be opened: {error.strerror or error}. Let this node "
                "fetch a snapshot from the others."
            ) from error
        try:
            reader.verify()
            yield from reader.located()
        finally:
            reader.close()

    def survey(
        self,
        index: int,
        take: Callable[[Iterator[tuple[int, bytes]]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """As `load_aside`, each chunk with its offset in the file (see `read_frames`)."""
        self._worker.submit(lambda: take(self._located(index)), done)

    # Fetching.

    def receive(self, mark: SnapshotMark, offset: int, data: Buffer) -> int:
        """Take one chunk of a snapshot that is being fetched; return the offset wanted next.

        A chunk that does not continue what is there, or reaches beyond `mark.size`, is ignored. The part file
        survives a restart; one of another snapshot is dropped. Raises StorageFullError or StorageError.
        """
        if self._has(mark):
            return mark.size
        try:
            part = self._part_of(mark)
            if data and offset == part.offset and offset + len(data) <= mark.size:
                self._files.pwritev(part.handle, [data], offset)
                part.take(data)
                if part.unsynced >= SYNC_BYTES:
                    part.unsynced = 0
                    self._worker.submit(partial(self._sync_part, part), _ignore)
        except OSError as error:
            raise refusal(error, f"a chunk of the snapshot at {mark.index} was to be stored") from error
        return part.offset

    def _sync_part(self, part: _Part) -> None:
        """In the worker. A sync that failed is never tried again: what is in the file is not known."""
        try:
            durably(self._files.fdatasync, part.handle, part.path)
        except BaseException as error:
            part.failure = part.failure or error

    def finish(self, mark: SnapshotMark, done: Callable[[BaseException | None], None]) -> None:
        """Verify the digest of a fetched snapshot and rename it into place, durably; then call `done` on the loop.

        `done` gets StorageCorrupt, the part file removed, when it is not what `mark` promises; StorageError if the
        disk refuses. Raises LocalProtocolError when it is not complete.
        """
        if self._has(mark):
            self._worker.submit(_nothing, done)
            return
        try:
            part = self._part_of(mark)
        except OSError as error:
            raise refusal(error, f"the snapshot at {mark.index} was to be put in place") from error
        if part.offset != mark.size:
            raise LocalProtocolError(
                f"The snapshot at {mark.index} was to be finished, but {part.offset} of {mark.size} bytes are "
                "here. Receive the rest first."
            )
        self._part = None
        self._finishing = True

        def finished(error: BaseException | None) -> None:
            self._finishing = False
            if isinstance(error, OSError):
                error = refusal(error, f"the snapshot at {mark.index} was to be put in place")
            if error is None:
                self._take_as_newest(mark)
            done(error)

        self._worker.submit(partial(self._finish, part), finished)

    def _finish(self, part: _Part) -> None:
        """In the worker."""
        try:
            self._check_part(part)
        except QuorumError:
            self._files.close(part.handle)
            self._files.unlink(part.path)
            raise
        if part.failure is not None:
            self._files.close(part.handle)
            raise part.failure
        durably(self._files.fsync, part.handle, part.path)
        self._files.close(part.handle)
        self._files.rename(part.path, self._path(part.mark.index))
        durably(self._files.fsync_dir, self._folder, self._folder)

    def load_aside(
        self, index: int, take: Callable[[Iterator[bytes]], None], done: Callable[[BaseException | None], None]
    ) -> None:
        """Give what `load` gives to `take`, in the worker; then call `done` on the loop, with what was raised."""
        self._worker.submit(lambda: take(self.load(index)), done)

    def _check_part(self, part: _Part) -> None:
        mark = part.mark
        reader = SnapshotReader(self._files, part.path, self._cluster)
        reader.close()
        if self._digest_of(part) != mark.digest or reader.mark != replace(mark, state_root=b""):
            raise StorageCorrupt(
                f"The snapshot at {mark.index} was fetched, but it is not the one that was promised: its digest "
                "or its head differs. It was dropped; fetch it again."
            )

    def _digest_of(self, part: _Part) -> bytes:
        """In the worker."""
        if part.found:
            end = part.mark.size - DIGEST_BYTES
            for offset in range(0, end, SLICE_BYTES):
                part.hasher.update(self._files.pread(part.handle, min(SLICE_BYTES, end - offset), offset))
        return part.hasher.digest()

    def _has(self, mark: SnapshotMark) -> bool:
        newest = self._newest
        return newest is not None and newest.index == mark.index and newest.digest == mark.digest

    def _part_of(self, mark: SnapshotMark) -> _Part:
        """The part file of `mark`, from an earlier life if there is one."""
        part = self._part
        if part is not None and part.mark == mark:
            return part
        if part is not None:
            self._files.close(part.handle)
            self._part = None
        name = f"{mark.index:020d}-{mark.digest[:8].hex()}.part"
        path = f"{self._folder}/{name}"
        found = False
        for other in self._files.names(self._folder):
            if other == name:
                found = True
            elif other.endswith(".part"):
                self._files.unlink(f"{self._folder}/{other}")
        handle = self._files.open(path, create=not found)
        size = min(self._files.size(handle), mark.size) if found else 0
        self._part = part = _Part(mark, path, handle, size)
        return part

    # Collecting the pieces of a certified state.

    def resume(
        self,
        mark: SnapshotMark,
        take: Callable[[Iterator[bytes]], int],
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Begin to collect the snapshot at `mark`, whose digest and size are not known yet. In the worker, `take`
        reads the chunks that are here from an earlier attempt, and returns how many of them stay; then `done` is
        called on the loop, with StorageError if the disk refuses."""
        self._close_collected()
        self._collected = collected = Collected(self._files, self._folder, self._cluster, mark)

        def opened(error: BaseException | None) -> None:
            if isinstance(error, OSError):
                error = refusal(error, f"the snapshot at {mark.index} was to be fetched")
            done(error)

        self._worker.submit(partial(collected.open, take), opened)

    def append(self, mark: SnapshotMark, chunks: Sequence[bytes]) -> None:
        """Keep the next chunks of the snapshot that is collected. Raises StorageFullError or StorageError."""
        collected = self._collected
        assert collected is not None and collected.mark == mark, "it was resumed"
        try:
            collected.append(chunks)
        except OSError as error:
            raise refusal(error, f"a piece of the snapshot at {mark.index} was to be stored") from error
        if collected.unsynced >= SYNC_BYTES:
            collected.unsynced = 0
            self._worker.submit(collected.sync, _ignore)

    def complete(self, mark: SnapshotMark, done: Written) -> None:
        """All chunks are here: put the file in place, durably, then call `done` with the completed mark."""
        collected = self._collected
        assert collected is not None and collected.mark == mark, "it was resumed"
        self._collected, self._finishing = None, True
        whole: list[SnapshotMark] = []

        def completed(error: BaseException | None) -> None:
            self._finishing = False
            if error is None:
                self._take_as_newest(whole[0])
                done(whole[0], None)
                return
            if isinstance(error, OSError):
                error = refusal(error, f"the snapshot at {mark.index} was to be put in place")
            self._worker.submit(collected.close, _ignore)
            done(None, error)

        self._worker.submit(lambda: whole.append(collected.complete(self._path(mark.index))), completed)

    def _close_collected(self) -> None:
        if self._collected is not None:
            self._worker.submit(self._collected.close, _ignore)
            self._collected = None

    def close(self) -> None:
        """Stop; a snapshot that is being written is given up, a part that was fetched stays."""
        self._closed = True
        self._close_collected()
        self._worker.close()
        self._forget_reader()
        if self._part is not None:
            self._files.close(self._part.handle)
            self._part = None


def _nothing() -> None:
    """What is to be done for a snapshot that is in place."""


def _ignore(error: BaseException | None) -> None:
    """What went wrong is noted elsewhere, or costs nothing."""
