"""The ordered map below the applications."""

from __future__ import annotations

import gc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.apps.leaves import LeafChunk, Leaves

KEYS = st.integers(0, 40).map(lambda number: b"k%02d" % number)
BOUNDS = st.none() | st.integers(0, 40).map(lambda number: b"k%02d" % number) | st.just(b"")
WRITES = st.lists(
    st.tuples(st.just("put"), KEYS, st.binary(max_size=12))
    | st.tuples(st.just("delete"), KEYS, st.just(b""))
    | st.tuples(st.just("range"), KEYS, BOUNDS),
    max_size=80,
)


def small() -> Leaves:
    return Leaves(keys_per_leaf=8, leaf_bytes=64)


def filled() -> Leaves:
    leaves = small()
    for number in range(60):
        leaves.put(b"k%02d" % (number * 7 % 60), b"value", number + 1)
    return leaves


def write(leaves: Leaves, oracle: dict[bytes, bytes], writes) -> None:
    for revision, (what, key, other) in enumerate(writes, start=1):
        if what == "put":
            leaves.put(key, other, revision)
            oracle[key] = other
        elif what == "delete":
            assert leaves.delete(key) == (oracle.pop(key, None) is not None)
        else:
            doomed = [found for found in oracle if found >= key and (other is None or found < other)]
            assert leaves.delete_range(key, other) == len(doomed)
            for found in doomed:
                del oracle[found]


def content(leaves: Leaves) -> list[tuple[bytes, bytes]]:
    return [(key, stored.value) for key, stored in leaves.scan(b"", None)]


def copy_of(leaves: Leaves) -> Leaves:
    twin = small()
    twin.load(list(leaves.view().chunks()))
    return twin


@given(writes=WRITES, start=KEYS, end=BOUNDS)
def test_leaves_agree_with_a_dict(writes, start, end):
    leaves, oracle = small(), {}
    write(leaves, oracle, writes)
    assert len(leaves) == len(oracle)
    assert content(leaves) == sorted(oracle.items())
    inside = [item for item in sorted(oracle.items()) if item[0] >= start and (end is None or item[0] < end)]
    assert [(key, stored.value) for key, stored in leaves.scan(start, end)] == inside
    assert leaves.count(start, end) == len(inside)
    assert {key: leaves.get(key).value for key in sorted(oracle)} == oracle


@given(writes=WRITES)
def test_leaves_stay_within_their_bounds_and_never_overlap(writes):
    leaves = small()
    write(leaves, {}, writes)
    chunks = [msgspec.msgpack.decode(chunk, type=LeafChunk) for chunk in leaves.view().chunks()]
    assert chunks[0].low == b""
    for chunk in chunks:
        size = sum(map(len, chunk.keys)) + sum(len(value.value) for value in chunk.values)
        assert len(chunk.keys) == 1 or (len(chunk.keys) <= 8 and size <= 64)
        assert chunk.keys or len(chunks) == 1
    for left, right in pairwise(chunks):
        assert left.keys[-1] < right.low <= right.keys[0]


@given(before=WRITES, after=WRITES)
def test_a_view_stays_as_it_was_while_writes_go_on(before, after):
    leaves, oracle = small(), {}
    write(leaves, oracle, before)
    untouched = list(leaves.view().chunks())
    early, late = leaves.view(), leaves.view()
    write(leaves, dict(oracle), after)
    assert list(early.chunks()) == untouched
    assert list(late.chunks()) == untouched


@given(before=WRITES, after=WRITES)
def test_a_loaded_copy_has_the_same_digest_now_and_after_the_same_writes(before, after):
    leaves, oracle = small(), {}
    write(leaves, oracle, before)
    twin = copy_of(leaves)
    assert twin.digest() == leaves.digest()
    write(leaves, dict(oracle), after)
    write(twin, dict(oracle), after)
    assert twin.digest() == leaves.digest()
    assert content(twin) == content(leaves)


@given(before=WRITES, after=WRITES)
def test_a_cached_digest_equals_a_fresh_one(before, after):
    leaves, oracle = small(), {}
    write(leaves, oracle, before)
    leaves.digest()
    write(leaves, oracle, after)
    assert leaves.digest() == copy_of(leaves).digest()


@given(writes=WRITES, key=KEYS)
def test_every_change_changes_the_digest(writes, key):
    leaves = small()
    write(leaves, {}, writes)
    before = leaves.digest()
    leaves.put(key, b"something else", 1000)
    assert leaves.digest() != before


def test_deleting_in_many_leaves_leaves_few_of_them():
    leaves = Leaves()
    for number in range(20_000):
        leaves.put(b"%06d" % number, b"v", number + 1)
    assert leaves.leaf_count > 70
    for number in range(20_000):
        if number % 100:
            leaves.delete(b"%06d" % number)
    assert len(leaves) == 200
    assert leaves.leaf_count < 10
    assert leaves.delete_range(b"", None) == 200
    assert leaves.leaf_count == 1


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [b"garbage"],
        [LeafChunk(b"a", [], [])],
        [LeafChunk(b"", [b"a"], [])],
        [LeafChunk(b"", [], []), LeafChunk(b"m", [], [])],
    ],
)
def test_damaged_chunks_are_refused_and_change_nothing(chunks):
    leaves = small()
    leaves.put(b"a", b"1", 1)
    before = leaves.digest()
    with pytest.raises(ValueError, match=r"Fetch another snapshot"):
        leaves.load([chunk if isinstance(chunk, bytes) else msgspec.msgpack.encode(chunk) for chunk in chunks])
    assert leaves.digest() == before


def test_leaves_out_of_order_are_refused():
    leaves = small()
    for number in range(30):
        leaves.put(b"%02d" % number, b"v", number + 1)
    chunks = list(leaves.view().chunks())
    for damaged in (chunks[1:], chunks[::-1], [chunks[0], *chunks], [chunks[0], chunks[2], chunks[1]]):
        with pytest.raises(ValueError):
            small().load(damaged)


def test_the_collector_has_nothing_to_look_at_in_state_that_is_only_written_and_snapshotted():
    """It would look at every key and value, and hold the node up: 130 ms for two million of them."""
    leaves = filled()
    twin = small()
    twin.load(leaves.view().chunks())
    assert twin.digest() == leaves.digest()
    for each in (leaves, twin):
        each.put(b"k05", b"another", 99)
        each.digest()
        assert list(each.view().chunks())
        for leaf in each._leaves:
            assert not any(map(gc.is_tracked, (leaf, leaf.items, leaf._order)))


def test_a_view_lets_go_of_what_was_read():
    leaves = filled()
    chunks, digests = leaves.view(), leaves.view()
    count = len(chunks)
    assert count == leaves.leaf_count > 3
    next(chunks.chunks())
    assert len(chunks) == count - 1
    assert list(digests.digests())[-1] == leaves.digest() and len(digests) == 0


def test_leaves_are_let_go_one_by_one():
    leaves = filled()
    count = leaves.leaf_count
    assert [leaves.leaf_count for _ in leaves.let_go()] == list(range(count - 1, -1, -1))
