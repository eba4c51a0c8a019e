"""What a member that is far behind is given by liars: pieces of a certified state that are wrong, misplaced,
endless, forged, or none. Rows 33 and 34 of the adversarial checklist (tests/README.md).

So that a small state takes many messages, each brings one piece.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from quorum.apps.catalogue import new_host
from quorum.checkers.history import History
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.pbft.messages import Offer
from quorum.runtime import piece_source, piece_transfer, turns
from quorum.runtime.messages import PieceRequest, Pieces
from quorum.runtime.piece_source import Survey
from quorum.runtime.turns import TURN_US
from quorum.sim.adversary import Liar, Sent
from quorum.sim.network import CALM, Weather
from quorum.sim.node import SimNode
from simulation.byzantine_scene import SECOND_US, SIZES, TIMEOUTS_US, check_end, workers_of, world_with


class CorruptsPieces(Liar):
    """Every piece that it gives has one wrong bit."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Pieces) and any(map(len, attached)):
            data = bytearray(b"".join(attached))
            data[self.random.randrange(len(data))] ^= 1
            return [(message, (bytes(data),))]
        return super().lie(to, message, attached)


class CorruptsLater(CorruptsPieces):
    """As that, but the first pieces are right."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Pieces) and message.number < 3:
            return [(message, tuple(attached))]
        return super().lie(to, message, attached)


class SwapsPieces(Liar):
    """Gives a piece that it gave before, with its proof, in the place of each."""

    before: Sent | None = None

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Pieces):
            said, self.before = self.before, (message, tuple(attached))
            if said is not None:
                return [(replace(said[0], number=message.number), said[1])]
        return super().lie(to, message, attached)


class NeverEnds(Liar):
    """Its state goes on and on: it claims more pieces than there are, and gives them."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Pieces) and message.proof is not None:
            proof = replace(message.proof, count=message.proof.count + 1_000_000)
            return [(replace(message, sizes=(100_000,), proof=proof), (bytes(100_000),))]
        return super().lie(to, message, attached)


class MovesPieces(Liar):
    """Says of every piece that it belongs elsewhere."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Pieces):
            return [(replace(message, number=message.number + 1), tuple(attached))]
        return super().lie(to, message, attached)


class Stalls(Liar):
    """Offers a state, again and again, and gives no part of it."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Offer):
            return super().lie(to, message, attached) * 5
        return [] if isinstance(message, Pieces) else super().lie(to, message, attached)


def other_frames() -> list[tuple[int, bytes]]:
    """A snapshot of a state that nobody has."""
    return list(enumerate(new_host().snapshot()))


class ForgesState(Liar):
    """Gives another state, with what proves that all of it belongs together: to a root that nobody certified."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if not isinstance(message, Pieces):
            return super().lie(to, message, attached)
        survey = Survey(iter(other_frames()))
        frame = other_frames()[message.number % survey.tree.count][1]
        proof = survey.tree.prove(message.number % survey.tree.count)
        return [(replace(message, sizes=(len(frame) - 3,), proof=proof), (frame[3:],))]


class ForgesOffers(Liar):
    """Offers a file of another digest, size and time under the certified root; gives the right pieces."""

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if isinstance(message, Offer):
            mark = replace(message.mark, digest=self.random.randbytes(32), size=1 << 40, time_us=1 << 50)
            return [(replace(message, mark=mark), ())]
        return super().lie(to, message, attached)


class Newcomer:
    """A member that was down for long, and what it hears and says since it is back."""

    def __init__(self, lies: dict[NodeId, type[Liar]], nodes: int = 4) -> None:
        self.world = world = world_with(lies, nodes)
        self.name = f"n{nodes}"
        self.asked: list[tuple[NodeId, int]] = []
        """Whom it asked for which piece, in this order."""
        self.given: list[tuple[NodeId, int, int]] = []
        """Who gave which piece, and how many bytes came."""
        self.blamed: list[NodeId] = []
        self.at_blame = -1
        """The place in `given` of what somebody was blamed for last."""
        deliver, misbehaved = world.network._deliver, world.misbehaved

        def watched(sender: NodeId, to: NodeId, message: object, attached: tuple[Buffer, ...]) -> None:
            if sender == self.name and isinstance(message, PieceRequest):
                self.asked.append((to, message.number))
            if to == self.name and isinstance(message, Pieces):
                self.given.append((sender, message.number, sum(map(len, attached))))
            deliver(sender, to, message, attached)

        def blamed(by: NodeId, node: NodeId, what: str) -> None:
            misbehaved(by, node, what)
            if by == self.name:
                self.blamed.append(node)
                self.at_blame = len(self.given) - 1

        world.network._deliver, world.misbehaved = watched, blamed
        self.history = History()
        world.crash(self.name)
        self.workers = workers_of(world, 3, self.history, 6 * SECOND_US)
        world.run(8 * SECOND_US)  # after that nothing is written, so that the certified state stays the newest

    def come_back(self) -> None:
        self.world.network.weather = Weather(delay_us=70_000)  # a state takes so long that each has a turn
        self.world.restart(self.name)

    def is_there(self) -> bool:
        return self.world.sometimes.counts.get("state installed from a member", 0) > 0

    def check_end(self) -> None:
        self.world.network.weather = CALM
        self.world.run(self.world.now_us + TIMEOUTS_US)
        check_end(self.world, self.workers, self.history)
        assert self.is_there()


@pytest.fixture(autouse=True)
def one_piece_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piece_source, "MESSAGE_BYTES", 1)
    monkeypatch.setattr(turns, "TURN_US", 250_000)


NOTICED = [CorruptsPieces, CorruptsLater, SwapsPieces, NeverEnds, ForgesState]
OF_THREE = ["n1", *(pytest.param(name, marks=pytest.mark.slow) for name in ("n2", "n3"))]
"""Who lies: the member that is asked first, and those that come after it."""


@pytest.mark.parametrize("lie", NOTICED)
@pytest.mark.parametrize("liar", OF_THREE)
def test_row_33_a_wrong_piece_costs_one_message_and_names_its_sender(liar: str, lie: type[Liar]) -> None:
    """It is noticed when it comes, and its sender asked for nothing more; the same piece comes from another
    member, and no proven one twice."""
    back = Newcomer({liar: lie})
    back.come_back()
    assert back.world.run_until(back.is_there, 20 * SECOND_US)
    assert back.blamed == [liar]
    refused = max(at for at, (node, *_) in enumerate(back.given) if node == liar)
    assert refused == back.at_blame  # nothing more came of it
    assert back.given[refused + 1][:2] != back.given[refused][:2]
    assert back.given[refused + 1][1] == back.given[refused][1]  # that piece, from another member
    wanted = [number for _, number in back.asked]
    assert len(wanted) <= len(set(wanted)) + 1
    back.check_end()


@pytest.mark.parametrize("lie", [MovesPieces, Stalls, ForgesOffers])
@pytest.mark.parametrize("liar", OF_THREE)
def test_row_33_34_who_gives_nothing_of_use_is_left_after_its_turn(liar: str, lie: type[Liar]) -> None:
    """A state comes within turns, from members that give it; the one that holds it up need not be blamed, as a
    network could do the same."""
    back = Newcomer({liar: lie})
    back.come_back()
    assert back.world.run_until(back.is_there, 5 * TURN_US)
    assert set(back.blamed) <= {liar} and liar in {node for node, _ in back.asked}
    back.check_end()


@pytest.mark.parametrize(("nodes", "faults"), SIZES)
def test_row_33_as_many_liars_as_may_be_cost_one_message_each(nodes: int, faults: int) -> None:
    lies: dict[NodeId, type[Liar]] = {"n1": CorruptsLater, "n2": ForgesState}
    back = Newcomer({liar: lies[liar] for liar in sorted(lies)[:faults]}, nodes)
    back.come_back()
    assert back.world.run_until(back.is_there, 20 * SECOND_US)
    assert len(back.blamed) == len(set(back.blamed)) and set(back.blamed) <= set(lies)
    back.check_end()


def test_row_34_a_restart_in_the_middle_keeps_what_was_proven() -> None:
    """The rest comes from whoever offers the same state then; what a crash left of the file is gone on with."""
    back = Newcomer({"n1": CorruptsLater})
    back.come_back()
    assert back.world.run_until(lambda: len(back.given) >= 6, 10 * SECOND_US)
    back.world.crash(back.name)
    held = back.world.nodes[back.name].snapshots._collected
    assert held is not None
    back.come_back()
    kept, before = len(held[1]), len(back.given)
    assert back.world.run_until(back.is_there, 20 * SECOND_US)
    since = [number for _, number, size in back.given[before:]]
    assert kept > 0 and min(since) == kept
    back.check_end()


def test_a_piece_that_is_taken_without_a_look_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the check of each piece nobody is blamed when it comes. What is on the disk is
    checked once more before it is taken over, so that no wrong state is."""
    monkeypatch.setattr(piece_transfer, "proven", lambda entries, pieces: len(pieces))
    degraded: list[str] = []
    monkeypatch.setattr(SimNode, "degraded", lambda node, what: degraded.append(what))
    back = Newcomer({"n1": CorruptsPieces})
    back.come_back()
    assert back.world.run_until(lambda: bool(degraded), 20 * SECOND_US)
    assert back.blamed == [] and not back.is_there()
