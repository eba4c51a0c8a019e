"""Simulated clients while committees change: founders leave and stop, and the primary of a later epoch dies."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from quorum.certificate.committee import Committee, Member
from quorum.certificate.genesis import encode_genesis
from quorum.checkers.history import History
from quorum.model import NodeId
from quorum.protocols.pbft.settings import Settings
from quorum.runtime.committees import Committees
from quorum.runtime.messages import ApproveRequest
from quorum.sim.byzantine_client import FOLLOWED
from quorum.sim.byzantine_world import ByzantineWorld

from .byzantine_scene import SECOND_US, check_end, workers_of

SETTINGS = Settings(state_blocks=16, log_kept_blocks=8)


class Operator:
    """Whoever approves: a client of every node, that waits for no answer."""

    identity = "operator"

    def answer(self, message: object, attached: object) -> None:
        """Not of interest."""

    def backlog(self) -> int:
        return 0


def world_of(lies: dict[NodeId, str], seed: int = 0, real: bool = False) -> ByzantineWorld:
    world = ByzantineWorld(seed, 4, 1, lies, SETTINGS, spares=3, real=real)
    world.boot()
    return world


def change(world: ByzantineWorld, *names: str) -> None:
    """The operators want these members next, and get them."""
    newest = world.newest_committee()
    assert newest is not None
    members = tuple(Member(name, world.public_key(name)) for name in sorted(names))
    wanted = Committee(newest.cluster, newest.epoch + 1, members, 1)
    operator = Operator()
    for number, name in enumerate(world.nodes):
        if world.nodes[name].is_up:
            world.nodes[name].request(operator, ApproveRequest(number), (encode_genesis(wanted),))
    world.run(world.now_us + 3 * SECOND_US)
    assert world.newest_committee() == wanted


def lose_founders_and_primary(world: ByzantineWorld) -> None:
    """Two epochs on, n1 and n2 stop, and then the primary."""
    change(world, "n2", "n3", "n4", "n5")
    change(world, "n3", "n4", "n5", "n6")
    for name in ("n1", "n2"):
        world.crash(name)
    primary = world.leader()
    assert primary is not None
    world.crash(primary)


@pytest.mark.parametrize(
    "lies",
    [
        {},
        pytest.param({"n4": "forge-replies"}, marks=pytest.mark.slow),
        pytest.param({"n5": "forge-replies"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_clients_are_answered_although_two_founders_left_and_the_primary_died(lies):
    world = world_of({}, real=not lies)
    for name, how in lies.items():
        world.corrupt(name, how)
    history = History()
    workers = workers_of(world, 3, history, 30 * SECOND_US)
    if lies:  # of four members one lies, so that none may crash besides
        change(world, "n2", "n3", "n4", "n5")
        change(world, "n3", "n4", "n5", "n6")
        for name in ("n1", "n2"):
            world.crash(name)
    else:
        lose_founders_and_primary(world)
    before = [worker.answered for worker in workers]
    world.run(40 * SECOND_US)
    assert all(worker.answered > count + 20 for worker, count in zip(workers, before, strict=True))
    assert all(worker.client.fan_out.committees.newest.epoch == 3 for worker in workers)
    for name in world.nodes:
        if not world.nodes[name].is_up:
            world.restart(name)
    world.run(50 * SECOND_US)
    check_end(world, workers, history)
    assert FOLLOWED in world.sometimes.counts


@pytest.mark.slow
def test_a_whole_committee_is_replaced_under_clients_that_go_on():
    world = world_of({})
    history = History()
    workers = workers_of(world, 3, history, 30 * SECOND_US)
    for names in (("n2", "n3", "n4", "n5"), ("n3", "n4", "n5", "n6"), ("n4", "n5", "n6", "n7")):
        change(world, *names)
    for name in ("n1", "n2", "n3"):
        world.crash(name)
    before = [worker.answered for worker in workers]
    world.run(35 * SECOND_US)
    assert all(worker.answered > count + 20 for worker, count in zip(workers, before, strict=True))
    for name in ("n1", "n2", "n3"):
        world.restart(name)
    world.run(45 * SECOND_US)
    check_end(world, workers, history)


def test_clients_that_follow_nobody_are_not_answered_any_more():
    """Negative control: that is what the others are saved from."""
    with patch.object(Committees, "_follow", lambda self, changes: True):
        world = world_of({})
        history = History()
        workers = workers_of(world, 2, history, 30 * SECOND_US)
        change(world, "n2", "n3", "n4", "n5")
        change(world, "n3", "n4", "n5", "n6")
        change(world, "n4", "n5", "n6", "n7")
        for name in ("n1", "n2", "n3"):
            world.crash(name)
        world.run(world.now_us + SECOND_US)
        before = [worker.answered for worker in workers]
        world.run(30 * SECOND_US)
        for worker, count in zip(workers, before, strict=True):
            assert worker.answered < count + 10, "reads that are given up count, nothing else comes"
