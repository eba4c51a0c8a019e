"""A client's session: it finds the leader, and sends an unanswered batch again under its own sequence number."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.apps.answer import EXPIRED, FAILED, OK
from quorum.apps.host import CLOSE, OPEN, SESSIONS
from quorum.errors import (
    LocalProtocolError,
    NotLeader,
    OutcomeUnknown,
    Overloaded,
    QuorumError,
    RemoteProtocolError,
    RequestRefused,
    SessionExpired,
)
from quorum.runtime import messages
from quorum.runtime.messages import Failure, Query, Result, StatusReply, Submit
from quorum.runtime.session import Session
from quorum.runtime.session_settings import SessionSettings

NODES = ("a:1", "b:1", "c:1")
SETTINGS = SessionSettings(silence_us=1_000_000, retry_us=10_000, retry_max_us=100_000)


class Owner:
    """What a session asks of its owner, written down; time goes on by hand."""

    def __init__(self, endpoints: tuple[str, ...] = NODES) -> None:
        self.now_us = 0
        self.connects: list[tuple[str, int]] = []
        self.sent: list[tuple[object, bytes]] = []
        self.woken_us: int | None = None
        self.results: dict[int, tuple[int, bytes]] = {}
        self.errors: dict[int, QuorumError] = {}
        self.notices: list[tuple[int, int, bytes | None]] = []
        self.session = Session(endpoints, self, SETTINGS)

    def connect(self, endpoint: str, delay_us: int) -> None:
        self.connects.append((endpoint, delay_us))

    def transmit(self, message: object, body: bytes) -> None:
        self.sent.append((message, body))

    def wake(self, delay_us: int) -> None:
        self.woken_us = self.now_us + delay_us

    def finished(self, handle: int, status: int, body: bytes) -> None:
        assert handle not in self.results and handle not in self.errors, "answered twice"
        self.results[handle] = (status, body)

    def failed(self, handle: int, error: QuorumError) -> None:
        assert handle not in self.results and handle not in self.errors, "answered twice"
        self.errors[handle] = error

    def noticed(self, handle: int, index: int, body: bytes | None) -> None:
        self.notices.append((handle, index, body))

    def watch_failed(self, handle: int, error: QuorumError) -> None:
        self.errors[handle] = error

    # Shorthand.

    def begin(self, client: int = 50) -> Owner:
        """Connected, in a session that is open."""
        self.session.start(self.now_us)
        self.connected()
        self.session.window.client = client
        return self

    def connected(self) -> None:
        self.session.connected(self.now_us)

    def opened(self, client: int = 50) -> None:
        (opening,) = [m for m, body in self.take() if isinstance(m, Submit) and body == OPEN]
        self.hear(Result(opening.request, OK), msgspec.msgpack.encode(client))

    def submit(self, body: bytes, timeout_us: int = 1 << 60) -> int:
        return self.session.submit(self.now_us, 1, 1, body, timeout_us)

    def hear(self, message: object, body: bytes = b"") -> None:
        self.session.received(self.now_us, message, body)  # type: ignore[arg-type]

    def take(self) -> list[tuple[object, bytes]]:
        sent, self.sent = self.sent, []
        return sent

    def submitted(self) -> list[tuple[int, int, int, bytes]]:
        """What was sent since: (session, sequence number, acked below, body) of each batch."""
        return [
            (m.client, m.first_sequence, m.acked_below, body)
            for m, body in self.take()
            if isinstance(m, Submit) and m.app != SESSIONS
        ]

    def wait(self, us: int) -> None:
        self.now_us += us
        self.session.tick(self.now_us)

    def reconnect(self) -> None:
        self.session.disconnected(self.now_us)
        self.connected()


# Opening.


def test_a_session_is_opened_before_the_first_batch_is_sent() -> None:
    """Ongaro 2014, section 6.3: a client registers, and the cluster gives it its id."""
    owner = Owner()
    handle = owner.submit(b"early")
    owner.session.start(0)
    assert owner.connects == [("a:1", 0)]
    owner.connected()
    ((opening, body),) = owner.take()
    assert isinstance(opening, Submit) and (opening.app, opening.client, body) == (SESSIONS, 0, OPEN)
    owner.hear(Result(opening.request, OK), msgspec.msgpack.encode(77))
    assert owner.session.window.client == 77
    assert owner.submitted() == [(77, 1, 1, b"early")]
    assert owner.session.unanswered == 1 and handle not in owner.results


def test_who_only_reads_opens_no_session() -> None:
    owner = Owner()
    owner.session.start(0)
    owner.connected()
    assert owner.take() == []
    handle = owner.session.query(0, 1, b"key")
    assert owner.take() == [(Query(handle, 1, False), b"key")]
    owner.reconnect()
    assert owner.take() == [(Query(handle, 1, False), b"key")]
    owner.hear(Result(handle, OK), b"value")
    assert owner.results == {handle: (OK, b"value")}
    owner.session.close(0)
    assert owner.take() == []


def test_the_first_batches_open_one_session_and_follow_it_in_order() -> None:
    owner = Owner()
    owner.session.start(0)
    owner.connected()
    owner.submit(b"x")
    owner.submit(b"y")
    assert len(owner.sent) == 1
    owner.opened(50)
    assert owner.submitted() == [(50, 1, 1, b"x"), (50, 2, 1, b"y")]


def test_an_opening_that_has_no_leader_is_repeated_once_for_all_batches() -> None:
    owner = Owner()
    owner.session.start(0)
    owner.connected()
    owner.submit(b"x")
    ((opening, _),) = owner.take()
    owner.hear(Failure(opening.request, messages.NOT_LEADER, "", None))  # type: ignore[attr-defined]
    owner.submit(b"y")
    assert owner.take() == []
    owner.wait(SETTINGS.retry_us)
    owner.opened(50)
    assert owner.submitted() == [(50, 1, 1, b"x"), (50, 2, 1, b"y")]


def test_a_session_is_given_back_at_the_end() -> None:
    """Else the cluster keeps it until 10,000 others have come."""
    owner = Owner().begin()
    handle = owner.submit(b"x")
    owner.hear(Result(handle, OK))
    owner.take()
    owner.session.close(0)
    ((closing, body),) = owner.take()
    assert isinstance(closing, Submit) and (closing.app, closing.client, body) == (SESSIONS, 50, CLOSE)
    owner.session.close(0)
    assert owner.take() == []


def test_a_session_that_is_not_connected_ends_without_a_word() -> None:
    owner = Owner().begin()
    owner.session.disconnected(0)
    owner.session.close(0)
    assert owner.take() == []


def test_a_session_that_cannot_be_opened_here_is_opened_at_the_leader() -> None:
    owner = Owner()
    owner.session.start(0)
    owner.connected()
    owner.submit(b"x")
    ((opening, _),) = owner.take()
    owner.hear(Failure(opening.request, messages.NOT_LEADER, "", "c:1"))  # type: ignore[attr-defined]
    assert owner.connects[-1] == ("c:1", 0)
    owner.connected()
    owner.opened(5)
    assert owner.session.window.client == 5


def test_a_session_without_endpoints_is_the_callers_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="Name at least one node"):
        Session((), Owner())


# Sequence numbers.


def test_a_retry_keeps_its_sequence_number() -> None:
    """Ongaro 2014, section 6.3: each command has a serial number, and a retry the same one."""
    owner = Owner().begin()
    owner.submit(b"x")
    owner.submit(b"y")
    first = owner.submitted()
    for _ in range(3):
        owner.reconnect()
        assert owner.submitted() == first == [(50, 1, 1, b"x"), (50, 2, 1, b"y")]


def test_what_is_answered_is_acknowledged_with_the_next_batch() -> None:
    """`acked_below` tells the cluster which replies it may forget."""
    owner = Owner().begin()
    first, second = owner.submit(b"x"), owner.submit(b"y")
    owner.hear(Result(second, OK))
    owner.submit(b"z")
    assert owner.submitted()[-1] == (50, 3, 1, b"z")
    owner.hear(Result(first, OK))
    owner.submit(b"w")
    assert owner.submitted() == [(50, 4, 3, b"w")]


def test_an_answer_ends_a_batch_whatever_its_status() -> None:
    """An application's error is an answer."""
    owner = Owner().begin()
    handle = owner.submit(b"x")
    owner.hear(Result(handle, FAILED), b"it raised")
    assert owner.results == {handle: (FAILED, b"it raised")} and owner.session.unanswered == 0
    owner.hear(Result(handle, OK), b"again")
    assert owner.results == {handle: (FAILED, b"it raised")}


@given(
    steps=st.lists(
        st.sampled_from(["submit", "query", "answer", "lose", "redirect", "overload", "unknown", "wait"]),
        max_size=40,
    )
)
def test_every_batch_goes_out_in_order_under_one_number_until_it_is_answered(steps: list[str]) -> None:
    """I1, for any course of events: one sequence number for each body, ascending in each connection, and
    `acked_below` never above an unanswered one."""
    owner = Owner().begin()
    bodies: dict[int, bytes] = {}
    handles: dict[int, bytes] = {}
    for number, step in enumerate(steps):
        waiting = [h for h in handles if h not in owner.results]
        match step:
            case "submit":
                handles[owner.submit(b"%d" % number)] = b"%d" % number
            case "query":
                owner.session.query(owner.now_us, 1, b"key")
            case "answer" if waiting:
                owner.hear(Result(waiting[0], OK))
            case "lose":
                owner.reconnect()
            case "redirect" if waiting:
                owner.hear(Failure(waiting[-1], messages.NOT_LEADER, "", "b:1"))
                owner.connected()
            case "overload" if waiting:
                owner.hear(Failure(waiting[-1], messages.OVERLOADED))
            case "unknown" if waiting:
                owner.hear(Failure(waiting[0], messages.OUTCOME_UNKNOWN))
            case "wait":
                owner.wait(150_000)
        unanswered = {handles[h] for h in handles if h not in owner.results}
        for client, sequence, acked_below, body in owner.submitted():
            assert client == 50
            assert bodies.setdefault(sequence, body) == body
            assert body in unanswered
            assert all(other >= acked_below for other, their_body in bodies.items() if their_body in unanswered)
    assert len(set(bodies.values())) == len(bodies)
    assert not owner.errors


# Finding the leader.


def test_a_redirect_is_followed_at_once_and_everything_goes_there() -> None:
    owner = Owner().begin()
    owner.submit(b"x")
    second = owner.submit(b"y")
    owner.take()
    owner.hear(Failure(second, messages.NOT_LEADER, "", "b:1"))
    assert owner.connects[-1] == ("b:1", 0)
    owner.connected()
    assert [body for *_, body in owner.submitted()] == [b"x", b"y"]


def test_one_redirect_of_many_answers_is_enough() -> None:
    """Each batch on the connection is refused; only the first one moves the session."""
    owner = Owner().begin()
    handles = [owner.submit(b"x"), owner.submit(b"y")]
    for handle in handles:
        owner.hear(Failure(handle, messages.NOT_LEADER, "", "b:1"))
    assert owner.connects == [("a:1", 0), ("b:1", 0)]


def test_a_leader_at_an_unknown_address_is_tried_and_then_the_known_ones() -> None:
    """A node without an address is called by its name, which may lead nowhere."""
    owner = Owner().begin()
    handle = owner.submit(b"x")
    owner.hear(Failure(handle, messages.NOT_LEADER, "", "n9"))
    assert owner.connects[-1] == ("n9", 0)
    owner.session.disconnected(owner.now_us)
    tried = [endpoint for endpoint, _ in owner.connects[2:]]
    for _ in range(3):
        owner.session.disconnected(owner.now_us)
    tried = [endpoint for endpoint, _ in owner.connects[2:]]
    assert set(NODES) <= set(tried)


@pytest.mark.parametrize("leader", [None, "a:1"], ids=["unknown", "the node that was asked"])
def test_without_a_leader_the_next_node_is_asked_after_a_pause(leader: str | None) -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    before = len(owner.connects)
    owner.hear(Failure(handle, messages.NOT_LEADER, "", leader))
    if leader is None:
        # An election takes less time than looking around: the same node is asked again, for a while.
        assert len(owner.connects) == before
        owner.wait(SETTINGS.leaderless_us)
        owner.hear(Failure(handle, messages.NOT_LEADER, "", leader))
    assert [endpoint for endpoint, _ in owner.connects[before:]] == ["b:1"]
    assert owner.connects[-1][1] > 0


def test_nodes_that_name_each_other_are_not_followed_for_ever() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    delays = []
    for turn in range(20):
        owner.hear(Failure(handle, messages.NOT_LEADER, "", "bc"[turn % 2] + ":1"))
        owner.connected()
        delays.append(owner.connects[-1][1])
    assert any(delays)


def test_pauses_between_connections_grow_to_a_bound_and_fall_back_after_an_answer() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    for _ in range(12):
        owner.session.disconnected(owner.now_us)
    delays = [delay for _, delay in owner.connects[1:]]
    assert delays == sorted(delays) and delays[-1] == SETTINGS.retry_max_us
    owner.connected()
    owner.hear(Result(handle, OK))
    owner.session.disconnected(owner.now_us)
    assert owner.connects[-1][1] < SETTINGS.retry_max_us


def test_a_node_that_says_nothing_is_left() -> None:
    """A partition closes no connection."""
    owner = Owner().begin()
    owner.submit(b"x")
    assert owner.woken_us is not None and owner.woken_us <= SETTINGS.silence_us
    owner.wait(SETTINGS.silence_us - 1)
    assert len(owner.connects) == 1
    owner.wait(1)
    assert owner.connects[-1][0] == "b:1"


def test_a_session_that_waits_for_nothing_stays_where_it_is() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    owner.hear(Result(handle, OK))
    owner.wait(100 * SETTINGS.silence_us)
    assert len(owner.connects) == 1
    owner.submit(b"y")
    owner.wait(SETTINGS.silence_us // 2)
    assert len(owner.connects) == 1


# Failures.


@pytest.mark.parametrize("code", [messages.OVERLOADED, messages.OUTCOME_UNKNOWN])
def test_an_overload_or_a_moved_leader_is_retried_after_a_pause_under_the_same_number(code: int) -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    first = owner.submitted()
    owner.hear(Failure(handle, code))
    assert owner.submitted() == []
    assert owner.woken_us is not None
    owner.wait(owner.woken_us - owner.now_us)
    assert owner.submitted() == first
    assert len(owner.connects) == 1


def test_what_was_asked_wrongly_fails_at_once() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    owner.hear(Failure(handle, messages.REFUSED, "no such thing"))
    assert str(owner.errors[handle]) == "no such thing" and owner.session.unanswered == 0


def test_a_refusal_is_definite_unless_another_node_may_have_taken_the_batch_before() -> None:
    owner = Owner().begin()
    first, second = owner.submit(b"x"), owner.submit(b"y")
    owner.hear(Failure(first, messages.REFUSED, "no such thing."))
    assert type(owner.errors[first]) is RequestRefused
    owner.reconnect()
    owner.hear(Failure(second, messages.REFUSED, "no such thing."))
    assert type(owner.errors[second]) is OutcomeUnknown and "sent before that" in str(owner.errors[second])


def test_a_batch_that_was_sent_and_not_answered_in_time_has_an_unknown_outcome() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x", timeout_us=5_000)
    assert owner.woken_us == 5_000
    owner.wait(5_000)
    assert isinstance(owner.errors[handle], OutcomeUnknown)


def test_a_batch_that_was_never_sent_has_a_definite_outcome() -> None:
    """Nothing happened: it never left this process."""
    owner = Owner()
    owner.session.start(0)
    handle = owner.submit(b"x", timeout_us=5_000)
    owner.wait(5_000)
    assert isinstance(owner.errors[handle], NotLeader)
    owner.connected()
    assert owner.take() == []


def test_a_read_that_is_not_answered_in_time_has_a_definite_outcome() -> None:
    owner = Owner().begin()
    handle = owner.session.query(0, 1, b"key", timeout_us=5_000)
    owner.wait(5_000)
    assert isinstance(owner.errors[handle], Overloaded)
    owner.session.disconnected(owner.now_us)
    handle = owner.session.query(owner.now_us, 1, b"key", timeout_us=5_000)
    owner.wait(5_000)
    assert isinstance(owner.errors[handle], NotLeader)


def test_an_expired_session_fails_what_was_sent_and_goes_on_in_a_new_one() -> None:
    """Ongaro 2014, section 6.3: without its session a retry could be applied twice, so it is not sent again."""
    owner = Owner().begin(50)
    sent = owner.submit(b"sent"), owner.submit(b"sent too")
    owner.take()
    owner.hear(Result(sent[0], EXPIRED))
    assert {type(error) for error in owner.errors.values()} == {SessionExpired}
    assert set(owner.errors) == set(sent)
    later = owner.submit(b"later")
    owner.opened(60)
    assert owner.submitted() == [(60, 3, 3, b"later")]
    owner.hear(Result(sent[1], EXPIRED))
    owner.hear(Result(later, OK))
    assert owner.results == {later: (OK, b"")} and owner.session.window.client == 60


def test_a_status_is_no_answer_to_a_session() -> None:
    owner = Owner().begin()
    handle = owner.submit(b"x")
    with pytest.raises(RemoteProtocolError):
        owner.hear(StatusReply(handle, b"{}"))


# A bounded number on the way.


def test_batches_beyond_the_window_wait_for_answers_in_order() -> None:
    owner = Owner().begin()
    window = SETTINGS.batches_sent_max
    handles = [owner.submit(b"%d" % number) for number in range(window + 3)]
    assert [body for *_, body in owner.submitted()] == [b"%d" % number for number in range(window)]
    owner.hear(Result(handles[0], OK))
    owner.hear(Result(handles[1], OK))
    assert [(acked, body) for _, _, acked, body in owner.submitted()] == [(2, b"256"), (3, b"257")]
    later = owner.submit(b"later")
    assert owner.submitted() == []
    for handle in (*handles[2:], later):
        owner.hear(Result(handle, OK))
    assert [body for *_, body in owner.submitted()] == [b"258", b"later"]
    assert owner.session.unanswered == 0


def test_bytes_beyond_the_window_wait_but_one_batch_always_goes() -> None:
    owner = Owner().begin()
    large = bytes(SETTINGS.bytes_sent_max + 1)
    first, second = owner.submit(large), owner.submit(b"small")
    assert [body for *_, body in owner.submitted()] == [large]
    owner.hear(Failure(first, messages.REFUSED, "too large"))
    assert [body for *_, body in owner.submitted()] == [b"small"]
    owner.hear(Result(second, OK))
    assert owner.session.unanswered == 0


def test_the_window_opens_anew_with_a_connection_a_redirect_and_a_time_out() -> None:
    owner = Owner().begin()
    window = SETTINGS.batches_sent_max
    handles = [owner.submit(b"x", timeout_us=500_000) for _ in range(2 * window)]
    assert len(owner.submitted()) == window
    owner.reconnect()
    assert len(owner.submitted()) == window
    owner.hear(Failure(handles[0], messages.NOT_LEADER, "", "c:1"))
    owner.connected()
    assert len(owner.submitted()) == window
    owner.hear(Failure(handles[1], messages.OVERLOADED))
    owner.wait(100_000)
    assert len(owner.submitted()) == 1
    owner.wait(400_000)
    assert len(owner.errors) == 2 * window
    owner.submit(b"y")
    assert [body for *_, body in owner.submitted()] == [b"y"]
