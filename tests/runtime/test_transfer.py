"""Snapshots on their way: chunk after chunk, resumed where they stopped, verified at the end."""

from __future__ import annotations

from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorum.model import NodeId
from quorum.protocols.events import SnapshotMark
from quorum.runtime import transfer
from quorum.runtime.messages import Chunk, ChunkRequest
from quorum.runtime.transfer import Transfer
from runtime.driver_world import THREE, HandTransport
from runtime.driver_world import HandSnapshots as Kept

DATA = bytes(range(256)) * 5


def _mark(data: bytes = DATA, index: int = 9) -> SnapshotMark:
    return SnapshotMark(index, 2, 0, THREE, blake2b(data, digest_size=32).digest(), len(data))


class End:
    """One node: its snapshots, its half of the transfer, and what it sent."""

    def __init__(self, data: bytes | None = None) -> None:
        self.snapshots = Kept()
        if data is not None:
            self.snapshots.files[9] = (_mark(data), data)
        self.restart()

    def restart(self) -> None:
        self.transport = HandTransport([])
        self.arrived: list[tuple[SnapshotMark, NodeId]] = []
        self.transfer = Transfer(self.snapshots, self.transport, lambda *what: self.arrived.append(what))

    def take_sent(self) -> list[tuple[object, tuple[bytes, ...]]]:
        sent, self.transport.sent = self.transport.sent, []
        return [(message, tuple(bytes(data) for data in attached)) for _, message, attached in sent]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "CHUNK_BYTES", 100)


def _exchange(
    source: End, to: End, lost: frozenset[int] = frozenset(), name: NodeId = "n1"
) -> SnapshotMark | None:
    """Pass messages until nothing is on its way; the numbered ones are lost."""
    number = 0
    for _ in range(200):
        moved = False
        for message, _ in to.take_sent():
            number += 1
            moved = True
            if number not in lost:
                source.transfer.serve("n2", message)  # type: ignore[arg-type]
        for message, attached in source.take_sent():
            number += 1
            moved = True
            if number not in lost:
                to.transfer.take(name, message, attached)  # type: ignore[arg-type]
                if to.arrived:
                    return to.arrived[0][0]
        if not moved:
            return None
    raise AssertionError("the transfer does not come to rest")


def test_a_snapshot_arrives_chunk_by_chunk() -> None:
    source, to = End(DATA), End()
    to.transfer.begin("n1", _mark())
    assert _exchange(source, to) == _mark()
    assert to.arrived == [(_mark(), "n1")] and bytes(to.snapshots.part) == DATA
    assert to.transfer.source is None


def test_a_repeated_offer_does_not_disturb_a_transfer_that_goes_on() -> None:
    """The leader repeats its offer with each heartbeat."""
    source, to = End(DATA), End()
    to.transfer.begin("n1", _mark())
    for message, _ in to.take_sent():
        source.transfer.serve("n2", message)  # type: ignore[arg-type]
    ((chunk, data),) = source.take_sent()
    to.transfer.take("n1", chunk, data)  # type: ignore[arg-type]
    to.take_sent()
    to.transfer.begin("n1", _mark())
    assert to.take_sent() == []


@given(lost=st.frozensets(st.integers(1, 30), max_size=6))
def test_lost_chunks_are_asked_for_again_at_the_next_offer(lost: frozenset[int]) -> None:
    """From the place that was reached, not from the beginning."""
    source, to = End(DATA), End()
    for offers in range(40):
        to.transfer.begin("n1", _mark())
        if _exchange(source, to, lost if offers == 0 else frozenset()):
            break
    assert bytes(to.snapshots.part) == DATA
    assert offers <= 2


def test_a_transfer_is_resumed_after_a_restart() -> None:
    source, to = End(DATA), End()
    to.transfer.begin("n1", _mark())
    _exchange(source, to, frozenset({7}))
    got = len(to.snapshots.part)
    assert 0 < got < len(DATA)
    to.restart()
    to.transfer.begin("n1", _mark())
    assert to.take_sent() == [(ChunkRequest(9, got), ())]


def test_a_part_that_is_complete_is_finished_without_a_request() -> None:
    to = End()
    to.snapshots.receive(_mark(), 0, DATA)
    to.transfer.begin("n1", _mark())
    assert to.arrived == [(_mark(), "n1")]
    assert to.take_sent() == []


def test_another_source_goes_on_where_the_first_one_stopped() -> None:
    """The same snapshot of a new leader: same index, same digest."""
    source, other, to = End(DATA), End(DATA), End()
    to.transfer.begin("n1", _mark())
    _exchange(source, to, frozenset({9}))
    got = len(to.snapshots.part)
    to.transfer.begin("n3", _mark())
    assert _exchange(other, to, name="n3") == _mark()
    assert got > 0


def test_a_newer_offer_replaces_a_transfer_that_stands_still() -> None:
    source, to = End(DATA), End()
    to.transfer.begin("n1", _mark())
    to.take_sent()
    newer = _mark(DATA * 2, 11)
    to.transfer.begin("n1", newer)
    assert to.take_sent() == [(ChunkRequest(11, 0), ())]
    assert source.take_sent() == []


def test_a_snapshot_that_is_gone_ends_the_transfer() -> None:
    source, to = End(), End()
    to.transfer.begin("n1", _mark())
    assert _exchange(source, to) is None
    assert to.transfer.source is None


@pytest.mark.parametrize("attached", [(), (b"",)], ids=["nothing attached", "nothing in it"])
def test_an_empty_chunk_ends_the_transfer(attached: tuple[bytes, ...]) -> None:
    """A source whose file is shorter than it promised would be asked for ever."""
    to = End()
    to.transfer.begin("n1", _mark())
    to.take_sent()
    to.transfer.take("n1", Chunk(9, 0), attached)
    assert to.transfer.source is None and to.take_sent() == []


@pytest.mark.parametrize(
    ("sender", "chunk"),
    [("n3", Chunk(9, 0)), ("n1", Chunk(8, 0))],
    ids=["another node", "another snapshot"],
)
def test_a_chunk_that_was_not_asked_for_is_ignored(sender: str, chunk: Chunk) -> None:
    to = End()
    to.transfer.begin("n1", _mark())
    to.take_sent()
    to.transfer.take(sender, chunk, (DATA[:100],))
    assert len(to.snapshots.part) == 0 and to.take_sent() == []


def test_a_chunk_out_of_its_place_is_asked_for_again() -> None:
    to = End()
    to.transfer.begin("n1", _mark())
    to.take_sent()
    to.transfer.take("n1", Chunk(9, 300), (DATA[300:400],))
    assert to.take_sent() == [(ChunkRequest(9, 0), ())]


def test_any_number_of_peers_are_served() -> None:
    source = End(DATA)
    for offset in (0, 500):
        source.transfer.serve("n2", ChunkRequest(9, offset))
        source.transfer.serve("n3", ChunkRequest(9, offset))
    assert [message for message, _ in source.take_sent()] == [
        Chunk(9, 0),
        Chunk(9, 0),
        Chunk(9, 500),
        Chunk(9, 500),
    ]


def test_a_request_for_what_is_not_kept_is_answered_so() -> None:
    source = End(DATA)
    source.transfer.serve("n2", ChunkRequest(7, 0))
    assert source.take_sent() == [(Chunk(7, 0, True), ())]
