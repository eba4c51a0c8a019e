"""Liars that a scene needs and no campaign: clients that lie, and members that lie to clients.

Rows 10, 13, 28 to 31 and 49 of the adversarial checklist (tests/README.md), on real sessions and clients.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from msgspec.structs import replace

from quorum.apps import kv
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP
from quorum.certificate.requests import decode_request, sign_request
from quorum.checkers.history import History
from quorum.entry import Buffer
from quorum.header import Batch
from quorum.model import NodeId
from quorum.protocols.pbft.blocks import make_block, read_block
from quorum.protocols.pbft.chain import Link
from quorum.protocols.pbft.messages import PrePrepare
from quorum.runtime.messages import Failure, Result, SubmitSigned
from quorum.sim.adversary import Liar, Sent
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.workload import Worker
from simulation.byzantine_scene import SECOND_US, SIZES, TIMEOUTS_US, check_end, workers_of, world_with


def run(world: ByzantineWorld, seconds: int = 6, clients: int = 3) -> list[Worker]:
    history = History()
    workers = workers_of(world, clients, history, seconds * SECOND_US)
    world.run(seconds * SECOND_US + TIMEOUTS_US)
    check_end(world, workers, history)
    return workers


class ProposesAgain(Liar):
    """As primary, adds a request of an older block to each block, in front of the others."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._old: list[bytes] = []
        self._made: dict[tuple[int, int], object] = {}

    def lie(self, to: NodeId, message: object, attached: Sequence[Buffer]) -> list[Sent]:
        if not isinstance(message, PrePrepare):
            return super().lie(to, message, attached)
        from quorum.certificate.requests import unpack_block
        from quorum.certificate.vote import VoteKind
        from quorum.entry import decode_entry

        place = message.view, message.sequence
        block = self._made.get(place)
        if block is None:
            entry = bytes(attached[0])
            header = read_block(self.node, entry, self.committee).header
            packed = [bytes(each) for each in unpack_block(decode_entry(entry)[1])[1]]
            before = self._made.get((message.view, message.sequence - 1))
            parent = header.parent if before is None else before.digest  # type: ignore[attr-defined]
            link = Link(replace(header, sequence=header.sequence - 1), parent, 0)
            given = [(decode_request(each), each) for each in [*self._old[-3:], *packed]]
            state = (header.state_sequence, header.state_root)
            block = self._made[place] = make_block(link, self.committee, header.time_us, state, given)
            self._old += packed
        signature = self.vote(VoteKind.PREPARE, message.view, message.sequence, block.digest)
        return [(replace(message, signature=signature), (block.entry,))]


def test_row_13_a_request_in_two_blocks_is_executed_once() -> None:
    """Sessions answer the second time from memory, so the history stays linearizable: a swap succeeds once."""
    world = world_with({"n1": ProposesAgain})
    run(world)


class ForgesEveryReply(Liar):
    """Answers every client at once, with success and nothing."""

    def tells(self, message: object, attached: tuple[Buffer, ...]) -> list[Sent]:
        if isinstance(message, Result):
            return [(replace(message, status=OK), (kv_answer(),))]
        return [(message, attached)]


def kv_answer() -> bytes:
    """What the key-value store says to the reader of a key that somebody wrote."""
    return msgspec.msgpack.encode([kv.Got(kv.Item(b"x", b"forged", 1, 1, 1), 1)])


@pytest.mark.parametrize("nodes", [4, pytest.param(7, marks=pytest.mark.slow)])
def test_row_30_31_forged_and_stale_answers_of_t_members_are_outvoted(nodes: int) -> None:
    """T+1 equal answers, one of which is honest. There are no fast reads: each is ordered, so a stale one has no
    quorum behind it."""
    faults = (nodes - 1) // 3
    world = world_with({f"n{place}": ForgesEveryReply for place in range(1, faults + 1)}, nodes)
    run(world)


class AnswersStale(Liar):
    """Answers each request with what it answered to the one before."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self._before: bytes = b""

    def tells(self, message: object, attached: tuple[Buffer, ...]) -> list[Sent]:
        if not isinstance(message, Result):
            return [(message, attached)]
        said, self._before = self._before, b"".join(attached)
        return [(message, (said or self._before,))]


def test_row_31_a_stale_read_is_outvoted() -> None:
    run(world_with({"n2": AnswersStale}))


class Refuses(Liar):
    """Tells clients that nothing can be done."""

    def tells(self, message: object, attached: tuple[Buffer, ...]) -> list[Sent]:
        return [(Failure(message.request, 1, "no"), ())] if isinstance(message, Result) else [(message, attached)]


def test_row_30_refusals_of_t_members_stop_no_client() -> None:
    run(world_with({"n3": Refuses}))


def batch(number: int, value: bytes) -> Batch:
    return Batch(KV_APP, 0, number, 0, 1, kv.encode_batch([kv.Put(b"x", value)]))


class Asker:
    """A client without a session, that sends what it likes to whom it likes."""

    def __init__(self, world: ByzantineWorld) -> None:
        self.world = world
        self.key = world.client_key("asker")
        self.identity = "asker"
        self.answers: dict[NodeId, list[tuple[object, bytes]]] = {}

    def signed(self, number: int, value: bytes) -> bytes:
        return sign_request(self.world.request_domain, batch(number, value), self.key.public, self.key.sign)

    def ask(self, node: NodeId, data: bytes, request: int = 1) -> None:
        self.world.nodes[node].request(_Wire(self, node), SubmitSigned(request), (data,))


class _Wire:
    """One connection of it."""

    def __init__(self, asker: Asker, node: NodeId) -> None:
        self.asker, self.node, self.identity = asker, node, asker.identity

    def answer(self, message: object, attached: Sequence[Buffer]) -> None:
        self.asker.answers.setdefault(self.node, []).append((message, b"".join(attached)))

    def backlog(self) -> int:
        return 0

    def close(self) -> None:
        pass


def test_row_28_a_client_that_signs_two_things_under_one_number_splits_nobody() -> None:
    """Each half of the members hears another one. Both are requests of their own, and every honest member executes
    the same."""
    world = world_with({})
    asker = Asker(world)
    for node, value in zip(sorted(world.nodes), (b"a", b"a", b"b", b"b"), strict=True):
        asker.ask(node, asker.signed(1, value))
    workers = run(world)
    assert workers
    assert len({world.nodes[name].host.digest() for name in world.nodes}) == 1


@pytest.mark.parametrize(
    "to",
    [
        pytest.param(("n1",), marks=pytest.mark.slow),
        pytest.param(("n2", "n3", "n4"), marks=pytest.mark.slow),
        ("n1", "n2", "n3", "n4"),
    ],
)
def test_row_29_a_request_with_a_wrong_signature_moves_no_view(to: tuple[str, ...]) -> None:
    """There is nothing that one member verifies and another cannot: a signature is right for all or for none."""
    world = world_with({})
    asker = Asker(world)
    for number in range(20):
        data = asker.signed(number, b"v")
        for node in to:
            asker.ask(node, data[:40] + bytes(24) + data[64:], number)
    run(world)
    assert {node.replica.state.view for node in world.nodes.values()} == {0}
    assert all(len(node.replica.state.pending) == 0 for node in world.nodes.values())


def test_row_29_a_request_that_only_the_primary_hears_is_decided_like_any_other() -> None:
    world = world_with({})
    asker = Asker(world)
    asker.ask("n1", asker.signed(1, b"v"))
    world.run(SECOND_US)
    assert "n1" in asker.answers
    run(world)
    assert {node.replica.state.view for node in world.nodes.values()} == {0}


def test_row_49_a_poisonous_request_is_answered_alike_everywhere_and_the_log_goes_on() -> None:
    world = world_with({})
    asker = Asker(world)
    poison = Batch(KV_APP, 0, 5, 0, 1, b"\xc1 no batch at all")
    data = sign_request(world.request_domain, poison, asker.key.public, asker.key.sign)
    for node in world.nodes:
        asker.ask(node, data)
    run(world)
    answers = {
        (type(said), getattr(said, "status", None), body) for each in asker.answers.values() for said, body in each
    }
    assert len(answers) == 1 and len(asker.answers) == 4


class Censors(Liar):
    """Its replica never orders what one client asks; see the test."""


@pytest.mark.parametrize(("nodes", "faults"), SIZES)
def test_row_10_a_client_that_the_primary_leaves_out_is_served_within_a_bound(nodes: int, faults: int) -> None:
    world = world_with({"n1": Censors}, nodes)
    assert world.committee.faults == faults
    pending = world.nodes["n1"].replica.state.pending
    add, censored = pending.add, world.client_key("c1").public
    pending.add = lambda request, *given: request.public_key != censored and add(request, *given)
    workers = run(world)
    assert min(world.nodes[name].replica.state.view for name in world.honest) > 0
    assert workers[0].answered > 5
