"""Ed25519 at its edges: one verdict for every odd key and signature, and odd keys are never admitted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from certificate import edwards
from quorum.certificate import keys
from quorum.certificate.keys import GROUP_ORDER, check_library, check_public_key, is_signed
from quorum.certificate.speccheck import CASES
from quorum.errors import ConfigurationError

SECRET, NONCE, MESSAGE = 123_456_789, 987_654_321, b"a message"
PUBLIC = edwards.encode(edwards.times(SECRET, edwards.BASE))
SMALL = [edwards.encode(point) for point in edwards.small_order_points()]
TORSION = edwards.small_order_points()[1]
NOT_CANONICAL = [
    (value + bit).to_bytes(32, "little") for value in range(edwards.P, 2**255) for bit in (0, 1 << 255)
]


def test_the_slow_group_agrees_with_the_library_on_keys_and_signatures() -> None:
    assert is_signed(PUBLIC, MESSAGE, edwards.sign(SECRET, PUBLIC, NONCE, MESSAGE))
    check_public_key("a", PUBLIC)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_a_signature_holds_for_its_key_and_message_and_for_no_other(seed: bytes, message: bytes) -> None:
    key = SigningKey(seed)
    public, signature = bytes(key.verify_key), key.sign(message).signature
    check_public_key("a", public)
    assert is_signed(public, message, signature)
    assert not is_signed(public, message + b"x", signature)
    assert not is_signed(PUBLIC, message, signature)
    for place in range(0, 512, 37):
        spoilt = bytearray(signature)
        spoilt[place // 8] ^= 1 << place % 8
        assert not is_signed(public, message, bytes(spoilt))


@pytest.mark.parametrize("public", SMALL + NOT_CANONICAL[:6], ids=lambda key: key.hex()[:8])
def test_keys_of_small_order_and_non_canonical_ones_are_not_admitted_and_sign_nothing(public: bytes) -> None:
    with pytest.raises(ConfigurationError, match="Make a new key"):
        check_public_key("a", public)
    for first in SMALL:
        assert not is_signed(public, MESSAGE, first + bytes(32))


def test_a_key_with_a_small_order_part_is_not_admitted() -> None:
    mixed = edwards.encode(edwards.add(edwards.times(SECRET, edwards.BASE), TORSION))
    with pytest.raises(ConfigurationError, match="Make a new key"):
        check_public_key("a", mixed)


def test_a_first_half_moved_by_a_small_order_point_is_refused_whatever_the_cofactor_would_forgive() -> None:
    for place, shift in enumerate(edwards.small_order_points()):
        assert is_signed(PUBLIC, MESSAGE, edwards.sign(SECRET, PUBLIC, NONCE, MESSAGE, shift)) == (place == 0)
    for first in SMALL:
        assert not is_signed(PUBLIC, MESSAGE, first + bytes(32))


def test_a_second_half_beyond_the_order_is_refused() -> None:
    signature = edwards.sign(SECRET, PUBLIC, NONCE, MESSAGE)
    scalar = int.from_bytes(signature[32:], "little")
    for beyond in range(scalar + GROUP_ORDER, 2**256, GROUP_ORDER):
        assert not is_signed(PUBLIC, MESSAGE, signature[:32] + beyond.to_bytes(32, "little"))


@given(st.binary(max_size=70), st.binary(max_size=70), st.binary(max_size=10))
def test_bytes_of_any_length_are_refused_without_an_error(public: bytes, signature: bytes, message: bytes) -> None:
    assert not is_signed(public, message, signature)
    if len(public) != 32:
        with pytest.raises(ConfigurationError, match="32"):
            check_public_key("a", public)


@pytest.mark.parametrize("number", range(12), ids=[case.about for case in CASES])
def test_row_24_each_case_of_the_published_set_has_the_verdict_of_libsodium(number: int) -> None:
    """Chalkias, Garillot and Nikolaenko, "Taming the Many EdDSAs" (2020): their results, row LibSodium."""
    case = CASES[number]
    assert len(CASES) == 12 and case.accepted == (number == 3)
    assert is_signed(case.public_key, case.message, case.signature) == case.accepted
    if number in (4, 5):  # what only the cofactor forgives is refused for that alone: the key is the accepted one
        assert case.public_key == CASES[3].public_key
    if number in (6, 7):  # an honest key, whose signature was moved
        check_public_key("a", case.public_key)
        return
    with pytest.raises(ConfigurationError, match="Make a new key"):
        check_public_key("a", case.public_key)


@pytest.mark.parametrize("number", range(12), ids=[case.about for case in CASES])
def test_row_24_a_library_that_differs_in_one_case_alone_does_not_pass_at_the_start(
    number: int, monkeypatch
) -> None:
    case, true = CASES[number], is_signed

    def lenient(public_key: bytes, message: bytes, signature: bytes) -> bool:
        is_case = (public_key, message, signature) == (case.public_key, case.message, case.signature)
        return true(public_key, message, signature) != is_case

    monkeypatch.setattr(keys, "is_signed", lenient)
    with pytest.raises(ConfigurationError, match="Install PyNaCl"):
        check_library()


def test_the_library_passes_its_check_and_a_lenient_or_a_broken_one_does_not(monkeypatch) -> None:
    check_library()
    for verdict in (True, False):
        monkeypatch.setattr(keys, "is_signed", lambda *given, verdict=verdict: verdict)
        with pytest.raises(ConfigurationError, match="Install PyNaCl"):
            check_library()
