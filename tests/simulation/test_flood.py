"""One member floods the others: clients get as much done, and each decision costs honest members little more.

Row 27 of the adversarial checklist (tests/README.md). `python bench/byzantine.py` measures the same by the clock.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from quorum.checkers.history import History
from quorum.entry import Buffer
from quorum.model import NodeId
from quorum.protocols.pbft.settings import Settings
from quorum.sim.byzantine_world import ByzantineWorld
from quorum.sim.node import SimTransport
from quorum.sim.workload import Worker

SECOND_US = 1_000_000
SECONDS = 4
SHARE = 0.7


class Counted:
    """What clients got done, and what it took: signatures checked, messages and bytes sent by honest members."""

    def __init__(self, lies: dict[NodeId, str], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        world = ByzantineWorld(seed, 4, 1, lies, Settings(state_blocks=32, log_kept_blocks=16))
        self.messages = self.bytes = 0
        send = SimTransport.send

        def counting(
            transport: SimTransport, to: NodeId, message: object, attached: Sequence[Buffer], later: bool = False
        ) -> None:
            if transport._node not in world.liars:
                self.messages += 1
                self.bytes += sum(map(len, attached))
            send(transport, to, message, attached, later)

        with monkeypatch.context() as patched:
            patched.setattr(SimTransport, "send", counting)
            world.boot()
            workers = [Worker(world, f"c{i}", History(), 30_000, SECONDS * SECOND_US, False) for i in range(4)]
            for worker in workers:
                worker.start()
            world.run(SECONDS * SECOND_US)
        self.answered = sum(worker.answered for worker in workers)
        self.checked = world.verifier.asked / self.answered
        self.views = {world.nodes[name].replica.state.view for name in world.honest}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_row_27_with_a_flood_clients_get_as_much_done_for_little_more_work(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the simulated clock 70 % of the operations at least. By checks of signatures and what honest ones send,
    where the time of real ones goes, at most 1/0.7 of what it is beside a silent member."""
    without, flooded = (Counted({"n4": how}, seed, monkeypatch) for how in ("silent", "flood"))
    assert flooded.answered >= SHARE * without.answered
    assert flooded.checked <= without.checked / SHARE
    assert flooded.messages / flooded.answered <= without.messages / without.answered / SHARE
    assert flooded.bytes / flooded.answered <= without.bytes / without.answered / SHARE
    assert flooded.views == {0}


def test_row_27_a_primary_that_floods_is_replaced_or_keeps_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own blocks get lost in its flood."""
    without, flooded = (Counted(lies, 1, monkeypatch) for lies in ({}, {"n1": "flood"}))
    assert flooded.answered >= SHARE * without.answered
