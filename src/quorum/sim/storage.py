"""Simulated durability at the level of records: what was not synced is lost in a crash, but for a prefix.

The production log on a simulated file system (sim.disk) covers bytes and sectors; this one is fast enough to
run thousands of seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from random import Random

from msgspec.structs import replace

from quorum.certificate.block import header_of
from quorum.entry import BLOCK, CONFIGURATION, Buffer, decode_entry, entry_identity
from quorum.errors import StorageCorrupt, StorageFullError
from quorum.model import decode_configuration
from quorum.protocols.effects import HardState, Note
from quorum.protocols.events import Durable, EntryMeta, SnapshotMark

IN_PLACE_SHARE = 0.3
"""So often a follower's sync ends before `sync` returns, on a fast disk (as with runtime.disk_thread.Paced)."""
FAST_SYNC_US = 1_000
SYNC_IN_PLACE = "sync done in place"

Later = Callable[..., None]
Reached = Callable[[str], None]
"""Told of a rare branch by its name (checkers.progress.Sometimes)."""
Record = HardState | Note | SnapshotMark | tuple[int, tuple[bytes, ...]]


class _Image:
    """A log as some sequence of records leaves it."""

    def __init__(self) -> None:
        self.state = HardState(0, None)
        self.notes: dict[str, bytes] = {}
        self.base = 0
        self.entries: list[bytes] = []

    def write(self, record: Record) -> None:
        if type(record) is HardState:
            self.state = record
        elif type(record) is Note:
            self.notes[record.name] = record.data
        elif type(record) is SnapshotMark:
            self.base, self.entries = record.index, []
        else:
            assert type(record) is tuple
            first, entries = record
            del self.entries[first - self.base - 1 :]
            self.entries.extend(entries)

    def trim(self, first_kept: int) -> None:
        drop = first_kept - 1 - self.base
        if drop > 0:
            del self.entries[:drop]
            self.base = first_kept - 1


class SimLog:
    """ports.Log in memory: an image as the node sees it, and one as the disk has it."""

    def __init__(self, random: Random, later: Later, snapshots: SimSnapshots, reached: Reached) -> None:
        self._random = random
        self._later = later
        self._snapshots = snapshots
        self._reached = reached
        self._seen = _Image()
        self._disk = _Image()
        self._staged: list[Record] = []
        self._lives = 0
        self.sync_us = 300
        self.sync_jitter_us = 700
        self.room: int | None = None
        """How many more records the disk has space for; None: as many as come."""

    def recover(self) -> Durable:
        snapshot = self._snapshots.newest()
        image = self._disk
        if snapshot is not None and snapshot.index > image.base + len(image.entries):
            image.base, image.entries = snapshot.index, []
        self._seen = _Image()
        self._seen.state, self._seen.base, self._seen.entries = image.state, image.base, list(image.entries)
        self._seen.notes = dict(image.notes)
        metas, time_us = [], 0
        for entry in image.entries:
            index, term, kind, entry_time_us = entry_identity(entry)
            time_us = max(time_us, entry_time_us)
            configuration = decode_configuration(decode_entry(entry)[1]) if kind == CONFIGURATION else None
            block = header_of(decode_entry(entry)[1]) if kind == BLOCK else None
            metas.append(EntryMeta(index, term, kind, len(entry), configuration, block))
        notes = tuple(sorted(item for item in image.notes.items() if item[1]))
        return Durable(image.state.term, image.state.vote, snapshot, tuple(metas), time_us, notes=notes)

    def write_hard_state(self, state: HardState) -> None:
        self._stage(state)

    def write_entries(self, first: int, entries: Sequence[Buffer]) -> None:
        self._stage((first, tuple(bytes(entry) for entry in entries)))

    def write_note(self, note: Note) -> None:
        self._stage(note)

    def reset(self, mark: SnapshotMark) -> None:
        self._stage(mark)

    def _stage(self, record: Record) -> None:
        self._staged.append(record)
        self._seen.write(record)

    def sync(self, done: Callable[[BaseException | None], None], in_background: bool = True) -> None:
        if not in_background and ends_in_place(self._random, self.sync_us):
            self._reached(SYNC_IN_PLACE)
            self._synced(self._lives, len(self._staged), done)
            return
        delay = self.sync_us + int(self._random.random() * self.sync_jitter_us)
        self._later(delay, self._synced, self._lives, len(self._staged), done)

    def _synced(self, life: int, count: int, done: Callable[[BaseException | None], None]) -> None:
        if life != self._lives:
            return
        if self.room is not None:
            if count > self.room:
                done(no_space())
                return
            self.room -= count
        for record in self._staged[:count]:
            self._disk.write(record)
        del self._staged[:count]
        done(None)

    def fill(self, room: int) -> None:
        """No space is left but for `room` records: a sync of more keeps all of them waiting."""
        self.room = room

    def free(self) -> None:
        """There is space again."""
        self.room = None

    def crash(self) -> None:
        """Lose what was not synced, but for a random prefix of it."""
        self._lives += 1
        survives = self._staged[: self._random.randrange(len(self._staged) + 1)]
        if survives and isinstance(survives[-1], tuple):
            first, entries = survives[-1]
            del survives[-1]
            survives.append((first, entries[: self._random.randrange(len(entries) + 1)]))
        for record in survives:
            self._disk.write(record)
        self._staged.clear()

    def read(self, first: int, last: int, bytes_max: int) -> tuple[bytes, ...]:
        image = self._seen
        entries = image.entries[first - image.base - 1 : last - image.base]
        assert len(entries) == last - first + 1 and first > image.base, "read outside the log"
        total = 0
        for count, entry in enumerate(entries):
            total += len(entry)
            if total > bytes_max and count:
                return tuple(entries[:count])
        return tuple(entries)

    def trim(self, first_kept: int) -> None:
        self._seen.trim(first_kept)
        if first_kept - 1 <= self._disk.base + len(self._disk.entries):
            self._disk.trim(first_kept)

    def close(self) -> None:
        self._staged.clear()


def no_space() -> StorageFullError:
    """What a full simulated disk says."""
    return StorageFullError("a simulated disk was to be written, but it is full. Let the fault end.")


def ends_in_place(random: Random, sync_us: int) -> bool:
    """Whether a sync that its caller only waits for ends at once."""
    return sync_us <= FAST_SYNC_US and random.random() < IN_PLACE_SHARE


class SimSnapshots:
    """ports.Snapshots in memory."""

    def __init__(self, random: Random, later: Later) -> None:
        self._random = random
        self._later = later
        self._files: dict[int, tuple[SnapshotMark, bytes]] = {}
        self._part: tuple[SnapshotMark, bytearray] | None = None
        self._collected: tuple[SnapshotMark, list[bytes]] | None = None
        self._is_writing = False
        self._lives = 0
        self.is_full = False

    is_busy = False

    def newest(self) -> SnapshotMark | None:
        return self._files[max(self._files)][0] if self._files else None

    def write(
        self,
        mark: SnapshotMark,
        chunks: Iterable[bytes],
        done: Callable[[SnapshotMark | None, BaseException | None], None],
    ) -> None:
        assert not self._is_writing, "a second snapshot was to be written while one is"
        self._is_writing = True
        delay = 2_000 + int(self._random.random() * 20_000)
        self._later(delay, self._written, self._lives, mark, iter(chunks), done)

    def _written(
        self,
        life: int,
        mark: SnapshotMark,
        chunks: Iterator[bytes],
        done: Callable[[SnapshotMark | None, BaseException | None], None],
    ) -> None:
        if life != self._lives:
            return
        self._is_writing = False
        if self.is_full:
            done(None, no_space())
            return
        data = b"".join(len(chunk).to_bytes(4, "little") + chunk for chunk in chunks)
        digest = blake2b(data, digest_size=32).digest()
        complete = replace(mark, digest=digest, size=len(data))
        self._keep(complete, data)
        done(complete, None)

    def _keep(self, mark: SnapshotMark, data: bytes) -> None:
        self._files[mark.index] = (mark, data)
        while len(self._files) > 2:
            del self._files[min(self._files)]

    def crash(self) -> None:
        """Files under way are lost; finished ones and received parts stay, and some of the collected chunks."""
        self._lives += 1
        if self._collected is not None:
            del self._collected[1][self._random.randrange(len(self._collected[1]) + 1) :]
        self._is_writing = False

    def read_chunk(self, index: int, offset: int, size: int) -> bytes | None:
        held = self._files.get(index)
        return None if held is None else held[1][offset : offset + size]

    def receive(self, mark: SnapshotMark, offset: int, data: Buffer) -> int:
        if self._part is None or self._part[0] != mark:
            self._part = (mark, bytearray())
        part = self._part[1]
        if offset == len(part):
            if self.is_full:
                raise no_space()
            part += data
        return len(part)

    def finish(self, mark: SnapshotMark, done: Callable[[BaseException | None], None]) -> None:
        assert self._part is not None and self._part[0] == mark, "nothing was received"
        data = bytes(self._part[1])
        self._part = None
        delay = 1_000 + int(self._random.random() * 5_000)
        self._later(delay, self._finished, self._lives, mark, data, done)

    def _finished(
        self, life: int, mark: SnapshotMark, data: bytes, done: Callable[[BaseException | None], None]
    ) -> None:
        if life != self._lives:
            return
        if blake2b(data, digest_size=32).digest() != mark.digest:
            done(StorageCorrupt(f"the snapshot at {mark.index} does not have its digest. Fetch it again."))
            return
        self._keep(mark, data)
        done(None)

    def drop(self, index: int) -> None:
        self._files.pop(index, None)

    def load_aside(
        self, index: int, take: Callable[[Iterator[bytes]], None], done: Callable[[BaseException | None], None]
    ) -> None:
        delay = 1_000 + int(self._random.random() * 50_000)
        data = self._files[index][1]  # a later job may remove the file, but jobs run in order
        self._later(delay, self._loaded, self._lives, data, take, done)

    def _loaded(
        self,
        life: int,
        data: bytes,
        take: Callable[[Iterator[bytes]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        if life == self._lives:
            try:
                take(_chunks(data))
            except (StorageCorrupt, ValueError) as error:
                done(error)
            else:
                done(None)

    def load(self, index: int) -> Iterator[bytes]:
        return _chunks(self._files[index][1])

    def survey(
        self,
        index: int,
        take: Callable[[Iterator[tuple[int, bytes]]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        data = self._files[index][1] if index in self._files else b""
        delay = 1_000 + int(self._random.random() * 20_000)
        self._later(delay, self._surveyed, self._lives, data, take, done)

    def _surveyed(
        self,
        life: int,
        data: bytes,
        take: Callable[[Iterator[tuple[int, bytes]]], None],
        done: Callable[[BaseException | None], None],
    ) -> None:
        if life == self._lives:
            try:
                take(_located(data))
            except ValueError as error:
                done(error)
            else:
                done(None)

    def read_frames(self, index: int, offset: int, count: int) -> list[bytes] | None:
        held = self._files.get(index)
        return None if held is None else [chunk for _, chunk in islice(_located(held[1], offset), count)]

    def resume(
        self,
        mark: SnapshotMark,
        take: Callable[[Iterator[bytes]], int],
        done: Callable[[BaseException | None], None],
    ) -> None:
        if self._collected is None or self._collected[0] != mark:
            self._collected = (mark, [])
        self._later(1_000, self._resumed, self._lives, mark, take, done)

    def _resumed(
        self,
        life: int,
        mark: SnapshotMark,
        take: Callable[[Iterator[bytes]], int],
        done: Callable[[BaseException | None], None],
    ) -> None:
        if life == self._lives and self._collected is not None and self._collected[0] == mark:
            chunks = self._collected[1]
            del chunks[take(iter(chunks)) :]
            done(None)

    def append(self, mark: SnapshotMark, chunks: Sequence[bytes]) -> None:
        assert self._collected is not None and self._collected[0] == mark, "it was resumed"
        if self.is_full:
            raise no_space()
        self._collected[1].extend(chunks)

    def complete(
        self, mark: SnapshotMark, done: Callable[[SnapshotMark | None, BaseException | None], None]
    ) -> None:
        assert self._collected is not None and self._collected[0] == mark, "it was resumed"
        chunks, self._collected = self._collected[1], None
        delay = 1_000 + int(self._random.random() * 5_000)
        self._later(delay, self._completed, self._lives, mark, chunks, done)

    def _completed(
        self,
        life: int,
        mark: SnapshotMark,
        chunks: Sequence[bytes],
        done: Callable[[SnapshotMark | None, BaseException | None], None],
    ) -> None:
        if life != self._lives:
            return
        data = b"".join(len(chunk).to_bytes(4, "little") + chunk for chunk in chunks)
        whole = replace(mark, digest=blake2b(data, digest_size=32).digest(), size=len(data))
        self._keep(whole, data)
        done(whole, None)


def _chunks(data: bytes) -> Iterator[bytes]:
    return (chunk for _, chunk in _located(data))


def _located(data: bytes, at: int = 0) -> Iterator[tuple[int, bytes]]:
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        yield at, data[at + 4 : at + 4 + size]
        at += 4 + size
