"""Sorted leaves: an ordered map of versioned values with cheap snapshots and a cached digest.

The keys are cut into leaves of neighbouring keys. A leaf is a plain dict, sorted only when somebody reads it in
order, so that a write costs one bisection and one dict store. A view pins the leaves as they are; the next write
to a pinned leaf copies that leaf alone. A leaf remembers its digest until it is written to.

Millions of keys must not make the node stand still. The garbage collector does not look into a dict of bytes and
untracked values, as it would into a list of keys: so none is kept for a leaf that is only written, digested and
snapshotted. And what is not needed any more is let go leaf by leaf.

Where the leaves are cut is part of the state: it depends on the history of writes, decides later cuts and is
covered by the digest, so views keep the cuts and `load` puts them back.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from itertools import pairwise
from typing import Protocol

import msgspec

from quorum.apps.pieces import PIECE_BYTES, digests_of

KEYS_PER_LEAF = 256
LEAF_BYTES = 64 * 1024
"""A leaf with more than one key is split above either bound. Both must be the same on every node."""
DIGEST_BYTES = 32
KEYS_LET_GO = 16
"""So many are freed in one step."""


class Versioned(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A value, the revisions that created and last wrote it, and how often it was written since it was created."""

    value: bytes
    create_revision: int
    mod_revision: int
    version: int


class Change(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One write: what is under `key` since, and what was before (None: nothing). A removal leaves a tombstone."""

    key: bytes
    now: Versioned
    before: Versioned | None

    @property
    def revision(self) -> int:
        return self.now.mod_revision

    @property
    def is_removal(self) -> bool:
        return self.now.version == 0


def tombstone(revision: int) -> Versioned:
    """What a removal at `revision` leaves: an empty value, created never, of version 0."""
    return Versioned(b"", 0, revision, 0)


class Write(Protocol):
    """What `Leaves.put_all` writes."""

    @property
    def key(self) -> bytes: ...

    @property
    def value(self) -> bytes: ...


class LeafChunk(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One leaf in canonical form: every key is at least `low`, `keys` ascend, `values` stand beside them."""

    low: bytes
    keys: list[bytes]
    values: list[Versioned]


_ENCODE = msgspec.msgpack.Encoder()
_DECODE = msgspec.msgpack.Decoder(LeafChunk)


class Leaf(msgspec.Struct, gc=False, eq=False):
    """The keys from `low` up to the next leaf. `era` tells whether a view may be reading it; `is_sorted`, that the
    items stand in the order of their keys. No part of it refers back, so the collector need not know it."""

    low: bytes
    items: dict[bytes, Versioned]
    size: int
    era: int
    is_sorted: bool = True
    _digest: bytes | None = None
    _order: list[bytes] | None = None

    def copy(self, era: int) -> Leaf:
        """The same content, free to be written to in `era`."""
        is_sorted = self.is_sorted  # first: another thread that reads a view may be sorting the items
        return Leaf(self.low, self.items.copy(), self.size, era, is_sorted, self._digest, self._order)

    def key_came(self) -> None:
        """There is a key that was not there, behind the others."""
        self.is_sorted = False
        self.key_went()

    def key_went(self) -> None:
        """A key is gone."""
        self._order = self._digest = None

    def value_changed(self) -> None:
        """A key that was there has another value."""
        self._digest = None

    @property
    def is_dirty(self) -> bool:
        """Whether its digest has to be computed."""
        return self._digest is None

    def order(self) -> list[bytes]:
        """The keys, ascending, to find some of them: kept, since who reads a leaf may well read it again. Never
        write to the list, which is shared."""
        order = self._order
        if order is None:
            order = self._order = list(self.items) if self.is_sorted else sorted(self.items)
        return order

    def chunk(self) -> bytes:
        """The canonical bytes of this leaf."""
        items = self.items
        if not self.is_sorted:
            items = self.items = {key: items[key] for key in self._order or sorted(items)}
            self.is_sorted = True
        return _ENCODE.encode(LeafChunk(self.low, list(items), list(items.values())))

    def digest(self) -> bytes:
        """32 bytes of blake2b over the canonical bytes."""
        digest = self._digest
        if digest is None:
            digest = self._digest = blake2b(self.chunk(), digest_size=DIGEST_BYTES).digest()
        return digest

    def piece_digests(self) -> bytes:
        """`pieces.digests_of` the canonical bytes: its digest, but for a leaf with a very large value."""
        entry_bytes = 48  # what is around a key and its value, at most
        if len(self.low) + self.size + entry_bytes * (len(self.items) + 1) <= PIECE_BYTES:
            return self.digest()
        return digests_of(self.chunk())


class View:
    """The leaves as they were at one moment, to be read once. Costs one pointer per leaf, and may be read on
    another thread. What was read is let go, so that leaves written to meanwhile end one by one."""

    def __init__(self, leaves: list[Leaf]) -> None:
        self._unread = leaves[::-1]

    def __len__(self) -> int:
        """How many chunks are to be read."""
        return len(self._unread)

    def chunks(self) -> Iterator[bytes]:
        """The canonical bytes of every leaf, in key order."""
        unread = self._unread
        while unread:
            yield unread.pop().chunk()

    def digests(self) -> Iterator[bytes]:
        """`Leaves.digest` as it was then, in slices (see `slices`). Leaves that stay remember their own."""
        unread, digests = self._unread, []
        while unread:
            leaf = unread.pop()
            is_dirty = leaf.is_dirty
            digests.append(leaf.digest())
            if is_dirty:
                yield b""
        yield _root(digests)

    def chunk_digests(self) -> Iterator[bytes]:
        """The digests of the pieces of each chunk, and b"" after each that had to be made."""
        unread = self._unread
        while unread:
            leaf = unread.pop()
            is_dirty = leaf.is_dirty
            yield leaf.piece_digests()
            if is_dirty:
                yield b""


class Leaves:
    """An ordered map of byte keys to versioned values."""

    def __init__(self, keys_per_leaf: int = KEYS_PER_LEAF, leaf_bytes: int = LEAF_BYTES) -> None:
        self._keys_max = keys_per_leaf
        self._bytes_max = leaf_bytes
        self._era = 0
        self._count = 0
        self._leaves = [Leaf(b"", {}, 0, 0)]
        self._lows = [b""]

    def empty(self) -> Leaves:
        """A new map with the same bounds."""
        return Leaves(self._keys_max, self._bytes_max)

    def __len__(self) -> int:
        """The number of keys."""
        return self._count

    @property
    def leaf_count(self) -> int:
        """The number of leaves: what a view and a clean digest cost."""
        return len(self._leaves)

    def get(self, key: bytes) -> Versioned | None:
        """What is stored under `key`."""
        return self._leaves[bisect_right(self._lows, key) - 1].items.get(key)

    def put(self, key: bytes, value: bytes, revision: int) -> Versioned | None:
        """Write `value` at `revision`; a key that is there keeps its creation and gains a version. Returns what
        was there."""
        at = bisect_right(self._lows, key) - 1
        leaf = self._leaves[at]
        if leaf.era != self._era:
            leaf = self._own(at)
        items = leaf.items
        old = items.get(key)
        if old is None:
            items[key] = Versioned(value, revision, revision, 1)
            leaf.size += len(key) + len(value)
            leaf.key_came()
            self._count += 1
        else:
            items[key] = Versioned(value, old.create_revision, revision, old.version + 1)
            leaf.size += len(value) - len(old.value)
            leaf._digest = None
        if leaf.size > self._bytes_max or len(items) > self._keys_max:
            self._split(at)
        return old

    def put_all(
        self,
        writes: Iterable[object],
        write: type[Write],
        revision: int,
        bounds: tuple[int, int],
        befores: list[Versioned | None],
    ) -> int:
        """As `put` for each of `writes`, the first at `revision`, each of the others one behind, up to the first
        that is no `write`, or whose key is empty, or whose key or value has more bytes than `bounds` say. Appends
        to `befores` what was there before each, and returns how many bytes that had. Written out, since most of
        what a store does is this.
        """
        key_bytes_max, value_bytes_max = bounds
        append = befores.append
        lows, leaves, era = self._lows, self._leaves, self._era
        bytes_max, keys_max = self._bytes_max, self._keys_max
        replaced_bytes = 0
        for each in writes:
            if type(each) is not write:
                break
            key, value = each.key, each.value
            size = len(value)
            if not 0 < len(key) <= key_bytes_max or size > value_bytes_max:
                break
            at = bisect_right(lows, key) - 1
            leaf = leaves[at]
            if leaf.era != era:
                leaf = self._own(at)
            items = leaf.items
            old = items.get(key)
            append(old)
            leaf._digest = None
            if old is None:
                items[key] = Versioned(value, revision, revision, 1)
                leaf.size = total = leaf.size + len(key) + size
                leaf.is_sorted, leaf._order = False, None
                self._count += 1
                if total > bytes_max or len(items) > keys_max:
                    self._split(at)
            else:
                items[key] = Versioned(value, old.create_revision, revision, old.version + 1)
                size_before = len(old.value)
                replaced_bytes += size_before
                if size != size_before:
                    leaf.size = total = leaf.size + size - size_before
                    if total > bytes_max:
                        self._split(at)
            revision += 1
        return replaced_bytes

    def delete(self, key: bytes) -> bool:
        """Remove `key`. True if it was there."""
        at = bisect_right(self._lows, key) - 1
        if key not in self._leaves[at].items:
            return False
        self._remove(at, (key,))
        self._tidy(at)
        return True

    def delete_range(self, start: bytes, end: bytes | None) -> int:
        """Remove every key from `start` up to but without `end` (None: no bound); return how many there were."""
        before = self._count
        first = bisect_right(self._lows, start) - 1
        for at in range(self._leaf_behind(end) - 1, first - 1, -1):
            keys = self._slice(at, start, end)
            if len(keys) == len(self._leaves[at].items) and len(self._leaves) > 1:
                self._count -= len(keys)
                self._drop(at)
            elif keys:
                self._remove(at, keys)
        self._tidy(min(first, len(self._leaves) - 1))
        return before - self._count

    def scan(self, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, Versioned]]:
        """Keys and values from `start` up to but without `end`, ascending. Not to be written to meanwhile."""
        for at in range(bisect_right(self._lows, start) - 1, self._leaf_behind(end)):
            keys = self._slice(at, start, end)
            items = self._leaves[at].items
            for key in keys:
                yield key, items[key]

    def count(self, start: bytes, end: bytes | None) -> int:
        """How many keys there are from `start` up to but without `end`; inner leaves are not sorted for it."""
        first, behind = bisect_right(self._lows, start) - 1, self._leaf_behind(end)
        if first >= behind:
            return 0
        edges = {first, behind - 1}
        inner = sum(len(leaf.items) for leaf in self._leaves[first + 1 : behind - 1])
        return inner + sum(len(self._slice(at, start, end)) for at in sorted(edges))

    def digest(self) -> bytes:
        """The root over the digests of the leaves: 32 bytes. Costs the leaves written to since the last time."""
        return _root([leaf.digest() for leaf in self._leaves])

    def view(self) -> View:
        """Pin the present state."""
        self._era += 1
        return View(self._leaves)

    def let_go(self) -> Iterator[None]:
        """Free it a few keys at a time. It must not be used any more.

        Keys that came at about the same time share their memory, which goes back to the system with the last of
        them: the last leaves give back nearly all.
        """
        while self._leaves:
            items = self._leaves.pop().items.copy()  # a view may be reading the leaf
            self._lows.pop()
            while items:
                for _ in range(min(KEYS_LET_GO, len(items))):
                    items.popitem()
                yield

    def load(self, chunks: Iterable[bytes]) -> None:
        """Replace everything by the chunks of a view. Raises ValueError, nothing changed, if they are damaged."""
        leaves: list[Leaf] = []
        for chunk in chunks:
            leaf = self._read_leaf(chunk)
            if leaves:
                before = leaves[-1]
                _require(before.low < leaf.low and bool(leaf.items), "a leaf is empty or out of order")
                _require(next(reversed(before.items), b"") < leaf.low, "two leaves overlap")
            else:
                _require(leaf.low == b"", "the first leaf does not begin at the first key")
            leaves.append(leaf)
        _require(bool(leaves), "there is no leaf")
        _require(len(leaves) == 1 or bool(leaves[0].items), "a leaf is empty or out of order")
        self._leaves = leaves
        self._lows = [leaf.low for leaf in leaves]
        self._count = sum(len(leaf.items) for leaf in leaves)

    def _read_leaf(self, data: bytes) -> Leaf:
        try:
            chunk = _DECODE.decode(data)
        except msgspec.DecodeError as error:
            _require(False, str(error))
            raise
        keys, values = chunk.keys, chunk.values
        _require(len(keys) == len(values), "a leaf has not as many values as keys")
        _require(all(a < b for a, b in pairwise(keys)), "the keys of a leaf do not ascend")
        _require(not keys or keys[0] >= chunk.low, "a key lies before its leaf")
        size = sum(map(len, keys)) + sum(len(value.value) for value in values)
        return Leaf(chunk.low, dict(zip(keys, values)), size, self._era)

    def _leaf_behind(self, end: bytes | None) -> int:
        """The number of the first leaf that holds nothing below `end`."""
        return len(self._lows) if end is None else bisect_left(self._lows, end)

    def _slice(self, at: int, start: bytes, end: bytes | None) -> list[bytes]:
        order = self._leaves[at].order()
        first = bisect_left(order, start)
        behind = len(order) if end is None else bisect_left(order, end)
        return order if first == 0 and behind == len(order) else order[first:behind]

    def _own(self, at: int) -> Leaf:
        """The leaf at `at`, copied first if a view may still be reading it."""
        leaf = self._leaves[at]
        if leaf.era != self._era:
            leaf = self._leaves[at] = leaf.copy(self._era)
        return leaf

    def _remove(self, at: int, keys: Iterable[bytes]) -> None:
        leaf = self._own(at)
        for key in keys:
            leaf.size -= len(key) + len(leaf.items.pop(key).value)
            self._count -= 1
        leaf.key_went()

    def _split(self, at: int) -> None:
        """Cut an overfull leaf near the middle of its bytes, and again whatever is still overfull."""
        leaf = self._leaves[at]
        if len(leaf.items) < 2 or (leaf.size <= self._bytes_max and len(leaf.items) <= self._keys_max):
            return
        order, items = leaf.order(), leaf.items
        left_bytes, cut = 0, 0
        while cut < len(order) - 1 and (cut == 0 or left_bytes * 2 < leaf.size):
            left_bytes += len(order[cut]) + len(items[order[cut]].value)
            cut += 1
        right = Leaf(order[cut], {key: items[key] for key in order[cut:]}, leaf.size - left_bytes, self._era)
        self._leaves[at] = Leaf(leaf.low, {key: items[key] for key in order[:cut]}, left_bytes, self._era)
        self._leaves.insert(at + 1, right)
        self._lows.insert(at + 1, right.low)
        self._split(at + 1)
        self._split(at)

    def _drop(self, at: int) -> None:
        """Take a leaf away; its keys belong to the left neighbour from now on (the first leaf's to the next)."""
        del self._leaves[at], self._lows[at]
        if at == 0:
            first = self._own(0)
            first.low = self._lows[0] = b""
            first.value_changed()

    def _tidy(self, at: int) -> None:
        """After a removal: join a leaf that has become small with a neighbour that has room for it."""
        if len(self._leaves) == 1 or len(self._leaves[at].items) > self._keys_max // 8:
            return
        if not self._leaves[at].items:
            self._drop(at)
        elif not self._join(at):
            self._join(at - 1)

    def _join(self, at: int) -> bool:
        """Join the leaves at `at` and behind it, if they exist and together fill no more than 3/4 of one."""
        if not 0 <= at < len(self._leaves) - 1:
            return False
        left, right = self._leaves[at], self._leaves[at + 1]
        keys, size = len(left.items) + len(right.items), left.size + right.size
        if keys * 4 > self._keys_max * 3 or size * 4 > self._bytes_max * 3:
            return False
        is_sorted = left.is_sorted and right.is_sorted
        self._leaves[at : at + 2] = [Leaf(left.low, left.items | right.items, size, self._era, is_sorted)]
        del self._lows[at + 1]
        return True


def _root(digests: Iterable[bytes]) -> bytes:
    return blake2b(b"".join(digests), digest_size=DIGEST_BYTES).digest()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"a snapshot of sorted keys was to be loaded, but {otherwise}. Fetch another snapshot.")
