"""A certified state on its way: piece by piece, each proven, from whoever gives it, through lies and crashes."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from quorum.apps.stream import write_stream
from quorum.errors import StorageFullError
from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark
from quorum.runtime import piece_source, piece_transfer
from quorum.runtime.messages import PieceRequest, Pieces
from quorum.runtime.piece_source import PieceSource, Survey
from quorum.runtime.piece_transfer import ALONE_BYTES_MIN, ALONE_US, ASK_AGAIN_US, PieceTransfer
from quorum.runtime.snapshots import SnapshotStore
from quorum.runtime.turns import BANNED_US, TURN_US
from quorum.sim.disk import Fault, SimFiles
from runtime.driver_world import THREE, HandClock, HandTransport

INDEX = 9
CHUNKS = [b"chunk %d " % number * 40 for number in range(12)] + [bytes(200_000)]
PIECES = len(CHUNKS) + 1
Lie = Callable[[Pieces, bytes], tuple[Pieces, bytes] | None]


def frames(chunks: list[bytes] = CHUNKS) -> Iterator[bytes]:
    return write_stream(b"head", [(7, chunks)])


class Giver:
    """A member with a snapshot; `lie` has its way with what it gives."""

    def __init__(self, name: NodeId, lie: Lie | None = None, chunks: list[bytes] = CHUNKS) -> None:
        self.name, self.lie = name, lie
        self.store = SnapshotStore(SimFiles(), "snapshots", "cluster")
        self.store.write(SnapshotMark(INDEX, 0, 5, THREE), frames(chunks), lambda mark, error: None)
        self.transport = HandTransport([])
        self.clock = HandClock()
        self.source = PieceSource(self.store, self.transport, self.clock)

    @property
    def mark(self) -> SnapshotMark:
        """As it is offered: with the certified root, and nothing that is only somebody's word."""
        mark = self.store.newest()
        assert mark is not None
        return replace(mark, digest=b"", size=0, state_root=root())

    def answer(self, request: PieceRequest) -> list[tuple[Pieces, bytes]]:
        self.source.serve("n4", request)
        sent, self.transport.sent = self.transport.sent, []
        answers = [(message, b"".join(attached)) for _, message, attached in sent]
        lied = [answer if self.lie is None else self.lie(*answer) for answer in answers]  # type: ignore[arg-type]
        return [answer for answer in lied if answer is not None]


def root() -> bytes:
    return Survey(iter(enumerate(frames()))).tree.root


class Fetcher:
    """The member that is behind, on a disk of its own."""

    def __init__(self, *givers: Giver) -> None:
        self.givers = {giver.name: giver for giver in givers}
        self.files, self.clock = SimFiles(), HandClock()
        self.blamed: list[NodeId] = []
        self.arrived: list[SnapshotMark] = []
        self.failures: list[BaseException] = []
        self.asked: list[tuple[NodeId, int]] = []
        self.begin_life()

    def begin_life(self) -> None:
        self.store = SnapshotStore(self.files, "snapshots", "cluster")
        self.transport = HandTransport([])
        self.transfer = PieceTransfer(
            self.store,
            self.transport,
            self.clock,
            self.arrived.append,
            lambda node, what: self.blamed.append(node),
            self.failures.append,
        )

    def offer(self, *names: NodeId) -> None:
        for name in names or sorted(self.givers):
            if self.givers[name].store.newest() is not None:
                self.transfer.begin(name, self.givers[name].mark)

    def turn(self) -> bool:
        """Let what was asked be answered; whether anything was."""
        sent, self.transport.sent = self.transport.sent, []
        for to, message, _ in sent:
            assert isinstance(message, PieceRequest)
            self.asked.append((to, message.number))
            for answer, data in self.givers[to].answer(message):
                self.transfer.take(to, answer, (data,))
        return bool(sent)

    def fetch(self, rounds: int = 200) -> None:
        """Members offer, again and again, until the state is here."""
        for _ in range(rounds):
            self.offer()
            while not self.arrived and self.turn():
                self.clock.us += 1_000
            if self.arrived:
                return
            self.clock.us += 100_000


@pytest.fixture(autouse=True)
def _one_piece_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_source, "MESSAGE_BYTES", 1)


def check(fetcher: Fetcher) -> None:
    """The state is here, in the very file that a member writes itself."""
    (mark,) = fetcher.arrived
    honest = Giver("n9").store.newest()
    assert honest is not None
    assert mark == replace(honest, state_root=root())
    assert list(fetcher.store.load(INDEX)) == list(frames())
    assert fetcher.failures == []


def test_an_honest_transfer_brings_the_same_file_and_each_piece_once():
    fetcher = Fetcher(Giver("n1"))
    fetcher.fetch()
    check(fetcher)
    assert fetcher.asked == [("n1", number) for number in range(PIECES)]


def test_a_message_brings_as_many_pieces_as_fit(monkeypatch):
    monkeypatch.setattr(piece_source, "MESSAGE_BYTES", 64 * 1024)
    fetcher = Fetcher(Giver("n1"))
    fetcher.fetch()
    check(fetcher)
    assert fetcher.asked == [("n1", 0), ("n1", PIECES - 1)]  # the last one is larger, and comes alone


def flipped(message: Pieces, data: bytes) -> tuple[Pieces, bytes]:
    wrong = bytearray(data)
    wrong[len(wrong) // 2] ^= 1
    return message, bytes(wrong)


def later(lie: Lie, number: int = 4) -> Lie:
    return lambda message, data: lie(message, data) if message.number >= number else (message, data)


LIES: dict[str, Lie] = {
    "a bit flipped": flipped,
    "cut short": lambda message, data: (replace(message, sizes=(len(data) - 1,)), data[:-1]),
    "longer": lambda message, data: (replace(message, sizes=(len(data) + 1,)), data + b"x"),
    "sizes that are not those of what came": lambda message, data: (replace(message, sizes=(1,)), data),
    "a negative size": lambda message, data: (replace(message, sizes=(-1, len(data) + 1)), data),
    "nothing": lambda message, data: (replace(message, sizes=()), b""),
    "more pieces than there are": lambda message, data: (
        replace(message, proof=message.proof and replace(message.proof, count=PIECES + 5)),
        data,
    ),
    "the end, too early": lambda message, data: (
        replace(message, sizes=(), proof=message.proof and replace(message.proof, count=message.number)),
        b"",
    ),
    "another tree": lambda message, data: (
        replace(message, proof=message.proof and replace(message.proof, tree=bytes(32))),
        data,
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
@pytest.mark.parametrize("from_piece", [0, 4, PIECES - 1])
def test_a_wrong_piece_costs_one_message_and_its_sender_is_left_out(lie: Lie, from_piece: int):
    """The rest comes from another member, and nothing that was proven is fetched again."""
    fetcher = Fetcher(Giver("n1", later(lie, from_piece)), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == ["n1"]
    assert fetcher.asked[: from_piece + 2] == [
        *(("n1", number) for number in range(from_piece + 1)),
        ("n2", from_piece),
    ]
    assert len(fetcher.asked) == PIECES + 1
    check(fetcher)


@pytest.mark.parametrize("number", [0, 4, PIECES - 1])
def test_a_right_piece_stays_whatever_stands_behind_it(number: int):
    def lie(message: Pieces, data: bytes) -> tuple[Pieces, bytes]:
        return replace(message, sizes=(len(data), 5)), data + b"extra"

    fetcher = Fetcher(Giver("n1", later(lie, number)), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == ["n1"]
    assert [asked for _, asked in fetcher.asked] == list(range(PIECES))
    check(fetcher)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_whatever_bit_of_whatever_piece_is_wrong_the_state_is_right_in_the_end(data):
    number, bit = data.draw(st.integers(0, PIECES - 1)), data.draw(st.integers(0, 1 << 22))

    def lie(message: Pieces, sent: bytes) -> tuple[Pieces, bytes]:
        if message.number != number:
            return message, sent
        wrong = bytearray(sent)
        wrong[bit // 8 % len(wrong)] ^= 1 << bit % 8
        return message, bytes(wrong)

    fetcher = Fetcher(Giver("n1", lie), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == ["n1"]
    check(fetcher)


def test_a_piece_in_the_place_of_another_is_noticed():
    other = Giver("n9")

    def lie(message: Pieces, data: bytes) -> tuple[Pieces, bytes]:
        ((answer, sent),) = other.answer(PieceRequest(INDEX, root(), message.number ^ 1))
        return replace(answer, number=message.number), sent

    fetcher = Fetcher(Giver("n1", lie), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == ["n1"] and fetcher.asked[:2] == [("n1", 0), ("n2", 0)]
    check(fetcher)


def test_a_liar_is_asked_again_only_after_a_while():
    fetcher = Fetcher(Giver("n1", flipped))
    fetcher.fetch(20)
    assert fetcher.asked == [("n1", 0)]
    fetcher.clock.us += BANNED_US
    fetcher.fetch(1)
    assert fetcher.asked == [("n1", 0)] * 2 and fetcher.blamed == ["n1"] * 2


@pytest.mark.parametrize(
    "lie",
    [lambda message, data: None, lambda message, data: (replace(message, number=message.number + 1), data)],
    ids=["no answer", "an answer to something else"],
)
def test_who_gives_nothing_is_left_after_its_turn(lie: Lie):
    """However often it offers: members are asked in turn."""
    fetcher = Fetcher(Giver("n1", later(lie)), Giver("n2"))
    fetcher.fetch(60)
    check(fetcher)
    assert len([number for node, number in fetcher.asked if node == "n1" and number == 4]) <= 3
    assert fetcher.clock.us < 3 * TURN_US


def test_members_take_turns_so_a_slow_one_holds_nobody_up_for_long():
    fetcher = Fetcher(Giver("n1"), Giver("n2"), Giver("n3"))
    fetcher.offer()
    for _ in range(6):
        fetcher.clock.us += TURN_US - ASK_AGAIN_US
        fetcher.turn()
        fetcher.offer()
    assert [node for node, _ in fetcher.asked] == ["n1", "n1", "n2", "n2", "n3", "n3"]


def test_a_lost_request_is_asked_again():
    fetcher = Fetcher(Giver("n1"))
    fetcher.offer()
    fetcher.transport.sent.clear()
    fetcher.fetch(20)
    check(fetcher)


def test_an_answer_that_comes_twice_or_late_changes_nothing():
    fetcher = Fetcher(Giver("n1", lambda message, data: (message, data)))
    fetcher.offer()
    ((first, data),) = fetcher.givers["n1"].answer(PieceRequest(INDEX, root(), 0))
    for _ in range(3):
        fetcher.transfer.take("n1", first, (data,))
    fetcher.transport.sent[1:] = []
    fetcher.fetch(20)
    check(fetcher)
    assert fetcher.blamed == []


def test_what_was_proven_survives_a_restart_and_comes_from_elsewhere_then():
    fetcher = Fetcher(Giver("n1"), Giver("n2"))
    fetcher.offer("n1")
    for _ in range(5):
        fetcher.turn()
    fetcher.store.close()
    fetcher.begin_life()
    fetcher.asked.clear()
    del fetcher.givers["n1"]
    fetcher.fetch()
    assert fetcher.asked == [("n2", number) for number in range(5, PIECES)]
    check(fetcher)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), done=st.integers(0, PIECES))
def test_whatever_a_power_cut_leaves_is_gone_on_with(seed: int, done: int):
    """Also damaged bytes: nothing is taken for a piece that its checksum does not cover."""
    fetcher, random = Fetcher(Giver("n1")), Random(seed)
    fetcher.offer()
    for _ in range(done):
        fetcher.turn()
    fetcher.files.crash(random)
    fetcher.begin_life()
    fetcher.asked.clear()
    fetcher.fetch()
    assert len(fetcher.asked) <= PIECES
    check(fetcher)


def test_a_member_whose_state_is_another_says_so_and_is_not_blamed():
    """Its own state is wrong: it must not give pieces of it under the certified root."""
    fetcher = Fetcher(Giver("n1", chunks=[b"other"]), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == []
    check(fetcher)


def test_a_member_that_dropped_its_snapshot_says_so():
    fetcher = Fetcher(Giver("n1"), Giver("n2"))
    fetcher.offer("n1")
    for _ in range(3):
        fetcher.turn()
    fetcher.givers["n1"].store.drop(INDEX)
    fetcher.transfer.begin("n2", fetcher.givers["n2"].mark)
    fetcher.fetch()
    assert ("n1", 3) in fetcher.asked and ("n2", 3) in fetcher.asked
    check(fetcher)


def test_a_lost_connection_ends_a_turn():
    fetcher = Fetcher(Giver("n1"), Giver("n2"))
    fetcher.offer()
    fetcher.turn()
    fetcher.transport.sent.clear()
    fetcher.transfer.lost("n1")
    assert [to for to, _, _ in fetcher.transport.sent] == ["n2"]


def test_another_state_is_begun_only_when_nobody_gives_this_one():
    """A liar may offer older and newer certified states as often as it likes."""
    fetcher = Fetcher(Giver("n1"), Giver("n2"))
    fetcher.offer("n1")
    fetcher.turn()
    other = replace(fetcher.givers["n2"].mark, index=5, state_root=bytes(32))
    fetcher.transfer.begin("n2", other)
    fetcher.turn()
    assert fetcher.asked == [("n1", 0), ("n1", 1)]
    fetcher.transport.sent.clear()
    fetcher.clock.us += 2 * TURN_US
    fetcher.transfer.begin("n2", other)
    assert [(to, message.index) for to, message, _ in fetcher.transport.sent] == [("n2", 5)]


def test_an_old_state_that_one_member_gives_piece_by_piece_is_left_for_a_newer_one():
    """It is not silent, so its turn never ends; nobody else has that state any more."""
    fetcher = Fetcher(Giver("n1"), Giver("n2"))
    fetcher.offer("n1")
    newer = replace(fetcher.givers["n2"].mark, index=INDEX + 8, state_root=bytes(32))
    while fetcher.clock.us < ALONE_US + 4 * TURN_US and not fetcher.arrived:
        fetcher.clock.us += 4 * TURN_US
        fetcher.transfer._progressed_us = fetcher.clock.us - TURN_US  # a piece came in each turn
        fetcher.offer("n1")
        fetcher.transfer.begin("n2", newer)
        if fetcher.clock.us < ALONE_US:
            assert {to for to, _, _ in fetcher.transport.sent} == {"n1"}
    assert fetcher.transport.sent[-1][0] == "n2"
    assert fetcher.transport.sent[-1][1].index == INDEX + 8


def test_a_state_that_several_offer_or_that_comes_fast_is_not_left_for_a_newer_one():
    for names, size in ((("n1", "n2"), 0), (("n1",), 100 * ALONE_BYTES_MIN)):
        fetcher = Fetcher(Giver("n1"), Giver("n2"), Giver("n3"))
        fetcher.offer(*names)
        fetcher.transfer._bytes = size
        newer = replace(fetcher.givers["n3"].mark, index=INDEX + 8, state_root=bytes(32))
        while fetcher.clock.us < 2 * ALONE_US:
            fetcher.clock.us += 4 * TURN_US
            fetcher.transfer._progressed_us = fetcher.clock.us - TURN_US
            fetcher.offer(*names)
            fetcher.transfer.begin("n3", newer)
        assert "n3" not in {to for to, _, _ in fetcher.transport.sent}


def given_in_a_turn(giver: Giver, request: PieceRequest, times: int = 500) -> int:
    """How many answers a member gets that asks so often at one time."""
    return sum(len(giver.answer(request)) for _ in range(times))


def test_a_member_that_asks_on_and_on_is_given_a_bounded_share_of_each_turn(monkeypatch):
    monkeypatch.setattr(piece_source, "GIVEN_BYTES_MAX", 1_000_000)
    giver = Giver("n1")
    largest = PieceRequest(INDEX, root(), PIECES - 1)
    assert given_in_a_turn(giver, largest) == 1_000_000 // 200_000
    giver.source.serve("n3", largest)  # the others have their own shares
    assert [to for to, _, _ in giver.transport.sent] == ["n3"]
    giver.transport.sent.clear()
    giver.clock.us += TURN_US
    assert given_in_a_turn(giver, largest) == 1_000_000 // 200_000


@pytest.mark.parametrize("number", [0, PIECES, PIECES + 1, -1], ids=["small", "end", "behind the end", "none"])
def test_answers_that_say_little_are_bounded_too(monkeypatch, number: int):
    monkeypatch.setattr(piece_source, "GIVEN_BYTES_MAX", 10 * piece_source.ANSWER_BYTES_MIN)
    assert given_in_a_turn(Giver("n1"), PieceRequest(INDEX, root(), number)) == 10
    assert given_in_a_turn(Giver("n1"), PieceRequest(INDEX + 1, root(), 0)) == 10
    refusing, refused = Giver("n1"), PieceRequest(INDEX, root(), 0)
    for _ in range(50):
        refusing.source.refuse("n4", refused)
    assert len(refusing.transport.sent) == 10


def test_a_fetch_that_is_faster_than_its_share_comes_to_its_end(monkeypatch):
    monkeypatch.setattr(piece_source, "GIVEN_BYTES_MAX", 3 * piece_source.ANSWER_BYTES_MIN)
    fetcher = Fetcher(Giver("n1"))
    fetcher.givers["n1"].clock = fetcher.clock
    fetcher.givers["n1"].source = PieceSource(
        fetcher.givers["n1"].store, fetcher.givers["n1"].transport, fetcher.clock
    )
    fetcher.fetch()
    check(fetcher)
    assert fetcher.blamed == [] and len(fetcher.asked) > PIECES


def test_a_full_disk_stops_the_transfer_and_blames_nobody():
    fetcher = Fetcher(Giver("n1"))
    fetcher.offer()
    fetcher.turn()
    fetcher.files.faults = [Fault("pwritev", errno.ENOSPC)]
    with pytest.raises(StorageFullError):
        fetcher.turn()
    fetcher.transfer.abandon()
    fetcher.files.faults = []
    fetcher.fetch()
    assert fetcher.blamed == []
    check(fetcher)


def test_a_transfer_that_does_not_look_is_caught(monkeypatch):
    """Planted: a piece is stored as it comes. The file is not the certified one then, which `check` sees."""
    monkeypatch.setattr(piece_transfer, "proven", lambda entries, pieces: len(pieces))
    fetcher = Fetcher(Giver("n1", flipped), Giver("n2"))
    fetcher.fetch()
    assert fetcher.blamed == []
    with pytest.raises(AssertionError):
        check(fetcher)


def test_requests_that_make_no_sense_are_refused():
    giver = Giver("n1")
    for request in (
        PieceRequest(INDEX, bytes(32), 0),
        PieceRequest(INDEX, root(), -1),
        PieceRequest(INDEX, root(), PIECES + 1),
        PieceRequest(INDEX + 1, root(), 0),
    ):
        ((answer, data),) = giver.answer(request)
        assert (answer.proof, answer.sizes, data) == (None, (), b"")
