"""Where a client finds its cluster: members as nodes tell them, and what a stranger may not make it do."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.entry import Buffer
from quorum.errors import QuorumError
from quorum.model import Configuration
from quorum.runtime import messages
from quorum.runtime.directory import MEMBERS_MAX, Directory, loopback_only, nowhere
from quorum.runtime.member_board import MemberBoard
from quorum.runtime.messages import Failure, MembersReply, MembersRequest, Result, Submit
from quorum.runtime.session import Session
from quorum.runtime.session_settings import SessionSettings

A, B, C, D, E, F = (f"10.0.0.{number}:7000" for number in range(1, 7))
NAMES = dict(zip("abcdef", (A, B, C, D, E, F), strict=True))
SETTINGS = SessionSettings(silence_us=1_000_000, retry_us=10_000, retry_max_us=100_000, members_us=5_000_000)


def told(names: str, epoch: int = 1, by: str = "", request: int = 1) -> MembersReply:
    """What a node says: `by` tells that `names` are the members."""
    members = tuple((name, NAMES[name]) for name in names)
    return MembersReply(request, by or names[0], epoch, members)


def tried(directory: Directory, count: int) -> list[str]:
    """The next addresses, each of which fails."""
    return [directory.next(failures) for failures in range(1, count + 1)]


def test_members_are_tried_round_after_round_and_other_seeds_once_a_round():
    directory = Directory([A, B], discovers=True)
    assert directory.learn(told("bcd", by="b")) is False
    assert tried(directory, 8) == [B, C, D, A, B, C, D, A]
    assert directory.endpoints == (B, C, D, A)


def test_a_seed_that_is_no_member_is_not_dialled_while_a_member_can_be_reached():
    directory = Directory([A], discovers=True)
    directory.learn(told("def", by="d"))
    assert A not in {directory.next(failures) for _ in range(50) for failures in (1, 2)}


def test_the_address_of_a_member_is_bound_to_its_name_and_that_of_a_seed_to_none():
    directory = Directory([A, F], discovers=True)
    assert directory.node_at(A) == ""
    directory.learn(told("abc"))
    assert [directory.node_at(endpoint) for endpoint in (A, B, F)] == ["a", "b", ""]
    directory.learn(told("bcd", epoch=2))
    assert [directory.node_at(endpoint) for endpoint in (A, B)] == ["", "b"], (
        "who has left is nobody in particular"
    )


def test_where_two_members_are_said_to_be_at_one_address_either_may_answer():
    directory = Directory([A], discovers=True)
    directory.learn(MembersReply(1, "a", 1, (("a", A), ("b", B), ("c", A))))
    assert directory.endpoints == (A, B) and [directory.node_at(A), directory.node_at(B)] == ["", "b"]


def test_an_older_epoch_changes_nothing():
    directory = Directory([A], discovers=True)
    directory.learn(told("def", epoch=9))
    assert directory.learn(told("abc", epoch=8)) is False
    assert directory.endpoints == (D, E, F, A)


def test_a_node_that_says_it_is_no_member_is_to_be_left():
    directory = Directory([A], discovers=True)
    assert directory.learn(told("bcd", epoch=4, by="a")) is True


def test_a_client_that_does_not_discover_learns_nothing():
    directory = Directory([A], follows=nowhere)
    assert directory.learn(told("bcd", by="a")) is False
    assert directory.endpoints == (A,) and not directory.may_follow(B) and directory.may_follow(A)


@pytest.mark.parametrize(
    "endpoint", ["10.0.0.9:7000", "db.example:7000", "localhost.example:7000", "nonsense", ""]
)
def test_in_plain_text_nobody_leads_a_client_beyond_this_machine(endpoint):
    """Whoever can answer in plain text could send the client anywhere."""
    directory = Directory(["127.0.0.1:1"], discovers=True, follows=loopback_only)
    assert directory.learn(MembersReply(1, "n1", 7, (("n1", endpoint),))) is False
    assert directory.endpoints == ("127.0.0.1:1",) and not directory.may_follow(endpoint)
    directory.learn(MembersReply(1, "n1", 7, (("n1", endpoint), ("n2", "127.0.0.1:2"))))
    assert directory.endpoints == ("127.0.0.1:2", "127.0.0.1:1")


@pytest.mark.parametrize(
    "members",
    [
        (),
        tuple((f"n{number}", f"10.0.0.1:{number + 1}") for number in range(MEMBERS_MAX + 1)),
        (("n1", "no address"), ("n2", "10.0.0.1:0"), ("n3", "10.0.0.1:99999"), ("n4", "\n:1")),
    ],
    ids=["nobody", "too many", "no addresses"],
)
def test_a_list_that_leads_nowhere_is_ignored(members):
    directory = Directory([A], discovers=True)
    assert directory.learn(MembersReply(1, "n9", 7, members)) is False
    assert directory.endpoints == (A,)
    assert directory.learn(told("bc", epoch=1, by="b")) is False and B in directory.endpoints, "its epoch neither"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 9), st.lists(st.sampled_from("abcdef"), max_size=6, unique=True), st.integers(0, 12)
        ),
        max_size=20,
    )
)
def test_whatever_is_told_every_member_is_tried_within_a_round_and_a_seed_stays(steps):
    directory = Directory([A, B], discovers=True)
    for epoch, names, failures in steps:
        directory.learn(MembersReply(1, "a", epoch, tuple((name, NAMES[name]) for name in names)))
        assert directory.next(failures) in directory.endpoints
        assert {A, B} <= set(directory.endpoints)
        round_of = {directory.next(1) for _ in range(len(directory))}
        assert round_of == set(directory.endpoints[: len(directory)])


# In a session.


class Owner:
    """What a session asks of its owner, written down."""

    def __init__(self, *seeds: str, **options: object) -> None:
        self.now_us = 0
        self.connects: list[tuple[str, int]] = []
        self.sent: list[object] = []
        self.woken_us = 0
        self.errors: dict[int, QuorumError] = {}
        self.results: list[int] = []
        directory = Directory(seeds, discovers=True, **options)  # type: ignore[arg-type]
        self.session = Session(seeds, self, SETTINGS, directory)
        self.session.start(0)
        self.session.connected(0)
        self.session.window.client = 7

    def connect(self, endpoint: str, delay_us: int) -> None:
        self.connects.append((endpoint, delay_us))

    def transmit(self, message: object, body: bytes) -> None:
        self.sent.append(message)

    def wake(self, delay_us: int) -> None:
        self.woken_us = self.now_us + delay_us

    def finished(self, handle: int, status: int, body: bytes) -> None:
        self.results.append(handle)

    def failed(self, handle: int, error: QuorumError) -> None:
        self.errors[handle] = error

    def noticed(self, handle: int, index: int, body: bytes | None) -> None: ...

    def watch_failed(self, handle: int, error: QuorumError) -> None: ...

    def asked(self) -> list[int]:
        """The requests for the members since the last call."""
        sent, self.sent = self.sent, []
        return [message.request for message in sent if isinstance(message, MembersRequest)]

    def hear(self, message: object) -> None:
        self.session.received(self.now_us, message, b"")  # type: ignore[arg-type]

    def wait_until_woken(self) -> None:
        self.now_us = self.woken_us
        self.session.tick(self.now_us)


def test_a_session_asks_each_node_once_and_again_in_due_course():
    owner = Owner(A)
    (first,) = owner.asked()
    owner.hear(told("abc", request=first))
    while not (again := owner.asked()):
        owner.wait_until_woken()
    assert owner.now_us == SETTINGS.members_us and again != [first]
    assert owner.connects == [(A, 0)], "an idle node is not taken for a silent one"


def test_an_idle_session_leaves_a_node_that_does_not_answer():
    owner = Owner(A)
    owner.hear(told("abc", request=owner.asked()[0]))
    while len(owner.connects) == 1:
        owner.wait_until_woken()
    assert owner.now_us == SETTINGS.members_us + SETTINGS.silence_us
    assert owner.connects[-1] == (B, 0)


def test_a_node_that_is_evicted_is_left_at_once_and_what_waits_goes_elsewhere():
    owner = Owner(A)
    (asked,) = owner.asked()
    owner.hear(told("abc", request=asked))
    handle = owner.session.submit(0, 1, 1, b"x")
    owner.hear(told("bcd", epoch=3, by="a", request=asked))
    assert owner.connects[-1] == (B, 0)
    owner.sent.clear()
    owner.session.connected(0)
    (sent,) = [message for message in owner.sent if isinstance(message, Submit)]
    assert sent.request == handle and sent.first_sequence == 1
    owner.hear(Result(handle, 0))
    assert owner.results == [handle]


def test_a_node_that_has_no_room_for_the_question_is_asked_again_later():
    owner = Owner(A)
    owner.hear(Failure(owner.asked()[0], messages.OVERLOADED, "busy"))
    while not owner.asked():
        owner.wait_until_woken()
    assert owner.connects == [(A, 0)]


def test_a_leader_beyond_this_machine_is_not_followed_in_plain_text():
    owner = Owner("127.0.0.1:1", "127.0.0.1:2", follows=loopback_only)
    handle = owner.session.submit(0, 1, 1, b"x")
    owner.hear(Failure(handle, messages.NOT_LEADER, "", "10.6.6.6:7000"))
    assert [endpoint for endpoint, _ in owner.connects] == ["127.0.0.1:1", "127.0.0.1:2"]


def test_leaders_at_ever_new_addresses_do_not_make_the_directory_grow():
    owner = Owner(A, B)
    handle = owner.session.submit(0, 1, 1, b"x")
    for number in range(100):
        owner.hear(Failure(handle, messages.NOT_LEADER, "", f"10.1.1.{number}:1"))
        owner.session.connected(0)
    assert owner.session.directory.endpoints == (A, B)


# On a node.


class Reader:
    identity = ""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        self.heard.append(message)

    def backlog(self) -> int:
        return 0


def test_a_board_tells_who_asks_now_and_at_each_change_until_the_connection_ends():
    board, reader = MemberBoard("a"), Reader()
    board.ask(reader, 5)
    assert reader.heard == [MembersReply(5, "a", 0, ())], "nothing is known yet"
    configuration = Configuration(epoch=2, voters=("b", "c"), witnesses=("a",))
    board.show(configuration, NAMES)
    board.show(configuration, NAMES)
    assert reader.heard[1:] == [MembersReply(5, "a", 2, (("b", B), ("c", C), ("a", A)))], "witnesses come last"
    board.lost(reader)
    board.show(Configuration(epoch=3, voters=("b",)), NAMES)
    assert len(reader.heard) == 2 and len(board) == 0


def test_a_member_whose_address_is_not_known_is_left_out():
    board, reader = MemberBoard("a"), Reader()
    board.show(Configuration(epoch=2, voters=("a", "z")), NAMES)
    board.ask(reader, 1)
    assert reader.heard == [MembersReply(1, "a", 2, (("a", A),))]
