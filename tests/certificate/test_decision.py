"""Decision certificates: their two encodings and the verifier."""

from __future__ import annotations

import contextlib
from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.certificate import (
    DecisionCertificate,
    decode_binary,
    decode_json,
    digest_of,
    encode_binary,
    encode_json,
    statement,
    verify,
)
from quorum.errors import ConfigurationError
from quorum.model import Configuration
from quorum.systems.build import build

MEMBERS = ("a", "b", "c", "d", "e")


class Majority:
    """A write quorum is more than half of MEMBERS."""

    def is_write_quorum(self, nodes):
        return len(nodes & set(MEMBERS)) * 2 > len(MEMBERS)


def certificate(**changes) -> DecisionCertificate:
    fields = {
        "cluster": "c1",
        "epoch": 2,
        "members": MEMBERS,
        "voters": ("a", "c", "e"),
        "tally": 3,
        "index": 9,
        "term": 4,
        "topic": "colour",
        "value_digest": digest_of(b"blue"),
    }
    return DecisionCertificate(**{**fields, **changes})


def sign(voter: str, signed: bytes) -> bytes:
    return blake2b(signed, key=voter.encode(), digest_size=16).digest()


def check(voter: str, signed: bytes, signature: bytes) -> bool:
    return sign(voter, signed) == signature


def signed_certificate(**changes) -> DecisionCertificate:
    unsigned = certificate(model="byzantine", **changes)
    signatures = tuple((voter, sign(voter, statement(unsigned))) for voter in unsigned.voters)
    return msgspec.structs.replace(unsigned, signatures=signatures)


def test_a_certificate_with_a_write_quorum_of_voters_is_valid():
    configuration = Configuration(epoch=2, voters=MEMBERS)
    verdict = verify(certificate(), Majority(), configuration=configuration, value=b"blue")
    assert (verdict.valid, verdict.signed, verdict.reasons) == (True, False, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"voters": ("a", "c"), "tally": 2}, "no write quorum"),
        ({"voters": (), "tally": 0}, "nobody voted"),
        ({"voters": ("a", "a", "c")}, "named twice"),
        ({"voters": ("e", "c", "a")}, "not sorted"),
        ({"voters": ("a", "c", "x")}, "x voted without being a member"),
        ({"members": ("a", "a", "c", "e")}, "named twice"),
        ({"tally": 4}, "tally is 4"),
        ({"index": 0}, "outside every log"),
        ({"value_digest": b"short"}, "5 bytes"),
        ({"epoch": 3}, "epoch 3"),
        ({"members": ("a", "c", "e")}, "not the electors"),
        ({"value_digest": digest_of(b"red")}, "another value"),
        ({"model": "byzantine"}, "signatures checked"),
    ],
)
def test_every_flaw_is_named(changes, reason):
    configuration = Configuration(epoch=2, voters=MEMBERS)
    verdict = verify(certificate(**changes), Majority(), configuration=configuration, value=b"blue")
    assert not verdict.valid
    assert any(reason in said for said in verdict.reasons)


@pytest.mark.parametrize(("voters", "valid"), [(("a", "d", "e"), True), (("a", "b", "d"), False)])
def test_the_verifier_asks_the_quorum_system_of_the_configuration(voters, valid):
    configuration = Configuration(epoch=2, voters=MEMBERS, writes="(a + b + c)*d*e")
    given_voters = certificate(voters=voters, tally=3)
    assert verify(given_voters, build(configuration), configuration=configuration).valid is valid


def test_a_signed_certificate_is_valid_only_with_every_signature_right():
    whole = signed_certificate()
    assert verify(whole, Majority(), check) == verify(decode_json(encode_json(whole)), Majority(), check)
    assert verify(whole, Majority(), check).signed
    for signatures in (
        whole.signatures[1:],
        (*whole.signatures, ("d", b"x")),
        (("a", b"x"), *whole.signatures[1:]),
    ):
        verdict = verify(msgspec.structs.replace(whole, signatures=signatures), Majority(), check)
        assert not verdict.valid and not verdict.signed


def test_a_verifier_with_keys_does_not_take_an_unsigned_certificate():
    assert not verify(certificate(), Majority(), check).valid


@pytest.mark.parametrize("field", ["cluster", "epoch", "members", "index", "term", "topic", "value_digest"])
def test_signatures_cover_everything_that_was_decided(field):
    other = {
        "cluster": "c2",
        "epoch": 3,
        "members": ("a", "b", "c", "e"),
        "index": 10,
        "term": 5,
        "topic": "size",
        "value_digest": digest_of(b"red"),
    }
    forged = msgspec.structs.replace(signed_certificate(), **{field: other[field]})
    assert not verify(forged, Majority(), check).valid


NAMES = st.lists(st.text("abc-1", min_size=1, max_size=4), max_size=4).map(tuple)


@given(
    epoch=st.integers(0, 2**63 - 1),
    members=NAMES,
    topic=st.text(max_size=10),
    digest=st.binary(max_size=40),
    model=st.sampled_from(["crash", "byzantine"]),
    signatures=st.lists(st.tuples(st.text("ab", max_size=2), st.binary(max_size=5)), max_size=3).map(tuple),
)
def test_both_encodings_read_back_and_are_canonical(epoch, members, topic, digest, model, signatures):
    whole = certificate(
        epoch=epoch, members=members, topic=topic, value_digest=digest, model=model, signatures=signatures
    )
    assert decode_json(encode_json(whole)) == whole == decode_binary(encode_binary(whole))
    loose = msgspec.json.format(encode_json(whole), indent=3)
    assert encode_json(decode_json(loose)) == encode_json(whole)


@given(data=st.binary(max_size=60))
def test_bytes_that_are_no_certificate_are_refused(data):
    for decode in (decode_json, decode_binary):
        with pytest.raises(ConfigurationError, match="a decision certificate was to be read"):
            decode(data)


@given(at=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_certificate_with_one_wrong_byte_is_read_or_refused_and_nothing_else(at, value):
    for encode, decode in ((encode_json, decode_json), (encode_binary, decode_binary)):
        data = bytearray(encode(certificate()))
        data[at % len(data)] = value
        with contextlib.suppress(ConfigurationError):
            decode(bytes(data))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"index":9', b'"index":-1'),
        (b'"index":9', b'"index":99999999999999999999'),
        (b'"index":9', b'"index":9,"extra":1'),
        (b'"model":"crash"', b'"model":"trust me"'),
        (b"quorum-decision-1", b"quorum-decision-2"),
        (digest_of(b"blue").hex().encode(), b"zz"),
        (b'"topic":"colour"', b'"topic":"\\ud800"'),
    ],
)
def test_json_with_a_wrong_field_is_refused(old, new):
    text = encode_json(certificate())
    assert old in text
    with pytest.raises(ConfigurationError):
        decode_json(text.replace(old, new))


def test_a_certificate_of_another_format_or_too_large_is_refused():
    other = msgspec.msgpack.encode(("quorum-decision-9", certificate()))
    for data in (other, b" " * 5_000_000):
        with pytest.raises(ConfigurationError):
            decode_binary(data)
