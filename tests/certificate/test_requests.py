"""Requests and blocks as bytes: what is packed comes back, and no other bytes are taken for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificate.committees import committee_of, header_of, key_of
from quorum.certificate.block import HEADER
from quorum.certificate.keys import is_signed
from quorum.certificate.merkle import leaf_of, root_of
from quorum.certificate.requests import (
    REQUESTS_MAX,
    decode_request,
    pack_block,
    request_statement,
    sign_request,
    unpack_block,
)
from quorum.certificate.vote import SigningDomain
from quorum.header import Batch

DOMAIN = SigningDomain("q1", 0)
KEY = key_of("client")
PUBLIC = bytes(KEY.verify_key)
FOUR = committee_of(4)
NUMBERS = st.integers(0, 2**64 - 1)
BATCHES = st.builds(
    Batch, st.integers(0, 2**16 - 1), NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2**32 - 1), st.binary(max_size=50)
)
REQUESTS = st.lists(st.binary(max_size=20), max_size=10)


def signed(batch: Batch, domain: SigningDomain = DOMAIN) -> bytes:
    return sign_request(domain, batch, PUBLIC, lambda statement: KEY.sign(statement).signature)


def is_right(data: bytes, domain: SigningDomain = DOMAIN) -> bool:
    request = decode_request(data)
    statement = request_statement(domain, request.batch, request.digest)
    return is_signed(request.public_key, statement, request.signature)


def block_of(requests: list[bytes]) -> bytes:
    return pack_block(header_of(FOUR, requests), requests)


@given(BATCHES)
def test_a_request_comes_back_with_a_signature_that_holds_in_its_cluster_alone(batch: Batch) -> None:
    data = signed(batch)
    request = decode_request(memoryview(data))
    assert (request.batch, request.public_key) == (batch, PUBLIC)
    assert is_right(data)
    assert not is_right(data, SigningDomain("q2", 0))


@given(BATCHES, st.integers(0), st.integers(0, 7))
def test_every_bit_of_a_request_is_signed(batch: Batch, place: int, bit: int) -> None:
    data = bytearray(signed(batch))
    data[place % len(data)] ^= 1 << bit
    assert not is_right(bytes(data))


@given(st.binary(max_size=120))
def test_bytes_that_are_too_few_for_a_request_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="lies outside"):
        decode_request(data)


@given(REQUESTS)
def test_a_block_comes_back_as_it_was_packed(requests: list[bytes]) -> None:
    header, found = unpack_block(block_of(requests))
    assert header == header_of(FOUR, requests)
    assert list(map(bytes, found)) == requests


@given(REQUESTS, st.data())
def test_a_block_that_is_cut_or_has_a_flipped_bit_is_no_block_or_another_one(
    requests: list[bytes], data: st.DataObject
) -> None:
    block = block_of(requests)
    with pytest.raises(ValueError, match="block"):
        unpack_block(block[: data.draw(st.integers(0, len(block) - 1))])
    with pytest.raises(ValueError, match="left over"):
        unpack_block(block + b"\x00")
    spoilt = bytearray(block)
    spoilt[data.draw(st.integers(0, len(block) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        header, _ = unpack_block(bytes(spoilt))
    except ValueError:
        return
    assert header.digest() != header_of(FOUR, requests).digest()


def test_a_block_that_claims_more_than_it_has_is_refused_before_anything_is_allocated() -> None:
    header = header_of(FOUR, [b"a"])
    for count in (2, REQUESTS_MAX, REQUESTS_MAX + 1, 2**64 - 1):
        claims = msgspec.structs.replace(header, count=count).packed()
        with pytest.raises(ValueError, match=r"claims|ends after"):
            unpack_block(claims + block_of([b"a"])[HEADER.size :])
    with pytest.raises(ValueError, match="claims 4294967295 bytes"):
        unpack_block(header.packed() + b"\xff\xff\xff\xff" + b"a")


def test_requests_that_the_header_does_not_name_are_refused() -> None:
    header = msgspec.structs.replace(header_of(FOUR, [b"a"]), requests_root=root_of([leaf_of(b"b")]))
    with pytest.raises(ValueError, match="not those"):
        unpack_block(header.packed() + block_of([b"a"])[HEADER.size :])
