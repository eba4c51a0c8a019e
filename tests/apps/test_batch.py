"""Batches as hostile clients write them: what they do depends on their bytes alone, and costs little."""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps_log import header
from quorum.apps import decide, kv
from quorum.apps.batch import COMMANDS_MAX, PARTS_MAX, BatchDecoder, Refused
from quorum.apps.decide import Decide, Decisions
from quorum.apps.host import Host
from quorum.apps.kv import BATCH_OPERATIONS_MAX, Compare, Get, Put, Range, Txn
from quorum.apps.kv_store import KeyValueStore

DECODER: BatchDecoder[kv.Command] = BatchDecoder(kv.Command)
PUT = b"\xc4\x01a\xc4\x01b"


def nested(depth: int) -> bytes:
    return b"\x91" * depth + b"\x90"


def called_deeply(frames: int, act):
    """What `act` returns, called from `frames` more levels of recursion."""
    return act() if frames == 0 else called_deeply(frames - 1, act)


@pytest.mark.parametrize(
    "around",
    [b"\x91\x94\x01" + PUT, b"\x91", b"\x91\x92", b"\x91\x92\x06", b"\x91\x94\x08", b"\x91\x95\x08\x90\x90\x90"],
)
def test_what_a_nested_batch_does_is_the_same_from_however_deep_a_call(around):
    near, far = Host({1: KeyValueStore()}), Host({1: KeyValueStore()})
    room = sys.getrecursionlimit() // 2
    for index, depth in enumerate((1, 10, *range(room - 100, 2 * room + 100, 50), 20 * room), start=1):
        body = around + nested(depth)
        here = near.apply(header(index), body)
        there = called_deeply(room, lambda at=index, what=body: far.apply(header(at), what))
        assert here == there
        assert b"Recursion" not in here.body
    assert near.digest() == far.digest()


def test_a_command_with_a_field_too_many_is_refused_not_done():
    store = KeyValueStore()
    body = msgspec.msgpack.encode([[1, b"a", b"b", 0], [1, b"c", b"d"]])
    refused, _ = kv.decode_results(store.apply(header(1), body).reply)
    assert refused.reason == "malformed"
    assert len(store) == 1


def test_text_that_is_no_utf_8_spoils_only_its_own_command():
    body = b"\x93\x92\xa1\xff\xc4\x01b" + 2 * msgspec.msgpack.encode(Decide("t", b"v"))
    refused, first, again = decide.decode_results(Decisions().apply(header(1), body).reply)
    assert refused.reason == "malformed" and first.first and not again.first


def test_a_batch_of_too_many_commands_is_refused_whole():
    store = KeyValueStore()
    store.apply(header(1), kv.encode_batch([Put(b"a", b"1")] * COMMANDS_MAX))
    with pytest.raises(msgspec.DecodeError, match=f"at most {COMMANDS_MAX} commands"):
        store.apply(header(2), kv.encode_batch([Put(b"a", b"1")] * (COMMANDS_MAX + 1)))
    with pytest.raises(msgspec.DecodeError, match=f"at most {COMMANDS_MAX} commands"):
        store.query(b"\xdd\xff\xff\xff\xff")
    assert store.revision == COMMANDS_MAX


def test_a_malformed_batch_is_cut_apart_up_to_a_bound():
    body = b"\x92\x90\xdd" + PARTS_MAX.to_bytes(4, "big") + b"\x00" * PARTS_MAX
    with pytest.raises(msgspec.DecodeError, match=f"at most {PARTS_MAX} values"):
        DECODER.decode(body)


def test_the_transactions_of_a_batch_are_bounded_together():
    txn = Txn([Compare(b"a", "version", "=", 0)] * 64, [Get(b"a")] * 64, [])
    fitting = BATCH_OPERATIONS_MAX // 128
    reply = KeyValueStore().apply(header(1), kv.encode_batch([txn] * (fitting + 1) + [Put(b"b", b"1")])).reply
    *done, refused, put = kv.decode_results(reply)
    assert all(type(result) is kv.Committed for result in done) and len(done) == fitting
    assert refused.reason == "txn" and type(put) is kv.Written


def test_reads_of_many_small_items_and_counts_are_bounded_like_large_ones():
    store = KeyValueStore()
    store.apply(header(1), kv.encode_batch([Put(b"%d" % number, b"") for number in range(10_000)]))
    reads = kv.decode_results(store.query(kv.encode_query([Range(b"", None)] * 20)))
    assert isinstance(reads[-1], Refused) and 10 <= sum(type(read) is kv.Found for read in reads) < 20
    counts = kv.decode_results(store.query(kv.encode_query([Range(b"", None, count_only=True)] * COMMANDS_MAX)))
    assert counts[0].count == 10_000 and counts[1].count == 10_000


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=18) | st.dictionaries(st.text(max_size=5), inner, max_size=18),
    max_leaves=20,
)
large = st.integers(65_530, 65_540).map(bytes)  # around where the length of bytes takes another head


@given(st.lists(values | large, max_size=18), st.integers(0, 18))
def test_any_well_formed_value_is_refused_alone_and_what_follows_it_is_done(elements, at):
    elements.insert(at, [1, b"key", b"value"])
    commands = DECODER.decode(msgspec.msgpack.encode(elements))
    assert len(commands) == len(elements)
    assert commands[min(at, len(elements) - 1)] == Put(b"key", b"value")


@given(st.binary(max_size=200))
def test_any_bytes_give_commands_or_a_decode_error(body):
    try:
        commands = DECODER.decode(body)
    except msgspec.DecodeError:
        return
    assert all(isinstance(command, Refused | kv.Command) for command in commands)


@given(st.data())
def test_extensions_and_every_other_kind_of_value_are_skipped(data):
    kinds = [b"\xc0", b"\xca0000", b"\xcb00000000", b"\xd0\xff", b"\xd300000000", b"\xcf11111111", b"\xd9\x01a"]
    kinds += [b"\xd4t1", b"\xd5t12", b"\xd6t1234", b"\xd7t12345678", b"\xd8t" + b"1" * 16, b"\xda\x00\x01a"]
    kinds += [b"\xc7\x03t123", b"\xc8\x00\x03t123", b"\xc9\x00\x00\x00\x03t123", b"\xdb\x00\x00\x00\x01a"]
    kinds += [b"\xdc\x00\x01\x00", b"\xde\x00\x01\x00\x00", b"\xdf\x00\x00\x00\x01\x00\x00"]
    chosen = data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=10))
    body = bytes((0x91 + len(chosen),)) + b"".join(chosen) + msgspec.msgpack.encode(Get(b"a"))
    *refused, last = DECODER.decode(body)
    assert all(type(command) is Refused for command in refused) and last == Get(b"a")
