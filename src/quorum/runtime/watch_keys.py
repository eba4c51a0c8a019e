"""Watches of the key-value store, for a node's clients: every change of the watched keys, in order, once.

What is told is read from the history that the store keeps anyway. A connection that takes no more is remembered by
the number of the first change that it was not told, and read to from there when it has drained. Watches that begin
in the past are read to from there in the same way, all of a connection together. So what waits costs no memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import islice

import msgspec

from quorum.apps.kv_store import KeyValueStore
from quorum.apps.kv_watch import Interest, event_of
from quorum.apps.leaves import Change
from quorum.runtime.messages import Changed, Forgotten, Watched
from quorum.runtime.watch_index import Group, Index
from quorum.runtime.watch_reader import CatchUp, Reader

MESSAGE_BYTES = 64 * 1024
"""A message with so much is sent; the next event begins another."""
_PAIR = b"\x92"
_COUNT = struct.Struct(">BI")
_ARRAY = 0xDD
"""msgpack: an array of two; an array whose count has 32 bits."""
_ENCODE = msgspec.msgpack.Encoder().encode


class Keys:
    """Who watches which keys of one store. `wake` is called with a reader that has something to hear.

    I1  a reader that keeps up was told, or is told in this turn, every change before `_number` that it watches.
    """

    def __init__(self, store: KeyValueStore, wake: Callable[[Reader], None], window_bytes: int) -> None:
        self._store = store
        self._wake = wake
        self._window_bytes = window_bytes
        self._index = Index()
        self._count = 0
        self._number = 0
        self._revision = 0
        self._failure: Exception | None = None
        store.history.before_drop = self._read_in_batch

    def __len__(self) -> int:
        """How many watches there are."""
        return self._count

    @property
    def revision(self) -> int:
        """Whoever keeps up was told everything up to this."""
        return self._revision

    def stand_on(self, store: KeyValueStore) -> None:
        """The state is that of `store` from now on, which a snapshot gave."""
        if store is not self._store:
            self._read_in_batch()
            self._store = store
            store.history.before_drop = self._read_in_batch

    # Watches.

    def add(self, reader: Reader, request: int, interest: Interest) -> Group | None:
        """Begin a watch. None if what it asks for is forgotten already, which is told."""
        if not self._count:
            self._number = self._store.history.end
        self.read()
        first = interest.revision or self._revision + 1
        forgotten = self._store.history.compacted_revision
        if first <= forgotten:
            reader.client.answer(Forgotten([request], forgotten), ())
            return None
        told_up_to = self._revision + 1 if reader.behind is None else reader.behind_revision
        if first >= told_up_to:
            index, floor = self._index, first if first > told_up_to else 0
        else:
            index, floor = _catch_up_of(reader, first).index, first
        if reader.behind is not None:
            floor = first  # what was read to it last may belong to the same revision
        group = index.group(reader, interest)
        group.add(request, floor)
        self._count += 1
        if reader.begun and reader.begun_revision != self._revision:
            _tell_begun(reader)
        reader.begun.append(request)
        reader.begun_revision = self._revision
        self._wake(reader)
        return group

    def remove(self, request: int, group: Group) -> None:
        """End a watch."""
        self._count -= 1
        group.discard(request)
        if not group.requests:
            group.index.remove(group)

    # What is new.

    def read(self) -> None:
        """Tell what has changed since the last time, to all who keep up."""
        if self._failure is not None:
            raise self._failure
        if self._count:
            self._read()
        self._revision = self._store.revision

    def _read_in_batch(self) -> None:
        """As `read`, before something is dropped. Of a batch under way nothing is in the history yet. An error
        must not become the answer to a command, which every other replica answers otherwise; it comes later."""
        try:
            self._read()
        except Exception as error:
            self._failure = error

    def _read(self) -> None:
        history = self._store.history
        if not self._count or self._number >= history.end:
            return
        if self._number < history.begin:
            self._skip_to(history.begin)
        find, told = self._index.find, _Told()
        touched: dict[Reader, None] = {}
        for change in history.since(self._number):
            found = find(change.key)
            if found:
                told.change = change
                for reader, groups in found.items():
                    if reader.behind is not None:
                        continue
                    if reader not in touched or reader.out_bytes >= MESSAGE_BYTES:
                        if not self._has_room(reader, change.now.mod_revision):
                            reader.behind = self._number
                            reader.behind_revision = max(change.now.mod_revision, self._revision + 1)
                            self._wake(reader)
                            continue
                        touched[reader] = None
                    told.put(reader, groups)
            self._number += 1
            self._revision = change.now.mod_revision
        for reader in touched:
            _tell(reader, self._revision)

    def _has_room(self, reader: Reader, revision: int) -> bool:
        """Send what was put together of changes before the one at `revision`; whether more may be."""
        _tell(reader, revision - 1)
        return reader.client.backlog() < self._window_bytes

    # What waits.

    def serve(self, reader: Reader, changes_max: int) -> int:
        """Read to `reader` what it was not told, as far as it has room, and at most `changes_max` changes; return
        how many are left of these."""
        _tell_begun(reader)
        left = changes_max
        while left > 0 and reader.has_unread and reader.client.backlog() < self._window_bytes:
            if reader.catching_up is None:
                reader.catching_up, reader.later = reader.later, None
            if reader.catching_up is not None:
                left -= self._catch_up(reader, reader.catching_up, left)
            elif reader.behind is not None:
                left -= self._go_on(reader, reader.behind, left)
        return left

    def _catch_up(self, reader: Reader, catching_up: CatchUp, changes_max: int) -> int:
        """Read on to watches that began in the past; return how many changes were read, or 1."""
        history, index = self._store.history, catching_up.index
        stop = self._number if reader.behind is None else reader.behind
        number = catching_up.number
        if number is None and catching_up.revision > history.compacted_revision:
            number = history.number_of(catching_up.revision)
        elif number is None or number < history.begin:
            self._forget(reader, index)
            number = history.begin
        if index.is_empty:
            reader.catching_up = None
            return 1
        reached, revision = self._scan(reader, index, number, stop, changes_max)
        catching_up.number = reached
        if reached >= stop:
            reader.catching_up = None
            self._join(reader, index)
        elif reached > number:
            catching_up.revision = revision + 1
        return max(reached - number, 1)

    def _go_on(self, reader: Reader, number: int, changes_max: int) -> int:
        """Read on to a connection that was full; return how many changes were read, or 1."""
        begin = self._store.history.begin
        if number < begin:
            self._forget(reader, self._index)
            number = begin
        reached, revision = self._scan(reader, self._index, number, self._number, changes_max)
        if reached >= self._number:
            reader.behind = None
        elif reached > number:
            reader.behind, reader.behind_revision = reached, revision + 1
        else:
            reader.behind = reached
        return max(reached - number, 1)

    def _scan(self, reader: Reader, index: Index, number: int, stop: int, changes_max: int) -> tuple[int, int]:
        """Tell the changes from `number` up to but without `stop` to the watches in `index`; return how far it
        came, and the revision of the last that was read."""
        told, find = _Told(), index.find
        last_revision = 0
        for change in islice(self._store.history.since(number), max(0, min(stop - number, changes_max))):
            found = find(change.key)
            groups = found.get(reader) if found else None
            if groups:
                if reader.out_bytes >= MESSAGE_BYTES and not self._has_room(reader, change.now.mod_revision):
                    return number, last_revision
                told.change = change
                told.put(reader, groups)
            last_revision = change.now.mod_revision
            number += 1
        # More of the last revision may come, unless it is the last of all.
        _tell(reader, self._revision if number == self._number else last_revision - 1)
        return number, last_revision

    def _join(self, reader: Reader, index: Index) -> None:
        """The watches in `index` are where the others of their connection are: let them go on together."""
        reached = self._revision + 1 if reader.behind is None else reader.behind_revision - 1
        for group in index.groups():
            group.pass_floors(reached)
            wanted = Interest(group.start, group.end, 0, group.previous, group.puts, group.deletes)
            joined = self._index.group(reader, wanted)
            for request in group.requests:
                joined.add(request, group.floors.get(request, 0))
                reader.watches[request] = joined

    # What is gone.

    def _skip_to(self, begin: int) -> None:
        """What comes before `begin` was dropped unread: so much happened at once that nothing of it is kept."""
        for reader in self._index.readers():
            if reader.behind is None:
                self._forget(reader, self._index)
        self._number = begin

    def _forget(self, reader: Reader, index: Index) -> None:
        """End the watches of `reader` in `index` that should have been told what is dropped."""
        forgotten = self._store.history.compacted_revision
        ended = []
        watched = dict.fromkeys(group for group in reader.watches.values() if isinstance(group, Group))
        for group in [group for group in watched if group.index is index]:
            for request in list(group.requests):
                if group.floors.get(request, 0) <= forgotten:
                    ended.append(request)
                    self.remove(request, group)
                    del reader.watches[request]
        if ended:
            _tell_begun(reader)
            reader.client.answer(Forgotten(ended, forgotten), ())


class _Told:
    """One change, encoded once for all who hear of it."""

    __slots__ = ("_change", "_plain", "_whole")

    def __init__(self) -> None:
        self._change: Change | None = None
        self._plain = self._whole = b""

    @property
    def change(self) -> Change | None:
        return self._change

    @change.setter
    def change(self, change: Change) -> None:
        self._change = change
        self._plain = self._whole = b""

    def put(self, reader: Reader, groups: list[Group]) -> None:
        """Put the change into the next message to `reader`, for those of `groups` that want it."""
        change = self._change
        assert change is not None, "a change was set"
        is_removal = change.now.version == 0
        for group in groups:
            if not (group.deletes if is_removal else group.puts):
                continue
            requests = group.encoded(change.now.mod_revision)
            if requests is None:
                continue
            event = self._encoded(change, group.previous)
            reader.out += (_PAIR, requests, event)
            reader.out_bytes += len(requests) + len(event)
            reader.out_count += 1

    def _encoded(self, change: Change, with_previous: bool) -> bytes:
        if with_previous:
            self._whole = self._whole or _ENCODE(event_of(change, True))
            return self._whole
        self._plain = self._plain or _ENCODE(event_of(change, False))
        return self._plain


def _tell(reader: Reader, through: int) -> None:
    """Send what was put together; everything up to revision `through` is in it, or was sent before."""
    if reader.out:
        if reader.begun:
            _tell_begun(reader)
        body = b"".join((_COUNT.pack(_ARRAY, reader.out_count), *reader.out))
        reader.out = []
        reader.out_bytes = reader.out_count = 0
        reader.client.answer(Changed(through), (body,))


def _tell_begun(reader: Reader) -> None:
    if reader.begun:
        begun, reader.begun = reader.begun, []
        reader.client.answer(Watched(begun, reader.begun_revision), ())


def _catch_up_of(reader: Reader, first: int) -> CatchUp:
    """Where a watch of `reader` that begins at revision `first` is read to."""
    present = reader.catching_up
    if present is None:
        present = reader.catching_up = CatchUp()
        present.revision = first
    elif present.number is None:
        present.revision = min(present.revision, first)
    elif first < present.revision:
        if reader.later is None:
            reader.later = CatchUp()
            reader.later.revision = first
        reader.later.revision = min(reader.later.revision, first)
        return reader.later
    return present
