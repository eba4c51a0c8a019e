"""The newest changes of a store: all of them, in order, the same on every replica, and bounded."""

from __future__ import annotations

from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from quorum.apps import history as history_module
from quorum.apps.batch import Refused
from quorum.apps.history import History
from quorum.apps.kv import (
    KEY_BYTES_MAX,
    Compact,
    Compacted,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Get,
    Put,
    Txn,
    decode_results,
    encode_batch,
)
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.leaves import Change, Leaves, Versioned, tombstone
from quorum.header import Header

HEADER = Header(1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, b"")
KEYS = st.integers(0, 12).map(lambda number: b"%02d" % number)
VALUES = st.sampled_from([b"", b"1", b"2", b"3" * 30])
PUTS = st.builds(Put, KEYS, VALUES)
WRITES = (
    PUTS
    | st.builds(Delete, KEYS)
    | st.builds(DeleteRange, KEYS, st.none() | KEYS)
    | st.builds(CompareAndSwap, KEYS, st.none() | VALUES, st.none() | VALUES)
    | st.builds(lambda put, key: Txn([], [put, Delete(key + b"!"), DeleteRange(b"9", None)], []), PUTS, KEYS)
    | st.just(Put(b"", b"refused"))
    | st.builds(Get, KEYS)
)


def do(store: KeyValueStore, *commands):
    return decode_results(store.apply(HEADER, encode_batch(commands)).reply)


def small_store() -> KeyValueStore:
    store = KeyValueStore()
    store._leaves = Leaves(keys_per_leaf=4, leaf_bytes=200)
    return store


def restored(store: KeyValueStore) -> KeyValueStore:
    twin = small_store()
    twin.restore(list(store.snapshot()))
    return twin


def changes(store: KeyValueStore) -> list[Change]:
    return list(store.history.since(store.history.begin))


class AgainstAList(RuleBasedStateMachine):
    """`oracle` holds every change there ever was; `twin` is another replica, restored from snapshots now and then.
    The bounds are small, so that chunks close and are dropped."""

    def __init__(self) -> None:
        super().__init__()
        bounds = {"CHANGES_MAX": 24, "BYTES_MAX": 300, "CHUNK_CHANGES": 5, "CHUNK_BYTES": 60}
        self.bounds = patch.multiple(history_module, **bounds)
        self.bounds.start()
        self.store, self.twin = small_store(), small_store()
        self.oracle: list[Change] = []
        self.items: dict[bytes, Versioned] = {}

    def teardown(self) -> None:
        self.bounds.stop()

    @rule(commands=st.lists(WRITES, min_size=1, max_size=4) | st.lists(PUTS, min_size=1, max_size=12))
    def a_batch(self, commands):
        for command in commands:
            self.expect(command)
        assert do(self.store, *commands) == do(self.twin, *commands)

    @rule(back=st.integers(-1, 30))
    def compact(self, back):
        revision = self.revision() - back
        results = do(self.store, Compact(revision))
        assert results == do(self.twin, Compact(revision))
        if 0 <= revision <= self.revision():
            assert results == [Compacted(self.store.history.compacted_revision)]
            assert results[0].revision >= revision
        else:
            assert isinstance(results[0], Refused) and results[0].reason == "revision"

    @rule(
        commands=st.lists(PUTS, min_size=1, max_size=9),
        back=st.integers(0, 12),
        after=st.lists(WRITES, max_size=2),
    )
    def a_compaction_in_a_batch(self, commands, back, after):
        before = self.revision()
        for command in commands:
            self.expect(command)
        batch = [*commands, Compact(max(0, self.revision() - back)), *after]
        for command in after:
            self.expect(command)
        results = do(self.store, *batch)
        assert results == do(self.twin, *batch)
        assert results[len(commands)].revision <= max(before, self.store.history.compacted_revision)

    @rule()
    def the_twin_is_restored_from_a_snapshot(self):
        self.twin = restored(self.store)

    @rule()
    def digests_in_between_change_nothing(self):
        self.store.digest()

    @invariant()
    def the_newest_changes_are_kept(self):
        history = self.store.history
        kept = changes(self.store)
        assert history.end == len(self.oracle) == history.begin + len(kept)
        assert kept == self.oracle[history.begin :]
        assert all(change.revision > history.compacted_revision for change in kept)
        assert history.begin == 0 or self.oracle[history.begin - 1].revision <= history.compacted_revision

    @invariant()
    def they_are_found_by_revision(self):
        history = self.store.history
        for revision in range(history.compacted_revision + 1, self.revision() + 2):
            number = history.number_of(revision)
            assert number == sum(change.revision < revision for change in self.oracle)
            assert list(history.since(number)) == self.oracle[number:]

    @invariant()
    def both_replicas_agree(self):
        assert self.store.digest() == self.twin.digest()
        assert list(self.store.snapshot()) == list(self.twin.snapshot())

    @invariant()
    def what_is_kept_is_bounded(self):
        history = self.store.history
        assert len(changes(self.store)) < 24 + 5
        assert history._size == sum(chunk.size for chunk in history._chunks) <= 300

    def revision(self) -> int:
        return self.oracle[-1].revision if self.oracle else 0

    # What each command changes, by its meaning.

    def expect(self, command) -> None:
        revision = self.revision() + 1
        match command:
            case Put(key, value) if key:
                self.write(key, value, revision)
            case Delete(key):
                self.write(key, None, revision)
            case DeleteRange(start, end):
                for key in sorted(key for key in self.items if key >= start and (end is None or key < end)):
                    self.write(key, None, revision)
            case CompareAndSwap(key, expected, value):
                item = self.items.get(key)
                if (None if item is None else item.value) == expected:
                    self.write(key, value, revision)
            case Txn(_, then, _):
                self.write(then[0].key, then[0].value, revision)

    def write(self, key: bytes, value: bytes | None, revision: int) -> None:
        before = self.items.pop(key, None)
        if value is None:
            if before is not None:
                self.oracle.append(Change(key, tombstone(revision), before))
            return
        created, version = (before.create_revision, before.version) if before else (revision, 0)
        self.items[key] = Versioned(value, created, revision, version + 1)
        self.oracle.append(Change(key, self.items[key], before))


AgainstAList.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_the_history_agrees_with_a_list = AgainstAList.TestCase


def test_a_removal_of_more_keys_than_are_kept_empties_the_history():
    """Its changes are not even made. Whoever watches hears that they are compacted."""
    store = KeyValueStore()
    with patch.object(history_module, "CHANGES_MAX", 50), patch("quorum.apps.kv_store.CHANGES_MAX", 50):
        do(store, *(Put(b"%03d" % number, b"v") for number in range(60)))
        do(store, Put(b"x", b"1"), DeleteRange(b"", b"x"), Put(b"y", b"2"))
        assert store.history.compacted_revision == 62
        assert [(change.revision, change.key) for change in changes(store)] == [(63, b"y")]
        assert (store.history.begin, store.history.end) == (121, 122)
        assert restored(store).digest() == store.digest()


def test_a_compaction_leaves_the_changes_of_its_own_batch_for_watchers_and_snapshots():
    store = KeyValueStore()
    do(store, Put(b"a", b"1"))
    results = do(store, Put(b"b", b"2"), Put(b"c", b"3"), Compact(3))
    assert results[2] == Compacted(1)
    assert [change.key for change in changes(store)] == [b"b", b"c"]
    assert restored(store).digest() == store.digest()


def test_the_bounds_of_the_history_are_those_of_the_format():
    """Changing one is a change of what replicas agree on: raise the format of the store with it."""
    names = ("CHANGES_MAX", "BYTES_MAX", "CHUNK_CHANGES", "CHUNK_BYTES")
    assert [getattr(history_module, name) for name in names] == [100_000, 64 << 20, 128, 64 << 10]


def test_a_hundred_thousand_changes_are_kept_and_one_chunk_more_at_most():
    store = KeyValueStore()
    for _ in range(120):
        do(store, *(Put(b"%03d" % number, b"v") for number in range(1000)))
    kept = store.history.end - store.history.begin
    assert 100_000 - 1000 <= kept <= 100_000 + 1000
    assert store.history.compacted_revision == 120_000 - kept


def test_large_values_are_bounded_by_bytes():
    store = KeyValueStore()
    for number in range(200):
        do(store, Put(b"key", bytes(1 << 20)), Put(b"other", b"%d" % number))
    assert 60 << 20 <= store.history._size <= 64 << 20
    assert restored(store).digest() == store.digest()


def test_a_view_stays_as_it_was_while_changes_go_on():
    store = KeyValueStore()
    do(store, *(Put(b"%03d" % number, b"v") for number in range(300)))
    do(store, Put(b"a", b"1"), Delete(b"a"))
    expected = list(store.snapshot())
    pinned = store.snapshot()
    do(store, Delete(b"000"), Put(b"b", b"2"))
    do(store, *(Put(b"%03d" % number, b"w") for number in range(300)))
    do(store, Compact(500))
    assert list(pinned) == expected


def test_a_refused_command_leaves_the_history_as_it_was():
    store = KeyValueStore()
    do(store, Put(b"a", b"1"))
    before = store.digest()
    do(store, Put(bytes(KEY_BYTES_MAX + 1), b"1"), Get(b"a"), Delete(b"none"), Compact(7), Compact(-1))
    do(store)
    assert store.digest() == before


PIECES = st.recursive(
    st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=5) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


@given(pieces=st.lists(PIECES.map(msgspec.msgpack.encode) | st.binary(max_size=20), max_size=4))
def test_hostile_pieces_are_refused_or_read_and_never_anything_else(pieces):
    history = History()
    try:
        history.load(iter(pieces), 5)
    except ValueError:
        assert (history.begin, history.end, history.compacted_revision) == (0, 0, 0)


def test_a_history_that_contradicts_itself_is_refused():
    item, older = Versioned(b"v", 2, 2, 1), Versioned(b"v", 1, 1, 1)
    mixed = [[2, 1, [Change(b"a", item, None)]]]
    for head, chunks, loose in (
        ([0, 0, 1], [[]], [[1, 1, 2, [None], []]]),  # a body fewer than it says
        ([0, 0, 1], [[[1, 1, 2, [None], [b"junk"]]]], []),
        ([0, 3, 1], [mixed], []),  # compacted behind its changes
        ([0, 0, 1], [[[2, 1, [Change(b"a", item, None), Change(b"b", older, None)]]]], []),
        ([0, 0, 1], [[[2, 1, [Change(b"a", tombstone(2), None)]]]], []),  # nothing was removed
        ([0, 0, 1], [[[2, 1, []]]], []),
        ([0, 0, 2], [[], mixed], []),
        ([0, 0, 0], [], []),
        ([-1, 0, 1], [mixed], []),
    ):
        pieces = [msgspec.msgpack.encode(piece) for piece in (head, *chunks, loose)]
        with pytest.raises(ValueError, match="Fetch another snapshot"):
            History().load(iter(pieces), 5)
    good = [msgspec.msgpack.encode(piece) for piece in ([7, 0, 1], mixed, [])]
    history = History()
    history.load(iter(good), 5)
    assert (history.begin, history.end) == (7, 8)
