"""The clients' side of a node: each request is answered once, and each failure has its code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import pytest

from certificate.committees import committee_of
from quorum.apps.answer import FAILED, OK
from quorum.apps.applied import Applied
from quorum.apps.host import OPEN, SESSIONS, opening
from quorum.apps.state_machine import Notice
from quorum.entry import ENTRY_BYTES_MAX, HEAD_BYTES, Buffer, encode_entry
from quorum.errors import ConfigurationError, NoQuorum, NotLeader, Overloaded, QuorumError
from quorum.header import Batch, Header
from quorum.membership.reconfiguration import Admit, apply_change, encode_change
from quorum.model import Configuration
from quorum.protocols import events
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.raft.replica import RaftReplica
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import ELECTION
from quorum.runtime import messages, signed_requests
from quorum.runtime.gateway import Gateway
from quorum.runtime.messages import (
    CertificateRequest,
    ChangeRequest,
    Failure,
    LinkFaultRequest,
    Noticed,
    Pulse,
    Pulsed,
    Query,
    Result,
    StatusReply,
    StatusRequest,
    Submit,
    SubmitSigned,
    TransferRequest,
    Unwatch,
    Watch,
)
from runtime.driver_world import DriverWorld

HEADER = Header(5, 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, b"")


class Desk:
    """A client's connection, and the operator's face of the node."""

    def __init__(self, identity: str = "client.admin") -> None:
        self.identity = identity
        self.answers: list[tuple[object, bytes]] = []
        self.faults: list[tuple[tuple[str, ...], tuple[str, ...]]] = []
        self.refusal: QuorumError | None = None

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        self.answers.append((message, b"".join(attached)))

    def backlog(self) -> int:
        return 0

    def status(self, answer: Callable[[bytes], None]) -> None:
        answer(b'{"node": "n1"}')

    def certificate(self, topic: str) -> bytes:
        if self.refusal is not None:
            raise self.refusal
        return b"certificate of " + topic.encode()

    def set_link_faults(self, blocked_in: tuple[str, ...], blocked_out: tuple[str, ...]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.faults.append((blocked_in, blocked_out))


class Node:
    """A gateway on a driver whose replica does nothing by itself."""

    def __init__(self, requests_max: int = 100) -> None:
        self.world = DriverWorld().start()
        self.world.driver.applied_index = 34
        self.desk = Desk()
        self.gateway = Gateway({"n2": "10.0.0.2:7000"}, requests_max)
        self.gateway.attach(self.world.driver, self.desk)

    def ask(self, message: object, *attached: bytes) -> list[tuple[object, bytes]]:
        """What is answered at once."""
        before = len(self.desk.answers)
        self.gateway.receive(self.desk, message, attached)
        return self.desk.answers[before:]

    def submit(self, request: int, body: bytes = b"body") -> None:
        assert self.ask(Submit(request, 1, 12, 34, 30, 2), body) == []

    def proposed(self) -> events.Proposed:
        self.world.driver.run()
        return next(event for event in self.world.replica.events if isinstance(event, events.Proposed))


def failure_of(answers: list[tuple[object, bytes]]) -> Failure:
    ((failure, _),) = answers
    assert isinstance(failure, Failure)
    return failure


def test_a_session_is_opened_in_the_name_that_the_certificate_proves() -> None:
    node = Node()
    for body in (OPEN, OPEN + b" client.other", OPEN + b"!"):
        assert node.ask(Submit(1, SESSIONS, 0, 0, 0, 1), body) == []
    node.desk.identity = ""
    assert node.ask(Submit(2, SESSIONS, 0, 0, 0, 1), OPEN + b" client.other") == []
    assert [batch.body for batch in node.proposed().batches] == [opening("client.admin")] * 3 + [OPEN]


def test_a_signed_request_is_refused_where_no_protocol_orders_it() -> None:
    """A protocol that is given an event which it does not take stops its node."""
    node = Node()
    assert "Send it unsigned" in failure_of(node.ask(SubmitSigned(1), b"x" * 300)).text
    node.world.driver.run()
    assert not any(isinstance(event, events.Submitted) for event in node.world.replica.events)


def test_a_signed_request_for_which_there_is_no_room_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signed_requests, "WAITING_MAX", 1)
    monkeypatch.setattr(signed_requests, "CLIENT_SHARE", 1)
    node = Node()
    node.world.driver.replica = PbftReplica("n1", committee_of(4), lambda message: bytes(64))
    assert node.ask(SubmitSigned(1), b"a" * 300) == []
    failure = failure_of(node.ask(SubmitSigned(2), b"b" * 300))
    assert failure.code == messages.OVERLOADED
    for part in ("was sent", "too many wait", "send it again"):
        assert part in failure.text


def test_a_committee_whose_members_may_lie_is_given_no_event_that_it_does_not_take() -> None:
    node = Node()
    node.world.driver.replica = PbftReplica("n1", committee_of(4), lambda message: bytes(64))
    for message, body in ((ChangeRequest(1), encode_change(Admit("n5"))), (TransferRequest(1, None), b"")):
        assert "Ask a cluster of crash mode" in failure_of(node.ask(message, body)).text
    node.world.driver.run()


class Alone:
    """A Raft replica that leads itself."""

    def __init__(self) -> None:
        self.replica = RaftReplica("n1", Random(1), Settings())
        self.step(events.Started(1, events.Durable(), Configuration(1, ("n1",))))
        self.store()
        self.step(events.TimerFired(5_000_000, ELECTION))
        self.store()
        self.store()

    def step(self, event: events.Event) -> None:
        self.replica.step(event)

    def store(self) -> None:
        self.step(events.Stored(5_000_000, self.replica.state.persists))


def test_what_is_so_already_is_told_apart_and_only_once_it_is_decided() -> None:
    node, alone = Node(), Alone()
    node.world.driver.replica = alone.replica
    admit = encode_change(Admit("n2", "standby", "10.0.0.2:1"))
    target = apply_change(alone.replica.configuration, Admit("n2", "standby", "10.0.0.2:1"))
    alone.step(events.ChangeProposed(5_000_000, 1, target))
    assert alone.replica.configuration.learners == ("n2",)
    for dry in (False, True):
        assert failure_of(node.ask(ChangeRequest(1, dry), admit)).code == messages.OVERLOADED, "it may be undone"
    alone.store()
    for dry in (False, True):
        failure = failure_of(node.ask(ChangeRequest(1, dry), admit))
        assert (failure.code, "is a learner already" in failure.text) == (messages.ALREADY_SO, True)
    assert failure_of(node.ask(ChangeRequest(1), encode_change(Admit("n2", "witness")))).code == messages.REFUSED


@pytest.mark.parametrize("app", [1, SESSIONS], ids=["a batch", "closing"])
def test_a_session_of_another_client_is_refused(app: int) -> None:
    node = Node()
    node.world.told_to.owners[34] = "client.other"
    failure = failure_of(node.ask(Submit(1, app, 34, 1, 1, 1), b"close"))
    assert (failure.request, failure.code) == (1, messages.REFUSED)
    assert "client.admin did not open it" in failure.text
    node.submit(2)
    assert len(node.proposed().batches) == 1


def test_a_session_of_ones_own_or_of_nobody_or_gone_for_good_is_passed_on() -> None:
    node = Node()
    node.world.told_to.owners.update({30: "client.admin", 31: ""})
    for session in (30, 31, 32):
        assert node.ask(Submit(1, 1, session, 1, 1, 1), b"body") == []


def test_a_session_that_is_not_applied_here_yet_is_no_reason_to_guess() -> None:
    """Its owner will be known once this node has applied the entry that opened it."""
    node = Node()
    node.world.replica.leader = "n2"
    failure = failure_of(node.ask(Submit(1, 1, 35, 1, 1, 1), b"body"))
    assert (failure.code, failure.leader) == (messages.NOT_LEADER, "10.0.0.2:7000")
    node.world.replica.leader = "n1"
    assert failure_of(node.ask(Submit(2, 1, 35, 1, 1, 1), b"body")).code == messages.OVERLOADED
    node.world.told_to.owners[35] = "client.admin"
    assert node.ask(Submit(3, 1, 35, 1, 1, 1), b"body") == []


def test_a_leader_does_not_propose_what_its_application_objects_to() -> None:
    """Who does not lead leaves it to the leader, which may run another program."""
    node = Node()
    node.world.told_to.objections[b"bad"] = "it is bad"
    node.world.replica.leader = "n2"
    assert node.ask(Submit(1, 1, 0, 1, 1, 1), b"bad") == []
    node.world.replica.leader = "n1"
    failure = failure_of(node.ask(Submit(2, 1, 0, 1, 1, 1), b"bad"))
    assert (failure.code, failure.text) == (messages.REFUSED, "it is bad")
    assert node.ask(Submit(3, 1, 0, 1, 1, 1), b"good") == []


def test_a_batch_is_proposed_as_it_was_sent() -> None:
    """Session and sequence number too: they find the duplicates."""
    node = Node()
    node.gateway.receive(node.desk, Submit(7, 1, 12, 34, 30, 2), (b"bo", memoryview(b"dy")))
    assert node.proposed().batches == (Batch(1, 12, 34, 30, 2, b"body"),)


def test_a_batch_is_answered_with_what_applying_gave() -> None:
    node = Node()
    node.submit(70)
    node.submit(71)
    first, second = node.proposed().tokens
    node.gateway.applied(second, HEADER, Applied(FAILED, b"it raised"))
    node.gateway.applied(first, HEADER, Applied(OK, b"reply"))
    assert node.desk.answers == [(Result(71, FAILED), b"it raised"), (Result(70, OK), b"reply")]


def test_a_stale_read_is_answered_at_once() -> None:
    assert Node().ask(Query(3, 1, True), b"key") == [(Result(3, OK), b"answer to key")]


def test_a_linearizable_read_waits_for_its_index() -> None:
    node = Node()
    assert node.ask(Query(3, 1, False), b"key") == []
    node.world.driver.run()
    (asked,) = [event for event in node.world.replica.events if isinstance(event, events.ReadRequested)]
    node.gateway.read_ready(asked.tokens)
    assert node.desk.answers == [(Result(3, OK), b"answer to key")]


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (NotLeader("n2"), Failure(7, messages.NOT_LEADER, "", "10.0.0.2:7000")),
        (NotLeader("n9"), Failure(7, messages.NOT_LEADER, "", "n9")),
        (NotLeader(None), Failure(7, messages.NOT_LEADER, "", None)),
        (Overloaded("too much"), Failure(7, messages.OVERLOADED, "too much")),
        (NoQuorum("nobody"), Failure(7, messages.REFUSED, "nobody")),
    ],
    ids=["leader known", "leader without address", "leader unknown", "overloaded", "anything else"],
)
def test_a_refusal_has_its_code(error: QuorumError, failure: Failure) -> None:
    """For a batch and for a read alike."""
    for message in (Submit(7, 1, 0, 0, 0, 1), Query(7, 1, False)):
        node = Node()
        node.ask(message, b"body")
        node.gateway.refused([1], error)
        assert node.desk.answers == [(failure, b"")]


def test_an_unknown_outcome_is_told_as_such() -> None:
    """The client may retry with the same request id only."""
    node = Node()
    node.submit(7)
    node.gateway.unknown([1])
    ((failure, _),) = node.desk.answers
    assert isinstance(failure, Failure)
    assert (failure.request, failure.code) == (7, messages.OUTCOME_UNKNOWN)
    assert "same request id" in failure.text


def test_too_many_requests_are_refused_definitely() -> None:
    node = Node(requests_max=2)
    node.submit(1)
    node.ask(Query(2, 1, False), b"key")
    ((failure, _),) = node.ask(Submit(3, 1, 0, 0, 0, 1), b"more")
    assert isinstance(failure, Failure) and (failure.request, failure.code) == (3, messages.OVERLOADED)
    node.gateway.applied(1, HEADER, Applied(OK, b""))
    node.submit(4)


def test_a_batch_that_fits_no_entry_is_refused() -> None:
    node = Node()
    ((failure, _),) = node.ask(Submit(3, 1, 0, 0, 0, 1), bytes(ENTRY_BYTES_MAX - HEAD_BYTES + 1))
    assert isinstance(failure, Failure) and failure.code == messages.REFUSED
    assert "Send smaller batches" in failure.text


@pytest.mark.parametrize(
    "submit",
    [
        Submit(3, 65_536, 0, 0, 0, 1),
        Submit(3, -1, 0, 0, 0, 1),
        Submit(3, 1, -1, 0, 0, 1),
        Submit(3, 1, 1 << 64, 0, 0, 1),
        Submit(3, 1, 0, -1, 0, 1),
        Submit(3, 1, 0, 0, -1, 1),
        Submit(3, 1, 0, 0, 0, 1 << 32),
        Submit(3, 1, 0, 0, 0, -1),
    ],
    ids=repr,
)
def test_a_batch_with_numbers_that_no_entry_holds_is_refused(submit: Submit) -> None:
    """Not handed to the leader's replica, which could not encode it."""
    node = Node()
    ((failure, _),) = node.ask(submit, b"body")
    assert isinstance(failure, Failure) and failure.code == messages.REFUSED
    assert "out of range" in failure.text
    node.world.driver.run()
    assert node.world.replica.events == []


def test_the_largest_numbers_that_are_let_in_can_be_encoded() -> None:
    node = Node()
    most = (1 << 64) - 1
    node.world.told_to.owners[most] = node.desk.identity
    assert node.ask(Submit(3, 65_535, most, most, most, (1 << 32) - 1), b"body") == []
    (batch,) = node.proposed().batches
    assert len(encode_entry(1, 1, 1, 0, 0, 0, batch)) == HEAD_BYTES + 4


def test_an_operator_is_answered_by_the_node() -> None:
    node = Node()
    assert node.ask(StatusRequest(1)) == [(StatusReply(1, b'{"node": "n1"}'), b"")]
    assert node.ask(CertificateRequest(2, "topic")) == [(Result(2, OK), b"certificate of topic")]
    assert node.ask(LinkFaultRequest(3, ("n2",), ("n3",))) == [(Result(3, OK), b"")]
    assert node.desk.faults == [(("n2",), ("n3",))]


@pytest.mark.parametrize(
    "message",
    [CertificateRequest(2, "topic"), LinkFaultRequest(2, (), ())],
    ids=lambda value: type(value).__name__,
)
def test_what_the_node_refuses_is_passed_on_with_its_code(message: object) -> None:
    node = Node()
    node.desk.refusal = ConfigurationError("not on this node")
    assert node.ask(message) == [(Failure(2, messages.REFUSED, "not on this node"), b"")]
    node.desk.refusal = NotLeader("n2")
    assert node.ask(message) == [(Failure(2, messages.NOT_LEADER, "", "10.0.0.2:7000"), b"")]


def test_each_client_gets_its_own_answers() -> None:
    """Two connections may use the same request number."""
    node = Node()
    other = Desk()
    node.submit(7)
    node.gateway.receive(other, Submit(7, 1, 0, 0, 0, 1), (b"other",))
    node.gateway.applied(2, HEADER, Applied(OK, b"for the other"))
    assert node.desk.answers == [] and other.answers == [(Result(7, OK), b"for the other")]


def test_watches_hear_what_the_driver_tells_until_their_connection_ends() -> None:
    node = Node()
    node.ask(Watch(4, 9), b"bell")
    node.gateway.watches.pump()
    node.gateway.noticed(12, [Notice(b"bell", b"rings", 9)])
    node.gateway.watches.pump()
    node.gateway.jumped(20)
    node.gateway.watches.pump()
    assert [message for message, _ in node.desk.answers] == [
        Noticed([4], 0, True),
        Noticed([4], 12, False),
        Noticed([4], 20, True),
    ]
    node.gateway.lost(node.desk)
    node.gateway.jumped(30)
    node.gateway.watches.pump()
    assert len(node.desk.answers) == 3


def test_a_watch_can_be_ended_where_too_many_requests_wait() -> None:
    node = Node(requests_max=1)
    node.ask(Watch(4, 9), b"bell")
    node.submit(1)
    assert node.ask(Unwatch(4)) == [] and len(node.gateway.watches) == 0
    ((failure, _),) = node.ask(Watch(5, 9), b"bell")
    assert isinstance(failure, Failure) and failure.code == messages.OVERLOADED


def test_a_node_that_knows_no_leader_says_so_to_its_watchers() -> None:
    node = Node()
    assert node.ask(Pulse(6)) == [(Failure(6, messages.NOT_LEADER), b"")]
    node.world.replica.leader = "n2"
    assert node.ask(Pulse(7)) == [(Pulsed(7, 0), b"")]
