"""A client of members that may lie: everything goes to all of them, and T+1 equal answers are one."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from certificate.committees import committee_of
from certificate.test_epochs import change
from quorum.apps.host import OPEN, SESSIONS
from quorum.certificate.epochs import EpochChange
from quorum.certificate.keys import is_signed
from quorum.certificate.requests import decode_request, request_statement
from quorum.certificate.vote import SigningDomain
from quorum.runtime.fan_out import FanOut
from quorum.runtime.messages import (
    REFUSED,
    ApproveRequest,
    CertificateRequest,
    EpochsReply,
    EpochsRequest,
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

FIRST = committee_of(4, epoch=1)
MEMBERS = FIRST.nodes
KEY = SigningKey(b"c" * 32)
DOMAIN = SigningDomain(FIRST.cluster, 0)


class Ends:
    """What the client sent to whom, and what its session was told."""

    def __init__(self, nonce: int = 1000) -> None:
        self.sent: list[tuple[str, SubmitSigned, bytes]] = []
        self.asked: list[tuple[str, EpochsRequest]] = []
        self.changes = 0
        self.told: list[tuple[object, bytes]] = []
        self.fan_out = FanOut(
            FIRST,
            bytes(KEY.verify_key),
            lambda data: KEY.sign(data).signature,
            nonce,
            self.send,
            lambda message, body: self.told.append((message, body)),
            self.change,
        )

    def send(self, member: str, message: SubmitSigned | EpochsRequest, body: bytes) -> None:
        if isinstance(message, EpochsRequest):
            self.asked.append((member, message))
        else:
            self.sent.append((member, message, body))

    def change(self) -> None:
        self.changes += 1

    def know(self, *members: str, changes: tuple[EpochChange, ...] = ()) -> None:
        """These answer the question they were asked last: so it went on."""
        for member in members:
            question = [asked for node, asked in self.asked if node == member][-1]
            self.fan_out.received(member, EpochsReply(question.request, changes, ()), b"")

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
    ends.know("n1")
    assert not ends.fan_out.is_usable
    ends.connect("n2")
    assert not ends.fan_out.is_usable, "n1 may lie: n2 may know a later committee"
    ends.know("n2")
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


def test_a_read_that_may_be_stale_is_ordered_like_any_other():
    """So a class with such queries runs on either engine."""
    ends = connected(*MEMBERS)
    ends.fan_out.transmit(Query(7, 1, True), b"get")
    assert ends.told == [] and ends.take() == list(MEMBERS)


# Another committee.

SECOND = committee_of(4, epoch=2, first=2)  # n2 to n5
THIRD = committee_of(4, epoch=3, first=6)  # n6 to n9
TO_SECOND, TO_THIRD = change(FIRST, SECOND), change(SECOND, THIRD)


def following(*members: str) -> Ends:
    """A client of the second committee, connected to nodes; the change was told by the last of the first."""
    ends = connected(*(members or (*MEMBERS, "n5")))
    ends.know("n4", changes=(TO_SECOND,))
    assert ends.fan_out.committees.newest == SECOND and ends.changes == 1
    return ends


def test_requests_go_to_the_members_of_the_newest_committee():
    ends = connected(*MEMBERS, "n5")
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    assert ends.take() == list(MEMBERS)
    ends = following()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    assert ends.take() == list(SECOND.nodes)


def test_a_request_on_its_way_is_sent_to_whoever_is_a_member_by_now():
    ends = connected(*MEMBERS, "n5")
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.take()
    ends.know("n4", changes=(TO_SECOND,))
    assert set(ends.take()) == set(SECOND.nodes)


def test_t_plus_1_of_the_old_or_of_the_new_committee_answer_what_was_sent_before_the_change():
    for members in (("n1", "n2"), ("n4", "n5")):
        ends = connected(*MEMBERS, "n5")
        ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
        ends.know("n4", changes=(TO_SECOND,))
        for member in members:
            assert ends.told == []
            ends.fan_out.received(member, Result(7, 0), b"true")
        assert len(ends.told) == 1


def test_one_of_the_old_and_one_of_the_new_committee_are_not_enough():
    """Each may be the one liar of its committee."""
    ends = connected(*MEMBERS, "n5")
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.know("n4", changes=(TO_SECOND,))
    for member in ("n1", "n5"):
        ends.fan_out.received(member, Result(7, 0), b"forged")
    assert ends.told == []


def test_departed_members_are_not_believed_in_what_was_asked_after_the_change():
    ends = connected(*MEMBERS, "n5", *THIRD.nodes)
    ends.know("n4", changes=(TO_SECOND, TO_THIRD))
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    assert ends.take() == list(THIRD.nodes)
    for member in (*MEMBERS, "n5"):
        ends.fan_out.received(member, Result(7, 0), b"forged")
    assert ends.told == []
    for member in THIRD.nodes:
        ends.fan_out.received(member, Result(7, 0), b"true")
    assert ends.told == [(Result(7, 0), b"true")]


def test_it_is_usable_once_members_of_the_newest_committee_know_no_later_one():
    ends = following()
    assert ends.fan_out.reaches_enough and not ends.fan_out.is_usable
    ends.know("n1")
    ends.know("n2")
    assert not ends.fan_out.is_usable, "n1 is no member any more"
    ends.know("n5")
    assert ends.fan_out.is_usable


def test_while_a_request_waits_every_node_is_asked_for_a_later_committee():
    ends = connected(*MEMBERS, "n5")
    ends.know(*MEMBERS)
    ends.asked.clear()
    ends.fan_out.transmit(Submit(7, 1, 55, 3, 2, 1), b"put")
    ends.fan_out.tick()
    assert ends.asked == [], "it has not waited for a second yet"
    ends.fan_out.tick()
    assert {node for node, _ in ends.asked} == {*MEMBERS, "n5"}
