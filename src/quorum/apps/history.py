"""The newest changes of a key-value store, oldest first: what watchers read, and part of the replicated state.

Changes are numbered from 0 in the order of the log; `begin` is the first that is kept. A batch of puts is kept as
it came and taken apart only when it is read, so that it costs no more than an append. Changes are gathered into
chunks that never change once they are full: a snapshot pins them by a pointer each, and each is hashed once.
Chunks are dropped whole, from the oldest on, when there are more than CHANGES_MAX changes or BYTES_MAX bytes, so
that every replica keeps the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import chain, pairwise
from typing import TypeAlias

import msgspec

from quorum.apps.kv import Put
from quorum.apps.leaves import Change, Versioned, tombstone
from quorum.apps.pieces import digests_of
from quorum.entry import Buffer

CHANGES_MAX = 100_000
BYTES_MAX = 64 * 1024 * 1024
"""Keys, new values and old ones, in all full chunks together; the open one comes on top, which is a batch at most.
Both bounds are part of the format: the same on every node."""
CHUNK_CHANGES = 128
CHUNK_BYTES = 64 * 1024
"""A chunk with so much is full."""


class Puts(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    """Batches of puts, as they came: each put at one revision more than the one before, the first of them at
    `first_revision`. `befores` is what was under the key of each before."""

    size: int
    """Bytes of all keys and values, about."""
    first_revision: int
    befores: list[Versioned | None]
    bodies: list[bytes]

    @property
    def last_revision(self) -> int:
        return self.first_revision + len(self.befores) - 1

    def __len__(self) -> int:
        return len(self.befores)

    def read(self) -> list[Change]:
        """Its changes. Raises msgspec.DecodeError if a body is no batch of puts."""
        return changes_of(chain.from_iterable(map(_DECODE_PUTS, self.bodies)), self.befores, self.first_revision)

    def hash_into(self, digest: blake2b) -> None:
        """What was before goes in by its revision: it was hashed when it was written."""
        digest.update(_ENCODE((self.first_revision, _revisions(self.befores), self.bodies)))


class Mixed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=2):
    """Changes of any kind, one by one: those of one batch."""

    size: int
    changes: list[Change]

    @property
    def first_revision(self) -> int:
        return self.changes[0].revision

    @property
    def last_revision(self) -> int:
        return self.changes[-1].revision

    def __len__(self) -> int:
        return len(self.changes)

    def read(self) -> list[Change]:
        """Its changes."""
        return self.changes

    def hash_into(self, digest: blake2b) -> None:
        """As Puts.hash_into."""
        befores = _revisions([change.before for change in self.changes])
        digest.update(_ENCODE([(change.key, change.now) for change in self.changes]))
        digest.update(_ENCODE(befores))


Part: TypeAlias = Puts | Mixed
"""Changes that follow each other, at least one."""


class HistoryHead(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """First piece of a snapshot; so many chunks follow, the open one last, and then what is loose."""

    begin: int
    compacted_revision: int
    chunks: int


_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE_PUTS = msgspec.msgpack.Decoder(list[Put]).decode
_DECODE_HEAD = msgspec.msgpack.Decoder(HistoryHead).decode
_DECODE_PARTS = msgspec.msgpack.Decoder(list[Part]).decode
_DECODE_LOOSE = msgspec.msgpack.Decoder(list[Puts]).decode


class Chunk:
    """Parts one behind the other; `begin` is the number of its first change."""

    __slots__ = ("_digest", "_piece_digests", "begin", "count", "parts", "size")

    def __init__(self, begin: int, parts: Sequence[Part] = ()) -> None:
        self.begin = begin
        self.parts: list[Part] = []
        self.count = 0
        self.size = 0
        self._digest: bytes | None = None
        self._piece_digests: bytes | None = None
        for part in parts:
            self.add(part)

    @property
    def end(self) -> int:
        return self.begin + self.count

    @property
    def last_revision(self) -> int:
        return self.parts[-1].last_revision

    def add(self, part: Part) -> None:
        self.parts.append(part)
        self.count += len(part)
        self.size += part.size
        self._digest = self._piece_digests = None

    def since(self, number: int) -> Iterator[Change]:
        """Its changes from `number` on."""
        skipped = number - self.begin
        for part in self.parts:
            if skipped < len(part):
                yield from part.read()[max(skipped, 0) :]
            skipped -= len(part)

    def number_of(self, revision: int) -> int:
        """The number of its first change at or behind `revision`."""
        number = self.begin
        for part in self.parts:
            if part.last_revision >= revision:
                return number + bisect_left(part.read(), revision, key=_revision_of)
            number += len(part)
        return number

    @property
    def is_dirty(self) -> bool:
        """Whether its digest has to be computed."""
        return self._digest is None

    def digest(self) -> bytes:
        """32 bytes of blake2b over the parts, computed again only when something was added."""
        if self._digest is None:
            digest = blake2b(digest_size=32)
            for part in self.parts:
                part.hash_into(digest)
            self._digest = digest.digest()
        return self._digest

    @property
    def is_unread(self) -> bool:
        """Whether the digests of its bytes have to be computed."""
        return self._piece_digests is None

    def piece_digests(self) -> bytes:
        """`pieces.digests_of` its bytes in a snapshot, computed again only when something was added."""
        if self._piece_digests is None:
            self._piece_digests = digests_of(_ENCODE(self.parts))
        return self._piece_digests


class HistoryView:
    """A history as it was at one moment. It may be read on another thread."""

    def __init__(self, head: HistoryHead, chunks: list[list[Part]], loose: list[Part]) -> None:
        self._head = head
        self._chunks = chunks
        self._loose = loose

    def chunks(self) -> Iterator[bytes]:
        """Its canonical bytes: a head, and one piece a chunk, which is a batch at most above CHUNK_BYTES."""
        yield _ENCODE(self._head)
        for parts in self._chunks:
            yield _ENCODE(parts)
        yield _ENCODE(self._loose)


class History:
    """Changes by number and by revision. Of each batch the store tells either `record_puts`, or `record` for each
    change and then `end_batch`.

    The newest puts are loose: when they become many, or other changes come, they become a part of the open chunk.

    I1  revisions never descend, and no revision lies in two chunks.
    """

    def __init__(self) -> None:
        self.compacted_revision = 0
        self.before_drop: Callable[[], None] = _nobody_reads
        """Called before changes are dropped, also by a store whose state is replaced: the last moment to read
        them. It is no part of the state, and must leave that alone."""
        self._chunks: list[Chunk] = []
        self._count = 0
        self._size = 0
        self.befores: list[Versioned | None] = []
        """What was there before each loose put. The store appends for a batch of puts before `record_puts`."""
        self._bodies: list[bytes] = []
        self._loose_revision = 0
        self._loose_bytes = 0
        self._batch: list[Change] = []
        self.record = self._batch.append
        """Takes one change of the present batch."""
        self._open_chunk(Chunk(0))

    @property
    def begin(self) -> int:
        """The number of the oldest change that is kept; of the next one if none is."""
        return self._open.begin - self._count

    @property
    def end(self) -> int:
        """The number of the next change."""
        return self._open.end + len(self.befores)

    def since(self, number: int) -> Iterator[Change]:
        """The changes from `number` on, in order. Not to be recorded to meanwhile."""
        assert number >= self.begin, "what is dropped cannot be read"
        if number >= self._open.end:
            return iter(self._newest(self.end - number))
        at = bisect_left(self._chunks, number + 1, key=_begin_of) - 1
        chunks = [] if number >= self._open.begin else self._chunks[at:]
        newest = Chunk(self._open.end, self._loose())
        return chain.from_iterable(chunk.since(number) for chunk in (*chunks, self._open, newest))

    def number_of(self, revision: int) -> int:
        """The number of the first kept change at or behind `revision`."""
        at = bisect_left(self._chunks, revision, key=_last_revision_of)
        if at < len(self._chunks):
            return self._chunks[at].number_of(revision)
        if self._open.parts and self._open.last_revision >= revision:
            return self._open.number_of(revision)
        return Chunk(self._open.end, self._loose()).number_of(revision)

    def record_puts(self, revision: int, body: Buffer, replaced_bytes: int) -> None:
        """A batch is done, `body`, that held nothing but puts, the last at `revision`; what was before them stands
        in `befores` already, and has `replaced_bytes`."""
        self._loose_revision = revision
        self._bodies.append(bytes(body))
        self._loose_bytes += len(body) + replaced_bytes
        if len(self.befores) >= self._room_changes or self._loose_bytes >= self._room_bytes:
            self._close_chunk()

    def end_batch(self) -> None:
        """A batch is done, of which every change was recorded."""
        if self._batch:
            self._gather()
            self._open.add(Mixed(_size_of(self._batch), self._batch.copy()))
            self._batch.clear()
            self._open_chunk(self._open)
            if self._room_changes <= 0 or self._room_bytes <= 0:
                self._close_chunk()

    def skip(self, revision: int, count: int) -> None:
        """So many changes happen at `revision` that none of them is kept, nor anything before."""
        self.before_drop()
        self._clear(self.end + len(self._batch) + count)
        self.compacted_revision = revision

    def compact(self, revision: int) -> None:
        """Forget the changes up to `revision`, but for those of the present batch, which nobody was told yet."""
        if self._batch:
            revision = min(revision, self._batch[0].revision - 1)
        if revision <= self.compacted_revision:
            return
        self.before_drop()
        self.compacted_revision = revision
        self._gather()
        while self._chunks and self._chunks[0].last_revision <= revision:
            self._drop_oldest()
        if self._chunks:
            cut = _cut(self._chunks[0], revision)
            self._count += cut.count - self._chunks[0].count
            self._size += cut.size - self._chunks[0].size
            self._chunks[0] = cut
        else:
            self._open_chunk(_cut(self._open, revision))

    def digest(self) -> bytes:
        """The root over everything: 32 bytes. Costs the chunks that are new since the last time."""
        root = blake2b(_ENCODE(self._head()), digest_size=32)
        for chunk in self._chunks:
            root.update(chunk.digest())
        root.update(self._open.digest())
        for part in self._loose():
            part.hash_into(root)
        return root.digest()

    def digests(self) -> Iterator[bytes]:
        """The same of the present state, in slices (see `slices`)."""
        root = blake2b(_ENCODE(self._head()), digest_size=32)
        return _digests(root, tuple(self._chunks), self._open.digest(), self._loose())

    def view(self) -> HistoryView:
        """Pin the present state: one pointer a chunk."""
        chunks = [*(chunk.parts for chunk in self._chunks), self._open.parts.copy()]
        return HistoryView(self._head(), chunks, self._loose())

    def chunk_digests(self) -> Iterator[bytes]:
        """Pin the present state; give the digests of the pieces of each chunk of a view, and b"" after slices."""
        head, newest = _ENCODE(self._head()), self._open.piece_digests()
        return _chunk_digests(head, tuple(self._chunks), newest, _ENCODE(self._loose()))

    def let_go(self) -> Iterator[None]:
        """Free it chunk by chunk. It must not be used any more."""
        while self._chunks:
            self._chunks.pop()
            yield

    def load(self, chunks: Iterator[bytes], revision: int) -> None:
        """Replace everything by the chunks of a view, of a store at `revision`.

        Raises ValueError, nothing changed, if they are damaged.
        """
        try:
            head = _DECODE_HEAD(next(chunks, b""))
            read = [_DECODE_PARTS(next(chunks, b"")) for _ in range(head.chunks)]
            loose = _DECODE_LOOSE(next(chunks, b""))
            _check(head, read, loose, revision)
        except msgspec.DecodeError as error:
            raise _damaged(str(error)) from None
        self._clear(head.begin)
        self.compacted_revision = head.compacted_revision
        for parts in read:
            self._open_chunk(Chunk(self._open.begin, parts))
            if parts is not read[-1]:
                self._close_chunk()
        for part in loose:
            self._bodies += part.bodies
            self.befores += part.befores
            self._loose_revision, self._loose_bytes = part.last_revision, part.size

    def _head(self) -> HistoryHead:
        return HistoryHead(self.begin, self.compacted_revision, len(self._chunks) + 1)

    def _loose(self) -> list[Part]:
        """What is loose, as a part of its own, which nothing that comes changes."""
        if not self.befores:
            return []
        first = self._loose_revision - len(self.befores) + 1
        return [Puts(self._loose_bytes, first, self.befores.copy(), self._bodies.copy())]

    def _newest(self, count: int) -> list[Change]:
        """The last `count` changes, which are loose: no more batches are decoded than hold them."""
        puts: list[Put] = []
        for body in reversed(self._bodies):
            if len(puts) >= count:
                break
            puts = _DECODE_PUTS(body) + puts
        if not puts:
            return []
        changes = changes_of(puts, self.befores[-len(puts) :], self._loose_revision - len(puts) + 1)
        return changes[len(puts) - count :]

    def _gather(self) -> None:
        """Make what is loose a part of the open chunk."""
        for part in self._loose():
            self._open.add(part)
        self._forget_loose()
        self._open_chunk(self._open)

    def _forget_loose(self) -> None:
        self._bodies.clear()
        self.befores.clear()
        self._loose_bytes = 0

    def _open_chunk(self, chunk: Chunk) -> None:
        """Let `chunk` be the open one, and see how much may be loose until it is full."""
        self._open = chunk
        self._room_changes = CHUNK_CHANGES - chunk.count
        self._room_bytes = CHUNK_BYTES - chunk.size

    def _close_chunk(self) -> None:
        """Close the open chunk, with what is loose, and drop what is too much."""
        self._gather()
        closed = self._open
        newest = self._chunks[-1].last_revision if self._chunks else 0
        assert newest < closed.parts[0].first_revision, "I1: a revision lies in two chunks"
        self._chunks.append(closed)
        self._open_chunk(Chunk(closed.end))
        self._count += closed.count
        self._size += closed.size
        if self._count > CHANGES_MAX or self._size > BYTES_MAX:
            self.before_drop()
        while self._count > CHANGES_MAX or self._size > BYTES_MAX:
            self.compacted_revision = max(self.compacted_revision, self._chunks[0].last_revision)
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._chunks.pop(0)
        self._count -= oldest.count
        self._size -= oldest.size

    def _clear(self, begin: int) -> None:
        self._batch.clear()
        self._forget_loose()
        self._chunks = []
        self._open_chunk(Chunk(begin))
        self._count = self._size = 0


def changes_of(puts: Iterable[Put], befores: Sequence[Versioned | None], revision: int) -> list[Change]:
    """What puts changed, of which the first was at `revision`, each of the others one behind: one for each of
    `befores`, or as many as there are puts."""
    changes = []
    for put, before in zip(puts, befores):
        if before is None:
            now = Versioned(put.value, revision, revision, 1)
        else:
            now = Versioned(put.value, before.create_revision, revision, before.version + 1)
        changes.append(Change(put.key, now, before))
        revision += 1
    return changes


def _nobody_reads() -> None:
    """What `before_drop` is where nobody watches."""


def _digests(root: blake2b, full: Sequence[Chunk], newest: bytes, loose: Sequence[Part]) -> Iterator[bytes]:
    """Chunks that are full never change; the open one's digest is given."""
    for chunk in full:
        if chunk.is_dirty:
            chunk.digest()
            yield b""
        root.update(chunk.digest())
    root.update(newest)
    for part in loose:
        part.hash_into(root)
    yield root.digest()


def _chunk_digests(head: bytes, full: Sequence[Chunk], newest: bytes, loose: bytes) -> Iterator[bytes]:
    yield digests_of(head)
    for chunk in full:
        if chunk.is_unread:
            chunk.piece_digests()
            yield b""
        yield chunk.piece_digests()
    yield newest
    yield digests_of(loose)


def _size_of(changes: Sequence[Change]) -> int:
    """Bytes of all keys and values."""
    size = 0
    for change in changes:
        size += len(change.key) + len(change.now.value)
        if change.before is not None:
            size += len(change.before.value)
    return size


def _cut(chunk: Chunk, revision: int) -> Chunk:
    """The same chunk without the changes up to `revision`."""
    number = chunk.number_of(revision + 1)
    kept, skipped = Chunk(number), number - chunk.begin
    for part in chunk.parts:
        if skipped <= 0:
            kept.add(part)
        elif skipped < len(part):
            changes = part.read()[skipped:]
            kept.add(Mixed(_size_of(changes), changes))
        skipped -= len(part)
    return kept


def _revisions(items: Sequence[Versioned | None]) -> list[int]:
    return [0 if item is None else item.mod_revision for item in items]


def _begin_of(chunk: Chunk) -> int:
    return chunk.begin


def _last_revision_of(chunk: Chunk) -> int:
    return chunk.last_revision


def _revision_of(change: Change) -> int:
    return change.now.mod_revision


def _check(head: HistoryHead, chunks: list[list[Part]], loose: list[Puts], revision: int) -> None:
    """Raise ValueError or msgspec.DecodeError for a history that no store at `revision` has."""
    _require(0 <= head.compacted_revision <= revision and head.begin >= 0, "its head makes no sense")
    _require(bool(chunks) and all(chunks[:-1]) and len(loose) <= 1, "it has another number of parts")
    newest = head.compacted_revision
    for part in chain(chain.from_iterable(chunks), loose):
        changes = part.read()
        _require(len(changes) == len(part) > 0 and part.size >= 0, "a part is not what it says")
        _require(all(map(_is_sound, changes)), "a change is none")
        _require(changes[0].revision >= newest, "revisions descend")
        _require(all(a.revision <= b.revision for a, b in pairwise(changes)), "revisions descend")
        newest = part.last_revision
    _require(newest <= revision, "it is ahead of its store")


def _is_sound(change: Change) -> bool:
    """A removal removes something, and whatever is written was created no later."""
    now = change.now
    if now.version == 0:
        return change.before is not None and now == tombstone(now.mod_revision)
    return now.version > 0 and 0 < now.create_revision <= now.mod_revision


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _damaged(otherwise)


def _damaged(what: str) -> ValueError:
    return ValueError(f"a history was to be restored, but {what}. Fetch another snapshot.")
