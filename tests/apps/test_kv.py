"""The key-value store: revisions, compare-and-swap, transactions, ranges and limits."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import header
from quorum.apps.batch import Refused
from quorum.apps.kv import (
    KEY_BYTES_MAX,
    RANGE_KEYS_MAX,
    READ_BYTES_MAX,
    TXN_COMPARES_MAX,
    TXN_OPERATIONS_MAX,
    VALUE_BYTES_MAX,
    Committed,
    Compare,
    CompareAndSwap,
    CompareRevisionAndSwap,
    Counted,
    Delete,
    Deleted,
    DeleteRange,
    Found,
    Get,
    Got,
    Item,
    Put,
    Range,
    Swapped,
    Txn,
    Written,
    decode_results,
    encode_batch,
    encode_query,
    prefix_end,
)
from quorum.apps.kv_store import KeyValueStore


def do(store, *commands):
    return decode_results(store.apply(header(1), encode_batch(commands)).reply)


def ask(store, *queries):
    return decode_results(store.query(encode_query(queries)))


def store_of(**items: bytes) -> KeyValueStore:
    store = KeyValueStore()
    do(store, *(Put(key.encode(), value) for key, value in items.items()))
    return store


def test_each_put_has_its_own_revision_and_counts_versions():
    store = KeyValueStore()
    assert do(store, Put(b"a", b"1"), Put(b"b", b"2"), Put(b"a", b"3")) == [Written(1), Written(2), Written(3)]
    assert ask(store, Get(b"a"), Get(b"b"), Get(b"c")) == [
        Got(Item(b"a", b"3", 1, 3, 2), 3),
        Got(Item(b"b", b"2", 2, 2, 1), 3),
        Got(None, 3),
    ]


def test_a_delete_starts_the_life_of_a_key_anew():
    store = store_of(a=b"1")
    assert do(store, Delete(b"a"), Put(b"a", b"2")) == [Deleted(2, 1), Written(3)]
    assert ask(store, Get(b"a")) == [Got(Item(b"a", b"2", 3, 3, 1), 3)]


def test_what_changes_nothing_has_no_revision():
    store = store_of(a=b"1")
    results = do(
        store,
        Delete(b"x"),
        DeleteRange(b"b", None),
        CompareAndSwap(b"a", b"other", b"2"),
        CompareAndSwap(b"x", None, None),
        Txn([], [Delete(b"x")], []),
        Get(b"a"),
    )
    assert store.revision == 1
    assert results[:2] == [Deleted(1, 0), Deleted(1, 0)]
    assert results[2:4] == [Swapped(False, 1), Swapped(True, 1)]
    assert results[4] == Committed(True, 1, [Deleted(1, 0)])


def test_compare_and_swap_by_value_covers_absence_on_both_sides():
    store = KeyValueStore()
    assert do(store, CompareAndSwap(b"a", None, b"1"), CompareAndSwap(b"a", None, b"2")) == [
        Swapped(True, 1),
        Swapped(False, 1),
    ]
    assert do(store, CompareAndSwap(b"a", b"1", b"2"), CompareAndSwap(b"a", b"2", None)) == [
        Swapped(True, 2),
        Swapped(True, 3),
    ]
    assert ask(store, Get(b"a")) == [Got(None, 3)]
    do(store, Put(b"empty", b""))
    assert do(store, CompareAndSwap(b"empty", None, b"1")) == [Swapped(False, 4)]


def test_compare_and_swap_by_revision_sees_a_value_that_came_back():
    store = store_of(a=b"1")
    do(store, Put(b"a", b"2"), Put(b"a", b"1"))
    assert do(store, CompareRevisionAndSwap(b"a", 1, b"x")) == [Swapped(False, 3)]
    assert do(store, CompareRevisionAndSwap(b"a", 3, None), CompareRevisionAndSwap(b"a", 0, b"new")) == [
        Swapped(True, 4),
        Swapped(True, 5),
    ]


def test_a_transaction_does_one_branch_at_one_revision():
    store = store_of(a=b"1", b=b"2")
    transfer = Txn(
        [Compare(b"a", "value", "=", b"1"), Compare(b"b", "version", "<", 2)],
        [Put(b"a", b"0"), Put(b"b", b"3"), Get(b"a"), Delete(b"c")],
        [Get(b"a")],
    )
    assert do(store, transfer) == [
        Committed(True, 3, [Written(3), Written(3), Got(Item(b"a", b"0", 1, 3, 2), 3), Deleted(3, 0)])
    ]
    assert do(store, transfer) == [Committed(False, 3, [Got(Item(b"a", b"0", 1, 3, 2), 3)])]


@pytest.mark.parametrize(
    ("field", "relation", "operand", "holds"),
    [
        ("value", "=", b"1", True),
        ("value", "!=", b"1", False),
        ("value", "<", b"2", True),
        ("value", ">", b"2", False),
        ("version", "=", 2, True),
        ("create_revision", "=", 1, True),
        ("mod_revision", ">", 1, True),
        ("mod_revision", "!=", 2, False),
    ],
)
def test_every_field_can_be_compared_in_every_relation(field, relation, operand, holds):
    store = store_of(a=b"0")
    do(store, Put(b"a", b"1"))
    (result,) = do(store, Txn([Compare(b"a", field, relation, operand)], [], []))
    assert result.succeeded is holds


@pytest.mark.parametrize("relation", ["=", "!=", "<", ">"])
def test_no_comparison_of_an_absent_value_holds_but_its_version_is_zero(relation):
    store = KeyValueStore()
    by_value = Txn([Compare(b"a", "value", relation, b"")], [], [])
    by_version = Txn([Compare(b"a", "version", relation, 0)], [], [])
    assert [result.succeeded for result in do(store, by_value, by_version)] == [False, relation == "="]


def test_ranges_are_ascending_cut_at_the_limit_and_go_on_behind_the_last_key():
    store = KeyValueStore()
    do(store, *(Put(b"%03d" % (number * 7 % 500), b"v") for number in range(500)))
    (first,) = ask(store, Range(b"", None, limit=200))
    assert [item.key for item in first.items] == [b"%03d" % number for number in range(200)]
    assert first.more
    (rest,) = ask(store, Range(first.items[-1].key + b"\0", None))
    assert [item.key for item in rest.items] == [b"%03d" % number for number in range(200, 500)]
    assert not rest.more
    assert ask(store, Range(b"100", b"400", count_only=True)) == [Counted(300, 500)]
    assert ask(store, Range(b"4", b"1")) == [Found([], False, 500)]


def test_one_range_gives_no_more_than_its_bound():
    store = KeyValueStore()
    do(store, *(Put(b"%06d" % number, b"") for number in range(RANGE_KEYS_MAX + 1)))
    for limit in (0, RANGE_KEYS_MAX * 2):
        (found,) = ask(store, Range(b"", None, limit=limit))
        assert len(found.items) == RANGE_KEYS_MAX and found.more


@given(prefix=st.binary(max_size=3), key=st.binary(min_size=1, max_size=5))
def test_the_prefix_range_holds_exactly_the_keys_with_the_prefix(prefix, key):
    end = prefix_end(prefix)
    inside = key >= prefix and (end is None or key < end)
    assert inside == key.startswith(prefix)


def test_a_limit_is_met_by_a_result_not_by_an_exception():
    store = KeyValueStore()
    results = do(
        store,
        Put(b"", b"v"),
        Put(b"k" * (KEY_BYTES_MAX + 1), b"v"),
        Put(b"k", b"v" * (VALUE_BYTES_MAX + 1)),
        CompareAndSwap(b"k", None, b"v" * (VALUE_BYTES_MAX + 1)),
        Delete(b""),
        Range(b"a" * (KEY_BYTES_MAX + 2), None),
        Range(b"", None, limit=-1),
        Put(b"k" * KEY_BYTES_MAX, b"v" * VALUE_BYTES_MAX),
    )
    assert [result.reason for result in results[:-1]] == ["key", "key", "value", "value", "key", "range", "range"]
    assert results[-1] == Written(1)


@pytest.mark.parametrize(
    "txn",
    [
        Txn([Compare(b"a", "version", "=", 0)] * (TXN_COMPARES_MAX + 1), [], []),
        Txn([], [], [Get(b"a")] * (TXN_OPERATIONS_MAX + 1)),
        Txn([Compare(b"a", "version", "=", b"0")], [], []),
        Txn([Compare(b"a", "value", "=", 0)], [], []),
        Txn([Compare(b"", "version", "=", 0)], [], []),
        Txn([], [Put(b"a", b"1"), Put(b"a", b"2")], []),
        Txn([], [Put(b"a", b"1"), Delete(b"a")], []),
        Txn([], [], [DeleteRange(b"", b"b"), Put(b"a", b"1")]),
        Txn([], [Put(b"ok", b"1"), Put(b"", b"2")], []),
    ],
    ids=range(9),
)
def test_a_transaction_that_breaks_a_rule_is_refused_whole(txn):
    store = store_of(a=b"1")
    before = store.digest()
    (result,) = do(store, txn)
    assert isinstance(result, Refused)
    assert store.digest() == before


def test_reads_in_one_batch_are_bounded_together():
    store = KeyValueStore()
    big = b"v" * VALUE_BYTES_MAX
    do(store, *(Put(b"%d" % number, big) for number in range(9)))
    (found,) = ask(store, Range(b"", None))
    assert len(found.items) == 7 and found.more
    gets = ask(store, *(Get(b"%d" % number) for number in range(9)))
    assert [isinstance(result, Got) for result in gets] == [True] * 7 + [False] * 2
    assert gets[-1].reason == "read"
    assert sum(len(item.value) for item in found.items) <= READ_BYTES_MAX
    assert ask(store, *([Range(b"", None)] * 2))[1].reason == "read"


@pytest.mark.parametrize(
    "poison", [17, "text", [99, b"a"], [1, b"a"], [1, "a", 5], [8, [[b"a", "size", "=", 1]], [], []]]
)
def test_one_malformed_command_spoils_only_itself(poison):
    store = KeyValueStore()
    body = msgspec.msgpack.encode([Put(b"a", b"1"), poison, Put(b"b", b"2")])
    first, refused, last = decode_results(store.apply(header(1), body).reply)
    assert (first, last) == (Written(1), Written(2))
    assert refused.reason == "malformed" and len(refused.message) <= 500


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x92\x93", encode_batch([Put(b"a", b"1")])[:-1], b"\x80"])
def test_a_body_that_is_no_array_raises_and_changes_nothing(body):
    store = store_of(a=b"1")
    before = store.digest()
    with pytest.raises(msgspec.DecodeError):
        store.apply(header(1), body)
    with pytest.raises(msgspec.DecodeError):
        store.query(body)
    assert store.digest() == before


def test_a_query_cannot_write():
    store = store_of(a=b"1")
    before = store.digest()
    (result,) = ask(store, Put(b"a", b"2"))
    assert result.reason == "malformed"
    assert store.digest() == before


def test_a_snapshot_is_isolated_from_what_is_applied_while_it_is_read():
    store = KeyValueStore()
    do(store, *(Put(b"%04d" % number, b"old") for number in range(2000)))
    digest, revision = store.digest(), store.revision
    chunks = store.snapshot()
    read = [next(chunks), next(chunks)]
    do(store, *(Put(b"%04d" % number, b"new") for number in range(0, 2000, 3)), DeleteRange(b"05", b"09"))
    restored = KeyValueStore()
    restored.restore([*read, *chunks])
    assert (restored.digest(), restored.revision, len(restored)) == (digest, revision, 2000)
    assert store.digest() != digest


def test_a_damaged_snapshot_is_refused_and_changes_nothing():
    store = KeyValueStore()
    do(store, *(Put(b"%04d" % number, b"v") for number in range(1000)))
    chunks = list(store.snapshot())
    target = store_of(a=b"1")
    before = target.digest()
    for damaged in ([], chunks[1:], chunks[:-1], [*chunks, chunks[-1]], [msgspec.msgpack.encode([9, 1, 1])]):
        with pytest.raises(ValueError):
            target.restore(damaged)
    assert target.digest() == before
