"""Committees of which members lie in a way of their own, with clients whose history is checked."""

from __future__ import annotations

from unittest.mock import patch

import pytest

from quorum.checkers.history import History
from quorum.checkers.linearizability import check_linearizable
from quorum.model import NodeId
from quorum.protocols.pbft.settings import Settings
from quorum.sim.adversary import BEHAVIOURS, Liar
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.workload import Worker

SECOND_US = 1_000_000
SIZES = (
    (4, 1),
    pytest.param(5, 1, marks=pytest.mark.slow),
    pytest.param(6, 1, marks=pytest.mark.slow),
    (7, 2),
    pytest.param(8, 2, marks=pytest.mark.slow),
    pytest.param(9, 2, marks=pytest.mark.slow),
)
"""Members, and how many of them may lie, for `parametrize`."""
SETTINGS = Settings(state_blocks=16, log_kept_blocks=8)
TIMEOUTS_US = 10 * SETTINGS.view_timeout_us


def world_with(lies: dict[NodeId, type[Liar]], nodes: int = 4, seed: int = 0) -> ByzantineWorld:
    """Members of which some lie in a way of their own."""
    known = {f"test-{name}": lie for name, lie in lies.items()}
    with patch.dict(BEHAVIOURS, known):
        world = ByzantineWorld(seed, nodes, (nodes - 1) // 3, {name: f"test-{name}" for name in lies}, SETTINGS)
    world.boot()
    return world


def workers_of(world: ByzantineWorld, count: int, history: History, stop_us: int) -> list[Worker]:
    workers = [Worker(world, f"c{i}", history, 60_000, stop_us, False) for i in range(1, count + 1)]
    for worker in workers:
        worker.start()
    return workers


def check_end(world: ByzantineWorld, workers: list[Worker], history: History) -> None:
    """All clients were answered, honest members hold the same, and the history is linearizable. What is decided
    twice, and whoever is blamed, is checked by the world as it happens."""
    assert all(worker.answered > 5 and not worker.client.session.unanswered for worker in workers)
    applied = {world.nodes[name].driver.applied_index for name in world.honest}
    assert len(applied) == 1
    assert len({world.nodes[name].host.digest() for name in world.honest}) == 1
    assert check_linearizable(history)
