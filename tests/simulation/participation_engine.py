"""The real engine under crashes and repairs: how much of the time does no leader have a quorum?

Replicas run as in production, on the simulator's network and disks. Every node crashes after an exponential time
of `life_s` in the mean, and is restarted from its disk after one of `life_s / ratio`. Ten times a simulated second
the world is looked at:

- it *decides* where somebody leads and a write quorum of what that replica knows to be in force is up;
- an *outage* is a time without that of `outage_us` or more, and counts whole. What is shorter is an election,
  which a client's retry outlasts and the chain knows nothing of.

The chain wants the rate at which a committee that should change does. That is measured, too: changes over the time
during which the policy wanted another committee for those who are up, and a quorum was there to decide on it. Hold
and stable times are short beside a repair and do not grow, so that changes are fast and nobody has to wait. A
member that fails while its vote is on the way is waited for no longer than two seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from quorum.membership.observation import Limits, Situation
from quorum.membership.policy import adaptive
from quorum.model import Configuration, NodeId
from quorum.protocols.raft.settings import Settings
from quorum.protocols.raft.state import LEADER, RaftState
from quorum.sim.world import World
from quorum.systems.build import build
from quorum.systems.participation import Participation, unavailability

from .participation_events import Cycle, Measured, measure

S = 1_000_000
LOOK_US = 100_000
SETTINGS = Settings(heartbeat_us=200_000, election_timeout_us=1_000_000, catch_up_timeout_us=2 * S)
LIMITS = Limits(hold_us=300_000, stable_us=600_000, stable_max_us=600_000, forgive_us=600_000)
"""A silence is suspicious after 480 ms where nothing was heard before; who is well must be so for longer."""


class EngineCase(NamedTuple):
    """What runs: `nodes` under `policy`, each up for `life_s` in the mean and down for `life_s / ratio`."""

    nodes: int = 5
    ratio: float = 5.0
    policy: str = "adaptive"
    life_s: int = 300
    outage_us: int = 2 * S

    def exact(self, reconfiguration_ratio: float) -> float:
        """What the chain says at the measured rate of change."""
        if self.policy == "fixed":
            return unavailability(Participation(self.nodes, self.ratio, "majority")).unavailability
        return unavailability(
            Participation(self.nodes, self.ratio, "adaptive", reconfiguration_ratio)
        ).unavailability


class Watched(NamedTuple):
    """What a run showed. `wanted_s`: for how long another committee was wanted and could be decided on; `short_s`
    and `short`: times without a leader that were no outage."""

    cycles: list[Cycle]
    changes: int
    wanted_s: float
    short: int
    short_s: float
    simulated_s: float

    def reconfiguration_ratio(self, case: EngineCase) -> float:
        """Rate of change over rate of repair, as it was."""
        return self.changes / self.wanted_s * case.life_s / case.ratio


def together(runs: list[Watched]) -> Watched:
    """Several seeds as one."""
    return Watched(
        [cycle for run in runs for cycle in run.cycles],
        sum(run.changes for run in runs),
        sum(run.wanted_s for run in runs),
        sum(run.short for run in runs),
        sum(run.short_s for run in runs),
        sum(run.simulated_s for run in runs),
    )


def verdict(case: EngineCase, watched: Watched) -> tuple[Measured, float, float]:
    """What was measured, the reconfiguration ratio that it had, and the exact figure for that."""
    ratio = watched.reconfiguration_ratio(case) if case.policy != "fixed" else float("inf")
    return measure(watched.cycles), ratio, case.exact(ratio)


class _Run:
    """One seed."""

    def __init__(self, case: EngineCase, seed: int) -> None:
        self.case = case
        names = tuple(f"n{number}" for number in range(1, case.nodes + 1))
        configuration = Configuration(1, names, policy=case.policy, faults=(case.nodes - 1) // 2)
        self.world = World(seed, configuration, SETTINGS, limits=LIMITS)
        self.draw = Random(f"{seed}/lives")
        self.changes = self.short = 0
        self.wanted_us = self.short_us = 0
        self.cycles: list[Cycle] = []
        self._epoch = 1
        self._in_force = configuration
        self._down_since_us: int | None = None
        self._began_us: int | None = None
        self._without_us = self._losses = 0
        self._fewest = case.nodes
        self._was_whole = False

    def run(self, seconds: int) -> Watched:
        self.world.boot()
        self.world.run(5 * S)
        for name in self.world.nodes:
            self._live(name)
        self.world.schedule(LOOK_US, self._look)
        self.world.run(seconds * S)
        return Watched(
            self.cycles, self.changes, self.wanted_us / S, self.short, self.short_us / S, float(seconds)
        )

    def _live(self, name: NodeId) -> None:
        self.world.schedule(int(self.draw.expovariate(1) * self.case.life_s * S), self._die, name)

    def _die(self, name: NodeId) -> None:
        self.world.crash(name)
        away_us = int(self.draw.expovariate(1) * self.case.life_s * S / self.case.ratio)
        self.world.schedule(away_us, self._rise, name)

    def _rise(self, name: NodeId) -> None:
        self.world.restart(name)
        self._live(name)

    def _look(self) -> None:
        self.world.schedule(LOOK_US, self._look)
        up = frozenset(name for name, node in self.world.nodes.items() if node.is_up)
        leading = self._leading(up)
        if leading is None:
            if self._down_since_us is None:
                self._down_since_us = self.world.now_us
            return
        self._decides_again()
        present = leading.configuration
        if present.outgoing is None and present.epoch > self._epoch:
            self._epoch, self._in_force = present.epoch, present
            self.changes += 1
            self._fewest = min(self._fewest, len(present.voters))
        if self._is_wanted(up, leading):
            self.wanted_us += LOOK_US
        is_whole = len(up) == len(self._in_force.voters) == self.case.nodes and present.outgoing is None
        if is_whole and not self._was_whole:
            self._end_cycle()
        self._was_whole = is_whole

    def _leading(self, up: frozenset[NodeId]) -> RaftState | None:
        """Who leads with a quorum of what it takes to be in force, of the newest term."""
        found = [
            node.replica.state
            for node in self.world.nodes.values()
            if node.replica is not None and node.replica.state.role == LEADER
        ]
        leading = max(found, key=lambda state: state.term, default=None)
        return leading if leading is not None and leading.system.is_write_quorum(up) else None

    def _decides_again(self) -> None:
        if self._down_since_us is None:
            return
        lasted_us, self._down_since_us = self.world.now_us - self._down_since_us, None
        if lasted_us >= self.case.outage_us:
            self._without_us += lasted_us
            self._losses += 1
        else:
            self.short += 1
            self.short_us += lasted_us

    def _is_wanted(self, up: frozenset[NodeId], leading: RaftState) -> bool:
        """Whether the policy wants another committee for those who are up, as if it knew at once."""
        present = self._in_force
        if self.case.policy == "fixed" or not build(present).writes.contains(up):
            return False
        unfit = tuple((name, "down") for name in self.world.nodes if name not in up)
        asked = Situation(
            present, leading.node, tuple(sorted(up)), unfit, self.case.nodes, present.faults, present.floor
        )
        return frozenset(adaptive(asked)) != frozenset(present.voters)

    def _end_cycle(self) -> None:
        now_us = self.world.now_us
        if self._began_us is not None:
            self.cycles.append(
                Cycle((now_us - self._began_us) / S, self._without_us / S, self._losses, self._fewest)
            )
        self._began_us, self._without_us, self._losses, self._fewest = now_us, 0, 0, self.case.nodes


def run_engine(case: EngineCase, seed: int, seconds: int) -> Watched:
    """One seed for so many simulated seconds. Raises Violation if the engine breaks a claim."""
    return _Run(case, seed).run(seconds)


def run_seeds(case: EngineCase, seeds: range, seconds: int) -> Iterator[Watched]:
    for seed in seeds:
        yield run_engine(case, seed, seconds)
