"""A client of members that may lie: everything goes to all of them, and T+1 equal answers are one."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from quorum.apps.host import OPEN, SESSIONS
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import decode_request, request_statement
from quorum.certificate.vote import SigningDomain
from quorum.runtime.fan_out import FanOut
from quorum.runtime.messages import (
    REFUSED,
    ApproveRequest,
    CertificateRequest,
    Failure,
    MembersRequest,
    ProofRequest,
    Pulse,
    Query,
    Result,
    StatusRequest,
    Submit,
    SubmitSigned,
    TransferRequest,
    Unwatch,
    Watch,
)

MEMBERS = ("n1", "n2", "n3", "n4")
KEY = SigningKey(b"c" * 32)
DOMAIN = SigningDomain("tests", 0)


class Ends:
    """What the client sent to whom, and what its session was told."""

    def __init__(self, nonce: int = 1000) -> None:
        self.sent: list[tuple[str, SubmitSigned, bytes]] = []
        self.told: list[tuple[object, bytes]] = []
        self.fan_out = FanOut(
            MEMBERS,
            1,
            DOMAIN,
            bytes(KEY.verify_key),
            lambda data: KEY.sign(data).signature,
            nonce,
            lambda member, message, body: self.sent.append((member, message, body)),
            lambda message, body: self.told.append((message, body)),
        )

    def connect(self, *members: str) -> None:
        for member in members:
            self.fan_out.connected(member)

    def take(self) -> list[str]:
        """Who was sent something since."""
        found, self.sent = [member for member, _, _ in self.sent], []
        return found


def connected(*members: str) -> Ends:
    ends = Ends()
    ends.connect(*(members or MEMBERS))
    return ends


def test_a_batch_goes_to_every_member_signed_by_the_client():
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    assert [member for member, _, _ in ends.sent] == list(MEMBERS)
    _, message, data = ends.sent[0]
    request = decode_request(data)
    assert message == SubmitSigned(7)
    assert (request.batch.app, request.batch.client, request.batch.first_sequence) == (1, 55, 3)
    assert request.public_key == bytes(KEY.verify_key)
    assert is_signed(
        request.public_key, request_statement(DOMAIN, request.batch, request.digest), request.signature
    )


def test_one_member_alone_is_not_believed_and_t_plus_1_are():
    """Row 30 of the adversarial checklist: forged replies."""
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.received("n1", Result(7, 0), b"forged")
    assert ends.told == []
    ends.fan_out.received("n2", Result(7, 0), b"true")
    assert ends.told == []
    ends.fan_out.received("n3", Result(7, 0), b"true")
    assert ends.told == [(Result(7, 0), b"true")]
    ends.fan_out.received("n4", Result(7, 0), b"true")
    assert len(ends.told) == 1


def test_a_member_that_answers_twice_counts_once():
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    for _ in range(5):
        ends.fan_out.received("n1", Result(7, 0), b"forged")
    assert ends.told == []


def test_the_status_is_part_of_the_answer():
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.received("n1", Result(7, 0), b"same")
    ends.fan_out.received("n2", Result(7, 1), b"same")
    assert ends.told == []


def test_a_refusal_of_t_plus_1_members_is_one():
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.received("n1", Failure(7, REFUSED, "no"), b"")
    ends.fan_out.received("n2", Failure(7, REFUSED, "no"), b"")
    assert ends.told == [(Failure(7, REFUSED, "no"), b"")]


def test_whom_to_ask_instead_is_part_of_a_refusal():
    """Else a liar that says last what an honest member says would lead the client to where it likes."""
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.received("n2", Failure(7, REFUSED, "no", "n3"), b"")
    ends.fan_out.received("n1", Failure(7, REFUSED, "no", "evil"), b"")
    assert ends.told == []


def test_of_a_long_answer_that_nobody_else_gives_little_is_kept():
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.received("n1", Result(7, 0), bytes(10_000_000))
    (kept,) = ends.fan_out._open[7].told.values()
    assert len(kept[2]) <= 32
    for member in ("n2", "n3"):
        ends.fan_out.received(member, Result(7, 0), b"true" * 100)
    assert ends.told == [(Result(7, 0), b"true" * 100)]


@pytest.mark.parametrize("long", [b"x" * 32, b"x" * 1000])
def test_no_answer_is_taken_for_one_whose_digest_it_is(long: bytes):
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    digest = blake2b(long, digest_size=32).digest()
    ends.fan_out.received("n1", Result(7, 0), long)
    for forged in (digest, digest[1:], digest[:31]):
        ends.fan_out.received("n2", Result(7, 0), forged)
    assert ends.told == []


def test_a_read_is_ordered_like_a_write_and_no_two_are_the_same_request():
    ends = connected()
    ends.fan_out.transmit(Query(7, 1, False), b"get")
    ends.fan_out.transmit(Query(8, 1, False), b"get")
    first, second = (decode_request(data) for member, _, data in ends.sent if member == "n1")
    assert (first.batch.app, first.batch.client) == (SESSIONS, 0)
    assert first.name != second.name


def test_two_lives_of_a_client_never_ask_in_the_same_words():
    """Else a member could answer from what it remembers of the first life."""
    names = []
    for nonce in (1000, 2000):
        ends = Ends(nonce)
        ends.connect("n1")
        ends.fan_out.transmit(Query(1, 1, False), b"get")
        ends.fan_out.transmit(Submit(2, SESSIONS, 0, 0, 0, 1), OPEN)
        names += [decode_request(data).name for _, _, data in ends.sent]
    assert len(set(names)) == 4


def test_a_member_that_comes_back_hears_of_what_is_not_answered():
    ends = connected("n1", "n2")
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    assert ends.take() == ["n1", "n2"]
    ends.connect("n3")
    assert ends.take() == ["n3"]
    ends.fan_out.lost("n1")
    ends.fan_out.received("n2", Result(7, 0), b"true")
    ends.fan_out.received("n3", Result(7, 0), b"true")
    ends.connect("n1")
    assert ends.take() == []


def test_it_is_usable_with_t_plus_1_members():
    ends = Ends()
    assert not ends.fan_out.is_usable
    ends.connect("n1")
    assert not ends.fan_out.is_usable
    ends.connect("n2")
    assert ends.fan_out.is_usable
    ends.fan_out.lost("n2")
    assert not ends.fan_out.is_usable


REFUSALS = {
    Watch(7, 1): "a watch was asked of",
    Unwatch(7): "a watch was asked of",
    Pulse(7): "a watch was asked of",
    StatusRequest(7): "a status was asked of",
    CertificateRequest(7, "colour"): "the certificate of a decision was asked of",
    ApproveRequest(7): "an approval of a next committee was asked of",
    ProofRequest(7): "a proof from the ledger was asked of",
    MembersRequest(7): "a list of the members was asked of",
    TransferRequest(7, None): "TransferRequest was asked of",
}


@pytest.mark.parametrize("message", REFUSALS, ids=lambda message: type(message).__name__)
def test_what_members_cannot_vouch_for_is_refused_at_once_by_its_name(message):
    ends = connected()
    ends.fan_out.transmit(message, b"")
    ((failure, _),) = ends.told
    assert isinstance(failure, Failure) and (failure.request, failure.code) == (7, REFUSED) and ends.sent == []
    assert failure.text.startswith(REFUSALS[message]) and ", but " in failure.text


@given(st.lists(st.tuples(st.sampled_from(MEMBERS), st.binary(max_size=2)), max_size=30))
def test_whatever_is_said_only_what_two_members_said_last_is_passed_on(said):
    ends = connected()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    newest: dict[str, bytes] = {}
    expected = None
    for member, body in said:
        ends.fan_out.received(member, Result(7, 0), body)
        newest[member] = body
        if expected is None and list(newest.values()).count(body) > 1:
            expected = body
    assert [body for _, body in ends.told] == ([] if expected is None else [expected])


def test_a_stale_read_is_refused_and_nobody_is_asked():
    ends = Ends()
    ends.fan_out.transmit(Query(7, 1, True), b"get")
    ((message, _),) = ends.told
    assert message.code == REFUSED and "stale read" in message.text and ends.sent == []
