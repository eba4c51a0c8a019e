"""Disks that are full, in a simulated cluster on the production log: writes stop or move, reads go on."""

from __future__ import annotations

import pytest

from quorum.apps import kv
from quorum.apps.catalogue import KV_APP
from quorum.errors import NotLeader, QuorumError
from quorum.model import Configuration
from quorum.sim.campaign import Plan, run_seed
from quorum.sim.client import SimClient
from quorum.sim.faults import ALL_FAULTS, USUAL_FAULTS
from quorum.sim.node import SPACE_BACK
from quorum.sim.world import World

SECOND_US = 1_000_000
VALUE = b"x" * 2_000
"""Eight of these fill a segment of the simulated log, so that a new one is needed soon."""


class Writer:
    """A client of a cluster of three with simulated disks; `told` has each answer, or what went wrong."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed, Configuration(epoch=1, voters=("n1", "n2", "n3")), wire=True, disk=True)
        self.world.boot()
        self.told: list[tuple[bytes, QuorumError | None]] = []
        self.client = SimClient(self.world, "c1", self.on_answer)
        self.client.start()

    def on_answer(self, handle: int, status: int, body: bytes, error: QuorumError | None) -> None:
        self.told.append((body, error))

    def put(self, number: int, timeout_us: int = 120 * SECOND_US) -> None:
        batch = kv.encode_batch([kv.Put(b"key %d" % number, VALUE)])
        self.client.session.submit(self.world.now_us, KV_APP, 1, batch, timeout_us)

    def get(self, number: int) -> None:
        query = kv.encode_query([kv.Get(b"key %d" % number)])
        self.client.session.query(self.world.now_us, KV_APP, query, False, 60 * SECOND_US)

    def wait(self, answers: int, within_us: int = 20 * SECOND_US) -> bool:
        return self.world.run_until(lambda: len(self.told) >= answers, within_us)

    def write(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.put(number)
            assert self.wait(len(self.told) + 1), f"put {number} was not answered"
            assert self.told[-1][1] is None

    def fill(self, *nodes: str) -> None:
        """No file of these nodes may grow any more."""
        for node in nodes:
            self.world.nodes[node].log.files.capacity_bytes = 0

    def free(self) -> None:
        for node in self.world.nodes.values():
            node.log.files.capacity_bytes = None

    def full(self) -> list[str]:
        return [name for name, node in self.world.nodes.items() if node.driver.is_full]


@pytest.mark.parametrize("seed", range(8))
def test_a_leader_without_space_lets_another_lead_and_writes_go_on(seed):
    writer = Writer(seed)
    writer.write(0, 3)
    old = writer.world.leader()
    writer.fill(old)
    writer.write(4, 40)
    assert writer.full() == [old]
    assert writer.world.leader() != old
    writer.free()
    writer.world.run(writer.world.now_us + 5 * SECOND_US)
    assert writer.full() == []
    applied = {node.driver.applied_index for node in writer.world.nodes.values()}
    assert len(applied) == 1, "it caught up without a restart"


@pytest.mark.parametrize("seed", range(8))
def test_a_follower_without_space_acknowledges_nothing_and_catches_up(seed):
    writer = Writer(seed)
    writer.write(0, 3)
    leader = writer.world.leader()
    follower = next(name for name in writer.world.nodes if name != leader)
    writer.fill(follower)
    writer.write(4, 40)
    assert writer.full() == [follower] and writer.world.leader() == leader
    state = writer.world.nodes[leader].replica.state
    stuck = writer.world.nodes[follower].replica.state.stored_index
    assert state.acked[follower] <= stuck < state.commit_index
    writer.free()
    writer.world.run(writer.world.now_us + 5 * SECOND_US)
    assert state.acked[follower] == state.log.last_index


@pytest.mark.parametrize("seed", range(8))
def test_where_no_disk_has_space_writes_wait_reads_go_on_and_everything_resumes(seed):
    writer = Writer(seed)
    writer.write(0, 3)
    writer.fill("n1", "n2", "n3")
    for number in range(4, 14):
        writer.put(number)
    writer.world.run(writer.world.now_us + 5 * SECOND_US)
    leader = writer.world.leader()
    assert leader in writer.full()
    answered = len(writer.told)
    assert answered < 14, "not all of it fitted"
    writer.get(2)
    assert writer.wait(answered + 1), "a read is answered"
    found = kv.decode_results(writer.told[-1][0])[0]
    assert found.item.value == VALUE
    writer.free()
    assert writer.wait(15), "the writes that waited are done"
    assert all(error is None for _, error in writer.told)


def test_a_write_that_was_refused_for_want_of_space_is_known_not_to_have_happened():
    writer = Writer(1)
    writer.write(0, 3)
    writer.fill("n1", "n2", "n3")
    for number in range(4, 14):
        writer.put(number, 400 * SECOND_US)
    writer.world.run(writer.world.now_us + 5 * SECOND_US)
    assert writer.world.leader() in writer.full()
    answered = len(writer.told)
    writer.put(99, 4 * SECOND_US)
    assert writer.wait(answered + 1)
    assert isinstance(writer.told[-1][1], NotLeader), "definite: nothing happened"


def test_a_power_cut_of_a_full_node_loses_nothing_that_was_acknowledged():
    writer = Writer(5)
    writer.write(0, 3)
    writer.fill(writer.world.leader())
    writer.write(4, 30)
    for name in writer.world.nodes:
        writer.world.crash(name)
    writer.free()
    for name in writer.world.nodes:
        writer.world.restart(name)
    writer.get(30)
    assert writer.wait(len(writer.told) + 1)
    assert kv.decode_results(writer.told[-1][0])[0].item.value == VALUE


@pytest.mark.parametrize("disk", [False, True], ids=["records", "disk"])
def test_full_disks_come_and_go_as_a_fault_and_everybody_goes_on(disk):
    outcomes = [
        run_seed(Plan(seed, nodes=3, seconds=30, faults=("crash-all", "full-disk"), disk=disk))[0]
        for seed in range(4)
    ]
    assert [outcome.failure for outcome in outcomes] == [""] * 4
    assert sum(outcome.sometimes.get(SPACE_BACK, 0) for outcome in outcomes) > 0
    assert "--faults crash-all,full-disk" in outcomes[0].replay


def test_full_disks_are_not_among_the_faults_of_old_seeds():
    assert "full-disk" not in ALL_FAULTS and "full-disk" in USUAL_FAULTS
    assert Plan(1).faults == ALL_FAULTS
