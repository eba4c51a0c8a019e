"""A client's signed request that comes again, because its answer was lost: it is answered, and executed once."""

from __future__ import annotations

from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.apps.host import OPEN, SESSIONS, decode_session
from quorum.certificate.requests import sign_request
from quorum.header import Batch
from quorum.runtime.messages import Failure, Result
from quorum.runtime.signed_requests import SignedRequests
from quorum.sim.byzantine_world import ByzantineWorld
from simulation.byzantine_scene import SECOND_US, world_with
from simulation.test_byzantine_liars import Asker


class Teller(Asker):
    """A client that signs what it likes, and asks everybody."""

    def __init__(self, world: ByzantineWorld) -> None:
        super().__init__(world)
        self.session = 0

    def made(self, app: int, number: int, body: bytes) -> bytes:
        batch = Batch(app, self.session, number, 0, 1, body)
        return sign_request(self.world.request_domain, batch, self.key.public, self.key.sign)

    def told(self, data: bytes) -> set[tuple[object, bytes]]:
        """What each member says to it within a second: all of them answer once, and alike where T+1 count."""
        self.answers.clear()
        for node in self.world.nodes:
            self.ask(node, data)
        self.world.run(self.world.now_us + SECOND_US)
        assert {len(each) for each in self.answers.values()} == {1}
        assert self.answers.keys() == self.world.nodes.keys()
        return {each[0] for each in self.answers.values()}


def forget_answers(world: ByzantineWorld) -> None:
    """So many others were answered since that no node keeps them by name."""
    for node in world.nodes.values():
        node.gateway._signed_requests = SignedRequests()


def blocks(world: ByzantineWorld) -> set[int]:
    return {node.replica.state.commit_sequence for node in world.nodes.values()}


def with_session() -> Teller:
    teller = Teller(world_with({}))
    ((said, body),) = teller.told(teller.made(SESSIONS, 1, OPEN))
    assert isinstance(said, Result)
    teller.session = decode_session(body)
    return teller


def test_a_retry_gets_its_answer_from_its_session_without_another_block() -> None:
    teller = with_session()
    world = teller.world
    data = teller.made(KV_APP, 1, kv.encode_batch([kv.Put(b"x", b"1")]))
    first = teller.told(data)
    assert len(first) == 1
    others = teller.told(teller.made(KV_APP, 2, kv.encode_batch([kv.Put(b"x", b"2")])))
    assert others != first
    before = blocks(world)
    assert teller.told(data) == first, "by its name"
    forget_answers(world)
    assert teller.told(data) == first, "by its session"
    assert blocks(world) == before
    assert {node.host.applied_index for node in world.nodes.values()} == {3}


def test_what_a_session_keeps_is_told_to_the_holder_of_its_key_alone() -> None:
    teller = with_session()
    data = teller.made(KV_APP, 1, kv.encode_batch([kv.Put(b"x", b"1")]))
    teller.told(data)
    forget_answers(teller.world)
    ((said, _),) = teller.told(data[:40] + bytes(24) + data[64:])
    assert isinstance(said, Failure) and "Sign it with that key" in said.text


def test_a_retry_outside_of_a_session_whose_answer_nobody_keeps_is_executed_again() -> None:
    """A read, as sessions are for what must happen once."""
    teller = Teller(world_with({}))
    data = teller.made(KV_APP, 7, kv.encode_batch([kv.Put(b"x", b"1")]))
    first = teller.told(data)
    before = blocks(teller.world)
    assert teller.told(data) == first and blocks(teller.world) == before
    forget_answers(teller.world)
    assert len(teller.told(data)) == 1
    assert min(blocks(teller.world)) > max(before)
