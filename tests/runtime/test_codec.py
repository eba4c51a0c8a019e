"""Frames survive any cut of the stream; what is no frame or message is refused before it costs memory."""

from __future__ import annotations

import struct
import tracemalloc
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.errors import RemoteProtocolError
from quorum.runtime.codec import (
    CHANNEL_MAX,
    PREFIX_BYTES,
    Frame,
    FrameParser,
    MessageCodec,
    cluster_tag,
    encode_frame,
)

TAG, OTHER = cluster_tag("c1"), cluster_tag("c2")


class Ask(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=1):
    number: int
    names: tuple[str, ...] = ()


class Nested(msgspec.Struct, frozen=True, array_like=True, tag=2):
    inner: Nested | None = None


CODEC: MessageCodec[Ask | Nested] = MessageCodec(Ask | Nested)

frames = st.tuples(
    st.integers(0, CHANNEL_MAX), st.binary(max_size=40), st.lists(st.binary(max_size=60), max_size=3)
)


def feed_in_pieces(parser: FrameParser, stream: bytes, cuts: list[int]) -> list[Frame]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [frame for a, b in pairwise(places) for frame in parser.feed(stream[a:b])]


def plain(received: list[Frame]) -> list[tuple[int, bytes, bytes]]:
    return [(channel, bytes(head), bytes(attachment)) for channel, head, attachment in received]


@given(sent=st.lists(frames, max_size=6), cuts=st.lists(st.integers(0, 600), max_size=12))
def test_frames_come_out_as_they_went_in_wherever_the_stream_is_cut(sent, cuts):
    stream = b"".join(piece for frame in sent for piece in encode_frame(TAG, *frame))
    parser = FrameParser(1000, tag=TAG)
    received = feed_in_pieces(parser, stream, cuts)
    assert plain(received) == [(channel, head, b"".join(attached)) for channel, head, attached in sent]
    assert parser.bytes_started == 0


@given(size=st.integers(3000, 9000), step=st.integers(1, 2000))
def test_a_large_attachment_comes_out_whole_in_steps_of_any_size(size, step):
    content = bytes(range(256)) * (size // 256 + 1)
    stream = b"".join([*encode_frame(TAG, 7, b"head", [content, b"tail"]), *encode_frame(TAG, 8, b"next")])
    received = feed_in_pieces(FrameParser(20_000), stream, list(range(0, len(stream), step)))
    assert plain(received) == [(7, b"head", content + b"tail"), (8, b"next", b"")]


def test_one_byte_at_a_time_is_enough():
    stream = b"".join(encode_frame(TAG, 1, b"ab", [b"cd"]))
    parser = FrameParser()
    received = [parser.feed(bytes([byte])) for byte in stream]
    assert received[:-1] == [[]] * (len(stream) - 1)
    assert plain(received[-1]) == [(1, b"ab", b"cd")]


@pytest.mark.parametrize("size", [0, 1, 5, 9, 1001, 2**31, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("rest", [b"", b"\x00\x00", b"\xff" * 6, b"\xff" * 300])
def test_a_length_that_cannot_be_is_refused_as_soon_as_it_is_read(size, rest):
    """Also with nothing behind it, so that nobody waits for what cannot come."""
    parser = FrameParser(1000, "n2")
    with pytest.raises(RemoteProtocolError, match="n2: sent a frame"):
        parser.feed(struct.pack("<I", size) + rest)


def test_a_length_of_eight_bytes_is_no_length_of_ours():
    """2^63 as a 64-bit length: its low half is 0, its high half is beyond any bound."""
    for order in "<>":
        with pytest.raises(RemoteProtocolError):
            FrameParser(1000, "n2").feed(struct.pack(f"{order}Q", 2**63) + b"x" * 16)


@given(cut=st.integers(0, 14), claimed=st.integers(7, 2**32 - 1))
def test_a_head_larger_than_its_frame_is_refused(cut, claimed):
    stream = struct.pack("<IHII", 10 + 6, 1, claimed, TAG) + b"x" * 6
    with pytest.raises(RemoteProtocolError):
        feed_in_pieces(FrameParser(1000), stream, [cut])


def test_a_claimed_length_allocates_nothing():
    parser = FrameParser(2**31)
    tracemalloc.start()
    try:
        parser.feed(struct.pack("<IHII", 2**31, 1, 2**30, TAG) + b"x" * 10)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@given(garbage=st.binary(min_size=1, max_size=300), cuts=st.lists(st.integers(0, 300), max_size=5))
def test_garbage_gives_frames_or_one_kind_of_error(garbage, cuts):
    try:
        received = feed_in_pieces(FrameParser(200, "n2"), garbage, cuts)
    except RemoteProtocolError:
        return
    assert sum(PREFIX_BYTES + len(head) + len(rest) for _, head, rest in received) <= len(garbage)


@given(garbage=st.binary(min_size=1, max_size=300))
def test_garbage_in_pieces_is_judged_like_garbage_at_once(garbage):
    def judged(cuts: list[int]) -> list[tuple[int, bytes, bytes]] | None:
        parser = FrameParser(100)
        try:
            return plain(feed_in_pieces(parser, garbage, cuts))
        except RemoteProtocolError:
            return None

    assert judged([]) == judged(list(range(len(garbage))))


def test_a_message_comes_back():
    assert CODEC.decode(CODEC.encode(Ask(5, ("a", "b"))), "n2") == Ask(5, ("a", "b"))
    assert CODEC.decode(memoryview(CODEC.encode(Nested(Nested()))), "n2") == Nested(Nested())


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xdd\xff\xff\xff\xff",
        b"\x93\x01\x01\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x93\x01\x01\x91\xa2\xff\xfe",
        b"\x92\x02" * 100_000 + b"\xc0",
        b"\x91" * 100_000,
        b"\xc1",
        b"\x92\x63\x01",
        b"\x92\x01\x01 and more",
        b"\x92\x01\xa1x",
    ],
    ids=[
        "nothing",
        "array of 2^32-1",
        "inner array of 2^32-1",
        "map of 2^32-1",
        "bytes of 2^32-1",
        "text that is not UTF-8",
        "messages nested 100,000 deep",
        "arrays nested 100,000 deep",
        "reserved byte",
        "unknown tag",
        "bytes left over",
        "wrong type",
    ],
)
def test_a_head_that_is_no_message_is_an_error_with_its_sender(head):
    with pytest.raises(RemoteProtocolError, match=r"^n2: sent a head"):
        CODEC.decode(head, "n2")


@given(head=st.binary(max_size=200))
def test_no_head_raises_anything_else(head):
    try:
        assert isinstance(CODEC.decode(head, "n2"), Ask | Nested)
    except RemoteProtocolError:
        pass


def test_an_error_does_not_quote_what_was_sent():
    head = msgspec.msgpack.encode([1, "hunter2"])
    with pytest.raises(RemoteProtocolError) as caught:
        CODEC.decode(head, "n2")
    assert "hunter2" not in str(caught.value)
