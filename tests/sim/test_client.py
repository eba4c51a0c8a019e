"""Simulated clients: the production session finds the leader, retries, and is answered once."""

from __future__ import annotations

from quorum.apps import kv
from quorum.apps.answer import OK
from quorum.apps.catalogue import KV_APP
from quorum.errors import NotLeader, OutcomeUnknown, QuorumError
from quorum.model import Configuration
from quorum.runtime.session_settings import SessionSettings
from quorum.sim.client import SimClient
from quorum.sim.world import World

SECOND_US = 1_000_000


class Asker:
    """A client in a cluster of three, and what it was told."""

    def __init__(self, seed: int = 0, settings: SessionSettings | None = None, wire: bool = False) -> None:
        self.world = World(seed, Configuration(epoch=1, voters=("n1", "n2", "n3")), wire=wire)
        self.world.boot()
        self.told: list[tuple[int, bytes, QuorumError | None]] = []
        self.client = SimClient(self.world, "c1", self.on_answer, settings)
        self.client.start()

    def on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        self.told.append((status, body, error))

    def put(self, value: bytes, timeout_us: int = 60 * SECOND_US) -> None:
        batch = kv.encode_batch([kv.Put(b"x", value)])
        self.client.session.submit(self.world.now_us, KV_APP, 1, batch, timeout_us)

    def get(self, stale: bool = False, timeout_us: int = 60 * SECOND_US) -> None:
        query = kv.encode_query([kv.Get(b"x")])
        self.client.session.query(self.world.now_us, KV_APP, query, stale, timeout_us)

    def wait(self, answers: int, within_us: int = 30 * SECOND_US) -> bool:
        return self.world.run_until(lambda: len(self.told) >= answers, within_us)


def test_a_client_finds_the_leader_wherever_it_begins():
    for seed in range(6):
        asker = Asker(seed)
        asker.put(b"1")
        assert asker.wait(1)
        asker.get()
        assert asker.wait(2)
        (status, _, _), (_, body, error) = asker.told
        assert status == OK and error is None
        assert kv.decode_results(body)[0].item.value == b"1"


def test_a_retry_across_a_crash_of_the_leader_is_applied_once():
    asker = Asker(3)
    asker.put(b"1")
    assert asker.wait(1)
    leader = asker.world.leader()
    asker.put(b"2")
    asker.world.run(asker.world.now_us + 1_500)
    asker.world.crash(leader, seen=False)
    assert asker.wait(2)
    asker.get()
    assert asker.wait(3)
    item = kv.decode_results(asker.told[2][1])[0].item
    assert (item.value, item.version) == (b"2", 2)


def test_an_impatient_client_leaves_a_silent_node_sooner():
    waits = []
    for silence_us in (200_000, 3_000_000):
        asker = Asker(1, SessionSettings(silence_us=silence_us))
        asker.put(b"1")
        assert asker.wait(1)
        asker.world.nodes[asker.world.leader()].pause()
        began = asker.world.now_us
        asker.put(b"2")
        assert asker.wait(2)
        waits.append(asker.world.now_us - began)
    assert waits[0] < waits[1]


def test_without_a_quorum_a_write_ends_unknown_and_a_read_ends_as_not_done():
    asker = Asker(2)
    asker.put(b"1")
    assert asker.wait(1)
    for name in sorted(set(asker.world.nodes) - {asker.world.leader()}):
        asker.world.crash(name)
    asker.put(b"2", timeout_us=4 * SECOND_US)
    asker.get(timeout_us=4 * SECOND_US)
    assert asker.wait(3)
    errors = [error for _, _, error in asker.told[1:]]
    assert any(isinstance(error, OutcomeUnknown) for error in errors)
    assert any(isinstance(error, QuorumError) and not isinstance(error, OutcomeUnknown) for error in errors)


def test_a_stale_read_is_answered_by_a_node_that_knows_no_leader():
    asker = Asker(2)
    asker.put(b"1")
    assert asker.wait(1)
    for name in sorted(set(asker.world.nodes) - {asker.client.session.endpoint}):
        asker.world.crash(name)
    asker.world.run(asker.world.now_us + 5 * SECOND_US)
    asker.get(stale=True)
    assert asker.wait(2)
    assert kv.decode_results(asker.told[1][1])[0].item.value == b"1"


def test_a_client_of_a_cluster_that_is_down_is_told_so_at_its_deadline():
    asker = Asker()
    for name in asker.world.nodes:
        asker.world.crash(name)
    asker.get(timeout_us=SECOND_US)
    assert asker.wait(1, 2 * SECOND_US)
    assert isinstance(asker.told[0][2], NotLeader)


def test_requests_travel_as_bytes_and_are_answered_the_same():
    bodies = []
    for wire in (False, True):
        asker = Asker(5, wire=wire)
        asker.put(b"1")
        asker.get()
        assert asker.wait(2)
        bodies.append([body for _, body, _ in asker.told])
    assert bodies[0] == bodies[1]
