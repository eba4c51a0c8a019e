"""Committees that adapt, under load, for scenes in which one thing goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from quorum.checkers.history import History
from quorum.protocols.pbft.messages import Blocks, Offer, PrePrepare
from quorum.protocols.pbft.replica import PbftReplica
from quorum.protocols.pbft.settings import Settings
from quorum.sim.byzantine_adaptive import AdaptiveWorld
from quorum.sim.faults import SECOND_US
from quorum.sim.workload import Worker

WAIT_US = 12 * SECOND_US


class Scene(AdaptiveWorld):
    """`cut`: (source, to) pairs of which blocks are lost; `lost`: pairs of which everything is."""

    def __init__(
        self,
        nodes: int = 5,
        faults: int = 1,
        behaviours: Mapping[str, str] | None = None,
        seed: int = 1,
        pause_ms: int = 100,
    ) -> None:
        settings = Settings(state_blocks=16, log_kept_blocks=16)
        super().__init__(seed, nodes, faults, behaviours or {}, settings)
        self.starved: set[str] = set()
        self.said: list[tuple[str, str]] = []
        self.workers = [
            Worker(self, f"c{number}", History(), pause_ms * 1000, 1 << 60, False) for number in range(1, 4)
        ]
        self.boot()
        for worker in self.workers:
            worker.start()

    def deliver(self, source: str, to: str, message: object, attached: tuple[Any, ...]) -> None:
        if to in self.starved and isinstance(message, Blocks | Offer | PrePrepare):
            return
        super().deliver(source, to, message, attached)

    def told(self, node: str, text: str) -> None:
        super().told(node, text)
        self.said.append((node, text))

    def state(self, name: str = "n1") -> Any:
        replica = self.nodes[name].replica
        assert isinstance(replica, PbftReplica)
        return replica.state

    @property
    def members(self) -> tuple[str, ...]:
        newest = self.newest_committee()
        assert newest is not None
        return newest.nodes

    def until(self, reached: Callable[[], bool], within_us: int = WAIT_US) -> bool:
        """Go on until then, or for so long."""
        return self.run_until(reached, within_us)

    def go_on(self, seconds: float) -> None:
        self.run(self.now_us + int(seconds * SECOND_US))

    def evicted(self, name: str, within_us: int = WAIT_US) -> bool:
        """Whether this member leaves in time; the others have a turn to note why."""
        left = self.until(lambda: name not in self.members, within_us)
        self.go_on(1)
        return left

    def readmitted(self, name: str, within_us: int = WAIT_US) -> bool:
        """Whether this node votes in time."""
        return self.until(lambda: name in self.members, within_us)

    def decides(self) -> bool:
        """Whether clients are still answered."""
        answered = sum(worker.answered for worker in self.workers)
        return self.until(lambda: sum(worker.answered for worker in self.workers) > answered + 5)
