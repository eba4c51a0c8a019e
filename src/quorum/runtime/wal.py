"""The write-ahead log of one replica: staged on the loop, written and synced in one round off it.

`write_*` only stages; `sync` writes everything staged with one call and one fdatasync. Nothing that the disk
may have lost is ever retried or acknowledged: an error of a sync is final (Rebello et al., "Can Applications
Recover from fsync Failures?", 2020). Records are in wal_records, recovery in wal_recovery.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic_ns

from quorum.entry import Buffer, entry_place
from quorum.errors import ConfigurationError, LocalProtocolError, StorageCorrupt, StorageError, StorageFullError
from quorum.protocols.effects import HardState, Note
from quorum.protocols.events import Durable, SnapshotMark
from quorum.runtime.disk_thread import Post, Worker, paced_worker_for
from quorum.runtime.files import Files, durably, refusal
from quorum.runtime.wal_head import SegmentHead
from quorum.runtime.wal_index import EntryIndex, TailCache
from quorum.runtime.wal_records import (
    ENTRY,
    HARD_STATE,
    HEADER_BYTES,
    NOTE,
    PAYLOAD_BYTES_MAX,
    RECORD_ROOM_BYTES,
    RESET,
    SEAL,
    SEAL_BYTES,
    WATERMARK,
    Encoder,
    Record,
    encode_note,
    encode_vote,
    record_bytes,
    self_valid,
)
from quorum.runtime.wal_recovery import DOUBT_NAME, Recovered, recover_log
from quorum.runtime.wal_segments import Segment, SegmentPlan, corrupt

SEGMENT_BYTES = 64 << 20
CACHE_BYTES = 8 << 20
_SEGMENT_BYTES_RANGE = range(4096, (1 << 31) + 1)
_HEAD_ROOM_BYTES = 4096
_NAME_CHARACTERS_MAX = 255
_READ_GAP_BYTES = 4096

Synced = Callable[[BaseException | None], None]


class _Round:
    """Everything that one sync writes. The worker fills in `segment` when it began a new one."""

    __slots__ = (
        "clears_doubt",
        "encoder",
        "last",
        "notes",
        "offset",
        "old",
        "plan",
        "records",
        "seal",
        "segment",
        "state",
    )

    def __init__(self, records: list[Record], segment: Segment, offset: int, state: HardState) -> None:
        self.records = records
        self.segment = self.old = segment
        self.offset = offset
        self.state = state
        self.last = 0
        self.notes: dict[str, bytes] = {}
        self.plan: SegmentPlan | None = None
        self.seal: list[Buffer] = []
        self.encoder = Encoder(0, 0, 0)
        self.clears_doubt = False


class Wal:
    """`runtime.ports.Log` in the folder `folder`, for node `node` of `cluster`.

    `snapshot` is the newest snapshot that is durable here: recovery returns the entries after it. `create`
    says that a missing log is a new one; without it a missing log is StorageCorrupt. `nonce` is drawn at random
    (32 bits) in production: with it no client can write a value that looks like a record of this log. `post`
    runs a callable on the loop (`loop.call_soon_threadsafe`); without it everything happens inline,
    deterministically, unless a `worker` is given. `watch_sync` hears how long each fdatasync took, in
    microseconds, from the thread that did it.

    I1  the cache holds every entry above `_stored_last`, so nothing is read that was not synced.
    I2  while a round is under way no other begins.
    """

    def __init__(
        self,
        files: Files,
        folder: str,
        cluster: str,
        node: str,
        *,
        snapshot: SnapshotMark | None = None,
        create: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        cache_bytes: int = CACHE_BYTES,
        nonce: int = 0,
        post: Post | None = None,
        worker: Worker | None = None,
        watch_sync: Callable[[int], object] | None = None,
    ) -> None:
        if segment_bytes not in _SEGMENT_BYTES_RANGE or len(cluster) > _NAME_CHARACTERS_MAX:
            raise ConfigurationError(
                f"Segments of {segment_bytes} bytes were asked for in cluster {cluster[:40]!r}, but segments have "
                f"{_SEGMENT_BYTES_RANGE[0]} to {_SEGMENT_BYTES_RANGE[-1]} bytes and a cluster's name at most "
                f"{_NAME_CHARACTERS_MAX} characters. Keep to that."
            )
        self._files = files
        self._folder = folder
        self._cluster = cluster
        self._node = node
        self._snapshot = snapshot
        self._create = create
        self._nonce = nonce
        self._segment_bytes = segment_bytes
        self._post = post
        self._worker = worker or paced_worker_for(post, f"wal-{node}")
        self._watch_sync = watch_sync
        self._segments: list[Segment] = []
        self._index = EntryIndex()
        self._cache = TailCache(cache_bytes)
        self._staged: list[Record] = []
        self._state = HardState(0, None)  # as it will be once everything staged is durable
        self._notes: dict[str, bytes] = {}  # as the state, and those that the files have
        self._notes_written: dict[str, bytes] = {}
        self._state_written = self._state
        self._state_recovered = self._state
        self._end = 0  # offset in the newest segment at which the next round begins
        self._chain = 0
        self._stored_last = 0
        self._flying_last = 0
        self._written_last = 0  # the last index of the log as the files have it
        self._flying = False
        self._marked = True  # nothing was synced since the log says how far it is durable
        self._in_doubt = False
        self._closed = False
        self._failure: StorageError | None = None

    # Reading back.

    def recover(self) -> Durable:
        """What the disk holds after a crash or a clean end, made durable again before it is believed.

        Raises StorageCorrupt when it is damaged where no crash explains it, or is missing; StorageError when
        the disk refuses; ConfigurationError when it belongs to another node or a newer program.
        """
        files, folder = self._files, self._folder
        try:
            files.make_folder(folder)
            found = recover_log(files, folder, self._cluster, self._node, self._snapshot)
            if found is None:
                found = self._begin()
        except OSError as error:
            raise refusal(error, f"{folder} was to be read as a log") from error
        self._segments = found.segments
        self._index = found.index
        self._end, self._chain = found.end, found.chain
        self._state = self._state_written = self._state_recovered = found.state
        self._notes_written = dict(found.durable.notes)
        self._notes = dict(self._notes_written)
        self._stored_last = self._written_last = self._index.last
        self._cache.reset(self._index.last)
        self._in_doubt = found.durable.tail_damaged
        self._marked = False
        if found.reset is not None:
            self._staged.append((RESET, found.reset.term, found.reset.index, b""))
        return found.durable

    def _begin(self) -> Recovered:
        """The first segment of a new log."""
        if not self._create:
            raise StorageCorrupt(
                f"{self._folder} was to be read as the log of a node that has run before, but it is empty, so "
                "its promises are lost. Put the log back, or leave this node out: it must not vote without it."
            )
        snapshot = self._snapshot
        base = snapshot.index if snapshot is not None else 0
        head = SegmentHead(self._cluster, self._node, 1, self._segment_bytes, 0, base, self._nonce)
        plan = SegmentPlan(head, 0, self._state)
        segment = plan.create(self._files, self._folder)
        durable = Durable(snapshot=snapshot, time_us=snapshot.time_us if snapshot is not None else 0)
        return Recovered([segment], EntryIndex(base), self._state, plan.end, plan.chain, durable, None)

    def read(self, first: int, last: int, bytes_max: int) -> tuple[bytes, ...]:
        """Stored entries from `first` up to `last`, at least one, then as many as fit in `bytes_max`.

        Raises LocalProtocolError for entries that the log does not hold, StorageCorrupt for damage.
        """
        self._check_usable()
        index = self._index
        if not index.base < first <= last <= index.last:
            raise LocalProtocolError(
                f"Entries {first} to {last} were to be read, but the log holds {index.base + 1} to {index.last}. "
                "Send a snapshot for what is compacted."
            )
        total, stop = index.size(first), first + 1
        while stop <= last and (total := total + index.size(stop)) <= bytes_max:
            stop += 1
        split = min(stop, max(first, self._cache.first))
        entries = self._read_files(first, split) if first < split else []
        for place in range(split, stop):
            cached = self._cache.get(place)
            assert cached is not None, "I1: an entry that is not stored left the cache"
            entries.append(cached)
        return tuple(entries)

    def _read_files(self, first: int, stop: int) -> list[bytes]:
        """Entries `first` to `stop - 1` from the files, neighbours with one read, each verified."""
        index, entries = self._index, []
        while first < stop:
            sequence, begin = index.place(first)
            end = begin + record_bytes(index.size(first))
            after = first + 1
            while after < stop:
                other, offset = index.place(after)
                if other != sequence or offset > end + _READ_GAP_BYTES:
                    break
                end = offset + record_bytes(index.size(after))
                after += 1
            segment = self._segments[sequence - self._segments[0].sequence]
            try:
                data = self._files.pread(segment.handle, end - begin, begin)
            except OSError as error:
                raise corrupt(segment.path, begin, f"reading failed ({error.strerror or error})") from error
            for wanted in range(first, after):
                at = index.place(wanted)[1] - begin
                if self_valid(data, at, segment.salt) is None:
                    raise corrupt(segment.path, begin + at, f"entry {wanted} is damaged")
                entries.append(data[at + HEADER_BYTES : at + HEADER_BYTES + index.size(wanted)])
            first = after
        return entries

    # Staging.

    def write_hard_state(self, state: HardState) -> None:
        """Stage the term and the vote."""
        self._check_usable()
        self._state = state
        self._staged.append((HARD_STATE, state.term, 0, encode_vote(state.vote)))

    def write_note(self, note: Note) -> None:
        """Stage what a protocol keeps beside the log under a name."""
        self._check_usable()
        self._notes[note.name] = note.data
        self._staged.append((NOTE, 0, 0, encode_note(note.name, note.data)))

    def write_entries(self, first: int, entries: Sequence[Buffer]) -> None:
        """Stage entries from index `first`; what the log held at `first` and after is replaced.

        Raises LocalProtocolError, nothing staged, if they do not follow what the log holds.
        """
        self._check_usable()
        index = self._index
        if not index.base < first <= index.last + 1:
            raise LocalProtocolError(
                f"Entries from {first} on were to be stored, but the log holds {index.base + 1} to {index.last}. "
                "Store them without a gap, after what is compacted."
            )
        records: list[Record] = []
        taken: list[bytes] = []
        for wanted, buffer in enumerate(entries, first):
            entry = bytes(buffer)
            number, term = entry_place(entry)
            if number != wanted or len(entry) > PAYLOAD_BYTES_MAX:
                raise LocalProtocolError(
                    f"An entry of {len(entry)} bytes that says it is {number} was to be stored as {wanted}. "
                    f"Store each at its own index, with {PAYLOAD_BYTES_MAX} bytes at most."
                )
            records.append((ENTRY, term, wanted, entry))
            taken.append(entry)
        if first <= index.last:
            self._cache.cut(first, index.last)
            index.cut(first)
            self._stored_last = min(self._stored_last, first - 1)
            self._flying_last = min(self._flying_last, first - 1)
        index.extend([len(entry) for entry in taken])
        self._cache.extend(first, taken)
        self._staged += records

    def reset(self, mark: SnapshotMark) -> None:
        """Stage: forget all entries; the log goes on after `mark.index`."""
        self._check_usable()
        self._staged.append((RESET, mark.term, mark.index, b""))
        self._index.reset(mark.index)
        self._cache.reset(mark.index)
        self._stored_last = self._flying_last = mark.index

    # Making it durable.

    def sync(self, done: Synced, in_background: bool = True) -> None:
        """Write everything staged in one round; call `done` on the loop once it is durable.

        `done` gets StorageFullError if there was no space: everything stays staged and the next sync tries
        again. It gets StorageError for anything else, and the log refuses all further use.
        """
        if self._flying:
            raise LocalProtocolError("A sync was asked for while one is under way. Wait for its completion.")
        if self._failure is not None or not self._staged:
            self._answer(partial(done, self._failure))
            return
        self._check_usable()
        self._flying = True
        self._flying_last = self._index.last
        round_ = self._lay_out(self._staged)
        self._staged = []
        job, answer = partial(self._write, round_), partial(self._on_written, round_, done)
        if round_.plan is not None:  # a new file takes long on any disk
            self._worker.submit_aside(job, answer)
        elif in_background:
            self._worker.submit(job, answer)
        else:
            self._worker.submit_urgent(job, answer)

    def _answer(self, answer: Callable[[], None]) -> None:
        if self._post is None:
            answer()
        else:
            self._post(answer)

    def _lay_out(self, records: list[Record]) -> _Round:
        """Decide where each record goes, in a new segment if this one has no room, and encode them."""
        old = self._segments[-1]
        round_ = _Round(records, old, self._end, self._state)
        round_.notes = dict(self._notes)
        needed = sum([len(record[3]) for record in records]) + len(records) * RECORD_ROOM_BYTES + SEAL_BYTES
        if self._end + needed > old.head.segment_bytes:  # it may be full: count exactly
            needed = sum([record_bytes(len(record[3])) for record in records]) + SEAL_BYTES
        encoder = Encoder(self._chain, old.salt, self._end)
        sequence = old.sequence
        if self._end + needed > old.head.segment_bytes:
            encoder.add(SEAL, 0, 0, b"")
            round_.seal = encoder.parts
            sequence += 1
            carried = [encode_note(name, data) for name, data in self._notes_written.items() if data]
            needed += sum([record_bytes(len(note)) for note in carried])
            round_.plan = plan = self._plan_segment(sequence, encoder.chain, needed)
            encoder = Encoder(plan.chain, plan.salt, plan.end)
            for note in carried:  # the segment that holds them may be dropped from now on
                encoder.add(NOTE, 0, 0, note)
        placed = zip(records, encoder.add_all(records))
        self._index.set_places(sequence, [(each[2], offset) for each, offset in placed if each[0] == ENTRY])
        newest = (index for kind, _, index, _ in reversed(records) if kind in (ENTRY, RESET))
        round_.last = next(newest, self._written_last)
        round_.encoder = encoder
        voted = round_.state.vote is not None and round_.state != self._state_recovered
        round_.clears_doubt = self._in_doubt and voted
        return round_

    def _plan_segment(self, sequence: int, chain: int, needed: int) -> SegmentPlan:
        size = max(self._segment_bytes, needed + _HEAD_ROOM_BYTES)
        head = SegmentHead(self._cluster, self._node, sequence, size, self._end, self._written_last, 0)
        return SegmentPlan(head, chain, self._state_written)

    def _write(self, round_: _Round) -> None:
        """In the worker: the round, and before it a new segment, where one is needed. Raises StorageError."""
        files, folder = self._files, self._folder
        try:
            if round_.plan is not None:
                self._begin_segment(round_, round_.plan)
            files.pwritev(round_.segment.handle, round_.encoder.parts, round_.offset)
        except OSError as error:
            raise refusal(error, f"{folder} was to take new records") from error
        began_ns = monotonic_ns() if self._watch_sync is not None else 0
        durably(files.fdatasync, round_.segment.handle, round_.segment.path)
        if self._watch_sync is not None:
            self._watch_sync((monotonic_ns() - began_ns) // 1000)
        if round_.clears_doubt and DOUBT_NAME in files.names(folder):
            files.unlink(f"{folder}/{DOUBT_NAME}")
            durably(files.fsync_dir, folder, folder)

    def _begin_segment(self, round_: _Round, plan: SegmentPlan) -> None:
        """Create the next segment, then seal the old one. A crash in between leaves an unused segment."""
        files, old = self._files, round_.old
        segment = plan.create(files, self._folder)
        try:
            files.pwritev(old.handle, round_.seal, round_.offset)
        except OSError:
            files.close(segment.handle)
            raise
        durably(files.fdatasync, old.handle, old.path)
        round_.segment, round_.offset = segment, plan.end

    def _on_written(self, round_: _Round, done: Synced, error: BaseException | None) -> None:
        """On the loop again: take note of what is durable now, or of what is not."""
        self._flying = False
        if round_.plan is not None and round_.segment is not round_.old:
            if self._closed:
                self._files.close(round_.segment.handle)
            self._segments.append(round_.segment)
            self._end, self._chain = round_.plan.end, round_.plan.chain
        if error is None:
            self._end, self._chain = round_.encoder.offset, round_.encoder.chain
            self._state_written, self._notes_written = round_.state, round_.notes
            self._written_last = round_.last
            self._stored_last = self._flying_last
            self._marked = False
            self._in_doubt = self._in_doubt and not round_.clears_doubt
            self._cache.evict(self._stored_last, self._index.base)
        elif isinstance(error, StorageFullError):
            self._staged = round_.records + self._staged
        else:
            error = self._fail(error)
        done(error)

    def _fail(self, error: BaseException) -> StorageError:
        if not isinstance(error, StorageError):
            error = refusal(error, f"{self._folder} was to take new records")
        self._failure = error
        return error

    # Keeping it small, and the end.

    def trim(self, first_kept: int) -> None:
        """Let whole segments go that hold only entries below `first_kept` and records that are superseded."""
        self._check_usable()
        anchor = min(first_kept, self._stored_last)
        if anchor <= self._index.base:
            return
        oldest = self._index.place(anchor)[0]
        self._index.drop(anchor)
        self._cache.evict(self._stored_last, self._index.base)
        doomed = [segment for segment in self._segments if segment.sequence < oldest]
        if doomed:
            del self._segments[: len(doomed)]
            self._worker.submit_aside(partial(self._remove, doomed), self._on_removed)

    def _remove(self, doomed: list[Segment]) -> None:
        """In the worker, oldest first and each durably, so that a crash leaves no gap."""
        for segment in doomed:
            self._files.close(segment.handle)
            self._files.unlink(segment.path)
            durably(self._files.fsync_dir, self._folder, self._folder)

    def _on_removed(self, error: BaseException | None) -> None:
        if error is not None:
            self._fail(error)

    def close(self) -> None:
        """End cleanly: what is synced is marked as durable; what is only staged is dropped."""
        if self._closed:
            return
        self._closed = True
        if self._segments and self._failure is None and not self._flying and not self._marked:
            segment = self._segments[-1]
            encoder = Encoder(self._chain, segment.salt, self._end)
            encoder.add(WATERMARK, 0, 0, b"")
            if encoder.offset + SEAL_BYTES <= segment.head.segment_bytes:
                self._worker.submit(partial(self._mark, segment, encoder), _ignore)
        self._worker.close()
        for segment in self._segments:
            self._files.close(segment.handle)

    def _mark(self, segment: Segment, encoder: Encoder) -> None:
        self._files.pwritev(segment.handle, encoder.parts, encoder.watermark)
        self._files.fdatasync(segment.handle)

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closed or not self._segments:
            raise LocalProtocolError("The log was used before recover or after close. Recover it first.")


def _ignore(error: BaseException | None) -> None:
    """A mark that could not be written costs nothing but certainty after the next start."""
