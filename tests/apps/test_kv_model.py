"""The key-value store against a plain dict, through snapshots, restores and a replay."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from apps_log import KV, Log
from quorum.apps.host import Host
from quorum.apps.kv import (
    Compare,
    CompareAndSwap,
    CompareRevisionAndSwap,
    Delete,
    DeleteRange,
    Get,
    Put,
    Range,
    Txn,
    decode_results,
    encode_batch,
    encode_query,
)
from quorum.apps.kv_store import KeyValueStore
from quorum.apps.leaves import Leaves

KEYS = st.integers(0, 60).map(lambda number: b"%02d" % number)
VALUES = st.sampled_from([b"", b"1", b"2", b"3" * 20])
MAYBE = st.none() | VALUES


def host() -> Host:
    store = KeyValueStore()
    store._leaves = Leaves(keys_per_leaf=8, leaf_bytes=128)
    return Host({KV: store})


class AgainstADict(RuleBasedStateMachine):
    """`oracle` maps each key to [value, create, mod, version]."""

    def __init__(self) -> None:
        super().__init__()
        self.log = Log(host())
        self.oracle: dict[bytes, list] = {}
        self.revision = 0

    def do(self, command):
        (result,) = decode_results(self.log.append(encode_batch([command])).body)
        return result

    def write(self, key: bytes, value: bytes | None, revision: int) -> None:
        if value is None:
            if self.oracle.pop(key, None) is not None:
                self.revision = revision
            return
        self.revision = revision
        old = self.oracle.get(key)
        self.oracle[key] = [value, old[1] if old else revision, revision, old[3] + 1 if old else 1]

    @rule(items=st.lists(st.tuples(KEYS, VALUES), max_size=30))
    def put_a_batch(self, items):
        self.log.append(encode_batch([Put(key, value) for key, value in items]))
        for key, value in items:
            self.write(key, value, self.revision + 1)

    @rule(key=KEYS)
    def delete(self, key):
        there = key in self.oracle
        self.write(key, None, self.revision + 1)
        result = self.do(Delete(key))
        assert (result.count, result.revision) == (int(there), self.revision)

    @rule(start=KEYS, end=st.none() | KEYS)
    def delete_range(self, start, end):
        doomed = self.between(start, end)
        revision = self.revision + 1
        for key in doomed:
            self.write(key, None, revision)
        result = self.do(DeleteRange(start, end))
        assert (result.count, result.revision) == (len(doomed), self.revision)

    @rule(key=KEYS, expected=MAYBE, value=MAYBE)
    def swap_by_value(self, key, expected, value):
        holds = self.oracle.get(key, [None])[0] == expected
        if holds:
            self.write(key, value, self.revision + 1)
        result = self.do(CompareAndSwap(key, expected, value))
        assert (result.succeeded, result.revision) == (holds, self.revision)

    @rule(key=KEYS, right=st.booleans(), value=MAYBE)
    def swap_by_revision(self, key, right, value):
        expected = self.oracle.get(key, [None, 0, 0])[2] + (not right)
        if right:
            self.write(key, value, self.revision + 1)
        result = self.do(CompareRevisionAndSwap(key, expected, value))
        assert (result.succeeded, result.revision) == (right, self.revision)

    @rule(watched=KEYS, version=st.integers(0, 2), puts=st.dictionaries(KEYS, VALUES, max_size=5), other=KEYS)
    def transact(self, watched, version, puts, other):
        holds = self.oracle.get(watched, [None, 0, 0, 0])[3] == version
        result = self.do(
            Txn(
                [Compare(watched, "version", "=", version)],
                [Put(key, value) for key, value in puts.items()],
                [Delete(other)],
            )
        )
        revision = self.revision + 1
        for key, value in puts.items() if holds else [(other, None)]:
            self.write(key, value, revision)
        assert (result.succeeded, result.revision) == (holds, self.revision)

    @rule(start=KEYS, end=st.none() | KEYS, limit=st.integers(1, 70), key=KEYS)
    def read(self, start, end, limit, key):
        body = encode_query([Range(start, end, limit), Range(start, end, count_only=True), Get(key)])
        found, counted, got = decode_results(self.log.host.query(KV, body).body)
        keys = self.between(start, end)
        assert [(i.key, [i.value, i.create_revision, i.mod_revision, i.version]) for i in found.items] == [
            (key, self.oracle[key]) for key in keys[:limit]
        ]
        assert found.more == (len(keys) > limit)
        assert counted.count == len(keys)
        assert (got.item and got.item.value) == self.oracle.get(key, [None])[0]

    @rule()
    def go_on_from_a_snapshot(self):
        before = self.log.host.digest()
        restored = host()
        restored.restore(list(self.log.host.snapshot()))
        assert restored.digest() == before
        self.log.host = restored

    @precondition(lambda self: self.log.entries)
    @rule()
    def a_replay_from_the_first_entry_has_the_same_digest(self):
        assert self.log.replay(host()).digest() == self.log.host.digest()

    @invariant()
    def revisions_agree(self):
        (counted,) = decode_results(
            self.log.host.query(KV, encode_query([Range(b"", None, count_only=True)])).body
        )
        assert (counted.count, counted.revision) == (len(self.oracle), self.revision)

    def between(self, start: bytes, end: bytes | None) -> list[bytes]:
        return sorted(key for key in self.oracle if key >= start and (end is None or key < end))


AgainstADict.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
test_the_store_agrees_with_a_dict = AgainstADict.TestCase
